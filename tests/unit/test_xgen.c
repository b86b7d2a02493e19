/*
 * client/svc_xgen_wire, _json, _options: the service's messages and bodies,
 * against the samples in tests/golden/xgen, and what a stranger may send.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/json.h"
#include "client/labels.h"
#include "client/svc_xgen_json.h"
#include "client/svc_xgen_wire.h"
#include "tests/lib/unit.h"

static const char *golden; /* the file of samples */

static size_t hex_read(const char *text, unsigned char *to, size_t max)
{
	unsigned int byte;
	size_t n = 0;

	while (n < max) {
		while (isspace((unsigned char)*text))
			text++;
		if (sscanf(text, "%2x", &byte) != 1)
			break;
		to[n++] = (unsigned char)byte;
		text += 2;
	}
	return n;
}

/* A sample by its name. */
static size_t sample(const char *name, unsigned char *to, size_t max)
{
	char line[1024], *bytes;
	FILE *f = fopen(golden, "r");
	size_t n = 0;

	assert_non_null(f);
	while (!n && fgets(line, sizeof(line), f)) {
		if (strncmp(line, name, strlen(name)) ||
		    line[strlen(name)] != ' ')
			continue;
		bytes = strchr(line + strlen(name) + 1, ' ');
		n = hex_read(bytes, to, max);
	}
	fclose(f);
	assert_true(n > 0);
	return n;
}

static struct sbx_xgen_msg read_sample(const char *name)
{
	static unsigned char bytes[512];
	struct sbx_xgen_msg m;
	size_t n = sample(name, bytes, sizeof(bytes));

	assert_int_equal(sbx_xgen_read(&m, bytes, n), 0);
	return m;
}

static void assert_is_sample(const char *name, const void *data, size_t len)
{
	unsigned char bytes[512];

	assert_int_equal(sample(name, bytes, sizeof(bytes)), len);
	assert_memory_equal(bytes, data, len);
}

/* ---- wire ---- */

static void wire_reads_the_samples(void **state)
{
	struct sbx_xgen_msg m = read_sample("ready");
	uint32_t process = 0;
	int code = 0;

	assert_int_equal(m.type, SBX_XGEN_READY);
	assert_int_equal(m.len, 0);
	m = read_sample("pong-77");
	assert_int_equal(m.type, SBX_XGEN_PONG);
	assert_int_equal(m.id, 77);
	m = read_sample("ack");
	assert_int_equal(m.channel, 1001);
	assert_int_equal(m.id, 1);
	assert_int_equal(sbx_xgen_read_ack(&m, &process), 0);
	assert_int_equal(process, 1);
	m = read_sample("ack-other-order");
	process = 0;
	assert_int_equal(sbx_xgen_read_ack(&m, &process), 0);
	assert_int_equal(process, 1);
	m = read_sample("exit-7");
	assert_int_equal(sbx_xgen_read_exit(&m, &code), 0);
	assert_int_equal(code, 7);
	m = read_sample("exit-255");
	assert_int_equal(sbx_xgen_read_exit(&m, &code), 0);
	assert_int_equal(code, 255);
	m = read_sample("exit-minus-1");
	assert_int_equal(sbx_xgen_read_exit(&m, &code), 0);
	assert_int_equal(code, -1);
	m = read_sample("exit-7-other-spelling");
	assert_int_equal(sbx_xgen_read_exit(&m, &code), 0);
	assert_int_equal(code, 7);
}

static void wire_writes_the_samples(void **state)
{
	const char *argv[] = {"true", NULL};
	uint8_t head[SBX_XGEN_STDIN_HEAD + 3];
	struct sbx_buf b;

	sbx_buf_init(&b, 65536);
	assert_int_equal(sbx_xgen_put_start(&b, 1001, 1, argv, NULL), 0);
	assert_is_sample("start-true", sbx_buf_at(&b), sbx_buf_len(&b));
	sbx_buf_clear(&b);
	assert_int_equal(sbx_xgen_put_signal(&b, 1001, 1, "SIGTERM"), 0);
	assert_is_sample("signal-term", sbx_buf_at(&b), sbx_buf_len(&b));
	sbx_buf_release(&b);
	sbx_xgen_stdin_head(head, 1001, 1);
	memcpy(head + SBX_XGEN_STDIN_HEAD, "hi\n", 3);
	assert_is_sample("stdin-hi", head, sizeof(head));
}

