#include "client/svc_local_agent.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/cleanup.h"
#include "client/log.h"

#ifndef SBX_LIBEXECDIR
#define SBX_LIBEXECDIR "/usr/libexec"
#endif

#define READY_MS     25000 /* it may wait for the one before to end */
#define TERM_MS	     2000
#define MAX_STARTS   5 /* in START_WINDOW_MS */
#define WINDOW_MS    60000
#define PAUSE_MS     200
#define MAX_LINE     512
#define READY_FD     3
#define EXIT_FD	     4
#define KEY_VARIABLE "SBXFS_AGENT_KEY"

/* One pipe from the agent, read in lines. */
struct agent_pipe {
	uv_pipe_t pipe;
	struct sbx_agent *agent;
	char line[MAX_LINE];
	size_t len;
	bool open;
};

struct sbx_agent {
	uv_loop_t *loop;
	const struct sbx_conf *conf;
	const struct sbx_secret *key;
	const struct sbx_agent_handler *handler;
	void *arg;
	char program[PATH_MAX];

	uv_process_t process;
	struct agent_pipe ready, errors;
	uv_pipe_t lifeline; /* closed: the agent is to end */
	uv_timer_t timer;
	unsigned int nr_handles; /* of one run, not yet closed */
	bool running, is_ready, exited, stopping, timer_closed;
	unsigned int port; /* of the last run, to be had again */
	bool port_lost;	   /* it could not be had again */
	char last_line[MAX_LINE];
	uint64_t starts[MAX_STARTS]; /* uv_now, a ring */
	unsigned int nr_starts;
	void (*on_stopped)(void *arg);
	void *stopped_arg;
};

static void agent_run(struct sbx_agent *a);
static void agent_run_over(struct sbx_agent *a);

/* ---- where it is ---- */

static bool is_program(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode) &&
	       access(path, X_OK) == 0;
}

static int agent_find(struct sbx_agent *a, struct sbx_error *reterr)
{
	char self[PATH_MAX];
	ssize_t n;
	char *slash;

	if (a->conf->agent) {
		snprintf(a->program, sizeof(a->program), "%s", a->conf->agent);
		if (is_program(a->program))
			return 0;
		return sbx_error_set(reterr, -ENOENT,
				     "the agent %s is no program that can be "
				     "started",
				     a->program);
	}
	n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (n > 0) {
		self[n] = '\0';
		slash = strrchr(self, '/');
		*slash = '\0';
		if (snprintf(a->program, sizeof(a->program), "%s/sbxfs-agent",
			     self) < (int)sizeof(a->program) &&
		    is_program(a->program))
			return 0;
	}
	snprintf(a->program, sizeof(a->program), "%s/sbxfs/sbxfs-agent",
		 SBX_LIBEXECDIR);
	if (is_program(a->program))
		return 0;
	return sbx_error_set(reterr, -ENOENT,
			     "the agent for local sandboxes was not found "
			     "(%s); is sbxfs installed completely?",
			     a->program);
}

/* mkdir -p; the folders that are made are private */
static int agent_make_dir(const char *dir, struct sbx_error *reterr)
{
	SBX_FREE char *path = strdup(dir);
	struct stat st;
	char *p;

	if (!path)
		return sbx_error_set(reterr, -ENOMEM, "out of memory");
	for (p = path + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		if (mkdir(path, 0700) < 0 && errno != EEXIST)
			break;
		*p = '/';
	}
	if (!*p && (mkdir(dir, 0700) == 0 || errno == EEXIST) &&
	    stat(dir, &st) == 0 && S_ISDIR(st.st_mode))
		return 0;
	return sbx_error_set(reterr, errno == EEXIST ? -ENOTDIR : -errno,
			     "cannot make the folder %s for the sandboxes: %s",
			     dir, strerror(errno == EEXIST ? ENOTDIR : errno));
}

/* ---- what it says ---- */

static void on_pipe_closed(uv_handle_t *handle)
{
	struct sbx_agent *a = handle->data;

	a->nr_handles--;
	agent_run_over(a);
}

static void pipe_close(struct agent_pipe *p)
{
	if (!p->open)
		return;
	p->open = false;
	p->pipe.data = p->agent;
	uv_close((uv_handle_t *)&p->pipe, on_pipe_closed);
}

