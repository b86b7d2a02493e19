/*
 * Open files: see handles.h.  OPEN, CLOSE and the lists they keep.
 */
#include "client/helper/handles.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/helper/at.h"
#include "client/helper/attr.h"
#include "client/helper/children.h"
#include "client/helper/creds.h"
#include "client/helper/helper.h"
#include "client/helper/openflags.h"

struct handle *handles_get(const struct helper *h, uint64_t number)
{
	return map_get(&h->handles, number);
}

int handles_put(struct helper *h, uint64_t number, int fd, int flags,
		const struct dir *d, const char *name, struct handle **ret)
{
	struct handle *hd = NULL;
	int r = -ENOMEM;

	if (!number || map_get(&h->handles, number)) {
		r = number ? -EBUSY : -EINVAL;
		goto fail;
	}
	if (h->handles.used >= HANDLES_MAX) {
		r = -ENFILE;
		goto fail;
	}
	hd = calloc(1, sizeof(*hd));
	if (!hd)
		goto fail;
	hd->number = number;
	hd->fd = fd;
	hd->flags = flags;
	hd->dir = d ? d->number : 0;
	hd->changes = (flags & O_ACCMODE) != O_RDONLY;
	hd->name = strdup(name);
	if (!hd->name || map_put(&h->handles, number, hd) < 0)
		goto fail;
	*ret = hd;
	return 0;
fail:
	if (hd)
		free(hd->name);
	free(hd);
	close(fd);
	return r;
}

static void handle_free(struct handle *hd)
{
	while (hd->owners) {
		struct owner *o = hd->owners;

		hd->owners = o->next;
		close(o->fd);
		free(o);
	}
	close(hd->fd);
	free(hd->name);
	free(hd);
}

static void handle_expect_close(struct helper *h, const struct handle *hd)
{
	int err;

	if (hd->changes)
		watch_expect(h, dirs_get(h, hd->dir, &err), hd->name,
			     IN_CLOSE_WRITE);
}

void handle_use(struct handle *hd)
{
	hd->users++;
}

void handle_unuse(struct helper *h, struct handle *hd)
{
	uint32_t id = hd->close_id;

	if (--hd->users || !hd->closing)
		return;
	watch_sync(h);
	watch_own_begin(h);
	handle_expect_close(h, hd);
	handle_free(hd);
	watch_own_end(h);
	reply_begin(h, id, 0);
	reply_end(h, id);
}

void handles_renamed(struct helper *h, uint64_t from, const char *old,
		     uint64_t to, const char *new)
{
	size_t i;

	for (i = 0; i < h->handles.size; i++) {
		struct handle *hd = h->handles.slots[i].value;
		char *name;

		if (!hd || hd->dir != from || strcmp(hd->name, old))
			continue;
		name = strdup(new);
		if (!name)
			continue;
		free(hd->name);
		hd->name = name;
		hd->dir = to;
	}
}

void handles_release(struct helper *h)
{
	size_t i;

	for (i = 0; i < h->handles.size; i++)
		if (h->handles.slots[i].value)
			handle_free(h->handles.slots[i].value);
	map_release(&h->handles);
}

/* ---- owners of locks ---- */

int handle_owner_fd(struct handle *hd, uint64_t owner, bool flock)
{
	static const int flags = O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
	char path[32];
	struct owner *o;

	if (!owner)
		return hd->fd;
	for (o = hd->owners; o; o = o->next)
		if (o->owner == owner && o->flock == flock)
			return o->fd;
	if (hd->owner_count >= OWNERS_MAX)
		return -ENOLCK;
	o = calloc(1, sizeof(*o));
	if (!o)
		return -ENOMEM;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", hd->fd);
	o->owner = owner;
	o->flock = flock;
	o->fd = -1;
	/* the owner's other open files may be for reading */
	if ((hd->flags & O_ACCMODE) == O_WRONLY)
		o->fd = open(path, O_RDWR | flags);
	if (o->fd < 0)
		o->fd = open(path, (hd->flags & O_ACCMODE) | flags);
	if (o->fd < 0) {
		free(o);
		return -ENOLCK;
	}
	o->next = hd->owners;
	hd->owners = o;
	hd->owner_count++;
	return o->fd;
}

void handle_owner_drop(struct helper *h, struct handle *hd, uint64_t owner,
		       bool flock)
{
	struct owner **at = &hd->owners, *o;

	while ((o = *at) && (o->owner != owner || o->flock != flock))
		at = &o->next;
	if (!o)
		return;
	*at = o->next;
	handle_expect_close(h, hd);
	close(o->fd);
	free(o);
	hd->owner_count--;
}

/* ---- requests ---- */

