/*
 * What people write into "exec" and "new", checked and taken apart.  Pure
 * functions on bytes: any thread, and the entry points of fuzzers.
 */
#ifndef SBX_SPEC_H
#define SBX_SPEC_H

#include <stdbool.h>
#include <stddef.h>

#include "client/error.h"

#define SBX_SPEC_EXEC_MAX   (1024 * 1024) /* bytes of one command */
#define SBX_SPEC_CREATE_MAX (64 * 1024)	  /* bytes of options for "new" */

struct sbx_exec_spec {
	char **argv; /* NULL-ended, never empty */
	char **env;  /* "NAME=value", NULL-ended, or NULL */
	char *cwd;   /* NULL: workspace */
	char *user;  /* as written, or NULL */
	char *input; /* for its stdin, or NULL: none */
	size_t input_len;
	char *text;		 /* the command for people to read */
	unsigned int timeout_ms; /* 0: none */
	unsigned int flags;	 /* SBX_EXEC_* */
	unsigned int cols, rows; /* of the terminal; 0: as usual */
	bool is_object;		 /* it was written as JSON */
};

/*
 * A shell command, or a JSON object with "command" or "argv" and options.
 * -EINVAL, -E2BIG with a sentence; *ret is then empty.
 */
int sbx_exec_spec_parse(struct sbx_exec_spec *ret, const char *text, size_t len,
			struct sbx_error *reterr);
/* Where a JSON object that comes in pieces ends; zeroed before the first. */
struct sbx_object_scan {
	bool in_string, escaped;
	size_t depth;
};
/* The next byte of it; true: the object ends with this one. */
bool sbx_object_scan_byte(struct sbx_object_scan *scan, char c);
/*
 * As sbx_exec_spec_parse, while it may still be cut off: 0 if nothing is wrong
 * with it so far.  Cheap: it is parsed when it may be complete.
 */
struct sbx_exec_scan {
	bool began, opened, is_json;
	size_t at;
	struct sbx_object_scan object;
	bool complete; /* it is an object, and all of it */
	bool tty;      /* that a complete object asks for a terminal */
	char user[64]; /* that a complete object names, cut; "": none */
};
int sbx_exec_scan(struct sbx_exec_scan *scan, const char *text, size_t len,
		  struct sbx_error *reterr);
void sbx_exec_spec_release(struct sbx_exec_spec *spec);

/*
 * Options of a new sandbox, lines of key=value or one JSON object, as the
 * JSON object that struct sbx_call wants.  Lines: "a.b=x" is {"a": {"b":
 * "x"}}; ports and capabilities are lists separated by commas; whole numbers,
 * true and false and values that are JSON themselves are taken as such.
 * *ret_name: the name in them, malloced; NULL: none.
 */
int sbx_create_spec_parse(char **ret_options, char **ret_name, const char *text,
			  size_t len, struct sbx_error *reterr);
/* {"name": name}; -EINVAL for a name that no sandbox may have */
int sbx_create_spec_named(char **ret_options, const char *name,
			  struct sbx_error *reterr);

/*
 * The fields of a service's own answer (a JSON object) that hold one value,
 * as "key: value" lines, without those in skip (NULL-ended).  Malloced; NULL:
 * none, or no memory.
 */
char *sbx_info_lines(const char *json, const char *const *skip);

#endif
