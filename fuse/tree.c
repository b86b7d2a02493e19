/*
 * A whole tree in one answer: see tree.h.
 */
#include "fuse/tree.h"

#include <errno.h>

#include "fuse/ahead.h"
#include "fuse/cache.h"
#include "fuse/fresh.h"
#include "fuse/tell.h"

bool sfs_tree_is_wanted(const struct sfs_files *f)
{
	const struct sbx_remote_info *info = sbx_remote_info(f->remote);

	return info && info->silent;
}

void sfs_tree_begin(struct sfs_tree *t, struct sfs_dir *d)
{
	struct sbx_remote *r = d->inode->files->remote;
	struct sbx_buf *b;
	unsigned int i;

	t->root = d->number;
	t->base = sbx_remote_number(r);
	for (i = 1; i < SFS_TREE_DIRS; i++)
		sbx_remote_number(r);
	t->complete = false;
	b = sbx_remote_begin(r, SBX_OP_TREE, 7);
	sbx_put_u64(b, t->root);
	sbx_put_u64(b, t->base);
	sbx_put_u64(b, SFS_TREE_DIRS);
	sbx_put_u64(b, SFS_TREE_DEPTH);
	sbx_put_u64(b, SFS_TREE_ENTRIES);
	sbx_put_u64(b, SFS_TREE_CONTENT);
	sbx_put_bool(b, true);
}

static bool is_of_tree(const struct sfs_tree *t, uint64_t number)
{
	return number >= t->base && number - t->base < SFS_TREE_DIRS;
}

/* One entry of d, as far as it is wanted. */
static int take_entry(struct sfs_tree *t, struct sfs_dir *d, struct sbx_rd *rd)
{
	struct sfs_entry *e;
	struct sbx_attr attr;
	uint64_t number;
	size_t len, size;
	const char *name = sbx_get_name(rd, &len);
	bool has = sbx_get_attr(rd, &attr);
	const uint8_t *data;

	number = sbx_get_u64(rd);
	data = sbx_get_bin(rd, &size);
	if (rd->err || !name || (number && !is_of_tree(t, number)))
		return -EPROTO;
	if (files_are_full(d->inode->files))
		return -ENOMEM;
	e = sfs_cache_put(d, name, len, has ? &attr : NULL, SFS_PUT_LISTED);
	if (!e)
		return -ENOMEM;
	if (number && e->inode && sfs_inode_is_dir(e->inode))
		sfs_dir_born(e->inode, number, false);
	if (data && e->inode && S_ISLNK(e->inode->mode))
		sfs_cache_target(e->inode, data, size);
	if (data && e->inode && sfs_inode_is_file(e->inode))
		sfs_ahead_found(e->inode, data, size);
	return 0;
}

int sfs_tree_part(struct sfs_tree *t, struct sfs_files *f, struct sbx_rd *rd)
{
	uint64_t number = sbx_get_u64(rd);
	bool complete = sbx_get_bool(rd);
	struct sbx_rd all = sbx_get_array(rd), one;
	uint32_t attr_gen;
	struct sfs_dir *d;
	bool changed;
	int err = 0;

	if (rd->err || (number != t->root && !is_of_tree(t, number)))
		return -EPROTO;
	/* it may be gone, or known by another number */
	d = sfs_dir_by_number(f, number);
	if (!d)
		return 0;
	sfs_inode_ref(d->inode);
	attr_gen = d->inode->attr_gen;
	changed = d->changed;
	while (all.left && !all.err && !err) {
		one = sbx_get_array(&all);
		err = take_entry(t, d, &one);
	}
	if (all.err)
		err = -EPROTO;
	/* that its names were learnt does not change it */
	d->inode->attr_gen = attr_gen;
	d->changed = changed;
	if (!err && complete && number == t->root) {
		t->complete = true;
	} else if (!err && complete && !d->listing) {
		d->complete = true;
		d->listed_ms = sfs_told_ms(f);
	}
	sfs_inode_unref(d->inode);
	return err;
}
