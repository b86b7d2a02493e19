/*
 * Whom a change is made as.  Where the sandbox's user is root, files are
 * opened and changed as whoever calls here (or opened what is written), so
 * that new ones belong to them, set-id bits go where they should, and the
 * sandbox checks their rights, too.  Everywhere else it is the sandbox's own
 * user who acts, and the kernel here has checked the caller's rights by the
 * owners and modes that are shown.  Loop thread only.
 */
#ifndef SFS_CALLER_H
#define SFS_CALLER_H

#include "fuse/call.h"

/* To be called right before sbx_remote_begin of such a change.  0 or a
 * negative errno. */
int sfs_call_act(struct sfs_call *c);
/* The same for a request that is not the caller's own; NULL: as the sandbox's
 * user. */
int sfs_act_as(struct sfs_files *f, const struct sfs_caller *w);

/* The umask that the sandbox has to apply to c->mode in this directory; what
 * can be applied here is. */
uint32_t sfs_call_umask(struct sfs_call *c);

#endif
