/*
 * Content before size: while the kernel still holds pages of a file that was
 * changed in the sandbox, it is shown the file's attributes as they were with
 * those pages.  Whoever sees a new size or time then never reads old bytes,
 * or zeros, with it.
 *
 * But where a size that the kernel is shown differs from what it had, it cuts
 * off its last page there: the rest of that is zeros from then on, even if it
 * was read after the pages were dropped and holds something newer.  So if
 * attributes as they were have been given meanwhile, the pages are dropped
 * once more, when those answers have been taken up.  Loop thread only.
 */
#ifndef SFS_SHOWN_H
#define SFS_SHOWN_H

#include "fuse/files_int.h"

struct sfs_shown;

/* Its content has changed: the attributes known now are those to show. */
void sfs_shown_keep(struct sfs_inode *i);
/*
 * Drops the kernel's pages, after which those known now are shown.  While
 * that is under way, another change waits for its turn.  Does nothing without
 * sfs_shown_keep.
 */
void sfs_shown_begin(struct sfs_inode *i);
/* What has become of it is being asked for, and sfs_shown_begin follows: until
 * then it is not over, whatever was being dropped for an earlier change. */
void sfs_shown_hold(struct sfs_inode *i);
/* The kernel is shown nothing older than the attributes known now: a change of
 * our own brought them, of which it knows, or the file came by a new name. */
void sfs_shown_own(struct sfs_inode *i);
/* It may have become shorter: no size beyond that is shown, since what is read
 * up to there now would end in zeros. */
void sfs_shown_cut(struct sfs_inode *i);
/* One of the kernel's threads asks for something: it has applied what it was
 * given. */
void sfs_shown_asks(struct sfs *fs, pid_t asker);
bool sfs_shown_is_on(const struct sfs_inode *i);
/* If others than the inode's are to be shown, puts them into st. */
void sfs_shown_attr(const struct sfs_inode *i, struct stat *st);
/* The kernel is being given attributes; asker: which of its threads. */
void sfs_shown_given(struct sfs_inode *i, pid_t asker);
/* Whether a change that came before the moment of this number (files->moment)
 * is not shown yet. */
bool sfs_shown_lacks(const struct sfs_files *f, uint64_t moment);
/* The inodes go, whatever is still to be dropped. */
void sfs_shown_leave(struct sfs_files *f);

#endif
