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
	/* it may want no key; the token is for something else than the key */
	bool key_is_optional, token_beside_key;
	/* it uses the machines of others, and needs credentials for them */
	bool has_providers;
};
/* NULL for a word that is none */
const struct sbx_conf_service *sbx_conf_service_find(const char *word,
						     size_t len);
/* The nth of them, NULL beyond. */
const struct sbx_conf_service *sbx_conf_service_nth(size_t n);

/* A key as it may stand in a header line, without the blanks around it; NULL
 * with a sentence that names where. */
struct sbx_secret *sbx_conf_secret_from_text(const char *text, size_t len,
					     const char *where,
					     struct sbx_error *reterr);
/* Sets conf->headers to what the environment says of a provider. */
int sbx_conf_find_provider(struct sbx_conf *conf, struct sbx_error *reterr);
/* The nth variable with a provider's credentials; NULL beyond. */
const char *sbx_conf_provider_env(size_t n);

/* Whether that can be the name of a profile. */
bool sbx_conf_name_is_ok(const char *name, size_t len);

/*
 * Finds the profile in the configuration files and reads it into conf; what
 * it is a name for goes to *ret.  -ENOENT if there is none.
 */
struct sbx_profile {
	char *source;	/* of one service, or */
	char **sources; /* the names of other profiles, NULL-ended */
	size_t nr_sources;
};
int sbx_conf_read_profile(struct sbx_conf *conf, const char *name,
			  struct sbx_profile *ret, struct sbx_error *reterr);
void sbx_profile_release(struct sbx_profile *p);

/* A small file that was read.  Release it also after a failure. */
struct sbx_conf_file {
	const char *path;
	char *text; /* NUL-ended */
	size_t len;
	bool is_foreign;    /* belongs to neither the user nor root */
	bool others_read;   /* its group, or everybody */
	bool others_change; /* everybody */
};
/* -errno with a sentence that names what: "the key file". */
int sbx_conf_file_read(struct sbx_conf_file *f, const char *path,
		       const char *what, struct sbx_error *reterr);
/* Whether nobody but its owner has had a say in it and, if it is secret, can
 * read it: -EACCES with a sentence if not. */
int sbx_conf_file_check(const struct sbx_conf_file *f, const char *what,
			bool is_secret, struct sbx_error *reterr);
void sbx_conf_file_release(struct sbx_conf_file *f); /* wipes it */

/* Seconds as text to milliseconds; -EINVAL beyond what makes sense. */
int sbx_conf_parse_timeout(const char *text, unsigned int *ret_ms);

#endif
