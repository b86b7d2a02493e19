/*
 * Making a sandbox: ask for it, which may take minutes; find it again if the
 * answer was lost; wait until it runs and its execd answers.  One that does
 * not come to be of use is destroyed: who asked for it was told that there is
 * none.  It is asked for once only, since a lost request may still be under
 * way there, pulling an image.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/json.h"
#include "client/labels.h"
#include "client/log.h"
#include "client/svc_opensandbox.h"

#define POLL_FIRST_MS 200
#define POLL_MAX_MS   5000
#define CLEAN_UP_MS   5000
#define LOOK_FOR_MS   60000 /* for what became of a lost request */
#define READY_MS      30000 /* from "Running" until execd answers */

struct osb_create_state {
	struct osb *x;
	struct sbx_osb_create wish;
	char marker[33];
	char *id; /* once it is known */
	uint64_t poll_ms, look_until;
	struct osb_reach_wait wait;
	struct sbx_error lost; /* how the answer was lost */
	struct sbx_error why;  /* it is given up */
};

static struct osb_create_state *state(const struct sbx_work *w)
{
	return w->state;
}

static void create_drop(void *arg)
{
	struct osb_create_state *c = arg;

	if (!c)
		return;
	osb_reach_unwait(&c->wait);
	sbx_osb_create_release(&c->wish);
	free(c->id);
	free(c);
}

static void on_cleaned_up(void *arg, const struct sbx_answer *answer)
{
	struct sbx_work *w = arg;
	struct sbx_error e = state(w)->why;

	w->request = NULL;
	if (answer->error.err)
		sbx_log(SBX_LOG_WARNING, "opensandbox",
			"a sandbox that did not start may be left behind: %s",
			answer->error.text);
	osb_reach_drop(state(w)->x, state(w)->id);
	sbx_work_done(w, &e);
}

/* Ends the call with an error, once what was made of the sandbox is gone. */
static void create_give_up(struct sbx_work *w, const struct sbx_error *e)
{
	uint64_t until = uv_now(w->rest->loop) + CLEAN_UP_MS;

	state(w)->why = *e;
	sbx_work_request(w,
			 (struct sbx_request_conf){.method = "DELETE",
						   .path = "/sandboxes/%s",
						   .id = state(w)->id,
						   .deadline = until,
						   .repeatable = true},
			 on_cleaned_up);
}

/* ---- until it can be used ---- */

static void on_reached(void *arg, const struct sbx_error *error)
{
	struct sbx_work *w = arg;

	if (error->err)
		create_give_up(w, error);
	else
		sbx_work_done(w, NULL);
}

static void create_running(struct sbx_work *w)
{
	struct osb_create_state *c = w->state;
	struct osb_reach *r = osb_reach_of(c->x, c->id);
	uint64_t until = uv_now(w->rest->loop) + READY_MS;

	if (r && c->wish.token && !r->token)
		r->token = sbx_secret_new(c->wish.token, strlen(c->wish.token));
	if (!r || (c->wish.token && !r->token)) {
		sbx_work_no_memory(w);
		return;
	}
	c->wait.fn = on_reached;
	c->wait.arg = w;
	osb_reach_find(r, &c->wait, until < w->deadline ? until : w->deadline);
}

static void on_polled(void *arg, const struct sbx_answer *answer);

static void create_poll(void *arg)
{
	struct sbx_work *w = arg;

	w->alarm = NULL;
	sbx_work_request(w,
			 (struct sbx_request_conf){.method = "GET",
						   .path = "/sandboxes/%s",
						   .id = state(w)->id,
						   .repeatable = true,
						   .wants_json = true},
			 on_polled);
}

/* Calls fn after a pause that grows; false: there is no time for it. */
static bool create_pause(struct sbx_work *w, void (*fn)(void *arg))
{
	struct osb_create_state *c = w->state;
	uint64_t ms = c->poll_ms;

	if (uv_now(w->rest->loop) + ms >= w->deadline)
		return false;
	c->poll_ms = ms * 2 < POLL_MAX_MS ? ms * 2 : POLL_MAX_MS;
	sbx_work_pause(w, ms, fn);
	return true;
}

