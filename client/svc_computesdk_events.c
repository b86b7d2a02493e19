/*
 * What happens at a daemon, as streams of lines of JSON: watchers, signals,
 * and the output of its terminals as it is.  From the moment of subscribing;
 * nothing is replayed.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cleanup.h"
#include "client/json.h"
#include "client/svc_computesdk.h"

#define PATIENCE_MS 30000
#define PING_MS	    20000
#define PONG_MS	    30000
#define MAX_MESSAGE (8u << 20) /* a watcher's may hold a file */

struct csdk_events {
	struct sbx_stream base;
	struct csdk *x;
	struct csdk_events *next, **link;
	const struct sbx_stream_handler *handler;
	void *arg;
	struct csdk_box *box;
	struct csdk_wait wait;
	struct sbx_request *request;
	struct sbx_ws *ws;
	char channel[160];
	bool is_terminal, is_signals, paused;
	char *input; /* for a terminal, until it can be sent */
	uv_timer_t timer;
	struct sbx_error error;
	bool ended;
};

/* ---- the end ---- */

static void on_timer_closed(uv_handle_t *handle)
{
	struct csdk_events *s = handle->data;
	struct sbx_rest *rest = &s->x->rest;

	free(s->input);
	free(s);
	sbx_rest_handle_closed(rest);
}

static void events_finish(struct csdk_events *s)
{
	*s->link = s->next;
	if (s->next)
		s->next->link = s->link;
	csdk_unwait(&s->wait);
	s->request = sbx_request_cancel(s->request);
	csdk_box_let_go(s->box);
	uv_timer_stop(&s->timer);
	s->handler->on_end(s->arg, 0, &s->error);
	uv_close((uv_handle_t *)&s->timer, on_timer_closed);
}

static void on_end_due(uv_timer_t *timer)
{
	events_finish(timer->data);
}

static void events_end(struct csdk_events *s, const struct sbx_error *error)
{
	if (s->ended)
		return;
	s->ended = true;
	if (error)
		s->error = *error;
	if (s->ws)
		sbx_ws_close(s->ws); /* its on_close finishes */
	else
		uv_timer_start(&s->timer, on_end_due, 0, 0);
}

static void events_fail(struct csdk_events *s, int err, const char *text)
{
	struct sbx_error e;

	sbx_error_set(&e, err, "%s", text);
	events_end(s, &e);
}

/* ---- what comes ---- */

static void events_give(struct csdk_events *s, const struct sbx_csdk_message *m)
{
	SBX_FREE char *line = NULL;

	if (s->is_terminal) {
		if (m->kind == SBX_CSDK_OUTPUT && sbx_buf_len(&m->text))
			s->handler->on_data(s->arg, 1, sbx_buf_at(&m->text),
					    sbx_buf_len(&m->text));
		else if (m->kind == SBX_CSDK_ERROR ||
			 m->kind == SBX_CSDK_DESTROYED)
			events_end(s, NULL);
		return;
	}
	line = m->event ? sbx_json_text(m->event, false) : NULL;
	if (!line)
		return;
	s->handler->on_data(s->arg, 1, line, strlen(line));
	if (!s->ended)
		s->handler->on_data(s->arg, 1, "\n", 1);
}

static void on_ws_message(void *arg, const void *data, size_t len)
{
	struct csdk_events *s = arg;
	struct sbx_csdk_message m;

	if (s->ended)
		return;
	if (sbx_csdk_read(&m, data, len) < 0)
		events_fail(s, -EPROTO,
			    "the daemon sent a message that makes no sense");
	else if (!strcmp(m.channel, s->channel))
		events_give(s, &m);
	sbx_csdk_message_release(&m);
}

static int say(struct csdk_events *s, bool input)
{
	struct sbx_buf b;
	int r;

	sbx_buf_init(&b, 512 * 1024);
	if (input)
		sbx_csdk_put_input(&b, s->channel + 9, s->input,
				   strlen(s->input));
	else
		sbx_csdk_put_subscribe(&b, s->channel);
	r = b.err ? b.err : sbx_ws_send_text(s->ws, (char *)sbx_buf_at(&b));
	sbx_buf_release(&b);
	return r;
}

static void on_ws_open(void *arg)
{
	struct csdk_events *s = arg;
	int r;

	if (s->ended)
		return;
	uv_timer_stop(&s->timer);
	r = say(s, false);
	if (r == 0 && s->input)
		r = say(s, true);
	if (r < 0)
		events_fail(s, -EIO, "it could not be asked for");
	else
		s->handler->on_open(s->arg);
	if (s->paused && s->ws)
		sbx_ws_pause(s->ws, true);
}

