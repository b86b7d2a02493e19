/*
 * System calls that may take long, made in a child: it shares the open file
 * description, on which fsync and locks act.
 */
#ifndef HELPER_CHILDREN_H
#define HELPER_CHILDREN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define CHILDREN_MAX 128

struct handle;
struct helper;

/* Whose lock is waited for. */
struct waiter {
	uint64_t owner;
	bool flock;
};

struct child {
	struct child *next;
	pid_t pid;
	uint32_t id;	   /* the request's */
	struct handle *hd; /* in use until it ends, or NULL */
	uint64_t dir;
	struct waiter waiter;
	bool waits; /* for a lock: may be given up */
	/* puts the results of a success; a negative errno */
	int (*done)(struct helper *h, const struct child *c);
};

/* 0, or a negative errno: nothing was started.  fn returns 0 or an errno. */
int children_start(struct helper *h, const struct child *c, int fd,
		   int (*fn)(int fd, const void *arg), const void *arg);
/* Gives up waiting for locks on a handle: all (NULL), or one owner's; they
 * are answered EINTR. */
void children_cancel(struct helper *h, struct handle *hd,
		     const struct waiter *w);
/* Takes SIGCHLD, for jobs, too, and signals to end. */
int children_init(struct helper *h);
void children_release(struct helper *h);
/* Closes all but the standard descriptors and this one. */
void close_others(int keep);

#endif
