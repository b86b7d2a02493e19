/*
 * The entries of one directory: names, in the order in which they were first
 * seen, and the inodes they lead to.  A plain data structure, loop thread
 * only.
 *
 * Each entry has a cookie, larger than all given before, which is its place
 * in a listing: a reader that stopped at a cookie goes on behind it, whatever
 * was added or removed meanwhile.
 */
#ifndef SFS_ENTRIES_H
#define SFS_ENTRIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sfs_dir;
struct sfs_inode;

/* "." and ".." have the two before */
#define SFS_COOKIE_FIRST 3

struct sfs_entry {
	struct sfs_inode *inode; /* NULL: it exists, but nothing is known */
	struct sfs_dir *dir;	 /* that it is in */
	struct sfs_entry *next_name, **prev_name; /* of the inode's names */
	uint64_t cookie;
	uint32_t slot;
	bool seen; /* by the listing under way */
	uint8_t len;
	char name[]; /* NUL-ended */
};

struct sfs_entries {
	struct sfs_entry **list; /* by cookie; NULL: one was removed */
	uint32_t nr_list, cap_list;
	uint32_t nr;	 /* entries */
	uint32_t *index; /* slot + 1, by the name's hash; NULL for few */
	uint32_t index_mask;
	uint64_t next_cookie;
	uint64_t seed;
};

void sfs_entries_init(struct sfs_entries *t, uint64_t seed);
/* The entries must have been removed. */
void sfs_entries_release(struct sfs_entries *t);

struct sfs_entry *sfs_entries_find(const struct sfs_entries *t,
				   const char *name, size_t len);
/* A new one with a new cookie; the name (1 to 255 bytes) must not be there.
 * NULL without memory. */
struct sfs_entry *sfs_entries_add(struct sfs_entries *t, const char *name,
				  size_t len);
/* Takes it out and frees it. */
void sfs_entries_remove(struct sfs_entries *t, struct sfs_entry *e);

/* The newest; NULL: there is none.  All are removed fastest from here, for
 * gaps cost a search time. */
struct sfs_entry *sfs_entries_last(const struct sfs_entries *t);
/* The first with a cookie above this one; NULL: there is none.  To go through
 * all, sfs_entries_next is faster, which does not search. */
struct sfs_entry *sfs_entries_after(const struct sfs_entries *t,
				    uint64_t cookie);
/* The first (e NULL), or the one behind e; e itself may then be removed. */
struct sfs_entry *sfs_entries_next(const struct sfs_entries *t,
				   const struct sfs_entry *e);

#endif
