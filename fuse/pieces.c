/*
 * Text that is written in pieces: see pieces.h.
 */
#include "fuse/pieces.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

/* Buffers of shells and of standard output are multiples of it. */
#define FULL_BUFFER 1024

void sfs_pieces_init(struct sfs_pieces *p, size_t max)
{
	*p = (struct sfs_pieces){0};
	sbx_buf_init(&p->text, max);
}

void sfs_pieces_release(struct sfs_pieces *p)
{
	sbx_buf_wipe(&p->text);
}

void sfs_pieces_clear(struct sfs_pieces *p)
{
	sbx_buf_clear(&p->text);
	p->is_json = false;
	p->scan = (struct sbx_object_scan){0};
}

void sfs_pieces_refuse(struct sfs_pieces *p, int err)
{
	sfs_pieces_clear(p);
	p->refused = err;
}

void sfs_pieces_end(struct sfs_pieces *p)
{
	p->whole = false;
	p->refused = 0;
}

static size_t blank_at_start(const char *data, size_t len)
{
	size_t n = 0;

	while (n < len && isspace((unsigned char)data[n]))
		n++;
	return n;
}

static bool may_be_a_piece(const char *data, size_t len)
{
	return memchr(data, '\n', len) == data + len - 1 ||
	       len % FULL_BUFFER == 0;
}

/* Whether the object or array ends with what was added last. */
static bool json_ends(struct sfs_pieces *p, size_t size)
{
	const char *text = (char *)sbx_buf_at(&p->text);
	size_t len = sbx_buf_len(&p->text), blank;
	bool ends = false;

	if (!p->is_json && !p->is_text) {
		blank = blank_at_start(text, len);
		p->is_json = blank < len &&
			     (text[blank] == '{' || text[blank] == '[');
		size = len;
	}
	for (size_t i = len - size; p->is_json && i < len; i++)
		ends |= sbx_object_scan_byte(&p->scan, text[i]);
	return ends;
}

int sfs_pieces_add(struct sfs_pieces *p, const char *data, size_t size,
		   struct sbx_error *reterr)
{
	bool is_first = !sbx_buf_len(&p->text);
	int r;

	if (p->whole && is_first && blank_at_start(data, size) == size)
		return SFS_PIECES_MORE;
	if (sbx_buf_add(&p->text, data, size) < 0) {
		r = p->text.err == -ENOMEM ? -ENOMEM : -E2BIG;
		sfs_pieces_refuse(p, r);
		return sbx_error_set(reterr, r,
				     "at most %zu KiB can be written",
				     p->text.max / 1024);
	}
	p->whole =
		json_ends(p, size) || (is_first && !may_be_a_piece(data, size));
	return p->whole ? SFS_PIECES_WHOLE : SFS_PIECES_MORE;
}
