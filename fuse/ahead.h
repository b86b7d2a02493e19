/*
 * The content of small files before somebody opens them.  Whoever reads one
 * file of a folder after the other, or walks through a tree, finds the next
 * ones here, so that a thousand files cost a few round trips.
 *
 * It is as true as what is fetched for an open file: it is used only while
 * events cover the file and tell of no change, and as long as nothing of our
 * own was sent that changes it.  The sandbox does not count it as read until
 * it is.  Bounded: see limits.h, and fs.readahead.  Loop thread only.
 */
#ifndef SFS_AHEAD_H
#define SFS_AHEAD_H

#include "fuse/call.h"

struct sfs_ahead;

/* Its content is on its way: calls c->resume(c, 0) when it is here, or will
 * not be.  False: it is not on its way. */
bool sfs_ahead_wait(struct sfs_call *c);
/* Gives the content to a handle that was opened to read it, if it is here and
 * true, and asks for what may be read next. */
bool sfs_ahead_take(struct sfs_handle *h);
/* It was not: asks for what may be read next if that can be told. */
void sfs_ahead_missed(struct sfs_inode *i);
/* A look-up brought the content of what it found. */
void sfs_ahead_found(struct sfs_inode *i, const uint8_t *data, size_t len);
/* This is all that the file holds (taken). */
void sfs_ahead_keep(struct sfs_inode *i, uint8_t *data, size_t len);
/* How much a look-up in this directory shall bring; 0: nothing. */
uint32_t sfs_ahead_size(const struct sfs_dir *d);

/* What is here of it is not true any more, or not of use. */
void sfs_ahead_drop(struct sfs_inode *i);
/* How many bytes may be read ahead in the whole mount, of open files, too. */
size_t sfs_ahead_max(const struct sfs *fs);
/* Whether there is room for so much; what nobody came for makes way. */
bool sfs_ahead_has_room(struct sfs_files *f, size_t len);
/* Drops what nobody came for, until so many bytes are free, if it can. */
void sfs_ahead_yield(struct sfs_files *f, size_t len);
/* Nothing is under way any more: frees all. */
void sfs_ahead_end(struct sfs_files *f);

#endif