static int open_as(const struct helper *h, const char *path, int flags)
{
	int fd, r = creds_begin(h);

	if (r < 0)
		return r;
	fd = open(path, flags);
	creds_end(h);
	return fd < 0 ? -errno : fd;
}

/* The current directory is where the entry is, or there is an object. */
static int open_entry(struct helper *h, const struct at *at, int flags)
{
	struct object o;
	int r;

	if (!at->handle) {
		r = dirs_enter(h, at->dir);
		if (r < 0)
			return r;
		return open_as(h, at->name[0] ? at->name : ".",
			       flags | O_NOFOLLOW);
	}
	r = object_open(h, at, &o);
	if (r < 0)
		return r;
	return open_as(h, o.path, flags);
}

/* Emptied only after it is known to be the right one. */
static int open_truncate(int fd, int flags)
{
	char path[32];

	/* (as whoever opens it: for others than root it clears bits) */
	if ((flags & O_ACCMODE) != O_RDONLY)
		return ftruncate(fd, 0) < 0 ? -errno : 0;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return truncate(path, 0) < 0 ? -errno : 0;
}

static bool open_is_other(const struct at *at, int fd)
{
	struct stat st;

	return at->ino && fstat(fd, &st) == 0 && st.st_ino != at->ino;
}

static int open_emptied(const struct helper *h, int fd, int flags)
{
	struct stat st;
	int r;

	if (!(flags & O_TRUNC))
		return 0;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return 0;
	r = creds_begin(h);
	if (r < 0)
		return r;
	r = open_truncate(fd, flags);
	creds_end(h);
	return r;
}

/* What was told to have a name, whatever has it by now. */
static int open_recent(struct helper *h, struct at *at, int flags)
{
	int fd = recent_open(h, at->dir, at->name, at->ino, flags);

	if (fd < 0)
		return fd;
	/* it has no name that its changes would be told with */
	at->dir = NULL;
	at->name[0] = '\0';
	return fd;
}

/* The first step: nothing is emptied yet. */
static int open_found(struct helper *h, struct at *at, int flags)
{
	int fd = open_entry(h, at, flags);

	if (fd >= 0 && open_is_other(at, fd)) {
		close(fd);
		fd = -ESTALE;
	}
	/* (a link, a directory or a socket has the name) */
	if (fd == -ELOOP || fd == -EISDIR || fd == -ENXIO)
		fd = at->handle || !at->ino ? fd : -ESTALE;
	/* (nothing does: it is gone, or about to be there again) */
	if (fd == -ENOENT && at->ino)
		recent_begin(h, at->name);
	return fd == -ESTALE && at->dir && at->name[0]
		       ? open_recent(h, at, flags)
		       : fd;
}

static int open_at(struct helper *h, struct at *at, int *flags)
{
	int without = O_TRUNC | O_CREAT | O_EXCL, fd, r;

	fd = open_found(h, at, *flags & ~without);
	if (fd == -EPERM && (*flags & O_NOATIME)) {
		*flags &= ~O_NOATIME;
		fd = open_found(h, at, *flags & ~without);
	}
	if (fd < 0)
		return fd;
	r = open_emptied(h, fd, *flags);
	if (r < 0)
		close(fd);
	return r < 0 ? r : fd;
}

int op_open(struct req *q)
{
	uint64_t number = sbx_get_u64(&q->rd);
	struct helper *h = q->h;
	struct sbx_attr attr;
	struct handle *hd;
	struct at at;
	int fd, flags, r;

	r = at_get(q, &at);
	if (r < 0)
		return r;
	flags = open_flags(sbx_get_u32(&q->rd));
	if (q->rd.err || flags < 0)
		return -EINVAL;
	if (flags & O_TRUNC)
		at_expect(h, &at, IN_MODIFY);
	fd = open_at(h, &at, &flags);
	if (fd < 0)
		return fd;
	watch_own_end(h);
	r = attr_of_fd(h, fd, &attr);
	if (r < 0) {
		close(fd);
		return r;
	}
	r = handles_put(h, number, fd, flags, at.dir, at.name, &hd);
	if (!r)
		sbx_put_attr(q->out, &attr);
	return r;
}

int op_close(struct req *q)
{
	struct handle *hd = handles_get(q->h, sbx_get_u64(&q->rd));

	if (q->rd.err)
		return -EINVAL;
	if (!hd)
		return -ESTALE;
	map_del(&q->h->handles, hd->number);
	/* nobody will ask for these locks any more */
	children_cancel(q->h, hd, NULL);
	if (hd->users) {
		hd->closing = true;
		hd->close_id = q->in_batch ? 0 : q->id;
		return q->in_batch ? 0 : REQ_LATER;
	}
	handle_expect_close(q->h, hd);
	handle_free(hd);
	return 0;
}
