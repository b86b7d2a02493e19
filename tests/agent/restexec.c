/*
 * POST .../exec: one command, its output collected, no stdin.  On a time-out
 * the command goes on, as it does when the client hangs up.  Loop thread.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/agent/exec.h"
#include "tests/agent/http.h"
#include "tests/agent/utf8.h"

/* The real agent has no limit; one answer cannot take all our memory. */
#define OUTPUT_MAX (64 * 1024 * 1024)

struct rest_exec {
	struct agent_conn *conn; /* NULL: it has hung up or was answered */
	struct agent_run *run;
	uv_timer_t timer;
	msgpack_sbuffer out[2];
};

static void exec_free(struct rest_exec *x)
{
	msgpack_sbuffer_destroy(&x->out[0]);
	msgpack_sbuffer_destroy(&x->out[1]);
	free(x);
}

static void on_timer_closed(uv_handle_t *h)
{
	exec_free(h->data);
}

/* Nobody waits for the answer any more; the run goes on alone. */
static void exec_drop(void *job)
{
	struct rest_exec *x = job;

	x->conn = NULL;
	if (x->run) {
		LIST_REMOVE(x->run, listener_link);
		agent_run_detach(x->run);
		x->run = NULL;
	}
	uv_close((uv_handle_t *)&x->timer, on_timer_closed);
}

/* Takes the job off the request: it is about to be answered. */
static struct agent_conn *exec_finish(struct rest_exec *x)
{
	struct agent_conn *conn = x->conn;

	conn->http->job = NULL;
	return conn;
}

static void on_timeout(uv_timer_t *timer)
{
	struct rest_exec *x = timer->data;

	agent_rest_error(exec_finish(x), 504, "EXEC_TIMEOUT", false,
			 "command execution timed out", NULL);
	exec_drop(x);
}

static void on_rest_start(struct agent_run *run, const char *why)
{
	struct rest_exec *x = run->arg;
	char text[512];

	if (!why)
		return;
	snprintf(text, sizeof(text), "exec failed: exec_failed: %s", why);
	agent_rest_error(exec_finish(x), 500, "INTERNAL", true, text, NULL);
	exec_drop(x);
}

static ssize_t on_rest_readable(struct agent_run *run, int which, int fd)
{
	struct rest_exec *x = run->arg;
	static char data[65536];
	msgpack_sbuffer *out = &x->out[which - 1];
	ssize_t n = read(fd, data, sizeof(data));

	if (n > 0 && out->size < OUTPUT_MAX)
		msgpack_sbuffer_write(out, data, (size_t)n);
	return n;
}

static void on_rest_exit(struct agent_run *run, int exit_code)
{
	struct rest_exec *x = run->arg;
	struct agent_conn *conn = exec_finish(x);

	agent_http_reply_json(
		conn, 200,
		json_pack("{s:i,s:o,s:o}", "exit_code", exit_code, "stdout",
			  agent_utf8_json(x->out[0].data, x->out[0].size),
			  "stderr",
			  agent_utf8_json(x->out[1].data, x->out[1].size)));
	exec_drop(x);
}

static const struct agent_run_listener rest_listener = {
	.on_start = on_rest_start,
	.on_readable = on_rest_readable,
	.on_exit = on_rest_exit,
};

static void invalid(struct agent_conn *conn)
{
	agent_rest_error(conn, 400, "INVALID_REQUEST", false,
			 "invalid request body", NULL);
}

/* All of it has to fit into one ExecStart to the sidecar. */
static size_t exec_message_size(const struct agent_run_conf *conf,
				size_t fixed_env)
{
	size_t n = AGENT_ENVELOPE + 64;

	for (char *const *p = conf->argv; *p; p++)
		n += strlen(*p) + 3;
	for (char *const *p = conf->envp + fixed_env; *p; p++)
		n += strlen(*p) + 5;
	return n + strlen(conf->cwd);
}

/* false: the body is no good. */
static bool exec_read(json_t *body, struct agent_args *argv,
		      struct agent_args *envp, const char **cwd)
{
	json_t *args = json_object_get(body, "args"), *value;
	json_t *env = json_object_get(body, "env");
	const char *command, *name;
	size_t i;