/* Whatever said it, this is what it is now. */
static void create_look_at(struct sbx_work *w, const json_t *obj)
{
	enum sbx_state now;
	struct sbx_error e;

	if (!sbx_work_take(w, obj, sbx_osb_sandbox_from_json))
		return;
	now = w->call->list->state;
	if (now == SBX_STATE_RUNNING) {
		create_running(w);
		return;
	}
	if (now == SBX_STATE_STARTING && create_pause(w, create_poll))
		return;
	if (now == SBX_STATE_STARTING)
		sbx_error_set(&e, -ETIMEDOUT,
			      "%s did not start the sandbox in time; it was "
			      "given up",
			      w->rest->url);
	else
		sbx_error_set(&e, -EIO,
			      "%s could not start the sandbox (it is %s)",
			      w->rest->url, sbx_state_name(now));
	create_give_up(w, &e);
}

static void on_polled(void *arg, const struct sbx_answer *answer)
{
	struct sbx_work *w = arg;

	w->request = NULL;
	if (answer->error.err)
		create_give_up(w, &answer->error);
	else
		create_look_at(w, answer->json);
}

/* It is there: its id is what everything else goes by. */
static void create_found(struct sbx_work *w, const json_t *obj)
{
	const char *id = sbx_json_str(obj, "id");
	struct sbx_error e;

	if (!sbx_is_id(id)) {
		sbx_osb_wonder(&e, w->rest->url, "no sandbox in it");
		sbx_work_done(w, &e);
		return;
	}
	state(w)->id = strdup(id);
	if (!state(w)->id) {
		sbx_work_no_memory(w);
		return;
	}
	state(w)->poll_ms = POLL_FIRST_MS;
	create_poll(w); /* the answer to create does not tell all */
}

/* ---- a lost answer ---- */

static void create_look_for(void *arg);

static void on_looked(void *arg, const struct sbx_answer *answer)
{
	struct sbx_work *w = arg;
	struct osb_create_state *c = w->state;
	const json_t *obj =
		json_array_get(sbx_json_array(answer->json, "items"), 0);
	const char *mark = sbx_json_str(sbx_json_object(obj, "metadata"),
					SBX_LABEL_MARKER);

	w->request = NULL;
	if (mark && !strcmp(mark, c->marker))
		create_found(w, obj);
	else if (answer->error.err || uv_now(w->rest->loop) > c->look_until ||
		 !create_pause(w, create_look_for))
		sbx_work_done(w, &c->lost);
}

static void create_look_for(void *arg)
{
	struct sbx_work *w = arg;
	char query[128];

	w->alarm = NULL;
	/* one value that is itself a query, so encoded twice */
	snprintf(query, sizeof(query),
		 "metadata=" SBX_LABEL_MARKER "%%3D%s&pageSize=20",
		 state(w)->marker);
	sbx_work_request(w,
			 (struct sbx_request_conf){.method = "GET",
						   .path = "/sandboxes",
						   .query = query,
						   .repeatable = true,
						   .wants_json = true},
			 on_looked);
}

/* ---- asking ---- */

static void on_asked(void *arg, const struct sbx_answer *answer)
{
	struct sbx_work *w = arg;

	w->request = NULL;
	if (!answer->error.err) {
		create_found(w, answer->json);
	} else if (answer->maybe_done) {
		state(w)->lost = answer->error;
		state(w)->look_until = uv_now(w->rest->loop) + LOOK_FOR_MS;
		create_look_for(w);
	} else {
		sbx_work_done(w, &answer->error);
	}
}

/* Not all of the time for the answer: some is needed to look for what became
 * of it. */
static void create_ask(struct sbx_work *w)
{
	uint64_t now = uv_now(w->rest->loop);
	uint64_t left = w->deadline > now ? w->deadline - now : 0;

	sbx_work_request(
		w,
		(struct sbx_request_conf){.method = "POST",
					  .path = "/sandboxes",
					  .body = state(w)->wish.body,
					  .deadline = now + left / 8 * 7,
					  .wants_json = true},
		on_asked);
}

void osb_create_start(struct sbx_work *w)
{
	struct osb_create_state *c = calloc(1, sizeof(*c));

	w->state = c;
	w->drop = create_drop;
	if (!c || sbx_work_make_marker(c->marker) < 0) {
		sbx_work_no_memory(w);
		return;
	}
	c->x = (struct osb *)w->rest;
	c->poll_ms = POLL_FIRST_MS;
	if (sbx_osb_create_parse(&c->wish, w->call->options, c->marker,
				 &w->call->error) < 0)
		sbx_work_done(w, NULL);
	else
		create_ask(w);
}
