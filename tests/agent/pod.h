/*
 * A pod: bubblewrap with the runtime in it.  Everything a sandbox runs is in
 * its pid namespace and ends with it.
 */
#ifndef AGENT_POD_H
#define AGENT_POD_H

#include "tests/agent/sandbox.h"

struct agent_pod;

/*
 * Starts one and waits for it to work: is bubblewrap there, may we use it?
 * Else a sentence in reason.  Before the loop runs.
 */
int agent_pod_probe(struct agent *agent, char *reason, size_t size);

/* The sandbox's pod, started if need be; NULL: it was lost (Q18). */
struct agent_pod *agent_pod_get(struct agent_sandbox *s);
/* Ends it: its processes die, the sandbox forgets it at once. */
void agent_pod_stop(struct agent_pod *pod);
/* Kills the runtime as a command might; the sandbox notices later. */
void agent_pod_kill(struct agent_pod *pod);
int agent_pod_pid(const struct agent_pod *pod);
/* Pods that have not ended yet, stopped ones included. */
unsigned int agent_pods_alive(void);
/* SIGCHLD: some have. */
void agent_pods_reap(struct agent *agent);

/*
 * Asks for a command; the three descriptors are taken.  run->... is told by
 * agent_run_started or agent_run_failed, later agent_run_exited.
 */
int agent_pod_exec(struct agent_pod *pod, uint32_t id, const char *cwd,
		   char *const *argv, char *const *envp, const int fds[3]);
void agent_pod_signal(struct agent_pod *pod, uint32_t id, int sig);
/* agent_ports_found is called with the answer. */
void agent_pod_ask_ports(struct agent_pod *pod);

#endif
