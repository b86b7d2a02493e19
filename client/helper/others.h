/*
 * Files that others were seen to write, and not to close since.  What they
 * write to one while a request of ours writes to it, too, cannot be told from
 * what we write (otherwise their closing tells it): so of such a file our own
 * changes are told like theirs.  Nothing here does anything.
 */
#ifndef HELPER_OTHERS_H
#define HELPER_OTHERS_H

#include <stdbool.h>
#include <stdint.h>

#include "client/helper/map.h"

#define OTHERS_SLOTS 1024 /* one file each: the last one */
#define OTHERS_MS    300000

struct others {
	struct {
		uint64_t key;
		int64_t until_ms;
	} files[OTHERS_SLOTS];
};

static inline void others_wrote(struct others *o, uint64_t dir,
				const char *name, int64_t now_ms)
{
	uint64_t key = map_hash_name(dir, name), k = key % OTHERS_SLOTS;

	o->files[k].key = key;
	o->files[k].until_ms = now_ms + OTHERS_MS;
}

static inline void others_closed(struct others *o, uint64_t dir,
				 const char *name)
{
	uint64_t key = map_hash_name(dir, name), k = key % OTHERS_SLOTS;

	if (o->files[k].key == key)
		o->files[k].until_ms = 0;
}

static inline bool others_write(const struct others *o, uint64_t dir,
				const char *name, int64_t now_ms)
{
	uint64_t key = map_hash_name(dir, name), k = key % OTHERS_SLOTS;

	return o->files[k].key == key && o->files[k].until_ms > now_ms;
}

#endif
