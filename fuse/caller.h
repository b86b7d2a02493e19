/*
 * Whom a change is made as.  Where the sandbox's user is root, files are
 * opened and changed as whoever calls here, so that new ones belong to them,
 * set-id bits go where they should, and the sandbox checks their rights, too.
 * Everywhere else it is the sandbox's own user who acts, and the kernel here
 * has checked the caller's rights by the owners and modes that are shown.  Loop
 * thread only.
 */
#ifndef SFS_CALLER_H
#define SFS_CALLER_H

#include "fuse/call.h"

struct sfs_caller;

/* To be called right before sbx_remote_begin of such a change.  0 or a
 * negative errno. */
int sfs_call_act(struct sfs_call *c);
/* The same for a request that is not the caller's own; NULL: as the sandbox's
 * user. */
int sfs_act_as(struct sfs_files *f, const struct sfs_caller *w);

/*
 * Whether somebody else than who opened h writes by it: then c->caller says
 * who.  (Their groups are not looked at, which would take a system call for
 * each write.)  1, 0 or a negative errno.
 */
int sfs_call_is_other(struct sfs_call *c, const struct sfs_handle *h);
/* sfs_call_act for what is done by h. */
int sfs_call_act_by(struct sfs_call *c, const struct sfs_handle *h);
/* For sfs_act_as when the call is no more; NULL of NULL, or no memory. */
struct sfs_caller *sfs_caller_copy(const struct sfs_caller *w);

/* The umask that the sandbox has to apply to c->mode in this directory; what
 * can be applied here is. */
uint32_t sfs_call_umask(struct sfs_call *c);

#endif
