#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/log.h"
#include "client/random.h"
#include "client/streamed_int.h"

#define TICK_MS		1000
#define START_MS	60000 /* connecting, uploading, hello: all of it */
#define SILENT_MS	15000 /* no byte although we asked: it is dead */
#define PROBE_MS	3000  /* silent this long while expected: ask */
#define QUIT_MS		1000  /* grace for the helper at the end */
#define STEADY_MS	1000  /* up this long: whatever was wrong is over */
#define RETRY_MIN_MS	100
#define RETRY_WAITED_MS 1000 /* longest pause while a request waits */
#define RETRY_MAX_MS	5000
#define MAX_DIED	3 /* helpers, before it is believed that none runs */

static void streamed_connect(struct sbx_streamed *s);
static void streamed_flush_later(struct sbx_streamed *s);

void sbx_streamed_enter(struct sbx_streamed *s, enum phase phase)
{
	s->phase = phase;
	s->phase_since = uv_now(s->loop);
}

static int on_link_message(void *arg, const uint8_t *data, size_t len)
{
	struct sbx_streamed *s = arg;

	if (s->phase != PHASE_UP)
		return s->phase == PHASE_CLOSING ? 0 : -EPROTO;
	return s->h->on_message(s->arg, data, len);
}

/* ---- the stream ---- */

static void streamed_input(struct sbx_streamed *s, const uint8_t *data,
			   size_t len)
{
	size_t used;

	if (s->phase == PHASE_UPLOAD) {
		if (sbx_streamed_upload(s, data, len, &used) <= 0)
			return;
		data += used;
		len -= used;
	}
	if (len && sbx_link_input(s->link, data, len) < 0) {
		sbx_streamed_break(
			s, -EPROTO,
			"the helper in the sandbox answered nonsense");
		return;
	}
	/* it may have opened the window, or be owed an acknowledgement */
	streamed_flush_later(s);
}

static void on_stream_open(void *arg)
{
	struct sbx_streamed *s = arg;

	s->last_rx = uv_now(s->loop);
}

static void on_stream_data(void *arg, int fd, const void *data, size_t len)
{
	struct sbx_streamed *s = arg;

	s->last_rx = uv_now(s->loop);
	if (s->error.err || !s->stream)
		return; /* given up already */
	if (fd == 1) {
		streamed_input(s, data, len);
		return;
	}
	sbx_log(SBX_LOG_DEBUG, "helper", "%.*s", (int)(len > 200 ? 200 : len),
		(const char *)data);
}

static void on_stream_writable(void *arg)
{
	sbx_streamed_pump(arg);
}

static unsigned int retry_delay(const struct sbx_streamed *s)
{
	unsigned int ms = RETRY_MIN_MS << (s->attempts > 8 ? 8 : s->attempts);
	unsigned int max = s->expecting ? RETRY_WAITED_MS : RETRY_MAX_MS;

	if (ms > max)
		ms = max;
	return sbx_random_between(ms / 2, ms);
}

static void on_retry(uv_timer_t *t)
{
	streamed_connect(t->data);
}

/* The stream is gone: say so, and plan the next attempt. */
static void streamed_down(struct sbx_streamed *s, const struct sbx_error *why)
{
	bool was_up = s->phase == PHASE_UP;
	bool retry = was_up || why->retry != SBX_RETRY_NEVER;

	sbx_streamed_enter(s, PHASE_DOWN);
	s->started = retry;
	if (retry) {
		/* the first try after a loss is made at once, but one that
		 * talks nonsense may do so again as fast as it is let, and one
		 * that was up for a moment may end again as fast */
		unsigned int ms = why->err == -EPROTO	   ? RETRY_WAITED_MS
				  : was_up && !s->attempts ? 0
							   : retry_delay(s);

		s->attempts++;
		uv_timer_start(&s->retry, on_retry, ms, 0);
	}
	s->h->on_down(s->arg, why, retry);
}

static void streamed_free(struct sbx_streamed *s)
{
	sbx_link_free(s->link);
	free(s->unit);
	free(s->id);
	free(s);
}

