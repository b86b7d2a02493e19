/*
 * A command in a sandbox over a WebSocket of its own (or other requests, see
 * xgen_talk_open): connect, wait for
 * SandboxReady, start it, then bytes both ways.  What may be a passing
 * condition before the command has started (the sandbox says that it is not
 * ready, or its sidecar cannot be reached) is tried again for a short while;
 * nothing is once it runs.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cleanup.h"
#include "client/log.h"
#include "client/retry.h"
#include "client/svc_xgen.h"
#include "client/wire/buf.h"

#define READY_MS 10000
#define START_MS 30000
/* for trying again */
#define PATIENCE_MS 15000
#define MAX_SIDECAR 3 /* times that the sidecar may be out of reach */
#define MAX_RUNTIME 3 /* ... that what commands run in is not found */
#define START_ID    1 /* of the only request on each connection */
#define CONFIRM_MS  10000

enum phase {
	PHASE_CONNECT,
	PHASE_READY, /* connected, waiting for SandboxReady */
	PHASE_START, /* ExecStart is out */
	PHASE_RUN,
	PHASE_END, /* on_end is due */
};

struct xgen_stream {
	struct sbx_stream base;
	struct xgen *x;
	struct xgen_stream *next, **link;
	const struct sbx_stream_handler *handler;
	xgen_message_fn *on_message; /* NULL: it runs a command */
	void *arg;
	char *id;

	enum phase phase;
	struct sbx_ws *ws;
	uv_timer_t timer;
	struct xgen_auth_wait wait;
	struct sbx_call *confirm; /* is the sandbox really gone? */
	unsigned int generation, refusals, no_sidecar, no_runtime;
	uint64_t give_up;
	struct sbx_backoff backoff;
	bool paused;

	struct sbx_buf start; /* the ExecStart message */
	uint32_t channel, process;
	int exit_code;
	struct sbx_error error;
};

static void stream_connect(struct xgen_stream *s);

/* ---- the end ---- */

static void on_timer_closed(uv_handle_t *handle)
{
	struct xgen_stream *s = handle->data;
	struct xgen *x = s->x;

	sbx_buf_release(&s->start);
	free(s->id);
	free(s);
	sbx_rest_handle_closed(&x->rest);
}

static void stream_finish(struct xgen_stream *s)
{
	*s->link = s->next;
	if (s->next)
		s->next->link = s->link;
	xgen_auth_unwait(&s->wait);
	if (s->confirm)
		s->confirm->arg = NULL;
	uv_timer_stop(&s->timer);
	s->handler->on_end(s->arg, s->exit_code, &s->error);
	uv_close((uv_handle_t *)&s->timer, on_timer_closed);
}

static void on_end_due(uv_timer_t *timer)
{
	stream_finish(timer->data);
}

/* Ends it as s->error and s->exit_code say; on_end follows from the loop. */
static void stream_end(struct xgen_stream *s)
{
	s->phase = PHASE_END;
	if (s->ws)
		sbx_ws_close(s->ws); /* its on_close finishes */
	else
		uv_timer_start(&s->timer, on_end_due, 0, 0);
}

static void stream_fail(struct xgen_stream *s, int err, enum sbx_retry retry,
			const char *text)
{
	if (s->phase == PHASE_END)
		return;
	sbx_error_set(&s->error, err, "%s", text);
	s->error.retry = retry;
	stream_end(s);
}

static void on_ready_timeout(uv_timer_t *timer)
{
	stream_fail(timer->data, -ETIMEDOUT, SBX_RETRY_CONNECTION,
		    "the sandbox does not answer");
}

/* ---- messages ---- */

static void stream_run(struct xgen_stream *s)
{
	uv_timer_stop(&s->timer);
	s->phase = PHASE_RUN;
	if (s->paused)
		sbx_ws_pause(s->ws, true);
	s->handler->on_open(s->arg);
}

static void stream_start(struct xgen_stream *s)
{
	int r;

	if (s->on_message) {
		stream_run(s);
		return;
	}
	s->phase = PHASE_START;
	uv_timer_start(&s->timer, on_ready_timeout, START_MS, 0);
	r = sbx_ws_send(s->ws, NULL, 0, sbx_buf_at(&s->start),
			sbx_buf_len(&s->start));
	if (r < 0)
		stream_fail(s, r, SBX_RETRY_CONNECTION,
			    "the command could not be sent");
}

