#include "client/retry.h"

#include "client/random.h"

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
