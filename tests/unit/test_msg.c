/* client/wire/msg: what is written is read; what is not a message is refused
 * without allocating for it */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "client/wire/msg.h"
#include "client/wire/proto.h"
#include "tests/unit/wire_test.h"

static void put_sample(struct sbx_buf *b)
{
	struct sbx_attr a = {.mode = S_IFREG | 0640,
			     .nlink = 2,
			     .uid = 1000,
			     .gid = 4294967295u,
			     .size = 1ull << 40,
			     .blocks = 9,
			     .ino = UINT64_MAX,
			     .dev = 2049,
			     .mtime_s = -5,
			     .mtime_ns = 999999999,
			     .blksize = 4096,
			     .flags = SBX_ATTR_XATTR};

	sbx_put_array(b, 9);
	sbx_put_u64(b, 7);
	sbx_put_i64(b, -300);
	sbx_put_bin(b, "na\xffme", 5);
	sbx_put_str(b, "text");
	sbx_put_nil(b);
	sbx_put_bool(b, true);
	sbx_put_attr(b, &a);
	sbx_put_map(b, 1);
	sbx_put_str(b, "key");
	sbx_put_u64(b, 70000);
	sbx_put_array(b, 0);
}

static void msg_reads_what_was_written(void **state)
{
	struct sbx_rd r, map, none;
	struct sbx_attr a;
	struct sbx_msg m;
	struct sbx_buf b;
	size_t len;

	sbx_buf_init(&b, 4096);
	put_sample(&b);
	assert_int_equal(b.err, 0);
	assert_int_equal(sbx_msg_check(b.data, b.len, &len), 0);
	assert_int_equal(len, b.len);
	assert_int_equal(sbx_msg_parse(&m, b.data, b.len), 0);
	r = sbx_rd_root(&m);
	assert_int_equal(sbx_get_u32(&r), 7);
	assert_int_equal(sbx_get_i64(&r), -300);
	assert_memory_equal(sbx_get_name(&r, &len), "na\xffme", 5);
	assert_int_equal(len, 5);
	assert_memory_equal(sbx_get_bin(&r, &len), "text", 4);
	assert_true(sbx_get_is_nil(&r));
	assert_null(sbx_get_bin(&r, &len));
	assert_true(sbx_get_bool(&r));
	assert_true(sbx_get_attr(&r, &a));
	assert_int_equal(a.mode, S_IFREG | 0640);
	assert_int_equal(a.gid, 4294967295u);
	assert_true(a.size == 1ull << 40);
	assert_true(a.ino == UINT64_MAX);
	assert_int_equal(a.mtime_s, -5);
	assert_int_equal(a.mtime_ns, 999999999);
	map = sbx_get_map(&r);
	assert_memory_equal(sbx_get_bin(&map, &len), "key", 3);
	assert_int_equal(sbx_get_u64(&map), 70000);
	assert_int_equal(map.left, 0);
	none = sbx_get_array(&r);
	assert_int_equal(none.left, 0);
	assert_int_equal(r.err, 0);
	/* missing trailing elements are no error */
	assert_int_equal(sbx_get_u64(&r), 0);
	assert_null(sbx_get_bin(&r, &len));
	assert_false(sbx_get_attr(&r, &a));
	none = sbx_get_array(&r);
	assert_int_equal(r.err | none.err, 0);
	sbx_msg_release(&m);
	sbx_msg_release(&m);
	sbx_buf_release(&b);
}

/* Reads the first element of a message with one of the getters. */
static int first_err(const void *data, size_t len, char getter)
{
	struct sbx_attr a;
	struct sbx_msg m;
	struct sbx_rd r;
	size_t n;

	assert_int_equal(sbx_msg_parse(&m, data, len), 0);
	r = sbx_rd_root(&m);
	switch (getter) {
	case 'u':
		sbx_get_u64(&r);
		break;
	case '3':
		sbx_get_u32(&r);
		break;
	case 'i':
		sbx_get_i64(&r);
		break;
	case 'b':
		sbx_get_bool(&r);
		break;
	case 's':
		sbx_get_bin(&r, &n);
		break;
	case 'n':
		sbx_get_name(&r, &n);
		break;
	case 'a':
		sbx_get_array(&r);
		break;
	case 'm':
		sbx_get_map(&r);
		break;
	default:
		sbx_get_attr(&r, &a);
	}
	/* an error sticks: nothing more is given out */
	if (r.err)
		assert_int_equal(sbx_get_u64(&r), 0);
	sbx_msg_release(&m);
	return r.err;
}

