/*
 * One REST request: credentials, and repeating it where the protocol says
 * that this is safe.  What changes nothing, or nothing more the second time,
 * may be sent again after anything; creating may not, unless it certainly
 * never arrived.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cleanup.h"
#include "client/json.h"
#include "client/log.h"
#include "client/random.h"
#include "client/rest.h"

#define MAX_FAILURES  3	    /* of a request that may be repeated */
#define MAX_ANSWER_MS 20000 /* for one attempt, of a longer deadline */
#define WINDOW_MS     60000 /* of a service's rate limit */

static void request_free(struct sbx_request *r)
{
	sbx_alarm_cancel(r->alarm);
	free(r->id);
	free(r->query);
	sbx_wipe(r->body);
	sbx_wipe(r->old_body);
	free(r);
}

struct sbx_request *sbx_request_cancel(struct sbx_request *r)
{
	if (!r)
		return NULL;
	if (r->call)
		sbx_http_cancel(r->call);
	if (r->wait && r->rest->type->unwait)
		r->rest->type->unwait(r);
	request_free(r);
	return NULL;
}

static void request_finish(struct sbx_request *r,
			   const struct sbx_answer *answer)
{
	r->done(r->arg, answer);
	request_free(r);
}

void sbx_request_fail(struct sbx_request *r, const struct sbx_error *e,
		      bool maybe_done)
{
	struct sbx_answer answer = {
		.error = *e, .body = "", .maybe_done = maybe_done};

	request_finish(r, &answer);
}

static void on_fail_due(void *arg)
{
	struct sbx_request *r = arg;

	r->alarm = NULL;
	sbx_request_fail(r, &r->error, false);
}

uint64_t sbx_request_left(const struct sbx_request *r)
{
	uint64_t now = uv_now(r->rest->loop);

	return r->deadline > now ? r->deadline - now : 0;
}

bool sbx_request_again(struct sbx_request *r, uint64_t pause_ms)
{
	if (pause_ms >= sbx_request_left(r))
		return false;
	r->alarm = sbx_alarm_set(r->rest, pause_ms, sbx_request_send, r);
	return r->alarm;
}

/*
 * A service's window may be fixed and up to a minute long, without a word of
 * how much of it is left.  So the pauses grow, and the last one before the
 * deadline uses what time there is.
 */
static bool request_wait_rate(struct sbx_request *r, unsigned int told_s)
{
	uint64_t left = sbx_request_left(r), longest = 5000;
	uint32_t pause;

	if (told_s)
		return sbx_request_again(r, told_s * 1000ull);
	longest <<= r->waits < 4 ? r->waits : 4;
	if (longest > WINDOW_MS)
		longest = WINDOW_MS;
	if (left < 1500 || r->waits++ > 8)
		return false;
	if (longest > left - 500)
		longest = left - 500;
	pause = sbx_random_between(1000, (uint32_t)longest);
	sbx_log(SBX_LOG_INFO, r->rest->type->service->name,
		"rate limit: waiting %u ms", pause);
	return sbx_request_again(r, pause);
}

static bool request_retry(struct sbx_request *r,
			  const struct sbx_http_response *resp,
			  const struct sbx_error *e)
{
	const struct sbx_rest_type *t = r->rest->type;

	if (resp->status == 429 && !resp->error.err && e->err == -EAGAIN)
		return request_wait_rate(r, resp->retry_after_s);
	if (t->once_more && t->once_more(r, resp))
		return sbx_request_again(r, 0);
	if (resp->status == 401 || !r->repeatable)
		return false;
	if (++r->failures >= MAX_FAILURES &&
	    (!r->rest->patient || e->retry != SBX_RETRY_CONNECTION))
		return false;
	/* an answer that makes no sense will make none the next time */
	if (e->retry != SBX_RETRY_CONNECTION && e->retry != SBX_RETRY_LATER)
		return false;
	return sbx_request_again(r, sbx_backoff_next(&r->backoff));
}

static void request_error(struct sbx_request *r,
			  const struct sbx_http_response *resp)
{
	struct sbx_error e = resp->error;

	if (!e.err)
		r->rest->type->explain(r, &e, resp);
	if (request_retry(r, resp, &e))
		return;
	sbx_request_fail(r, &e,
			 e.retry == SBX_RETRY_CONNECTION || resp->error.err ||
				 resp->status >= 502);
}

