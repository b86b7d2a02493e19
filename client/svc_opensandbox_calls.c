/*
 * The calls of the layer above, but for create and what drives its life.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/cleanup.h"
#include "client/json.h"
#include "client/limits.h"
#include "client/log.h"
#include "client/svc_opensandbox.h"

#define PAGE	   200 /* most that the service gives at once */
#define LIFE_S	   3600
#define MAX_LIFE_S (10ll * 366 * 86400)
/* Kubernetes takes its time; longer is not waited for. */
#define GONE_MS	  10000
#define GONE_POLL 300

static struct osb *osb_of(const struct sbx_work *w)
{
	return (struct osb *)w->rest;
}

static void work_get(struct sbx_work *w, sbx_request_fn *fn)
{
	sbx_work_request(w,
			 (struct sbx_request_conf){.method = "GET",
						   .path = "/sandboxes/%s",
						   .id = w->call->id,
						   .repeatable = true,
						   .wants_json = true},
			 fn);
}

/* ---- list ---- */

struct list_state {
	json_t *seen; /* ids: entries move between pages */
	unsigned int page;
};

static void list_drop(void *state)
{
	struct list_state *l = state;

	if (l)
		json_decref(l->seen);
	free(l);
}

static void list_ask(struct sbx_work *w);

static int list_add(struct sbx_work *w, const json_t *obj)
{
	struct list_state *l = w->state;
	struct sbx_call *call = w->call;
	struct sbx_sandbox s;
	int r = sbx_osb_sandbox_from_json(&s, obj, w->rest->url);

	if (r == -EPROTO) {
		sbx_log(SBX_LOG_WARNING, "opensandbox",
			"leaving out a sandbox without a usable id or state");
		return 0;
	}
	if (r < 0)
		return r;
	if (json_object_get(l->seen, s.id)) {
		sbx_sandbox_release(&s);
		return 0;
	}
	if (json_object_set_new(l->seen, s.id, json_true()) < 0) {
		sbx_sandbox_release(&s);
		return -ENOMEM;
	}
	call->list[call->nr++] = s;
	return 0;
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

static void on_page(void *arg, const struct sbx_answer *answer)
{
	struct sbx_work *w = arg;
	struct list_state *l = w->state;
	const json_t *items = sbx_json_array(answer->json, "items");
	const json_t *pages = sbx_json_object(answer->json, "pagination");
	struct sbx_error e = answer->error;
	int r = 0;

	w->request = NULL;
	if (!e.err && !items)
		sbx_osb_wonder(&e, w->rest->url, "no list in it");
	if (!e.err)
		r = list_add_page(w, items);
	if (r == -E2BIG)
		sbx_error_set(&e, -EPROTO,
			      "%s lists more sandboxes than can be shown",
			      w->rest->url);
	else if (r < 0)
		sbx_error_set(&e, r, "out of memory");
	/* empty pages without end are none either */
	if (!e.err && json_array_size(items) &&
	    sbx_json_bool(pages, "hasNextPage", false)) {
		l->page++;
		list_ask(w);
		return;
	}
	sbx_work_done(w, &e);
}

static void list_ask(struct sbx_work *w)
{
	const struct list_state *l = w->state;
	char query[64];

	snprintf(query, sizeof(query), "page=%u&pageSize=%d", l->page, PAGE);
	sbx_work_request(w,
			 (struct sbx_request_conf){.method = "GET",
						   .path = "/sandboxes",
						   .query = query,
						   .repeatable = true,
						   .wants_json = true},
			 on_page);
}

static void list_start(struct sbx_work *w)
{
	struct list_state *l = calloc(1, sizeof(*l));

	w->state = l;
	w->drop = list_drop;
	if (l)
		l->seen = json_object();
	if (!l || !l->seen) {
		sbx_work_no_memory(w);
		return;
	}
	l->page = 1;
	list_ask(w);
}

/* ---- get ---- */

static void on_get(void *arg, const struct sbx_answer *answer)
{
	struct sbx_work *w = arg;

	w->request = NULL;
	if (answer->error.err == -ENOENT)
		osb_reach_drop(osb_of(w), w->call->id);
	if (answer->error.err)
		sbx_work_done(w, &answer->error);
	else if (sbx_work_take(w, answer->json, sbx_osb_sandbox_from_json))
		sbx_work_done(w, NULL);
}

static void get_start(struct sbx_work *w)
{
	work_get(w, on_get);
}

/* ---- destroy ---- */

static void destroy_look(void *arg);

static void destroy_end(struct sbx_work *w)
{
	osb_reach_drop(osb_of(w), w->call->id);
	sbx_work_done(w, NULL);
}

/* It may take a while to be gone, and is shown until then. */
static void on_destroy_looked(void *arg, const struct sbx_answer *answer)
{
	struct sbx_work *w = arg;

	w->request = NULL;
	if (answer->error.err || w->misses++ >= GONE_MS / GONE_POLL ||
	    uv_now(w->rest->loop) + GONE_POLL >= w->deadline)
		destroy_end(w);
	else
		sbx_work_pause(w, GONE_POLL, destroy_look);
}

static void destroy_look(void *arg)
{
	struct sbx_work *w = arg;

	w->alarm = NULL;
	work_get(w, on_destroy_looked);
}

static void on_destroyed(void *arg, const struct sbx_answer *answer)
{
	struct sbx_work *w = arg;

	w->request = NULL;
	if (!answer->error.err)
		destroy_look(w);
	else if (answer->error.err == -ENOENT)
		destroy_end(w); /* gone is gone */
	else
		sbx_work_done(w, &answer->error);
}

static void destroy_start(struct sbx_work *w)
{
	sbx_work_request(w,
			 (struct sbx_request_conf){.method = "DELETE",
						   .path = "/sandboxes/%s",
						   .id = w->call->id,
						   .repeatable = true},
			 on_destroyed);
}

/* ---- keepalive ---- */

/*
 * The end of its life is told as a time of the server's clock, and may be
 * earlier than it was: so it is not sent where it would shorten the life.
 */
static int64_t keep_until_ms(const struct sbx_work *w)
{
	int64_t s = w->call->seconds ? w->call->seconds : LIFE_S;

	return osb_now_ms(osb_of(w)) + (s < MAX_LIFE_S ? s : MAX_LIFE_S) * 1000;
}

static void on_kept(void *arg, const struct sbx_answer *answer)
{
	struct sbx_work *w = arg;

	w->request = NULL;
	if (answer->error.err)
		sbx_work_done(w, &answer->error);
	else
		get_start(w); /* what came of it */
}

static char *keep_body(int64_t until_ms)
{
	time_t s = (time_t)(until_ms / 1000);
	char text[40];
	char *body = NULL;
	struct tm tm;

	gmtime_r(&s, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
	if (asprintf(&body, "{\"expiresAt\":\"%s.%03dZ\"}", text,
		     (int)(until_ms % 1000)) < 0)
		return NULL;
	return body;
}

static void on_keep_looked(void *arg, const struct sbx_answer *answer)
{
	struct sbx_work *w = arg;
	SBX_FREE char *body = NULL;
	int64_t until, expires;

	w->request = NULL;
	if (answer->error.err) {
		sbx_work_done(w, &answer->error);
		return;
	}
	if (!sbx_work_take(w, answer->json, sbx_osb_sandbox_from_json))
		return;
	until = keep_until_ms(w);
	expires = w->call->list[0].expires_ms;
	if (!expires || expires >= until) {
		sbx_work_done(w, NULL);
		return;
	}
	body = keep_body(until);
	if (!body) {
		sbx_work_no_memory(w);
		return;
	}
	sbx_work_request(w,
			 (struct sbx_request_conf){.method = "POST",
						   .path = "/sandboxes/%s/"
							   "renew-expiration",
						   .id = w->call->id,
						   .body = body,
						   .repeatable = true},
			 on_kept);
}

static void keepalive_start(struct sbx_work *w)
{
	work_get(w, on_keep_looked);
}

/* ---- all ---- */

static void work_begin(struct sbx_work *w)
{
	static void (*const starts[SBX_CALL_KINDS])(struct sbx_work * w) = {
		[SBX_CALL_LIST] = list_start,
		[SBX_CALL_GET] = get_start,
		[SBX_CALL_CREATE] = osb_create_start,
		[SBX_CALL_DESTROY] = destroy_start,
		[SBX_CALL_KEEPALIVE] = keepalive_start,
		[SBX_CALL_PAUSE] = osb_pause_start,
		[SBX_CALL_RESUME] = osb_resume_start,
	};

	starts[w->call->kind](w);
}

void osb_work_start(struct sbx_service *svc, struct sbx_call *call)
{
	bool has_id =
		call->kind != SBX_CALL_LIST && call->kind != SBX_CALL_CREATE;

	sbx_work_start((struct sbx_rest *)svc, call,
		       !has_id || sbx_is_id(call->id), work_begin);
}
