/*
 * The table of a service's own files: what a path leads to.
 */
#include <stdio.h>
#include <string.h>

#include "client/own.h"
#include "tests/lib/unit.h"

static const struct sbx_own table[] = {
	{"metrics/now", SBX_OWN_READ},
	{"metrics/stream", SBX_OWN_STREAM},
	{"metadata/+", SBX_OWN_READ | SBX_OWN_WRITE | SBX_OWN_REMOVE},
	{"servers/new", SBX_OWN_WRITE},
	{"servers/+", SBX_OWN_DIR | SBX_OWN_REMOVE},
	{"servers/+/status", SBX_OWN_READ},
	{"servers/+/log/stdout", SBX_OWN_STREAM},
	{"env/+/+", SBX_OWN_READ},
	{"tokens/new", SBX_OWN_WRITE | SBX_OWN_PLACE},
	{"auth", SBX_OWN_READ | SBX_OWN_PLACE},
	{0},
};

/* Where a path leads; false: nowhere. */
static bool walk(bool of_place, const char *path, struct sbx_own_at *at)
{
	char copy[256], *save, *name;

	snprintf(copy, sizeof(copy), "%s", path);
	*at = SBX_OWN_TOP;
	for (name = strtok_r(copy, "/", &save); name;
	     name = strtok_r(NULL, "/", &save))
		if (!at->is_dir ||
		    !sbx_own_enter(table, of_place, at, name, at))
			return false;
	return true;
}

static void leads(const char *path, const char *row, bool is_dir)
{
	struct sbx_own_at at;

	assert_true(walk(false, path, &at));
	assert_int_equal(at.is_dir, is_dir);
	if (row)
		assert_string_equal(at.row->path, row);
	else
		assert_null(at.row);
}

static void test_paths_lead_to_rows(void **state)
{
	leads("metrics", NULL, true);
	leads("metrics/now", "metrics/now", false);
	leads("metadata/team", "metadata/+", false);
	leads("servers/web", "servers/+", true);
	leads("servers/web/status", "servers/+/status", false);
	leads("servers/web/log", NULL, true);
	leads("servers/web/log/stdout", "servers/+/log/stdout", false);
	leads("env/a.env/PATH", "env/+/+", false);
	leads("env/a.env", NULL, true);
}

static void test_own_words_come_first(void **state)
{
	struct sbx_own_at at;

	leads("servers/new", "servers/new", false);
	assert_true(walk(false, "servers/new", &at));
	assert_false(at.is_given);
	/* a name that is written as the sign is a name */
	assert_true(walk(false, "servers/+", &at));
	assert_true(at.is_given);
}

static void test_nothing_else_is_there(void **state)
{
	static const char *const paths[] = {
		"metric", "metricss", "metrics/no",	   "metrics/now/x",
		"server", "tokens",   "servers/web/other", "metadata/a/b",
		"auth",	  "+",
	};
	struct sbx_own_at at, dir;

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		assert_false(walk(false, paths[i], &at));
	assert_true(walk(false, "metadata", &dir));
	assert_false(sbx_own_enter(table, false, &dir, "..", &at));
	assert_false(sbx_own_enter(table, false, &dir, "", &at));
	assert_false(sbx_own_enter(table, false, &dir, "a/b", &at));
	assert_false(sbx_own_enter(NULL, false, &dir, "a", &at));
}

static void test_the_place_has_others(void **state)
{
	struct sbx_own_at at;

	assert_true(walk(true, "tokens/new", &at));
	assert_true(walk(true, "auth", &at));
	assert_false(walk(true, "metrics", &at));
}

static size_t names(const char *path, bool of_place, char all[256])
{
	struct sbx_own_at dir, at;
	char name[256];
	size_t pos = 0, n = 0;

	all[0] = '\0';
	assert_true(walk(of_place, path, &dir));
	while (sbx_own_next(table, of_place, &dir, &pos, name, &at)) {
		strcat(strcat(all, name), " ");
		n++;
	}
	return n;
}

static void test_each_word_is_listed_once(void **state)
{
	char all[256];

	assert_int_equal(names("", false, all), 4);
	assert_string_equal(all, "metrics metadata servers env ");
	assert_int_equal(names("", true, all), 2);
	assert_int_equal(names("servers", false, all), 1);
	assert_int_equal(names("servers/web", false, all), 2);
	assert_string_equal(all, "status log ");
	assert_int_equal(names("metadata", false, all), 0);
}

static void test_given_names(void **state)
{
	struct sbx_own_at dir, at;

	assert_true(walk(false, "metadata", &dir));
	assert_true(sbx_own_given(table, false, &dir, &at));
	assert_string_equal(at.row->path, "metadata/+");
	assert_true(walk(false, "env", &dir));
	assert_true(sbx_own_given(table, false, &dir, &at));
	assert_null(at.row);
	assert_true(at.is_dir);
	assert_true(walk(false, "metrics", &dir));
	assert_false(sbx_own_given(table, false, &dir, &at));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_paths_lead_to_rows),
		cmocka_unit_test(test_own_words_come_first),
		cmocka_unit_test(test_nothing_else_is_there),
		cmocka_unit_test(test_the_place_has_others),
		cmocka_unit_test(test_each_word_is_listed_once),
		cmocka_unit_test(test_given_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
