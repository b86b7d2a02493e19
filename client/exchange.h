/*
 * The conversation with one sandbox's helper over a service that has no
 * streams, but runs commands to their end (struct sbx_run).  Each exchange is
 * one such command: what is new goes in, with all that was not acknowledged,
 * and what the helper has to say comes back (wire/proto.h, BATCH).  So an
 * exchange whose answer was lost is simply made again.
 *
 * A carrier of channel.h.  Loop thread only.
 *
 *	exchange.c		life, when to run
 *	exchange_queue.c	what waits for a run
 *	exchange_script.c	what is run: calling the helper, bringing it
 *	exchange_run.c		one run: what goes in, what its answer means
 *	exchange_jobs.c		commands of the user, where they are runs
 *	exchange_asked.c	requests about those that wait to be taken
 *	exchange_command.c	what those are as text of shell
 *
 * THRIFT.  A run may cost much (timetravel keeps a snapshot of each).  So
 * messages are gathered for a moment, what is in no hurry goes along with
 * something else, nothing runs while nobody wants anything, and what was heard
 * is good for as long as its reader likes (sbx_channel_heard_ms): nothing is
 * pushed, unless runs may be parked.
 *
 * TRUTH.  Everything that happened in the sandbox before an exchange was
 * answered is told by its answer, in order; so an empty exchange makes all
 * that is known true again.
 */
#ifndef SBX_EXCHANGE_H
#define SBX_EXCHANGE_H

#include "client/carrier.h"

/* Borrows all but id; nothing is run yet.  NULL: no memory. */
struct sbx_carrier *sbx_exchange_new(uv_loop_t *loop, struct sbx_service *svc,
				     const char *id,
				     const struct sbx_channel_handler *h,
				     void *arg);
/* Runs nothing: everything fails with EOPNOTSUPP, for this reason. */
void sbx_exchange_refuse(struct sbx_carrier *c, const char *why);

#endif
