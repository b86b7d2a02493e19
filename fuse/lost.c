/*
 * Names that were just lost: see lost.h.
 */
#include "fuse/lost.h"

#include "fuse/attr.h"
#include "fuse/cache.h"
#include "fuse/tell.h"

void sfs_lost_keep(const struct sfs_entry *e, bool ours)
{
	struct sfs_files *f = e->dir->inode->files;
	struct sfs_lost *l = &f->lost[f->next_lost];
	struct sfs_inode *old = l->inode;
	bool last = e->inode->names == e && !e->next_name;

	if (!sfs_inode_is_held(e->inode) || !sfs_inode_is_file(e->inode) ||
	    f->closed || (last && ours && e->inode->nlink <= 1))
		return;
	f->next_lost = (f->next_lost + 1) % SFS_MAX_LOST;
	l->inode = sfs_inode_ref(e->inode);
	l->dir = e->dir->number;
	l->len = e->len;
	l->opens = last && !ours;
	memcpy(l->name, e->name, e->len);
	if (old)
		sfs_inode_unref(old);
}

bool sfs_lost_at(const struct sfs_inode *i, struct sfs_at *ret)
{
	const struct sfs_files *f = i->files;
	const struct sfs_lost *l;
	unsigned int k;

	/* the newest first: it may have lost several, one after the other */
	for (k = SFS_MAX_LOST; !i->names && k > 0; k--) {
		l = &f->lost[(f->next_lost + k - 1) % SFS_MAX_LOST];
		if (l->inode != i || !l->dir || !l->opens)
			continue;
		ret->dir = l->dir;
		ret->name = l->name;
		ret->len = l->len;
		ret->ino = i->ino;
		return true;
	}
	return false;
}

void sfs_lost_written(const struct sfs_dir *d, const char *name, size_t len)
{
	const struct sfs_files *f = d->inode->files;
	unsigned int k;

	for (k = 0; k < SFS_MAX_LOST; k++) {
		const struct sfs_lost *l = &f->lost[k];
		struct sfs_inode *i = l->inode;

		if (!i || !i->names || l->dir != d->number || l->len != len ||
		    memcmp(l->name, name, len) != 0)
			continue;
		i->attr_gen = 0;
		sfs_cache_changed(i, SFS_DIFF_ATTR);
		sfs_attr_left(i);
	}
}

void sfs_lost_clear(struct sfs_files *f)
{
	unsigned int k;

	for (k = 0; k < SFS_MAX_LOST; k++) {
		struct sfs_inode *i = f->lost[k].inode;

		f->lost[k].inode = NULL;
		if (i)
			sfs_inode_unref(i);
	}
}
