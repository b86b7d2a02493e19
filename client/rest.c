#include "client/rest.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

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

int sbx_rest_open(struct sbx_rest *x, const struct sbx_rest_type *type,
		  uv_loop_t *loop, const struct sbx_conf *conf,
		  struct sbx_error *reterr)
{
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
		return sbx_error_set(reterr, -ENOMEM, "out of memory");
	}
	uv_timer_init(loop, &x->late);
	x->late.data = x;
	x->nr_handles = 1;
	return 0;
}

/* Everything that could still call back into x is gone. */
static void rest_try_free(struct sbx_rest *x)
{
	void (*on_closed)(void *arg) = x->on_closed;
	void *arg = x->closed_arg;

	if (!x->closing || !x->http_closed || !x->ws_closed || x->nr_handles)
		return;
	free(x->url);
	x->type->free(x);
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

	while ((call = x->failed)) {
		x->failed = call->priv;
		call->priv = NULL;
		call->done(call);
	}
}

void sbx_rest_fail_later(struct sbx_rest *x, struct sbx_call *call)
{
	call->priv = x->failed;
	x->failed = call;
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
	on_late(&x->late);
	uv_close((uv_handle_t *)&x->late, on_late_closed);
	x->type->cancel_streams(x);
	if (x->ws_host)
		sbx_ws_host_close(x->ws_host, on_ws_closed, x);
	else
		on_ws_closed(x);
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

/* ---- calls ---- */

#define DEFAULT_TIMEOUT_MS 30000

static void call_drop_list(struct sbx_call *call)
{
	size_t i;

	for (i = 0; i < call->nr; i++)
		sbx_sandbox_release(&call->list[i]);
	free(call->list);
	call->list = NULL;
	call->nr = 0;
}

static void work_drop(struct sbx_work *w)
{
	*w->link = w->next;
	if (w->next)
		w->next->link = w->link;
	sbx_request_cancel(w->request);
	sbx_alarm_cancel(w->alarm);
	if (w->drop)
		w->drop(w->state);
	free(w);
}

void sbx_work_done(struct sbx_work *w, const struct sbx_error *error)
{
	struct sbx_call *call = w->call;
	struct sbx_rest *x = w->rest;

	if (error)
		call->error = *error;
	if (call->error.err)
		call_drop_list(call);
	work_drop(w);
	call->priv = NULL;
	if (x->starting)
		sbx_rest_fail_later(x, call);
	else
		call->done(call);
}

void sbx_work_no_memory(struct sbx_work *w)
{
	struct sbx_error e;

	sbx_error_set(&e, -ENOMEM, "out of memory");
	sbx_work_done(w, &e);
}

void sbx_work_request(struct sbx_work *w, struct sbx_request_conf conf,
		      sbx_request_fn *fn)
{
	if (!conf.deadline)
		conf.deadline = w->deadline;
	w->request = sbx_request_start(w->rest, &conf, fn, w);
	if (!w->request)
		sbx_work_no_memory(w);
}

bool sbx_work_pause(struct sbx_work *w, uint64_t ms, void (*fn)(void *arg))
{
	w->alarm = sbx_alarm_set(w->rest, ms, fn, w);
	if (w->alarm)
		return true;
	sbx_work_no_memory(w);
	return false;
}

int sbx_work_make_room(struct sbx_work *w, size_t n)
{
	call_drop_list(w->call);
	w->call->list = n ? calloc(n, sizeof(*w->call->list)) : NULL;
	return !n || w->call->list ? 0 : -ENOMEM;
}

bool sbx_work_take(struct sbx_work *w, const json_t *obj, sbx_sandbox_fn *parse)
{
	const struct sbx_request none = {.rest = w->rest};
	struct sbx_call *call = w->call;
	struct sbx_error e;
	int r;

	r = sbx_work_make_room(w, 1);
	if (r == 0)
		r = parse(call->list, obj, w->rest->url);
	if (r == 0 && call->id && strcmp(call->id, call->list->id)) {
		sbx_sandbox_release(call->list);
		r = -EPROTO;
	}
	if (r == 0) {
		call->nr = 1;
		return true;
	}
	if (r == -EPROTO)
		w->rest->type->wonder(&none, &e, "no sandbox in it");
	else
		sbx_error_set(&e, r, "out of memory");
	sbx_work_done(w, &e);
	return false;
}

static struct sbx_work *work_new(struct sbx_rest *x, struct sbx_call *call)
{
	struct sbx_work *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	uv_update_time(x->loop);
	w->rest = x;
	w->call = call;
	w->deadline = uv_now(x->loop) + (call->timeout_ms ? call->timeout_ms
							  : DEFAULT_TIMEOUT_MS);
	w->next = x->works;
	w->link = &x->works;
	if (w->next)
		w->next->link = &w->next;
	x->works = w;
	call->priv = w;
	return w;
}

void sbx_work_start(struct sbx_rest *x, struct sbx_call *call, bool id_is_valid,
		    void (*start)(struct sbx_work *w))
{
	struct sbx_work *w = NULL;

	call->error = (struct sbx_error){0};
	if (!id_is_valid)
		sbx_error_set(&call->error, -ENOENT,
			      "there is no such sandbox");
	else if (!(w = work_new(x, call)))
		sbx_error_set(&call->error, -ENOMEM, "out of memory");
	if (!w) {
		sbx_rest_fail_later(x, call);
		return;
	}
	x->starting = true;
	start(w);
	x->starting = false;
}

int sbx_work_make_marker(char text[33])
{
	unsigned char bytes[16];
	size_t i;

	if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
		return -EIO;
	for (i = 0; i < sizeof(bytes); i++)
		snprintf(text + 2 * i, 3, "%02x", bytes[i]);
	return 0;
}
