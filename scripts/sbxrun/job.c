/*
 * The command: started through jobs/new, then a thread for each stream and
 * one that waits for its end.  This thread waits for signals, and passes
 * them on.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "scripts/sbxrun/sbxrun.h"

#define PIECE	 (256 * 1024)
#define SIG_DONE SIGRTMIN /* from the thread that waits for the end */

struct pump {
	struct job *job;
	const char *name; /* of the stream in jobs/N */
	int from, to;
	pthread_t thread;
};

struct job {
	const struct run_options *o;
	int dir; /* jobs/N */
	unsigned int number;
	int status;
	pthread_t main, waiter;
	struct pump in, out, err;
	sigset_t signals;
};

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

/* 0, or the errno */
static int write_all(int fd, const char *data, size_t len)
{
	while (len) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

static void job_start(struct job *j, const char *box, const char *spec)
{
	char *path = NULL, number[24];
	int fd, err;
	ssize_t n;

	if (asprintf(&path, "%s/jobs/new", box) < 0)
		run_fail("out of memory");
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		run_fail("%s: %s", path, strerror(errno));
	err = write_all(fd, spec, strlen(spec));
	n = err ? 0 : read(fd, number, sizeof(number) - 1);
	if (n <= 0)
		fail_for_reason(box, err ? err : errno);
	close(fd);
	free(path);
	number[n] = 0;
	j->number = (unsigned int)strtoul(number, NULL, 10);
	if (asprintf(&path, "%s/jobs/%u", box, j->number) < 0)
		run_fail("out of memory");
	j->dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (j->dir < 0)
		run_fail("%s: %s", path, strerror(errno));
	free(path);
}

/* ---- streams ---- */

/* Nobody reads ours: nobody reads the command's. */
static void output_end(struct pump *p, int err)
{
	if (err != EPIPE)
		fprintf(stderr, "sbxrun: %s: %s\n", p->name, strerror(err));
	if (job_tell(p->job, p->name, "close\n") < 0)
		job_tell(p->job, "signal", "PIPE\n");
}

static void *on_output(void *arg)
{
	struct pump *p = arg;
	char *data = malloc(PIECE);
	ssize_t n;
	int err = 0;

	if (!data)
		run_fail("out of memory");
	while (!err) {
		n = read(p->from, data, PIECE);
		if (n == 0 || (n < 0 && errno != EINTR))
			break; /* an error is told by the exit code, too */
		if (n > 0)
			err = write_all(p->to, data, (size_t)n);
	}
	if (err)
		output_end(p, err);
	close(p->from);
	free(data);
	return NULL;
}

/* In the background a terminal cannot be read: until it can. */
static bool input_may_come(int err)
{
	if (err == EINTR)
		return true;
	if (err != EIO || !isatty(STDIN_FILENO) || term_is_ours())
		return false;
	usleep(500 * 1000);
	return true;
}

static void *on_input(void *arg)
{
	struct pump *p = arg;
	char *data = malloc(PIECE);
	ssize_t n;

	if (!data)
		run_fail("out of memory");
	for (;;) {
		n = read(p->from, data, PIECE);
		if (n < 0 && input_may_come(errno))
			continue;
		if (n <= 0 || write_all(p->to, data, (size_t)n))
			break;
	}
	close(p->to); /* that is the end of its input */
	free(data);
	return NULL;
}

/* ---- its end ---- */

static void *on_exit_code(void *arg)
{
	struct job *j = arg;
	int fd = job_open(j, "exit_code", O_RDONLY);
	char text[16];
	ssize_t n;

	do
		n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	while (n < 0 && fd >= 0 && errno == EINTR);
	if (n <= 0)
		run_fail("nothing is known of the command any more: %s",
			 strerror(errno));
	text[n] = 0;
	j->status = (int)strtol(text, NULL, 10);
	pthread_join(j->out.thread, NULL);
	if (!j->o->tty)
		pthread_join(j->err.thread, NULL);
	pthread_kill(j->main, SIG_DONE);
	return NULL;
}

/* ---- signals ---- */

static void signals_block(struct job *j)
{
	static const int forwarded[] = {
		SIGHUP,	 SIGINT,   SIGQUIT, SIGTERM, SIGUSR1,
		SIGUSR2, SIGWINCH, SIGTSTP, SIGCONT,
	};
	struct sigaction old;
	sigset_t all;

	sigemptyset(&j->signals);
	sigaddset(&j->signals, SIG_DONE);
	for (size_t i = 0; i < sizeof(forwarded) / sizeof(forwarded[0]); i++)
		if (sigaction(forwarded[i], NULL, &old) == 0 &&
		    old.sa_handler != SIG_IGN) /* as under nohup(1) */
			sigaddset(&j->signals, forwarded[i]);
	all = j->signals;
	sigaddset(&all, SIGTTIN);
	sigaddset(&all, SIGTTOU);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
	signal(SIGPIPE, SIG_IGN);
}

static void forward_size(struct job *j)
{
	unsigned int cols, rows;
	char text[32];

	term_size(&cols, &rows);
	if (!j->o->tty || !cols || !rows)
		return;
	snprintf(text, sizeof(text), "%u %u\n", cols, rows);
	job_tell(j, "size", text);
}

static void forward(struct job *j, int signo)
{
	const char *name = sigabbrev_np(signo);

	if (signo == SIGWINCH) {
		forward_size(j);
	} else if (signo == SIGTSTP) {
		/* it has no terminal that would stop it, so TSTP would not */
		job_tell(j, "signal", "STOP\n");
		raise(SIGSTOP);
		job_tell(j, "signal", "CONT\n");
	} else if (name) {
		job_tell(j, "signal", name);
	}
}

/* ---- all of it ---- */

static void pump_start(struct job *j, struct pump *p, const char *name,
		       int from, int to, void *(*fn)(void *arg))
{
	p->job = j;
	p->name = name;
	p->from = from >= 0 ? from : job_open(j, name, O_RDONLY);
	p->to = to >= 0 ? to : job_open(j, name, O_WRONLY);
	if (p->from < 0 || p->to < 0)
		run_fail("jobs/%u/%s: %s", j->number, name, strerror(errno));
	if (pthread_create(&p->thread, NULL, fn, p) != 0)
		run_fail("cannot make a thread");
}

int job_run(const struct run_options *o, const char *box, const char *spec)
{
	struct job j = {.o = o, .main = pthread_self()};
	int signo;

	signals_block(&j);
	job_start(&j, box, spec);
	if (o->tty)
		term_raw();
	pump_start(&j, &j.out, "stdout", -1, STDOUT_FILENO, on_output);
	if (!o->tty)
		pump_start(&j, &j.err, "stderr", -1, STDERR_FILENO, on_output);
	if (!o->no_input)
		pump_start(&j, &j.in, "stdin", STDIN_FILENO, -1, on_input);
	if (pthread_create(&j.waiter, NULL, on_exit_code, &j) != 0)
		run_fail("cannot make a thread");
	for (;;) {
		signo = sigwaitinfo(&j.signals, NULL);
		if (signo == SIG_DONE)
			return j.status;
		if (signo > 0)
			forward(&j, signo);
	}
}
