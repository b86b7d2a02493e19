/*
 * Runs: pipes to a command, its stdin queue, its end.  A run ends when the
 * command has ended and nobody holds its stdout and stderr open any more.
 * Loop thread only.
 */
#include "tests/agent/run.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/agent/pod.h"

/* Bigger than the usual 64 KiB: fewer turns of the loop per megabyte. */
#define RUN_PIPE_SIZE (256 * 1024)
#define RUN_IOV	      32

struct agent_run_chunk {
	STAILQ_ENTRY(agent_run_chunk) link;
	size_t len, off;
	uint8_t data[];
};

static void on_stream_event(uv_poll_t *poll, int status, int events);

struct agent_run *agent_run_find(struct agent_sandbox *s, uint32_t id)
{
	struct agent_run *run;

	LIST_FOREACH(run, &s->runs[id % AGENT_RUN_BUCKETS], id_link)
	{
		if (run->id == id)
			return run;
	}
	return NULL;
}

static void run_free(struct agent_run *run)
{
	agent_sandbox_unref(run->sandbox);
	free(run);
}

static void on_stream_closed(uv_handle_t *h)
{
	struct agent_run *run = h->data;

	if (!--run->nr_polls && run->ended)
		run_free(run);
}

static void stream_close(struct agent_run_stream *st)
{
	if (st->fd < 0)
		return;
	if (st->polled)
		uv_close((uv_handle_t *)&st->poll, on_stream_closed);
	/* uv_close has taken it out of the loop's set */
	close(st->fd);
	st->fd = -1;
	st->polled = false;
}

static void run_close_stdin(struct agent_run *run)
{
	stream_close(&run->streams[0]);
	while (!STAILQ_EMPTY(&run->queue)) {
		struct agent_run_chunk *c = STAILQ_FIRST(&run->queue);

		STAILQ_REMOVE_HEAD(&run->queue, link);
		free(c);
	}
	run->sandbox->stdin_bytes -= run->queued;
	run->queued = 0;
}

static void run_end(struct agent_run *run)
{
	if (run->ended)
		return;
	run->ended = true;
	run_close_stdin(run);
	stream_close(&run->streams[1]);
	stream_close(&run->streams[2]);
	LIST_REMOVE(run, id_link);
	run->sandbox->nr_runs--;
	if (run->listener)
		LIST_REMOVE(run, listener_link);
	if (!run->nr_polls)
		run_free(run);
}

static void run_check_end(struct agent_run *run)
{
	if (run->ended || !(run->exited || run->wrapper_killed) ||
	    run->streams[1].fd >= 0 || run->streams[2].fd >= 0)
		return;
	if (run->listener)
		run->listener->on_exit(run, run->exit_code);
	run_end(run);
}

void agent_run_detach(struct agent_run *run)
{
	run->listener = NULL;
	agent_run_pause(run, false);
}

static void stream_poll(struct agent_run *run, int which, int events)
{
	struct agent_run_stream *st = &run->streams[which];

	if (st->fd < 0 || !st->polled)
		return;
	if (events)
		uv_poll_start(&st->poll, events, on_stream_event);
	else
		uv_poll_stop(&st->poll);
}

void agent_run_pause(struct agent_run *run, bool paused)
{
	run->paused = paused;
	if (!run->started)
		return;
	stream_poll(run, 1, paused ? 0 : UV_READABLE);
	stream_poll(run, 2, paused ? 0 : UV_READABLE);
}

/* Nobody listens: the command must not block all the same. */
static ssize_t run_discard(int fd)
{
	static char dump[65536];

	return read(fd, dump, sizeof(dump));
}

static void run_on_readable(struct agent_run *run, int which)
{
	struct agent_run_stream *st = &run->streams[which];
	ssize_t n;

	n = run->listener ? run->listener->on_readable(run, which, st->fd)
			  : run_discard(st->fd);
	if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
		return;
	stream_close(st);
	run_check_end(run);
}

