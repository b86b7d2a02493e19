/*
 * The helper where it gets less than it asked the system for: what it could
 * not do is told as such.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "client/helper/handles.h"
#include "client/helper/helper.h"
#include "client/helper/request.h"
#include "client/helper/spawn.h"
#include "client/wire/proto.h"
#include "tests/lib/unit.h"

#define GOOD 100 /* bytes of a file that can be read */

static bool no_memory;

/* instead of the system's: see meson.build */
ssize_t __real_pread64(int fd, void *dst, size_t size, off_t offset);
ssize_t __wrap_pread64(int fd, void *dst, size_t size, off_t offset);
ssize_t __wrap_pread64(int fd, void *dst, size_t size, off_t offset)
{
	if (offset >= GOOD) {
		errno = EIO;
		return -1;
	}
	return __real_pread64(fd, dst, size < GOOD ? size : GOOD, offset);
}

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size)
{
	return no_memory ? NULL : __real_malloc(size);
}

static struct sbx_rd parse(struct sbx_msg *m, const struct sbx_buf *b)
{
	assert_int_equal(b->err, 0);
	assert_int_equal(sbx_msg_parse(m, sbx_buf_at(b), sbx_buf_len(b)), 0);
	return sbx_rd_root(m);
}

/* READ of twice as much as is good, of a file of that size. */
static int read_file(off_t size, struct sbx_buf *out)
{
	static struct helper h;
	struct req q = {.h = &h, .out = out, .in_batch = true};
	int fd = memfd_create("file", MFD_CLOEXEC), r;
	struct handle *hd;
	struct sbx_msg m;
	struct sbx_buf b;

	assert_int_equal(ftruncate(fd, size), 0);
	assert_int_equal(handles_put(&h, 1, fd, 0, NULL, "", &hd), 0);
	sbx_buf_init(&b, 100);
	sbx_put_array(&b, 3);
	sbx_put_u64(&b, 1);
	sbx_put_u64(&b, 0);
	sbx_put_u64(&b, 2 * GOOD);
	q.rd = parse(&m, &b);
	sbx_buf_init(out, SBX_MESSAGE_MAX);
	r = op_read(&q);
	sbx_msg_release(&m);
	sbx_buf_release(&b);
	handles_release(&h);
	return r;
}

static void test_error_in_the_middle_is_no_end(void **state)
{
	struct sbx_buf out;

	assert_int_equal(read_file(2 * GOOD, &out), -EIO);
	sbx_buf_release(&out);
}

static void test_error_behind_the_end_is_one(void **state)
{
	struct sbx_buf out;

	assert_int_equal(read_file(GOOD, &out), 0);
	assert_in_range(sbx_buf_len(&out), GOOD, GOOD + 40);
	sbx_buf_release(&out);
}

static int get_command(const char *arg, const char *name)
{
	struct sbx_msg m;
	struct sbx_buf b;
	struct sbx_rd rd;
	struct spawn s;
	int r;

	sbx_buf_init(&b, 1000);
	sbx_put_array(&b, 6);
	sbx_put_array(&b, arg ? 1 : 0);
	if (arg)
		sbx_put_bin(&b, arg, 2);
	sbx_put_bin(&b, "", 0);
	sbx_put_map(&b, 1);
	sbx_put_str(&b, name);
	sbx_put_str(&b, "value");
	sbx_put_u64(&b, 0);
	sbx_put_u64(&b, 80);
	sbx_put_u64(&b, 24);
	rd = parse(&m, &b);
	no_memory = !strcmp(name, "SCARCE");
	r = spawn_get(&s, &rd);
	no_memory = false;
	spawn_release(&s);
	sbx_msg_release(&m);
	sbx_buf_release(&b);
	return r;
}

static void test_command_without_memory_is_not_wrong(void **state)
{
	assert_int_equal(get_command("ls", "NAME"), 0);
	assert_int_equal(get_command("ls", "SCARCE"), -ENOMEM);
	assert_int_equal(get_command("ls", "NA=ME"), -EINVAL);
	assert_int_equal(get_command("ls", ""), -EINVAL);
	assert_int_equal(get_command("l\0", "NAME"), -EINVAL);
	assert_int_equal(get_command(NULL, "NAME"), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_error_in_the_middle_is_no_end),
		cmocka_unit_test(test_error_behind_the_end_is_one),
		cmocka_unit_test(test_command_without_memory_is_not_wrong),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
