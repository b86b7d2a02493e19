/*
 * What was just written from the beginning of a file to its end is known
 * without asking: it is kept for whoever reads it next, as compilers, git and
 * editors do.  The kernel keeps only whole pages of it. Loop thread only.
 */
#ifndef SFS_WRITTEN_H
#define SFS_WRITTEN_H

#include "fuse/handle.h"

/* This is being written, and sfs_file_stale was just called for it. */
void sfs_written_add(const struct sfs_handle *h, const char *data, size_t size,
		     uint64_t offset);
/* Somebody who wrote it closes it, and all is acknowledged: hands over what
 * is known of it (ahead.h). */
void sfs_written_end(struct sfs_inode *i);
void sfs_written_drop(struct sfs_file *file, struct sfs *fs);

#endif
