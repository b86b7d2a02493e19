/*
 * The locks that programs hold through this mount, and which open file of
 * the sandbox holds each of them there.  Loop thread only.
 *
 * The sandbox keeps all locks as locks of open file descriptions, since one
 * helper holds those of many programs.  A lock of flock(2), or of a
 * description (F_OFD_SETLK), goes with its open file.  One of fcntl(2)
 * belongs to a process, whichever of its open files it was taken with, and
 * is lost when that process closes any of them; so all locks of one owner on
 * one file are held by one handle there.  What is held is remembered here,
 * to be taken again from a new helper.
 */
#ifndef SFS_LOCKS_H
#define SFS_LOCKS_H

#include "fuse/call.h"
#include "fuse/handle.h"

struct sfs_range {
	struct sfs_range *next; /* in order, never overlapping */
	uint64_t start, end;	/* the last byte */
	uint8_t type;		/* F_RDLCK, F_WRLCK */
};

struct sfs_lock_owner {
	struct sfs_lock_owner *next;
	uint64_t id;	      /* the kernel's */
	uint64_t there;	      /* the helper's; 0: the handle's own */
	struct sfs_handle *h; /* holds them there; has it removed */
	struct sfs_range *ranges;
	uint32_t pid;
	uint32_t serial; /* one that comes back is another one */
};

struct sfs_lock_owner *sfs_locks_find(const struct sfs_inode *i, uint64_t id);
/*
 * The owner of a lock of this type, to be held by h or by what holds its
 * others.  NULL: no memory.  Requests that follow may use o->h, o->there.
 */
struct sfs_lock_owner *sfs_locks_owner(struct sfs_handle *h, uint64_t id,
				       uint8_t type, pid_t pid);
/* What is held from now on: F_UNLCK takes away.  -ENOLCK: too many. */
int sfs_locks_set(struct sfs_lock_owner *o, uint8_t type, uint64_t start,
		  uint64_t end);
/* Makes what the sandbox holds what is remembered, after one that was taken
 * and must not be. */
void sfs_locks_restore(struct sfs_lock_owner *o, uint64_t start, uint64_t end);
/* Another owner's lock in the way of this one; NULL: there is none here. */
const struct sfs_range *sfs_locks_conflict(const struct sfs_inode *i,
					   uint64_t id, uint8_t type,
					   uint64_t start, uint64_t end,
					   const struct sfs_lock_owner **ret);

/* Writes a request, to be submitted by the caller. */
void sfs_locks_put(struct sfs_handle *h, uint64_t owner, uint32_t kind,
		   uint8_t type, uint64_t start, uint64_t end);
/* Unlocks a flock(2) lock. */
void sfs_locks_unflock(struct sfs_handle *h);
/* The owner closed a file of this inode: all its locks go. */
void sfs_locks_drop(struct sfs_inode *i, uint64_t id);
/* The open file is no more. */
void sfs_locks_release(struct sfs_handle *h);
/* There is a new helper. */
void sfs_locks_again(struct sfs_files *f);

#endif
