/*
 * A command in a sandbox on a terminal of its daemon: find the daemon, make a
 * terminal and a WebSocket side by side, and type the one line there that
 * starts what carries the command (svc_computesdk_carry.c), or have it started
 * otherwise where terminals are of no use (svc_computesdk_pipe.c).  The
 * terminal outlives its WebSocket, but what it prints meanwhile is lost; so the
 * stream ends with the WebSocket, and the layer above makes a new one.
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
#define MAX_REFUSALS                                                           \
	2 /* of those that there is another way for, or no more                \
	   */
#define MAKE_MS	    15000
#define DEAF_MS	    8000 /* from what is typed to an answer */
#define MAX_DEAF    2
#define DEAF_FOR_MS 300000 /* then one more terminal is tried */
#define FAREWELL_MS 20000
#define HURRY_MS    1500 /* when everything is being closed */
#define TALKS_MS    2000 /* who ticks does so four times a second */
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
static void farewell_send(struct csdk_box *b, struct sbx_request_conf conf)
{
	struct sbx_rest *rest = &b->x->rest;

	conf.deadline =
		uv_now(rest->loop) + (rest->closing ? HURRY_MS : FAREWELL_MS);
	conf.repeatable = true;
	conf.to = b;
	if (b->place.url && sbx_request_start(rest, &conf, on_farewell, b)) {
		csdk_box_hold(b);
		sbx_rest_hold(rest);
	}
}

static void terminal_end(struct csdk_box *b, const char *id)
{
	farewell_send(b, (struct sbx_request_conf){.method = "DELETE",
						   .path = "/terminals/%s",
						   .id = id});
}

/*
 * There are daemons that, told to end a terminal on which all are silent, wait
 * for a word there for ever, and keep all others waiting.  What was typed there
 * ends it if it arrives, and that nobody is here any more, in the end.
 */
static bool may_end_terminal(const struct csdk_stream *s)
{
	if (s->piped || s->is_dead)
		return true;
	if (s->ticked)
		return uv_now(s->base.rest->loop) - s->heard_ms < TALKS_MS;
	return s->box->hears && !s->deaf;
}

static void terminal_leave(struct csdk_stream *s)
{
	if (may_end_terminal(s))
		terminal_end(s->box, s->terminal);
	else if (!s->deaf && !s->ticked && !s->box->left)
		s->box->left = SBX_TAKE(s->terminal);
}

static void stream_farewell(struct csdk_stream *s)
{
	SBX_FREE char *body = NULL;

	if (s->terminal)
		terminal_leave(s);
	if (s->pipe)
		body = csdk_pipe_remove_body(s);
	if (body)
		farewell_send(s->box,
			      (struct sbx_request_conf){.method = "POST",
							.path = "/run/command",
							.body = body});
	free(s->terminal);
	free(s->channel);
	free(s->pipe);
	free(s->streamed);
	free(s->program);
	s->terminal = s->channel = s->pipe = s->streamed = s->program = NULL;
	sbx_buf_clear(&s->post);
	s->deaf = s->is_dead = false;
	s->heard_ms = 0;
}

static void stream_release(struct sbx_rest_stream *base)
{
	struct csdk_stream *s = (struct csdk_stream *)base;

	sbx_buf_release(&s->command);
	csdk_unwait(&s->wait);
	csdk_carry_release(s);
	stream_farewell(s);
	sbx_buf_release(&s->post);
	csdk_box_let_go(s->box);
}

static const struct sbx_rest_stream_type stream_type = {
	.release = stream_release,
	.give = csdk_carry_give,
};

/* ---- when it does not come to run ---- */

static void on_again(uv_timer_t *timer)
{
	stream_reach(timer->data);
}

/*
 * It answers, and ran what looked for the helper each time, but no terminal
 * came of it, nor a streamed command: trying on would not end.
 */
static void stream_no_terminals(struct csdk_stream *s,
				const struct sbx_error *why)
{
	struct sbx_error e;

	sbx_error_set(&e, -EOPNOTSUPP,
		      "no command can be run there without a terminal, and the "
		      "daemon makes none that works (%.120s)",
		      why->text);
	sbx_rest_stream_end(&s->base, &e);
}

