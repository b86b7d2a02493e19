/*
 * Service "local": the bundled agent, started and ended with us, which is an
 * xgen service on this machine.  So this only keeps the agent running and
 * hands everything on.
 *
 * Calls made before the agent is ready wait for it; streams fail and are made
 * again by the layer above, as with any service that is away for a moment.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/log.h"
#include "client/random.h"
#include "client/svc_local_agent.h"
#include "client/svc_xgen.h"

#define DEFAULT_TIMEOUT_MS 30000

/* A call while the agent is not ready: call->priv. */
struct local_wait {
	struct local *l;
	struct sbx_call *call;
	struct local_wait *next, **link;
	uv_timer_t timer;
};

struct local {
	struct sbx_service base;
	uv_loop_t *loop;
	struct sbx_conf inner_conf; /* for the xgen service inside */
	struct sbx_service *inner;
	struct sbx_agent *agent;
	bool ready, closing;
	struct local_wait *waits;
	size_t nr_timers; /* not yet closed */
	bool inner_closed, agent_stopped;
	void (*on_closed)(void *arg);
	void *closed_arg;
};

/* ---- the end ---- */

static void local_try_free(struct local *l)
{
	void (*on_closed)(void *arg) = l->on_closed;
	void *arg = l->closed_arg;

	if (!l->closing || !l->inner_closed || !l->agent_stopped ||
	    l->nr_timers)
		return;
	sbx_conf_release(&l->inner_conf);
	free(l);
	if (on_closed)
		on_closed(arg);
}

static void on_agent_stopped(void *arg)
{
	struct local *l = arg;

	l->agent_stopped = true;
	local_try_free(l);
}

static void on_inner_closed(void *arg)
{
	struct local *l = arg;

	l->inner_closed = true;
	/* last: nothing talks to it any more */
	if (l->agent)
		sbx_agent_stop(l->agent, on_agent_stopped, l);
	else
		on_agent_stopped(l);
}

/* ---- calls that wait ---- */

static void on_wait_closed(uv_handle_t *handle)
{
	struct local_wait *w = handle->data;
	struct local *l = w->l;

	free(w);
	l->nr_timers--;
	local_try_free(l);
}

/* Takes the call off the list and hands it out. */
static struct sbx_call *wait_end(struct local_wait *w)
{
	struct sbx_call *call = w->call;

	*w->link = w->next;
	if (w->next)
		w->next->link = w->link;
	call->priv = NULL;
	uv_close((uv_handle_t *)&w->timer, on_wait_closed);
	return call;
}

static void wait_fail(struct local_wait *w, const struct sbx_error *error)
{
	struct sbx_call *call = wait_end(w);

	call->error = *error;
	call->done(call);
}

static void on_wait_timeout(uv_timer_t *timer)
{
	struct sbx_error e;

	sbx_error_set(&e, -ETIMEDOUT, "the local agent is not ready");
	e.retry = SBX_RETRY_CONNECTION;
	wait_fail(timer->data, &e);
}

static void local_wait_add(struct local *l, struct sbx_call *call)
{
	struct local_wait *w = calloc(1, sizeof(*w));

	if (!w) {
		sbx_error_set(&call->error, -ENOMEM, "out of memory");
		sbx_rest_fail_later((struct sbx_rest *)l->inner, call);
		return;
	}
	w->l = l;
	w->call = call;
	/* in the order in which they came */
	w->link = &l->waits;
	while (*w->link)
		w->link = &(*w->link)->next;
	*w->link = w;
	call->priv = w;
	uv_timer_init(l->loop, &w->timer);
	w->timer.data = w;
	l->nr_timers++;
	uv_update_time(l->loop);
	uv_timer_start(&w->timer, on_wait_timeout,
		       call->timeout_ms ? call->timeout_ms : DEFAULT_TIMEOUT_MS,
		       0);
}

/* ---- the agent ---- */

static void on_ready(void *arg, unsigned int port)
{
	struct local *l = arg;
	char url[40];

	snprintf(url, sizeof(url), "http://127.0.0.1:%u", port);
	if (xgen_set_url(l->inner, url) < 0) {
		sbx_log(SBX_LOG_ERROR, "agent", "out of memory");
		return; /* callers time out */
	}
	l->ready = true;
	while (l->waits && l->ready)
		l->inner->type->submit(l->inner, wait_end(l->waits));
}

