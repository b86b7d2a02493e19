/*
 * A command on a terminal: see carry.h.  Called by main.c; a process of its
 * own, which knows nothing of sessions.
 */
#include "client/helper/carry.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "client/wire/lines.h"

#define MAX_COMMAND (512 * 1024)
#define MAX_OUT	    (256 * 1024)
#define PIECE	    16384 /* bytes of output in one line */
#define SPEAK_MS    15000 /* no longer without a word of ours */
#define ALONE_MS    90000 /* nobody is there any more */
#define LINGER_MS   10000 /* until what was said last has been heard */
/* between ticks, and of those who were heard in the last BUSY_FOR_MS */
#define TICK_MS	     250
#define TICK_BUSY_MS 15
#define BUSY_FOR_MS  2000

struct output {
	int fd; /* of ours; -1: it has ended */
	char kind, end_kind;
	uint64_t total;
};

struct carry {
	struct sbx_lines lines;
	struct sbx_buf command; /* its text, until it runs */
	struct sbx_buf to;	/* for its stdin */
	struct sbx_buf out;	/* for the terminal */
	/* of its stdin; told: how much we said was taken */
	uint64_t received, taken, told;
	uint64_t sent, acked; /* of its output */
	struct output stdout_, stderr_;
	int in, signals;
	pid_t pid;
	bool quiet, ended, heard_all, ticks;
	int64_t heard_ms, said_ms, over_ms;
};

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void say(struct carry *c, char kind, uint64_t number, const void *data,
		size_t len)
{
	sbx_line_put(&c->out, SBX_LINE_OUT, kind, number, data, len);
	c->said_ms = now_ms();
}

/* ---- the command ---- */

static int close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
	return -1;
}

/* Ours is the end that *ret gives, which does not block. */
static int make_pipe(int *ret, int *ret_theirs, bool we_write)
{
	int p[2];

	if (pipe2(p, O_CLOEXEC) < 0)
		return -errno;
	*ret = p[we_write];
	*ret_theirs = p[!we_write];
	fcntl(*ret, F_SETFL, O_NONBLOCK);
	return 0;
}

static void command_exec(const struct carry *c, int in, int out, int err,
			 pid_t parent)
{
	sigset_t none;

	if (c->quiet)
		err = open("/dev/null", O_WRONLY | O_CLOEXEC);
	if (dup2(in, 0) < 0 || dup2(out, 1) < 0 || err < 0 || dup2(err, 2) < 0)
		_exit(126);
	/* not every daemon makes it our controlling terminal */
	prctl(PR_SET_PDEATHSIG, SIGHUP);
	if (getppid() != parent)
		_exit(126);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	execl("/bin/sh", "sh", "-c", (const char *)sbx_buf_at(&c->command),
	      (char *)NULL);
	_exit(127);
}

static int command_start(struct carry *c)
{
	int in = -1, out = -1, err = -1, r;
	pid_t us = getpid();

	sbx_buf_add(&c->command, "", 1);
	r = c->command.err;
	if (!r)
		r = make_pipe(&c->in, &in, true);
	if (!r)
		r = make_pipe(&c->stdout_.fd, &out, false);
	if (!r && !c->quiet)
		r = make_pipe(&c->stderr_.fd, &err, false);
	if (!r)
		c->pid = fork();
	if (!r && c->pid == 0)
		command_exec(c, in, out, err, us);
	if (!r && c->pid < 0)
		r = -errno;
	close_fd(in);
	close_fd(out);
	close_fd(err);
	sbx_buf_release(&c->command);
	return r;
}

/* ---- what is said to us ---- */

static int take_stdin(struct carry *c, const struct sbx_line *line)
{
	if (line->number != c->received)
		return -EPROTO;
	c->received += line->len;
	if (c->in < 0) /* it reads no more */
		c->taken = c->received;
	else
		sbx_buf_add(&c->to, line->data, line->len);
	return c->to.err;
}

static int on_line(void *arg, const struct sbx_line *line)
{
	struct carry *c = arg;

	switch (line->kind) {
	case 'r':
		return c->pid ? -EPROTO
			      : sbx_buf_add(&c->command, line->data, line->len);
	case 'g':
		c->quiet = line->number;
		say(c, 'g', 0, NULL, 0);
		return c->pid ? -EPROTO : command_start(c);
	case 'i':
		return c->pid ? take_stdin(c, line) : -EPROTO;
	case 'k':
		if (line->number > c->sent)
			return -EPROTO;
		c->acked = line->number;
		return 0;
	case '.':
		return line->number == c->received ? 0 : -EPROTO;
	case 'b':
		c->heard_all = true;
		return 0;
	default:
		return 0;
	}
}

