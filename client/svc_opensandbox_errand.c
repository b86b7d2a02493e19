/*
 * A question to the execd of a sandbox, or to what is behind another of its
 * ports, for a call of the layer above: finds where that is, asks, and looks
 * anew, once, if nobody is there any more.  So a sandbox that somebody else
 * has paused meanwhile is found out, too.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/cleanup.h"
#include "client/limits.h"
#include "client/svc_opensandbox.h"

/* After this it is looked whether the sandbox is paused. */
#define DOUBT_MS 5000

struct errand {
	struct osb_errand what;
	struct osb_reach *reach; /* held */
	struct osb_reach_wait wait;
	struct osb_reach other; /* where what.port is; not among the reaches */
	bool again;
	/* of one that takes long */
	struct sbx_buf text;
	struct sbx_alarm *alarm;
};

static void errand_go(struct sbx_work *w);

static void errand_drop(void *state)
{
	struct errand *e = state;

	sbx_alarm_cancel(e->alarm);
	sbx_buf_wipe(&e->text);
	free((char *)(uintptr_t)e->what.name);
	osb_reach_unwait(&e->wait);
	osb_reach_let_go(e->reach);
	sbx_osb_endpoint_release(&e->other.endpoint);
	free(e->other.base);
	free(e->what.query);
	sbx_wipe(e->what.body);
	free(e);
}

static bool is_lost(const struct sbx_error *e)
{
	return e->retry == SBX_RETRY_CONNECTION || e->status == 502 ||
	       e->status == 503;
}

static void on_answer(struct sbx_work *w, const struct sbx_answer *answer)
{
	struct errand *e = w->state;

	if (answer->error.err && is_lost(&answer->error)) {
		osb_reach_forget(e->reach);
		/* what changes something may have been done */
		if (!e->again && (e->what.is_safe || !answer->maybe_done)) {
			e->again = true;
			errand_go(w);
			return;
		}
	}
	e->what.fn(w, answer);
}

/* ---- one that takes long ---- */

/* It would go on for ever, or come to more than anybody wants. */
static void on_long_enough(void *arg)
{
	struct sbx_work *w = arg;
	struct errand *e = w->state;
	struct sbx_answer answer = {.body = "", .maybe_done = true};

	e->alarm = NULL;
	w->request = sbx_request_cancel(w->request);
	osb_reach_forget(e->reach); /* it may be paused */
	if (e->text.err)
		sbx_error_set(&answer.error,
			      e->text.err == -ENOMEM ? -ENOMEM : -EMSGSIZE,
			      "%.60s: more came of it than can be kept",
			      w->call->path);
	else
		sbx_error_set(&answer.error, -ETIMEDOUT,
			      "%.60s: no answer in %u s", w->call->path,
			      e->what.longest_ms / 1000);
	e->what.fn(w, &answer);
}

static void on_piece(void *arg, const char *data, size_t len)
{
	struct sbx_work *w = arg;
	struct errand *e = w->state;

	if (e->text.err || sbx_buf_add(&e->text, data, len) == 0)
		return;
	/* not from within */
	sbx_alarm_cancel(e->alarm);
	e->alarm = sbx_alarm_set(w->rest, 0, on_long_enough, w);
}

static void on_whole(struct sbx_work *w, const struct sbx_answer *answer)
{
	struct errand *e = w->state;
	struct sbx_answer whole = *answer;

	e->alarm = sbx_alarm_cancel(e->alarm);
	if (e->text.err) {
		on_long_enough(w);
		return;
	}
	if (!whole.error.err && sbx_buf_len(&e->text)) {
		whole.body = (const char *)sbx_buf_at(&e->text);
		whole.len = sbx_buf_len(&e->text);
	}
	on_answer(w, &whole);
}

static void errand_ask_long(struct sbx_work *w)
{
	struct errand *e = w->state;

	sbx_buf_clear(&e->text);
	e->alarm =
		sbx_alarm_set(w->rest, e->what.longest_ms, on_long_enough, w);
	if (!e->alarm) {
		sbx_work_no_memory(w);
		return;
	}
	sbx_work_request(w,
			 (struct sbx_request_conf){.method = e->what.method,
						   .path = e->what.path,
						   .id = e->what.name,
						   .body = e->what.body,
						   .to = e->reach,
						   .on_piece = on_piece},
			 on_whole);
}

/* ---- asking ---- */

static void errand_ask(struct sbx_work *w)
{
	struct errand *e = w->state;
	uint64_t doubt = uv_now(w->rest->loop) + DOUBT_MS;

	if (e->what.longest_ms) {
		errand_ask_long(w);
		return;
	}
	/* not repeated behind our back: one that is frozen takes the longest
	 * time each time */
	sbx_work_request(w,
			 (struct sbx_request_conf){
				 .method = e->what.method,
				 .path = e->what.path,
				 .id = e->what.name,
				 .query = e->what.query,
				 .body = e->what.body,
				 .raw = e->what.max_body,
				 .max_body = e->what.max_body,
				 .deadline = e->again || doubt > w->deadline
						     ? w->deadline
						     : doubt,
				 .to = e->what.port ? &e->other : e->reach},
			 on_answer);
}

static void on_endpoint(struct sbx_work *w, const struct sbx_answer *answer)
{
	struct errand *e = w->state;
	struct sbx_error error = answer->error;
	int r = error.err
			? 0
			: osb_reach_take(&e->other, e->reach->x, answer->json);

	if (r == -EPROTO)
		sbx_rest_wonder(w->rest, &error,
				"the endpoint it gives is no address");
	else if (r < 0)
		sbx_error_set(&error, r, "out of memory");
	if (error.err)
		sbx_work_done(w, &error);
	else
		errand_ask(w);
}

static void on_reached(void *arg, const struct sbx_error *error)
{
	struct sbx_work *w = arg;
	struct errand *e = w->state;

	if (error->err)
		sbx_work_done(w, error);
	else if (e->what.port)
		sbx_work_request(w,
				 (struct sbx_request_conf){
					 .method = "GET",
					 .path = OSB_EGRESS_PATH,
					 .id = w->call->id,
					 .query = osb_reach_query(e->reach),
					 .repeatable = true,
					 .wants_json = true},
				 on_endpoint);
	else
		errand_ask(w);
}

static void errand_go(struct sbx_work *w)
{
	struct errand *e = w->state;

	e->wait.fn = on_reached;
	e->wait.arg = w;
	osb_reach_find(e->reach, &e->wait, w->deadline);
}

void osb_errand_start(struct sbx_work *w, const struct osb_errand *what)
{
	struct osb_reach *r = osb_reach_of((struct osb *)w->rest, w->call->id);
	struct errand *e = r ? calloc(1, sizeof(*e)) : NULL;
	char *name = what->name ? strdup(what->name) : NULL;

	if (!e || (what->name && !name)) {
		free(e);
		free(name);
		free(what->query);
		sbx_wipe(what->body);
		sbx_work_no_memory(w);
		return;
	}
	e->what = *what;
	e->what.name = name;
	/* before what was there lets go of it: nobody else may have it */
	e->reach = osb_reach_hold(r);
	if (w->drop)
		w->drop(w->state);
	e->other.is_other = true;
	sbx_buf_init(&e->text, SBX_HTTP_MAX_BODY);
	w->state = e;
	w->drop = errand_drop;
	errand_go(w);
}
