/*
 * What is written to ComputeSDK's own files, as bodies of requests.  No input
 * or output.
 */
#ifndef SBX_SVC_COMPUTESDK_WORDS_H
#define SBX_SVC_COMPUTESDK_WORDS_H

#include <stddef.h>

#include "client/error.h"

/* The names in a path of the tree that stand for a "+". */
#define CSDK_MAX_NAMES 2
struct csdk_names {
	const char *text[CSDK_MAX_NAMES];
	size_t len[CSDK_MAX_NAMES];
};

struct csdk_words {
	const char *input; /* len bytes */
	size_t len;
	const struct csdk_names *names;
	const char *sandbox; /* its id, or NULL */
	const char *dir;     /* its workspace; NULL: not known */
	/* what comes of it */
	char *body;
	char verb[16]; /* the last part of the path, where the input chooses */
};
/* -EINVAL with a sentence that says what it takes. */
typedef int csdk_words_fn(struct csdk_words *w, struct sbx_error *reterr);
csdk_words_fn csdk_words_json, csdk_words_server_ctl, csdk_words_server_status,
	csdk_words_signal_ctl, csdk_words_child, csdk_words_terminal,
	csdk_words_command, csdk_words_watch, csdk_words_token, csdk_words_link,
	csdk_words_code, csdk_words_batch, csdk_words_variable,
	csdk_words_no_variable, csdk_words_key, csdk_words_emit,
	csdk_words_snapshot;
/* "COLS ROWS" of a terminal. */
int csdk_words_size(const struct csdk_words *w, unsigned int *ret_cols,
		    unsigned int *ret_rows, struct sbx_error *reterr);
void csdk_words_release(struct csdk_words *w);
/* path with the names for its "%s" and "%t", as they stand in URLs, and the
 * verb for its "%v"; NULL without memory */
char *csdk_words_path(const struct csdk_words *w, const char *path,
		      char *const name[CSDK_MAX_NAMES]);

#endif