static void stream_on_ack(struct xgen_stream *s, const struct sbx_xgen_msg *m)
{
	if (s->phase != PHASE_START || m->id != START_ID)
		return;
	if (sbx_xgen_read_ack(m, &s->process) < 0) {
		stream_fail(s, -EPROTO, SBX_RETRY_NEVER,
			    "the sandbox answered nonsense to a command");
		return;
	}
	stream_run(s);
}

static void stream_on_error(struct xgen_stream *s, const struct sbx_xgen_msg *m)
{
	if (s->phase != PHASE_START || m->id != START_ID)
		return;
	if (sbx_xgen_read_error(m, &s->error) < 0)
		sbx_error_set(&s->error, -EIO, "the sandbox refused a command");
	/* a sandbox that has just been made may not be all there yet */
	if (s->error.err == -EOPNOTSUPP && ++s->no_runtime < MAX_RUNTIME) {
		s->phase = PHASE_CONNECT;
		sbx_ws_close(s->ws);
	} else {
		stream_end(s);
	}
}

static void stream_on_exit(struct xgen_stream *s, const struct sbx_xgen_msg *m)
{
	if (sbx_xgen_read_exit(m, &s->exit_code) < 0) {
		stream_fail(s, -EPROTO, SBX_RETRY_NEVER,
			    "the sandbox told the end of a command in words "
			    "that make no sense");
		return;
	}
	s->error = (struct sbx_error){0};
	stream_end(s);
}

static void stream_on_output(struct xgen_stream *s,
			     const struct sbx_xgen_msg *m, int fd)
{
	if (m->len)
		s->handler->on_data(s->arg, fd, m->payload, m->len);
}

static void on_ws_message(void *arg, const void *data, size_t len)
{
	struct xgen_stream *s = arg;
	struct sbx_xgen_msg m;
	bool ours;

	if (s->phase == PHASE_END || sbx_xgen_read(&m, data, len) < 0)
		return;
	if (s->phase == PHASE_RUN && s->on_message) {
		s->on_message(s->arg, &m);
		return;
	}
	ours = s->phase == PHASE_RUN && m.channel == s->channel;
	switch (m.type) {
	case SBX_XGEN_READY:
		if (s->phase == PHASE_READY)
			stream_start(s);
		break;
	case SBX_XGEN_ACK:
		stream_on_ack(s, &m);
		break;
	case SBX_XGEN_ERROR:
		stream_on_error(s, &m);
		break;
	case SBX_XGEN_EXEC_STDOUT:
		if (ours)
			stream_on_output(s, &m, 1);
		break;
	case SBX_XGEN_EXEC_STDERR:
		if (ours)
			stream_on_output(s, &m, 2);
		break;
	case SBX_XGEN_EXEC_EXIT:
		if (ours)
			stream_on_exit(s, &m);
		break;
	default:
		break; /* events, which we do not ask for here */
	}
}

static void on_ws_open(void *arg)
{
	struct xgen_stream *s = arg;

	s->phase = PHASE_READY;
	uv_timer_start(&s->timer, on_ready_timeout, READY_MS, 0);
}

static void on_ws_writable(void *arg)
{
	struct xgen_stream *s = arg;

	if (s->phase == PHASE_RUN && s->handler->on_writable)
		s->handler->on_writable(s->arg);
}

/* ---- when the connection ends ---- */

static void on_retry(uv_timer_t *timer)
{
	stream_connect(timer->data);
}

/* Connects again after a pause; false when it has been tried long enough. */
static bool stream_again(struct xgen_stream *s, uint64_t ms)
{
	if (s->phase == PHASE_RUN || s->x->rest.closing ||
	    uv_now(s->x->rest.loop) + ms > s->give_up)
		return false;
	s->phase = PHASE_CONNECT;
	uv_timer_start(&s->timer, on_retry, ms, 0);
	return true;
}

static void on_confirmed(struct sbx_call *call)
{
	struct xgen_stream *s = call->arg;
	struct sbx_error e = call->error;

	sbx_call_free(call);
	if (!s)
		return;
	s->confirm = NULL;
	if (s->phase == PHASE_END)
		return;
	if (e.err) {
		s->error = e;
		stream_end(s);
	} else {
		stream_fail(s, -EAGAIN, SBX_RETRY_LATER,
			    "the service does not find the sandbox to connect "
			    "to, though it lists it");
	}
}

/* "404" at a handshake is no proof either: see svc_xgen_calls.c. */
static void stream_confirm_gone(struct xgen_stream *s)
{
	s->confirm = sbx_call_new(SBX_CALL_GET, s->id);
	if (!s->confirm) {
		stream_fail(s, -ENOMEM, SBX_RETRY_LATER, "out of memory");
		return;
	}
	s->confirm->timeout_ms = CONFIRM_MS;
	s->confirm->done = on_confirmed;
	s->confirm->arg = s;
	sbx_calls_submit(&s->x->rest.base, s->confirm);
}