static void wire_start_holds_arguments_and_environment(void **state)
{
	const char *argv[] = {"sh", "-c", "x", NULL};
	const char *env[] = {"A=1", "EMPTY=", NULL};
	static const unsigned char want[] = "\x84\xa7"
					    "command\xa2sh\xa4"
					    "args\x92\xa2-c\xa1x\xa3tty\xc2\xa3"
					    "env\x82\xa1"
					    "A\xa1"
					    "1\xa5"
					    "EMPTY\xa0";
	struct sbx_buf b;

	sbx_buf_init(&b, 65536);
	assert_int_equal(sbx_xgen_put_start(&b, 1, 1, argv, env), 0);
	assert_int_equal(sbx_buf_len(&b), SBX_XGEN_HEADER + sizeof(want) - 1);
	assert_memory_equal(sbx_buf_at(&b) + SBX_XGEN_HEADER, want,
			    sizeof(want) - 1);
	sbx_buf_release(&b);
}

static void wire_start_has_a_limit(void **state)
{
	static char big[40000];
	const char *argv[] = {"echo", big, NULL};
	struct sbx_buf b;
	size_t n;

	/* 9 + 1 + 8 + 5 + 5 + 1 + 3 + n + 4 + 1 */
	for (n = 32768 - 37 - 1; n <= 32768 - 37 + 1; n++) {
		memset(big, 'x', n);
		sbx_buf_init(&b, 65536);
		assert_int_equal(sbx_xgen_put_start(&b, 1, 1, argv, NULL),
				 n > 32768 - 37 ? -E2BIG : 0);
		sbx_buf_release(&b);
	}
}

static void wire_error_ends_tell_the_errno(void **state)
{
	struct sbx_xgen_msg m = read_sample("error-exec");
	struct sbx_error e;

	assert_int_equal(sbx_xgen_read_error(&m, &e), 0);
	assert_int_equal(e.err, -EACCES);
	assert_non_null(strstr(e.text, "exec_failed"));
	/* the words are there, but not at the end */
	m = read_sample("error-cannot");
	assert_int_equal(sbx_xgen_read_error(&m, &e), 0);
	assert_int_equal(e.err, -EIO);
}

static void wire_lists(void **state)
{
	static const char *const bad[] = {"list-up", "list-slash",
					  "list-nameless", "list-negative",
					  "list-no-array"};
	struct sbx_xgen_msg m = read_sample("list-reply");
	struct sbx_file *files;
	struct sbx_buf b;
	size_t i, nr;

	assert_int_equal(sbx_xgen_read_list(&m, &files, &nr), 0);
	assert_int_equal(nr, 1);
	assert_string_equal(files[0].name, "c.txt");
	assert_int_equal(files[0].size, 5);
	assert_int_equal(files[0].mtime_s, 0x6b010df7);
	assert_false(files[0].is_dir);
	sbx_files_free(files, nr);
	m = read_sample("list-other-spelling");
	assert_int_equal(sbx_xgen_read_list(&m, &files, &nr), 0);
	assert_string_equal(files[0].name, "\xff");
	assert_int_equal(files[0].mtime_s, 1);
	assert_true(files[0].is_dir);
	sbx_files_free(files, nr);
	m = read_sample("list-empty");
	assert_int_equal(sbx_xgen_read_list(&m, &files, &nr), 0);
	assert_int_equal(nr, 0);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		m = read_sample(bad[i]);
		assert_true(sbx_xgen_read_list(&m, &files, &nr) < 0);
	}
	sbx_buf_init(&b, 1024);
	assert_int_equal(sbx_xgen_put_path(&b, SBX_XGEN_FS_LIST, 11, "a"), 0);
	assert_is_sample("list", sbx_buf_at(&b), sbx_buf_len(&b));
	sbx_buf_clear(&b);
	assert_int_equal(sbx_xgen_put_path(&b, SBX_XGEN_FS_READ, 12, "a"), 0);
	assert_is_sample("read", sbx_buf_at(&b), sbx_buf_len(&b));
	sbx_buf_release(&b);
}

