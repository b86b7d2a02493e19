/*
 * metrics/stream: what execd says line by line without an end, as it comes.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/svc_opensandbox.h"

#define PATIENCE_MS 30000 /* until execd is found */

struct osb_flow {
	struct sbx_stream base;
	struct osb *x;
	struct osb_flow *next, **link;
	const struct sbx_stream_handler *handler;
	void *arg;
	struct osb_reach *reach; /* held */
	struct osb_reach_wait wait;
	struct sbx_request *request;
	uv_timer_t timer; /* the end is due */
	bool opened, ended, paused;
	struct sbx_error error;
};

static void on_timer_closed(uv_handle_t *handle)
{
	struct osb_flow *f = handle->data;
	struct sbx_rest *rest = &f->x->rest;

	free(f);
	sbx_rest_handle_closed(rest);
}

static void flow_finish(struct osb_flow *f)
{
	*f->link = f->next;
	if (f->next)
		f->next->link = f->link;
	osb_reach_unwait(&f->wait);
	f->request = sbx_request_cancel(f->request);
	osb_reach_let_go(f->reach);
	f->handler->on_end(f->arg, 0, &f->error);
	uv_close((uv_handle_t *)&f->timer, on_timer_closed);
}

static void on_end_due(uv_timer_t *timer)
{
	flow_finish(timer->data);
}

/* Later: it may be called by whoever is given a piece. */
static void flow_end(struct osb_flow *f, const struct sbx_error *error)
{
	if (f->ended)
		return;
	f->ended = true;
	f->error = *error;
	uv_timer_start(&f->timer, on_end_due, 0, 0);
}

static void flow_open(struct osb_flow *f)
{
	if (f->opened)
		return;
	f->opened = true;
	f->handler->on_open(f->arg);
}

static void on_piece(void *arg, const char *data, size_t len)
{
	struct osb_flow *f = arg;

	if (f->ended)
		return;
	flow_open(f);
	if (!f->ended && len)
		f->handler->on_data(f->arg, 1, data, len);
}

static void on_answer(void *arg, const struct sbx_answer *answer)
{
	struct osb_flow *f = arg;

	f->request = NULL;
	if (answer->error.err)
		osb_reach_forget(f->reach);
	else if (!f->ended)
		flow_open(f);
	flow_end(f, &answer->error);
}

static void on_reached(void *arg, const struct sbx_error *error)
{
	struct osb_flow *f = arg;
	struct sbx_error e = *error;

	if (!e.err) {
		f->request = sbx_request_start(
			&f->x->rest,
			&(struct sbx_request_conf){.method = "GET",
						   .path = "/metrics/watch",
						   .to = f->reach,
						   .on_piece = on_piece},
			on_answer, f);
		if (!f->request)
			sbx_error_set(&e, -ENOMEM, "out of memory");
		else
			sbx_request_pause(f->request, f->paused);
	}
	if (e.err)
		flow_end(f, &e);
}

struct sbx_stream *osb_flow_open(struct sbx_service *svc, const char *id,
				 const char *path, const char *input,
				 size_t len, const struct sbx_stream_handler *h,
				 void *arg)
{
	struct osb *x = (struct osb *)svc;
	struct osb_reach *r = osb_reach_of(x, id);
	struct osb_flow *f = r ? calloc(1, sizeof(*f)) : NULL;
	struct sbx_error e = {0};

	if (!f)
		return NULL;
	f->base.svc = svc;
	f->x = x;
	f->handler = h;
	f->arg = arg;
	f->reach = osb_reach_hold(r);
	f->wait.fn = on_reached;
	f->wait.arg = f;
	f->next = x->flows;
	f->link = &x->flows;
	if (f->next)
		f->next->link = &f->next;
	x->flows = f;
	uv_timer_init(x->rest.loop, &f->timer);
	f->timer.data = f;
	sbx_rest_handle_made(&x->rest);
	uv_update_time(x->rest.loop);
	if (sbx_is_id(id)) {
		osb_reach_find(r, &f->wait, uv_now(x->rest.loop) + PATIENCE_MS);
		return &f->base;
	}
	sbx_error_set(&e, -ENOENT, "there is no such sandbox");
	flow_end(f, &e);
	return &f->base;
}

void osb_flow_pause(struct sbx_stream *stream, bool paused)
{
	struct osb_flow *f = (struct osb_flow *)stream;

	f->paused = paused;
	if (f->request && !f->ended)
		sbx_request_pause(f->request, paused);
}

void osb_flow_close(struct sbx_stream *stream)
{
	struct sbx_error e = {0};

	sbx_error_set(&e, -ECANCELED, "the stream was closed");
	flow_end((struct osb_flow *)stream, &e);
}

void osb_flows_cancel(struct osb *x)
{
	struct osb_flow *f;

	for (f = x->flows; f; f = f->next)
		osb_flow_close(&f->base);
}
