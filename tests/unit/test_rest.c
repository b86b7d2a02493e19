/* What the services over HTTP share, by an OpenSandbox in the test's loop
 * that chooses its moments. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/svc_opensandbox.h"
#include "tests/lib/unit.h"
#include "tests/unit/tcp_peer.h"

static uv_loop_t loop;
static struct tcp_peer peer;
static struct sbx_conf conf;
static struct sbx_service *svc;
static struct sbx_stream *stream;
static struct tcp_conn *held; /* who waits for a session */
static struct {
	unsigned int opened, ended, sockets;
	int err;
} got;
static bool is_closed;

static void say(struct tcp_conn *c, const char *body)
{
	char text[512];
	int n = snprintf(text, sizeof(text),
			 "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s",
			 strlen(body), body);

	tcp_peer_say(c, text, (size_t)n);
}

static void on_input(struct tcp_conn *c)
{
	char endpoint[64];

	if (!strstr(c->in, "\r\n\r\n"))
		return;
	c->in_len = 0;
	snprintf(endpoint, sizeof(endpoint), "{\"endpoint\":\"127.0.0.1:%d\"}",
		 peer.port);
	if (!strncmp(c->in, "POST /pty ", 10))
		held = c;
	else if (!strncmp(c->in, "GET /pty/", 9))
		got.sockets++;
	else if (strstr(c->in, "/endpoints/"))
		say(c, endpoint);
	else
		say(c, "{\"id\":\"one\",\"status\":{\"state\":\"Running\"}}");
	memset(c->in, 0, sizeof(c->in));
}

static void setup(void)
{
	struct sbx_error e;
	char source[64];

	memset(&got, 0, sizeof(got));
	held = NULL;
	is_closed = false;
	uv_loop_init(&loop);
	tcp_peer_start(&peer, &loop, on_input);
	sbx_conf_init(&conf);
	snprintf(source, sizeof(source), "opensandbox+http://127.0.0.1:%d",
		 peer.port);
	assert_int_equal(sbx_conf_parse_source(&conf, source, &e), 0);
	assert_int_equal(sbx_svc_opensandbox.open(&loop, &conf, &svc, &e), 0);
}

static void on_closed(void *arg)
{
	is_closed = true;
	tcp_peer_stop(&peer);
}

static void teardown(void)
{
	sbx_svc_opensandbox.close(svc, on_closed, NULL);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_true(is_closed);
	assert_int_equal(uv_loop_close(&loop), 0);
	sbx_conf_release(&conf);
}

/* ---- streams ---- */

static void on_open(void *arg)
{
	got.opened++;
}

static void on_data(void *arg, int fd, const void *data, size_t len)
{
}

static void on_end(void *arg, int exit_code, const struct sbx_error *error)
{
	got.ended++;
	got.err = error->err;
}

static const struct sbx_stream_handler handler = {
	.on_open = on_open, .on_data = on_data, .on_end = on_end};

/* Behind the timers and before the sockets: both come at once. */
static void on_prepare(uv_prepare_t *prepare)
{
	if (!held)
		return;
	say(held, "{\"session_id\":\"s1\"}");
	svc->type->stream_close(stream);
	uv_prepare_stop(prepare);
}

static void an_answer_to_a_stream_that_is_over(void **state)
{
	static const char *const argv[] = {"true", NULL};
	uv_prepare_t prepare;

	setup();
	uv_prepare_init(&loop, &prepare);
	uv_prepare_start(&prepare, on_prepare);
	stream = svc->type->stream_open(svc, "one", argv, &handler, NULL);
	assert_non_null(stream);
	while (!got.ended)
		uv_run(&loop, UV_RUN_ONCE);
	assert_int_equal(got.err, -ECANCELED);
	assert_int_equal(got.ended, 1);
	assert_int_equal(got.opened + got.sockets, 0);
	uv_close((uv_handle_t *)&prepare, NULL);
	teardown();
}

/* One that is paused and goes on as `turns` says, from within. */
static struct {
	char text[16];
	const bool *turns;
	size_t nr;
} given;

static void on_give(struct sbx_rest_stream *s, int fd, const void *data,
		    size_t len)
{
	strncat(given.text, data, len);
	while (given.nr && given.nr--)
		sbx_rest_stream_pause(s, *given.turns++);
}

static void on_release(struct sbx_rest_stream *s)
{
}

static void what_was_kept_is_given_once(void **state)
{
	static const struct sbx_rest_stream_type type = {.release = on_release,
							 .give = on_give};
	static const bool on_and_off[] = {true, false}, on[] = {true};
	struct sbx_rest_stream *s = calloc(1, sizeof(*s));

	setup();
	sbx_rest_stream_init(s, &type, (struct sbx_rest *)svc, 1000, &handler,
			     NULL);
	assert_true(sbx_rest_stream_pause(s, true));
	assert_false(sbx_rest_stream_pause(s, true));
	sbx_rest_stream_take(s, 1, "abc", 3);
	sbx_rest_stream_take(s, 2, "de", 2);
	assert_string_equal(given.text, "");
	given.turns = on_and_off;
	given.nr = 2;
	assert_true(sbx_rest_stream_pause(s, false));
	assert_string_equal(given.text, "abcde");
	assert_false(sbx_rest_stream_holds(s));
	sbx_rest_stream_pause(s, true);
	sbx_rest_stream_take(s, 1, "f", 1);
	sbx_rest_stream_take(s, 2, "g", 1);
	given.turns = on;
	given.nr = 1;
	assert_false(sbx_rest_stream_pause(s, false));
	assert_string_equal(given.text, "abcdef");
	assert_true(sbx_rest_stream_pause(s, false));
	assert_string_equal(given.text, "abcdefg");
	sbx_rest_stream_close(&s->base);
	while (!got.ended)
		uv_run(&loop, UV_RUN_ONCE);
	teardown();
}

/* ---- errands ---- */

static void on_errand(struct sbx_work *w, const struct sbx_answer *answer)
{
}

/* It is gone between one question to it and the next. */
static void an_errand_to_what_is_gone(void **state)
{
	static const struct osb_errand what = {
		.method = "GET", .path = "/x", .fn = on_errand};
	struct sbx_call call = {.id = (char[]){"one"}};
	struct sbx_work w = {.call = &call};
	struct osb *x;

	setup();
	x = (struct osb *)svc;
	w.rest = &x->rest;
	osb_errand_start(&w, &what);
	osb_reach_drop(x, "one");
	osb_errand_start(&w, &what);
	assert_int_equal(osb_reach_of(x, "one")->users, 1);
	w.drop(w.state);
	teardown();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_answer_to_a_stream_that_is_over),
		cmocka_unit_test(what_was_kept_is_given_once),
		cmocka_unit_test(an_errand_to_what_is_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