	command = json_string_value(json_object_get(body, "command"));
	if (!command || !*command || (args && !json_is_array(args)) ||
	    (env && !json_is_object(env)))
		return false;
	agent_args_add(argv, command);
	json_array_foreach(args, i, value)
	{
		if (!json_is_string(value))
			return false;
		agent_args_add(argv, json_string_value(value));
	}
	agent_exec_environment(envp);
	json_object_foreach(env, name, value)
	{
		if (!json_is_string(value))
			return false;
		agent_exec_setenv(envp, name, json_string_value(value));
	}
	value = json_object_get(body, "cwd");
	if (value && !json_is_string(value))
		return false;
	*cwd = json_string_length(value) ? json_string_value(value)
					 : AGENT_WORKSPACE;
	return !argv->failed && !envp->failed;
}

static int64_t exec_timeout(struct agent_conn *conn, json_t *body)
{
	bool v2 = conn->http->version == 2;
	json_t *json =
		json_object_get(body, v2 ? "timeout_ms" : "timeout_seconds");
	int64_t n = json_integer_value(json);

	if (n <= 0)
		return conn->agent->traits.exec_timeout_ms;
	return n > INT64_MAX / 1000 ? INT64_MAX / 1000 : n * (v2 ? 1 : 1000);
}

static void exec_begin(struct agent_conn *conn, struct agent_sandbox *s,
		       const struct agent_run_conf *conf, int64_t timeout_ms)
{
	static LIST_HEAD(, agent_run) rest_runs;
	struct rest_exec *x = calloc(1, sizeof(*x));
	const char *why;
	char text[512];

	if (!x) {
		agent_http_reply_empty(conn, 500);
		return;
	}
	x->conn = conn;
	msgpack_sbuffer_init(&x->out[0]);
	msgpack_sbuffer_init(&x->out[1]);
	if (agent_run_start(s, conf, &rest_listener, x, &x->run, &why) < 0) {
		snprintf(text, sizeof(text), "exec failed: exec_failed: %s",
			 why);
		agent_rest_error(conn, 500, "INTERNAL", true, text, NULL);
		exec_free(x);
		return;
	}
	LIST_INSERT_HEAD(&rest_runs, x->run, listener_link);
	x->timer.data = x;
	uv_timer_init(&conn->agent->loop, &x->timer);
	uv_timer_start(&x->timer, on_timeout, (uint64_t)timeout_ms, 0);
	conn->http->job = x;
	conn->http->job_drop = exec_drop;
}

void agent_rest_exec(struct agent_conn *conn, struct agent_sandbox *s,
		     json_t *body)
{
	struct agent_args argv = {0}, envp = {0}, fixed = {0};
	struct agent_run_conf conf;
	char text[128];

	agent_exec_environment(&fixed);
	if (!exec_read(body, &argv, &envp, &conf.cwd)) {
		invalid(conn);
		goto out;
	}
	conf.argv = argv.v;
	conf.envp = envp.v;
	if (!agent_sandbox_is_reachable(s)) {
		snprintf(text, sizeof(text), "sandbox not ready: %s", s->id);
		agent_rest_error(conn, 500, "INTERNAL", true, text, NULL);
		goto out;
	}
	if (s->dead) {
		agent_rest_error(conn, 503, "SIDECAR_UNREACHABLE", true,
				 "failed to connect to sandbox", NULL);
		goto out;
	}
	/* the agent's own connection is the newest now, and soon closed */
	s->owner = NULL;
	if (exec_message_size(&conf, fixed.nr) >
	    (size_t)conn->agent->traits.message_limit)
		agent_rest_error(conn, 500, "INTERNAL", true,
				 "exec failed: failed to read: received close "
				 "frame: status = StatusMessageTooBig and "
				 "reason = \"read limited at 32769 bytes\"",
				 NULL);
	else
		exec_begin(conn, s, &conf, exec_timeout(conn, body));
out:
	agent_args_release(&argv);
	agent_args_release(&envp);
	agent_args_release(&fixed);
}
