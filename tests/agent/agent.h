/*
 * sbxfs-agent: a small xgen-sandbox service for one machine.  This is what
 * all its parts share.  One thread, one libuv loop, which libwebsockets runs
 * on as well; only the Fs calls' system calls are made on libuv's workers.
 *
 * listen -> conn (one TCP connection) -> http -> rest, or -> socket (after
 * the upgrade) -> run, files, watch.  A sandbox has a pod (bubblewrap and the
 * runtime in it), runs (commands) and connections.
 */
#ifndef AGENT_AGENT_H
#define AGENT_AGENT_H

#include <libwebsockets.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <uv.h>

#include "tests/agent/fault.h"
#include "tests/agent/journal.h"
#include "tests/agent/traits.h"

struct agent_conn;
struct agent_sandbox;

LIST_HEAD(agent_conn_list, agent_conn);
LIST_HEAD(agent_sandbox_list, agent_sandbox);

#define AGENT_SANDBOXES_MAX 1000

struct agent {
	uv_loop_t loop;
	struct lws_context *lws;
	struct lws_vhost *vhost;
	struct agent_traits traits;
	struct agent_fault fault;
	struct agent_journal journal;

	char *key;		  /* the API key; wiped at the end */
	unsigned char secret[32]; /* signs tokens */
	char *dir;		  /* absolute */
	int dir_fd;
	int own_fd;	   /* DIR/.agent: users, lock */
	int serving_fd;	   /* a lock that is given up before that one, when
			      it begins to end */
	int exe_fd;	   /* this program, sealed */
	bool root;	   /* --root: the sandbox's user is root */
	const char *tools; /* what is in PATH there; NULL: as here */
	bool stopping;

	int port;
	int listen_fd; /* -1 while the fault `refuse` is on */
	uv_poll_t listen_poll;

	struct agent_sandbox_list sandboxes;
	unsigned int nr_sandboxes;
	struct agent_conn_list conns;
	uint64_t nr_accepted; /* WebSockets so far */
	uv_timer_t expiry_timer;
};

/* The user that owns a sandbox's files and runs its commands. */
uid_t agent_uid(const struct agent *agent);

/* Milliseconds since the epoch; random below n (> 0). */
int64_t agent_now_ms(void);
uint32_t agent_random(uint32_t n);

#define AGENT_LOG(...)                                                         \
	do {                                                                   \
		fprintf(stderr, "sbxfs-agent: " __VA_ARGS__);                  \
		fputc('\n', stderr);                                           \
	} while (0)

#endif
