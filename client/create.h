/*
 * Making a sandbox: ask for it, find it again if the answer was lost, and
 * wait until it runs.  One that does not come to run is destroyed: who asked
 * for it was told that there is none.  For svc_*.c.  Loop thread.
 */
#ifndef SBX_CREATE_H
#define SBX_CREATE_H

#include "client/calls.h"

/* One that is being made: the first member of a service's own struct. */
struct sbx_create {
	struct sbx_work *work;
	char marker[33]; /* is found in what is made, and nowhere else */
	/* the request's, the service's own: set by `parse` */
	const char *body, *old_body;
	char *id; /* once it is known */

	/* create.c only */
	const struct sbx_create_type *type;
	unsigned int asked;
	uint64_t poll_ms, look_until;
	struct sbx_page page; /* of the list in which it is sought */
	struct sbx_error why; /* the answer was lost, or it is given up */
};

struct sbx_create_type {
	size_t size; /* of the service's own struct, which begins zeroed */
	/* Options, as of struct sbx_call, to a request. */
	int (*parse)(struct sbx_create *c, const char *options,
		     struct sbx_error *reterr);
	void (*release)(struct sbx_create *c);
	/* The path to POST to; NULL: that of all sandboxes. */
	const char *path;
	/* The sandbox in the answer to that; absent: the answer is it. */
	const json_t *(*made)(const json_t *answer);
	/* That answer does not tell all, and it must be asked for. */
	bool look_first;
	/* The member of a sandbox's record that holds labels, among which
	 * `parse` put the marker (labels.h).  By it that one is found whose
	 * answer was lost; NULL: it cannot be. */
	const char *labels;
	/* Changes the request that lists all of them for this; text has room
	 * for a query or a body.  Absent: all pages of the list are read. */
	void (*seek)(const struct sbx_create *c, struct sbx_request_conf *conf,
		     char text[128]);
	/* It runs, and this ends in sbx_create_done or sbx_create_give_up; may
	 * be absent. */
	void (*running)(struct sbx_create *c);
	unsigned int poll_first_ms, poll_max_ms; /* pauses, which double */
	unsigned int asks;    /* how often it may be asked for */
	unsigned int seek_ms; /* how long a lost one is sought; 0: once */
	unsigned int misses;  /* "not found" in a row that prove nothing */
};

/* Of an entry of `start` of struct sbx_calls_type. */
void sbx_create_start(struct sbx_work *w, const struct sbx_create_type *type);
void sbx_create_done(struct sbx_create *c);
/* Ends the call with this error, once what was made of it is gone. */
void sbx_create_give_up(struct sbx_create *c, const struct sbx_error *e);

#endif
