/*
 * The terminals of one sandbox: commands on a pseudo terminal that have a
 * name instead of a number, and whose output is kept like the scrollback of a
 * window: readers see the last SFS_TERMINAL_KEEP bytes and what follows, and
 * none of them holds another or the program back.  Loop thread.
 */
#ifndef SFS_TERMINALS_H
#define SFS_TERMINALS_H

#include <stdint.h>

#include "client/error.h"

#define SFS_MAX_TERMINALS 64 /* each costs at most the following */
#define SFS_TERMINAL_KEEP (256 * 1024)

struct sbx_exec_spec;
struct sfs_job;
struct sfs_sandbox;

struct sfs_terminals {
	struct sfs_job *newest;
	unsigned int nr;
	uint32_t last_number;
};

/*
 * Starts the login shell, or what spec says (its content is taken), in a
 * terminal of that name, or of a number that is free.  NULL with an error;
 * borrowed.
 */
struct sfs_job *sfs_terminals_start(struct sfs_sandbox *sb, const char *name,
				    struct sbx_exec_spec *spec,
				    struct sbx_error *reterr);
struct sfs_job *sfs_terminals_find(struct sfs_sandbox *sb, const char *name);
/* Hangs it up if it still runs, and forgets it. */
void sfs_terminals_remove(struct sfs_sandbox *sb, struct sfs_job *j);
/* Forgets all of them. */
void sfs_terminals_clear(struct sfs_sandbox *sb);

#endif
