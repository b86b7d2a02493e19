/*
 * What libcurl's errors mean to a person.  Used by http.c only.
 */
#ifndef SBX_HTTP_ERROR_H
#define SBX_HTTP_ERROR_H

#include "client/error.h"

/* code: a CURLcode; reason: libcurl's own words, or "" */
void sbx_http_explain(struct sbx_error *e, int code, const char *host,
		      const char *reason);

#endif
