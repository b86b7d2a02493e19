/*
 * Making a sandbox: ask for it, find it again if the answer was lost, and
 * wait until it runs.  A sandbox that does not come to run is destroyed: who
 * asked for it was told that there is none.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

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

static void create_ask(struct xgen_work *w);

void xgen_create_drop(struct xgen_create_state *c)
{
	if (!c)
		return;
	sbx_xgen_create_release(&c->wish);
	free(c->id);
	free(c);
}

static void on_cleaned_up(void *arg, const struct xgen_answer *answer)
{
	struct xgen_work *w = arg;
	struct sbx_error e = w->create->why;

	w->request = NULL;
	if (answer->error.err)
		sbx_log(SBX_LOG_WARNING, "xgen",
			"a sandbox that did not start may be left behind: %s",
			answer->error.text);
	xgen_work_done(w, &e);
}

/* Ends the call with an error, once what was made of the sandbox is gone. */
static void create_give_up(struct xgen_work *w, const struct sbx_error *e)
{
	w->create->why = *e;
	xgen_work_request(w,
			  (struct xgen_request_conf){
				  .method = "DELETE",
				  .path = "/sandboxes/%s",
				  .id = w->create->id,
				  .deadline = uv_now(w->x->loop) + CLEAN_UP_MS,
				  .repeatable = true},
			  on_cleaned_up);
}

/* ---- until it runs ---- */

static void on_polled(void *arg, const struct xgen_answer *answer);

static void create_poll(void *arg)
{
	struct xgen_work *w = arg;

	w->alarm = NULL;
	xgen_work_request(w,
			  (struct xgen_request_conf){.method = "GET",
						     .path = "/sandboxes/%s",
						     .id = w->create->id,
						     .repeatable = true,
						     .wants_json = true},
			  on_polled);
}

static void create_running(struct xgen_work *w)
{
	struct xgen_create_state *c = w->create;
	struct sbx_error e;

	if (c->wish.env &&
	    xgen_env_keep(w->x, c->id, SBX_TAKE(c->wish.env)) < 0) {
		sbx_error_set(&e, -ENOMEM, "out of memory");
		create_give_up(w, &e);
		return;
	}
	xgen_work_done(w, NULL);
}

static void create_wait(struct xgen_work *w)
{
	struct xgen_create_state *c = w->create;
	struct sbx_error e;
	uint64_t pause_ms;

	if (uv_now(w->x->loop) + c->poll_ms >= w->deadline) {
		sbx_error_set(&e, -ETIMEDOUT,
			      "%s did not start the sandbox in time; it was "
			      "given up",
			      w->x->base_url);
		e.retry = SBX_RETRY_LATER;
		create_give_up(w, &e);
		return;
	}
	pause_ms = c->poll_ms;
	c->poll_ms = pause_ms * 2 < POLL_MAX_MS ? pause_ms * 2 : POLL_MAX_MS;
	xgen_work_pause(w, pause_ms, create_poll);
}

/* Whatever said it, this is what it is now. */
static void create_look_at(struct xgen_work *w, const json_t *obj)
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
			      w->x->base_url, sbx_state_name(state));
		create_give_up(w, &e);
	}
}

static void on_polled(void *arg, const struct xgen_answer *answer)
{
	struct xgen_work *w = arg;

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
static void create_found(struct xgen_work *w, const json_t *obj)
{
	const char *id = sbx_json_str(obj, "id");
	struct sbx_error e;

	if (!sbx_xgen_id_is_valid(id)) {
		sbx_xgen_not_xgen(&e, w->x->base_url, "no sandbox in it");
		xgen_work_done(w, &e);
		return;
	}
	w->create->id = strdup(id);
	if (!w->create->id) {
		sbx_error_set(&e, -ENOMEM, "out of memory");
		xgen_work_done(w, &e);
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

static void on_looked(void *arg, const struct xgen_answer *answer)
{
	struct xgen_work *w = arg;
	const json_t *obj;

	w->request = NULL;
	if (answer->error.err) {
		xgen_work_done(w, &w->create->lost);
		return;
	}
	obj = list_find_marker(answer->json, w->create->marker);
	if (obj)
		create_found(w, obj);
	else if (w->create->asked < MAX_ASKED)
		create_ask(w);
	else
		xgen_work_done(w, &w->create->lost);
}

static void create_look_for(struct xgen_work *w)
{
	xgen_work_request(w,
			  (struct xgen_request_conf){.method = "GET",
						     .path = "/sandboxes",
						     .repeatable = true,
						     .wants_json = true},
			  on_looked);
}

/* ---- asking ---- */

static void on_asked(void *arg, const struct xgen_answer *answer)
{
	struct xgen_work *w = arg;

	w->request = NULL;
	if (!answer->error.err) {
		create_found(w, answer->json);
	} else if (answer->maybe_done) {
		w->create->lost = answer->error;
		create_look_for(w);
	} else {
		xgen_work_done(w, &answer->error);
	}
}

/* Not all of the time for the answer: some is needed to look for what became
 * of it. */
static void create_ask(struct xgen_work *w)
{
	uint64_t now = uv_now(w->x->loop);
	uint64_t left = w->deadline > now ? w->deadline - now : 0;

	w->create->asked++;
	xgen_work_request(
		w,
		(struct xgen_request_conf){.method = "POST",
					   .path = "/sandboxes",
					   .body_v2 = w->create->wish.body_v2,
					   .body_v1 = w->create->wish.body_v1,
					   .deadline = now + left / 4 * 3,
					   .wants_json = true},
		on_asked);
}

static int make_marker(char text[33])
{
	unsigned char bytes[16];
	size_t i;

	if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
		return -EIO;
	for (i = 0; i < sizeof(bytes); i++)
		snprintf(text + 2 * i, 3, "%02x", bytes[i]);
	return 0;
}

void xgen_create_start(struct xgen_work *w)
{
	struct xgen_create_state *c = calloc(1, sizeof(*c));
	int r;

	w->create = c;
	if (!c || make_marker(c->marker) < 0) {
		sbx_error_set(&w->call->error, -ENOMEM, "out of memory");
		xgen_work_done(w, NULL);
		return;
	}
	c->poll_ms = POLL_FIRST_MS;
	r = sbx_xgen_create_parse(&c->wish, w->call->options, c->marker,
				  &w->call->error);
	if (r < 0)
		xgen_work_done(w, NULL);
	else
		create_ask(w);
}
