/*
 * From options to a service that answers.  Used by main, on the loop's
 * thread, before the mount is made.
 */
#ifndef SFS_START_H
#define SFS_START_H

#include "fuse/mount.h"
#include "fuse/stop.h"

/* Source, profiles, keys and options to m->places. */
int sfs_start_conf(struct sfs_mount *m, struct sbx_error *reterr);
/*
 * Opens the services and asks each once, so that a wrong key, a dead address
 * or a sandbox that does not exist is found here.  Of several services one
 * that answers is enough; what is wrong with the others is said on standard
 * error, and they are asked again when somebody looks.  Runs the loop; -EINTR
 * if a signal came meanwhile.  Clients must be closed also after a failure.
 */
int sfs_start_places(struct sfs_mount *m, struct sfs_stop *stop,
		     struct sbx_error *reterr);
/* The top of the tree. */
int sfs_start_root(struct sfs_mount *m, struct sbx_error *reterr);

#endif