static void on_answer(void *arg, const struct sbx_http_response *resp)
{
	struct sbx_request *r = arg;
	const struct sbx_rest_type *t = r->rest->type;
	struct sbx_answer answer = {.body = resp->body, .len = resp->len};
	struct sbx_http_response said = *resp;
	SBX_JSON json_t *json = NULL;

	r->call = NULL;
	if (resp->error.err || resp->status < 200 || resp->status > 299) {
		request_error(r, resp);
		return;
	}
	if (resp->len && !r->raw)
		answer.json = json = sbx_json_parse(resp->body, resp->len);
	if (json && t->unwrap && !t->unwrap(r, &answer.json, &answer.error)) {
		/* some say in there what HTTP has a status for */
		said.status = answer.error.status;
		if (said.status && request_retry(r, &said, &answer.error))
			return;
		answer.json = NULL;
	} else if (r->wants_json && !answer.json) {
		sbx_rest_wonder(r->rest, &answer.error,
				resp->len ? "its answer is no JSON"
					  : "its answer is empty");
		answer.maybe_done = true;
	} else if (t->proved) {
		t->proved(r, resp);
	}
	request_finish(r, &answer);
}

static void on_piece(void *arg, const char *data, size_t len)
{
	struct sbx_request *r = arg;

	r->on_piece(r->arg, data, len);
}

void sbx_request_pause(struct sbx_request *r, bool paused)
{
	r->paused = paused;
	if (r->call)
		sbx_http_pause(r->call, paused);
}

char *sbx_request_url(const struct sbx_request *r, const char *prefix)
{
	const char *hole = r->id ? strstr(r->path, "%s") : NULL;
	int before = (int)(hole ? hole - r->path : (long)strlen(r->path));
	char *url = NULL;
	int n;

	n = asprintf(&url, "%s%.*s%s%s%s%s", prefix, before, r->path,
		     hole ? r->id : "", hole ? hole + 2 : "",
		     r->query ? "?" : "", r->query ? r->query : "");
	return n < 0 ? NULL : url;
}

void sbx_request_send(void *request)
{
	struct sbx_request *r = request;
	struct sbx_rest *x = r->rest;
	struct sbx_http_request req = {.method = r->method};
	uint64_t left = sbx_request_left(r);
	SBX_FREE char *url = NULL;

	r->alarm = NULL;
	req.once = r->anew || (!r->repeatable && !r->harmless);
	req.lasts = r->lasts;
	req.max_body = r->max_body;
	req.timeout_ms = left < MAX_ANSWER_MS || !r->repeatable
				 ? (unsigned int)(left ? left : 1)
				 : MAX_ANSWER_MS;
	if (r->on_piece) {
		req.on_piece = on_piece;
		req.timeout_ms = MAX_ANSWER_MS;
	}
	if (!x->type->prepare(r, &req, &url))
		return;
	req.url = url;
	if (url)
		r->call = sbx_http_submit(x->http, &req, on_answer, r);
	if (r->call && r->paused)
		sbx_http_pause(r->call, true);
	if (r->call)
		return;
	sbx_error_set(&r->error, url ? -EAGAIN : -ENOMEM,
		      "too many requests to %s at once", x->url);
	r->error.retry = SBX_RETRY_LATER;
	r->alarm = sbx_alarm_set(x, 0, on_fail_due, r);
	if (!r->alarm)
		sbx_request_fail(r, &r->error, false);
}

static bool dup_to(char **to, const char *from)
{
	*to = from ? strdup(from) : NULL;
	return !from || *to;
}

struct sbx_request *sbx_request_start(struct sbx_rest *x,
				      const struct sbx_request_conf *conf,
				      sbx_request_fn *done, void *arg)
{
	struct sbx_request *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->rest = x;
	r->method = conf->method;
	r->path = conf->path;
	r->deadline = conf->deadline;
	r->repeatable = conf->repeatable;
	r->harmless = conf->harmless;
	r->lasts = conf->lasts;
	r->raw = conf->raw;
	r->max_body = conf->max_body;
	r->anew = conf->anew;
	r->wants_json = conf->wants_json;
	r->to = conf->to;
	r->on_piece = conf->on_piece;
	r->done = done;
	r->arg = arg;
	r->backoff = (struct sbx_backoff){.first_ms = 200, .max_ms = 2000};
	if (dup_to(&r->id, conf->id) && dup_to(&r->query, conf->query) &&
	    dup_to(&r->body, conf->body) &&
	    dup_to(&r->old_body, conf->old_body))
		r->alarm = sbx_alarm_set(x, 0, sbx_request_send, r);
	if (r->alarm)
		return r;
	request_free(r);
	return NULL;
}
