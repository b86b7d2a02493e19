/*
 * What is written to control files: commands, options of a new sandbox,
 * words and numbers; and a service's answer as lines.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/spec.h"
#include "client/wire/proto.h"
#include "fuse/text.h"
#include "tests/unit/wire_test.h"

/* ---- exec ---- */

static int parse(struct sbx_exec_spec *s, const char *text, struct sbx_error *e)
{
	return sbx_exec_spec_parse(s, text, strlen(text), e);
}

static void test_exec_text_is_for_the_shell(void **state)
{
	static const char *const texts[] = {
		"echo hi\n",
		"{ echo a; echo b; }\n",
		"{\n\techo a\n}\n",
		"a\nb\nc",
	};

	for (size_t i = 0; i < 4; i++) {
		struct sbx_exec_spec s;
		struct sbx_error e;

		assert_int_equal(parse(&s, texts[i], &e), 0);
		assert_string_equal(s.argv[0], "/bin/sh");
		assert_string_equal(s.argv[1], "-c");
		assert_string_equal(s.argv[2], texts[i]);
		assert_null(s.argv[3]);
		assert_null(s.input);
		assert_int_equal(s.flags, 0);
		sbx_exec_spec_release(&s);
	}
}

static void test_exec_long_script_goes_to_the_input(void **state)
{
	size_t len = SBX_SPEC_EXEC_MAX;
	char *text = malloc(len + 1);
	struct sbx_exec_spec s;
	struct sbx_error e;

	memset(text, '#', len + 1);
	assert_int_equal(sbx_exec_spec_parse(&s, text, len, &e), 0);
	assert_true(strlen(s.argv[2]) < 100);
	assert_int_equal(s.input_len, len);
	assert_int_equal(s.flags, SBX_EXEC_STDIN);
	sbx_exec_spec_release(&s);
	assert_int_equal(sbx_exec_spec_parse(&s, text, len + 1, &e), -E2BIG);
	assert_null(s.argv);
	free(text);
}

static void test_exec_json(void **state)
{
	struct sbx_exec_spec s;
	struct sbx_error e;

	assert_int_equal(
		parse(&s,
		      "\n {\"argv\": [\"a\", \"b c\"], \"cwd\": \"d\", "
		      "\"env\": {\"X\": \"1=2\"}, \"stdin\": \"in\", "
		      "\"timeout_ms\": 7, \"tty\": true, \"user\": 0}",
		      &e),
		0);
	assert_string_equal(s.argv[0], "a");
	assert_string_equal(s.argv[1], "b c");
	assert_null(s.argv[2]);
	assert_string_equal(s.cwd, "d");
	assert_string_equal(s.env[0], "X=1=2");
	assert_null(s.env[1]);
	assert_memory_equal(s.input, "in", 2);
	assert_int_equal(s.input_len, 2);
	assert_int_equal(s.timeout_ms, 7);
	assert_int_equal(s.flags, SBX_EXEC_TTY | SBX_EXEC_STDIN);
	assert_string_equal(s.user, "0");
	assert_string_equal(s.text, "a b c");
	sbx_exec_spec_release(&s);
	assert_int_equal(parse(&s, "{\"command\": \"echo $X\"}", &e), 0);
	assert_string_equal(s.argv[2], "echo $X");
	assert_string_equal(s.text, "echo $X");
	sbx_exec_spec_release(&s);
}

static void test_exec_refuses(void **state)
{
	static const char *const texts[] = {
		"",
		" \n\t",
		"{}",
		"{\"command\": 1}",
		"{\"command\": \"a\", \"argv\": [\"b\"]}",
		"{\"argv\": []}",
		"{\"argv\": [1]}",
		"{\"argv\": \"a\"}",
		"{\"cwd\": \"/\"}",
		"{\"command\": \"a\", \"cwd\": 1}",
		"{\"command\": \"a\", \"env\": []}",
		"{\"command\": \"a\", \"env\": {\"A=B\": \"c\"}}",
		"{\"command\": \"a\", \"env\": {\"A\": 1}}",
		"{\"command\": \"a\", \"timeout_ms\": -1}",
		"{\"command\": \"a\", \"timeout_ms\": 99999999999}",
		"{\"command\": \"a\", \"tty\": 1}",
		"{\"command\": \"a\", \"stdin\": 1}",
		"{\"command\": \"a\", \"cols\": 0}",
		"{\"command\": \"a\", \"rows\": 65536}",
		"{command: \"a\"}",
		"{\"command\": \"a\", \"comand\": 1}",
		"{\"command\": \"a\"",
		"{\"command\": \"a\\u0000b\"}",
		"{\"command\": \"a\"} x",
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct sbx_exec_spec s;
		struct sbx_error e = {0};

		if (parse(&s, texts[i], &e) != -EINVAL)
			fail_msg("not refused: %s", texts[i]);
		assert_int_equal(e.err, -EINVAL);
		assert_true(strlen(e.text) > 10);
		assert_null(s.argv);
	}
}

