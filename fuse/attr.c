/*
 * Attributes on their way: see attr.h.
 */
#include "fuse/attr.h"

#include <errno.h>
#include <stdlib.h>

#include "fuse/cache.h"
#include "fuse/fresh.h"
#include "fuse/handle.h"
#include "fuse/list.h"
#include "fuse/making.h"
#include "fuse/shown.h"
#include "fuse/tell.h"
#include "fuse/tree.h"

/*
 * inode->refresh is the newest one; older ones under way (a later change was
 * sent behind them) still answer those who wait for them.
 */
struct sfs_refresh {
	struct sfs_inode *inode; /* referenced */
	struct sfs_calls waiting;
	uint8_t tries;
	uint8_t way;   /* sfs_inode_way */
	bool own;      /* behind a change of ours, which the kernel knows */
	bool left;     /* sfs_attr_left */
	bool foresees; /* sfs_attr_foresee */
};

static int refresh_send(struct sfs_refresh *r);
static void refresh_send_at(struct sfs_refresh *r, const struct sfs_at *at);

static void refresh_end(struct sfs_refresh *r, int err)
{
	struct sfs_inode *i = r->inode;

	if (i->refresh == r) {
		i->refresh = NULL;
		if (!err)
			i->attr_gen = i->files->gen;
	}
	if (r->left)
		sfs_shown_begin(i);
	if (r->foresees && i->dir)
		i->dir->foreseen--;
	if (r->foresees && err)
		i->attr_gen = 0;
	sfs_calls_resume(&r->waiting, err);
	free(r);
	sfs_inode_unref(i);
}

static bool refresh_otherwise(struct sfs_refresh *r)
{
	struct sfs_at at;

	if (r->way >= SFS_MAX_WAYS || r->inode->files->closed ||
	    sfs_inode_way(r->inode, r->way + 1u, &at) < 0)
		return false;
	r->way++;
	refresh_send_at(r, &at);
	return true;
}

static void on_attr(void *arg, int err, struct sbx_rd *rd)
{
	struct sfs_refresh *r = arg;
	struct sfs_inode *i = r->inode;
	struct sbx_attr attr;

	if (err == -EACCES && refresh_otherwise(r))
		return;

	sfs_dir_untell(i, err);
	/* what was told before this answer may lead to it otherwise */
	if ((err == -ERESTART || err == -ESTALE) &&
	    r->tries++ < (err == -ESTALE ? 1 : SFS_MAX_RESTARTS) &&
	    refresh_send(r) == 0)
		return;
	if (err == -ERESTART)
		err = -EIO;
	if (!err && !sbx_get_attr(rd, &attr))
		err = -EPROTO;
	if (!err && !sfs_inode_is(i, &attr) && !(i->flags & SFS_INODE_GONE))
		err = -ESTALE;
	if (!err)
		sfs_cache_attr(i, &attr, r->own ? SFS_PUT_OWN : 0);
	refresh_end(r, err);
}

static void refresh_send_at(struct sfs_refresh *r, const struct sfs_at *at)
{
	struct sbx_remote *remote = r->inode->files->remote;

	sfs_put_at(sbx_remote_begin(remote, SBX_OP_GETATTR, 3), at);
	sbx_remote_submit(remote, on_attr, NULL, r);
}

static int refresh_send(struct sfs_refresh *r)
{
	struct sfs_at at;
	int err =
		r->inode->files->closed ? -ESTALE : sfs_inode_at(r->inode, &at);

	if (!err)
		refresh_send_at(r, &at);
	return err;
}

/* at: NULL to find out */
static struct sfs_refresh *refresh_new(struct sfs_inode *i,
				       const struct sfs_at *at, int *ret_err)
{
	struct sfs_refresh *r = calloc(1, sizeof(*r));

	*ret_err = -ENOMEM;
	if (!r)
		return NULL;
	r->inode = sfs_inode_ref(i);
	sfs_calls_init(&r->waiting);
	*ret_err = 0;
	if (at)
		refresh_send_at(r, at);
	else
		*ret_err = refresh_send(r);
	if (*ret_err < 0) {
		sfs_inode_unref(i);
		free(r);
		return NULL;
	}
	return r;
}

static struct sfs_refresh *refresh_begin(struct sfs_inode *i,
					 const struct sfs_at *at, int *ret_err)
{
	struct sfs_refresh *r = refresh_new(i, at, ret_err);

	if (r)
		i->refresh = r;
	return r;
}

/*
 * A directory that was only seen from its parent has no watch of its own;
 * whoever asks for one again will ask for those beside it next (ls -l), and
 * where an answer costs much perhaps for what is in them (ls -lR).
 */
