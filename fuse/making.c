/*
 * New files that the sandbox does not know yet: see making.h.
 */
#include "fuse/making.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "client/log.h"
#include "fuse/attr.h"
#include "fuse/cache.h"
#include "fuse/caller.h"
#include "fuse/fresh.h"
#include "fuse/tell.h"
#include "fuse/tree.h"

#define LOCK "index.lock" /* git's, ... */
#define HEAD "HEAD"	  /* ... in a folder that has this */

struct sfs_making {
	struct sfs_inode *dir; /* referenced */
	struct sfs_handle *h;  /* by which it is made; its piece's */
	uint32_t flags, mode, umask;
	pid_t maker, opener; /* opener: is about to open it; 0: it has */
	uint32_t tries;
	size_t len;
	char name[];
};

/* ---- here ---- */

static bool is_lock(const struct sfs_call *c)
{
	return c->len == sizeof(LOCK) - 1 && !memcmp(c->name, LOCK, c->len) &&
	       sfs_entries_find(&c->inode->dir->entries, HEAD,
				sizeof(HEAD) - 1);
}

/* All that is known says that it can be made, and what is known is no older
 * than what may be shown.  (Other file systems may be read-only.)  Whether
 * nobody else has made it is known by asking only. */
static bool may_make(const struct sfs_call *c)
{
	static const int slow = O_SYNC | O_DSYNC | O_DIRECT;
	const struct sfs_inode *top = c->files->root[0];
	const struct sfs_dir *d = c->inode->dir;
	int flags = c->fi.flags, mode = flags & O_ACCMODE;

	return (mode == O_WRONLY || mode == O_RDWR) && !(flags & slow) &&
	       sfs_tree_is_wanted(c->files) && !sfs_claim_is_open(c->files) &&
	       d && top && !c->inode->tree && c->inode->dev == top->dev &&
	       sfs_dir_is_complete(d) && !d->listing && !d->comparing &&
	       sfs_files_are_fresh(c->files) &&
	       sfs_inode_is_writable(c->inode) &&
	       sfs_inode_is_searchable(c->inode) &&
	       !sfs_entries_find(&d->entries, c->name, c->len) &&
	       (!(flags & O_EXCL) || is_lock(c));
}

/* Its number, and times, are nobody's: none of them is shown. */
static struct sfs_inode *make_inode(const struct sfs_call *c)
{
	const struct sbx_remote_info *info = sbx_remote_info(c->files->remote);
	const struct sfs_inode *dir = c->inode;
	struct sbx_attr attr = {
		.mode = S_IFREG | c->mode,
		.nlink = 1,
		.uid = info->uid,
		.gid = dir->mode & S_ISGID ? dir->gid : info->gid,
		.ino = UINT64_MAX - c->files->nr_made++ % UINT32_MAX,
		.dev = sfs_inode_dev(dir),
	};

	return sfs_cache_make(dir->dir, c->name, c->len, &attr);
}

static struct sfs_making *making_new(const struct sfs_call *c)
{
	struct sfs_making *m = calloc(1, sizeof(*m) + c->len);

	if (!m)
		return NULL;
	m->dir = sfs_inode_ref(c->inode);
	m->flags = c->flags;
	m->mode = c->mode;
	m->umask = c->umask;
	m->maker = m->opener = fuse_req_ctx(c->req)->pid;
	m->len = c->len;
	memcpy(m->name, c->name, c->len);
	return m;
}

void sfs_making_free(struct sfs_making *m)
{
	if (!m)
		return;
	sfs_inode_unref(m->dir);
	free(m);
}

static struct sfs_entry *making_entry(const struct sfs_making *m)
{
	struct sfs_dir *d = m->dir->dir;
	struct sfs_entry *e =
		d ? sfs_entries_find(&d->entries, m->name, m->len) : NULL;

	return e && e->inode == m->h->inode ? e : NULL;
}

/* Its handle, on its way; NULL without memory. */
static struct sfs_handle *make_handle(struct sfs_call *c)
{
	struct sfs_making *m = making_new(c);
	struct sfs_inode *i = m ? make_inode(c) : NULL;
	struct sfs_handle *h = i ? sfs_handle_new(i, c->fi.flags) : NULL;

	if (h) {
		m->h = h;
		if (m->flags & O_EXCL)
			c->files->claim = i;
		if (sfs_write_make(h, m) == 0)
			return h;
		c->files->claim = NULL;
		sfs_handle_release(h);
	}
	if (i)
		sfs_cache_remove(c->inode->dir, c->name, c->len, SFS_PUT_OWN);
	sfs_making_free(m);
	return NULL;
}

int sfs_make_here(struct sfs_call *c, struct sfs_handle **ret_h)
{
	int err;

	*ret_h = NULL;
	if (!may_make(c))
		return 0;
	err = sfs_call_act(c);
	if (err < 0)
		return err;
	/* another's files belong to them, or to nobody by what is known here */
	if (c->caller)
		return 0;
	c->umask = sfs_call_umask(c);
	*ret_h = make_handle(c);
	return *ret_h ? 0 : -ENOMEM;
}

bool sfs_making_is_opened(const struct sfs_inode *i, pid_t asker)
{
	struct sfs_making *m = sfs_inode_is_making(i) ? i->file->making : NULL;
	bool opens = m && m->opener == asker;

	if (opens)
		m->opener = 0;
	return opens;
}

bool sfs_making_is_lock(const struct sfs_inode *i)
{
	return sfs_inode_is_making(i) && i->files->claim == i &&
	       i->file->nr_pieces == 1;
}

