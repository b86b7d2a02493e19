/* What the scripts of an exchange print, as it is read, and base64. */
#include <errno.h>
#include <string.h>

#include "client/exchange_int.h"
#include "client/wire/base64.h"
#include "tests/lib/unit.h"

static void base64_goes_both_ways(void **state)
{
	uint8_t data[64], back[64];
	char text[128];
	size_t i, len;

	for (i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 37);
	for (len = 0; len <= sizeof(data); len++) {
		sbx_base64_put(text, data, len);
		assert_int_equal(
			sbx_base64_get(back, text, SBX_BASE64_LEN(len)), len);
		assert_memory_equal(back, data, len);
	}
	assert_int_equal(sbx_base64_get(back, " YW\nJj\r\n", 8), 3);
	assert_memory_equal(back, "abc", 3);
	assert_int_equal(sbx_base64_get(back, "YQ==YQ==", 8), -EPROTO);
	assert_int_equal(sbx_base64_get(back, "YWJ", 3), -EPROTO);
	assert_int_equal(sbx_base64_get(back, "Y===", 4), -EPROTO);
	assert_int_equal(sbx_base64_get(back, "Y$Jj", 4), -EPROTO);
	assert_int_equal(sbx_base64_get(back, "YWJj\0", 5), -EPROTO);
}

/* Who says so of each run would be asked again at once, for ever. */
static void what_was_not_brought_is_not_there(void **state)
{
	static const char out[] = "M have /tmp/helper\n";
	struct exchange_upload u = {0};
	struct sbx_error e;
	uint8_t *data;
	size_t len;

	assert_int_equal(exchange_parse(out, "M", &u, &data, &len, &e),
			 EXCHANGE_SAID_NOTHING);
	u.plant.blob = sbx_helper_blobs;
	assert_int_equal(exchange_parse(out, "M", &u, &data, &len, &e),
			 EXCHANGE_SAID_DONE);
}

/* Two runs may bring one piece: the first was lost, and goes on. */
static void what_came_wrong_is_brought_again(void **state)
{
	static const char out[] = "M bad run\n";
	struct exchange_upload u = {.plant = {.blob = sbx_helper_blobs,
					      .size = 9,
					      .sent = 9,
					      .rounds = 1}};
	struct sbx_error e;
	uint8_t *data;
	size_t len;
	unsigned int i;

	for (i = 1; i < SBX_PLANT_ROUNDS; i++) {
		assert_int_equal(exchange_parse(out, "M", &u, &data, &len, &e),
				 EXCHANGE_SAID_GOT);
		assert_int_equal(u.plant.sent, 0);
	}
	/* but it may be that the disk is full */
	assert_int_equal(exchange_parse(out, "M", &u, &data, &len, &e),
			 EXCHANGE_SAID_IMPOSSIBLE);
	assert_non_null(strstr(e.text, "disk"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(base64_goes_both_ways),
		cmocka_unit_test(what_was_not_brought_is_not_there),
		cmocka_unit_test(what_came_wrong_is_brought_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
