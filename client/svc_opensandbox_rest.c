/*
 * Requests: to the lifecycle server with the key, and to an execd (the
 * request's `to` says which) with its token and the headers of its endpoint.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/svc_opensandbox.h"

static struct osb *osb_of(const struct sbx_request *r)
{
	return (struct osb *)r->rest;
}

/* Whom a person would say that it is about. */
static const char *whom(const struct sbx_request *r)
{
	const struct osb_reach *to = r->to;

	return to ? to->base : r->rest->url;
}

static void explain(const struct sbx_request *r, struct sbx_error *e,
		    const struct sbx_http_response *resp)
{
	const struct osb_reach *to = r->to;

	sbx_osb_error_from_http(e, resp->status, resp->body, resp->len,
				whom(r));
	if (!strcmp(r->path, OSB_LIST_FILES) &&
	    sbx_error_is_no_route(resp->status, resp->body, resp->len)) {
		e->err = -EOPNOTSUPP;
		sbx_error_reword(e, "the execd in the sandbox is older than "
				    "1.0.19, and lists no folders");
	}
	if (resp->status != 401)
		return;
	e->err = -EACCES;
	e->retry = SBX_RETRY_TOKEN;
	if (to && to->is_other)
		sbx_error_reword(e, "%s refused us", to->base);
	else if (to)
		sbx_error_reword(
			e, "the execd of the sandbox wants a token; set "
			   "EXECD_ACCESS_TOKEN to the one it was made with");
	else
		sbx_error_reword(
			e,
			"%s refused the key; check that OPEN_SANDBOX_API"
			"_KEY is set to the right one",
			r->rest->url);
}

static void proved(struct sbx_request *r, const struct sbx_http_response *resp)
{
	if (!r->to)
		sbx_rest_note_clock(r->rest, resp);
}

/* The address may have the "/v1" that all routes have. */
static bool has_version(const char *url)
{
	size_t len = strlen(url);

	return len > 3 && !strcmp(url + len - 3, "/v1");
}

static bool prepare(struct sbx_request *r, struct sbx_http_request *http,
		    char **ret_url)
{
	const struct osb_reach *to = r->to;
	struct osb *x = osb_of(r);
	char *api = NULL;

	http->body = r->body;
	if (to) {
		if (!to->is_other)
			http->auth_name = "X-EXECD-ACCESS-TOKEN";
		http->auth = to->token ? to->token : x->rest.conf->token;
		http->headers = to->endpoint.headers;
		/* it answers at once, but for a frozen sandbox's */
		if (http->timeout_ms > 10000)
			http->timeout_ms = 10000;
	} else {
		http->auth_name = "OPEN-SANDBOX-API-KEY";
		http->auth = x->rest.conf->key;
	}
	if (!to && asprintf(&api, "%s%s", x->rest.url,
			    has_version(x->rest.url) ? "" : "/v1") < 0)
		return true;
	*ret_url = sbx_request_url(r, to ? to->base : api);
	free(api);
	return true;
}

const struct sbx_rest_type osb_rest_type = {
	.service = &sbx_svc_opensandbox,
	.calls = &osb_calls_type,
	.product = SBX_OSB_PRODUCT,
	.prepare = prepare,
	.explain = explain,
	.proved = proved,
	.cancel = osb_reach_stop,
	.release = osb_reach_release,
};
