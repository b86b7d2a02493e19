/*
 * Files by the service's own calls, for reading only: they know another
 * owner than commands do, and removing follows links.
 *
 * A sandbox's requests share one connection, one after the other.  So when it
 * is cut it is known by which: an answer too large for the service cuts it,
 * and nothing tells so.  A request that is lost twice is taken for that.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/svc_xgen.h"

#define IDLE_MS	 20000
#define MAX_CUTS 2

struct xgen_files {
	struct xgen *x;
	struct xgen_files *next, **link;
	char *id;
	struct sbx_stream *stream;
	bool ready, closing;
	struct sbx_work *work; /* its request is out */
	uint32_t seq;
	struct sbx_alarm *idle;
};

static void files_next(struct xgen_files *f);
static void files_for(struct xgen *x, const char *id);

static bool is_files(const struct sbx_work *w, const char *id)
{
	return (w->call->kind == SBX_CALL_FILES ||
		w->call->kind == SBX_CALL_FILE) &&
	       !strcmp(w->call->id, id);
}

static struct sbx_work *files_waiting(const struct xgen *x, const char *id)
{
	struct sbx_work *w, *oldest = NULL;

	for (w = x->rest.works; w; w = w->next)
		if (is_files(w, id))
			oldest = w;
	return oldest;
}

static void work_fail(struct sbx_work *w, int err, const char *text)
{
	struct sbx_error e;

	sbx_error_set(&e, err, "%s", text);
	sbx_work_done(w, &e);
}

/* ---- answers ---- */

static int take_list(struct sbx_call *call, const struct sbx_xgen_msg *m)
{
	return m->type == SBX_XGEN_FS_LIST
		       ? sbx_xgen_read_list(m, &call->files, &call->nr_files)
		       : -EPROTO;
}

static int take_content(struct sbx_call *call, const struct sbx_xgen_msg *m)
{
	if (m->type != SBX_XGEN_FS_READ)
		return -EPROTO;
	call->data = malloc(m->len + 1);
	if (!call->data)
		return -ENOMEM;
	memcpy(call->data, m->payload, m->len);
	call->len = m->len;
	return 0;
}

static void work_answer(struct sbx_work *w, const struct sbx_xgen_msg *m)
{
	struct sbx_error e = {0};
	int r;

	if (m->type == SBX_XGEN_ERROR && sbx_xgen_read_error(m, &e) == 0) {
		sbx_work_done(w, &e);
		return;
	}
	r = w->call->kind == SBX_CALL_FILES ? take_list(w->call, m)
					    : take_content(w->call, m);
	if (r == 0)
		sbx_work_done(w, NULL);
	else if (r == -ENOMEM)
		work_fail(w, r, "out of memory");
	else
		work_fail(w, -EPROTO, "the sandbox answered nonsense");
}

static void on_message(void *arg, const struct sbx_xgen_msg *m)
{
	struct xgen_files *f = arg;
	struct sbx_work *w = f->work;

	if (!w || m->id != f->seq)
		return;
	f->work = NULL;
	work_answer(w, m);
	files_next(f);
}

/* ---- requests ---- */

/* Saying goodbye takes its time: who comes meanwhile waits for another. */
static void files_close(struct xgen_files *f)
{
	f->closing = true;
	xgen_stream_close(f->stream);
}

static void on_idle(void *arg)
{
	struct xgen_files *f = arg;

	f->idle = NULL;
	files_close(f);
}

static void files_send(struct xgen_files *f, struct sbx_work *w)
{
	const struct sbx_call *call = w->call;
	struct sbx_buf b;
	int r;

	sbx_buf_init(&b, SBX_XGEN_MAX_MESSAGE);
	r = sbx_xgen_put_path(&b,
			      call->kind == SBX_CALL_FILES ? SBX_XGEN_FS_LIST
							   : SBX_XGEN_FS_READ,
			      ++f->seq, call->path);
	f->work = w;
	if (r == 0)
		r = xgen_talk_send(f->stream, &b);
	sbx_buf_release(&b);
	if (r == 0)
		return;
	f->work = NULL;
	work_fail(w, r, "a request could not be sent");
}

