/*
 * Credentials.  A key is sent as it is ("ApiKey"), which needs no renewal; a
 * service that refuses that may still give a token for it, which is then
 * used and renewed a minute before its end.  A token of the user's own is
 * used until it is refused.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/cleanup.h"
#include "client/json.h"
#include "client/svc_xgen.h"

#define TOKEN_MARGIN_MS 60000
#define TOKEN_LIFE_MS	(15 * 60000)
#define EXCHANGE_MS	15000

const char *xgen_auth_scheme(const struct xgen *x)
{
	return x->auth.key && !x->auth.use_token ? "ApiKey" : "Bearer";
}

const struct sbx_secret *xgen_auth_secret(const struct xgen *x)
{
	const struct xgen_auth *a = &x->auth;

	if (a->use_token)
		return a->token;
	return a->key ? a->key : a->given;
}

static void auth_wake(struct xgen *x, const struct sbx_error *error)
{
	struct xgen_auth_wait *w;

	while ((w = x->auth.waiting)) {
		xgen_auth_unwait(w);
		w->fn(w->arg, error);
	}
}

void xgen_auth_unwait(struct xgen_auth_wait *w)
{
	if (!w->link)
		return;
	*w->link = w->next;
	if (w->next)
		w->next->link = w->link;
	w->link = NULL;
}

/* How long from now on the token may be used: a minute less than it lives. */
static uint64_t token_use(const json_t *obj)
{
	int64_t until = sbx_json_int(obj, "expires_at_ms", 0);
	int64_t life = TOKEN_LIFE_MS;
	uv_timeval64_t now;

	/* v1 gives a date instead; it is always a quarter of an hour */
	if (until && uv_gettimeofday(&now) == 0)
		life = until - (now.tv_sec * 1000 + now.tv_usec / 1000);
	/* clocks differ: believe it only where it is believable */
	if (life < 2000 || life > 24 * 3600 * 1000)
		life = TOKEN_LIFE_MS;
	return (uint64_t)(life > 2 * TOKEN_MARGIN_MS ? life - TOKEN_MARGIN_MS
						     : life / 2);
}

static int auth_take_token(struct xgen *x, const struct sbx_http_response *resp)
{
	SBX_JSON json_t *obj = sbx_json_parse(resp->body, resp->len);
	const char *token = sbx_json_str(obj, "token");
	struct xgen_auth *a = &x->auth;
	struct sbx_secret *s;
	const char *c;

	for (c = token; c && *c; c++)
		if (*c <= 0x20 || *c >= 0x7f)
			return -EPROTO; /* it would become a header line */
	if (!token || !*token)
		return -EPROTO;
	s = sbx_secret_new(token, strlen(token));
	if (!s)
		return -EPROTO;
	sbx_secret_free(a->token);
	a->token = s;
	a->generation++;
	a->token_until = uv_now(x->rest.loop) + token_use(obj);
	return 0;
}

static void on_exchanged(void *arg, const struct sbx_http_response *resp)
{
	struct xgen *x = arg;
	struct sbx_error e = resp->error;

	x->auth.call = NULL;
	if (e.err)
		; /* as it is */
	else if (resp->status == 401 || resp->status == 400)
		sbx_error_set(&e, -EACCES,
			      "the key was refused by %s; check that it is "
			      "the right one and complete",
			      x->rest.url);
	else if (resp->status != 200)
		sbx_xgen_error_from_http(&e, resp->status, resp->body,
					 resp->len, x->rest.url);
	else if (auth_take_token(x, resp) < 0)
		sbx_rest_wonder(&x->rest, &e, "it gave no token");
	auth_wake(x, &e);
}

static char *auth_body(const struct sbx_secret *key)
{
	json_t *obj = json_pack("{s:s}", "api_key", sbx_secret_text(key));
	char *text = obj ? sbx_json_text(obj, false) : NULL;

	json_decref(obj);
	return text;
}

static int auth_exchange(struct xgen *x)
{
	SBX_FREE char *url = NULL;
	char *body = auth_body(x->auth.key);
	struct sbx_http_request req = {.method = "POST",
				       .timeout_ms = EXCHANGE_MS};

	if (body && asprintf(&url, "%s/api/v%d/auth/token", x->rest.url,
			     x->version) >= 0) {
		req.url = url;
		req.body = body;
		x->auth.call =
			sbx_http_submit(x->rest.http, &req, on_exchanged, x);
	} else {
		url = NULL;
	}
	sbx_wipe(body);
	return x->auth.call ? 0 : -ENOMEM;
}

bool xgen_auth_ready(struct xgen *x, struct xgen_auth_wait *w)
{
	struct xgen_auth *a = &x->auth;

	if (!a->use_token)
		return true;
	if (a->token && uv_now(x->rest.loop) < a->token_until)
		return true;
	/* without memory for it: let the service say no */
	if (!a->call && auth_exchange(x) < 0)
		return true;
	w->next = a->waiting;
	w->link = &a->waiting;
	if (w->next)
		w->next->link = &w->next;
	a->waiting = w;
	return false;
}

bool xgen_auth_refused(struct xgen *x, unsigned int generation)
{
	struct xgen_auth *a = &x->auth;

	if (!a->key)
		return false;
	if (generation != a->generation)
		return true; /* there are newer ones already */
	a->use_token = true;
	a->generation++;
	a->token_until = 0;
	return true;
}

void xgen_auth_release(struct xgen *x)
{
	x->auth.token = sbx_secret_free(x->auth.token);
}
