/* See journal.h.  Loop thread only. */
#include "tests/agent/journal.h"

#include <stdlib.h>
#include <string.h>

static void journal_line(struct agent_journal *j, char *line)
{
	char **at = &j->lines[j->nr_lines % AGENT_JOURNAL_LINES];

	if (!line)
		return;
	free(*at);
	*at = line;
	j->nr_lines++;
}

void agent_journal_rest(struct agent_journal *j, const char *method,
			const char *path)
{
	char name[64], *line;
	const char *id = strstr(path, "/sandboxes/"), *rest = NULL;
	unsigned int i;

	if (id) {
		id += strlen("/sandboxes/");
		rest = strchr(id, '/');
		snprintf(name, sizeof(name), "%s %.*s{id}%s", method,
			 (int)(id - path), path, rest ? rest : "");
	} else {
		snprintf(name, sizeof(name), "%s %s", method, path);
	}
	if (asprintf(&line, "rest %s %s", method, path) > 0)
		journal_line(j, line);
	for (i = 0; i < j->nr_routes; i++) {
		if (!strcmp(j->routes[i].name, name))
			break;
	}
	if (i == AGENT_ROUTES)
		return; /* wild paths; the real ones are fewer */
	if (i == j->nr_routes) {
		j->nr_routes++;
		snprintf(j->routes[i].name, sizeof(j->routes[i].name), "%s",
			 name);
	}
	j->routes[i].count++;
}

void agent_journal_message(struct agent_journal *j, const uint8_t *data,
			   size_t len)
{
	char *line;

	if (!len)
		return;
	j->types[data[0]].count++;
	j->types[data[0]].bytes += len;
	/* stdin would fill the list and tells nothing */
	if (data[0] != 0x21 &&
	    asprintf(&line, "ws 0x%02x %zu", data[0], len) > 0)
		journal_line(j, line);
}

void agent_journal_print(const struct agent_journal *j, FILE *out)
{
	uint64_t first = j->nr_lines > AGENT_JOURNAL_LINES
				 ? j->nr_lines - AGENT_JOURNAL_LINES
				 : 0;

	for (unsigned int i = 0; i < j->nr_routes; i++)
		fprintf(out, "route %llu %s\n",
			(unsigned long long)j->routes[i].count,
			j->routes[i].name);
	for (int i = 0; i < 256; i++) {
		if (j->types[i].count)
			fprintf(out, "type 0x%02x %llu %llu\n", i,
				(unsigned long long)j->types[i].count,
				(unsigned long long)j->types[i].bytes);
	}
	fprintf(out, "sockets %llu\ntoo-long %llu\nsent %llu %llu\n",
		(unsigned long long)j->sockets, (unsigned long long)j->too_long,
		(unsigned long long)j->out_messages,
		(unsigned long long)j->out_bytes);
	for (uint64_t i = first; i < j->nr_lines; i++)
		fprintf(out, "%s\n", j->lines[i % AGENT_JOURNAL_LINES]);
}

void agent_journal_clear(struct agent_journal *j)
{
	for (int i = 0; i < AGENT_JOURNAL_LINES; i++)
		free(j->lines[i]);
	*j = (struct agent_journal){0};
}
