/*
 * The helper and programs that change files faster than it is told of it: it
 * takes what happened before it looked, and goes on with its other work.
 */
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "client/helper/helper.h"
#include "tests/lib/unit.h"

#define QUEUED 40000 /* bytes of events when it looks */

static size_t taken; /* bytes, of a queue that is always full */

/* instead of the system's: see meson.build */
ssize_t __wrap_read(int fd, void *dst, size_t size);
ssize_t __wrap_read(int fd, void *dst, size_t size)
{
	taken += size;
	if (taken > 100 * QUEUED)
		fail_msg("it reads on and on");
	memset(dst, 0, size);
	return (ssize_t)size;
}

int __wrap_ioctl(int fd, unsigned long request, int *ret);
int __wrap_ioctl(int fd, unsigned long request, int *ret)
{
	assert_int_equal(request, FIONREAD);
	*ret = QUEUED;
	return 0;
}

static void test_events_without_end(void **state)
{
	static struct helper h;

	h.watch.fd = 1000;
	watch_sync(&h);
	assert_in_range(taken, QUEUED, QUEUED + 16384);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_events_without_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
