/* LIST: the entries of a directory with their attributes, in steps. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/helper/attr.h"
#include "client/helper/content.h"
#include "client/helper/dirread.h"
#include "client/helper/helper.h"
#include "client/helper/request.h"
#include "client/helper/tasks.h"
#include "client/wire/proto.h"

#define PART_ENTRIES 1000
#define PART_BYTES   (128 * 1024)

struct listing {
	struct task task;
	uint64_t dir;
	uint64_t count;
	bool shut; /* it may be read, but not entered */
	struct dirread read;
	struct sbx_buf entries;
};

static void listing_free(struct helper *h, struct task *t)
{
	struct listing *l = (struct listing *)t;

	dirread_close(&l->read);
	sbx_buf_release(&l->entries);
	free(l);
}

/* false: it is gone by now */
static bool put_entry(struct helper *h, struct listing *l, struct dir *d,
		      const char *name)
{
	struct sbx_buf *b = &l->entries;
	struct sbx_attr attr;
	int r = l->shut ? -EACCES : attr_of_name(h, d, name, 0, &attr);
	bool is_link;

	if (r == -ENOENT)
		return false;
	is_link = r == 0 && S_ISLNK(attr.mode);
	sbx_put_array(b, is_link ? 3 : 2);
	sbx_put_bin(b, name, strlen(name));
	if (r < 0)
		sbx_put_nil(b);
	else
		sbx_put_attr(b, &attr);
	if (is_link)
		content_put_target(b, name);
	return true;
}

static void listing_send(struct helper *h, struct listing *l, uint32_t n)
{
	struct sbx_buf *b;

	if (!n)
		return;
	b = part_begin(h, l->task.id, 1);
	sbx_put_array(b, n);
	sbx_buf_add(b, sbx_buf_at(&l->entries), sbx_buf_len(&l->entries));
	if (l->entries.err)
		b->err = l->entries.err;
	part_end(h);
	l->count += n;
}

static int listing_end(struct helper *h, const struct listing *l)
{
	sbx_put_u64(reply_begin(h, l->task.id, 1), l->count);
	reply_end(h, l->task.id);
	return 0;
}

static int listing_step(struct helper *h, struct task *t)
{
	struct listing *l = (struct listing *)t;
	const char *name;
	uint32_t n = 0;
	struct dir *d;
	bool refill;
	int r;

	d = dirs_get(h, l->dir, &r);
	if (d)
		r = l->shut ? 0 : dirs_enter(h, d);
	if (!d || r < 0)
		return r;
	sbx_buf_clear(&l->entries);
	while (n < PART_ENTRIES && sbx_buf_len(&l->entries) < PART_BYTES) {
		r = dirread_next(&l->read, &name, &refill);
		if (r <= 0)
			break;
		n += put_entry(h, l, d, name);
	}
	listing_send(h, l, n);
	if (r < 0)
		return r;
	return r ? TASK_AGAIN : listing_end(h, l);
}

int op_list(struct req *q)
{
	uint64_t number = sbx_get_u64(&q->rd);
	struct listing *l;
	struct dir *d;
	int r;

	if (q->rd.err)
		return -EINVAL;
	d = dirs_get(q->h, number, &r);
	if (!d)
		return r;
	l = malloc(sizeof(*l));
	if (!l)
		return -ENOMEM;
	memset(l, 0, offsetof(struct listing, read));
	dirread_init(&l->read);
	r = dirread_open(q->h, d, &l->read);
	if (r == -EACCES) {
		l->shut = true;
		r = dirread_open_shut(q->h, d, &l->read);
	}
	if (r < 0) {
		free(l);
		return r;
	}
	sbx_buf_init(&l->entries, SBX_MESSAGE_MAX / 2);
	l->task.step = listing_step;
	l->task.free = listing_free;
	l->dir = number;
	return task_start(q, &l->task);
}
