/*
 * What the streams of the services over HTTP have in common: their place in
 * the list of those that are open, a timer, and an end that comes once, from
 * the loop.  For svc_*.c.  Loop thread.
 */
#ifndef SBX_REST_STREAM_H
#define SBX_REST_STREAM_H

#include "client/rest.h"
#include "client/wire/buf.h"

/* on_end is due: the last phase of every service's stream */
#define SBX_STREAM_ENDED 9

struct sbx_rest_stream_type {
	/* It ends: lets go of all that is its own.  Nothing is asked of it
	 * any more, and nothing may call it. */
	void (*release)(struct sbx_rest_stream *s);
	/* The service is being closed; NULL: sbx_rest_stream_close. */
	void (*close)(struct sbx_stream *s);
	/* Output for whoever reads it, of sbx_rest_stream_take. */
	void (*give)(struct sbx_rest_stream *s, int fd, const void *data,
		     size_t len);
};

/* First member of a service's own struct, which is freed with it. */
struct sbx_rest_stream {
	struct sbx_stream base;
	const struct sbx_rest_stream_type *type;
	struct sbx_rest *rest;
	struct sbx_rest_stream *next, **link;
	const struct sbx_stream_handler *handler;
	void *arg;

	unsigned int phase;	     /* the service's, but for the last */
	struct sbx_ws *ws;	     /* closed at its end, if there is one */
	struct sbx_request *request; /* cancelled likewise */
	sbx_request_fn *answered;
	uv_timer_t timer; /* the service's, until the end */
	uint64_t give_up; /* uv_now */
	struct sbx_backoff backoff;

	bool paused;		/* it is not to be read */
	bool giving;		/* what was kept meanwhile */
	struct sbx_buf held[2]; /* that: of stdout, of stderr */

	int exit_code;
	struct sbx_error error;
};

/* Of zeroed memory, which is its own from here on; it gives up after
 * patience_ms. */
void sbx_rest_stream_init(struct sbx_rest_stream *s,
			  const struct sbx_rest_stream_type *type,
			  struct sbx_rest *rest, uint64_t patience_ms,
			  const struct sbx_stream_handler *h, void *arg);
/*
 * Its end, of which only the first counts; on_end follows from the loop.
 * done: the command has ended; end: as *error says.
 */
void sbx_rest_stream_done(struct sbx_rest_stream *s, int exit_code);
void sbx_rest_stream_end(struct sbx_rest_stream *s,
			 const struct sbx_error *error);
void sbx_rest_stream_fail(struct sbx_rest_stream *s, int err,
			  enum sbx_retry retry, const char *text);
void sbx_rest_stream_no_memory(struct sbx_rest_stream *s);
/*
 * Asks for it, in s->request, one at a time.  fn(s, answer) is called unless
 * the stream is over by then; without memory it ends.
 */
void sbx_rest_stream_request(struct sbx_rest_stream *s,
			     const struct sbx_request_conf *conf,
			     sbx_request_fn *fn);
/* Output, for a service that reads on while it is paused: to type->give, or
 * kept until it is not; too much of that ends the stream. */
void sbx_rest_stream_take(struct sbx_rest_stream *s, int fd, const void *data,
			  size_t len);
static inline bool sbx_rest_stream_holds(const struct sbx_rest_stream *s)
{
	return sbx_buf_len(&s->held[0]) || sbx_buf_len(&s->held[1]);
}
/*
 * stream_pause, for the same: gives what was kept.  true: it is paused now, or
 * nothing is kept any more; false: nothing has changed, or it is over, or
 * paused again by then.
 */
bool sbx_rest_stream_pause(struct sbx_rest_stream *s, bool paused);
/* stream_close of struct sbx_service_type */
void sbx_rest_stream_close(struct sbx_stream *s);
static inline bool sbx_rest_stream_is_over(const struct sbx_rest_stream *s)
{
	return s->phase == SBX_STREAM_ENDED;
}
/* For on_close of s->ws, which is no more.  false: it went with the stream,
 * which is gone, too. */
bool sbx_rest_stream_lost_ws(struct sbx_rest_stream *s);
/* All that are open; for rest.c. */
void sbx_rest_streams_close(struct sbx_rest *rest);

#endif
