/*
 * The command: started through jobs/new, then its streams are carried, the
 * output, or one of them, by the first thread, which also gets the signals and
 * passes them on, the others by a thread each.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fuse/sbxrun/sbxrun.h"

#define PIECE (256 * 1024)
/* The kernel makes all pages of a buffer that it is given, so the first one is
 * small: most commands print little. */
#define PIECE_FIRST (8 * 1024)

struct pump {
	struct job *job;
	const char *name; /* of the stream in jobs/N */
	int from, to;
	atomic_bool failed; /* what came could not be passed on */
	pthread_t thread;
	char data[PIECE];
};

struct job {
	const struct run_options *o;
	int start; /* jobs/new */
	int dir;   /* jobs/N */
	unsigned int number;
	struct pump in, out, err;
};

static struct job job; /* there is one, and signal handlers need it */

/* ---- control files ---- */

/* The sentence that status has for the last failure, or that errno. */
static _Noreturn void fail_for_reason(const char *box, int err)
{
	static const char key[] = "last_error: ";
	char line[512], *path = NULL;
	FILE *f;

	if (asprintf(&path, "%s/status", box) < 0)
		run_fail("out of memory");
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		if (strncmp(line, key, sizeof(key) - 1))
			continue;
		line[strcspn(line, "\n")] = 0;
		run_fail("%s", line + sizeof(key) - 1);
	}
	run_fail("cannot run anything in %s: %s", box, strerror(err));
}

static int job_open(struct job *j, const char *name, int flags)
{
	return openat(j->dir, name, flags | O_CLOEXEC);
}

static int job_tell(struct job *j, const char *name, const char *word)
{
	int fd = job_open(j, name, O_WRONLY), r;

	if (fd < 0)
		return -errno;
	r = write(fd, word, strlen(word)) < 0 ? -errno : 0;
	close(fd);
	return r;
}

/* Whoever shares a stream with us may have made it so that it does not block.
 * (What a control file says by EAGAIN is another matter.) */
static bool waited_for(int fd, short events)
{
	struct pollfd p = {.fd = fd, .events = events};

	if (errno != EAGAIN || !(fcntl(fd, F_GETFL) & O_NONBLOCK))
		return false;
	poll(&p, 1, -1);
	return true;
}

/* 0, or the errno */
static int write_all(int fd, const char *data, size_t len)
{
	while (len) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && (errno == EINTR || waited_for(fd, POLLOUT)))
			continue;
		if (n < 0)
			return errno;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

/* false: it would run if it had no terminal. */
static bool job_start(struct job *j, const char *box, const char *spec)
{
	char *path = NULL, number[24];
	ssize_t n;
	int err;

	if (asprintf(&path, "%s/jobs/new", box) < 0)
		run_fail("out of memory");
	j->start = open(path, O_RDWR | O_CLOEXEC);
	if (j->start < 0)
		run_fail("%s: %s", path, strerror(errno));
	err = write_all(j->start, spec, strlen(spec));
	if (err == EOPNOTSUPP && j->o->at_terminal) {
		close(j->start);
		free(path);
		return false;
	}
	n = err ? 0 : read(j->start, number, sizeof(number) - 1);
	if (n <= 0)
		fail_for_reason(box, err ? err : errno);
	free(path);
	number[n] = 0;
	j->number = (unsigned int)strtoul(number, NULL, 10);
	if (asprintf(&path, "%s/jobs/%u", box, j->number) < 0)
		run_fail("out of memory");
	j->dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (j->dir < 0)
		run_fail("%s: %s", path, strerror(errno));
	free(path);
	return true;
}

/* ---- streams ---- */

static void pump_fail(struct pump *p, int err)
{
	p->failed = true;
	fprintf(stderr, "sbxrun: %s: %s\n", p->name, strerror(err));
}

/* Nobody reads ours: nobody reads the command's. */
static void output_end(struct pump *p, int err)
{
	if (err != EPIPE)
		pump_fail(p, err);
	if (job_tell(p->job, p->name, "close\n") < 0)
		job_tell(p->job, "signal", "PIPE\n");
}

static void *on_output(void *arg)
{
	struct pump *p = arg;
	size_t size = PIECE_FIRST;
	ssize_t n;
	int err = 0;

	while (!err) {
		n = read(p->from, p->data, size);
		if (n == 0 || (n < 0 && errno != EINTR))
			break; /* an error is told by the exit code, too */
		if (n > 0)
			err = write_all(p->to, p->data, (size_t)n);
		if (n == (ssize_t)size)
			size = PIECE;
	}
	if (err)
		output_end(p, err);
	close(p->from);
	return NULL;
}

/* ---- the size of the terminal ---- */

/* For a signal handler, as all that is called by on_signal. */
static char *put_number(char *to, unsigned int n)
{
	char digits[12], *d = digits;

	do
		*d++ = (char)('0' + n % 10);
	while (n /= 10);
	while (d > digits)
		*to++ = *--d;
	return to;
}

static void forward_size(unsigned int cols, unsigned int rows)
{
	char text[32], *end;

	if (!job.o->tty || !cols || !rows)
		return;
	end = put_number(text, cols);
	*end++ = ' ';
	end = put_number(end, rows);
	*end = 0;
	job_tell(&job, "size", text);
}

/* What is typed in a new window must not overtake its size, which a signal
 * tells to the other thread. */
