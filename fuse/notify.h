/*
 * The thread that tells the kernel what to forget.  Such calls may block on
 * an inode that one of our own requests holds, so the loop must not make
 * them.  One per sandbox, so that a stuck one holds up no other.
 *
 * Thread model: the queue is filled by the loop and emptied by the thread;
 * the thread owns nothing else.  after() callbacks run on the loop.
 */
#ifndef SFS_NOTIFY_H
#define SFS_NOTIFY_H

#include "fuse/fs.h"

struct sfs_notify;

struct sfs_notify *sfs_notify_new(struct sfs *fs);
/*
 * What is queued is still carried out, unless the mount has ended; who waits
 * for it is called before this returns.  The thread ends by itself: the loop
 * runs until then, and the session must stay until the loop has ended.
 */
struct sfs_notify *sfs_notify_free(struct sfs_notify *n);

/* attributes, and with data also pages (or a folder's listing).  The node
 * may be forgotten meanwhile: the kernel then answers ENOENT, no harm */
void sfs_notify_inode(struct sfs_notify *n, fuse_ino_t ino, bool data);
/* attributes, and the pages that hold what is at this offset and behind */
void sfs_notify_pages(struct sfs_notify *n, fuse_ino_t ino, uint64_t from);
/* the entry, positive or negative */
void sfs_notify_entry(struct sfs_notify *n, fuse_ino_t parent, const char *name,
		      size_t len);
/* The kernel asks for the entry before it uses it again.  Unlike the former
 * it does not cut off programs that are in that folder. */
void sfs_notify_expire(struct sfs_notify *n, fuse_ino_t parent,
		       const char *name, size_t len);
/*
 * The attributes (data: and pages) of what a name leads to.  Unlike
 * sfs_notify_inode this reaches an inode, too, that the kernel is just
 * learning of from a reply of ours.
 */
void sfs_notify_child(struct sfs_notify *n, fuse_ino_t parent, const char *name,
		      size_t len, fuse_ino_t ino, bool data);
/*
 * More was queued than is kept (SFS_MAX_NOTIFY) and some was dropped: fn
 * must queue anew whatever the kernel may wrongly hold.  Called on the loop
 * when the queue is empty again, and, while it returns true, once more each
 * time when what it queued is done: so it does some of it each time, of which
 * nothing is dropped.  first: it begins again.
 */
typedef bool sfs_lost_fn(void *arg, bool first);
void sfs_notify_on_lost(struct sfs_notify *n, sfs_lost_fn *fn, void *arg);
/*
 * Calls fn(arg) on the loop once all that was queued before is done, or, if
 * some of that was dropped, what took its place; at once, before returning, if
 * nothing is.  However many wait, they take one place in the queue.
 */
void sfs_notify_after(struct sfs_notify *n, void (*fn)(void *arg), void *arg);

#endif
