/*
 * A stream that is not to be read for now.  Not reading at all would make
 * execd give up: a write of its that stalls for ten seconds ends the output
 * for good, silently.  So a little is read every second, and kept.  That is
 * more than one write: a socket that was full takes more again only when a
 * third of it is free, which can be 1.4 MiB.
 */
#include "client/svc_opensandbox.h"

#define SIP_MS 1000
#define SIPS   8 /* frames at a time, of 32 KiB at most */

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

void osb_stream_sipped(struct osb_stream *s)
{
	if (!s->sips || !--s->sips)
		osb_stream_sip_later(s);
}

void osb_stream_pause(struct sbx_stream *stream, bool paused)
{
	struct osb_stream *s = (struct osb_stream *)stream;

	if (!sbx_rest_stream_pause(&s->base, paused))
		return;
	if (paused) {
		s->sips = 0;
		osb_stream_sip_later(s);
		return;
	}
	s->sip = sbx_alarm_cancel(s->sip);
	if (s->base.phase == OSB_RUN)
		sbx_ws_pause(s->base.ws, false);
}
