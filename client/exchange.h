/*
 * The conversation with one sandbox's helper over a service that has no
 * streams, but runs commands to their end (struct sbx_run).  Each exchange is
 * one such command: what is new goes in, with all that was not acknowledged,
 * and what the helper has to say comes back (wire/proto.h, BATCH).  So an
 * exchange whose answer was lost is simply made again.
 *
 * Stands behind channel.h as plain.h does.  Loop thread only.
 *
 *	exchange.c		life, when to run, what an answer means
 *	exchange_queue.c	what waits for a run
 *	exchange_script.c	what is run: calling the helper, bringing it
 *	exchange_jobs.c		commands of the user, where they are runs
 *
 * THRIFT.  A run may cost much (timetravel keeps a snapshot of each).  So
 * messages are gathered for a moment, nothing runs while nobody wants
 * anything, and what was heard is good for as long as its reader likes
 * (sbx_exchange_heard_ms): nothing is pushed, unless runs may be parked.
 *
 * TRUTH.  Everything that happened in the sandbox before an exchange was
 * answered is told by its answer, in order; so an empty exchange makes all
 * that is known true again.
 */
#ifndef SBX_EXCHANGE_H
#define SBX_EXCHANGE_H

#include "client/channel.h"

struct sbx_exchange;

/* Borrows all but id; nothing is run yet.  NULL: no memory. */
struct sbx_exchange *sbx_exchange_new(uv_loop_t *loop, struct sbx_service *svc,
				      const char *id,
				      const struct sbx_channel_handler *h,
				      void *arg);
/* Runs nothing: everything fails with EOPNOTSUPP, for this reason. */
void sbx_exchange_refuse(struct sbx_exchange *x, const char *why);
/* Says hello unless that was done or is about to be. */
void sbx_exchange_start(struct sbx_exchange *x);
/* Starts over with a new session; the old helper is ended by the next run. */
void sbx_exchange_renew(struct sbx_exchange *x);
/* What waits to be tried again is tried at once. */
void sbx_exchange_look_again(struct sbx_exchange *x);
/* Asks the helper to end, waits a second at most for that, frees x (NULL is
 * fine) and calls on_closed.  No handler is called any more. */
void sbx_exchange_close(struct sbx_exchange *x, void (*on_closed)(void *arg),
			void *arg);
/* Queues one message (copied); id: of the request, if somebody waits for its
 * answer, or 0.  -EMSGSIZE, -ENOMEM. */
int sbx_exchange_send(struct sbx_exchange *x, uint32_t id, const void *data,
		      size_t len);
/* Takes a request back; false: it may have been sent. */
bool sbx_exchange_withdraw(struct sbx_exchange *x, uint32_t id);
/* Answers are waited for: those that are not there are asked for again. */
void sbx_exchange_expect(struct sbx_exchange *x, bool expecting);

bool sbx_exchange_is_up(const struct sbx_exchange *x);
bool sbx_exchange_is_trying(const struct sbx_exchange *x);
/* NULL before the first hello */
const struct sbx_remote_info *sbx_exchange_info(const struct sbx_exchange *x);
/* bytes of messages not acknowledged */
size_t sbx_exchange_unsent(const struct sbx_exchange *x);
/* The loop's time when the last whole answer came; 0: none so far. */
uint64_t sbx_exchange_heard_ms(const struct sbx_exchange *x);
/* ... when the last one came, whole or not */
uint64_t sbx_exchange_answered_ms(const struct sbx_exchange *x);
/* A command of the user's runs, and nothing else until it ends. */
bool sbx_exchange_is_occupied(const struct sbx_exchange *x);

#endif
