/*
 * Content before size: while the kernel still holds pages of a file that was
 * changed in the sandbox, it is shown the file's attributes as they were with
 * those pages.  Whoever sees a new size or time then never reads old bytes,
 * or zeros, with it.  Loop thread only.
 */
#ifndef SFS_SHOWN_H
#define SFS_SHOWN_H

#include "fuse/files_int.h"

struct sfs_shown;

/* Its content has changed: the attributes known now are those to show. */
void sfs_shown_keep(struct sfs_inode *i);
/* The kernel was told to drop its pages: until it has. */
void sfs_shown_wait(struct sfs_inode *i);
/* The kernel itself changed it, and knows better. */
void sfs_shown_end(struct sfs_inode *i);
/* Whether others than the inode's are to be shown; puts them into st. */
bool sfs_shown_attr(const struct sfs_inode *i, struct stat *st);
/* The inodes go, whatever is still to be dropped. */
void sfs_shown_leave(struct sfs_files *f);

#endif
