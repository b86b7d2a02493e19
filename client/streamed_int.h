/*
 * The inside of a conversation over a stream, shared by streamed.c (its
 * stream: made, lost, made anew; the carrier) and streamed_hello.c (until the
 * helper is there).  Nobody else includes this.  Loop thread.
 */
#ifndef SBX_STREAMED_INT_H
#define SBX_STREAMED_INT_H

#include "client/hello.h"
#include "client/streamed.h"
#include "client/upload.h"
#include "client/wire/link.h"

enum phase {
	PHASE_DOWN,   /* no stream; perhaps a retry is due */
	PHASE_UPLOAD, /* the script talks */
	PHASE_HELLO,  /* the helper runs, its hello has not come */
	PHASE_UP,
	PHASE_CLOSING,
};

struct sbx_streamed {
	struct sbx_carrier base;
	uv_loop_t *loop;
	struct sbx_service *svc;
	char *id;
	char session[SBX_SESSION_SIZE];
	const struct sbx_channel_handler *h;
	void *arg;
	sbx_helpless_fn *on_helpless; /* may be NULL */
	void *helpless_arg;

	enum phase phase;
	bool started; /* somebody wants it */
	bool expecting;
	bool renews; /* what was said is not to be taken up again */
	struct sbx_stream *stream;
	struct sbx_upload *upload;
	struct sbx_link *link;
	uint64_t instance; /* of the helper; 0: none so far */
	struct sbx_remote_info info;
	struct sbx_error error; /* why the stream is being given up */
	unsigned int died;	/* helpers that ended before their hello */

	uv_timer_t tick, retry;
	uv_prepare_t flush; /* sends what one turn of the loop has queued */
	unsigned int open_handles;
	unsigned int attempts; /* since it was up for STEADY_MS */
	uint64_t phase_since, last_rx, last_ping;
	void (*on_closed)(void *arg);
	void *closed_arg;

	uint8_t *unit; /* of the link, or a piece of the helper: not yet taken
			  by the stream */
	size_t unit_len;
};

/* ---- streamed.c ---- */

void sbx_streamed_enter(struct sbx_streamed *s, enum phase phase);
/*
 * Gives the stream up, if there is one, with this error; its end follows and
 * goes on from there.  After -ETIMEDOUT another connection may do better.
 */
void sbx_streamed_break(struct sbx_streamed *s, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Gives the stream what there is for it, as much as it takes. */
void sbx_streamed_pump(struct sbx_streamed *s);

/* ---- streamed_hello.c ---- */

/*
 * What the script printed (PHASE_UPLOAD); *ret_used: bytes that were its own.
 * 1: the helper runs, and has our hello (PHASE_HELLO); 0: not yet; negative:
 * the stream is given up.
 */
int sbx_streamed_upload(struct sbx_streamed *s, const uint8_t *data, size_t len,
			size_t *ret_used);
/* For the link: the helper's hello, with which it is up.  -EPROTO ... */
int sbx_streamed_on_control(void *arg, const uint8_t *data, size_t len);

#endif
