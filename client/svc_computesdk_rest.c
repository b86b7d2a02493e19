/*
 * Requests: to the gateway with the key and the provider's credentials, and
 * to the daemon of a sandbox (the request's `to` says which) with its token.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cleanup.h"
#include "client/json.h"
#include "client/svc_computesdk.h"

static struct csdk *csdk_of(const struct sbx_request *r)
{
	return (struct csdk *)r->rest;
}

/* A gateway that gives no token lets the key do for one. */
const struct sbx_secret *csdk_token_of(const struct csdk_box *b)
{
	const struct sbx_conf *conf = b->x->rest.conf;

	if (b->place.token)
		return b->place.token;
	return conf->key ? conf->key : conf->token;
}

/* The token is part of the address: there is no other way for it.  For a while
 * the second generation had another name for it. */
static char *ws_url(const struct csdk_box *b)
{
	const char *token = sbx_secret_text(csdk_token_of(b));
	char *word = sbx_csdk_encode_query(token), *url = NULL;

	if (word &&
	    asprintf(&url, "%s/ws?token=%s&access_token=%s&protocol=json",
		     b->place.url, word, word) < 0)
		url = NULL;
	sbx_wipe(word);
	return url;
}

struct sbx_ws *csdk_box_socket(const struct csdk_box *b,
			       struct sbx_ws_conf *conf,
			       const struct sbx_ws_handler *h, void *arg)
{
	char *url = ws_url(b);
	struct sbx_ws *ws = NULL;

	conf->url = url;
	if (url)
		ws = sbx_rest_socket(&b->x->rest, conf, h, arg);
	sbx_wipe(url);
	return ws;
}

/* The edge cuts what takes longer than half a minute unless told, and waits
 * five at most. */
static unsigned int edge_patience(unsigned int timeout_ms)
{
	unsigned int s = timeout_ms / 1000 + 1;

	return s < 60 ? 60 : s < 300 ? s : 300;
}

static bool prepare(struct sbx_request *r, struct sbx_http_request *http,
		    char **ret_url)
{
	static char line[sizeof("X-Request-Timeout: ") + 8];
	static char *const patient[] = {line, NULL};
	const struct csdk_box *to = r->to;
	struct csdk *x = csdk_of(r);

	snprintf(line, sizeof(line), "X-Request-Timeout: %u",
		 edge_patience(http->timeout_ms));
	http->body = r->body;
	/* some of its proxies wait for ever for a body that is none */
	if (!http->body && !strcmp(r->method, "POST"))
		http->body = "{}";
	if (to) {
		http->auth_scheme = "Bearer";
		http->auth = csdk_token_of(to);
		http->headers = patient;
		*ret_url = sbx_request_url(r, to->place.url);
		return true;
	}
	if (csdk_is_direct(x)) {
		http->auth_scheme = "Bearer";
		http->auth = x->rest.conf->token;
		http->headers = patient;
		*ret_url = sbx_request_url(r, x->rest.url);
		return true;
	}
	http->auth_name = "X-ComputeSDK-API-Key";
	http->auth = x->rest.conf->key;
	http->headers = x->headers;
	if (asprintf(ret_url, "%s/v1", x->rest.url) < 0)
		*ret_url = NULL;
	if (*ret_url) {
		char *prefix = *ret_url;

		*ret_url = sbx_request_url(r, prefix);
		free(prefix);
	}
	return true;
}

static void explain(const struct sbx_request *r, struct sbx_error *e,
		    const struct sbx_http_response *resp)
{
	const struct csdk_box *to = r->to;

	if (to || csdk_is_direct(csdk_of(r)))
		sbx_csdk_daemon_error(e, resp->status, resp->body, resp->len,
				      to ? to->place.url : r->rest->url);
	else
		sbx_csdk_gateway_error(e, resp->status, resp->body, resp->len,
				       r->rest->url);
}

/* {"success":true,"data":..}; what it did not find it may say so, too. */
static bool unwrap(const struct sbx_request *r, json_t **json,
		   struct sbx_error *e)
{
	const char *text = sbx_json_str(*json, "error");
	json_t *data = json_object_get(*json, "data");
	bool finds = !strcmp(r->path, "/sandboxes/find");

	if (r->to || !json_is_object(*json) || csdk_is_direct(csdk_of(r)))
		return true;
	if (sbx_json_bool(*json, "success", true) &&
	    !(finds && json_is_null(data))) {
		if (json_is_object(data) || json_is_array(data))
			*json = data;
		return true;
	}
	if (finds)
		sbx_error_set(e, -ENOENT, "there is no such sandbox");
	else
		sbx_error_set(e, -EIO, "%s: %.150s", r->rest->url,
			      text ? text : "it failed");
	return false;
}

const struct sbx_rest_type csdk_rest_type = {
	.service = &sbx_svc_computesdk,
	.calls = &csdk_calls_type,
	.product = SBX_CSDK_PRODUCT,
	.prepare = prepare,
	.explain = explain,
	.unwrap = unwrap,
	.cancel = csdk_boxes_stop,
	.release = csdk_release,
};
