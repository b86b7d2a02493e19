/* client/wire/link: a model of two ends over a carrier that shuffles, cuts,
 * doubles and loses; and single rules one by one */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/wire/link.h"
#include "client/wire/msg.h"
#include "client/wire/proto.h"
#include "tests/unit/wire_test.h"

#define FRAME  1000
#define WINDOW 8000

static unsigned rnd_state;

static unsigned rnd(unsigned below)
{
	rnd_state = rnd_state * 1103515245 + 12345;
	return (rnd_state >> 8) % below;
}

/* One end, and the messages it expects: numbered, of numbered sizes. */
struct end {
	struct sbx_link *link;
	struct end *peer;
	uint64_t sent, got;
	int hellos; /* since attach */
};

static size_t size_of(uint64_t n)
{
	if (n % 97 == 96)
		return 20000;
	return n % 7 == 0 ? n * 31 % 3000 : n % 50;
}

static int on_message(void *arg, const uint8_t *data, size_t len)
{
	struct end *e = arg;
	struct sbx_msg m;
	struct sbx_rd r;
	size_t n, i;
	const uint8_t *fill;

	assert_int_equal(sbx_msg_parse(&m, data, len), 0);
	r = sbx_rd_root(&m);
	assert_int_equal(sbx_get_u64(&r), e->got);
	fill = sbx_get_bin(&r, &n);
	assert_int_equal(n, size_of(e->got));
	for (i = 0; i < n; i++)
		assert_int_equal(fill[i], (uint8_t)e->got);
	e->got++;
	sbx_msg_release(&m);
	return 0;
}

static int on_control(void *arg, const uint8_t *data, size_t len)
{
	struct end *e = arg;
	uint32_t received;

	assert_int_equal(len, 4);
	memcpy(&received, data, 4);
	/* the carrier of the model doubles this one too */
	if (e->hellos++)
		return 0;
	return sbx_link_resume(e->link, received);
}

static void end_init(struct end *e, struct end *peer)
{
	struct sbx_link_conf conf = {.frame_max_out = FRAME,
				     .frame_max_in = FRAME,
				     .window_out = WINDOW,
				     .window_in = WINDOW,
				     .on_message = on_message,
				     .on_control = on_control,
				     .arg = e};

	*e = (struct end){.peer = peer};
	e->link = sbx_link_new(&conf);
	assert_non_null(e->link);
}

static void end_attach(struct end *e)
{
	uint32_t received = sbx_link_received(e->link);

	e->hellos = 0;
	assert_int_equal(sbx_link_attach(e->link, &received, 4), 0);
}

static void end_send(struct end *e)
{
	struct sbx_buf b;
	uint8_t *fill;
	size_t n = size_of(e->sent);

	fill = malloc(n + 1);
	memset(fill, (int)(e->sent & 255), n + 1);
	sbx_buf_init(&b, SBX_MESSAGE_MAX);
	sbx_put_array(&b, 2);
	sbx_put_u64(&b, e->sent++);
	sbx_put_bin(&b, fill, n);
	assert_int_equal(sbx_link_send(e->link, b.data, b.len), 0);
	sbx_buf_release(&b);
	free(fill);
}

/* ---- the carrier: units under way in one direction ---- */

#define UNITS 64
struct carrier {
	uint8_t *unit[UNITS];
	size_t len[UNITS];
	size_t n;
	bool shuffles;
};

static void carrier_drop(struct carrier *c)
{
	while (c->n)
		free(c->unit[--c->n]);
}

static bool carrier_take(struct carrier *c, struct end *from)
{
	uint8_t buf[3 * FRAME];
	size_t n;

	if (c->n == UNITS)
		return false;
	n = sbx_link_output(from->link, buf, FRAME + rnd(2 * FRAME));
	if (!n)
		return false;
	c->unit[c->n] = malloc(n);
	memcpy(c->unit[c->n], buf, n);
	c->len[c->n++] = n;
	assert_true(sbx_link_unacked(from->link) <= WINDOW);
	return true;
}