static void test_exec_refuses_zero_bytes(void **state)
{
	struct sbx_exec_spec s;
	struct sbx_error e;

	assert_int_equal(sbx_exec_spec_parse(&s, "a\0b", 3, &e), -EINVAL);
}

/* As written in pieces of that size: what the first refusal says, or "". */
static void scan(const char *text, size_t piece, char ret[], size_t size)
{
	struct sbx_exec_scan s = {0};
	struct sbx_error e = {0};
	size_t len = strlen(text), n = 0;
	int r = 0;

	while (r == 0 && n < len) {
		n = n + piece < len ? n + piece : len;
		r = sbx_exec_scan(&s, text, n, &e);
	}
	assert_int_equal(r, e.err);
	snprintf(ret, size, "%s", e.text);
}

static void test_exec_is_refused_while_being_written(void **state)
{
	static const struct {
		const char *text, *refusal; /* a part of it; "": none */
	} cases[] = {
		{"{bad", "not a JSON object"},
		{"{'command': 'x'}", "not a JSON object"},
		{"{\"comand\": \"x\"}", "comand"},
		{"{\"command\": \"x\"", ""}, /* who knows what follows */
		{"{\"command\": \"x\"} y", "not a JSON object"},
		{" \n{\"command\": \"}{ \\\"} x\"}\n", ""},
		{"{\"argv\": [\"{x\", \"]\"]}", ""},
		{"{}", "either"},
		{"{ echo a; }", ""},
		{"{ echo a; } && { echo b; }; } x", ""},
		{"echo {bad", ""},
	};
	char told[1024];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		for (size_t piece = 1; piece < 40; piece += 19) {
			scan(cases[i].text, piece, told, sizeof(told));
			if (cases[i].refusal[0])
				assert_non_null(strstr(told, cases[i].refusal));
			else
				assert_string_equal(told, "");
		}
}

static bool is_complete(const char *text)
{
	struct sbx_exec_scan s = {0};
	struct sbx_error e;

	assert_int_equal(sbx_exec_scan(&s, text, strlen(text), &e), 0);
	return s.complete;
}

static void test_exec_knows_a_complete_object(void **state)
{
	assert_true(is_complete("{\"command\": \"}\",\n\"env\": {}}"));
	assert_true(is_complete("{\"command\": \"x\"}\n\n"));
	assert_false(is_complete("{\"command\": \"x\""));
	/* what a shell groups may go on */
	assert_false(is_complete("{ echo a; }"));
	assert_false(is_complete("echo a"));
}

/* ---- new ---- */

static void created(const char *text, const char *want_name,
		    const char *want_json)
{
	char *options, *name;
	struct sbx_error e;

	if (sbx_create_spec_parse(&options, &name, text, strlen(text), &e) < 0)
		fail_msg("%s: %s", text, e.text);
	assert_string_equal(options, want_json);
	assert_true(!name == !want_name);
	if (name)
		assert_string_equal(name, want_name);
	free(options);
	free(name);
}

static void test_new_takes_lines_and_json(void **state)
{
	created("", NULL, "{}");
	created("\n", NULL, "{}");
	created("# a note\n\n name = a b \n", "a b", "{\"name\":\"a b\"}");
	created("name=7", "7", "{\"name\":\"7\"}");
	created("ports=1,2\ncapabilities=sudo", NULL,
		"{\"ports\":[1,2],\"capabilities\":[\"sudo\"]}");
	created("env.A=1\nenv.B=x=y", NULL,
		"{\"env\":{\"A\":\"1\",\"B\":\"x=y\"}}");
	created("timeout=5\ngui=true\nmetadata={\"a\":\"b\"}", NULL,
		"{\"timeout\":5,\"gui\":true,\"metadata\":{\"a\":\"b\"}}");
	created(" {\"name\": \"n\", \"x\": [1]}\n", "n",
		"{\"name\":\"n\",\"x\":[1]}");
}