static void run_flush(struct agent_run *run)
{
	struct agent_run_stream *st = &run->streams[0];
	struct iovec iov[RUN_IOV];
	struct agent_run_chunk *c;
	int nr = 0;
	ssize_t n;

	STAILQ_FOREACH(c, &run->queue, link)
	{
		iov[nr].iov_base = c->data + c->off;
		iov[nr].iov_len = c->len - c->off;
		if (++nr == RUN_IOV)
			break;
	}
	n = nr ? writev(st->fd, iov, nr) : 0;
	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		run_close_stdin(run); /* nobody reads it any more */
		return;
	}
	run->queued -= n > 0 ? (size_t)n : 0;
	run->sandbox->stdin_bytes -= n > 0 ? (size_t)n : 0;
	while (n > 0) {
		size_t take;

		c = STAILQ_FIRST(&run->queue);
		take = c->len - c->off < (size_t)n ? c->len - c->off
						   : (size_t)n;
		c->off += take;
		n -= (ssize_t)take;
		if (c->off == c->len) {
			STAILQ_REMOVE_HEAD(&run->queue, link);
			free(c);
		}
	}
	stream_poll(run, 0, STAILQ_EMPTY(&run->queue) ? 0 : UV_WRITABLE);
}

static void on_stream_event(uv_poll_t *poll, int status, int events)
{
	struct agent_run *run = poll->data;

	if (poll == &run->streams[0].poll)
		run_flush(run);
	else
		run_on_readable(run, poll == &run->streams[1].poll ? 1 : 2);
}

static void run_queue(struct agent_run *run, const uint8_t *data, size_t len)
{
	struct agent_run_chunk *c = malloc(sizeof(*c) + len);

	if (!c)
		return;
	c->len = len;
	c->off = 0;
	memcpy(c->data, data, len);
	STAILQ_INSERT_TAIL(&run->queue, c, link);
	run->queued += len;
	run->sandbox->stdin_bytes += len;
}

void agent_run_write(struct agent_run *run, const uint8_t *data, size_t len)
{
	struct agent_sandbox *s = run->sandbox;
	size_t limit = (size_t)s->agent->traits.memory_limit_mib << 20;
	ssize_t n = 0;

	if (run->streams[0].fd < 0 || !len)
		return;
	if (STAILQ_EMPTY(&run->queue)) {
		n = write(run->streams[0].fd, data, len);
		if (n == (ssize_t)len)
			return;
		if (n < 0 && errno != EAGAIN && errno != EINTR) {
			run_close_stdin(run);
			return;
		}
		n = n < 0 ? 0 : n;
		stream_poll(run, 0, UV_WRITABLE);
	}
	run_queue(run, data + n, len - (size_t)n);
	if (limit && s->stdin_bytes > limit)
		agent_sandbox_kill_sidecar(s);
}

/*
 * In the real pod the signal reaches only a wrapper.  Its death closes the
 * command's stdin and fixes the exit code; the command itself goes on.
 */
void agent_run_signal(struct agent_run *run, int sig)
{
	struct agent_pod *pod = run->sandbox->pod;

	if (run->sandbox->agent->traits.deliver_signals) {
		if (pod && run->started && !run->exited)
			agent_pod_signal(pod, run->id, sig);
		return;
	}
	if (run->exited || run->wrapper_killed)
		return;
	run->wrapper_killed = true;
	run->exit_code = -1;
	run_close_stdin(run);
	run_check_end(run);
}

