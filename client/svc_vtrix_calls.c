/*
 * What is Vtrix's own of the calls of the layer above.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cleanup.h"
#include "client/create.h"
#include "client/json.h"
#include "client/life.h"
#include "client/parse.h"
#include "client/svc_vtrix.h"

#define PAGE	 100
#define LIFE_S	 43200 /* the service's own default */
#define GONE_MS	 30000
#define SEEK_MS	 30000
#define SLACK_MS 1000

static void gone(struct sbx_rest *rest, const char *id)
{
	vtrix_link_drop(vtrix_of(rest), id);
}

/* ---- list ---- */

static const json_t *list_of(const json_t *answer)
{
	return sbx_vtrix_list(answer, NULL);
}

/* A query in one dialect, a body in the other. */
static void page(struct sbx_page *at, struct sbx_request_conf *conf)
{
	int n = snprintf(at->text, 64, "limit=%d&offset=%zu", PAGE, at->items);
	char *body = at->text + n + 1;

	snprintf(body, 64, "{\"limit\":%d,\"offset\":%zu}", PAGE, at->items);
	conf->query = at->text;
	conf->body = body;
}

static bool more(const struct sbx_page *at)
{
	bool more;

	sbx_vtrix_list(at->answer, &more);
	return more;
}

/* ---- keepalive ---- */

/*
 * Gateways of one and the same dialect want hours or seconds, and what is not
 * understood may be taken for nothing: so both are said, and then it is seen
 * whether the end has moved.  Who refuses two words is given one.
 */
struct keep {
	enum sbx_vtrix_unit unit;
	int64_t before_ms;
	char body[SBX_VTRIX_EXTEND_BODY];
};

static unsigned int keep_seconds(const struct sbx_work *w)
{
	unsigned int s = w->call->seconds ? w->call->seconds : LIFE_S;

	return s < SBX_VTRIX_MAX_SECONDS ? s : SBX_VTRIX_MAX_SECONDS;
}

static void keep_seen(struct sbx_work *w)
{
	const struct keep *k = w->state;
	struct sbx_error e;

	if (w->call->list[0].expires_ms != k->before_ms) {
		sbx_work_done(w, NULL);
		return;
	}
	sbx_error_set(&e, -EIO,
		      "%s took the extension, but the sandbox's life is no "
		      "longer than before",
		      w->rest->url);
	sbx_work_done(w, &e);
}

static void keep_ask(struct sbx_work *w);

static void on_kept(struct sbx_work *w, const struct sbx_answer *answer)
{
	struct keep *k = w->state;
	const struct sbx_error *e = &answer->error;

	if (e->err == -EINVAL && ++k->unit < SBX_VTRIX_UNITS)
		keep_ask(w);
	else if (e->err && !answer->maybe_done)
		sbx_work_done(w, e);
	else
		sbx_work_look(w, keep_seen);
}

static void keep_ask(struct sbx_work *w)
{
	struct keep *k = w->state;

	sbx_vtrix_extend_body(k->body, k->unit, keep_seconds(w));
	sbx_work_request(w,
			 (struct sbx_request_conf){.method = "POST",
						   .path = "/%s/extend",
						   .id = w->call->id,
						   .body = k->body},
			 on_kept);
}

/* What it adds to is not said, so it is asked for only where life is short. */
static void keep_looked(struct sbx_work *w)
{
	int64_t expires = w->call->list[0].expires_ms;
	struct keep *k;

	if (!expires || expires >= sbx_rest_now_ms(w->rest) +
					   keep_seconds(w) * (int64_t)1000 -
					   SLACK_MS) {
		sbx_work_done(w, NULL);
		return;
	}
	k = calloc(1, sizeof(*k));
	if (!k) {
		sbx_work_no_memory(w);
		return;
	}
	k->before_ms = expires;
	w->state = k;
	w->drop = free;
	keep_ask(w);
}

static void keepalive_start(struct sbx_work *w)
{
	sbx_work_look(w, keep_looked);
}

/* ---- stop, start and restart ---- */

/* What is connected is, or will be, of a pod that is no more. */
static void told(struct sbx_work *w)
{
	gone(w->rest, w->call->id);
}

#define AIM                                                                    \
	.body = "{}", .word_of = sbx_vtrix_state_word, .lost = "failed",       \
	.told = told, .poll_first_ms = 100, .poll_max_ms = 2000
static const struct sbx_aim stopping = {AIM, .path = "/%s/stop",
					.word = "stopped", .from = "active"};
static const struct sbx_aim starting = {AIM, .path = "/%s/start",
					.word = "active", .from = "stopped"};
/* It is active before it, too: some three seconds are given to begin. */
static const struct sbx_aim restarting = {AIM, .path = "/%s/restart",
					  .word = "active", .from = "stopped",
					  .doubts = 5};

static void stop_start(struct sbx_work *w)
{
	sbx_life_start(w, &stopping);
}

static void start_start(struct sbx_work *w)
{
	sbx_life_start(w, &starting);
}

static void restart_start(struct sbx_work *w)
{
	sbx_life_start(w, &restarting);
}

/* ---- create ---- */

struct vtrix_create {
	struct sbx_create base;
	char *body;
};

static int create_parse(struct sbx_create *base, const char *options,
			struct sbx_error *reterr)
{
	struct vtrix_create *c = (struct vtrix_create *)base;

	c->body = sbx_vtrix_create_body(options, base->marker, reterr);
	base->body = c->body;
	return c->body ? 0 : reterr->err;
}

static void create_release(struct sbx_create *base)
{
	struct vtrix_create *c = (struct vtrix_create *)base;

	sbx_wipe(c->body);
}

static void create_start(struct sbx_work *w)
{
	static const struct sbx_create_type type = {
		.size = sizeof(struct vtrix_create),
		.parse = create_parse,
		.release = create_release,
		.path = VTRIX_CREATE,
		.made = sbx_vtrix_created,
		.labels = "labels",
		.poll_first_ms = 100,
		.poll_max_ms = 2000,
		.seek_ms = SEEK_MS,
		/* errors of single looks are known to happen */
		.misses = 5,
	};

	sbx_create_start(w, &type);
}

const struct sbx_calls_type vtrix_calls_type = {
	.start = {[SBX_CALL_LIST] = sbx_list_start,
		  [SBX_CALL_GET] = sbx_get_start,
		  [SBX_CALL_CREATE] = create_start,
		  [SBX_CALL_DESTROY] = sbx_destroy_start,
		  [SBX_CALL_KEEPALIVE] = keepalive_start,
		  [SBX_CALL_STOP] = stop_start,
		  [SBX_CALL_START] = start_start,
		  [SBX_CALL_RESTART] = restart_start,
		  [SBX_CALL_OWN_READ] = vtrix_own_start,
		  [SBX_CALL_OWN_WRITE] = vtrix_own_start},
	.id_is_valid = sbx_vtrix_id_is_valid,
	.id = "id",
	.all = VTRIX_LIST,
	.one = VTRIX_ONE,
	.parse = sbx_vtrix_sandbox_from_json,
	.list_of = list_of,
	.page = page,
	.more = more,
	.gone_ms = GONE_MS,
	.gone = gone,
};
