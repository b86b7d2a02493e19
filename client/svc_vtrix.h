/*
 * What the files svc_vtrix*.c share; nobody else includes this.  Loop thread.
 *
 *	svc_vtrix.c          opening and closing
 *	svc_vtrix_rest.c     requests to the gateway, and which dialect it has
 *	svc_vtrix_calls.c    the calls of the layer above
 *	svc_vtrix_own.c      files that Vtrix alone has
 *	svc_vtrix_link.c     the executor's WebSocket, one for each sandbox
 *	svc_vtrix_run.c      commands, on that
 *	..._json.c, ..._options.c, ..._rpc.c: codecs
 */
#ifndef SBX_SVC_VTRIX_H
#define SBX_SVC_VTRIX_H

#include "client/calls.h"
#include "client/own.h"
#include "client/svc_vtrix_json.h"
#include "client/svc_vtrix_rpc.h"

/* Of one call's parameters: the command is one argument of a shell, which
 * the kernel limits; messages of half a MiB are known to be taken. */
#define VTRIX_COMMAND 100000
#define VTRIX_INPUT   (256 * 1024)
/* Of what a command prints so much is known to come; more is tried. */
#define VTRIX_OUTPUT	  (64 * 1024)
#define VTRIX_OUTPUT_MOST (1024 * 1024)
/* What is kept of it. */
#define VTRIX_OUTPUT_MAX (4 << 20)
#define VTRIX_ERR_MAX	 (256 * 1024)

/* ---- dialects: svc_vtrix_rest.c ---- */

/* Paths that differ are named by these; others follow the prefix. */
#define VTRIX_LIST   "/list"
#define VTRIX_CREATE "/create"
#define VTRIX_ONE    "/%s"

enum vtrix_dialect {
	VTRIX_UNKNOWN,
	VTRIX_G1A, /* /api/v1/sandbox */
	VTRIX_G1B, /* /api/v1/sandboxes */
};
extern const struct sbx_rest_type vtrix_rest_type;
/* "http://host:port/api/v1/sandboxes"; the caller frees it. */
char *vtrix_prefix(const struct sbx_rest *rest, enum vtrix_dialect dialect);

/* ---- the service ---- */

struct vtrix {
	struct sbx_rest rest;
	char *headers[2]; /* of every request: the project, or none */
	enum vtrix_dialect dialect;
	bool is_doubted; /* it may be another by now */
	/* finding it out, for those who wait */
	struct sbx_request *asking;
	struct vtrix_wait *waiting;
	struct vtrix_link *links;
};
static inline struct vtrix *vtrix_of(const struct sbx_rest *rest)
{
	return (struct vtrix *)(uintptr_t)rest;
}
extern const struct sbx_calls_type vtrix_calls_type;
extern const struct sbx_own vtrix_own[];
void vtrix_own_start(struct sbx_work *w);

/* ---- the executor: svc_vtrix_link.c ---- */

/*
 * One call of a method of the executor.  In place in its owner, who fills in
 * the first part.
 */
struct vtrix_call {
	const char *method;
	json_t *params; /* taken */
	unsigned int timeout_ms;
	/* news of it; may be absent, and may cancel it */
	void (*on_note)(struct vtrix_call *c, const struct sbx_vtrix_msg *m,
			enum sbx_vtrix_ends ends);
	/*
	 * The last.  e->err 0: with a result, which may be NULL and dies with
	 * the call.  maybe_done: it failed, but may have been carried out, or
	 * yet be.
	 */
	void (*on_end)(struct vtrix_call *c, const json_t *result,
		       const struct sbx_error *e, bool maybe_done);
	void *arg;

	/* svc_vtrix_link.c only */
	struct vtrix_call *next;
	struct vtrix_link *link;
	int64_t id; /* 0: not sent */
	struct sbx_alarm *alarm;
};
/* on_end follows, unless it is cancelled.  -ENOMEM: it does not. */
int vtrix_call_start(struct vtrix *x, const char *id, struct vtrix_call *c);
/* Nobody is told of it any more; what was begun goes on. */
void vtrix_call_cancel(struct vtrix_call *c);
/* The sandbox is another one from now on, or none: what is under way fails,
 * and the next call connects anew. */
void vtrix_link_drop(struct vtrix *x, const char *id);
void vtrix_links_end(struct vtrix *x);

/* ---- runs: svc_vtrix_run.c ---- */

void vtrix_run(struct sbx_service *svc, const char *id, struct sbx_run *run);
void vtrix_run_cancel(struct sbx_service *svc, struct sbx_run *run);

#endif