static void tell_taken(struct carry *c)
{
	if (c->taken == c->told)
		return;
	c->told = c->taken;
	say(c, 'k', c->taken, NULL, 0);
}

/* false: there is no terminal any more */
static bool hear(struct carry *c)
{
	char data[16384];
	ssize_t n = read(0, data, sizeof(data));

	if (n <= 0)
		return n < 0 && (errno == EAGAIN || errno == EINTR);
	c->heard_ms = now_ms();
	if (sbx_lines_add(&c->lines, data, (size_t)n, on_line, c) == 0) {
		tell_taken(c); /* of what nobody reads any more */
		return true;
	}
	say(c, '!', 0, NULL, 0);
	c->ended = true;
	c->in = close_fd(c->in);
	c->stdout_.fd = close_fd(c->stdout_.fd);
	c->stderr_.fd = close_fd(c->stderr_.fd);
	return true;
}

/* ---- its streams ---- */

static void feed(struct carry *c)
{
	ssize_t n = write(c->in, sbx_buf_at(&c->to), sbx_buf_len(&c->to));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0) {
		c->in = close_fd(c->in);
		sbx_buf_clear(&c->to);
		c->taken = c->received;
	} else {
		sbx_buf_consume(&c->to, (size_t)n);
		c->taken += (uint64_t)n;
	}
	tell_taken(c);
}

/* false: nothing came */
static bool collect(struct carry *c, struct output *o)
{
	char data[PIECE];
	ssize_t n = read(o->fd, data, sizeof(data));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0) {
		o->fd = close_fd(o->fd);
		say(c, o->end_kind, o->total, NULL, 0);
		return false;
	}
	say(c, o->kind, o->total, data, (size_t)n);
	o->total += (uint64_t)n;
	c->sent += (uint64_t)n;
	return true;
}

static bool may_collect(const struct carry *c)
{
	return c->sent - c->acked < SBX_LINE_WINDOW &&
	       sbx_buf_len(&c->out) < SBX_LINE_WINDOW;
}

/*
 * It has ended: what it left in the pipe is its output, what others who hold
 * the pipe may yet say is not.
 */
static void collect_rest(struct carry *c, struct output *o)
{
	while (o->fd >= 0 && may_collect(c))
		if (!collect(c, o) && o->fd >= 0) {
			o->fd = close_fd(o->fd);
			say(c, o->end_kind, o->total, NULL, 0);
		}
}

static void reap(struct carry *c)
{
	struct signalfd_siginfo info;
	int status;

	while (read(c->signals, &info, sizeof(info)) > 0)
		;
	if (c->ended || c->pid <= 0 ||
	    waitpid(c->pid, &status, WNOHANG) != c->pid)
		return;
	c->ended = true;
	say(c, 'x',
	    WIFEXITED(status) ? (uint64_t)WEXITSTATUS(status)
			      : 128 + (uint64_t)WTERMSIG(status),
	    NULL, 0);
}

/* ---- the terminal ---- */

static bool tell(struct carry *c)
{
	ssize_t n = write(1, sbx_buf_at(&c->out), sbx_buf_len(&c->out));

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	sbx_buf_consume(&c->out, (size_t)n);
	return true;
}

static void prepare_terminal(int fd)
{
	struct termios t;

	if (tcgetattr(fd, &t) < 0)
		return;
	cfmakeraw(&t);
	t.c_cc[VMIN] = 1;
	t.c_cc[VTIME] = 0;
	tcsetattr(fd, TCSANOW, &t);
}

enum { IN, OUT, SIGNALS, STDIN, STDOUT, STDERR, NR };

