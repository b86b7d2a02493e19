/*
 * metrics/stream: what execd says line by line without an end, as it comes.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/svc_opensandbox.h"

#define PATIENCE_MS 30000 /* until execd is found */

struct osb_flow {
	struct sbx_rest_stream base;
	struct osb_reach *reach; /* held */
	struct osb_reach_wait wait;
	bool opened;
};

static void flow_release(struct sbx_rest_stream *base)
{
	struct osb_flow *f = (struct osb_flow *)base;

	osb_reach_unwait(&f->wait);
	osb_reach_let_go(f->reach);
}

static const struct sbx_rest_stream_type flow_type = {
	.release = flow_release,
};

static bool is_over(const struct osb_flow *f)
{
	return sbx_rest_stream_is_over(&f->base);
}

static void flow_open(struct osb_flow *f)
{
	if (f->opened)
		return;
	f->opened = true;
	f->base.handler->on_open(f->base.arg);
}

static void on_piece(void *arg, const char *data, size_t len)
{
	struct osb_flow *f = arg;

	if (is_over(f))
		return;
	flow_open(f);
	if (!is_over(f) && len)
		f->base.handler->on_data(f->base.arg, 1, data, len);
}

static void on_answer(void *arg, const struct sbx_answer *answer)
{
	struct osb_flow *f = arg;

	if (answer->error.err)
		osb_reach_forget(f->reach);
	else
		flow_open(f);
	sbx_rest_stream_end(&f->base, &answer->error);
}

static void on_reached(void *arg, const struct sbx_error *error)
{
	struct osb_flow *f = arg;

	if (is_over(f))
		return;
	if (error->err) {
		sbx_rest_stream_end(&f->base, error);
		return;
	}
	sbx_rest_stream_request(
		&f->base,
		&(struct sbx_request_conf){.method = "GET",
					   .path = "/metrics/watch",
					   .to = f->reach,
					   .on_piece = on_piece},
		on_answer);
	if (f->base.request)
		sbx_request_pause(f->base.request, f->base.paused);
}

struct sbx_stream *osb_flow_open(struct sbx_service *svc, const char *id,
				 const char *path, const char *input,
				 size_t len, const struct sbx_stream_handler *h,
				 void *arg)
{
	struct osb *x = (struct osb *)svc;
	struct osb_reach *r = osb_reach_of(x, id);
	struct osb_flow *f = r ? calloc(1, sizeof(*f)) : NULL;

	if (!f)
		return NULL;
	sbx_rest_stream_init(&f->base, &flow_type, &x->rest, PATIENCE_MS, h,
			     arg);
	f->reach = osb_reach_hold(r);
	f->wait.fn = on_reached;
	f->wait.arg = f;
	if (sbx_is_id(id))
		osb_reach_find(r, &f->wait, f->base.give_up);
	else
		sbx_rest_stream_fail(&f->base, -ENOENT, SBX_RETRY_NEVER,
				     "there is no such sandbox");
	return &f->base.base;
}

void osb_flow_pause(struct sbx_stream *stream, bool paused)
{
	struct osb_flow *f = (struct osb_flow *)stream;

	f->base.paused = paused;
	if (f->base.request && !is_over(f))
		sbx_request_pause(f->base.request, paused);
}
