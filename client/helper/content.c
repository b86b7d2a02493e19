/*
 * The content of small files ahead of need: see content.h, and CONTENT, which
 * sends that of several files of one directory, in steps.
 */
#include "client/helper/content.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/helper/at.h"
#include "client/helper/helper.h"
#include "client/helper/tasks.h"
#include "client/wire/proto.h"

#define PART_BYTES (128 * 1024)

/* ---- one file ---- */

/* A pipe or a device is not opened to find out what it is. */
static int open_small(const char *name, size_t max)
{
	struct stat st;
	int fd;

	if (fstatat(AT_FDCWD, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size > max)
		return -EINVAL;
	fd = open(name,
		  O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOATIME | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

ssize_t content_read(const char *name, size_t max, const uint8_t **ret_data,
		     struct stat *ret_st)
{
	/* one byte more, to see that it ends there */
	static uint8_t data[CONTENT_MAX + 1];
	size_t len = 0;
	ssize_t n;
	int fd;

	if (max > CONTENT_MAX)
		max = CONTENT_MAX;
	fd = open_small(name, max);
	if (fd < 0)
		return fd;
	do {
		n = pread(fd, data + len, max + 1 - len, (off_t)len);
		if (n > 0)
			len += (size_t)n;
	} while ((n > 0 && len <= max) || (n < 0 && errno == EINTR));
	if (n < 0 || fstat(fd, ret_st) < 0)
		n = -errno;
	else if (len > max || (uint64_t)ret_st->st_size != len ||
		 !S_ISREG(ret_st->st_mode))
		n = -EINVAL;
	close(fd);
	*ret_data = data;
	return n < 0 ? n : (ssize_t)len;
}

void content_put(struct sbx_buf *b, const char *name, uint64_t ino, size_t max)
{
	const uint8_t *data;
	struct stat st;
	ssize_t n = content_read(name, max, &data, &st);

	if (n >= 0 && st.st_ino == ino)
		sbx_put_bin(b, data, (size_t)n);
	else
		sbx_put_nil(b);
}

void content_put_target(struct sbx_buf *b, const char *name)
{
	char target[SBX_TARGET_SMALL + 1];
	ssize_t n = readlink(name, target, sizeof(target));
	bool is_small = n > 0 && n <= SBX_TARGET_SMALL;

	if (is_small || (n < 0 && errno == EACCES))
		sbx_put_bin(b, target, n > 0 ? (size_t)n : 0);
	else
		sbx_put_nil(b);
}

/* ---- CONTENT ---- */

struct wanted {
	uint64_t ino;
	char name[256];
};

struct contents {
	struct task task;
	uint64_t dir;
	size_t max;
	uint32_t nr, next;
	struct sbx_buf part;
	struct wanted files[];
};

static void contents_free(struct helper *h, struct task *t)
{
	struct contents *c = (struct contents *)t;

	sbx_buf_release(&c->part);
	free(c);
}

static void contents_send(struct helper *h, struct contents *c, uint32_t n)
{
	struct sbx_buf *b = part_begin(h, c->task.id, 1);

	sbx_put_array(b, n);
	sbx_buf_add(b, sbx_buf_at(&c->part), sbx_buf_len(&c->part));
	if (c->part.err)
		b->err = c->part.err;
	part_end(h);
}

static int contents_step(struct helper *h, struct task *t)
{
	struct contents *c = (struct contents *)t;
	const struct wanted *w;
	uint32_t n = 0;
	struct dir *d;
	int r;

	d = dirs_get(h, c->dir, &r);
	r = d ? dirs_enter(h, d) : r;
	if (r < 0)
		return r;
	sbx_buf_clear(&c->part);
	while (c->next < c->nr && sbx_buf_len(&c->part) < PART_BYTES) {
		w = &c->files[c->next++];
		content_put(&c->part, w->name, w->ino, c->max);
		n++;
	}
	if (n)
		contents_send(h, c, n);
	if (c->next < c->nr)
		return TASK_AGAIN;
	sbx_put_u64(reply_begin(h, t->id, 1), c->nr);
	reply_end(h, t->id);
	return 0;
}

static int wanted_get(struct sbx_rd *rd, struct wanted *w)
{
	struct sbx_rd one = sbx_get_array(rd);
	int r = at_copy_name(&one, w->name);

	w->ino = sbx_get_u64(&one);
	return r < 0 || one.err || rd->err || !w->name[0] ? -EINVAL : 0;
}

int op_content(struct req *q)
{
	uint64_t dir = sbx_get_u64(&q->rd);
	uint32_t max = sbx_get_u32(&q->rd);
	struct sbx_rd all = sbx_get_array(&q->rd);
	struct contents *c;
	int r = 0;

	if (q->rd.err || all.left > SBX_CONTENT_FILES)
		return -EINVAL;
	if (!dirs_get(q->h, dir, &r))
		return r;
	c = calloc(1, sizeof(*c) + all.left * sizeof(c->files[0]));
	if (!c)
		return -ENOMEM;
	while (all.left && !r)
		r = wanted_get(&all, &c->files[c->nr++]);
	if (r < 0) {
		free(c);
		return r;
	}
	c->dir = dir;
	c->max = max;
	sbx_buf_init(&c->part, SBX_MESSAGE_MAX - 1024);
	c->task.step = contents_step;
	c->task.free = contents_free;
	return task_start(q, &c->task);
}
