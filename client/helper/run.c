/*
 * Jobs: EXEC, SIGNAL, RESIZE, CREDIT, what they print and how they end.
 * STDIN is in stdin.c.
 */
#include "client/helper/run.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/helper/helper.h"
#include "client/helper/ports.h"
#include "client/helper/request.h"
#include "client/helper/spawn.h"
#include "client/helper/stdin.h"
#include "client/wire/proto.h"

#define OUTPUT_PIECE (64 * 1024)
/* After the process so long for streams that others hold open. */
#define EXIT_MS 200
/* a shell's patience with its jobs, once it was told that its terminal goes */
#define HANGUP_MS 1000

static struct job *get_job(struct req *q)
{
	return map_get(&q->h->jobs, sbx_get_u32(&q->rd));
}

static bool stream_is_open(const struct stream *s)
{
	return s->in.fd >= 0;
}

static bool job_is_open(const struct job *j)
{
	return stream_is_open(&j->out[0]) || stream_is_open(&j->out[1]);
}

static void job_free(struct job *j)
{
	struct helper *h = j->h;
	int i;

	for (i = 0; i < 2; i++) {
		loop_del(&h->loop, &j->out[i].in);
		if (stream_is_open(&j->out[i]))
			close(j->out[i].in.fd);
	}
	stdin_close(j, -EPIPE);
	sbx_buf_release(&j->input);
	loop_timer_del(&h->loop, &j->timer);
	map_del(&h->jobs, j->number);
	h->job_count--;
	free(j);
}

/* 0 or a negative errno */
static int job_kill(const struct job *j, int signo)
{
	if (!j->pid)
		return -ESRCH;
	return kill(-j->pid, signo) < 0 ? -errno : 0;
}

/* ---- how it ends ---- */

static size_t stream_waiting(const struct stream *s)
{
	int n = 0;

	if (!stream_is_open(s) || ioctl(s->in.fd, FIONREAD, &n) < 0 || n < 0)
		return 0;
	return (size_t)n;
}

/* Of what the process itself printed: others may go on for ever. */
static size_t stream_owes(const struct stream *s)
{
	size_t waiting = s->owed ? stream_waiting(s) : 0;

	return waiting < s->owed ? waiting : s->owed;
}

static void job_send_exit(struct job *j)
{
	struct helper *h = j->h;
	int sig = WIFSIGNALED(j->status) ? WTERMSIG(j->status) : 0;
	struct sbx_buf *b = &h->event;
	int i;

	/* all it did was announced before its end */
	watch_sync(h);
	sbx_buf_clear(b);
	sbx_put_array(b, 7);
	sbx_put_u64(b, SBX_MSG_EXIT);
	sbx_put_u64(b, j->number);
	sbx_put_u64(b, (uint64_t)(sig ? 128 + sig : WEXITSTATUS(j->status)));
	sbx_put_u64(b, (uint64_t)sig);
	sbx_put_i64(b, j->duration_ms);
	for (i = 0; i < 2; i++)
		sbx_put_u64(b, j->out[i].sent + stream_owes(&j->out[i]));
	peer_send(h, b);
	j->exit_sent = true;
}

/* May free it. */
static void job_check(struct job *j)
{
	if (!j->exited || job_is_open(j))
		return;
	if (!j->exit_sent)
		job_send_exit(j);
	job_free(j);
}

static void stream_end(struct stream *s);

/* With our last descriptor of it the kernel tells all others.  May free it. */
static void terminal_close(struct job *j)
{
	j->hung_up = false;
	stdin_close(j, -EPIPE);
	if (stream_is_open(&j->out[0]))
		stream_end(&j->out[0]);
}

static void on_exit_timer(void *arg)
{
	struct job *j = arg;

	if (j->hung_up) {
		terminal_close(j);
		return;
	}
	/* what it printed is still on its way */
	if ((j->out[0].credit && stream_owes(&j->out[0])) ||
	    (j->out[1].credit && stream_owes(&j->out[1])))
		loop_timer_set(&j->h->loop, &j->timer, EXIT_MS);
	else if (!j->exit_sent)
		job_send_exit(j);
}

void run_reaped(struct helper *h, pid_t pid, int status)
{
	struct job *j = NULL;
	size_t i;

	for (i = 0; i < h->jobs.size; i++) {
		j = h->jobs.slots[i].value;
		if (j && j->pid == pid && !j->exited)
			break;
		j = NULL;
	}
	if (!j)
		return;
	j->exited = true;
	j->status = status;
	for (i = 0; i < 2; i++)
		j->out[i].owed = stream_waiting(&j->out[i]);
	/* its number may become another's */
	if (kill(-pid, 0) < 0 && errno == ESRCH)
		j->pid = 0;
	j->duration_ms = loop_clock_ms() - j->started_ms;
	if (j->hung_up) {
		terminal_close(j);
		return;
	}
	if (job_is_open(j))
		loop_timer_set(&h->loop, &j->timer, EXIT_MS);
	job_check(j);
}

