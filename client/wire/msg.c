/*
 * Messages on msgpack-c: see msg.h.  Writing appends to a buffer; reading is
 * done on bytes that a stranger sent, so the size and depth of a value are
 * walked here before msgpack-c is allowed to allocate for it.
 */
#include "client/wire/msg.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "client/wire/proto.h"

#define ATTR_FIELDS 17
#define NSEC_MAX    999999999u

/* ---- writing ---- */

static int put_bytes(void *arg, const char *data, size_t len)
{
	return sbx_buf_add(arg, data, len);
}

static msgpack_packer packer(struct sbx_buf *b)
{
	return (msgpack_packer){.data = b, .callback = put_bytes};
}

void sbx_put_array(struct sbx_buf *b, uint32_t n)
{
	msgpack_packer pk = packer(b);

	msgpack_pack_array(&pk, n);
}

void sbx_put_map(struct sbx_buf *b, uint32_t n)
{
	msgpack_packer pk = packer(b);

	msgpack_pack_map(&pk, n);
}

void sbx_put_u64(struct sbx_buf *b, uint64_t v)
{
	msgpack_packer pk = packer(b);

	msgpack_pack_uint64(&pk, v);
}

void sbx_put_i64(struct sbx_buf *b, int64_t v)
{
	msgpack_packer pk = packer(b);

	msgpack_pack_int64(&pk, v);
}

void sbx_put_bool(struct sbx_buf *b, bool v)
{
	msgpack_packer pk = packer(b);

	if (v)
		msgpack_pack_true(&pk);
	else
		msgpack_pack_false(&pk);
}

void sbx_put_nil(struct sbx_buf *b)
{
	msgpack_packer pk = packer(b);

	msgpack_pack_nil(&pk);
}

void sbx_put_bin(struct sbx_buf *b, const void *data, size_t len)
{
	msgpack_packer pk = packer(b);

	msgpack_pack_bin(&pk, len);
	if (len)
		msgpack_pack_bin_body(&pk, data, len);
}

void sbx_put_str(struct sbx_buf *b, const char *s)
{
	msgpack_packer pk = packer(b);
	size_t len = strlen(s);

	msgpack_pack_str(&pk, len);
	if (len)
		msgpack_pack_str_body(&pk, s, len);
}

void sbx_put_attr(struct sbx_buf *b, const struct sbx_attr *a)
{
	sbx_put_array(b, ATTR_FIELDS);
	sbx_put_u64(b, a->mode);
	sbx_put_u64(b, a->nlink);
	sbx_put_u64(b, a->uid);
	sbx_put_u64(b, a->gid);
	sbx_put_u64(b, a->size);
	sbx_put_u64(b, a->blocks);
	sbx_put_u64(b, a->ino);
	sbx_put_u64(b, a->dev);
	sbx_put_u64(b, a->rdev);
	sbx_put_i64(b, a->atime_s);
	sbx_put_u64(b, a->atime_ns);
	sbx_put_i64(b, a->mtime_s);
	sbx_put_u64(b, a->mtime_ns);
	sbx_put_i64(b, a->ctime_s);
	sbx_put_u64(b, a->ctime_ns);
	sbx_put_u64(b, a->blksize);
	sbx_put_u64(b, a->flags);
}

/* ---- checking ---- */

/* One element's first bytes: how many bytes it takes without the elements
 * inside it, and how many of those there are. */
struct element {
	size_t size;
	uint64_t inside;
	bool is_container;
};

static uint64_t be(const uint8_t *p, size_t n)
{
	uint64_t v = 0;

	while (n--)
		v = v << 8 | *p++;
	return v;
}

/* The bytes of a scalar behind its first byte, 0 for those with none,
 * -1 for what is not one of those. */
static int scalar_size(uint8_t c)
{
	switch (c) {
	case 0xc0: /* nil */
	case 0xc2: /* false */
	case 0xc3: /* true */
		return 0;
	case 0xcc:
	case 0xd0:
		return 1;
	case 0xcd:
	case 0xd1:
		return 2;
	case 0xca: /* float */
	case 0xce:
	case 0xd2:
		return 4;
	case 0xcb: /* double */
	case 0xcf:
	case 0xd3:
		return 8;
	default:
		return -1;
	}
}

