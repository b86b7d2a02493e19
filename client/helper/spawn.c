/* Starting a command: see spawn.h.  Called by run.c. */
#include "client/helper/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/helper/helper.h"
#include "client/wire/msg.h"
#include "client/wire/proto.h"

#define ARGS_MAX  65536
#define PIPE_SIZE (256 * 1024)

/*
 * ---- strings: they come without NUL, and must hold none ----
 *
 * What is wrong with them, or that there is no memory, is rd->err.
 */

static void *keep(struct sbx_rd *rd, void *p)
{
	if (!p && !rd->err)
		rd->err = -ENOMEM;
	return p;
}

static char *copy_string(struct sbx_rd *rd)
{
	size_t len;
	const uint8_t *s = sbx_get_bin(rd, &len);
	char *copy;

	if (len && memchr(s, '\0', len))
		rd->err = -EINVAL;
	if (rd->err)
		return NULL;
	copy = keep(rd, malloc(len + 1));
	if (!copy)
		return NULL;
	if (len)
		memcpy(copy, s, len);
	copy[len] = '\0';
	return copy;
}

static void free_strings(char **list)
{
	size_t i;

	for (i = 0; list && list[i]; i++)
		free(list[i]);
	free(list);
}

static char **get_argv(struct sbx_rd *rd)
{
	struct sbx_rd all = sbx_get_array(rd);
	char **argv;
	size_t n = 0;

	if (!rd->err && (!all.left || all.left > ARGS_MAX))
		rd->err = -EINVAL;
	if (rd->err)
		return NULL;
	argv = keep(rd, calloc(all.left + 1, sizeof(char *)));
	while (argv && all.left && !all.err)
		argv[n++] = copy_string(&all);
	if (all.err)
		rd->err = all.err;
	return argv;
}

/* "NAME=value" from a key and a value */
static char *copy_pair(struct sbx_rd *rd)
{
	char *name = copy_string(rd), *value = NULL, *pair = NULL;

	if (name && (!name[0] || strchr(name, '=')))
		rd->err = -EINVAL;
	if (!rd->err)
		value = copy_string(rd);
	if (value)
		pair = keep(rd, malloc(strlen(name) + strlen(value) + 2));
	if (pair)
		stpcpy(stpcpy(stpcpy(pair, name), "="), value);
	free(name);
	free(value);
	return pair;
}

static bool same_name(const char *a, const char *b)
{
	size_t n = strcspn(a, "=");

	return !strncmp(a, b, n) && b[n] == '=';
}

/* A later one of the same name replaces. */
static void env_set(char **env, size_t *n, char *pair)
{
	size_t i;

	for (i = 0; i < *n; i++)
		if (same_name(pair, env[i]))
			break;
	if (i < *n)
		free(env[i]);
	else
		++*n;
	env[i] = pair;
}

static char **get_env(struct sbx_rd *rd)
{
	struct sbx_rd all = sbx_get_map(rd);
	size_t own = 0, n = 0;
	char **env, *pair;

	if (!rd->err && all.left > ARGS_MAX)
		rd->err = -EINVAL;
	if (rd->err)
		return NULL;
	while (environ[own])
		own++;
	env = keep(rd, calloc(own + all.left / 2 + 1, sizeof(char *)));
	while (env && n < own && (env[n] = keep(rd, strdup(environ[n]))))
		n++;
	while (!rd->err && all.left && (pair = copy_pair(&all)))
		env_set(env, &n, pair);
	if (all.err)
		rd->err = all.err;
	return env;
}

