/*
 * Messages: writing them into a buffer and reading them out of untrusted
 * bytes, on msgpack-c.  Shared with the helper.
 */
#ifndef SBX_WIRE_MSG_H
#define SBX_WIRE_MSG_H

#include <msgpack.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/wire/buf.h"

/* ---- writing: appends to a buffer; errors stick to the buffer ---- */

void sbx_put_array(struct sbx_buf *b, uint32_t n);
void sbx_put_map(struct sbx_buf *b, uint32_t n);
void sbx_put_u64(struct sbx_buf *b, uint64_t v);
void sbx_put_i64(struct sbx_buf *b, int64_t v);
void sbx_put_bool(struct sbx_buf *b, bool v);
void sbx_put_nil(struct sbx_buf *b);
void sbx_put_bin(struct sbx_buf *b, const void *data, size_t len);
void sbx_put_str(struct sbx_buf *b, const char *s); /* a msgpack str */

/* ---- reading: a cursor over the elements of one array (or map) ---- */

/*
 * Whether the bytes start with one whole msgpack value that is no more than
 * 8 levels deep and whose declared counts can be true of len bytes (so that
 * decoding allocates no more than a small multiple of len); *ret_size is its
 * size.  -EBADMSG if it can never be, -EAGAIN if more bytes are needed.
 */
int sbx_msg_check(const void *data, size_t len, size_t *ret_size);

/*
 * The same for a value that comes in pieces: the walk remembers where it
 * was, so each byte is looked at once however small the pieces are.  data
 * are always the bytes from the start of the value.
 */
#define SBX_MSG_DEPTH 8
struct sbx_walk {
	size_t pos; /* the next element's first byte; may be beyond len */
	int depth;  /* open arrays and maps */
	bool begun;
	uint32_t left[SBX_MSG_DEPTH]; /* elements missing in each */
};
void sbx_walk_init(struct sbx_walk *w);
int sbx_walk_on(struct sbx_walk *w, const void *data, size_t len,
		size_t *ret_size);

/*
 * One decoded message.  Strings and data point into the bytes it was read
 * from.  sbx_msg_parse needs exactly what sbx_msg_check passed.
 */
struct sbx_msg {
	msgpack_zone *zone;
	msgpack_object root;
};
int sbx_msg_parse(struct sbx_msg *m, const void *data, size_t len);
void sbx_msg_release(struct sbx_msg *m);

/* What a request of our own asks for, as it was written: an array of less than
 * 16, an op below 128.  0: too short. */
static inline uint32_t sbx_msg_op(const void *data, size_t len)
{
	return len < 2 ? 0 : ((const uint8_t *)data)[1];
}

/*
 * A reader takes elements one after the other.  A wrong type, a number out
 * of range or a name that is none sets err to -EPROTO, which sticks; values
 * are then 0, NULL, false.  Missing trailing elements are 0, NULL, false and
 * no error.  So: take all, then look at err once.
 */
struct sbx_rd {
	const msgpack_object *at;
	uint32_t left;
	int err;
};
struct sbx_rd sbx_rd_root(const struct sbx_msg *m); /* of its array */
/* over one element, the message itself: for a hello, which is a map */
struct sbx_rd sbx_rd_whole(const struct sbx_msg *m);
uint64_t sbx_get_u64(struct sbx_rd *r);
uint32_t sbx_get_u32(struct sbx_rd *r);
int64_t sbx_get_i64(struct sbx_rd *r);
bool sbx_get_bool(struct sbx_rd *r);
/* bin or str; NULL (and len 0) for nil */
const uint8_t *sbx_get_bin(struct sbx_rd *r, size_t *ret_len);
/* like bin, but a legal name (1..255 bytes, no '/' or NUL, not . or ..);
 * an empty one gives NULL without error */
const char *sbx_get_name(struct sbx_rd *r, size_t *ret_len);
/* a reader over the next element, which must be an array; nil: empty */
struct sbx_rd sbx_get_array(struct sbx_rd *r);
/* a map: calls each(arg, key, keylen, value reader of one element) */
struct sbx_rd sbx_get_map(struct sbx_rd *r); /* alternating key, value */
bool sbx_get_is_nil(const struct sbx_rd *r); /* next element, not taken */
bool sbx_get_is_array(const struct sbx_rd *r);
void sbx_get_skip(struct sbx_rd *r);

/* ---- the array "attr" of proto.h ---- */

struct sbx_attr {
	uint32_t mode, nlink, uid, gid;
	uint64_t size, blocks, ino, dev, rdev;
	int64_t atime_s, mtime_s, ctime_s;
	uint32_t atime_ns, mtime_ns, ctime_ns;
	uint32_t blksize, flags;
};
void sbx_put_attr(struct sbx_buf *b, const struct sbx_attr *a);
/* false (and a zeroed attr) for nil or with r->err set; times, modes and
 * sizes that cannot be are set right or refused (size > INT64_MAX: EPROTO) */
bool sbx_get_attr(struct sbx_rd *r, struct sbx_attr *ret);

#endif
