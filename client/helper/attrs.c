/*
 * Requests about attributes: LOOKUP and GETATTR, SETATTR, READLINK, ACCESS,
 * STATFS.  Extended attributes are in xattrs.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "client/helper/at.h"
#include "client/helper/content.h"
#include "client/helper/creds.h"
#include "client/helper/handles.h"
#include "client/helper/helper.h"
#include "client/wire/proto.h"

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif
#ifndef SYS_faccessat2
#define SYS_faccessat2 439
#endif

#define LINK_MAX_BYTES 4096

int op_getattr(struct req *q)
{
	struct at at;
	int r;

	r = at_get(q, &at);
	return r < 0 ? r : at_put_attr(q, &at);
}

int op_lookup(struct req *q)
{
	struct sbx_attr attr;
	uint32_t content;
	struct at at;
	int r;

	r = at_get(q, &at);
	content = sbx_get_u32(&q->rd);
	if (!r)
		r = at_attr(q->h, &at, &attr);
	if (r < 0)
		return r;
	sbx_put_attr(q->out, &attr);
	if (content && at.dir && at.name[0] && S_ISREG(attr.mode) &&
	    !(attr.flags & SBX_ATTR_VOLATILE) && dirs_enter(q->h, at.dir) == 0)
		content_put(q->out, at.name, attr.ino, content);
	else if (S_ISLNK(attr.mode) && at.dir && at.name[0] &&
		 dirs_enter(q->h, at.dir) == 0)
		content_put_target(q->out, at.name);
	else
		sbx_put_nil(q->out);
	return 0;
}

/* ---- SETATTR ---- */

struct setattr {
	uint32_t valid, mode, uid, gid;
	uint64_t size;
	struct timespec times[2];
};

static int setattr_get(struct sbx_rd *rd, struct setattr *s)
{
	s->valid = sbx_get_u32(rd);
	s->mode = sbx_get_u32(rd);
	s->uid = sbx_get_u32(rd);
	s->gid = sbx_get_u32(rd);
	s->size = sbx_get_u64(rd);
	s->times[0].tv_sec = sbx_get_i64(rd);
	s->times[0].tv_nsec = sbx_get_u32(rd);
	s->times[1].tv_sec = sbx_get_i64(rd);
	s->times[1].tv_nsec = sbx_get_u32(rd);
	if (rd->err || s->size > INT64_MAX || s->times[0].tv_nsec > 999999999 ||
	    s->times[1].tv_nsec > 999999999)
		return -EINVAL;
	if (s->valid & SBX_SET_ATIME_NOW)
		s->times[0].tv_nsec = UTIME_NOW;
	else if (!(s->valid & SBX_SET_ATIME))
		s->times[0].tv_nsec = UTIME_OMIT;
	if (s->valid & SBX_SET_MTIME_NOW)
		s->times[1].tv_nsec = UTIME_NOW;
	else if (!(s->valid & SBX_SET_MTIME))
		s->times[1].tv_nsec = UTIME_OMIT;
	return 0;
}

static int error_of(int r)
{
	return r < 0 ? -errno : 0;
}

