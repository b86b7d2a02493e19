/* See exec.h.  Loop thread only. */
#include "tests/agent/exec.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void agent_exec_environment(struct agent_args *a)
{
	agent_args_add_all(a,
			   "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:"
			   "/usr/bin:/sbin:/bin",
			   "HOME=/home/sandbox", "USER=sandbox",
			   "TERM=xterm-256color", NULL);
}

void agent_exec_setenv(struct agent_args *a, const char *name,
		       const char *value)
{
	size_t len = strlen(name);
	char *text;

	for (size_t i = 0; i < a->nr; i++) {
		if (strncmp(a->v[i], name, len) || a->v[i][len] != '=')
			continue;
		if (asprintf(&text, "%s=%s", name, value) < 0) {
			a->failed = true;
			return;
		}
		free(a->v[i]);
		a->v[i] = text;
		return;
	}
	agent_args_addf(a, "%s=%s", name, value);
}

static void exec_fail(struct agent_conn *conn, uint32_t channel, uint32_t id,
		      const char *code, const char *why)
{
	agent_socket_error(conn, channel, id, code, why);
}

static void on_exec_start(struct agent_run *run, const char *why)
{
	struct agent_conn *conn = run->arg;
	const struct agent_traits *t = &conn->agent->traits;
	msgpack_sbuffer out;

	if (why) {
		exec_fail(conn, run->channel, run->request, "exec_failed", why);
		return;
	}
	msgpack_sbuffer_init(&out);
	agent_pack_started(&out, run->id, run->channel,
			   t->map_order && agent_random(2));
	/* the envelope repeats the request's, where 0 let us choose */
	agent_tx_message(conn, MSG_ACK, run->channel, run->request, out.data,
			 out.size);
	msgpack_sbuffer_destroy(&out);
	run->paused = conn->tx_paused;
}

static ssize_t on_exec_readable(struct agent_run *run, int which, int fd)
{
	return agent_tx_fill(run->arg,
			     which == 1 ? MSG_EXEC_STDOUT : MSG_EXEC_STDERR,
			     run->channel, fd);
}

static void on_exec_exit(struct agent_run *run, int exit_code)
{
	struct agent_conn *conn = run->arg;
	msgpack_sbuffer out;

	msgpack_sbuffer_init(&out);
	agent_pack_int(
		&out, conn->agent->traits.exit_camel ? "exitCode" : "exit_code",
		exit_code);
	agent_tx_message(conn, MSG_EXEC_EXIT, run->channel, 0, out.data,
			 out.size);
	msgpack_sbuffer_destroy(&out);
}

static const struct agent_run_listener exec_listener = {
	.on_start = on_exec_start,
	.on_readable = on_exec_readable,
	.on_exit = on_exec_exit,
};

struct exec_request {
	struct agent_args argv, envp;
	char *cwd;
	bool tty;
	const char *invalid; /* a payload that is none */
	const char *failed;  /* what the kernel would refuse */
};

/* Go's os/exec refuses a NUL before the kernel sees it. */
static void request_add_arg(struct exec_request *q, const struct agent_bytes *b)
{
	char *text = agent_bytes_dup(b);

	if (text)
		agent_args_add(&q->argv, text);
	else
		q->failed = "fork/exec /usr/bin/nsenter: invalid argument";
	free(text);
}

static void request_read_args(struct exec_request *q, struct agent_map *m)
{
	const msgpack_object_array *args = agent_map_array(m, "args");
	struct agent_bytes b = {0};

	agent_map_string(m, "command", &b);
	request_add_arg(q, &b);
	for (uint32_t i = 0; args && i < args->size; i++) {
		if (agent_object_string(&args->ptr[i], &b))
			request_add_arg(q, &b);
		else
			q->invalid = "msgpack: invalid code decoding "
				     "string/bytes length";
	}
}

