/*
 * A command in a sandbox on a terminal of its daemon: find the daemon, make a
 * terminal and a WebSocket side by side, and type the one line there that
 * starts what carries the command (svc_computesdk_carry.c).  The terminal
 * outlives its WebSocket, but what it prints meanwhile is lost; so the stream
 * ends with the WebSocket, and the layer above makes a new one.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cleanup.h"
#include "client/json.h"
#include "client/log.h"
#include "client/svc_computesdk.h"

#define PATIENCE_MS  60000 /* from stream_open until it runs */
#define MAX_ATTEMPTS 4
#define MAKE_MS	     15000
#define LAUNCH_MS    15000
#define FAREWELL_MS  20000
#define HURRY_MS     1500 /* when everything is being closed */
/* The edge drops what is idle for a minute, and the daemon who answers no
 * ping for as long. */
#define PING_MS	    20000
#define PONG_MS	    30000
#define MAX_MESSAGE (1u << 20)

static void stream_reach(struct csdk_stream *s);

/* ---- the end ---- */

static void on_farewell(void *arg, const struct sbx_answer *answer)
{
	struct csdk_box *b = arg;
	struct sbx_rest *rest = &b->x->rest;

	(void)answer; /* what is left ends by itself, some time later */
	csdk_box_let_go(b);
	sbx_rest_let_go(rest);
}

/* The terminal stays until it is told to go. */
static void stream_farewell(struct csdk_stream *s)
{
	struct sbx_rest *rest = &s->x->rest;
	struct sbx_request_conf conf = {
		.method = "DELETE",
		.path = "/terminals/%s",
		.id = s->terminal,
		.deadline = uv_now(rest->loop) +
			    (rest->closing ? HURRY_MS : FAREWELL_MS),
		.repeatable = true,
		.to = s->box,
	};

	if (s->terminal && s->box->place.url &&
	    sbx_request_start(rest, &conf, on_farewell, s->box)) {
		csdk_box_hold(s->box);
		sbx_rest_hold(rest);
	}
	free(s->terminal);
	s->terminal = NULL;
}

static void on_timer_closed(uv_handle_t *handle)
{
	struct csdk_stream *s = handle->data;
	struct sbx_rest *rest = &s->x->rest;

	sbx_buf_release(&s->command);
	free(s);
	sbx_rest_handle_closed(rest);
}

static void stream_finish(struct csdk_stream *s)
{
	*s->link = s->next;
	if (s->next)
		s->next->link = s->link;
	csdk_unwait(&s->wait);
	s->request = sbx_request_cancel(s->request);
	csdk_carry_release(s);
	stream_farewell(s);
	csdk_box_let_go(s->box);
	uv_timer_stop(&s->timer);
	s->handler->on_end(s->arg, s->exit_code, &s->error);
	uv_close((uv_handle_t *)&s->timer, on_timer_closed);
}

static void on_end_due(uv_timer_t *timer)
{
	stream_finish(timer->data);
}

void csdk_stream_end(struct csdk_stream *s)
{
	s->phase = CSDK_END;
	if (s->ws)
		sbx_ws_close(s->ws); /* its on_close finishes */
	else
		uv_timer_start(&s->timer, on_end_due, 0, 0);
}

static void stream_fail_with(struct csdk_stream *s, const struct sbx_error *e)
{
	if (s->phase == CSDK_END)
		return;
	s->error = *e;
	s->exit_code = -1;
	csdk_stream_end(s);
}

void csdk_stream_fail(struct csdk_stream *s, int err, enum sbx_retry retry,
		      const char *text)
{
	struct sbx_error e;

	sbx_error_set(&e, err, "%s", text);
	e.retry = retry;
	stream_fail_with(s, &e);
}

static void stream_no_memory(struct csdk_stream *s)
{
	csdk_stream_fail(s, -ENOMEM, SBX_RETRY_LATER, "out of memory");
}

/* ---- when it does not come to run ---- */

static void on_again(uv_timer_t *timer)
{
	stream_reach(timer->data);
}

/* From the start, after a pause; fails when it has been tried long enough. */
static void stream_again(struct csdk_stream *s, const struct sbx_error *e)
{
	unsigned int ms = sbx_backoff_next(&s->backoff);

	csdk_reach_forget(s->box);
	s->request = sbx_request_cancel(s->request);
	stream_farewell(s);
	if (++s->attempts >= MAX_ATTEMPTS ||
	    uv_now(s->x->rest.loop) + ms >= s->give_up) {
		stream_fail_with(s, e);
		return;
	}
	s->phase = CSDK_REACH;
	uv_timer_start(&s->timer, on_again, ms, 0);
}

/* Of an attempt that has a WebSocket: its on_close goes on. */
static void stream_give_up_attempt(struct csdk_stream *s, int err,
				   const char *text)
{
	sbx_error_set(&s->error, err, "%s", text);
	s->error.retry = SBX_RETRY_CONNECTION;
	if (s->ws)
		sbx_ws_close(s->ws);
	else
		stream_again(s, &s->error);
}

