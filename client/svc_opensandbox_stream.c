/*
 * A command in a sandbox on a PTY WebSocket in pipe mode: find execd, make a
 * session, connect, and give the shell that starts there one line that runs
 * the command and tells its end (svc_opensandbox_wire.h).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cleanup.h"
#include "client/json.h"
#include "client/log.h"
#include "client/svc_opensandbox.h"

#define PATIENCE_MS 30000 /* from stream_open until it runs */
#define ATTACH_MS   15000
/* execd answers nothing while the command does not read its stdin */
#define PONG_MS	    60000
#define PING_MS	    20000
#define WORKSPACE   "/workspace" /* of OpenSandbox's images; else is made */
#define MAX_SESSION 64
#define MAX_HELD    (16u << 20) /* of what came while it was paused */

static void stream_make(struct osb_stream *s);
static void stream_reach(struct osb_stream *s);

/* ---- the end ---- */

static void on_timer_closed(uv_handle_t *handle)
{
	struct osb_stream *s = handle->data;
	struct sbx_rest *rest = &s->x->rest;

	sbx_buf_release(&s->line);
	free(s->session);
	free(s);
	sbx_rest_handle_closed(rest);
}

static void stream_finish(struct osb_stream *s)
{
	*s->link = s->next;
	if (s->next)
		s->next->link = s->link;
	osb_reach_unwait(&s->wait);
	s->request = sbx_request_cancel(s->request);
	s->confirm = sbx_alarm_cancel(s->confirm);
	osb_stream_drop_held(s);
	osb_stream_farewell(s);
	osb_reach_let_go(s->reach);
	uv_timer_stop(&s->timer);
	s->handler->on_end(s->arg, s->exit_code, &s->error);
	uv_close((uv_handle_t *)&s->timer, on_timer_closed);
}

static void on_end_due(uv_timer_t *timer)
{
	stream_finish(timer->data);
}

void osb_stream_end(struct osb_stream *s)
{
	s->phase = OSB_END;
	if (s->ws)
		sbx_ws_close(s->ws); /* its on_close finishes */
	else
		uv_timer_start(&s->timer, on_end_due, 0, 0);
}

void osb_stream_fail(struct osb_stream *s, int err, enum sbx_retry retry,
		     const char *text)
{
	if (s->phase == OSB_END)
		return;
	sbx_error_set(&s->error, err, "%s", text);
	s->error.retry = retry;
	osb_stream_end(s);
}

static void stream_fail_with(struct osb_stream *s, const struct sbx_error *e)
{
	if (s->phase == OSB_END)
		return;
	s->error = *e;
	osb_stream_end(s);
}

/* ---- output ---- */

static void on_out(void *arg, const void *data, size_t len)
{
	struct osb_stream *s = arg;

	if (s->phase != OSB_END)
		s->handler->on_data(s->arg, 1, data, len);
}

static void on_err(void *arg, const void *data, size_t len)
{
	struct osb_stream *s = arg;

	if (s->phase != OSB_END)
		s->handler->on_data(s->arg, 2, data, len);
}

void osb_stream_take(struct osb_stream *s, int fd, const void *data, size_t len)
{
	struct sbx_osb_tail *t = fd == 1 ? &s->out : &s->err;

	sbx_osb_tail_add(t, data, len, fd == 1 ? on_out : on_err, s);
	if (s->phase == OSB_END || !s->out.ended ||
	    !(s->err.ended || s->handler->no_stderr))
		return;
	s->exit_code = s->out.exit_code;
	s->error = (struct sbx_error){0};
	osb_stream_end(s);
}

static void stream_output(struct osb_stream *s, int fd, const void *data,
			  size_t len)
{
	s->received += len;
	if (!len || !s->started)
		return; /* before the line there is nothing of ours */
	if (s->paused)
		osb_stream_hold(s, fd, data, len);
	else
		osb_stream_take(s, fd, data, len);
}

/*
 * What came while nobody was connected, both streams mixed: it must go on
 * exactly where we are.  osb_stream_lost has seen to it that there is only
 * one stream.
 */
