/*
 * Names that go away or lead elsewhere: unlink, rmdir, rename.
 */
#include <errno.h>
#include <linux/fs.h>
#include <string.h>

#include "fuse/attr.h"
#include "fuse/cache.h"
#include "fuse/caller.h"
#include "fuse/handle.h"
#include "fuse/making.h"
#include "fuse/on.h"
#include "fuse/tell.h"

static struct sfs_entry *entry_of(struct sfs_inode *dir, const char *name,
				  size_t len)
{
	return dir->dir ? sfs_entries_find(&dir->dir->entries, name, len)
			: NULL;
}

/* ---- unlink, rmdir ---- */

/* It loses this name only: its links and ctime will be others. */
static void touch_other_name(struct sfs_inode *i, const struct sfs_entry *e)
{
	const struct sfs_entry *o = i->names;
	struct sfs_at at = {0};

	if (o == e)
		o = o->next_name;
	if (!o || !sfs_inode_is_held(i) || !sfs_dir_is_told(o->dir))
		return;
	at.dir = o->dir->number;
	at.name = o->name;
	at.len = o->len;
	at.ino = i->ino;
	sfs_attr_touch_at(i, &at);
}

static int remove_send(struct sfs_call *c)
{
	struct sfs_entry *e;
	struct sbx_buf *b;
	int err = sfs_dir_tell(c->inode);

	if (err < 0)
		return err;
	e = entry_of(c->inode, c->name, c->len);
	if (e && e->inode)
		sfs_handles_secure(e->inode);
	err = sfs_call_act(c);
	if (err < 0)
		return err;
	b = sbx_remote_begin(c->files->remote, (enum sbx_wire_op)c->flags,
			     c->handle ? 4 : 3);
	sbx_put_u64(b, c->inode->dir->number);
	sbx_put_bin(b, c->name, c->len);
	/* whatever has the name is meant; but once it may have been removed
	 * already only the very one, and of one that is being made only that */
	if (c->handle)
		sbx_put_u64(b, 0);
	else
		sbx_put_u64(b, c->tries && e && e->inode ? e->inode->ino : 0);
	if (c->handle)
		sbx_put_u64(b, c->handle->number);
	sfs_call_submit(c, NULL);
	sfs_attr_touch_dir(c->inode);
	if (e && e->inode)
		touch_other_name(e->inode, e);
	return 0;
}

static void remove_done(struct sfs_call *c, int err, struct sbx_rd *rd)
{
	if (c->handle && err) {
		/* why it could not be made */
		err = sfs_handle_error(c->handle, err);
		err = err == -EEXIST || err == -ESTALE ? -EIO : err;
	}
	/* sent twice, and the first time did it */
	if (c->tries && (err == -ENOENT || err == -ESTALE))
		err = 0;
	if ((!err || err == -ENOENT) && c->inode->dir)
		sfs_cache_remove(c->inode->dir, c->name, c->len,
				 sfs_call_how(c));
	sfs_call_unsure(c->inode, err);
	sfs_call_err(c, err);
}

static void remove_go(fuse_req_t req, struct sfs_node *n, const char *name,
		      enum sbx_wire_op op)
{
	struct sfs_call *c = sfs_call_new(req, sfs_inode_of(n), name, NULL);
	struct sfs_handle *h;

	if (!c)
		return;
	h = sfs_making_handle(entry_of(c->inode, c->name, c->len));
	if (h)
		c->handle = sfs_handle_ref(h);
	c->flags = op;
	c->send = remove_send;
	c->done = remove_done;
	c->change = true;
	sfs_call_go(c);
}

void sfs_on_unlink(fuse_req_t req, struct sfs_node *n, const char *name)
{
	remove_go(req, n, name, SBX_OP_UNLINK);
}

void sfs_on_rmdir(fuse_req_t req, struct sfs_node *n, const char *name)
{
	remove_go(req, n, name, SBX_OP_RMDIR);
}

/* ---- rename: c->inode and c->name to c->other and c->name2 ---- */

/* The inode that moves has another ctime afterwards. */
static void touch_moved(struct sfs_entry *e, struct sfs_dir *to,
			const char *name, size_t len)
{
	struct sfs_at at = {.dir = to->number, .name = name, .len = len};

	if (e && e->inode && sfs_inode_is_held(e->inode))
		sfs_attr_touch_at(e->inode, &at);
}

static int rename_send(struct sfs_call *c)
{
	struct sfs_entry *from, *over;
	struct sbx_buf *b;
	int err = sfs_dir_tell(c->inode);

	if (!err)
		err = sfs_dir_tell(c->other);
	if (err < 0)
		return err;
	from = entry_of(c->inode, c->name, c->len);
	over = entry_of(c->other, c->name2, c->len2);
	if (over && over->inode && !(c->flags & RENAME_EXCHANGE))
		sfs_handles_secure(over->inode);
	err = sfs_call_act(c);
	if (err < 0)
		return err;
	b = sbx_remote_begin(c->files->remote, SBX_OP_RENAME, 5);
	sbx_put_u64(b, c->inode->dir->number);
	sbx_put_bin(b, c->name, c->len);
	sbx_put_u64(b, c->other->dir->number);
	sbx_put_bin(b, c->name2, c->len2);
	sbx_put_u64(b, c->flags);
	sfs_call_submit(c, NULL);
	sfs_attr_touch_dir(c->inode);
	if (c->other != c->inode)
		sfs_attr_touch_dir(c->other);
	touch_moved(from, c->other->dir, c->name2, c->len2);
	if (c->flags & RENAME_EXCHANGE)
		touch_moved(over, c->inode->dir, c->name, c->len);
	return 0;
}