/* It was refused so often that it makes no sense: there may be another way. */
static bool stream_is_refused(struct csdk_stream *s)
{
	unsigned int most = s->box->old ? MAX_ATTEMPTS : MAX_REFUSALS;

	if (s->refusals < most || s->refusals < s->attempts)
		return false;
	if (s->piped || !csdk_box_try_pipes(s->box))
		return true;
	s->attempts = s->refusals = 0;
	return false;
}

/* From the start, after a pause; fails when it has been tried long enough. */
static void stream_again(struct csdk_stream *s, const struct sbx_error *e)
{
	unsigned int ms = sbx_backoff_next(&s->base.backoff);

	csdk_reach_forget(s->box);
	s->base.request = sbx_request_cancel(s->base.request);
	stream_farewell(s);
	s->refusals += s->turned_down;
	s->attempts++;
	if (stream_is_refused(s)) {
		stream_no_terminals(s, e);
		return;
	}
	if (s->attempts >= MAX_ATTEMPTS ||
	    uv_now(s->base.rest->loop) + ms >= s->base.give_up) {
		sbx_rest_stream_end(&s->base, e);
		return;
	}
	s->base.phase = CSDK_REACH;
	uv_timer_start(&s->base.timer, on_again, ms, 0);
}

/* Of an attempt that has a WebSocket: its on_close goes on. */
static void stream_give_up_attempt(struct csdk_stream *s, int err,
				   const char *text)
{
	sbx_error_set(&s->why, err, "%s", text);
	s->why.retry = SBX_RETRY_CONNECTION;
	if (s->base.ws)
		sbx_ws_close(s->base.ws);
	else
		stream_again(s, &s->why);
}

static void on_late(uv_timer_t *timer)
{
	struct csdk_stream *s = timer->data;

	/* one that does not stream waits for the command to end */
	if (s->piped && s->base.phase == CSDK_MAKE && s->ws_is_open)
		s->turned_down = true;
	stream_give_up_attempt(s, -ETIMEDOUT,
			       "the terminal in the sandbox does not answer");
}

/* ---- words ---- */

/*
 * There are daemons that hold what is typed until something is printed, but
 * what is here waits for the other side to speak first.  A network may have
 * stalled as well, so it takes more than one to tell.
 */
static bool box_is_deaf(const struct csdk_box *b)
{
	return b->deaf >= MAX_DEAF &&
	       uv_now(b->x->rest.loop) - b->deaf_ms < DEAF_FOR_MS;
}

static void stream_fail_deaf(struct csdk_stream *s)
{
	bool certain = box_is_deaf(s->box) && !csdk_box_try_pipes(s->box) &&
		       !csdk_box_try_ticks(s->box);

	sbx_rest_stream_fail(&s->base, certain ? -EOPNOTSUPP : -ETIMEDOUT,
			     certain ? SBX_RETRY_NEVER : SBX_RETRY_CONNECTION,
			     "no command can be run there: the daemon does not "
			     "pass on what is typed at its terminals");
}

static void on_deaf(uv_timer_t *timer)
{
	struct csdk_stream *s = timer->data;

	if (s->piped) {
		on_late(timer);
		return;
	}
	s->deaf = true;
	s->box->deaf++;
	s->box->deaf_ms = uv_now(timer->loop);
	/* where there is nothing else it may have been the network */
	if (s->ticked && (!s->box->first || box_is_deaf(s->box)))
		csdk_box_no_ticks(s->box);
	if (s->base.phase == CSDK_RUN || s->ticked)
		stream_fail_deaf(s);
	else
		on_late(timer);
}

void csdk_stream_heard(struct csdk_stream *s)
{
	uv_timer_stop(&s->base.timer);
	if (!s->piped && (!s->ticked || s->box->first))
		s->box->deaf = 0;
	if (s->piped || s->ticked)
		return;
	s->box->hears = true;
	if (s->box->left)
		terminal_end(s->box, s->box->left);
	free(SBX_TAKE(s->box->left));
}

void csdk_stream_started(struct csdk_stream *s)
{
	uv_timer_start(&s->base.timer, on_deaf, DEAF_MS, 0);
	s->base.phase = CSDK_RUN;
	csdk_carry_start(s);
	if (s->base.phase == CSDK_RUN)
		s->base.handler->on_open(s->base.arg);
}

