/*
 * The options of a new sandbox, a JSON object of the user's, made into a
 * request body word by word.  For svc_*_options.c; no input or output.
 */
#ifndef SBX_OPTIONS_H
#define SBX_OPTIONS_H

#include <jansson.h>
#include <stdbool.h>

#include "client/error.h"

struct sbx_maker {
	json_t *body; /* what is being made */
	void *own;    /* the service's */
	struct sbx_error *reterr;
};
struct sbx_maker_word {
	const char *key; /* NULL ends the list */
	int (*take)(struct sbx_maker *m, const char *key, const json_t *value);
};

/* The options as one object, which the caller drops; NULL for none.
 * -EINVAL. */
int sbx_maker_parse(struct sbx_maker *m, const char *options, json_t **ret);
/* Takes each member by its word; -EINVAL for one without. */
int sbx_maker_take(struct sbx_maker *m, const json_t *options,
		   const struct sbx_maker_word *words);

/* -EINVAL with the sentence "KEY: WHY" */
int sbx_maker_wrong(struct sbx_maker *m, const char *key, const char *why);
int sbx_maker_no_memory(struct sbx_maker *m);
/* Takes value, which may be NULL: -ENOMEM. */
int sbx_maker_put(struct sbx_maker *m, const char *key, json_t *value);

/* Text, number or truth value as text, which the caller frees; NULL for
 * anything else. */
char *sbx_scalar_text(const json_t *v);
bool sbx_env_name_is_word(const char *name);

#endif
