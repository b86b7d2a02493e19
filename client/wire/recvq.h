/*
 * The receiving half of a link: numbered frames in any order become messages
 * in order.  Private to wire/.
 */
#ifndef SBX_WIRE_RECVQ_H
#define SBX_WIRE_RECVQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/wire/buf.h"
#include "client/wire/msg.h"

struct sbx_held;

struct sbx_recvq {
	uint32_t seq;		/* the highest without a gap */
	uint64_t bytes;		/* of payload up to seq, ever */
	struct sbx_held **held; /* those behind a gap, at seq & (slots - 1) */
	size_t slots;
	size_t held_bytes;
	size_t window;
	struct sbx_buf part;  /* a message that is not whole yet */
	struct sbx_walk walk; /* how far it was looked at */
	unsigned epoch;	      /* counts clears: a handler may cause one */
	int (*on_message)(void *arg, const uint8_t *data, size_t len);
	void *arg;
};

void sbx_recvq_init(struct sbx_recvq *q, size_t frame_max, size_t window);
void sbx_recvq_release(struct sbx_recvq *q);
/* Forgets what came and numbers from 1 again; may be called by a handler. */
void sbx_recvq_clear(struct sbx_recvq *q);
/* One frame's payload; calls on_message for every message now complete. */
int sbx_recvq_frame(struct sbx_recvq *q, uint32_t seq, bool more,
		    const uint8_t *data, size_t len);

#endif
