/* client/http: requests on the loop, and servers that misbehave. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/http.h"
#include "client/limits.h"
#include "tests/lib/unit.h"
#include "tests/unit/tcp_peer.h"

static uv_loop_t loop;
static struct tcp_peer peer;
static struct sbx_http *http;
static char url[64];
static struct {
	unsigned int done;
	int status;
	struct sbx_error error;
	char body[256];
	size_t len;
} got;
static unsigned int expected;
static bool is_closed;

static void on_http_closed(void *arg)
{
	is_closed = true;
}

static void finish(void)
{
	if (http)
		sbx_http_close(http, on_http_closed, NULL);
	http = NULL;
	tcp_peer_stop(&peer);
}

static void on_done(void *arg, const struct sbx_http_response *resp)
{
	got.done++;
	got.status = resp->status;
	got.error = resp->error;
	got.len = resp->len;
	snprintf(got.body, sizeof(got.body), "%s", resp->body);
	if (got.done == expected)
		finish();
}

static void setup(tcp_peer_fn *fn)
{
	memset(&got, 0, sizeof(got));
	expected = 1;
	is_closed = false;
	uv_loop_init(&loop);
	tcp_peer_start(&peer, &loop, fn);
	http = sbx_http_new(&loop);
	assert_non_null(http);
	snprintf(url, sizeof(url), "http://127.0.0.1:%d/x", peer.port);
}

static void run(void)
{
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_true(is_closed);
	assert_int_equal(uv_loop_close(&loop), 0);
}

static struct sbx_http_call *get(void)
{
	struct sbx_http_request req = {
		.method = "GET", .url = url, .timeout_ms = 60000};

	return sbx_http_submit(http, &req, on_done, NULL);
}

static void say(struct tcp_conn *c, const char *text)
{
	tcp_peer_say(c, text, strlen(text));
}

static bool is_whole(struct tcp_conn *c)
{
	return strstr(c->in, "\r\n\r\n");
}

/* ---- as it should be ---- */

static struct tcp_conn *talker;
static struct sbx_http_call *flow;
static char pieces[64];

static void say_piece(const char *text)
{
	char chunk[64];

	snprintf(chunk, sizeof(chunk), "%zx\r\n%s\r\n", strlen(text), text);
	say(talker, chunk);
}

static void peer_pieces(struct tcp_conn *c)
{
	if (!is_whole(c))
		return;
	c->in_len = 0;
	talker = c;
	say(c, strstr(c->in, "/wrong") ? "HTTP/1.1 500 No\r\n"
				       : "HTTP/1.1 200 OK\r\n");
	say(c, "Transfer-Encoding: chunked\r\n\r\n");
	say_piece("one ");
}

static uv_timer_t later;

static void on_later(uv_timer_t *timer)
{
	/* what was said meanwhile was not given */
	assert_string_equal(pieces, "one ");
	uv_close((uv_handle_t *)timer, NULL);
	sbx_http_pause(flow, false);
}

static void on_piece(void *arg, const char *data, size_t len)
{
	strncat(pieces, data, len);
	if (strcmp(pieces, "one ") != 0)
		return;
	/* the answer goes on, the giving does not */
	sbx_http_pause(flow, true);
	say_piece("two");
	say_piece("");
	uv_timer_init(&loop, &later);
	uv_timer_start(&later, on_later, 50, 0);
}

static struct sbx_http_call *get_pieces(const char *path)
{
	struct sbx_http_request req = {.method = "GET",
				       .url = path,
				       .timeout_ms = 20,
				       .on_piece = on_piece};

	pieces[0] = '\0';
	return sbx_http_submit(http, &req, on_done, NULL);
}

static void http_gives_pieces_as_they_come(void **state)
{
	setup(peer_pieces);
	flow = get_pieces(url);
	assert_non_null(flow);
	run();
	assert_string_equal(pieces, "one two");
	assert_int_equal(got.status, 200);
	assert_int_equal(got.error.err, 0);
	assert_int_equal(got.len, 0);
}

static void peer_wrong_pieces(struct tcp_conn *c)
{
	peer_pieces(c);
	say_piece("");
}

static void http_an_error_is_no_piece(void **state)
{
	char wrong[80];

	setup(peer_wrong_pieces);
	snprintf(wrong, sizeof(wrong), "%s/wrong", url);
	assert_non_null(get_pieces(wrong));
	run();
	assert_string_equal(pieces, "");
	assert_int_equal(got.status, 500);
	assert_string_equal(got.body, "one ");
}

