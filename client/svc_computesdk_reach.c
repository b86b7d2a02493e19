/*
 * Reaching the daemon of a sandbox: where it is, as the gateway tells; that
 * it answers; then a command there that says where the workspace is and
 * whether the helper is there, which is brought there piece by piece if it is
 * not.  What was found is kept until somebody finds it wrong.
 *
 * A daemon of the first generation runs commands beside a terminal only, so
 * one is made whose program ends at once: it can be ended, as others there
 * cannot while they are silent.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/cleanup.h"
#include "client/json.h"
#include "client/log.h"
#include "client/svc_computesdk.h"

#define MAX_LOOK  (256u << 10)	  /* the text of one command */
#define FIRST_DIR "/home/project" /* all files of the first generation */
#define HURRY_MS  1500		  /* when everything is being closed */

static void reach_begin(void *arg);
static void reach_look(struct csdk_box *b);
static void reach_first(struct csdk_box *b);
static void runner_end(struct csdk_box *b);

void csdk_unwait(struct csdk_wait *w)
{
	if (!w->link)
		return;
	*w->link = w->next;
	if (w->next)
		w->next->link = w->link;
	w->link = NULL;
}

void csdk_reach_forget(struct csdk_box *b)
{
	b->ready = false;
}

/* ---- what commands are run beside ---- */

static void on_runner_ended(void *arg, const struct sbx_answer *answer)
{
	struct csdk_box *b = arg;
	struct sbx_rest *rest = &b->x->rest;

	(void)answer; /* nothing runs there */
	csdk_box_let_go(b);
	sbx_rest_let_go(rest);
}

static void runner_end(struct csdk_box *b)
{
	struct sbx_rest *rest = &b->x->rest;
	struct sbx_request_conf conf = {
		.method = "DELETE",
		.path = "/terminals/%s",
		.id = b->runner,
		.deadline = uv_now(rest->loop) + HURRY_MS,
		.to = b,
	};

	if (b->runner && b->place.url && !b->gone &&
	    sbx_request_start(rest, &conf, on_runner_ended, b)) {
		csdk_box_hold(b);
		sbx_rest_hold(rest);
	}
	free(b->runner);
	b->runner = NULL;
}

void csdk_reach_stop(struct csdk_box *b)
{
	while (b->waiting)
		csdk_unwait(b->waiting);
	b->request = sbx_request_cancel(b->request);
	b->alarm = sbx_alarm_cancel(b->alarm);
	runner_end(b);
}

void csdk_box_run(struct csdk_box *b, struct sbx_request_conf *conf)
{
	conf->method = "POST";
	conf->path = b->first ? "/terminals/%s/execute"
		     : b->old ? "/execute"
			      : "/run/command";
	conf->id = b->first ? b->runner : NULL;
	conf->wants_json = true;
	conf->to = b;
}

/* ---- the end of it ---- */

static void reach_tell(struct csdk_box *b, const struct sbx_error *error)
{
	struct csdk_wait *w, *all = b->waiting;

	csdk_box_hold(b);
	/* who comes from here on waits for the next time */
	b->waiting = NULL;
	if (all)
		all->link = &all;
	while ((w = all)) {
		csdk_unwait(w);
		w->fn(w->arg, error);
	}
	csdk_box_let_go(b);
}

static void reach_fail(struct csdk_box *b, int err, enum sbx_retry retry,
		       const char *text)
{
	struct sbx_error e;

	sbx_error_set(&e, err, "%s", text);
	e.retry = retry;
	reach_tell(b, &e);
}

static void reach_no_memory(struct csdk_box *b)
{
	reach_fail(b, -ENOMEM, SBX_RETRY_LATER, "out of memory");
}

static void reach_ask(struct csdk_box *b, struct sbx_request_conf conf,
		      sbx_request_fn *fn)
{
	conf.repeatable = true;
	conf.deadline = b->deadline;
	b->request = sbx_request_start(&b->x->rest, &conf, fn, b);
	if (!b->request)
		reach_no_memory(b);
}

