/*
 * Entries and attributes as replies and events change them.
 */
#include "fuse/cache.h"

#include <errno.h>
#include <stdlib.h>

#include "fuse/ahead.h"
#include "fuse/attr.h"
#include "fuse/fresh.h"
#include "fuse/handle.h"
#include "fuse/lost.h"
#include "fuse/making.h"
#include "fuse/shown.h"

static fuse_ino_t ino_of(const struct sfs_inode *i)
{
	return sfs_node_ino(i->files->fs, &i->node);
}

/* ---- telling the kernel ---- */

static void tell_inode(struct sfs_inode *i, bool data)
{
	const struct sfs_entry *e = i->names;

	if (!sfs_inode_is_held(i))
		return;
	if (e && sfs_inode_is_held(e->dir->inode))
		sfs_notify_child(i->files->notify, ino_of(e->dir->inode),
				 e->name, e->len, ino_of(i), data);
	else
		sfs_notify_inode(i->files->notify, ino_of(i), data);
}

void sfs_dir_tell_entry(struct sfs_dir *d, const char *name, size_t len)
{
	struct sfs_inode *i = d->inode;

	if (sfs_inode_is_held(i))
		sfs_notify_entry(i->files->notify, ino_of(i), name, len);
}

void sfs_dir_changed(struct sfs_dir *d)
{
	d->changed = true;
	d->inode->attr_gen = 0; /* its times and links changed, too */
	tell_inode(d->inode, true);
}

/* It may not be true any more.  Programs may have a folder as their current
 * one, and would not know its path if it was dropped. */
static void tell_doubt(struct sfs_dir *d, const struct sfs_entry *e)
{
	if (!sfs_inode_is_dir(e->inode))
		sfs_dir_tell_entry(d, e->name, e->len);
	else if (sfs_inode_is_held(d->inode))
		sfs_notify_expire(d->inode->files->notify, ino_of(d->inode),
				  e->name, e->len);
}

/*
 * Negative entries are not listed anywhere: only dropping the directory's
 * own entry makes the kernel forget them.
 */
void sfs_dir_distrust(struct sfs_dir *d)
{
	const struct sfs_entry *up = d->inode->names;
	struct sfs_entry *e = NULL;

	sfs_dir_changed(d);
	while ((e = sfs_entries_next(&d->entries, e))) {
		if (e->inode && sfs_inode_is_held(e->inode)) {
			tell_doubt(d, e);
			sfs_cache_changed(e->inode,
					  SFS_DIFF_ATTR | SFS_DIFF_DATA);
		} else if (e->inode) {
			sfs_ahead_drop(e->inode);
		}
	}
	if (up && d->negatives)
		sfs_dir_tell_entry(up->dir, up->name, up->len);
	d->negatives = false;
}

/* ---- attributes ---- */

void sfs_cache_changed(struct sfs_inode *i, unsigned int diff)
{
	bool data = diff & SFS_DIFF_DATA && sfs_inode_is_file(i);

	if (data)
		sfs_file_stale(i);
	if (data && sfs_shown_is_on(i))
		sfs_shown_begin(i);
	else if (diff)
		tell_inode(i, data || S_ISLNK(i->mode));
}

void sfs_cache_drop_pages(struct sfs_inode *i)
{
	tell_inode(i, true);
}

struct sfs_inode *sfs_cache_other_view(const struct sfs_inode *i)
{
	struct sbx_attr attr = {.mode = i->mode, .ino = i->ino};
	struct sfs_files *f = i->files;

	if (!f->root[!i->tree] || sfs_inode_is_dir(i) ||
	    i->flags & SFS_INODE_GONE)
		return NULL;
	attr.dev = sfs_inode_dev(i);
	return sfs_inodes_find(&f->inodes, !i->tree, &attr);
}

/* ---- targets ---- */

static void target_drop(struct sfs_inode *i)
{
	if (!S_ISLNK(i->mode) || !i->target)
		return;
	files_uncount(i->files, strlen(i->target) + SFS_COST_TARGET);
	free(i->target);
	i->target = NULL;
}