static void on_late(uv_timer_t *timer)
{
	stream_give_up_attempt(timer->data, -ETIMEDOUT,
			       "the terminal in the sandbox does not answer");
}

/* ---- words ---- */

void csdk_stream_started(struct csdk_stream *s)
{
	uv_timer_stop(&s->timer);
	s->phase = CSDK_RUN;
	csdk_carry_start(s);
	if (s->phase == CSDK_RUN)
		s->handler->on_open(s->arg);
}

/* The terminal, or who listens on it, is gone. */
static void stream_terminal_ended(struct csdk_stream *s)
{
	if (s->phase == CSDK_LAUNCH)
		stream_give_up_attempt(s, -EIO,
				       "the shell in the sandbox did not start "
				       "what it was told to");
	else if (s->phase == CSDK_RUN)
		csdk_stream_fail(s, -EIO, SBX_RETRY_CONNECTION,
				 "the terminal that carried the command was "
				 "ended");
}

static bool is_ours(const struct csdk_stream *s, const char *channel)
{
	return s->terminal && !strncmp(channel, "terminal:", 9) &&
	       !strcmp(channel + 9, s->terminal);
}

static void on_ws_message(void *arg, const void *data, size_t len)
{
	struct csdk_stream *s = arg;
	struct sbx_csdk_message m;
	int r;

	if (s->phase != CSDK_LAUNCH && s->phase != CSDK_RUN)
		return;
	r = sbx_csdk_read(&m, data, len);
	if (r < 0)
		csdk_stream_fail(s, r, SBX_RETRY_CONNECTION,
				 "the daemon sent a message that makes no "
				 "sense");
	else if (m.kind != SBX_CSDK_OTHER && is_ours(s, m.channel)) {
		if (m.kind == SBX_CSDK_OUTPUT)
			csdk_carry_input(s, sbx_buf_at(&m.text),
					 sbx_buf_len(&m.text));
		else
			stream_terminal_ended(s);
	}
	sbx_csdk_message_release(&m);
}

/* ---- the terminal and its WebSocket ---- */

static int say_subscribe(struct csdk_stream *s)
{
	char channel[160];
	struct sbx_buf b;
	int r;

	snprintf(channel, sizeof(channel), "terminal:%s", s->terminal);
	sbx_buf_init(&b, 1024);
	sbx_csdk_put_subscribe(&b, channel);
	r = b.err ? b.err : sbx_ws_send_text(s->ws, (char *)sbx_buf_at(&b));
	sbx_buf_release(&b);
	return r;
}

static int say_launch(struct csdk_stream *s)
{
	struct sbx_buf line, b;
	int r;

	sbx_buf_init(&line, 8192);
	sbx_buf_init(&b, 32768);
	sbx_csdk_put_launch(&line, &s->box->there);
	if (!line.err)
		sbx_csdk_put_input(&b, s->terminal, sbx_buf_at(&line),
				   sbx_buf_len(&line));
	r = line.err ? line.err : b.err;
	if (!r)
		r = sbx_ws_send_text(s->ws, (char *)sbx_buf_at(&b));
	sbx_buf_release(&line);
	sbx_buf_release(&b);
	return r;
}

/* Messages of one connection are heard in order, so nothing need be waited
 * for in between. */
static void stream_launch(struct csdk_stream *s)
{
	if (!s->terminal || !s->ws_is_open)
		return;
	s->phase = CSDK_LAUNCH;
	uv_timer_start(&s->timer, on_late, LAUNCH_MS, 0);
	if (say_subscribe(s) < 0 || say_launch(s) < 0)
		csdk_stream_fail(s, -EIO, SBX_RETRY_CONNECTION,
				 "the command could not be sent");
}

static void on_ws_open(void *arg)
{
	struct csdk_stream *s = arg;

	s->ws_is_open = true;
	if (s->phase == CSDK_MAKE)
		stream_launch(s);
}

static void on_ws_close(void *arg, const struct sbx_ws_end *end)
{
	struct csdk_stream *s = arg;
	struct sbx_error e = s->error.err ? s->error : end->error;

	s->ws = NULL;
	s->ws_is_open = false;
	uv_timer_stop(&s->timer);
	if (s->phase == CSDK_END) {
		stream_finish(s);
		return;
	}
	s->error = (struct sbx_error){0};
	if (s->phase == CSDK_RUN) {
		e.retry = SBX_RETRY_CONNECTION;
		stream_fail_with(s, &e);
	} else {
		stream_again(s, &e);
	}
}

static const struct sbx_ws_handler ws_handler = {
	.on_open = on_ws_open,
	.on_message = on_ws_message,
	.on_close = on_ws_close,
};

static void stream_connect(struct csdk_stream *s)
{
	struct sbx_ws_conf conf = {
		.ping_ms = PING_MS,
		.pong_ms = PONG_MS,
		.max_message = MAX_MESSAGE,
		.max_queue = SBX_STREAM_QUEUE,
	};

	s->ws = csdk_box_socket(s->box, &conf, &ws_handler, s);
}

