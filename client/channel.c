#include "client/channel.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "client/exchange.h"
#include "client/hello.h"
#include "client/log.h"
#include "client/plain.h"
#include "client/upload.h"
#include "client/wire/link.h"

#define TICK_MS		1000
#define START_MS	60000 /* connecting, uploading, hello: all of it */
#define SILENT_MS	15000 /* no byte although we asked: it is dead */
#define PROBE_MS	3000  /* silent this long while expected: ask */
#define QUIT_MS		1000  /* grace for the helper at the end */
#define RETRY_MIN_MS	100
#define RETRY_WAITED_MS 1000 /* longest pause while a request waits */
#define RETRY_MAX_MS	5000
#define MAX_DIED	3 /* helpers, before it is believed that none runs */

enum phase {
	PHASE_DOWN,   /* no stream; perhaps a retry is due */
	PHASE_UPLOAD, /* the script talks */
	PHASE_HELLO,  /* the helper runs, its hello has not come */
	PHASE_UP,
	PHASE_CLOSING,
};

struct sbx_channel {
	uv_loop_t *loop;
	struct sbx_service *svc;
	char *id;
	char session[SBX_SESSION_SIZE];
	const struct sbx_channel_handler *h;
	void *arg;

	enum phase phase;
	bool started; /* somebody wants it */
	bool expecting;
	bool renews; /* what was said is not to be taken up again */
	struct sbx_stream *stream;
	struct sbx_upload *upload;
	struct sbx_link *link;
	uint64_t instance; /* of the helper; 0: none so far */
	struct sbx_remote_info info;
	struct sbx_error error;	       /* why the stream is being given up */
	struct sbx_plain *plain;       /* instead of a helper, or NULL */
	struct sbx_exchange *exchange; /* instead of streams, or NULL */
	unsigned int died; /* helpers that ended before their hello */

	uv_timer_t tick, retry;
	uv_prepare_t flush; /* sends what one turn of the loop has queued */
	unsigned int open_handles;
	unsigned int attempts;
	uint64_t phase_since, last_rx, last_ping;
	void (*on_closed)(void *arg);
	void *closed_arg;

	uint8_t *unit; /* given out by the link, not yet taken by the stream */
	size_t unit_len;
};

static void channel_connect(struct sbx_channel *c);
static void channel_break(struct sbx_channel *c, const struct sbx_error *why);
static void channel_pump(struct sbx_channel *c);
static void channel_flush_later(struct sbx_channel *c);

static void channel_enter(struct sbx_channel *c, enum phase phase)
{
	c->phase = phase;
	c->phase_since = uv_now(c->loop);
}

/* ---- the helper's hello ---- */

static int channel_resume(struct sbx_channel *c, const struct sbx_hello *h)
{
	bool fresh = c->instance && c->instance != h->instance;
	int r;

	if (!c->instance || fresh) {
		if (h->received)
			return -EPROTO;
		/* sets back the numbers; a first one has queued nothing */
		sbx_link_reset(c->link);
	}
	r = sbx_link_resume(c->link, h->received);
	if (r < 0)
		return r;
	c->info = h->info;
	c->instance = h->instance;
	c->attempts = 0;
	channel_enter(c, PHASE_UP);
	c->h->on_up(c->arg, fresh);
	return 0;
}

static int on_link_control(void *arg, const uint8_t *data, size_t len)
{
	struct sbx_channel *c = arg;
	struct sbx_hello h;
	int r;

	if (c->phase != PHASE_HELLO)
		return -EPROTO;
	r = sbx_hello_parse(&h, data, len);
	if (r < 0)
		return r;
	if (!sbx_hello_fits(&h, c->session))
		return -EPROTO;
	return channel_resume(c, &h);
}

static int on_link_message(void *arg, const uint8_t *data, size_t len)
{
	struct sbx_channel *c = arg;

	if (c->phase != PHASE_UP)
		return c->phase == PHASE_CLOSING ? 0 : -EPROTO;
	return c->h->on_message(c->arg, data, len);
}

static int channel_hello(struct sbx_channel *c)
{
	struct sbx_buf b;
	int r;

	sbx_buf_init(&b, 1024);
	sbx_hello_put(&b, c->session, c->instance, sbx_link_received(c->link),
		      c->svc->type->max_unacked);
	r = b.err ? b.err
		  : sbx_link_attach(c->link, sbx_buf_at(&b), sbx_buf_len(&b));
	sbx_buf_release(&b);
	return r;
}

