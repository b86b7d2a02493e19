/*
 * The calls of the layer above, but for create.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/json.h"
#include "client/limits.h"
#include "client/log.h"
#include "client/svc_xgen.h"

/* A service of several replicas does not know a sandbox on each of them, so
 * one "not found" is no proof. */
#define CONFIRM_MS 300
/* What a keepalive gives by default; what it really gives is seen later. */
#define LIFE_MS 3600000

static struct xgen *xgen_of(const struct sbx_work *w)
{
	return (struct xgen *)w->rest;
}

/* First what all of them tell: lists are in any order. */
static int fill_previews(struct xgen *x, struct sbx_sandbox *list, size_t nr)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < nr; i++)
		r = sbx_xgen_preview_learn(&x->preview, &list[i]);
	for (size_t i = 0; r == 0 && i < nr; i++)
		r = sbx_xgen_preview_fill(&x->preview, &list[i]);
	return r;
}

bool xgen_work_take(struct sbx_work *w, const json_t *obj)
{
	if (!sbx_work_take(w, obj, sbx_xgen_sandbox_from_json))
		return false;
	if (fill_previews(xgen_of(w), w->call->list, 1) == 0)
		return true;
	sbx_work_no_memory(w);
	return false;
}

/* ---- list ---- */

static void on_list(void *arg, const struct sbx_answer *answer)
{
	struct sbx_work *w = arg;
	struct sbx_call *call = w->call;
	size_t i, n = json_array_size(answer->json);
	struct sbx_error e = answer->error;

	w->request = NULL;
	if (!e.err && !json_is_array(answer->json))
		sbx_xgen_not_xgen(&e, w->rest->url, "no list in it");
	else if (!e.err && n > SBX_MAX_SANDBOXES)
		sbx_error_set(&e, -EPROTO,
			      "%s lists %zu sandboxes, more than "
			      "can be shown",
			      w->rest->url, n);
	if (!e.err && sbx_work_make_room(w, n) < 0)
		sbx_error_set(&e, -ENOMEM, "out of memory");
	for (i = 0; !e.err && i < n; i++) {
		int r = sbx_xgen_sandbox_from_json(
			&call->list[call->nr], json_array_get(answer->json, i),
			w->rest->url);

		if (r == 0)
			call->nr++;
		else if (r == -ENOMEM)
			sbx_error_set(&e, r, "out of memory");
		else
			sbx_log(SBX_LOG_WARNING, "xgen",
				"leaving out a sandbox without a usable id");
	}
	if (!e.err && fill_previews(xgen_of(w), call->list, call->nr) < 0)
		sbx_error_set(&e, -ENOMEM, "out of memory");
	sbx_work_done(w, &e);
}

static void list_start(struct sbx_work *w)
{
	sbx_work_request(w,
			 (struct sbx_request_conf){.method = "GET",
						   .path = "/sandboxes",
						   .repeatable = true,
						   .wants_json = true},
			 on_list);
}

/* ---- get ---- */

static void get_start(void *arg);
static void keep_send(struct sbx_work *w);

/* The life that is left; -1: it does not end. */
static int64_t work_left_ms(const struct sbx_work *w)
{
	int64_t expires = w->call->list[0].expires_ms;
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return expires ? expires - (int64_t)now.tv_sec * 1000 -
				 now.tv_nsec / 1000000
		       : -1;
}

/*
 * A keepalive makes the life end a fixed time from now, be that earlier or
 * later than it was: so it is not sent where it would shorten it.
 */
static void keep_looked(struct sbx_work *w)
{
	int64_t left = work_left_ms(w);
	int64_t life = xgen_of(w)->life_ms ? xgen_of(w)->life_ms : LIFE_MS;

	if (w->step == XGEN_KEEP_DONE && left > 0)
		xgen_of(w)->life_ms = left;
	if (w->step == XGEN_KEEP_LOOK && left >= 0 && left < life)
		keep_send(w);
	else
		sbx_work_done(w, NULL);
}

static void on_get(void *arg, const struct sbx_answer *answer)
{
	struct sbx_work *w = arg;

	w->request = NULL;
	if (answer->error.err == -ENOENT && w->misses++ == 0) {
		sbx_work_pause(w, CONFIRM_MS, get_start);
		return;
	}
	if (answer->error.err == -ENOENT)
		xgen_env_forget(xgen_of(w), w->call->id);
	if (answer->error.err)
		sbx_work_done(w, &answer->error);
	else if (xgen_work_take(w, answer->json))
		keep_looked(w);
}

static void get_start(void *arg)
{
	struct sbx_work *w = arg;

	w->alarm = NULL;
	sbx_work_request(w,
			 (struct sbx_request_conf){.method = "GET",
						   .path = "/sandboxes/%s",
						   .id = w->call->id,
						   .repeatable = true,
						   .wants_json = true},
			 on_get);
}

/* ---- destroy ---- */

static void on_destroyed(void *arg, const struct sbx_answer *answer)
{
	struct sbx_work *w = arg;
	struct sbx_error e = answer->error;

	w->request = NULL;
	if (e.err == -ENOENT)
		e = (struct sbx_error){0}; /* gone is gone */
	if (!e.err)
		xgen_env_forget(xgen_of(w), w->call->id);
	sbx_work_done(w, &e);
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

static void on_kept(void *arg, const struct sbx_answer *answer)
{
	struct sbx_work *w = arg;

	w->request = NULL;
	/* it does not say until when: ask */
	w->step = XGEN_KEEP_DONE;
	if (answer->error.err)
		sbx_work_done(w, &answer->error);
	else
		get_start(w);
}

static void keepalive_start(struct sbx_work *w)
{
	w->step = XGEN_KEEP_LOOK;
	get_start(w);
}

static void keep_send(struct sbx_work *w)
{
	sbx_work_request(
		w,
		(struct sbx_request_conf){.method = "POST",
					  .path = "/sandboxes/%s/keepalive",
					  .id = w->call->id,
					  .repeatable = true},
		on_kept);
}

/* ---- all ---- */

static void work_begin(struct sbx_work *w)
{
	switch (w->call->kind) {
	case SBX_CALL_LIST:
		list_start(w);
		break;
	case SBX_CALL_GET:
		get_start(w);
		break;
	case SBX_CALL_CREATE:
		xgen_create_start(w);
		break;
	case SBX_CALL_DESTROY:
		destroy_start(w);
		break;
	case SBX_CALL_KEEPALIVE:
		keepalive_start(w);
		break;
	case SBX_CALL_FILES:
	case SBX_CALL_FILE:
		xgen_files_start(w);
		break;
	case SBX_CALL_PAUSE:
	case SBX_CALL_RESUME:
	case SBX_CALL_STOP:
	case SBX_CALL_START:
	case SBX_CALL_RESTART:
	case SBX_CALL_SNAPSHOTS:
	case SBX_CALL_SNAPSHOT:
	case SBX_CALL_RESTORE:
	case SBX_CALL_WIPE:
	case SBX_CALL_OWN_READ:
	case SBX_CALL_OWN_WRITE:
	case SBX_CALL_OWN_LIST:
	case SBX_CALL_OWN_MAKE:
	case SBX_CALL_OWN_REMOVE:
	case SBX_CALL_KINDS:
		break;
	}
}

void xgen_work_start(struct xgen *x, struct sbx_call *call)
{
	bool has_id =
		call->kind != SBX_CALL_LIST && call->kind != SBX_CALL_CREATE;

	sbx_work_start(&x->rest, call, !has_id || sbx_is_id(call->id),
		       work_begin);
}
