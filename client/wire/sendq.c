/*
 * The sending half of a link: see sendq.h.  Called by link.c only.
 *
 * A chunk is one frame's payload.  It takes messages until it is full or
 * given out; then it has a number and never changes again, so that it can be
 * sent once more after a reconnect exactly as it was.
 */
#include "client/wire/sendq.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/wire/proto.h"
#include "client/wire/seq.h"

#define CHUNK_FIRST 512

struct sbx_chunk {
	struct sbx_chunk *next;
	uint8_t *data;
	uint32_t len, cap;
	uint32_t seq; /* 0: not given out yet */
	bool more;    /* its last message goes on in the next chunk */
};

void sbx_sendq_init(struct sbx_sendq *q, size_t payload_max, size_t window)
{
	*q = (struct sbx_sendq){.payload_max = payload_max, .window = window};
}

static struct sbx_chunk *chunk_free(struct sbx_chunk *c)
{
	if (c) {
		free(c->data);
		free(c);
	}
	return NULL;
}

void sbx_sendq_clear(struct sbx_sendq *q)
{
	while (q->head) {
		struct sbx_chunk *c = q->head;

		q->head = c->next;
		chunk_free(c);
	}
	sbx_sendq_init(q, q->payload_max, q->window);
}

static int chunk_reserve(struct sbx_chunk *c, size_t len, size_t max)
{
	size_t cap = c->cap ? c->cap : CHUNK_FIRST;
	uint8_t *data;

	if (c->len + len <= c->cap)
		return 0;
	while (cap < c->len + len)
		cap *= 2;
	if (cap > max)
		cap = max;
	data = realloc(c->data, cap);
	if (!data)
		return -ENOMEM;
	c->data = data;
	c->cap = (uint32_t)cap;
	return 0;
}

static struct sbx_chunk *chunk_new(size_t len, size_t max)
{
	struct sbx_chunk *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	if (chunk_reserve(c, len, max) < 0)
		return chunk_free(c);
	return c;
}

/* Chunks for len bytes, empty but with room. */
static struct sbx_chunk *chunks_new(size_t len, size_t max,
				    struct sbx_chunk **ret_last)
{
	struct sbx_chunk *first = NULL, **end = &first;

	for (*ret_last = NULL; len;) {
		size_t part = len < max ? len : max;
		struct sbx_chunk *c = chunk_new(part, max);

		if (!c)
			goto fail;
		*end = c;
		end = &c->next;
		*ret_last = c;
		len -= part;
	}
	return first;
fail:
	while (first) {
		struct sbx_chunk *c = first;

		first = c->next;
		chunk_free(c);
	}
	return NULL;
}

/*
 * How much of a message goes into the last chunk.  A message that would be
 * torn although it fits into one frame starts a new one, unless that would
 * send this one less than half full.
 */
static size_t sendq_fit(const struct sbx_sendq *q, size_t len)
{
	size_t room;

	if (!q->tail || q->tail->seq)
		return 0;
	room = q->payload_max - q->tail->len;
	if (len <= room)
		return len;
	if (len <= q->payload_max && q->tail->len >= q->payload_max / 2)
		return 0;
	return room;
}

static void chunk_fill(struct sbx_chunk *c, const uint8_t *data, size_t len)
{
	memcpy(c->data + c->len, data, len);
	c->len += (uint32_t)len;
}

static void sendq_append(struct sbx_sendq *q, struct sbx_chunk *first,
			 struct sbx_chunk *last)
{
	if (!first)
		return;
	if (q->tail)
		q->tail->next = first;
	else
		q->head = first;
	q->tail = last;
	if (!q->next)
		q->next = first;
}

int sbx_sendq_add(struct sbx_sendq *q, const void *data, size_t len)
{
	struct sbx_chunk *old = q->tail, *first = NULL, *last = NULL, *c;
	const uint8_t *p = data;
	size_t fit = sendq_fit(q, len);

	if (!len || len > SBX_MESSAGE_MAX)
		return -EMSGSIZE;
	if (fit && chunk_reserve(old, fit, q->payload_max) < 0)
		return -ENOMEM;
	if (fit < len) {
		first = chunks_new(len - fit, q->payload_max, &last);
		if (!first)
			return -ENOMEM;
	}
	q->queued += len;
	if (fit) {
		chunk_fill(old, p, fit);
		old->more = fit < len;
		p += fit;
		len -= fit;
	}
	for (c = first; c; c = c->next) {
		size_t part = len < q->payload_max ? len : q->payload_max;

		chunk_fill(c, p, part);
		c->more = part < len;
		p += part;
		len -= part;
	}
	sendq_append(q, first, last);
	return 0;
}

void sbx_frame_header(uint8_t *dst, uint32_t length, uint32_t seq, uint32_t ack)
{
	sbx_put_be32(dst, length);
	sbx_put_be32(dst + 4, SBX_FRAME_MAGIC ^ length);
	sbx_put_be32(dst + 8, seq);
	sbx_put_be32(dst + 12, ack);
}

size_t sbx_sendq_give(struct sbx_sendq *q, uint32_t ack, uint8_t *dst,
		      size_t cap)
{
	struct sbx_chunk *c = q->next;

	if (!c || SBX_FRAME_HEADER + c->len > cap ||
	    q->unacked + c->len > q->window)
		return 0;
	if (!c->seq) {
		q->seq = sbx_seq_next(q->seq);
		c->seq = q->seq;
	}
	sbx_frame_header(dst, c->len | (c->more ? SBX_FRAME_MORE : 0), c->seq,
			 ack);
	memcpy(dst + SBX_FRAME_HEADER, c->data, c->len);
	q->queued -= c->len;
	q->unacked += c->len;
	q->next = c->next;
	return SBX_FRAME_HEADER + c->len;
}

int sbx_sendq_ack(struct sbx_sendq *q, uint32_t seq)
{
	if (sbx_seq_diff(seq, q->seq) > 0)
		return -EPROTO;
	if (sbx_seq_diff(seq, q->acked) <= 0)
		return 0;
	q->acked = seq;
	while (q->head && q->head->seq &&
	       sbx_seq_diff(q->head->seq, seq) <= 0) {
		struct sbx_chunk *c = q->head;

		if (c == q->next) {
			q->next = c->next;
			q->queued -= c->len;
		} else {
			q->unacked -= c->len;
		}
		q->head = c->next;
		if (!q->head)
			q->tail = NULL;
		chunk_free(c);
	}
	return 0;
}

void sbx_sendq_rewind(struct sbx_sendq *q)
{
	q->next = q->head;
	q->queued += q->unacked;
	q->unacked = 0;
}