/* Every sample cut short and with every bit turned: no crash, no nonsense. */
static void wire_survives_damage(void **state)
{
	static const char *const names[] = {"ack", "exit-255", "error-exec",
					    "list-reply"};
	struct sbx_file *files;
	size_t nr;
	unsigned char bytes[512], *copy;
	struct sbx_xgen_msg m;
	struct sbx_error e;
	uint32_t process;
	size_t i, n, len;
	int code;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		len = sample(names[i], bytes, sizeof(bytes));
		for (n = 0; n < len * 8 + len; n++) {
			size_t size = n < len ? n : len;

			copy = malloc(size + 1);
			memcpy(copy, bytes, size);
			if (n >= len)
				copy[(n - len) / 8] ^= 1 << (n % 8);
			if (sbx_xgen_read(&m, copy, size) == 0) {
				sbx_xgen_read_ack(&m, &process);
				if (sbx_xgen_read_exit(&m, &code) == 0)
					assert_in_range(code + 1, 0, 256);
				sbx_xgen_read_error(&m, &e);
				if (sbx_xgen_read_list(&m, &files, &nr) == 0)
					sbx_files_free(files, nr);
			} else {
				assert_true(size < SBX_XGEN_HEADER);
			}
			free(copy);
		}
	}
}

/* ---- sandboxes ---- */

static int sandbox(const char *text, struct sbx_sandbox *s)
{
	json_t *obj = sbx_json_parse(text, strlen(text));
	int r = sbx_xgen_sandbox_from_json(s, obj, "http://h");

	json_decref(obj);
	return r;
}

static void sandbox_of_both_versions(void **state)
{
	struct sbx_sandbox s, copy;

	assert_int_equal(
		sandbox("{\"id\":\"0a1b2c3d-4e5\",\"status\":\"running\","
			"\"template\":\"go\",\"created_at_ms\":1000,"
			"\"expires_at_ms\":61000,\"metadata\":{\"name\":\"n\"},"
			"\"preview_urls\":{\"3000\":\"http://x\",\"0\":\"y\","
			"\"70000\":\"z\",\"8x\":\"z\",\"81\":7}}",
			&s),
		0);
	assert_string_equal(s.id, "0a1b2c3d-4e5");
	assert_string_equal(s.name, "n");
	assert_int_equal(s.state, SBX_STATE_RUNNING);
	assert_int_equal(s.expires_ms, 61000);
	assert_int_equal(s.nr_ports, 1);
	assert_int_equal(s.ports[0].port, 3000);
	assert_int_equal(sbx_sandbox_copy(&copy, &s), 0);
	sbx_sandbox_release(&s);
	assert_string_equal(copy.ports[0].url, "http://x");
	assert_string_equal(copy.image, "go");
	sbx_sandbox_release(&copy);

	assert_int_equal(
		sandbox("{\"id\":\"a\",\"status\":\"starting\","
			"\"expires_at\":\"2026-04-22T10:00:00.25+02:00\"}",
			&s),
		0);
	assert_int_equal(s.expires_ms, 1776844800250);
	assert_null(s.name);
	sbx_sandbox_release(&s);
}

static void sandbox_with_urls(const char *urls, struct sbx_sandbox *s)
{
	char text[400];

	snprintf(text, sizeof(text),
		 "{\"id\":\"ab-1\",\"status\":\"running\","
		 "\"preview_urls\":{%s}}",
		 urls);
	assert_int_equal(sandbox(text, s), 0);
}

