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
#include "client/random.h"
#include "client/rest_stream.h"
#include "client/svc_xgen.h"
#include "client/wire/buf.h"

#define READY_MS 10000
#define START_MS 30000
/* for trying again */
#define PATIENCE_MS 15000
#define MAX_SIDECAR 3 /* times that the sidecar may be out of reach */
#define MAX_RUNTIME 3 /* ... that nothing could be started there */
#define START_ID    1 /* of the only request on each connection */
#define CONFIRM_MS  10000

enum phase {
	PHASE_CONNECT,
	PHASE_READY, /* connected, waiting for SandboxReady */
	PHASE_START, /* ExecStart is out */
	PHASE_RUN,
};

struct xgen_stream {
	struct sbx_rest_stream base;
	struct xgen *x;
	xgen_message_fn *on_message; /* NULL: it runs a command */
	char *id;

	struct xgen_auth_wait wait;
	struct sbx_call *confirm; /* is the sandbox really gone? */
	unsigned int generation, refusals, no_sidecar, no_runtime;
	struct sbx_error why; /* there was nothing to run it in */

	struct sbx_buf start; /* the ExecStart message */
	uint32_t channel, process;
};

static void stream_connect(struct xgen_stream *s);

static void stream_release(struct sbx_rest_stream *base)
{
	struct xgen_stream *s = (struct xgen_stream *)base;

	xgen_auth_unwait(&s->wait);
	if (s->confirm)
		s->confirm->arg = NULL;
	sbx_buf_release(&s->start);
	free(s->id);
}

static const struct sbx_rest_stream_type stream_type = {
	.release = stream_release,
	.close = xgen_stream_close,
};

static void on_ready_timeout(uv_timer_t *timer)
{
	sbx_rest_stream_fail(timer->data, -ETIMEDOUT, SBX_RETRY_CONNECTION,
			     "the sandbox does not answer");
}

/* ---- messages ---- */

static void stream_run(struct xgen_stream *s)
{
	uv_timer_stop(&s->base.timer);
	s->base.phase = PHASE_RUN;
	if (s->base.paused)
		sbx_ws_pause(s->base.ws, true);
	s->base.handler->on_open(s->base.arg);
}

static void stream_start(struct xgen_stream *s)
{
	int r;

	if (s->on_message) {
		stream_run(s);
		return;
	}
	s->base.phase = PHASE_START;
	uv_timer_start(&s->base.timer, on_ready_timeout, START_MS, 0);
	r = sbx_ws_send(s->base.ws, NULL, 0, sbx_buf_at(&s->start),
			sbx_buf_len(&s->start));
	if (r < 0)
		sbx_rest_stream_fail(&s->base, r, SBX_RETRY_CONNECTION,
				     "the command could not be sent");
}

static void stream_on_ack(struct xgen_stream *s, const struct sbx_xgen_msg *m)
{
	if (s->base.phase != PHASE_START || m->id != START_ID)
		return;
	if (sbx_xgen_read_ack(m, &s->process) < 0) {
		sbx_rest_stream_fail(
			&s->base, -EPROTO, SBX_RETRY_NEVER,
			"the sandbox answered nonsense to a command");
		return;
	}
	stream_run(s);
}

static void stream_on_error(struct xgen_stream *s, const struct sbx_xgen_msg *m)
{
	if (s->base.phase != PHASE_START || m->id != START_ID)
		return;
	if (sbx_xgen_read_error(m, &s->why) < 0)
		sbx_error_set(&s->why, -EIO, "the sandbox refused a command");
	/* a sandbox that has just been made may not be all there yet */
	if ((s->why.err == -EOPNOTSUPP || s->why.retry == SBX_RETRY_LATER) &&
	    ++s->no_runtime < MAX_RUNTIME) {
		s->base.phase = PHASE_CONNECT;
		sbx_ws_close(s->base.ws);
	} else {
		sbx_rest_stream_end(&s->base, &s->why);
	}
}

static void stream_on_exit(struct xgen_stream *s, const struct sbx_xgen_msg *m)
{
	int code;

	if (sbx_xgen_read_exit(m, &code) < 0) {
		sbx_rest_stream_fail(
			&s->base, -EPROTO, SBX_RETRY_NEVER,
			"the sandbox told the end of a command in words "
			"that make no sense");
		return;
	}
	sbx_rest_stream_done(&s->base, code);
}

static void stream_on_output(struct xgen_stream *s,
			     const struct sbx_xgen_msg *m, int fd)
{
	if (m->len)
		s->base.handler->on_data(s->base.arg, fd, m->payload, m->len);
}