/* Three pipes; theirs goes to the command, ours is polled. */
static int run_open_pipes(struct agent_run *run, int theirs[3])
{
	for (int i = 0; i < 3; i++) {
		struct agent_run_stream *st = &run->streams[i];
		int p[2];

		theirs[i] = -1;
		if (pipe2(p, O_CLOEXEC) < 0)
			return -errno;
		st->fd = i ? p[0] : p[1];
		theirs[i] = i ? p[1] : p[0];
		fcntl(st->fd, F_SETFL, O_NONBLOCK);
		/* refused when the user has many pipes; then 64 KiB will do */
		fcntl(st->fd, F_SETPIPE_SZ, RUN_PIPE_SIZE);
		if (uv_poll_init(&run->sandbox->agent->loop, &st->poll,
				 st->fd) < 0)
			return -EMFILE;
		st->poll.data = run;
		st->polled = true;
		run->nr_polls++;
	}
	return 0;
}

static struct agent_run *run_new(struct agent_sandbox *s)
{
	struct agent_run *run = calloc(1, sizeof(*run));

	if (!run)
		return NULL;
	run->sandbox = agent_sandbox_ref(s);
	run->id = ++s->last_run;
	for (int i = 0; i < 3; i++)
		run->streams[i].fd = -1;
	STAILQ_INIT(&run->queue);
	LIST_INSERT_HEAD(&s->runs[run->id % AGENT_RUN_BUCKETS], run, id_link);
	s->nr_runs++;
	return run;
}

int agent_run_start(struct agent_sandbox *s, const struct agent_run_conf *conf,
		    const struct agent_run_listener *listener, void *arg,
		    struct agent_run **ret, const char **why)
{
	struct agent_pod *pod = agent_pod_get(s);
	struct agent_run *run = NULL;
	int theirs[3] = {-1, -1, -1}, r;

	*why = "find runtime container: runtime container process not found";
	if (!pod)
		return -ESRCH;
	*why = "fork/exec /usr/bin/nsenter: resource temporarily unavailable";
	if (s->nr_runs < AGENT_RUNS_MAX)
		run = run_new(s);
	if (!run)
		return -EAGAIN;
	r = run_open_pipes(run, theirs);
	if (!r) {
		r = agent_pod_exec(pod, run->id, conf->cwd, conf->argv,
				   conf->envp, theirs);
	} else {
		for (int i = 0; i < 3; i++)
			close(theirs[i]);
	}
	if (r < 0) {
		if (r == -E2BIG)
			*why = "fork/exec /usr/bin/nsenter: "
			       "argument list too long";
		run_end(run);
		return r;
	}
	run->listener = listener;
	run->arg = arg;
	*ret = run;
	return 0;
}

void agent_run_on_started(struct agent_sandbox *s, uint32_t id, int err)
{
	struct agent_run *run = agent_run_find(s, id);
	char why[256];

	if (!run || run->started)
		return;
	if (err) {
		snprintf(why, sizeof(why), "fork/exec /usr/bin/nsenter: %s",
			 strerror(err));
		if (run->listener)
			run->listener->on_start(run, why);
		run_end(run);
		return;
	}
	run->started = true;
	if (run->listener)
		run->listener->on_start(run, NULL);
	agent_run_pause(run, run->paused);
}

static void run_on_exit(struct agent_run *run, int code)
{
	if (run->exited)
		return;
	run->exited = true;
	if (!run->wrapper_killed)
		run->exit_code = code;
	run_close_stdin(run);
	run_check_end(run);
}

void agent_run_on_exited(struct agent_sandbox *s, uint32_t id, int status)
{
	struct agent_run *run = agent_run_find(s, id);

	if (run && run->started)
		run_on_exit(run, WIFEXITED(status) ? WEXITSTATUS(status) : -1);
}

void agent_runs_on_pod_end(struct agent_sandbox *s)
{
	for (int i = 0; i < AGENT_RUN_BUCKETS; i++) {
		struct agent_run *run = LIST_FIRST(&s->runs[i]);

		while (run) {
			struct agent_run *next = LIST_NEXT(run, id_link);

			if (run->started)
				run_on_exit(run, -1);
			else
				agent_run_on_started(s, run->id, ESRCH);
			run = next;
		}
	}
}
