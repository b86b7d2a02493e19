/*
 * Faults on command, and the control socket that takes the commands: one
 * line each, answered by "ok" or by what is wrong.
 */
#ifndef AGENT_FAULT_H
#define AGENT_FAULT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct agent;
struct agent_control;

struct agent_fault {
	uint32_t delay_ms;   /* each message, each way */
	uint64_t drop_after; /* bytes until the connections are reset; 0: off */
	uint64_t bytes;	     /* counted for drop_after */
	bool blackhole, refuse;
	uint32_t http_status, http_left;    /* so many answers of that status */
	uint32_t garbage, html, huge, half; /* so many answers ... */
	uint32_t not_ready, no_reply;

	struct agent_control *control;
};

/* One line without its end; writes the answer. */
void agent_fault_command(struct agent *agent, char *line, FILE *out);
/* Counts bytes of a connection; true: it is to be reset now. */
bool agent_fault_count(struct agent *agent, uint64_t bytes);

/* The control socket; path is unlinked at the end. */
int agent_control_open(struct agent *agent, const char *path);
void agent_control_close(struct agent *agent);

#endif
