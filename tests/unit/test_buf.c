/* client/wire/buf: growth, limit, consuming, sticky errors */
#include <errno.h>
#include <string.h>

#include "client/wire/buf.h"
#include "tests/unit/wire_test.h"

static void buf_keeps_what_was_added(void **state)
{
	struct sbx_buf b;

	sbx_buf_init(&b, 100);
	assert_int_equal(sbx_buf_len(&b), 0);
	assert_null(sbx_buf_at(&b));
	assert_int_equal(sbx_buf_add(&b, "hello ", 6), 0);
	assert_int_equal(sbx_buf_add(&b, "world", 5), 0);
	assert_int_equal(sbx_buf_len(&b), 11);
	assert_memory_equal(sbx_buf_at(&b), "hello world", 11);
	sbx_buf_consume(&b, 6);
	assert_memory_equal(sbx_buf_at(&b), "world", 5);
	sbx_buf_truncate(&b, 3);
	assert_int_equal(sbx_buf_len(&b), 3);
	sbx_buf_truncate(&b, 50);
	assert_int_equal(sbx_buf_len(&b), 3);
	sbx_buf_consume(&b, 99);
	assert_int_equal(sbx_buf_len(&b), 0);
	sbx_buf_release(&b);
	sbx_buf_release(&b);
}

static void buf_error_beyond_limit_sticks(void **state)
{
	struct sbx_buf b;
	char big[64] = {0};

	sbx_buf_init(&b, 100);
	assert_int_equal(sbx_buf_add(&b, big, 64), 0);
	assert_int_equal(sbx_buf_add(&b, big, 37), -EMSGSIZE);
	assert_int_equal(sbx_buf_add(&b, big, 1), -EMSGSIZE);
	assert_null(sbx_buf_room(&b, 1));
	assert_int_equal(sbx_buf_len(&b), 64);
	sbx_buf_clear(&b);
	assert_int_equal(sbx_buf_add(&b, big, 50), 0);
	assert_null(sbx_buf_room(&b, SIZE_MAX));
	assert_int_equal(b.err, -EMSGSIZE);
	sbx_buf_release(&b);
}

static void buf_limit_counts_unconsumed_bytes_only(void **state)
{
	struct sbx_buf b;
	char data[60] = {0};
	int i;

	sbx_buf_init(&b, 100);
	for (i = 0; i < 1000; i++) {
		assert_int_equal(sbx_buf_add(&b, data, 60), 0);
		sbx_buf_consume(&b, 60);
	}
	assert_true(b.cap <= 512);
	sbx_buf_release(&b);
}

static void buf_is_a_fifo_of_bytes(void **state)
{
	uint8_t in = 0, out = 0, *p;
	struct sbx_buf b;
	unsigned rnd = 7;
	size_t i, k;

	sbx_buf_init(&b, 5000);
	for (i = 0; i < 20000; i++) {
		rnd = rnd * 1103515245 + 12345;
		k = (rnd >> 16) % 97;
		if (sbx_buf_len(&b) + k <= 5000 && (rnd & 0x100)) {
			p = sbx_buf_room(&b, k);
			assert_non_null(p);
			for (size_t j = 0; j < k; j++)
				p[j] = in++;
			sbx_buf_added(&b, k);
			continue;
		}
		if (k > sbx_buf_len(&b))
			k = sbx_buf_len(&b);
		for (size_t j = 0; j < k; j++)
			assert_int_equal(sbx_buf_at(&b)[j], out++);
		sbx_buf_consume(&b, k);
	}
	sbx_buf_release(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(buf_keeps_what_was_added),
		cmocka_unit_test(buf_error_beyond_limit_sticks),
		cmocka_unit_test(buf_limit_counts_unconsumed_bytes_only),
		cmocka_unit_test(buf_is_a_fifo_of_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
