#include "client/create.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/json.h"
#include "client/labels.h"
#include "client/log.h"

#define CLEAN_UP_MS   5000
#define SEEK_SPARE_MS 75000 /* at most, of the time for the answer */

static struct sbx_create *create_of(const struct sbx_work *w)
{
	return w->state;
}

static void create_drop(void *state)
{
	struct sbx_create *c = state;

	c->type->release(c);
	free(c->id);
	free(c);
}

void sbx_create_done(struct sbx_create *c)
{
	sbx_work_done(c->work, NULL);
}

static void on_cleaned_up(struct sbx_work *w, const struct sbx_answer *answer)
{
	const struct sbx_calls_type *t = w->rest->type->calls;
	struct sbx_create *c = w->state;

	if (answer->error.err)
		sbx_log(SBX_LOG_WARNING, w->rest->type->service->name,
			"a sandbox that did not start may be left behind: %s",
			answer->error.text);
	if (t->gone)
		t->gone(w->rest, c->id);
	sbx_work_done(w, &c->why);
}

void sbx_create_give_up(struct sbx_create *c, const struct sbx_error *e)
{
	struct sbx_work *w = c->work;

	c->why = *e;
	sbx_work_delete(w, c->id, uv_now(w->rest->loop) + CLEAN_UP_MS,
			on_cleaned_up);
}

/* Calls fn after a pause that grows; false: there is no time for it. */
static bool create_pause(struct sbx_create *c, sbx_work_fn *fn)
{
	struct sbx_work *w = c->work;
	uint64_t ms = c->poll_ms, most = c->type->poll_max_ms;

	if (uv_now(w->rest->loop) + ms >= w->deadline)
		return false;
	c->poll_ms = ms * 2 < most ? ms * 2 : most;
	sbx_work_pause(w, ms, fn);
	return true;
}

/* ---- until it runs ---- */

static void on_polled(struct sbx_work *w, const struct sbx_answer *answer);

static void create_poll(struct sbx_work *w)
{
	if (w->looks) /* it was not found by the last one */
		sbx_work_get_anew(w, create_of(w)->id, on_polled);
	else
		sbx_work_get(w, create_of(w)->id, on_polled);
}

static void create_wait(struct sbx_create *c)
{
	struct sbx_error e;

	if (create_pause(c, create_poll))
		return;
	sbx_error_set(&e, -ETIMEDOUT,
		      "%s did not start the sandbox in time; it was given up",
		      c->work->rest->url);
	e.retry = SBX_RETRY_LATER;
	sbx_create_give_up(c, &e);
}

/* Whatever said it, this is what it is now. */
static void create_look_at(struct sbx_create *c, const json_t *obj)
{
	struct sbx_work *w = c->work;
	enum sbx_state now;
	struct sbx_error e;

	if (!sbx_work_take(w, obj))
		return;
	now = w->call->list->state;
	if (strcmp(w->call->list->id, c->id) != 0) {
		sbx_rest_wonder(w->rest, &e, "another sandbox in it");
		sbx_create_give_up(c, &e);
	} else if (now == SBX_STATE_STARTING) {
		create_wait(c);
	} else if (now != SBX_STATE_RUNNING) {
		sbx_error_set(&e, -EIO,
			      "%s could not start the sandbox (it is %s)",
			      w->rest->url, sbx_state_name(now));
		sbx_create_give_up(c, &e);
	} else if (c->type->running) {
		c->type->running(c);
	} else {
		sbx_create_done(c);
	}
}

/* Another replica, or it has not heard of it yet; or nobody could say. */
static bool is_passing(const struct sbx_error *e)
{
	return e->err == -ENOENT || e->retry == SBX_RETRY_LATER ||
	       e->retry == SBX_RETRY_CONNECTION;
}

static void on_polled(struct sbx_work *w, const struct sbx_answer *answer)
{
	struct sbx_create *c = w->state;

	if (!answer->error.err) {
		w->looks = 0;
		create_look_at(c, answer->json);
	} else if (is_passing(&answer->error) && w->looks++ < c->type->misses) {
		create_wait(c);
	} else {
		sbx_create_give_up(c, &answer->error);
	}
}

/* It is there: its id is what everything else goes by. */
static void create_found(struct sbx_create *c, const json_t *obj)
{
	struct sbx_work *w = c->work;
	const struct sbx_calls_type *t = w->rest->type->calls;
	const char *id = sbx_json_str(obj, t->id);
	struct sbx_error e;

	if (!t->id_is_valid(id)) {
		sbx_rest_wonder(w->rest, &e, "no sandbox in it");
		sbx_work_done(w, &e);
		return;
	}
	c->id = strdup(id);
	c->poll_ms = c->type->poll_first_ms;
	if (!c->id)
		sbx_work_no_memory(w);
	else if (c->type->look_first)
		create_poll(w);
	else
		create_look_at(c, obj);
}

