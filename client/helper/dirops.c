/* DIR and FORGET: numbering directories, watching them. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "client/helper/at.h"
#include "client/helper/attr.h"
#include "client/helper/handles.h"
#include "client/helper/helper.h"
#include "client/wire/proto.h"

/* A descriptor of its own for the object, which must be a directory. */
static int open_dir(struct helper *h, const struct at *at)
{
	struct object o;
	int fd, r;

	r = object_open(h, at, &o);
	if (r < 0)
		return r;
	fd = fcntl(o.fd, F_DUPFD_CLOEXEC, 3);
	r = fd < 0 ? -errno : fd;
	if (!S_ISDIR(o.st.st_mode)) {
		if (fd >= 0)
			close(fd);
		r = -ENOTDIR;
	}
	object_close(&o);
	return r;
}

static int dir_number(struct helper *h, uint64_t number, const struct at *at,
		      struct dir **ret)
{
	bool itself = at->dir && at->dir->number == number && !at->name[0];
	int fd, r;

	/* those two are what they are */
	if (number < SBX_DIR_FIRST && !itself)
		return -EINVAL;
	if (itself) {
		*ret = at->dir;
		r = dirs_fd(h, at->dir);
		return r < 0 ? r : 0;
	}
	fd = open_dir(h, at);
	if (fd < 0)
		return fd;
	return dirs_put(h, number, at->dir, at->name, fd, ret);
}

int op_dir(struct req *q)
{
	uint64_t number = sbx_get_u64(&q->rd);
	struct helper *h = q->h;
	struct sbx_attr attr;
	struct dir *d = NULL;
	struct at at;
	bool watch;
	int r;

	r = at_get(q, &at);
	watch = sbx_get_bool(&q->rd);
	if (q->rd.err || !number)
		return -EINVAL;
	if (!r)
		r = dir_number(h, number, &at, &d);
	if (!r && watch)
		watch = watch_add(h, d) == 0;
	else if (!r)
		watch_del(h, d);
	/* after the watch: what changes from here on is told */
	if (!r)
		r = attr_of_name(h, d, "", 0, &attr);
	if (r < 0) {
		if (number >= SBX_DIR_FIRST)
			dirs_put_error(h, number, r);
		return r;
	}
	sbx_put_attr(q->out, &attr);
	sbx_put_bool(q->out, watch);
	return 0;
}

int op_forget(struct req *q)
{
	struct dir *d;
	int r;

	while (q->rd.left) {
		uint64_t number = sbx_get_u64(&q->rd);

		if (q->rd.err)
			return -EINVAL;
		if (number >= SBX_DIR_FIRST)
			dirs_forget(q->h, number);
		else if ((d = dirs_get(q->h, number, &r)))
			watch_del(q->h, d);
	}
	return 0;
}
