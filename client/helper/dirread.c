/* Reading a directory's names: see dirread.h. */
#include "client/helper/dirread.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client/helper/helper.h"

void dirread_init(struct dirread *r)
{
	r->fd = -1;
	r->len = r->pos = 0;
}

int dirread_open(struct helper *h, struct dir *d, struct dirread *r)
{
	int err;

	dirread_close(r);
	err = dirs_enter(h, d);
	if (err < 0)
		return err;
	r->fd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return r->fd < 0 ? -errno : 0;
}

int dirread_fd_shut(struct helper *h, struct dir *d)
{
	char path[32];
	int fd = dirs_fd(h, d);

	if (fd < 0)
		return fd;
	/* "." would be a name in it */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -EACCES : -errno; /* no /proc */
	return fd;
}

int dirread_open_shut(struct helper *h, struct dir *d, struct dirread *r)
{
	int fd;

	dirread_close(r);
	fd = dirread_fd_shut(h, d);
	if (fd < 0)
		return fd;
	r->fd = fd;
	return 0;
}

void dirread_close(struct dirread *r)
{
	if (r->fd >= 0)
		close(r->fd);
	dirread_init(r);
}

static bool is_dots(const char *name)
{
	return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

int dirread_next(struct dirread *r, const char **ret_name, bool *ret_refill)
{
	const struct dirent64 *e;
	ssize_t n;

	*ret_refill = false;
	for (;;) {
		if (r->pos == r->len) {
			n = getdents64(r->fd, r->buf, sizeof(r->buf));
			if (n <= 0)
				return n < 0 ? -errno : 0;
			r->len = (size_t)n;
			r->pos = 0;
			*ret_refill = true;
		}
		e = (const struct dirent64 *)(const void *)(r->buf + r->pos);
		r->pos += e->d_reclen;
		if (is_dots(e->d_name))
			continue;
		*ret_name = e->d_name;
		return 1;
	}
}
