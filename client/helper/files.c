/*
 * Requests about file content: READ, WRITE, FSYNC, FALLOCATE, SEEK, COPY.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/helper/at.h"
#include "client/helper/attr.h"
#include "client/helper/children.h"
#include "client/helper/creds.h"
#include "client/helper/dirread.h"
#include "client/helper/handles.h"
#include "client/helper/helper.h"
#include "client/helper/tasks.h"
#include "client/wire/proto.h"

#define COPY_MAX   (16 * 1024 * 1024) /* of one request: it blocks the others */
#define COPY_PIECE (256 * 1024)
#define BIN_HEADER 5

static struct handle *get_handle(struct req *q)
{
	return handles_get(q->h, sbx_get_u64(&q->rd));
}

static int put_handle_attr(struct req *q, const struct handle *hd)
{
	struct sbx_attr attr;
	int r;

	watch_own_end(q->h);
	r = attr_of_fd(q->h, hd->fd, &attr);
	if (!r)
		sbx_put_attr(q->out, &attr);
	return r;
}

static void expect_data(struct helper *h, const struct handle *hd)
{
	int err;

	watch_own_now(h);
	watch_expect(h, dirs_get(h, hd->dir, &err), hd->name, IN_MODIFY);
}

/* ---- READ ---- */

static ssize_t read_once(int fd, uint8_t *dst, size_t len, uint64_t offset)
{
	ssize_t n = pread(fd, dst, len, (off_t)offset);

	if (n < 0 && errno == ESPIPE)
		n = read(fd, dst, len);
	return n < 0 ? -errno : n;
}

static bool file_goes_on(int fd, uint64_t offset)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
	       (uint64_t)st.st_size > offset;
}

/*
 * Until all is read or the file ends: proc gives less than was asked for.  An
 * error in the middle of a file must not look like its end; behind that, as
 * where proc's files know no end of theirs, it is one.
 */
