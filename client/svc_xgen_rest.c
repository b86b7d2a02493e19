/*
 * One REST request: credentials, API version, and repeating it where the
 * protocol says that this is safe.  GET, DELETE and keepalive may be sent
 * again after anything; creating may not, unless it certainly never arrived.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cleanup.h"
#include "client/json.h"
#include "client/log.h"
#include "client/retry.h"
#include "client/svc_xgen.h"

#define MAX_FAILURES  3	    /* of a request that may be repeated */
#define MAX_ANSWER_MS 20000 /* for one attempt, of a longer deadline */
#define WINDOW_MS     60000 /* of the service's rate limit */

struct xgen_request {
	struct xgen *x;
	const char *method, *path; /* constants */
	char *id, *body_v2, *body_v1;
	uint64_t deadline;
	bool repeatable, wants_json;
	xgen_request_fn *done;
	void *arg;

	struct sbx_http_call *call;
	struct xgen_alarm *alarm;
	struct xgen_auth_wait wait;
	unsigned int generation; /* of the credentials it was sent with */
	unsigned int failures, refusals, waits;
	int version;
	struct sbx_backoff backoff;
	struct sbx_error error; /* for a done that is due */
};

static void request_send(void *arg);

static void request_free(struct xgen_request *r)
{
	xgen_alarm_cancel(r->alarm);
	xgen_auth_unwait(&r->wait);
	free(r->id);
	if (r->body_v1)
		explicit_bzero(r->body_v1, strlen(r->body_v1));
	if (r->body_v2)
		explicit_bzero(r->body_v2, strlen(r->body_v2));
	free(r->body_v1);
	free(r->body_v2);
	free(r);
}

struct xgen_request *xgen_request_cancel(struct xgen_request *r)
{
	if (!r)
		return NULL;
	if (r->call)
		sbx_http_cancel(r->call);
	request_free(r);
	return NULL;
}

static void request_finish(struct xgen_request *r,
			   const struct xgen_answer *answer)
{
	r->done(r->arg, answer);
	request_free(r);
}

static void request_fail(struct xgen_request *r, const struct sbx_error *e,
			 bool maybe_done)
{
	struct xgen_answer answer = {.error = *e, .maybe_done = maybe_done};

	request_finish(r, &answer);
}

static void on_fail_due(void *arg)
{
	struct xgen_request *r = arg;

	r->alarm = NULL;
	request_fail(r, &r->error, false);
}

static uint64_t request_left(const struct xgen_request *r)
{
	uint64_t now = uv_now(r->x->loop);

	return r->deadline > now ? r->deadline - now : 0;
}

/* Again after a pause; false if there is no time for it. */
static bool request_again(struct xgen_request *r, uint64_t pause_ms)
{
	if (pause_ms >= request_left(r))
		return false;
	r->alarm = xgen_alarm_set(r->x, pause_ms, request_send, r);
	return r->alarm;
}

/*
 * The service's window is fixed and up to a minute long, and it does not say
 * how much of it is left.  So the pauses grow, and the last one before the
 * deadline uses what time there is.
 */
static bool request_wait_rate(struct xgen_request *r, unsigned int told_s)
{
	uint64_t left = request_left(r), longest = 5000;
	uint32_t pause;

	if (told_s)
		return request_again(r, told_s * 1000ull);
	longest <<= r->waits < 4 ? r->waits : 4;
	if (longest > WINDOW_MS)
		longest = WINDOW_MS;
	if (left < 1500 || r->waits++ > 8)
		return false;
	if (longest > left - 500)
		longest = left - 500;
	pause = sbx_random_between(1000, (uint32_t)longest);
	sbx_log(SBX_LOG_INFO, "xgen", "rate limit: waiting %u ms", pause);
	return request_again(r, pause);
}

/* v2 came late to the protocol: servers without it say so in plain text. */
static bool request_change_version(struct xgen_request *r,
				   const struct sbx_http_response *resp)
{
	struct xgen *x = r->x;

	if (!sbx_xgen_is_no_route(resp->status, resp->body, resp->len))
		return false;
	if (r->version == 2 && !x->version_known) {
		x->version = 1;
		return request_again(r, 0);
	}
	if (r->version == 1 && x->version == 1 && !x->version_known)
		x->version = 2; /* it has neither: start over next time */
	return false;
}

static bool request_retry(struct xgen_request *r,
			  const struct sbx_http_response *resp,
			  const struct sbx_error *e)
{
	if (resp->status == 401)
		return r->refusals++ == 0 &&
		       xgen_auth_refused(r->x, r->generation) &&
		       request_again(r, 0);
	if (resp->status == 429 && !resp->error.err && e->err == -EAGAIN)
		return request_wait_rate(r, resp->retry_after_s);
	if (request_change_version(r, resp))
		return true;
	if (!r->repeatable)
		return false;
	if (++r->failures >= MAX_FAILURES &&
	    (!r->x->patient || e->retry != SBX_RETRY_CONNECTION))
		return false;
	/* an answer that makes no sense will make none the next time */
	if (e->retry != SBX_RETRY_CONNECTION && e->retry != SBX_RETRY_LATER)
		return false;
	return request_again(r, sbx_backoff_next(&r->backoff));
}

