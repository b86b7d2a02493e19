#include "client/rest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/calls.h"
#include "client/rest_stream.h"

/* Less is the way of the answer, and the seconds of its header. */
#define SKEW_MIN_MS 2000

/* ---- alarms ---- */

struct sbx_alarm {
	uv_timer_t timer;
	struct sbx_rest *x;
	void (*fn)(void *arg);
	void *arg;
};

static void on_alarm_closed(uv_handle_t *handle)
{
	struct sbx_alarm *a = handle->data;
	struct sbx_rest *x = a->x;

	free(a);
	sbx_rest_handle_closed(x);
}

static void on_alarm(uv_timer_t *timer)
{
	struct sbx_alarm *a = timer->data;
	void (*fn)(void *arg) = a->fn;
	void *arg = a->arg;

	/* first, so that fn may set and cancel as it likes */
	sbx_alarm_cancel(a);
	fn(arg);
}

struct sbx_alarm *sbx_alarm_set(struct sbx_rest *x, uint64_t ms,
				void (*fn)(void *arg), void *arg)
{
	struct sbx_alarm *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	a->x = x;
	a->fn = fn;
	a->arg = arg;
	uv_timer_init(x->loop, &a->timer);
	a->timer.data = a;
	sbx_rest_handle_made(x);
	uv_update_time(x->loop);
	uv_timer_start(&a->timer, on_alarm, ms, 0);
	return a;
}

struct sbx_alarm *sbx_alarm_cancel(struct sbx_alarm *a)
{
	if (a)
		uv_close((uv_handle_t *)&a->timer, on_alarm_closed);
	return NULL;
}

/* ---- opening and closing ---- */

int sbx_rest_open(const struct sbx_rest_type *type, size_t size,
		  uv_loop_t *loop, const struct sbx_conf *conf,
		  struct sbx_rest **ret, struct sbx_error *reterr)
{
	const char *name = type->service->name;
	struct sbx_rest *x;

	if (!conf->url)
		return sbx_error_set(reterr, -EINVAL,
				     "%s needs an address: "
				     "%s+http://HOST:PORT",
				     name, name);
	x = calloc(1, size);
	if (!x)
		return sbx_error_set(reterr, -ENOMEM, "out of memory");
	x->base.type = type->service;
	x->type = type;
	x->loop = loop;
	x->conf = conf;
	x->url = strdup(conf->url);
	x->http = sbx_http_new(loop);
	if (!x->url || !x->http) {
		if (x->http)
			sbx_http_close(x->http, NULL, NULL);
		free(x->url);
		free(x);
		return sbx_error_set(reterr, -ENOMEM, "out of memory");
	}
	uv_timer_init(loop, &x->late);
	x->late.data = x;
	x->nr_handles = 1;
	*ret = x;
	return 0;
}

int sbx_rest_no_key(const struct sbx_conf *conf, struct sbx_error *reterr)
{
	return sbx_error_set(reterr, -ENOKEY, "there is no key for %s",
			     conf->url);
}

/* Everything that could still call back into x is gone. */
static void rest_try_free(struct sbx_rest *x)
{
	void (*on_closed)(void *arg) = x->on_closed;
	void *arg = x->closed_arg;

	if (!x->closing || !x->http_closed || !x->ws_closed || x->nr_handles)
		return;
	free(x->url);
	if (x->type->release)
		x->type->release(x);
	free(x);
	if (on_closed)
		on_closed(arg);
}

void sbx_rest_handle_made(struct sbx_rest *x)
{
	x->nr_handles++;
}

void sbx_rest_handle_closed(struct sbx_rest *x)
{
	x->nr_handles--;
	rest_try_free(x);
}

static void on_late_closed(uv_handle_t *handle)
{
	sbx_rest_handle_closed(handle->data);
}

static void on_late(uv_timer_t *timer)
{
	struct sbx_rest *x = timer->data;
	struct sbx_call *call;
	struct sbx_run *run;

	while ((call = x->failed)) {
		x->failed = call->priv;
		call->priv = NULL;
		call->done(call);
	}
	while ((run = x->ended)) {
		x->ended = run->next;
		run->done(run);
	}
}

void sbx_rest_fail_later(struct sbx_rest *x, struct sbx_call *call)
{
	call->priv = x->failed;
	x->failed = call;
	uv_timer_start(&x->late, on_late, 0, 0);
}

void sbx_rest_run_end_later(struct sbx_rest *x, struct sbx_run *run)
{
	run->priv = NULL;
	run->next = x->ended;
	x->ended = run;
	uv_timer_start(&x->late, on_late, 0, 0);
}

static void on_http_closed(void *arg)
{
	struct sbx_rest *x = arg;

	x->http_closed = true;
	rest_try_free(x);
}

static void rest_close_http(struct sbx_rest *x)
{
	if (!x->ws_closed || x->holds || x->http_closing)
		return;
	x->http_closing = true;
	sbx_http_close(x->http, on_http_closed, x);
}

static void on_ws_closed(void *arg)
{
	struct sbx_rest *x = arg;

	x->ws_closed = true;
	/* streams were told by now; who makes requests holds it */
	rest_close_http(x);
}

void sbx_rest_hold(struct sbx_rest *x)
{
	x->holds++;
}

void sbx_rest_let_go(struct sbx_rest *x)
{
	x->holds--;
	rest_close_http(x);
}

void sbx_rest_close(struct sbx_service *svc, void (*on_closed)(void *arg),
		    void *arg)
{
	struct sbx_rest *x = (struct sbx_rest *)svc;
	struct sbx_error e;

	sbx_error_set(&e, -ECANCELED, "the service is being closed");
	x->closing = true;
	x->on_closed = on_closed;
	x->closed_arg = arg;
	while (x->works)
		sbx_work_done(x->works, &e);
	if (x->type->cancel)
		x->type->cancel(x);
	on_late(&x->late);
	uv_close((uv_handle_t *)&x->late, on_late_closed);
	sbx_rest_streams_close(x);
	if (x->ws_host)
		sbx_ws_host_close(x->ws_host, on_ws_closed, x);
	else
		on_ws_closed(x);
}

int64_t sbx_rest_now_ms(const struct sbx_rest *x)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000 + x->skew_ms;
}

void sbx_rest_note_clock(struct sbx_rest *x,
			 const struct sbx_http_response *resp)
{
	int64_t skew;

	if (!resp->date_ms)
		return;
	x->skew_ms = 0;
	skew = resp->date_ms - sbx_rest_now_ms(x);
	if (skew > SKEW_MIN_MS || skew < -SKEW_MIN_MS)
		x->skew_ms = skew;
}

struct sbx_ws *sbx_rest_socket(struct sbx_rest *x,
			       const struct sbx_ws_conf *conf,
			       const struct sbx_ws_handler *h, void *arg)
{
	if (!x->ws_host)
		x->ws_host =
			sbx_ws_host_new(x->loop, !strncmp(x->url, "https:", 6));
	return x->ws_host ? sbx_ws_open(x->ws_host, conf, h, arg) : NULL;
}

int sbx_rest_wonder(const struct sbx_rest *x, struct sbx_error *e,
		    const char *why)
{
	return sbx_error_wonder(e, x->url, x->type->product, why);
}