static void on_alloc(uv_handle_t *handle, size_t hint, uv_buf_t *buf)
{
	struct agent_pipe *p = handle->data;

	if (p->len == sizeof(p->line) - 1)
		p->len = 0; /* too long a line: its beginning is dropped */
	*buf = uv_buf_init(p->line + p->len,
			   (unsigned int)(sizeof(p->line) - 1 - p->len));
}

static bool pipe_next_line(struct agent_pipe *p, char *line)
{
	char *end = memchr(p->line, '\n', p->len);
	size_t n;

	if (!end)
		return false;
	n = (size_t)(end - p->line);
	memcpy(line, p->line, n);
	line[n] = '\0';
	p->len -= n + 1;
	memmove(p->line, end + 1, p->len);
	return true;
}

static void on_error_text(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct agent_pipe *p = stream->data;
	char line[MAX_LINE];

	if (n < 0) {
		pipe_close(p);
		return;
	}
	p->len += (size_t)n;
	while (pipe_next_line(p, line)) {
		if (!*line)
			continue;
		memcpy(p->agent->last_line, line, sizeof(line));
		sbx_log(SBX_LOG_INFO, "agent", "%s", line);
	}
}

static void agent_ready(struct sbx_agent *a, unsigned int port)
{
	a->is_ready = true;
	a->port = port;
	a->port_lost = false;
	uv_timer_stop(&a->timer);
	sbx_log(SBX_LOG_DEBUG, "agent", "ready on port %u", port);
	if (!a->stopping)
		a->handler->on_ready(a->arg, port);
}

static void on_ready_text(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct agent_pipe *p = stream->data;
	char line[MAX_LINE], extra;
	unsigned int port;

	if (n < 0) {
		pipe_close(p);
		return;
	}
	p->len += (size_t)n;
	if (!pipe_next_line(p, line))
		return;
	if (!p->agent->is_ready &&
	    sscanf(line, "ready %u%c", &port, &extra) == 1 && port &&
	    port <= 65535)
		agent_ready(p->agent, port);
}

/* ---- its end ---- */

static void on_timer_closed(uv_handle_t *handle)
{
	struct sbx_agent *a = handle->data;
	void (*on_stopped)(void *arg) = a->on_stopped;
	void *arg = a->stopped_arg;

	free(a);
	on_stopped(arg);
}

static void on_start_again(uv_timer_t *timer)
{
	agent_run(timer->data);
}

/* No more than MAX_STARTS a minute, and never at once. */
static void agent_start_later(struct sbx_agent *a)
{
	uint64_t now = uv_now(a->loop), at = now + PAUSE_MS;
	uint64_t oldest = a->starts[a->nr_starts % MAX_STARTS];

	if (a->nr_starts >= MAX_STARTS && oldest + WINDOW_MS > at)
		at = oldest + WINDOW_MS;
	if (at > now + PAUSE_MS)
		sbx_log(SBX_LOG_ERROR, "agent",
			"it ended %d times within a minute; trying again in "
			"%u s",
			MAX_STARTS, (unsigned int)((at - now) / 1000));
	uv_timer_start(&a->timer, on_start_again, at - now, 0);
}

static void agent_tell_lost(struct sbx_agent *a)
{
	/* whoever opens the service is told, and tells */
	bool first = !a->is_ready && a->nr_starts <= 1;
	struct sbx_error e;

	if (a->is_ready)
		sbx_error_set(&e, -ETIMEDOUT,
			      "the local agent ended and is being started "
			      "again");
	else
		sbx_error_set(&e, -EIO,
			      "the local agent %s did not start: "
			      "%.120s",
			      a->program,
			      a->last_line[0] ? a->last_line
					      : "it said nothing");
	e.retry = SBX_RETRY_CONNECTION;
	sbx_log(first ? SBX_LOG_DEBUG : SBX_LOG_ERROR, "agent", "%s", e.text);
	a->handler->on_lost(a->arg, &e);
}

/* The process is reaped and its pipes are closed: a run is over. */
static void agent_run_over(struct sbx_agent *a)
{
	if (a->nr_handles || !a->running)
		return;
	a->running = false;
	if (a->stopping) {
		uv_close((uv_handle_t *)&a->timer, on_timer_closed);
		return;
	}
	/* was it the port of old? then another will do */
	if (!a->is_ready)
		a->port_lost = true;
	agent_tell_lost(a);
	if (!a->stopping)
		agent_start_later(a);
}