void sfs_cache_target(struct sfs_inode *i, const uint8_t *target, size_t len)
{
	bool wrong = len ? memchr(target, 0, len) != NULL
			 : !(i->flags & SFS_INODE_VOLATILE);

	if (!S_ISLNK(i->mode) || len >= SFS_MAX_TARGET || wrong ||
	    sfs_inode_is_fleeting(i))
		return;
	target_drop(i);
	i->target = strndup((const char *)(len ? target : (const uint8_t *)""),
			    len);
	if (i->target)
		files_count(i->files, len + SFS_COST_TARGET);
}

const char *sfs_inode_target(const struct sfs_inode *i)
{
	/* a link is never changed, only replaced */
	return i->target && (sfs_inode_is_covered(i) ||
			     (i->flags & SFS_INODE_VOLATILE &&
			      sfs_inode_is_recent(i)))
		       ? i->target
		       : NULL;
}

/* ---- attributes ---- */

void sfs_cache_attr(struct sfs_inode *i, const struct sbx_attr *attr,
		    unsigned int how)
{
	uint64_t size = i->size;
	struct sfs_inode *other;
	unsigned int diff;

	if ((attr->mode & S_IFMT) != (i->mode & S_IFMT))
		return; /* an answer about something else */
	if (!(how & SFS_PUT_OWN) &&
	    (how & SFS_PUT_DATA || sfs_inode_differs(i, attr)))
		sfs_shown_keep(i);
	diff = sfs_inode_set(i, attr);
	/* (what we change there ourselves we know, but for the size) */
	if (diff & SFS_DIFF_DATA && (!(how & SFS_PUT_OWN) || size != i->size))
		sfs_ahead_drop(i);
	if (how & SFS_PUT_OWN)
		sfs_shown_own(i);
	else
		sfs_shown_cut(i);
	if (how & SFS_PUT_DATA)
		diff |= SFS_DIFF_ATTR | SFS_DIFF_DATA;
	i->attr_ms = sfs_told_ms(i->files);
	/* that may be another, too: where it leads never changes, but its
	 * number may be another link's by now */
	if (i->flags & SFS_INODE_VOLATILE || (diff && !(how & SFS_PUT_OWN)))
		target_drop(i);
	if (!i->refresh)
		i->attr_gen = i->files->gen;
	/* events tell it, too, but only where it has looked */
	other = how & SFS_PUT_OWN ? sfs_cache_other_view(i) : NULL;
	if (other)
		sfs_cache_attr(other, attr, 0);
	if (diff && !(how & SFS_PUT_OWN))
		sfs_cache_changed(i, diff);
}

/* ---- names of inodes ---- */

static void name_link(struct sfs_entry *e, struct sfs_inode *i)
{
	e->inode = sfs_inode_ref(i);
	e->next_name = i->names;
	e->prev_name = &i->names;
	if (e->next_name)
		e->next_name->prev_name = &e->next_name;
	i->names = e;
}

/*
 * What happens to the inode depends on why it lost the name: unless it moved
 * its number may from now on be another file's.
 */
static void name_unlink(struct sfs_entry *e, unsigned int how)
{
	struct sfs_inode *i = e->inode;

	if (!i)
		return;
	/* (what we renamed is told of by its new name) */
	if (!(how & SFS_PUT_MOVED) || !(how & SFS_PUT_OWN))
		sfs_lost_keep(e, how & SFS_PUT_OWN);
	e->inode = NULL;
	*e->prev_name = e->next_name;
	if (e->next_name)
		e->next_name->prev_name = e->prev_name;
	if (!(how & SFS_PUT_OWN) || (!i->names && !(how & SFS_PUT_MOVED)))
		sfs_ahead_drop(i);
	if (!(how & SFS_PUT_MOVED)) {
		if (i->nlink)
			i->nlink--;
		if (!i->names && sfs_inode_is_dir(i))
			i->nlink = 0;
		if (!i->names && !i->nlink)
			i->flags |= SFS_INODE_GONE;
		i->attr_gen = 0; /* links and ctime */
		if (!(how & SFS_PUT_OWN))
			tell_inode(i, false);
	} else if (!(how & SFS_PUT_OWN) && !sfs_inode_is_dir(i) &&
		   (!i->names || i->nlink > 1)) {
		/* nobody may watch over where it is now, though it is open
		 * or has other names here */
		i->attr_gen = 0;
		tell_inode(i, false);
	}
	if (!(how & SFS_PUT_OWN) && how & SFS_PUT_DATA)
		sfs_attr_left(i);
	sfs_inode_unref(i);
}

