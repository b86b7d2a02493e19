/* Starting a command. */
#ifndef HELPER_SPAWN_H
#define HELPER_SPAWN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct helper;
struct sbx_rd;

struct spawn {
	char **argv, **envp; /* NULL-ended, each string by itself */
	char *cwd;	     /* "": the workspace */
	uint32_t flags;	     /* SBX_EXEC_* */
	uint16_t cols, rows;
	/* ours; -1 where there is none */
	int in, out, err;
	pid_t pid;
};

/* Takes argv, cwd, env, flags, cols, rows from a request.  -EINVAL, -ENOMEM;
 * to be released all the same. */
int spawn_get(struct spawn *s, struct sbx_rd *rd);
void spawn_release(struct spawn *s);
/* Waits until the command runs or could not be started: the negative errno of
 * chdir or execve, or of what it needs. */
int spawn_run(struct helper *h, struct spawn *s);

#endif
