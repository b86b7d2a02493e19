/*
 * What is OpenSandbox's own of the calls of the layer above.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "client/cleanup.h"
#include "client/create.h"
#include "client/json.h"
#include "client/labels.h"
#include "client/life.h"
#include "client/svc_opensandbox.h"

#define PAGE   200 /* most that the service gives at once */
#define LIFE_S 3600
/* Kubernetes takes its time; longer is not waited for. */
#define GONE_MS	 10000
#define SEEK_MS	 60000 /* for what became of a lost request */
#define READY_MS 30000 /* from "Running" until execd answers */

static struct osb *osb_of(const struct sbx_work *w)
{
	return (struct osb *)w->rest;
}

static void gone(struct sbx_rest *rest, const char *id)
{
	osb_reach_drop((struct osb *)rest, id);
}

/* ---- list ---- */

static void page(struct sbx_page *at, struct sbx_request_conf *conf)
{
	snprintf(at->text, sizeof(at->text), "page=%u&pageSize=%d", at->nr + 1,
		 PAGE);
	conf->query = at->text;
}

static bool more(const struct sbx_page *at)
{
	return sbx_json_bool(sbx_json_object(at->answer, "pagination"),
			     "hasNextPage", false);
}

/* ---- keepalive ---- */

/*
 * The end of its life is told as a time of the server's clock, and may be
 * earlier than it was: so it is not sent where it would shorten the life.
 */
