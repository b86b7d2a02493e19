/*
 * Open files: on_open.c opens them.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "fuse/attr.h"
#include "fuse/cache.h"
#include "fuse/caller.h"
#include "fuse/handle.h"
#include "fuse/list.h"
#include "fuse/locks.h"
#include "fuse/making.h"
#include "fuse/on.h"
#include "fuse/shown.h"
#include "fuse/written.h"

/* ---- read, write ---- */

static struct sfs_call *call_for(fuse_req_t req, struct sfs_node *n,
				 const struct fuse_file_info *fi)
{
	struct sfs_call *c = sfs_call_new(req, sfs_inode_of(n), NULL, NULL);

	if (c)
		c->handle = sfs_handle_ref(sfs_handle_of(fi));
	return c;
}

/* Who lost a lock must not go on as if it were held. */
static struct sfs_call *call_if_locked(fuse_req_t req, struct sfs_node *n,
				       const struct fuse_file_info *fi)
{
	const struct sfs_handle *h = sfs_handle_of(fi);

	if (!h || !h->lock_lost)
		return call_for(req, n, fi);
	fuse_reply_err(req, EIO);
	return NULL;
}

void sfs_on_read(fuse_req_t req, struct sfs_node *n, size_t size, off_t off,
		 struct fuse_file_info *fi)
{
	struct sfs_call *c = call_if_locked(req, n, fi);

	if (!c)
		return;
	c->cached = SFS_CACHED_CONTENT;
	c->size = size;
	c->offset = (uint64_t)off;
	if (size)
		sfs_read(c);
	else
		sfs_call_err(c, -EINVAL);
}

/*
 * A page of a mapping belongs at its offset, also when the only handle that
 * the kernel has is one that appends.
 */
static struct sfs_handle *handle_for_page(struct sfs_handle *h)
{
	struct sfs_handle *o;

	if (!(h->flags & O_APPEND))
		return h;
	for (o = h->inode->file->handles; o; o = o->next)
		if (!o->released && !(o->flags & O_APPEND) &&
		    (o->flags & O_ACCMODE) != O_RDONLY)
			return o;
	h->plain = sfs_handle_new(h->inode, O_RDWR);
	return h->plain;
}

static void write_go(struct sfs_call *c, const char *buf, size_t size)
{
	static const int slow = O_SYNC | O_DSYNC | O_DIRECT | O_APPEND;
	bool page = c->fi.writepage;
	struct sfs_handle *h = page ? handle_for_page(c->handle) : c->handle;
	int err = 0;

	/* pages are written by nobody in particular */
	if (h && !page)
		err = sfs_call_is_other(c, h);
	if (!h || err < 0)
		sfs_call_err(c, -ENOMEM);
	else
		sfs_write(c, h, buf, size, c->offset, h->flags & slow && !page);
}

static void on_claim(struct sfs_call *c, int err)
{
	if (err || !c->req)
		sfs_call_err(c, err);
	else
		write_go(c, c->data, c->size);
}

void sfs_on_write(fuse_req_t req, struct sfs_node *n, const char *buf,
		  size_t size, off_t off, struct fuse_file_info *fi)
{
	struct sfs_call *c = call_if_locked(req, n, fi);

	if (!c)
		return;
	c->change = true;
	c->fi = *fi;
	c->offset = (uint64_t)off;
	c->resume = on_claim;
	if (c->files->claim && c->files->claim != c->inode &&
	    sfs_call_keep(c, buf, size) < 0)
		sfs_call_err(c, -ENOMEM);
	else if (!sfs_claim_wait(c))
		write_go(c, buf, size);
}

/* ---- flush, fsync, release ---- */

/* An error that nobody would hear of is left for the next one who asks. */
static int take_error(struct sfs_call *c)
{
	return c->req ? sfs_handle_take_error(c->handle) : 0;
}

static void on_settled(void *arg)
{
	fuse_reply_err(arg, 0);
}

/* What was written by way of workspace/ is in root/ when it is closed. */
static void on_attr(struct sfs_call *c, int err)
{
	struct sfs_files *f = c->files;
	struct sfs_inode *other = sfs_cache_other_view(c->inode);

	if (other && c->req && sfs_shown_is_on(other))
		sfs_files_settle(f, on_settled, sfs_call_take(c));
	else
		sfs_call_err(c, 0);
}