static void test_new_refuses(void **state)
{
	static const char *const texts[] = {
		"word",
		"name=a\nname=b",
		"env=1\nenv.A=1",
		"=x",
		"env.=1",
		"name=a/b",
		"name=.sbxfs",
		"name=new",
		"name=..",
		"{\"name\": 1}",
		"{\"name\": \"\"}",
		"{",
		"[1]",
		"name=a\tb",
		"name=\xff",
		"{\"a\":1,\"a\":2}",
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		char *options, *name;
		struct sbx_error e = {0};

		if (sbx_create_spec_parse(&options, &name, texts[i],
					  strlen(texts[i]), &e) != -EINVAL)
			fail_msg("not refused: %s", texts[i]);
		assert_true(strlen(e.text) > 10);
	}
}

static void test_new_refuses_long_text(void **state)
{
	static char text[SBX_SPEC_CREATE_MAX + 1];
	char *options, *name;
	struct sbx_error e;

	memset(text, '\n', sizeof(text));
	assert_int_equal(
		sbx_create_spec_parse(&options, &name, text, sizeof(text), &e),
		-E2BIG);
}

static void test_mkdir_name(void **state)
{
	char *options;
	struct sbx_error e;

	assert_int_equal(sbx_create_spec_named(&options, "d\"x", &e), 0);
	assert_string_equal(options, "{\"name\":\"d\\\"x\"}");
	free(options);
	assert_int_equal(sbx_create_spec_named(&options, "\xff", &e), -EINVAL);
	assert_int_equal(sbx_create_spec_named(&options, "a\nb", &e), -EINVAL);
}

/* ---- texts ---- */

static void test_info_lines_are_clean(void **state)
{
	static const char *const skip[] = {"id", NULL};
	char *lines = sbx_info_lines("{\"id\": \"x\", \"a\": \"1\\n2\", "
				     "\"b\": {}, \"c\": 3, \"d\": true}",
				     skip);

	assert_string_equal(lines, "a: 1?2\nc: 3\nd: true\n");
	free(lines);
	assert_null(sbx_info_lines("nonsense", skip));
}

static void test_words_and_numbers(void **state)
{
	char word[8];
	unsigned long n;

	assert_int_equal(sfs_text_word(word, sizeof(word), " a b\n", 5), 0);
	assert_string_equal(word, "a b");
	assert_int_equal(sfs_text_word(word, sizeof(word), "\n", 1), 0);
	assert_string_equal(word, "");
	assert_int_equal(sfs_text_word(word, sizeof(word), "12345678", 8),
			 -EINVAL);
	assert_int_equal(sfs_text_word(word, sizeof(word), "a\0", 2), -EINVAL);
	assert_int_equal(sfs_text_number("10", 10, &n), 0);
	assert_int_equal(n, 10);
	assert_int_equal(sfs_text_number("11", 10, &n), -EINVAL);
	assert_int_equal(sfs_text_number("1x", 10, &n), -EINVAL);
	assert_int_equal(sfs_text_number("-1", 10, &n), -EINVAL);
	assert_int_equal(sfs_text_number("", 10, &n), -EINVAL);
}

static void test_time(void **state)
{
	char text[SFS_TIME_SIZE];

	assert_string_equal(sfs_text_time(0, text), "1970-01-01T00:00:00Z");
	assert_string_equal(sfs_text_time(1776850200000, text),
			    "2026-04-22T09:30:00Z");
	assert_non_null(sfs_text_time(INT64_MAX, text));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exec_text_is_for_the_shell),
		cmocka_unit_test(test_exec_is_refused_while_being_written),
		cmocka_unit_test(test_exec_knows_a_complete_object),
		cmocka_unit_test(test_exec_long_script_goes_to_the_input),
		cmocka_unit_test(test_exec_json),
		cmocka_unit_test(test_exec_refuses),
		cmocka_unit_test(test_exec_refuses_zero_bytes),
		cmocka_unit_test(test_new_takes_lines_and_json),
		cmocka_unit_test(test_new_refuses),
		cmocka_unit_test(test_new_refuses_long_text),
		cmocka_unit_test(test_mkdir_name),
		cmocka_unit_test(test_info_lines_are_clean),
		cmocka_unit_test(test_words_and_numbers),
		cmocka_unit_test(test_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
