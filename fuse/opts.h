/*
 * The command line.  One table of options is behind the parser, --help and
 * the test that compares them with the manual page.  Used by main before
 * anything else exists.
 */
#ifndef SFS_OPTS_H
#define SFS_OPTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/types.h>

#include "client/error.h"
#include "client/log.h"

struct sfs_opts {
	char *source;
	char *mountpoint; /* as given */
	char *fsname;	  /* NULL: the source */
	char *subtype;	  /* NULL: "sbxfs" */
	char *keyfile;
	char *agent;
	char **agent_args; /* NULL-ended, or NULL */
	char *kernel;	   /* options for the mount itself, "a,b=c" */
	uid_t uid;
	gid_t gid;
	mode_t umask;		 /* (mode_t)-1: none */
	unsigned int timeout_ms; /* 0: not given */
	size_t cache;		 /* bytes */
	enum sbx_log_level log_level;
	bool help, version, foreground;
	bool read_only, protect, nonempty, keepalive;
	bool local_locks, follow_inside;
	bool plain, helper; /* helper=off, helper=on; neither: as the profile */
	bool suid, dev;	    /* asked for */
};

/*
 * Fills *opts.  -EINVAL with one sentence.  What was parsed up to a mistake
 * is there to be released.
 */
int sfs_opts_parse(struct sfs_opts *opts, int argc, char *argv[],
		   struct sbx_error *reterr);
void sfs_opts_release(struct sfs_opts *opts);
void sfs_opts_help(FILE *f);

/* The rows of the table as they are written ("-o timeout=SECONDS"), for the
 * test; NULL at the end. */
const char *sfs_opts_nth(size_t n);

#endif
