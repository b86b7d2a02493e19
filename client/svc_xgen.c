#include "client/svc_xgen.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- environments ---- */

int xgen_env_keep(struct xgen *x, const char *id, char **env)
{
	struct xgen_env *e = calloc(1, sizeof(*e));

	if (e)
		e->id = strdup(id);
	if (!e || !e->id) {
		free(e);
		sbx_xgen_env_free(env);
		return -ENOMEM;
	}
	e->env = env;
	e->next = x->envs;
	x->envs = e;
	return 0;
}

const char *const *xgen_env_find(const struct xgen *x, const char *id)
{
	const struct xgen_env *e;

	for (e = x->envs; e; e = e->next)
		if (!strcmp(e->id, id))
			return (const char *const *)e->env;
	return NULL;
}

static void env_free(struct xgen_env *e)
{
	sbx_xgen_env_free(e->env);
	free(e->id);
	free(e);
}

void xgen_env_forget(struct xgen *x, const char *id)
{
	struct xgen_env **p, *e;

	for (p = &x->envs; (e = *p); p = &e->next) {
		if (strcmp(e->id, id))
			continue;
		*p = e->next;
		env_free(e);
		return;
	}
}

/* ---- opening and closing ---- */

int xgen_open(uv_loop_t *loop, const struct sbx_conf *conf,
	      struct sbx_service **ret, struct sbx_error *reterr)
{
	struct sbx_rest *rest;
	struct xgen *x;
	int r;

	if (conf->url && !conf->key && !conf->token)
		return sbx_rest_no_key(conf, reterr);
	r = sbx_rest_open(&xgen_rest_type, sizeof(*x), loop, conf, &rest,
			  reterr);
	if (r < 0)
		return r;
	x = (struct xgen *)rest;
	x->version = 2;
	x->auth.key = conf->key;
	x->auth.given = conf->token;
	*ret = &rest->base;
	return 0;
}

void xgen_release(struct sbx_rest *rest)
{
	struct xgen *x = (struct xgen *)rest;
	struct xgen_env *e;

	while ((e = x->envs)) {
		x->envs = e->next;
		env_free(e);
	}
	xgen_auth_release(x);
	sbx_xgen_preview_release(&x->preview);
}

int xgen_set_url(struct sbx_service *svc, const char *url)
{
	struct xgen *x = (struct xgen *)svc;
	char *copy = strdup(url);

	if (!copy)
		return -ENOMEM;
	free(x->rest.url);
	x->rest.url = copy;
	x->rest.patient = true;
	return 0;
}

const struct sbx_service_type sbx_svc_xgen = {
	.name = "xgen",
	.calls = 1 << SBX_CALL_LIST | 1 << SBX_CALL_GET | 1 << SBX_CALL_CREATE |
		 1 << SBX_CALL_DESTROY | 1 << SBX_CALL_KEEPALIVE |
		 1 << SBX_CALL_FILES | 1 << SBX_CALL_FILE,
	.max_unit = SBX_XGEN_MAX_STDIN,
	.max_file = SBX_XGEN_MAX_MESSAGE - SBX_XGEN_HEADER,
	.keep_set_seconds = false,
	.open = xgen_open,
	.close = sbx_rest_close,
	.submit = sbx_calls_submit,
	.options_check = sbx_xgen_options_check,
	.stream_open = xgen_stream_open,
	.stream_send = xgen_stream_send,
	.stream_pause = xgen_stream_pause,
	.stream_close = xgen_stream_close,
};
