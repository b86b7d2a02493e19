/*
 * What is read from, and written to, the files that OpenSandbox alone has:
 * text of a user to a request's body, and an answer to text.  No input or
 * output.  Results are the caller's to free; -ENOMEM, and -EINVAL with a
 * sentence where there is a reterr.
 */
#ifndef SBX_SVC_OPENSANDBOX_TEXT_H
#define SBX_SVC_OPENSANDBOX_TEXT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "client/error.h"
#include "client/svc_opensandbox_json.h"
#include "client/wire/buf.h"

/* A metadata key that the service takes. */
bool sbx_osb_is_key(const char *key);
/* What sets a key to the one word in text, or, if that is NULL, removes it. */
int sbx_osb_patch_key(char **ret_body, const char *key, const char *text,
		      size_t len, struct sbx_error *reterr);
/* A JSON object of values, where null removes. */
int sbx_osb_patch_all(char **ret_body, const char *text, size_t len,
		      struct sbx_error *reterr);

/*
 * Changes to a network policy: lines "allow TARGET" and "deny TARGET", or
 * lines "remove TARGET", or a JSON array of rules.
 */
struct sbx_osb_policy_change {
	const char *method; /* "PATCH" or "DELETE" */
	char *body;
};
#define SBX_OSB_MAX_RULES 1000
int sbx_osb_policy_parse(struct sbx_osb_policy_change *ret, const char *text,
			 size_t len, struct sbx_error *reterr);

/*
 * The wish for a code context: a language, or a JSON object with "language"
 * and "cwd", which is dir if nothing else is said.
 */
int sbx_osb_context_body(char **ret_body, const char *text, size_t len,
			 const char *dir, struct sbx_error *reterr);
/* Code to run in one; -EINVAL for what is no UTF-8. */
int sbx_osb_code_body(char **ret_body, const char *id, const char *language,
		      const char *code, size_t len, struct sbx_error *reterr);
/*
 * What execd tells of code that ran, as a person reads it: what it printed,
 * values and tracebacks.  That it failed is part of it; an error is what
 * execd could not do, or -EPROTO.
 */
int sbx_osb_code_output(struct sbx_buf *to, const char *body, size_t len,
			const char *url, struct sbx_error *reterr);

/* The paths that a search found, one a line, without dir and its slash. */
int sbx_osb_search_text(char **ret_text, const json_t *found, const char *dir);
/* Where a port is, and the headers that a request there needs. */
int sbx_osb_endpoint_text(char **ret_text, const char *url,
			  const struct sbx_osb_endpoint *e);

#endif