static void request_error(struct xgen_request *r,
			  const struct sbx_http_response *resp)
{
	const char *url = r->x->base_url;
	struct sbx_error e = resp->error;

	if (!e.err)
		sbx_xgen_error_from_http(&e, resp->status, resp->body,
					 resp->len, url);
	if (resp->status == 401)
		sbx_error_set(&e, -EACCES,
			      "%s refused the %s; check that it is the right "
			      "one%s",
			      url, r->x->auth.key ? "key" : "token",
			      r->x->auth.key ? "" : " and not too old");
	if (resp->status == 401)
		e.status = 401;
	if (request_retry(r, resp, &e))
		return;
	request_fail(r, &e,
		     e.retry == SBX_RETRY_CONNECTION || resp->error.err ||
			     resp->status >= 502);
}

static void on_answer(void *arg, const struct sbx_http_response *resp)
{
	struct xgen_request *r = arg;
	struct xgen_answer answer = {0};

	r->call = NULL;
	if (resp->error.err || resp->status < 200 || resp->status > 299) {
		request_error(r, resp);
		return;
	}
	if (resp->len)
		answer.json = sbx_json_parse(resp->body, resp->len);
	if (r->wants_json && !answer.json) {
		sbx_xgen_not_xgen(&answer.error, r->x->base_url,
				  resp->len ? "its answer is no JSON"
					    : "its answer is empty");
		answer.maybe_done = true;
	} else {
		r->x->version_known = true;
	}
	request_finish(r, &answer);
	json_decref(answer.json);
}

static void on_credentials(void *arg, const struct sbx_error *error)
{
	struct xgen_request *r = arg;

	if (error->err)
		request_fail(r, error, false);
	else
		request_send(r);
}

static char *request_url(const struct xgen_request *r)
{
	const char *hole = r->id ? strstr(r->path, "%s") : NULL;
	char *url = NULL;
	int n;

	if (hole)
		n = asprintf(&url, "%s/api/v%d%.*s%s%s", r->x->base_url,
			     r->version, (int)(hole - r->path), r->path, r->id,
			     hole + 2);
	else
		n = asprintf(&url, "%s/api/v%d%s", r->x->base_url, r->version,
			     r->path);
	return n < 0 ? NULL : url;
}

static void request_send(void *arg)
{
	struct xgen_request *r = arg;
	struct xgen *x = r->x;
	struct sbx_http_request req = {.method = r->method};
	uint64_t left = request_left(r);
	SBX_FREE char *url = NULL;

	r->alarm = NULL;
	if (!xgen_auth_ready(x, &r->wait))
		return;
	r->version = x->version;
	r->generation = x->auth.generation;
	req.url = url = request_url(r);
	req.body = r->version == 1 ? r->body_v1 : r->body_v2;
	req.auth_scheme = xgen_auth_scheme(x);
	req.auth = xgen_auth_secret(x);
	req.once = !r->repeatable;
	req.timeout_ms = left < MAX_ANSWER_MS || !r->repeatable
				 ? (unsigned int)(left ? left : 1)
				 : MAX_ANSWER_MS;
	if (url)
		r->call = sbx_http_submit(x->http, &req, on_answer, r);
	if (r->call)
		return;
	sbx_error_set(&r->error, url ? -EAGAIN : -ENOMEM,
		      "too many requests to %s at once", x->base_url);
	r->error.retry = SBX_RETRY_LATER;
	r->alarm = xgen_alarm_set(x, 0, on_fail_due, r);
	if (!r->alarm)
		request_fail(r, &r->error, false);
}

static bool dup_to(char **to, const char *from)
{
	*to = from ? strdup(from) : NULL;
	return !from || *to;
}

struct xgen_request *xgen_request_start(struct xgen *x,
					const struct xgen_request_conf *conf,
					xgen_request_fn *done, void *arg)
{
	struct xgen_request *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->x = x;
	r->method = conf->method;
	r->path = conf->path;
	r->deadline = conf->deadline;
	r->repeatable = conf->repeatable;
	r->wants_json = conf->wants_json;
	r->done = done;
	r->arg = arg;
	r->wait.fn = on_credentials;
	r->wait.arg = r;
	r->backoff = (struct sbx_backoff){.first_ms = 200, .max_ms = 2000};
	if (dup_to(&r->id, conf->id) && dup_to(&r->body_v2, conf->body_v2) &&
	    dup_to(&r->body_v1, conf->body_v1))
		r->alarm = xgen_alarm_set(x, 0, request_send, r);
	if (r->alarm)
		return r;
	request_free(r);
	return NULL;
}