/* ---- entries ---- */

void sfs_cache_remove_entry(struct sfs_dir *d, struct sfs_entry *e,
			    unsigned int how)
{
	if (!(how & SFS_PUT_OWN)) {
		if (!(how & SFS_PUT_ASKED))
			sfs_dir_tell_entry(d, e->name, e->len);
		sfs_dir_changed(d);
	}
	name_unlink(e, how);
	files_uncount(d->inode->files, SFS_COST_ENTRY(e->len));
	sfs_entries_remove(&d->entries, e);
}

void sfs_cache_remove(struct sfs_dir *d, const char *name, size_t len,
		      unsigned int how)
{
	struct sfs_entry *e = sfs_entries_find(&d->entries, name, len);

	if (e)
		sfs_cache_remove_entry(d, e, how);
}

static struct sfs_inode *inode_new(struct sfs_files *f, uint8_t tree,
				   const struct sbx_attr *attr, uint8_t flags)
{
	struct sfs_inode *i = sfs_inodes_add(&f->inodes, tree, attr);

	if (!i)
		return NULL;
	files_count(f, SFS_COST_INODE);
	i->node.ops = &sfs_file_ops;
	i->files = f;
	i->flags |= flags;
	i->attr_gen = f->gen;
	i->attr_ms = sfs_told_ms(f);
	return i;
}

/*
 * Nobody knows how it came to its new name: it may be another that has the
 * inode number of one that is gone.  So it is told again, and looked into.
 */
static void dir_met(struct sfs_inode *i, unsigned int how)
{
	struct sfs_dir *d = i->dir;

	if (!d || how & (SFS_PUT_OWN | SFS_PUT_ARRIVED))
		return;
	sfs_dir_distrust(d);
	d->told = d->watched = d->complete = false;
	d->gen = 0;
}

/*
 * A directory has one name.  Met under another, it was moved, and the event
 * is missing since nobody watched; or, if the old name is certainly still
 * there, it is mounted twice.
 */
static struct sfs_inode *dir_elsewhere(struct sfs_inode *i,
				       const struct sbx_attr *attr,
				       unsigned int how)
{
	struct sfs_entry *old = i->names;

	if (i->flags & SFS_INODE_ROOT)
		return NULL;
	if (old && !(how & SFS_PUT_ARRIVED) && sfs_dir_is_true(old->dir))
		return inode_new(i->files, i->tree, attr, SFS_INODE_ALIAS);
	if (old) {
		sfs_inode_ref(i);
		sfs_cache_remove_entry(old->dir, old, SFS_PUT_MOVED);
		i->refs--; /* not freed: it is given its new name next */
	}
	dir_met(i, how);
	return i;
}

void sfs_cache_retire(struct sfs_files *f, uint8_t tree,
		      const struct sbx_attr *attr)
{
	struct sfs_inode *i = sfs_inodes_find(&f->inodes, tree, attr);

	if (i && (attr->nlink <= 1 || S_ISDIR(attr->mode)))
		i->flags |= SFS_INODE_GONE;
}

/* The inode for attributes that a name was found with. */
static struct sfs_inode *
inode_for(struct sfs_dir *d, const struct sbx_attr *attr, unsigned int how)
{
	struct sfs_files *f = d->inode->files;
	uint8_t tree = d->inode->tree;
	struct sfs_inode *i = sfs_inodes_find(&f->inodes, tree, attr);

	if (i && how & SFS_PUT_NEW) {
		sfs_cache_retire(f, tree, attr);
		i = sfs_inodes_find(&f->inodes, tree, attr);
	}
	if (i && sfs_inode_is_dir(i))
		return dir_elsewhere(i, attr, how);
	return i ? i : inode_new(f, tree, attr, 0);
}

