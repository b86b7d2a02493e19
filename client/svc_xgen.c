#include "client/svc_xgen.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/log.h"

/* ---- alarms ---- */

struct xgen_alarm {
	uv_timer_t timer;
	struct xgen *x;
	void (*fn)(void *arg);
	void *arg;
};

static void on_alarm_closed(uv_handle_t *handle)
{
	struct xgen_alarm *a = handle->data;
	struct xgen *x = a->x;

	free(a);
	xgen_handle_closed(x);
}

static void on_alarm(uv_timer_t *timer)
{
	struct xgen_alarm *a = timer->data;
	void (*fn)(void *arg) = a->fn;
	void *arg = a->arg;

	/* first, so that fn may set and cancel as it likes; it must forget
	 * this one */
	xgen_alarm_cancel(a);
	fn(arg);
}

struct xgen_alarm *xgen_alarm_set(struct xgen *x, uint64_t ms,
				  void (*fn)(void *arg), void *arg)
{
	struct xgen_alarm *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	a->x = x;
	a->fn = fn;
	a->arg = arg;
	uv_timer_init(x->loop, &a->timer);
	a->timer.data = a;
	x->nr_handles++;
	uv_update_time(x->loop);
	uv_timer_start(&a->timer, on_alarm, ms, 0);
	return a;
}

struct xgen_alarm *xgen_alarm_cancel(struct xgen_alarm *a)
{
	if (a)
		uv_close((uv_handle_t *)&a->timer, on_alarm_closed);
	return NULL;
}

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
	struct xgen *x;

	if (!conf->url)
		return sbx_error_set(reterr, -EINVAL,
				     "xgen needs an address: "
				     "xgen+http://HOST:PORT");
	if (!conf->key && !conf->token)
		return sbx_error_set(reterr, -ENOKEY, "there is no key for %s",
				     conf->url);
	x = calloc(1, sizeof(*x));
	if (!x)
		return sbx_error_set(reterr, -ENOMEM, "out of memory");
	x->base.type = &sbx_svc_xgen;
	x->loop = loop;
	x->conf = conf;
	x->version = 2;
	x->auth.key = conf->key;
	x->auth.given = conf->token;
	x->base_url = strdup(conf->url);
	x->http = sbx_http_new(loop);
	if (!x->base_url || !x->http) {
		if (x->http)
			sbx_http_close(x->http, NULL, NULL);
		free(x->base_url);
		free(x);
		return sbx_error_set(reterr, -ENOMEM, "out of memory");
	}
	uv_timer_init(loop, &x->late);
	x->late.data = x;
	x->nr_handles = 1;
	*ret = &x->base;
	return 0;
}

/* Everything that could still call back into x is gone. */
static void xgen_try_free(struct xgen *x)
{
	struct xgen_env *e;
	void (*on_closed)(void *arg) = x->on_closed;
	void *arg = x->closed_arg;

	if (!x->closing || !x->http_closed || !x->ws_closed || x->nr_handles)
		return;
	while ((e = x->envs)) {
		x->envs = e->next;
		env_free(e);
	}
	xgen_auth_release(x);
	free(x->base_url);
	free(x);
	if (on_closed)
		on_closed(arg);
}

int xgen_set_url(struct sbx_service *svc, const char *url)
{
	struct xgen *x = (struct xgen *)svc;
	char *copy = strdup(url);

	if (!copy)
		return -ENOMEM;
	free(x->base_url);
	x->base_url = copy;
	x->patient = true;
	return 0;
}

void xgen_handle_closed(struct xgen *x)
{
	x->nr_handles--;
	xgen_try_free(x);
}

static void on_late_closed(uv_handle_t *handle)
{
	xgen_handle_closed(handle->data);
}

static void on_late(uv_timer_t *timer)
{
	struct xgen *x = timer->data;
	struct sbx_call *call;

	while ((call = x->failed)) {
		x->failed = call->priv;
		call->priv = NULL;
		call->done(call);
	}
}

void xgen_fail_later(struct xgen *x, struct sbx_call *call)
{
	call->priv = x->failed;
	x->failed = call;
	uv_timer_start(&x->late, on_late, 0, 0);
}

static void on_http_closed(void *arg)
{
	struct xgen *x = arg;

	x->http_closed = true;
	xgen_try_free(x);
}

static void on_ws_closed(void *arg)
{
	struct xgen *x = arg;

	x->ws_closed = true;
	/* streams were told by now; nobody makes requests any more */
	sbx_http_close(x->http, on_http_closed, x);
}

static void xgen_close(struct sbx_service *svc, void (*on_closed)(void *arg),
		       void *arg)
{
	struct xgen *x = (struct xgen *)svc;
	struct sbx_error e;

	sbx_error_set(&e, -ECANCELED, "the service is being closed");
	x->closing = true;
	x->on_closed = on_closed;
	x->closed_arg = arg;
	while (x->works)
		xgen_work_done(x->works, &e);
	on_late(&x->late);
	uv_close((uv_handle_t *)&x->late, on_late_closed);
	xgen_streams_cancel(x);
	if (x->ws_host)
		sbx_ws_host_close(x->ws_host, on_ws_closed, x);
	else
		on_ws_closed(x);
}

static void xgen_submit(struct sbx_service *svc, struct sbx_call *call)
{
	xgen_work_start((struct xgen *)svc, call);
}

const struct sbx_service_type sbx_svc_xgen = {
	.name = "xgen",
	.calls = 1 << SBX_CALL_LIST | 1 << SBX_CALL_GET | 1 << SBX_CALL_CREATE |
		 1 << SBX_CALL_DESTROY | 1 << SBX_CALL_KEEPALIVE,
	.max_unit = SBX_XGEN_MAX_STDIN,
	.keep_set_seconds = false,
	.open = xgen_open,
	.close = xgen_close,
	.submit = xgen_submit,
	.stream_open = xgen_stream_open,
	.stream_send = xgen_stream_send,
	.stream_pause = xgen_stream_pause,
	.stream_close = xgen_stream_close,
};
