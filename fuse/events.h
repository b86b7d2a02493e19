/*
 * What the sandbox announces: the handler that sbx_remote calls.
 */
#ifndef SFS_EVENTS_H
#define SFS_EVENTS_H

#include "client/remote.h"

extern const struct sbx_remote_handler sfs_events; /* arg: struct sfs_files */

#endif