int spawn_get(struct spawn *s, struct sbx_rd *rd)
{
	uint32_t cols, rows;

	*s = (struct spawn){.in = -1, .out = -1, .err = -1};
	s->argv = get_argv(rd);
	s->cwd = copy_string(rd);
	s->envp = get_env(rd);
	s->flags = sbx_get_u32(rd);
	cols = sbx_get_u32(rd);
	rows = sbx_get_u32(rd);
	s->cols = cols && cols <= UINT16_MAX ? (uint16_t)cols : 80;
	s->rows = rows && rows <= UINT16_MAX ? (uint16_t)rows : 24;
	return rd->err == -EPROTO ? -EINVAL : rd->err;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void spawn_release(struct spawn *s)
{
	free_strings(s->argv);
	free_strings(s->envp);
	free(s->cwd);
	close_fd(&s->in);
	close_fd(&s->out);
	close_fd(&s->err);
}

/* ---- its ends of the streams ---- */

struct ends {
	int in, out, err; /* of the command */
	int status[2];	  /* why it could not start */
	int slave;
};

static void ends_close(struct ends *e)
{
	close_fd(&e->in);
	close_fd(&e->out);
	close_fd(&e->err);
	close_fd(&e->slave);
	close_fd(&e->status[0]);
	close_fd(&e->status[1]);
}

static int make_pipe(int *ret_read, int *ret_write)
{
	int p[2];

	if (pipe2(p, O_CLOEXEC) < 0)
		return -errno;
	*ret_read = p[0];
	*ret_write = p[1];
	return 0;
}

/* Larger pipes, if we may: fewer wake-ups for both sides. */
static void ours(int fd)
{
	fcntl(fd, F_SETFL, O_NONBLOCK);
	fcntl(fd, F_SETPIPE_SZ, PIPE_SIZE);
}

static int open_pipes(struct spawn *s, struct ends *e)
{
	int r;

	r = make_pipe(&s->out, &e->out);
	if (!r && !(s->flags & SBX_EXEC_MERGE))
		r = make_pipe(&s->err, &e->err);
	if (!r && (s->flags & SBX_EXEC_STDIN))
		r = make_pipe(&e->in, &s->in);
	if (r < 0)
		return r;
	ours(s->out);
	if (s->err >= 0)
		ours(s->err);
	if (s->in >= 0)
		ours(s->in);
	return 0;
}

static int open_slave(int master)
{
	char name[64];
	int fd;

#ifdef TIOCGPTPEER
	/* works where /dev/pts is another one, or not there */
	fd = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (fd >= 0)
		return fd;
#endif
	if (ptsname_r(master, name, sizeof(name)))
		return -errno;
	fd = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int open_tty(struct spawn *s, struct ends *e)
{
	struct winsize size = {.ws_col = s->cols, .ws_row = s->rows};

	s->out = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (s->out < 0 || unlockpt(s->out) < 0)
		return -errno;
	e->slave = open_slave(s->out);
	if (e->slave < 0)
		return e->slave;
	ioctl(s->out, TIOCSWINSZ, &size);
	fcntl(s->out, F_SETFL, O_RDWR | O_NONBLOCK);
	s->in = fcntl(s->out, F_DUPFD_CLOEXEC, 3);
	return s->in < 0 ? -errno : 0;
}

static int ends_open(struct spawn *s, struct ends *e)
{
	int r;

	*e = (struct ends){-1, -1, -1, {-1, -1}, -1};
	r = make_pipe(&e->status[0], &e->status[1]);
	if (r < 0)
		return r;
	return s->flags & SBX_EXEC_TTY ? open_tty(s, e) : open_pipes(s, e);
}

/* ---- in the child ---- */

static void child_signals(void)
{
	sigset_t none;
	int i;

	for (i = 1; i < NSIG; i++)
		signal(i, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static int child_streams(const struct ends *e)
{
	int in = e->in, out = e->out, err = e->err;

	if (e->slave >= 0) {
		if (ioctl(e->slave, TIOCSCTTY, 0) < 0)
			return -errno;
		in = out = err = e->slave;
	}
	if (in < 0)
		in = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (in < 0)
		return -errno;
	if (err < 0)
		err = out;
	if (dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0)
		return -errno;
	return 0;
}

static int child_place(struct helper *h, const struct spawn *s)
{
	umask(h->umask);
	setrlimit(RLIMIT_NOFILE, &h->nofile);
	if (fchdir(h->dirs.home->fd) < 0)
		return -errno;
	if (s->cwd[0] && chdir(s->cwd) < 0)
		return -errno;
	return 0;
}

static int child_run(struct helper *h, const struct spawn *s,
		     const struct ends *e)
{
	int r;

	setsid();
	r = child_streams(e);
	if (!r)
		r = child_place(h, s);
	if (r < 0)
		return r;
	child_signals();
	execvp(s->argv[0], s->argv);
	return -errno;
}

static _Noreturn void child_main(struct helper *h, const struct spawn *s,
				 const struct ends *e)
{
	int r = child_run(h, s, e);

	/* nothing is written if the command was started: its end is closed */
	while (write(e->status[1], &r, sizeof(r)) < 0 && errno == EINTR)
		;
	_exit(127);
}

/* ---- in the helper ---- */

static int wait_started(struct ends *e)
{
	int r = 0;
	ssize_t n;

	close_fd(&e->status[1]);
	do
		n = read(e->status[0], &r, sizeof(r));
	while (n < 0 && errno == EINTR);
	return n == sizeof(r) ? r : 0;
}

/*
 * With fork(2) the copy of our page tables and of each page that either side
 * touches next was a quarter of the time that "true" takes.  So the child
 * runs in our memory until it has its own program, and must change nothing in
 * it.  What it has to say comes through a pipe all the same: some emulators
 * make no difference between the two.
 */
int spawn_run(struct helper *h, struct spawn *s)
{
	char **own = environ;
	struct ends e;
	int r;

	r = ends_open(s, &e);
	if (r < 0)
		goto out;
	environ = s->envp; /* its PATH counts, too */
	s->pid = vfork();
	if (!s->pid)
		child_main(h, s, &e);
	environ = own;
	r = s->pid < 0 ? -errno : wait_started(&e);
	if (r < 0 && s->pid > 0)
		while (waitpid(s->pid, NULL, 0) < 0 && errno == EINTR)
			;
out:
	ends_close(&e);
	return r;
}
