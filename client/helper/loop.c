/* The helper's one loop: see loop.h. */
#include "client/helper/loop.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void loop_release(struct loop *l)
{
	free(l->polls);
	free(l->fds);
	*l = (struct loop){0};
}

int64_t loop_clock_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int loop_grow(struct loop *l)
{
	size_t cap = l->cap ? l->cap * 2 : 16;
	struct pollfd *polls = realloc(l->polls, cap * sizeof(*polls));
	struct loop_fd **fds;

	if (!polls)
		return -ENOMEM;
	l->polls = polls;
	fds = realloc(l->fds, cap * sizeof(struct loop_fd *));
	if (!fds)
		return -ENOMEM;
	l->fds = fds;
	l->cap = cap;
	return 0;
}

int loop_add(struct loop *l, struct loop_fd *f, int fd, short events)
{
	if (l->n == l->cap && loop_grow(l) < 0)
		return -ENOMEM;
	f->fd = fd;
	f->index = l->n + 1;
	l->polls[l->n] = (struct pollfd){.fd = fd, .events = events};
	l->fds[l->n++] = f;
	return 0;
}

void loop_set(struct loop *l, struct loop_fd *f, int events)
{
	struct pollfd *p;

	if (!f->index)
		return;
	p = &l->polls[f->index - 1];
	/* poll passes over negative descriptors */
	p->fd = events < 0 ? -1 : f->fd;
	p->events = (short)(events < 0 ? 0 : events);
}

void loop_del(struct loop *l, struct loop_fd *f)
{
	size_t i = f->index - 1;

	if (!f->index)
		return;
	l->n--;
	l->polls[i] = l->polls[l->n];
	l->fds[i] = l->fds[l->n];
	l->fds[i]->index = i + 1;
	f->index = 0;
}

void loop_timer_set(struct loop *l, struct loop_timer *t, int64_t in_ms)
{
	t->at_ms = loop_clock_ms() + in_ms;
	if (t->listed)
		return;
	t->listed = true;
	t->next = l->timers;
	l->timers = t;
}

void loop_timer_stop(struct loop_timer *t)
{
	t->at_ms = 0;
}

void loop_timer_del(struct loop *l, struct loop_timer *t)
{
	struct loop_timer **at = &l->timers;

	t->at_ms = 0;
	if (!t->listed)
		return;
	while (*at != t)
		at = &(*at)->next;
	*at = t->next;
	t->listed = false;
}

static int loop_timeout(const struct loop *l)
{
	const struct loop_timer *t;
	int64_t first = INT64_MAX, left;

	for (t = l->timers; t; t = t->next)
		if (t->at_ms && t->at_ms < first)
			first = t->at_ms;
	if (first == INT64_MAX)
		return -1;
	left = first - loop_clock_ms();
	if (left <= 0)
		return 0;
	return left > INT_MAX ? INT_MAX : (int)left;
}

/* A timer's function may remove any timer: so look from the start again. */
static void loop_run_timers(struct loop *l)
{
	int64_t now = loop_clock_ms();
	struct loop_timer *t = l->timers;

	l->now_ms = now;
	while (t) {
		if (!t->at_ms || t->at_ms > now) {
			t = t->next;
			continue;
		}
		t->at_ms = 0;
		t->fn(t->arg);
		t = l->timers;
	}
}

void loop_turn(struct loop *l, bool busy)
{
	size_t i;
	int n;

	n = poll(l->polls, l->n, busy ? 0 : loop_timeout(l));
	/*
	 * From the end: removing one moves the last into its place, and that
	 * has been looked at.
	 */
	for (i = l->n; n > 0 && i-- > 0;) {
		short revents;

		if (i >= l->n)
			continue;
		revents = l->polls[i].revents;
		l->polls[i].revents = 0;
		if (revents)
			l->fds[i]->fn(l->fds[i]->arg, revents);
	}
	loop_run_timers(l);
}
