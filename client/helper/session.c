/* One session: see session.h.  Called by main.c. */
#include "client/helper/session.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/helper/children.h"
#include "client/helper/env.h"
#include "client/helper/helper.h"
#include "client/helper/socket.h"

/* Streams that came, or are expected, over one connection. */
#define CONNS_MAX 8
/* How long who comes waits when there is no descriptor for them. */
#define AGAIN_MS 100

struct conn {
	struct daemon *daemon;
	struct loop_fd in;
	bool attached; /* its streams are in use */
};

struct daemon {
	struct helper helper;
	struct loop_fd listening;
	struct loop_timer again; /* until it is looked for others again */
	struct loop_fd removal;	 /* of the socket */
	struct conn conns[CONNS_MAX];
};

/* ---- the process that was started: hands over and waits ---- */

static int attach_and_wait(int sock)
{
	char byte;
	int r;

	r = socket_send_streams(sock, 0, 1, &(struct handover){0});
	if (r < 0)
		return 1;
	/* ends with the streams, whichever side gave them up */
	while (read(sock, &byte, 1) < 0 && errno == EINTR)
		;
	return 0;
}

/* ---- the daemon ---- */

static void conn_close(struct conn *c)
{
	if (!c->in.index)
		return;
	loop_del(&c->daemon->helper.loop, &c->in);
	close(c->in.fd);
	c->attached = false;
}

/*
 * Where the socket has been removed, as it is with the folders of a sandbox
 * that is gone, nobody can come any more.
 */
static void daemon_check(struct daemon *d)
{
	if (!d->helper.peer.attached && !socket_is_there(d->listening.fd))
		d->helper.ended = true;
}

static void on_removal(void *arg, short revents)
{
	struct daemon *d = arg;
	char events[4096];

	while (read(d->removal.fd, events, sizeof(events)) > 0)
		;
	daemon_check(d);
}

/* Without it the helper ends after a while, as one that is not heard of. */
static void watch_removal(struct daemon *d)
{
	int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);

	d->removal = (struct loop_fd){.fn = on_removal, .arg = d};
	if (fd >= 0 && (socket_watch(d->listening.fd, fd) < 0 ||
			loop_add(&d->helper.loop, &d->removal, fd, POLLIN) < 0))
		close(fd);
}

static void unwatch_removal(struct daemon *d)
{
	if (!d->removal.index)
		return;
	loop_del(&d->helper.loop, &d->removal);
	close(d->removal.fd);
}

/* The streams are given up: so may be the processes they belong to. */
static void on_detached(void *arg)
{
	struct daemon *d = arg;
	int i;

	daemon_check(d);
	for (i = 0; i < CONNS_MAX; i++)
		if (d->conns[i].attached)
			conn_close(&d->conns[i]);
}

static void on_conn(void *arg, short revents)
{
	struct conn *c = arg;
	struct helper *h = &c->daemon->helper;
	struct handover how;
	int in, out;

	if (c->attached) {
		/* it never says more: the process ended */
		peer_detach(h);
		return;
	}
	if (socket_take_streams(c->in.fd, &in, &out, &how) < 0) {
		conn_close(c);
		return;
	}
	peer_detach(h);
	if (how.batch)
		env_follow(c->in.fd);
	if (peer_attach(h, in, out, &how) < 0)
		conn_close(c);
	else
		c->attached = true;
}

static struct conn *conn_free_slot(struct daemon *d)
{
	static unsigned int next;
	int i;

	for (i = 0; i < CONNS_MAX; i++)
		if (!d->conns[i].in.index)
			return &d->conns[i];
	/* one that hands nothing over makes room */
	for (i = 0; i < CONNS_MAX; i++) {
		struct conn *c = &d->conns[next++ % CONNS_MAX];

		if (!c->attached) {
			conn_close(c);
			return c;
		}
	}
	return NULL;
}

static void on_again(void *arg)
{
	struct daemon *d = arg;

	loop_set(&d->helper.loop, &d->listening, POLLIN);
}

