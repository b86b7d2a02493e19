/* Flags of open(2): see openflags.h. */
#include "client/helper/openflags.h"

#include <fcntl.h>
#include <stddef.h>

enum {
	WIRE_ACCMODE = 03,
	WIRE_IGNORED = 0400 /* NOCTTY */ | 04000 /* NONBLOCK */ |
		       040000 /* DIRECT */ | 0100000 /* LARGEFILE */ |
		       0400000 /* NOFOLLOW */ | 02000000 /* CLOEXEC */ |
		       020000 /* ASYNC */,
};

static const struct {
	uint32_t wire;
	int ours;
} flags[] = {
	{0100, O_CREAT},	{0200, O_EXCL},	       {01000, O_TRUNC},
	{02000, O_APPEND},	{010000, O_DSYNC},     {04010000, O_SYNC},
	{0200000, O_DIRECTORY}, {01000000, O_NOATIME}, {020200000, O_TMPFILE},
};

int open_flags(uint32_t wire)
{
	/* never wait for a peer of a pipe or a terminal */
	int ours =
		(int)(wire & WIRE_ACCMODE) | O_NOCTTY | O_NONBLOCK | O_CLOEXEC;
	uint32_t known = WIRE_ACCMODE | WIRE_IGNORED;
	size_t i;

	if ((wire & WIRE_ACCMODE) == WIRE_ACCMODE)
		return -1;
	for (i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		known |= flags[i].wire;
		if ((wire & flags[i].wire) == flags[i].wire)
			ours |= flags[i].ours;
	}
	return wire & ~known ? -1 : ours;
}