/* ---- what it prints ---- */

static void send_output(struct stream *s, uint32_t number, const uint8_t *data,
			size_t len, bool eof)
{
	struct helper *h = s->job->h;
	struct sbx_buf *b = &h->event;

	/* read first, then looked: what it did before is announced before */
	watch_sync(h);
	ports_hurry(h);
	sbx_buf_clear(b);
	sbx_put_array(b, 5);
	sbx_put_u64(b, SBX_MSG_OUTPUT);
	sbx_put_u64(b, s->job->number);
	sbx_put_u64(b, number);
	sbx_put_bin(b, data, len);
	sbx_put_bool(b, eof);
	peer_send(h, b);
}

static void stream_end(struct stream *s)
{
	struct job *j = s->job;

	loop_del(&j->h->loop, &s->in);
	close(s->in.fd);
	s->in.fd = -1;
	send_output(s, s->number, NULL, 0, true);
	/* everything was stdout: nothing else comes */
	if (j->merged)
		send_output(s, 2, NULL, 0, true);
	job_check(j);
}

/* Without credit only the end is looked for; and if data is before that,
 * poll would say so for ever. */
static void stream_poll(struct stream *s)
{
	struct helper *h = s->job->h;

	if (!stream_is_open(s))
		return;
	if (peer_is_busy(h))
		loop_set(&h->loop, &s->in, -1);
	else if (s->credit)
		loop_set(&h->loop, &s->in, POLLIN);
	else
		loop_set(&h->loop, &s->in, stream_waiting(s) ? -1 : 0);
}

static void stream_read(struct stream *s)
{
	static uint8_t piece[OUTPUT_PIECE];
	size_t want =
		s->credit < OUTPUT_PIECE ? (size_t)s->credit : OUTPUT_PIECE;
	ssize_t n = read(s->in.fd, piece, want);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		/* EIO is how a terminal ends */
		stream_end(s);
		return;
	}
	s->credit -= (uint64_t)n;
	s->sent += (uint64_t)n;
	s->owed -= (size_t)n < s->owed ? (size_t)n : s->owed;
	send_output(s, s->number, piece, (size_t)n, false);
	stream_poll(s);
}

/* Of what waits in both streams nobody can tell which was first: output comes
 * before complaints. */
static void stream_give_way(struct stream *s)
{
	struct stream *first = &s->job->out[0];

	if (s != first && first->credit && stream_waiting(first))
		stream_read(first);
}

static void on_stream(void *arg, short revents)
{
	struct stream *s = arg;

	if (peer_is_busy(s->job->h)) {
		stream_poll(s);
	} else if (s->credit) {
		stream_give_way(s);
		stream_read(s);
	} else if (stream_waiting(s)) {
		stream_poll(s);
	} else if (revents & (POLLHUP | POLLERR)) {
		stream_end(s);
	}
}

void run_resume(struct helper *h)
{
	size_t i;

	if (!h->job_count || peer_is_busy(h))
		return;
	for (i = 0; i < h->jobs.size; i++) {
		struct job *j = h->jobs.slots[i].value;

		if (!j)
			continue;
		stream_poll(&j->out[0]);
		stream_poll(&j->out[1]);
	}
}

/* ---- starting ---- */

static int job_listen(struct job *j, int i, int *fd)
{
	struct stream *s = &j->out[i];
	int r;

	if (*fd < 0)
		return 0;
	r = loop_add(&j->h->loop, &s->in, *fd, 0);
	if (r < 0)
		return r;
	*fd = -1;
	stream_poll(s);
	return 0;
}

static struct job *job_new(struct helper *h, uint32_t number, uint64_t credit)
{
	struct job *j = calloc(1, sizeof(*j));
	int i;

	if (!j)
		return NULL;
	j->h = h;
	j->number = number;
	j->started_ms = loop_clock_ms();
	j->timer = (struct loop_timer){.fn = on_exit_timer, .arg = j};
	for (i = 0; i < 2; i++)
		j->out[i] = (struct stream){
			.job = j,
			.number = (uint32_t)i + 1,
			.credit = credit,
			.in = {.fd = -1, .fn = on_stream, .arg = &j->out[i]}};
	stdin_init(j);
	if (map_put(&h->jobs, number, j) < 0) {
		free(j);
		return NULL;
	}
	h->job_count++;
	return j;
}