/* Who cannot be let in stays there, and poll would say so for ever. */
static void listen_later(struct daemon *d)
{
	loop_set(&d->helper.loop, &d->listening, -1);
	loop_timer_set(&d->helper.loop, &d->again, AGAIN_MS);
}

static void on_listening(void *arg, short revents)
{
	struct daemon *d = arg;
	struct conn *c;
	int fd;

	fd = accept4(d->listening.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0) {
		if (errno != EAGAIN)
			listen_later(d);
		return;
	}
	c = socket_peer_is_us(fd) ? conn_free_slot(d) : NULL;
	if (!c) {
		close(fd);
		return;
	}
	*c = (struct conn){.daemon = d, .in = {.fn = on_conn, .arg = c}};
	if (loop_add(&d->helper.loop, &c->in, fd, POLLIN) < 0)
		close(fd);
}

/* Nothing of the process that started it is held: its ends must be seen. */
static void leave_parent(int keep)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	setsid();
	if (null >= 0) {
		dup2(null, 0);
		dup2(null, 1);
		dup2(null, 2);
	}
	close_others(keep);
}

static struct daemon *daemon_new(const char *session, bool remove_self,
				 const struct handover *how)
{
	struct daemon *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	if (helper_init(&d->helper, session, how) < 0) {
		helper_release(&d->helper);
		free(d);
		return NULL;
	}
	d->helper.remove_self = remove_self;
	d->helper.on_detached_arg = d;
	return d;
}

static void daemon_main(const char *session, bool remove_self,
			const struct handover *how, int listening)
{
	struct daemon *d;
	int i;

	leave_parent(listening);
	d = daemon_new(session, remove_self, how);
	if (!d)
		return;
	d->helper.on_detached = on_detached;
	d->listening = (struct loop_fd){.fn = on_listening, .arg = d};
	d->again = (struct loop_timer){.fn = on_again, .arg = d};
	if (!loop_add(&d->helper.loop, &d->listening, listening, POLLIN)) {
		watch_removal(d);
		helper_run(&d->helper);
		unwatch_removal(d);
	}
	socket_remove(listening);
	loop_timer_del(&d->helper.loop, &d->again);
	loop_del(&d->helper.loop, &d->listening);
	close(listening);
	for (i = 0; i < CONNS_MAX; i++)
		conn_close(&d->conns[i]);
	helper_release(&d->helper);
	free(d);
}

/* ---- without a socket: the streams are served by this process ---- */

static void on_detached_direct(void *arg)
{
	struct daemon *d = arg;

	d->helper.ended = true;
}

static int serve_direct(const char *session, bool remove_self)
{
	int in = fcntl(0, F_DUPFD_CLOEXEC, 3);
	int out = fcntl(1, F_DUPFD_CLOEXEC, 3);
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct daemon *d;

	if (in < 0 || out < 0 || null < 0)
		return 1;
	dup2(null, 0);
	dup2(null, 1);
	d = daemon_new(session, remove_self, &(struct handover){0});
	if (!d)
		return 1;
	if (peer_attach(&d->helper, in, out, &(struct handover){0}) == 0) {
		d->helper.on_detached = on_detached_direct;
		helper_run(&d->helper);
	}
	d->helper.on_detached = NULL;
	helper_release(&d->helper);
	free(d);
	return 0;
}

/* ---- which of them ---- */

int session_join(const char *session, bool remove_self,
		 const struct handover *how)
{
	int listening = -1, sock;
	pid_t pid;

	sock = socket_join(session, &listening);
	if (sock < 0 || listening < 0)
		return sock;
	pid = fork();
	if (pid == 0) {
		close(sock);
		daemon_main(session, remove_self, how, listening);
		_exit(0);
	}
	if (pid < 0)
		socket_remove(listening);
	close(listening);
	if (pid > 0)
		return sock;
	close(sock);
	return -EAGAIN;
}

int session_run(const char *session, bool remove_self)
{
	int sock = session_join(session, remove_self, &(struct handover){0});

	if (sock < 0)
		return serve_direct(session, remove_self);
	return attach_and_wait(sock);
}