static struct sfs_entry *entry_new(struct sfs_dir *d, const char *name,
				   size_t len, unsigned int how)
{
	struct sfs_entry *e = sfs_entries_add(&d->entries, name, len);

	if (!e)
		return NULL;
	e->dir = d;
	files_count(d->inode->files, SFS_COST_ENTRY(len));
	if (how & SFS_PUT_OWN)
		return e;
	/* had it come about since the kernel was told that there is no such
	 * name, an event would have said so, if events come */
	if (!(how & SFS_PUT_ASKED) && d->negatives &&
	    !(how & SFS_PUT_LISTED && sfs_dir_is_true(d)))
		sfs_dir_tell_entry(d, name, len);
	if (!d->listing && !(how & SFS_PUT_ASKED))
		sfs_dir_changed(d);
	return e;
}

struct sfs_entry *sfs_cache_put(struct sfs_dir *d, const char *name, size_t len,
				const struct sbx_attr *attr, unsigned int how)
{
	struct sfs_entry *e = sfs_entries_find(&d->entries, name, len);
	struct sfs_inode *i;
	bool arrived;

	if (e && e->inode && attr && !(how & SFS_PUT_NEW) &&
	    (sfs_inode_is(e->inode, attr) ||
	     sfs_making_found(e->inode, attr))) {
		e->seen = true;
		sfs_cache_attr(e->inode, attr, how);
		return e;
	}
	if (e && e->inode) {
		sfs_cache_remove_entry(d, e, how);
		e = NULL;
	}
	/* this may remove an entry, elsewhere */
	i = attr ? inode_for(d, attr, how) : NULL;
	if (attr && !i)
		return NULL;
	if (!e)
		e = entry_new(d, name, len, how);
	if (!e) {
		if (i && !i->refs)
			sfs_inode_unref(sfs_inode_ref(i));
		return NULL;
	}
	e->seen = true;
	if (i) {
		arrived = !i->names;
		name_link(e, i);
		sfs_cache_attr(i, attr, how);
		/* who finds it by this name finds what it is now */
		if (arrived)
			sfs_shown_own(i);
	}
	return e;
}

struct sfs_entry *sfs_cache_put_inode(struct sfs_dir *d, const char *name,
				      size_t len, struct sfs_inode *i)
{
	struct sfs_entry *e = entry_new(d, name, len, SFS_PUT_OWN);

	if (!e)
		return NULL;
	e->seen = true;
	if (i)
		name_link(e, i);
	/* nobody watches over it there */
	if (i && !sfs_dir_is_true(d))
		sfs_ahead_drop(i);
	return e;
}

struct sfs_inode *sfs_cache_make(struct sfs_dir *d, const char *name,
				 size_t len, const struct sbx_attr *attr)
{
	struct sfs_inode *i = inode_new(d->inode->files, d->inode->tree, attr,
					SFS_INODE_GONE);

	if (!i)
		return NULL;
	i->attr_gen = 0;
	if (sfs_cache_put_inode(d, name, len, i))
		return i;
	sfs_inode_unref(sfs_inode_ref(i));
	return NULL;
}

struct sfs_inode *sfs_cache_root(struct sfs_files *f, uint8_t tree,
				 const struct sbx_attr *attr)
{
	struct sfs_inode *i = f->root[tree];

	if (i) {
		sfs_cache_attr(i, attr, 0);
		return i;
	}
	if (!S_ISDIR(attr->mode))
		return NULL;
	i = inode_new(f, tree, attr, SFS_INODE_ROOT);
	f->root[tree] = i ? sfs_inode_ref(i) : NULL;
	if (i && !tree)
		f->owners[0].dev = f->owners[1].dev = i->dev;
	return i;
}