static void msg_wrong_types_are_errors(void **state)
{
	assert_int_equal(first_err("\x91\xa1x", 3, 'u'), -EPROTO);
	assert_int_equal(first_err("\x91\xff", 2, 'u'), -EPROTO);
	assert_int_equal(first_err("\x91\xcf\0\0\0\1\0\0\0\0", 10, '3'),
			 -EPROTO);
	assert_int_equal(
		first_err("\x91\xcf\xff\xff\xff\xff\xff\xff\xff\xff", 10, 'i'),
		-EPROTO);
	assert_int_equal(first_err("\x91\x01", 2, 'b'), -EPROTO);
	assert_int_equal(first_err("\x91\x01", 2, 's'), -EPROTO);
	assert_int_equal(first_err("\x91\x01", 2, 'a'), -EPROTO);
	assert_int_equal(first_err("\x91\x01", 2, 'm'), -EPROTO);
	assert_int_equal(first_err("\x91\x91\x01", 3, 't'), -EPROTO);
	assert_int_equal(first_err("\x01", 1, 'u'), -EPROTO);
	assert_int_equal(first_err("\x91\xa1x", 3, 's'), 0);
	assert_int_equal(first_err("\x91\xff", 2, 'i'), 0);
}

static int name_err(const char *name, size_t len)
{
	struct sbx_buf b;
	int r;

	sbx_buf_init(&b, 4096);
	sbx_put_array(&b, 1);
	sbx_put_bin(&b, name, len);
	r = first_err(b.data, b.len, 'n');
	sbx_buf_release(&b);
	return r;
}

static void msg_names_cannot_leave_their_directory(void **state)
{
	char big[256];

	memset(big, 'x', sizeof(big));
	assert_int_equal(name_err("..", 2), -EPROTO);
	assert_int_equal(name_err(".", 1), -EPROTO);
	assert_int_equal(name_err("a/b", 3), -EPROTO);
	assert_int_equal(name_err("/", 1), -EPROTO);
	assert_int_equal(name_err("a\0b", 3), -EPROTO);
	assert_int_equal(name_err(big, 256), -EPROTO);
	assert_int_equal(name_err(big, 255), 0);
	assert_int_equal(name_err("...", 3), 0);
	assert_int_equal(name_err(".a", 2), 0);
	assert_int_equal(name_err("", 0), 0);
}

static void msg_check_knows_too_little_from_never(void **state)
{
	size_t size;
	char deep[40];

	/* a bin of 4 GiB, an array and a map of 2^32 - 1 elements */
	assert_int_equal(sbx_msg_check("\xc6\xff\xff\xff\xff", 5, &size),
			 -EBADMSG);
	assert_int_equal(sbx_msg_check("\xdd\xff\xff\xff\xff", 5, &size),
			 -EBADMSG);
	assert_int_equal(sbx_msg_check("\xdf\xff\xff\xff\xff", 5, &size),
			 -EBADMSG);
	assert_int_equal(sbx_msg_check("\x91\xc1", 2, &size), -EBADMSG);
	assert_int_equal(sbx_msg_check("\x91\xc7\1\1x", 5, &size), -EBADMSG);
	assert_int_equal(sbx_msg_check("", 0, &size), -EAGAIN);
	assert_int_equal(sbx_msg_check("\x92\x01", 2, &size), -EAGAIN);
	assert_int_equal(sbx_msg_check("\xc4\x05xxxx", 6, &size), -EAGAIN);
	assert_int_equal(sbx_msg_check("\xdd\0\0", 3, &size), -EAGAIN);
	assert_int_equal(sbx_msg_check("\x92\x01\x02\x03", 4, &size), 0);
	assert_int_equal(size, 3);
	memset(deep, '\x91', sizeof(deep));
	deep[8] = 1;
	assert_int_equal(sbx_msg_check(deep, 9, &size), 0);
	deep[8] = '\x91';
	assert_int_equal(sbx_msg_check(deep, 10, &size), -EBADMSG);
}

