/* client/error, client/log, client/retry: what people get to read. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client/error.h"
#include "client/limits.h"
#include "client/log.h"
#include "client/random.h"
#include "client/retry.h"
#include "tests/lib/unit.h"

static void error_set_gives_its_errno_back(void **state)
{
	struct sbx_error e;

	assert_int_equal(sbx_error_set(&e, -EINVAL, "no %s", "way"), -EINVAL);
	assert_int_equal(e.err, -EINVAL);
	assert_string_equal(e.text, "no way");
	assert_int_equal(e.retry, SBX_RETRY_NEVER);
	assert_int_equal(sbx_error_set(NULL, -EIO, "x"), -EIO);
}

static void error_text_has_no_line_breaks(void **state)
{
	struct sbx_error e;

	sbx_error_set(&e, -EIO, "a%sb", "\r\n\x1b[2J\x7f");
	assert_string_equal(e.text, "a   [2J b");
}

static void error_text_is_cut_between_characters(void **state)
{
	char text[300];
	struct sbx_error e;
	size_t n;

	/* two bytes each: an odd room cuts one in half */
	for (n = 0; n + 2 < sizeof(text); n += 2)
		memcpy(text + n, "\xc3\xa4", 2);
	text[n] = '\0';
	sbx_error_set(&e, -EIO, "%s", text);
	assert_true(strlen(e.text) < sizeof(e.text));
	assert_int_equal(strlen(e.text) % 2, 0);
}

static void http_status_becomes_errno(void **state)
{
	static const struct {
		int status, err;
		enum sbx_retry retry;
	} cases[] = {
		{400, -EINVAL, SBX_RETRY_NEVER},
		{401, -EACCES, SBX_RETRY_TOKEN},
		{403, -EACCES, SBX_RETRY_NEVER},
		{404, -ENOENT, SBX_RETRY_NEVER},
		{409, -EAGAIN, SBX_RETRY_LATER},
		{429, -EAGAIN, SBX_RETRY_LATER},
		{500, -EIO, SBX_RETRY_LATER},
		{503, -EAGAIN, SBX_RETRY_LATER},
		{418, -EIO, SBX_RETRY_NEVER},
		{302, -EPROTO, SBX_RETRY_NEVER},
		{200, -EPROTO, SBX_RETRY_NEVER},
	};
	struct sbx_error e;
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(sbx_error_from_http(&e, cases[i].status, "x"),
				 cases[i].err);
		assert_int_equal(e.retry, cases[i].retry);
		assert_int_equal(e.status, cases[i].status);
	}
}

static const char *readme;

static const char *errno_word(int err)
{
	return strerrorname_np(-err);
}

/* The table of statuses in client/README.md says what the code does. */
static void readme_table_is_true(void **state)
{
	static const char *const retries[] = {
		[SBX_RETRY_NEVER] = "never",
		[SBX_RETRY_LATER] = "later",
		[SBX_RETRY_CONNECTION] = "connection",
		[SBX_RETRY_TOKEN] = "token",
	};
	char line[512], err[32], retry[32];
	unsigned int status, rows = 0;
	struct sbx_error e;
	FILE *f = fopen(readme, "r");

	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "| %u | %31s | %31s |", &status, err, retry) !=
		    3)
			continue;
		sbx_error_from_http(&e, (int)status, "x");
		assert_string_equal(err, errno_word(e.err));
		assert_string_equal(retry, retries[e.retry]);
		rows++;
	}
	fclose(f);
	assert_true(rows >= 16);
}

/* What log lines arrive on stderr while fn runs. */
static size_t log_capture(void (*fn)(void), char *text, size_t size)
{
	int fds[2], saved = dup(STDERR_FILENO);
	size_t len = 0;
	ssize_t n;

	assert_int_equal(pipe2(fds, O_NONBLOCK), 0);
	dup2(fds[1], STDERR_FILENO);
	fn();
	dup2(saved, STDERR_FILENO);
	while (len < size - 1 &&
	       (n = read(fds[0], text + len, size - 1 - len)) > 0)
		len += (size_t)n;
	text[len] = '\0';
	close(fds[0]);
	close(fds[1]);
	close(saved);
	return len;
}

static void log_strange(void)
{
	sbx_log(SBX_LOG_WARNING, "test", "a\nb %s", "\x1b[1m");
	sbx_log(SBX_LOG_DEBUG, "test", "not wanted");
}

static void log_line_is_one_line(void **state)
{
	char text[4096];

	sbx_log_open("unit", SBX_LOG_INFO, 0);
	log_capture(log_strange, text, sizeof(text));
	assert_string_equal(text, "unit: warning: test: a?b ?[1m\n");
}

static void log_much(void)
{
	int i;

	for (i = 0; i < 10 * SBX_LOG_MAX_RATE; i++)
		sbx_log(SBX_LOG_ERROR, "test", "%d", i);
}

static void log_rate_is_limited(void **state)
{
	size_t lines = 0;
	char text[32768], *p;

	log_capture(log_much, text, sizeof(text));
	for (p = text; (p = strchr(p, '\n')); p++)
		lines++;
	/* the second may change in between, once */
	assert_in_range(lines, 1, 2 * SBX_LOG_MAX_RATE + 1);
}

static void backoff_grows_to_its_limit(void **state)
{
	struct sbx_backoff b = {.first_ms = 100, .max_ms = 1000};
	unsigned int i, ms, most = 0;

	assert_in_range(sbx_backoff_next(&b), 50, 100);
	for (i = 0; i < 200; i++) {
		ms = sbx_backoff_next(&b);
		assert_in_range(ms, 50, 1000);
		if (ms > most)
			most = ms;
	}
	assert_true(most > 500);
	sbx_backoff_reset(&b);
	assert_in_range(sbx_backoff_next(&b), 50, 100);
	assert_int_equal(sbx_random_between(7, 7), 7);
}

static void random_hex_is_that_long_and_differs(void **state)
{
	char a[65], b[65];

	assert_int_equal(sbx_random_hex(a, 32), 0);
	assert_int_equal(sbx_random_hex(b, 32), 0);
	assert_int_equal(strlen(a), 64);
	assert_int_equal(strspn(a, "0123456789abcdef"), 64);
	assert_string_not_equal(a, b);
	assert_int_equal(sbx_random_hex(a, 16), 0);
	assert_int_equal(strlen(a), 32);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(error_set_gives_its_errno_back),
		cmocka_unit_test(error_text_has_no_line_breaks),
		cmocka_unit_test(error_text_is_cut_between_characters),
		cmocka_unit_test(http_status_becomes_errno),
		cmocka_unit_test(readme_table_is_true),
		cmocka_unit_test(log_line_is_one_line),
		cmocka_unit_test(log_rate_is_limited),
		cmocka_unit_test(backoff_grows_to_its_limit),
		cmocka_unit_test(random_hex_is_that_long_and_differs),
	};

	readme = argc > 2 ? argv[2] : "client/README.md";
	return cmocka_run_group_tests(tests, NULL, NULL);
}
