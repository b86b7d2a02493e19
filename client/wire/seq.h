/*
 * Frame numbers: 1, 2, 3 ... 2^32 - 1, 1 ...; 0 is no number.  They are
 * compared by distance, so a session may go on for ever.  Private to wire/.
 */
#ifndef SBX_WIRE_SEQ_H
#define SBX_WIRE_SEQ_H

#include <stdint.h>

static inline uint32_t sbx_seq_next(uint32_t seq)
{
	return seq + 1 ? seq + 1 : 1;
}

/* above 0: a is later than b */
static inline int32_t sbx_seq_diff(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b);
}

static inline void sbx_put_be32(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 24);
	p[1] = (uint8_t)(v >> 16);
	p[2] = (uint8_t)(v >> 8);
	p[3] = (uint8_t)v;
}

static inline uint32_t sbx_get_be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 |
	       (uint32_t)p[2] << 8 | p[3];
}

#endif
