#include "client/svc_vtrix.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cleanup.h"

#define PROJECT_ENV "VTRIX_PROJECT_ID"
#define MAX_PROJECT 256
/* What is no standing pool's takes minutes; a pod's image must be pulled, and
 * so it is for one that is started. */
#define POD_MS 300000

/* It becomes a header line. */
static bool project_is_valid(const char *project)
{
	size_t i;

	for (i = 0; project[i]; i++)
		if (project[i] <= 0x20 || project[i] >= 0x7f)
			return false;
	return i <= MAX_PROJECT;
}

/* The header line of the project, in *ret; NULL for none. */
static int make_header(const struct sbx_conf *conf, char **ret,
		       struct sbx_error *reterr)
{
	const char *env = getenv(PROJECT_ENV);
	const char *project = conf->project;

	*ret = NULL;
	if (env && *env && (!project || !conf->own_key_first))
		project = env;
	if (!project || !*project)
		return 0;
	if (!project_is_valid(project))
		return sbx_error_set(reterr, -EINVAL,
				     "the project (" PROJECT_ENV
				     ") must be at most 256 visible ASCII "
				     "characters");
	if (asprintf(ret, "X-Project-ID: %s", project) < 0) {
		*ret = NULL;
		return sbx_error_set(reterr, -ENOMEM, "out of memory");
	}
	return 0;
}

static int vtrix_open(uv_loop_t *loop, const struct sbx_conf *conf,
		      struct sbx_service **ret, struct sbx_error *reterr)
{
	struct sbx_rest *rest;
	SBX_FREE char *header = NULL;
	int r;

	if (conf->url && !conf->key)
		return sbx_rest_no_key(conf, reterr);
	r = make_header(conf, &header, reterr);
	if (r == 0)
		r = sbx_rest_open(&vtrix_rest_type, sizeof(struct vtrix), loop,
				  conf, &rest, reterr);
	if (r < 0)
		return r;
	vtrix_of(rest)->headers[0] = SBX_TAKE(header);
	*ret = &rest->base;
	return 0;
}

static const struct sbx_run_limits run_limits = {
	.command = VTRIX_COMMAND,
	.input = VTRIX_INPUT,
	.output = VTRIX_OUTPUT,
	.output_most = VTRIX_OUTPUT_MOST,
	.gather_ms = 1,
	.parks = true,
};

const struct sbx_service_type sbx_svc_vtrix = {
	.name = "vtrix",
	.calls = 1 << SBX_CALL_LIST | 1 << SBX_CALL_GET | 1 << SBX_CALL_CREATE |
		 1 << SBX_CALL_DESTROY | 1 << SBX_CALL_KEEPALIVE |
		 1 << SBX_CALL_STOP | 1 << SBX_CALL_START |
		 1 << SBX_CALL_RESTART | 1 << SBX_CALL_OWN_READ |
		 1 << SBX_CALL_OWN_WRITE,
	.own = vtrix_own,
	.create_ms = POD_MS,
	.life_ms = POD_MS,
	.keep_set_seconds = true,
	.open = vtrix_open,
	.close = sbx_rest_close,
	.submit = sbx_calls_submit,
	.options_check = sbx_vtrix_options_check,
	.run_limits = &run_limits,
	.run = vtrix_run,
	.run_cancel = vtrix_run_cancel,
};
