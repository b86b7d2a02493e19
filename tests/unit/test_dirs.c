/*
 * Directories that are numbered before the helper reads of what was at their
 * place until then.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/helper/helper.h"
#include "client/wire/proto.h"
#include "tests/lib/unit.h"

#define OLD 20
#define NEW 21

static struct helper h;
static struct dir *top;

static struct dir *number(uint64_t n, const char *name)
{
	int fd = open(name, O_PATH | O_DIRECTORY);
	struct dir *d;

	assert_true(fd >= 0);
	assert_int_equal(dirs_put(&h, n, top, name, fd, &d), 0);
	return d;
}

static void tell(uint32_t mask, const char *name)
{
	const struct inotify_event e = {.mask = mask | IN_ISDIR, .cookie = 1};

	moves_event(&h, top, name, &e);
}

static int setup(void **state)
{
	static char path[] = "/tmp/sbxfs-test-dirs.XXXXXX";
	int err;

	*state = mkdtemp(path);
	memset(&h, 0, sizeof(h));
	h.watch.fd = -1;
	if (!*state || chdir(path) < 0 || dirs_init(&h, ".") < 0)
		return -1;
	top = dirs_get(&h, SBX_DIR_WORKSPACE, &err);
	return top ? 0 : -1;
}

static int teardown(void **state)
{
	const char *path = *state;

	dirs_release(&h);
	rmdir("d");
	rmdir("e");
	if (chdir("/") < 0 || rmdir(path) < 0)
		return -1;
	strcpy((char *)*state + strlen(path) - 6, "XXXXXX");
	return 0;
}

static void another_was_removed(void **state)
{
	struct dir *new;

	mkdir("d", 0700);
	number(OLD, "d");
	rmdir("d");
	mkdir("d", 0700);
	new = number(NEW, "d");
	tell(IN_DELETE, "d");
	assert_true(dirs_fd(&h, new) >= 0);
	assert_ptr_equal(dirs_at(&h, top, "d"), new);
	assert_null(dirs_next_at(new));
}

static void another_moved_away(void **state)
{
	struct dir *old, *new;

	mkdir("d", 0700);
	old = number(OLD, "d");
	rename("d", "e");
	mkdir("d", 0700);
	new = number(NEW, "d");
	tell(IN_MOVED_FROM, "d");
	tell(IN_MOVED_TO, "e");
	assert_ptr_equal(dirs_at(&h, top, "e"), old);
	assert_ptr_equal(dirs_at(&h, top, "d"), new);
}

static void it_came_from_elsewhere(void **state)
{
	struct dir *new;

	mkdir("e", 0700);
	rename("e", "d");
	new = number(NEW, "d");
	tell(IN_MOVED_TO, "d");
	assert_ptr_equal(dirs_at(&h, top, "d"), new);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(another_was_removed, setup,
						teardown),
		cmocka_unit_test_setup_teardown(another_moved_away, setup,
						teardown),
		cmocka_unit_test_setup_teardown(it_came_from_elsewhere, setup,
						teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
