/*
 * REST transport: HTTP requests on one uv loop, by libcurl's multi socket
 * interface.  Knows requests and bodies, no service.  Loop thread only.
 *
 * The server is a stranger: only http and https, no redirects, no cookies,
 * no proxies, answers and header lines capped.
 */
#ifndef SBX_HTTP_H
#define SBX_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "client/conf.h"
#include "client/error.h"

struct sbx_http;
struct sbx_http_call;

struct sbx_http *sbx_http_new(uv_loop_t *loop);
/*
 * Fails every request with -ECANCELED from within, and frees; on_closed
 * follows later, from the loop, and is the last thing that happens.
 */
void sbx_http_close(struct sbx_http *http, void (*on_closed)(void *arg),
		    void *arg);

/* Borrowed for the call of sbx_http_submit. */
struct sbx_http_request {
	const char *method; /* "GET", "POST", "DELETE" */
	const char *url;
	const char *body; /* JSON text, or NULL */
	/* "Authorization: SCHEME SECRET"; no header if scheme is NULL */
	const char *auth_scheme;
	const struct sbx_secret *auth;
	/* "NAME: SECRET" instead, if there is a secret */
	const char *auth_name;
	/* further lines "NAME: VALUE", NULL-ended; or NULL */
	char *const *headers;
	unsigned int timeout_ms; /* of the whole request; 0: a minute */
	size_t max_body;	 /* 0: SBX_HTTP_MAX_BODY */
	/* On a connection of its own: libcurl repeats a request by itself
	 * when a kept connection turns out to be dead, and this one must not
	 * be repeated. */
	bool once;
	/* It may take hours, as a command does: it has room for a connection
	 * beside those that are shared, and that one is probed. */
	bool lasts;
	/*
	 * The body of a 2xx as it comes, a piece at a time, instead of with
	 * done; may be absent.  There is no limit of its time and length then,
	 * timeout_ms is for connecting alone, and the request must not be
	 * cancelled from within.  arg is that of done.
	 */
	void (*on_piece)(void *arg, const char *data, size_t len);
};

struct sbx_http_response {
	int status;	  /* 0 if there was no answer: see error */
	const char *body; /* NUL-ended; lives until done returns */
	size_t len;
	const char *content_type; /* "" if none was given */
	unsigned int retry_after_s;
	int64_t date_ms; /* "Date": its clock, since 1970; 0 without */
	/* .err: what kept an answer from coming or from being complete */
	struct sbx_error error;
};
typedef void sbx_http_done_fn(void *arg, const struct sbx_http_response *resp);

/*
 * done is called exactly once, never before this returns, unless the request
 * is cancelled.  NULL without memory or beyond SBX_HTTP_MAX_REQUESTS or _FLOWS:
 * done is not called.
 */
struct sbx_http_call *sbx_http_submit(struct sbx_http *http,
				      const struct sbx_http_request *req,
				      sbx_http_done_fn *done, void *arg);
/* Stops, or goes on, giving pieces; those may come before this returns. */
void sbx_http_pause(struct sbx_http_call *call, bool paused);
/* Forgets the request; done will not be called. */
void sbx_http_cancel(struct sbx_http_call *call);

#endif
