/*
 * What the files svc_xgen*.c share; nobody else includes this.  Loop thread.
 *
 *	svc_xgen.c         opening and closing, what the parts share
 *	svc_xgen_auth.c    key or token: which, and renewing it
 *	svc_xgen_rest.c    REST requests: version, credentials, errors
 *	svc_xgen_calls.c   what is its own of calls: keepalive, create
 *	svc_xgen_stream.c  a command over a WebSocket of its own
 *	svc_xgen_files.c   files by the service's own calls, read only
 *	svc_xgen_json.c, svc_xgen_options.c, svc_xgen_wire.c: codecs
 */
#ifndef SBX_SVC_XGEN_H
#define SBX_SVC_XGEN_H

#include "client/calls.h"
#include "client/svc_xgen_json.h"
#include "client/svc_xgen_wire.h"

struct xgen;

/* ---- credentials ---- */

struct xgen_auth {
	const struct sbx_secret *key;	/* borrowed from conf; or NULL */
	const struct sbx_secret *given; /* token that the user gave */
	struct sbx_secret *token;	/* that we got for the key */
	uint64_t token_until;		/* uv_now; renew before it */
	bool use_token;			/* the key alone was refused */
	unsigned int generation;	/* grows with each new token */
	struct sbx_http_call *call;	/* exchange under way */
	struct xgen_auth_wait *waiting;
};

/* Somebody who waits for credentials; in place in its owner. */
struct xgen_auth_wait {
	struct xgen_auth_wait *next, **link; /* link NULL: not waiting */
	/* error->err 0: they are there */
	void (*fn)(void *arg, const struct sbx_error *error);
	void *arg;
};
/* true: usable now.  false: w->fn is called when they are, later. */
bool xgen_auth_ready(struct xgen *x, struct xgen_auth_wait *w);
void xgen_auth_unwait(struct xgen_auth_wait *w);
const char *xgen_auth_scheme(const struct xgen *x);
const struct sbx_secret *xgen_auth_secret(const struct xgen *x);
/*
 * The service said 401 to credentials of this generation.  true: others can
 * be had, try once more after xgen_auth_ready.
 */
bool xgen_auth_refused(struct xgen *x, unsigned int generation);
void xgen_auth_release(struct xgen *x);

/* ---- calls ---- */

extern const struct sbx_rest_type xgen_rest_type;
extern const struct sbx_calls_type xgen_calls_type;
/* FILES and FILE: svc_xgen_files.c */
void xgen_files_start(struct sbx_work *w);

/* ---- the service ---- */

/* The environment that a sandbox was created with: commands do not see it
 * by themselves, so each is given it. */
struct xgen_env {
	struct xgen_env *next;
	char *id;
	char **env;
};

struct xgen {
	struct sbx_rest rest;
	int version; /* of the API: 2, or 1 for old servers */
	bool version_known;
	struct sbx_xgen_preview preview;
	int64_t life_ms; /* what a keepalive gives: as seen, or as is usual */
	struct xgen_auth auth;
	struct xgen_files *files; /* connections for files */
	struct xgen_env *envs;
};

int xgen_env_keep(struct xgen *x, const char *id, char **env); /* takes env */
const char *const *xgen_env_find(const struct xgen *x, const char *id);
void xgen_env_forget(struct xgen *x, const char *id);

void xgen_release(struct sbx_rest *rest);

struct sbx_stream *xgen_stream_open(struct sbx_service *svc, const char *id,
				    const char *const *argv,
				    const struct sbx_stream_handler *h,
				    void *arg);
int xgen_stream_send(struct sbx_stream *s, const void *data, size_t len);
void xgen_stream_pause(struct sbx_stream *s, bool paused);
void xgen_stream_close(struct sbx_stream *s);

/*
 * A connection for other requests than commands: on_open when it is ready,
 * every message then to on_message, on_end when it is no more.
 */
typedef void xgen_message_fn(void *arg, const struct sbx_xgen_msg *m);
struct sbx_stream *xgen_talk_open(struct xgen *x, const char *id,
				  const struct sbx_stream_handler *h,
				  xgen_message_fn *on_message, void *arg);
/* One whole message; copied. */
int xgen_talk_send(struct sbx_stream *s, const struct sbx_buf *message);

/*
 * For svc_local.c: the same service at an address of its own choice.  conf,
 * with key, is borrowed until close has finished.
 */
int xgen_open(uv_loop_t *loop, const struct sbx_conf *conf,
	      struct sbx_service **ret, struct sbx_error *reterr);
/* From the next request and stream on, it is there; and when it cannot be
 * reached, it is about to come back. */
int xgen_set_url(struct sbx_service *svc, const char *url);

#endif
