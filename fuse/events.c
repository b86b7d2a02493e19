/*
 * Changes that were made inside the sandbox, applied to what is known.
 * Called by the remote, on the loop thread, in the order of the events.
 */
#include "fuse/events.h"

#include "fuse/cache.h"
#include "fuse/handle.h"
#include "fuse/list.h"
#include "fuse/locks.h"
#include "fuse/lost.h"

enum {
	NAME_CHANGES = SBX_CHANGE_CREATED | SBX_CHANGE_DELETED |
		       SBX_CHANGE_MOVED_FROM | SBX_CHANGE_MOVED_TO,
};

/* The inode between the two ends of a rename stays known until the next
 * event, so that it is recognised at the other end. */
static void moving_set(struct sfs_files *f, struct sfs_inode *i)
{
	struct sfs_inode *old = f->moving;

	f->moving = i ? sfs_inode_ref(i) : NULL;
	if (old)
		sfs_inode_unref(old);
}

static void entry_gone(struct sfs_dir *d, const char *name, size_t len,
		       unsigned int what)
{
	struct sfs_entry *e = sfs_entries_find(&d->entries, name, len);
	unsigned int how = 0;

	if (!e) {
		/* forgotten here, but perhaps not in the kernel's listing */
		if (!d->complete)
			sfs_dir_changed(d);
		return;
	}
	if (what & SBX_CHANGE_DATA)
		how |= SFS_PUT_DATA;
	if (what & SBX_CHANGE_MOVED_FROM) {
		how |= SFS_PUT_MOVED;
		moving_set(d->inode->files, e->inode);
	}
	sfs_cache_remove_entry(d, e, how);
}

/* The name is not worth remembering; but it may be one more of a file. */
static void other_name_is(struct sfs_files *f, uint8_t tree,
			  const struct sbx_attr *attr, unsigned int how)
{
	struct sfs_inode *i = sfs_inodes_find(&f->inodes, tree, attr);

	if (i && !sfs_inode_is_dir(i) && attr->nlink > 1)
		sfs_cache_attr(i, attr, how);
}

/*
 * Whether it is another file though it has the number of one that is known: a
 * number is given again as soon as its file is gone.  What was just made has
 * one name, so what is known under another was replaced or removed, which will
 * be told next (or linked to here, which only who has it open would notice).
 * What was renamed to here is not what was here.
 */
static bool is_another(const struct sfs_dir *d, const struct sfs_entry *e,
		       unsigned int what, const struct sbx_attr *attr)
{
	const struct sfs_inode *i;

	if (!S_ISREG(attr->mode) || attr->nlink > 1)
		return false;
	i = sfs_inodes_find(&d->inode->files->inodes, d->inode->tree, attr);
	if (!i || !i->names)
		return false;
	/* while it is open there its number is given to none; and who has it
	 * open only here would hardly find another one of its size and time */
	if (sfs_file_is_open(i) && i->file->handles &&
	    (sfs_handle_any(i) || !sfs_inode_differs(i, attr)))
		return false;
	if (e && e->inode == i)
		return (what & (NAME_CHANGES | SBX_CHANGE_DATA)) ==
			       SBX_CHANGE_MOVED_TO &&
		       sfs_inode_differs(i, attr);
	what &= SBX_CHANGE_CREATED | SBX_CHANGE_MOVED_TO;
	return what == SBX_CHANGE_CREATED;
}

