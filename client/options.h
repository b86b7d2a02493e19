/*
 * The options of a new sandbox, a JSON object of the user's, made into a
 * request body word by word.  For svc_*_options.c; no input or output.
 */
#ifndef SBX_OPTIONS_H
#define SBX_OPTIONS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/error.h"

struct sbx_maker {
	json_t *body;	    /* what is being made */
	void *own;	    /* the service's */
	const char *marker; /* to find it by; the service's, too */
	char **text; /* gets what was made, which the caller frees; or NULL */
	struct sbx_error *reterr;
};
struct sbx_maker_word {
	const char *key; /* NULL ends the list, and is any other word if it
			    can be taken */
	int (*take)(struct sbx_maker *m, const char *key, const json_t *value);
};

/*
 * Takes each member of options, as of struct sbx_call, by its word, and then
 * finish(m), which may be NULL, what m->body, which lives no longer than this,
 * has become.
 * -EINVAL with a sentence that names what is wrong, -ENOMEM.
 */
int sbx_maker_run(struct sbx_maker *m, const char *options,
		  const struct sbx_maker_word *words,
		  int (*finish)(struct sbx_maker *m));

/* -EINVAL with the sentence "KEY: WHY" */
int sbx_maker_wrong(struct sbx_maker *m, const char *key, const char *why);
int sbx_maker_no_memory(struct sbx_maker *m);
/* Takes value, which may be NULL: -ENOMEM. */
int sbx_maker_put(struct sbx_maker *m, const char *key, json_t *value);

/* The body as it is by now, which the caller frees: -ENOMEM. */
int sbx_maker_text(struct sbx_maker *m, char **ret);

/* The object that is this member of the body, made if need be; NULL: -ENOMEM
 * was said. */
json_t *sbx_maker_object(struct sbx_maker *m, const char *key);
/*
 * Adds the members of value, an object of at most `most` names and texts, to
 * an object.  A number or truth value may stand for a text.  wrong(name, text)
 * says why one is not taken, or NULL; it may be absent.
 */
int sbx_maker_add_texts(
	struct sbx_maker *m, const char *key, const json_t *value, size_t most,
	const char *(*wrong)(const char *name, const char *text), json_t *to);
/* A whole number, or its digits; else -EINVAL and `why`. */
int sbx_maker_number(struct sbx_maker *m, const char *key, const json_t *value,
		     int64_t least, int64_t most, const char *why,
		     int64_t *ret);

/* `take` of words that are members of the body as they are */
int sbx_take_truth(struct sbx_maker *m, const char *key, const json_t *value);
int sbx_take_object(struct sbx_maker *m, const char *key, const json_t *value);
int sbx_take_text(struct sbx_maker *m, const char *key, const json_t *value);
int sbx_take_list(struct sbx_maker *m, const char *key, const json_t *value);

/* Text, number or truth value as text, which the caller frees; NULL for
 * anything else. */
char *sbx_scalar_text(const json_t *v);
/* `wrong` of variables for an environment */
const char *sbx_env_wrong(const char *name, const char *text);

#endif
