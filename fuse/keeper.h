/*
 * -o keepalive: keeps alive what is in use, shortly before it would expire.
 * Loop thread.
 */
#ifndef SFS_KEEPER_H
#define SFS_KEEPER_H

#include "fuse/mount.h"

/* Starts looking, every now and then, until the timer is closed. */
void sfs_keeper_start(struct sfs_mount *m);

#endif
