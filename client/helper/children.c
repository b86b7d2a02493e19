/* System calls made in children: see children.h. */
#include "client/helper/children.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/helper/handles.h"
#include "client/helper/helper.h"
#include "client/helper/request.h"
#include "client/helper/run.h"

#ifndef SYS_close_range
#define SYS_close_range 436
#endif

/* Where close_range is missing, so many are looked at. */
#define CLOSE_EACH 65536u

static void close_span(unsigned int from, unsigned int to)
{
	unsigned int fd;

	if (from > to || syscall(SYS_close_range, from, to, 0) == 0)
		return;
	for (fd = from; fd <= to && fd < CLOSE_EACH; fd++)
		close((int)fd);
}

void close_others(int keep)
{
	if (keep <= 2) {
		close_span(3, ~0u);
		return;
	}
	close_span(3, (unsigned int)keep - 1);
	close_span((unsigned int)keep + 1, ~0u);
}

int children_start(struct helper *h, const struct child *template, int fd,
		   int (*fn)(int fd, const void *arg), const void *arg)
{
	struct child *c;
	pid_t parent = getpid();

	if (h->child_count >= CHILDREN_MAX)
		return -EAGAIN;
	c = malloc(sizeof(*c));
	if (!c)
		return -ENOMEM;
	*c = *template;
	c->pid = fork();
	if (c->pid < 0) {
		free(c);
		return -EAGAIN;
	}
	if (!c->pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(EIO);
		/* nobody's end of input may wait for this process */
		close_others(fd);
		_exit(fn(fd, arg));
	}
	c->next = h->children;
	h->children = c;
	h->child_count++;
	if (c->hd)
		handle_use(c->hd);
	return 0;
}

static void child_finish(struct helper *h, struct child *c, int status)
{
	int r = WIFEXITED(status) ? -WEXITSTATUS(status) : -EINTR;

	watch_sync(h);
	if (c->waits)
		request_waits(h, c->id, false);
	reply_begin(h, c->id, 0);
	if (!r)
		r = c->done(h, c);
	if (r < 0)
		reply_error(h, c->id, r);
	else
		reply_end(h, c->id);
	if (c->hd)
		handle_unuse(h, c->hd);
	free(c);
	h->child_count--;
}

static bool child_reaped(struct helper *h, pid_t pid, int status)
{
	struct child **at = &h->children, *c;

	while ((c = *at) && c->pid != pid)
		at = &c->next;
	if (!c)
		return false;
	*at = c->next;
	child_finish(h, c, status);
	return true;
}

static bool is_waiter(const struct child *c, const struct handle *hd,
		      const struct waiter *w)
{
	return c->waits && c->hd == hd &&
	       (!w ||
		(c->waiter.owner == w->owner && c->waiter.flock == w->flock));
}

void children_cancel(struct helper *h, struct handle *hd,
		     const struct waiter *w)
{
	struct child **at = &h->children, *c;
	int status;

	while ((c = *at)) {
		if (!is_waiter(c, hd, w)) {
			at = &c->next;
			continue;
		}
		/* it must not take the lock after this */
		kill(c->pid, SIGKILL);
		while (waitpid(c->pid, &status, 0) < 0 && errno == EINTR)
			;
		*at = c->next;
		request_waits(h, c->id, false);
		reply_error(h, c->id, -EINTR);
		handle_unuse(h, c->hd);
		free(c);
		h->child_count--;
	}
}

static void on_sigchld(void *arg, short revents)
{
	struct helper *h = arg;
	struct signalfd_siginfo info;
	int status;
	pid_t pid;

	while (read(h->sigchld.fd, &info, sizeof(info)) > 0)
		if (info.ssi_signo != SIGCHLD)
			h->ended = true;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		if (!child_reaped(h, pid, status))
			run_reaped(h, pid, status);
}

int children_init(struct helper *h)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	/* asked to end: in order */
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return -errno;
	fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	h->sigchld = (struct loop_fd){.fn = on_sigchld, .arg = h};
	return loop_add(&h->loop, &h->sigchld, fd, POLLIN);
}

void children_release(struct helper *h)
{
	struct child *c;

	while ((c = h->children)) {
		h->children = c->next;
		kill(c->pid, SIGKILL);
		if (c->hd)
			handle_unuse(h, c->hd);
		free(c);
	}
	if (h->sigchld.index) {
		loop_del(&h->loop, &h->sigchld);
		close(h->sigchld.fd);
	}
}
