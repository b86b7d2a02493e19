/*
 * Growable bytes with a limit: see buf.h.  Used by the client's loop thread
 * and by the helper; an object belongs to one thread.
 */
#include "client/wire/buf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BUF_FIRST 256

void sbx_buf_init(struct sbx_buf *b, size_t max)
{
	*b = (struct sbx_buf){.max = max};
}

void sbx_buf_release(struct sbx_buf *b)
{
	size_t max = b->max;

	free(b->data);
	sbx_buf_init(b, max);
}

void sbx_buf_wipe(struct sbx_buf *b)
{
	if (b->data)
		explicit_bzero(b->data, b->cap);
	sbx_buf_release(b);
}

/* What is consumed at the front is given up only when it is at least as much
 * as must be moved, so the moves cost no more than the bytes that came. */
static void buf_compact(struct sbx_buf *b)
{
	size_t len = b->len - b->off;

	if (!b->off || b->off < len)
		return;
	if (len)
		memmove(b->data, b->data + b->off, len);
	b->off = 0;
	b->len = len;
}

static int buf_grow(struct sbx_buf *b, size_t need)
{
	size_t cap = b->cap ? b->cap : BUF_FIRST;
	uint8_t *data;

	while (cap < need) {
		if (cap > SIZE_MAX / 2)
			return -ENOMEM;
		cap *= 2;
	}
	data = realloc(b->data, cap);
	if (!data)
		return -ENOMEM;
	b->data = data;
	b->cap = cap;
	return 0;
}

uint8_t *sbx_buf_room(struct sbx_buf *b, size_t len)
{
	size_t have = b->len - b->off;

	if (b->err)
		return NULL;
	if (len > b->max || have > b->max - len) {
		b->err = -EMSGSIZE;
		return NULL;
	}
	if (b->cap - b->len < len)
		buf_compact(b);
	if (b->cap - b->len < len || !b->data) {
		b->err = buf_grow(b, b->len + len);
		if (b->err < 0)
			return NULL;
	}
	return b->data + b->len;
}

void sbx_buf_added(struct sbx_buf *b, size_t len)
{
	if (len > b->cap - b->len)
		len = b->cap - b->len;
	b->len += len;
}

int sbx_buf_add(struct sbx_buf *b, const void *data, size_t len)
{
	uint8_t *p;

	if (!len)
		return b->err;
	p = sbx_buf_room(b, len);
	if (!p)
		return b->err;
	memcpy(p, data, len);
	b->len += len;
	return 0;
}

void sbx_buf_consume(struct sbx_buf *b, size_t len)
{
	if (len >= b->len - b->off) {
		b->off = 0;
		b->len = 0;
		return;
	}
	b->off += len;
}

void sbx_buf_truncate(struct sbx_buf *b, size_t len)
{
	if (len < b->len - b->off)
		b->len = b->off + len;
}

void sbx_buf_clear(struct sbx_buf *b)
{
	b->off = 0;
	b->len = 0;
	b->err = 0;
}
