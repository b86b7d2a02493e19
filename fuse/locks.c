/*
 * Locks that are held: see locks.h.
 */
#include "fuse/locks.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "client/log.h"

/* ---- ranges ---- */

static struct sfs_range *range_new(struct sfs_files *f, uint8_t type,
				   uint64_t start, uint64_t end,
				   struct sfs_range *next)
{
	struct sfs_range *r = malloc(sizeof(*r));

	if (!r)
		return NULL;
	*r = (struct sfs_range){
		.next = next, .start = start, .end = end, .type = type};
	f->nr_locks++;
	return r;
}

static void range_remove(struct sfs_files *f, struct sfs_range **at)
{
	struct sfs_range *r = *at;

	*at = r->next;
	free(r);
	f->nr_locks--;
}

/* Takes [start, end] out.  Returns where a range that begins at start belongs,
 * NULL without memory. */
static struct sfs_range **ranges_cut(struct sfs_files *f, struct sfs_range **at,
				     uint64_t start, uint64_t end)
{
	struct sfs_range *r, **place;

	while ((r = *at) && r->end < start)
		at = &r->next;
	if (r && r->start < start && r->end > end) {
		r->next = range_new(f, r->type, end + 1, r->end, r->next);
		if (!r->next)
			return NULL;
		r->end = start - 1;
		return &r->next;
	}
	if (r && r->start < start) {
		r->end = start - 1;
		at = &r->next;
	}
	place = at;
	while ((r = *at) && r->end <= end)
		range_remove(f, at);
	if (r && r->start <= end)
		r->start = end + 1;
	return place;
}

/* Neighbours of one kind become one. */
static void ranges_join(struct sfs_files *f, struct sfs_range *r)
{
	struct sfs_range *n;

	while (r && (n = r->next)) {
		if (n->type == r->type && n->start == r->end + 1) {
			r->end = n->end;
			range_remove(f, &r->next);
		} else {
			r = n;
		}
	}
}

int sfs_locks_set(struct sfs_lock_owner *o, uint8_t type, uint64_t start,
		  uint64_t end)
{
	struct sfs_files *f = o->h->inode->files;
	struct sfs_range **at, *r;

	if (type != F_UNLCK && f->nr_locks >= SFS_MAX_LOCKS)
		return -ENOLCK;
	at = ranges_cut(f, &o->ranges, start, end);
	if (!at)
		return -ENOLCK;
	if (type == F_UNLCK)
		return 0;
	r = range_new(f, type, start, end, *at);
	if (!r)
		return -ENOLCK;
	*at = r;
	ranges_join(f, o->ranges);
	return 0;
}

const struct sfs_range *sfs_locks_conflict(const struct sfs_inode *i,
					   uint64_t id, uint8_t type,
					   uint64_t start, uint64_t end,
					   const struct sfs_lock_owner **ret)
{
	const struct sfs_lock_owner *o;
	const struct sfs_range *r;

	for (o = i->file->lock_owners; o; o = o->next) {
		if (o->id == id)
			continue;
		for (r = o->ranges; r && r->start <= end; r = r->next) {
			if (r->end < start ||
			    (type == F_RDLCK && r->type == F_RDLCK))
				continue;
			*ret = o;
			return r;
		}
	}
	return NULL;
}

/* ---- requests ---- */

void sfs_locks_put(struct sfs_handle *h, uint64_t owner, uint32_t kind,
		   uint8_t type, uint64_t start, uint64_t end)
{
	struct sbx_buf *b =
		sbx_remote_begin(h->inode->files->remote, SBX_OP_LOCK, 6);

	sbx_put_u64(b, h->number);
	sbx_put_u64(b, kind);
	sbx_put_u64(b, type);
	sbx_put_u64(b, start);
	sbx_put_u64(b, end == INT64_MAX ? 0 : end - start + 1);
	sbx_put_u64(b, owner);
}

/* Without an answer: unlocking succeeds, and what is not told any more is
 * not held either. */
static void lock_quietly(struct sfs_handle *h, uint64_t owner, uint32_t kind,
			 uint8_t type, uint64_t start, uint64_t end)
{
	if (!sfs_handle_is_told(h))
		return;
	sfs_locks_put(h, owner, kind, type, start, end);
	sbx_remote_submit_quiet(h->inode->files->remote);
}

void sfs_locks_restore(struct sfs_lock_owner *o, uint64_t start, uint64_t end)
{
	const struct sfs_range *r;
	uint64_t pos = start, to;

	for (r = o->ranges; r && r->start <= end; r = r->next) {
		if (r->end < start)
			continue;
		if (r->start > pos)
			lock_quietly(o->h, o->there, SBX_LOCK_SET, F_UNLCK, pos,
				     r->start - 1);
		pos = r->start > pos ? r->start : pos;
		to = r->end < end ? r->end : end;
		lock_quietly(o->h, o->there, SBX_LOCK_SET, r->type, pos, to);
		if (to == end)
			return;
		pos = to + 1;
	}
	lock_quietly(o->h, o->there, SBX_LOCK_SET, F_UNLCK, pos, end);
}

void sfs_locks_unflock(struct sfs_handle *h)
{
	if (h->flock == F_UNLCK)
		return;
	h->flock = F_UNLCK;
	h->inode->files->nr_locks--;
	lock_quietly(h, 0, SBX_LOCK_FLOCK, F_UNLCK, 0, INT64_MAX);
}