static ssize_t read_all(int fd, uint8_t *dst, size_t len, uint64_t offset)
{
	size_t done = 0;
	ssize_t n;

	while (done < len) {
		n = read_once(fd, dst + done, len - done, offset + done);
		if (n == -EINTR)
			continue;
		if (n < 0 && (!done || file_goes_on(fd, offset + done)))
			return n;
		if (n <= 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

/* Reads right into the message, behind the header of its bin. */
static ssize_t put_read(struct sbx_buf *b, int fd, size_t len, uint64_t offset)
{
	uint8_t *p = sbx_buf_room(b, BIN_HEADER + len);
	ssize_t n;

	if (!p)
		return -ENOMEM;
	n = read_all(fd, p + BIN_HEADER, len, offset);
	if (n < 0)
		return n;
	p[0] = 0xc6;
	p[1] = (uint8_t)(n >> 24);
	p[2] = (uint8_t)(n >> 16);
	p[3] = (uint8_t)(n >> 8);
	p[4] = (uint8_t)n;
	sbx_buf_added(b, BIN_HEADER + (size_t)n);
	return n;
}

/* Reading may have changed the time of access, which nothing else tells. */
static void put_read_end(struct sbx_buf *b, int fd, bool eof)
{
	struct stat st = {0};

	fstat(fd, &st);
	sbx_put_bool(b, eof);
	sbx_put_i64(b, st.st_atim.tv_sec);
	sbx_put_u64(b, (uint64_t)st.st_atim.tv_nsec);
}

struct reading {
	struct task task;
	struct handle *hd;
	uint64_t offset;
	size_t left;
};

static void reading_free(struct helper *h, struct task *t)
{
	struct reading *rg = (struct reading *)t;

	handle_unuse(h, rg->hd);
	free(rg);
}

static int reading_end(struct helper *h, const struct reading *rg, size_t len)
{
	struct sbx_buf *b = reply_begin(h, rg->task.id, 4);
	ssize_t n = put_read(b, rg->hd->fd, len, rg->offset);

	if (n < 0)
		return (int)n;
	put_read_end(b, rg->hd->fd, (size_t)n < len || !len);
	reply_end(h, rg->task.id);
	return 0;
}

static int reading_step(struct helper *h, struct task *t)
{
	struct reading *rg = (struct reading *)t;
	ssize_t n;

	if (rg->left <= SBX_READ_PIECE)
		return reading_end(h, rg, rg->left);
	n = put_read(part_begin(h, t->id, 1), rg->hd->fd, SBX_READ_PIECE,
		     rg->offset);
	if (n < 0)
		return (int)n;
	if (n)
		part_end(h);
	rg->offset += (uint64_t)n;
	rg->left -= (size_t)n;
	return n < SBX_READ_PIECE ? reading_end(h, rg, 0) : TASK_AGAIN;
}

static int read_later(struct req *q, struct handle *hd, uint64_t offset,
		      size_t len)
{
	struct reading *rg = calloc(1, sizeof(*rg));

	if (!rg)
		return -ENOMEM;
	rg->task.step = reading_step;
	rg->task.free = reading_free;
	rg->hd = hd;
	rg->offset = offset;
	rg->left = len;
	handle_use(hd);
	return task_start(q, &rg->task);
}

int op_read(struct req *q)
{
	struct handle *hd = get_handle(q);
	uint64_t offset = sbx_get_u64(&q->rd);
	uint32_t len = sbx_get_u32(&q->rd);
	ssize_t n;

	if (q->rd.err || len > SBX_READ_MAX || offset > INT64_MAX)
		return -EINVAL;
	if (!hd)
		return -ESTALE;
	if (len > SBX_READ_PIECE || (!q->in_batch && peer_is_busy(q->h)))
		return q->in_batch ? -EOPNOTSUPP
				   : read_later(q, hd, offset, len);
	n = put_read(q->out, hd->fd, len, offset);
	if (n < 0)
		return (int)n;
	put_read_end(q->out, hd->fd, (size_t)n < len);
	return 0;
}

/* ---- WRITE ---- */

static int write_all(int fd, const uint8_t *data, size_t len, uint64_t offset)
{
	ssize_t n;

	while (len) {
		n = pwrite(fd, data, len, (off_t)offset);
		if (n < 0 && errno == ESPIPE)
			n = write(fd, data, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			return -EIO;
		data += n;
		len -= (size_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

int op_write(struct req *q)
{
	struct handle *hd = get_handle(q);
	uint64_t offset = sbx_get_u64(&q->rd);
	size_t len;
	const uint8_t *data = sbx_get_bin(&q->rd, &len);
	int r;

	if (q->rd.err || offset > INT64_MAX)
		return -EINVAL;
	if (!hd)
		return -ESTALE;
	r = creds_begin(q->h);
	if (r < 0)
		return r;
	expect_data(q->h, hd);
	r = write_all(hd->fd, data, len, offset);
	watch_own_end(q->h);
	creds_end(q->h);
	return r < 0 ? r : put_handle_attr(q, hd);
}

/* ---- FSYNC ---- */

static int sync_fd(int fd, const void *arg)
{
	const bool *data = arg;

	return (*data ? fdatasync(fd) : fsync(fd)) < 0 ? errno : 0;
}

/* The whole file system that it is on. */
static int sync_all(int fd, const void *arg)
{
	return syncfs(fd) < 0 ? errno : 0;
}

static int synced(struct helper *h, const struct child *c)
{
	struct sbx_attr attr;
	struct dir *d;
	int r;

	if (c->hd) {
		r = attr_of_fd(h, c->hd->fd, &attr);
	} else {
		d = dirs_get(h, c->dir, &r);
		r = d ? attr_of_name(h, d, "", 0, &attr) : r;
	}
	if (!r)
		sbx_put_attr(reply_begin(h, c->id, 1), &attr);
	return r;
}

static int sync_dir_fd(struct helper *h, struct dir *d)
{
	int r = dirs_enter(h, d);

	if (!r) {
		r = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		r = r < 0 ? -errno : r;
	}
	return r == -EACCES ? dirread_fd_shut(h, d) : r;
}

/* Whoever has it open may sync it, and may have opened it before its mode
 * forbade that: then by way of what it is in, with all else there. */
static int sync_above_fd(struct helper *h, const struct dir *d)
{
	struct dir *up = d->parent;
	int fd = -EACCES;

	for (; up && up->dev == d->dev && fd == -EACCES; up = up->parent)
		fd = sync_dir_fd(h, up);
	return fd;
}

/* In a child if one can be had: a disk may take seconds. */
static int sync_run(struct req *q, struct handle *hd, struct dir *d, int fd,
		    int (*fn)(int fd, const void *arg), bool data)
{
	struct child c = {.id = q->id,
			  .hd = hd,
			  .dir = d ? d->number : 0,
			  .done = synced};
	struct sbx_attr attr;
	int r;

	if (!q->in_batch && children_start(q->h, &c, fd, fn, &data) == 0)
		return REQ_LATER;
	r = -fn(fd, &data);
	if (!r)
		r = d ? attr_of_name(q->h, d, "", 0, &attr)
		      : attr_of_fd(q->h, fd, &attr);
	if (!r)
		sbx_put_attr(q->out, &attr);
	return r;
}

static int sync_dir(struct req *q, struct dir *d, bool data)
{
	int (*fn)(int fd, const void *arg) = sync_fd;
	int fd = sync_dir_fd(q->h, d), r;

	if (fd == -EACCES) {
		fd = sync_above_fd(q->h, d);
		fn = sync_all;
	}
	if (fd < 0)
		return fd;
	r = sync_run(q, NULL, d, fd, fn, data);
	close(fd);
	return r;
}

int op_fsync(struct req *q)
{
	uint64_t number = sbx_get_u64(&q->rd);
	bool data = sbx_get_bool(&q->rd);
	uint64_t dir = sbx_get_u64(&q->rd);
	struct handle *hd;
	struct dir *d;
	int r;

	if (q->rd.err)
		return -EINVAL;
	if (number) {
		hd = handles_get(q->h, number);
		return hd ? sync_run(q, hd, NULL, hd->fd, sync_fd, data)
			  : -ESTALE;
	}
	d = dirs_get(q->h, dir, &r);
	return d ? sync_dir(q, d, data) : r;
}

/* ---- others ---- */

int op_fallocate(struct req *q)
{
	struct handle *hd = get_handle(q);
	uint32_t mode = sbx_get_u32(&q->rd);
	uint64_t offset = sbx_get_u64(&q->rd), len = sbx_get_u64(&q->rd);
	int r;

	if (q->rd.err || offset > INT64_MAX || len > INT64_MAX)
		return -EINVAL;
	if (!hd)
		return -ESTALE;
	r = creds_begin(q->h);
	if (r < 0)
		return r;
	expect_data(q->h, hd);
	do
		r = fallocate(hd->fd, (int)mode, (off_t)offset, (off_t)len);
	while (r < 0 && errno == EINTR);
	creds_end(q->h);
	return r < 0 ? -errno : put_handle_attr(q, hd);
}

int op_seek(struct req *q)
{
	struct handle *hd = get_handle(q);
	uint64_t offset = sbx_get_u64(&q->rd);
	uint32_t whence = sbx_get_u32(&q->rd);
	off_t at;

	if (q->rd.err || offset > INT64_MAX)
		return -EINVAL;
	/* the position is not ours: only what does not depend on it */
	if (whence != SEEK_DATA && whence != SEEK_HOLE && whence != SEEK_END)
		return -EINVAL;
	if (!hd)
		return -ESTALE;
	at = lseek(hd->fd, (off_t)offset, (int)whence);
	if (at < 0)
		return -errno;
	sbx_put_u64(q->out, (uint64_t)at);
	return 0;
}

struct copying {
	int in, out;
	uint64_t in_at, out_at;
	size_t left, done;
	unsigned int flags;
};

static bool copy_is_unsupported(int err)
{
	return err == EXDEV || err == EINVAL || err == ENOSYS ||
	       err == EOPNOTSUPP || err == EPERM || err == EBADF;
}

static int copy_by_hand(struct copying *c)
{
	static uint8_t piece[COPY_PIECE];
	ssize_t n;
	int r;

	while (c->left) {
		n = read_all(c->in, piece,
			     c->left < COPY_PIECE ? c->left : COPY_PIECE,
			     c->in_at);
		if (n <= 0)
			return (int)n;
		r = write_all(c->out, piece, (size_t)n, c->out_at);
		if (r < 0)
			return r;
		c->in_at += (uint64_t)n;
		c->out_at += (uint64_t)n;
		c->left -= (size_t)n;
		c->done += (size_t)n;
	}
	return 0;
}

static int copy_run(struct copying *c)
{
	off_t in, out;
	ssize_t n;

	while (c->left) {
		in = (off_t)c->in_at;
		out = (off_t)c->out_at;
		n = copy_file_range(c->in, &in, c->out, &out, c->left,
				    c->flags);
		if (n < 0 && errno == EINTR)
			continue;
		/* some file systems of proc's kind copy nothing and say so
		 * as if the file had ended: ask by reading */
		if ((n < 0 && copy_is_unsupported(errno)) ||
		    (n == 0 && !c->done))
			return copy_by_hand(c);
		if (n <= 0)
			return n < 0 ? -errno : 0;
		c->in_at += (uint64_t)n;
		c->out_at += (uint64_t)n;
		c->left -= (size_t)n;
		c->done += (size_t)n;
	}
	return 0;
}

int op_copy(struct req *q)
{
	struct handle *in = get_handle(q), *out;
	struct copying c = {0};
	uint64_t len;
	int r;

	c.in_at = sbx_get_u64(&q->rd);
	out = get_handle(q);
	c.out_at = sbx_get_u64(&q->rd);
	len = sbx_get_u64(&q->rd);
	c.flags = sbx_get_u32(&q->rd);
	if (q->rd.err || c.in_at > INT64_MAX || c.out_at > INT64_MAX || c.flags)
		return -EINVAL;
	if (!in || !out)
		return -ESTALE;
	c.in = in->fd;
	c.out = out->fd;
	c.left = len < COPY_MAX ? (size_t)len : COPY_MAX;
	r = creds_begin(q->h);
	if (r < 0)
		return r;
	expect_data(q->h, out);
	r = copy_run(&c);
	creds_end(q->h);
	if (r < 0 && !c.done)
		return r;
	sbx_put_u64(q->out, c.done);
	return put_handle_attr(q, out);
}
