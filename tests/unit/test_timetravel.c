/* client/svc_timetravel_json.c: what is read and what is written. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cleanup.h"
#include "client/json.h"
#include "client/limits.h"
#include "client/svc_timetravel.h"
#include "tests/unit/samples.h"

static const char *samples;

static void check_vm(const char *state, char *rest)
{
	sample_check_sandbox(sbx_timetravel_vm_from_json, state, rest);
}

/* Of the text that is kept of a record. */
static void check_agent(const char *word, char *rest)
{
	json_t *obj = sbx_json_parse(rest, strlen(rest));
	struct sbx_sandbox s;
	bool runs, told;

	assert_int_equal(sbx_timetravel_vm_from_json(&s, obj, NULL), 0);
	told = sbx_timetravel_says_agent(s.info, &runs);
	assert_string_equal(told ? runs ? "runs" : "told" : "-", word);
	sbx_sandbox_release(&s);
	json_decref(obj);
}

static void check_error(const char *word, char *rest)
{
	int status = atoi(strsep(&rest, " "));
	struct sbx_error e = {0};

	assert_int_equal(sbx_timetravel_error(&e, status, rest, strlen(rest),
					      "http://h"),
			 sample_err(word));
	assert_int_equal(e.err, sample_err(word));
	assert_true(e.text[0] && e.status == status);
	assert_null(strchr(e.text, '<'));
}

/* What a command prints, or the errno, and its exit status. */
static void check_run(const char *word, char *rest)
{
	int status = atoi(strsep(&rest, " "));
	struct sbx_run run = {0};
	int r = sbx_timetravel_run_from_json(&run, rest, strlen(rest));

	if (!strcmp(word, "none")) {
		assert_int_equal(r, -EPROTO);
		return;
	}
	assert_int_equal(r, 0);
	assert_int_equal(run.exit_code, status);
	assert_string_equal(run.out, strcmp(word, "-") ? word : "");
	sbx_run_release(&run);
}

static void put(struct timetravel_sieve *s, const char *text)
{
	sbx_timetravel_sieve_put(s, text, strlen(text));
}

/* The names that are shown of a list, with commas; "-": none. */
static void check_snapshots(const char *word, char *rest)
{
	struct sbx_call *call = sbx_call_new(SBX_CALL_SNAPSHOTS, "vm");
	struct timetravel_sieve sieve;
	const json_t *list;
	char names[256] = "";
	size_t i;
	int err;

	sbx_timetravel_sieve_init(&sieve, NULL);
	put(&sieve, "{\"snapshots\": ");
	for (i = 0; rest[i]; i++)
		sbx_timetravel_sieve_put(&sieve, rest + i, 1);
	put(&sieve, ", \"n\": 1}");
	list = sbx_timetravel_sieve_end(&sieve, &err);
	assert_non_null(list);
	assert_int_equal(sbx_timetravel_snapshots(call, list), 0);
	for (i = 0; i < call->nr_snapshots; i++) {
		strcat(strcat(names, i ? "," : ""), call->snapshots[i].name);
		assert_non_null(sbx_timetravel_find_snapshot(
			list, call->snapshots[i].name));
	}
	assert_string_equal(names[0] ? names : "-", word);
	sbx_call_free(call);
	sbx_timetravel_sieve_release(&sieve);
}

static const json_t *sieved(struct timetravel_sieve *s, const char *text,
			    const char *name)
{
	int err;

	sbx_timetravel_sieve_init(s, name);
	put(s, text);
	return sbx_timetravel_sieve_end(s, &err);
}

static void timetravel_lists_of_snapshots(void **state)
{
	static const char two[] =
		"{\"snapshots\":[{\"snapshot_name\":\"a\",\"command\":\"} \\\" "
		"{\"},"
		"{\"snapshot_name\":\"b\",\"command\":null}]}";
	static const char *const bad[] = {"",
					  "{}",
					  "[]",
					  "{\"snapshots\":{}}",
					  "{\"snapshots\":[",
					  "<html>",
					  "{\"snapshots\":[]}}",
					  "{\"snapshots\":[{]}",
					  NULL};
	struct timetravel_sieve s;
	const json_t *list;
	size_t i;

	list = sieved(&s, two, NULL);
	assert_int_equal(json_array_size(list), 2);
	assert_string_equal(sbx_json_str(json_array_get(list, 0), "command"),
			    "} \" {");
	sbx_timetravel_sieve_release(&s);
	list = sieved(&s, two, "b");
	assert_int_equal(json_array_size(list), 1);
	sbx_timetravel_sieve_release(&s);
	for (i = 0; bad[i]; i++) {
		assert_null(sieved(&s, bad[i], NULL));
		sbx_timetravel_sieve_release(&s);
	}
}

static void put_records(struct timetravel_sieve *s, unsigned int nr,
			const char *command, size_t len)
{
	unsigned int i;
	char text[100];

	for (i = 0; i < nr; i++) {
		snprintf(text, sizeof(text),
			 "%s{\"snapshot_name\":\"cmd_%u\",\"command\":\"",
			 i ? "," : "", i);
		put(s, text);
		sbx_timetravel_sieve_put(s, command, len);
		put(s, "\"}");
	}
}

