/*
 * Values in what a service sends, read with care.  No input or output.
 */
#ifndef SBX_PARSE_H
#define SBX_PARSE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "client/service.h"

/* Ids become file names, and parts of URLs: letters, digits and '-'. */
bool sbx_is_id(const char *id);
/*
 * A name of the user's choice may be anything; only a plain file name of at
 * most 255 bytes is of use.  NULL is none.
 */
bool sbx_is_file_name(const char *name);
/* "PORT", 1 to 65535, without zeros before it; 0: it is none */
unsigned int sbx_port_from_text(const char *text);
/* Digits alone, at most max; -1: it is no such number. */
int64_t sbx_number_from_text(const char *text, int64_t max);
/* "2026-04-22T10:20:30.123456789+02:00" to milliseconds since 1970; 0 if it
 * is none, or NULL.  Without a zone it is UTC. */
int64_t sbx_time_from_text(const char *text);
/*
 * The files that a list tells of, which the caller frees (sbx_files_free).
 * file: 0, or -ENOMEM; for any other error one is left out, as what cannot be
 * shown.  -E2BIG: more than max of them; -ENOMEM.
 */
int sbx_files_from_json(struct sbx_file **ret, size_t *ret_nr,
			const json_t *list, size_t max,
			int (*file)(struct sbx_file *ret, const json_t *obj));
/* As part of a URL: all but letters, digits and "-._~" as %XX.  The caller
 * frees; NULL without memory. */
char *sbx_percent_encode(const char *text);
/* *to is a copy, NULL for NULL; -ENOMEM */
int sbx_dup_text(char **to, const char *text);

/* A service's words for states; the last, with NULL, is any other word. */
struct sbx_state_word {
	const char *word;
	enum sbx_state state;
};
enum sbx_state sbx_state_from_word(const struct sbx_state_word *words,
				   const char *word);
/*
 * Copies of what a sandbox's record obj tells, and of obj as its info.  name
 * is left out if it is no file name.  -ENOMEM: s was released.
 */
int sbx_sandbox_texts(struct sbx_sandbox *s, const json_t *obj, const char *id,
		      const char *name, const char *image, const char *url);

#endif
