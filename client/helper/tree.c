/*
 * TREE: a directory and what is below it, breadth first, in one answer, with
 * the content of small files.  Subdirectories are numbered and watched before
 * they are looked at, so that nothing slips between.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/helper/attr.h"
#include "client/helper/content.h"
#include "client/helper/dirread.h"
#include "client/helper/helper.h"
#include "client/helper/request.h"
#include "client/helper/tasks.h"
#include "client/wire/proto.h"

#define PART_ENTRIES 1000
#define PART_BYTES   (128 * 1024)

struct tree {
	struct task task;
	uint64_t root, base;
	uint64_t max_dirs, max_depth, max_entries, content;
	uint64_t large; /* bytes of content above SBX_TREE_SMALL, so far */
	bool watch;
	uint64_t dirs, entries; /* given so far */
	/* the directories are base, base + 1 ...: only where each depth
	 * begins must be remembered */
	uint64_t next;	/* to be listed; 0: the root */
	uint64_t level; /* the first number of the next depth, less base */
	uint32_t depth;
	uint64_t current;
	struct dirread read; /* of the current one, if open */
	struct sbx_buf part;
};

static void tree_free(struct helper *h, struct task *t)
{
	struct tree *tr = (struct tree *)t;

	dirread_close(&tr->read);
	sbx_buf_release(&tr->part);
	free(tr);
}

/* ---- one entry ---- */

