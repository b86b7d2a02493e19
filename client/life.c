#include "client/life.h"

#include <errno.h>
#include <string.h>

/* w->step, once it was seen elsewhere than where it is to get */
#define LIFE_MOVED 1

static void life_look(struct sbx_work *w);

static void life_wait(struct sbx_work *w, const struct sbx_aim *aim)
{
	uint64_t ms = (uint64_t)aim->poll_first_ms
		      << (w->looks < 8 ? w->looks : 8);
	struct sbx_error e;

	w->looks++;
	if (ms > aim->poll_max_ms)
		ms = aim->poll_max_ms;
	if (uv_now(w->rest->loop) + ms < w->deadline) {
		sbx_work_pause(w, ms, life_look);
		return;
	}
	sbx_error_set(&e, -ETIMEDOUT,
		      "%s did not bring the sandbox to the state \"%s\" in "
		      "time",
		      w->rest->url, aim->word);
	e.retry = SBX_RETRY_LATER;
	sbx_work_done(w, &e);
}

/* It may still get there. */
static bool aim_has_hope(const struct sbx_aim *aim, const char *word)
{
	if (aim->lost)
		return strcmp(word, aim->lost) != 0;
	return !strcmp(word, aim->from) || !strcmp(word, aim->between);
}

static void on_looked(struct sbx_work *w, const struct sbx_answer *answer)
{
	const struct sbx_aim *aim = w->state;
	struct sbx_error e;
	const char *word;

	if (answer->error.err) {
		sbx_work_done(w, &answer->error);
		return;
	}
	if (!sbx_work_take(w, answer->json))
		return;
	word = aim->word_of(answer->json);
	if (strcmp(word, aim->word) != 0)
		w->step = LIFE_MOVED;
	if (!strcmp(word, aim->word) && w->step != LIFE_MOVED &&
	    w->looks < aim->doubts) {
		life_wait(w, aim);
	} else if (!strcmp(word, aim->word)) {
		w->call->error = (struct sbx_error){0};
		sbx_work_done(w, NULL);
	} else if (w->call->error.err && !strcmp(word, aim->from)) {
		sbx_work_done(w, NULL); /* it was refused, and stays so */
	} else if (aim_has_hope(aim, word)) {
		life_wait(w, aim);
	} else {
		sbx_error_set(&e, -EIO,
			      "the sandbox is \"%.40s\" and cannot be brought "
			      "to \"%s\"",
			      word, aim->word);
		sbx_work_done(w, &e);
	}
}

static void life_look(struct sbx_work *w)
{
	sbx_work_get(w, w->call->id, on_looked);
}

static void on_told(struct sbx_work *w, const struct sbx_answer *answer)
{
	const struct sbx_aim *aim = w->state;

	/* 409: it may be there already, or on its way, or an answer was lost
	 * and this was the second time of asking */
	if (answer->error.err && answer->error.status != 409) {
		sbx_work_done(w, &answer->error);
		return;
	}
	if (aim->told)
		aim->told(w);
	w->call->error = answer->error;
	life_look(w);
}

void sbx_life_start(struct sbx_work *w, const struct sbx_aim *aim)
{
	w->state = (struct sbx_aim *)(uintptr_t)aim;
	sbx_work_request(w,
			 (struct sbx_request_conf){.method = "POST",
						   .path = aim->path,
						   .id = w->call->id,
						   .body = aim->body,
						   .repeatable = true},
			 on_told);
}
