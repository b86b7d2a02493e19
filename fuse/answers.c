/*
 * Answers that may not have been taken up: see answers.h.
 */
#include "fuse/answers.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A free place, or that of the oldest. */
static unsigned int place_for_one(const struct sfs_answers *a)
{
	unsigned int k, best = 0;

	for (k = 0; k < SFS_MAX_ANSWERS; k++) {
		if (!a->list[k].inode)
			return k;
		if (a->list[k].number < a->list[best].number)
			best = k;
	}
	return best;
}

void sfs_answers_add(struct sfs_answers *a, const struct sfs_inode *i,
		     pid_t pid, uint64_t now_ms)
{
	unsigned int k = place_for_one(a);

	a->list[k].inode = i;
	a->list[k].number = a->number++;
	a->list[k].ms = now_ms;
	a->list[k].ran_ns = 0;
	a->list[k].pid = pid;
	a->list[k].awaited = false;
}

bool sfs_answers_asks(struct sfs_answers *a, pid_t pid)
{
	bool awaited = false;
	unsigned int k;

	for (k = 0; pid > 0 && k < SFS_MAX_ANSWERS; k++) {
		if (a->list[k].pid != pid || !a->list[k].inode)
			continue;
		a->list[k].inode = NULL;
		awaited |= a->list[k].awaited;
	}
	return awaited;
}

/* ---- what a thread does ---- */

static bool read_of(pid_t pid, const char *what, char *text, size_t size)
{
	char path[40];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%ld/%s", (long)pid, what);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, text, size - 1);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	return n > 0;
}

/* 0: it cannot be seen */
static char state_of(pid_t pid)
{
	char text[512], *end;

	if (!read_of(pid, "stat", text, sizeof(text)))
		return 0;
	/* behind its name, which may be anything */
	end = strrchr(text, ')');
	return end && end[1] ? end[2] : 0;
}

/* For how long it has been on a processor, and 1; 0: it cannot be seen. */
static uint64_t ran_of(pid_t pid)
{
	char text[128];

	return read_of(pid, "schedstat", text, sizeof(text))
		       ? strtoull(text, NULL, 10) + 1
		       : 0;
}

static bool is_gone(pid_t pid)
{
	return kill(pid, 0) < 0 && errno == ESRCH;
}

/*
 * Whether that one's thread may be in the middle of it: then it waits for a
 * processor, or (not to be interrupted) for a page.  But it may as well have
 * gone on, and will not ask: then it uses up more time than that takes.
 */
static bool is_at_it(struct sfs_answers *a, unsigned int k, bool being_read,
		     uint64_t now_ms)
{
	uint64_t age = now_ms - a->list[k].ms, ran = 0;
	pid_t pid = a->list[k].pid;
	char state = pid > 0 ? state_of(pid) : 0;

	if (pid > 0 && (state ? !strchr("RD", state) : is_gone(pid)))
		return false;
	if (state)
		ran = ran_of(pid);
	if (!ran)
		return being_read && age < SFS_UNSEEN_MS;
	if (!a->list[k].ran_ns)
		a->list[k].ran_ns = ran;
	return ran - a->list[k].ran_ns < SFS_ANSWER_RUN_NS &&
	       age < SFS_ANSWER_MS;
}

bool sfs_answers_wait(struct sfs_answers *a, const struct sfs_inode *i,
		      uint64_t number, bool being_read, uint64_t now_ms)
{
	unsigned int k;
	bool wait = false;

	for (k = 0; k < SFS_MAX_ANSWERS; k++) {
		if (a->list[k].inode != i || a->list[k].number >= number)
			continue;
		if (is_at_it(a, k, being_read, now_ms))
			a->list[k].awaited = wait = true;
		else
			a->list[k].inode = NULL;
	}
	return wait;
}
