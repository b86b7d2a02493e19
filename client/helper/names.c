/*
 * Requests that make, remove and move names: CREATE, MKDIR, MKNOD, SYMLINK,
 * LINK, UNLINK, RMDIR, RENAME.  The directory is entered, names are used as
 * they are: none holds a slash.
 */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/helper/at.h"
#include "client/helper/attr.h"
#include "client/helper/creds.h"
#include "client/helper/dirread.h"
#include "client/helper/handles.h"
#include "client/helper/helper.h"
#include "client/helper/openflags.h"
#include "client/wire/proto.h"

#define TRIES_MAX  8
#define TARGET_MAX 4096

/* O_TMPFILE has no name; the others need one. */
static int get_place(struct req *q, struct at *at)
{
	uint64_t number = sbx_get_u64(&q->rd);
	int r;

	memset(at, 0, offsetof(struct at, name));
	r = at_copy_name(&q->rd, at->name);
	if (r < 0)
		return r;
	at->dir = dirs_get(q->h, number, &r);
	return at->dir ? 0 : r;
}

/* ---- CREATE ---- */

/* New files are made by whom the request is for, with their umask: this
 * process has none of its own. */
static int maker_begin(const struct helper *h, uint32_t mask)
{
	int r = creds_begin(h);

	if (!r)
		umask(mask & 0777);
	return r;
}

static void maker_end(const struct helper *h)
{
	umask(0);
	creds_end(h);
}

static int open_existing(const char *name, int flags)
{
	struct stat st;
	int fd = open(name, (flags & ~(O_CREAT | O_EXCL)) | O_NOFOLLOW);

	if (fd < 0)
		return -errno;
	/* what open(2) with O_CREAT says of it */
	if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) {
		close(fd);
		return -EISDIR;
	}
	return fd;
}

/* Whether it is new must be known, so first as if it had to be. */
static int create_open(const char *name, int flags, mode_t mode, bool *created)
{
	int fd, tries;

	for (tries = 0; tries < TRIES_MAX; tries++) {
		fd = open(name, flags | O_CREAT | O_EXCL | O_NOFOLLOW, mode);
		*created = fd >= 0;
		if (fd >= 0)
			return fd;
		if (errno != EEXIST || (flags & O_EXCL))
			return -errno;
		fd = open_existing(name, flags);
		if (fd != -ENOENT)
			return fd;
	}
	return -EAGAIN;
}

static int create_as(const struct helper *h, const char *name, int flags,
		     mode_t mode, uint32_t mask, bool *created)
{
	int fd, r = maker_begin(h, mask);

	if (r < 0)
		return r;
	if (name[0])
		fd = create_open(name, flags & ~O_DIRECTORY, mode, created);
	else if ((fd = open(".", flags & ~O_CREAT, mode)) < 0)
		fd = -errno;
	maker_end(h);
	return fd;
}

int op_create(struct req *q)
{
	struct sbx_attr attr;
	bool created = true;
	uint64_t number;
	struct handle *hd;
	struct at at;
	uint32_t mode, mask;
	int fd, flags, r;

	r = get_place(q, &at);
	if (r < 0)
		return r;
	number = sbx_get_u64(&q->rd);
	flags = open_flags(sbx_get_u32(&q->rd));
	mode = sbx_get_u32(&q->rd) & 07777;
	mask = sbx_get_u32(&q->rd);
	if (q->rd.err || flags < 0)
		return -EINVAL;
	if (!at.name[0] != ((flags & O_TMPFILE) == O_TMPFILE))
		return -EINVAL;
	r = dirs_enter(q->h, at.dir);
	if (r < 0)
		return r;
	watch_expect(q->h, at.dir, at.name,
		     flags & O_TRUNC ? IN_CREATE | IN_MODIFY : IN_CREATE);
	fd = create_as(q->h, at.name, flags, mode, mask, &created);
	if (fd < 0)
		return fd;
	watch_own_end(q->h);
	r = attr_of_fd(q->h, fd, &attr);
	if (r < 0) {
		close(fd);
		return r;
	}
	r = handles_put(q->h, number, fd, flags, at.dir, at.name, &hd);
	if (r < 0)
		return r;
	sbx_put_attr(q->out, &attr);
	sbx_put_bool(q->out, created);
	return 0;
}