/* Numbers and watches a subdirectory of the current directory; 0: not. */
static uint64_t tree_number(struct helper *h, struct tree *tr, struct dir *d,
			    const char *name)
{
	uint64_t number = tr->base + tr->dirs;
	struct dir *sub;
	int fd, r;

	if (tr->dirs >= tr->max_dirs || tr->depth >= tr->max_depth)
		return 0;
	fd = open(name, O_PATH | O_NOFOLLOW | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	if (dirs_put(h, number, d, name, fd, &sub) < 0)
		return 0;
	tr->dirs++;
	r = tr->watch ? watch_add(h, sub) : 0;
	if (r < 0)
		watch_tell_none(h, number, r);
	return number;
}

static bool same_file(const struct stat *st, const struct sbx_attr *a)
{
	return st->st_ino == a->ino && (uint64_t)st->st_size == a->size &&
	       st->st_mtim.tv_sec == a->mtime_s &&
	       (uint32_t)st->st_mtim.tv_nsec == a->mtime_ns;
}

/* The content that goes with these attributes, or nil. */
static void put_content(struct sbx_buf *b, struct tree *tr, const char *name,
			const struct sbx_attr *a)
{
	bool small = a->size <= SBX_TREE_SMALL;
	const uint8_t *data;
	ssize_t n = -1;
	struct stat st;

	if (S_ISREG(a->mode) && a->size <= tr->content &&
	    (small || tr->large + a->size <= SBX_TREE_LARGE) &&
	    !(a->flags & SBX_ATTR_VOLATILE) && tr->content)
		n = content_read(name, (size_t)tr->content, &data, &st);
	if (n >= 0 && !small)
		tr->large += (uint64_t)n;
	if (n >= 0 && same_file(&st, a))
		sbx_put_bin(b, data, (size_t)n);
	else
		sbx_put_nil(b);
}

static uint32_t put_entry(struct helper *h, struct tree *tr, struct dir *d,
			  const char *name)
{
	struct sbx_buf *b = &tr->part;
	struct sbx_attr attr;
	uint64_t number = 0;
	int r;

	r = attr_of_name(h, d, name, 0, &attr);
	if (!r && S_ISDIR(attr.mode)) {
		number = tree_number(h, tr, d, name);
		/* watching left it for a moment */
		r = dirs_enter(h, d);
		/* what is sent must be as of after the watch began */
		if (!r && number)
			r = attr_of_name(h, d, name, 0, &attr);
	}
	if (r == -ENOENT)
		return 0;
	sbx_put_array(b, 4);
	sbx_put_bin(b, name, strlen(name));
	if (r < 0) {
		sbx_put_nil(b);
		sbx_put_u64(b, number);
		sbx_put_nil(b);
		return 1;
	}
	sbx_put_attr(b, &attr);
	sbx_put_u64(b, number);
	if (S_ISLNK(attr.mode))
		content_put_target(b, name);
	else
		put_content(b, tr, name, &attr);
	return 1;
}

/* ---- one part ---- */

static void tree_send(struct helper *h, struct tree *tr, uint32_t n,
		      bool complete)
{
	struct sbx_buf *b = part_begin(h, tr->task.id, 3);

	sbx_put_u64(b, tr->current);
	sbx_put_bool(b, complete);
	sbx_put_array(b, n);
	sbx_buf_add(b, sbx_buf_at(&tr->part), sbx_buf_len(&tr->part));
	if (tr->part.err)
		b->err = tr->part.err;
	part_end(h);
}

/* Goes to the next directory; 0: there is none. */
static int tree_open_next(struct helper *h, struct tree *tr)
{
	struct dir *d;
	int r;

	while (tr->next <= tr->dirs) {
		if (tr->next > tr->level) {
			tr->level = tr->dirs;
			tr->depth++;
		}
		tr->current = tr->next ? tr->base + tr->next - 1 : tr->root;
		tr->next++;
		d = dirs_get(h, tr->current, &r);
		if (d)
			r = dirread_open(h, d, &tr->read);
		if (d && !r)
			return 1;
		/* one that cannot be read stays incomplete */
		if (tr->current == tr->root)
			return r;
	}
	return 0;
}

static int tree_end(struct helper *h, const struct tree *tr)
{
	struct sbx_buf *b = reply_begin(h, tr->task.id, 2);

	sbx_put_u64(b, tr->dirs);
	sbx_put_u64(b, tr->entries);
	reply_end(h, tr->task.id);
	return 0;
}

/* Fills one part; 1: there is more of this directory, 0: it is complete. */
static int tree_fill(struct helper *h, struct tree *tr, struct dir *d,
		     uint32_t *ret_n)
{
	const char *name;
	bool refill;
	int r = 1;

	sbx_buf_clear(&tr->part);
	for (*ret_n = 0; *ret_n < PART_ENTRIES;) {
		if (sbx_buf_len(&tr->part) >= PART_BYTES)
			return 1;
		r = dirread_next(&tr->read, &name, &refill);
		if (r <= 0)
			return r;
		if (tr->entries >= tr->max_entries)
			return -EDQUOT;
		if (put_entry(h, tr, d, name)) {
			++*ret_n;
			tr->entries++;
		}
	}
	return r;
}

static int tree_step(struct helper *h, struct task *t)
{
	struct tree *tr = (struct tree *)t;
	struct dir *d = NULL;
	uint32_t n = 0;
	int r;

	if (tr->read.fd < 0) {
		r = tree_open_next(h, tr);
		if (r <= 0)
			return r < 0 ? r : tree_end(h, tr);
	}
	d = dirs_get(h, tr->current, &r);
	r = d ? dirs_enter(h, d) : r;
	if (d && !r)
		r = tree_fill(h, tr, d, &n);
	if (n || !r)
		tree_send(h, tr, n, !r);
	if (r == -EDQUOT)
		return tree_end(h, tr);
	/* gone or unreadable: incomplete, and on with the next */
	if (r <= 0)
		dirread_close(&tr->read);
	return TASK_AGAIN;
}

int op_tree(struct req *q)
{
	struct tree *tr = calloc(1, sizeof(*tr));
	struct dir *d = NULL;
	int r = -EINVAL;

	if (!tr)
		return -ENOMEM;
	tr->root = sbx_get_u64(&q->rd);
	tr->base = sbx_get_u64(&q->rd);
	tr->max_dirs = sbx_get_u32(&q->rd);
	tr->max_depth = sbx_get_u32(&q->rd);
	tr->max_entries = sbx_get_u32(&q->rd);
	tr->content = sbx_get_u32(&q->rd);
	tr->watch = sbx_get_bool(&q->rd);
	if (tr->content > CONTENT_MAX)
		tr->content = CONTENT_MAX;
	if (tr->max_dirs > DIRS_MAX)
		tr->max_dirs = DIRS_MAX;
	/* the root must not be given away as one of its own directories */
	if (!q->rd.err && tr->base <= UINT64_MAX - DIRS_MAX &&
	    (!tr->max_dirs || (tr->base >= SBX_DIR_FIRST &&
			       tr->root - tr->base >= tr->max_dirs)))
		d = dirs_get(q->h, tr->root, &r);
	if (!d) {
		free(tr);
		return r;
	}
	dirread_init(&tr->read);
	sbx_buf_init(&tr->part, SBX_MESSAGE_MAX - 1024);
	tr->task.step = tree_step;
	tr->task.free = tree_free;
	return task_start(q, &tr->task);
}
