/*
 * Answers that may not have been taken up: see answers.h.
 */
#include "fuse/answers.h"

#include <errno.h>
#include <signal.h>

void sfs_answers_add(struct sfs_answers *a, const struct sfs_inode *i,
		     pid_t pid, uint64_t now_ms)
{
	unsigned int k = a->next++ % SFS_MAX_ANSWERS;

	a->list[k].inode = i;
	a->list[k].pid = pid;
	a->list[k].ms = now_ms;
}

void sfs_answers_asks(struct sfs_answers *a, pid_t pid)
{
	unsigned int k;

	for (k = 0; k < SFS_MAX_ANSWERS; k++)
		if (a->list[k].pid == pid)
			a->list[k].inode = NULL;
}

static bool is_gone(pid_t pid)
{
	return pid > 0 && kill(pid, 0) < 0 && errno == ESRCH;
}

bool sfs_answers_wait(struct sfs_answers *a, const struct sfs_inode *i,
		      uint64_t until_ms, uint64_t now_ms)
{
	unsigned int k;

	for (k = 0; k < SFS_MAX_ANSWERS; k++) {
		if (a->list[k].inode != i || a->list[k].ms > until_ms)
			continue;
		if (now_ms - a->list[k].ms < SFS_ANSWER_MS &&
		    !is_gone(a->list[k].pid))
			return true;
		a->list[k].inode = NULL;
	}
	return false;
}