/* The bytes of the length or count behind the first byte; 0: no such type.
 * Extension types are not used by the protocol and not accepted. */
static size_t count_size(uint8_t c)
{
	switch (c) {
	case 0xc4: /* bin */
	case 0xd9: /* str */
		return 1;
	case 0xc5:
	case 0xda:
	case 0xdc: /* array */
	case 0xde: /* map */
		return 2;
	case 0xc6:
	case 0xdb:
	case 0xdd:
	case 0xdf:
		return 4;
	default:
		return 0;
	}
}

static int element_counted(const uint8_t *p, size_t len, struct element *ret)
{
	size_t width = count_size(p[0]);
	uint64_t n;

	if (!width)
		return -EBADMSG;
	if (len < 1 + width)
		return -EAGAIN;
	n = be(p + 1, width);
	ret->size = 1 + width;
	if (p[0] >= 0xdc) {
		ret->is_container = true;
		ret->inside = p[0] >= 0xde ? n * 2 : n;
	} else {
		ret->size += n;
	}
	return 0;
}

static int element_read(const uint8_t *p, size_t len, struct element *ret)
{
	uint8_t c = p[0];
	int n;

	*ret = (struct element){.size = 1};
	if (c < 0x80 || c >= 0xe0)
		return 0; /* small integers */
	if (c < 0xa0) {
		ret->is_container = true;
		ret->inside = c < 0x90 ? 2u * (c & 15) : c & 15;
		return 0;
	}
	if (c < 0xc0) {
		ret->size += c & 31;
		return 0;
	}
	n = scalar_size(c);
	if (n >= 0) {
		ret->size += (size_t)n;
		return 0;
	}
	return element_counted(p, len, ret);
}

void sbx_walk_init(struct sbx_walk *w)
{
	*w = (struct sbx_walk){0};
}

/* Takes one element off the walk.  Every missing element needs a byte at
 * least: a value that cannot end within the limit is refused early. */
static int walk_element(struct sbx_walk *w, const uint8_t *data, size_t len)
{
	struct element e;
	int r;

	r = element_read(data + w->pos, len - w->pos, &e);
	if (r < 0)
		return r;
	if (e.size > SBX_MESSAGE_MAX || e.inside > SBX_MESSAGE_MAX ||
	    w->pos + e.size + e.inside > SBX_MESSAGE_MAX)
		return -EBADMSG;
	w->pos += e.size;
	w->begun = true;
	if (w->depth)
		w->left[w->depth - 1]--;
	if (!e.is_container)
		return 0;
	if (w->depth == SBX_MSG_DEPTH)
		return -EBADMSG;
	w->left[w->depth++] = (uint32_t)e.inside;
	return 0;
}

int sbx_walk_on(struct sbx_walk *w, const void *data, size_t len,
		size_t *ret_size)
{
	int r;

	for (;;) {
		while (w->depth && !w->left[w->depth - 1])
			w->depth--;
		if (w->begun && !w->depth)
			break;
		if (w->pos >= len)
			return -EAGAIN;
		r = walk_element(w, data, len);
		if (r < 0)
			return r;
	}
	if (w->pos > len)
		return -EAGAIN;
	*ret_size = w->pos;
	return 0;
}

int sbx_msg_check(const void *data, size_t len, size_t *ret_size)
{
	struct sbx_walk w;

	sbx_walk_init(&w);
	return sbx_walk_on(&w, data, len, ret_size);
}

/*
 * The walk has seen every element, so no count in these bytes is larger than
 * their number, and what is allocated below is at most a small multiple of
 * it.  It is repeated here since not every caller's bytes came by the link.
 */
