/*
 * Option follow=inside: where a symbolic link of the sandbox with an absolute
 * target leads to, seen from here.  Loop thread only.
 */
#ifndef SFS_FOLLOW_H
#define SFS_FOLLOW_H

#include <stddef.h>

struct sfs_inode;

/*
 * The way from the link's directory to the target below root/, NUL-ended; the
 * link's directory must be one that can be reached by names.  -ENOENT: it has
 * no name any more; -ENAMETOOLONG.
 */
int sfs_follow_inside(const struct sfs_inode *link, const char *target,
		      char *dst, size_t size);

#endif
