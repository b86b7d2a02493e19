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

#define DEFAULT_TIMEOUT_MS 30000
/* A service of several replicas does not know a sandbox on each of them, so
 * one "not found" is no proof. */
#define CONFIRM_MS 300
/* What a keepalive gives by default; what it really gives is seen later. */
#define LIFE_MS 3600000

static void work_drop(struct xgen_work *w)
{
	*w->link = w->next;
	if (w->next)
		w->next->link = w->link;
	xgen_request_cancel(w->request);
	xgen_alarm_cancel(w->alarm);
	xgen_create_drop(w->create);
	free(w);
}

static void call_drop_list(struct sbx_call *call)
{
	size_t i;

	for (i = 0; i < call->nr; i++)
		sbx_sandbox_release(&call->list[i]);
	free(call->list);
	call->list = NULL;
	call->nr = 0;
}

void xgen_work_done(struct xgen_work *w, const struct sbx_error *error)
{
	struct sbx_call *call = w->call;
	struct xgen *x;
	bool starting;

	if (error)
		call->error = *error;
	if (call->error.err)
		call_drop_list(call);
	starting = w->x->starting;
	x = w->x;
	work_drop(w);
	call->priv = NULL;
	if (starting)
		xgen_fail_later(x, call);
	else
		call->done(call);
}

static void work_no_memory(struct xgen_work *w)
{
	struct sbx_error e;

	sbx_error_set(&e, -ENOMEM, "out of memory");
	xgen_work_done(w, &e);
}

void xgen_work_request(struct xgen_work *w, struct xgen_request_conf conf,
		       xgen_request_fn *fn)
{
	if (!conf.deadline)
		conf.deadline = w->deadline;
	w->request = xgen_request_start(w->x, &conf, fn, w);
	if (!w->request)
		work_no_memory(w);
}

bool xgen_work_pause(struct xgen_work *w, uint64_t ms, void (*fn)(void *arg))
{
	w->alarm = xgen_alarm_set(w->x, ms, fn, w);
	if (w->alarm)
		return true;
	work_no_memory(w);
	return false;
}

bool xgen_work_take(struct xgen_work *w, const json_t *obj)
{
	struct sbx_call *call = w->call;
	struct sbx_error e;
	int r = -ENOMEM;

	call_drop_list(call);
	call->list = calloc(1, sizeof(*call->list));
	if (call->list)
		r = sbx_xgen_sandbox_from_json(call->list, obj, w->x->base_url);
	if (r == 0 && call->id && strcmp(call->id, call->list->id)) {
		sbx_sandbox_release(call->list);
		r = -EPROTO;
	}
	if (r == 0) {
		call->nr = 1;
		return true;
	}
	if (r == -EPROTO)
		sbx_xgen_not_xgen(&e, w->x->base_url, "no sandbox in it");
	else
		sbx_error_set(&e, r, "out of memory");
	xgen_work_done(w, &e);
	return false;
}

/* ---- list ---- */

static void on_list(void *arg, const struct xgen_answer *answer)
{
	struct xgen_work *w = arg;
	struct sbx_call *call = w->call;
	size_t i, n = json_array_size(answer->json);
	struct sbx_error e = answer->error;

	w->request = NULL;
	if (!e.err && !json_is_array(answer->json))
		sbx_xgen_not_xgen(&e, w->x->base_url, "no list in it");
	else if (!e.err && n > SBX_MAX_SANDBOXES)
		sbx_error_set(&e, -EPROTO,
			      "%s lists %zu sandboxes, more than "
			      "can be shown",
			      w->x->base_url, n);
	if (!e.err && n) {
		call->list = calloc(n, sizeof(*call->list));
		if (!call->list)
			sbx_error_set(&e, -ENOMEM, "out of memory");
	}
	for (i = 0; !e.err && i < n; i++) {
		int r = sbx_xgen_sandbox_from_json(
			&call->list[call->nr], json_array_get(answer->json, i),
			w->x->base_url);

		if (r == 0)
			call->nr++;
		else if (r == -ENOMEM)
			sbx_error_set(&e, r, "out of memory");
		else
			sbx_log(SBX_LOG_WARNING, "xgen",
				"leaving out a sandbox without a usable id");
	}
	xgen_work_done(w, &e);
}

static void list_start(struct xgen_work *w)
{
	xgen_work_request(w,
			  (struct xgen_request_conf){.method = "GET",
						     .path = "/sandboxes",
						     .repeatable = true,
						     .wants_json = true},
			  on_list);
}

