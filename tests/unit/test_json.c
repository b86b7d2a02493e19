/* client/json: text of a stranger, and getters that expect the worst. */
#include <stdlib.h>
#include <string.h>

#include "client/json.h"
#include "client/limits.h"
#include "tests/lib/unit.h"

static json_t *parse(const char *text)
{
	return sbx_json_parse(text, strlen(text));
}

static void json_takes_one_document(void **state)
{
	static const char *const wrong[] = {
		"",
		" ",
		"{",
		"{}x",
		"[1,]",
		"nul",
		"\"x\"",
		"<html>",
		"{\"a\":1,\"a\":2}",
		"{a:1}",
		"\xff\xfe",
		"[\"\xc3\"]",
		"[\"\\u0000\"]",
	};
	json_t *v = parse(" {\"a\":[1,2]} \n");
	size_t i;

	assert_non_null(v);
	json_decref(v);
	for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_null(parse(wrong[i]));
	assert_null(sbx_json_parse(NULL, 0));
}

static void json_depth_is_limited(void **state)
{
	char text[2 * SBX_JSON_MAX_DEPTH + 10] = "";
	size_t i, n = SBX_JSON_MAX_DEPTH;
	json_t *v;

	for (i = 0; i < n; i++) {
		text[i] = '[';
		text[n + i] = ']';
	}
	v = sbx_json_parse(text, 2 * n);
	assert_non_null(v);
	json_decref(v);
	memmove(text + 1, text, 2 * n);
	text[2 * n + 1] = ']';
	assert_null(sbx_json_parse(text, 2 * n + 2));
	/* brackets in text do not count */
	v = parse("[\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"[[[\"]");
	assert_non_null(v);
	json_decref(v);
}

static void json_number_of_values_is_limited(void **state)
{
	size_t n = 2 * SBX_JSON_MAX_VALUES + 10, i;
	char *text = malloc(n + 2);

	text[0] = '[';
	for (i = 1; i < n; i += 2) {
		text[i] = '1';
		text[i + 1] = ',';
	}
	text[n - 1] = ']';
	assert_null(sbx_json_parse(text, n));
	free(text);
}

static void json_getters_have_defaults(void **state)
{
	json_t *v = parse("{\"s\":\"x\",\"i\":7,\"r\":7.9,\"t\":\"12\","
			  "\"b\":true,\"o\":{},\"a\":[],\"n\":null,"
			  "\"h\":1e300,\"w\":\"12x\"}");

	assert_string_equal(sbx_json_str(v, "s"), "x");
	assert_null(sbx_json_str(v, "i"));
	assert_null(sbx_json_str(v, "none"));
	assert_null(sbx_json_str(NULL, "s"));
	assert_int_equal(sbx_json_int(v, "i", 1), 7);
	assert_int_equal(sbx_json_int(v, "r", 1), 7);
	assert_int_equal(sbx_json_int(v, "t", 1), 12);
	assert_int_equal(sbx_json_int(v, "h", 1), 1);
	assert_int_equal(sbx_json_int(v, "w", 1), 1);
	assert_int_equal(sbx_json_int(v, "n", 1), 1);
	assert_true(sbx_json_bool(v, "b", false));
	assert_true(sbx_json_bool(v, "i", true));
	assert_non_null(sbx_json_object(v, "o"));
	assert_null(sbx_json_object(v, "a"));
	assert_non_null(sbx_json_array(v, "a"));
	assert_null(sbx_json_array(v, "o"));
	json_decref(v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(json_takes_one_document),
		cmocka_unit_test(json_depth_is_limited),
		cmocka_unit_test(json_number_of_values_is_limited),
		cmocka_unit_test(json_getters_have_defaults),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