static void agent_close_run(struct sbx_agent *a)
{
	pipe_close(&a->ready);
	pipe_close(&a->errors);
	if (!uv_is_closing((uv_handle_t *)&a->lifeline))
		uv_close((uv_handle_t *)&a->lifeline, on_pipe_closed);
}

/* The last words are read before the pipe they come through is closed. */
static void agent_read_rest(struct agent_pipe *p)
{
	struct sbx_agent *a = p->agent;
	uv_os_fd_t fd;
	ssize_t n;

	if (!p->open || uv_fileno((uv_handle_t *)&p->pipe, &fd) < 0)
		return;
	n = read(fd, p->line + p->len, sizeof(p->line) - 1 - p->len);
	if (n > 0)
		on_error_text((uv_stream_t *)&p->pipe, n, NULL);
	if (p->len && !a->last_line[0]) {
		memcpy(a->last_line, p->line, p->len);
		a->last_line[p->len] = '\0';
	}
}

static void on_agent_exit(uv_process_t *process, int64_t status, int sig)
{
	struct sbx_agent *a = process->data;

	a->exited = true;
	uv_timer_stop(&a->timer);
	agent_read_rest(&a->errors);
	if (!a->stopping && !a->last_line[0])
		snprintf(a->last_line, sizeof(a->last_line),
			 sig ? "killed by signal %d" : "exit status %d",
			 sig ? sig : (int)status);
	agent_close_run(a);
	uv_close((uv_handle_t *)process, on_pipe_closed);
}

static void on_kill(uv_timer_t *timer)
{
	struct sbx_agent *a = timer->data;

	if (!a->exited)
		uv_process_kill(&a->process, SIGKILL);
}

void sbx_agent_stop(struct sbx_agent *a, void (*on_stopped)(void *arg),
		    void *arg)
{
	a->stopping = true;
	a->on_stopped = on_stopped;
	a->stopped_arg = arg;
	uv_timer_stop(&a->timer);
	if (!a->running) {
		uv_close((uv_handle_t *)&a->timer, on_timer_closed);
		return;
	}
	if (a->exited)
		return; /* agent_run_over goes on */
	uv_process_kill(&a->process, SIGTERM);
	uv_timer_start(&a->timer, on_kill, TERM_MS, 0);
}

/* ---- its start ---- */

static void pipe_init(struct sbx_agent *a, struct agent_pipe *p)
{
	uv_pipe_init(a->loop, &p->pipe, 0);
	p->agent = a;
	p->pipe.data = p;
	p->len = 0;
	p->open = true;
	a->nr_handles++;
}

/* Ours, but for keys, and with its own key. */
static char **agent_env(const struct sbx_agent *a)
{
	size_t i, n = 0, nr = 0;
	char **env;

	for (i = 0; environ[i]; i++)
		nr++;
	env = calloc(nr + 2, sizeof(*env));
	if (!env)
		return NULL;
	if (asprintf(&env[n++], "%s=%s", KEY_VARIABLE,
		     sbx_secret_text(a->key)) < 0) {
		free(env);
		return NULL;
	}
	for (i = 0; i < nr; i++)
		if (strncmp(environ[i], KEY_VARIABLE "=", sizeof(KEY_VARIABLE)))
			env[n++] = environ[i];
	return env;
}

static void agent_env_free(char **env)
{
	if (!env)
		return;
	explicit_bzero(env[0], strlen(env[0]));
	free(env[0]);
	free(env);
}

/* A NULL-ended list of pointers into what lives long enough. */
static char **agent_argv(struct sbx_agent *a, char *listen)
{
	char **more = a->conf->agent_args, **argv;
	static char words[][16] = {"--dir", "--listen",	      "--ready-fd",
				   "3",	    "--exit-with-fd", "4"};
	size_t n = 0, i, nr = 0;

	_Static_assert(READY_FD == 3 && EXIT_FD == 4, "as in words");
	while (more && more[nr])
		nr++;
	argv = calloc(nr + 10, sizeof(*argv));
	if (!argv)
		return NULL;
	argv[n++] = a->program;
	argv[n++] = words[0];
	argv[n++] = a->conf->dir;
	argv[n++] = words[1];
	argv[n++] = listen;
	for (i = 2; i < 6; i++)
		argv[n++] = words[i];
	for (i = 0; i < nr; i++)
		argv[n++] = more[i];
	return argv;
}

