/*
 * Growable bytes with a limit from birth.  Appending beyond the limit, or
 * without memory, sets err, which sticks; so many appends need one check.
 */
#ifndef SBX_WIRE_BUF_H
#define SBX_WIRE_BUF_H

#include <stddef.h>
#include <stdint.h>

struct sbx_buf {
	uint8_t *data; /* start of the allocation */
	size_t off;    /* bytes consumed at the front */
	size_t len;    /* end of what is filled, counted from data */
	size_t cap;
	size_t max; /* limit of len - off */
	int err;
};

void sbx_buf_init(struct sbx_buf *b, size_t max);
void sbx_buf_release(struct sbx_buf *b);
/* The same for what may hold a secret: leaves nothing of it, but for what
 * growing has left behind. */
void sbx_buf_wipe(struct sbx_buf *b);
/* NULL-safe views of what is not consumed */
static inline uint8_t *sbx_buf_at(const struct sbx_buf *b)
{
	return b->data ? b->data + b->off : NULL;
}
static inline size_t sbx_buf_len(const struct sbx_buf *b)
{
	return b->len - b->off;
}
int sbx_buf_add(struct sbx_buf *b, const void *data, size_t len);
/* room for len more bytes at the end, to be filled by the caller, who then
 * calls sbx_buf_added; NULL beyond the limit */
uint8_t *sbx_buf_room(struct sbx_buf *b, size_t len);
void sbx_buf_added(struct sbx_buf *b, size_t len);
void sbx_buf_consume(struct sbx_buf *b, size_t len);
void sbx_buf_truncate(struct sbx_buf *b, size_t len); /* to len unconsumed */
void sbx_buf_clear(struct sbx_buf *b); /* empties, clears err, keeps memory */

#endif