int sbx_msg_parse(struct sbx_msg *m, const void *data, size_t len)
{
	msgpack_unpacked un;
	msgpack_unpack_return r;
	size_t size, off = 0;

	*m = (struct sbx_msg){0};
	if (sbx_msg_check(data, len, &size) < 0 || size != len)
		return -EBADMSG;
	msgpack_unpacked_init(&un);
	r = msgpack_unpack_next(&un, data, len, &off);
	if (r != MSGPACK_UNPACK_SUCCESS) {
		msgpack_unpacked_destroy(&un);
		return r == MSGPACK_UNPACK_NOMEM_ERROR ? -ENOMEM : -EBADMSG;
	}
	m->root = un.data;
	m->zone = msgpack_unpacked_release_zone(&un);
	return 0;
}

void sbx_msg_release(struct sbx_msg *m)
{
	if (m->zone)
		msgpack_zone_free(m->zone);
	*m = (struct sbx_msg){0};
}

/* ---- reading ---- */

struct sbx_rd sbx_rd_whole(const struct sbx_msg *m)
{
	return (struct sbx_rd){.at = &m->root, .left = 1};
}

struct sbx_rd sbx_rd_root(const struct sbx_msg *m)
{
	struct sbx_rd whole = sbx_rd_whole(m);

	if (m->root.type != MSGPACK_OBJECT_ARRAY)
		return (struct sbx_rd){.err = -EPROTO};
	return sbx_get_array(&whole);
}

/* NULL where there is none, or after an error. */
static const msgpack_object *rd_next(struct sbx_rd *r)
{
	if (r->err || !r->left)
		return NULL;
	r->left--;
	return r->at++;
}

uint64_t sbx_get_u64(struct sbx_rd *r)
{
	const msgpack_object *o = rd_next(r);

	if (!o)
		return 0;
	if (o->type != MSGPACK_OBJECT_POSITIVE_INTEGER) {
		r->err = -EPROTO;
		return 0;
	}
	return o->via.u64;
}

uint32_t sbx_get_u32(struct sbx_rd *r)
{
	uint64_t v = sbx_get_u64(r);

	if (v > UINT32_MAX) {
		r->err = -EPROTO;
		return 0;
	}
	return (uint32_t)v;
}

int64_t sbx_get_i64(struct sbx_rd *r)
{
	const msgpack_object *o = rd_next(r);

	if (!o)
		return 0;
	if (o->type == MSGPACK_OBJECT_NEGATIVE_INTEGER)
		return o->via.i64;
	if (o->type == MSGPACK_OBJECT_POSITIVE_INTEGER &&
	    o->via.u64 <= INT64_MAX)
		return (int64_t)o->via.u64;
	r->err = -EPROTO;
	return 0;
}

bool sbx_get_bool(struct sbx_rd *r)
{
	const msgpack_object *o = rd_next(r);

	if (!o)
		return false;
	if (o->type != MSGPACK_OBJECT_BOOLEAN) {
		r->err = -EPROTO;
		return false;
	}
	return o->via.boolean;
}

const uint8_t *sbx_get_bin(struct sbx_rd *r, size_t *ret_len)
{
	const msgpack_object *o = rd_next(r);

	*ret_len = 0;
	if (!o || o->type == MSGPACK_OBJECT_NIL)
		return NULL;
	if (o->type == MSGPACK_OBJECT_BIN) {
		*ret_len = o->via.bin.size;
		return (const uint8_t *)o->via.bin.ptr;
	}
	if (o->type == MSGPACK_OBJECT_STR) {
		*ret_len = o->via.str.size;
		return (const uint8_t *)o->via.str.ptr;
	}
	r->err = -EPROTO;
	return NULL;
}

