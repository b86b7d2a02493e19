/*
 * Sandboxes: DIR/<id>/ with meta.json, home/ and workspace/, and what the
 * agent knows of each.  Loop thread only.
 */
#ifndef AGENT_SANDBOX_H
#define AGENT_SANDBOX_H

#include <jansson.h>

#include "tests/agent/agent.h"

struct agent_pod;
struct agent_ports;
struct agent_watch;
struct agent_run;

LIST_HEAD(agent_run_list, agent_run);
LIST_HEAD(agent_watch_list, agent_watch);

enum agent_state { AGENT_STARTING, AGENT_RUNNING, AGENT_STOPPING };

#define AGENT_RUN_BUCKETS 64
#define AGENT_RUNS_MAX	  4096 /* of one sandbox */

struct agent_sandbox {
	LIST_ENTRY(agent_sandbox) link;
	struct agent *agent;
	unsigned int refs; /* the list, connections, runs, requests */

	char id[16];
	enum agent_state state;
	bool listed;  /* REST knows it */
	bool dead;    /* its sidecar is gone for good */
	bool claimed; /* came "from the warm pool" */
	bool doomed;  /* its folder goes with the last reference */
	char *template;
	json_t *metadata, *env, *ports, *capabilities; /* NULL when empty */
	int64_t created_ms, expires_ms, address_ms;

	int dir_fd, workspace_fd;

	struct agent_pod *pod; /* NULL: not started */
	bool pod_lost;	       /* it died and is not to be started anew */
	struct agent_run_list runs[AGENT_RUN_BUCKETS];
	unsigned int nr_runs;
	uint32_t last_run, last_channel;
	size_t stdin_bytes; /* waiting for commands to read them */

	struct agent_conn *owner;     /* NULL: somebody who has closed */
	struct agent_conn_list conns; /* linked by sandbox_link */
	struct agent_watch_list watches;
	struct agent_ports *open_ports;
	uv_timer_t *timer; /* start, then stop */
};

struct agent_create {
	char template[64];
	int64_t life_ms;
	json_t *metadata, *env, *ports, *capabilities; /* NULL: none */
};

/* Finds those of earlier runs in DIR. */
int agent_sandboxes_load(struct agent *agent);
/* The end: processes are killed, folders stay. */
void agent_sandboxes_stop(struct agent *agent);

int agent_sandbox_create(struct agent *agent, struct agent_create *c,
			 struct agent_sandbox **ret);
/* Borrowed; NULL if REST knows none of that id. */
struct agent_sandbox *agent_sandbox_find(struct agent *agent, const char *id);
/* The folder goes with it (unless warm-pool is on). */
void agent_sandbox_delete(struct agent_sandbox *s);
/* Begins the end of one whose life is over. */
void agent_sandbox_expire(struct agent_sandbox *s);
/* Closes all its sockets without a word, as when its sidecar dies. */
void agent_sandbox_drop_conns(struct agent_sandbox *s);
void agent_sandbox_kill_sidecar(struct agent_sandbox *s);

/* For meta.c: an empty one in the list, its folders, and out of the list. */
struct agent_sandbox *agent_sandbox_new(struct agent *agent, const char *id);
int agent_sandbox_open_folders(struct agent_sandbox *s);
void agent_sandbox_forget(struct agent_sandbox *s);
/* Drops what is planned for it. */
void agent_sandbox_cancel(struct agent_sandbox *s);

struct agent_sandbox *agent_sandbox_ref(struct agent_sandbox *s);
struct agent_sandbox *agent_sandbox_unref(struct agent_sandbox *s);

/* true once it has an address. */
bool agent_sandbox_is_reachable(const struct agent_sandbox *s);
/* Times as version 1 writes them; the URL of a port; new references. */
json_t *agent_sandbox_time(int64_t ms);
json_t *agent_sandbox_preview(const struct agent_sandbox *s, int64_t port);
/* JSON as version 1 or 2 shows it; a new reference. */
json_t *agent_sandbox_json(const struct agent_sandbox *s, int version,
			   bool created_now);

#endif
