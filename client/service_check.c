#include "client/service_check.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/log.h"

struct check {
	struct sbx_service base;
	struct sbx_service *inner;
	size_t nr_calls, nr_streams; /* under way; runs count as streams */
	bool closing;
	void (*on_closed)(void *arg);
	void *closed_arg;
};

/* ---- calls ---- */

struct check_call {
	struct check *check;
	void (*done)(struct sbx_call *call);
	void *arg;
	bool submitting;
};

static const char *const kind_names[] = {
	[SBX_CALL_LIST] = "list",
	[SBX_CALL_GET] = "get",
	[SBX_CALL_CREATE] = "create",
	[SBX_CALL_DESTROY] = "destroy",
	[SBX_CALL_KEEPALIVE] = "keepalive",
	[SBX_CALL_PAUSE] = "pause",
	[SBX_CALL_RESUME] = "resume",
	[SBX_CALL_STOP] = "stop",
	[SBX_CALL_START] = "start",
	[SBX_CALL_RESTART] = "restart",
	[SBX_CALL_WIPE] = "wipe",
	[SBX_CALL_FILES] = "files",
	[SBX_CALL_FILE] = "file",
	[SBX_CALL_SNAPSHOTS] = "snapshots",
	[SBX_CALL_SNAPSHOT] = "snapshot",
	[SBX_CALL_RESTORE] = "restore",
	[SBX_CALL_UNSNAPSHOT] = "unsnapshot",
	[SBX_CALL_OWN_READ] = "read",
	[SBX_CALL_OWN_WRITE] = "write",
	[SBX_CALL_OWN_LIST] = "list in",
	[SBX_CALL_OWN_MAKE] = "make",
	[SBX_CALL_OWN_REMOVE] = "remove",
};

static bool is_own(enum sbx_call_kind kind)
{
	return kind >= SBX_CALL_OWN_READ && kind <= SBX_CALL_OWN_REMOVE;
}

/* Kinds whose success is one sandbox. */
static bool gives_one(enum sbx_call_kind kind)
{
	return kind != SBX_CALL_LIST && kind != SBX_CALL_DESTROY &&
	       kind != SBX_CALL_FILES && kind != SBX_CALL_FILE &&
	       kind != SBX_CALL_SNAPSHOTS && kind != SBX_CALL_SNAPSHOT &&
	       kind != SBX_CALL_UNSNAPSHOT && !is_own(kind);
}

/* Those that are about something named. */
static bool needs_path(enum sbx_call_kind kind)
{
	return kind == SBX_CALL_FILES || kind == SBX_CALL_FILE || is_own(kind);
}

static void check_files(const struct sbx_call *call)
{
	size_t i;

	for (i = 0; i < call->nr_snapshots; i++)
		assert(call->snapshots[i].name[0] &&
		       !strchr(call->snapshots[i].name, '/'));
	for (i = 0; i < call->nr_files; i++)
		assert(call->files[i].name[0] &&
		       !strchr(call->files[i].name, '/'));
}

static void check_result(const struct sbx_call *call)
{
	size_t i;

	assert(call->error.err <= 0);
	if (call->error.err) {
		assert(call->error.text[0]);
		assert(call->nr == 0 && !call->nr_files && !call->len);
	} else if (gives_one(call->kind)) {
		assert(call->nr == 1);
	} else if (call->kind == SBX_CALL_DESTROY) {
		assert(call->nr == 0);
	}
	for (i = 0; i < call->nr; i++)
		assert(call->list[i].id && !strchr(call->list[i].id, '/'));
	check_files(call);
}

static void on_done(struct sbx_call *call)
{
	struct check_call *cc = call->arg;

	assert(!cc->submitting);
	check_result(call);
	sbx_log(SBX_LOG_DEBUG, "service", "%s %s: %s", kind_names[call->kind],
		call->id ? call->id : "",
		call->error.err ? call->error.text : "ok");
	cc->check->nr_calls--;
	call->done = cc->done;
	call->arg = cc->arg;
	free(cc);
	call->done(call);
}

