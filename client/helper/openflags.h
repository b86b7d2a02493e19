/* Flags of open(2): the protocol's numbers are those of x86-64. */
#ifndef HELPER_OPENFLAGS_H
#define HELPER_OPENFLAGS_H

#include <stdint.h>

/* Ours, with what every open of ours has; -1 for what is not allowed. */
int open_flags(uint32_t wire);

#endif
