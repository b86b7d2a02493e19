/*
 * Attributes as they were: see shown.h.
 */
#include "fuse/shown.h"

#include <stdlib.h>

#include "fuse/cache.h"
#include "fuse/handle.h"

struct sfs_shown {
	uint64_t size, blocks;
	int64_t mtime_s, ctime_s;
	uint32_t mtime_ns, ctime_ns;
};

/* Pages that are being dropped. */
struct sfs_dropping {
	struct sfs_inode *inode; /* referenced; NULL: it is gone */
	struct sfs_dropping *next, **at;
};

void sfs_shown_keep(struct sfs_inode *i)
{
	struct sfs_file *f;
	struct sfs_shown *s;

	if (!sfs_inode_is_held(i) || !sfs_inode_is_file(i) ||
	    sfs_file_is_dirty(i))
		return;
	f = sfs_file_of(i);
	if (!f || f->shown)
		return;
	s = malloc(sizeof(*s));
	if (s)
		*s = (struct sfs_shown){
			.size = i->size,
			.blocks = i->blocks,
			.mtime_s = i->mtime_s,
			.mtime_ns = i->mtime_ns,
			.ctime_s = i->ctime_s,
			.ctime_ns = i->ctime_ns,
		};
	f->shown = s;
	sfs_file_put(i);
}

void sfs_shown_end(struct sfs_inode *i)
{
	if (!sfs_file_is_open(i) || !i->file->shown)
		return;
	free(i->file->shown);
	i->file->shown = NULL;
	sfs_file_put(i);
}

static void on_dropped(void *arg)
{
	struct sfs_dropping *d = arg;
	struct sfs_inode *i = d->inode;

	if (i) {
		*d->at = d->next;
		if (d->next)
			d->next->at = d->at;
		if (!--i->file->dropping)
			sfs_shown_end(i);
		sfs_file_put(i);
		sfs_inode_unref(i);
	}
	free(d);
}

void sfs_shown_wait(struct sfs_inode *i)
{
	struct sfs_files *f = i->files;
	struct sfs_dropping *d;

	if (!sfs_file_is_open(i) || !i->file->shown)
		return;
	d = malloc(sizeof(*d));
	if (!d) {
		if (!i->file->dropping)
			sfs_shown_end(i);
		return;
	}
	d->inode = sfs_inode_ref(i);
	d->next = f->dropping;
	d->at = &f->dropping;
	if (d->next)
		d->next->at = &d->next;
	f->dropping = d;
	i->file->dropping++;
	sfs_notify_after(f->notify, on_dropped, d);
}

bool sfs_shown_attr(const struct sfs_inode *i, struct stat *st)
{
	const struct sfs_shown *s = sfs_file_is_open(i) ? i->file->shown : NULL;

	if (!s)
		return false;
	st->st_size = (off_t)s->size;
	st->st_blocks = (blkcnt_t)s->blocks;
	st->st_mtim.tv_sec = s->mtime_s;
	st->st_mtim.tv_nsec = s->mtime_ns;
	st->st_ctim.tv_sec = s->ctime_s;
	st->st_ctim.tv_nsec = s->ctime_ns;
	return true;
}

void sfs_shown_leave(struct sfs_files *f)
{
	struct sfs_dropping *d;
	struct sfs_inode *i;

	while ((d = f->dropping)) {
		i = d->inode;
		d->inode = NULL;
		f->dropping = d->next;
		if (d->next)
			d->next->at = &f->dropping;
		if (!--i->file->dropping)
			sfs_shown_end(i);
		sfs_file_put(i);
		sfs_inode_unref(i);
	}
}
