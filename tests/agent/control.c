/*
 * The control socket: lines in, answers out, for tests.  One client at a time
 * is enough; others wait in the backlog.  Its file is for the user alone.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/agent/agent.h"

#define LINE_ROOM 1024

struct agent_control {
	struct agent *agent;
	uv_pipe_t listener;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
};

struct client {
	uv_pipe_t pipe;
	struct agent *agent;
	char line[LINE_ROOM];
	size_t len;
};

struct answer {
	uv_write_t write;
	char *text;
	size_t len;
};

static void on_client_closed(uv_handle_t *h)
{
	free(h->data);
}

static void client_close(struct client *c)
{
	if (!uv_is_closing((uv_handle_t *)&c->pipe))
		uv_close((uv_handle_t *)&c->pipe, on_client_closed);
}

static void on_answered(uv_write_t *write, int status)
{
	struct answer *a = write->data;

	free(a->text);
	free(a);
}

static void client_command(struct client *c, char *line)
{
	struct answer *a = calloc(1, sizeof(*a));
	FILE *out = a ? open_memstream(&a->text, &a->len) : NULL;
	uv_buf_t buf;

	if (!out) {
		free(a);
		client_close(c);
		return;
	}
	agent_fault_command(c->agent, line, out);
	fclose(out);
	a->write.data = a;
	buf = uv_buf_init(a->text, (unsigned int)a->len);
	if (uv_write(&a->write, (uv_stream_t *)&c->pipe, &buf, 1, on_answered) <
	    0) {
		on_answered(&a->write, 0);
		client_close(c);
	}
}

static void on_alloc(uv_handle_t *h, size_t size, uv_buf_t *buf)
{
	struct client *c = h->data;

	*buf = uv_buf_init(c->line + c->len,
			   (unsigned int)(sizeof(c->line) - c->len));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct client *c = stream->data;
	char *end;

	if (n < 0) {
		client_close(c);
		return;
	}
	c->len += (size_t)n;
	while ((end = memchr(c->line, '\n', c->len))) {
		size_t used = (size_t)(end - c->line) + 1;

		*end = 0;
		client_command(c, c->line);
		memmove(c->line, c->line + used, c->len - used);
		c->len -= used;
	}
	if (c->len == sizeof(c->line))
		client_close(c);
}

static void on_connection(uv_stream_t *listener, int status)
{
	struct agent_control *control = listener->data;
	struct client *c = calloc(1, sizeof(*c));

	if (!c)
		return;
	c->agent = control->agent;
	uv_pipe_init(&control->agent->loop, &c->pipe, 0);
	c->pipe.data = c;
	if (uv_accept(listener, (uv_stream_t *)&c->pipe) < 0 ||
	    uv_read_start((uv_stream_t *)&c->pipe, on_alloc, on_read) < 0)
		client_close(c);
}

/* Of one that was killed: a socket that nobody listens on. */
static void control_unlink_stale(const char *path)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct stat st;

	strcpy(sa.sun_path, path);
	if (fd >= 0 && lstat(path, &st) == 0 && S_ISSOCK(st.st_mode) &&
	    connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 &&
	    errno == ECONNREFUSED)
		unlink(path);
	if (fd >= 0)
		close(fd);
}

int agent_control_open(struct agent *agent, const char *path)
{
	struct agent_control *control = calloc(1, sizeof(*control));
	mode_t mask;
	int r;

	if (!control)
		return -ENOMEM;
	if (strlen(path) >= sizeof(control->path)) {
		free(control);
		return -ENAMETOOLONG;
	}
	strcpy(control->path, path);
	control->agent = agent;
	control->listener.data = control;
	uv_pipe_init(&agent->loop, &control->listener, 0);
	control_unlink_stale(path);
	mask = umask(077);
	r = uv_pipe_bind(&control->listener, path);
	umask(mask);
	if (!r)
		r = uv_listen((uv_stream_t *)&control->listener, 8,
			      on_connection);
	agent->fault.control = control;
	return r;
}

static void on_control_closed(uv_handle_t *h)
{
	free(h->data);
}

void agent_control_close(struct agent *agent)
{
	struct agent_control *control = agent->fault.control;

	if (!control)
		return;
	agent->fault.control = NULL;
	unlink(control->path);
	uv_close((uv_handle_t *)&control->listener, on_control_closed);
}
