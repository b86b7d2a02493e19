/*
 * Attributes of files that the kernel was given lately.  Its thread that asked
 * applies them when it next runs, and may be held up in the middle of that by
 * a page that is being read: on a busy machine seconds later.  That it has done
 * so is known when it asks for something else, sleeps, has gone on running, or
 * is gone.  A plain data structure, loop thread only.
 */
#ifndef SFS_ANSWERS_H
#define SFS_ANSWERS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "fuse/limits.h"

struct sfs_inode;

struct sfs_answers {
	struct {
		const struct sfs_inode *inode; /* only compared; NULL: free */
		uint64_t number;
		uint64_t ms;
		uint64_t ran_ns; /* when first looked at; 0: not yet */
		pid_t pid;
		bool awaited; /* sfs_answers_wait said so */
	} list[SFS_MAX_ANSWERS];
	uint64_t number; /* how many there were */
};

void sfs_answers_add(struct sfs_answers *a, const struct sfs_inode *i,
		     pid_t pid, uint64_t now_ms);
/* The thread asks for something.  Whether that was waited for.  0: it is one of
 * those that have no number here, of which each may be another. */
bool sfs_answers_asks(struct sfs_answers *a, pid_t pid);
/*
 * Whether one of the first so many may not have been applied.  being_read:
 * pages are or just were being read, or else what nothing can be seen of is
 * taken for applied.
 */
bool sfs_answers_wait(struct sfs_answers *a, const struct sfs_inode *i,
		      uint64_t number, bool being_read, uint64_t now_ms);

#endif
