/*
 * Requests of the kernel that are answered later, and that a signal may
 * answer first.  Loop thread.
 *
 * Whoever is interrupted gets EINTR at once; what was started for him goes
 * on and finds nobody waiting.
 */
#ifndef SFS_WAIT_H
#define SFS_WAIT_H

#include "fuse/node.h"

struct sfs_wait {
	fuse_req_t req; /* NULL: nobody waits any more */
	size_t done;	/* of a write: so much of it, when interrupted */
};

/* False: it was interrupted already, and answered.  w must stay where it is
 * until sfs_wait_end. */
bool sfs_wait_begin(struct sfs_wait *w, fuse_req_t req);
/* The request to be answered now, or NULL. */
fuse_req_t sfs_wait_end(struct sfs_wait *w);

/* Reads that wait, in order. */
struct sfs_reader;
struct sfs_readq {
	struct sfs_reader *first;
};

/* Answers by itself if it cannot be queued. */
void sfs_readq_add(struct sfs_readq *q, fuse_req_t req, size_t size, off_t off);
bool sfs_readq_is_empty(struct sfs_readq *q);
/* The offset of the first one; false: there is none. */
bool sfs_readq_peek(struct sfs_readq *q, off_t *ret_off);
/* Takes the first one out, to be answered; NULL: there is none. */
fuse_req_t sfs_readq_take(struct sfs_readq *q, size_t *ret_size,
			  off_t *ret_off);
/* Answers all of them with an error (positive errno). */
void sfs_readq_fail(struct sfs_readq *q, int err);

#endif
