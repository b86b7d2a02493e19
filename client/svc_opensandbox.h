/*
 * What the files svc_opensandbox*.c share; nobody else includes this.  Loop
 * thread.
 *
 *	svc_opensandbox.c         opening and closing
 *	svc_opensandbox_rest.c    requests to the lifecycle server and to execd
 *	svc_opensandbox_calls.c   what is its own of calls: keepalive, pause,
 *				  create
 *	svc_opensandbox_snaps.c   snapshots
 *	svc_opensandbox_own.c     files that no other service has
 *	..._contexts.c            code contexts among them
 *	..._errand.c              a question to an execd, for those
 *	..._files.c               files where nothing can be run
 *	..._flow.c                one of them that has no end
 *	svc_opensandbox_reach.c   where the execd of a sandbox is
 *	svc_opensandbox_stream.c  a command, on a PTY WebSocket
 *	..._resume.c              that when its connection breaks
 *	..._sip.c                 that when it is not to be read
 *	..._json.c, ..._options.c, ..._text.c, ..._wire.c: codecs
 *
 * Two parties: the lifecycle server, which knows sandboxes, and an execd in
 * each of them, at an address of its own that the server tells.
 */
#ifndef SBX_SVC_OPENSANDBOX_H
#define SBX_SVC_OPENSANDBOX_H

#include "client/calls.h"
#include "client/own.h"
#include "client/rest_stream.h"
#include "client/svc_opensandbox_json.h"
#include "client/svc_opensandbox_wire.h"
#include "client/wire/buf.h"

struct osb;

/* ---- where execd is ---- */

/*
 * One sandbox that we talk to.  Kept while the service is open: a token that
 * was given when it was made is known to nobody else.
 */
struct osb_reach {
	struct osb_reach *next;
	struct osb *x;
	char *id;
	struct sbx_secret *token; /* of its execd, or NULL */
	unsigned int users;	  /* streams and others that hold it */
	bool is_other; /* not an execd: what is behind another port */
	bool gone;     /* freed when nobody holds it any more */

	bool known;	/* base and headers are good, as far as we know */
	bool by_server; /* by the server's proxy */
	bool take_over; /* execd 1.0.19: takeover=1, and more */
	char *base;	/* "http://host:port/path" */
	struct sbx_osb_endpoint endpoint;

	/* finding out, for those who wait */
	struct osb_reach_wait *waiting;
	struct sbx_request *request;
	struct sbx_alarm *alarm;
	uint64_t deadline;
	struct sbx_backoff backoff;
};
/* NULL without memory */
struct osb_reach *osb_reach_of(struct osb *x, const char *id);

/* Somebody who waits; in place in its owner. */
struct osb_reach_wait {
	struct osb_reach_wait *next, **link; /* link NULL: not waiting */
	/* error->err 0: r->base can be used */
	void (*fn)(void *arg, const struct sbx_error *error);
	void *arg;
};
/*
 * Finds out where it is and waits until it answers, at most until deadline;
 * w->fn is called once, later.
 */
void osb_reach_find(struct osb_reach *r, struct osb_reach_wait *w,
		    uint64_t deadline);
/* Takes what the server says of a port; -EPROTO, -ENOMEM. */
int osb_reach_take(struct osb_reach *r, struct osb *x, const json_t *obj);
/* What to ask the server with for a port, by the way that is known to go. */
const char *osb_reach_query(const struct osb_reach *r);
void osb_reach_unwait(struct osb_reach_wait *w);
/* It is not there any more, or may be elsewhere. */
void osb_reach_forget(struct osb_reach *r);
/* The sandbox is gone for good. */
void osb_reach_drop(struct osb *x, const char *id);
struct osb_reach *osb_reach_hold(struct osb_reach *r);
void osb_reach_let_go(struct osb_reach *r);
/* Nothing is asked any more, and nobody told. */
void osb_reach_stop(struct sbx_rest *rest);
void osb_reach_release(struct sbx_rest *rest);

/* ---- calls ---- */

extern const struct sbx_rest_type osb_rest_type;
extern const struct sbx_calls_type osb_calls_type;
#define OSB_LIST_FILES "/directories/list" /* since execd 1.0.19 */
void osb_files_start(struct sbx_work *w);
void osb_file_start(struct sbx_work *w);
void osb_snapshots_start(struct sbx_work *w);
void osb_snapshot_start(struct sbx_work *w);
/* "snapshots/..." beside the sandboxes */
sbx_work_fn osb_all_snapshots_list, osb_any_snapshot_read,
	osb_any_snapshot_remove;
void osb_unsnapshot_start(struct sbx_work *w);

