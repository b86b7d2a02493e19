#include "client/calls.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cleanup.h"
#include "client/json.h"
#include "client/limits.h"
#include "client/log.h"
#include "client/random.h"

#define DEFAULT_TIMEOUT_MS 30000
#define GONE_POLL_MS	   300
#define MAX_LISTED	   (2 * SBX_MAX_SANDBOXES) /* some of them twice */

/* ---- works ---- */

static void call_drop_list(struct sbx_call *call)
{
	size_t i;

	for (i = 0; i < call->nr; i++)
		sbx_sandbox_release(&call->list[i]);
	free(call->list);
	call->list = NULL;
	call->nr = 0;
}

static void work_drop(struct sbx_work *w)
{
	*w->link = w->next;
	if (w->next)
		w->next->link = w->link;
	sbx_request_cancel(w->request);
	sbx_alarm_cancel(w->alarm);
	if (w->drop)
		w->drop(w->state);
	free(w);
}

void sbx_work_done(struct sbx_work *w, const struct sbx_error *error)
{
	struct sbx_call *call = w->call;
	struct sbx_rest *x = w->rest;

	if (error)
		call->error = *error;
	if (call->error.err)
		call_drop_list(call);
	work_drop(w);
	call->priv = NULL;
	if (x->starting)
		sbx_rest_fail_later(x, call);
	else
		call->done(call);
}

void sbx_work_no_memory(struct sbx_work *w)
{
	struct sbx_error e;

	sbx_error_set(&e, -ENOMEM, "out of memory");
	sbx_work_done(w, &e);
}

void sbx_work_no_files(struct sbx_work *w, int err)
{
	struct sbx_error e;

	if (err == -EFBIG || err == -E2BIG)
		sbx_error_set(&e, -EFBIG,
			      "it is more than can be shown without a command "
			      "in the sandbox");
	else if (err == -ENOMEM)
		sbx_error_set(&e, err, "out of memory");
	else
		sbx_rest_wonder(w->rest, &e, "no files in it");
	sbx_work_done(w, &e);
}

void sbx_work_give_text(struct sbx_work *w, char *text)
{
	if (!text) {
		sbx_work_no_memory(w);
		return;
	}
	w->call->data = (uint8_t *)text;
	w->call->len = strlen(text);
	sbx_work_done(w, NULL);
}

void sbx_work_give_line(struct sbx_work *w, const char *line)
{
	char *text = NULL;

	sbx_work_give_text(w, asprintf(&text, "%s\n", line) < 0 ? NULL : text);
}

void sbx_work_give_json(struct sbx_work *w, const json_t *value)
{
	SBX_FREE char *text = sbx_json_text(value, true);

	if (text)
		sbx_work_give_line(w, text);
	else
		sbx_work_no_memory(w);
}

static struct sbx_work *work_new(struct sbx_rest *x, struct sbx_call *call)
{
	struct sbx_work *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	uv_update_time(x->loop);
	w->rest = x;
	w->call = call;
	w->deadline = uv_now(x->loop) + (call->timeout_ms ? call->timeout_ms
							  : DEFAULT_TIMEOUT_MS);
	w->next = x->works;
	w->link = &x->works;
	if (w->next)
		w->next->link = &w->next;
	x->works = w;
	call->priv = w;
	return w;
}

void sbx_calls_submit(struct sbx_service *svc, struct sbx_call *call)
{
	struct sbx_rest *x = (struct sbx_rest *)svc;
	const struct sbx_calls_type *t = x->type->calls;
	bool has_id = call->kind != SBX_CALL_LIST &&
		      call->kind != SBX_CALL_CREATE &&
		      call->kind < SBX_CALL_OWN_READ;
	struct sbx_work *w = NULL;

	call->error = (struct sbx_error){0};
	if ((has_id || call->id) && !t->id_is_valid(call->id))
		sbx_error_set(&call->error, -ENOENT,
			      "there is no such sandbox");
	else if (!(w = work_new(x, call)))
		sbx_error_set(&call->error, -ENOMEM, "out of memory");
	if (!w) {
		sbx_rest_fail_later(x, call);
		return;
	}
	x->starting = true;
	t->start[call->kind](w);
	x->starting = false;
}

