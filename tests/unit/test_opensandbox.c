/* client/svc_opensandbox_*: what is read, what is written, and the marks. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/json.h"
#include "client/labels.h"
#include "client/svc_opensandbox_json.h"
#include "client/svc_opensandbox_text.h"
#include "client/svc_opensandbox_wire.h"
#include "tests/unit/samples.h"

static const char *samples;

static void check_sandbox(const char *state, char *rest)
{
	sample_check_sandbox(sbx_osb_sandbox_from_json, state, rest);
}

static void check_error(const char *word, char *rest)
{
	int status = atoi(strsep(&rest, " "));
	struct sbx_error e;

	assert_int_equal(sbx_osb_error_from_http(&e, status, rest, strlen(rest),
						 "http://h"),
			 sample_err(word));
	assert_int_equal(e.err, sample_err(word));
	assert_int_equal(e.status, status);
	assert_true(e.text[0]);
}

static void check_endpoint(const char *word, char *text)
{
	SBX_JSON json_t *obj = sbx_json_parse(text, strlen(text));
	struct sbx_osb_endpoint e;
	int r = sbx_osb_endpoint_from_json(&e, obj);

	assert_int_equal(r, strcmp(word, "none") ? 0 : -EPROTO);
	if (r < 0)
		return;
	assert_true(e.base[strlen(e.base) - 1] != '/');
	sbx_osb_endpoint_release(&e);
}

static void check_text(const char *word, char *text)
{
	static const char *const kinds[] = {
		[SBX_OSB_CONNECTED] = "connected", [SBX_OSB_EXIT] = "exit",
		[SBX_OSB_ERROR] = "error",	   [SBX_OSB_PONG] = "pong",
		[SBX_OSB_OTHER] = "other",
	};
	struct sbx_osb_frame f;

	assert_int_equal(sbx_osb_read_text(&f, text, strlen(text)), 0);
	assert_string_equal(kinds[f.kind], word);
}

static void opensandbox_samples(void **state)
{
	static const struct sample_kind kinds[] = {
		{"sandbox", check_sandbox},
		{"error", check_error},
		{"endpoint", check_endpoint},
		{"text", check_text},
		{0},
	};

	samples_check(samples, kinds, 50);
}

static void opensandbox_times(void **state)
{
	static const char text[] =
		"{\"id\":\"a\",\"status\":{\"state\":\"Running\"},"
		"\"createdAt\":\"2026-06-15T12:00:00+02:00\","
		"\"expiresAt\":\"2026-06-15T10:00:00.5Z\"}";
	SBX_JSON json_t *obj = sbx_json_parse(text, strlen(text));
	struct sbx_sandbox s;

	assert_int_equal(sbx_osb_sandbox_from_json(&s, obj, "u"), 0);
	assert_int_equal(s.created_ms, 1781517600000);
	assert_int_equal(s.expires_ms, 1781517600500);
	sbx_sandbox_release(&s);
}

/* Only what the next session could not do either ends it for good. */
static void opensandbox_errors_of_a_session(void **state)
{
	static const struct {
		const char *code;
		int err;
		enum sbx_retry retry;
	} all[] = {
		{"START_FAILED", -EOPNOTSUPP, SBX_RETRY_NEVER},
		{"STDIN_WRITE_FAILED", -EIO, SBX_RETRY_CONNECTION},
		{"ALREADY_CONNECTED", -EIO, SBX_RETRY_CONNECTION},
		{"RUNTIME_ERROR", -EIO, SBX_RETRY_CONNECTION},
	};
	struct sbx_osb_frame f;
	char text[128];
	size_t i;

	for (i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		snprintf(text, sizeof(text),
			 "{\"type\":\"error\",\"error\":\"x\",\"code\":\"%s\"}",
			 all[i].code);
		assert_int_equal(sbx_osb_read_text(&f, text, strlen(text)), 0);
		assert_int_equal(f.error.err, all[i].err);
		assert_int_equal(f.error.retry, all[i].retry);
	}
}

static void opensandbox_binary_frames(void **state)
{
	static const uint8_t replay[] = {3, 0, 0, 0, 0, 0, 0, 1, 2, 'x', 'y'};
	static const uint8_t far[] = {3, 255, 0, 0, 0, 0, 0, 0, 0};
	struct sbx_osb_frame f;

	assert_int_equal(sbx_osb_read_binary(&f, "\1abc", 4), 0);
	assert_int_equal(f.kind, SBX_OSB_DATA);
	assert_int_equal(f.fd, 1);
	assert_int_equal(f.len, 3);
	assert_int_equal(sbx_osb_read_binary(&f, "\2", 1), 0);
	assert_int_equal(f.fd, 2);
	assert_int_equal(sbx_osb_read_binary(&f, replay, sizeof(replay)), 0);
	assert_int_equal(f.kind, SBX_OSB_REPLAY);
	assert_int_equal(f.offset, 258);
	assert_int_equal(f.len, 2);
	assert_int_equal(sbx_osb_read_binary(&f, replay, 8), -EPROTO);
	assert_int_equal(sbx_osb_read_binary(&f, far, sizeof(far)), -EPROTO);
	assert_int_equal(sbx_osb_read_binary(&f, "", 0), -EPROTO);
	assert_int_equal(sbx_osb_read_binary(&f, "\7", 1), 0);
	assert_int_equal(f.kind, SBX_OSB_OTHER);
}

