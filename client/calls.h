/*
 * The calls of the layer above, for services over HTTP.  Each is a work: a
 * few requests, one after the other.  What most services do alike is done
 * here, after a table of the service's; create.h and life.h go on with it.
 * For svc_*.c.  Loop thread.
 */
#ifndef SBX_CALLS_H
#define SBX_CALLS_H

#include "client/rest.h"

struct sbx_work;
typedef void sbx_work_fn(struct sbx_work *w);
typedef void sbx_answer_fn(struct sbx_work *w, const struct sbx_answer *answer);

/* One call, while we have it: call->priv. */
struct sbx_work {
	struct sbx_rest *rest;
	struct sbx_call *call;
	struct sbx_work *next, **link;
	uint64_t deadline;
	struct sbx_request *request;
	struct sbx_alarm *alarm;
	unsigned int looks; /* how often it was asked what became of it */
	/* calls.c only */
	sbx_answer_fn *answered;
	sbx_work_fn *later, *then;
	/* the service's */
	int step;
	void *state;
	void (*drop)(void *state); /* may be absent */
};

/* ---- a service's table ---- */

/* What one sandbox is made of; -EPROTO if it is none, -ENOMEM. */
typedef int sbx_sandbox_fn(struct sbx_sandbox *ret, const json_t *obj,
			   const char *url);

/* Where in a list that is told in pages. */
struct sbx_page {
	unsigned int nr;      /* of the next, from 0 */
	size_t items;	      /* on all pages so far */
	const json_t *answer; /* the last one's */
	char text[128];	      /* room for a query or a body */
};
/*
 * Turns to the page after this one, which answer brought and which is borrowed
 * until the next call: 1, or 0: there is none.  -E2BIG: so many cannot be
 * told, or it has no end.
 */
int sbx_page_turn(const struct sbx_rest *x, struct sbx_page *page,
		  const json_t *answer);

struct sbx_calls_type {
	/* by kind: those below, and the service's own */
	sbx_work_fn *start[SBX_CALL_KINDS];
	bool (*id_is_valid)(const char *id);
	const char *id; /* the member of a sandbox's record */
	/* paths: of all sandboxes, of one ("/sandboxes/%s") */
	const char *all, *one;
	sbx_sandbox_fn *parse;
	/* the answer's member that is the list; NULL: the answer is.  Or, for
	 * one that has several shapes: the list in it, or NULL. */
	const char *list;
	const json_t *(*list_of)(const json_t *answer);
	/* the request for a page, and whether another follows it; may be
	 * absent: the first is all */
	void (*page)(struct sbx_page *page, struct sbx_request_conf *conf);
	bool (*more)(const struct sbx_page *page);
	/* one "not found" is no proof: asked again after this time */
	unsigned int confirm_ms;
	/* how long it may be shown after it was destroyed, at the most */
	unsigned int gone_ms;
	/* These sandboxes are about to be told: what there is to add to them,
	 * or to remember of them.  -ENOMEM.  May be absent. */
	int (*took)(struct sbx_rest *x, struct sbx_sandbox *list, size_t nr);
	/* One that is gone for good; may be absent. */
	void (*gone)(struct sbx_rest *x, const char *id);
};

/* `submit` of struct sbx_service_type */
void sbx_calls_submit(struct sbx_service *svc, struct sbx_call *call);
/* entries of `start` */
void sbx_list_start(struct sbx_work *w);
void sbx_get_start(struct sbx_work *w);
void sbx_destroy_start(struct sbx_work *w);

/* ---- what a work is made of ---- */

/* Ends the call: with *error if that is not NULL, else as call->error is. */
void sbx_work_done(struct sbx_work *w, const struct sbx_error *error);
void sbx_work_no_memory(struct sbx_work *w);
/* Ends a call for files whose answer was -EFBIG, -E2BIG, -ENOMEM, or else no
 * such answer. */
void sbx_work_no_files(struct sbx_work *w, int err);
/* Ends the call with what a file of the service's own holds: text, which is
 * taken and may be NULL without memory; a line; JSON that people can read. */
void sbx_work_give_text(struct sbx_work *w, char *text);
void sbx_work_give_line(struct sbx_work *w, const char *line);
void sbx_work_give_json(struct sbx_work *w, const json_t *value);
/* Sends a request, one at a time; without a deadline it has the call's. */
void sbx_work_request(struct sbx_work *w, struct sbx_request_conf conf,
		      sbx_answer_fn *fn);
/* The requests for one sandbox, and to end it. */
void sbx_work_get(struct sbx_work *w, const char *id, sbx_answer_fn *fn);
/* ... over a connection of its own, after one that did not find it. */
void sbx_work_get_anew(struct sbx_work *w, const char *id, sbx_answer_fn *fn);
void sbx_work_delete(struct sbx_work *w, const char *id, uint64_t deadline,
		     sbx_answer_fn *fn);
/* Calls fn(w) later. */
void sbx_work_pause(struct sbx_work *w, uint64_t ms, sbx_work_fn *fn);
/* Puts one sandbox into the call's list; ends the call on nonsense. */
bool sbx_work_take(struct sbx_work *w, const json_t *obj);
/*
 * What the call's sandbox is now, into its list, and then(w), which may be
 * NULL: the call is done.  It is done, too, if that fails.
 */
void sbx_work_look(struct sbx_work *w, sbx_work_fn *then);
/* A request that changes something, and then as sbx_work_look. */
void sbx_work_act(struct sbx_work *w, struct sbx_request_conf conf,
		  sbx_work_fn *then);
/* The list in the answer to a list, NULL if there is none. */
const json_t *sbx_calls_list(const struct sbx_rest *x, const json_t *answer);
/* 32 hex digits that nobody else has; -EIO */
int sbx_make_marker(char text[33]);

#endif