static bool name_is_legal(const char *name, size_t len)
{
	if (len > 255 || memchr(name, '/', len) || memchr(name, '\0', len))
		return false;
	return !(name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.')));
}

const char *sbx_get_name(struct sbx_rd *r, size_t *ret_len)
{
	const char *name = (const char *)sbx_get_bin(r, ret_len);

	if (!name || !*ret_len)
		return NULL;
	if (!name_is_legal(name, *ret_len)) {
		r->err = -EPROTO;
		*ret_len = 0;
		return NULL;
	}
	return name;
}

struct sbx_rd sbx_get_array(struct sbx_rd *r)
{
	const msgpack_object *o = rd_next(r);

	if (!o || o->type == MSGPACK_OBJECT_NIL)
		return (struct sbx_rd){.err = r->err};
	if (o->type != MSGPACK_OBJECT_ARRAY) {
		r->err = -EPROTO;
		return (struct sbx_rd){.err = -EPROTO};
	}
	return (struct sbx_rd){.at = o->via.array.ptr,
			       .left = o->via.array.size};
}

struct sbx_rd sbx_get_map(struct sbx_rd *r)
{
	const msgpack_object *o = rd_next(r);

	if (!o || o->type == MSGPACK_OBJECT_NIL)
		return (struct sbx_rd){.err = r->err};
	if (o->type != MSGPACK_OBJECT_MAP) {
		r->err = -EPROTO;
		return (struct sbx_rd){.err = -EPROTO};
	}
	if (!o->via.map.size)
		return (struct sbx_rd){0};
	/* a key and its value stand side by side, two objects */
	_Static_assert(sizeof(msgpack_object_kv) == 2 * sizeof(msgpack_object),
		       "key and value are neighbours");
	return (struct sbx_rd){.at = &o->via.map.ptr->key,
			       .left = 2 * o->via.map.size};
}

bool sbx_get_is_nil(const struct sbx_rd *r)
{
	return !r->err && r->left && r->at->type == MSGPACK_OBJECT_NIL;
}

bool sbx_get_is_array(const struct sbx_rd *r)
{
	return !r->err && r->left && r->at->type == MSGPACK_OBJECT_ARRAY;
}

void sbx_get_skip(struct sbx_rd *r)
{
	rd_next(r);
}

static uint32_t get_nsec(struct sbx_rd *r)
{
	uint32_t ns = sbx_get_u32(r);

	return ns > NSEC_MAX ? NSEC_MAX : ns;
}

static bool mode_is_legal(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
	case S_IFDIR:
	case S_IFLNK:
	case S_IFIFO:
	case S_IFSOCK:
	case S_IFCHR:
	case S_IFBLK:
		return true;
	default:
		return false;
	}
}

static void attr_read(struct sbx_rd *a, struct sbx_attr *ret)
{
	ret->mode = sbx_get_u32(a) & 0177777;
	ret->nlink = sbx_get_u32(a);
	ret->uid = sbx_get_u32(a);
	ret->gid = sbx_get_u32(a);
	ret->size = sbx_get_u64(a);
	ret->blocks = sbx_get_u64(a);
	ret->ino = sbx_get_u64(a);
	ret->dev = sbx_get_u64(a);
	ret->rdev = sbx_get_u64(a);
	ret->atime_s = sbx_get_i64(a);
	ret->atime_ns = get_nsec(a);
	ret->mtime_s = sbx_get_i64(a);
	ret->mtime_ns = get_nsec(a);
	ret->ctime_s = sbx_get_i64(a);
	ret->ctime_ns = get_nsec(a);
	ret->blksize = sbx_get_u32(a);
	ret->flags = sbx_get_u32(a);
}

/* Block counts and sizes only inform; what cannot be is set to what can. */
static int attr_check(struct sbx_attr *a)
{
	if (!mode_is_legal(a->mode) || a->size > INT64_MAX)
		return -EPROTO;
	if (a->blocks > INT64_MAX / 512)
		a->blocks = a->size / 512;
	if (a->blksize < 512 || a->blksize > 1 << 30)
		a->blksize = 4096;
	return 0;
}

bool sbx_get_attr(struct sbx_rd *r, struct sbx_attr *ret)
{
	struct sbx_rd a;

	*ret = (struct sbx_attr){0};
	if (!r->left || sbx_get_is_nil(r)) {
		sbx_get_skip(r);
		return false;
	}
	a = sbx_get_array(r);
	if (!a.err && a.left < ATTR_FIELDS)
		a.err = -EPROTO;
	attr_read(&a, ret);
	if (!a.err)
		a.err = attr_check(ret);
	if (!a.err)
		return true;
	r->err = a.err;
	*ret = (struct sbx_attr){0};
	return false;
}
