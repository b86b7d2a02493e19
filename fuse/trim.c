/*
 * Keeps what is remembered within its bound (option cache=): what was used
 * longest ago goes first.  What the kernel holds cannot be dropped, but the
 * kernel can be asked to let go of it; it answers with FORGETs, in its time,
 * so this works in passes, with a pause between them.  What it was asked for
 * counts as gone until then, or more would go than has to; it may be in use and
 * stay, so it counts for half after a while.
 */
#include <errno.h>
#include <string.h>

#include "fuse/cache.h"
#include "fuse/call.h"
#include "fuse/handle.h"

/* After a pass, for the kernel to answer; doubled while passes find nothing
 * that could go. */
#define PAUSE_MIN_MS 20
#define PAUSE_MAX_MS 2000
#define HALF_MS	     2000
/* Directories looked at in one pass: each costs a look at its entries. */
#define PASS_DIRS 2000
/* Names that the kernel is asked for in one pass: the queue of what it is told
 * has room for many of these (SFS_MAX_NOTIFY). */
#define PASS_ASKS 10000

struct pass {
	struct sfs_files *f;
	size_t bytes, dirs; /* to be freed */
	unsigned int nr_asked;
	bool with_dirs; /* files were not enough */
};

static bool pass_is_done(const struct pass *p)
{
	const struct sfs_files *f = p->f;

	return p->nr_asked >= PASS_ASKS ||
	       (f->bytes <= f->leaving + p->bytes && f->nr_dirs <= p->dirs);
}

static bool dir_is_idle(const struct sfs_dir *d)
{
	return !d->nr_open && !d->listing && !d->comparing;
}

/* The kernel's listing of it would not be kept true any more. */
static void dir_is_partial(struct sfs_dir *d)
{
	struct sfs_inode *i = d->inode;

	if (!d->complete)
		return;
	d->complete = false;
	d->changed = true;
	if (sfs_inode_is_held(i))
		sfs_notify_inode(i->files->notify,
				 sfs_node_ino(i->files->fs, &i->node), true);
}

/* Somewhere below it something is in use, or not looked at yet. */
static bool has_part(const struct sfs_inode *i)
{
	return sfs_inode_is_dir(i) && i->dir;
}

/* What goes with this name. */
static size_t entry_cost(const struct sfs_inode *i, const struct sfs_entry *e)
{
	size_t cost = SFS_COST_INODE + SFS_COST_ENTRY(e->len);

	if (S_ISLNK(i->mode) && i->target)
		cost += strlen(i->target) + SFS_COST_TARGET;
	return has_part(i) ? cost + SFS_COST_DIR : cost;
}

static void entry_drop(struct sfs_dir *d, struct sfs_entry *e)
{
	dir_is_partial(d);
	sfs_cache_remove_entry(d, e, SFS_PUT_OWN | SFS_PUT_MOVED);
}

/*
 * Asking for a directory takes its name from a program that works in it,
 * until somebody looks the name up again: only if there is no other way.
 */
static bool may_ask(const struct pass *p, const struct sfs_inode *i)
{
	if (!sfs_inode_is_held(i) || i->flags & SFS_INODE_ASKED)
		return false;
	if (has_part(i) && (i->dir->entries.nr || !dir_is_idle(i->dir)))
		return false;
	return sfs_inode_is_dir(i) ? p->with_dirs : !sfs_file_is_open(i);
}

static void entry_trim(struct pass *p, struct sfs_dir *d, struct sfs_entry *e)
{
	struct sfs_inode *i = e->inode;

	if (!i || (i->refs == 1 && !sfs_inode_is_held(i) && !has_part(i))) {
		entry_drop(d, e);
	} else if (may_ask(p, i)) {
		i->flags |= SFS_INODE_ASKED;
		p->nr_asked++;
		p->f->leaving += entry_cost(i, e);
		sfs_dir_tell_entry(d, e->name, e->len);
	}
}

static void dir_trim(struct pass *p, struct sfs_dir *d)
{
	struct sfs_entry *e;
	uint64_t at = 0;

	while ((e = sfs_entries_after(&d->entries, at)) && !pass_is_done(p)) {
		at = e->cookie;
		entry_trim(p, d, e);
	}
	if (!d->entries.nr && !sfs_inode_is_held(d->inode) &&
	    !(d->inode->flags & SFS_INODE_ROOT))
		sfs_dir_free(d);
}

static void pass_run(struct pass *p)
{
	struct sfs_files *f = p->f;
	size_t n = f->nr_dirs < PASS_DIRS ? f->nr_dirs : PASS_DIRS;
	struct sfs_dir *d;

	while (n-- && (d = f->lru_last) && !pass_is_done(p)) {
		sfs_dir_used(d);
		if (dir_is_idle(d))
			dir_trim(p, d);
	}
}

/* The sandbox that takes most. */
static struct sfs_files *largest(const struct sfs *fs)
{
	struct sfs_files *f, *found = NULL;

	for (f = fs->files; f; f = f->next)
		if (!found || f->bytes > found->bytes)
			found = f;
	return found;
}

static void trim(struct sfs_files *f, size_t bytes)
{
	struct sfs *fs = f->fs;
	size_t before = f->bytes;
	struct pass p = {.f = f, .bytes = bytes};

	if (files_now(f) - f->leaving_ms >= HALF_MS) {
		f->leaving /= 2;
		f->leaving_ms = files_now(f);
	}
	p.dirs = f->nr_dirs > f->max_dirs ? f->max_dirs / 8 * 7 : f->nr_dirs;
	pass_run(&p);
	if (!pass_is_done(&p)) {
		p.with_dirs = true;
		pass_run(&p);
	}
	if (p.nr_asked || f->bytes < before)
		fs->trim_pause = PAUSE_MIN_MS;
	else if (fs->trim_pause < PAUSE_MAX_MS)
		fs->trim_pause *= 2;
	fs->trim_at = files_now(f) + fs->trim_pause;
}

static void trim_mount(struct sfs_files *f)
{
	struct sfs *fs = f->fs;
	size_t over;

	if (fs->cache_bytes <= fs->cache_max) {
		trim(f, f->bytes);
		return;
	}
	/* an eighth more, so that it is not done all the time */
	over = fs->cache_bytes - fs->cache_max / 8 * 7;
	f = largest(fs);
	if (f)
		trim(f, f->bytes > over ? f->bytes - over : 0);
}

bool sfs_cache_trim(struct sfs_files *f)
{
	const struct sfs *fs = f->fs;

	if (f->closed ||
	    (fs->cache_bytes <= fs->cache_max && f->nr_dirs <= f->max_dirs))
		return false;
	if (files_now(f) >= fs->trim_at)
		trim_mount(f);
	sfs_call_tick(f);
	return true;
}

void sfs_cache_forgotten(struct sfs_inode *i)
{
	struct sfs_files *f = i->files;
	struct sfs_entry *e = i->names;
	size_t cost = e ? entry_cost(i, e) : SFS_COST_INODE;

	i->flags &= (uint8_t)~SFS_INODE_ASKED;
	f->leaving -= cost < f->leaving ? cost : f->leaving;
	/* one reference is the kernel's, which goes next; a listing that is
	 * under way or being read needs every entry, at its place */
	if (!e || i->refs != 2 || !dir_is_idle(e->dir) ||
	    (has_part(i) && (i->dir->entries.nr || !dir_is_idle(i->dir))))
		return;
	entry_drop(e->dir, e);
}