static void exchange_apply(struct sfs_dir *d, struct sfs_entry *e,
			   struct sfs_dir *d2, struct sfs_entry *e2,
			   const struct sfs_call *c)
{
	struct sfs_inode *i = e ? e->inode : NULL, *i2 = e2 ? e2->inode : NULL;
	unsigned int how = sfs_call_how(c) | SFS_PUT_MOVED;

	if (i)
		sfs_inode_ref(i);
	if (i2)
		sfs_inode_ref(i2);
	if (e)
		sfs_cache_remove_entry(d, e, how);
	if (e2)
		sfs_cache_remove_entry(d2, e2, how);
	sfs_cache_put_inode(d, c->name, c->len, i2);
	sfs_cache_put_inode(d2, c->name2, c->len2, i);
	if (i)
		sfs_inode_unref(i);
	if (i2)
		sfs_inode_unref(i2);
}

static void move_apply(struct sfs_dir *d, struct sfs_entry *e,
		       struct sfs_dir *d2, struct sfs_entry *e2,
		       const struct sfs_call *c)
{
	struct sfs_inode *i = e ? e->inode : NULL;
	unsigned int how = sfs_call_how(c);

	/* two names of one file: nothing happens */
	if (e == e2 ? e != NULL : e && e2 && i && i == e2->inode)
		return;
	if (i)
		sfs_inode_ref(i);
	if (e2)
		sfs_cache_remove_entry(d2, e2, how);
	if (e)
		sfs_cache_remove_entry(d, e, how | SFS_PUT_MOVED);
	sfs_cache_put_inode(d2, c->name2, c->len2, i);
	if (c->flags & RENAME_WHITEOUT)
		sfs_cache_put_inode(d, c->name, c->len, NULL);
	if (i)
		sfs_inode_unref(i);
}

static void rename_apply(struct sfs_call *c)
{
	struct sfs_dir *d = c->inode->dir, *d2 = c->other->dir;
	struct sfs_entry *e = sfs_entries_find(&d->entries, c->name, c->len);
	struct sfs_entry *e2 =
		sfs_entries_find(&d2->entries, c->name2, c->len2);

	if (c->flags & RENAME_EXCHANGE)
		exchange_apply(d, e, d2, e2, c);
	else
		move_apply(d, e, d2, e2, c);
	if (c->req)
		return;
	sfs_dir_tell_entry(d, c->name, c->len);
	sfs_dir_tell_entry(d2, c->name2, c->len2);
	sfs_dir_changed(d2);
}

static void rename_done(struct sfs_call *c, int err, struct sbx_rd *rd)
{
	/* sent twice: nobody can tell what the first time did */
	if (c->tries && err)
		err = -EIO;
	if (!err && c->inode->dir && c->other->dir)
		rename_apply(c);
	sfs_call_unsure(c->inode, err);
	sfs_call_unsure(c->other, err);
	sfs_call_err(c, err);
}

/* One file seen in both trees: the kernel takes them for two and would drop a
 * name that stays. */
static bool is_seen_twice(struct sfs_inode *dir, const char *name,
			  struct sfs_inode *dir2, const char *name2)
{
	const struct sfs_entry *e, *e2;

	if (dir->tree == dir2->tree)
		return false;
	e = entry_of(dir, name, strlen(name));
	e2 = entry_of(dir2, name2, strlen(name2));
	return e && e2 && e->inode && e2->inode &&
	       e->inode->ino == e2->inode->ino &&
	       e->inode->dev == e2->inode->dev;
}

/* What leads elsewhere, and what makes way for it, must be there. */
static void on_made(struct sfs_call *c, int err)
{
	struct sfs_handle *h =
		sfs_making_handle(entry_of(c->inode, c->name, c->len));

	if (!h)
		h = sfs_making_handle(entry_of(c->other, c->name2, c->len2));
	if (!c->req) {
		sfs_call_err(c, 0);
	} else if (h) {
		c->resume = on_made;
		sfs_calls_add(&h->inode->file->drain, c);
		sfs_call_waits(c);
	} else {
		sfs_call_go(c);
	}
}

void sfs_on_rename(fuse_req_t req, struct sfs_node *n, const char *name,
		   struct sfs_node *newparent, const char *newname,
		   unsigned int flags)
{
	struct sfs_call *c;

	if (sfs_inode_of(n)->files != sfs_inode_of(newparent)->files ||
	    is_seen_twice(sfs_inode_of(n), name, sfs_inode_of(newparent),
			  newname)) {
		fuse_reply_err(req, EXDEV);
		return;
	}
	c = sfs_call_new(req, sfs_inode_of(n), name, newname);
	if (!c)
		return;
	c->other = sfs_inode_ref(sfs_inode_of(newparent));
	c->flags = flags;
	c->send = rename_send;
	c->done = rename_done;
	c->change = true;
	if (c->len2 > 255)
		sfs_call_err(c, -ENAMETOOLONG);
	else
		on_made(c, 0);
}
