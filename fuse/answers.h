/*
 * Attributes of open files that the kernel was given lately.  Its thread that
 * asked applies them when it next runs, and may be held up in the middle of
 * that by a page that is being read: on a busy machine much later.  That it
 * has done so is known when it asks for something else, or is gone.  A plain
 * data structure, loop thread only.
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
		pid_t pid;
		uint64_t ms;
	} list[SFS_MAX_ANSWERS];
	unsigned int next;
};

void sfs_answers_add(struct sfs_answers *a, const struct sfs_inode *i,
		     pid_t pid, uint64_t now_ms);
/* The thread asks for something. */
void sfs_answers_asks(struct sfs_answers *a, pid_t pid);
/* Whether one that was given until until_ms may not have been applied. */
bool sfs_answers_wait(struct sfs_answers *a, const struct sfs_inode *i,
		      uint64_t until_ms, uint64_t now_ms);

#endif
