/*
 * What may be trusted, and for how long the kernel may.
 */
#include "fuse/cache.h"
#include "fuse/fresh.h"
#include "fuse/handle.h"
#include "fuse/shown.h"
#include "fuse/tree.h"

bool sfs_dir_is_told(const struct sfs_dir *d)
{
	return d && d->told && !d->inode->files->closed &&
	       d->epoch == sbx_remote_epoch(d->inode->files->remote);
}

static bool dir_is_watched(const struct sfs_dir *d)
{
	return sfs_dir_is_told(d) && d->watched &&
	       !(d->inode->flags & SFS_INODE_VOLATILE);
}

bool sfs_dir_is_true(const struct sfs_dir *d)
{
	return dir_is_watched(d) && d->gen == d->inode->files->gen;
}

bool sfs_dir_is_complete(const struct sfs_dir *d)
{
	return d->complete && sfs_dir_is_true(d);
}

/*
 * A directory's times change with its entries, which its own watch tells and
 * its parent's does not.  A file's changes are told by the watch of the
 * folder through whose name they were made, so all its names must be known.
 */
bool sfs_inode_is_covered(const struct sfs_inode *i)
{
	const struct sfs_entry *e;
	uint32_t names = 0;

	if (i->flags & SFS_INODE_VOLATILE)
		return false;
	if (sfs_inode_is_dir(i))
		return i->dir && dir_is_watched(i->dir);
	for (e = i->names; e && names < i->nlink && names < 16;
	     e = e->next_name) {
		if (!sfs_dir_is_true(e->dir))
			return false;
		names++;
	}
	return names && names >= i->nlink;
}

bool sfs_dir_is_foreseen(const struct sfs_inode *i)
{
	return sfs_inode_is_dir(i) && i->dir && i->dir->foreseen;
}

bool sfs_inode_is_known(const struct sfs_inode *i)
{
	return i->attr_gen == i->files->gen && !i->refresh &&
	       !sfs_file_is_dirty(i) && !sfs_dir_is_foreseen(i) &&
	       sfs_inode_is_covered(i);
}

static bool in_group(const struct sbx_remote_info *info, uint32_t gid)
{
	size_t k;

	if (info->gid == gid)
		return true;
	for (k = 0; k < info->nr_groups; k++)
		if (info->groups[k] == gid)
			return true;
	return false;
}

/* (In doubt, as with ACLs, or with more groups than are known, it does not.)
 * "all": a right of all three. */
static bool gives_right(const struct sfs_inode *i, mode_t all)
{
	const struct sbx_remote_info *info = sbx_remote_info(i->files->remote);

	if (!info || i->flags & SFS_INODE_XATTR)
		return false;
	if (!info->uid)
		return true;
	if (i->uid == info->uid)
		return i->mode & all & 0700;
	if (in_group(info, i->gid))
		return i->mode & all & 070;
	return !info->more_groups && i->mode & all & 07;
}

bool sfs_inode_is_readable(const struct sfs_inode *i)
{
	return gives_right(i, 0444);
}

bool sfs_inode_is_writable(const struct sfs_inode *i)
{
	return gives_right(i, 0222);
}

bool sfs_inode_is_searchable(const struct sfs_inode *i)
{
	return gives_right(i, 0111);
}

/*
 * What no watch covers is trusted briefly, and not beyond a command's end
 * that somebody has seen: it may have changed it.
 */
static bool is_recent(const struct sfs_files *f, uint32_t ms)
{
	uint32_t age = (uint32_t)files_now(f) - ms;

	return age < SFS_BRIEF_MS && age < files_now(f) - f->barrier_ms;
}

bool sfs_list_is_recent(const struct sfs_dir *d)
{
	return d->listed_ms && is_recent(d->inode->files, d->listed_ms);
}

bool sfs_inode_is_recent(const struct sfs_inode *i)
{
	return i->attr_gen == i->files->gen && !i->refresh &&
	       !sfs_file_is_dirty(i) && !sfs_dir_is_foreseen(i) &&
	       !sfs_inode_is_fleeting(i) && is_recent(i->files, i->attr_ms);
}