static void stream_replay(struct osb_stream *s, const struct sbx_osb_frame *f)
{
	if (f->offset != s->received) {
		osb_stream_fail(s, -ETIMEDOUT, SBX_RETRY_CONNECTION,
				"the connection was lost for too long: some "
				"of the output is gone");
		return;
	}
	stream_output(s, 1, f->data, f->len);
}

static void on_ws_message(void *arg, const void *data, size_t len)
{
	struct osb_stream *s = arg;
	struct sbx_osb_frame f;

	if (s->phase == OSB_END)
		return;
	if (sbx_osb_read_binary(&f, data, len) < 0)
		osb_stream_fail(s, -EPROTO, SBX_RETRY_CONNECTION,
				"execd sent a frame that makes no sense");
	else if (f.kind == SBX_OSB_REPLAY)
		stream_replay(s, &f);
	else if (f.kind == SBX_OSB_DATA)
		stream_output(s, f.fd, f.data, f.len);
}

/* ---- words ---- */

static void stream_start(struct osb_stream *s)
{
	static const uint8_t head = SBX_OSB_STDIN;
	int r = sbx_ws_send(s->ws, &head, 1, sbx_buf_at(&s->line),
			    sbx_buf_len(&s->line));

	if (r < 0) {
		osb_stream_fail(s, r, SBX_RETRY_CONNECTION,
				"the command could not be sent");
		return;
	}
	osb_stream_sent(s, sbx_buf_len(&s->line));
	sbx_buf_release(&s->line);
	s->started = true;
	s->handler->on_open(s->arg);
}

static void stream_connected(struct osb_stream *s)
{
	if (s->phase != OSB_ATTACH)
		return;
	uv_timer_stop(&s->timer);
	s->phase = OSB_RUN;
	if (s->started)
		osb_stream_resumed(s);
	else
		stream_start(s);
	if (s->phase == OSB_RUN && s->paused)
		osb_stream_sip_later(s);
}

/* With the marks still to come it was not the command that ended. */
static void stream_exited(struct osb_stream *s)
{
	osb_stream_fail(s, s->started ? -EIO : -EOPNOTSUPP,
			s->started ? SBX_RETRY_CONNECTION : SBX_RETRY_NEVER,
			"the shell that ran the command in the sandbox was "
			"ended");
}

static void on_ws_text(void *arg, const char *text, size_t len)
{
	struct osb_stream *s = arg;
	struct sbx_osb_frame f;

	if (s->phase == OSB_END || sbx_osb_read_text(&f, text, len) < 0)
		return;
	if (f.kind == SBX_OSB_CONNECTED)
		stream_connected(s);
	else if (f.kind == SBX_OSB_PONG)
		osb_stream_on_pong(s);
	else if (f.kind == SBX_OSB_EXIT)
		stream_exited(s);
	else if (f.kind == SBX_OSB_ERROR)
		stream_fail_with(s, &f.error);
}

static void on_ws_writable(void *arg)
{
	struct osb_stream *s = arg;

	if (s->phase != OSB_RUN || !s->refused)
		return;
	s->refused = false;
	if (s->handler->on_writable)
		s->handler->on_writable(s->arg);
}

/* ---- when it does not come to run ---- */

static void on_again(uv_timer_t *timer)
{
	stream_reach(timer->data);
}

/* From the start, after a pause; fails when it has been tried long enough. */
static void stream_again(struct osb_stream *s, const struct sbx_error *e)
{
	unsigned int ms = sbx_backoff_next(&s->backoff);

	osb_reach_forget(s->reach);
	if (uv_now(s->x->rest.loop) + ms >= s->give_up) {
		stream_fail_with(s, e);
		return;
	}
	s->phase = OSB_REACH;
	uv_timer_start(&s->timer, on_again, ms, 0);
}

static void on_ws_close(void *arg, const struct sbx_ws_end *end)
{
	struct osb_stream *s = arg;

	s->ws = NULL;
	uv_timer_stop(&s->timer);
	if (s->phase == OSB_END)
		stream_finish(s);
	else if (s->phase == OSB_RUN)
		osb_stream_lost(s, &end->error);
	else if (s->started)
		osb_stream_refused(s, end);
	else if (end->error.status == 401)
		osb_stream_fail(s, -EACCES, SBX_RETRY_TOKEN,
				"the execd of the sandbox wants a token");
	else
		stream_again(s, &end->error);
}