/* ---- owners ---- */

struct sfs_lock_owner *sfs_locks_find(const struct sfs_inode *i, uint64_t id)
{
	struct sfs_lock_owner *o;

	for (o = i->file->lock_owners; o; o = o->next)
		if (o->id == id)
			return o;
	return NULL;
}

/* The first owner of a handle uses its description, others get their own; so
 * does one that could not hold read locks. */
static uint64_t number_there(const struct sfs_handle *h, uint64_t id)
{
	const struct sfs_lock_owner *o;

	if ((h->flags & O_ACCMODE) == O_WRONLY)
		return id;
	for (o = h->inode->file->lock_owners; o; o = o->next)
		if (o->h == h && !o->there)
			return id;
	return 0;
}

/* What was opened for reading holds read locks only, which two can hold at
 * once: so nothing is unlocked in between. */
static void owner_move(struct sfs_lock_owner *o, struct sfs_handle *h)
{
	uint64_t there = number_there(h, o->id);
	const struct sfs_range *r;

	if (sfs_handle_tell(h) == 0)
		for (r = o->ranges; r; r = r->next)
			lock_quietly(h, there, SBX_LOCK_SET, r->type, r->start,
				     r->end);
	lock_quietly(o->h, o->there, SBX_LOCK_SET, F_UNLCK, 0, INT64_MAX);
	o->h = h;
	o->there = there;
}

struct sfs_lock_owner *sfs_locks_owner(struct sfs_handle *h, uint64_t id,
				       uint8_t type, pid_t pid)
{
	struct sfs_lock_owner *o = sfs_locks_find(h->inode, id);
	struct sfs_file *file = h->inode->file;

	if (o) {
		if (type == F_WRLCK && o->h != h &&
		    (o->h->flags & O_ACCMODE) == O_RDONLY)
			owner_move(o, h);
		return o;
	}
	o = calloc(1, sizeof(*o));
	if (!o)
		return NULL;
	o->id = id;
	o->there = number_there(h, id);
	o->h = h;
	o->pid = (uint32_t)pid;
	o->serial = ++h->inode->files->lock_serial;
	o->next = file->lock_owners;
	file->lock_owners = o;
	return o;
}

static void owner_remove(struct sfs_lock_owner **at)
{
	struct sfs_lock_owner *o = *at;

	*at = o->next;
	lock_quietly(o->h, o->there, SBX_LOCK_SET, F_UNLCK, 0, INT64_MAX);
	while (o->ranges)
		range_remove(o->h->inode->files, &o->ranges);
	free(o);
}

void sfs_locks_drop(struct sfs_inode *i, uint64_t id)
{
	struct sfs_lock_owner **at = &i->file->lock_owners;

	while (*at && (*at)->id != id)
		at = &(*at)->next;
	if (*at)
		owner_remove(at);
}

void sfs_locks_release(struct sfs_handle *h)
{
	struct sfs_lock_owner **at = &h->inode->file->lock_owners;

	sfs_locks_unflock(h);
	while (*at) {
		if ((*at)->h == h)
			owner_remove(at);
		else
			at = &(*at)->next;
	}
}

/* ---- a new helper ---- */

static void lock_lost(struct sfs_handle *h, int err)
{
	if (!h->lock_lost)
		sbx_log(SBX_LOG_WARNING, "files",
			"a lock was lost with the helper and cannot be taken "
			"again (error %d): the open file fails from now on",
			-err);
	h->lock_lost = true;
}

static void on_again(void *arg, int err, struct sbx_rd *rd)
{
	struct sfs_handle *h = arg;

	/* -ERESTART: and once more */
	if (err && err != -ERESTART && !h->inode->files->closed)
		lock_lost(h, err);
	sfs_handle_unref(h);
}

static void lock_again(struct sfs_handle *h, uint64_t owner, uint32_t kind,
		       uint8_t type, uint64_t start, uint64_t end)
{
	int err = sfs_handle_tell(h);

	if (err < 0) {
		lock_lost(h, err);
		return;
	}
	sfs_locks_put(h, owner, kind, type, start, end);
	sbx_remote_submit(h->inode->files->remote, on_again, NULL,
			  sfs_handle_ref(h));
}

static void file_again(const struct sfs_file *file)
{
	const struct sfs_lock_owner *o;
	const struct sfs_range *r;
	struct sfs_handle *h;

	for (h = file->handles; h; h = h->next)
		if (h->flock != F_UNLCK)
			lock_again(h, 0, SBX_LOCK_FLOCK, h->flock, 0,
				   INT64_MAX);
	for (o = file->lock_owners; o; o = o->next)
		for (r = o->ranges; r; r = r->next)
			lock_again(o->h, o->there, SBX_LOCK_SET, r->type,
				   r->start, r->end);
}

void sfs_locks_again(struct sfs_files *f)
{
	const struct sfs_inode *i;
	size_t slot;

	if (!f->nr_locks || f->closed)
		return;
	for (slot = 0; slot < f->inodes.nr_slots; slot++)
		for (i = f->inodes.slots[slot]; i; i = i->hash_next)
			if (sfs_file_is_open(i))
				file_again(i->file);
}
