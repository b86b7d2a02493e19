/*
 * Going to the background with a truthful exit status: the parent waits for
 * the child's word.  Fork comes first, before any thread, loop or connection
 * exists; until it is ready the child keeps the terminal, so that it says
 * itself what is wrong.  Used by main.
 */
#ifndef SFS_DAEMON_H
#define SFS_DAEMON_H

struct sfs_daemon {
	int ready_fd; /* -1: in the foreground */
};

/*
 * Forks.  Returns only in the child; the parent exits 0 once the child is
 * ready, 1 if it ends before.  -errno if it cannot fork.
 */
int sfs_daemon_fork(struct sfs_daemon *d);
/* In the child: leaves the terminal and the folder and lets the parent go. */
void sfs_daemon_ready(struct sfs_daemon *d);

#endif