/* ---- other new names ---- */

static int made(struct req *q, const struct at *at, int r)
{
	maker_end(q->h);
	return r < 0 ? -errno : at_put_attr(q, at);
}

/* 0: the next call is the one that makes it, then made. */
static int make_begin(struct req *q, const struct at *at, uint32_t mask)
{
	int r;

	if (q->rd.err)
		return -EINVAL;
	r = dirs_enter(q->h, at->dir);
	if (r < 0)
		return r;
	watch_expect(q->h, at->dir, at->name, IN_CREATE);
	return maker_begin(q->h, mask);
}

/* Numbers and watches a directory that was just made; NULL: that cannot be. */
static struct dir *dir_born(struct helper *h, const struct at *at,
			    uint64_t number)
{
	struct dir *d;
	int fd;

	if (number < SBX_DIR_FIRST || dirs_enter(h, at->dir) < 0)
		return NULL;
	fd = open(at->name, O_PATH | O_NOFOLLOW | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || dirs_put(h, number, at->dir, at->name, fd, &d) < 0)
		return NULL;
	if (watch_add(h, d) == 0)
		return d;
	dirs_forget(h, number);
	return NULL;
}

static bool dir_is_empty(struct helper *h, struct dir *d)
{
	static struct dirread read;
	const char *name;
	bool refill;
	int r;

	dirread_init(&read);
	r = dirread_open(h, d, &read);
	if (!r)
		r = dirread_next(&read, &name, &refill) ? -ENOTEMPTY : 0;
	dirread_close(&read);
	return !r;
}

/* Others may have put something in it, or in its place, by now. */
static int dir_made(struct req *q, const struct at *at, uint64_t number)
{
	struct dir *d = number ? dir_born(q->h, at, number) : NULL;
	bool empty = d && dir_is_empty(q->h, d);
	struct sbx_attr attr;
	int r;

	watch_own_end(q->h);
	r = at_attr(q->h, at, &attr);
	if (d && (r < 0 || attr.ino != d->ino)) {
		dirs_forget(q->h, number);
		d = NULL;
	}
	if (r < 0)
		return r;
	sbx_put_attr(q->out, &attr);
	sbx_put_bool(q->out, d);
	sbx_put_bool(q->out, d && empty);
	return 0;
}

int op_mkdir(struct req *q)
{
	uint32_t mode, mask;
	uint64_t number;
	struct at at;
	int r;

	r = at_get_name(q, &at);
	if (r < 0)
		return r;
	mode = sbx_get_u32(&q->rd);
	mask = sbx_get_u32(&q->rd);
	number = sbx_get_u64(&q->rd);
	r = make_begin(q, &at, mask);
	if (r < 0)
		return r;
	r = mkdir(at.name, mode & 07777) < 0 ? -errno : 0;
	maker_end(q->h);
	return r < 0 ? r : dir_made(q, &at, number);
}

int op_mknod(struct req *q)
{
	uint32_t mode, mask;
	uint64_t rdev;
	struct at at;
	int r;

	r = at_get_name(q, &at);
	if (r < 0)
		return r;
	mode = sbx_get_u32(&q->rd);
	rdev = sbx_get_u64(&q->rd);
	mask = sbx_get_u32(&q->rd);
	r = make_begin(q, &at, mask);
	return r < 0 ? r : made(q, &at, mknod(at.name, mode, rdev));
}

