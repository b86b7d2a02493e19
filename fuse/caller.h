/*
 * Whom a change is made as.  Where the sandbox's user is root, files are made,
 * renamed, removed and opened as whoever calls here, so that they belong to
 * them and the sandbox checks their rights, too; everywhere else, and for
 * everything else, it is the sandbox's own user who acts, and the kernel here
 * has checked the caller's rights by the owners and modes that are shown.
 * Loop thread only.
 */
#ifndef SFS_CALLER_H
#define SFS_CALLER_H

#include "fuse/call.h"

/* To be called right before sbx_remote_begin of such a change.  0 or a
 * negative errno. */
int sfs_call_act(struct sfs_call *c);
/* The same for a request that is nobody's. */
int sfs_act_as_self(struct sfs_files *f);

/* The umask that the sandbox has to apply to c->mode in this directory; what
 * can be applied here is. */
uint32_t sfs_call_umask(struct sfs_call *c);

#endif
