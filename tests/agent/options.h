/* The agent's command line.  Read once, before the loop. */
#ifndef AGENT_OPTIONS_H
#define AGENT_OPTIONS_H

#include "tests/agent/agent.h"

struct agent_options {
	const char *dir, *listen, *control;
	int ready_fd, exit_fd; /* -1: none */
};

/*
 * Fills o and what belongs to the agent itself (--root, traits, faults);
 * tells what is wrong and returns -EINVAL.  --help and --version end here.
 */
int agent_options_read(struct agent *agent, struct agent_options *o, int argc,
		       char **argv);

#endif
