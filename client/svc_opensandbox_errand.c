/*
 * A question to the execd of a sandbox, or to what is behind another of its
 * ports, for a call of the layer above: finds where that is, asks, and looks
 * anew, once, if nobody is there any more.  So a sandbox that somebody else
 * has paused meanwhile is found out, too.
 */
#include <errno.h>
#include <stdlib.h>

#include "client/svc_opensandbox.h"

/* After this it is looked whether the sandbox is paused. */
#define DOUBT_MS 5000

struct errand {
	struct osb_errand what;
	struct osb_reach *reach; /* held */
	struct osb_reach_wait wait;
	struct osb_reach other; /* where what.port is; not among the reaches */
	bool again;
};

static void errand_go(struct sbx_work *w);

static void errand_drop(void *state)
{
	struct errand *e = state;

	osb_reach_unwait(&e->wait);
	osb_reach_let_go(e->reach);
	sbx_osb_endpoint_release(&e->other.endpoint);
	free(e->other.base);
	free(e->what.query);
	free(e->what.body);
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

static void errand_ask(struct sbx_work *w)
{
	struct errand *e = w->state;
	uint64_t doubt = uv_now(w->rest->loop) + DOUBT_MS;

	/* not repeated behind our back: one that is frozen takes the longest
	 * time each time */
	sbx_work_request(w,
			 (struct sbx_request_conf){
				 .method = e->what.method,
				 .path = e->what.path,
				 .query = e->what.query,
				 .body = e->what.body,
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

	if (!e) {
		free(what->query);
		free(what->body);
		sbx_work_no_memory(w);
		return;
	}
	e->what = *what;
	e->reach = osb_reach_hold(r);
	e->other.is_other = true;
	w->state = e;
	w->drop = errand_drop;
	errand_go(w);
}