static void on_ws_message(void *arg, const void *data, size_t len)
{
	struct xgen_stream *s = arg;
	struct sbx_xgen_msg m;
	bool ours;

	if (sbx_rest_stream_is_over(&s->base) ||
	    sbx_xgen_read(&m, data, len) < 0)
		return;
	if (s->base.phase == PHASE_RUN && s->on_message) {
		s->on_message(s->base.arg, &m);
		return;
	}
	ours = s->base.phase == PHASE_RUN && m.channel == s->channel;
	switch (m.type) {
	case SBX_XGEN_READY:
		if (s->base.phase == PHASE_READY)
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

	s->base.phase = PHASE_READY;
	uv_timer_start(&s->base.timer, on_ready_timeout, READY_MS, 0);
}

static void on_ws_writable(void *arg)
{
	struct xgen_stream *s = arg;

	if (s->base.phase == PHASE_RUN && s->base.handler->on_writable)
		s->base.handler->on_writable(s->base.arg);
}

/* ---- when the connection ends ---- */

static void on_retry(uv_timer_t *timer)
{
	stream_connect(timer->data);
}

/* Connects again after a pause; false when it has been tried long enough. */
static bool stream_again(struct xgen_stream *s, uint64_t ms)
{
	if (s->base.phase == PHASE_RUN || s->base.rest->closing ||
	    uv_now(s->base.rest->loop) + ms > s->base.give_up)
		return false;
	s->base.phase = PHASE_CONNECT;
	uv_timer_start(&s->base.timer, on_retry, ms, 0);
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
	if (sbx_rest_stream_is_over(&s->base))
		return;
	if (e.err) {
		sbx_rest_stream_end(&s->base, &e);
	} else {
		sbx_rest_stream_fail(
			&s->base, -EAGAIN, SBX_RETRY_LATER,
			"the service does not find the sandbox to connect "
			"to, though it lists it");
	}
}

/* "404" at a handshake is no proof either: see svc_xgen_calls.c. */
static void stream_confirm_gone(struct xgen_stream *s)
{
	s->confirm = sbx_call_new(SBX_CALL_GET, s->id);
	if (!s->confirm) {
		sbx_rest_stream_no_memory(&s->base);
		return;
	}
	s->confirm->timeout_ms = CONFIRM_MS;
	s->confirm->done = on_confirmed;
	s->confirm->arg = s;
	sbx_calls_submit(&s->base.rest->base, s->confirm);
}

static void stream_refused(struct xgen_stream *s, const struct sbx_ws_end *end)
{
	int status = end->error.status;

	if (status == 401 && s->refusals++ == 0 &&
	    xgen_auth_refused(s->x, s->generation) && stream_again(s, 0))
		return;
	if ((status == 503 || status == 502) &&
	    stream_again(s, sbx_backoff_next(&s->base.backoff)))
		return;
	if (status == 429 && stream_again(s, sbx_random_between(1000, 5000)))
		return;
	if (status == 404) {
		stream_confirm_gone(s);
		return;
	}
	sbx_rest_stream_end(&s->base, &end->error);
}

static void stream_closed(struct xgen_stream *s, const struct sbx_ws_end *end)
{
	if (end->code == 1009) {
		sbx_rest_stream_fail(
			&s->base, s->base.phase == PHASE_RUN ? -EPROTO : -E2BIG,
			SBX_RETRY_CONNECTION,
			"the service found a message too large");
		return;
	}
	/* the service could not reach the inside of the sandbox */
	if (end->code == 1011 && s->base.phase != PHASE_RUN &&
	    ++s->no_sidecar < MAX_SIDECAR &&
	    stream_again(s, sbx_backoff_next(&s->base.backoff)))
		return;
	if (end->code == 1011) {
		sbx_rest_stream_fail(
			&s->base, -EIO, SBX_RETRY_LATER,
			"the inside of the sandbox cannot be reached; it "
			"may be broken for good");
		return;
	}
	sbx_rest_stream_end(&s->base, &end->error);
}

static void stream_no_runtime(struct xgen_stream *s)
{
	struct sbx_error why = s->why;

	s->why = (struct sbx_error){0};
	if (!stream_again(s, sbx_backoff_next(&s->base.backoff)))
		sbx_rest_stream_end(&s->base, &why);
}

static void on_ws_close(void *arg, const struct sbx_ws_end *end)
{
	struct xgen_stream *s = arg;

	if (!sbx_rest_stream_lost_ws(&s->base))
		return;
	if (s->base.phase == PHASE_CONNECT && s->why.err)
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

	if (error->err)
		sbx_rest_stream_end(&s->base, error);
	else if (!sbx_rest_stream_is_over(&s->base))
		stream_connect(s);
}

static struct sbx_ws *stream_socket(struct xgen_stream *s, const char *url)
{
	struct sbx_ws_conf conf = {.url = url,
				   .auth_scheme = xgen_auth_scheme(s->x),
				   .auth = xgen_auth_secret(s->x),
				   .max_queue = SBX_STREAM_QUEUE};

	s->generation = s->x->auth.generation;
	return sbx_rest_socket(s->base.rest, &conf, &ws_handler, s);
}

static void stream_connect(struct xgen_stream *s)
{
	SBX_FREE char *url = NULL;

	if (!xgen_auth_ready(s->x, &s->wait))
		return;
	s->base.phase = PHASE_CONNECT;
	if (asprintf(&url, "%s/api/v%d/sandboxes/%s/ws", s->x->rest.url,
		     s->x->version, s->id) < 0)
		url = NULL;
	if (url)
		s->base.ws = stream_socket(s, url);
	if (!s->base.ws)
		sbx_rest_stream_fail(&s->base, -EAGAIN, SBX_RETRY_LATER,
				     "no more connections can be made now");
}

static const char *prepare_text(int r)
{
	if (r == -ENOENT)
		return "there is no such sandbox";
	if (r == -E2BIG)
		return "the command with its arguments and environment has "
		       "more than 32 KiB, which the service does not take";
	return "out of memory";
}

/* What is wrong from the outset; 0 if nothing is. */
static int stream_prepare(struct xgen_stream *s, const char *const *argv)
{
	if (!sbx_is_id(s->id))
		return -ENOENT;
	if (s->on_message)
		return 0;
	s->channel = sbx_random_between(SBX_XGEN_OWN_CHANNEL, UINT32_MAX);
	/* room to see that it is too large, not to hold it all */
	sbx_buf_init(&s->start, 2 * SBX_XGEN_MAX_MESSAGE);
	return sbx_xgen_put_start(&s->start, s->channel, START_ID, argv,
				  xgen_env_find(s->x, s->id));
}

static struct sbx_stream *stream_new(struct xgen *x, const char *id,
				     const char *const *argv,
				     const struct sbx_stream_handler *h,
				     xgen_message_fn *on_message, void *arg)
{
	struct xgen_stream *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return NULL;
	s->id = strdup(id);
	if (!s->id) {
		free(s);
		return NULL;
	}
	sbx_rest_stream_init(&s->base, &stream_type, &x->rest, PATIENCE_MS, h,
			     arg);
	s->x = x;
	s->on_message = on_message;
	s->wait.fn = on_credentials;
	s->wait.arg = s;
	r = stream_prepare(s, argv);
	if (r < 0)
		sbx_rest_stream_fail(&s->base, r, SBX_RETRY_NEVER,
				     prepare_text(r));
	else
		uv_timer_start(&s->base.timer, on_retry, 0, 0);
	return &s->base.base;
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

	if (s->base.phase != PHASE_RUN || !s->base.ws)
		return -ENOTCONN;
	return sbx_ws_send(s->base.ws, NULL, 0, sbx_buf_at(message),
			   sbx_buf_len(message));
}

int xgen_stream_send(struct sbx_stream *stream, const void *data, size_t len)
{
	struct xgen_stream *s = (struct xgen_stream *)stream;
	uint8_t head[SBX_XGEN_STDIN_HEAD];

	if (s->base.phase != PHASE_RUN || !s->base.ws)
		return -ENOTCONN;
	if (len > SBX_XGEN_MAX_STDIN)
		return -EMSGSIZE;
	if (!len)
		return 0;
	sbx_xgen_stdin_head(head, s->channel, s->process);
	return sbx_ws_send(s->base.ws, head, sizeof(head), data, len);
}

void xgen_stream_pause(struct sbx_stream *stream, bool paused)
{
	struct xgen_stream *s = (struct xgen_stream *)stream;

	s->base.paused = paused;
	if (s->base.phase == PHASE_RUN && s->base.ws)
		sbx_ws_pause(s->base.ws, paused);
}

/* The service lets a command go on when its connection ends.  Whether the
 * signal arrives, and helps, is not known; its stdin is closed by it. */
static void stream_terminate(struct xgen_stream *s)
{
	struct sbx_buf b;

	sbx_buf_init(&b, 256);
	if (sbx_xgen_put_signal(&b, s->channel, s->process, "SIGTERM") == 0)
		sbx_ws_send(s->base.ws, NULL, 0, sbx_buf_at(&b),
			    sbx_buf_len(&b));
	sbx_buf_release(&b);
}

void xgen_stream_close(struct sbx_stream *stream)
{
	struct xgen_stream *s = (struct xgen_stream *)stream;

	if (s->base.phase == PHASE_RUN && s->base.ws && !s->on_message)
		stream_terminate(s);
	sbx_rest_stream_close(stream);
}
