/*
 * .sbxfs/log: the last lines of the daemon's log, and those that follow.
 */
#ifndef SFS_CTL_LOG_H
#define SFS_CTL_LOG_H

#include "fuse/control.h"

struct sfs_log;

/* From now on lines are kept; NULL: they are not, for lack of memory. */
struct sfs_log *sfs_log_open(struct sfs_mount *m);
/* The loop must run once more before the loop is closed. */
void sfs_log_close(struct sfs_log *log);

extern const struct ctl_type ctl_log;

#endif
