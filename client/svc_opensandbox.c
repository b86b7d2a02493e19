#include "client/svc_opensandbox.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Beyond this the credit of a session would not outlive a lost connection:
 * execd keeps the last MiB. */
#define MAX_UNACKED (512 * 1024)
#define MAX_UNIT    32768
#define MAX_FILE    (8 << 20) /* all of it is in memory */
/* A cold image may take minutes to be pulled. */
#define CREATE_MS 600000

static int osb_open(uv_loop_t *loop, const struct sbx_conf *conf,
		    struct sbx_service **ret, struct sbx_error *reterr)
{
	struct sbx_rest *rest;
	int r = sbx_rest_open(&osb_rest_type, sizeof(struct osb), loop, conf,
			      &rest, reterr);

	if (r == 0)
		*ret = &rest->base;
	return r;
}

const struct sbx_service_type sbx_svc_opensandbox = {
	.name = "opensandbox",
	.calls = 1 << SBX_CALL_LIST | 1 << SBX_CALL_GET | 1 << SBX_CALL_CREATE |
		 1 << SBX_CALL_DESTROY | 1 << SBX_CALL_KEEPALIVE |
		 1 << SBX_CALL_PAUSE | 1 << SBX_CALL_RESUME |
		 1 << SBX_CALL_SNAPSHOTS | 1 << SBX_CALL_SNAPSHOT |
		 1 << SBX_CALL_UNSNAPSHOT | 1 << SBX_CALL_OWN_READ |
		 1 << SBX_CALL_OWN_WRITE | 1 << SBX_CALL_OWN_LIST |
		 1 << SBX_CALL_OWN_MAKE | 1 << SBX_CALL_OWN_REMOVE |
		 1 << SBX_CALL_FILES | 1 << SBX_CALL_FILE,
	.max_unit = MAX_UNIT,
	.max_file = MAX_FILE,
	.max_unacked = MAX_UNACKED,
	.create_ms = CREATE_MS,
	.keep_set_seconds = true,
	.own = osb_own,
	.open = osb_open,
	.close = sbx_rest_close,
	.submit = sbx_calls_submit,
	.options_check = sbx_osb_options_check,
	.stream_open = osb_stream_open,
	.stream_send = osb_stream_send,
	.stream_pause = osb_stream_pause,
	.stream_close = sbx_rest_stream_close,
	.own_has = osb_own_has,
	.own_open = osb_flow_open,
	.own_pause = osb_flow_pause,
	.own_close = sbx_rest_stream_close,
};
