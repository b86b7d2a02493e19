/*
 * Files that just lost their last name in the sandbox.  The kernel may be
 * about to open one, having looked the name up a moment ago, and the helper
 * may still open it by that name (proto.h, OPEN).
 */
#ifndef SFS_LOST_H
#define SFS_LOST_H

#include <stdbool.h>

struct sfs_at;
struct sfs_entry;
struct sfs_files;
struct sfs_inode;

/* Its inode has no other name, and is about to lose this one. */
void sfs_lost_keep(const struct sfs_entry *e);
/* The name is borrowed until the next change of names. */
bool sfs_lost_at(const struct sfs_inode *i, struct sfs_at *ret);
void sfs_lost_clear(struct sfs_files *f);

#endif
