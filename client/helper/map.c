/* A hash table with open addressing: see map.h.  The helper's one thread. */
#include "client/helper/map.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#define MAP_FIRST 16

static size_t map_hash(const struct map *m, uint64_t key)
{
	key *= 0x9e3779b97f4a7c15u;
	return (size_t)(key >> 32) & (m->size - 1);
}

uint64_t map_hash_name(uint64_t dir, const char *name)
{
	uint64_t hash = dir * 0x9e3779b97f4a7c15u;

	while (*name)
		hash = (hash ^ (unsigned char)*name++) * 0x100000001b3u;
	return hash ^ hash >> 31;
}

void map_release(struct map *m)
{
	free(m->slots);
	*m = (struct map){0};
}

static struct map_slot *map_find(const struct map *m, uint64_t key)
{
	size_t i = map_hash(m, key);

	while (m->slots[i].key && m->slots[i].key != key)
		i = (i + 1) & (m->size - 1);
	return &m->slots[i];
}

void *map_get(const struct map *m, uint64_t key)
{
	if (!m->size || !key)
		return NULL;
	return map_find(m, key)->value;
}

static int map_grow(struct map *m)
{
	struct map bigger = {.size = m->size ? m->size * 2 : MAP_FIRST,
			     .used = m->used};
	size_t i;

	bigger.slots = calloc(bigger.size, sizeof(*bigger.slots));
	if (!bigger.slots)
		return -ENOMEM;
	for (i = 0; i < m->size; i++)
		if (m->slots[i].key)
			*map_find(&bigger, m->slots[i].key) = m->slots[i];
	free(m->slots);
	*m = bigger;
	return 0;
}

int map_put(struct map *m, uint64_t key, void *value)
{
	struct map_slot *s;
	int r;

	if (!key)
		return -EINVAL;
	if (m->used + 1 > m->size / 4 * 3) {
		r = map_grow(m);
		if (r < 0)
			return r;
	}
	s = map_find(m, key);
	if (!s->key)
		m->used++;
	s->key = key;
	s->value = value;
	return 0;
}

/* What follows in the same run may have been put there past this one. */
void map_del(struct map *m, uint64_t key)
{
	size_t mask = m->size - 1, hole, i;
	struct map_slot *s;

	if (!m->size || !key)
		return;
	s = map_find(m, key);
	if (!s->key)
		return;
	hole = (size_t)(s - m->slots);
	for (i = (hole + 1) & mask; m->slots[i].key; i = (i + 1) & mask) {
		size_t home = map_hash(m, m->slots[i].key);

		if (((i - home) & mask) < ((i - hole) & mask))
			continue;
		m->slots[hole] = m->slots[i];
		hole = i;
	}
	m->slots[hole] = (struct map_slot){0};
	m->used--;
}