int op_symlink(struct req *q)
{
	char target[TARGET_MAX];
	const uint8_t *s;
	struct at at;
	size_t len;
	int r;

	r = at_get_name(q, &at);
	if (r < 0)
		return r;
	s = sbx_get_bin(&q->rd, &len);
	if (q->rd.err || (s && memchr(s, '\0', len)))
		return -EINVAL;
	if (!len)
		return -ENOENT;
	if (len >= sizeof(target))
		return -ENAMETOOLONG;
	memcpy(target, s, len);
	target[len] = '\0';
	r = make_begin(q, &at, 0);
	return r < 0 ? r : made(q, &at, symlink(target, at.name));
}

/* Which way works depends on rights, kernel and whether /proc is there. */
static int link_object(const struct at *from, const struct object *o, int dir,
		       int from_dir, const char *name)
{
	if (linkat(o->fd, "", dir, name, AT_EMPTY_PATH) == 0)
		return 0;
	if (errno != ENOENT && errno != EPERM && errno != EINVAL)
		return -errno;
	if (linkat(AT_FDCWD, o->path, dir, name, AT_SYMLINK_FOLLOW) == 0)
		return 0;
	if (errno != ENOENT || from_dir < 0 || !from->name[0])
		return -errno;
	return linkat(from_dir, from->name, dir, name, 0) < 0 ? -errno : 0;
}

static int link_as(const struct helper *h, const struct at *from,
		   const struct object *o, int dir, int from_dir,
		   const char *name)
{
	int r = creds_begin(h);

	if (r < 0)
		return r;
	r = link_object(from, o, dir, from_dir, name);
	creds_end(h);
	return r;
}

int op_link(struct req *q)
{
	struct helper *h = q->h;
	struct at from, to;
	struct object o;
	int dir, from_dir = -1, r;

	r = at_get(q, &from);
	if (r < 0)
		return r;
	r = at_get_name(q, &to);
	if (r < 0)
		return r;
	r = object_open(h, &from, &o);
	if (r < 0)
		return r;
	watch_expect(h, to.dir, to.name, IN_CREATE);
	if (from.dir)
		from_dir = dirs_fd(h, from.dir);
	dir = dirs_fd(h, to.dir);
	if (dir < 0)
		r = dir;
	else if (from.dir && from.dir->fd != from_dir)
		r = -EMFILE; /* closed to make room: a very low limit */
	else
		r = link_as(h, &from, &o, dir, from_dir, to.name);
	object_close(&o);
	return r < 0 ? r : at_put_attr(q, &to);
}

/* ---- removing ---- */