static void on_made(void *arg, const struct sbx_answer *answer)
{
	struct csdk_stream *s = arg;
	const char *id = sbx_json_str(sbx_csdk_data(answer->json), "id");
	struct sbx_error e = answer->error;

	s->request = NULL;
	if (!e.err && !sbx_csdk_thing_is_valid(id))
		sbx_error_wonder(&e, s->box->place.url, "a ComputeSDK daemon",
				 "it made no terminal");
	if (!e.err) {
		s->terminal = strdup(id);
		if (s->terminal)
			stream_launch(s);
		else
			stream_no_memory(s);
	} else if (e.err == -EOPNOTSUPP || e.err == -EPROTO) {
		stream_fail_with(s, &e);
	} else {
		stream_give_up_attempt(s, e.err, e.text);
	}
}

static void stream_make(struct csdk_stream *s)
{
	struct sbx_request_conf conf = {
		.method = "POST",
		.path = "/terminals",
		.body = "{\"pty\":true,\"shell\":\"/bin/sh\","
			"\"encoding\":\"raw\"}",
		.deadline = uv_now(s->x->rest.loop) + MAKE_MS,
		.wants_json = true,
		.to = s->box,
	};

	s->phase = CSDK_MAKE;
	s->error = (struct sbx_error){0};
	uv_timer_start(&s->timer, on_late, MAKE_MS, 0);
	stream_connect(s);
	if (!s->ws) {
		csdk_stream_fail(s, -EAGAIN, SBX_RETRY_LATER,
				 "no more connections can be made now");
		return;
	}
	s->request = sbx_request_start(&s->x->rest, &conf, on_made, s);
	if (!s->request)
		stream_no_memory(s);
}

static void on_reached(void *arg, const struct sbx_error *error)
{
	struct csdk_stream *s = arg;

	if (s->phase != CSDK_REACH)
		return;
	if (error->err)
		stream_fail_with(s, error);
	else
		stream_make(s);
}

static void stream_reach(struct csdk_stream *s)
{
	s->wait.fn = on_reached;
	s->wait.arg = s;
	csdk_reach(s->box, &s->wait, s->give_up);
}

/* ---- opening ---- */

static struct csdk_stream *stream_new(struct csdk *x, struct csdk_box *b,
				      const struct sbx_stream_handler *h,
				      void *arg)
{
	struct csdk_stream *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->base.svc = &x->rest.base;
	s->x = x;
	s->box = csdk_box_hold(b);
	s->handler = h;
	s->arg = arg;
	s->exit_code = -1;
	s->backoff = (struct sbx_backoff){.first_ms = 200, .max_ms = 2000};
	s->next = x->streams;
	s->link = &x->streams;
	if (s->next)
		s->next->link = &s->next;
	x->streams = s;
	/* room to see that it is too large, not to hold it all */
	sbx_buf_init(&s->command, 256 * 1024);
	csdk_carry_init(s);
	uv_timer_init(x->rest.loop, &s->timer);
	s->timer.data = s;
	sbx_rest_handle_made(&x->rest);
	uv_update_time(x->rest.loop);
	s->give_up = uv_now(x->rest.loop) + PATIENCE_MS;
	return s;
}

struct sbx_stream *csdk_stream_open(struct sbx_service *svc, const char *id,
				    const char *const *argv,
				    const struct sbx_stream_handler *h,
				    void *arg)
{
	struct csdk *x = (struct csdk *)svc;
	bool is_id = sbx_csdk_id_is_valid(id);
	struct csdk_box *b = csdk_box_of(x, is_id ? id : "-");
	struct csdk_stream *s = b ? stream_new(x, b, h, arg) : NULL;
	int r;

	if (!s)
		return NULL;
	r = sbx_csdk_put_command(&s->command, argv);
	if (!is_id)
		csdk_stream_fail(s, -ENOENT, SBX_RETRY_NEVER,
				 "there is no such sandbox");
	else if (r < 0)
		csdk_stream_fail(s, r, SBX_RETRY_NEVER,
				 r == -E2BIG ? "the command with its arguments "
					       "has more than 120 KiB, which "
					       "is too much for one shell"
					     : "out of memory");
	else
		stream_reach(s);
	return &s->base;
}

void csdk_stream_close(struct sbx_stream *stream)
{
	csdk_stream_fail((struct csdk_stream *)stream, -ECANCELED,
			 SBX_RETRY_NEVER, "the stream was closed");
}

void csdk_streams_cancel(struct sbx_rest *rest)
{
	struct csdk *x = (struct csdk *)rest;
	struct csdk_stream *s, *next;
	struct csdk_box *b;

	for (b = x->boxes; b; b = b->next)
		csdk_reach_stop(b);
	csdk_events_cancel(x);
	for (s = x->streams; s; s = next) {
		next = s->next;
		csdk_stream_close(&s->base);
	}
}