static void preview_urls_of_other_ports(void **state)
{
	static const char *const others[] = {
		"\"80\":\"http://x\"",
		"\"80\":\"http://sbx-ab-1-81.p.example\"",
		"\"80\":\"http://sbx-ab-2-80.p.example\"",
		"\"80\":\"http://sbx-ab-1-80/p.example\"",
		"\"80\":\"http://sbx-ab-1-80.p.example/path\"",
		"\"80\":\"http://sbx-ab-1-80.p.exam ple\"",
		"\"80\":\"http://sbx-ab-1-80.p.exam\\nple\"",
		"\"80\":\"sbx-ab-1-80.p.example\"",
	};
	struct sbx_xgen_preview p = {0};
	struct sbx_sandbox s, other, copy;

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		sandbox_with_urls(others[i], &s);
		assert_null(s.any_port[0]);
		assert_int_equal(sbx_xgen_preview_learn(&p, &s), 0);
		assert_null(p.scheme);
		sbx_sandbox_release(&s);
	}
	sandbox_with_urls("\"1\":\"http://x\","
			  "\"80\":\"https://sbx-ab-1-80.p.example:8443\"",
			  &s);
	assert_string_equal(s.any_port[0], "https://sbx-ab-1-");
	assert_string_equal(s.any_port[1], ".p.example:8443");
	assert_int_equal(sbx_sandbox_copy(&copy, &s), 0);
	assert_string_equal(copy.any_port[1], ".p.example:8443");
	sbx_sandbox_release(&copy);

	/* another one of that server, which has none of its own */
	assert_int_equal(
		sandbox("{\"id\":\"cd-2\",\"status\":\"running\"}", &other), 0);
	assert_int_equal(sbx_xgen_preview_fill(&p, &other), 0);
	assert_null(other.any_port[0]);
	for (int i = 0; i < 2; i++)
		assert_int_equal(sbx_xgen_preview_learn(&p, &s), 0);
	assert_int_equal(sbx_xgen_preview_fill(&p, &other), 0);
	assert_string_equal(other.any_port[0], "https://sbx-cd-2-");
	assert_string_equal(other.any_port[1], ".p.example:8443");
	sbx_xgen_preview_release(&p);
	sbx_sandbox_release(&other);
	sbx_sandbox_release(&s);
}

static void sandbox_ids_and_names_are_checked(void **state)
{
	static const char *const ids[] = {"",	 ".",	"..",	"a/b",	  "-a",
					  "a b", "a.b", "a\\n", "\\u00e4"};
	static const char *const names[] = {"",	   ".",	    "..",
					    "a/b", "a\\nb", "\\u007f"};
	struct sbx_sandbox s;
	char text[300];
	size_t i;

	for (i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		snprintf(text, sizeof(text),
			 "{\"id\":\"%s\",\"status\":\"running\"}", ids[i]);
		assert_int_equal(sandbox(text, &s), -EPROTO);
	}
	assert_int_equal(sandbox("{\"id\":7,\"status\":\"running\"}", &s),
			 -EPROTO);
	assert_int_equal(sandbox("{\"id\":\"a\"}", &s), -EPROTO);
	assert_int_equal(sandbox("[]", &s), -EPROTO);
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(text, sizeof(text),
			 "{\"id\":\"a\",\"status\":\"new-word\","
			 "\"metadata\":{\"name\":\"%s\"}}",
			 names[i]);
		assert_int_equal(sandbox(text, &s), 0);
		assert_null(s.name);
		assert_int_equal(s.state, SBX_STATE_ERROR);
		sbx_sandbox_release(&s);
	}
}

/* ---- errors ---- */

static void rest_errors(void **state)
{
	static const struct {
		int status, err;
		const char *body;
	} cases[] = {
		{400, -EINVAL,
		 "{\"code\":\"INVALID_PARAMETER\","
		 "\"message\":\"bad port\"}"},
		{404, -ENOENT,
		 "{\"code\":\"SANDBOX_NOT_FOUND\","
		 "\"message\":\"x\",\"retryable\":false}"},
		{404, -ENOENT, "{\"error\":\"sandbox not found\"}"},
		{404, -ENOENT, "sandbox not found\n"},
		{404, -EPROTO, "404 page not found\n"},
		{404, -EPROTO, "<html>not here</html>"},
		{401, -EACCES, "{\"error\":\"invalid API key\"}"},
		{401, -EACCES, "<html>log in</html>"},
		{429, -EAGAIN, "rate limit exceeded\n"},
		{429, -EDQUOT, "{\"code\":\"QUOTA_EXCEEDED\"}"},
		{503, -EAGAIN, "{\"code\":\"POD_CREATE_FAILED\"}"},
		{503, -EAGAIN, "<html>bad gateway</html>"},
		{500, -EIO, "{\"code\":\"INTERNAL\",\"message\":\"x\"}"},
		{500, -EIO, "{\"code\":\"NEW_WORD\",\"message\":\"x\"}"},
		{302, -EPROTO, ""},
	};
	struct sbx_error e;
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(sbx_xgen_error_from_http(
					 &e, cases[i].status, cases[i].body,
					 strlen(cases[i].body), "http://h"),
				 cases[i].err);
		assert_int_equal(e.status, cases[i].status);
	}
	assert_true(sbx_error_is_no_route(404, "404 page not found\n", 19));
	assert_false(sbx_error_is_no_route(404, "sandbox not found", 17));
	assert_false(sbx_error_is_no_route(200, "404 page not found", 18));
}