static void on_handle_closed(uv_handle_t *h)
{
	struct sbx_streamed *s = h->data;
	void (*fn)(void *arg) = s->on_closed;
	void *arg = s->closed_arg;

	if (--s->open_handles)
		return;
	streamed_free(s);
	if (fn)
		fn(arg);
}

static void streamed_release(struct sbx_streamed *s)
{
	uv_close((uv_handle_t *)&s->tick, on_handle_closed);
	uv_close((uv_handle_t *)&s->retry, on_handle_closed);
	uv_close((uv_handle_t *)&s->flush, on_handle_closed);
}

/* There is no helper, and trying again will not bring one.  False: no. */
static bool streamed_is_given_up(struct sbx_streamed *s,
				 const struct sbx_error *why)
{
	if (s->phase == PHASE_HELLO && !s->instance)
		s->died++;
	if (why->err != -EOPNOTSUPP && s->died < MAX_DIED)
		return false;
	if (!s->on_helpless || !s->on_helpless(s->helpless_arg, why))
		return false;
	uv_timer_stop(&s->tick);
	sbx_streamed_enter(s, PHASE_DOWN);
	return true;
}

/*
 * What was said cannot be taken up again.  The old helper is left to end by
 * itself; the one that starts next has another instance, so that the owner
 * hears of a fresh one.
 */
static void streamed_new_session(struct sbx_streamed *s)
{
	sbx_link_reset(s->link);
	sbx_session_make(s->session);
}

static void on_stream_end(void *arg, int exit_code,
			  const struct sbx_error *error)
{
	struct sbx_streamed *s = arg;
	struct sbx_error why = *error;

	s->stream = NULL;
	s->unit_len = 0;
	sbx_link_detach(s->link);
	if (s->error.err) {
		why = s->error;
	} else if (!why.err && s->phase == PHASE_UPLOAD) {
		sbx_upload_exit(exit_code, &why);
	} else if (!why.err) {
		sbx_error_set(&why, -EIO, "the helper in the sandbox ended");
		why.retry = SBX_RETRY_CONNECTION;
	}
	s->error.err = 0;
	s->upload = sbx_upload_free(s->upload);
	if (sbx_link_is_broken(s->link) || s->renews)
		streamed_new_session(s);
	s->renews = false;
	if (s->phase == PHASE_CLOSING)
		streamed_release(s);
	else if (!streamed_is_given_up(s, &why))
		streamed_down(s, &why);
}

static const struct sbx_stream_handler stream_handler = {
	.on_open = on_stream_open,
	.on_data = on_stream_data,
	.on_writable = on_stream_writable,
	.on_end = on_stream_end,
	.no_stderr = true,
};

void sbx_streamed_break(struct sbx_streamed *s, int err, const char *fmt, ...)
{
	va_list ap;

	if (!s->stream || s->error.err)
		return;
	va_start(ap, fmt);
	sbx_error_vset(&s->error, err, fmt, ap);
	va_end(ap);
	if (err == -ETIMEDOUT)
		s->error.retry = SBX_RETRY_CONNECTION;
	s->svc->type->stream_close(s->stream);
}

static void streamed_connect(struct sbx_streamed *s)
{
	struct sbx_error why = {0};

	s->upload = sbx_upload_new(s->session, s->svc->type->max_unit);
	if (!s->upload) {
		sbx_error_set(&why, -ENOMEM, "out of memory");
		streamed_down(s, &why);
		return;
	}
	s->error.err = 0;
	s->last_rx = uv_now(s->loop);
	sbx_streamed_enter(s, PHASE_UPLOAD);
	s->stream = s->svc->type->stream_open(
		s->svc, s->id, sbx_upload_argv(s->upload), &stream_handler, s);
	if (!s->stream) {
		s->upload = sbx_upload_free(s->upload);
		sbx_error_set(&why, -ENOMEM, "out of memory");
		streamed_down(s, &why);
	}
}