static void msg_parse_refuses_what_check_would(void **state)
{
	struct sbx_msg m;

	assert_int_equal(sbx_msg_parse(&m, "\x92\x01", 2), -EBADMSG);
	assert_int_equal(sbx_msg_parse(&m, "\x91\x01\x02", 3), -EBADMSG);
	assert_int_equal(sbx_msg_parse(&m, "\xdd\0\7\xff\xff", 5), -EBADMSG);
	sbx_msg_release(&m);
}

/* Every cut of a valid message asks for more; in pieces it is the same. */
static void msg_cut_short_is_never_whole(void **state)
{
	struct sbx_walk w;
	struct sbx_buf b;
	size_t size, i;

	sbx_buf_init(&b, 4096);
	put_sample(&b);
	sbx_walk_init(&w);
	for (i = 0; i < b.len; i++) {
		assert_int_equal(sbx_msg_check(b.data, i, &size), -EAGAIN);
		assert_int_equal(sbx_walk_on(&w, b.data, i, &size), -EAGAIN);
	}
	assert_int_equal(sbx_walk_on(&w, b.data, b.len, &size), 0);
	assert_int_equal(size, b.len);
	sbx_buf_release(&b);
}

static void read_everything(struct sbx_rd r, int depth)
{
	struct sbx_rd kind = r, in;
	struct sbx_attr a;
	size_t len;

	while (r.left && !r.err) {
		kind = r;
		sbx_get_attr(&kind, &a);
		kind = r;
		sbx_get_name(&kind, &len);
		kind = r;
		in = sbx_get_array(&kind);
		if (!in.err && depth < 10)
			read_everything(in, depth + 1);
		kind = r;
		in = sbx_get_map(&kind);
		if (!in.err && depth < 10)
			read_everything(in, depth + 1);
		sbx_get_skip(&r);
	}
}

/* Every bit flipped once: refused, or read without fault. */
static void msg_bit_flips_do_no_harm(void **state)
{
	struct sbx_msg m;
	struct sbx_buf b;
	size_t i;

	sbx_buf_init(&b, 4096);
	put_sample(&b);
	for (i = 0; i < b.len * 8; i++) {
		uint8_t *copy = malloc(b.len);

		memcpy(copy, b.data, b.len);
		copy[i / 8] ^= (uint8_t)(1 << i % 8);
		if (!sbx_msg_parse(&m, copy, b.len))
			read_everything(sbx_rd_whole(&m), 0);
		sbx_msg_release(&m);
		free(copy);
	}
	sbx_buf_release(&b);
}

static int attr_err(struct sbx_attr a)
{
	struct sbx_buf b;
	int r;

	sbx_buf_init(&b, 4096);
	sbx_put_array(&b, 1);
	sbx_put_attr(&b, &a);
	r = first_err(b.data, b.len, 't');
	sbx_buf_release(&b);
	return r;
}

static void msg_attr_refuses_what_cannot_be(void **state)
{
	assert_int_equal(attr_err((struct sbx_attr){.mode = S_IFREG}), 0);
	assert_int_equal(attr_err((struct sbx_attr){.mode = 0}), -EPROTO);
	assert_int_equal(attr_err((struct sbx_attr){.mode = 0170000}), -EPROTO);
	assert_int_equal(attr_err((struct sbx_attr){.mode = S_IFREG,
						    .size = 1ull << 63}),
			 -EPROTO);
}

static void msg_writing_beyond_the_limit_sticks(void **state)
{
	struct sbx_buf b;

	sbx_buf_init(&b, 8);
	sbx_put_array(&b, 2);
	sbx_put_bin(&b, "0123456789", 10);
	sbx_put_nil(&b);
	assert_int_equal(b.err, -EMSGSIZE);
	sbx_buf_release(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(msg_reads_what_was_written),
		cmocka_unit_test(msg_wrong_types_are_errors),
		cmocka_unit_test(msg_names_cannot_leave_their_directory),
		cmocka_unit_test(msg_check_knows_too_little_from_never),
		cmocka_unit_test(msg_parse_refuses_what_check_would),
		cmocka_unit_test(msg_cut_short_is_never_whole),
		cmocka_unit_test(msg_bit_flips_do_no_harm),
		cmocka_unit_test(msg_attr_refuses_what_cannot_be),
		cmocka_unit_test(msg_writing_beyond_the_limit_sticks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
