/*
 * xgen's REST bodies: JSON to struct and back.  No input or output.
 */
#ifndef SBX_SVC_XGEN_JSON_H
#define SBX_SVC_XGEN_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "client/error.h"
#include "client/parse.h"
#include "client/service.h"

/*
 * One sandbox, of v1 or v2.  base_url says where it was asked for (the
 * answer's own URL is often wrong).  -EPROTO, -ENOMEM; ret is untouched then.
 */
int sbx_xgen_sandbox_from_json(struct sbx_sandbox *ret, const json_t *obj,
			       const char *base_url);

/*
 * The preview proxy serves every port, and names only those that were asked
 * for.  So the URL of another is put together: from one of this sandbox's (done
 * by sbx_xgen_sandbox_from_json), or of another one of the same server.
 */
struct sbx_xgen_preview {
	char *scheme; /* "https://" */
	char *domain; /* ".preview.example.org:8080" */
};
/* What s tells of it, if it does; -ENOMEM, else 0. */
int sbx_xgen_preview_learn(struct sbx_xgen_preview *p,
			   const struct sbx_sandbox *s);
/* For one that tells nothing. */
int sbx_xgen_preview_fill(const struct sbx_xgen_preview *p,
			  struct sbx_sandbox *s);
void sbx_xgen_preview_release(struct sbx_xgen_preview *p);

/*
 * What a status that is not 2xx means.  Bodies are JSON of two kinds, JSON
 * sent as text, or a few known words; anything else comes from something
 * that is no xgen server: -EPROTO with a sentence saying so.
 */
int sbx_xgen_error_from_http(struct sbx_error *e, int status, const char *body,
			     size_t len, const char *what);
#define SBX_XGEN_PRODUCT "an xgen server"

/* The wish for a new sandbox, checked. */
struct sbx_xgen_create {
	char *body_v2, *body_v1;
	char **env; /* "NAME=value", NULL-ended; NULL: none */
};
/*
 * options: see struct sbx_call.  marker makes it recognisable in a list.
 * -EINVAL with a sentence that names what is wrong.
 */
int sbx_xgen_create_parse(struct sbx_xgen_create *ret, const char *options,
			  const char *marker, struct sbx_error *reterr);
/* The same, of options that may not be all yet; nothing is made. */
int sbx_xgen_options_check(const char *options, struct sbx_error *reterr);
void sbx_xgen_create_release(struct sbx_xgen_create *c);
void sbx_xgen_env_free(char **env);

#endif