/* The terminal, or who listens on it, is gone. */
static void stream_terminal_ended(struct csdk_stream *s)
{
	s->is_dead = true;
	if (s->base.phase == CSDK_LAUNCH) {
		s->turned_down = true;
		stream_give_up_attempt(s, -EIO,
				       "the shell in the sandbox did not start "
				       "what it was told to");
	} else if (s->base.phase == CSDK_RUN)
		sbx_rest_stream_fail(
			&s->base, -EIO, SBX_RETRY_CONNECTION,
			"the terminal that carried the command was "
			"ended");
}

/* Who may speak on a channel is anybody, in some generations: so what is said
 * there to be another's is not ours. */
static bool is_ours(const struct csdk_stream *s,
		    const struct sbx_csdk_message *m)
{
	const char *about = s->piped ? m->command : m->terminal;
	const char *own = s->piped ? s->streamed : s->terminal;

	return s->channel && m->of_command == s->piped &&
	       !strcmp(m->channel, s->channel) &&
	       (!*about || !strcmp(about, own));
}

static void on_ws_message(void *arg, const void *data, size_t len)
{
	struct csdk_stream *s = arg;
	struct sbx_csdk_message m;
	int r;

	if (s->base.phase != CSDK_LAUNCH && s->base.phase != CSDK_RUN)
		return;
	r = sbx_csdk_read(&m, data, len);
	if (r < 0)
		sbx_rest_stream_fail(&s->base, r, SBX_RETRY_CONNECTION,
				     "the daemon sent a message that makes no "
				     "sense");
	else if (m.kind != SBX_CSDK_OTHER && is_ours(s, &m)) {
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
	struct sbx_buf b;
	int r;

	sbx_buf_init(&b, 1024);
	sbx_csdk_put_subscribe(&b, s->channel);
	r = b.err ? b.err
		  : sbx_ws_send_text(s->base.ws, (char *)sbx_buf_at(&b));
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
		r = sbx_ws_send_text(s->base.ws, (char *)sbx_buf_at(&b));
	sbx_buf_release(&line);
	sbx_buf_release(&b);
	return r;
}

/* Messages of one connection are heard in order, so nothing need be waited
 * for in between. */
static void stream_launch(struct csdk_stream *s)
{
	if (!s->channel || !s->ws_is_open)
		return;
	s->base.phase = CSDK_LAUNCH;
	uv_timer_start(&s->base.timer, on_deaf, DEAF_MS, 0);
	if (say_subscribe(s) < 0 ||
	    (!s->ticked && (s->piped ? csdk_pipe_start : say_launch)(s) < 0))
		sbx_rest_stream_fail(&s->base, -EIO, SBX_RETRY_CONNECTION,
				     "the command could not be sent");
}

static void on_ws_open(void *arg)
{
	struct csdk_stream *s = arg;

	s->ws_is_open = true;
	if (s->base.phase == CSDK_MAKE)
		stream_launch(s);
}

static void on_ws_close(void *arg, const struct sbx_ws_end *end)
{
	struct csdk_stream *s = arg;
	struct sbx_error e = s->why.err ? s->why : end->error;

	s->ws_is_open = false;
	if (!sbx_rest_stream_lost_ws(&s->base))
		return;
	if (s->base.phase == CSDK_RUN) {
		e.retry = SBX_RETRY_CONNECTION;
		sbx_rest_stream_end(&s->base, &e);
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

	s->base.ws = csdk_box_socket(s->box, &conf, &ws_handler, s);
}

static int terminal_made(struct csdk_stream *s, const json_t *data)
{
	const char *id = sbx_json_str(data, "id");

	if (!sbx_csdk_thing_is_valid(id))
		return -EPROTO;
	s->terminal = strdup(id);
	if (asprintf(&s->channel, "terminal:%s", id) < 0)
		s->channel = NULL;
	return s->terminal && s->channel ? 0 : -ENOMEM;
}

static void on_made(void *arg, const struct sbx_answer *answer)
{
	struct csdk_stream *s = arg;
	struct sbx_error e = answer->error;
	int r = 0;

	if (!e.err)
		r = (s->piped ? csdk_pipe_made
			      : terminal_made)(s, sbx_csdk_data(answer->json));
	if (r == -EPROTO)
		sbx_error_wonder(&e, s->box->place.url, "a ComputeSDK daemon",
				 "it made no terminal");
	if (r == -EOPNOTSUPP) {
		sbx_error_set(&e, r, "it streams no commands either");
		stream_no_terminals(s, &e);
	} else if (r == -ENOMEM) {
		sbx_rest_stream_no_memory(&s->base);
	} else if (!e.err) {
		stream_launch(s);
	} else if (e.err == -EOPNOTSUPP || e.err == -EPROTO) {
		sbx_rest_stream_end(&s->base, &e);
	} else {
		s->turned_down = sbx_csdk_is_refusal(e.status);
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
		.deadline = uv_now(s->base.rest->loop) + MAKE_MS,
		.wants_json = true,
		.to = s->box,
	};

	s->piped = csdk_box_uses_pipes(s->box) ||
		   (box_is_deaf(s->box) && csdk_box_try_pipes(s->box));
	s->ticked = !s->piped &&
		    (csdk_box_uses_ticks(s->box) ||
		     (box_is_deaf(s->box) && csdk_box_try_ticks(s->box)));
	if (s->box->first && !s->ticked) {
		stream_no_terminals(
			s, &(struct sbx_error){
				   .text = "it is of the first generation"});
		return;
	}
	if (box_is_deaf(s->box) && !s->piped && !s->ticked) {
		stream_fail_deaf(s);
		return;
	}
	s->base.phase = CSDK_MAKE;
	s->why = (struct sbx_error){0};
	s->turned_down = false;
	uv_timer_start(&s->base.timer, on_late, MAKE_MS, 0);
	stream_connect(s);
	if (!s->base.ws) {
		sbx_rest_stream_fail(&s->base, -EAGAIN, SBX_RETRY_LATER,
				     "no more connections can be made now");
		return;
	}
	if (s->piped)
		csdk_pipe_make(s, conf.deadline, on_made);
	else if (s->ticked)
		csdk_tick_make(s, conf.deadline, on_made);
	else
		sbx_rest_stream_request(&s->base, &conf, on_made);
}

static void on_reached(void *arg, const struct sbx_error *error)
{
	struct csdk_stream *s = arg;

	if (s->base.phase != CSDK_REACH)
		return;
	if (error->err)
		sbx_rest_stream_end(&s->base, error);
	else
		stream_make(s);
}

static void stream_reach(struct csdk_stream *s)
{
	s->wait.fn = on_reached;
	s->wait.arg = s;
	csdk_reach(s->box, &s->wait, s->base.give_up);
}

/* ---- opening ---- */

static struct csdk_stream *stream_new(struct csdk *x, struct csdk_box *b,
				      const struct sbx_stream_handler *h,
				      void *arg)
{
	struct csdk_stream *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	sbx_rest_stream_init(&s->base, &stream_type, &x->rest, PATIENCE_MS, h,
			     arg);
	s->box = csdk_box_hold(b);
	/* room to see that it is too large, not to hold it all */
	sbx_buf_init(&s->command, 256 * 1024);
	sbx_buf_init(&s->post, 512 * 1024);
	csdk_carry_init(s);
	return s;
}

bool csdk_terminal_is_ours(const struct csdk *x, const char *terminal)
{
	const struct sbx_rest_stream *s;
	const struct csdk_stream *c;

	for (s = x->rest.streams; s; s = s->next) {
		c = (const struct csdk_stream *)s;
		if (s->type == &stream_type && c->terminal &&
		    !strcmp(c->terminal, terminal))
			return true;
	}
	return false;
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
		sbx_rest_stream_fail(&s->base, -ENOENT, SBX_RETRY_NEVER,
				     "there is no such sandbox");
	else if (r < 0)
		sbx_rest_stream_fail(&s->base, r, SBX_RETRY_NEVER,
				     r == -E2BIG
					     ? "the command with its arguments "
					       "has more than 120 KiB, which "
					       "is too much for one shell"
					     : "out of memory");
	else
		stream_reach(s);
	return &s->base.base;
}