static void on_answer(void *arg, const struct sbx_answer *answer)
{
	struct sbx_work *w = arg;

	w->request = NULL;
	w->answered(w, answer);
}

void sbx_work_request(struct sbx_work *w, struct sbx_request_conf conf,
		      sbx_answer_fn *fn)
{
	if (!conf.deadline)
		conf.deadline = w->deadline;
	w->answered = fn;
	w->request = sbx_request_start(w->rest, &conf, on_answer, w);
	if (!w->request)
		sbx_work_no_memory(w);
}

static void work_get(struct sbx_work *w, const char *id, bool anew,
		     sbx_answer_fn *fn)
{
	sbx_work_request(
		w,
		(struct sbx_request_conf){.method = "GET",
					  .path = w->rest->type->calls->one,
					  .id = id,
					  .repeatable = true,
					  .anew = anew,
					  .wants_json = true},
		fn);
}

void sbx_work_get(struct sbx_work *w, const char *id, sbx_answer_fn *fn)
{
	work_get(w, id, false, fn);
}

void sbx_work_get_anew(struct sbx_work *w, const char *id, sbx_answer_fn *fn)
{
	work_get(w, id, true, fn);
}

void sbx_work_delete(struct sbx_work *w, const char *id, uint64_t deadline,
		     sbx_answer_fn *fn)
{
	sbx_work_request(
		w,
		(struct sbx_request_conf){.method = "DELETE",
					  .path = w->rest->type->calls->one,
					  .id = id,
					  .deadline = deadline,
					  .repeatable = true},
		fn);
}

static void on_later(void *arg)
{
	struct sbx_work *w = arg;

	w->alarm = NULL;
	w->later(w);
}

void sbx_work_pause(struct sbx_work *w, uint64_t ms, sbx_work_fn *fn)
{
	w->later = fn;
	w->alarm = sbx_alarm_set(w->rest, ms, on_later, w);
	if (!w->alarm)
		sbx_work_no_memory(w);
}

int sbx_make_marker(char text[33])
{
	return sbx_random_hex(text, 16);
}

/* ---- one sandbox ---- */

static int work_took(struct sbx_work *w)
{
	const struct sbx_calls_type *t = w->rest->type->calls;

	return t->took ? t->took(w->rest, w->call->list, w->call->nr) : 0;
}

static void work_gone(struct sbx_work *w)
{
	const struct sbx_calls_type *t = w->rest->type->calls;

	if (t->gone)
		t->gone(w->rest, w->call->id);
}

static int take_one(struct sbx_work *w, const json_t *obj)
{
	struct sbx_call *call = w->call;
	int r;

	call_drop_list(call);
	call->list = calloc(1, sizeof(*call->list));
	if (!call->list)
		return -ENOMEM;
	r = w->rest->type->calls->parse(call->list, obj, w->rest->url);
	if (r < 0)
		return r;
	call->nr = 1;
	return call->id && strcmp(call->id, call->list->id) ? -EPROTO
							    : work_took(w);
}

bool sbx_work_take(struct sbx_work *w, const json_t *obj)
{
	struct sbx_error e;
	int r = take_one(w, obj);

	if (r == 0)
		return true;
	if (r == -EPROTO)
		sbx_rest_wonder(w->rest, &e, "no sandbox in it");
	else
		sbx_error_set(&e, r, "out of memory");
	sbx_work_done(w, &e);
	return false;
}

static void look_ask(struct sbx_work *w);

static void on_looked(struct sbx_work *w, const struct sbx_answer *answer)
{
	unsigned int confirm_ms = w->rest->type->calls->confirm_ms;

	if (answer->error.err == -ENOENT && confirm_ms && w->looks++ == 0) {
		sbx_work_pause(w, confirm_ms, look_ask);
		return;
	}
	if (answer->error.err == -ENOENT)
		work_gone(w);
	if (answer->error.err)
		sbx_work_done(w, &answer->error);
	else if (sbx_work_take(w, answer->json))
		w->then(w);
}

