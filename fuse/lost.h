/*
 * Names that files just lost.  Was it the last, and lost in the sandbox, the
 * kernel may be about to open the file, having looked the name up a moment
 * ago, and the helper may still open it by that name (proto.h, OPEN).  Has the
 * file others, somebody in the sandbox may have opened it by the one that is
 * gone, and what is written then is told of that name.
 */
#ifndef SFS_LOST_H
#define SFS_LOST_H

#include <stdbool.h>
#include <stddef.h>

struct sfs_at;
struct sfs_dir;
struct sfs_entry;
struct sfs_files;
struct sfs_inode;

/* Its inode is about to lose this name.  ours: it is removed from here. */
void sfs_lost_keep(const struct sfs_entry *e, bool ours);
/* What the name led to was written: asks for the attributes of what it was. */
void sfs_lost_written(const struct sfs_dir *d, const char *name, size_t len);
/* The name is borrowed until the next change of names. */
bool sfs_lost_at(const struct sfs_inode *i, struct sfs_at *ret);
void sfs_lost_clear(struct sfs_files *f);

#endif
