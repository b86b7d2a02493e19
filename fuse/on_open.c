/*
 * Opening files.
 */
#include <errno.h>
#include <fcntl.h>

#include "fuse/ahead.h"
#include "fuse/cache.h"
#include "fuse/caller.h"
#include "fuse/fresh.h"
#include "fuse/handle.h"
#include "fuse/lazy.h"
#include "fuse/making.h"
#include "fuse/on.h"
#include "fuse/shown.h"
#include "fuse/tell.h"
#include "fuse/tree.h"

void sfs_open_flags(const struct sfs_inode *i, struct fuse_file_info *fi)
{
	static const int writes = O_ACCMODE | O_APPEND;
	bool can_cache = sfs_inode_is_covered(i);

	/*
	 * (The kernel itself goes around its pages for O_DIRECT.)  Where it
	 * writes by pages it cuts a record in two, which somebody in the
	 * sandbox may append between, and puts it where it takes the end
	 * to be.
	 */
	fi->direct_io = i->flags & SFS_INODE_VOLATILE ||
			(fi->flags & writes) == (O_WRONLY | O_APPEND);
	fi->keep_cache = can_cache && !(fi->flags & O_TRUNC);
	/* Closing any of its open files ends all locks of a process, so each
	 * is told: also of those who were here before the first lock. */
	fi->noflush = (fi->flags & O_ACCMODE) == O_RDONLY &&
		      i->files->fs->local_locks;
}

static void open_reply(fuse_req_t req, struct sfs_handle *h,
		       struct fuse_file_info *fi)
{
	sfs_open_flags(h->inode, fi);
	fi->fh = (uintptr_t)h;
	if (fuse_reply_open(req, fi) < 0)
		sfs_handle_release(h);
}

static int open_send(struct sfs_call *c)
{
	struct sfs_at at;
	struct sbx_buf *b;
	int err;

	c->rdev = sbx_remote_number(c->files->remote); /* the handle's */
	err = sfs_call_at(c, c->inode, &at);
	if (err == -ESTALE)
		err = sfs_open_at(c->inode, &at);
	if (!err)
		err = sfs_call_act(c);
	if (err < 0)
		return err;
	if (c->flags & O_TRUNC)
		sfs_file_stale(c->inode);
	b = sbx_remote_begin(c->files->remote, SBX_OP_OPEN, 5);
	sbx_put_u64(b, c->rdev);
	sfs_put_at(b, &at);
	sbx_put_u64(b, c->flags);
	return sfs_call_submit(c, NULL);
}

/* The name leads elsewhere, or nowhere, by now: the kernel looks again, and is
 * told what the helper then holds until it is opened. */
static int open_err(struct sfs_inode *i, int err)
{
	struct sfs_entry *e = i->names;

	if (err != -ESTALE && err != -ENOENT)
		return err == -ERESTART ? -EIO : err;
	i->files->stale_ms = files_now(i->files);
	if (e && !sfs_dir_is_true(e->dir))
		sfs_cache_remove_entry(e->dir, e, SFS_PUT_MOVED);
	return -ESTALE;
}

static void open_done(struct sfs_call *c, int err, struct sbx_rd *rd)
{
	struct sfs_handle *h = NULL;
	struct sbx_attr attr;

	if (!err && !sbx_get_attr(rd, &attr))
		err = -EPROTO;
	if (!err) {
		sfs_cache_attr(c->inode, &attr,
			       c->flags & O_TRUNC ? sfs_call_how(c) : 0);
		if (c->flags & O_TRUNC)
			sfs_file_stale(c->inode);
		h = sfs_handle_new(c->inode, c->fi.flags);
		if (!h)
			err = -ENOMEM;
	}
	if (err) {
		sfs_call_err(c, open_err(c->inode, err));
		return;
	}
	h->caller = c->caller;
	c->caller = NULL;
	h->number = c->rdev;
	h->epoch = sbx_remote_epoch(c->files->remote);
	h->told = true;
	if (c->req)
		open_reply(c->req, h, &c->fi);
	else
		sfs_handle_release(h);
	sfs_call_free(c);
}

static int open_tell(struct sfs_call *c)
{
	int err = sfs_handle_tell(c->handle);

	if (err < 0)
		return err;
	c->handle->opener = c;
	sfs_read_first(c->handle);
	return 0;
}

/* The sandbox's answer to OPEN is here; its content may be, too. */
static void on_told(struct sfs_call *c, int err)
{
	if (err == -ERESTART && c->req && c->tries++ < SFS_MAX_RESTARTS &&
	    open_tell(c) == 0)
		return;
	if (!err && c->req)
		open_reply(c->req, c->handle, &c->fi);
	else
		sfs_handle_release(c->handle);
	if (err)
		sfs_call_err(c, open_err(c->inode, err));
	else
		sfs_call_free(c);
}

/* Its content may be here by now: then there is nothing to wait for, though it
 * is opened there all the same. */
static void open_on(struct sfs_call *c, int none)
{
	struct sfs_inode *i = sfs_inode_ref(c->inode);
	bool hit;
	int err;

	sfs_files_defer(c->files, SFS_HOLD_MS);
	hit = c->req && sfs_ahead_take(c->handle) &&
	      sfs_handle_tell(c->handle) == 0;
	sfs_files_defer(c->files, 0);

	if (hit || !c->req) {
		on_told(c, 0);
	} else {
		c->resume = on_told;
		sfs_call_waits(c);
		err = open_tell(c);
		if (err < 0)
			on_told(c, err);
	}
	if (!hit)
		sfs_ahead_missed(i);
	sfs_inode_unref(i);
}