static void look_ask(struct sbx_work *w)
{
	work_get(w, w->call->id, w->looks > 0, on_looked);
}

static void work_end(struct sbx_work *w)
{
	sbx_work_done(w, NULL);
}

void sbx_work_look(struct sbx_work *w, sbx_work_fn *then)
{
	w->then = then ? then : work_end;
	w->looks = 0;
	look_ask(w);
}

void sbx_get_start(struct sbx_work *w)
{
	sbx_work_look(w, NULL);
}

static void on_acted(struct sbx_work *w, const struct sbx_answer *answer)
{
	if (answer->error.err)
		sbx_work_done(w, &answer->error);
	else
		sbx_work_look(w, w->then);
}

void sbx_work_act(struct sbx_work *w, struct sbx_request_conf conf,
		  sbx_work_fn *then)
{
	w->then = then;
	sbx_work_request(w, conf, on_acted);
}

/* ---- all of them ---- */

struct list_state {
	struct sbx_page page;
	json_t *seen; /* ids: entries move between pages */
};

static void list_drop(void *state)
{
	struct list_state *l = state;

	json_decref(l->seen);
	free(l);
}

static int list_add(struct sbx_work *w, const json_t *obj)
{
	struct list_state *l = w->state;
	struct sbx_call *call = w->call;
	struct sbx_sandbox *s = &call->list[call->nr];
	int r = w->rest->type->calls->parse(s, obj, w->rest->url);

	if (r == -EPROTO) {
		sbx_log(SBX_LOG_WARNING, w->rest->type->service->name,
			"leaving out a sandbox without a usable id or state");
		return 0;
	}
	if (r < 0)
		return r;
	if (json_object_get(l->seen, s->id)) {
		sbx_sandbox_release(s);
		return 0;
	}
	call->nr++;
	return json_object_set_new(l->seen, s->id, json_true()) < 0 ? -ENOMEM
								    : 0;
}

static int list_add_page(struct sbx_work *w, const json_t *items)
{
	struct sbx_call *call = w->call;
	size_t i, n = json_array_size(items);
	struct sbx_sandbox *list;
	int r = 0;

	if (call->nr + n > SBX_MAX_SANDBOXES)
		return -E2BIG;
	list = realloc(call->list, (call->nr + n + 1) * sizeof(*list));
	if (!list)
		return -ENOMEM;
	call->list = list;
	for (i = 0; r == 0 && i < n; i++)
		r = list_add(w, json_array_get(items, i));
	return r;
}

int sbx_page_turn(const struct sbx_rest *x, struct sbx_page *page,
		  const json_t *answer)
{
	const struct sbx_calls_type *t = x->type->calls;
	size_t n = json_array_size(sbx_calls_list(x, answer));

	page->answer = answer;
	page->nr++;
	page->items += n;
	/* empty pages without end are none either */
	if (!n || !t->more || !t->more(page))
		return 0;
	return page->items < MAX_LISTED ? 1 : -E2BIG;
}

static void list_ask(struct sbx_work *w);

static void list_go_on(struct sbx_work *w, const json_t *answer,
		       const json_t *items)
{
	struct list_state *l = w->state;
	struct sbx_error e;
	int r = list_add_page(w, items);

	if (r == 0)
		r = sbx_page_turn(w->rest, &l->page, answer);
	if (r > 0) {
		list_ask(w);
		return;
	}
	if (r == 0)
		r = work_took(w);
	if (r == -E2BIG)
		sbx_error_set(&e, -EPROTO,
			      "%s lists more sandboxes than can be shown",
			      w->rest->url);
	else if (r < 0)
		sbx_error_set(&e, r, "out of memory");
	sbx_work_done(w, r < 0 ? &e : NULL);
}