static void files_next(struct xgen_files *f)
{
	struct sbx_work *w;

	if (f->closing)
		return;
	f->idle = sbx_alarm_cancel(f->idle);
	while (f->ready && !f->work) {
		w = files_waiting(f->x, f->id);
		if (!w)
			break;
		files_send(f, w);
	}
	if (f->ready && !f->work)
		f->idle = sbx_alarm_set(&f->x->rest, IDLE_MS, on_idle, f);
}

/* ---- the connection ---- */

static void on_open(void *arg)
{
	struct xgen_files *f = arg;

	f->ready = true;
	files_next(f);
}

static void on_data(void *arg, int fd, const void *data, size_t len)
{
	(void)arg, (void)fd, (void)data, (void)len; /* no command runs */
}

static void files_lost(struct xgen *x, const char *id,
		       const struct xgen_files *f, const struct sbx_error *why)
{
	struct sbx_work *w = f->work;

	/* it could not even be made */
	while (!f->ready && (w = files_waiting(x, id)))
		sbx_work_done(w, why);
	if (w && ++w->step >= MAX_CUTS)
		work_fail(w, -EFBIG,
			  "the connection was cut twice by one request: its "
			  "answer is too large for the service");
	if (files_waiting(x, id))
		files_for(x, id);
}

static void on_end(void *arg, int exit_code, const struct sbx_error *error)
{
	struct xgen_files *f = arg;

	(void)exit_code;
	*f->link = f->next;
	if (f->next)
		f->next->link = f->link;
	sbx_alarm_cancel(f->idle);
	files_lost(f->x, f->id, f, error);
	free(f->id);
	free(f);
}

static const struct sbx_stream_handler handler = {
	.on_open = on_open,
	.on_data = on_data,
	.on_end = on_end,
};

static struct xgen_files *files_new(struct xgen *x, const char *id)
{
	struct xgen_files *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->x = x;
	f->id = strdup(id);
	if (f->id)
		f->stream = xgen_talk_open(x, id, &handler, on_message, f);
	if (!f->stream) {
		free(f->id);
		free(f);
		return NULL;
	}
	f->next = x->files;
	f->link = &x->files;
	if (f->next)
		f->next->link = &f->next;
	x->files = f;
	return f;
}

/* Sees to it that what waits for this sandbox is sent. */
static void files_for(struct xgen *x, const char *id)
{
	struct xgen_files *f = x->files;
	struct sbx_work *w;

	while (f && strcmp(f->id, id) != 0)
		f = f->next;
	if (f)
		files_next(f);
	else if (!files_new(x, id))
		while ((w = files_waiting(x, id)))
			work_fail(w, -ENOMEM, "out of memory");
}

/* An answer that is due may never come, as that of a named pipe. */
static void files_forget(void *work)
{
	struct sbx_work *w = work;
	struct xgen_files *f;

	for (f = ((struct xgen *)w->rest)->files; f; f = f->next) {
		if (f->work != w)
			continue;
		f->work = NULL;
		files_close(f);
	}
}

static void on_deadline(void *arg)
{
	struct sbx_work *w = arg;

	w->alarm = NULL;
	work_fail(w, -ETIMEDOUT, "the sandbox does not answer");
}

void xgen_files_start(struct sbx_work *w)
{
	struct xgen *x = (struct xgen *)w->rest;

	w->state = w;
	w->drop = files_forget;
	w->step = 0; /* connections that it was lost with */
	if (strlen(w->call->path) > SBX_XGEN_MAX_PATH) {
		work_fail(w, -ENAMETOOLONG, "the path is too long");
		return;
	}
	w->alarm = sbx_alarm_set(&x->rest, w->deadline - uv_now(x->rest.loop),
				 on_deadline, w);
	if (!w->alarm)
		work_fail(w, -ENOMEM, "out of memory");
	else
		files_for(x, w->call->id);
}
