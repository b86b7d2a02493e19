/*
 * The helper's one loop: descriptors waited for with poll(2), which takes
 * every kind of them, and a few timers.
 */
#ifndef HELPER_LOOP_H
#define HELPER_LOOP_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loop_fd {
	int fd;
	void (*fn)(void *arg, short revents);
	void *arg;
	size_t index; /* of the table, plus one; 0: not in it */
};

struct loop_timer {
	int64_t at_ms; /* on the monotonic clock; 0: not running */
	void (*fn)(void *arg);
	void *arg;
	struct loop_timer *next;
	bool listed;
};

struct loop {
	struct pollfd *polls;
	struct loop_fd **fds;
	size_t n, cap;
	struct loop_timer *timers;
	int64_t now_ms; /* as of the last return of poll */
};

void loop_release(struct loop *l);
int64_t loop_clock_ms(void);
/* events may be 0: then only errors and hang-ups are told */
int loop_add(struct loop *l, struct loop_fd *f, int fd, short events);
/* events < 0: not even these */
void loop_set(struct loop *l, struct loop_fd *f, int events);
void loop_del(struct loop *l, struct loop_fd *f); /* idempotent */
void loop_timer_set(struct loop *l, struct loop_timer *t, int64_t in_ms);
void loop_timer_stop(struct loop_timer *t);
void loop_timer_del(struct loop *l, struct loop_timer *t);
/* Waits (not at all if busy) and calls what is ready. */
void loop_turn(struct loop *l, bool busy);

#endif
