/*
 * Requests to the gateway: credentials, the envelope of its answers, and
 * which of two dialects it has.  That is found out before the first request,
 * by listing: in the second dialect a list is asked for by GET, since the
 * body of a list sent by POST makes a sandbox there.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cleanup.h"
#include "client/json.h"
#include "client/parse.h"
#include "client/svc_vtrix.h"

#define ASK_MS 20000

static const char *const prefixes[] = {
	[VTRIX_G1A] = "/api/v1/sandbox",
	[VTRIX_G1B] = "/api/v1/sandboxes",
};

char *vtrix_prefix(const struct sbx_rest *rest, enum vtrix_dialect dialect)
{
	char *text = NULL;

	return asprintf(&text, "%s%s", rest->url, prefixes[dialect]) < 0 ? NULL
									 : text;
}

/* ---- answers ---- */

static void explain(const struct sbx_request *r, struct sbx_error *e,
		    const struct sbx_http_response *resp)
{
	sbx_vtrix_error(e, resp->status, resp->body, resp->len, r->rest->url);
	if (e->status == 401) {
		sbx_error_set(e, -EACCES,
			      "%s refused the key; check that VTRIX_API_KEY is "
			      "set to the right one",
			      r->rest->url);
		e->status = 401;
	}
}

static bool unwrap(const struct sbx_request *r, json_t **json,
		   struct sbx_error *e)
{
	struct sbx_http_response said = {.status = 200};
	json_t *answer = *json;
	SBX_FREE char *text = NULL;
	int err = 0;

	if (!strcmp(r->path, VTRIX_LIST) || r->to)
		err = sbx_vtrix_fill_list(answer);
	if (err == 0)
		err = sbx_vtrix_open(answer, json);
	if (err == 0)
		return true;
	if (err == -EREMOTEIO)
		text = sbx_json_text(answer, false);
	if (err == -EPROTO) {
		sbx_rest_wonder(r->rest, e, "its answer has no \"code\"");
	} else if (text) {
		said.body = text;
		said.len = strlen(text);
		explain(r, e, &said);
	} else {
		sbx_error_set(e, -ENOMEM, "out of memory");
	}
	return false;
}

/* ---- which dialect ---- */

struct vtrix_wait {
	struct vtrix_wait *next;
	struct sbx_request *r;
};

static void unwait(struct sbx_request *r)
{
	struct vtrix_wait **at = &vtrix_of(r->rest)->waiting, *w = r->wait;

	while (*at != w)
		at = &(*at)->next;
	*at = w->next;
	r->wait = NULL;
	free(w);
}

/* All who waited go on, or fail. */
static void dialect_tell(struct vtrix *x, const struct sbx_error *e)
{
	while (x->waiting) {
		struct sbx_request *r = x->waiting->r;

		unwait(r);
		if (e->err)
			sbx_request_fail(r, e, false);
		else
			sbx_request_send(r);
	}
}

static bool dialect_ask(struct vtrix *x, enum vtrix_dialect dialect);

/* Neither of two lists: something else answers there. */
static bool is_another_path(const struct sbx_error *e)
{
	return e->status == 404 || e->status == 405;
}

static void on_asked(struct vtrix *x, const struct sbx_answer *answer,
		     enum vtrix_dialect dialect)
{
	struct sbx_error e = answer->error;

	x->asking = NULL;
	if (!e.err && !sbx_vtrix_list(answer->json, NULL))
		sbx_rest_wonder(&x->rest, &e, "no list in it");
	if (!e.err) {
		x->dialect = dialect;
		x->is_doubted = false;
	} else if (is_another_path(&e) && dialect == VTRIX_G1B &&
		   dialect_ask(x, VTRIX_G1A)) {
		return;
	} else if (is_another_path(&e)) {
		sbx_rest_wonder(&x->rest, &e, "it has no list of sandboxes");
	}
	dialect_tell(x, &e);
}

static void on_asked_b(void *arg, const struct sbx_answer *answer)
{
	on_asked(arg, answer, VTRIX_G1B);
}

static void on_asked_a(void *arg, const struct sbx_answer *answer)
{
	on_asked(arg, answer, VTRIX_G1A);
}