static void close_on_exec(const char *fd)
{
	int n = atoi(fd);

	if (n > 2)
		fcntl(n, F_SETFD, FD_CLOEXEC);
}

/* Libraries make sockets that every program inherits: the connections to the
 * other services of a mount are not for the agent. */
static void keep_descriptors(void)
{
	const struct dirent *e;
	DIR *dir;

	if (close_range(3, ~0u, CLOSE_RANGE_CLOEXEC) == 0)
		return;
	/* before Linux 5.11 */
	dir = opendir("/proc/self/fd");
	while (dir && (e = readdir(dir)))
		close_on_exec(e->d_name);
	if (dir)
		closedir(dir);
}

static int agent_spawn(struct sbx_agent *a)
{
	uv_stdio_container_t io[5] = {
		{.flags = UV_IGNORE},
		{.flags = UV_IGNORE},
		{.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE},
		{.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE},
		{.flags = UV_CREATE_PIPE | UV_READABLE_PIPE},
	};
	uv_process_options_t options = {.file = a->program,
					.exit_cb = on_agent_exit,
					.stdio = io,
					.stdio_count = 5,
					/* a ^C at our terminal is for us:
					 * it is needed until we are done */
					.flags = UV_PROCESS_DETACHED};
	char listen[32];
	int r = UV_ENOMEM;

	snprintf(listen, sizeof(listen), "127.0.0.1:%u",
		 a->port_lost ? 0 : a->port);
	io[2].data.stream = (uv_stream_t *)&a->errors.pipe;
	io[3].data.stream = (uv_stream_t *)&a->ready.pipe;
	io[4].data.stream = (uv_stream_t *)&a->lifeline;
	options.env = agent_env(a);
	options.args = agent_argv(a, listen);
	keep_descriptors();
	if (options.env && options.args)
		r = uv_spawn(a->loop, &a->process, &options);
	agent_env_free(options.env);
	free(options.args);
	return r;
}

static void on_not_ready(uv_timer_t *timer)
{
	struct sbx_agent *a = timer->data;

	snprintf(a->last_line, sizeof(a->last_line),
		 "it was not ready within %d s", READY_MS / 1000);
	if (!a->exited)
		uv_process_kill(&a->process, SIGKILL);
}

static void agent_run(struct sbx_agent *a)
{
	int r;

	uv_update_time(a->loop);
	a->starts[a->nr_starts++ % MAX_STARTS] = uv_now(a->loop);
	a->running = true;
	a->is_ready = a->exited = false;
	a->last_line[0] = '\0';
	pipe_init(a, &a->ready);
	pipe_init(a, &a->errors);
	uv_pipe_init(a->loop, &a->lifeline, 0);
	memset(&a->process, 0, sizeof(a->process));
	a->lifeline.data = a->process.data = a;
	a->nr_handles += 2; /* lifeline, process */
	r = agent_spawn(a);
	if (r < 0) {
		snprintf(a->last_line, sizeof(a->last_line), "%s",
			 uv_strerror(r));
		a->exited = true;
		agent_close_run(a);
		/* uv_spawn sets the handle up even if it fails then */
		if (a->process.type == UV_PROCESS)
			uv_close((uv_handle_t *)&a->process, on_pipe_closed);
		else
			a->nr_handles--;
		return;
	}
	uv_read_start((uv_stream_t *)&a->ready.pipe, on_alloc, on_ready_text);
	uv_read_start((uv_stream_t *)&a->errors.pipe, on_alloc, on_error_text);
	uv_timer_start(&a->timer, on_not_ready, READY_MS, 0);
}

int sbx_agent_start(uv_loop_t *loop, const struct sbx_conf *conf,
		    const struct sbx_secret *key,
		    const struct sbx_agent_handler *handler, void *arg,
		    struct sbx_agent **ret, struct sbx_error *reterr)
{
	struct sbx_agent *a = calloc(1, sizeof(*a));
	int r;

	if (!a)
		return sbx_error_set(reterr, -ENOMEM, "out of memory");
	a->loop = loop;
	a->conf = conf;
	a->key = key;
	a->handler = handler;
	a->arg = arg;
	r = agent_find(a, reterr);
	if (r == 0)
		r = agent_make_dir(conf->dir, reterr);
	if (r < 0) {
		free(a);
		return r;
	}
	uv_timer_init(loop, &a->timer);
	a->timer.data = a;
	agent_run(a);
	*ret = a;
	return 0;
}
