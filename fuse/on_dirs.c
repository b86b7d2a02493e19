/*
 * Open directories and listings.
 */
#include <errno.h>

#include "fuse/cache.h"
#include "fuse/fresh.h"
#include "fuse/handle.h"
#include "fuse/list.h"
#include "fuse/on.h"
#include "fuse/shown.h"
#include "fuse/tell.h"

/* ---- opendir, releasedir ---- */

/*
 * The kernel keeps the listing it had unless told otherwise.  One that it
 * was still filling when a change came would be wrong for good: so after a
 * change it starts anew, and does so until no such reader is left.
 */
static void opendir_reply(fuse_req_t req, struct sfs_dir *d,
			  struct fuse_file_info *fi)
{
	fi->cache_readdir = sfs_dir_is_true(d);
	fi->keep_cache = fi->cache_readdir && !d->changed;
	if (!d->nr_open)
		d->changed = false;
	fi->fh = 0;
	d->nr_open++;
	d->inode->files->nr_open_dirs++;
	sfs_inode_ref(d->inode);
	sfs_dir_used(d);
	if (fuse_reply_open(req, fi) < 0) {
		d->nr_open--;
		d->inode->files->nr_open_dirs--;
		sfs_inode_unref(d->inode);
	}
}

/* The kernel may keep its listing, or not: that is known now. */
static void on_fresh_open(struct sfs_call *c, int err)
{
	struct sfs_dir *d = err ? NULL : sfs_dir_of(c->inode);
	struct fuse_file_info fi = c->fi;

	if (!err && !d)
		err = -ENOMEM;
	if (err || !c->req)
		sfs_call_err(c, err);
	else
		opendir_reply(sfs_call_take(c), d, &fi);
}

void sfs_on_opendir(fuse_req_t req, struct sfs_node *n,
		    struct fuse_file_info *fi)
{
	struct sfs_inode *i = sfs_inode_of(n);
	struct sfs_dir *d;

	if (!sfs_inode_is_dir(i)) {
		fuse_reply_err(req, ENOTDIR);
		return;
	}
	d = sfs_dir_of(i);
	if (d && sfs_dir_is_complete(d) && !sfs_files_are_fresh(i->files))
		sfs_fresh_open(req, i, fi, on_fresh_open);
	else if (d)
		opendir_reply(req, d, fi);
	else
		fuse_reply_err(req, ENOMEM);
}

void sfs_on_releasedir(fuse_req_t req, struct sfs_node *n,
		       struct fuse_file_info *fi)
{
	struct sfs_inode *i = sfs_inode_of(n);

	i->dir->nr_open--;
	i->files->nr_open_dirs--;
	sfs_inode_unref(i);
	fuse_reply_err(req, 0);
}

/* ---- readdir ---- */

static bool add_dots(struct sfs_dirbuf *buf, struct sfs_dir *d, off_t off)
{
	struct sfs_inode *i = d->inode;
	struct fuse_entry_param e;

	memset(&e, 0, sizeof(e));
	sfs_inode_attr(i, &e.attr);
	if (off < 1 && !sfs_dirbuf_add(buf, i->files->fs, ".", NULL, &e, 1))
		return false;
	if (i->names)
		sfs_inode_attr(i->names->dir->inode, &e.attr);
	return off >= 2 || sfs_dirbuf_add(buf, i->files->fs, "..", NULL, &e, 2);
}

static bool add_entry(struct sfs_dirbuf *buf, struct sfs_dir *d,
		      struct sfs_entry *e)
{
	struct sfs_files *f = d->inode->files;
	struct sfs_inode *i = e->inode;
	struct fuse_entry_param p;
	bool with, added;

	if (!i) {
		/* something is there that cannot be examined */
		memset(&p, 0, sizeof(p));
		p.attr.st_ino = (ino_t)-1;
		return sfs_dirbuf_add(buf, f->fs, e->name, NULL, &p,
				      (off_t)e->cookie);
	}
	/* attributes that are about to change are not given away */
	with = buf->plus && !sfs_shown_is_on(i) &&
	       (sfs_inode_is_known(i) || sfs_inode_is_recent(i));
	if (with) {
		sfs_inode_entry(i, d, &p);
	} else {
		memset(&p, 0, sizeof(p));
		sfs_inode_attr(i, &p.attr);
	}
	added = sfs_dirbuf_add(buf, f->fs, e->name, with ? &i->node : NULL, &p,
			       (off_t)e->cookie);
	if (with && !i->node.nlookup)
		sfs_inode_forget(&i->node);
	else if (with && added && sfs_file_is_open(i))
		sfs_shown_given(i, fuse_req_ctx(buf->req)->pid);
	return added;
}