static void peer_echo_request(struct tcp_conn *c)
{
	char answer[sizeof(c->in) + 100];

	if (!is_whole(c) || (strstr(c->in, "POST") && !strstr(c->in, "{}")))
		return;
	snprintf(answer, sizeof(answer),
		 "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s", c->in_len,
		 c->in);
	c->in_len = 0;
	say(c, answer);
}

static void http_sends_what_was_asked(void **state)
{
	struct sbx_http_request req = {
		.method = "POST", .body = "{}", .auth_scheme = "ApiKey"};
	struct sbx_secret *key = sbx_secret_new("s3cret", 6);

	setup(peer_echo_request);
	req.url = url;
	req.auth = key;
	assert_non_null(sbx_http_submit(http, &req, on_done, NULL));
	assert_int_equal(got.done, 0);
	run();
	sbx_secret_free(key);
	assert_int_equal(got.status, 200);
	assert_int_equal(got.error.err, 0);
	assert_non_null(strstr(got.body, "POST /x HTTP/1.1\r\n"));
	assert_non_null(strstr(got.body, "Authorization: ApiKey s3cret\r\n"));
	assert_non_null(strstr(got.body, "{}"));
}

static void http_keeps_connections(void **state)
{
	int i;

	setup(peer_echo_request);
	expected = 5;
	for (i = 0; i < 2; i++)
		get();
	while (got.done < 2)
		uv_run(&loop, UV_RUN_ONCE);
	for (i = 0; i < 3; i++)
		get();
	while (got.done < 4)
		uv_run(&loop, UV_RUN_ONCE);
	assert_in_range(peer.nr_conns, 1, 3);
	run();
}

static void http_many_at_once(void **state)
{
	setup(peer_echo_request);
	for (expected = 0; expected < 100; expected++)
		assert_non_null(get());
	run();
	assert_int_equal(got.done, 100);
	assert_in_range(peer.nr_conns, 1, SBX_HTTP_MAX_CONNECTIONS);
}

static void http_has_a_limit_of_requests(void **state)
{
	unsigned int n = 0;

	setup(peer_echo_request);
	while (n <= SBX_HTTP_MAX_REQUESTS && get())
		n++;
	assert_int_equal(n, SBX_HTTP_MAX_REQUESTS);
	expected = n + 1;
	finish();
	run();
	assert_int_equal(got.done, n);
	assert_int_equal(got.error.err, -ECANCELED);
}

static void peer_silent(struct tcp_conn *c)
{
}

static void http_flows_leave_room_for_requests(void **state)
{
	struct sbx_http_call *flows[SBX_HTTP_MAX_FLOWS];
	size_t i;

	setup(peer_echo_request);
	for (i = 0; i < SBX_HTTP_MAX_FLOWS; i++) {
		flows[i] = get_pieces(url);
		assert_non_null(flows[i]);
	}
	assert_null(get_pieces(url));
	for (i = 0; i < SBX_HTTP_MAX_FLOWS; i++)
		sbx_http_cancel(flows[i]);
	assert_non_null(get());
	run();
	assert_int_equal(got.status, 200);
}