struct sfs_handle *sfs_making_handle(const struct sfs_entry *e)
{
	return e && e->inode && sfs_inode_is_making(e->inode)
		       ? e->inode->file->making->h
		       : NULL;
}

bool sfs_making_found(struct sfs_inode *i, const struct sbx_attr *attr)
{
	struct sfs_files *f = i->files;

	if (!sfs_inode_is_making(i) || i->file->making->flags & O_EXCL ||
	    !S_ISREG(attr->mode) || sfs_inodes_find(&f->inodes, i->tree, attr))
		return false;
	sfs_inodes_settle(&f->inodes, i, attr);
	return true;
}

/* ---- there ---- */

int sfs_making_send(struct sfs_making *m, sbx_reply_fn *done, void *arg)
{
	struct sfs_files *f = m->dir->files;
	struct sfs_handle *h = m->h;
	struct sbx_buf *b;
	int err = sfs_dir_tell(m->dir);

	if (!err)
		err = sfs_act_as(f, NULL);
	if (err < 0)
		return err;
	b = sfs_handle_begin(h, SBX_OP_CREATE, 6);
	sbx_put_u64(b, m->dir->dir->number);
	sbx_put_bin(b, m->name, m->len);
	sbx_put_u64(b, h->number);
	sbx_put_u64(b, m->flags);
	sbx_put_u64(b, m->mode);
	sbx_put_u64(b, m->umask);
	sbx_remote_ahead(f->remote,
			 sbx_remote_submit(f->remote, done, NULL, arg));
	/* git goes on through its folder at once */
	if (f->claim == h->inode)
		sfs_attr_foresee(m->dir);
	else
		sfs_attr_touch_dir(m->dir);
	m->tries++;
	return 0;
}

/* It is open there, but not what is wanted. */
static void making_close(const struct sfs_making *m)
{
	struct sbx_remote *r = m->dir->files->remote;

	sbx_put_u64(sbx_remote_begin(r, SBX_OP_CLOSE, 1), m->h->number);
	sbx_remote_submit_quiet(r);
}

static void making_failed(struct sfs_making *m, int err)
{
	struct sfs_entry *e = making_entry(m);

	if (m->h->released)
		sbx_log(SBX_LOG_WARNING, "files",
			"a new file that was closed already could not be made "
			"in the sandbox: %s",
			strerror(-err));
	m->h->inode->file->make_err = err;
	if (e)
		sfs_cache_remove_entry(m->dir->dir, e, 0);
	sfs_call_unsure(m->dir, err);
}

/* It is another that was there already, by another name, too. */
static void making_is_known(struct sfs_making *m, const struct sbx_attr *attr)
{
	struct sfs_entry *e = making_entry(m);

	if (!e)
		return;
	sfs_cache_remove_entry(m->dir->dir, e, 0);
	sfs_cache_put(m->dir->dir, m->name, m->len, attr, 0);
}

/* It was not in a listing that was made after the helper had been lost, and
 * before it was made there. */
static void making_name(struct sfs_making *m)
{
	struct sfs_dir *d = m->dir->dir;

	if (!d || sfs_entries_find(&d->entries, m->name, m->len))
		return;
	sfs_cache_put_inode(d, m->name, m->len, m->h->inode);
	sfs_dir_tell_entry(d, m->name, m->len);
	sfs_dir_changed(d);
}

static void making_made(struct sfs_making *m, const struct sbx_attr *attr,
			bool created)
{
	struct sfs_inode *i = m->h->inode;
	struct sfs_files *f = i->files;
	const struct sfs_inode *known =
		sfs_inodes_find(&f->inodes, i->tree, attr);

	if (created && known != i) {
		sfs_cache_retire(f, i->tree, attr);
		known = sfs_inodes_find(&f->inodes, i->tree, attr);
	}
	if (known && known != i) {
		making_is_known(m, attr);
		return;
	}
	sfs_inodes_settle(&f->inodes, i, attr);
	making_name(m);
	/* what had been in it is not what was shown */
	if (!created)
		sfs_cache_attr(i, attr, SFS_PUT_DATA);
}

int sfs_making_done(struct sfs_making *m, int err, struct sbx_rd *rd,
		    struct sbx_attr *ret_attr)
{
	struct sfs_inode *i = m->h->inode;
	struct sfs_files *f = i->files;
	bool claimed = f->claim == i;

	/* after a restart nobody can tell whose it is */
	if (err == -EEXIST && m->tries > 1)
		err = -EIO;
	if (!err && !sbx_get_attr(rd, ret_attr))
		err = -EPROTO;
	if (!err && !S_ISREG(ret_attr->mode)) {
		making_close(m);
		err = -EIO;
	}
	if (err)
		making_failed(m, err);
	else
		making_made(m, ret_attr, sbx_get_bool(rd));
	if (claimed && err && !m->h->released) {
		f->lost_claim = i;
		f->lost_pid = m->maker;
	}
	if (claimed) {
		f->claim = NULL;
		sfs_calls_resume(&f->claimed, err ? -EIO : 0);
	}
	return err;
}

/* ---- claims ---- */

static bool is_own(const struct sfs_call *c, const struct sfs_inode *i)
{
	return c->inode == i || c->other == i ||
	       (c->handle && c->handle->inode == i);
}

bool sfs_claim_wait(struct sfs_call *c)
{
	const struct sfs_files *f = c->files;

	if (f->lost_claim && c->req && !is_own(c, f->lost_claim) &&
	    fuse_req_ctx(c->req)->pid == f->lost_pid) {
		c->resume(c, -EIO);
		return true;
	}
	if (!f->claim || is_own(c, f->claim))
		return false;
	sfs_calls_add(&c->files->claimed, c);
	sfs_call_waits(c);
	return true;
}