/* ---- options ---- */

static void options_become_bodies(void **state)
{
	struct sbx_xgen_create c;
	struct sbx_error e;
	json_t *v;

	assert_int_equal(
		sbx_xgen_create_parse(
			&c,
			"{\"name\":\"n\",\"image\":\"go\",\"timeout\":2,"
			"\"env\":{\"A\":1,\"B\":\"x y\"},\"ports\":[80]}",
			"mark", &e),
		0);
	v = sbx_json_parse(c.body_v2, strlen(c.body_v2));
	assert_string_equal(sbx_json_str(v, "template"), "go");
	assert_int_equal(sbx_json_int(v, "timeout_ms", 0), 2000);
	assert_int_equal(sbx_json_int(v, "timeout_seconds", 0), 0);
	assert_string_equal(
		sbx_json_str(sbx_json_object(v, "metadata"), "name"), "n");
	assert_string_equal(
		sbx_json_str(sbx_json_object(v, "metadata"), SBX_LABEL_MARKER),
		"mark");
	assert_string_equal(sbx_json_str(sbx_json_object(v, "env"), "A"), "1");
	json_decref(v);
	v = sbx_json_parse(c.body_v1, strlen(c.body_v1));
	assert_int_equal(sbx_json_int(v, "timeout_seconds", 0), 2);
	assert_int_equal(sbx_json_int(v, "timeout_ms", 0), 0);
	json_decref(v);
	assert_string_equal(c.env[0], "A=1");
	assert_string_equal(c.env[1], "B=x y");
	assert_null(c.env[2]);
	sbx_xgen_create_release(&c);
	assert_int_equal(sbx_xgen_create_parse(&c, NULL, "m", &e), 0);
	assert_null(c.env);
	sbx_xgen_create_release(&c);
}

static void options_have_limits(void **state)
{
	struct sbx_xgen_create c;
	char text[4096] = "{\"env\":{";
	struct sbx_error e;
	size_t i, n;

	for (i = 0; i < 51; i++)
		sprintf(text + strlen(text), "%s\"V%zu\":\"\"", i ? "," : "",
			i);
	strcat(text, "}}");
	assert_int_equal(sbx_xgen_create_parse(&c, text, "m", &e), -EINVAL);
	strcpy(text, "{\"name\":\"n\",\"metadata\":{");
	n = strlen(text);
	/* the name and the marker count among the twenty */
	for (i = 0; i < 19; i++)
		sprintf(text + strlen(text), "%s\"M%zu\":\"\"", i ? "," : "",
			i);
	strcat(text, "}}");
	assert_int_equal(sbx_xgen_create_parse(&c, text, "m", &e), -EINVAL);
	text[n] = '\0';
	strcat(text, "\"a\":\"\"}}");
	assert_int_equal(sbx_xgen_create_parse(&c, text, "m", &e), 0);
	sbx_xgen_create_release(&c);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wire_reads_the_samples),
		cmocka_unit_test(wire_writes_the_samples),
		cmocka_unit_test(wire_start_holds_arguments_and_environment),
		cmocka_unit_test(wire_start_has_a_limit),
		cmocka_unit_test(wire_error_ends_tell_the_errno),
		cmocka_unit_test(wire_lists),
		cmocka_unit_test(wire_survives_damage),
		cmocka_unit_test(sandbox_of_both_versions),
		cmocka_unit_test(preview_urls_of_other_ports),
		cmocka_unit_test(sandbox_ids_and_names_are_checked),
		cmocka_unit_test(rest_errors),
		cmocka_unit_test(options_become_bodies),
		cmocka_unit_test(options_have_limits),
	};

	if (argc < 2) {
		fprintf(stderr, "usage: test_xgen SAMPLES\n");
		return 2;
	}
	golden = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