void sbx_streamed_pump(struct sbx_streamed *s)
{
	const struct sbx_service_type *t = s->svc->type;

	if (!s->stream || s->error.err)
		return;
	for (;;) {
		/* before the helper runs: a piece of it, if anything */
		if (!s->unit_len && s->phase >= PHASE_HELLO)
			s->unit_len =
				sbx_link_output(s->link, s->unit, t->max_unit);
		if (!s->unit_len)
			return;
		if (t->stream_send(s->stream, s->unit, s->unit_len) < 0)
			return; /* on_writable goes on */
		s->unit_len = 0;
	}
}

/* ---- liveness ---- */

static void streamed_check_up(struct sbx_streamed *s, uint64_t now)
{
	uint64_t silent = now - s->last_rx;
	uint64_t ask = s->expecting ? PROBE_MS : SBX_PING_S * 1000;

	if (now - s->phase_since >= STEADY_MS)
		s->attempts = 0;
	if (silent >= ask && now - s->last_ping >= ask) {
		s->last_ping = now;
		sbx_link_send_control(s->link, NULL, 0);
		sbx_streamed_pump(s);
	}
	if (silent >= (s->expecting ? SILENT_MS : 2 * SILENT_MS))
		sbx_streamed_break(
			s, -ETIMEDOUT,
			"no sign of life from the sandbox for %u seconds",
			(unsigned int)(silent / 1000));
}

static void on_tick(uv_timer_t *t)
{
	struct sbx_streamed *s = t->data;
	uint64_t now = uv_now(s->loop);
	uint64_t max = s->phase == PHASE_CLOSING ? QUIT_MS : START_MS;

	if (s->phase == PHASE_UP)
		streamed_check_up(s, now);
	else if (now - s->phase_since >= max)
		sbx_streamed_break(
			s, -ETIMEDOUT,
			"the helper did not get started in %d seconds",
			START_MS / 1000);
}

static void on_flush(uv_prepare_t *p)
{
	struct sbx_streamed *s = p->data;

	uv_prepare_stop(p);
	sbx_streamed_pump(s);
}

static void streamed_flush_later(struct sbx_streamed *s)
{
	uv_prepare_start(&s->flush, on_flush);
}

/* ---- as a carrier ---- */

static void streamed_start(struct sbx_carrier *c)
{
	struct sbx_streamed *s = (struct sbx_streamed *)c;

	if (s->started || s->phase == PHASE_CLOSING)
		return;
	s->started = true;
	/* an idle one costs nothing: the tick starts with its first use */
	uv_timer_start(&s->tick, on_tick, TICK_MS, TICK_MS);
	uv_timer_start(&s->retry, on_retry, s->attempts ? retry_delay(s) : 0,
		       0);
}

static void streamed_renew(struct sbx_carrier *c)
{
	struct sbx_streamed *s = (struct sbx_streamed *)c;

	if (!s->stream || s->phase != PHASE_UP)
		return;
	s->renews = true;
	sbx_streamed_break(s, -ETIMEDOUT, "starting over");
}

static void streamed_look_again(struct sbx_carrier *c)
{
	struct sbx_streamed *s = (struct sbx_streamed *)c;

	if (s->phase == PHASE_UP)
		sbx_streamed_break(s, -ETIMEDOUT, "it was paused or resumed");
	else if (s->phase == PHASE_DOWN && s->started)
		uv_timer_start(&s->retry, on_retry, 0, 0);
}

static void streamed_quit(struct sbx_streamed *s)
{
	struct sbx_buf b;

	sbx_buf_init(&b, 64);
	sbx_hello_put_quit(&b);
	sbx_link_send_control(s->link, sbx_buf_at(&b), sbx_buf_len(&b));
	sbx_buf_release(&b);
	sbx_streamed_pump(s);
}

static void streamed_close(struct sbx_carrier *c, void (*on_closed)(void *arg),
			   void *arg)
{
	struct sbx_streamed *s = (struct sbx_streamed *)c;
	enum phase was = s->phase;

	s->on_closed = on_closed;
	s->closed_arg = arg;
	uv_timer_stop(&s->retry);
	sbx_streamed_enter(s, PHASE_CLOSING);
	if (!s->stream) {
		streamed_release(s);
		return;
	}
	if (was == PHASE_UP && !s->error.err)
		streamed_quit(s); /* on_stream_end, or the tick, goes on */
	else
		sbx_streamed_break(s, -ECANCELED, "the mount is ending");
}

