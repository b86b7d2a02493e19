/* The system calls of the Fs calls, on a worker thread. */
#ifndef AGENT_FILEWORK_H
#define AGENT_FILEWORK_H

#include "tests/agent/agent.h"
#include "tests/agent/msg.h"

struct agent_filework {
	const struct agent *agent; /* options only: they do not change */
	int root_fd;
	uint8_t type;
	char *path, *content;
	size_t path_len, content_len;
	bool recursive;
	size_t max; /* of out */

	msgpack_sbuffer out;
	char error[512]; /* empty: it worked */
	bool never;	 /* there is no answer (Q17) */
};

void agent_filework_do(struct agent_filework *w);
void agent_filework_release(struct agent_filework *w);

/*
 * Takes the identity that Fs calls have, and gives it back.  Only the calling
 * thread changes.
 */
void agent_filework_become(const struct agent *agent);
void agent_filework_unbecome(const struct agent *agent);

#endif