/* ---- the mark ---- */

#define WORD "0123456789abcdef0123456789abcdef"
#define MARK "\301" WORD

static struct {
	char out[256];
	size_t len;
} got;

static void take(void *arg, const void *data, size_t len)
{
	assert_true(len > 0 && got.len + len < sizeof(got.out));
	memcpy(got.out + got.len, data, len);
	got.len += len;
	got.out[got.len] = '\0';
}

/* In pieces of two sizes, cut everywhere. */
static void tail_of(const char *text, const char *out, int code)
{
	size_t len = strlen(text), cut;

	for (cut = 0; cut <= len; cut++) {
		struct sbx_osb_tail t;

		memset(&got, 0, sizeof(got));
		sbx_osb_tail_init(&t, WORD, false);
		sbx_osb_tail_add(&t, text, cut, take, NULL);
		sbx_osb_tail_add(&t, text + cut, len - cut, take, NULL);
		assert_string_equal(got.out, out);
		assert_int_equal(t.ended, code != -2);
		if (t.ended)
			assert_int_equal(t.exit_code, code);
	}
}

static void opensandbox_the_mark_ends_a_stream(void **state)
{
	tail_of("hello" MARK "003", "hello", 3);
	tail_of(MARK "000", "", 0);
	tail_of(MARK "137more of it", "", 137);
	tail_of(MARK "999", "", -1);
	tail_of("plain", "plain", -2);
	/* nearly */
	tail_of("\301"
		"0123456789abcdef0123" MARK "255",
		"\301"
		"0123456789abcdef0123",
		255);
	tail_of(WORD "001" MARK "002", WORD "001", 2);
	tail_of(MARK "0x" MARK "001", MARK "0x", 1);
	tail_of("\301\301" MARK "002", "\301\301", 2);
}

/* Each is there at once, though a mark begins with it or with its end. */
static void there_at_once(bool hasty, const char *text)
{
	struct sbx_osb_tail t;

	memset(&got, 0, sizeof(got));
	sbx_osb_tail_init(&t, WORD, hasty);
	sbx_osb_tail_add(&t, text, strlen(text), take, NULL);
	assert_string_equal(got.out, text);
	/* ... and no twice */
	sbx_osb_tail_add(&t, "x" MARK "004", SBX_OSB_MARK_LEN + 4, take, NULL);
	assert_memory_equal(got.out, text, strlen(text));
	assert_string_equal(got.out + strlen(text), "x");
	assert_true(t.ended);
	assert_int_equal(t.exit_code, 4);
}

static void opensandbox_no_text_waits_for_what_follows(void **state)
{
	char text[] = "what ends in ?";
	int c;

	for (c = ' '; c < 127; c++) {
		text[sizeof(text) - 2] = (char)c;
		there_at_once(false, text);
	}
	there_at_once(false, "0");
	there_at_once(false, WORD);
	/* the helper's messages end in any byte */
	for (c = 1; c < 256; c++) {
		text[sizeof(text) - 2] = (char)c;
		there_at_once(true, text);
	}
	there_at_once(true, "\301"
			    "01");
}

static void opensandbox_a_mark_in_pieces_is_one(void **state)
{
	static const char text[] = "hello" MARK "007";
	size_t i;
	struct sbx_osb_tail t;

	memset(&got, 0, sizeof(got));
	sbx_osb_tail_init(&t, WORD, true);
	for (i = 0; i < sizeof(text) - 1; i++)
		sbx_osb_tail_add(&t, text + i, 1, take, NULL);
	assert_true(t.ended);
	assert_int_equal(t.exit_code, 7);
	assert_string_equal(got.out, "hello\301"
				     "012345");
}

static void opensandbox_the_line_quotes(void **state)
{
	static const char *const argv[] = {"printf", "a'b\n$c", NULL};
	static const char *big[3] = {"x"};
	char *word = malloc(SBX_OSB_MAX_LINE + 1);
	struct sbx_buf b;

	sbx_buf_init(&b, SBX_OSB_MAX_LINE + 64);
	assert_int_equal(sbx_osb_put_line(&b, argv, WORD, true), 0);
	sbx_buf_add(&b, "", 1);
	assert_non_null(
		strstr((char *)sbx_buf_at(&b), " 'printf' 'a'\\''b\n$c' 2>&3"));
	sbx_buf_release(&b);

	memset(word, 'x', SBX_OSB_MAX_LINE);
	word[SBX_OSB_MAX_LINE] = '\0';
	big[1] = word;
	assert_int_equal(sbx_osb_put_line(&b, big, WORD, false), -E2BIG);
	sbx_buf_release(&b);
	free(word);
}

