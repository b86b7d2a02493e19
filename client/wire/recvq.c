/*
 * The receiving half of a link: see recvq.h.  Called by link.c only.
 *
 * Frames that are ahead of a gap wait in a table indexed by their number;
 * how far ahead and how many bytes is bounded by the window.
 */
#include "client/wire/recvq.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/wire/proto.h"
#include "client/wire/seq.h"

/* The farthest a frame may be ahead: a window full of 16-byte frames. */
#define HELD_MAX   65536
#define HELD_FIRST 64

struct sbx_held {
	uint32_t seq;
	uint32_t len;
	bool more;
	uint8_t data[];
};

void sbx_recvq_init(struct sbx_recvq *q, size_t frame_max, size_t window)
{
	*q = (struct sbx_recvq){.window = window};
	sbx_buf_init(&q->part, SBX_MESSAGE_MAX + frame_max);
	sbx_walk_init(&q->walk);
}

void sbx_recvq_clear(struct sbx_recvq *q)
{
	size_t i;

	for (i = 0; i < q->slots; i++)
		free(q->held[i]);
	free(q->held);
	q->held = NULL;
	q->slots = 0;
	q->held_bytes = 0;
	q->seq = 0;
	q->epoch++;
	sbx_buf_clear(&q->part);
	sbx_walk_init(&q->walk);
}

void sbx_recvq_release(struct sbx_recvq *q)
{
	sbx_recvq_clear(q);
	sbx_buf_release(&q->part);
}

/* Calls the handler; 1: the queue was cleared meanwhile, stop. */
static int recvq_handle(struct sbx_recvq *q, const uint8_t *data, size_t len)
{
	unsigned epoch = q->epoch;
	int r;

	r = q->on_message(q->arg, data, len);
	if (r < 0)
		return r;
	return epoch != q->epoch;
}

/* The payload continues a message, or leaves one that is not whole. */
static int recvq_deliver_part(struct sbx_recvq *q, bool more)
{
	size_t size;
	int r;

	while (sbx_buf_len(&q->part)) {
		r = sbx_walk_on(&q->walk, sbx_buf_at(&q->part),
				sbx_buf_len(&q->part), &size);
		if (r == -EAGAIN)
			return more ? 0 : -EPROTO;
		if (r < 0)
			return -EPROTO;
		r = recvq_handle(q, sbx_buf_at(&q->part), size);
		if (r)
			return r;
		sbx_buf_consume(&q->part, size);
		sbx_walk_init(&q->walk);
	}
	return 0;
}

/* 0, an error, or 1: cleared by a handler */
static int recvq_deliver(struct sbx_recvq *q, bool more, const uint8_t *data,
			 size_t len)
{
	size_t size;
	int r;

	while (len && !sbx_buf_len(&q->part)) {
		sbx_walk_init(&q->walk);
		r = sbx_walk_on(&q->walk, data, len, &size);
		if (r == -EAGAIN)
			break;
		if (r < 0)
			return -EPROTO;
		r = recvq_handle(q, data, size);
		if (r)
			return r;
		data += size;
		len -= size;
	}
	if (!len)
		return 0;
	r = sbx_buf_add(&q->part, data, len);
	if (r < 0)
		return r == -ENOMEM ? r : -EPROTO;
	return recvq_deliver_part(q, more);
}

static int held_grow(struct sbx_recvq *q, size_t distance)
{
	size_t slots = q->slots ? q->slots : HELD_FIRST, i;
	struct sbx_held **held;

	while (slots <= distance)
		slots *= 2;
	if (slots == q->slots)
		return 0;
	held = calloc(slots, sizeof(struct sbx_held *));
	if (!held)
		return -ENOMEM;
	for (i = 0; i < q->slots; i++)
		if (q->held[i])
			held[q->held[i]->seq & (slots - 1)] = q->held[i];
	free(q->held);
	q->held = held;
	q->slots = slots;
	return 0;
}

static int recvq_hold(struct sbx_recvq *q, uint32_t seq, bool more,
		      const uint8_t *data, size_t len)
{
	uint32_t distance = seq - q->seq;
	struct sbx_held *h, **slot;
	int r;

	if (distance >= HELD_MAX)
		return -EPROTO;
	r = held_grow(q, distance);
	if (r < 0)
		return r;
	slot = &q->held[seq & (q->slots - 1)];
	if (*slot)
		return 0; /* sent again after a reconnect */
	if (q->held_bytes + len > q->window)
		return -EPROTO;
	h = malloc(sizeof(*h) + len);
	if (!h)
		return -ENOMEM;
	h->seq = seq;
	h->len = (uint32_t)len;
	h->more = more;
	memcpy(h->data, data, len);
	q->held_bytes += len;
	*slot = h;
	return 0;
}

static struct sbx_held *held_take(struct sbx_recvq *q, uint32_t seq)
{
	struct sbx_held *h, **slot;

	if (!q->held_bytes)
		return NULL;
	slot = &q->held[seq & (q->slots - 1)];
	h = *slot;
	if (!h || h->seq != seq)
		return NULL;
	*slot = NULL;
	q->held_bytes -= h->len;
	return h;
}

int sbx_recvq_frame(struct sbx_recvq *q, uint32_t seq, bool more,
		    const uint8_t *data, size_t len)
{
	struct sbx_held *h;
	int r;

	if (!seq || !len)
		return -EPROTO;
	if (sbx_seq_diff(seq, q->seq) <= 0)
		return 0;
	if (seq != sbx_seq_next(q->seq))
		return recvq_hold(q, seq, more, data, len);
	q->seq = seq;
	q->bytes += len;
	r = recvq_deliver(q, more, data, len);
	while (!r && (h = held_take(q, sbx_seq_next(q->seq)))) {
		q->seq = h->seq;
		q->bytes += h->len;
		r = recvq_deliver(q, h->more, h->data, h->len);
		free(h);
	}
	return r < 0 ? r : 0;
}
