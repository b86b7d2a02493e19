/* client/ws: messages, limits and ends, with a peer made of raw bytes. */
#include <errno.h>
#include <libwebsockets.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "client/limits.h"
#include "client/ws.h"
#include "tests/lib/unit.h"
#include "tests/unit/tcp_peer.h"

static uv_loop_t loop;
static struct tcp_peer peer;
static struct sbx_ws_host *host;
static struct sbx_ws *ws;
static char url[64];
static struct sbx_secret *key;
static struct {
	unsigned int opens, messages, writables, closes;
	char last[256];
	size_t last_len, bytes;
	struct sbx_ws_end end;
	char request[2048];
} got;
static void (*on_peer_open)(struct tcp_conn *c);
static void (*on_peer_frame)(struct tcp_conn *c, unsigned int opcode,
			     const unsigned char *data, size_t len);
static void (*on_message_hook)(void);
static bool is_closed, keep_host;

/* ---- the peer's side of the protocol ---- */

static void say(struct tcp_conn *c, const char *text)
{
	tcp_peer_say(c, text, strlen(text));
}

static void peer_handshake(struct tcp_conn *c)
{
	static const char magic[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
	char nonce[128], hash[20], accept[64], answer[256];
	const char *p = strcasestr(c->in, "sec-websocket-key:");

	assert_non_null(p);
	assert_int_equal(sscanf(p + 18, " %60s", nonce), 1);
	strcat(nonce, magic);
	lws_SHA1((unsigned char *)nonce, strlen(nonce), (unsigned char *)hash);
	lws_b64_encode_string(hash, 20, accept, sizeof(accept));
	snprintf(answer, sizeof(answer),
		 "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
		 "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
		 accept);
	say(c, answer);
}

static void peer_frame(struct tcp_conn *c, unsigned int first, const void *data,
		       size_t len)
{
	unsigned char head[10] = {(unsigned char)first};
	size_t n = 2;

	if (len < 126) {
		head[1] = (unsigned char)len;
	} else if (len < 65536) {
		head[1] = 126;
		head[2] = (unsigned char)(len >> 8);
		head[3] = (unsigned char)len;
		n = 4;
	} else {
		head[1] = 127;
		for (int i = 0; i < 8; i++)
			head[2 + i] =
				(unsigned char)((uint64_t)len >> (56 - 8 * i));
		n = 10;
	}
	tcp_peer_say(c, head, n);
	if (len)
		tcp_peer_say(c, data, len);
}

static uint32_t last_mask;

/* One frame of the client's, unmasked, off the front of the input. */
static bool peer_take_frame(struct tcp_conn *c)
{
	unsigned char *in = (unsigned char *)c->in, *mask;
	size_t n = 2, len, i;

	if (c->in_len < 2)
		return false;
	len = in[1] & 127;
	if (len == 126) {
		len = (size_t)in[2] << 8 | in[3];
		n = 4;
	} else if (len == 127) {
		for (len = 0, i = 2; i < 10; i++)
			len = len << 8 | in[i];
		n = 10;
	}
	assert_true(in[1] & 128);
	if (c->in_len < n + 4 + len)
		return false;
	mask = in + n;
	memcpy(&last_mask, mask, sizeof(last_mask));
	n += 4;
	for (i = 0; i < len; i++)
		in[n + i] ^= mask[i & 3];
	if (on_peer_frame)
		on_peer_frame(c, in[0] & 15, in + n, len);
	c->in_len -= n + len;
	memmove(c->in, c->in + n + len, c->in_len);
	return true;
}

static void peer_input(struct tcp_conn *c)
{
	char *end;

	if (!c->upgraded) {
		end = strstr(c->in, "\r\n\r\n");
		if (!end)
			return;
		snprintf(got.request, sizeof(got.request), "%.2000s", c->in);
		peer_handshake(c);
		c->upgraded = true;
		c->in_len -= (size_t)(end + 4 - c->in);
		memmove(c->in, end + 4, c->in_len);
		if (on_peer_open)
			on_peer_open(c);
	}
	while (!c->closed && peer_take_frame(c))
		;
}

/* ---- our side ---- */

static void on_host_closed(void *arg)
{
	is_closed = true;
}

static void on_open(void *arg)
{
	got.opens++;
}

static void on_message(void *arg, const void *data, size_t len)
{
	got.messages++;
	got.bytes += len;
	got.last_len = len;
	memcpy(got.last, data, len < sizeof(got.last) ? len : sizeof(got.last));
	if (on_message_hook)
		on_message_hook();
}

static void on_writable(void *arg)
{
	got.writables++;
}

static void finish(void)
{
	sbx_ws_host_close(host, on_host_closed, NULL);
	tcp_peer_stop(&peer);
}

static void on_close(void *arg, const struct sbx_ws_end *end)
{
	got.closes++;
	got.end = *end;
	ws = NULL;
	if (!keep_host)
		finish();
}

static const struct sbx_ws_handler handler = {
	.on_open = on_open,
	.on_message = on_message,
	.on_writable = on_writable,
	.on_close = on_close,
};

static void setup(tcp_peer_fn *fn)
{
	memset(&got, 0, sizeof(got));
	is_closed = keep_host = false;
	on_peer_open = NULL;
	on_peer_frame = NULL;
	on_message_hook = NULL;
	key = sbx_secret_new("s3cret", 6);
	uv_loop_init(&loop);
	tcp_peer_start(&peer, &loop, fn);
	host = sbx_ws_host_new(&loop, false);
	assert_non_null(host);
	snprintf(url, sizeof(url), "http://127.0.0.1:%d/path", peer.port);
}

static void open_with(struct sbx_ws_conf conf)
{
	conf.url = url;
	conf.auth_scheme = "ApiKey";
	conf.auth = key;
	ws = sbx_ws_open(host, &conf, &handler, NULL);
	assert_non_null(ws);
	assert_int_equal(got.closes, 0);
}

static void run(void)
{
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_true(is_closed);
	assert_int_equal(uv_loop_close(&loop), 0);
	assert_int_equal(got.closes, 1);
	sbx_secret_free(key);
}

/* ---- messages ---- */

static void peer_echo(struct tcp_conn *c, unsigned int opcode,
		      const unsigned char *data, size_t len)
{
	if (opcode == 2)
		peer_frame(c, 0x82, data, len);
}

static void close_it(void)
{
	sbx_ws_close(ws);
}

static void ws_echoes(void **state)
{
	setup(peer_input);
	on_peer_frame = peer_echo;
	on_message_hook = close_it;
	open_with((struct sbx_ws_conf){0});
	assert_int_equal(sbx_ws_send(ws, "x", 1, NULL, 0), -ENOTCONN);
	while (!got.opens)
		uv_run(&loop, UV_RUN_ONCE);
	assert_int_equal(sbx_ws_send(ws, "he", 2, "llo", 3), 0);
	run();
	assert_int_equal(got.messages, 1);
	assert_int_equal(got.last_len, 5);
	assert_memory_equal(got.last, "hello", 5);
	assert_int_equal(got.end.error.err, -ECANCELED);
	assert_non_null(strstr(got.request, "GET /path HTTP/1.1\r\n"));
	assert_non_null(strcasestr(got.request, "authorization: ApiKey s3cret"
						"\r\n"));
	assert_null(strcasestr(got.request, "permessage-deflate"));
	assert_null(strcasestr(got.request, "sec-websocket-protocol"));
}

static const size_t lengths[] = {
	0,  1,	2,  3,	 4,   5,   7,	  8,	 9,
	15, 16, 17, 125, 126, 127, 65535, 65536, 70001,
};
#define NR_LENGTHS (sizeof(lengths) / sizeof(lengths[0]))
static unsigned char bytes[70001];
static unsigned int lengths_seen;
static uint32_t masks[NR_LENGTHS];

static void check_length(struct tcp_conn *c, unsigned int opcode,
			 const unsigned char *data, size_t len)
{
	if (opcode != 2)
		return;
	assert_int_equal(len, lengths[lengths_seen]);
	assert_memory_equal(data, bytes, len);
	masks[lengths_seen++] = last_mask;
	if (lengths_seen == NR_LENGTHS)
		sbx_ws_close(ws);
}

static int by_value(const void *a, const void *b)
{
	const uint32_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void ws_sends_any_length(void **state)
{
	setup(peer_input);
	lengths_seen = 0;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (unsigned char)(i * 7 + i / 251);
	on_peer_frame = check_length;
	open_with((struct sbx_ws_conf){.max_queue = 1 << 20});
	while (!got.opens)
		uv_run(&loop, UV_RUN_ONCE);
	for (size_t i = 0; i < NR_LENGTHS; i++)
		assert_int_equal(sbx_ws_send(ws, bytes, lengths[i] / 2,
					     bytes + lengths[i] / 2,
					     lengths[i] - lengths[i] / 2),
				 0);
	run();
	assert_int_equal(lengths_seen, NR_LENGTHS);
	/* each has its own */
	qsort(masks, NR_LENGTHS, sizeof(masks[0]), by_value);
	for (size_t i = 1; i < NR_LENGTHS; i++)
		assert_int_not_equal(masks[i - 1], masks[i]);
}

static void peer_pieces(struct tcp_conn *c)
{
	static char big[200000];

	memset(big, 'b', sizeof(big));
	peer_frame(c, 0x02, "one ", 4);
	peer_frame(c, 0x89, "ping", 4); /* between the pieces */
	peer_frame(c, 0x00, "two ", 4);
	peer_frame(c, 0x80, "three", 5);
	peer_frame(c, 0x82, big, sizeof(big));
	peer_frame(c, 0x82, "", 0);
	peer_frame(c, 0x82, "end", 3);
}

static void check_pieces(void)
{
	if (got.messages == 1) {
		assert_int_equal(got.last_len, 13);
		assert_memory_equal(got.last, "one two three", 13);
	} else if (got.messages == 2) {
		assert_int_equal(got.last_len, 200000);
	} else if (got.last_len == 3) {
		sbx_ws_close(ws);
	}
}

static void ws_puts_pieces_together(void **state)
{
	setup(peer_input);
	on_peer_open = peer_pieces;
	on_message_hook = check_pieces;
	open_with((struct sbx_ws_conf){0});
	run();
	assert_memory_equal(got.last, "end", 3);
}

static void ws_message_size_is_capped(void **state)
{
	setup(peer_input);
	on_peer_open = peer_pieces;
	open_with((struct sbx_ws_conf){.max_message = 1000});
	run();
	assert_int_equal(got.messages, 1);
	assert_int_equal(got.end.error.err, -EPROTO);
}

static void peer_never_ending(struct tcp_conn *c)
{
	char part[500] = "";
	int i;

	peer_frame(c, 0x02, part, sizeof(part));
	for (i = 0; i < 10; i++)
		peer_frame(c, 0x00, part, sizeof(part));
}

static void ws_assembly_is_capped(void **state)
{
	setup(peer_input);
	on_peer_open = peer_never_ending;
	open_with((struct sbx_ws_conf){.max_message = 2000});
	run();
	assert_int_equal(got.messages, 0);
	assert_int_equal(got.end.error.err, -EPROTO);
}

/* ---- the queue ---- */

static void ws_queue_is_bounded(void **state)
{
	static char data[10000];
	unsigned int sent = 0;
	int r;

	setup(peer_input);
	on_message_hook = close_it;
	open_with((struct sbx_ws_conf){.max_queue = 50000});
	while (!got.opens)
		uv_run(&loop, UV_RUN_ONCE);
	while ((r = sbx_ws_send(ws, NULL, 0, data, sizeof(data))) == 0)
		sent++;
	assert_int_equal(r, -EAGAIN);
	assert_int_equal(sent, 5);
	assert_int_equal(sbx_ws_queued(ws), 50000);
	assert_int_equal(sbx_ws_send(ws, data, SBX_WS_MAX_SEND, data, 1),
			 -EMSGSIZE);
	while (!got.writables)
		uv_run(&loop, UV_RUN_ONCE);
	assert_true(sbx_ws_queued(ws) <= 25000);
	sbx_ws_close(ws);
	run();
}

static unsigned int frames_seen;

static void count_frames(struct tcp_conn *c, unsigned int opcode,
			 const unsigned char *data, size_t len)
{
	if (opcode == 2)
		frames_seen++;
	if (opcode == 8 && len == 2 && data[0] == 1000 >> 8 &&
	    data[1] == (1000 & 255))
		finish();
}

static void ws_close_sends_what_is_queued(void **state)
{
	int i;

	setup(peer_input);
	frames_seen = 0;
	keep_host = true;
	on_peer_frame = count_frames;
	open_with((struct sbx_ws_conf){.max_queue = 1 << 20});
	while (!got.opens)
		uv_run(&loop, UV_RUN_ONCE);
	for (i = 0; i < 20; i++)
		assert_int_equal(sbx_ws_send(ws, "x", 1, NULL, 0), 0);
	sbx_ws_close(ws);
	run();
	assert_int_equal(frames_seen, 20);
}

/* ---- back pressure ---- */

static unsigned char wave[4096];

static void peer_many(struct tcp_conn *c)
{
	int i;

	for (i = 0; i < 2000; i++)
		peer_frame(c, 0x82, wave, sizeof(wave));
	peer_frame(c, 0x82, "end", 3);
}

static uv_timer_t resume_timer;

static void on_resume(uv_timer_t *timer)
{
	if (ws)
		sbx_ws_pause(ws, false);
}

static void pause_often(void)
{
	if (got.last_len == 3) {
		uv_close((uv_handle_t *)&resume_timer, NULL);
		sbx_ws_close(ws);
	} else if (got.messages % 37 == 0) {
		sbx_ws_pause(ws, true);
		uv_timer_start(&resume_timer, on_resume, 1, 0);
	}
}

static void ws_pauses_lose_nothing(void **state)
{
	setup(peer_input);
	uv_timer_init(&loop, &resume_timer);
	on_peer_open = peer_many;
	on_message_hook = pause_often;
	open_with((struct sbx_ws_conf){0});
	run();
	assert_int_equal(got.messages, 2001);
	assert_int_equal(got.bytes, 2000 * sizeof(wave) + 3);
}

static void on_end_of_pause(uv_timer_t *timer)
{
	uv_close((uv_handle_t *)timer, NULL);
	assert_int_equal(got.messages, 1);
	on_message_hook = NULL;
	sbx_ws_close(ws);
}

static void pause_for_long(void)
{
	sbx_ws_pause(ws, true);
	uv_timer_start(&resume_timer, on_end_of_pause, 300, 0);
}

static void ws_pause_stops_it_at_once_and_is_not_idle_work(void **state)
{
	struct rusage before, after;
	long us;

	setup(peer_input);
	uv_timer_init(&loop, &resume_timer);
	on_peer_open = peer_many;
	on_message_hook = pause_for_long;
	/* pings are due meanwhile, and cannot be answered */
	open_with((struct sbx_ws_conf){.ping_ms = 50, .pong_ms = 50});
	while (!got.messages)
		uv_run(&loop, UV_RUN_ONCE);
	getrusage(RUSAGE_SELF, &before);
	run();
	getrusage(RUSAGE_SELF, &after);
	us = (after.ru_utime.tv_sec - before.ru_utime.tv_sec) * 1000000 +
	     after.ru_utime.tv_usec - before.ru_utime.tv_usec;
	/* of 300 ms */
	assert_true(us < 150000);
	assert_int_equal(got.end.error.err, -ECANCELED);
}

/* ---- ends ---- */

static void peer_goes(struct tcp_conn *c)
{
	peer_frame(c, 0x88, "\x03\xf3no sidecar", 12);
}

static void ws_close_code_and_reason_are_told(void **state)
{
	setup(peer_input);
	on_peer_open = peer_goes;
	open_with((struct sbx_ws_conf){0});
	run();
	assert_int_equal(got.end.code, 1011);
	assert_string_equal(got.end.reason, "no sidecar");
	assert_true(got.end.was_open);
	assert_int_equal(got.end.error.err, -ETIMEDOUT);
	assert_int_equal(got.end.error.retry, SBX_RETRY_CONNECTION);
}

static void peer_goes_twice(struct tcp_conn *c)
{
	static const char both[] = "\x88\x02\x0f\xa1\x88\x02\x03\xe8";

	tcp_peer_say(c, both, sizeof(both) - 1);
}

static void ws_first_close_counts(void **state)
{
	setup(peer_input);
	on_peer_open = peer_goes_twice;
	open_with((struct sbx_ws_conf){0});
	run();
	assert_int_equal(got.end.code, 4001);
}

static void ws_break_is_1006(void **state)
{
	setup(peer_input);
	on_peer_open = tcp_peer_hang_up;
	open_with((struct sbx_ws_conf){0});
	run();
	assert_int_equal(got.end.code, 1006);
	assert_true(got.end.was_open);
}

static const char *refusal;

static void peer_refuses(struct tcp_conn *c)
{
	if (strstr(c->in, "\r\n\r\n")) {
		say(c, refusal);
		c->in_len = 0;
	}
}

static void ws_handshake_status_is_told(void **state)
{
	static const struct {
		const char *answer;
		int status, err;
	} cases[] = {
		{"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", 401,
		 -EACCES},
		{"HTTP/1.1 404 Not Found\r\nContent-Length: 1\r\n\r\nx", 404,
		 -ENOENT},
		{"HTTP/1.1 503 Not yet\r\nContent-Length: 0\r\n\r\n", 503,
		 -EAGAIN},
		{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 200,
		 -EPROTO},
		{"HTTP/1.1 302 Go\r\nLocation: http://127.0.0.1:1/\r\n"
		 "Content-Length: 0\r\n\r\n",
		 302, -EPROTO},
	};
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		refusal = cases[i].answer;
		setup(peer_refuses);
		open_with((struct sbx_ws_conf){0});
		run();
		assert_int_equal(got.opens, 0);
		assert_false(got.end.was_open);
		assert_int_equal(got.end.error.status, cases[i].status);
		assert_int_equal(got.end.error.err, cases[i].err);
	}
}

static void peer_no_http(struct tcp_conn *c)
{
	say(c, "SSH-2.0-x\r\n\r\n\r\n");
}

static void ws_garbage_at_the_handshake(void **state)
{
	setup(peer_no_http);
	open_with((struct sbx_ws_conf){.connect_timeout_ms = 1000});
	run();
	assert_false(got.end.was_open);
	assert_int_not_equal(got.end.error.err, 0);
}

static void peer_silent(struct tcp_conn *c)
{
}

static void ws_connect_times_out(void **state)
{
	setup(peer_silent);
	open_with((struct sbx_ws_conf){.connect_timeout_ms = 100});
	run();
	assert_int_equal(got.end.error.err, -ETIMEDOUT);
}

static void ws_refused(void **state)
{
	setup(peer_silent);
	snprintf(url, sizeof(url), "http://localhost:1/");
	open_with((struct sbx_ws_conf){0});
	run();
	assert_int_equal(got.end.error.err, -ETIMEDOUT);
	assert_non_null(strstr(got.end.error.text, "cannot connect"));
}

static void ws_dead_peer_is_noticed(void **state)
{
	setup(peer_input); /* which answers no pings */
	open_with((struct sbx_ws_conf){.ping_ms = 50, .pong_ms = 50});
	run();
	assert_true(got.end.was_open);
	assert_int_equal(got.end.error.err, -ETIMEDOUT);
	assert_non_null(strstr(got.end.error.text, "ping"));
}

static unsigned int pings;

static void answer_pings(struct tcp_conn *c, unsigned int opcode,
			 const unsigned char *data, size_t len)
{
	if (opcode != 9)
		return;
	peer_frame(c, 0x8a, data, len);
	if (++pings == 3)
		tcp_peer_hang_up(c);
}

static void ws_live_peer_is_kept(void **state)
{
	pings = 0;
	setup(peer_input);
	on_peer_frame = answer_pings;
	open_with((struct sbx_ws_conf){.ping_ms = 30, .pong_ms = 1500});
	run();
	assert_int_equal(pings, 3);
	assert_int_equal(got.end.code, 1006);
}

static void ws_close_before_it_is_open(void **state)
{
	setup(peer_silent);
	open_with((struct sbx_ws_conf){0});
	sbx_ws_close(ws);
	assert_int_equal(got.closes, 0);
	run();
	assert_int_equal(got.end.error.err, -ECANCELED);
}

static void peer_bad_frames(struct tcp_conn *c)
{
	/* a control frame that claims 64 KiB, reserved bits, no opcode */
	tcp_peer_say(c, "\x89\x7e\xff\xff", 4);
	tcp_peer_say(c, "\xff\x83\x01\x02\x03\x04xyz", 9);
}

static void ws_broken_frames_end_it(void **state)
{
	setup(peer_input);
	on_peer_open = peer_bad_frames;
	open_with((struct sbx_ws_conf){0});
	run();
	assert_int_equal(got.messages, 0);
	assert_int_equal(got.end.error.err, -ETIMEDOUT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ws_echoes),
		cmocka_unit_test(ws_sends_any_length),
		cmocka_unit_test(ws_puts_pieces_together),
		cmocka_unit_test(ws_message_size_is_capped),
		cmocka_unit_test(ws_assembly_is_capped),
		cmocka_unit_test(ws_queue_is_bounded),
		cmocka_unit_test(ws_close_sends_what_is_queued),
		cmocka_unit_test(ws_pauses_lose_nothing),
		cmocka_unit_test(
			ws_pause_stops_it_at_once_and_is_not_idle_work),
		cmocka_unit_test(ws_close_code_and_reason_are_told),
		cmocka_unit_test(ws_first_close_counts),
		cmocka_unit_test(ws_break_is_1006),
		cmocka_unit_test(ws_handshake_status_is_told),
		cmocka_unit_test(ws_garbage_at_the_handshake),
		cmocka_unit_test(ws_connect_times_out),
		cmocka_unit_test(ws_refused),
		cmocka_unit_test(ws_dead_peer_is_noticed),
		cmocka_unit_test(ws_live_peer_is_kept),
		cmocka_unit_test(ws_close_before_it_is_open),
		cmocka_unit_test(ws_broken_frames_end_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