/* ---- names ---- */

static void opensandbox_names_come_back(void **state)
{
	static const char *const names[] = {"a", "a b", "-", "\xff\xfe",
					    "x.y_z-1"};
	char longest[256];
	size_t i;

	memset(longest, 'q', 255);
	longest[255] = '\0';
	for (i = 0; i <= sizeof(names) / sizeof(names[0]); i++) {
		const char *name = i < 5 ? names[i] : longest;
		json_t *meta = json_object();
		SBX_JSON json_t *obj =
			json_pack("{s:s,s:{s:s},s:o}", "id", "a", "status",
				  "state", "Running", "metadata", meta);
		struct sbx_sandbox s;

		assert_int_equal(sbx_labels_put_name(meta, name), 0);
		assert_int_equal(sbx_osb_sandbox_from_json(&s, obj, "u"), 0);
		assert_string_equal(s.name, name);
		sbx_sandbox_release(&s);
	}
}

/* ---- what users write to its own files ---- */

static void policy_is(const char *text, const char *method, const char *body)
{
	struct sbx_osb_policy_change c;
	struct sbx_error e;

	assert_int_equal(sbx_osb_policy_parse(&c, text, strlen(text), &e), 0);
	assert_string_equal(c.method, method);
	assert_string_equal(c.body, body);
	free(c.body);
}

static void opensandbox_policies(void **state)
{
	static const char *const wrong[] = {
		"",
		"\n",
		"allow",
		"allow a b",
		"permit a",
		"{}",
		"[]",
		"[\"a\"]",
		"7",
		"allow \"",
		"allow a\\",
		"allow a\nremove b",
		"[{\"action\":\"allow\",\"target\":\"a b\"}]",
	};
	struct sbx_osb_policy_change c;
	struct sbx_error e;
	size_t i;

	policy_is("allow pypi.org\n", "PATCH",
		  "[{\"action\":\"allow\",\"target\":\"pypi.org\"}]");
	policy_is(" deny\t*.x.org\r\n\nallow b", "PATCH",
		  "[{\"action\":\"deny\",\"target\":\"*.x.org\"},"
		  "{\"action\":\"allow\",\"target\":\"b\"}]");
	policy_is("remove a\nremove b\n", "DELETE", "[\"a\",\"b\"]");
	policy_is("[ {\"action\": \"allow\", \"target\": \"a\"} ]", "PATCH",
		  "[{\"action\":\"allow\",\"target\":\"a\"}]");
	for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(sbx_osb_policy_parse(&c, wrong[i],
						      strlen(wrong[i]), &e),
				 -EINVAL);
		assert_null(c.body);
		assert_true(e.text[0]);
	}
	assert_int_equal(sbx_osb_policy_parse(&c, "allow a\0b", 9, &e),
			 -EINVAL);
}

static void opensandbox_metadata(void **state)
{
	static const char all[] = "{\"x/y\":\"b\",\"c\":null}";
	struct sbx_error e;
	char *body;

	assert_int_equal(sbx_osb_patch_key(&body, "a", " b\n", 3, &e), 0);
	assert_string_equal(body, "{\"a\":\"b\"}");
	free(body);
	assert_int_equal(sbx_osb_patch_key(&body, "a", "\n", 1, &e), 0);
	assert_string_equal(body, "{\"a\":\"\"}");
	free(body);
	assert_int_equal(sbx_osb_patch_key(&body, "a", NULL, 0, &e), 0);
	assert_string_equal(body, "{\"a\":null}");
	free(body);
	assert_int_equal(sbx_osb_patch_key(&body, "a", "b\0c", 3, &e), -EINVAL);
	assert_int_equal(sbx_osb_patch_key(&body, "a b", "c", 1, &e), -EINVAL);
	assert_int_equal(sbx_osb_patch_all(&body, all, strlen(all), &e), 0);
	assert_string_equal(body, all);
	free(body);
	assert_int_equal(sbx_osb_patch_all(&body, "{\"a\":{}}", 8, &e),
			 -EINVAL);
}