/* A question to execd, or to what is behind a port. */
struct osb_errand {
	const char *method, *path;
	const char *name;  /* in place of %s in path; copied; or NULL */
	unsigned int port; /* 0: execd itself; or OSB_EGRESS_PORT */
	bool is_safe;	   /* changes nothing: may be asked twice */
	/* it does not answer at once: how long it is waited for, and the
	 * answer's body is text, of SBX_HTTP_MAX_BODY at most; or 0 */
	unsigned int longest_ms;
	size_t max_body;    /* the answer is no JSON but bytes, so many; or 0 */
	char *query, *body; /* taken over; or NULL */
	sbx_answer_fn *fn;  /* ends the call, or asks more */
};
#define OSB_MAX_LIFE_S	(10ll * 366 * 86400) /* longer is taken for this */
#define OSB_EGRESS_PORT 18080
#define OSB_EGRESS_PATH "/sandboxes/%s/endpoints/18080"
/* Uses the work's state and drop; what was there before is dropped. */
void osb_errand_start(struct sbx_work *w, const struct osb_errand *what);

/* ---- files of its own ---- */

extern const struct sbx_own osb_own[];
bool osb_own_has(struct sbx_service *svc, const char *id,
		 const struct sbx_own *row, const char *path);
void osb_own_start(struct sbx_work *w);
/* Ends of their calls, beside those of calls.h. */
void osb_give_missing(struct sbx_work *w);
void osb_give_done(struct sbx_work *w, const struct sbx_answer *answer);
/* For a list: room for n names, of which none is there yet; false: the call
 * has ended. */
bool osb_make_names(struct sbx_work *w, size_t n);
void osb_add_name(struct sbx_work *w, const char *name);
/* svc_opensandbox_contexts.c: paths below "contexts" */
void osb_contexts_read(struct sbx_work *w);
void osb_contexts_write(struct sbx_work *w);
void osb_contexts_list(struct sbx_work *w);
void osb_contexts_remove(struct sbx_work *w);
struct sbx_stream *osb_flow_open(struct sbx_service *svc, const char *id,
				 const char *path, const char *input,
				 size_t len, const struct sbx_stream_handler *h,
				 void *arg);
void osb_flow_pause(struct sbx_stream *s, bool paused);

/* ---- the service ---- */

struct osb {
	struct sbx_rest rest;
	struct osb_reach *reaches;
};

/* ---- streams ---- */

enum osb_phase {
	OSB_REACH,  /* looking for execd */
	OSB_MAKE,   /* POST /pty */
	OSB_ATTACH, /* connecting, until "connected" */
	OSB_RUN,
	OSB_LOST, /* the connection broke; trying to take it up again */
};

struct osb_stream {
	struct sbx_rest_stream base;
	struct osb_reach *reach;
	struct osb_reach_wait wait;
	struct sbx_buf line; /* what makes the shell run it */
	bool started;	     /* the line was sent, on_open called */
	bool no_cwd;	     /* the workspace cannot be made */
	char *session;

	uint64_t received; /* bytes of output, both streams */
	struct sbx_osb_tail out, err;
	/* bytes to its stdin: sent, before the ping under way, known to have
	 * been taken */
	uint64_t sent, pinged, confirmed;
	bool ping_out;
	struct sbx_alarm *confirm;
	bool refused; /* a send: on_writable is owed */
	uint64_t lost_at;

	struct sbx_alarm *sip; /* the next look at what was paused */
	unsigned int sips;     /* frames still to be read now */
};

/* svc_opensandbox_stream.c, for the others */
void osb_stream_connect(struct osb_stream *s);
/* svc_opensandbox_resume.c */
void osb_stream_sent(struct osb_stream *s, size_t len);
void osb_stream_on_pong(struct osb_stream *s);
/* The connection broke while it ran. */
void osb_stream_lost(struct osb_stream *s, const struct sbx_error *why);
/* An attempt to take it up again failed: status of the handshake, or 0, and
 * close code. */
void osb_stream_refused(struct osb_stream *s, const struct sbx_ws_end *end);
void osb_stream_resumed(struct osb_stream *s);
/* Somebody wants to send. */
void osb_stream_wanted(struct osb_stream *s);
void osb_stream_farewell(struct osb_stream *s);
/* svc_opensandbox_sip.c */
/* A frame was read of one that is paused. */
void osb_stream_sipped(struct osb_stream *s);
/* Stops reading, until the next sip. */
void osb_stream_sip_later(struct osb_stream *s);

struct sbx_stream *osb_stream_open(struct sbx_service *svc, const char *id,
				   const char *const *argv,
				   const struct sbx_stream_handler *h,
				   void *arg);
int osb_stream_send(struct sbx_stream *s, const void *data, size_t len);
void osb_stream_pause(struct sbx_stream *s, bool paused);

#endif
