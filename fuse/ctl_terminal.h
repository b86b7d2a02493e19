/*
 * terminals/<name>/data, for ctl_terminals.c.
 */
#ifndef SFS_CTL_TERMINAL_H
#define SFS_CTL_TERMINAL_H

#include "fuse/control.h"

extern const struct ctl_type ctl_terminal_data;

#endif
