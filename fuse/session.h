/*
 * The kernel's side of the mount: making it and taking it away.  Loop
 * thread; only before the mount and after its end may these block.
 */
#ifndef SFS_SESSION_H
#define SFS_SESSION_H

#include "fuse/fs.h"
#include "fuse/opts.h"

/* Makes the session and mounts it at the absolute path.  Blocks while
 * fusermount3 works (nobody can ask us anything yet). */
int sfs_session_mount(struct sfs *fs, const struct sfs_opts *opts,
		      const char *path, struct sbx_error *reterr);
/*
 * Asks the kernel to unmount, in a process of its own since it may wait for
 * us; a busy mount is detached and ends when its last user does.
 */
void sfs_session_detach(struct sfs *fs, const char *path);
/*
 * Ends the connection: everybody who still waits for an answer gets an
 * error, and notifications go nowhere.  May be called again.
 */
void sfs_session_abort(struct sfs *fs);
/* Frees it.  The mount must have been detached or ended. */
void sfs_session_free(struct sfs *fs);

#endif
