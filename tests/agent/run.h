/*
 * Runs: commands in a sandbox, started by ExecStart or by a REST exec.  A run
 * goes on without a listener; its output is then read and thrown away.
 */
#ifndef AGENT_RUN_H
#define AGENT_RUN_H

#include "tests/agent/sandbox.h"

struct agent_run;

struct agent_run_conf {
	char *const *argv; /* NULL-ended */
	char *const *envp; /* "NAME=value", NULL-ended */
	const char *cwd;
};

/* Who started a run. */
struct agent_run_listener {
	/* It runs; or why says what went wrong, and nothing follows. */
	void (*on_start)(struct agent_run *run, const char *why);
	/* fd has output: reads some of it, returns what read(2) would. */
	ssize_t (*on_readable)(struct agent_run *run, int which, int fd);
	/* Both streams have ended, and so has the command. */
	void (*on_exit)(struct agent_run *run, int exit_code);
};

struct agent_run_stream {
	uv_poll_t poll;
	int fd; /* -1: closed */
	bool polled;
};

struct agent_run_chunk;

struct agent_run {
	LIST_ENTRY(agent_run) id_link;	     /* sandbox->runs */
	LIST_ENTRY(agent_run) listener_link; /* listener's own list */
	struct agent_sandbox *sandbox;
	uint32_t id;

	/* the listener's; NULL: nobody listens any more */
	const struct agent_run_listener *listener;
	void *arg;
	uint32_t channel, request;

	bool started, exited, wrapper_killed, paused, ended;
	int exit_code;
	int nr_polls; /* handles that are not closed yet */
	struct agent_run_stream streams[3];
	STAILQ_HEAD(, agent_run_chunk) queue; /* for stdin */
	size_t queued;
};

/*
 * Starts a command.  The answer comes by on_start, later; on failure 0 is
 * not returned and why is a sentence.  The caller links listener_link.
 */
int agent_run_start(struct agent_sandbox *s, const struct agent_run_conf *conf,
		    const struct agent_run_listener *listener, void *arg,
		    struct agent_run **ret, const char **why);
struct agent_run *agent_run_find(struct agent_sandbox *s, uint32_t id);
/* The listener is gone; it has unlinked the run itself. */
void agent_run_detach(struct agent_run *run);
/* Stops or goes on reading output. */
void agent_run_pause(struct agent_run *run, bool paused);
/* Copies what the pipe does not take at once. */
void agent_run_write(struct agent_run *run, const uint8_t *data, size_t len);
/* ExecSignal. */
void agent_run_signal(struct agent_run *run, int sig);

/* The pod tells. */
void agent_run_on_started(struct agent_sandbox *s, uint32_t id, int err);
void agent_run_on_exited(struct agent_sandbox *s, uint32_t id, int status);
void agent_runs_on_pod_end(struct agent_sandbox *s);

#endif
