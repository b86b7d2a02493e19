/*
 * Entries of a directory: an array in order of cookies with gaps where some
 * were removed, and beside it an open-addressing index by name once there
 * are more than a few.
 */
#include "fuse/entries.h"

#include <stdlib.h>
#include <string.h>

#define FEW	 16 /* found by looking at each */
#define LIST_MIN 4

static uint32_t hash_name(const struct sfs_entries *t, const char *name,
			  size_t len)
{
	uint64_t h = t->seed ^ len * 0x9e3779b97f4a7c15u, word;

	for (; len; len -= len < 8 ? len : 8, name += 8) {
		word = 0;
		memcpy(&word, name, len < 8 ? len : 8);
		h = (h ^ word) * 0xd6e8feb86659fd93u;
		h ^= h >> 32;
	}
	return (uint32_t)(h * 0xd6e8feb86659fd93u >> 32);
}

static bool entry_is(const struct sfs_entry *e, const char *name, size_t len)
{
	return e && e->len == len && !memcmp(e->name, name, len);
}

void sfs_entries_init(struct sfs_entries *t, uint64_t seed)
{
	memset(t, 0, sizeof(*t));
	t->next_cookie = SFS_COOKIE_FIRST;
	t->seed = seed;
}

void sfs_entries_release(struct sfs_entries *t)
{
	free(t->list);
	free(t->index);
	t->list = NULL;
	t->index = NULL;
	t->nr_list = t->cap_list = t->nr = 0;
}

/* ---- the index ---- */

/* Where the name stands in the index, or the free place where it would. */
static uint32_t *index_at(const struct sfs_entries *t, const char *name,
			  size_t len)
{
	uint32_t i = hash_name(t, name, len) & t->index_mask;

	while (t->index[i] && !entry_is(t->list[t->index[i] - 1], name, len))
		i = (i + 1) & t->index_mask;
	return &t->index[i];
}

static void index_drop(struct sfs_entries *t)
{
	free(t->index);
	t->index = NULL;
	t->index_mask = 0;
}

/* Makes it anew with room for twice as many as there are. */
static bool index_build(struct sfs_entries *t)
{
	uint32_t size = FEW * 4, i;
	struct sfs_entry *e;

	while (size < t->nr_list * 2 + 2)
		size *= 2;
	index_drop(t);
	t->index = calloc(size, sizeof(*t->index));
	if (!t->index)
		return false; /* found by looking at each, then */
	t->index_mask = size - 1;
	for (i = 0; i < t->nr_list; i++) {
		e = t->list[i];
		if (e)
			*index_at(t, e->name, e->len) = i + 1;
	}
	return true;
}

/*
 * Closes the gap that a removed name leaves: those behind it that belong
 * before it move up.
 */
static void index_remove(struct sfs_entries *t, uint32_t *at)
{
	uint32_t gap = (uint32_t)(at - t->index), i = gap, home;
	const struct sfs_entry *e;

	t->index[gap] = 0;
	for (;;) {
		i = (i + 1) & t->index_mask;
		if (!t->index[i])
			return;
		e = t->list[t->index[i] - 1];
		home = hash_name(t, e->name, e->len) & t->index_mask;
		if (((i - home) & t->index_mask) < ((i - gap) & t->index_mask))
			continue;
		t->index[gap] = t->index[i];
		t->index[i] = 0;
		gap = i;
	}
}

/* ---- the list ---- */

/* Takes the gaps out; cookies stay what they were. */
static void list_compact(struct sfs_entries *t)
{
	uint32_t from, to = 0;

	for (from = 0; from < t->nr_list; from++) {
		if (!t->list[from])
			continue;
		t->list[to] = t->list[from];
		t->list[to]->slot = to;
		to++;
	}
	t->nr_list = to;
	if (t->index)
		index_build(t);
}

static bool list_room(struct sfs_entries *t)
{
	struct sfs_entry **list;
	uint32_t cap;

	if (t->nr_list < t->cap_list)
		return true;
	if (t->nr < t->nr_list - t->nr_list / 4) {
		list_compact(t);
		return true;
	}
	cap = t->cap_list ? t->cap_list + t->cap_list / 2 : LIST_MIN;
	list = realloc(t->list, cap * sizeof(*list));
	if (!list)
		return false;
	t->list = list;
	t->cap_list = cap;
	return true;
}

struct sfs_entry *sfs_entries_find(const struct sfs_entries *t,
				   const char *name, size_t len)
{
	uint32_t i;

	if (t->index) {
		i = *index_at(t, name, len);
		return i ? t->list[i - 1] : NULL;
	}
	for (i = 0; i < t->nr_list; i++)
		if (entry_is(t->list[i], name, len))
			return t->list[i];
	return NULL;
}

struct sfs_entry *sfs_entries_add(struct sfs_entries *t, const char *name,
				  size_t len)
{
	struct sfs_entry *e =
		calloc(1, offsetof(struct sfs_entry, name) + len + 1);

	if (!e || !list_room(t)) {
		free(e);
		return NULL;
	}
	memcpy(e->name, name, len);
	e->len = (uint8_t)len;
	e->cookie = t->next_cookie++;
	e->slot = t->nr_list;
	t->list[t->nr_list++] = e;
	t->nr++;
	if (t->index && (t->nr_list + 1) * 4 / 3 < t->index_mask)
		*index_at(t, name, len) = e->slot + 1;
	else if (t->nr > FEW)
		index_build(t);
	return e;
}

void sfs_entries_remove(struct sfs_entries *t, struct sfs_entry *e)
{
	if (t->index)
		index_remove(t, index_at(t, e->name, e->len));
	t->list[e->slot] = NULL;
	t->nr--;
	free(e);
	while (t->nr_list && !t->list[t->nr_list - 1])
		t->nr_list--;
	if (t->nr_list > 64 && t->nr < t->nr_list / 2)
		list_compact(t);
}

struct sfs_entry *sfs_entries_last(const struct sfs_entries *t)
{
	return t->nr_list ? t->list[t->nr_list - 1] : NULL;
}

struct sfs_entry *sfs_entries_after(const struct sfs_entries *t,
				    uint64_t cookie)
{
	uint32_t lo = 0, hi = t->nr_list, mid, i;

	/* the first slot whose cookie is above, gaps taking part with the
	 * next entry behind them */
	while (lo < hi) {
		mid = lo + (hi - lo) / 2;
		for (i = mid; i < hi && !t->list[i];)
			i++;
		if (i < hi && t->list[i]->cookie <= cookie)
			lo = i + 1;
		else
			hi = mid;
	}
	while (lo < t->nr_list && !t->list[lo])
		lo++;
	return lo < t->nr_list ? t->list[lo] : NULL;
}

struct sfs_entry *sfs_entries_next(const struct sfs_entries *t,
				   const struct sfs_entry *e)
{
	uint32_t i = e ? e->slot + 1 : 0;

	while (i < t->nr_list && !t->list[i])
		i++;
	return i < t->nr_list ? t->list[i] : NULL;
}
