/*
 * Pausing and resuming: the service says that it has heard, and the state is
 * asked for until it is the one wanted.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/svc_opensandbox.h"

#define POLL_FIRST_MS 100
#define POLL_MAX_MS   2000

/* One of two, for a call that drives a sandbox's life: its work's state. */
struct aim {
	const char *path, *word;
	/* on the way there, or about to leave for it */
	const char *by_way, *from;
};
static const struct aim pausing = {"/sandboxes/%s/pause", "Paused", "Pausing",
				   "Running"};
static const struct aim resuming = {"/sandboxes/%s/resume", "Running",
				    "Resuming", "Paused"};

static const struct aim *aim_of(const struct sbx_work *w)
{
	return w->call->kind == SBX_CALL_PAUSE ? &pausing : &resuming;
}

static void life_look(void *arg);

static void life_wait(struct sbx_work *w)
{
	uint64_t ms = POLL_FIRST_MS << (w->misses < 8 ? w->misses : 8);
	struct sbx_error e;

	w->misses++;
	if (ms > POLL_MAX_MS)
		ms = POLL_MAX_MS;
	if (uv_now(w->rest->loop) + ms < w->deadline) {
		sbx_work_pause(w, ms, life_look);
		return;
	}
	sbx_error_set(&e, -ETIMEDOUT,
		      "%s did not bring the sandbox to the state \"%s\" in "
		      "time",
		      w->rest->url, aim_of(w)->word);
	e.retry = SBX_RETRY_LATER;
	sbx_work_done(w, &e);
}

static void on_life_looked(void *arg, const struct sbx_answer *answer)
{
	struct sbx_work *w = arg;
	const struct aim *aim = aim_of(w);
	struct sbx_error e;
	const char *word;

	w->request = NULL;
	if (answer->error.err) {
		sbx_work_done(w, &answer->error);
		return;
	}
	if (!sbx_work_take(w, answer->json, sbx_osb_sandbox_from_json))
		return;
	word = sbx_osb_state_word(answer->json);
	if (!strcmp(word, aim->word)) {
		w->call->error = (struct sbx_error){0};
		sbx_work_done(w, NULL);
	} else if (w->call->error.err && !strcmp(word, aim->from)) {
		sbx_work_done(w, NULL); /* it was refused, and stays so */
	} else if (!strcmp(word, aim->by_way) || !strcmp(word, aim->from)) {
		life_wait(w);
	} else {
		sbx_error_set(&e, -EIO,
			      "the sandbox is \"%.40s\" and cannot be brought "
			      "to \"%s\"",
			      word, aim->word);
		sbx_work_done(w, &e);
	}
}

static void life_look(void *arg)
{
	struct sbx_work *w = arg;

	w->alarm = NULL;
	sbx_work_request(w,
			 (struct sbx_request_conf){.method = "GET",
						   .path = "/sandboxes/%s",
						   .id = w->call->id,
						   .repeatable = true,
						   .wants_json = true},
			 on_life_looked);
}

static void on_life_asked(void *arg, const struct sbx_answer *answer)
{
	struct sbx_work *w = arg;
	struct osb_reach *r;

	w->request = NULL;
	/* 409: it may be there already, or on its way, or an answer was lost
	 * and this was the second time of asking */
	if (answer->error.err && answer->error.status != 409) {
		sbx_work_done(w, &answer->error);
		return;
	}
	/* it may be elsewhere afterwards */
	r = osb_reach_of((struct osb *)w->rest, w->call->id);
	if (r)
		osb_reach_forget(r);
	w->call->error = answer->error;
	life_look(w);
}

static void life_start(struct sbx_work *w)
{
	sbx_work_request(w,
			 (struct sbx_request_conf){.method = "POST",
						   .path = aim_of(w)->path,
						   .id = w->call->id,
						   .repeatable = true},
			 on_life_asked);
}

void osb_pause_start(struct sbx_work *w)
{
	life_start(w);
}

void osb_resume_start(struct sbx_work *w)
{
	life_start(w);
}
