/*
 * Locks: fcntl(2), open file descriptions and flock(2), shared with the
 * programs in the sandbox.
 *
 * Taking one is a round trip, and what was changed under it by others is
 * known to the kernel before the caller goes on.  Unlocking is told and not
 * waited for; writes that were made before are there before it.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>

#include "fuse/locks.h"
#include "fuse/on.h"

static const uint32_t flock_kinds = SBX_LOCK_FLOCK | SBX_LOCK_FLOCK_WAIT;

static bool is_flock(const struct sfs_call *c)
{
	return c->flags & flock_kinds;
}

static struct sfs_call *lock_call(fuse_req_t req, struct sfs_node *n,
				  const struct fuse_file_info *fi,
				  const struct flock *lock)
{
	struct sfs_call *c = sfs_call_new(req, sfs_inode_of(n), NULL, NULL);

	if (!c)
		return NULL;
	c->handle = sfs_handle_ref(sfs_handle_of(fi));
	c->rdev = fi->lock_owner;
	c->mode = (uint32_t)lock->l_type;
	c->offset = (uint64_t)lock->l_start;
	c->offset2 =
		lock->l_len ? c->offset + (uint64_t)lock->l_len - 1 : INT64_MAX;
	return c;
}

/* The owner that the lock was asked for, if it is still there. */
static struct sfs_lock_owner *lock_owner(const struct sfs_call *c)
{
	struct sfs_lock_owner *o = sfs_locks_find(c->inode, c->rdev);

	return o && o->serial == c->gen ? o : NULL;
}

/* ---- taking one ---- */

static int lock_send(struct sfs_call *c)
{
	struct sfs_handle *h = c->handle;
	struct sfs_lock_owner *o = NULL;
	int err;

	if (!c->req)
		return -EINTR;
	if (!is_flock(c)) {
		o = sfs_locks_owner(h, c->rdev, (uint8_t)c->mode,
				    fuse_req_ctx(c->req)->pid);
		if (!o)
			return -ENOLCK;
		c->gen = o->serial;
		h = o->h;
	}
	err = sfs_handle_tell(h);
	if (err < 0)
		return err;
	sfs_locks_put(h, o ? o->there : 0, c->flags, (uint8_t)c->mode,
		      c->offset, c->offset2);
	return sfs_call_submit(c, NULL);
}

/* A signal: the answer comes soon, whichever it is. */
static void lock_give_up(struct sfs_call *c)
{
	struct sfs_handle *h = c->handle;
	struct sfs_lock_owner *o = NULL;

	if (!is_flock(c)) {
		o = lock_owner(c);
		if (!o)
			return;
		h = o->h;
	}
	if (!sfs_handle_is_told(h))
		return;
	sfs_locks_put(h, o ? o->there : 0, c->flags | SBX_LOCK_CANCEL, F_UNLCK,
		      0, INT64_MAX);
	sbx_remote_submit_quiet(c->files->remote);
}

static void flock_keep(struct sfs_call *c)
{
	struct sfs_handle *h = c->handle;

	c->files->nr_locks += h->flock == F_UNLCK;
	h->flock = (uint8_t)c->mode;
}

/* It is held there.  Is it to be? */
static int lock_keep(struct sfs_call *c)
{
	struct sfs_lock_owner *o;
	int err = c->req ? 0 : -EINTR;

	if (is_flock(c)) {
		flock_keep(c);
		if (err)
			sfs_locks_unflock(c->handle);
		return err;
	}
	o = lock_owner(c);
	if (o && !err)
		err = sfs_locks_set(o, (uint8_t)c->mode, c->offset, c->offset2);
	if (o && err)
		sfs_locks_restore(o, c->offset, c->offset2);
	return err;
}

/* It is not held, or that is not known. */
static void lock_missed(struct sfs_call *c, int err)
{
	struct sfs_lock_owner *o;

	if (is_flock(c)) {
		/* changing its kind gives up the one that was held */
		sfs_locks_unflock(c->handle);
	} else if (err == -ETIMEDOUT || err == -EPROTO) {
		o = lock_owner(c);
		if (o)
			sfs_locks_restore(o, c->offset, c->offset2);
	}
}

static void on_settled(void *arg)
{
	fuse_reply_err(arg, 0);
}

static void lock_done(struct sfs_call *c, int err, struct sbx_rd *rd)
{
	struct sfs_files *files;

	err = sfs_handle_error(c->handle, err);
	/* given up for another thread of its owner */
	if (err == -EINTR && c->req && c->interrupt) {
		sfs_call_go(c);
		return;
	}
	if (err)
		lock_missed(c, err);
	else
		err = lock_keep(c);
	if (err) {
		sfs_call_err(c, err);
		return;
	}
	files = c->files;
	sfs_files_settle(files, on_settled, sfs_call_take(c));
}