/* Again from the start after a pause; if there is no time, fails. */
static void reach_again(struct csdk_box *b, const struct sbx_error *error)
{
	unsigned int ms = sbx_backoff_next(&b->backoff);

	if (uv_now(b->x->rest.loop) + ms >= b->deadline) {
		reach_tell(b, error);
		return;
	}
	b->alarm = sbx_alarm_set(&b->x->rest, ms, reach_begin, b);
	if (!b->alarm)
		reach_no_memory(b);
}

/* An answer of the daemon's that is an error. */
static void reach_error(struct csdk_box *b, const struct sbx_error *e)
{
	if (e->retry == SBX_RETRY_LATER || e->retry == SBX_RETRY_CONNECTION)
		reach_again(b, e);
	else
		reach_tell(b, e);
}

/* ---- the helper ---- */

static void reach_ready(struct csdk_box *b)
{
	static const struct sbx_error none;

	b->ready = true;
	b->generation = b->first ? 1 : b->old ? 2 : 3;
	sbx_log(SBX_LOG_DEBUG, "computesdk", "%s: workspace %s, %s", b->id,
		b->there.dir, b->there.helper ? b->there.helper : b->there.why);
	reach_tell(b, &none);
}

static void on_ran(void *arg, const struct sbx_answer *answer);

/* Runs the text in buf, which it releases; all of ours may run twice. */
static void reach_run(struct csdk_box *b, struct sbx_buf *text)
{
	SBX_FREE char *body = NULL;
	struct sbx_request_conf conf = {0};

	if (!text->err)
		body = sbx_csdk_command_body((char *)sbx_buf_at(text));
	sbx_buf_release(text);
	csdk_box_run(b, &conf);
	conf.body = body;
	if (body)
		reach_ask(b, conf, on_ran);
	else
		reach_no_memory(b);
}

static void reach_send_piece(struct csdk_box *b)
{
	struct sbx_buf text;

	sbx_buf_init(&text, MAX_LOOK);
	sbx_csdk_put_piece(&text, b->mark, &b->upload);
	reach_run(b, &text);
}

/* Who is between takes no piece of this size: a smaller one, if it was one. */
static bool reach_smaller(struct csdk_box *b, const struct sbx_error *e)
{
	struct sbx_csdk_upload *u = &b->upload;
	size_t piece = u->piece ? u->piece : SBX_CSDK_PIECE;

	if (e->status != 413 || !u->plant.blob || piece < SBX_CSDK_SMALL)
		return false;
	u->piece = piece / 2;
	return true;
}

static void reach_take(struct csdk_box *b, const char *out)
{
	switch (sbx_csdk_read_look(out, b->mark, &b->there, &b->upload)) {
	case SBX_CSDK_SAID_READY:
		reach_ready(b);
		break;
	case SBX_CSDK_SAID_NEED:
		reach_send_piece(b);
		break;
	case SBX_CSDK_SAID_NOTHING:
		reach_fail(b, -EOPNOTSUPP, SBX_RETRY_NEVER,
			   "a command in the sandbox did not print what it was "
			   "told to; it needs a POSIX shell");
		break;
	}
}

static void on_ran(void *arg, const struct sbx_answer *answer)
{
	struct csdk_box *b = arg;

	b->request = NULL;
	if (!answer->error.err) {
		reach_take(b, sbx_csdk_command_output(answer->json));
	} else if (reach_smaller(b, &answer->error)) {
		reach_send_piece(b);
	} else if (answer->error.err == -EOPNOTSUPP && !b->old) {
		b->old = true;
		reach_look(b);
	} else if (answer->error.err == -EOPNOTSUPP && !b->first) {
		reach_first(b);
	} else if (answer->error.err == -ENOENT && b->first &&
		   !b->runner_is_new) {
		/* nothing else can be missing: the daemon was started anew */
		free(b->runner);
		b->runner = NULL;
		reach_first(b);
	} else {
		if (b->first) /* it may be what is not there any more */
			runner_end(b);
		reach_error(b, &answer->error);
	}
}

static void on_runner(void *arg, const struct sbx_answer *answer)
{
	struct csdk_box *b = arg;
	const char *id = sbx_json_str(sbx_csdk_data(answer->json), "id");
	struct sbx_error e = answer->error;

	b->request = NULL;
	if (!e.err && !sbx_csdk_thing_is_valid(id))
		sbx_error_wonder(&e, b->place.url, "a ComputeSDK daemon",
				 "it made no terminal");
	if (!e.err && sbx_dup_text(&b->runner, id) < 0)
		sbx_error_set(&e, -ENOMEM, "out of memory");
	b->runner_is_new = true;
	if (e.err)
		reach_error(b, &e);
	else
		reach_look(b);
}

