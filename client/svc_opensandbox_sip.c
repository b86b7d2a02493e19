/*
 * A stream that is not to be read for now.  Not reading at all would make
 * execd give up: a write of its that stalls for ten seconds ends the output
 * for good, silently.  So a little is read every few seconds and kept here.
 */
#include <errno.h>

#include "client/svc_opensandbox.h"

#define SIP_MS 4000
#define SIPS   8 /* frames at a time, of 32 KiB at most */
#define PIECE  32768

static void on_sip(void *arg)
{
	struct osb_stream *s = arg;

	s->sip = NULL;
	s->sips = SIPS;
	if (s->base.phase == OSB_RUN)
		sbx_ws_pause(s->base.ws, false);
}

void osb_stream_sip_later(struct osb_stream *s)
{
	if (s->base.phase == OSB_RUN)
		sbx_ws_pause(s->base.ws, true);
	if (!s->sip)
		s->sip = sbx_alarm_set(s->base.rest, SIP_MS, on_sip, s);
}

void osb_stream_hold(struct osb_stream *s, int fd, const void *data, size_t len)
{
	struct sbx_buf *b = &s->held[fd - 1];

	sbx_buf_add(b, data, len);
	if (b->err) {
		sbx_rest_stream_fail(
			&s->base, -ENOBUFS, SBX_RETRY_NEVER,
			"the output of the command was not read for "
			"too long");
		return;
	}
	if (s->sips && --s->sips)
		return;
	osb_stream_sip_later(s);
}

void osb_stream_drop_held(struct osb_stream *s)
{
	s->sip = sbx_alarm_cancel(s->sip);
	sbx_buf_release(&s->held[0]);
	sbx_buf_release(&s->held[1]);
}

static void held_deliver(struct osb_stream *s, int fd)
{
	struct sbx_buf *b = &s->held[fd - 1];
	size_t n;

	while (!s->paused && !sbx_rest_stream_is_over(&s->base) &&
	       (n = sbx_buf_len(b))) {
		if (n > PIECE)
			n = PIECE;
		osb_stream_take(s, fd, sbx_buf_at(b), n);
		sbx_buf_consume(b, n);
	}
}

void osb_stream_pause(struct sbx_stream *stream, bool paused)
{
	struct osb_stream *s = (struct osb_stream *)stream;

	if (s->paused == paused || sbx_rest_stream_is_over(&s->base))
		return;
	s->paused = paused;
	if (paused) {
		s->sips = 0;
		osb_stream_sip_later(s);
		return;
	}
	held_deliver(s, 1);
	held_deliver(s, 2);
	if (s->paused || sbx_rest_stream_is_over(&s->base))
		return;
	osb_stream_drop_held(s);
	if (s->base.phase == OSB_RUN)
		sbx_ws_pause(s->base.ws, false);
}
