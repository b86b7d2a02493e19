/*
 * What is xgen's own of the calls of the layer above.
 */
#include <errno.h>

#include "client/cleanup.h"
#include "client/create.h"
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
static int took(struct sbx_rest *rest, struct sbx_sandbox *list, size_t nr)
{
	struct xgen *x = (struct xgen *)rest;
	int r = 0;

	for (size_t i = 0; r == 0 && i < nr; i++)
		r = sbx_xgen_preview_learn(&x->preview, &list[i]);
	for (size_t i = 0; r == 0 && i < nr; i++)
		r = sbx_xgen_preview_fill(&x->preview, &list[i]);
	return r;
}

static void gone(struct sbx_rest *rest, const char *id)
{
	xgen_env_forget((struct xgen *)rest, id);
}

/* ---- keepalive ---- */

/* The life that is left, by the service's clock; INT64_MAX: it does not end. */
static int64_t work_left_ms(const struct sbx_work *w)
{
	int64_t expires = w->call->list[0].expires_ms;

	return expires ? expires - sbx_rest_now_ms(w->rest) : INT64_MAX;
}

static void keep_sent(struct sbx_work *w)
{
	int64_t left = work_left_ms(w);

	if (left > 0 && left < INT64_MAX)
		xgen_of(w)->life_ms = left;
	sbx_work_done(w, NULL);
}

/*
 * A keepalive makes the life end a fixed time from now, be that earlier or
 * later than it was: so it is not sent where it would shorten it.  It does not
 * say until when.
 */
static void keep_looked(struct sbx_work *w)
{
	int64_t left = work_left_ms(w);
	int64_t life = xgen_of(w)->life_ms ? xgen_of(w)->life_ms : LIFE_MS;

	if (left >= life)
		sbx_work_done(w, NULL);
	else
		sbx_work_act(w,
			     (struct sbx_request_conf){
				     .method = "POST",
				     .path = "/sandboxes/%s/keepalive",
				     .id = w->call->id,
				     .repeatable = true},
			     keep_sent);
}

static void keepalive_start(struct sbx_work *w)
{
	sbx_work_look(w, keep_looked);
}

/* ---- create ---- */

struct xgen_create {
	struct sbx_create base;
	struct sbx_xgen_create wish;
};

static int create_parse(struct sbx_create *base, const char *options,
			struct sbx_error *reterr)
{
	struct xgen_create *c = (struct xgen_create *)base;
	int r = sbx_xgen_create_parse(&c->wish, options, base->marker, reterr);

	base->body = c->wish.body_v2;
	base->old_body = c->wish.body_v1;
	return r;
}

static void create_release(struct sbx_create *base)
{
	sbx_xgen_create_release(&((struct xgen_create *)base)->wish);
}

static void create_running(struct sbx_create *base)
{
	struct xgen_create *c = (struct xgen_create *)base;
	struct sbx_error e;

	if (!c->wish.env || xgen_env_keep(xgen_of(base->work), base->id,
					  SBX_TAKE(c->wish.env)) == 0) {
		sbx_create_done(base);
		return;
	}
	sbx_error_set(&e, -ENOMEM, "out of memory");
	sbx_create_give_up(base, &e);
}

static void create_start(struct sbx_work *w)
{
	static const struct sbx_create_type type = {
		.size = sizeof(struct xgen_create),
		.parse = create_parse,
		.release = create_release,
		.labels = "metadata",
		.running = create_running,
		.poll_first_ms = 100,
		.poll_max_ms = 1000,
		.asks = 2,
		.misses = 3,
	};

	sbx_create_start(w, &type);
}

const struct sbx_calls_type xgen_calls_type = {
	.start = {[SBX_CALL_LIST] = sbx_list_start,
		  [SBX_CALL_GET] = sbx_get_start,
		  [SBX_CALL_CREATE] = create_start,
		  [SBX_CALL_DESTROY] = sbx_destroy_start,
		  [SBX_CALL_KEEPALIVE] = keepalive_start,
		  [SBX_CALL_FILES] = xgen_files_start,
		  [SBX_CALL_FILE] = xgen_files_start},
	.id_is_valid = sbx_is_id,
	.id = "id",
	.all = "/sandboxes",
	.one = "/sandboxes/%s",
	.parse = sbx_xgen_sandbox_from_json,
	.confirm_ms = CONFIRM_MS,
	.took = took,
	.gone = gone,
};
