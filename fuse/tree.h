/*
 * A whole tree in one answer, where each answer costs much (fresh.h): the
 * request TREE in place of LIST.  Called by list.c.  Loop thread only.
 */
#ifndef SFS_TREE_H
#define SFS_TREE_H

#include "fuse/files_int.h"

/* Directories below one that are listed with it, and how many entries in all,
 * with the content of files of at most this size: some two MiB at most
 * (SBX_TREE_LARGE). */
#define SFS_TREE_DIRS	 512
#define SFS_TREE_DEPTH	 16
#define SFS_TREE_ENTRIES 2000
#define SFS_TREE_CONTENT (16 << 10)

struct sfs_tree {
	uint64_t root, base; /* numbers: of the one, of those below from here */
	bool complete;	     /* the one has been listed to its end */
};

bool sfs_tree_is_wanted(const struct sfs_files *f);
/* Writes the request, to be submitted next. */
void sfs_tree_begin(struct sfs_tree *t, struct sfs_dir *d);
/* Takes one part; a negative errno: no more of it is wanted. */
int sfs_tree_part(struct sfs_tree *t, struct sfs_files *f, struct sbx_rd *rd);

#endif
