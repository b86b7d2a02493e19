/*
 * LOCK: locks of open file descriptions (fcntl) and flock.  Each owner has a
 * description of its own for each handle.  Waiting is done by a child, which
 * shares the description and so takes the lock for it.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "client/helper/children.h"
#include "client/helper/handles.h"
#include "client/helper/helper.h"
#include "client/helper/request.h"
#include "client/wire/proto.h"

struct lock {
	bool get, wait, flock, cancel;
	uint32_t type;
	uint64_t start, len, owner;
};

static int lock_get(struct sbx_rd *rd, struct lock *l)
{
	uint32_t kind = sbx_get_u32(rd), how = kind & 3;

	l->type = sbx_get_u32(rd);
	l->start = sbx_get_u64(rd);
	l->len = sbx_get_u64(rd);
	l->owner = sbx_get_u64(rd);
	l->flock = kind & (SBX_LOCK_FLOCK | SBX_LOCK_FLOCK_WAIT);
	l->wait = (kind & SBX_LOCK_FLOCK_WAIT) || how == SBX_LOCK_WAIT;
	l->get = how == SBX_LOCK_GET;
	l->cancel = kind & SBX_LOCK_CANCEL;
	if (rd->err || kind > 31 || (!how && !l->flock) ||
	    (l->get && l->flock) || l->type > F_UNLCK || l->start > INT64_MAX ||
	    l->len > INT64_MAX)
		return -EINVAL;
	return 0;
}

static struct flock64 lock_range(const struct lock *l)
{
	return (struct flock64){.l_type = (short)l->type,
				.l_whence = SEEK_SET,
				.l_start = (off_t)l->start,
				.l_len = (off_t)l->len};
}

static int flock_op(const struct lock *l)
{
	if (l->type == F_UNLCK)
		return LOCK_UN;
	return l->type == F_RDLCK ? LOCK_SH : LOCK_EX;
}

/* In the child: until it has the lock. */
static int lock_wait(int fd, const void *arg)
{
	const struct lock *l = arg;
	struct flock64 range = lock_range(l);
	int r;

	do
		r = l->flock ? flock(fd, flock_op(l))
			     : fcntl(fd, F_OFD_SETLKW, &range);
	while (r < 0 && errno == EINTR);
	return r < 0 ? errno : 0;
}

static int lock_try(int fd, const struct lock *l)
{
	struct flock64 range = lock_range(l);
	int r = l->flock ? flock(fd, flock_op(l) | LOCK_NB)
			 : fcntl(fd, F_OFD_SETLK, &range);

	if (r == 0)
		return 0;
	return errno == EACCES ? -EAGAIN : -errno;
}

static void put_lock(struct sbx_buf *b, uint32_t type, uint64_t start,
		     uint64_t len, uint32_t pid)
{
	sbx_put_u64(b, type);
	sbx_put_u64(b, start);
	sbx_put_u64(b, len);
	sbx_put_u64(b, pid);
}

/* The waiting child has it; what exactly, the client knows. */
static int lock_taken(struct helper *h, const struct child *c)
{
	put_lock(reply_begin(h, c->id, 4), 0, 0, 0, 0);
	return 0;
}

static int lock_query(struct req *q, int fd, const struct lock *l)
{
	struct flock64 range = lock_range(l);

	if (fcntl(fd, F_OFD_GETLK, &range) < 0)
		return -errno;
	put_lock(q->out, (uint32_t)range.l_type, (uint64_t)range.l_start,
		 (uint64_t)range.l_len,
		 range.l_pid > 0 ? (uint32_t)range.l_pid : 0);
	return 0;
}

static int lock_set(struct req *q, struct handle *hd, int fd,
		    const struct lock *l)
{
	struct waiter w = {.owner = l->owner, .flock = l->flock};
	struct child c = {.id = q->id,
			  .hd = hd,
			  .waiter = w,
			  .waits = true,
			  .done = lock_taken};
	int r;

	/* who unlocks does not wait any more */
	if (l->type == F_UNLCK || l->cancel)
		children_cancel(q->h, hd, &w);
	if (l->cancel)
		return 0;
	r = lock_try(fd, l);
	if (r == -EAGAIN && l->wait) {
		if (q->in_batch)
			return -EOPNOTSUPP;
		r = children_start(q->h, &c, fd, lock_wait, l);
		if (r < 0)
			return -ENOLCK;
		request_waits(q->h, q->id, true);
		return REQ_LATER;
	}
	if (r < 0)
		return r;
	if (l->type == F_UNLCK && (l->flock || (!l->start && !l->len)))
		handle_owner_drop(q->h, hd, l->owner, l->flock);
	return 0;
}

int op_lock(struct req *q)
{
	struct handle *hd = handles_get(q->h, sbx_get_u64(&q->rd));
	struct lock l;
	int fd, r;

	if (lock_get(&q->rd, &l) < 0)
		return -EINVAL;
	if (!hd)
		return -ESTALE;
	fd = handle_owner_fd(hd, l.owner, l.flock);
	if (fd < 0)
		return fd;
	if (l.get)
		return lock_query(q, fd, &l);
	r = lock_set(q, hd, fd, &l);
	if (!r)
		put_lock(q->out, l.type, l.start, l.len, 0);
	return r;
}
