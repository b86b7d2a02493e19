/*
 * Listings: LIST requests, shared by all who wait for the same directory,
 * and the comparison of everything after events were lost.  Loop thread only.
 */
#ifndef SFS_LIST_H
#define SFS_LIST_H

#include "fuse/call.h"

/* Calls c->resume(c, err) once the directory c->inode has been listed. */
void sfs_list_wait(struct sfs_call *c);
/*
 * Several names of this directory were asked for, or it was just made: if it
 * is a small one it is listed as a whole, so that names that are there or
 * not need not be asked for one by one.
 */
void sfs_list_ahead(struct sfs_inode *i);
/* This directory is listed; if others beside it were, too, those behind it are
 * listed ahead. */
void sfs_list_walk(struct sfs_inode *i);
/* Whether its entries are all known and may be shown without asking. */
bool sfs_list_is_good(const struct sfs_dir *d);
/* A name could not be taken in: what is known is not all, and a listing under
 * way fails. */
void sfs_list_spoil(struct sfs_dir *d);
/* Somebody uses that it was listed, for the statistics. */
void sfs_list_waited(const struct sfs_dir *d);
/* Lists the directory, in its turn, and tells the kernel what differs. */
void sfs_compare_add(struct sfs_dir *d);
/* Something was compared, or is shown as it is, or never will be: those who
 * wait for that (sfs_files_settle) have their turn. */
void sfs_settlers_run(struct sfs_files *f);

#endif