static void on_flushed(struct sfs_call *c, int err)
{
	bool reads = (c->handle->flags & O_ACCMODE) == O_RDONLY;
	/* a reader's close does not fail by what others could not write */
	int werr = reads ? 0 : take_error(c);

	sfs_file_waited(c->inode);
	sfs_written_end(c->inode);
	sfs_locks_drop(c->inode, c->rdev);
	err = werr ? werr : err;
	if (err || reads || !c->req || !sfs_cache_other_view(c->inode)) {
		sfs_call_err(c, err);
		return;
	}
	c->resume = on_attr;
	sfs_attr_wait(c);
}

void sfs_on_flush(fuse_req_t req, struct sfs_node *n, struct fuse_file_info *fi)
{
	struct sfs_call *c = call_for(req, n, fi);

	if (!c)
		return;
	c->rdev = fi->lock_owner;
	/* A reader has nothing to wait for; but a lock is not given up before
	 * what was written under it is there. */
	if (!sfs_writes_change(c->inode) || sfs_making_is_lock(c->inode) ||
	    ((c->handle->flags & O_ACCMODE) == O_RDONLY &&
	     !sfs_locks_find(c->inode, c->rdev))) {
		on_flushed(c, 0);
		return;
	}
	c->resume = on_flushed;
	sfs_calls_add(&c->inode->file->drain, c);
	sfs_call_waits(c);
}

static void on_drained(struct sfs_call *c, int err)
{
	if (err < 0)
		sfs_call_err(c, err);
	else
		sfs_call_go(c);
}

static int fsync_send(struct sfs_call *c)
{
	struct sbx_buf *b;
	int err;

	/* writes that went with a lost helper are sent again once the last
	 * of them is known to be lost: not before those */
	if (c->tries && sfs_file_is_dirty(c->inode)) {
		c->resume = on_drained;
		sfs_calls_add(&c->inode->file->drain, c);
		sfs_call_waits(c);
		return 0;
	}
	err = sfs_handle_tell(c->handle);
	if (err < 0)
		return err;
	b = sbx_remote_begin(c->files->remote, SBX_OP_FSYNC, 3);
	sbx_put_u64(b, c->handle->number);
	sbx_put_bool(b, c->flags);
	sbx_put_u64(b, 0);
	return sfs_call_submit(c, NULL);
}

/* Sent behind the writes, so their answers are here. */
static void fsync_done(struct sfs_call *c, int err, struct sbx_rd *rd)
{
	struct sbx_attr attr;
	int werr = take_error(c);

	if (!err && sbx_get_attr(rd, &attr))
		sfs_cache_attr(c->inode, &attr, SFS_PUT_OWN);
	err = sfs_handle_error(c->handle, err);
	sfs_call_err(c, werr ? werr : err);
}

void sfs_on_fsync(fuse_req_t req, struct sfs_node *n, int datasync,
		  struct fuse_file_info *fi)
{
	struct sfs_call *c = call_if_locked(req, n, fi);

	if (!c)
		return;
	c->flags = datasync != 0;
	c->send = fsync_send;
	c->done = fsync_done;
	sfs_call_go(c);
}

void sfs_on_release(fuse_req_t req, struct sfs_node *n,
		    struct fuse_file_info *fi)
{
	sfs_handle_release(sfs_handle_of(fi));
	fuse_reply_err(req, 0);
}

/* ---- fallocate, lseek, copy ---- */

static int fallocate_send(struct sfs_call *c)
{
	struct sbx_buf *b;
	int err = sfs_handle_tell(c->handle);

	if (err < 0)
		return err;
	err = sfs_call_act_by(c, c->handle);
	if (err < 0)
		return err;
	sfs_file_stale(c->inode);
	b = sbx_remote_begin(c->files->remote, SBX_OP_FALLOCATE, 4);
	sbx_put_u64(b, c->handle->number);
	sbx_put_u64(b, c->mode);
	sbx_put_u64(b, c->offset);
	sbx_put_u64(b, c->offset2);
	return sfs_call_submit(c, NULL);
}

static void fallocate_done(struct sfs_call *c, int err, struct sbx_rd *rd)
{
	struct sbx_attr attr;

	err = sfs_handle_error(c->handle, err);
	if (!err && !sbx_get_attr(rd, &attr))
		err = -EPROTO;
	sfs_file_stale(c->inode);
	if (!err)
		sfs_cache_attr(c->inode, &attr, sfs_call_how(c));
	sfs_call_err(c, err);
}