void sbx_check_submit(struct sbx_service *svc, struct sbx_call *call)
{
	struct check *k = (struct check *)svc;
	struct check_call *cc = calloc(1, sizeof(*cc));

	assert(!k->closing);
	assert(call->done && call->kind < SBX_CALL_KINDS);
	assert(svc->type->calls & 1u << call->kind);
	assert(call->id || call->kind == SBX_CALL_LIST ||
	       call->kind == SBX_CALL_CREATE || is_own(call->kind));
	assert(call->path || !needs_path(call->kind));
	if (!cc) {
		k->inner->type->submit(k->inner, call);
		return;
	}
	cc->check = k;
	cc->done = call->done;
	cc->arg = call->arg;
	cc->submitting = true;
	call->done = on_done;
	call->arg = cc;
	k->nr_calls++;
	k->inner->type->submit(k->inner, call);
	cc->submitting = false;
}

/* ---- streams ---- */

struct check_stream {
	struct sbx_stream base;
	struct check *check;
	struct sbx_stream *inner;
	const struct sbx_stream_handler *handler;
	void *arg;
	bool opening, open, refused;
	bool own; /* a file of the service's own */
};

static void on_open(void *arg)
{
	struct check_stream *s = arg;

	assert(!s->opening && !s->open);
	s->open = true;
	s->handler->on_open(s->arg);
}

static void on_data(void *arg, int fd, const void *data, size_t len)
{
	struct check_stream *s = arg;

	assert(s->open && len > 0 && (fd == 1 || fd == 2));
	s->handler->on_data(s->arg, fd, data, len);
}

static void on_writable(void *arg)
{
	struct check_stream *s = arg;

	assert(s->open && s->refused);
	s->refused = false;
	if (s->handler->on_writable)
		s->handler->on_writable(s->arg);
}

static void on_end(void *arg, int exit_code, const struct sbx_error *error)
{
	struct check_stream *s = arg;

	assert(!s->opening);
	assert(error->err <= 0 && (!error->err || error->text[0]));
	assert(error->err || (s->open && exit_code >= -1 && exit_code <= 255));
	sbx_log(SBX_LOG_DEBUG, "service", "stream: %s (%d)",
		error->err ? error->text : "the command ended", exit_code);
	s->check->nr_streams--;
	s->handler->on_end(s->arg, exit_code, error);
	free(s);
}

#define HANDLER                                                                \
	.on_open = on_open, .on_data = on_data, .on_writable = on_writable,    \
	.on_end = on_end
static const struct sbx_stream_handler handler = {HANDLER};
static const struct sbx_stream_handler quiet_handler = {HANDLER,
							.no_stderr = true};

static struct check_stream *
stream_new(struct check *k, const struct sbx_stream_handler *h, void *arg)
{
	struct check_stream *s = calloc(1, sizeof(*s));

	assert(!k->closing);
	if (!s)
		return NULL;
	s->base.svc = &k->base;
	s->check = k;
	s->handler = h;
	s->arg = arg;
	s->opening = true;
	return s;
}

static struct sbx_stream *stream_opened(struct check_stream *s)
{
	s->opening = false;
	if (!s->inner) {
		free(s);
		return NULL;
	}
	s->check->nr_streams++;
	return &s->base;
}

struct sbx_stream *sbx_check_stream_open(struct sbx_service *svc,
					 const char *id,
					 const char *const *argv,
					 const struct sbx_stream_handler *h,
					 void *arg)
{
	struct check *k = (struct check *)svc;
	struct check_stream *s = stream_new(k, h, arg);

	assert(id && argv[0]);
	if (!s)
		return NULL;
	s->inner = k->inner->type->stream_open(
		k->inner, id, argv, h->no_stderr ? &quiet_handler : &handler,
		s);
	return stream_opened(s);
}

bool sbx_check_own_has(struct sbx_service *svc, const char *id,
		       const struct sbx_own *row, const char *path)
{
	struct check *k = (struct check *)svc;

	assert(!k->closing);
	return k->inner->type->own_has(k->inner, id, row, path);
}

struct sbx_stream *sbx_check_own_open(struct sbx_service *svc, const char *id,
				      const char *path, const char *input,
				      size_t len,
				      const struct sbx_stream_handler *h,
				      void *arg)
{
	struct check *k = (struct check *)svc;
	struct check_stream *s = stream_new(k, h, arg);

	assert(path);
	if (!s)
		return NULL;
	s->own = true;
	s->inner = k->inner->type->own_open(k->inner, id, path, input, len,
					    &handler, s);
	return stream_opened(s);
}