static void request_read_env(struct exec_request *q, struct agent_map *m)
{
	const msgpack_object_map *env = agent_map_map(m, "env");
	struct agent_bytes b;

	agent_exec_environment(&q->envp);
	for (uint32_t i = 0; env && i < env->size; i++) {
		char *name = NULL, *value = NULL;

		if (!agent_object_string(&env->ptr[i].key, &b))
			goto invalid;
		name = agent_bytes_dup(&b);
		if (!agent_object_string(&env->ptr[i].val, &b)) {
			free(name);
			goto invalid;
		}
		value = agent_bytes_dup(&b);
		if (name && value)
			agent_exec_setenv(&q->envp, name, value);
		else
			q->failed = "fork/exec /usr/bin/nsenter: "
				    "invalid argument";
		free(name);
		free(value);
	}
	return;
invalid:
	q->invalid = "msgpack: invalid code decoding string/bytes length";
}

static void request_read(struct exec_request *q, const struct agent_envelope *e)
{
	struct agent_bytes cwd = {0};
	struct agent_map m;

	agent_map_open(&m, e->payload, e->len);
	if (!m.error) {
		request_read_args(q, &m);
		request_read_env(q, &m);
		agent_map_string(&m, "cwd", &cwd);
		agent_map_bool(&m, "tty", &q->tty);
		q->cwd = cwd.len ? agent_bytes_dup(&cwd)
				 : strdup(AGENT_WORKSPACE);
	}
	if (m.error)
		q->invalid = m.error;
	else if (!q->cwd)
		q->failed = "fork/exec /usr/bin/nsenter: invalid argument";
	else if (q->argv.failed || q->envp.failed)
		q->failed = "fork/exec /usr/bin/nsenter: cannot allocate "
			    "memory";
	else if (q->tty)
		q->failed = "start pty: fork/exec /usr/bin/nsenter: "
			    "operation not permitted";
	agent_map_close(&m);
}

static void exec_run(struct agent_conn *conn, const struct agent_envelope *e,
		     const struct exec_request *q)
{
	struct agent_sandbox *s = conn->sandbox;
	struct agent_run_conf conf = {q->argv.v, q->envp.v, q->cwd};
	uint32_t channel = e->channel ? e->channel : 100 + ++s->last_channel;
	struct agent_run *run;
	const char *why;

	if (agent_run_start(s, &conf, &exec_listener, conn, &run, &why) < 0) {
		exec_fail(conn, e->channel, e->id, "exec_failed", why);
		return;
	}
	run->channel = channel;
	run->request = e->id;
	LIST_INSERT_HEAD(&conn->runs, run, listener_link);
}

void agent_exec_start(struct agent_conn *conn, const struct agent_envelope *e)
{
	struct exec_request q = {0};

	request_read(&q, e);
	if (q.invalid)
		exec_fail(conn, e->channel, e->id, "invalid_payload",
			  q.invalid);
	else if (q.failed)
		exec_fail(conn, e->channel, e->id, "exec_failed", q.failed);
	else
		exec_run(conn, e, &q);
	agent_args_release(&q.argv);
	agent_args_release(&q.envp);
	free(q.cwd);
}

void agent_exec_stdin(struct agent_conn *conn, const struct agent_envelope *e)
{
	struct agent_run *run;
	uint32_t id;

	if (e->len < 4)
		return;
	id = (uint32_t)e->payload[0] << 24 | (uint32_t)e->payload[1] << 16 |
	     (uint32_t)e->payload[2] << 8 | e->payload[3];
	run = agent_run_find(conn->sandbox, id);
	if (run)
		agent_run_write(run, e->payload + 4, e->len - 4);
}

void agent_exec_signal(struct agent_conn *conn, const struct agent_envelope *e)
{
	static const struct {
		const char *name;
		int sig;
	} signals[] = {
		{"SIGTERM", SIGTERM}, {"SIGKILL", SIGKILL}, {"SIGINT", SIGINT}};
	struct agent_bytes name = {0};
	struct agent_run *run = NULL;
	struct agent_map m;
	uint64_t id = 0;

	agent_map_open(&m, e->payload, e->len);
	agent_map_uint(&m, "process_id", &id);
	agent_map_string(&m, "signal", &name);
	if (!m.error && id <= UINT32_MAX)
		run = agent_run_find(conn->sandbox, (uint32_t)id);
	for (size_t i = 0; run && i < sizeof(signals) / sizeof(*signals); i++) {
		if (name.len != strlen(signals[i].name) ||
		    memcmp(name.p, signals[i].name, name.len))
			continue;
		agent_run_signal(run, signals[i].sig);
		break;
	}
	agent_map_close(&m);
}
