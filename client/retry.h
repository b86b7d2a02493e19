/*
 * Pauses between attempts: full jitter, so that many clients that failed
 * together do not come back together.  Loop thread.
 */
#ifndef SBX_RETRY_H
#define SBX_RETRY_H

#include <stdint.h>

struct sbx_backoff {
	unsigned int first_ms, max_ms;
	unsigned int attempt;
};

/* The next pause: random between first_ms / 2 and a limit that doubles from
 * first_ms to max_ms. */
unsigned int sbx_backoff_next(struct sbx_backoff *b);
static inline void sbx_backoff_reset(struct sbx_backoff *b)
{
	b->attempt = 0;
}

#endif
