/* The objects that requests name: see at.h. */
#include "client/helper/at.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client/helper/attr.h"
#include "client/helper/handles.h"
#include "client/helper/helper.h"

int at_copy_name(struct sbx_rd *rd, char name[256])
{
	size_t len;
	const char *s = sbx_get_name(rd, &len);

	name[0] = '\0';
	if (rd->err)
		return -EINVAL;
	if (s)
		memcpy(name, s, len);
	name[s ? len : 0] = '\0';
	return 0;
}

int at_get(struct req *q, struct at *at)
{
	uint64_t number = sbx_get_u64(&q->rd);
	int r;

	memset(at, 0, offsetof(struct at, name));
	r = at_copy_name(&q->rd, at->name);
	at->ino = sbx_get_u64(&q->rd);
	if (r < 0 || q->rd.err)
		return -EINVAL;
	if (!number) {
		at->handle = handles_get(q->h, at->ino);
		at->ino = 0;
		at->name[0] = '\0';
		return at->handle ? 0 : -ESTALE;
	}
	at->dir = dirs_get(q->h, number, &r);
	return at->dir ? 0 : r;
}

int at_get_name(struct req *q, struct at *at)
{
	uint64_t number = sbx_get_u64(&q->rd);
	int r;

	memset(at, 0, offsetof(struct at, name));
	r = at_copy_name(&q->rd, at->name);
	if (r < 0 || q->rd.err || !at->name[0])
		return -EINVAL;
	at->dir = dirs_get(q->h, number, &r);
	return at->dir ? 0 : r;
}

static int object_take(struct helper *h, const struct at *at, struct object *o)
{
	int fd;

	if (at->handle) {
		o->fd = at->handle->fd;
		return 0;
	}
	fd = dirs_fd(h, at->dir);
	if (fd < 0)
		return fd;
	o->fd = fd;
	if (!at->name[0])
		return 0;
	o->fd = openat(fd, at->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (o->fd < 0)
		return -errno;
	o->owned = true;
	return 0;
}

int object_open(struct helper *h, const struct at *at, struct object *o)
{
	int r;

	*o = (struct object){.fd = -1};
	r = object_take(h, at, o);
	if (r < 0)
		return r;
	if (fstat(o->fd, &o->st) < 0)
		r = -errno;
	else if (at->ino && o->st.st_ino != at->ino)
		r = -ESTALE;
	if (r < 0) {
		object_close(o);
		return r;
	}
	snprintf(o->path, sizeof(o->path), "/proc/self/fd/%d", o->fd);
	return 0;
}

void object_close(struct object *o)
{
	if (o->owned && o->fd >= 0)
		close(o->fd);
	o->owned = false;
	o->fd = -1;
}

int at_open(struct req *q, struct at *at, struct object *o)
{
	int r = at_get(q, at);

	return r < 0 ? r : object_open(q->h, at, o);
}

void at_expect(struct helper *h, const struct at *at, uint32_t mask)
{
	int err;

	if (at->handle) {
		watch_expect(h, dirs_get(h, at->handle->dir, &err),
			     at->handle->name, mask);
		return;
	}
	watch_expect(h, at->dir, at->name, mask);
	/* a directory's own changes are told to its parent's watch, too */
	if (!at->name[0] && at->dir->parent && !at->dir->lost)
		watch_expect(h, at->dir->parent, at->dir->name, mask);
}

int at_attr(struct helper *h, const struct at *at, struct sbx_attr *ret)
{
	if (at->handle)
		return attr_of_fd(h, at->handle->fd, ret);
	return attr_of_name(h, at->dir, at->name, at->ino, ret);
}

int at_put_attr(struct req *q, const struct at *at)
{
	struct sbx_attr attr;
	int r;

	watch_own_end(q->h);
	r = at_attr(q->h, at, &attr);
	if (!r)
		sbx_put_attr(q->out, &attr);
	return r;
}
