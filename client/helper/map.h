/* A hash table from 64-bit numbers, never 0, to pointers; hashes of names. */
#ifndef HELPER_MAP_H
#define HELPER_MAP_H

#include <stddef.h>
#include <stdint.h>

struct map_slot {
	uint64_t key; /* 0: free */
	void *value;
};

struct map {
	struct map_slot *slots;
	size_t size; /* a power of two, or 0 */
	size_t used;
};

void map_release(struct map *m);
void *map_get(const struct map *m, uint64_t key);
/* Sets or replaces; -ENOMEM. */
int map_put(struct map *m, uint64_t key, void *value);
void map_del(struct map *m, uint64_t key);

/* A hash of what has that name in what dir stands for.  All bits are good. */
uint64_t map_hash_name(uint64_t dir, const char *name);

#endif
