/*
 * Attributes on their way: one GETATTR per inode at a time, shared by all who
 * wait for it, and one sent along with each change of our own that alters an
 * inode whose new state its reply does not bring.  Loop thread only.
 */
#ifndef SFS_ATTR_H
#define SFS_ATTR_H

#include "fuse/call.h"

/*
 * Calls c->resume(c, 0) once the attributes of c->inode are what the sandbox
 * says after every change that was sent so far, at once if they are; or with
 * a negative errno.
 */
void sfs_attr_wait(struct sfs_call *c);
/*
 * A request just sent changes this inode: asks for its attributes right
 * behind it.
 */
void sfs_attr_touch(struct sfs_inode *i);
/* The same for one that will be found there by then. */
struct sfs_at;
void sfs_attr_touch_at(struct sfs_inode *i, const struct sfs_at *at);
/* The same for a directory one of whose entries is changed. */
void sfs_attr_touch_dir(struct sfs_inode *i);
/*
 * A file that nobody waits for was just begun in this directory (making.h):
 * until it is there the directory is shown as it will be, but for its times, of
 * which only that they grow is known.
 */
void sfs_attr_foresee(struct sfs_inode *dir);
/*
 * Others changed its content and took its name, so that nothing told what it
 * is like now.  If it is open there or has another name it is asked, and who
 * waits until nothing is in doubt (sfs_files_settle) waits for that.
 */
void sfs_attr_left(struct sfs_inode *i);

#endif