static void reach_first(struct csdk_box *b)
{
	b->first = true;
	b->generation = 1;
	if (b->runner)
		reach_look(b);
	else
		reach_ask(b,
			  (struct sbx_request_conf){
				  .method = "POST",
				  .path = "/terminals",
				  .body = "{\"shell\":\"/bin/true\"}",
				  .wants_json = true,
				  .to = b},
			  on_runner);
}

static void reach_look(struct csdk_box *b)
{
	struct sbx_buf text;

	sbx_csdk_there_release(&b->there);
	memset(&b->upload, 0, sizeof(b->upload));
	if (sbx_make_marker(b->mark) < 0) {
		reach_no_memory(b);
		return;
	}
	sbx_buf_init(&text, MAX_LOOK);
	sbx_csdk_put_look(&text, b->mark, b->first ? FIRST_DIR : NULL);
	reach_run(b, &text);
}

/* ---- the daemon ---- */

static void on_health(void *arg, const struct sbx_answer *answer)
{
	struct csdk_box *b = arg;

	b->request = NULL;
	if (!answer->error.err) {
		b->old = b->first = b->runner_is_new = false;
		reach_look(b);
	} else if (answer->error.err == -EPROTO) {
		reach_tell(b, &answer->error);
	} else {
		/* it may be there in a moment, or be elsewhere by now */
		reach_again(b, &answer->error);
	}
}

static void reach_health(struct csdk_box *b)
{
	reach_ask(b,
		  (struct sbx_request_conf){
			  .method = "GET", .path = "/health", .to = b},
		  on_health);
}

static void on_told(void *arg, const struct sbx_answer *answer)
{
	struct csdk_box *b = arg;
	struct sbx_error e = answer->error;
	struct sbx_sandbox s;
	int r;

	b->request = NULL;
	if (e.err == -ENOENT) {
		csdk_box_hold(b);
		csdk_box_drop(b);
		reach_tell(b, &e);
		csdk_box_let_go(b);
		return;
	}
	r = e.err ? 0 : csdk_box_take(b->x, answer->json, b->id, &s);
	if (r == -EPROTO)
		sbx_rest_wonder(&b->x->rest, &e, "no sandbox in it");
	else if (r < 0)
		sbx_error_set(&e, r, "out of memory");
	if (e.err) {
		reach_error(b, &e);
		return;
	}
	sbx_sandbox_release(&s);
	if (b->place.url)
		reach_health(b);
	else /* destroyed meanwhile: the answer was older */
		reach_fail(b, -ENOENT, SBX_RETRY_NEVER,
			   "there is no such sandbox");
}

static void reach_begin(void *arg)
{
	static const struct sbx_error none;
	struct csdk_box *b = arg;

	b->alarm = NULL;
	if (b->ready)
		reach_tell(b, &none);
	else if (csdk_is_direct(b->x) && b->place.url)
		reach_health(b);
	else if (csdk_is_direct(b->x))
		reach_fail(b, -ENOENT, SBX_RETRY_NEVER,
			   "there is no such sandbox");
	else
		reach_ask(b,
			  (struct sbx_request_conf){.method = "GET",
						    .path = "/sandboxes/%s",
						    .id = b->id,
						    .wants_json = true},
			  on_told);
}

void csdk_reach(struct csdk_box *b, struct csdk_wait *w, uint64_t deadline)
{
	w->next = b->waiting;
	w->link = &b->waiting;
	if (w->next)
		w->next->link = &w->next;
	b->waiting = w;
	if (b->request || b->alarm) {
		if (deadline > b->deadline)
			b->deadline = deadline;
		return;
	}
	b->deadline = deadline;
	b->backoff = (struct sbx_backoff){.first_ms = 200, .max_ms = 2000};
	b->alarm = sbx_alarm_set(&b->x->rest, 0, reach_begin, b);
	if (!b->alarm)
		reach_no_memory(b);
}
