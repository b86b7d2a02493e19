/*
 * What is xgen's own of a REST request: credentials, the API's version, and
 * what its errors mean.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "client/svc_xgen.h"

static struct xgen *xgen_of(const struct sbx_request *r)
{
	return (struct xgen *)r->rest;
}

/* v2 came late to the protocol: servers without it say so in plain text. */
static bool change_version(struct sbx_request *r,
			   const struct sbx_http_response *resp)
{
	struct xgen *x = xgen_of(r);

	if (!sbx_error_is_no_route(resp->status, resp->body, resp->len))
		return false;
	if (r->version == 2 && !x->version_known) {
		x->version = 1;
		return true;
	}
	if (r->version == 1 && x->version == 1 && !x->version_known)
		x->version = 2; /* it has neither: start over next time */
	return false;
}

static bool once_more(struct sbx_request *r,
		      const struct sbx_http_response *resp)
{
	if (resp->status == 401)
		return r->refusals++ == 0 &&
		       xgen_auth_refused(xgen_of(r), r->generation);
	return change_version(r, resp);
}

static void explain(const struct sbx_request *r, struct sbx_error *e,
		    const struct sbx_http_response *resp)
{
	const struct xgen *x = xgen_of(r);

	sbx_xgen_error_from_http(e, resp->status, resp->body, resp->len,
				 x->rest.url);
	if (resp->status != 401)
		return;
	e->err = -EACCES;
	e->retry = SBX_RETRY_NEVER;
	sbx_error_reword(e,
			 "%s refused the %s; check that it is the right one%s",
			 x->rest.url, x->auth.key ? "key" : "token",
			 x->auth.key ? "" : " and not too old");
}

static void proved(struct sbx_request *r, const struct sbx_http_response *resp)
{
	xgen_of(r)->version_known = true;
	sbx_rest_note_clock(r->rest, resp);
}

/* ---- sending ---- */

static void unwait(struct sbx_request *r)
{
	struct xgen_auth_wait *w = r->wait;

	r->wait = NULL;
	xgen_auth_unwait(w);
	free(w);
}

static void on_credentials(void *arg, const struct sbx_error *error)
{
	struct sbx_request *r = arg;

	unwait(r);
	if (error->err)
		sbx_request_fail(r, error, false);
	else
		sbx_request_send(r);
}

/* True: they are there, or there is no memory to wait for them. */
static bool has_credentials(struct sbx_request *r)
{
	struct xgen_auth_wait *w = calloc(1, sizeof(*w));

	if (!w)
		return true;
	w->fn = on_credentials;
	w->arg = r;
	if (xgen_auth_ready(xgen_of(r), w)) {
		free(w);
		return true;
	}
	r->wait = w;
	return false;
}

static bool prepare(struct sbx_request *r, struct sbx_http_request *http,
		    char **ret_url)
{
	struct xgen *x = xgen_of(r);
	char *prefix = NULL;

	if (!has_credentials(r))
		return false;
	r->version = x->version;
	r->generation = x->auth.generation;
	http->body = r->version == 1 ? r->old_body : r->body;
	http->auth_scheme = xgen_auth_scheme(x);
	http->auth = xgen_auth_secret(x);
	if (asprintf(&prefix, "%s/api/v%d", x->rest.url, r->version) < 0)
		return true;
	*ret_url = sbx_request_url(r, prefix);
	free(prefix);
	return true;
}

const struct sbx_rest_type xgen_rest_type = {
	.service = &sbx_svc_xgen,
	.calls = &xgen_calls_type,
	.product = SBX_XGEN_PRODUCT,
	.prepare = prepare,
	.explain = explain,
	.once_more = once_more,
	.proved = proved,
	.unwait = unwait,
	.release = xgen_release,
};
