/*
 * A piece of what a command printed: bytes of its two streams in order of
 * arrival.  However often the streams take turns, it takes three bytes of
 * memory for each of them at most, beside its head.  Any thread, one at a time.
 */
#ifndef SBX_CHUNK_H
#define SBX_CHUNK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes are gathered in chunks up to this; what comes in larger pieces has
 * chunks of its own size, of one stream. */
#define SBX_CHUNK_MAX 4096

struct sbx_chunk {
	struct sbx_chunk *next;
	uint64_t start; /* of its first byte, among those of both streams */
	uint64_t at[2]; /* so much of each stream came before it */
	uint32_t len, cap;
	uint16_t turns; /* so often the other stream goes on; the offsets of
			 * these stand at the end of data, the last one first */
	uint8_t stream; /* of its first byte: 1 or 2 */
	uint8_t data[];
};

/* For len bytes, and more if was, the one before it (or NULL), was filled by
 * small ones; NULL: no memory.  free() ends it. */
struct sbx_chunk *sbx_chunk_new(const struct sbx_chunk *was, size_t len);
/* The memory that it takes. */
size_t sbx_chunk_size(const struct sbx_chunk *c);
bool sbx_chunk_has_room(const struct sbx_chunk *c, int stream, size_t len);
/* There is room for it. */
void sbx_chunk_add(struct sbx_chunk *c, int stream, const void *data,
		   size_t len);

/* The stream of the byte at off, which is less than len, and (the result)
 * where the bytes of the other one go on, or len. */
uint32_t sbx_chunk_run(const struct sbx_chunk *c, uint32_t off,
		       int *ret_stream);
/* The first byte at off or behind it that is of which (1, 2 or 3: both), or
 * len. */
uint32_t sbx_chunk_find(const struct sbx_chunk *c, uint32_t off,
			unsigned int which);
/* The nth byte of those of which, counted from 0, or len. */
uint32_t sbx_chunk_nth(const struct sbx_chunk *c, unsigned int which,
		       uint64_t nth);

#endif
