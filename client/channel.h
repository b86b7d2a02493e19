/*
 * The conversation with one sandbox's helper, in messages: over a byte stream
 * of the service (streamed.h), by commands that run to their end where it has
 * no streams (exchange.h), or without a helper where none runs (plain.h).
 * Loop thread only.
 */
#ifndef SBX_CHANNEL_H
#define SBX_CHANNEL_H

#include "client/remote.h"

struct sbx_channel;

struct sbx_channel_handler {
	/* one message of the helper; < 0: it is nonsense, start over */
	int (*on_message)(void *arg, const uint8_t *data, size_t len);
	/* it is there; fresh: it knows nothing of what was said before, and
	 * all that was queued here has been dropped */
	void (*on_up)(void *arg, bool fresh);
	/* it is lost, or could not be had; retrying: it is tried again */
	void (*on_down)(void *arg, const struct sbx_error *why, bool retrying);
	/* whether something would be lost with the helper; may be NULL: no */
	bool (*holds)(void *arg);
};

/* Borrows all but id.  Nothing is connected before sbx_channel_start. */
struct sbx_channel *sbx_channel_new(uv_loop_t *loop, struct sbx_service *svc,
				    const char *id,
				    const struct sbx_channel_handler *h,
				    void *arg);
/* Before it is started: goes without a helper (plain.h); why: a sentence. */
void sbx_channel_set_plain(struct sbx_channel *c, const char *why);
/* Connects unless it is connected or about to be. */
void sbx_channel_start(struct sbx_channel *c);
/* Starts over with a new session: the next helper is another one. */
void sbx_channel_renew(struct sbx_channel *c);
/* Asks the helper to end, waits a second at most, then frees c and calls
 * on_closed.  No handler is called any more. */
void sbx_channel_close(struct sbx_channel *c, void (*on_closed)(void *arg),
		       void *arg);

/* As sbx_remote_look_again. */
void sbx_channel_look_again(struct sbx_channel *c);
/* Queues one message (copied); it goes out before the loop next waits.  id:
 * of the request, if somebody waits for its answer, or 0. */
int sbx_channel_send(struct sbx_channel *c, uint32_t id, const void *data,
		     size_t len);
/* As sbx_remote_defer, _hasten and _relax. */
void sbx_channel_defer(struct sbx_channel *c, unsigned int ms);
void sbx_channel_relax(struct sbx_channel *c, uint32_t id);
void sbx_channel_hasten(struct sbx_channel *c);
/* Takes a request back.  False: it may have been sent, which only those that
 * wait for a run (exchange.h) have not been. */
bool sbx_channel_withdraw(struct sbx_channel *c, uint32_t id);
/* A request waits for an answer: look more closely whether it lives. */
void sbx_channel_expect(struct sbx_channel *c, bool expecting);

bool sbx_channel_is_up(const struct sbx_channel *c);
/* connecting, or waiting to try again */
bool sbx_channel_is_trying(const struct sbx_channel *c);
const struct sbx_remote_info *sbx_channel_info(const struct sbx_channel *c);
/* The loop's time when everything that had happened there was known here;
 * UINT64_MAX: it is told as it happens. */
uint64_t sbx_channel_heard_ms(const struct sbx_channel *c);
/* Where requests go in runs: the loop's time of the last answer.  Else 0. */
uint64_t sbx_channel_answered_ms(const struct sbx_channel *c);
/* ... since when an answer has been waited for.  Else 0, and if none is. */
uint64_t sbx_channel_asked_ms(const struct sbx_channel *c);
/* A command of the user's runs there, for which everything else waits. */
bool sbx_channel_is_occupied(const struct sbx_channel *c);
/* messages queued and frames not acknowledged, in bytes */
size_t sbx_channel_unsent(const struct sbx_channel *c);

#endif
