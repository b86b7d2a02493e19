/*
 * Files of a service's own in a folder: parts of the folders of a sandbox and
 * of a place.  Loop thread.
 */
#ifndef SFS_CTL_OWN_H
#define SFS_CTL_OWN_H

#include "fuse/control.h"
#include "fuse/own.h"

/* For a folder's lookup: whether there is such a one, and if so answers. */
bool ctl_own_lookup(fuse_req_t req, struct ctl_node *n, const char *name);
/* Whether a name in that folder is such a one. */
bool ctl_own_is(struct ctl_node *n, const char *name);
/* For a folder's list: what of them is in it. */
void ctl_own_list(struct ctl_node *n, struct ctl_list *list);
/* That sandbox is gone: nobody waits for what it says any more. */
void ctl_own_gone(struct sfs_sandbox *sb);

/* between ctl_own.c and ctl_own_file.c */
struct sfs_owner ctl_own_owner(const struct ctl_node *n);
/* For one with those flags. */
const struct ctl_type *ctl_own_file_type(unsigned int flags);

#endif
