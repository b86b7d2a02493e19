/*
 * The calls of the layer above, but for create and files.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cleanup.h"
#include "client/json.h"
#include "client/limits.h"
#include "client/log.h"
#include "client/svc_computesdk.h"

#define FRESH_MS       10000 /* what was told so lately is not asked again */
#define EXTEND_DEFAULT 900
#define MAX_EXTEND     (366u * 86400)
/* No sandbox has this name; that the gateway knows so proves the key. */
#define NOBODY "sbxfs-nobody"

static struct csdk *csdk_of(const struct sbx_work *w)
{
	return (struct csdk *)w->rest;
}

bool csdk_work_take(struct sbx_work *w, const json_t *data, const char *id,
		    struct sbx_sandbox *ret)
{
	int r = csdk_box_take(csdk_of(w), data, id, ret);
	struct sbx_error e;

	if (r == 0)
		return true;
	if (r == -EPROTO)
		sbx_rest_wonder(w->rest, &e, "no sandbox in it");
	else
		sbx_error_set(&e, r, "out of memory");
	sbx_work_done(w, &e);
	return false;
}

void csdk_work_give(struct sbx_work *w, struct sbx_sandbox *s)
{
	struct sbx_call *call = w->call;

	call->list = malloc(sizeof(*call->list));
	if (!call->list) {
		sbx_sandbox_release(s);
		sbx_work_no_memory(w);
		return;
	}
	call->list[0] = *s;
	call->nr = 1;
	sbx_work_done(w, NULL);
}

static void ask_for(struct sbx_work *w, const char *id, sbx_answer_fn *fn)
{
	sbx_work_request(w,
			 (struct sbx_request_conf){.method = "GET",
						   .path = "/sandboxes/%s",
						   .id = id,
						   .repeatable = true,
						   .wants_json = true},
			 fn);
}

/* ---- list ---- */

struct list_state {
	uint64_t since; /* what was told before is asked for */
	char *asked;	/* the one that is asked about */
	bool proved;	/* somebody has answered */
};

static void list_drop(void *state)
{
	struct list_state *l = state;

	free(l->asked);
	free(l);
}

static void list_give(struct sbx_work *w)
{
	struct csdk *x = csdk_of(w);
	struct sbx_call *call = w->call;
	const struct csdk_box *b;

	call->list = calloc(x->nr_boxes + 1, sizeof(*call->list));
	for (b = x->boxes; call->list && b; b = b->next) {
		if (!b->listed || !b->told.id)
			continue;
		if (sbx_sandbox_copy(&call->list[call->nr], &b->told) < 0) {
			sbx_work_no_memory(w);
			return;
		}
		call->nr++;
	}
	if (call->list)
		sbx_work_done(w, NULL);
	else
		sbx_work_no_memory(w);
}

static void list_next(struct sbx_work *w);

/* One of which nonsense is told is shown as it last was, if it was, and
 * hides no other. */
static void list_doubt(struct sbx_work *w, struct csdk_box *b)
{
	b->told_ms = uv_now(w->rest->loop);
	sbx_log(SBX_LOG_INFO, "computesdk",
		"%s: what the gateway says of it makes no sense", b->id);
	list_next(w);
}

/* What is told of one that was destroyed meanwhile is no matter. */
static bool list_is_late(const struct csdk_box *b, const struct list_state *l,
			 const struct sbx_error *e)
{
	return !b && strcmp(l->asked, NOBODY) != 0 &&
	       (!e->err || e->err == -EPROTO || e->err == -ENOENT);
}

static void on_list_told(struct sbx_work *w, const struct sbx_answer *answer)
{
	struct list_state *l = w->state;
	struct csdk_box *b = csdk_box_find(csdk_of(w), l->asked);
	struct sbx_error e = answer->error;
	struct sbx_sandbox s;
	int r;

	if (list_is_late(b, l, &e)) {
		list_next(w);
		return;
	}
	if (e.err == -ENOENT) {
		csdk_box_drop(b);
		e.err = 0;
	} else if (!e.err && b) {
		r = csdk_box_take(csdk_of(w), answer->json, l->asked, &s);
		if (r == 0)
			sbx_sandbox_release(&s);
		else
			sbx_error_set(&e, r, "out of memory");
	}
	if (e.err == -EPROTO && b) {
		list_doubt(w, b);
	} else if (e.err) {
		sbx_work_done(w, &e);
	} else {
		l->proved = true;
		list_next(w);
	}
}

static const char *list_stale(const struct sbx_work *w)
{
	const struct list_state *l = w->state;
	const struct csdk_box *b;

	for (b = csdk_of(w)->boxes; b; b = b->next)
		if (b->listed && (!b->told_ms || b->told_ms < l->since))
			return b->id;
	return NULL;
}