/* ---- the stream ---- */

static int channel_upload(struct sbx_channel *c, const uint8_t *data,
			  size_t len, size_t *ret_used)
{
	struct sbx_error why = {0};
	const void *piece;
	size_t n;
	int r;

	r = sbx_upload_input(c->upload, data, len, ret_used, &why);
	if (r < 0) {
		channel_break(c, &why);
		return r;
	}
	piece = sbx_upload_piece(c->upload, &n);
	if (piece && c->svc->type->stream_send(c->stream, piece, n) < 0) {
		/* cannot be: one piece is under way at a time */
		sbx_error_set(&why, -EIO, "sending the helper failed");
		channel_break(c, &why);
		return -EIO;
	}
	if (r == 0)
		return 0;
	channel_enter(c, PHASE_HELLO);
	if (channel_hello(c) < 0) {
		sbx_error_set(&why, -ENOMEM, "out of memory");
		channel_break(c, &why);
		return -ENOMEM;
	}
	channel_pump(c);
	return 1;
}

static void channel_input(struct sbx_channel *c, const uint8_t *data,
			  size_t len)
{
	struct sbx_error why = {0};
	size_t used;

	if (c->phase == PHASE_UPLOAD) {
		if (channel_upload(c, data, len, &used) <= 0)
			return;
		data += used;
		len -= used;
	}
	if (len && sbx_link_input(c->link, data, len) < 0) {
		sbx_error_set(&why, -EPROTO,
			      "the helper in the sandbox answered nonsense");
		channel_break(c, &why);
		return;
	}
	/* it may have opened the window, or be owed an acknowledgement */
	channel_flush_later(c);
}

static void on_stream_open(void *arg)
{
	struct sbx_channel *c = arg;

	c->last_rx = uv_now(c->loop);
}

static void on_stream_data(void *arg, int fd, const void *data, size_t len)
{
	struct sbx_channel *c = arg;

	c->last_rx = uv_now(c->loop);
	if (c->error.err || !c->stream)
		return; /* given up already */
	if (fd == 1) {
		channel_input(c, data, len);
		return;
	}
	sbx_log(SBX_LOG_DEBUG, "helper", "%.*s", (int)(len > 200 ? 200 : len),
		(const char *)data);
}

static void on_stream_writable(void *arg)
{
	channel_pump(arg);
}

static unsigned int retry_delay(const struct sbx_channel *c)
{
	unsigned int ms = RETRY_MIN_MS << (c->attempts > 8 ? 8 : c->attempts);
	unsigned int max = c->expecting ? RETRY_WAITED_MS : RETRY_MAX_MS;
	uint32_t jitter = 0;

	if (ms > max)
		ms = max;
	if (getrandom(&jitter, sizeof(jitter), GRND_NONBLOCK) < 0)
		jitter = 0;
	return ms / 2 + jitter % (ms / 2 + 1);
}

static void on_retry(uv_timer_t *t)
{
	channel_connect(t->data);
}

/* The stream is gone: say so, and plan the next attempt. */
static void channel_down(struct sbx_channel *c, const struct sbx_error *why)
{
	bool was_up = c->phase == PHASE_UP;
	bool retry = was_up || why->retry != SBX_RETRY_NEVER;

	channel_enter(c, PHASE_DOWN);
	c->started = retry;
	if (retry) {
		/* the first try after a loss is made at once, but one that
		 * talks nonsense may do so again as fast as it is let */
		unsigned int ms = why->err == -EPROTO ? RETRY_WAITED_MS
				  : was_up	      ? 0
						      : retry_delay(c);

		c->attempts++;
		uv_timer_start(&c->retry, on_retry, ms, 0);
	}
	c->h->on_down(c->arg, why, retry);
}

static void channel_freed(uv_handle_t *h)
{
	struct sbx_channel *c = h->data;
	void (*fn)(void *arg) = c->on_closed;
	void *arg = c->closed_arg;

	if (--c->open_handles)
		return;
	sbx_link_free(c->link);
	free(c->unit);
	free(c->id);
	free(c);
	if (fn)
		fn(arg);
}

static void channel_release(struct sbx_channel *c)
{
	uv_close((uv_handle_t *)&c->tick, channel_freed);
	uv_close((uv_handle_t *)&c->retry, channel_freed);
	uv_close((uv_handle_t *)&c->flush, channel_freed);
}