static void tell_siblings(const struct sfs_inode *i)
{
	const struct sfs_entry *e, *up = i->names;
	int n = 0, lists = 0;
	uint64_t at = 0;

	if (sfs_tree_is_wanted(i->files))
		lists = SFS_WALK_MIN;
	if (!up || !sfs_dir_is_true(up->dir))
		return;
	while (n < SFS_MAX_SIBLINGS &&
	       (e = sfs_entries_after(&up->dir->entries, at))) {
		at = e->cookie;
		if (!e->inode || !sfs_inode_is_dir(e->inode) ||
		    sfs_dir_is_told(e->inode->dir))
			continue;
		if (sfs_dir_tell(e->inode) < 0)
			return;
		if (n++ < lists)
			sfs_list_ahead(e->inode);
	}
}

/*
 * Its last name was removed, and there it is not open: others removed it, or
 * it is only held here (a pipe, a socket, O_PATH).  All that is left is what
 * the kernel and we remember.  (What lost its name while no helper was there
 * may have another: of that nothing is known.)
 */
static bool is_remembered(const struct sfs_inode *i)
{
	if (i->names || !(i->flags & SFS_INODE_GONE) || i->files->closed)
		return false;
	return !sfs_file_is_open(i) || !i->file->handles || !sfs_handle_any(i);
}

/* Whoever comes by a folder of proc once more, having listed it, is on a walk
 * through it: the next name is asked for in the same go. */
static void list_again(struct sfs_inode *i)
{
	if (sfs_inode_is_dir(i) && i->dir && i->dir->complete &&
	    i->flags & SFS_INODE_VOLATILE)
		sfs_list_ahead(i);
}

static void on_drained(struct sfs_call *c, int err);

static void on_fresh(struct sfs_call *c, int err)
{
	c->resume = c->then;
	if (err)
		c->resume(c, err);
	else
		on_drained(c, 0);
}

static void on_drained(struct sfs_call *c, int err)
{
	struct sfs_refresh *r = c->inode->refresh;

	sfs_file_waited(c->inode);
	if (sfs_file_is_open(c->inode) && c->inode->file->make_err) {
		sfs_claim_told(c->inode);
		c->resume = c->then;
		c->resume(c, c->inode->file->make_err);
		return;
	}
	if (sfs_inode_is_known(c->inode)) {
		c->resume = on_fresh;
		if (sfs_fresh_wait(c))
			return;
		c->resume = c->then;
		c->resume(c, 0);
		return;
	}
	c->resume = c->then;
	if (!r) {
		if (sfs_inode_is_dir(c->inode) &&
		    !sfs_dir_is_told(c->inode->dir))
			tell_siblings(c->inode);
		r = refresh_begin(c->inode, NULL, &err);
		list_again(c->inode);
	}
	if (!r) {
		c->resume(c,
			  err == -ESTALE && is_remembered(c->inode) ? 0 : err);
		return;
	}
	sfs_calls_add(&r->waiting, c);
	sfs_call_waits(c);
}

/* All that is under way is what its attributes show already. */
static bool is_foreseen(const struct sfs_inode *i)
{
	return (sfs_file_is_opening(i) || sfs_dir_is_foreseen(i)) &&
	       i->attr_gen == i->files->gen && !i->refresh &&
	       sfs_inode_is_covered(i) && sfs_files_are_fresh(i->files);
}

void sfs_attr_wait(struct sfs_call *c)
{
	if (is_foreseen(c->inode)) {
		c->resume(c, 0);
		return;
	}
	c->then = c->resume;
	if (!sfs_file_is_dirty(c->inode)) {
		on_drained(c, 0);
		return;
	}
	c->resume = on_drained;
	sfs_calls_add(&c->inode->file->drain, c);
	sfs_call_waits(c);
}

/* If it fails the attributes are asked for when they are needed. */
static void touch(struct sfs_inode *i, const struct sfs_at *at)
{
	struct sfs_refresh *r;
	int err;

	i->attr_gen = 0;
	r = refresh_begin(i, at, &err);
	if (r)
		r->own = true;
}

void sfs_attr_touch(struct sfs_inode *i)
{
	touch(i, NULL);
}

void sfs_attr_touch_at(struct sfs_inode *i, const struct sfs_at *at)
{
	touch(i, at);
}

void sfs_attr_touch_dir(struct sfs_inode *i)
{
	if (i->dir)
		i->dir->changed_ms = (uint32_t)files_now(i->files) | 1;
	if (sfs_inode_is_held(i))
		sfs_attr_touch(i);
	else
		i->attr_gen = 0;
}

void sfs_attr_foresee(struct sfs_inode *i)
{
	struct sfs_refresh *r;
	int err;

	i->dir->changed_ms = (uint32_t)files_now(i->files) | 1;
	r = i->refresh ? NULL : refresh_new(i, NULL, &err);
	if (!r) {
		sfs_attr_touch_dir(i);
		return;
	}
	r->own = r->foresees = true;
	i->dir->foreseen++;
	sfs_inode_grow(i);
}

void sfs_attr_left(struct sfs_inode *i)
{
	struct sfs_refresh *r;
	int err;

	if (!sfs_inode_is_file(i) || !sfs_inode_is_held(i) || is_remembered(i))
		return;
	sfs_shown_hold(i);
	r = refresh_begin(i, NULL, &err);
	if (r)
		r->left = true;
	else
		sfs_shown_begin(i);
}
