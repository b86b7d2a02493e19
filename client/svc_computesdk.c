#include "client/svc_computesdk.h"

#include <errno.h>

#define MAX_UNIT  32768
#define MAX_FILE  (8 << 20) /* all of it is in memory, several times */
#define CREATE_MS 180000

/* The provider's credentials as lines of a request. */
static void take_headers(struct csdk *x, const struct sbx_conf *conf)
{
	size_t i;

	for (i = 0; conf->headers && conf->headers[i] && i < CSDK_MAX_HEADERS;
	     i++)
		x->headers[i] =
			(char *)(uintptr_t)sbx_secret_text(conf->headers[i]);
}

static int csdk_open(uv_loop_t *loop, const struct sbx_conf *conf,
		     struct sbx_service **ret, struct sbx_error *reterr)
{
	struct sbx_rest *rest;
	struct csdk *x;
	int r;

	if (!conf->key && !conf->token)
		return sbx_rest_no_key(conf, reterr);
	r = sbx_rest_open(&csdk_rest_type, sizeof(*x), loop, conf, &rest,
			  reterr);
	if (r < 0)
		return r;
	x = (struct csdk *)rest;
	take_headers(x, conf);
	if (!csdk_is_direct(x))
		csdk_boxes_load(x);
	*ret = &rest->base;
	return 0;
}

void csdk_release(struct sbx_rest *rest)
{
	csdk_boxes_release((struct csdk *)rest);
}

const struct sbx_service_type sbx_svc_computesdk = {
	.name = "computesdk",
	.calls = 1 << SBX_CALL_LIST | 1 << SBX_CALL_GET | 1 << SBX_CALL_CREATE |
		 1 << SBX_CALL_DESTROY | 1 << SBX_CALL_KEEPALIVE |
		 1 << SBX_CALL_FILES | 1 << SBX_CALL_FILE |
		 1 << SBX_CALL_OWN_READ | 1 << SBX_CALL_OWN_WRITE |
		 1 << SBX_CALL_OWN_LIST | 1 << SBX_CALL_OWN_MAKE |
		 1 << SBX_CALL_OWN_REMOVE,
	.own = csdk_own,
	.max_unit = MAX_UNIT,
	.max_file = MAX_FILE,
	.create_ms = CREATE_MS,
	.keep_set_seconds = true,
	.hides_expiry = true,
	.open = csdk_open,
	.close = sbx_rest_close,
	.submit = sbx_calls_submit,
	.options_check = sbx_csdk_options_check,
	.stream_open = csdk_stream_open,
	.stream_send = csdk_stream_send,
	.stream_pause = csdk_stream_pause,
	.stream_close = sbx_rest_stream_close,
	.own_has = csdk_own_has,
	.own_open = csdk_events_open,
	.own_pause = csdk_events_pause,
	.own_close = sbx_rest_stream_close,
};