static void look_for(const struct carry *c, struct pollfd *p)
{
	bool room = may_collect(c);

	p[IN] = (struct pollfd){.fd = 0, .events = POLLIN};
	p[OUT] = (struct pollfd){.fd = sbx_buf_len(&c->out) ? 1 : -1,
				 .events = POLLOUT};
	p[SIGNALS] = (struct pollfd){.fd = c->signals, .events = POLLIN};
	p[STDIN] = (struct pollfd){.fd = sbx_buf_len(&c->to) ? c->in : -1,
				   .events = POLLOUT};
	p[STDOUT] = (struct pollfd){.fd = room ? c->stdout_.fd : -1,
				    .events = POLLIN};
	p[STDERR] = (struct pollfd){.fd = room ? c->stderr_.fd : -1,
				    .events = POLLIN};
}

static int tick_ms(const struct carry *c)
{
	return now_ms() - c->heard_ms < BUSY_FOR_MS ? TICK_BUSY_MS : TICK_MS;
}

/* What was said before anybody listened is lost: so it is said again. */
static void tick(struct carry *c)
{
	if (sbx_buf_len(&c->out) || now_ms() - c->said_ms < tick_ms(c))
		return;
	sbx_buf_add(&c->out, "\n", 1);
	if (!c->pid)
		say(c, 'h', SBX_LINE_VERSION, NULL, 0);
	c->said_ms = now_ms();
}

static int wait_ms(const struct carry *c)
{
	if (c->ticks)
		return tick_ms(c);
	return c->over_ms ? LINGER_MS : SPEAK_MS;
}

/* false: nobody is there */
static bool act(struct carry *c, const struct pollfd *p)
{
	if (p[IN].revents && !hear(c))
		return false;
	if (p[SIGNALS].revents)
		reap(c);
	if (p[STDIN].revents && c->in >= 0)
		feed(c);
	if (p[STDOUT].revents && c->stdout_.fd >= 0)
		collect(c, &c->stdout_);
	if (p[STDERR].revents && c->stderr_.fd >= 0)
		collect(c, &c->stderr_);
	if (c->ended) {
		collect_rest(c, &c->stdout_);
		collect_rest(c, &c->stderr_);
	}
	if (now_ms() - c->said_ms >= SPEAK_MS)
		say(c, '.', 0, NULL, 0);
	if (c->ticks)
		tick(c);
	return now_ms() - c->heard_ms < ALONE_MS && !c->out.err &&
	       (!sbx_buf_len(&c->out) || tell(c));
}

static bool is_over(const struct carry *c)
{
	return c->ended && c->stdout_.fd < 0 && c->stderr_.fd < 0 &&
	       !sbx_buf_len(&c->out);
}

/* Who reads the terminal may give up with the process on it, whatever it
 * printed last: so it stays until that was heard. */
static bool may_leave(struct carry *c)
{
	if (!is_over(c))
		return false;
	if (!c->over_ms)
		c->over_ms = now_ms();
	return c->heard_all || now_ms() - c->over_ms >= LINGER_MS;
}

static void carry_release(struct carry *c)
{
	sbx_lines_release(&c->lines);
	sbx_buf_release(&c->command);
	sbx_buf_release(&c->to);
	sbx_buf_release(&c->out);
}

int carry_run(bool ticks)
{
	struct carry c = {.in = -1,
			  .ticks = ticks,
			  .stdout_ = {-1, 'o', 'O', 0},
			  .stderr_ = {-1, 'e', 'E', 0},
			  .heard_ms = now_ms()};
	struct pollfd p[NR];
	sigset_t set;

	sbx_lines_init(&c.lines, SBX_LINE_IN);
	sbx_buf_init(&c.command, MAX_COMMAND);
	sbx_buf_init(&c.to, 2 * SBX_LINE_WINDOW);
	sbx_buf_init(&c.out, MAX_OUT);
	signal(SIGPIPE, SIG_IGN);
	/* a daemon that was started by nohup(1) hands on that it is ignored */
	signal(SIGHUP, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	c.signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	prepare_terminal(0);
	fcntl(0, F_SETFL, O_NONBLOCK);
	fcntl(1, F_SETFL, O_NONBLOCK);
	/* whatever was printed before it is no part of the line */
	sbx_buf_add(&c.out, "\n", 1);
	say(&c, 'h', SBX_LINE_VERSION, NULL, 0);
	do {
		look_for(&c, p);
		if (poll(p, NR, wait_ms(&c)) < 0 && errno != EINTR)
			break;
	} while (act(&c, p) && !may_leave(&c));
	carry_release(&c);
	return is_over(&c) ? 0 : 1;
}
