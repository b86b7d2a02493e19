/*
 * Making a sandbox: ask for it, find it again if the answer was lost, and
 * wait until it runs.  A sandbox that does not come to run is destroyed: who
 * asked for it was told that there is none.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/cleanup.h"
#include "client/json.h"
#include "client/log.h"
#include "client/svc_xgen.h"

#define POLL_FIRST_MS 100
#define POLL_MAX_MS   1000
#define CLEAN_UP_MS   3000
#define MAX_ASKED     2

struct xgen_create_state {
	struct sbx_xgen_create wish;
	char marker[33];
	char *id; /* once it is known */
	unsigned int asked;
	uint64_t poll_ms;
	struct sbx_error lost; /* how the answer was lost */
	struct sbx_error why;  /* it is given up */
};

static void create_ask(struct sbx_work *w);

static struct xgen_create_state *state(const struct sbx_work *w)
{
	return w->state;
}

static void create_drop(void *state)
{
	struct xgen_create_state *c = state;

	if (!c)
		return;
	sbx_xgen_create_release(&c->wish);
	free(c->id);
	free(c);
}

static void on_cleaned_up(void *arg, const struct sbx_answer *answer)
{
	struct sbx_work *w = arg;
	struct sbx_error e = state(w)->why;

	w->request = NULL;
	if (answer->error.err)
		sbx_log(SBX_LOG_WARNING, "xgen",
			"a sandbox that did not start may be left behind: %s",
			answer->error.text);
	sbx_work_done(w, &e);
}

/* Ends the call with an error, once what was made of the sandbox is gone. */
static void create_give_up(struct sbx_work *w, const struct sbx_error *e)
{
	state(w)->why = *e;
	sbx_work_request(
		w,
		(struct sbx_request_conf){.method = "DELETE",
					  .path = "/sandboxes/%s",
					  .id = state(w)->id,
					  .deadline = uv_now(w->rest->loop) +
						      CLEAN_UP_MS,
					  .repeatable = true},
		on_cleaned_up);
}

/* ---- until it runs ---- */

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

static void create_running(struct sbx_work *w)
{
	struct xgen_create_state *c = w->state;
	struct sbx_error e;

	if (c->wish.env && xgen_env_keep((struct xgen *)w->rest, c->id,
					 SBX_TAKE(c->wish.env)) < 0) {
		sbx_error_set(&e, -ENOMEM, "out of memory");
		create_give_up(w, &e);
		return;
	}
	sbx_work_done(w, NULL);
}

static void create_wait(struct sbx_work *w)
{
	struct xgen_create_state *c = w->state;
	struct sbx_error e;
	uint64_t pause_ms;

	if (uv_now(w->rest->loop) + c->poll_ms >= w->deadline) {
		sbx_error_set(&e, -ETIMEDOUT,
			      "%s did not start the sandbox in time; it was "
			      "given up",
			      w->rest->url);
		e.retry = SBX_RETRY_LATER;
		create_give_up(w, &e);
		return;
	}
	pause_ms = c->poll_ms;
	c->poll_ms = pause_ms * 2 < POLL_MAX_MS ? pause_ms * 2 : POLL_MAX_MS;
	sbx_work_pause(w, pause_ms, create_poll);
}

/* Whatever said it, this is what it is now. */
static void create_look_at(struct sbx_work *w, const json_t *obj)
{
	struct sbx_error e;
	enum sbx_state state;

	if (!xgen_work_take(w, obj))
		return;
	state = w->call->list->state;
	if (state == SBX_STATE_RUNNING) {
		create_running(w);
	} else if (state == SBX_STATE_STARTING) {
		create_wait(w);
	} else {
		sbx_error_set(&e, -EIO,
			      "%s could not start the sandbox (it is %s)",
			      w->rest->url, sbx_state_name(state));
		create_give_up(w, &e);
	}
}

static void on_polled(void *arg, const struct sbx_answer *answer)
{
	struct sbx_work *w = arg;

	w->request = NULL;
	if (!answer->error.err) {
		w->misses = 0;
		create_look_at(w, answer->json);
	} else if (answer->error.err == -ENOENT && w->misses++ < 3) {
		/* another replica, or it has not heard of it yet */
		create_wait(w);
	} else {
		create_give_up(w, &answer->error);
	}
}

/* It is there: its id is what everything else goes by. */
static void create_found(struct sbx_work *w, const json_t *obj)
{
	const char *id = sbx_json_str(obj, "id");
	struct sbx_error e;

	if (!sbx_is_id(id)) {
		sbx_xgen_not_xgen(&e, w->rest->url, "no sandbox in it");
		sbx_work_done(w, &e);
		return;
	}
	state(w)->id = strdup(id);
	if (!state(w)->id) {
		sbx_error_set(&e, -ENOMEM, "out of memory");
		sbx_work_done(w, &e);
		return;
	}
	create_look_at(w, obj);
}

/* ---- a lost answer ---- */

static const json_t *list_find_marker(const json_t *list, const char *marker)
{
	const json_t *obj;
	const char *text;
	size_t i;

	for (i = 0; i < json_array_size(list); i++) {
		obj = json_array_get(list, i);
		text = sbx_json_str(sbx_json_object(obj, "metadata"),
				    SBX_XGEN_MARKER);
		if (text && !strcmp(text, marker))
			return obj;
	}
	return NULL;
}

static void on_looked(void *arg, const struct sbx_answer *answer)
{
	struct sbx_work *w = arg;
	const json_t *obj;

	w->request = NULL;
	if (answer->error.err) {
		sbx_work_done(w, &state(w)->lost);
		return;
	}
	obj = list_find_marker(answer->json, state(w)->marker);
	if (obj)
		create_found(w, obj);
	else if (state(w)->asked < MAX_ASKED)
		create_ask(w);
	else
		sbx_work_done(w, &state(w)->lost);
}

static void create_look_for(struct sbx_work *w)
{
	sbx_work_request(w,
			 (struct sbx_request_conf){.method = "GET",
						   .path = "/sandboxes",
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

	state(w)->asked++;
	sbx_work_request(
		w,
		(struct sbx_request_conf){.method = "POST",
					  .path = "/sandboxes",
					  .body = state(w)->wish.body_v2,
					  .old_body = state(w)->wish.body_v1,
					  .deadline = now + left / 4 * 3,
					  .wants_json = true},
		on_asked);
}

void xgen_create_start(struct sbx_work *w)
{
	struct xgen_create_state *c = calloc(1, sizeof(*c));
	int r;

	w->state = c;
	w->drop = create_drop;
	if (!c || sbx_work_make_marker(c->marker) < 0) {
		sbx_error_set(&w->call->error, -ENOMEM, "out of memory");
		sbx_work_done(w, NULL);
		return;
	}
	c->poll_ms = POLL_FIRST_MS;
	r = sbx_xgen_create_parse(&c->wish, w->call->options, c->marker,
				  &w->call->error);
	if (r < 0)
		sbx_work_done(w, NULL);
	else
		create_ask(w);
}
