/*
 * How long inodes and directories live.
 */
#include <errno.h>
#include <stdlib.h>

#include "fuse/ahead.h"
#include "fuse/cache.h"
#include "fuse/handle.h"
#include "fuse/lost.h"

#define NUMBER_SLOTS_MIN 256

/* ---- numbers ---- */

static struct sfs_dir **number_slot(const struct sfs_files *f, uint64_t number)
{
	return &f->numbers[number & (f->nr_number_slots - 1)];
}

struct sfs_dir *sfs_dir_by_number(const struct sfs_files *f, uint64_t number)
{
	struct sfs_dir *d;

	if (!f->numbers)
		return NULL;
	for (d = *number_slot(f, number); d; d = d->number_next)
		if (d->number == number)
			return d;
	return NULL;
}

static int numbers_grow(struct sfs_files *f)
{
	size_t n =
		f->nr_number_slots ? f->nr_number_slots * 2 : NUMBER_SLOTS_MIN;
	struct sfs_dir **slots = calloc(n, sizeof(*slots)), *d;

	if (!slots)
		return f->numbers ? 0 : -ENOMEM;
	free(f->numbers);
	f->numbers = slots;
	f->nr_number_slots = n;
	for (d = f->lru_first; d; d = d->lru_next) {
		if (!d->number)
			continue;
		d->number_next = *number_slot(f, d->number);
		*number_slot(f, d->number) = d;
	}
	return 0;
}

int sfs_dir_set_number(struct sfs_dir *d, uint64_t number)
{
	struct sfs_files *f = d->inode->files;

	if (f->nr_dirs >= f->nr_number_slots && numbers_grow(f) < 0)
		return -ENOMEM;
	d->number = number;
	d->number_next = *number_slot(f, number);
	*number_slot(f, number) = d;
	return 0;
}

int sfs_dir_give_number(struct sfs_dir *d)
{
	struct sfs_files *f = d->inode->files;

	if (d->number)
		return 0;
	if (d->inode == f->root[0])
		return sfs_dir_set_number(d, SBX_DIR_WORKSPACE);
	if (d->inode == f->root[1])
		return sfs_dir_set_number(d, SBX_DIR_ROOT);
	return sfs_dir_set_number(d, sbx_remote_number(f->remote));
}

void sfs_number_forget(struct sfs_files *f, uint64_t number)
{
	if (f->closed || number < SBX_DIR_FIRST)
		return;
	sbx_put_u64(sbx_remote_begin(f->remote, SBX_OP_FORGET, 1), number);
	sbx_remote_submit_quiet(f->remote);
}

static void number_drop(struct sfs_dir *d)
{
	struct sfs_files *f = d->inode->files;
	struct sfs_dir **at;

	if (!d->number)
		return;
	for (at = number_slot(f, d->number); *at != d;)
		at = &(*at)->number_next;
	*at = d->number_next;
	/* also if it was told in vain: the other side remembers why */
	if (!f->closed && d->epoch == sbx_remote_epoch(f->remote))
		sfs_number_forget(f, d->number);
	d->number = 0;
}

/* ---- directories ---- */

static void lru_add(struct sfs_files *f, struct sfs_dir *d)
{
	d->lru_prev = NULL;
	d->lru_next = f->lru_first;
	if (f->lru_first)
		f->lru_first->lru_prev = d;
	else
		f->lru_last = d;
	f->lru_first = d;
}

static void lru_del(struct sfs_files *f, struct sfs_dir *d)
{
	if (d->lru_prev)
		d->lru_prev->lru_next = d->lru_next;
	else
		f->lru_first = d->lru_next;
	if (d->lru_next)
		d->lru_next->lru_prev = d->lru_prev;
	else
		f->lru_last = d->lru_prev;
}

void sfs_dir_used(struct sfs_dir *d)
{
	struct sfs_files *f = d->inode->files;

	if (f->lru_first == d)
		return;
	lru_del(f, d);
	lru_add(f, d);
}

