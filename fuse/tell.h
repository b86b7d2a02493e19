/*
 * How objects are addressed: directories are given numbers, which the helper
 * is told (with a watch) just before the first request that uses them, all
 * in one go.  Loop thread only.
 */
#ifndef SFS_TELL_H
#define SFS_TELL_H

#include "fuse/files_int.h"

/* Makes sure that the directory's number can be used in requests that are
 * sent next.  Negative errno: it has no path any more, or no memory. */
int sfs_dir_tell(struct sfs_inode *i);
/* The same, and asks for the watch anew. */
int sfs_dir_tell_again(struct sfs_inode *i);
/*
 * What a request for the directory failed with: whether that is because its
 * number is not known there, and to send it again will tell it first.  Its
 * place had changed when it was told, or it was removed and this is another,
 * which has its inode number.
 */
bool sfs_dir_untell(struct sfs_inode *i, int err);
/* It was just made, and given this number and a watch there; empty: nothing
 * was in it then. */
void sfs_dir_born(struct sfs_inode *i, uint64_t number, bool empty);
/* For sfs_files_lookup_root: asks for a tree's root, the first time. */
int sfs_root_tell(struct sfs_files *f, uint8_t tree, sbx_reply_fn *fn,
		  void *arg);
/* Takes over the answer of sfs_root_tell once the inode exists. */
void sfs_root_told(struct sfs_inode *i, bool watched);

/* Where an object is: the three arguments "at" of a request. */
struct sfs_at {
	uint64_t dir, ino;
	const char *name; /* the entry's; NULL for dir itself */
	size_t len;
};
int sfs_inode_at(struct sfs_inode *i, struct sfs_at *ret);
/* The same, of OPEN: also a file that has lost its name since it was told. */
int sfs_open_at(struct sfs_inode *i, struct sfs_at *ret);
/*
 * The same, when what it gives (nth 0) proves to be out of reach: 1 is the
 * next name of a file, and the last is a handle, which needs no name and no
 * right to get there.  -ESTALE: there are no more.
 */
int sfs_inode_way(struct sfs_inode *i, unsigned int nth, struct sfs_at *ret);
static inline void sfs_put_at(struct sbx_buf *b, const struct sfs_at *at)
{
	sbx_put_at(b, at->dir, at->name, at->len, at->ino);
}

#endif