/* ---- get ---- */

static void get_start(void *arg);
static void keep_send(struct xgen_work *w);

/* The life that is left; -1: it does not end. */
static int64_t work_left_ms(const struct xgen_work *w)
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
static void keep_looked(struct xgen_work *w)
{
	int64_t left = work_left_ms(w);
	int64_t life = w->x->life_ms ? w->x->life_ms : LIFE_MS;

	if (w->keep == XGEN_KEEP_DONE && left > 0)
		w->x->life_ms = left;
	if (w->keep == XGEN_KEEP_LOOK && left >= 0 && left < life)
		keep_send(w);
	else
		xgen_work_done(w, NULL);
}

static void on_get(void *arg, const struct xgen_answer *answer)
{
	struct xgen_work *w = arg;

	w->request = NULL;
	if (answer->error.err == -ENOENT && w->misses++ == 0) {
		xgen_work_pause(w, CONFIRM_MS, get_start);
		return;
	}
	if (answer->error.err == -ENOENT)
		xgen_env_forget(w->x, w->call->id);
	if (answer->error.err)
		xgen_work_done(w, &answer->error);
	else if (xgen_work_take(w, answer->json))
		keep_looked(w);
}

static void get_start(void *arg)
{
	struct xgen_work *w = arg;

	w->alarm = NULL;
	xgen_work_request(w,
			  (struct xgen_request_conf){.method = "GET",
						     .path = "/sandboxes/%s",
						     .id = w->call->id,
						     .repeatable = true,
						     .wants_json = true},
			  on_get);
}

/* ---- destroy ---- */

static void on_destroyed(void *arg, const struct xgen_answer *answer)
{
	struct xgen_work *w = arg;
	struct sbx_error e = answer->error;

	w->request = NULL;
	if (e.err == -ENOENT)
		e = (struct sbx_error){0}; /* gone is gone */
	if (!e.err)
		xgen_env_forget(w->x, w->call->id);
	xgen_work_done(w, &e);
}

static void destroy_start(struct xgen_work *w)
{
	xgen_work_request(w,
			  (struct xgen_request_conf){.method = "DELETE",
						     .path = "/sandboxes/%s",
						     .id = w->call->id,
						     .repeatable = true},
			  on_destroyed);
}

/* ---- keepalive ---- */

static void on_kept(void *arg, const struct xgen_answer *answer)
{
	struct xgen_work *w = arg;

	w->request = NULL;
	/* it does not say until when: ask */
	w->keep = XGEN_KEEP_DONE;
	if (answer->error.err)
		xgen_work_done(w, &answer->error);
	else
		get_start(w);
}

static void keepalive_start(struct xgen_work *w)
{
	w->keep = XGEN_KEEP_LOOK;
	get_start(w);
}

static void keep_send(struct xgen_work *w)
{
	xgen_work_request(
		w,
		(struct xgen_request_conf){.method = "POST",
					   .path = "/sandboxes/%s/keepalive",
					   .id = w->call->id,
					   .repeatable = true},
		on_kept);
}

/* ---- all ---- */

static void call_fail(struct xgen *x, struct sbx_call *call, int err,
		      const char *text)
{
	sbx_error_set(&call->error, err, "%s", text);
	xgen_fail_later(x, call);
}

static struct xgen_work *work_new(struct xgen *x, struct sbx_call *call)
{
	struct xgen_work *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	uv_update_time(x->loop);
	w->x = x;
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

void xgen_work_start(struct xgen *x, struct sbx_call *call)
{
	bool has_id =
		call->kind != SBX_CALL_LIST && call->kind != SBX_CALL_CREATE;
	struct xgen_work *w;

	call->error = (struct sbx_error){0};
	if (has_id && !sbx_xgen_id_is_valid(call->id)) {
		call_fail(x, call, -ENOENT, "there is no such sandbox");
		return;
	}
	w = work_new(x, call);
	if (!w) {
		call_fail(x, call, -ENOMEM, "out of memory");
		return;
	}
	x->starting = true;
	switch (call->kind) {
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
	case SBX_CALL_PAUSE:
	case SBX_CALL_RESUME:
	case SBX_CALL_STOP:
	case SBX_CALL_START:
	case SBX_CALL_RESTART:
	case SBX_CALL_WIPE:
	case SBX_CALL_KINDS:
		break;
	}
	x->starting = false;
}