/* Delivers a unit: any, whole; or the first, in pieces. */
static bool carrier_give(struct carrier *c, struct end *to)
{
	size_t i = c->shuffles && c->n ? rnd((unsigned)c->n) : 0, at, part;
	uint8_t *u = c->unit[i];
	size_t len = c->len[i];

	if (!c->n)
		return false;
	for (at = 0; at < len; at += part) {
		part = c->shuffles ? len : 1 + rnd(700);
		if (part > len - at)
			part = len - at;
		assert_int_equal(sbx_link_input(to->link, u + at, part), 0);
	}
	/* some are delivered once more, later */
	if (c->shuffles && rnd(10) == 0)
		return true;
	free(u);
	c->n--;
	memmove(c->unit + i, c->unit + i + 1, (c->n - i) * sizeof(u));
	memmove(c->len + i, c->len + i + 1, (c->n - i) * sizeof(len));
	return true;
}

static void reconnect(struct end *a, struct end *b, struct carrier *ab,
		      struct carrier *ba)
{
	uint8_t cut[FRAME] = {0};

	/* the last frame is torn by the loss */
	if (ba->n && ba->len[0] > 30) {
		memcpy(cut, ba->unit[0], 30);
		sbx_link_input(a->link, cut, 30);
	}
	carrier_drop(ab);
	carrier_drop(ba);
	sbx_link_detach(a->link);
	assert_int_equal(sbx_link_output(a->link, cut, FRAME), 0);
	end_attach(a);
	end_attach(b);
}

static void model_run(unsigned seed, bool loses)
{
	struct carrier ab = {.shuffles = true}, ba = {0};
	struct end a, b;
	int i;

	rnd_state = seed;
	end_init(&a, &b);
	end_init(&b, &a);
	end_attach(&a);
	end_attach(&b);
	for (i = 0; i < 6000; i++) {
		switch (rnd(loses && rnd(100) == 0 ? 7 : 6)) {
		case 0:
			if (a.sent < 500)
				end_send(&a);
			break;
		case 1:
			if (b.sent < 500)
				end_send(&b);
			break;
		case 2:
			carrier_take(&ab, &a);
			break;
		case 3:
			carrier_take(&ba, &b);
			break;
		case 4:
			carrier_give(&ab, &b);
			break;
		case 5:
			carrier_give(&ba, &a);
			break;
		default:
			reconnect(&a, &b, &ab, &ba);
		}
	}
	while (carrier_take(&ab, &a) | carrier_take(&ba, &b) |
	       carrier_give(&ab, &b) | carrier_give(&ba, &a))
		;
	assert_int_equal(b.got, a.sent);
	assert_int_equal(a.got, b.sent);
	assert_int_equal(sbx_link_queued(a.link), 0);
	assert_int_equal(sbx_link_queued(b.link), 0);
	assert_true(sbx_link_unacked(a.link) <= WINDOW);
	carrier_drop(&ab);
	carrier_drop(&ba);
	sbx_link_free(a.link);
	sbx_link_free(b.link);
}

static void link_sorts_what_a_carrier_shuffles(void **state)
{
	unsigned seed;

	for (seed = 1; seed <= 30; seed++)
		model_run(seed, false);
}

static void link_loses_nothing_over_reconnects(void **state)
{
	unsigned seed;

	for (seed = 100; seed <= 160; seed++)
		model_run(seed, true);
}

/* ---- single rules ---- */

static void pair_init(struct end *a, struct end *b)
{
	end_init(a, b);
	end_init(b, a);
	end_attach(a);
	end_attach(b);
}

static size_t pass(struct end *from, struct end *to)
{
	uint8_t buf[4 * FRAME];
	size_t n = sbx_link_output(from->link, buf, sizeof(buf));

	assert_int_equal(sbx_link_input(to->link, buf, n), 0);
	return n;
}

static void pair_free(struct end *a, struct end *b)
{
	sbx_link_free(a->link);
	sbx_link_free(b->link);
}

static void link_says_hello_before_anything_else(void **state)
{
	struct end a, b;
	uint8_t buf[4 * FRAME];

	pair_init(&a, &b);
	end_send(&a);
	sbx_link_send_control(a.link, NULL, 0);
	assert_int_equal(pass(&a, &b), 20);
	assert_int_equal(b.hellos, 1);
	assert_int_equal(sbx_link_output(a.link, buf, sizeof(buf)), 0);
	pass(&b, &a);
	assert_true(pass(&a, &b) > 32);
	assert_int_equal(b.got, 1);
	pair_free(&a, &b);
}

static void link_merges_small_messages_into_one_frame(void **state)
{
	struct end a, b;
	uint64_t before;
	int i;

	pair_init(&a, &b);
	pass(&a, &b);
	pass(&b, &a);
	a.sent = b.got = 1;
	for (i = 0; i < 6; i++)
		end_send(&a);
	before = sbx_link_frames(b.link);
	pass(&a, &b);
	assert_int_equal(b.got, 7);
	assert_int_equal(sbx_link_frames(b.link) - before, 1);
	pair_free(&a, &b);
}