/* what counts is execd's own word, which follows */
static void on_ws_open(void *arg)
{
	(void)arg;
}

static const struct sbx_ws_handler ws_handler = {
	.on_open = on_ws_open,
	.on_message = on_ws_message,
	.on_text = on_ws_text,
	.on_writable = on_ws_writable,
	.on_close = on_ws_close,
};

static void on_attach_timeout(uv_timer_t *timer)
{
	osb_stream_fail(timer->data, -ETIMEDOUT, SBX_RETRY_CONNECTION,
			"the sandbox does not answer");
}

void osb_stream_connect(struct osb_stream *s)
{
	struct osb_reach *r = s->reach;
	const struct sbx_secret *given = s->x->rest.conf->token;
	struct sbx_ws_conf conf = {
		.auth_name = "X-EXECD-ACCESS-TOKEN",
		.auth = r->token ? r->token : given,
		.headers = r->endpoint.headers,
		.ping_ms = PING_MS,
		.pong_ms = PONG_MS,
		.max_message = SBX_OSB_MAX_FRAME,
		.max_queue = SBX_STREAM_QUEUE,
	};
	SBX_FREE char *url = NULL;

	s->phase = OSB_ATTACH;
	if (asprintf(&url, "%s/pty/%s/ws?pty=0&since=%llu%s", r->base,
		     s->session, (unsigned long long)s->received,
		     r->take_over ? "&takeover=1" : "") < 0)
		url = NULL;
	conf.url = url;
	if (url)
		s->ws = sbx_rest_socket(&s->x->rest, &conf, &ws_handler, s);
	if (!s->ws)
		osb_stream_fail(s, -EAGAIN, SBX_RETRY_LATER,
				"no more connections can be made now");
	else
		uv_timer_start(&s->timer, on_attach_timeout, ATTACH_MS, 0);
}

/* ---- the session ---- */

static bool session_is_valid(const char *id)
{
	return sbx_is_id(id) && strlen(id) <= MAX_SESSION;
}

static void on_made(void *arg, const struct sbx_answer *answer)
{
	struct osb_stream *s = arg;
	const char *id = sbx_json_str(answer->json, "session_id");
	struct sbx_error e = answer->error;

	s->request = NULL;
	/* two JSON bodies in a row: the status is what counts */
	if (e.status == 500 && !s->no_cwd) {
		s->no_cwd = true;
		stream_make(s);
	} else if (e.status == 404) {
		osb_stream_fail(s, -EOPNOTSUPP, SBX_RETRY_NEVER,
				"the execd in the sandbox is older than "
				"1.0.10 and cannot run what is needed");
	} else if (e.err == -EACCES) {
		stream_fail_with(s, &e);
	} else if (e.err) {
		stream_again(s, &e);
	} else if (!session_is_valid(id)) {
		osb_stream_fail(s, -EPROTO, SBX_RETRY_NEVER,
				"execd gave no session");
	} else {
		free(s->session);
		s->session = strdup(id);
		if (s->session)
			osb_stream_connect(s);
		else
			osb_stream_fail(s, -ENOMEM, SBX_RETRY_LATER,
					"out of memory");
	}
}

static void stream_make(struct osb_stream *s)
{
	struct sbx_request_conf conf = {
		.method = "POST",
		.path = "/pty",
		.body = s->no_cwd ? "{}" : "{\"cwd\":\"" WORKSPACE "\"}",
		.deadline = s->give_up,
		/* nothing runs before it is connected to */
		.repeatable = s->no_cwd,
		.wants_json = true,
		.to = s->reach,
	};

	s->phase = OSB_MAKE;
	s->request = sbx_request_start(&s->x->rest, &conf, on_made, s);
	if (!s->request)
		osb_stream_fail(s, -ENOMEM, SBX_RETRY_LATER, "out of memory");
}

