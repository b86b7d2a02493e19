/*
 * Why something failed: an errno, whether trying again helps, and one
 * sentence for a person.  Any thread.
 */
#ifndef SBX_ERROR_H
#define SBX_ERROR_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

enum sbx_retry {
	SBX_RETRY_NEVER,
	SBX_RETRY_LATER,      /* the same call may succeed after a pause */
	SBX_RETRY_CONNECTION, /* ... on a new connection */
	SBX_RETRY_TOKEN,      /* ... with new credentials */
	SBX_RETRY_RESUME,     /* ... once somebody has resumed the sandbox */
};

struct sbx_error {
	int err; /* negative errno; 0: no error */
	enum sbx_retry retry;
	int status;	/* HTTP or WebSocket status, 0 if none */
	char text[240]; /* one sentence, no secrets, no line breaks */
};

/*
 * Fills *e (may be NULL) and returns err, so that `return sbx_error_set(...)`
 * works.  Control characters in the formatted text are replaced.
 */
int sbx_error_set(struct sbx_error *e, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
int sbx_error_vset(struct sbx_error *e, int err, const char *fmt, va_list ap)
	__attribute__((format(printf, 3, 0)));
/* Another sentence for what *e says already. */
void sbx_error_reword(struct sbx_error *e, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* The errno (negative) and retry class that mount.md gives an HTTP status. */
int sbx_error_from_http(struct sbx_error *e, int status, const char *what);

/* A page of many servers in Go: the path is none of theirs. */
bool sbx_error_is_no_route(int status, const char *body, size_t len);

/* -EPROTO: what answers at url is no `product` ("an xgen server"). */
int sbx_error_wonder(struct sbx_error *e, const char *url, const char *product,
		     const char *why);

#endif