/* What lasts is not answered, all else is. */
static void peer_slow(struct tcp_conn *c)
{
	if (is_whole(c) && !strstr(c->in, "/slow"))
		say(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
}

static void http_what_lasts_leaves_room_for_requests(void **state)
{
	struct sbx_http_request req = {.method = "POST",
				       .url = url,
				       .body = "{}",
				       .timeout_ms = 60000,
				       .once = true,
				       .lasts = true};
	unsigned int i;

	setup(peer_slow);
	snprintf(url, sizeof(url), "http://127.0.0.1:%d/slow", peer.port);
	for (i = 0; i < 2 * SBX_HTTP_MAX_CONNECTIONS; i++)
		assert_non_null(sbx_http_submit(http, &req, on_done, NULL));
	snprintf(url, sizeof(url), "http://127.0.0.1:%d/x", peer.port);
	assert_non_null(get());
	run();
	assert_int_equal(got.error.err, -ECANCELED);
	assert_int_equal(got.done, 2 * SBX_HTTP_MAX_CONNECTIONS + 1);
	assert_int_equal(peer.nr_conns, 2 * SBX_HTTP_MAX_CONNECTIONS + 1);
}

static void http_cancel_is_quiet(void **state)
{
	struct sbx_http_call *c;

	setup(peer_silent);
	c = get();
	uv_run(&loop, UV_RUN_NOWAIT);
	sbx_http_cancel(c);
	finish();
	run();
	assert_int_equal(got.done, 0);
}

static void http_times_out(void **state)
{
	struct sbx_http_request req = {.method = "GET", .timeout_ms = 100};

	setup(peer_silent);
	req.url = url;
	sbx_http_submit(http, &req, on_done, NULL);
	run();
	assert_int_equal(got.error.err, -ETIMEDOUT);
	assert_int_equal(got.error.retry, SBX_RETRY_CONNECTION);
}

/* ---- as it should not be ---- */

static void peer_too_large(struct tcp_conn *c)
{
	static char block[65536];

	if (!is_whole(c))
		return;
	say(c, "HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n");
	memset(block, 'x', sizeof(block));
	tcp_peer_say(c, block, sizeof(block));
}

static void http_body_is_capped(void **state)
{
	struct sbx_http_request req = {.method = "GET", .max_body = 1000};

	setup(peer_too_large);
	req.url = url;
	sbx_http_submit(http, &req, on_done, NULL);
	run();
	assert_int_equal(got.error.err, -EPROTO);
	assert_true(got.len <= 1000);
	assert_non_null(strstr(got.error.text, "1000 bytes"));
}

static void peer_endless_headers(struct tcp_conn *c)
{
	char line[1024];
	int i;

	if (!is_whole(c))
		return;
	say(c, "HTTP/1.1 200 OK\r\n");
	memset(line, 'x', sizeof(line));
	memcpy(line, "X: ", 3);
	memcpy(line + sizeof(line) - 2, "\r\n", 2);
	for (i = 0; i < 100; i++)
		tcp_peer_say(c, line, sizeof(line));
}

static void http_headers_are_capped(void **state)
{
	setup(peer_endless_headers);
	get();
	run();
	assert_int_equal(got.error.err, -EPROTO);
}

static void peer_redirect(struct tcp_conn *c)
{
	if (is_whole(c))
		say(c, "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n"
		       "Content-Length: 0\r\n\r\n");
}

static void http_redirects_are_not_followed(void **state)
{
	setup(peer_redirect);
	get();
	run();
	assert_int_equal(got.error.err, 0);
	assert_int_equal(got.status, 302);
}

static void peer_half(struct tcp_conn *c)
{
	if (!is_whole(c))
		return;
	say(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
	tcp_peer_hang_up(c);
}

static void http_half_an_answer_is_an_error(void **state)
{
	setup(peer_half);
	get();
	run();
	assert_int_equal(got.error.err, -ETIMEDOUT);
	assert_int_equal(got.error.retry, SBX_RETRY_CONNECTION);
}

static void peer_no_http(struct tcp_conn *c)
{
	say(c, "220 mail.example ESMTP\r\n");
}

static void http_other_protocols_are_an_error(void **state)
{
	setup(peer_no_http);
	get();
	run();
	assert_int_equal(got.error.err, -EPROTO);
}

static void http_only_http(void **state)
{
	struct sbx_http_request req = {.method = "GET",
				       .url = "file:///etc/passwd"};

	setup(peer_silent);
	if (!sbx_http_submit(http, &req, on_done, NULL))
		finish();
	run();
	assert_int_equal(got.status, 0);
	assert_int_equal(got.len, 0);
	if (got.done)
		assert_int_not_equal(got.error.err, 0);
}

static void http_proxies_of_the_environment_are_ignored(void **state)
{
	setenv("http_proxy", "http://127.0.0.1:1", 1);
	setup(peer_echo_request);
	get();
	run();
	unsetenv("http_proxy");
	assert_int_equal(got.status, 200);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(http_sends_what_was_asked),
		cmocka_unit_test(http_keeps_connections),
		cmocka_unit_test(http_gives_pieces_as_they_come),
		cmocka_unit_test(http_an_error_is_no_piece),
		cmocka_unit_test(http_flows_leave_room_for_requests),
		cmocka_unit_test(http_many_at_once),
		cmocka_unit_test(http_has_a_limit_of_requests),
		cmocka_unit_test(http_what_lasts_leaves_room_for_requests),
		cmocka_unit_test(http_cancel_is_quiet),
		cmocka_unit_test(http_times_out),
		cmocka_unit_test(http_body_is_capped),
		cmocka_unit_test(http_headers_are_capped),
		cmocka_unit_test(http_redirects_are_not_followed),
		cmocka_unit_test(http_half_an_answer_is_an_error),
		cmocka_unit_test(http_other_protocols_are_an_error),
		cmocka_unit_test(http_only_http),
		cmocka_unit_test(http_proxies_of_the_environment_are_ignored),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
