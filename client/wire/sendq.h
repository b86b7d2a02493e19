/*
 * The sending half of a link: messages become the payload of frames, which
 * are kept until the peer has acknowledged them.  Private to wire/.
 */
#ifndef SBX_WIRE_SENDQ_H
#define SBX_WIRE_SENDQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sbx_chunk;

struct sbx_sendq {
	struct sbx_chunk *head; /* the oldest that is not acknowledged */
	struct sbx_chunk *tail;
	struct sbx_chunk *next; /* the first to give out; NULL: none */
	size_t payload_max;
	size_t window;
	size_t queued;	/* bytes from next on */
	size_t unacked; /* bytes before next */
	uint32_t seq;	/* the last number given */
	uint32_t acked;
};

void sbx_sendq_init(struct sbx_sendq *q, size_t payload_max, size_t window);
/* Drops everything and starts numbering anew. */
void sbx_sendq_clear(struct sbx_sendq *q);
/* Copies a message; all of it or nothing.  -EMSGSIZE, -ENOMEM. */
int sbx_sendq_add(struct sbx_sendq *q, const void *data, size_t len);
/* Gives the next frame out, if window and cap allow; its size, or 0. */
size_t sbx_sendq_give(struct sbx_sendq *q, uint32_t ack, uint8_t *dst,
		      size_t cap);
/* -EPROTO for a number that was never given */
int sbx_sendq_ack(struct sbx_sendq *q, uint32_t seq);
/* What is not acknowledged will be given out again. */
void sbx_sendq_rewind(struct sbx_sendq *q);

/* Writes the 16 bytes of a frame's header. */
void sbx_frame_header(uint8_t *dst, uint32_t length, uint32_t seq,
		      uint32_t ack);

#endif
