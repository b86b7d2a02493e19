/*
 * OpenSandbox's REST bodies: JSON to struct and back.  No input or output.
 */
#ifndef SBX_SVC_OPENSANDBOX_JSON_H
#define SBX_SVC_OPENSANDBOX_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "client/error.h"
#include "client/parse.h"
#include "client/service.h"

/* One sandbox; url says where it was asked for.  -EPROTO, -ENOMEM; ret is
 * untouched then. */
int sbx_osb_sandbox_from_json(struct sbx_sandbox *ret, const json_t *obj,
			      const char *url);
/* The service's own word for its state; "" if there is none. */
const char *sbx_osb_state_word(const json_t *obj);

/*
 * What a status that is not 2xx means, be it the lifecycle server's, the
 * framework's under it, or execd's.  Anything else comes from something that
 * is no OpenSandbox: -EPROTO with a sentence saying so.
 */
int sbx_osb_error_from_http(struct sbx_error *e, int status, const char *body,
			    size_t len, const char *what);
#define SBX_OSB_PRODUCT "an OpenSandbox server"

/* Where a port of a sandbox is reached. */
struct sbx_osb_endpoint {
	char *base;	/* "host:port/path", without a slash at the end */
	char **headers; /* "NAME: VALUE", NULL-ended */
};
/* -EPROTO for what cannot be an address or a header line. */
int sbx_osb_endpoint_from_json(struct sbx_osb_endpoint *ret, const json_t *obj);
void sbx_osb_endpoint_release(struct sbx_osb_endpoint *e);

/* The wish for a new sandbox, checked. */
struct sbx_osb_create {
	char *body;
	char *token; /* EXECD_ACCESS_TOKEN of its env, or NULL */
};
/* options: see struct sbx_call.  marker makes it recognisable in a list.
 * -EINVAL with a sentence that names what is wrong. */
int sbx_osb_create_parse(struct sbx_osb_create *ret, const char *options,
			 const char *marker, struct sbx_error *reterr);
/* The same, of options that may not be all yet; nothing is made. */
int sbx_osb_options_check(const char *options, struct sbx_error *reterr);
void sbx_osb_create_release(struct sbx_osb_create *c);

/*
 * Files and folders of a list; what is neither is left out: where a link leads
 * is not told, and some others never end.  The caller frees
 * (sbx_files_free).  -EPROTO, -E2BIG for more than max, -ENOMEM.
 */
int sbx_osb_files_from_json(struct sbx_file **ret, size_t *ret_nr,
			    const json_t *list, size_t max);

#endif
