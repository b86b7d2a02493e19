/*
 * Open files that are not open in the sandbox, since the kernel has all that
 * is in them: most are closed again in a moment, and cost nothing.  But if a
 * file is changed there and then loses its name, what is in it can be had by
 * no other way.  So those that stay open are opened there, too, after a
 * while, and all of them before a command starts.  Loop thread only.
 */
#ifndef SFS_LAZY_H
#define SFS_LAZY_H

#include "fuse/handle.h"

void sfs_lazy_add(struct sfs_handle *h);
/* It is opened there now, or closed here. */
void sfs_lazy_del(struct sfs_handle *h);
/* Time has passed; whether some are left. */
bool sfs_lazy_tick(struct sfs_files *f);

#endif