static void link_stops_at_the_window_and_goes_on_after_acks(void **state)
{
	struct end a, b;
	size_t n, total = 0;
	uint8_t buf[FRAME];

	pair_init(&a, &b);
	pass(&a, &b);
	pass(&b, &a);
	a.sent = b.got = 96;
	end_send(&a); /* 20000 bytes */
	while ((n = sbx_link_output(a.link, buf, FRAME))) {
		total += n - SBX_FRAME_HEADER;
		assert_int_equal(sbx_link_input(b.link, buf, n), 0);
	}
	assert_true(total <= WINDOW && total > WINDOW - FRAME);
	assert_int_equal(sbx_link_unacked(a.link), total);
	/* b has nothing to say, but owes an acknowledgement */
	n = sbx_link_output(b.link, buf, FRAME);
	assert_int_equal(n, SBX_FRAME_HEADER);
	assert_int_equal(sbx_link_input(a.link, buf, n), 0);
	assert_int_equal(sbx_link_unacked(a.link), 0);
	while (pass(&a, &b) | pass(&b, &a))
		;
	assert_int_equal(b.got, 97);
	pair_free(&a, &b);
}

static void link_empty_frames_are_counted(void **state)
{
	struct end a, b;

	pair_init(&a, &b);
	pass(&a, &b);
	pass(&b, &a);
	sbx_link_send_control(a.link, NULL, 0);
	assert_int_equal(pass(&a, &b), SBX_FRAME_HEADER);
	assert_int_equal(sbx_link_pings(b.link), 1);
	assert_int_equal(sbx_link_frames(b.link), 2);
	pair_free(&a, &b);
}

static void frame_make(uint8_t *f, uint32_t len, uint32_t seq, uint32_t ack)
{
	uint32_t w[4] = {len, SBX_FRAME_MAGIC ^ len, seq, ack};
	int i;

	for (i = 0; i < 16; i++)
		f[i] = (uint8_t)(w[i / 4] >> (24 - i % 4 * 8));
}

static int input_one(struct end *e, uint32_t len, uint32_t seq, uint32_t ack,
		     const char *payload)
{
	uint8_t f[FRAME] = {0};
	size_t n = len & ~SBX_FRAME_MORE;

	frame_make(f, len, seq, ack);
	if (16 + n <= FRAME)
		memcpy(f + 16, payload, n);
	return sbx_link_input(e->link, f, 16 + n <= FRAME ? 16 + n : 16);
}

static void link_refuses_nonsense(void **state)
{
	static const struct {
		uint32_t len, seq, ack;
		const char *payload;
	} bad[] = {
		{FRAME, 1, 0, ""},	    /* longer than a frame */
		{1 << 30, 1, 0, ""},	    /* much longer */
		{0, 1, 0, ""},		    /* numbered but empty */
		{SBX_FRAME_MORE, 0, 0, ""}, /* control with MORE */
		{1, 1, 5, "\x90"},	    /* ack of what was not sent */
		{0, 0, 5, ""},		    /* the same, empty */
		{2, 1, 0, "\x92\x01"},	    /* half a message, no MORE */
		{1, 1, 0, "\xc1"},	    /* no message */
		{5, 1, 0, "\xdd\xff\xff\xff\xff"}, /* huge count */
		{1, 70000, 0, "\x90"},		   /* far ahead */
	};
	struct end e;
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		end_init(&e, NULL);
		end_attach(&e);
		assert_int_equal(input_one(&e, bad[i].len, bad[i].seq,
					   bad[i].ack, bad[i].payload),
				 -EPROTO);
		sbx_link_free(e.link);
	}
	end_init(&e, NULL);
	end_attach(&e);
	assert_int_equal(sbx_link_input(e.link, "HTTP/1.1 400 Bad Request", 24),
			 -EPROTO);
	sbx_link_free(e.link);
}

static void link_peer_ahead_of_the_window_is_dropped(void **state)
{
	char fill[900] = {0};
	struct end e;
	uint32_t seq;
	int r = 0;

	end_init(&e, NULL);
	end_attach(&e);
	for (seq = 2; seq < 20 && !r; seq++)
		r = input_one(&e, 900, seq, 0, fill);
	assert_int_equal(r, -EPROTO);
	assert_int_equal(seq, 2 + WINDOW / 900 + 1);
	sbx_link_free(e.link);
}

