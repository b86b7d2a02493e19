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
#define TAKEN_OVER  4001 /* close code */

static void stream_make(struct osb_stream *s);
static void stream_reach(struct osb_stream *s);

/* ---- the end ---- */

static void stream_release(struct sbx_rest_stream *base)
{
	struct osb_stream *s = (struct osb_stream *)base;

	osb_reach_unwait(&s->wait);
	s->confirm = sbx_alarm_cancel(s->confirm);
	s->sip = sbx_alarm_cancel(s->sip);
	osb_stream_farewell(s);
	osb_reach_let_go(s->reach);
	sbx_buf_release(&s->line);
	free(s->session);
}

/* ---- output ---- */

static void on_out(void *arg, const void *data, size_t len)
{
	struct osb_stream *s = arg;

	if (!sbx_rest_stream_is_over(&s->base))
		s->base.handler->on_data(s->base.arg, 1, data, len);
}

static void on_err(void *arg, const void *data, size_t len)
{
	struct osb_stream *s = arg;

	if (!sbx_rest_stream_is_over(&s->base))
		s->base.handler->on_data(s->base.arg, 2, data, len);
}

static void stream_give(struct sbx_rest_stream *base, int fd, const void *data,
			size_t len)
{
	struct osb_stream *s = (struct osb_stream *)base;
	struct sbx_osb_tail *t = fd == 1 ? &s->out : &s->err;

	sbx_osb_tail_add(t, data, len, fd == 1 ? on_out : on_err, s);
	if (sbx_rest_stream_is_over(&s->base) || !s->out.ended ||
	    !(s->err.ended || s->base.handler->no_stderr))
		return;
	sbx_rest_stream_done(&s->base, s->out.exit_code);
}

static const struct sbx_rest_stream_type stream_type = {
	.release = stream_release,
	.give = stream_give,
};

static void stream_output(struct osb_stream *s, int fd, const void *data,
			  size_t len)
{
	s->received += len;
	if (!len || !s->started)
		return; /* before the line there is nothing of ours */
	sbx_rest_stream_take(&s->base, fd, data, len);
	if (s->base.paused && !sbx_rest_stream_is_over(&s->base))
		osb_stream_sipped(s);
}

/*
 * What came while nobody was connected, both streams mixed: it must go on
 * exactly where we are.  osb_stream_lost has seen to it that there is only
 * one stream.
 */
