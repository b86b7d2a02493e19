/*
 * Whether a folder can be mounted on, found out before anything is started.
 * Used by main.
 */
#ifndef SFS_MOUNTPOINT_H
#define SFS_MOUNTPOINT_H

#include <stdbool.h>

#include "client/error.h"

/*
 * *ret_path: the folder's absolute path, malloced.  Else -ENOENT, -ENOTDIR,
 * -ENOTEMPTY, -EBUSY, -EACCES ... with a sentence that says what to do.
 */
int sfs_mountpoint_check(const char *path, bool nonempty, char **ret_path,
			 struct sbx_error *reterr);
/* Whether this user can mount with FUSE here at all. */
int sfs_mountpoint_check_fuse(struct sbx_error *reterr);

#endif
