/*
 * Numbered directories that others rename: inotify tells where from and
 * where to, and they are known at their new place afterwards.
 */
#ifndef HELPER_MOVES_H
#define HELPER_MOVES_H

#include <stdint.h>

#define MOVES_MAX 32

struct dir;
struct helper;
struct inotify_event;

/* A directory between two events. */
struct move {
	uint64_t number; /* of what moved; 0: none */
	uint32_t cookie; /* of its rename; 0: another took its place */
	uint64_t parent; /* where it was, for those displaced */
	char name[256];
};

struct moves {
	struct move ring[MOVES_MAX];
	unsigned int next;
};

/* Something happened to the entry of d, itself a directory. */
void moves_event(struct helper *h, struct dir *d, const char *name,
		 const struct inotify_event *e);

#endif