/* However long it is, and however many there are: the newest. */
static void timetravel_long_lists_of_snapshots(void **state)
{
	static char command[2 << 20];
	static const struct {
		unsigned int nr;
		const char *begin;
		size_t len, kept;
	} cases[] = {
		{3 * SBX_MAX_SNAPSHOTS, "ls", 2, SBX_MAX_SNAPSHOTS},
		{600, "cat", 100000, 167},
		{600, ": sbxfs; x", 100000, 0},
		{3, "cat", sizeof(command), 0},
	};
	struct timetravel_sieve s;
	const json_t *list;
	size_t i, n;
	int err;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		memset(command, 'x', sizeof(command));
		memcpy(command, cases[i].begin, strlen(cases[i].begin));
		sbx_timetravel_sieve_init(&s, NULL);
		put(&s, "{\"snapshots\":[");
		put_records(&s, cases[i].nr, command, cases[i].len);
		put(&s, "]}");
		list = sbx_timetravel_sieve_end(&s, &err);
		assert_non_null(list);
		n = json_array_size(list);
		assert_int_equal(n, cases[i].kept);
		if (n)
			assert_int_equal(
				atoi(sbx_json_str(json_array_get(list, n - 1),
						  "snapshot_name") +
				     4),
				cases[i].nr - 1);
		sbx_timetravel_sieve_release(&s);
	}
}

static void check_time(const char *word, char *rest)
{
	assert_int_equal(sbx_timetravel_time(rest), atoll(word));
}

static void timetravel_samples(void **state)
{
	static const struct sample_kind kinds[] = {
		{"vm", check_vm},
		{"agent", check_agent},
		{"error", check_error},
		{"run", check_run},
		{"snapshots", check_snapshots},
		{"time", check_time},
		{0},
	};

	samples_check(samples, kinds, 50);
}

/* A valid answer with any one bit the other way, or cut anywhere, does no
 * harm. */
static void timetravel_broken_answers(void **state)
{
	static const char good[] =
		"{\"stdout\":\"a\\u0000b\",\"stderr\":\"e\",\"exitCode\":3,"
		"\"snapshot\":\"cmd_1\"}";
	char text[sizeof(good)];
	struct sbx_run run;
	size_t bit, len;

	for (bit = 0; bit < 8 * (sizeof(good) - 1); bit++) {
		memcpy(text, good, sizeof(good));
		text[bit / 8] ^= (char)(1 << bit % 8);
		run = (struct sbx_run){0};
		if (sbx_timetravel_run_from_json(&run, text, sizeof(good) - 1) <
		    0)
			continue;
		assert_in_range(run.exit_code, 0, 255);
		sbx_run_release(&run);
	}
	for (len = 0; len < sizeof(good) - 1; len++) {
		run = (struct sbx_run){0};
		assert_int_equal(sbx_timetravel_run_from_json(&run, good, len),
				 -EPROTO);
	}
	run = (struct sbx_run){0};
	assert_int_equal(sbx_timetravel_run_from_json(&run, good, len), 0);
	assert_int_equal(run.out_len, 3);
	sbx_run_release(&run);
}

static void timetravel_commands(void **state)
{
	struct sbx_run run = {.command = "echo \"x\"\n"};
	int err = 0;
	SBX_FREE char *body = sbx_timetravel_run_body(&run, 30, &err);
	SBX_FREE char *long_text = malloc(TIMETRAVEL_BODY + 1);

	assert_string_equal(
		body, "{\"command\":\"echo \\\"x\\\"\\n\",\"timeout\":30}");
	run = (struct sbx_run){.command = "cat", .input = "aW4K", .ours = true};
	free(body);
	body = sbx_timetravel_run_body(&run, 1, &err);
	assert_string_equal(body, "{\"command\":\": sbxfs; printf %s 'aW4K' | "
				  "{\\ncat\\n}\",\"timeout\":1}");
	run = (struct sbx_run){.command = "echo \xff"};
	assert_null(sbx_timetravel_run_body(&run, 1, &err));
	assert_int_equal(err, -EILSEQ);
	memset(long_text, 'x', TIMETRAVEL_BODY);
	long_text[TIMETRAVEL_BODY] = '\0';
	run = (struct sbx_run){.command = long_text};
	assert_null(sbx_timetravel_run_body(&run, 1, &err));
	assert_int_equal(err, -E2BIG);
}

static void check_pack(bool imports, const char *text, const char *want)
{
	struct sbx_error e = {0};
	SBX_JSON json_t *body =
		sbx_timetravel_pack_body(text, strlen(text), imports, &e);
	SBX_FREE char *got =
		body ? json_dumps(body, JSON_COMPACT | JSON_SORT_KEYS) : NULL;

	if (!want) {
		assert_null(body);
		assert_int_equal(e.err, -EINVAL);
		assert_true(e.text[0]);
		return;
	}
	assert_non_null(got);
	assert_string_equal(got, want);
}

static void timetravel_packing(void **state)
{
	check_pack(false, "\n", "{}");
	check_pack(false, "{\"snapshot\":\"a\",\"key\":\"b/c\"}",
		   "{\"key\":\"b/c\",\"snapshot\":\"a\"}");
	check_pack(false, "{\"key\":\"../b\"}", NULL);
	check_pack(false, "{\"key\":\"a/../b\"}", NULL);
	check_pack(false, "{\"key\":\"$(x)\"}", NULL);
	check_pack(false, "{\"snapshot\":\"a b\"}", NULL);
	check_pack(false, "{\"name\":\"a\"}", NULL);
	check_pack(true, "{\"name\":\"a\",\"key\":\"b\"}",
		   "{\"key\":\"b\",\"name\":\"a\"}");
	check_pack(true, "{\"name\":\"a\"}", NULL);
	check_pack(true, "", NULL);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(timetravel_samples),
		cmocka_unit_test(timetravel_broken_answers),
		cmocka_unit_test(timetravel_commands),
		cmocka_unit_test(timetravel_packing),
		cmocka_unit_test(timetravel_lists_of_snapshots),
		cmocka_unit_test(timetravel_long_lists_of_snapshots),
	};

	if (argc < 2)
		return 2;
	samples = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
