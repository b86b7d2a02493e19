/*
 * Directory numbers, and how objects are addressed: see tell.h.
 */
#include "fuse/tell.h"

#include <errno.h>
#include <stdlib.h>

#include "fuse/cache.h"
#include "fuse/fresh.h"
#include "fuse/handle.h"
#include "fuse/lost.h"
#include "fuse/making.h"

struct tell {
	struct sfs_inode *inode; /* referenced */
	uint32_t epoch;		 /* in which it was sent */
	uint64_t parent, cookie; /* the place that was told: dir, entry */
};

/* The watch of a directory of which nothing was known makes it true. */
static void dir_watched(struct sfs_dir *d, bool watched)
{
	struct sfs_files *f = d->inode->files;

	d->epoch = sbx_remote_epoch(f->remote);
	d->watched = watched;
	if (watched && !d->gen && !d->entries.nr && !d->negatives)
		d->gen = f->gen;
}

/* It is not where it was: whoever looks for it shall see what is.  Unless we
 * moved it ourselves while that was on its way. */
static void dir_lost(struct sfs_inode *i, const struct tell *t)
{
	struct sfs_entry *e = i->names;

	if (e && e->dir->number == t->parent && e->cookie == t->cookie)
		sfs_cache_remove_entry(e->dir, e, SFS_PUT_MOVED);
}

static void on_told(void *arg, int err, struct sbx_rd *rd)
{
	struct tell *t = arg;
	struct sfs_inode *i = t->inode;
	struct sfs_dir *d = i->dir;
	struct sbx_attr attr;

	if (!err && !sbx_get_attr(rd, &attr))
		err = -EPROTO;
	if (!err && d) {
		sfs_cache_attr(i, &attr, 0);
		dir_watched(d, sbx_get_bool(rd));
	} else if (err && d && d->epoch == t->epoch) {
		d->told = false;
		if (err == -ENOENT || err == -ESTALE || err == -ENOTDIR)
			dir_lost(i, t);
	}
	sfs_inode_unref(i);
	free(t);
}

static int tell_one(struct sfs_inode *i)
{
	struct sfs_files *f = i->files;
	struct sfs_at at = {0};
	struct sfs_dir *d = sfs_dir_of(i);
	struct sbx_buf *b;
	struct tell *t;

	if (!d || sfs_dir_give_number(d) < 0)
		return -ENOMEM;
	t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	at.dir = d->number;
	if (i->names) {
		at.dir = i->names->dir->number;
		at.name = i->names->name;
		at.len = i->names->len;
		at.ino = i->ino;
		t->parent = at.dir;
		t->cookie = i->names->cookie;
	}
	t->inode = sfs_inode_ref(i);
	t->epoch = d->epoch = sbx_remote_epoch(f->remote);
	d->told = true;
	d->watched = false;
	b = sbx_remote_begin(f->remote, SBX_OP_DIR, 5);
	sbx_put_u64(b, d->number);
	sfs_put_at(b, &at);
	sbx_put_bool(b, true);
	/* whatever is sent next needs it, and waits for it or not */
	sbx_remote_ahead(f->remote,
			 sbx_remote_submit(f->remote, on_told, NULL, t));
	return 0;
}

/* Parents first; the depth is limited for the stack's sake. */
static int tell_path(struct sfs_inode *i, int depth)
{
	int err;

	if (sfs_dir_is_told(i->dir))
		return 0;
	if (depth > SFS_MAX_DEPTH)
		return -ENAMETOOLONG;
	if (!(i->flags & SFS_INODE_ROOT)) {
		if (!i->names)
			return -ESTALE;
		err = tell_path(i->names->dir->inode, depth + 1);
		if (err < 0)
			return err;
	}
	return tell_one(i);
}

int sfs_dir_tell(struct sfs_inode *i)
{
	return i->files->closed ? -ESTALE : tell_path(i, 0);
}

bool sfs_dir_untell(struct sfs_inode *i, int err)
{
	if (!sfs_inode_is_dir(i) || !i->dir ||
	    !(i->names || i->flags & SFS_INODE_ROOT))
		return false;
	if (err == -ESTALE)
		i->dir->told = false;
	return (err == -ESTALE || err == -ENOENT) && !sfs_dir_is_told(i->dir);
}

int sfs_dir_tell_again(struct sfs_inode *i)
{
	if (i->dir)
		i->dir->told = false;
	return sfs_dir_tell(i);
}

void sfs_dir_born(struct sfs_inode *i, uint64_t number, bool empty)
{
	struct sfs_dir *d = sfs_dir_of(i);

	if (!d || d->number || sfs_dir_set_number(d, number) < 0) {
		sfs_number_forget(i->files, number);
		return;
	}
	d->told = true;
	dir_watched(d, true);
	d->complete = empty;
	d->listed_ms = sfs_told_ms(i->files);
}

int sfs_root_tell(struct sfs_files *f, uint8_t tree, sbx_reply_fn *fn,
		  void *arg)
{
	uint64_t number = tree ? SBX_DIR_ROOT : SBX_DIR_WORKSPACE;
	struct sbx_buf *b;

	if (f->closed)
		return -ESTALE;
	b = sbx_remote_begin(f->remote, SBX_OP_DIR, 5);
	sbx_put_u64(b, number);
	sbx_put_at(b, number, NULL, 0, 0);
	sbx_put_bool(b, true);
	sbx_remote_submit(f->remote, fn, NULL, arg);
	return 0;
}

void sfs_root_told(struct sfs_inode *i, bool watched)
{
	struct sfs_dir *d = sfs_dir_of(i);

	if (!d || sfs_dir_give_number(d) < 0)
		return;
	d->told = true;
	dir_watched(d, watched);
}

static int handle_at(const struct sfs_inode *i, struct sfs_at *at)
{
	const struct sfs_handle *h =
		sfs_file_is_open(i) ? sfs_handle_any(i) : NULL;

	*at = (struct sfs_at){.ino = h ? h->number : 0};
	return h ? 0 : -ESTALE;
}

static int entry_at(const struct sfs_entry *e, struct sfs_at *at)
{
	int err = sfs_dir_tell(e->dir->inode);

	*at = (struct sfs_at){.dir = e->dir->number,
			      .ino = e->inode->ino,
			      .name = e->name,
			      .len = e->len};
	return err;
}

int sfs_inode_at(struct sfs_inode *i, struct sfs_at *at)
{
	int err;

	if (!sfs_inode_is_dir(i))
		return i->names && !sfs_inode_is_making(i)
			       ? entry_at(i->names, at)
			       : handle_at(i, at);
	err = sfs_dir_tell(i);
	*at = (struct sfs_at){.dir = err ? 0 : i->dir->number};
	return err;
}

int sfs_inode_way(struct sfs_inode *i, unsigned int nth, struct sfs_at *at)
{
	const struct sfs_entry *e = i->names;

	if (!nth)
		return sfs_inode_at(i, at);
	if (!e || sfs_inode_is_dir(i))
		return -ESTALE;
	for (; e && nth; nth--)
		e = e->next_name;
	if (e)
		return entry_at(e, at);
	return nth ? -ESTALE : handle_at(i, at);
}

int sfs_open_at(struct sfs_inode *i, struct sfs_at *at)
{
	int err = sfs_inode_at(i, at);

	if (err == -ESTALE && !i->files->closed && sfs_lost_at(i, at))
		return 0;
	return err;
}