static void stream_refused(struct xgen_stream *s, const struct sbx_ws_end *end)
{
	int status = end->error.status;

	if (status == 401 && s->refusals++ == 0 &&
	    xgen_auth_refused(s->x, s->generation) && stream_again(s, 0))
		return;
	if ((status == 503 || status == 502) &&
	    stream_again(s, sbx_backoff_next(&s->backoff)))
		return;
	if (status == 429 && stream_again(s, sbx_random_between(1000, 5000)))
		return;
	if (status == 404) {
		stream_confirm_gone(s);
		return;
	}
	s->error = end->error;
	stream_end(s);
}

static void stream_closed(struct xgen_stream *s, const struct sbx_ws_end *end)
{
	if (end->code == 1009) {
		stream_fail(s, s->phase == PHASE_RUN ? -EPROTO : -E2BIG,
			    SBX_RETRY_CONNECTION,
			    "the service found a message too large");
		return;
	}
	/* the service could not reach the inside of the sandbox */
	if (end->code == 1011 && s->phase != PHASE_RUN &&
	    ++s->no_sidecar < MAX_SIDECAR &&
	    stream_again(s, sbx_backoff_next(&s->backoff)))
		return;
	if (end->code == 1011) {
		stream_fail(s, -EIO, SBX_RETRY_LATER,
			    "the inside of the sandbox cannot be reached; it "
			    "may be broken for good");
		return;
	}
	s->error = end->error;
	stream_end(s);
}

static void stream_no_runtime(struct xgen_stream *s)
{
	struct sbx_error why = s->error;

	s->error = (struct sbx_error){0};
	if (stream_again(s, sbx_backoff_next(&s->backoff)))
		return;
	s->error = why;
	stream_end(s);
}

static void on_ws_close(void *arg, const struct sbx_ws_end *end)
{
	struct xgen_stream *s = arg;

	s->ws = NULL;
	uv_timer_stop(&s->timer);
	if (s->phase == PHASE_END)
		stream_finish(s);
	else if (s->phase == PHASE_CONNECT && s->error.err)
		stream_no_runtime(s);
	else if (end->error.status)
		stream_refused(s, end);
	else
		stream_closed(s, end);
}

static const struct sbx_ws_handler ws_handler = {
	.on_open = on_ws_open,
	.on_message = on_ws_message,
	.on_writable = on_ws_writable,
	.on_close = on_ws_close,
};

/* ---- the beginning ---- */

static void on_credentials(void *arg, const struct sbx_error *error)
{
	struct xgen_stream *s = arg;

	if (!error->err) {
		stream_connect(s);
		return;
	}
	s->error = *error;
	stream_end(s);
}

static struct sbx_ws *stream_socket(struct xgen_stream *s, const char *url)
{
	struct sbx_ws_conf conf = {.url = url,
				   .auth_scheme = xgen_auth_scheme(s->x),
				   .auth = xgen_auth_secret(s->x),
				   .max_queue = SBX_STREAM_QUEUE};

	s->generation = s->x->auth.generation;
	return sbx_rest_socket(&s->x->rest, &conf, &ws_handler, s);
}

static void stream_connect(struct xgen_stream *s)
{
	SBX_FREE char *url = NULL;

	if (!xgen_auth_ready(s->x, &s->wait))
		return;
	s->phase = PHASE_CONNECT;
	if (asprintf(&url, "%s/api/v%d/sandboxes/%s/ws", s->x->rest.url,
		     s->x->version, s->id) < 0)
		url = NULL;
	if (url)
		s->ws = stream_socket(s, url);
	if (!s->ws)
		stream_fail(s, -EAGAIN, SBX_RETRY_LATER,
			    "no more connections can be made now");
}

/* What is wrong from the outset; 0 if nothing is. */
static int stream_prepare(struct xgen_stream *s, const char *const *argv)
{
	int r;

	if (!sbx_is_id(s->id))
		return sbx_error_set(&s->error, -ENOENT,
				     "there is no such sandbox");
	if (s->on_message)
		return 0;
	s->channel = sbx_random_between(SBX_XGEN_OWN_CHANNEL, UINT32_MAX);
	/* room to see that it is too large, not to hold it all */
	sbx_buf_init(&s->start, 2 * SBX_XGEN_MAX_MESSAGE);
	r = sbx_xgen_put_start(&s->start, s->channel, START_ID, argv,
			       xgen_env_find(s->x, s->id));
	if (r == -E2BIG)
		sbx_error_set(&s->error, r,
			      "the command with its arguments and environment "
			      "has more than 32 KiB, which the service does "
			      "not take");
	else if (r < 0)
		sbx_error_set(&s->error, r, "out of memory");
	return r;
}