int sbx_check_stream_send(struct sbx_stream *stream, const void *data,
			  size_t len)
{
	struct check_stream *s = (struct check_stream *)stream;
	int r;

	assert(len <= s->base.svc->type->max_unit);
	r = s->check->inner->type->stream_send(s->inner, data, len);
	assert(r <= 0);
	if (r == -EAGAIN)
		s->refused = true;
	return r;
}

void sbx_check_stream_pause(struct sbx_stream *stream, bool paused)
{
	struct check_stream *s = (struct check_stream *)stream;

	const struct sbx_service_type *type = s->check->inner->type;

	(s->own ? type->own_pause : type->stream_pause)(s->inner, paused);
}

void sbx_check_stream_close(struct sbx_stream *stream)
{
	struct check_stream *s = (struct check_stream *)stream;

	const struct sbx_service_type *type = s->check->inner->type;

	(s->own ? type->own_close : type->stream_close)(s->inner);
}

/* ---- runs ---- */

struct check_run {
	struct check *check;
	void (*done)(struct sbx_run *run);
	void *arg;
	bool starting;
};

static void on_run_done(struct sbx_run *run)
{
	struct check_run *cr = run->arg;
	const struct sbx_error *e = &run->error;

	assert(!cr->starting);
	assert(e->err <= 0 && (!e->err || e->text[0]));
	assert(e->err || (run->exit_code >= 0 && run->exit_code <= 255));
	assert(run->out || !run->out_len);
	assert(run->err || !run->err_len);
	sbx_log(SBX_LOG_DEBUG, "service", "run: %s (%d, %zu bytes)",
		e->err ? e->text : "it ended", run->exit_code, run->out_len);
	cr->check->nr_streams--;
	run->done = cr->done;
	run->arg = cr->arg;
	free(cr);
	run->done(run);
}

void sbx_check_run(struct sbx_service *svc, const char *id, struct sbx_run *run)
{
	struct check *k = (struct check *)svc;
	const struct sbx_run_limits *lim = svc->type->run_limits;
	struct check_run *cr = calloc(1, sizeof(*cr));

	assert(!k->closing && id && run->command && run->done);
	assert(strlen(run->command) <= lim->command);
	assert(!run->input || strlen(run->input) <= lim->input);
	assert(lim->parks || !run->parks);
	if (!cr) {
		k->inner->type->run(k->inner, id, run);
		return;
	}
	cr->check = k;
	cr->done = run->done;
	cr->arg = run->arg;
	cr->starting = true;
	run->done = on_run_done;
	run->arg = cr;
	k->nr_streams++;
	k->inner->type->run(k->inner, id, run);
	cr->starting = false;
}

void sbx_check_run_cancel(struct sbx_service *svc, struct sbx_run *run)
{
	struct check *k = (struct check *)svc;

	k->inner->type->run_cancel(k->inner, run);
}

/* ---- the service ---- */

int sbx_check_open(const struct sbx_service_type *type,
		   const struct sbx_service_type *inner_type, uv_loop_t *loop,
		   const struct sbx_conf *conf, struct sbx_service **ret,
		   struct sbx_error *reterr)
{
	struct check *k = calloc(1, sizeof(*k));
	int r;

	if (!k)
		return sbx_error_set(reterr, -ENOMEM, "out of memory");
	assert(!inner_type->stream_open ||
	       inner_type->max_unit >= SBX_UNIT_MIN);
	k->base.type = type;
	r = inner_type->open(loop, conf, &k->inner, reterr);
	assert(r <= 0);
	if (r < 0) {
		free(k);
		return r;
	}
	assert(k->inner && k->inner->type == inner_type);
	*ret = &k->base;
	return 0;
}

static void on_inner_closed(void *arg)
{
	struct check *k = arg;
	void (*on_closed)(void *arg) = k->on_closed;
	void *closed_arg = k->closed_arg;

	assert(!k->nr_calls && !k->nr_streams);
	free(k);
	if (on_closed)
		on_closed(closed_arg);
}

void sbx_check_close(struct sbx_service *svc, void (*on_closed)(void *arg),
		     void *arg)
{
	struct check *k = (struct check *)svc;

	assert(!k->closing);
	k->closing = true;
	k->on_closed = on_closed;
	k->closed_arg = arg;
	k->inner->type->close(k->inner, on_inner_closed, k);
}