static void list_next(struct sbx_work *w)
{
	struct list_state *l = w->state;
	const char *id = list_stale(w);

	if (!id && l->proved) {
		list_give(w);
		return;
	}
	free(l->asked);
	l->asked = strdup(id ? id : NOBODY);
	if (l->asked)
		ask_for(w, l->asked, on_list_told);
	else
		sbx_work_no_memory(w);
}

static void list_start(struct sbx_work *w)
{
	struct list_state *l;
	uint64_t now = uv_now(w->rest->loop);

	if (csdk_is_direct(csdk_of(w))) {
		if (csdk_work_state(w, sizeof(struct csdk_at)))
			csdk_direct_look(w, list_give);
		return;
	}
	l = calloc(1, sizeof(*l));
	if (!l) {
		sbx_work_no_memory(w);
		return;
	}
	w->state = l;
	w->drop = list_drop;
	l->since = now > FRESH_MS ? now - FRESH_MS : 0;
	list_next(w);
}

/* ---- get ---- */

void csdk_work_find(struct sbx_work *w, const char *namespace, const char *name,
		    sbx_answer_fn *fn)
{
	SBX_FREE char *body = sbx_csdk_find_body(namespace, name);

	if (!body) {
		sbx_work_no_memory(w);
		return;
	}
	sbx_work_request(w,
			 (struct sbx_request_conf){.method = "POST",
						   .path = "/sandboxes/find",
						   .body = body,
						   .repeatable = true,
						   .wants_json = true},
			 fn);
}

static void get_by_name(struct sbx_work *w);

static void on_found(struct sbx_work *w, const struct sbx_answer *answer)
{
	struct sbx_sandbox s;

	if (answer->error.err == -ENOENT && ++w->step < 2)
		get_by_name(w);
	else if (answer->error.err)
		sbx_work_done(w, &answer->error);
	else if (csdk_work_take(w, answer->json, NULL, &s))
		csdk_work_give(w, &s);
}

/* In a namespace of its own, as we make them; then where others do. */
static void get_by_name(struct sbx_work *w)
{
	const char *name = w->call->id;

	csdk_work_find(w, w->step ? "default" : name, name, on_found);
}

static void on_told(struct sbx_work *w, const struct sbx_answer *answer)
{
	struct csdk_box *b = csdk_box_find(csdk_of(w), w->call->id);
	struct sbx_sandbox s;

	if (answer->error.err == -ENOENT && !b) {
		get_by_name(w);
	} else if (answer->error.err == -ENOENT) {
		csdk_box_drop(b);
		sbx_work_done(w, &answer->error);
	} else if (answer->error.err) {
		sbx_work_done(w, &answer->error);
	} else if (csdk_work_take(w, answer->json, w->call->id, &s)) {
		csdk_work_give(w, &s);
	}
}

/* It is known now, or there is none. */
static void get_known(struct sbx_work *w)
{
	struct csdk_box *b = csdk_box_find(csdk_of(w), w->call->id);
	struct sbx_sandbox s;
	struct sbx_error e;

	if (b && b->told.id && sbx_sandbox_copy(&s, &b->told) == 0) {
		csdk_work_give(w, &s);
		return;
	}
	sbx_error_set(&e, b && b->told.id ? -ENOMEM : -ENOENT,
		      "there is no such sandbox");
	sbx_work_done(w, &e);
}

static void get_start(struct sbx_work *w)
{
	if (!csdk_is_direct(csdk_of(w)))
		ask_for(w, w->call->id, on_told);
	else if (csdk_work_state(w, sizeof(struct csdk_at)))
		csdk_direct_look(w, get_known);
}

/* ---- where one is ---- */

static void at_drop(void *state)
{
	struct csdk_at *at = state;

	if (at->box)
		csdk_box_let_go(at->box);
	free(at);
}

void *csdk_work_state(struct sbx_work *w, size_t size)
{
	w->state = calloc(1, size);
	if (w->state)
		w->drop = at_drop;
	else
		sbx_work_no_memory(w);
	return w->state;
}

static void place_found(struct sbx_work *w)
{
	struct csdk_at *at = w->state;

	struct sbx_error e;

	at->box = csdk_box_find(csdk_of(w), w->call->id);
	if (!at->box || !at->box->place.url) {
		at->box = NULL;
		sbx_error_set(&e, -ENOENT, "there is no such sandbox");
		sbx_work_done(w, &e);
		return;
	}
	csdk_box_hold(at->box);
	at->then(w);
}