static bool dialect_ask(struct vtrix *x, enum vtrix_dialect dialect)
{
	/* `to` says that the path is whole */
	struct sbx_request_conf conf = {
		.method = dialect == VTRIX_G1B ? "GET" : "POST",
		.path = dialect == VTRIX_G1B ? "/api/v1/sandboxes"
					     : "/api/v1/sandbox/list",
		.query = dialect == VTRIX_G1B ? "limit=1" : NULL,
		.body = dialect == VTRIX_G1B ? NULL : "{\"limit\":1}",
		.deadline = uv_now(x->rest.loop) + ASK_MS,
		.repeatable = true,
		.wants_json = true,
		.to = x,
	};

	x->asking = sbx_request_start(
		&x->rest, &conf, dialect == VTRIX_G1B ? on_asked_b : on_asked_a,
		x);
	return x->asking;
}

/* false: r waits for it; or it is done for, without memory. */
static bool dialect_is_known(struct vtrix *x, struct sbx_request *r)
{
	struct vtrix_wait *w;
	struct sbx_error e;

	if ((x->dialect != VTRIX_UNKNOWN && !x->is_doubted) || r->to)
		return true;
	w = malloc(sizeof(*w));
	if (w && (x->asking || dialect_ask(x, VTRIX_G1B))) {
		w->r = r;
		w->next = x->waiting;
		x->waiting = w;
		r->wait = w;
		return false;
	}
	free(w);
	sbx_error_set(&e, -ENOMEM, "out of memory");
	sbx_request_fail(r, &e, false);
	return false;
}

/* No such path: the gateway may have been replaced by one of the other dialect.
 * Nothing was done then, whatever it was. */
static bool once_more(struct sbx_request *r,
		      const struct sbx_http_response *resp)
{
	struct vtrix *x = vtrix_of(r->rest);

	if (r->to || r->version || (resp->status != 404 && resp->status != 405))
		return false;
	/* no sandbox was found, it says; but a list is always there */
	if (strcmp(r->path, VTRIX_LIST) != 0 &&
	    sbx_vtrix_is_envelope(resp->body, resp->len))
		return false;
	r->version = 1;
	x->is_doubted = true;
	return true;
}

/* ---- requests ---- */

/* What to ask for, after the dialect. */
static char *url_of(const struct sbx_request *r, struct sbx_http_request *http)
{
	const struct vtrix *x = vtrix_of(r->rest);
	SBX_FREE char *prefix = NULL;
	SBX_FREE char *id = NULL;
	struct sbx_request as = *r;

	if (r->to)
		return sbx_request_url(r, r->rest->url);
	if (r->id && !(as.id = id = sbx_percent_encode(r->id)))
		return NULL;
	prefix = vtrix_prefix(r->rest, x->dialect);
	if (!prefix)
		return NULL;
	if (!strcmp(r->path, VTRIX_LIST)) {
		http->method = x->dialect == VTRIX_G1B ? "GET" : "POST";
		if (x->dialect == VTRIX_G1A)
			as.query = NULL;
		else
			http->body = NULL;
	}
	if (x->dialect == VTRIX_G1B &&
	    (!strcmp(r->path, VTRIX_LIST) || !strcmp(r->path, VTRIX_CREATE)))
		as.path = "";
	return sbx_request_url(&as, prefix);
}

static bool prepare(struct sbx_request *r, struct sbx_http_request *http,
		    char **ret_url)
{
	struct vtrix *x = vtrix_of(r->rest);

	if (!dialect_is_known(x, r))
		return false;
	http->body = r->body;
	http->auth_scheme = "Bearer";
	http->auth = x->rest.conf->key;
	http->headers = x->headers;
	*ret_url = url_of(r, http);
	return true;
}

static void proved(struct sbx_request *r, const struct sbx_http_response *resp)
{
	sbx_rest_note_clock(r->rest, resp);
}

/* ---- closing ---- */

static void cancel_runs(struct sbx_rest *rest)
{
	struct vtrix *x = vtrix_of(rest);

	/* who waited was a call or a link, and has been ended */
	vtrix_links_end(x);
	x->asking = sbx_request_cancel(x->asking);
}

static void vtrix_release(struct sbx_rest *rest)
{
	free(vtrix_of(rest)->headers[0]);
}

const struct sbx_rest_type vtrix_rest_type = {
	.service = &sbx_svc_vtrix,
	.calls = &vtrix_calls_type,
	.product = SBX_VTRIX_PRODUCT,
	.prepare = prepare,
	.explain = explain,
	.unwrap = unwrap,
	.once_more = once_more,
	.proved = proved,
	.unwait = unwait,
	.cancel = cancel_runs,
	.release = vtrix_release,
};