static int streamed_send(struct sbx_carrier *c, uint32_t id, const void *data,
			 size_t len)
{
	struct sbx_streamed *s = (struct sbx_streamed *)c;
	int r = sbx_link_send(s->link, data, len);

	if (r == 0)
		streamed_flush_later(s);
	return r;
}

static void streamed_expect(struct sbx_carrier *c, bool expecting)
{
	struct sbx_streamed *s = (struct sbx_streamed *)c;
	bool news = expecting && !s->expecting;

	s->expecting = expecting;
	if (!news)
		return;
	s->last_ping = 0;
	if (s->phase == PHASE_DOWN && s->started &&
	    uv_timer_get_due_in(&s->retry) > RETRY_WAITED_MS)
		uv_timer_start(&s->retry, on_retry, retry_delay(s), 0);
}

static bool streamed_is_up(const struct sbx_carrier *c)
{
	const struct sbx_streamed *s = (const struct sbx_streamed *)c;

	return s->phase == PHASE_UP;
}

static bool streamed_is_trying(const struct sbx_carrier *c)
{
	const struct sbx_streamed *s = (const struct sbx_streamed *)c;

	return s->started && s->phase != PHASE_UP;
}

static const struct sbx_remote_info *streamed_info(const struct sbx_carrier *c)
{
	const struct sbx_streamed *s = (const struct sbx_streamed *)c;

	return s->instance ? &s->info : NULL;
}

static size_t streamed_unsent(const struct sbx_carrier *c)
{
	const struct sbx_streamed *s = (const struct sbx_streamed *)c;

	return sbx_link_queued(s->link) + sbx_link_unacked(s->link);
}

static const struct sbx_carrier_type streamed_carrier = {
	.start = streamed_start,
	.renew = streamed_renew,
	.look_again = streamed_look_again,
	.close = streamed_close,
	.send = streamed_send,
	.expect = streamed_expect,
	.is_up = streamed_is_up,
	.is_trying = streamed_is_trying,
	.info = streamed_info,
	.unsent = streamed_unsent,
};

static void streamed_init_handles(struct sbx_streamed *s)
{
	uv_timer_init(s->loop, &s->tick);
	uv_timer_init(s->loop, &s->retry);
	uv_prepare_init(s->loop, &s->flush);
	s->tick.data = s->retry.data = s->flush.data = s;
	s->open_handles = 3;
}

struct sbx_carrier *sbx_streamed_new(uv_loop_t *loop, struct sbx_service *svc,
				     const char *id,
				     const struct sbx_channel_handler *h,
				     void *arg)
{
	struct sbx_link_conf conf = {
		.frame_max_out = SBX_FRAME_MAX_TO_HELPER,
		.frame_max_in = SBX_FRAME_MAX_TO_CLIENT,
		.window_out = SBX_WINDOW_TO_HELPER,
		.window_in = SBX_WINDOW_TO_CLIENT,
		.on_message = on_link_message,
		.on_control = sbx_streamed_on_control,
	};
	struct sbx_streamed *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	conf.arg = s;
	if (conf.frame_max_out > svc->type->max_unit)
		conf.frame_max_out = svc->type->max_unit;
	if (svc->type->max_unacked)
		conf.window_in = svc->type->max_unacked;
	s->base.type = &streamed_carrier;
	s->loop = loop;
	s->svc = svc;
	s->h = h;
	s->arg = arg;
	s->id = strdup(id);
	s->link = sbx_link_new(&conf);
	s->unit = malloc(svc->type->max_unit);
	if (!s->id || !s->link || !s->unit ||
	    sbx_session_make(s->session) < 0) {
		streamed_free(s);
		return NULL;
	}
	streamed_init_handles(s);
	return &s->base;
}

void sbx_streamed_on_helpless(struct sbx_carrier *c, sbx_helpless_fn *fn,
			      void *arg)
{
	struct sbx_streamed *s = (struct sbx_streamed *)c;

	s->on_helpless = fn;
	s->helpless_arg = arg;
}