static void on_placed(struct sbx_work *w, const struct sbx_answer *answer)
{
	struct sbx_sandbox s;

	if (answer->error.err) {
		sbx_work_done(w, &answer->error);
	} else if (csdk_work_take(w, answer->json, w->call->id, &s)) {
		sbx_sandbox_release(&s);
		place_found(w);
	}
}

void csdk_work_place(struct sbx_work *w, sbx_work_fn *then)
{
	struct csdk_at *at = w->state;
	const struct csdk_box *b = csdk_box_find(csdk_of(w), w->call->id);

	at->then = then;
	if (b && b->place.url)
		place_found(w);
	else if (csdk_is_direct(csdk_of(w)))
		csdk_direct_look(w, place_found);
	else
		ask_for(w, w->call->id, on_placed);
}

static void on_asked(struct sbx_work *w, const struct sbx_answer *answer)
{
	struct csdk_at *at = w->state;

	if (answer->error.status != 401 || at->again ||
	    csdk_is_direct(csdk_of(w))) {
		at->fn(w, answer);
		return;
	}
	at->again = true;
	csdk_box_let_go(at->box);
	at->box = NULL;
	ask_for(w, w->call->id, on_placed);
}

void csdk_work_ask(struct sbx_work *w, struct sbx_request_conf conf,
		   sbx_answer_fn *fn)
{
	struct csdk_at *at = w->state;

	conf.to = at->box;
	at->fn = fn;
	sbx_work_request(w, conf, on_asked);
}

/* ---- destroy ---- */

static void on_destroyed(struct sbx_work *w, const struct sbx_answer *answer)
{
	struct sbx_error e = answer->error;

	if (e.err == -ENOENT)
		e = (struct sbx_error){0}; /* gone is gone */
	if (!e.err)
		csdk_box_drop(csdk_box_find(csdk_of(w), w->call->id));
	sbx_work_done(w, &e);
}

static void destroy_start(struct sbx_work *w)
{
	sbx_work_request(
		w,
		(struct sbx_request_conf){.method = "DELETE",
					  .path = "/sandboxes/%s",
					  .id = w->call->id,
					  .query = csdk_is_direct(csdk_of(w))
							   ? "delete_files=true"
							   : NULL,
					  .repeatable = true},
		on_destroyed);
}

/* ---- keepalive ---- */

static void on_keep_looked(struct sbx_work *w, const struct sbx_answer *answer)
{
	struct sbx_error e = answer->error;

	if (!e.err)
		sbx_error_set(&e, -EOPNOTSUPP,
			      "%s cannot extend the life of a sandbox",
			      w->rest->url);
	sbx_work_done(w, &e);
}

static void on_kept(struct sbx_work *w, const struct sbx_answer *answer)
{
	int status = answer->error.status;

	/* "not found" is also what one that cannot do it says */
	if (status == 404 || status == 405 || status == 501)
		ask_for(w, w->call->id, on_keep_looked);
	else if (answer->error.err)
		sbx_work_done(w, &answer->error);
	else
		get_start(w);
}

static void keepalive_start(struct sbx_work *w)
{
	static const struct sbx_answer none;
	unsigned int s = w->call->seconds ? w->call->seconds : EXTEND_DEFAULT;
	char body[64];

	snprintf(body, sizeof(body), "{\"duration\":%llu}",
		 (unsigned long long)(s < MAX_EXTEND ? s : MAX_EXTEND) * 1000);
	if (csdk_is_direct(csdk_of(w))) {
		on_keep_looked(w, &none);
		return;
	}
	/* each one adds to it */
	sbx_work_request(w,
			 (struct sbx_request_conf){.method = "POST",
						   .path = "/sandboxes/%s/"
							   "extend",
						   .id = w->call->id,
						   .body = body},
			 on_kept);
}

/* ---- all ---- */

const struct sbx_calls_type csdk_calls_type = {
	.start =
		{
			[SBX_CALL_LIST] = list_start,
			[SBX_CALL_GET] = get_start,
			[SBX_CALL_CREATE] = csdk_create_start,
			[SBX_CALL_DESTROY] = destroy_start,
			[SBX_CALL_KEEPALIVE] = keepalive_start,
			[SBX_CALL_FILES] = csdk_files_start,
			[SBX_CALL_FILE] = csdk_file_start,
			[SBX_CALL_OWN_READ] = csdk_own_read_start,
			[SBX_CALL_OWN_WRITE] = csdk_own_write_start,
			[SBX_CALL_OWN_LIST] = csdk_own_list_start,
			[SBX_CALL_OWN_MAKE] = csdk_own_make_start,
			[SBX_CALL_OWN_REMOVE] = csdk_own_remove_start,
		},
	.id_is_valid = sbx_csdk_id_is_valid,
	.one = "/sandboxes/%s",
};
