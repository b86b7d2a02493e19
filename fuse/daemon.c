/*
 * Background: see daemon.h.
 */
#include "fuse/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* Ends with the child's word: one byte is "ready", nothing is "not". */
static void parent_wait(int fd, pid_t child)
{
	char word = 0;
	ssize_t n;
	int status;

	do
		n = read(fd, &word, 1);
	while (n < 0 && errno == EINTR);
	if (n == 1)
		_exit(0);
	/* it has said why; let it finish so that nothing is left behind */
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	_exit(1);
}

int sfs_daemon_fork(struct sfs_daemon *d)
{
	int fds[2];
	pid_t child;

	d->ready_fd = -1;
	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	child = fork();
	if (child < 0) {
		close(fds[0]);
		close(fds[1]);
		return -errno;
	}
	if (child > 0) {
		close(fds[1]);
		parent_wait(fds[0], child);
	}
	close(fds[0]);
	d->ready_fd = fds[1];
	return 0;
}

void sfs_daemon_ready(struct sfs_daemon *d)
{
	int null;
	ssize_t n;

	if (d->ready_fd < 0)
		return;
	/* only now: until here Ctrl-C at the terminal must reach us */
	setsid();
	if (chdir("/") < 0)
		_exit(1); /* there is always a / */
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
		if (null > STDERR_FILENO)
			close(null);
	}
	do
		n = write(d->ready_fd, "r", 1);
	while (n < 0 && errno == EINTR);
	close(d->ready_fd);
	d->ready_fd = -1;
}