static void readdir_reply(struct sfs_call *c)
{
	struct sfs_dir *d = c->inode->dir;
	off_t off = (off_t)c->offset;
	struct sfs_dirbuf buf;
	struct sfs_entry *e;

	if (!c->req) {
		sfs_call_free(c);
		return;
	}
	if (sfs_dirbuf_init(&buf, c->req, c->size, c->plus) < 0) {
		sfs_call_err(c, -ENOMEM);
		return;
	}
	sfs_list_waited(d);
	if (add_dots(&buf, d, off)) {
		if (off < 2)
			off = 2;
		e = sfs_entries_after(&d->entries, (uint64_t)off);
		while (e && add_entry(&buf, d, e))
			e = sfs_entries_next(&d->entries, e);
	}
	sfs_dirbuf_reply(&buf);
	sfs_call_free(c);
}

/* A directory that was removed does not even have ".". */
static void readdir_nothing(struct sfs_call *c)
{
	if (c->req)
		fuse_reply_buf(c->req, NULL, 0);
	sfs_call_free(c);
}

static void on_listed(struct sfs_call *c, int err)
{
	if (!err && !c->inode->dir)
		err = -ESTALE;
	if (err)
		sfs_call_err(c, err);
	else
		readdir_reply(c);
}

static void readdir_go(struct sfs_call *c);

static void on_fresh(struct sfs_call *c, int err)
{
	if (err)
		sfs_call_err(c, err);
	else
		readdir_go(c);
}

/* Once begun, a listing goes on with what is there. */
static void readdir_go(struct sfs_call *c)
{
	struct sfs_dir *d = c->inode->dir;

	if (d && c->offset && d->complete) {
		readdir_reply(c);
	} else if (d && sfs_list_is_good(d)) {
		c->resume = on_fresh;
		if (!sfs_dir_is_true(d) || !sfs_fresh_wait(c))
			readdir_reply(c);
	} else {
		c->resume = on_listed;
		sfs_list_wait(c);
	}
}

void sfs_on_readdir(fuse_req_t req, struct sfs_node *n, size_t size, off_t off,
		    struct fuse_file_info *fi, bool plus)
{
	struct sfs_inode *i = sfs_inode_of(n);
	struct sfs_call *c = sfs_call_new(req, i, NULL, NULL);

	if (!c)
		return;
	c->cached = off ? SFS_CACHED_NOT : SFS_CACHED_LISTINGS;
	c->size = size;
	c->offset = (uint64_t)off;
	c->plus = plus;
	if (off < 0)
		sfs_call_err(c, -EINVAL);
	else if (sfs_inode_is_gone_dir(i))
		readdir_nothing(c);
	else
		readdir_go(c);
}

/* ---- fsyncdir ---- */

static int fsyncdir_send(struct sfs_call *c)
{
	struct sbx_buf *b;
	int err = sfs_dir_tell(c->inode);

	if (err < 0)
		return err;
	b = sbx_remote_begin(c->files->remote, SBX_OP_FSYNC, 3);
	sbx_put_u64(b, 0);
	sbx_put_bool(b, c->flags);
	sbx_put_u64(b, c->inode->dir->number);
	return sfs_call_submit(c, NULL);
}

static void fsyncdir_done(struct sfs_call *c, int err, struct sbx_rd *rd)
{
	sfs_call_err(c, err);
}

void sfs_on_fsyncdir(fuse_req_t req, struct sfs_node *n, int datasync,
		     struct fuse_file_info *fi)
{
	struct sfs_call *c = sfs_call_new(req, sfs_inode_of(n), NULL, NULL);

	if (!c)
		return;
	c->flags = datasync != 0;
	c->send = fsyncdir_send;
	c->done = fsyncdir_done;
	if (sfs_inode_is_gone_dir(c->inode))
		sfs_call_err(c, 0); /* there is nothing to be kept */
	else
		sfs_call_go(c);
}
