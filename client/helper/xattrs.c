/*
 * Extended attributes: GETXATTR, LISTXATTR, SETXATTR, REMOVEXATTR.  The
 * calls take no O_PATH descriptor, so they go by its path in /proc, which
 * leads to the object itself, a symbolic link included.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/xattr.h>

#include "client/helper/at.h"
#include "client/helper/handles.h"
#include "client/helper/helper.h"

#define VALUE_MAX (64 * 1024)

/* Attribute names are longer than file names may be, and may hold '/'. */
static int get_key(struct sbx_rd *rd, char key[256])
{
	size_t len;
	const uint8_t *s = sbx_get_bin(rd, &len);

	if (rd->err || !len || memchr(s, '\0', len))
		return -EINVAL;
	if (len > 255)
		return -ERANGE;
	memcpy(key, s, len);
	key[len] = '\0';
	return 0;
}

int op_getxattr(struct req *q)
{
	static char value[VALUE_MAX];
	struct object o;
	char key[256];
	struct at at;
	ssize_t n;
	int r;

	r = at_open(q, &at, &o);
	if (r < 0)
		return r;
	r = get_key(&q->rd, key);
	if (!r) {
		n = getxattr(o.path, key, value, sizeof(value));
		r = n < 0 ? -errno : 0;
	}
	object_close(&o);
	if (!r)
		sbx_put_bin(q->out, value, (size_t)n);
	return r;
}

int op_listxattr(struct req *q)
{
	static char names[VALUE_MAX];
	struct object o;
	struct at at;
	ssize_t n;
	int r;

	r = at_open(q, &at, &o);
	if (r < 0)
		return r;
	n = listxattr(o.path, names, sizeof(names));
	r = n < 0 ? -errno : 0;
	object_close(&o);
	if (!r)
		sbx_put_bin(q->out, names, (size_t)n);
	return r;
}

int op_setxattr(struct req *q)
{
	const uint8_t *value;
	struct object o;
	char key[256];
	uint32_t flags;
	struct at at;
	size_t len;
	int r;

	r = at_open(q, &at, &o);
	if (r < 0)
		return r;
	r = get_key(&q->rd, key);
	value = sbx_get_bin(&q->rd, &len);
	flags = sbx_get_u32(&q->rd);
	if (!r &&
	    (q->rd.err || flags & ~(uint32_t)(XATTR_CREATE | XATTR_REPLACE)))
		r = -EINVAL;
	if (!r && len > VALUE_MAX)
		r = -E2BIG;
	if (!r) {
		at_expect(q->h, &at, IN_ATTRIB);
		if (setxattr(o.path, key, value ? value : (const void *)"", len,
			     (int)flags) < 0)
			r = -errno;
	}
	object_close(&o);
	return r < 0 ? r : at_put_attr(q, &at);
}

int op_removexattr(struct req *q)
{
	struct object o;
	char key[256];
	struct at at;
	int r;

	r = at_open(q, &at, &o);
	if (r < 0)
		return r;
	r = get_key(&q->rd, key);
	if (!r) {
		at_expect(q->h, &at, IN_ATTRIB);
		if (removexattr(o.path, key) < 0)
			r = -errno;
	}
	object_close(&o);
	return r < 0 ? r : at_put_attr(q, &at);
}
