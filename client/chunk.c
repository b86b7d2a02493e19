#include "client/chunk.h"

#include <stdlib.h>
#include <string.h>

#define TURN sizeof(uint16_t)
/* what malloc takes for itself */
#define MALLOC_COST 16

static uint16_t turn_get(const struct sbx_chunk *c, unsigned int nr)
{
	uint16_t off;

	memcpy(&off, c->data + c->cap - (nr + 1) * TURN, TURN);
	return off;
}

/* Run number nr ends with that turn; runs are of one and the other stream. */
static int run_stream(const struct sbx_chunk *c, unsigned int nr)
{
	return nr % 2 ? 3 - c->stream : c->stream;
}

struct sbx_chunk *sbx_chunk_new(const struct sbx_chunk *was, size_t len)
{
	size_t cap = len;
	struct sbx_chunk *c;

	if (was && cap < 2 * (size_t)was->cap)
		cap = 2 * (size_t)was->cap;
	if (cap > SBX_CHUNK_MAX)
		cap = len < SBX_CHUNK_MAX ? SBX_CHUNK_MAX : len;
	c = malloc(sizeof(*c) + cap);
	if (!c)
		return NULL;
	*c = (struct sbx_chunk){.cap = (uint32_t)cap};
	return c;
}

size_t sbx_chunk_size(const struct sbx_chunk *c)
{
	return sizeof(*c) + c->cap + MALLOC_COST;
}

static bool is_turn(const struct sbx_chunk *c, int stream)
{
	return c->len && run_stream(c, c->turns) != stream;
}

bool sbx_chunk_has_room(const struct sbx_chunk *c, int stream, size_t len)
{
	size_t turns = c->turns + (is_turn(c, stream) ? 1u : 0u);

	return len <= c->cap && c->len + len + turns * TURN <= c->cap;
}

void sbx_chunk_add(struct sbx_chunk *c, int stream, const void *data,
		   size_t len)
{
	uint16_t off = (uint16_t)c->len;

	if (!c->len)
		c->stream = (uint8_t)stream;
	if (is_turn(c, stream)) {
		c->turns++;
		memcpy(c->data + c->cap - c->turns * TURN, &off, TURN);
	}
	memcpy(c->data + c->len, data, len);
	c->len += (uint32_t)len;
}

uint32_t sbx_chunk_run(const struct sbx_chunk *c, uint32_t off, int *ret_stream)
{
	unsigned int from = 0, to = c->turns;

	while (from < to) { /* the first turn behind it */
		unsigned int mid = (from + to) / 2;

		if (turn_get(c, mid) <= off)
			from = mid + 1;
		else
			to = mid;
	}
	*ret_stream = run_stream(c, from);
	return from < c->turns ? turn_get(c, from) : c->len;
}

uint32_t sbx_chunk_find(const struct sbx_chunk *c, uint32_t off,
			unsigned int which)
{
	uint32_t end;
	int stream;

	if (off >= c->len || which == 3)
		return off < c->len ? off : c->len;
	end = sbx_chunk_run(c, off, &stream);
	return which == (unsigned int)stream ? off : end;
}

uint32_t sbx_chunk_nth(const struct sbx_chunk *c, unsigned int which,
		       uint64_t nth)
{
	uint32_t off = 0;

	for (unsigned int nr = 0; nr <= c->turns && off < c->len; nr++) {
		uint32_t end = nr < c->turns ? turn_get(c, nr) : c->len;

		if (which & (unsigned int)run_stream(c, nr)) {
			if (nth < end - off)
				return off + (uint32_t)nth;
			nth -= end - off;
		}
		off = end;
	}
	return c->len;
}