struct sfs_dir *sfs_dir_of(struct sfs_inode *i)
{
	struct sfs_dir *d = i->dir;

	if (d)
		return d;
	d = calloc(1, sizeof(*d));
	if (!d)
		return NULL;
	d->inode = i;
	sfs_entries_init(&d->entries, i->files->inodes.seed);
	i->dir = d;
	lru_add(i->files, d);
	i->files->nr_dirs++;
	files_count(i->files, SFS_COST_DIR);
	return d;
}

void sfs_dir_free(struct sfs_dir *d)
{
	struct sfs_files *f = d->inode->files;
	struct sfs_entry *e;

	while ((e = sfs_entries_last(&d->entries))) {
		if (e->inode)
			sfs_ahead_drop(e->inode);
		sfs_cache_remove_entry(d, e, SFS_PUT_OWN | SFS_PUT_MOVED);
	}
	sfs_entries_release(&d->entries);
	number_drop(d);
	lru_del(f, d);
	f->nr_dirs--;
	files_uncount(f, SFS_COST_DIR);
	d->inode->dir = NULL;
	free(d);
}

/* ---- references ---- */

struct sfs_inode *sfs_inode_ref(struct sfs_inode *i)
{
	i->refs++;
	return i;
}

static void inode_free(struct sfs_inode *i)
{
	struct sfs_files *f = i->files;

	files_uncount(f, SFS_COST_INODE);
	if (S_ISLNK(i->mode) && i->target)
		files_uncount(f, strlen(i->target) + SFS_COST_TARGET);
	sfs_inodes_free(&f->inodes, i);
}

void sfs_inode_unref(struct sfs_inode *i)
{
	struct sfs_files *f = i->files;
	struct sfs_dir *d;

	if (--i->refs)
		return;
	if (!sfs_inode_is_dir(i) || !i->dir) {
		inode_free(i);
		return;
	}
	/* a deep tree must not end in deep recursion: what ends with this one
	 * waits for its turn (compare_next is free: nobody refers to it) */
	i->refs++; /* its entries' ends must not end it again */
	i->dir->compare_next = f->ending;
	f->ending = i->dir;
	if (f->ends)
		return;
	f->ends = true;
	while ((d = f->ending)) {
		f->ending = d->compare_next;
		i = d->inode;
		sfs_dir_free(d);
		inode_free(i);
	}
	f->ends = false;
}

void sfs_inode_hold(struct sfs_inode *i)
{
	if (sfs_inode_is_held(i))
		return;
	i->flags |= SFS_INODE_HELD;
	sfs_inode_ref(i);
}

void sfs_inode_forget(struct sfs_node *n)
{
	struct sfs_inode *i = sfs_inode_of(n);

	/* what it held of it is gone even if it has looked it up again */
	i->flags &= (uint8_t)~SFS_INODE_WHOLE;
	if (n->nlookup || !sfs_inode_is_held(i))
		return;
	if (i->flags & SFS_INODE_ASKED)
		sfs_cache_forgotten(i);
	i->flags &= (uint8_t)~SFS_INODE_HELD;
	sfs_inode_unref(i);
}

/* ---- the end ---- */

void sfs_cache_clear(struct sfs_files *f)
{
	struct sfs_inode *i;
	struct sfs_dir *d;
	int t;

	if (f->moving)
		sfs_inode_unref(f->moving);
	f->moving = NULL;
	sfs_lost_clear(f);
	/* each by itself: a deep tree must not end in deep recursion */
	for (d = f->lru_first; d; d = d->lru_next)
		sfs_inode_ref(d->inode);
	while (f->lru_first) {
		i = f->lru_first->inode;
		sfs_dir_free(f->lru_first);
		sfs_inode_unref(i);
	}
	for (t = 0; t < 2; t++)
		if (f->root[t])
			sfs_inode_unref(f->root[t]);
	f->root[0] = f->root[1] = NULL;
	free(f->numbers);
	f->numbers = NULL;
}
