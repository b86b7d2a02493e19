/*
 * One end of a session: messages in, frames out, and back.  Numbering,
 * sorting, acknowledging, window, sending again after a reconnect: the rules
 * of proto.h, the same code on both ends.  Does no input or output itself.
 */
#ifndef SBX_WIRE_LINK_H
#define SBX_WIRE_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sbx_link;

struct sbx_link_conf {
	size_t frame_max_out, frame_max_in; /* header included */
	size_t window_out, window_in;	    /* bytes of payload */
	/* one whole message, in order; return < 0 breaks the link.  The
	 * bytes live until the handler returns */
	int (*on_message)(void *arg, const uint8_t *data, size_t len);
	/* a control frame with a payload: hello or quit */
	int (*on_control)(void *arg, const uint8_t *data, size_t len);
	void *arg;
};

struct sbx_link *sbx_link_new(const struct sbx_link_conf *conf);
struct sbx_link *sbx_link_free(struct sbx_link *l);
/* The peer wants fewer bytes unacknowledged than conf.window_out; 0: as many.
 * Never less than one frame. */
void sbx_link_narrow(struct sbx_link *l, uint64_t window);

/*
 * A new pair of streams.  Partial input is dropped; the hello (copied) is
 * the first thing that sbx_link_output gives, and nothing numbered follows
 * until sbx_link_resume.
 */
int sbx_link_attach(struct sbx_link *l, const void *hello, size_t len);
/* The streams are gone: output gives nothing until the next attach. */
void sbx_link_detach(struct sbx_link *l);
/*
 * The peer's hello says it has received up to this number: forget those,
 * send the rest again.  -EPROTO for a number that was never sent.
 */
int sbx_link_resume(struct sbx_link *l, uint32_t peer_received);
/*
 * For a carrier whose streams are short (proto.h, BATCH): the same as attach,
 * but what is not acknowledged follows the hello at once, since the peer is
 * taken to be the one that is known.
 */
int sbx_link_attach_known(struct sbx_link *l, const void *hello, size_t len);
/* It is: its hello says that it has received up to this number.  -EPROTO as
 * with resume. */
int sbx_link_confirm(struct sbx_link *l, uint32_t peer_received);
/* It is not, said the peer's hello: what else comes is dropped until the next
 * attach. */
void sbx_link_deafen(struct sbx_link *l);
/* Forgets both directions: the peer starts from nothing. */
void sbx_link_reset(struct sbx_link *l);
uint32_t sbx_link_received(const struct sbx_link *l);

/* Queues one message (copied).  -EMSGSIZE, -ENOMEM. */
int sbx_link_send(struct sbx_link *l, const void *data, size_t len);
/* An empty control frame (ping, ack), or one with a payload (quit). */
int sbx_link_send_control(struct sbx_link *l, const void *data, size_t len);

/*
 * Fills dst with whole frames, at most cap bytes (cap >= frame_max_out), and
 * returns how many; 0: nothing to send, or the window is full.  What it
 * gives counts as sent.
 */
size_t sbx_link_output(struct sbx_link *l, void *dst, size_t cap);
/* Bytes as they come; calls the handlers.  -EPROTO on nonsense. */
int sbx_link_input(struct sbx_link *l, const void *data, size_t len);

/* A numbered frame was counted as received, but what it held was nonsense or
 * could not be handled: this session cannot go on, whatever the streams. */
bool sbx_link_is_broken(const struct sbx_link *l);

/* whole frames that came, and how many of them were empty control frames */
uint64_t sbx_link_frames(const struct sbx_link *l);
uint64_t sbx_link_pings(const struct sbx_link *l);

size_t sbx_link_queued(const struct sbx_link *l);  /* not yet given out */
size_t sbx_link_unacked(const struct sbx_link *l); /* given out, unanswered */

#endif
