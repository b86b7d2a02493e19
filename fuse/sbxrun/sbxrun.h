/*
 * sbxrun: runs a command in the sandbox whose folder it is called in, as if
 * it ran here.  It uses nothing but the control files of the mount.
 */
#ifndef SBXRUN_H
#define SBXRUN_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define EXIT_OURS 125 /* as env(1): it failed by itself */

/* What was asked for on the command line. */
struct run_options {
	char **argv; /* the command, NULL-ended */
	char **env;  /* NAME=VALUE, NULL-ended; calloced */
	size_t nr_env;
	const char *dir, *user; /* or NULL */
	bool tty, no_input;
	bool at_terminal; /* why it has a terminal, that it need not have */
	bool merge;	  /* both outputs are one open file */
};

/* Says "sbxrun: ..." and ends with EXIT_OURS. */
_Noreturn void run_fail(const char *fmt, ...)
	__attribute__((format(printf, 1, 2)));

/*
 * place.c: the sandbox of a directory.  *ret_box is its folder, *ret_cwd the
 * same directory as the sandbox has it (relative to the workspace, or
 * absolute).  Both are malloced.  Ends the program if there is none.
 */
void place_find(const char *dir, char **ret_box, char **ret_cwd);

/* false: nothing that is typed can reach what runs in this sandbox. */
bool place_has_terminals(const char *box);

/* spec.c: the JSON object for jobs/new; malloced. */
char *spec_text(const struct run_options *o, const char *cwd);

/* term.c: our terminal, while the command has one of its own. */
bool term_is_ours(void); /* we may read it and change it */
void term_size(unsigned int *ret_cols, unsigned int *ret_rows);
void term_raw(void);
void term_restore(void);

/* job.c: starts it, carries its streams and signals; its exit status, or -1: it
 * was not run, and nothing was read or written, since it can have no terminal
 * there that it need not have. */
int job_run(const struct run_options *o, const char *box, const char *spec);

#endif