static int64_t keep_until_ms(const struct sbx_work *w)
{
	int64_t s = w->call->seconds ? w->call->seconds : LIFE_S;

	return sbx_rest_now_ms(w->rest) +
	       (s < OSB_MAX_LIFE_S ? s : OSB_MAX_LIFE_S) * 1000;
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

static void keep_looked(struct sbx_work *w)
{
	int64_t until = keep_until_ms(w);
	int64_t expires = w->call->list[0].expires_ms;
	SBX_FREE char *body = NULL;

	if (!expires || expires >= until) {
		sbx_work_done(w, NULL);
		return;
	}
	body = keep_body(until);
	if (!body) {
		sbx_work_no_memory(w);
		return;
	}
	sbx_work_act(w,
		     (struct sbx_request_conf){
			     .method = "POST",
			     .path = "/sandboxes/%s/renew-expiration",
			     .id = w->call->id,
			     .body = body,
			     .repeatable = true},
		     NULL);
}

static void keepalive_start(struct sbx_work *w)
{
	sbx_work_look(w, keep_looked);
}

/* ---- pause and resume ---- */

/* It may be elsewhere afterwards. */
static void told(struct sbx_work *w)
{
	struct osb_reach *r = osb_reach_of(osb_of(w), w->call->id);

	if (r)
		osb_reach_forget(r);
}

/* Those of a pool run under another word. */
static const char *life_word(const json_t *obj)
{
	const char *word = sbx_osb_state_word(obj);

	return strcmp(word, "Allocated") ? word : "Running";
}

static const struct sbx_aim pausing = {
	.path = "/sandboxes/%s/pause",
	.word_of = life_word,
	.word = "Paused",
	.from = "Running",
	.between = "Pausing",
	.told = told,
	.poll_first_ms = 100,
	.poll_max_ms = 2000,
};
static const struct sbx_aim resuming = {
	.path = "/sandboxes/%s/resume",
	.word_of = life_word,
	.word = "Running",
	.from = "Paused",
	.between = "Resuming",
	.told = told,
	.poll_first_ms = 100,
	.poll_max_ms = 2000,
};

static void pause_start(struct sbx_work *w)
{
	sbx_life_start(w, &pausing);
}

static void resume_start(struct sbx_work *w)
{
	sbx_life_start(w, &resuming);
}

/* ---- create ---- */

struct osb_create {
	struct sbx_create base;
	struct sbx_osb_create wish;
	struct osb_reach_wait wait;
};

static int create_parse(struct sbx_create *base, const char *options,
			struct sbx_error *reterr)
{
	struct osb_create *c = (struct osb_create *)base;
	int r = sbx_osb_create_parse(&c->wish, options, base->marker, reterr);

	base->body = c->wish.body;
	return r;
}

static void create_release(struct sbx_create *base)
{
	struct osb_create *c = (struct osb_create *)base;

	osb_reach_unwait(&c->wait);
	sbx_osb_create_release(&c->wish);
}

static void create_seek(const struct sbx_create *c,
			struct sbx_request_conf *conf, char text[128])
{
	/* one value that is itself a query, so encoded twice */
	snprintf(text, 128, "metadata=" SBX_LABEL_MARKER "%%3D%s&pageSize=20",
		 c->marker);
	conf->query = text;
}

static void on_reached(void *arg, const struct sbx_error *error)
{
	struct sbx_create *c = arg;

	if (error->err)
		sbx_create_give_up(c, error);
	else
		sbx_create_done(c);
}

static void create_running(struct sbx_create *base)
{
	struct osb_create *c = (struct osb_create *)base;
	struct sbx_work *w = base->work;
	struct osb_reach *r = osb_reach_of(osb_of(w), base->id);
	uint64_t until = uv_now(w->rest->loop) + READY_MS;

	if (r && c->wish.token && !r->token)
		r->token = sbx_secret_new(c->wish.token, strlen(c->wish.token));
	if (!r || (c->wish.token && !r->token)) {
		sbx_work_no_memory(w);
		return;
	}
	c->wait.fn = on_reached;
	c->wait.arg = c;
	osb_reach_find(r, &c->wait, until < w->deadline ? until : w->deadline);
}

/* It is asked for once only, since a lost request may still be under way
 * there, pulling an image. */
static void create_start(struct sbx_work *w)
{
	static const struct sbx_create_type type = {
		.size = sizeof(struct osb_create),
		.parse = create_parse,
		.release = create_release,
		.look_first = true,
		.labels = "metadata",
		.seek = create_seek,
		.running = create_running,
		.poll_first_ms = 200,
		.poll_max_ms = 5000,
		.seek_ms = SEEK_MS,
	};

	sbx_create_start(w, &type);
}

/* Whoever is paused is asked nothing: it would take a long time to say so. */
static int took(struct sbx_rest *rest, struct sbx_sandbox *list, size_t nr)
{
	struct osb_reach *r;
	size_t i;

	for (r = ((struct osb *)rest)->reaches; r; r = r->next)
		for (i = 0; i < nr; i++)
			if (list[i].state == SBX_STATE_PAUSED &&
			    !strcmp(list[i].id, r->id))
				osb_reach_forget(r);
	return 0;
}

const struct sbx_calls_type osb_calls_type = {
	.start = {[SBX_CALL_LIST] = sbx_list_start,
		  [SBX_CALL_GET] = sbx_get_start,
		  [SBX_CALL_CREATE] = create_start,
		  [SBX_CALL_DESTROY] = sbx_destroy_start,
		  [SBX_CALL_KEEPALIVE] = keepalive_start,
		  [SBX_CALL_PAUSE] = pause_start,
		  [SBX_CALL_RESUME] = resume_start,
		  [SBX_CALL_SNAPSHOTS] = osb_snapshots_start,
		  [SBX_CALL_SNAPSHOT] = osb_snapshot_start,
		  [SBX_CALL_UNSNAPSHOT] = osb_unsnapshot_start,
		  [SBX_CALL_FILES] = osb_files_start,
		  [SBX_CALL_FILE] = osb_file_start,
		  [SBX_CALL_OWN_READ] = osb_own_start,
		  [SBX_CALL_OWN_WRITE] = osb_own_start,
		  [SBX_CALL_OWN_LIST] = osb_own_start,
		  [SBX_CALL_OWN_MAKE] = osb_own_start,
		  [SBX_CALL_OWN_REMOVE] = osb_own_start},
	.id_is_valid = sbx_is_id,
	.id = "id",
	.all = "/sandboxes",
	.one = "/sandboxes/%s",
	.parse = sbx_osb_sandbox_from_json,
	.list = "items",
	.page = page,
	.more = more,
	.gone_ms = GONE_MS,
	.took = took,
	.gone = gone,
};
