/*
 * Streams that carry one batch (proto.h): when it is answered.  Called by
 * peer.c and, after everything else in a turn of the loop, by helper.c.
 */
#include "client/helper/helper.h"
#include "client/helper/ports.h"
#include "client/helper/socket.h"
#include "client/wire/msg.h"
#include "client/wire/proto.h"

/* The last word and what goes with it. */
#define END_MAX 128

static void on_timer(void *arg)
{
	struct helper *h = arg;

	h->peer.batch.timed = true; /* the turn's end looks at it */
}

void batch_init(struct helper *h)
{
	h->peer.batch.timer = (struct loop_timer){.fn = on_timer, .arg = h};
}

void batch_begin(struct helper *h, const struct handover *how, size_t hello)
{
	struct batch *b = &h->peer.batch;
	uint32_t wait = how->wait_ms;

	b->on = how->batch;
	b->eof = b->ended = b->timed = b->synced = false;
	b->given = 0;
	b->hello = hello + SBX_FRAME_HEADER;
	b->max = how->max_bytes;
	b->park_until = how->park_ms ? loop_clock_ms() + how->park_ms : 0;
	if (!b->on)
		return;
	if (wait < how->park_ms)
		wait = how->park_ms;
	loop_timer_set(&h->loop, &b->timer, wait ? wait : 1);
}

size_t batch_room(const struct helper *h, size_t max)
{
	const struct batch *b = &h->peer.batch;
	size_t rest = b->ended ? 0 : END_MAX;

	if (!b->on)
		return max;
	if (b->given + rest >= b->max)
		return 0;
	return max < b->max - b->given - rest ? max : b->max - b->given - rest;
}

/* Everything that can be answered now has been, and was given out. */
static bool batch_is_answered(const struct helper *h)
{
	return h->owed <= h->patient && !h->tasks && !h->changes.overflow &&
	       !sbx_link_queued(h->peer.link);
}

static bool batch_is_over(const struct helper *h)
{
	const struct batch *b = &h->peer.batch;

	if (b->timed || batch_room(h, SIZE_MAX) < h->peer.frame_max)
		return true;
	if (!batch_is_answered(h))
		/* the window is full: nothing more can be given */
		return sbx_link_unacked(h->peer.link) + h->peer.frame_max >
		       SBX_WINDOW_TO_CLIENT;
	return !b->park_until || b->given > b->hello ||
	       loop_clock_ms() >= b->park_until;
}

/* Its last word, and nothing but that, can still be given. */
static void batch_end(struct helper *h)
{
	struct batch *batch = &h->peer.batch;
	struct sbx_buf b;

	sbx_buf_init(&b, END_MAX - 2 * SBX_FRAME_HEADER);
	sbx_put_map(&b, 2);
	sbx_put_str(&b, "more");
	sbx_put_bool(&b, sbx_link_queued(h->peer.link) || h->tasks);
	sbx_put_str(&b, "owed");
	sbx_put_u64(&b, h->owed - h->patient);
	sbx_link_send_control(h->peer.link, sbx_buf_at(&b), sbx_buf_len(&b));
	/* and one that acknowledges */
	sbx_link_send_control(h->peer.link, NULL, 0);
	batch->ended = true;
	batch->max = batch->given + 2 * SBX_FRAME_HEADER + sbx_buf_len(&b);
	sbx_buf_release(&b);
}

void batch_check(struct helper *h)
{
	struct peer *p = &h->peer;

	if (!p->attached || !p->batch.on)
		return;
	if (!p->batch.eof || !p->greeted) {
		if (p->batch.timed)
			peer_detach(h);
		return;
	}
	/* what happened before it is told by its answer, also by one to
	 * nothing: events are held back for a moment (watch.c), and ports
	 * looked at now and then */
	if (!p->batch.synced) {
		p->batch.synced = true;
		watch_sync(h);
		ports_sync(h);
		peer_pump(h);
	}
	if (!p->attached || p->out_off < p->out_len)
		return; /* more room comes first */
	if (!p->batch.ended && batch_is_over(h)) {
		batch_end(h);
		peer_pump(h);
	}
	if (p->attached && p->batch.ended && p->out_off == p->out_len)
		peer_detach(h);
}