static void stream_replay(struct osb_stream *s, const struct sbx_osb_frame *f)
{
	if (f->offset != s->received) {
		sbx_rest_stream_fail(
			&s->base, -ETIMEDOUT, SBX_RETRY_CONNECTION,
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

	if (sbx_rest_stream_is_over(&s->base))
		return;
	if (sbx_osb_read_binary(&f, data, len) < 0)
		sbx_rest_stream_fail(&s->base, -EPROTO, SBX_RETRY_CONNECTION,
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
	int r = sbx_ws_send(s->base.ws, &head, 1, sbx_buf_at(&s->line),
			    sbx_buf_len(&s->line));

	if (r < 0) {
		sbx_rest_stream_fail(&s->base, r, SBX_RETRY_CONNECTION,
				     "the command could not be sent");
		return;
	}
	osb_stream_sent(s, sbx_buf_len(&s->line));
	sbx_buf_release(&s->line);
	s->started = true;
	s->base.handler->on_open(s->base.arg);
}

static void stream_connected(struct osb_stream *s)
{
	if (s->base.phase != OSB_ATTACH)
		return;
	uv_timer_stop(&s->base.timer);
	s->base.phase = OSB_RUN;
	if (s->started)
		osb_stream_resumed(s);
	else
		stream_start(s);
	if (s->base.phase == OSB_RUN && s->base.paused)
		osb_stream_sip_later(s);
}

/* With the marks still to come it was not the command that ended. */
static void stream_exited(struct osb_stream *s)
{
	sbx_rest_stream_fail(
		&s->base, s->started ? -EIO : -EOPNOTSUPP,
		s->started ? SBX_RETRY_CONNECTION : SBX_RETRY_NEVER,
		"the shell that ran the command in the sandbox was "
		"ended");
}

static void on_ws_text(void *arg, const char *text, size_t len)
{
	struct osb_stream *s = arg;
	struct sbx_osb_frame f;

	if (sbx_rest_stream_is_over(&s->base) ||
	    sbx_osb_read_text(&f, text, len) < 0)
		return;
	if (f.kind == SBX_OSB_CONNECTED)
		stream_connected(s);
	else if (f.kind == SBX_OSB_PONG)
		osb_stream_on_pong(s);
	else if (f.kind == SBX_OSB_EXIT)
		stream_exited(s);
	else if (f.kind == SBX_OSB_ERROR)
		sbx_rest_stream_end(&s->base, &f.error);
}

static void on_ws_writable(void *arg)
{
	struct osb_stream *s = arg;

	if (s->base.phase != OSB_RUN || !s->refused)
		return;
	s->refused = false;
	if (s->base.handler->on_writable)
		s->base.handler->on_writable(s->base.arg);
}

/* ---- when it does not come to run ---- */

static void on_again(uv_timer_t *timer)
{
	stream_reach(timer->data);
}

/* From the start, after a pause; fails when it has been tried long enough. */
static void stream_again(struct osb_stream *s, const struct sbx_error *e)
{
	unsigned int ms = sbx_backoff_next(&s->base.backoff);

	osb_reach_forget(s->reach);
	if (uv_now(s->base.rest->loop) + ms >= s->base.give_up) {
		sbx_rest_stream_end(&s->base, e);
		return;
	}
	s->base.phase = OSB_REACH;
	uv_timer_start(&s->base.timer, on_again, ms, 0);
}

static void on_ws_close(void *arg, const struct sbx_ws_end *end)
{
	struct osb_stream *s = arg;

	if (!sbx_rest_stream_lost_ws(&s->base))
		return;
	if (s->base.phase == OSB_RUN && end->code == TAKEN_OVER)
		/* whoever has it would lose it again, and take it back */
		sbx_rest_stream_fail(&s->base, -EIO, SBX_RETRY_CONNECTION,
				     "somebody else has taken over what "
				     "carried the command");
	else if (s->base.phase == OSB_RUN)
		osb_stream_lost(s, &end->error);
	else if (s->started)
		osb_stream_refused(s, end);
	else if (end->error.status == 401)
		sbx_rest_stream_fail(&s->base, -EACCES, SBX_RETRY_TOKEN,
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
	sbx_rest_stream_fail(timer->data, -ETIMEDOUT, SBX_RETRY_CONNECTION,
			     "the sandbox does not answer");
}

void osb_stream_connect(struct osb_stream *s)
{
	struct osb_reach *r = s->reach;
	const struct sbx_secret *given = s->base.rest->conf->token;
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

	s->base.phase = OSB_ATTACH;
	if (asprintf(&url, "%s/pty/%s/ws?pty=0&since=%llu%s", r->base,
		     s->session, (unsigned long long)s->received,
		     r->take_over ? "&takeover=1" : "") < 0)
		url = NULL;
	conf.url = url;
	if (url)
		s->base.ws =
			sbx_rest_socket(s->base.rest, &conf, &ws_handler, s);
	if (!s->base.ws)
		sbx_rest_stream_fail(&s->base, -EAGAIN, SBX_RETRY_LATER,
				     "no more connections can be made now");
	else
		uv_timer_start(&s->base.timer, on_attach_timeout, ATTACH_MS, 0);
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

	/* two JSON bodies in a row: the status is what counts */
	if (e.status == 500 && !s->no_cwd) {
		s->no_cwd = true;
		stream_make(s);
	} else if (e.status == 404) {
		sbx_rest_stream_fail(&s->base, -EOPNOTSUPP, SBX_RETRY_NEVER,
				     "the execd in the sandbox is older than "
				     "1.0.10 and cannot run what is needed");
	} else if (e.err == -EACCES) {
		sbx_rest_stream_end(&s->base, &e);
	} else if (e.err) {
		stream_again(s, &e);
	} else if (!session_is_valid(id)) {
		sbx_rest_stream_fail(&s->base, -EPROTO, SBX_RETRY_NEVER,
				     "execd gave no session");
	} else {
		free(s->session);
		s->session = strdup(id);
		if (s->session)
			osb_stream_connect(s);
		else
			sbx_rest_stream_no_memory(&s->base);
	}
}

static void stream_make(struct osb_stream *s)
{
	struct sbx_request_conf conf = {
		.method = "POST",
		.path = "/pty",
		.body = s->no_cwd ? "{}" : "{\"cwd\":\"" WORKSPACE "\"}",
		.deadline = s->base.give_up,
		/* nothing runs before it is connected to */
		.repeatable = s->no_cwd,
		.wants_json = true,
		.to = s->reach,
	};

	s->base.phase = OSB_MAKE;
	sbx_rest_stream_request(&s->base, &conf, on_made);
}

static void on_reached(void *arg, const struct sbx_error *error)
{
	struct osb_stream *s = arg;

	if (s->base.phase != OSB_REACH)
		return;
	if (error->err)
		sbx_rest_stream_end(&s->base, error);
	else
		stream_make(s);
}

static void stream_reach(struct osb_stream *s)
{
	s->wait.fn = on_reached;
	s->wait.arg = s;
	osb_reach_find(s->reach, &s->wait, s->base.give_up);
}

/* ---- opening ---- */

/* false: something is wrong from the outset. */
static bool stream_prepare(struct osb_stream *s, const char *const *argv)
{
	bool no_stderr = s->base.handler->no_stderr;
	char word[SBX_OSB_WORD_LEN + 1] = "";
	int r;

	/* room to see that it is too large, not to hold it all */
	sbx_buf_init(&s->line, 2 * SBX_OSB_MAX_LINE);
	r = sbx_make_marker(word);
	if (r == 0)
		r = sbx_osb_put_line(&s->line, argv, word, !no_stderr);
	/* that of the helper, whose messages say how long they are */
	sbx_osb_tail_init(&s->out, word, no_stderr);
	sbx_osb_tail_init(&s->err, word, no_stderr);
	if (r < 0)
		sbx_rest_stream_fail(
			&s->base, r, SBX_RETRY_NEVER,
			r == -E2BIG ? "the command with its arguments has more "
				      "than 96 KiB, which is too much for one "
				      "line of shell"
				    : "out of memory");
	return r >= 0;
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
	sbx_rest_stream_init(&s->base, &stream_type, &x->rest, PATIENCE_MS, h,
			     arg);
	s->reach = osb_reach_hold(r);
	if (!sbx_is_id(id))
		sbx_rest_stream_fail(&s->base, -ENOENT, SBX_RETRY_NEVER,
				     "there is no such sandbox");
	else if (stream_prepare(s, argv))
		stream_reach(s);
	return &s->base.base;
}

/* ---- in between ---- */

int osb_stream_send(struct sbx_stream *stream, const void *data, size_t len)
{
	struct osb_stream *s = (struct osb_stream *)stream;
	static const uint8_t head = SBX_OSB_STDIN;
	int r;

	if (sbx_rest_stream_is_over(&s->base) || !s->started)
		return -ENOTCONN;
	if (!len)
		return 0;
	if (s->base.phase != OSB_RUN) {
		s->refused = true;
		osb_stream_wanted(s);
		return -EAGAIN;
	}
	r = sbx_ws_send(s->base.ws, &head, 1, data, len);
	if (r == -EAGAIN)
		s->refused = true;
	if (r == 0)
		osb_stream_sent(s, len);
	return r;
}
