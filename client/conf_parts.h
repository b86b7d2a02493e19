/*
 * What the files conf*.c share; nobody else includes this.
 */
#ifndef SBX_CONF_PARTS_H
#define SBX_CONF_PARTS_H

#include <stdbool.h>
#include <stddef.h>

#include "client/conf.h"

/* A service that a SOURCE may name. */
struct sbx_conf_service {
	const char *word;
	const char *key_env, *token_env;
	bool is_here; /* this version can talk to it */
};
/* NULL for a word that is none */
const struct sbx_conf_service *sbx_conf_service_find(const char *word,
						     size_t len);
/* The nth of them, NULL beyond. */
const struct sbx_conf_service *sbx_conf_service_nth(size_t n);

/*
 * Finds the profile in the configuration files and reads it into conf; its
 * source goes to *ret_source (the caller frees).  -ENOENT if there is none.
 */
int sbx_conf_read_profile(struct sbx_conf *conf, const char *name,
			  char **ret_source, struct sbx_error *reterr);

/*
 * The whole of a small file, NUL-ended, in memory that the caller wipes and
 * frees; *ret_private tells whether only its owner can read it.
 */
int sbx_conf_read_file(const char *path, char **ret_text, size_t *ret_len,
		       bool *ret_private);

/* Seconds as text to milliseconds; -EINVAL beyond what makes sense. */
int sbx_conf_parse_timeout(const char *text, unsigned int *ret_ms);

#endif