static void opensandbox_ports_and_paths(void **state)
{
	static const char found[] =
		"[{\"path\":\"/w/a\"},{\"path\":\"/wx\"},{\"size\":1},7,"
		"{\"path\":\"/w\"}]";
	SBX_JSON json_t *list = sbx_json_parse(found, strlen(found));
	char *text;

	assert_int_equal(sbx_port_from_text("1"), 1);
	assert_int_equal(sbx_port_from_text("65535"), 65535);
	assert_int_equal(sbx_port_from_text("65536"), 0);
	assert_int_equal(sbx_port_from_text("080"), 0);
	assert_int_equal(sbx_port_from_text(""), 0);
	assert_int_equal(sbx_port_from_text("99999999999"), 0);
	assert_int_equal(sbx_osb_search_text(&text, list, "/w"), 0);
	assert_string_equal(text, "a\n/wx\n/w\n");
	free(text);
	text = sbx_percent_encode("a/*&\xff~");
	assert_string_equal(text, "a%2F%2A%26%FF~");
	free(text);
}

static int code_output(const char *body, char text[256])
{
	struct sbx_error e = {0};
	struct sbx_buf b;
	int r;

	sbx_buf_init(&b, 255);
	r = sbx_osb_code_output(&b, body, strlen(body), "http://h", &e);
	snprintf(text, 256, "%.*s", (int)sbx_buf_len(&b),
		 sbx_buf_len(&b) ? (char *)sbx_buf_at(&b) : "");
	assert_int_equal(e.err, r);
	assert_true(r == 0 || e.text[0]);
	sbx_buf_release(&b);
	return r;
}

#define COMPLETE "{\"type\":\"execution_complete\"}\n\n"

static void opensandbox_output_of_code(void **state)
{
	char text[256], big[600];

	/* bare, or as events; what comes after the end counts */
	assert_int_equal(
		code_output(":x\nevent: y\ndata: {\"type\":\"stdout\",\"text\":"
			    "\"a\"}\r\n\n" COMPLETE
			    "{\"type\":\"stderr\",\"text\":\"b\\n\"}\n"
			    "{\"type\":\"result\",\"results\":{\"text\":\"7\","
			    "\"image/png\":\"x\"}}\n{\"type\":\"new\"}",
			    text),
		0);
	assert_string_equal(text, "ab\n7\n");
	assert_int_equal(
		code_output("{\"type\":\"error\",\"error\":{\"ename\":"
			    "\"E\",\"evalue\":\"v\",\"traceback\":[]}}",
			    text),
		0);
	assert_string_equal(text, "E: v\n");
	assert_int_equal(code_output("", text), -EIO);
	assert_int_equal(code_output("{\"code\":\"CONTEXT_NOT_FOUND\"}", text),
			 -ENOENT);
	assert_int_equal(code_output("<html>\n" COMPLETE, text), -EPROTO);
	memset(big, 'x', sizeof(big));
	memcpy(big, "{\"type\":\"stdout\",\"text\":\"", 26);
	strcpy(big + 500, "\"}\n" COMPLETE);
	assert_true(code_output(big, text) < 0);
}

static void opensandbox_wishes_for_contexts(void **state)
{
	static const char *const bad[] = {
		"",
		"python 3",
		"bash",
		"[]",
		"{}",
		"{\"language\":\"a b\"}",
		"{\"language\":\"r\",\"cwd\":\"x\"}",
		"{\"language\":\"r\",\"x\":1}",
	};
	struct sbx_error e;
	char *body;
	size_t i;

	assert_int_equal(sbx_osb_context_body(&body, "r\n", 2, "/w", &e), 0);
	assert_string_equal(body, "{\"language\":\"r\",\"cwd\":\"/w\"}");
	free(body);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(sbx_osb_context_body(&body, bad[i],
						      strlen(bad[i]), "/w", &e),
				 -EINVAL);
	assert_int_equal(sbx_osb_code_body(&body, "i", "r", "\xff", 1, &e),
			 -EINVAL);
	assert_int_equal(sbx_osb_code_body(&body, "i", "r", "\"", 1, &e), 0);
	assert_string_equal(body,
			    "{\"code\":\"\\\"\",\"context\":{\"id\":\"i\","
			    "\"language\":\"r\"}}");
	free(body);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(opensandbox_samples),
		cmocka_unit_test(opensandbox_times),
		cmocka_unit_test(opensandbox_errors_of_a_session),
		cmocka_unit_test(opensandbox_binary_frames),
		cmocka_unit_test(opensandbox_the_mark_ends_a_stream),
		cmocka_unit_test(opensandbox_no_text_waits_for_what_follows),
		cmocka_unit_test(opensandbox_a_mark_in_pieces_is_one),
		cmocka_unit_test(opensandbox_the_line_quotes),
		cmocka_unit_test(opensandbox_names_come_back),
		cmocka_unit_test(opensandbox_policies),
		cmocka_unit_test(opensandbox_metadata),
		cmocka_unit_test(opensandbox_ports_and_paths),
		cmocka_unit_test(opensandbox_output_of_code),
		cmocka_unit_test(opensandbox_wishes_for_contexts),
	};

	if (argc < 2)
		return 2;
	samples = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