static void forward_new_size(void)
{
	static unsigned int cols, rows;
	unsigned int was_cols = cols, was_rows = rows;

	term_size(&cols, &rows);
	if (cols != was_cols || rows != was_rows)
		forward_size(cols, rows);
}

/* In the background a terminal cannot be read: until it can. */
static bool input_may_come(int err)
{
	if (err == EINTR || waited_for(STDIN_FILENO, POLLIN))
		return true;
	if (err != EIO || !isatty(STDIN_FILENO) || term_is_ours())
		return false;
	usleep(500 * 1000);
	return true;
}

static void *on_input(void *arg)
{
	struct pump *p = arg;
	int err = 0;
	ssize_t n;

	while (!err) {
		n = read(p->from, p->data, PIECE);
		err = n < 0 ? errno : 0;
		if (err && input_may_come(err)) {
			err = 0;
			continue;
		}
		if (p->job->o->tty)
			forward_new_size();
		if (n == 0)
			break;
		if (!err)
			err = write_all(p->to, p->data, (size_t)n);
		else if (err == EBADF || isatty(p->from))
			err = EPIPE; /* there is none, or it hung up */
	}
	/* not all of it came: what the command makes of that is not success;
	 * but it may have had enough */
	if (err && err != EPIPE)
		pump_fail(p, err);
	close(p->to); /* that is the end of its input */
	return NULL;
}

/* ---- signals ---- */

static const int forwarded[] = {
	SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH, SIGTSTP,
};
#define NR_FORWARDED (sizeof(forwarded) / sizeof(forwarded[0]))

static void on_signal(int signo)
{
	unsigned int cols, rows;
	int saved = errno;
	char number[12];

	if (signo == SIGWINCH) {
		term_size(&cols, &rows);
		forward_size(cols, rows);
	} else if (signo == SIGTSTP) {
		/* it has no terminal that would stop it, so TSTP would not */
		job_tell(&job, "signal", "STOP\n");
		raise(SIGSTOP);
		job_tell(&job, "signal", "CONT\n");
	} else {
		*put_number(number, (unsigned int)signo) = 0;
		job_tell(&job, "signal", number);
	}
	errno = saved;
}

/* They wait until there is somebody to pass them on to. */
static void signals_block(sigset_t *ret)
{
	sigemptyset(ret);
	for (size_t i = 0; i < NR_FORWARDED; i++)
		sigaddset(ret, forwarded[i]);
	pthread_sigmask(SIG_BLOCK, ret, NULL);
	signal(SIGPIPE, SIG_IGN);
	/* in the background we go on, without a terminal to read */
	signal(SIGTTIN, SIG_IGN);
	signal(SIGTTOU, SIG_IGN);
}

static void signals_pass_on(const sigset_t *signals)
{
	struct sigaction old, new = {.sa_handler = on_signal};

	new.sa_mask = *signals;
	for (size_t i = 0; i < NR_FORWARDED; i++)
		if (sigaction(forwarded[i], NULL, &old) == 0 &&
		    old.sa_handler != SIG_IGN) /* as under nohup(1) */
			sigaction(forwarded[i], &new, NULL);
	pthread_sigmask(SIG_UNBLOCK, signals, NULL);
}

/* ---- all of it ---- */

static int job_wait(int fd)
{
	char text[16];
	ssize_t n;

	do
		n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	while (n < 0 && fd >= 0 && errno == EINTR);
	if (n < 0 && errno == EOPNOTSUPP && job.o->tty)
		run_fail("it can have no terminal there; try -T");
	if (n <= 0)
		run_fail("nothing is known of the command any more: %s",
			 strerror(errno));
	text[n] = 0;
	return (int)strtol(text, NULL, 10);
}

static void pump_open(struct pump *p, const char *name, int from, int to)
{
	p->job = &job;
	p->name = name;
	p->from = from >= 0 ? from : job_open(&job, name, O_RDONLY);
	p->to = to >= 0 ? to : job_open(&job, name, O_WRONLY);
	if (p->from < 0 || p->to < 0)
		run_fail("jobs/%u/%s: %s", job.number, name, strerror(errno));
}

static void pump_start(struct pump *p, void *(*fn)(void *arg))
{
	if (pthread_create(&p->thread, NULL, fn, p) != 0)
		run_fail("cannot make a thread");
}

int job_run(const struct run_options *o, const char *box, const char *spec)
{
	bool apart = !o->tty && !o->merge;
	sigset_t signals;
	int exit_code, status;

	job.o = o;
	signals_block(&signals);
	if (!job_start(&job, box, spec))
		return -1;
	if (o->tty)
		term_raw();
	pump_open(&job.out, "stdout", -1, STDOUT_FILENO);
	if (apart)
		pump_start(&job.out, on_output);
	if (!o->no_input) {
		pump_open(&job.in, "stdin", STDIN_FILENO, -1);
		pump_start(&job.in, on_input);
	}
	signals_pass_on(&signals);
	/* while it runs, not when it has ended: that is waited for */
	exit_code = job_open(&job, "exit_code", O_RDONLY);
	if (apart)
		pump_open(&job.err, "stderr", -1, STDERR_FILENO);
	close(job.start); /* which is waited for: now there is time */
	on_output(apart ? &job.err : &job.out);
	status = job_wait(exit_code);
	if (apart)
		pthread_join(job.out.thread, NULL);
	return job.in.failed || job.out.failed || job.err.failed ? EXIT_OURS
								 : status;
}