bool sfs_inode_is_fleeting(const struct sfs_inode *i)
{
	return i->flags & SFS_INODE_VOLATILE && !sfs_tree_is_wanted(i->files);
}

bool sfs_list_is_trusted(const struct sfs_dir *d)
{
	return sfs_dir_is_complete(d) ||
	       (d->complete && sfs_tree_is_wanted(d->inode->files) &&
		sfs_list_is_recent(d));
}

/* The kernel is told to trust something briefly. */
static double brief(struct sfs_files *f, double s)
{
	f->brief_ms = files_now(f) + 1;
	return s;
}

/* Of what was told then, and is recent. */
static double brief_left(const struct sfs_files *f, uint32_t ms)
{
	return SFS_BRIEF - ((uint32_t)files_now(f) - ms) / 1000.0;
}

void sfs_cache_barrier(struct sfs_files *f)
{
	struct sfs_dir *d, *next;

	f->barrier_ms = files_now(f);
	if (!f->brief_ms || files_now(f) - f->brief_ms >= SFS_BRIEF_MS)
		return;
	f->brief_ms = 0;
	for (d = f->lru_first; d; d = next) {
		next = d->lru_next;
		if (sfs_inode_is_held(d->inode) && !sfs_dir_is_true(d))
			sfs_dir_distrust(d);
	}
}

void sfs_cache_stirred(const struct sfs_inode *i)
{
	if (i->flags & SFS_INODE_VOLATILE && !sfs_inode_is_fleeting(i))
		sfs_cache_barrier(i->files);
}

/*
 * An answer that the kernel's reader takes up only after a change of our own
 * was answered, too, would undo what the kernel forgot then.  For files it
 * notices itself; directories that were just changed are trusted briefly.
 */
static bool changed_lately(const struct sfs_inode *i)
{
	return sfs_inode_is_dir(i) && i->dir && i->dir->changed_ms &&
	       (uint32_t)files_now(i->files) - i->dir->changed_ms <
		       SFS_BRIEF_MS;
}

double sfs_inode_timeout(const struct sfs_inode *i)
{
	if (sfs_inode_is_fleeting(i) || sfs_shown_is_on(i))
		return 0;
	if (sfs_inode_is_known(i))
		return sfs_fresh_limit(
			i->files, changed_lately(i) ? SFS_BRIEF : SFS_FOREVER);
	/* a folder seen from its parent only, or a file with names that are
	 * not known, costs the kernel a question to us */
	if (!sfs_inode_is_recent(i) ||
	    (i->names && sfs_dir_is_true(i->names->dir)))
		return 0;
	return brief(i->files, brief_left(i->files, i->attr_ms));
}

/* (A name that is not from a list was just asked for.) */
double sfs_dir_timeout(const struct sfs_dir *d)
{
	struct sfs_files *f = d->inode->files;

	if (sfs_inode_is_fleeting(d->inode))
		return 0;
	if (sfs_dir_is_true(d))
		return sfs_fresh_limit(f, SFS_FOREVER);
	return brief(f, sfs_list_is_trusted(d) ? brief_left(f, d->listed_ms)
					       : SFS_BRIEF);
}

const struct sfs_owners *sfs_owners_of(const struct sfs_inode *i)
{
	struct sfs_files *f = i->files;
	const struct sbx_remote_info *info;
	int t;

	if (!f->owners_known && (info = sbx_remote_info(f->remote))) {
		for (t = 0; t < 2; t++) {
			f->owners[t].there_uid = info->uid;
			f->owners[t].there_gid = info->gid;
		}
		f->owners_known = true;
	}
	return &f->owners[i->tree];
}

void sfs_inode_attr(const struct sfs_inode *i, struct stat *ret)
{
	sfs_inode_stat(i, sfs_owners_of(i), ret);
	sfs_shown_attr(i, ret);
}

void sfs_inode_entry(struct sfs_inode *i, const struct sfs_dir *in,
		     struct fuse_entry_param *ret)
{
	memset(ret, 0, sizeof(*ret));
	sfs_inode_attr(i, &ret->attr);
	ret->attr_timeout = sfs_inode_timeout(i);
	ret->entry_timeout = in ? sfs_dir_timeout(in) : SFS_FOREVER;
	sfs_inode_hold(i);
}