static void on_reached(void *arg, const struct sbx_error *error)
{
	struct osb_stream *s = arg;

	if (s->phase != OSB_REACH)
		return;
	if (error->err)
		stream_fail_with(s, error);
	else
		stream_make(s);
}

static void stream_reach(struct osb_stream *s)
{
	s->wait.fn = on_reached;
	s->wait.arg = s;
	osb_reach_find(s->reach, &s->wait, s->give_up);
}

/* ---- opening ---- */

/* What is wrong from the outset; 0 if nothing is. */
static int stream_prepare(struct osb_stream *s, const char *const *argv)
{
	char mark[SBX_OSB_MARK_LEN + 1];
	int r;

	/* room to see that it is too large, not to hold it all */
	sbx_buf_init(&s->line, 2 * SBX_OSB_MAX_LINE);
	r = sbx_make_marker(mark);
	if (r == 0)
		r = sbx_osb_put_line(&s->line, argv, mark,
				     !s->handler->no_stderr);
	sbx_osb_tail_init(&s->out, mark);
	sbx_osb_tail_init(&s->err, mark);
	if (r < 0)
		sbx_error_set(&s->error, r,
			      r == -E2BIG ? "the command with its arguments "
					    "has more than 96 KiB, which is "
					    "too much for one line of shell"
					  : "out of memory");
	return r;
}

struct sbx_stream *osb_stream_open(struct sbx_service *svc, const char *id,
				   const char *const *argv,
				   const struct sbx_stream_handler *h,
				   void *arg)
{
	struct osb *x = (struct osb *)svc;
	struct osb_reach *r = osb_reach_of(x, id);
	struct osb_stream *s = r ? calloc(1, sizeof(*s)) : NULL;

	if (!s)
		return NULL;
	s->base.svc = svc;
	s->x = x;
	s->reach = osb_reach_hold(r);
	s->handler = h;
	s->arg = arg;
	s->exit_code = -1;
	s->backoff = (struct sbx_backoff){.first_ms = 200, .max_ms = 2000};
	s->next = x->streams;
	s->link = &x->streams;
	if (s->next)
		s->next->link = &s->next;
	x->streams = s;
	sbx_buf_init(&s->held[0], MAX_HELD);
	sbx_buf_init(&s->held[1], MAX_HELD);
	uv_timer_init(x->rest.loop, &s->timer);
	s->timer.data = s;
	sbx_rest_handle_made(&x->rest);
	uv_update_time(x->rest.loop);
	s->give_up = uv_now(x->rest.loop) + PATIENCE_MS;
	if (!sbx_is_id(id)) {
		sbx_error_set(&s->error, -ENOENT, "there is no such sandbox");
		osb_stream_end(s);
	} else if (stream_prepare(s, argv) < 0) {
		osb_stream_end(s);
	} else {
		stream_reach(s);
	}
	return &s->base;
}

/* ---- in between ---- */

int osb_stream_send(struct sbx_stream *stream, const void *data, size_t len)
{
	struct osb_stream *s = (struct osb_stream *)stream;
	static const uint8_t head = SBX_OSB_STDIN;
	int r;

	if (s->phase == OSB_END || !s->started)
		return -ENOTCONN;
	if (!len)
		return 0;
	if (s->phase != OSB_RUN) {
		s->refused = true;
		osb_stream_wanted(s);
		return -EAGAIN;
	}
	r = sbx_ws_send(s->ws, &head, 1, data, len);
	if (r == -EAGAIN)
		s->refused = true;
	if (r == 0)
		osb_stream_sent(s, len);
	return r;
}

void osb_stream_close(struct sbx_stream *stream)
{
	osb_stream_fail((struct osb_stream *)stream, -ECANCELED,
			SBX_RETRY_NEVER, "the stream was closed");
}

void osb_streams_cancel(struct sbx_rest *rest)
{
	struct osb *x = (struct osb *)rest;
	struct osb_stream *s, *next;

	osb_reach_stop(x);
	for (s = x->streams; s; s = next) {
		next = s->next;
		osb_stream_close(&s->base);
	}
	osb_flows_cancel(x);
}
