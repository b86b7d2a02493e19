/*
 * New files that the sandbox does not know yet.  Where each answer costs much
 * (fresh.h) a file that is created, and by all that is known can be, is open
 * here at once.  It is made there together with what is written to it, as the
 * first of its pieces (write.c): if that fails, fsync or close says so.  Until
 * then it has no number there: it is found by its name here, and asked about
 * by its handle.
 *
 * One that nobody else may have (O_EXCL) is asked for: who finds out later that
 * another has it may have done what is the other's to do by then, and a shell
 * (set -C) does not look at close at all.
 *
 * GIT'S LOCK on its index (index.lock, O_EXCL) is the exception, since it is
 * made and removed by each "git status", and every change that it guards goes
 * through this mount.  While it is on its way every other change waits for it,
 * and fails with it if another has it there after all; its maker's own do until
 * git was told.  It is often closed empty and removed a moment later: closing
 * it does not wait, and removing it goes along with making it, and fails with
 * it.  Meanwhile its folder is shown as it will be (sfs_attr_foresee).
 *
 * Loop thread only.
 */
#ifndef SFS_MAKING_H
#define SFS_MAKING_H

#include "fuse/handle.h"

/*
 * Creates the file here, if that may be: c->inode is the directory; name, mode,
 * umask, flags and fi are as for CREATE.  *ret_h: its handle, or NULL: it is to
 * be asked for.  0 or a negative errno.
 */
int sfs_make_here(struct sfs_call *c, struct sfs_handle **ret_h);

static inline bool sfs_inode_is_making(const struct sfs_inode *i)
{
	return sfs_file_is_open(i) && i->file->making;
}
/* The kernel asks, once, for the mode of what it has just created to know
 * whether it may be opened; whoever asks after that is shown what is true. */
bool sfs_making_is_opened(const struct sfs_inode *i, pid_t asker);
/* An empty lock of git's, on its way: closing it waits for nothing. */
bool sfs_making_is_lock(const struct sfs_inode *i);
/* The handle by which this entry's file (NULL: none) is being made, or NULL. */
struct sfs_handle *sfs_making_handle(const struct sfs_entry *e);

/* Its name is another's there, who was faster, and whose file it will open: if
 * that has these attributes, and is not known, it is this one from now on. */
bool sfs_making_found(struct sfs_inode *i, const struct sbx_attr *attr);

/*
 * Whether this change has to wait for the lock: then c->resume is called when
 * that is decided, with -EIO if another has it.
 */
bool sfs_claim_wait(struct sfs_call *c);
static inline bool sfs_claim_is_open(const struct sfs_files *f)
{
	return f->claim || f->lost_claim;
}
/* Whoever had it open was told, or has it no more. */
static inline void sfs_claim_told(struct sfs_inode *i)
{
	if (i->files->lost_claim == i)
		i->files->lost_claim = NULL;
}

/* ---- for write.c ---- */

/* Sends the request; done has its answer.  0 or a negative errno. */
int sfs_making_send(struct sfs_making *m, sbx_reply_fn *done, void *arg);
/* The answer is here, or there is none (err).  What became of it: on success 0
 * and the attributes. */
int sfs_making_done(struct sfs_making *m, int err, struct sbx_rd *rd,
		    struct sbx_attr *ret_attr);
void sfs_making_free(struct sfs_making *m);

#endif
