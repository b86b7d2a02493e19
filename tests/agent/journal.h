/* What was received: counters per REST route and WebSocket type. */
#ifndef AGENT_JOURNAL_H
#define AGENT_JOURNAL_H

#include <stdint.h>
#include <stdio.h>

#define AGENT_ROUTES	    64
#define AGENT_JOURNAL_LINES 512

struct agent_journal {
	struct {
		char name[64];
		uint64_t count;
	} routes[AGENT_ROUTES];
	unsigned int nr_routes;
	struct {
		uint64_t count, bytes;
	} types[256];
	uint64_t sockets, too_long, out_messages, out_bytes;
	char *lines[AGENT_JOURNAL_LINES]; /* a ring, the newest kept */
	uint64_t nr_lines;
};

/* A request: "POST /api/v2/sandboxes/{id}/exec", without ids. */
void agent_journal_rest(struct agent_journal *j, const char *method,
			const char *path);
/* A message, envelope included. */
void agent_journal_message(struct agent_journal *j, const uint8_t *data,
			   size_t len);
void agent_journal_print(const struct agent_journal *j, FILE *out);
void agent_journal_clear(struct agent_journal *j);

#endif
