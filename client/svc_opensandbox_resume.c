/*
 * A stream whose connection breaks.  Output is numbered there, and the last
 * MiB of it is kept; input is not, so it must be known that all of it had
 * arrived: a ping goes after it, and is answered in order.  Where that is
 * not known, or output of two streams would come mixed, the stream ends, and
 * the layer above makes a new one.  An end is told to execd, which keeps
 * sessions for ever.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/json.h"
#include "client/log.h"
#include "client/svc_opensandbox.h"

#define CONFIRM_MS  100	  /* from the first byte in doubt to the ping */
#define RESUME_MS   60000 /* execd may believe so long that we are there */
#define WANTED_MS   2000  /* ... when there is something to send */
#define FAREWELL_MS 20000
#define HURRY_MS    1500 /* when everything is being closed */

/* ---- has it arrived? ---- */

static void on_confirm(void *arg)
{
	struct osb_stream *s = arg;

	s->confirm = NULL;
	if (s->base.phase != OSB_RUN || s->ping_out)
		return;
	if (sbx_ws_send_text(s->base.ws, "{\"type\":\"ping\"}") < 0) {
		s->confirm =
			sbx_alarm_set(s->base.rest, CONFIRM_MS, on_confirm, s);
		return;
	}
	s->pinged = s->sent;
	s->ping_out = true;
}

void osb_stream_sent(struct osb_stream *s, size_t len)
{
	s->sent += len;
	/* without memory for it: in doubt until the next one */
	if (!s->confirm && !s->ping_out)
		s->confirm =
			sbx_alarm_set(s->base.rest, CONFIRM_MS, on_confirm, s);
}

void osb_stream_on_pong(struct osb_stream *s)
{
	if (!s->ping_out)
		return;
	s->ping_out = false;
	s->confirmed = s->pinged;
	if (s->confirmed != s->sent && !s->confirm)
		s->confirm =
			sbx_alarm_set(s->base.rest, CONFIRM_MS, on_confirm, s);
}

/* ---- again ---- */

static void resume_look(struct osb_stream *s);

static void resume_fail(struct osb_stream *s)
{
	sbx_rest_stream_fail(&s->base, -ETIMEDOUT, SBX_RETRY_CONNECTION,
			     "the connection broke and could not be taken up "
			     "again");
}

static void on_resume_due(uv_timer_t *timer)
{
	resume_look(timer->data);
}

static bool resume_is_late(const struct osb_stream *s, uint64_t ms)
{
	uint64_t now = uv_now(s->base.rest->loop) + ms - s->lost_at;

	return now >= (s->refused ? WANTED_MS : RESUME_MS);
}

static void resume_again(struct osb_stream *s)
{
	unsigned int ms = sbx_backoff_next(&s->base.backoff);

	s->base.phase = OSB_LOST;
	if (resume_is_late(s, ms))
		resume_fail(s);
	else
		uv_timer_start(&s->base.timer, on_resume_due, ms, 0);
}

static void on_session(void *arg, const struct sbx_answer *answer)
{
	struct osb_stream *s = arg;
	const json_t *obj = answer->json;
	int64_t offset = sbx_json_int(obj, "output_offset", -1);

	if (answer->error.err == -ENOENT) {
		resume_fail(s); /* execd was started anew */
	} else if (answer->error.err) {
		resume_again(s);
	} else if (!sbx_json_bool(obj, "running", false)) {
		/* connecting would start it once more */
		resume_fail(s);
	} else if (!s->base.handler->no_stderr &&
		   offset != (int64_t)s->received) {
		sbx_rest_stream_fail(
			&s->base, -ETIMEDOUT, SBX_RETRY_CONNECTION,
			"the connection broke, and what the command "
			"said meanwhile cannot be told apart");
	} else {
		osb_stream_connect(s);
	}
}

static void on_reached(void *arg, const struct sbx_error *error)
{
	struct osb_stream *s = arg;
	struct sbx_request_conf conf = {
		.method = "GET",
		.path = "/pty/%s",
		.id = s->session,
		.deadline = uv_now(s->base.rest->loop) + WANTED_MS,
		.wants_json = true,
		.to = s->reach,
	};

	if (s->base.phase != OSB_LOST)
		return;
	if (error->err && error->retry == SBX_RETRY_CONNECTION) {
		resume_again(s);
		return;
	}
	if (error->err) {
		sbx_rest_stream_end(&s->base, error);
		return;
	}
	sbx_rest_stream_request(&s->base, &conf, on_session);
}

static void resume_look(struct osb_stream *s)
{
	s->wait.fn = on_reached;
	s->wait.arg = s;
	osb_reach_find(s->reach, &s->wait,
		       uv_now(s->base.rest->loop) + WANTED_MS);
}

void osb_stream_lost(struct osb_stream *s, const struct sbx_error *why)
{
	s->confirm = sbx_alarm_cancel(s->confirm);
	s->ping_out = false;
	if (s->confirmed != s->sent || s->base.rest->closing) {
		struct sbx_error e = *why;

		e.retry = SBX_RETRY_CONNECTION;
		sbx_rest_stream_end(&s->base, &e);
		return;
	}
	sbx_log(SBX_LOG_INFO, "opensandbox", "%s: %s; taking it up again",
		s->reach->id, why->text);
	s->base.phase = OSB_LOST;
	s->lost_at = uv_now(s->base.rest->loop);
	sbx_backoff_reset(&s->base.backoff);
	resume_look(s);
}

void osb_stream_refused(struct osb_stream *s, const struct sbx_ws_end *end)
{
	/* 409, or 1008 by the server's proxy: it believes us to be there */
	if (end->error.status == 404) {
		resume_fail(s);
		return;
	}
	if (end->error.status != 409 && end->code != 1008)
		osb_reach_forget(s->reach);
	resume_again(s);
}

void osb_stream_resumed(struct osb_stream *s)
{
	sbx_backoff_reset(&s->base.backoff);
	if (!s->refused)
		return;
	s->refused = false;
	if (s->base.handler->on_writable)
		s->base.handler->on_writable(s->base.arg);
}

void osb_stream_wanted(struct osb_stream *s)
{
	if (s->base.phase == OSB_LOST && resume_is_late(s, 0))
		resume_fail(s);
}

/* ---- the end ---- */

static void on_farewell(void *arg, const struct sbx_answer *answer)
{
	struct osb_reach *r = arg;
	struct sbx_rest *rest = &r->x->rest;

	(void)answer; /* what is left ends by itself, ten minutes later */
	osb_reach_let_go(r);
	sbx_rest_let_go(rest);
}

void osb_stream_farewell(struct osb_stream *s)
{
	bool hurry = s->base.rest->closing;
	struct sbx_request_conf conf = {
		.method = "DELETE",
		.path = "/pty/%s",
		.id = s->session,
		.deadline = uv_now(s->base.rest->loop) +
			    (hurry ? HURRY_MS : FAREWELL_MS),
		.repeatable = true,
		.to = s->reach,
	};

	if (!s->session || !s->reach->base)
		return;
	if (sbx_request_start(s->base.rest, &conf, on_farewell, s->reach)) {
		osb_reach_hold(s->reach);
		sbx_rest_hold(s->base.rest);
	}
}