static void entry_is(struct sfs_dir *d, const char *name, size_t len,
		     unsigned int what, const struct sbx_attr *attr)
{
	struct sfs_entry *e = sfs_entries_find(&d->entries, name, len);
	bool had = e, full = !e && files_are_full(d->inode->files);
	unsigned int how = 0;

	if (what & SBX_CHANGE_DATA)
		how |= SFS_PUT_DATA;
	if ((what & SBX_CHANGE_DELETED && what & SBX_CHANGE_CREATED) ||
	    is_another(d, e, what, attr))
		how |= SFS_PUT_NEW;
	if (what & SBX_CHANGE_MOVED_TO)
		how |= SFS_PUT_ARRIVED;
	/* exchanged: what had the name is elsewhere now */
	if (what & SBX_CHANGE_MOVED_FROM && e && e->inode &&
	    !sfs_inode_is(e->inode, attr)) {
		sfs_cache_remove_entry(d, e,
				       SFS_PUT_MOVED | (how & SFS_PUT_DATA));
	}
	if (full)
		sfs_list_spoil(d);
	if (had || (!full && (d->complete || d->listing))) {
		sfs_cache_put(d, name, len, attr, how);
		return;
	}
	if (how & SFS_PUT_NEW)
		sfs_cache_retire(d->inode->files, d->inode->tree, attr);
	else
		other_name_is(d->inode->files, d->inode->tree, attr, how);
	if (what & NAME_CHANGES) {
		/* not worth remembering, but the kernel may know that there
		 * was no such name */
		if (d->negatives)
			sfs_dir_tell_entry(d, name, len);
		sfs_dir_changed(d);
	}
}

static void on_change(void *arg, uint64_t dir, const char *name, size_t len,
		      unsigned int what, const struct sbx_attr *attr,
		      uint32_t cookie)
{
	struct sfs_files *f = arg;
	struct sfs_dir *d = sfs_dir_by_number(f, dir);

	if (!d)
		return;
	sfs_inode_ref(d->inode);
	if (what & SBX_CHANGE_DATA)
		sfs_lost_written(d, name, len);
	if (!len && attr)
		sfs_cache_attr(d->inode, attr, 0);
	else if (len && attr)
		entry_is(d, name, len, what, attr);
	else if (len)
		entry_gone(d, name, len, what);
	if (len && attr)
		moving_set(f, NULL);
	sfs_inode_unref(d->inode);
	sfs_cache_trim(f);
}

/* The new helper may be another user's, to whom other files belong than the
 * kernel was shown. */
static bool is_anothers(struct sfs_files *f)
{
	const struct sbx_remote_info *info = sbx_remote_info(f->remote);
	const struct sfs_owners *o = &f->owners[0];

	if (!f->owners_known || !info ||
	    (o->there_uid == info->uid && o->there_gid == info->gid))
		return false;
	f->owners_known = false;
	return true;
}

static void on_doubt(void *arg, bool new_epoch)
{
	struct sfs_files *f = arg;
	bool anothers = new_epoch && is_anothers(f);
	struct sfs_dir *d, *next;

	if (!++f->gen)
		f->gen = 1;
	for (d = f->lru_first; d; d = next) {
		next = d->lru_next;
		d->listed_ms = 0;
		if (!sfs_inode_is_held(d->inode))
			continue;
		if (d->gen && !anothers) {
			sfs_compare_add(d);
			continue;
		}
		/* of what is not watched: what is trusted for a second */
		sfs_dir_distrust(d);
		d->gen = 0;
		if (anothers)
			sfs_cache_changed(d->inode, SFS_DIFF_ATTR);
	}
	if (new_epoch)
		sfs_locks_again(f);
}

static void on_unwatched(void *arg, uint64_t dir, int err)
{
	struct sfs_files *f = arg;
	struct sfs_dir *d = sfs_dir_by_number(f, dir);

	if (!d || !d->watched)
		return;
	d->watched = false;
	sfs_dir_distrust(d);
	d->gen = 0;
}

/* Locks, and what is open and could not be opened by a name again. */
static bool on_asked_what_is_held(void *arg)
{
	const struct sfs_files *f = arg;
	const struct sfs_inode *i;
	size_t slot;

	if (f->nr_locks)
		return true;
	for (slot = 0; f->nr_handles && slot < f->inodes.nr_slots; slot++)
		for (i = f->inodes.slots[slot]; i; i = i->hash_next)
			if (sfs_file_is_open(i) && !i->names &&
			    sfs_handle_any(i))
				return true;
	return false;
}

const struct sbx_remote_handler sfs_events = {
	.on_change = on_change,
	.on_doubt = on_doubt,
	.on_unwatched = on_unwatched,
	.holds = on_asked_what_is_held,
};
