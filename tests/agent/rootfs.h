/* Which parts of the host a sandbox sees, as arguments of bubblewrap. */
#ifndef AGENT_ROOTFS_H
#define AGENT_ROOTFS_H

#include "tests/agent/args.h"

/*
 * Adds read-only binds of the host's system.  Left out are the folders of
 * people and of programs at work (/home, /root, /tmp, /run, /mnt, /media),
 * `hidden`, and whatever holds a FUSE mount: a bind would keep the mount
 * alive after its owner has unmounted it.
 */
int agent_rootfs_add(struct agent_args *a, const char *hidden);

/* The programs of dir, and no others, in the folders of PATH. */
void agent_rootfs_add_tools(struct agent_args *a, const char *dir);

/* passwd and group files for the sandbox's user, written below dir_fd. */
int agent_rootfs_write_users(int dir_fd);

#endif