static int job_start(struct job *j, struct spawn *s)
{
	int r;

	r = spawn_run(j->h, s);
	if (r < 0)
		return r;
	j->pid = s->pid;
	j->tty = s->flags & SBX_EXEC_TTY;
	j->merged = s->err < 0;
	r = stdin_open(j, s->in);
	if (!r) {
		s->in = -1;
		r = job_listen(j, 0, &s->out);
	}
	if (!r)
		r = job_listen(j, 1, &s->err);
	if (r < 0)
		job_kill(j, SIGKILL);
	return r;
}

int op_exec(struct req *q)
{
	uint32_t number = sbx_get_u32(&q->rd);
	struct helper *h = q->h;
	struct spawn s;
	uint32_t credit;
	struct job *j;
	int r;

	r = spawn_get(&s, &q->rd);
	credit = sbx_get_u32(&q->rd);
	if (!r && (q->rd.err || !number))
		r = -EINVAL;
	else if (!r && map_get(&h->jobs, number))
		r = -EEXIST;
	else if (!r && h->job_count >= SBX_JOBS_MAX)
		r = -EAGAIN;
	if (r < 0)
		goto out;
	ports_hurry(h);
	j = job_new(h, number, credit);
	r = j ? job_start(j, &s) : -ENOMEM;
	if (r < 0 && j)
		job_free(j);
	if (!r)
		sbx_put_u64(q->out, (uint64_t)s.pid);
out:
	spawn_release(&s);
	return r;
}

void run_release(struct helper *h, int signo)
{
	size_t i;

	for (i = 0; i < h->jobs.size;) {
		struct job *j = h->jobs.slots[i].value;

		if (!j) {
			i++;
			continue;
		}
		job_kill(j, signo);
		job_kill(j, SIGCONT);
		job_free(j);
	}
	map_release(&h->jobs);
}

/* ---- other requests ---- */

int op_signal(struct req *q)
{
	struct job *j = get_job(q);
	uint32_t signo = sbx_get_u32(&q->rd);

	if (q->rd.err || signo >= NSIG)
		return -EINVAL;
	if (!j)
		return -ESRCH;
	return job_kill(j, (int)signo);
}

int op_resize(struct req *q)
{
	struct job *j = get_job(q);
	uint32_t cols = sbx_get_u32(&q->rd), rows = sbx_get_u32(&q->rd);
	struct winsize size = {.ws_col = (unsigned short)cols,
			       .ws_row = (unsigned short)rows};

	if (q->rd.err || cols > UINT16_MAX || rows > UINT16_MAX)
		return -EINVAL;
	if (!j)
		return -ESRCH;
	if (!j->tty || !stream_is_open(&j->out[0]))
		return -ENOTTY;
	return ioctl(j->out[0].in.fd, TIOCSWINSZ, &size) < 0 ? -errno : 0;
}

int op_hangup(struct req *q)
{
	struct job *j = get_job(q);

	if (q->rd.err)
		return -EINVAL;
	if (!j)
		return -ESRCH;
	job_kill(j, SIGHUP);
	job_kill(j, SIGCONT);
	if (!j->tty || j->hung_up)
		return 0;
	/* a shell passes it on to its jobs, unless it is told before that its
	 * terminal is gone and just ends */
	j->hung_up = true;
	if (j->exited)
		terminal_close(j);
	else
		loop_timer_set(&j->h->loop, &j->timer, HANGUP_MS);
	return 0;
}

static void stream_credit(struct stream *s, uint32_t bytes)
{
	s->credit += bytes;
	stream_poll(s);
}

int op_credit(struct req *q)
{
	struct job *j = get_job(q);
	uint32_t bytes = sbx_get_u32(&q->rd);

	if (q->rd.err)
		return -EINVAL;
	if (!j)
		return -ESRCH;
	stream_credit(&j->out[0], bytes);
	stream_credit(&j->out[1], bytes);
	return 0;
}

int op_credit_one(struct req *q)
{
	struct job *j = get_job(q);
	uint32_t number = sbx_get_u32(&q->rd), bytes = sbx_get_u32(&q->rd);

	if (q->rd.err || number < 1 || number > 2)
		return -EINVAL;
	if (!j)
		return -ESRCH;
	stream_credit(&j->out[number - 1], bytes);
	return 0;
}

int op_close_output(struct req *q)
{
	struct job *j = get_job(q);
	uint32_t number = sbx_get_u32(&q->rd);

	if (q->rd.err || number < 1 || number > 2)
		return -EINVAL;
	if (!j)
		return -ESRCH;
	if (stream_is_open(&j->out[number - 1]))
		stream_end(&j->out[number - 1]);
	return 0;
}