static int remove_begin(struct req *q, struct at *at)
{
	struct stat st;
	int r;

	r = at_get_name(q, at);
	if (r < 0)
		return r;
	at->ino = sbx_get_u64(&q->rd);
	if (q->rd.err)
		return -EINVAL;
	r = dirs_enter(q->h, at->dir);
	if (r < 0 || !at->ino)
		return r;
	if (fstatat(AT_FDCWD, at->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	return st.st_ino == at->ino ? 0 : -ESTALE;
}

static int remove_as(const struct helper *h, const char *name,
		     int (*fn)(const char *name))
{
	int r = creds_begin(h);

	if (r < 0)
		return r;
	r = fn(name) < 0 ? -errno : 0;
	creds_end(h);
	return r;
}

/* Whether the name leads to what this handle has open. */
static int remove_check(const struct req *q, const struct at *at,
			uint64_t handle)
{
	const struct handle *hd = handles_get(q->h, handle);
	struct stat open, st;

	if (!hd)
		return -ESTALE;
	if (fstat(hd->fd, &open) < 0 ||
	    fstatat(AT_FDCWD, at->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	return st.st_ino == open.st_ino && st.st_dev == open.st_dev ? 0
								    : -ESTALE;
}

int op_unlink(struct req *q)
{
	uint64_t handle;
	struct at at;
	int r;

	r = remove_begin(q, &at);
	handle = sbx_get_u64(&q->rd);
	if (!r && q->rd.err)
		r = -EINVAL;
	if (!r && handle)
		r = remove_check(q, &at, handle);
	if (r < 0)
		return r;
	watch_expect(q->h, at.dir, at.name, IN_DELETE);
	return remove_as(q->h, at.name, unlink);
}

int op_rmdir(struct req *q)
{
	struct dir *d;
	struct at at;
	int r;

	r = remove_begin(q, &at);
	if (r < 0)
		return r;
	dirs_removing(q->h, at.dir, at.name);
	/* closing may have left it */
	r = dirs_enter(q->h, at.dir);
	if (r < 0)
		return r;
	watch_expect(q->h, at.dir, at.name, IN_DELETE);
	r = remove_as(q->h, at.name, rmdir);
	if (r < 0)
		return r;
	/* what this request did needs no telling */
	for (d = dirs_at(q->h, at.dir, at.name); d; d = dirs_next_at(d))
		watch_del(q->h, d);
	dirs_removed(q->h, at.dir, at.name);
	return 0;
}

/* ---- RENAME ---- */

static int rename_get(struct req *q, struct at *from, struct at *to,
		      uint32_t *flags)
{
	int r;

	r = at_get_name(q, from);
	if (r < 0)
		return r;
	r = at_get_name(q, to);
	if (r < 0)
		return r;
	*flags = sbx_get_u32(&q->rd);
	if (q->rd.err ||
	    *flags & ~(uint32_t)(RENAME_NOREPLACE | RENAME_EXCHANGE |
				 RENAME_WHITEOUT))
		return -EINVAL;
	return 0;
}

static int rename_run(struct helper *h, const struct at *from,
		      const struct at *to, uint32_t flags)
{
	int a, b, r;

	a = dirs_fd(h, from->dir);
	if (a < 0)
		return a;
	b = dirs_fd(h, to->dir);
	if (b < 0)
		return b;
	if (from->dir->fd != a)
		return -EMFILE;
	r = creds_begin(h);
	if (r < 0)
		return r;
	r = renameat2(a, from->name, b, to->name, flags);
	if (r < 0 && errno == ENOSYS && !flags)
		r = renameat(a, from->name, b, to->name);
	creds_end(h);
	return r < 0 ? -errno : 0;
}

static void rename_expect(struct helper *h, const struct at *from,
			  const struct at *to, uint32_t flags)
{
	uint32_t old = IN_MOVED_FROM, new = IN_MOVED_TO;

	if (flags & RENAME_EXCHANGE)
		old = new = IN_MOVED_FROM | IN_MOVED_TO;
	if (flags & RENAME_WHITEOUT)
		old |= IN_CREATE;
	watch_expect(h, from->dir, from->name, old);
	watch_expect(h, to->dir, to->name, new);
}

/* Two names of one file: rename(2) does nothing, and both are still there. */
static bool rename_was_nothing(struct helper *h, const struct at *from,
			       const struct stat *moved)
{
	struct stat st;

	return dirs_enter(h, from->dir) == 0 && lstat(from->name, &st) == 0 &&
	       st.st_ino == moved->st_ino && st.st_dev == moved->st_dev;
}

int op_rename(struct req *q)
{
	struct helper *h = q->h;
	struct at from, to;
	struct stat st;
	uint32_t flags;
	int r;

	r = rename_get(q, &from, &to, &flags);
	if (r < 0)
		return r;
	rename_expect(h, &from, &to, flags);
	r = rename_run(h, &from, &to, flags);
	if (r < 0)
		return r;
	/* done, even if what moved is gone again already */
	if (dirs_enter(h, to.dir) < 0 || lstat(to.name, &st) < 0)
		st.st_ino = 0;
	sbx_put_u64(q->out, st.st_ino);
	if (st.st_ino && rename_was_nothing(h, &from, &st))
		return 0;
	dirs_renamed(h, from.dir, from.name, to.dir, to.name,
		     flags & RENAME_EXCHANGE);
	handles_renamed(h, from.dir->number, from.name, to.dir->number,
			to.name);
	return 0;
}
