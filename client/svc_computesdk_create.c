/*
 * Making a sandbox.  It is asked for by a name that nobody else uses, so that
 * asking again does no harm, and an answer that was lost is asked for again.
 * One whose daemon does not come to answer is destroyed: who asked for it was
 * told that there is none.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/json.h"
#include "client/log.h"
#include "client/svc_computesdk.h"

#define POLL_FIRST_MS 250 /* and half as long again each time */
#define CREATING_MS   2000
#define HEALTH_MS     5000
#define HEALTH_TRIES  30
#define CLEAN_UP_MS   5000

struct making {
	struct sbx_csdk_create wish;
	struct csdk_box *box; /* once it is there */
	struct sbx_sandbox told;
	uint64_t pause_ms;
	unsigned int tries;
	struct sbx_error why; /* it is given up */
};

static struct csdk *csdk_of(const struct sbx_work *w)
{
	return (struct csdk *)w->rest;
}

static void making_drop(void *state)
{
	struct making *m = state;

	sbx_csdk_create_release(&m->wish);
	sbx_sandbox_release(&m->told);
	if (m->box)
		csdk_box_let_go(m->box);
	free(m);
}

/* Calls fn after a pause that grows; false: there is no time for it. */
static bool making_pause(struct sbx_work *w, uint64_t most_ms, sbx_work_fn *fn)
{
	struct making *m = w->state;
	uint64_t ms = m->pause_ms < most_ms ? m->pause_ms : most_ms;

	if (uv_now(w->rest->loop) + ms >= w->deadline)
		return false;
	m->pause_ms += m->pause_ms / 2;
	sbx_work_pause(w, ms, fn);
	return true;
}

/* ---- until it answers ---- */

static void on_cleaned_up(struct sbx_work *w, const struct sbx_answer *answer)
{
	struct making *m = w->state;
	struct sbx_error e = m->why;

	if (answer->error.err && answer->error.err != -ENOENT)
		sbx_log(SBX_LOG_WARNING, "computesdk",
			"a sandbox that did not start may be left behind: %s",
			answer->error.text);
	else
		csdk_box_drop(m->box);
	sbx_work_done(w, &e);
}

static void making_give_up(struct sbx_work *w, const struct sbx_error *why)
{
	struct making *m = w->state;

	sbx_error_set(&m->why, -ETIMEDOUT,
		      "the sandbox did not start in time; it was given up "
		      "(%.120s)",
		      why->text);
	if (m->wish.may_exist)
		sbx_work_done(w, &m->why); /* it may be somebody else's */
	else
		sbx_work_delete(w, m->box->id,
				uv_now(w->rest->loop) + CLEAN_UP_MS,
				on_cleaned_up);
}

static void health_ask(struct sbx_work *w);

static void making_done(struct sbx_work *w)
{
	struct making *m = w->state;
	struct sbx_sandbox told = m->told;

	m->told = (struct sbx_sandbox){0};
	csdk_work_give(w, &told);
}

static void on_health(struct sbx_work *w, const struct sbx_answer *answer)
{
	struct making *m = w->state;

	if (!answer->error.err)
		making_done(w);
	else if (++m->tries >= HEALTH_TRIES ||
		 !making_pause(w, HEALTH_MS, health_ask))
		making_give_up(w, &answer->error);
}

static void health_ask(struct sbx_work *w)
{
	struct making *m = w->state;

	sbx_work_request(w,
			 (struct sbx_request_conf){.method = "GET",
						   .path = "/health",
						   .to = m->box},
			 on_health);
}

/* ---- asking ---- */

static void making_ask(struct sbx_work *w);

static void making_take(struct sbx_work *w, const json_t *json)
{
	struct making *m = w->state;

	if (!csdk_work_take(w, json, NULL, &m->told))
		return;
	m->box = csdk_box_hold(csdk_box_find(csdk_of(w), m->told.id));
	m->pause_ms = POLL_FIRST_MS;
	health_ask(w);
}

static void on_made(struct sbx_work *w, const struct sbx_answer *answer)
{
	struct sbx_error e;

	if (answer->error.err) {
		sbx_work_done(w, &answer->error);
	} else if (!sbx_csdk_is_creating(answer->json)) {
		making_take(w, answer->json);
	} else if (!making_pause(w, CREATING_MS, making_ask)) {
		sbx_error_set(&e, -ETIMEDOUT,
			      "%s did not make the sandbox in time",
			      w->rest->url);
		sbx_work_done(w, &e);
	}
}

static void making_ask(struct sbx_work *w)
{
	struct making *m = w->state;

	sbx_work_request(w,
			 (struct sbx_request_conf){.method = "POST",
						   .path = "/sandboxes/"
							   "find-or-create",
						   .body = m->wish.body,
						   .repeatable = true,
						   .wants_json = true},
			 on_made);
}

static void on_sought(struct sbx_work *w, const struct sbx_answer *answer)
{
	struct making *m = w->state;
	struct sbx_error e = answer->error;

	if (e.err == -ENOENT) {
		making_ask(w);
		return;
	}
	if (!e.err)
		sbx_error_set(&e, -EEXIST, "there is a sandbox %.80s already",
			      m->wish.name);
	sbx_work_done(w, &e);
}

/* A name of the user's must be new. */
static void making_seek(struct sbx_work *w)
{
	struct making *m = w->state;

	csdk_work_find(w, m->wish.namespace, m->wish.name, on_sought);
}

void csdk_create_start(struct sbx_work *w)
{
	struct making *m;
	char marker[33];

	if (csdk_is_direct(csdk_of(w))) {
		csdk_direct_create_start(w);
		return;
	}
	m = calloc(1, sizeof(*m));
	if (!m || sbx_make_marker(marker) < 0) {
		free(m);
		sbx_work_no_memory(w);
		return;
	}
	w->state = m;
	w->drop = making_drop;
	m->pause_ms = POLL_FIRST_MS;
	if (sbx_csdk_create_parse(&m->wish, w->call->options, marker,
				  &w->call->error) < 0)
		sbx_work_done(w, NULL);
	else if (m->wish.is_named && !m->wish.may_exist)
		making_seek(w);
	else
		making_ask(w);
}
