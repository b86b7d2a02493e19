/*
 * What the services over HTTP have in common, so that each of them is only
 * its paths, messages and errors: alarms, closing in order, and REST requests
 * that are repeated where this is safe.  Their calls are in calls.h.  For
 * svc_*.c.  Loop thread.
 */
#ifndef SBX_REST_H
#define SBX_REST_H

#include <jansson.h>

#include "client/http.h"
#include "client/retry.h"
#include "client/service.h"
#include "client/ws.h"

struct sbx_rest;
struct sbx_rest_stream;
struct sbx_request;
struct sbx_work;

/* ---- a service ---- */

struct sbx_rest_type {
	const struct sbx_service_type *service;
	const struct sbx_calls_type *calls; /* calls.h */
	const char *product;		    /* for people: "an xgen server" */
	/*
	 * Fills in URL (the caller frees it), body and credentials of a
	 * request about to be sent.  false: it cannot be yet;
	 * sbx_request_send or sbx_request_fail follows.
	 */
	bool (*prepare)(struct sbx_request *r, struct sbx_http_request *http,
			char **ret_url);
	/* what a status that is not 2xx means */
	void (*explain)(const struct sbx_request *r, struct sbx_error *e,
			const struct sbx_http_response *resp);
	/*
	 * For a service that wraps its answers: *json, borrowed, becomes what
	 * is inside.  false: it says in there that it failed, and *e why.
	 * May be absent.
	 */
	bool (*unwrap)(const struct sbx_request *r, json_t **json,
		       struct sbx_error *e);
	/* Once more at once, for a reason of its own?  May be absent. */
	bool (*once_more)(struct sbx_request *r,
			  const struct sbx_http_response *resp);
	/* a good answer came; may be absent */
	void (*proved)(struct sbx_request *r,
		       const struct sbx_http_response *resp);
	/* r, which prepare has set ->wait of, is cancelled; may be absent */
	void (*unwait)(struct sbx_request *r);
	/* what is under way is ended: runs, and what others wait for; the
	 * streams (rest_stream.h) follow.  May be absent. */
	void (*cancel)(struct sbx_rest *x);
	/* nothing can call back any more: frees what is its own; may be
	 * absent */
	void (*release)(struct sbx_rest *x);
};

/* First member of a service's own struct. */
struct sbx_rest {
	struct sbx_service base;
	const struct sbx_rest_type *type;
	uv_loop_t *loop;
	const struct sbx_conf *conf;
	char *url;
	struct sbx_http *http;
	struct sbx_work *works;
	struct sbx_rest_stream *streams;
	int64_t skew_ms; /* the service's clock less ours */
	bool patient;	 /* who cannot be reached will be back: try on */
	bool closing;

	/* rest.c only */
	struct sbx_ws_host *ws_host; /* made for the first stream */
	uv_timer_t late;	     /* for what fails at once */
	struct sbx_call *failed;     /* linked by priv */
	struct sbx_run *ended;	     /* linked by next */
	size_t nr_handles;	     /* of the loop, not yet closed */
	bool starting; /* a call: it must not end before submit returns */
	bool http_closing, http_closed, ws_closed;
	unsigned int holds;
	void (*on_closed)(void *arg);
	void *closed_arg;
};

/*
 * A service at conf->url, of which struct sbx_rest is the first member; the
 * rest is zeroed.  -EINVAL without an address, -ENOMEM.
 */
int sbx_rest_open(const struct sbx_rest_type *type, size_t size,
		  uv_loop_t *loop, const struct sbx_conf *conf,
		  struct sbx_rest **ret, struct sbx_error *reterr);
/* For a service that needs a key, if there is none; -ENOKEY. */
int sbx_rest_no_key(const struct sbx_conf *conf, struct sbx_error *reterr);
/* close of struct sbx_service_type */
void sbx_rest_close(struct sbx_service *svc, void (*on_closed)(void *arg),
		    void *arg);
/* Ends a call that was just submitted, later, with its error as set. */
void sbx_rest_fail_later(struct sbx_rest *x, struct sbx_call *call);
/* Ends a run that was just started, or cancelled, later, with its error as
 * set; it needs no memory. */
void sbx_rest_run_end_later(struct sbx_rest *x, struct sbx_run *run);
/* -EPROTO: what answers with 2xx is no such service. */
int sbx_rest_wonder(const struct sbx_rest *x, struct sbx_error *e,
		    const char *why);
/* The service's own time, as far as it is known.  The other: from an answer
 * that has it. */
