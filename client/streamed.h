/*
 * The conversation with one sandbox's helper over a byte stream of the
 * service: gets it there and started (upload.h), carries its messages in
 * order (wire/link.h), notices when the stream is dead, and makes it anew,
 * with the same helper if that still lives.
 *
 * A carrier of channel.h.  Loop thread only.
 */
#ifndef SBX_STREAMED_H
#define SBX_STREAMED_H

#include "client/carrier.h"

/* Borrows all but id.  Nothing is connected yet.  NULL: no memory. */
struct sbx_carrier *sbx_streamed_new(uv_loop_t *loop, struct sbx_service *svc,
				     const char *id,
				     const struct sbx_channel_handler *h,
				     void *arg);
/* There is no helper, and trying again will not bring one.  True: it is done
 * without, the carrier is only closed yet.  False: it tries again all the
 * same. */
typedef bool sbx_helpless_fn(void *arg, const struct sbx_error *why);
void sbx_streamed_on_helpless(struct sbx_carrier *c, sbx_helpless_fn *fn,
			      void *arg);

#endif