static struct sbx_stream *stream_new(struct xgen *x, const char *id,
				     const char *const *argv,
				     const struct sbx_stream_handler *h,
				     xgen_message_fn *on_message, void *arg)
{
	struct xgen_stream *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->id = strdup(id);
	if (!s->id) {
		free(s);
		return NULL;
	}
	s->base.svc = &x->rest.base;
	s->x = x;
	s->handler = h;
	s->on_message = on_message;
	s->arg = arg;
	s->exit_code = -1;
	s->wait.fn = on_credentials;
	s->wait.arg = s;
	s->backoff = (struct sbx_backoff){.first_ms = 250, .max_ms = 2000};
	s->next = x->streams;
	s->link = &x->streams;
	if (s->next)
		s->next->link = &s->next;
	x->streams = s;
	uv_timer_init(x->rest.loop, &s->timer);
	s->timer.data = s;
	sbx_rest_handle_made(&x->rest);
	uv_update_time(x->rest.loop);
	s->give_up = uv_now(x->rest.loop) + PATIENCE_MS;
	if (stream_prepare(s, argv) < 0)
		stream_end(s);
	else
		uv_timer_start(&s->timer, on_retry, 0, 0);
	return &s->base;
}

struct sbx_stream *xgen_stream_open(struct sbx_service *svc, const char *id,
				    const char *const *argv,
				    const struct sbx_stream_handler *h,
				    void *arg)
{
	return stream_new((struct xgen *)svc, id, argv, h, NULL, arg);
}

struct sbx_stream *xgen_talk_open(struct xgen *x, const char *id,
				  const struct sbx_stream_handler *h,
				  xgen_message_fn *on_message, void *arg)
{
	return stream_new(x, id, NULL, h, on_message, arg);
}

/* ---- in between ---- */

int xgen_talk_send(struct sbx_stream *stream, const struct sbx_buf *message)
{
	struct xgen_stream *s = (struct xgen_stream *)stream;

	if (s->phase != PHASE_RUN || !s->ws)
		return -ENOTCONN;
	return sbx_ws_send(s->ws, NULL, 0, sbx_buf_at(message),
			   sbx_buf_len(message));
}

int xgen_stream_send(struct sbx_stream *stream, const void *data, size_t len)
{
	struct xgen_stream *s = (struct xgen_stream *)stream;
	uint8_t head[SBX_XGEN_STDIN_HEAD];

	if (s->phase != PHASE_RUN || !s->ws)
		return -ENOTCONN;
	if (len > SBX_XGEN_MAX_STDIN)
		return -EMSGSIZE;
	if (!len)
		return 0;
	sbx_xgen_stdin_head(head, s->channel, s->process);
	return sbx_ws_send(s->ws, head, sizeof(head), data, len);
}

void xgen_stream_pause(struct sbx_stream *stream, bool paused)
{
	struct xgen_stream *s = (struct xgen_stream *)stream;

	s->paused = paused;
	if (s->phase == PHASE_RUN && s->ws)
		sbx_ws_pause(s->ws, paused);
}

/* The service lets a command go on when its connection ends.  Whether the
 * signal arrives, and helps, is not known; its stdin is closed by it. */
static void stream_terminate(struct xgen_stream *s)
{
	struct sbx_buf b;

	sbx_buf_init(&b, 256);
	if (sbx_xgen_put_signal(&b, s->channel, s->process, "SIGTERM") == 0)
		sbx_ws_send(s->ws, NULL, 0, sbx_buf_at(&b), sbx_buf_len(&b));
	sbx_buf_release(&b);
}

void xgen_stream_close(struct sbx_stream *stream)
{
	struct xgen_stream *s = (struct xgen_stream *)stream;

	if (s->phase == PHASE_RUN && s->ws && !s->on_message)
		stream_terminate(s);
	stream_fail(s, -ECANCELED, SBX_RETRY_NEVER, "the stream was closed");
}

void xgen_streams_cancel(struct sbx_rest *rest)
{
	struct xgen *x = (struct xgen *)rest;
	struct xgen_stream *s, *next;

	for (s = x->streams; s; s = next) {
		next = s->next;
		xgen_stream_close(&s->base);
	}
}
