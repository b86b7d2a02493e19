/* The attributes of objects: see attr.h. */
#include "client/helper/attr.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "client/helper/helper.h"
#include "client/wire/proto.h"

static void attr_fill(struct sbx_attr *a, const struct stat *st)
{
	*a = (struct sbx_attr){.mode = st->st_mode,
			       .nlink = (uint32_t)st->st_nlink,
			       .uid = st->st_uid,
			       .gid = st->st_gid,
			       .size = (uint64_t)st->st_size,
			       .blocks = (uint64_t)st->st_blocks,
			       .ino = st->st_ino,
			       .dev = st->st_dev,
			       .rdev = st->st_rdev,
			       .atime_s = st->st_atim.tv_sec,
			       .atime_ns = (uint32_t)st->st_atim.tv_nsec,
			       .mtime_s = st->st_mtim.tv_sec,
			       .mtime_ns = (uint32_t)st->st_mtim.tv_nsec,
			       .ctime_s = st->st_ctim.tv_sec,
			       .ctime_ns = (uint32_t)st->st_ctim.tv_nsec,
			       .blksize = (uint32_t)st->st_blksize};
}

/* There are some, or it cannot be told. */
static uint32_t xattr_flag(ssize_t n)
{
	if (n > 0 || (n < 0 && errno != ENOTSUP && errno != ENOENT))
		return SBX_ATTR_XATTR;
	return 0;
}

static uint32_t type_flag(enum fstype type)
{
	return type == FSTYPE_VOLATILE ? SBX_ATTR_VOLATILE : 0;
}

/* In the current directory, without a check. */
static int attr_of_entry(struct helper *h, const char *name,
			 struct sbx_attr *ret)
{
	struct stat st;

	if (fstatat(AT_FDCWD, name, &st,
		    AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) < 0)
		return -errno;
	attr_fill(ret, &st);
	ret->flags = type_flag(fstype_of(&h->fstypes, st.st_dev, name)) |
		     xattr_flag(llistxattr(name, NULL, 0));
	return 0;
}

static int attr_and_keep(struct helper *h, const struct dir *d,
			 const char *name, struct sbx_attr *ret)
{
	int fd = open(name, O_PATH | O_NOFOLLOW | O_CLOEXEC), r;

	if (fd < 0)
		return errno == ENOENT ? -errno : attr_of_entry(h, name, ret);
	r = attr_of_fd(h, fd, ret);
	if (r < 0)
		close(fd);
	else
		recent_keep(h, d, name, fd, ret);
	return r;
}

int attr_of_name(struct helper *h, struct dir *d, const char *name,
		 uint64_t ino, struct sbx_attr *ret)
{
	int r;

	if (!name[0]) {
		/* it may be one that we may not enter */
		r = dirs_fd(h, d);
		r = r < 0 ? r : attr_of_fd(h, r, ret);
	} else {
		r = dirs_enter(h, d);
		if (!r)
			r = recent_is_on(h, name)
				    ? attr_and_keep(h, d, name, ret)
				    : attr_of_entry(h, name, ret);
	}
	if (r < 0)
		return r;
	return ino && ret->ino != ino ? -ESTALE : 0;
}

/* O_PATH descriptors are listed by their way through /proc. */
static ssize_t list_fd(int fd)
{
	char path[32];
	ssize_t n = flistxattr(fd, NULL, 0);

	if (n >= 0 || errno != EBADF)
		return n;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return listxattr(path, NULL, 0);
}

int attr_of_fd(struct helper *h, int fd, struct sbx_attr *ret)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	attr_fill(ret, &st);
	ret->flags = type_flag(fstype_of_fd(&h->fstypes, st.st_dev, fd)) |
		     xattr_flag(list_fd(fd));
	return 0;
}
