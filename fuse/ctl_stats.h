/*
 * .sbxfs/stats.  Loop thread.
 */
#ifndef SFS_CTL_STATS_H
#define SFS_CTL_STATS_H

#include "fuse/control.h"

extern const struct ctl_type ctl_stats;

#endif
