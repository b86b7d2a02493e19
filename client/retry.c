#include "client/retry.h"

#include <sys/random.h>
#include <time.h>

uint32_t sbx_random_between(uint32_t low, uint32_t high)
{
	uint64_t r;

	/* GRND_NONBLOCK: at boot the clock is random enough for a pause */
	if (getrandom(&r, sizeof(r), GRND_NONBLOCK) != sizeof(r)) {
		struct timespec now;

		clock_gettime(CLOCK_MONOTONIC, &now);
		r = (uint64_t)now.tv_nsec * 0x9e3779b97f4a7c15ull;
	}
	if (high <= low)
		return low;
	return low + (uint32_t)((r >> 16) % ((uint64_t)high - low + 1));
}

unsigned int sbx_backoff_next(struct sbx_backoff *b)
{
	uint64_t limit = b->first_ms;

	limit <<= b->attempt < 20 ? b->attempt : 20;
	if (limit > b->max_ms)
		limit = b->max_ms;
	if (b->attempt < 20)
		b->attempt++;
	return sbx_random_between(b->first_ms / 2, (uint32_t)limit);
}
