/*
 * As whom commands run: as the sandbox's own user, and as no other.  Loop
 * thread.
 */
#ifndef SFS_USER_H
#define SFS_USER_H

#include "client/error.h"
#include "fuse/sandbox.h"

/* error->err: 0, -EOPNOTSUPP: it is another one, or why that is not known */
typedef void sfs_user_fn(void *arg, const struct sbx_error *error);
/*
 * Whether user, as somebody wrote it, is the sandbox's own.  Calls fn once, at
 * once if the sandbox has been asked before.
 */
void sfs_user_check(struct sfs_sandbox *sb, const char *user, sfs_user_fn *fn,
		    void *arg);

#endif