static void on_lost(void *arg, const struct sbx_error *error)
{
	struct local *l = arg;
	bool was_ready = l->ready;

	l->ready = false;
	/* one that does not start is a mistake that somebody should be told;
	 * one that ended will be back */
	while (!was_ready && error->err != -ETIMEDOUT && l->waits)
		wait_fail(l->waits, error);
}

static const struct sbx_agent_handler agent_handler = {
	.on_ready = on_ready,
	.on_lost = on_lost,
};

/* ---- the service ---- */

static struct sbx_secret *local_key(void)
{
	struct sbx_secret *key;
	char text[65];

	if (sbx_random_hex(text, 32) < 0)
		return NULL;
	key = sbx_secret_new(text, 64);
	explicit_bzero(text, sizeof(text));
	return key;
}

static int local_open(uv_loop_t *loop, const struct sbx_conf *conf,
		      struct sbx_service **ret, struct sbx_error *reterr)
{
	struct local *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return sbx_error_set(reterr, -ENOMEM, "out of memory");
	l->base.type = &sbx_svc_local;
	l->loop = loop;
	sbx_conf_init(&l->inner_conf);
	/* port 1: nobody is there until the agent is */
	l->inner_conf.url = strdup("http://127.0.0.1:1");
	l->inner_conf.key = local_key();
	if (!l->inner_conf.url || !l->inner_conf.key)
		r = sbx_error_set(reterr, -ENOMEM, "out of memory");
	else
		r = xgen_open(loop, &l->inner_conf, &l->inner, reterr);
	if (r < 0) {
		sbx_conf_release(&l->inner_conf);
		free(l);
		return r;
	}
	r = sbx_agent_start(loop, conf, l->inner_conf.key, &agent_handler, l,
			    &l->agent, reterr);
	if (r < 0) {
		/* what the loop still has to close goes on by itself */
		l->closing = true;
		l->inner->type->close(l->inner, on_inner_closed, l);
		return r;
	}
	*ret = &l->base;
	return 0;
}

static void local_close(struct sbx_service *svc, void (*on_closed)(void *arg),
			void *arg)
{
	struct local *l = (struct local *)svc;
	struct sbx_error e;

	sbx_error_set(&e, -ECANCELED, "the service is being closed");
	l->closing = true;
	l->on_closed = on_closed;
	l->closed_arg = arg;
	while (l->waits)
		wait_fail(l->waits, &e);
	l->inner->type->close(l->inner, on_inner_closed, l);
}

static void local_submit(struct sbx_service *svc, struct sbx_call *call)
{
	struct local *l = (struct local *)svc;

	call->error = (struct sbx_error){0};
	if (l->ready)
		l->inner->type->submit(l->inner, call);
	else
		local_wait_add(l, call);
}

static struct sbx_stream *local_stream_open(struct sbx_service *svc,
					    const char *id,
					    const char *const *argv,
					    const struct sbx_stream_handler *h,
					    void *arg)
{
	struct local *l = (struct local *)svc;

	return xgen_stream_open(l->inner, id, argv, h, arg);
}

const struct sbx_service_type sbx_svc_local = {
	.name = "local",
	.calls = 1 << SBX_CALL_LIST | 1 << SBX_CALL_GET | 1 << SBX_CALL_CREATE |
		 1 << SBX_CALL_DESTROY | 1 << SBX_CALL_KEEPALIVE |
		 1 << SBX_CALL_FILES | 1 << SBX_CALL_FILE,
	.max_unit = SBX_XGEN_MAX_STDIN,
	.max_file = SBX_XGEN_MAX_MESSAGE - SBX_XGEN_HEADER,
	.keep_set_seconds = false,
	.open = local_open,
	.close = local_close,
	.submit = local_submit,
	.options_check = sbx_xgen_options_check,
	.stream_open = local_stream_open,
	.stream_send = xgen_stream_send,
	.stream_pause = xgen_stream_pause,
	.stream_close = xgen_stream_close,
};