/* ---- without a helper ---- */

void sbx_channel_set_plain(struct sbx_channel *c, const char *why)
{
	/* which needs streams: without them there is a helper or nothing */
	if (c->exchange)
		sbx_exchange_refuse(c->exchange, why);
	else if (!c->plain)
		c->plain = sbx_plain_new(c->loop, c->svc, c->id, why,
					 c->instance != 0, c->h, c->arg);
}

/* There is no helper, and trying again will not bring one.  False: no. */
static bool channel_go_plain(struct sbx_channel *c, enum phase phase,
			     const struct sbx_error *why)
{
	if (phase == PHASE_HELLO && !c->instance)
		c->died++;
	if (why->err != -EOPNOTSUPP && c->died < MAX_DIED)
		return false;
	sbx_channel_set_plain(c, why->text);
	if (!c->plain)
		return false;
	sbx_log(SBX_LOG_WARNING, "channel",
		"%s: %s; going on in plain mode, without a helper", c->id,
		why->text);
	uv_timer_stop(&c->tick);
	channel_enter(c, PHASE_DOWN);
	sbx_plain_start(c->plain);
	return true;
}

/*
 * What was said cannot be taken up again.  The old helper is left to end by
 * itself; the one that starts next has another instance, so that the owner
 * hears of a fresh one.
 */
static void channel_new_session(struct sbx_channel *c)
{
	sbx_link_reset(c->link);
	sbx_session_make(c->session);
}

static void on_stream_end(void *arg, int exit_code,
			  const struct sbx_error *error)
{
	struct sbx_channel *c = arg;
	struct sbx_error why = *error;

	c->stream = NULL;
	c->unit_len = 0;
	sbx_link_detach(c->link);
	if (c->error.err) {
		why = c->error;
	} else if (!why.err && c->phase == PHASE_UPLOAD) {
		sbx_upload_exit(c->upload, exit_code, &why);
	} else if (!why.err) {
		sbx_error_set(&why, -EIO, "the helper in the sandbox ended");
		why.retry = SBX_RETRY_CONNECTION;
	}
	c->error.err = 0;
	c->upload = sbx_upload_free(c->upload);
	if (sbx_link_is_broken(c->link) || c->renews)
		channel_new_session(c);
	c->renews = false;
	if (c->phase == PHASE_CLOSING)
		channel_release(c);
	else if (!channel_go_plain(c, c->phase, &why))
		channel_down(c, &why);
}

static const struct sbx_stream_handler stream_handler = {
	.on_open = on_stream_open,
	.on_data = on_stream_data,
	.on_writable = on_stream_writable,
	.on_end = on_stream_end,
	.no_stderr = true,
};

/* Gives the stream up; on_stream_end follows and goes on from there. */
static void channel_break(struct sbx_channel *c, const struct sbx_error *why)
{
	if (!c->stream || c->error.err)
		return;
	c->error = *why;
	c->svc->type->stream_close(c->stream);
}

static void channel_connect(struct sbx_channel *c)
{
	struct sbx_error why = {0};

	c->upload = sbx_upload_new(c->session, c->svc->type->max_unit);
	if (!c->upload) {
		sbx_error_set(&why, -ENOMEM, "out of memory");
		channel_down(c, &why);
		return;
	}
	c->error.err = 0;
	c->last_rx = uv_now(c->loop);
	channel_enter(c, PHASE_UPLOAD);
	c->stream = c->svc->type->stream_open(
		c->svc, c->id, sbx_upload_argv(c->upload), &stream_handler, c);
	if (!c->stream) {
		c->upload = sbx_upload_free(c->upload);
		sbx_error_set(&why, -ENOMEM, "out of memory");
		channel_down(c, &why);
	}
}

static void channel_pump(struct sbx_channel *c)
{
	const struct sbx_service_type *t = c->svc->type;

	if (!c->stream || c->error.err || c->phase < PHASE_HELLO)
		return;
	for (;;) {
		if (!c->unit_len)
			c->unit_len =
				sbx_link_output(c->link, c->unit, t->max_unit);
		if (!c->unit_len)
			return;
		if (t->stream_send(c->stream, c->unit, c->unit_len) < 0)
			return; /* on_writable goes on */
		c->unit_len = 0;
	}
}

/* ---- liveness ---- */