const json_t *sbx_calls_list(const struct sbx_rest *x, const json_t *answer)
{
	const struct sbx_calls_type *t = x->type->calls;
	const json_t *list = answer;

	if (t->list_of)
		list = t->list_of(answer);
	else if (t->list)
		list = json_object_get(answer, t->list);
	return json_is_array(list) ? list : NULL;
}

static void on_page(struct sbx_work *w, const struct sbx_answer *answer)
{
	const json_t *items = sbx_calls_list(w->rest, answer->json);
	struct sbx_error e = answer->error;

	if (!e.err && !items)
		sbx_rest_wonder(w->rest, &e, "no list in it");
	if (e.err)
		sbx_work_done(w, &e);
	else
		list_go_on(w, answer->json, items);
}

static void list_ask(struct sbx_work *w)
{
	const struct sbx_calls_type *t = w->rest->type->calls;
	struct sbx_request_conf conf = {.method = "GET",
					.path = t->all,
					.repeatable = true,
					.wants_json = true};
	struct list_state *l = w->state;

	if (t->page)
		t->page(&l->page, &conf);
	sbx_work_request(w, conf, on_page);
}

void sbx_list_start(struct sbx_work *w)
{
	struct list_state *l = calloc(1, sizeof(*l));

	if (!l) {
		sbx_work_no_memory(w);
		return;
	}
	w->state = l;
	w->drop = list_drop;
	l->seen = json_object();
	if (l->seen)
		list_ask(w);
	else
		sbx_work_no_memory(w);
}

/* ---- ending one ---- */

static void destroy_look(struct sbx_work *w);

static void destroy_end(struct sbx_work *w)
{
	work_gone(w);
	sbx_work_done(w, NULL);
}

/* It may take a while to be gone, and is shown until then. */
static void on_destroy_looked(struct sbx_work *w,
			      const struct sbx_answer *answer)
{
	unsigned int gone_ms = w->rest->type->calls->gone_ms;

	if (answer->error.err || w->looks++ >= gone_ms / GONE_POLL_MS ||
	    uv_now(w->rest->loop) + GONE_POLL_MS >= w->deadline)
		destroy_end(w);
	else
		sbx_work_pause(w, GONE_POLL_MS, destroy_look);
}

static void destroy_look(struct sbx_work *w)
{
	sbx_work_get(w, w->call->id, on_destroy_looked);
}

/* It was refused: because it is on its way already? */
static void on_refused_looked(struct sbx_work *w,
			      const struct sbx_answer *answer)
{
	if (answer->error.err == -ENOENT) {
		w->call->error = (struct sbx_error){0};
		destroy_end(w);
	} else if (answer->error.err) {
		sbx_work_done(w, NULL);
	} else if (sbx_work_take(w, answer->json)) {
		if (w->call->list->state == SBX_STATE_STOPPING)
			w->call->error = (struct sbx_error){0};
		call_drop_list(w->call);
		if (w->call->error.err)
			sbx_work_done(w, NULL);
		else
			sbx_work_pause(w, GONE_POLL_MS, destroy_look);
	}
}

/* Not only 409: some services have one status for all that they refuse. */
static bool is_refusal(const struct sbx_error *e)
{
	return e->err && e->err != -ENOENT && e->status && e->status != 401 &&
	       e->status != 403 && e->status != 429;
}

static void on_destroyed(struct sbx_work *w, const struct sbx_answer *answer)
{
	int err = answer->error.err;

	if (is_refusal(&answer->error) && w->rest->type->calls->gone_ms) {
		w->call->error = answer->error;
		sbx_work_get(w, w->call->id, on_refused_looked);
		return;
	}
	if (err && err != -ENOENT)
		sbx_work_done(w, &answer->error);
	else if (!err && w->rest->type->calls->gone_ms)
		destroy_look(w);
	else
		destroy_end(w); /* gone is gone */
}

void sbx_destroy_start(struct sbx_work *w)
{
	sbx_work_delete(w, w->call->id, 0, on_destroyed);
}
