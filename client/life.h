/*
 * What drives a sandbox's life: the service is told, says that it has heard,
 * and the state is asked for until it is the one wanted.  For svc_*.c.  Loop
 * thread.
 */
#ifndef SBX_LIFE_H
#define SBX_LIFE_H

#include "client/calls.h"

struct sbx_aim {
	const char *path; /* to POST to: "/sandboxes/%s/pause" */
	const char *body; /* or NULL */
	/* the service's word for what a sandbox is doing, from its record */
	const char *(*word_of)(const json_t *obj);
	/* that word where it is to get, where it was, and on the way */
	const char *word, *from, *between;
	/* where it does not get there from; NULL: from nowhere else */
	const char *lost;
	/* so many answers with the word are not believed, since what it was
	 * told may not have begun; one with another word ends the doubt */
	unsigned int doubts;
	void (*told)(struct sbx_work *w); /* it has heard; may be absent */
	unsigned int poll_first_ms, poll_max_ms; /* pauses, which double */
};

/* aim is borrowed until the call is done. */
void sbx_life_start(struct sbx_work *w, const struct sbx_aim *aim);

#endif
