/*
 * The conversation with one sandbox's helper over a byte stream of the
 * service: gets it there and started (upload.h), carries its messages in
 * order (wire/link.h), notices when the stream is dead, and makes it anew,
 * with the same helper if that still lives.
 *
 * Stands behind channel.h as plain.h and exchange.h do.  Loop thread only.
 */
#ifndef SBX_STREAMED_H
#define SBX_STREAMED_H

#include "client/channel.h"

struct sbx_streamed;

/* Borrows all but id.  Nothing is connected yet. */
struct sbx_streamed *sbx_streamed_new(uv_loop_t *loop, struct sbx_service *svc,
				      const char *id,
				      const struct sbx_channel_handler *h,
				      void *arg);
/* There is no helper, and trying again will not bring one.  True: it is done
 * without, s is only closed yet.  False: s tries again all the same. */
typedef bool sbx_helpless_fn(void *arg, const struct sbx_error *why);
void sbx_streamed_on_helpless(struct sbx_streamed *s, sbx_helpless_fn *fn,
			      void *arg);
/* Connects unless it is connected or about to be. */
void sbx_streamed_start(struct sbx_streamed *s);
/* Starts over with a new session: the next helper is another one. */
void sbx_streamed_renew(struct sbx_streamed *s);
/* What is up is made anew, what waits to be tried again is tried at once. */
void sbx_streamed_look_again(struct sbx_streamed *s);
/* Asks the helper to end, waits a second at most, frees s, then calls
 * on_closed.  No handler is called any more. */
void sbx_streamed_close(struct sbx_streamed *s, void (*on_closed)(void *arg),
			void *arg);
/* Queues one message (copied).  -EMSGSIZE, -ENOMEM. */
int sbx_streamed_send(struct sbx_streamed *s, const void *data, size_t len);
/* Answers are waited for: it is looked more closely whether it lives. */
void sbx_streamed_expect(struct sbx_streamed *s, bool expecting);

bool sbx_streamed_is_up(const struct sbx_streamed *s);
bool sbx_streamed_is_trying(const struct sbx_streamed *s);
/* NULL before the first hello */
const struct sbx_remote_info *sbx_streamed_info(const struct sbx_streamed *s);
/* bytes of messages not acknowledged */
size_t sbx_streamed_unsent(const struct sbx_streamed *s);

#endif