static int set_size(struct helper *h, const struct at *at,
		    const struct object *o, uint64_t size)
{
	struct stat st;
	int fd, r;

	if (at->handle && (at->handle->flags & O_ACCMODE) != O_RDONLY)
		return error_of(ftruncate(o->fd, (off_t)size));
	if (S_ISDIR(o->st.st_mode))
		return -EISDIR;
	if (!S_ISREG(o->st.st_mode))
		return -EINVAL;
	fd = open(o->path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT && at->dir && !dirs_enter(h, at->dir))
		fd = open(at->name,
			  O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return -errno;
	r = error_of(fstat(fd, &st));
	if (!r && (st.st_ino != o->st.st_ino || st.st_dev != o->st.st_dev))
		r = -ESTALE;
	if (!r)
		r = error_of(ftruncate(fd, (off_t)size));
	close(fd);
	return r;
}

static int set_mode(struct helper *h, const struct at *at,
		    const struct object *o, mode_t mode)
{
	if (at->handle)
		return error_of(fchmod(o->fd, mode));
	if (S_ISLNK(o->st.st_mode))
		return -EOPNOTSUPP;
	if (syscall(SYS_fchmodat2, o->fd, "", mode, AT_EMPTY_PATH) == 0)
		return 0;
	if (errno != ENOSYS && errno != EPERM)
		return -errno;
	/* EPERM: or a filter that does not know the call */
	if (chmod(o->path, mode) == 0)
		return 0;
	if (errno != ENOENT || dirs_enter(h, at->dir) < 0)
		return -errno;
	return error_of(chmod(at->name[0] ? at->name : ".", mode));
}

static int set_owner(const struct object *o, const struct setattr *s)
{
	uid_t uid = s->valid & SBX_SET_UID ? s->uid : (uid_t)-1;
	gid_t gid = s->valid & SBX_SET_GID ? s->gid : (gid_t)-1;

	return error_of(fchownat(o->fd, "", uid, gid, AT_EMPTY_PATH));
}

static int set_times(struct helper *h, const struct at *at,
		     const struct object *o, const struct setattr *s)
{
	if (at->handle)
		return error_of(futimens(o->fd, s->times));
	if (utimensat(o->fd, "", s->times, AT_EMPTY_PATH) == 0)
		return 0;
	/* before Linux 5.8 not for O_PATH */
	if (errno != EBADF && errno != EINVAL)
		return -errno;
	if (dirs_enter(h, at->dir) < 0)
		return -ESTALE;
	return error_of(utimensat(AT_FDCWD, at->name[0] ? at->name : ".",
				  s->times, AT_SYMLINK_NOFOLLOW));
}

/*
 * What takes set-id bits away, depending on who does it.  A mode that comes
 * along is what whoever asks believes to be left, so it is set by the same,
 * or, with a size, not at all: they need not be the owner.
 */
static int setattr_as(struct helper *h, const struct at *at,
		      const struct object *o, struct setattr *s)
{
	int r = creds_begin(h);

	if (r < 0)
		return r;
	if (s->valid & SBX_SET_SIZE) {
		r = set_size(h, at, o, s->size);
		if (h->creds)
			s->valid &= ~(uint32_t)SBX_SET_MODE;
	}
	if (!r && (s->valid & (SBX_SET_UID | SBX_SET_GID)))
		r = set_owner(o, s);
	if (!r && (s->valid & SBX_SET_MODE))
		r = set_mode(h, at, o, s->mode & 07777);
	creds_end(h);
	return r;
}

/* The size while it may still be written, the mode after the owner, whose
 * change takes bits away, the times last, since all of it changes them. */
static int setattr_apply(struct helper *h, const struct at *at,
			 const struct object *o, struct setattr *s)
{
	const uint32_t times = SBX_SET_ATIME | SBX_SET_MTIME |
			       SBX_SET_ATIME_NOW | SBX_SET_MTIME_NOW;
	int r = 0;

	if (s->valid & (SBX_SET_SIZE | SBX_SET_UID | SBX_SET_GID))
		r = setattr_as(h, at, o, s);
	else if (s->valid & SBX_SET_MODE)
		r = set_mode(h, at, o, s->mode & 07777);
	if (!r && (s->valid & times))
		r = set_times(h, at, o, s);
	return r;
}

/* What the kernel tells of these, and no more: other events of the same name
 * are not ours. */
static uint32_t setattr_events(const struct at *at, const struct setattr *s)
{
	const uint32_t atime = SBX_SET_ATIME | SBX_SET_ATIME_NOW;
	const uint32_t mtime = SBX_SET_MTIME | SBX_SET_MTIME_NOW;
	uint32_t mask = 0;

	if (s->valid & SBX_SET_SIZE)
		mask |= at->handle ? IN_MODIFY : IN_MODIFY | IN_CLOSE_WRITE;
	if (s->valid & (SBX_SET_MODE | SBX_SET_UID | SBX_SET_GID))
		mask |= IN_ATTRIB;
	if (s->valid & mtime)
		mask |= s->valid & atime ? IN_ATTRIB : IN_MODIFY;
	return mask;
}

int op_setattr(struct req *q)
{
	struct setattr s;
	struct object o;
	struct at at;
	int r;

	r = at_open(q, &at, &o);
	if (r < 0)
		return r;
	r = setattr_get(&q->rd, &s);
	if (!r) {
		at_expect(q->h, &at, setattr_events(&at, &s));
		r = setattr_apply(q->h, &at, &o, &s);
	}
	object_close(&o);
	return r < 0 ? r : at_put_attr(q, &at);
}

/* ---- others ---- */

int op_readlink(struct req *q)
{
	char target[LINK_MAX_BYTES];
	struct object o;
	struct at at;
	ssize_t n;
	int r;

	r = at_open(q, &at, &o);
	if (r < 0)
		return r;
	if (!S_ISLNK(o.st.st_mode)) {
		object_close(&o);
		return -EINVAL;
	}
	n = readlinkat(o.fd, "", target, sizeof(target));
	r = n < 0 ? -errno : 0;
	object_close(&o);
	if (!r)
		sbx_put_bin(q->out, target, (size_t)n);
	return r;
}

/* With the rights that files are opened with. */
static int object_access(const struct object *o, int mask)
{
	int r = error_of((int)syscall(SYS_faccessat2, o->fd, "", mask,
				      AT_EACCESS | AT_EMPTY_PATH));

	if (r == -ENOSYS || r == -EPERM)
		r = error_of(faccessat(AT_FDCWD, o->path, mask, AT_EACCESS));
	return r;
}

int op_access(struct req *q)
{
	struct object o;
	uint32_t mask;
	struct at at;
	int r;

	r = at_open(q, &at, &o);
	if (r < 0)
		return r;
	mask = sbx_get_u32(&q->rd);
	r = q->rd.err || mask > 7 ? -EINVAL : object_access(&o, (int)mask);
	object_close(&o);
	return r;
}

int op_statfs(struct req *q)
{
	struct statvfs fs;
	struct object o;
	struct at at;
	int r;

	r = at_open(q, &at, &o);
	if (r < 0)
		return r;
	r = error_of(fstatvfs(o.fd, &fs));
	object_close(&o);
	if (r < 0)
		return r;
	sbx_put_u64(q->out, fs.f_bsize);
	sbx_put_u64(q->out, fs.f_frsize);
	sbx_put_u64(q->out, fs.f_blocks);
	sbx_put_u64(q->out, fs.f_bfree);
	sbx_put_u64(q->out, fs.f_bavail);
	sbx_put_u64(q->out, fs.f_files);
	sbx_put_u64(q->out, fs.f_ffree);
	sbx_put_u64(q->out, fs.f_namemax);
	return 0;
}
