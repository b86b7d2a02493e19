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
#include "client/wire/base64.h"

#define PATIENCE_MS 30000
#define PING_MS	    20000
#define PONG_MS	    30000
#define MAX_MESSAGE (8u << 20) /* a watcher's may hold a file */
#define MAX_TYPED   (512u << 10)

struct csdk_events {
	struct sbx_rest_stream base;
	struct csdk_box *box;
	struct csdk_wait wait;
	char channel[160];
	const char *id; /* in it, of a terminal or watcher */
	bool is_terminal, is_signals;
	bool is_base64; /* what is printed, where it does not say so itself */
	bool again;	/* with what the gateway says now */
	struct sbx_buf input; /* for a terminal, until it can be sent */
};

static void events_release(struct sbx_rest_stream *base)
{
	struct csdk_events *s = (struct csdk_events *)base;

	csdk_unwait(&s->wait);
	csdk_box_let_go(s->box);
	sbx_buf_release(&s->input);
}

static const struct sbx_rest_stream_type events_type = {
	.release = events_release,
};

static bool is_over(const struct csdk_events *s)
{
	return sbx_rest_stream_is_over(&s->base);
}

static void events_fail(struct csdk_events *s, int err, const char *text)
{
	sbx_rest_stream_fail(&s->base, err, SBX_RETRY_NEVER, text);
}

/* ---- what comes ---- */

static void terminal_give(struct csdk_events *s, struct sbx_csdk_message *m)
{
	uint8_t *p = sbx_buf_at(&m->text);
	size_t n = sbx_buf_len(&m->text);
	long r;

	if (m->kind == SBX_CSDK_ERROR || m->kind == SBX_CSDK_DESTROYED)
		sbx_rest_stream_done(&s->base, 0);
	if (m->kind != SBX_CSDK_OUTPUT || !n)
		return;
	if (s->is_base64 && m->is_plain) {
		r = sbx_base64_get(p, (char *)p, n);
		if (r < 0) {
			events_fail(s, -EPROTO,
				    "what the terminal printed is not encoded "
				    "as it should be");
			return;
		}
		n = (size_t)r;
	}
	s->base.handler->on_data(s->base.arg, 1, p, n);
}

static void line_give(struct csdk_events *s, struct sbx_csdk_message *m)
{
	const char *type = sbx_json_str(m->event, "type");
	SBX_FREE char *line = m->event ? sbx_json_text(m->event, false) : NULL;

	if (!line)
		return;
	s->base.handler->on_data(s->base.arg, 1, line, strlen(line));
	if (!is_over(s))
		s->base.handler->on_data(s->base.arg, 1, "\n", 1);
	if (!is_over(s) && type && !strcmp(type, "watcher:destroyed"))
		sbx_rest_stream_done(&s->base, 0);
}

/* Anybody may speak on a channel, in some generations. */
static bool is_ours(const struct csdk_events *s,
		    const struct sbx_csdk_message *m)
{
	return !strcmp(m->channel, s->channel) && !m->of_command &&
	       (!s->id || !m->terminal[0] || !strcmp(m->terminal, s->id));
}

static void on_ws_message(void *arg, const void *data, size_t len)
{
	struct csdk_events *s = arg;
	struct sbx_csdk_message m;

	if (is_over(s))
		return;
	if (sbx_csdk_read(&m, data, len) < 0)
		events_fail(s, -EPROTO,
			    "the daemon sent a message that makes no sense");
	else if (is_ours(s, &m))
		(s->is_terminal ? terminal_give : line_give)(s, &m);
	sbx_csdk_message_release(&m);
}

static int say(struct csdk_events *s, bool input)
{
	struct sbx_buf b;
	int r;

	sbx_buf_init(&b, 512 * 1024);
	if (input)
		sbx_csdk_put_input(&b, s->id, sbx_buf_at(&s->input),
				   sbx_buf_len(&s->input));
	else
		sbx_csdk_put_subscribe(&b, s->channel);
	r = b.err ? b.err
		  : sbx_ws_send_text(s->base.ws, (char *)sbx_buf_at(&b));
	sbx_buf_release(&b);
	return r;
}

static void on_ws_open(void *arg)
{
	struct csdk_events *s = arg;
	int r;

	if (is_over(s))
		return;
	uv_timer_stop(&s->base.timer);
	r = say(s, false);
	if (r == 0 && sbx_buf_len(&s->input))
		r = say(s, true);
	if (r < 0)
		events_fail(s, -EIO, "it could not be asked for");
	else
		s->base.handler->on_open(s->base.arg);
	if (s->base.paused && s->base.ws)
		sbx_ws_pause(s->base.ws, true);
}