static void lock_take(struct sfs_call *c, bool wait)
{
	const struct sfs_lock_owner *o;

	if (c->handle->lock_lost) {
		sfs_call_err(c, -EIO);
		return;
	}
	if (!is_flock(c) && !wait &&
	    sfs_locks_conflict(c->inode, c->rdev, (uint8_t)c->mode, c->offset,
			       c->offset2, &o)) {
		sfs_call_err(c, -EAGAIN);
		return;
	}
	c->send = lock_send;
	c->done = lock_done;
	c->change = true;
	if (wait)
		c->interrupt = lock_give_up;
	sfs_call_go(c);
}

/* ---- giving one back ---- */

static void unlock_now(struct sfs_call *c, int unused)
{
	struct sfs_lock_owner *o;
	int err = 0;

	if (is_flock(c)) {
		sfs_locks_unflock(c->handle);
	} else if ((o = sfs_locks_find(c->inode, c->rdev))) {
		err = sfs_locks_set(o, F_UNLCK, c->offset, c->offset2);
		if (!err)
			sfs_locks_restore(o, c->offset, c->offset2);
	}
	sfs_call_err(c, err);
}

/* Not before writes that must be sent again. */
static void unlock(struct sfs_call *c)
{
	struct sfs_file *file = c->inode->file;

	if (!file->nr_lost) {
		unlock_now(c, 0);
		return;
	}
	c->resume = unlock_now;
	sfs_calls_add(&file->drain, c);
	sfs_call_waits(c);
}

/* ---- handlers ---- */

void sfs_on_setlk(fuse_req_t req, struct sfs_node *n, struct fuse_file_info *fi,
		  struct flock *lock, int sleep)
{
	struct sfs_call *c = lock_call(req, n, fi, lock);

	if (!c)
		return;
	c->flags = sleep ? SBX_LOCK_WAIT : SBX_LOCK_SET;
	if (lock->l_type == F_UNLCK)
		unlock(c);
	else
		lock_take(c, sleep);
}

void sfs_on_flock(fuse_req_t req, struct sfs_node *n, struct fuse_file_info *fi,
		  int op)
{
	struct flock all = {.l_type = F_WRLCK};
	struct sfs_call *c;

	if (op & LOCK_UN)
		all.l_type = F_UNLCK;
	else if (op & LOCK_SH)
		all.l_type = F_RDLCK;
	c = lock_call(req, n, fi, &all);
	if (!c)
		return;
	c->flags = op & LOCK_NB ? SBX_LOCK_FLOCK : SBX_LOCK_FLOCK_WAIT;
	if (op & LOCK_UN)
		unlock(c);
	else
		lock_take(c, !(op & LOCK_NB));
}

static int getlk_send(struct sfs_call *c)
{
	const struct sfs_lock_owner *o = sfs_locks_find(c->inode, c->rdev);
	struct sfs_handle *h = o ? o->h : c->handle;
	int err = sfs_handle_tell(h);

	if (err < 0)
		return err;
	sfs_locks_put(h, o ? o->there : 0, SBX_LOCK_GET, (uint8_t)c->mode,
		      c->offset, c->offset2);
	return sfs_call_submit(c, NULL);
}

/* A process of the sandbox has no number here: it is told as 0. */
static void getlk_done(struct sfs_call *c, int err, struct sbx_rd *rd)
{
	struct flock lock = {.l_whence = SEEK_SET};
	uint64_t type = sbx_get_u64(rd), start = sbx_get_u64(rd);
	uint64_t len = sbx_get_u64(rd);

	err = sfs_handle_error(c->handle, err);
	if (!err && (rd->err || type > F_UNLCK || start > INT64_MAX ||
		     len > INT64_MAX - start))
		err = -EPROTO;
	if (err) {
		sfs_call_err(c, err);
		return;
	}
	lock.l_type = (short)type;
	lock.l_start = (off_t)start;
	lock.l_len = (off_t)len;
	if (c->req)
		fuse_reply_lock(c->req, &lock);
	sfs_call_free(c);
}

void sfs_on_getlk(fuse_req_t req, struct sfs_node *n, struct fuse_file_info *fi,
		  struct flock *lock)
{
	struct sfs_call *c = lock_call(req, n, fi, lock);
	const struct sfs_lock_owner *o;
	const struct sfs_range *r;

	if (!c)
		return;
	r = sfs_locks_conflict(c->inode, c->rdev, (uint8_t)c->mode, c->offset,
			       c->offset2, &o);
	if (r) {
		lock->l_type = r->type;
		lock->l_start = (off_t)r->start;
		lock->l_len = r->end == INT64_MAX
				      ? 0
				      : (off_t)(r->end - r->start + 1);
		lock->l_pid = (pid_t)o->pid;
		fuse_reply_lock(c->req, lock);
		sfs_call_free(c);
		return;
	}
	c->send = getlk_send;
	c->done = getlk_done;
	sfs_call_go(c);
}