int64_t sbx_rest_now_ms(const struct sbx_rest *x);
void sbx_rest_note_clock(struct sbx_rest *x,
			 const struct sbx_http_response *resp);
/* A socket of the service's; NULL: no more can be made now. */
struct sbx_ws *sbx_rest_socket(struct sbx_rest *x,
			       const struct sbx_ws_conf *conf,
			       const struct sbx_ws_handler *h, void *arg);
/* While it is held, requests can be sent though it is being closed: for what
 * must still be said.  Each must have an end of its own. */
void sbx_rest_hold(struct sbx_rest *x);
void sbx_rest_let_go(struct sbx_rest *x);
/* For a uv handle of the service's: before it is made, and when it was
 * closed; x may be freed by the latter. */
void sbx_rest_handle_made(struct sbx_rest *x);
void sbx_rest_handle_closed(struct sbx_rest *x);

/* ---- a thing to be done later ---- */

struct sbx_alarm;
/* fn(arg) once, from the loop; it must forget the alarm first.  NULL without
 * memory. */
struct sbx_alarm *sbx_alarm_set(struct sbx_rest *x, uint64_t ms,
				void (*fn)(void *arg), void *arg);
/* NULL is fine; so `a = sbx_alarm_cancel(a)` */
struct sbx_alarm *sbx_alarm_cancel(struct sbx_alarm *alarm);

/* ---- requests ---- */

struct sbx_answer {
	struct sbx_error error; /* .err 0: 2xx */
	json_t *json;		/* borrowed; NULL without a body */
	const char *body;	/* as it came; "" without */
	size_t len;
	bool maybe_done; /* failed, but the service may have acted */
};

struct sbx_request_conf {
	const char *method;
	/* after the service's prefix: "/sandboxes/%s", id in place of %s */
	const char *path;
	const char *id;	      /* checked; or NULL */
	const char *query;    /* after "?", encoded; or NULL */
	const char *body;     /* or NULL */
	const char *old_body; /* for a service of two versions */
	uint64_t deadline;    /* uv_now */
	bool repeatable;
	/* not repeatable, but if libcurl sends it twice (http.h, once), that
	 * does no harm: no connection is made for it if there is one */
	bool harmless;
	bool lasts; /* as in http.h */
	/* over a connection of its own, which may lead to another replica of
	 * the service than the last one did */
	bool anew;
	bool wants_json; /* a 2xx without JSON is an error */
	bool raw;	 /* a 2xx is not looked into: .json is NULL */
	size_t max_body; /* as in http.h */
	void *to;	 /* the service's: whom to ask */
	/* as in http.h, with the arg of done; deadline and repeatable mean
	 * nothing then */
	void (*on_piece)(void *arg, const char *data, size_t len);
};
typedef void sbx_request_fn(void *arg, const struct sbx_answer *answer);

/* One request.  The service's functions may read all, and set the last
 * four. */
struct sbx_request {
	struct sbx_rest *rest;
	const char *method, *path; /* constants */
	char *id, *query, *body, *old_body;
	uint64_t deadline;
	bool repeatable, harmless, lasts, anew, wants_json, raw;
	size_t max_body;
	void *to;
	void (*on_piece)(void *arg, const char *data, size_t len);
	sbx_request_fn *done;
	void *arg;

	struct sbx_http_call *call;
	bool paused;
	struct sbx_alarm *alarm;
	unsigned int failures, waits;
	struct sbx_backoff backoff;
	struct sbx_error error; /* for a done that is due */

	unsigned int generation; /* of the credentials it was sent with */
	unsigned int refusals;
	int version;
	void *wait; /* what it waits for before it can be sent */
};
/* done exactly once, later, unless cancelled; NULL without memory. */
struct sbx_request *sbx_request_start(struct sbx_rest *x,
				      const struct sbx_request_conf *conf,
				      sbx_request_fn *done, void *arg);
/* Of one with on_piece: sbx_http_pause. */
void sbx_request_pause(struct sbx_request *r, bool paused);
/* NULL is fine; done will not be called. */
struct sbx_request *sbx_request_cancel(struct sbx_request *r);
/* For a service, when what prepare waited for is there, or is not. */
void sbx_request_send(void *request);
void sbx_request_fail(struct sbx_request *r, const struct sbx_error *e,
		      bool maybe_done);
/* Again after a pause; false if there is no time for it. */
bool sbx_request_again(struct sbx_request *r, uint64_t pause_ms);
/* prefix, path with its id, and query; NULL without memory */
char *sbx_request_url(const struct sbx_request *r, const char *prefix);
uint64_t sbx_request_left(const struct sbx_request *r);

#endif