static void on_ws_close(void *arg, const struct sbx_ws_end *end)
{
	struct csdk_events *s = arg;

	s->ws = NULL;
	if (!s->ended)
		s->error = end->error;
	s->ended = true;
	events_finish(s);
}

static const struct sbx_ws_handler ws_handler = {
	.on_open = on_ws_open,
	.on_message = on_ws_message,
	.on_close = on_ws_close,
};

static void on_late(uv_timer_t *timer)
{
	events_fail(timer->data, -ETIMEDOUT, "the daemon does not answer");
}

static void events_connect(struct csdk_events *s)
{
	struct sbx_ws_conf conf = {
		.ping_ms = PING_MS,
		.pong_ms = PONG_MS,
		.max_message = MAX_MESSAGE,
		.max_queue = SBX_STREAM_QUEUE,
	};

	s->ws = csdk_box_socket(s->box, &conf, &ws_handler, s);
	if (!s->ws)
		events_fail(s, -EAGAIN, "no more connections can be made now");
	else
		uv_timer_start(&s->timer, on_late, PATIENCE_MS, 0);
}

/* ---- the signal service ---- */

static void on_signals(void *arg, const struct sbx_answer *answer)
{
	struct csdk_events *s = arg;

	s->request = NULL;
	/* 500: it is active already */
	if (answer->error.err && answer->error.status != 500)
		events_end(s, &answer->error);
	else
		events_connect(s);
}

static void on_reached(void *arg, const struct sbx_error *error)
{
	struct csdk_events *s = arg;
	struct sbx_request_conf conf = {
		.method = "POST",
		.path = "/signals/start",
		.deadline = uv_now(s->x->rest.loop) + PATIENCE_MS,
		.to = s->box,
	};

	if (s->ended)
		return;
	if (error->err) {
		events_end(s, error);
	} else if (!s->is_signals) {
		events_connect(s);
	} else {
		s->request =
			sbx_request_start(&s->x->rest, &conf, on_signals, s);
		if (!s->request)
			events_fail(s, -ENOMEM, "out of memory");
	}
}

/* ---- opening ---- */

/* Which channel it is that a path in the tree means; false: none. */
static bool events_of(struct csdk_events *s, const char *path)
{
	const char *id = strchr(path, '/') ? strchr(path, '/') + 1 : "";
	size_t len = strcspn(id, "/");
	char name[140] = "";

	if (!strcmp(path, "signals/events")) {
		s->is_signals = true;
		strcpy(s->channel, "signals");
		return true;
	}
	if (len < sizeof(name))
		memcpy(name, id, len);
	s->is_terminal = !strncmp(path, "term/", 5);
	snprintf(s->channel, sizeof(s->channel), "%s:%s",
		 s->is_terminal ? "terminal" : "watcher", name);
	return sbx_csdk_thing_is_valid(name);
}

struct sbx_stream *csdk_events_open(struct sbx_service *svc, const char *id,
				    const char *path, const char *input,
				    size_t len,
				    const struct sbx_stream_handler *h,
				    void *arg)
{
	struct csdk *x = (struct csdk *)svc;
	struct csdk_box *b = csdk_box_of(x, id);
	struct csdk_events *s = b ? calloc(1, sizeof(*s)) : NULL;

	if (!s)
		return NULL;
	s->base.svc = svc;
	s->x = x;
	s->box = csdk_box_hold(b);
	s->handler = h;
	s->arg = arg;
	s->next = x->events;
	s->link = &x->events;
	if (s->next)
		s->next->link = &s->next;
	x->events = s;
	uv_timer_init(x->rest.loop, &s->timer);
	s->timer.data = s;
	sbx_rest_handle_made(&x->rest);
	s->input = len ? strndup(input, len) : NULL;
	if (!events_of(s, path)) {
		events_fail(s, -ENOENT, "there is no such thing");
		return &s->base;
	}
	uv_update_time(x->rest.loop);
	s->wait.fn = on_reached;
	s->wait.arg = s;
	csdk_reach(s->box, &s->wait, uv_now(x->rest.loop) + PATIENCE_MS);
	return &s->base;
}

void csdk_events_pause(struct sbx_stream *stream, bool paused)
{
	struct csdk_events *s = (struct csdk_events *)stream;

	s->paused = paused;
	if (s->ws && !s->ended)
		sbx_ws_pause(s->ws, paused);
}

void csdk_events_close(struct sbx_stream *stream)
{
	events_fail((struct csdk_events *)stream, -ECANCELED,
		    "the stream was closed");
}

void csdk_events_cancel(struct csdk *x)
{
	struct csdk_events *s, *next;

	for (s = x->events; s; s = next) {
		next = s->next;
		csdk_events_close(&s->base);
	}
}