static void channel_check_up(struct sbx_channel *c, uint64_t now)
{
	uint64_t silent = now - c->last_rx;
	uint64_t ask = c->expecting ? PROBE_MS : SBX_PING_S * 1000;
	struct sbx_error why = {0};

	if (silent >= ask && now - c->last_ping >= ask) {
		c->last_ping = now;
		sbx_link_send_control(c->link, NULL, 0);
		channel_pump(c);
	}
	if (silent < (c->expecting ? SILENT_MS : 2 * SILENT_MS))
		return;
	sbx_error_set(&why, -ETIMEDOUT,
		      "no sign of life from the sandbox for %u seconds",
		      (unsigned int)(silent / 1000));
	why.retry = SBX_RETRY_CONNECTION;
	channel_break(c, &why);
}

static void on_tick(uv_timer_t *t)
{
	struct sbx_channel *c = t->data;
	uint64_t now = uv_now(c->loop);
	uint64_t max = c->phase == PHASE_CLOSING ? QUIT_MS : START_MS;
	struct sbx_error why = {0};

	if (c->phase == PHASE_UP) {
		channel_check_up(c, now);
	} else if (c->stream && now - c->phase_since >= max) {
		sbx_error_set(&why, -ETIMEDOUT,
			      "the helper did not get started in %d seconds",
			      START_MS / 1000);
		why.retry = SBX_RETRY_CONNECTION;
		channel_break(c, &why);
	}
}

static void on_flush(uv_prepare_t *p)
{
	struct sbx_channel *c = p->data;

	uv_prepare_stop(p);
	channel_pump(c);
}

static void channel_flush_later(struct sbx_channel *c)
{
	uv_prepare_start(&c->flush, on_flush);
}

/* ---- for remote.c ---- */

static void channel_init_handles(struct sbx_channel *c)
{
	uv_timer_init(c->loop, &c->tick);
	uv_timer_init(c->loop, &c->retry);
	uv_prepare_init(c->loop, &c->flush);
	c->tick.data = c->retry.data = c->flush.data = c;
	c->open_handles = 3;
}

struct sbx_channel *sbx_channel_new(uv_loop_t *loop, struct sbx_service *svc,
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
		.on_control = on_link_control,
	};
	struct sbx_channel *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	conf.arg = c;
	if (conf.frame_max_out > svc->type->max_unit)
		conf.frame_max_out = svc->type->max_unit;
	if (svc->type->max_unacked)
		conf.window_in = svc->type->max_unacked;
	c->loop = loop;
	c->svc = svc;
	c->h = h;
	c->arg = arg;
	c->id = strdup(id);
	if (svc->type->run) {
		c->exchange = sbx_exchange_new(loop, svc, id, h, arg);
	} else {
		c->link = sbx_link_new(&conf);
		c->unit = malloc(svc->type->max_unit);
	}
	if (!c->id || sbx_session_make(c->session) < 0 ||
	    (!c->exchange && (!c->link || !c->unit))) {
		sbx_exchange_close(c->exchange, NULL, NULL);
		sbx_link_free(c->link);
		free(c->unit);
		free(c->id);
		free(c);
		return NULL;
	}
	channel_init_handles(c);
	return c;
}

void sbx_channel_start(struct sbx_channel *c)
{
	if (c->plain) {
		sbx_plain_start(c->plain);
		return;
	}
	if (c->exchange) {
		sbx_exchange_start(c->exchange);
		return;
	}
	if (c->started || c->phase == PHASE_CLOSING)
		return;
	c->started = true;
	/* an idle channel costs nothing: the tick starts with its first use */
	uv_timer_start(&c->tick, on_tick, TICK_MS, TICK_MS);
	uv_timer_start(&c->retry, on_retry, c->attempts ? retry_delay(c) : 0,
		       0);
}

void sbx_channel_renew(struct sbx_channel *c)
{
	struct sbx_error why = {0};

	if (c->exchange) {
		sbx_exchange_renew(c->exchange);
	} else if (!c->plain && c->stream && c->phase == PHASE_UP) {
		/* on_stream_end goes on */
		c->renews = true;
		sbx_error_set(&why, -ETIMEDOUT, "starting over");
		why.retry = SBX_RETRY_CONNECTION;
		channel_break(c, &why);
	}
}