/* ---- a lost answer ---- */

static void create_ask(struct sbx_create *c);
static void create_seek(struct sbx_work *w);

/* It, in the answer to a list. */
static const json_t *create_find(const struct sbx_create *c,
				 const json_t *answer)
{
	const json_t *list = sbx_calls_list(c->work->rest, answer), *obj;
	const char *mark;
	size_t i;

	json_array_foreach((json_t *)(uintptr_t)list, i, obj)
	{
		mark = sbx_json_str(sbx_json_object(obj, c->type->labels),
				    SBX_LABEL_MARKER);
		if (mark && !strcmp(mark, c->marker))
			return obj;
	}
	return NULL;
}

/* It was not on this page: is there another?  As sbx_page_turn. */
static int create_turn_page(struct sbx_create *c,
			    const struct sbx_answer *answer)
{
	int r = 0;

	if (!answer->error.err && !c->type->seek)
		r = sbx_page_turn(c->work->rest, &c->page, answer->json);
	if (r <= 0)
		c->page = (struct sbx_page){0};
	return r;
}

static void on_sought(struct sbx_work *w, const struct sbx_answer *answer)
{
	struct sbx_create *c = w->state;
	const json_t *obj = NULL;
	int r = 0;

	if (!answer->error.err)
		obj = create_find(c, answer->json);
	if (!obj)
		r = create_turn_page(c, answer);
	if (obj)
		create_found(c, obj);
	else if (r > 0)
		create_seek(w);
	else if (r < 0) /* it may be further on: no second one is made */
		sbx_work_done(w, &c->why);
	else if (!answer->error.err && c->asked < c->type->asks)
		create_ask(c);
	else if (answer->error.err || uv_now(w->rest->loop) >= c->look_until ||
		 !create_pause(c, create_seek))
		sbx_work_done(w, &c->why);
}

static void create_seek(struct sbx_work *w)
{
	struct sbx_request_conf conf = {.method = "GET",
					.path = w->rest->type->calls->all,
					.repeatable = true,
					.wants_json = true};
	struct sbx_create *c = w->state;
	char text[128];

	if (c->type->seek)
		c->type->seek(c, &conf, text);
	else if (w->rest->type->calls->page)
		w->rest->type->calls->page(&c->page, &conf);
	sbx_work_request(w, conf, on_sought);
}

/* ---- asking ---- */

static void on_asked(struct sbx_work *w, const struct sbx_answer *answer)
{
	struct sbx_create *c = w->state;

	if (!answer->error.err) {
		create_found(c, c->type->made ? c->type->made(answer->json)
					      : answer->json);
	} else if (answer->maybe_done && c->type->labels) {
		c->why = answer->error;
		c->look_until = uv_now(w->rest->loop) + c->type->seek_ms;
		create_seek(w);
	} else {
		sbx_work_done(w, &answer->error);
	}
}

/* Not all of the time for the answer: some is needed to look for what became
 * of it. */
static void create_ask(struct sbx_create *c)
{
	struct sbx_work *w = c->work;
	uint64_t now = uv_now(w->rest->loop);
	uint64_t left = w->deadline > now ? w->deadline - now : 0;
	uint64_t spare = left / 4 < SEEK_SPARE_MS ? left / 4 : SEEK_SPARE_MS;
	const char *path = c->type->path;

	c->asked++;
	sbx_work_request(
		w,
		(struct sbx_request_conf){
			.method = "POST",
			.path = path ? path : w->rest->type->calls->all,
			.body = c->body,
			.old_body = c->old_body,
			.deadline = now + left - spare,
			.wants_json = true},
		on_asked);
}

void sbx_create_start(struct sbx_work *w, const struct sbx_create_type *type)
{
	struct sbx_create *c = calloc(1, type->size);
	struct sbx_error e;

	if (!c) {
		sbx_work_no_memory(w);
		return;
	}
	c->work = w;
	c->type = type;
	c->poll_ms = type->poll_first_ms;
	w->state = c;
	w->drop = create_drop;
	if (sbx_make_marker(c->marker) < 0) {
		sbx_work_no_memory(w);
		return;
	}
	if (type->parse(c, w->call->options, &e) < 0)
		sbx_work_done(w, &e);
	else
		create_ask(c);
}
