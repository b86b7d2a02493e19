#include "client/random.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
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

int sbx_random_hex(char *text, size_t bytes)
{
	unsigned char raw[32];
	size_t i;

	assert(bytes <= sizeof(raw));
	if (getrandom(raw, bytes, 0) != (ssize_t)bytes)
		return -EIO;
	for (i = 0; i < bytes; i++)
		snprintf(text + 2 * i, 3, "%02x", raw[i]);
	explicit_bzero(raw, sizeof(raw));
	return 0;
}
