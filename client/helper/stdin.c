/* STDIN: see stdin.h. */
#include "client/helper/stdin.h"

#include <errno.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#include "client/helper/helper.h"
#include "client/helper/request.h"
#include "client/helper/run.h"

/* A request, answered when the byte before "end" is in the pipe. */
struct ask {
	struct ask *next;
	uint32_t id;
	uint64_t end;
};

static void on_writable(void *arg, short revents);

void stdin_init(struct job *j)
{
	j->stdin = (struct loop_fd){.fd = -1, .fn = on_writable, .arg = j};
	j->asks_end = &j->asks;
	/* and the character that ends a terminal's */
	sbx_buf_init(&j->input, STDIN_MAX + 1);
}

int stdin_open(struct job *j, int fd)
{
	if (fd < 0)
		return 0;
	/* poll says when nobody can read it any more, too */
	return loop_add(&j->h->loop, &j->stdin, fd, 0);
}

static void answer(struct job *j, int err)
{
	struct ask *a = j->asks;

	j->asks = a->next;
	if (!j->asks)
		j->asks_end = &j->asks;
	j->ask_count--;
	request_waits(j->h, a->id, false);
	if (err < 0) {
		reply_error(j->h, a->id, err);
	} else {
		reply_begin(j->h, a->id, 0);
		reply_end(j->h, a->id);
	}
	free(a);
}

void stdin_close(struct job *j, int err)
{
	loop_del(&j->h->loop, &j->stdin);
	if (j->stdin.fd >= 0)
		close(j->stdin.fd);
	j->stdin.fd = -1;
	sbx_buf_clear(&j->input);
	while (j->asks)
		answer(j, err);
}

static void stdin_flush(struct job *j)
{
	ssize_t n;

	while (sbx_buf_len(&j->input)) {
		n = write(j->stdin.fd, sbx_buf_at(&j->input),
			  sbx_buf_len(&j->input));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN) {
			stdin_close(j, -EPIPE);
			return;
		}
		if (n < 0)
			break;
		sbx_buf_consume(&j->input, (size_t)n);
		j->input_written += (uint64_t)n;
	}
	while (j->asks && j->asks->end <= j->input_written)
		answer(j, 0);
	if (j->input_ended && !sbx_buf_len(&j->input))
		stdin_close(j, 0);
	else
		loop_set(&j->h->loop, &j->stdin,
			 sbx_buf_len(&j->input) ? POLLOUT : 0);
}

static void on_writable(void *arg, short revents)
{
	struct job *j = arg;

	if (revents & (POLLERR | POLLNVAL))
		stdin_close(j, -EPIPE);
	else if (sbx_buf_len(&j->input))
		stdin_flush(j);
	else /* a terminal that was hung up: its end is told by its output */
		loop_set(&j->h->loop, &j->stdin, -1);
}

/* A terminal's input ends by a character, and goes on after it. */
static int stdin_end(struct job *j)
{
	struct termios t;
	uint8_t c = 4;

	if (!j->tty) {
		j->input_ended = true;
		return 0;
	}
	if (tcgetattr(j->stdin.fd, &t) == 0)
		c = t.c_cc[VEOF];
	j->input_added++;
	return sbx_buf_add(&j->input, &c, 1);
}

static int stdin_add(struct job *j, const uint8_t *data, size_t len)
{
	if (j->stdin.fd < 0 || j->input_ended)
		return -EPIPE;
	if (sbx_buf_len(&j->input) + len > STDIN_MAX ||
	    j->ask_count >= ASKS_MAX)
		return -EAGAIN;
	if (!len)
		return stdin_end(j);
	j->input_added += len;
	return sbx_buf_add(&j->input, data, len);
}

int op_stdin(struct req *q)
{
	struct job *j = map_get(&q->h->jobs, sbx_get_u32(&q->rd));
	size_t len;
	const uint8_t *data = sbx_get_bin(&q->rd, &len);
	struct ask *a;
	int r;

	if (q->rd.err)
		return -EINVAL;
	if (!j)
		return -ESRCH;
	a = malloc(sizeof(*a));
	r = a ? stdin_add(j, data, len) : -ENOMEM;
	if (r < 0) {
		free(a);
		return r;
	}
	*a = (struct ask){.id = q->id, .end = j->input_added};
	*j->asks_end = a;
	j->asks_end = &a->next;
	j->ask_count++;
	request_waits(q->h, q->id, true);
	stdin_flush(j);
	return REQ_LATER;
}
