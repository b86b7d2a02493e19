/* One batch: see batch_call.h.  Called by main.c. */
#include "client/helper/batch_call.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/helper/session.h"
#include "client/helper/socket.h"
#include "client/wire/base64.h"
#include "client/wire/buf.h"

/* Some carriers do not like long lines; no padding is inside of one. */
#define LINE 4095

/* What went, and what came. */
struct exchange {
	int fd;
	struct sbx_buf out, in;
};

static int read_batch(struct sbx_buf *b)
{
	long n;

	for (;;) {
		uint8_t *room = sbx_buf_room(b, 65536);

		if (!room)
			return -EMSGSIZE;
		n = read(0, room, 65536);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		sbx_buf_added(b, (size_t)n);
	}
	if (n < 0)
		return -errno;
	n = sbx_base64_get(sbx_buf_at(b), (char *)sbx_buf_at(b),
			   sbx_buf_len(b));
	if (n < 0)
		return (int)n;
	sbx_buf_truncate(b, (size_t)n);
	return 0;
}

static int exchange_send(struct exchange *x)
{
	ssize_t n = send(x->fd, sbx_buf_at(&x->out), sbx_buf_len(&x->out),
			 MSG_NOSIGNAL);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	sbx_buf_consume(&x->out, (size_t)n);
	if (!sbx_buf_len(&x->out))
		shutdown(x->fd, SHUT_WR);
	return 0;
}

/* 1: that was all */
static int exchange_receive(struct exchange *x)
{
	uint8_t *room = sbx_buf_room(&x->in, 65536);
	ssize_t n;

	if (!room)
		return -EMSGSIZE;
	n = read(x->fd, room, 65536);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	sbx_buf_added(&x->in, (size_t)n);
	return n == 0;
}

/*
 * Until the daemon gives the streams up, which it does in time unless it is
 * stopped, or until nobody is there any more to read the answer.
 */
static int exchange_run(struct exchange *x, int patience_ms)
{
	struct pollfd p[2] = {{.fd = x->fd}, {.fd = 1}};
	int r = 0, n;

	while (!r) {
		p[0].events = POLLIN;
		if (sbx_buf_len(&x->out))
			p[0].events |= POLLOUT;
		n = poll(p, 2, patience_ms);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -ETIMEDOUT;
		if (p[1].revents)
			return -EPIPE;
		if (p[0].revents & POLLOUT)
			r = exchange_send(x);
		if (!r && p[0].revents & (POLLIN | POLLHUP | POLLERR))
			r = exchange_receive(x);
	}
	return r < 0 ? r : 0;
}

static int hand_over(const char *session, const struct handover *how,
		     int *ret_sock, int *ret_fd)
{
	int pair[2], r;

	*ret_sock = session_join(session, false, how);
	if (*ret_sock < 0)
		return *ret_sock;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	r = socket_send_streams(*ret_sock, pair[1], pair[1], how);
	close(pair[1]);
	if (r < 0) {
		close(pair[0]);
		return r;
	}
	fcntl(pair[0], F_SETFL, O_NONBLOCK);
	*ret_fd = pair[0];
	return 0;
}

/* Between marks, so that whatever else is printed does no harm. */
static int print_answer(const struct sbx_buf *b, const char *mark)
{
	char line[SBX_BASE64_LEN(LINE) + 1];
	size_t at, n, len = sbx_buf_len(b);

	printf("\n%s\n", mark);
	for (at = 0; at < len; at += n) {
		n = len - at < LINE ? len - at : LINE;
		sbx_base64_put(line, sbx_buf_at(b) + at, n);
		line[SBX_BASE64_LEN(n)] = '\0';
		puts(line);
	}
	printf("%s %zu\n", mark, len);
	return fflush(stdout) == 0 && !ferror(stdout) ? 0 : -EIO;
}

/* What it waits anyway, and a minute for a busy machine. */
static int patience_ms(const struct handover *how)
{
	uint32_t ms = how->wait_ms > how->park_ms ? how->wait_ms : how->park_ms;

	return ms < INT_MAX - 60000 ? (int)ms + 60000 : INT_MAX;
}

int batch_call(const char *session, const struct handover *how,
	       const char *mark)
{
	struct exchange x = {.fd = -1};
	int sock = -1, r;

	sbx_buf_init(&x.out, BATCH_INPUT);
	sbx_buf_init(&x.in, (size_t)how->max_bytes + 65536);
	r = read_batch(&x.out);
	if (!r) {
		r = hand_over(session, how, &sock, &x.fd);
		if (r < 0) {
			fprintf(stderr, "%s\n", strerror(-r));
			return BATCH_NO_DAEMON;
		}
	}
	if (!r)
		r = exchange_run(&x, patience_ms(how));
	if (!r)
		r = print_answer(&x.in, mark);
	sbx_buf_release(&x.out);
	sbx_buf_release(&x.in);
	return r ? 1 : 0;
}
