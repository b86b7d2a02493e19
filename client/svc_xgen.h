/*
 * What the files svc_xgen*.c share; nobody else includes this.  Loop thread.
 *
 *	svc_xgen.c         opening and closing, what the parts share
 *	svc_xgen_auth.c    key or token: which, and renewing it
 *	svc_xgen_rest.c    one REST request, repeated where that is safe
 *	svc_xgen_calls.c   list, get, destroy, keepalive
 *	svc_xgen_create.c  create, and waiting until it runs
 *	svc_xgen_stream.c  a command over a WebSocket of its own
 *	svc_xgen_json.c, svc_xgen_options.c, svc_xgen_wire.c: codecs
 */
#ifndef SBX_SVC_XGEN_H
#define SBX_SVC_XGEN_H

#include "client/http.h"
#include "client/service.h"
#include "client/svc_xgen_json.h"
#include "client/svc_xgen_wire.h"
#include "client/ws.h"

struct xgen;
struct xgen_work;

/* ---- a thing to be done later ---- */

struct xgen_alarm;
/* fn(arg) once, from the loop.  NULL without memory. */
struct xgen_alarm *xgen_alarm_set(struct xgen *x, uint64_t ms,
				  void (*fn)(void *arg), void *arg);
/* NULL is fine; so `a = xgen_alarm_cancel(a)` */
struct xgen_alarm *xgen_alarm_cancel(struct xgen_alarm *alarm);

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

/* ---- requests ---- */

struct xgen_answer {
	struct sbx_error error; /* .err 0: 2xx */
	json_t *json;		/* borrowed; NULL without a body */
	bool maybe_done;	/* failed, but the service may have acted */
};

struct xgen_request;
struct xgen_request_conf {
	const char *method;
	/* after "/api/vN", e.g. "/sandboxes/%s" with id put in place of %s */
	const char *path;
	const char *id;		       /* checked; or NULL */
	const char *body_v2, *body_v1; /* or NULL */
	uint64_t deadline;	       /* uv_now */
	bool repeatable;
	bool wants_json; /* a 2xx without JSON is an error */
};
typedef void xgen_request_fn(void *arg, const struct xgen_answer *answer);
/* done exactly once, later, unless cancelled; NULL without memory. */
struct xgen_request *xgen_request_start(struct xgen *x,
					const struct xgen_request_conf *conf,
					xgen_request_fn *done, void *arg);
struct xgen_request *xgen_request_cancel(struct xgen_request *r);

/* ---- calls ---- */

/* One call of the layer above, while we have it: call->priv. */
struct xgen_work {
	struct xgen *x;
	struct sbx_call *call;
	struct xgen_work *next, **link;
	uint64_t deadline;
	struct xgen_request *request;
	struct xgen_alarm *alarm;
	unsigned int misses; /* 404s in a row */
	enum {
		XGEN_KEEP_NOT,
		XGEN_KEEP_LOOK, /* how much is left? */
		XGEN_KEEP_DONE, /* what came of it? */
	} keep;
	struct xgen_create_state *create;
};
void xgen_work_start(struct xgen *x, struct sbx_call *call);
/* Ends a call that was just submitted, later, with its error as set. */
void xgen_fail_later(struct xgen *x, struct sbx_call *call);
/* Ends the call: with *error if that is not NULL, else as call->error is. */
void xgen_work_done(struct xgen_work *w, const struct sbx_error *error);
/* Sends a request for it; its answer goes to fn(w, ...). */
void xgen_work_request(struct xgen_work *w, struct xgen_request_conf conf,
		       xgen_request_fn *fn);
/* Calls fn(w) later; false: it is done (no memory). */
bool xgen_work_pause(struct xgen_work *w, uint64_t ms, void (*fn)(void *w));
/* Puts one sandbox into the call's list; ends the call on nonsense. */
bool xgen_work_take(struct xgen_work *w, const json_t *obj);
void xgen_create_start(struct xgen_work *w);
void xgen_create_drop(struct xgen_create_state *c);

/* ---- the service ---- */

/* The environment that a sandbox was created with: commands do not see it
 * by themselves, so each is given it. */
struct xgen_env {
	struct xgen_env *next;
	char *id;
	char **env;
};

struct xgen {
	struct sbx_service base;
	uv_loop_t *loop;
	const struct sbx_conf *conf;
	char *base_url;
	struct sbx_http *http;
	struct sbx_ws_host *ws_host; /* made for the first stream */
	int version;		     /* of the API: 2, or 1 for old servers */
	bool version_known;
	int64_t life_ms; /* what a keepalive gives: as seen, or as is usual */
	struct xgen_auth auth;
	struct xgen_work *works;
	struct xgen_stream *streams;
	struct xgen_env *envs;
	uv_timer_t late;	 /* for calls that fail at once */
	struct sbx_call *failed; /* linked by priv */
	size_t nr_handles;	 /* of the loop, not yet closed */
	bool starting; /* a call: it must not end before submit returns */
	bool patient;  /* who cannot be reached will be back: try on */
	bool closing, http_closed, ws_closed;
	void (*on_closed)(void *arg);
	void *closed_arg;
};

int xgen_env_keep(struct xgen *x, const char *id, char **env); /* takes env */
const char *const *xgen_env_find(const struct xgen *x, const char *id);
void xgen_env_forget(struct xgen *x, const char *id);

/* A handle of x's was closed; x may be freed by this. */
void xgen_handle_closed(struct xgen *x);
void xgen_streams_cancel(struct xgen *x);

struct sbx_stream *xgen_stream_open(struct sbx_service *svc, const char *id,
				    const char *const *argv,
				    const struct sbx_stream_handler *h,
				    void *arg);
int xgen_stream_send(struct sbx_stream *s, const void *data, size_t len);
void xgen_stream_pause(struct sbx_stream *s, bool paused);
void xgen_stream_close(struct sbx_stream *s);

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
