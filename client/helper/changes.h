/*
 * Changes that the client has not been told yet, folded by directory and
 * name.  They are told before anything that was sent later could imply them.
 */
#ifndef HELPER_CHANGES_H
#define HELPER_CHANGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CHANGES_MAX   32768
#define CHANGES_SLOTS 1024

struct helper;
struct change;

struct changes {
	struct change *first, **end;
	struct change *slots[CHANGES_SLOTS];
	size_t count;
	bool overflow; /* something was not kept: everything is in doubt */
};

void changes_init(struct changes *c);
void changes_clear(struct changes *c);
void changes_add(struct helper *h, uint64_t dir, const char *name,
		 unsigned int what, uint32_t cookie);
void changes_overflow(struct helper *h);
/* Looks at what changed and sends it. */
void changes_flush(struct helper *h);

#endif