static void on_ws_close(void *arg, const struct sbx_ws_end *end)
{
	struct csdk_events *s = arg;

	if (sbx_rest_stream_lost_ws(&s->base))
		sbx_rest_stream_end(&s->base, &end->error);
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

	s->base.ws = csdk_box_socket(s->box, &conf, &ws_handler, s);
	if (!s->base.ws)
		events_fail(s, -EAGAIN, "no more connections can be made now");
	else
		uv_timer_start(&s->base.timer, on_late, PATIENCE_MS, 0);
}

/* ---- what it is about ---- */

static void events_reach(struct csdk_events *s)
{
	csdk_reach(s->box, &s->wait, s->base.give_up);
}

/* The gateway may have another token by now. */
static void events_refused(struct csdk_events *s, const struct sbx_error *e)
{
	if (e->status != 401 || s->again) {
		sbx_rest_stream_end(&s->base, e);
		return;
	}
	s->again = true;
	csdk_reach_forget(s->box);
	events_reach(s);
}

static void on_signals(void *arg, const struct sbx_answer *answer)
{
	struct csdk_events *s = arg;

	/* 500: it is active already */
	if (answer->error.err && answer->error.status != 500)
		events_refused(s, &answer->error);
	else
		events_connect(s);
}

/* Nobody would ever say on its channel that it is not there. */
static void on_there(void *arg, const struct sbx_answer *answer)
{
	struct csdk_events *s = arg;
	const json_t *data = sbx_csdk_data(answer->json);
	const char *encoding = sbx_json_str(data, "encoding");

	if (answer->error.err) {
		events_refused(s, &answer->error);
		return;
	}
	if (s->is_terminal && json_is_false(json_object_get(data, "pty"))) {
		events_fail(s, -EOPNOTSUPP,
			    "it runs commands, which have their own output");
		return;
	}
	s->is_base64 = encoding && !strcmp(encoding, "base64");
	events_connect(s);
}

static void on_reached(void *arg, const struct sbx_error *error)
{
	struct csdk_events *s = arg;
	struct sbx_request_conf conf = {
		.method = s->is_signals ? "POST" : "GET",
		.path = s->is_signals	 ? "/signals/start"
			: s->is_terminal ? "/terminals/%s"
					 : "/watchers/%s",
		.id = s->id,
		.repeatable = !s->is_signals,
		.wants_json = !s->is_signals,
		.deadline = uv_now(s->base.rest->loop) + PATIENCE_MS,
		.to = s->box,
	};

	if (is_over(s))
		return;
	if (error->err)
		sbx_rest_stream_end(&s->base, error);
	else
		sbx_rest_stream_request(&s->base, &conf,
					s->is_signals ? on_signals : on_there);
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
	s->id = strchr(s->channel, ':') + 1;
	return sbx_csdk_thing_is_valid(name);
}

/* Nothing else can be said to the daemon. */
static bool is_text(const char *input, size_t len)
{
	SBX_JSON json_t *text = json_stringn(input, len);

	return text;
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
	sbx_rest_stream_init(&s->base, &events_type, &x->rest, PATIENCE_MS, h,
			     arg);
	s->box = csdk_box_hold(b);
	sbx_buf_init(&s->input, MAX_TYPED);
	if (len && !is_text(input, len)) {
		events_fail(s, -EILSEQ,
			    "what is typed at a terminal of the daemon's must "
			    "be text in UTF-8");
		return &s->base.base;
	}
	if (len && sbx_buf_add(&s->input, input, len) < 0) {
		events_fail(s, s->input.err,
			    "it is too much for a terminal at once");
		return &s->base.base;
	}
	if (!events_of(s, path)) {
		events_fail(s, -ENOENT, "there is no such thing");
		return &s->base.base;
	}
	s->wait.fn = on_reached;
	s->wait.arg = s;
	events_reach(s);
	return &s->base.base;
}

void csdk_events_pause(struct sbx_stream *stream, bool paused)
{
	struct csdk_events *s = (struct csdk_events *)stream;

	s->base.paused = paused;
	if (s->base.ws && !is_over(s))
		sbx_ws_pause(s->base.ws, paused);
}