static void on_fresh_open(struct sfs_call *c, int err)
{
	struct fuse_file_info fi = c->fi;
	struct sfs_inode *i;

	if (err || !c->req) {
		sfs_call_err(c, err);
		return;
	}
	i = sfs_inode_ref(c->inode);
	sfs_on_open(sfs_call_take(c), &i->node, &fi);
	sfs_inode_unref(i);
}

static void on_shown(void *arg)
{
	on_fresh_open(arg, 0);
}

/*
 * It changed, and is shown as it was while the kernel drops its pages: what is
 * read now is what it is, and would be cut off where it ended.  Where changes
 * are told with answers only that is long after it changed.
 */
static void open_when_shown(fuse_req_t req, struct sfs_inode *i,
			    const struct fuse_file_info *fi)
{
	struct sfs_call *c = sfs_call_new(req, i, NULL, NULL);

	if (!c)
		return;
	c->fi = *fi;
	sfs_call_waits(c);
	sfs_files_settle(i->files, on_shown, c);
}

/*
 * Nothing but reading, by somebody who certainly may.  What the kernel does
 * not have is opened there before this is answered: it must stay readable
 * when its name leads to another file in the next moment.
 */
static void open_to_read(fuse_req_t req, struct sfs_inode *i,
			 struct fuse_file_info *fi)
{
	struct sfs_handle *h = sfs_handle_new(i, fi->flags);
	struct sfs_call *c;

	if (!h) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	if (!i->size || i->flags & SFS_INODE_WHOLE) {
		sfs_lazy_add(h);
		open_reply(req, h, fi);
		return;
	}
	c = sfs_call_new(req, i, NULL, NULL);
	if (!c) {
		sfs_handle_release(h);
		return;
	}
	c->handle = sfs_handle_ref(h);
	c->fi = *fi;
	c->resume = open_on;
	if (!sfs_ahead_wait(c))
		open_on(c, 0);
}

/* (What is open stays in reach when its folder does not; but that it is to be
 * opened by what is open there is found out by an answer.) */
static bool is_in_reach(const struct sfs_inode *i)
{
	return i->names && sfs_inode_is_searchable(i->names->dir->inode);
}

/*
 * Where each answer costs much, opening to write goes with the writes if it
 * will certainly do: what is known is no older than what may be shown, and
 * gives the right.  (A program that may be running cannot be written.)
 */
static bool opens_with_writes(const struct sfs_inode *i, int flags)
{
	int mode = flags & O_ACCMODE;

	return mode != O_RDONLY && !sfs_claim_is_open(i->files) &&
	       !(flags & (O_SYNC | O_DSYNC | O_NOATIME)) &&
	       sfs_tree_is_wanted(i->files) && !(i->mode & 0111) &&
	       sfs_inode_is_known(i) && sfs_files_are_fresh(i->files) &&
	       sfs_inode_is_writable(i) && is_in_reach(i) &&
	       (mode == O_WRONLY || sfs_inode_is_readable(i));
}

static void open_to_write(struct sfs_call *c)
{
	struct sfs_handle *h;
	int err = sfs_call_act(c);

	h = err ? NULL : sfs_handle_new(c->inode, c->fi.flags);
	if (!err && !h)
		err = -ENOMEM;
	if (!err) {
		h->caller = c->caller;
		c->caller = NULL;
		err = sfs_write_open(h, (int)c->flags);
	}
	if (err && h)
		sfs_handle_release(h);
	else if (!err)
		open_reply(c->req, h, &c->fi);
	if (err)
		sfs_call_err(c, err);
	else
		sfs_call_free(c);
}

void sfs_on_open(fuse_req_t req, struct sfs_node *n, struct fuse_file_info *fi)
{
	static const int matters =
		O_ACCMODE | O_TRUNC | O_APPEND | O_SYNC | O_NOATIME;
	struct sfs_inode *i = sfs_inode_of(n);
	struct sfs_call *c;

	if (!sfs_inode_is_file(i)) {
		fuse_reply_err(req, ENXIO);
		return;
	}
	if (sfs_shown_is_on(i) && sfs_tree_is_wanted(i->files)) {
		open_when_shown(req, i, fi);
		return;
	}
	/* neither reading nor writing, but the right to both */
	if ((fi->flags & O_ACCMODE) == O_ACCMODE)
		fi->flags ^= O_ACCMODE ^ O_RDWR;
	if (!(fi->flags & matters) && sfs_inode_is_covered(i) &&
	    i->attr_gen == i->files->gen && sfs_inode_is_readable(i)) {
		if (sfs_files_are_fresh(i->files))
			open_to_read(req, i, fi);
		else
			sfs_fresh_open(req, i, fi, on_fresh_open);
		return;
	}
	c = sfs_call_new(req, i, NULL, NULL);
	if (!c)
		return;
	c->fi = *fi;
	c->flags = (uint32_t)(fi->flags & matters);
	if (opens_with_writes(i, fi->flags)) {
		open_to_write(c);
		return;
	}
	c->send = open_send;
	c->done = open_done;
	/* one that is interrupted must be closed again there */
	c->change = true;
	c->reads = !(fi->flags & (O_ACCMODE | O_TRUNC));
	sfs_call_go(c);
}
