/* A growing argument vector that owns its strings. */
#ifndef AGENT_ARGS_H
#define AGENT_ARGS_H

#include <stdbool.h>
#include <stddef.h>

struct agent_args {
	char **v; /* NULL-ended once something was added */
	size_t nr, room;
	bool failed; /* out of memory: v is not to be used */
};

void agent_args_add(struct agent_args *a, const char *text);
void agent_args_addf(struct agent_args *a, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* Several, up to a NULL. */
void agent_args_add_all(struct agent_args *a, ...) __attribute__((sentinel));
void agent_args_release(struct agent_args *a);

#endif
