/*
 * What to connect to and how: SOURCE, profile and environment, checked.
 * Secrets live in struct sbx_secret, which no formatter prints.
 */
#ifndef SBX_CONF_H
#define SBX_CONF_H

#include <stdbool.h>
#include <stddef.h>

#include "client/error.h"

struct sbx_secret; /* locked, wiped when freed, excluded from core files */
struct sbx_secret *sbx_secret_new(const char *text, size_t len);
/* The bytes, NUL-ended; borrowed.  "" for NULL. */
const char *sbx_secret_text(const struct sbx_secret *s);
struct sbx_secret *sbx_secret_free(struct sbx_secret *s);

struct sbx_conf {
	char *service;		  /* "local", "xgen", ... */
	char *url;		  /* "http://host:port", no trailing slash */
	char *dir;		  /* local: where its sandboxes live */
	char *only;		  /* SOURCE/ID: that sandbox's id or name */
	struct sbx_secret *key;	  /* API key, or */
	struct sbx_secret *token; /* bearer token; both may be NULL */
	/* further header lines of each request, NULL-ended; or NULL */
	struct sbx_secret **headers;
	unsigned int timeout_ms; /* longest wait for a lost connection */
	bool helper;		 /* false: -o helper=off */
	char *project;		 /* vtrix: a profile's, or NULL */
	char *agent;	   /* local: program to start, NULL: look for it */
	char **agent_args; /* local: more arguments for it, or NULL */
	/* one of several: a key of the environment is not meant for all */
	bool own_key_first;

	/* what a profile gave; sbx_conf_find_key asks the environment first */
	struct sbx_secret *profile_key, *profile_token;
	char *profile_keyfile;
};

/* Zeroes and fills in defaults. */
void sbx_conf_init(struct sbx_conf *conf);
void sbx_conf_release(struct sbx_conf *conf);

/*
 * Reads SOURCE (mount.md: "local", "local:DIR", "xgen+http://host:port[/ID]",
 * or the name of a profile) into conf.  -EINVAL with a sentence on mistakes.
 */
int sbx_conf_parse_source(struct sbx_conf *conf, const char *source,
			  struct sbx_error *reterr);

/*
 * If SOURCE is the name of a profile with the word "sources": the names in
 * it, each the SOURCE of one service, as a NULL-ended list for
 * sbx_conf_names_free.  Else NULL, also if SOURCE makes no sense, which
 * sbx_conf_parse_source will say.
 */
int sbx_conf_parse_sources(const char *source, char ***ret_names,
			   struct sbx_error *reterr);
void sbx_conf_names_free(char **names); /* NULL is fine */

/*
 * Finds the key: keyfile (may be NULL), else the service's own environment
 * variable (xgen: XGEN_API_KEY, or XGEN_TOKEN for a token), else
 * SBXFS_API_KEY, else the profile; with own_key_first, the profile comes
 * before the environment.  -EACCES with a sentence if a keyfile can be read
 * by others; -ENOKEY if there is none and the service needs one.
 */
int sbx_conf_find_key(struct sbx_conf *conf, const char *keyfile,
		      struct sbx_error *reterr);
/* Removes the keys of all services from the environment: call it when all
 * are found, before any thread exists. */
void sbx_conf_wipe_environment(void);

#endif