static void link_resume_takes_only_numbers_that_were_sent(void **state)
{
	struct end a, b;

	pair_init(&a, &b);
	pass(&a, &b);
	pass(&b, &a);
	end_send(&a);
	pass(&a, &b);
	assert_int_equal(sbx_link_resume(a.link, 2), -EPROTO);
	assert_int_equal(sbx_link_resume(a.link, 0), 0);
	assert_int_equal(sbx_link_resume(a.link, 1), 0);
	/* 1 is acknowledged and forgotten: it cannot be sent again */
	assert_int_equal(sbx_link_resume(a.link, 0), -EPROTO);
	pair_free(&a, &b);
}

static void link_reset_forgets_both_directions(void **state)
{
	struct end a, b;

	pair_init(&a, &b);
	pass(&a, &b);
	pass(&b, &a);
	end_send(&a);
	end_send(&a);
	pass(&a, &b);
	assert_int_equal(sbx_link_received(b.link), 1);
	sbx_link_reset(a.link);
	sbx_link_reset(b.link);
	assert_int_equal(sbx_link_received(b.link), 0);
	assert_int_equal(sbx_link_unacked(a.link), 0);
	a.sent = b.got = 0;
	end_send(&a);
	pass(&a, &b);
	assert_int_equal(b.got, 1);
	pair_free(&a, &b);
}

static void link_message_size_is_limited(void **state)
{
	static uint8_t big[SBX_MESSAGE_MAX + 1];
	struct end e;

	end_init(&e, NULL);
	assert_int_equal(sbx_link_send(e.link, big, SBX_MESSAGE_MAX), 0);
	assert_int_equal(sbx_link_send(e.link, big, sizeof(big)), -EMSGSIZE);
	assert_int_equal(sbx_link_send(e.link, big, 0), -EMSGSIZE);
	assert_int_equal(sbx_link_queued(e.link), SBX_MESSAGE_MAX);
	sbx_link_free(e.link);
}

/* A message in the smallest pieces is not looked at from its start for each
 * of them: half a megabyte of elements in frames of one byte. */
static void link_tiny_pieces_cost_no_more_than_their_bytes(void **state)
{
	struct end e;
	uint32_t seq, n = 300000;
	char head[5] = {'\xdd', 0, (char)(n >> 16), (char)(n >> 8), (char)n};
	int r = 0;

	end_init(&e, NULL);
	end_attach(&e);
	r = input_one(&e, 5 | SBX_FRAME_MORE, 1, 0, head);
	for (seq = 2; seq < n && !r; seq++)
		r = input_one(&e, 1 | SBX_FRAME_MORE, seq, 0, "\x01");
	assert_int_equal(r, 0);
	sbx_link_free(e.link);
}

static void link_bit_flips_do_no_harm(void **state)
{
	uint8_t buf[4 * FRAME], copy[4 * FRAME];
	struct end a, b, c;
	size_t n, i;

	pair_init(&a, &b);
	pass(&a, &b);
	pass(&b, &a);
	end_send(&a);
	n = sbx_link_output(a.link, buf, sizeof(buf));
	for (i = 0; i < 16 * 8; i++) {
		end_init(&c, NULL);
		end_attach(&c);
		memcpy(copy, buf, n);
		copy[i / 8] ^= (uint8_t)(1 << i % 8);
		sbx_link_input(c.link, copy, n);
		sbx_link_free(c.link);
	}
	pair_free(&a, &b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(link_sorts_what_a_carrier_shuffles),
		cmocka_unit_test(link_loses_nothing_over_reconnects),
		cmocka_unit_test(link_says_hello_before_anything_else),
		cmocka_unit_test(link_merges_small_messages_into_one_frame),
		cmocka_unit_test(
			link_stops_at_the_window_and_goes_on_after_acks),
		cmocka_unit_test(link_empty_frames_are_counted),
		cmocka_unit_test(link_refuses_nonsense),
		cmocka_unit_test(link_peer_ahead_of_the_window_is_dropped),
		cmocka_unit_test(link_resume_takes_only_numbers_that_were_sent),
		cmocka_unit_test(link_reset_forgets_both_directions),
		cmocka_unit_test(link_message_size_is_limited),
		cmocka_unit_test(
			link_tiny_pieces_cost_no_more_than_their_bytes),
		cmocka_unit_test(link_bit_flips_do_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