void sfs_on_fallocate(fuse_req_t req, struct sfs_node *n, int mode,
		      off_t offset, off_t length, struct fuse_file_info *fi)
{
	struct sfs_call *c = call_for(req, n, fi);

	if (!c)
		return;
	c->mode = (uint32_t)mode;
	c->offset = (uint64_t)offset;
	c->offset2 = (uint64_t)length;
	c->send = fallocate_send;
	c->done = fallocate_done;
	c->change = true;
	sfs_call_go(c);
}

static int lseek_send(struct sfs_call *c)
{
	struct sbx_buf *b;
	int err = sfs_handle_tell(c->handle);

	if (err < 0)
		return err;
	b = sbx_remote_begin(c->files->remote, SBX_OP_SEEK, 3);
	sbx_put_u64(b, c->handle->number);
	sbx_put_u64(b, c->offset);
	sbx_put_u64(b, c->flags);
	return sfs_call_submit(c, NULL);
}

static void lseek_done(struct sfs_call *c, int err, struct sbx_rd *rd)
{
	uint64_t off = sbx_get_u64(rd);

	err = sfs_handle_error(c->handle, err);
	if (!err && (rd->err || off > INT64_MAX))
		err = -EPROTO;
	if (err) {
		sfs_call_err(c, err);
		return;
	}
	if (c->req)
		fuse_reply_lseek(c->req, (off_t)off);
	sfs_call_free(c);
}

void sfs_on_lseek(fuse_req_t req, struct sfs_node *n, off_t off, int whence,
		  struct fuse_file_info *fi)
{
	struct sfs_call *c = call_for(req, n, fi);

	if (!c)
		return;
	c->offset = (uint64_t)off;
	c->flags = (uint32_t)whence;
	c->send = lseek_send;
	c->done = lseek_done;
	sfs_call_go(c);
}

static int copy_send(struct sfs_call *c)
{
	struct sbx_buf *b;
	int err = sfs_handle_tell(c->handle);

	if (!err)
		err = sfs_handle_tell(c->handle2);
	if (!err)
		err = sfs_call_act_by(c, c->handle2);
	if (err < 0)
		return err;
	sfs_file_stale(c->other);
	b = sbx_remote_begin(c->files->remote, SBX_OP_COPY, 6);
	sbx_put_u64(b, c->handle->number);
	sbx_put_u64(b, c->offset);
	sbx_put_u64(b, c->handle2->number);
	sbx_put_u64(b, c->offset2);
	sbx_put_u64(b, c->size);
	sbx_put_u64(b, c->flags);
	return sfs_call_submit(c, NULL);
}

static void copy_done(struct sfs_call *c, int err, struct sbx_rd *rd)
{
	struct sbx_attr attr;
	uint64_t copied = sbx_get_u64(rd);

	err = sfs_handle_error(c->handle, sfs_handle_error(c->handle2, err));
	if (!err && (!sbx_get_attr(rd, &attr) || copied > c->size))
		err = -EPROTO;
	sfs_file_stale(c->other);
	if (err) {
		sfs_call_err(c, err);
		return;
	}
	sfs_cache_attr(c->other, &attr, sfs_call_how(c));
	if (c->req)
		fuse_reply_write(c->req, (size_t)copied);
	sfs_call_free(c);
}

void sfs_on_copy_file_range(fuse_req_t req, struct sfs_node *in, off_t off_in,
			    struct fuse_file_info *fi_in, struct sfs_node *out,
			    off_t off_out, struct fuse_file_info *fi_out,
			    size_t len, int flags)
{
	struct sfs_call *c;

	if (sfs_inode_of(in)->files != sfs_inode_of(out)->files) {
		fuse_reply_err(req, EXDEV);
		return;
	}
	c = call_for(req, in, fi_in);
	if (!c)
		return;
	c->other = sfs_inode_ref(sfs_inode_of(out));
	c->handle2 = sfs_handle_ref(sfs_handle_of(fi_out));
	c->offset = (uint64_t)off_in;
	c->offset2 = (uint64_t)off_out;
	c->size = len < SFS_MAX_COPY ? len : SFS_MAX_COPY;
	c->flags = (uint32_t)flags;
	c->send = copy_send;
	c->done = copy_done;
	c->change = true;
	sfs_call_go(c);
}