void sbx_channel_look_again(struct sbx_channel *c)
{
	struct sbx_error why = {0};

	if (c->exchange)
		sbx_exchange_look_again(c->exchange);
	if (c->plain || c->exchange)
		return;
	sbx_error_set(&why, -ETIMEDOUT, "it was paused or resumed");
	why.retry = SBX_RETRY_CONNECTION;
	if (c->phase == PHASE_UP)
		channel_break(c, &why);
	else if (c->phase == PHASE_DOWN && c->started)
		uv_timer_start(&c->retry, on_retry, 0, 0);
}

static void channel_quit(struct sbx_channel *c)
{
	struct sbx_buf b;

	sbx_buf_init(&b, 64);
	sbx_hello_put_quit(&b);
	sbx_link_send_control(c->link, sbx_buf_at(&b), sbx_buf_len(&b));
	sbx_buf_release(&b);
	channel_pump(c);
}

static void on_other_closed(void *arg)
{
	struct sbx_channel *c = arg;

	c->plain = NULL;
	c->exchange = NULL;
	channel_release(c);
}

void sbx_channel_close(struct sbx_channel *c, void (*on_closed)(void *arg),
		       void *arg)
{
	enum phase was = c->phase;

	c->on_closed = on_closed;
	c->closed_arg = arg;
	uv_timer_stop(&c->retry);
	channel_enter(c, PHASE_CLOSING);
	if (c->plain) {
		sbx_plain_close(c->plain, on_other_closed, c);
		return;
	}
	if (c->exchange) {
		sbx_exchange_close(c->exchange, on_other_closed, c);
		return;
	}
	if (!c->stream) {
		channel_release(c);
		return;
	}
	if (was == PHASE_UP && !c->error.err) {
		channel_quit(c);
		return; /* on_stream_end, or the tick, goes on */
	}
	if (!c->error.err) {
		c->error.err = -ECANCELED;
		c->svc->type->stream_close(c->stream);
	}
}

int sbx_channel_send(struct sbx_channel *c, uint32_t id, const void *data,
		     size_t len)
{
	int r;

	if (c->plain)
		return sbx_plain_send(c->plain, data, len);
	if (c->exchange)
		return sbx_exchange_send(c->exchange, id, data, len);
	r = sbx_link_send(c->link, data, len);
	if (r == 0)
		channel_flush_later(c);
	return r;
}

bool sbx_channel_withdraw(struct sbx_channel *c, uint32_t id)
{
	return c->exchange && sbx_exchange_withdraw(c->exchange, id);
}

void sbx_channel_expect(struct sbx_channel *c, bool expecting)
{
	bool news = expecting && !c->expecting;

	if (c->exchange)
		sbx_exchange_expect(c->exchange, expecting);
	c->expecting = expecting;
	if (!news)
		return;
	c->last_ping = 0;
	if (c->phase == PHASE_DOWN && c->started &&
	    uv_timer_get_due_in(&c->retry) > RETRY_WAITED_MS)
		uv_timer_start(&c->retry, on_retry, retry_delay(c), 0);
}

bool sbx_channel_is_up(const struct sbx_channel *c)
{
	if (c->exchange)
		return sbx_exchange_is_up(c->exchange);
	return c->plain ? sbx_plain_is_up(c->plain) : c->phase == PHASE_UP;
}

bool sbx_channel_is_trying(const struct sbx_channel *c)
{
	if (c->plain)
		return sbx_plain_is_trying(c->plain);
	if (c->exchange)
		return sbx_exchange_is_trying(c->exchange);
	return c->started && c->phase != PHASE_UP;
}

const struct sbx_remote_info *sbx_channel_info(const struct sbx_channel *c)
{
	if (c->plain)
		return sbx_plain_info(c->plain);
	if (c->exchange)
		return sbx_exchange_info(c->exchange);
	return c->instance ? &c->info : NULL;
}

size_t sbx_channel_unsent(const struct sbx_channel *c)
{
	if (c->plain)
		return sbx_plain_unsent(c->plain);
	if (c->exchange)
		return sbx_exchange_unsent(c->exchange);
	return sbx_link_queued(c->link) + sbx_link_unacked(c->link);
}

uint64_t sbx_channel_heard_ms(const struct sbx_channel *c)
{
	return c->exchange ? sbx_exchange_heard_ms(c->exchange) : UINT64_MAX;
}

uint64_t sbx_channel_answered_ms(const struct sbx_channel *c)
{
	return c->exchange ? sbx_exchange_answered_ms(c->exchange) : 0;
}

bool sbx_channel_is_occupied(const struct sbx_channel *c)
{
	return c->exchange && sbx_exchange_is_occupied(c->exchange);
}
