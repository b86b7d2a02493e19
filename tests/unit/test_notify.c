/*
 * fuse/notify: order, folding, and an end that does not wait for a thread
 * that hangs in the kernel.  libfuse's functions are replaced by ones that
 * write down what they were asked for.
 */
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuse/limits.h"
#include "fuse/notify.h"
#include "tests/lib/unit.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
#define QUIET 1000 /* inodes from here on are not noted */

static pthread_cond_t opened = PTHREAD_COND_INITIALIZER;
static bool gate_open;
static bool unknown_inode; /* until an entry was expired */
static char journal[4096];
static size_t journal_len;

__attribute__((format(printf, 1, 2))) static void note(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	pthread_mutex_lock(&lock);
	while (!gate_open)
		pthread_cond_wait(&opened, &lock);
	if (fmt)
		journal_len += (size_t)vsnprintf(journal + journal_len,
						 sizeof(journal) - journal_len,
						 fmt, ap);
	pthread_mutex_unlock(&lock);
	va_end(ap);
}

static void gate(bool open)
{
	pthread_mutex_lock(&lock);
	gate_open = open;
	pthread_cond_signal(&opened);
	pthread_mutex_unlock(&lock);
}

int fuse_lowlevel_notify_inval_inode(struct fuse_session *se, fuse_ino_t ino,
				     off_t off, off_t len)
{
	if (ino >= QUIET)
		note(NULL);
	else
		note("inode %d%s;", (int)ino, off < 0 ? "" : " data");
	return unknown_inode ? -ENOENT : 0;
}

int fuse_lowlevel_notify_inval_entry(struct fuse_session *se, fuse_ino_t parent,
				     const char *name, size_t len)
{
	note("entry %d/%.*s;", (int)parent, (int)len, name);
	return 0;
}

int fuse_lowlevel_notify_expire_entry(struct fuse_session *se,
				      fuse_ino_t parent, const char *name,
				      size_t len, enum fuse_expire_flags flags)
{
	note("expire %d/%.*s;", (int)parent, (int)len, name);
	unknown_inode = false;
	return 0;
}

struct fixture {
	uv_loop_t loop;
	struct sfs fs;
	struct sfs_notify *n;
	int called, redone;
	size_t seen; /* of the journal when it was called */
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	uv_loop_init(&f->loop);
	f->fs.loop = &f->loop;
	f->n = sfs_notify_new(&f->fs);
	memset(journal, 0, sizeof(journal));
	journal_len = 0;
	gate_open = true;
	unknown_inode = false;
	*state = f;
	return f->n ? 0 : -1;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	gate(true);
	sfs_notify_free(f->n);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&f->loop), 0);
	free(f);
	return 0;
}

static void on_after(void *arg)
{
	struct fixture *f = arg;

	f->called++;
	pthread_mutex_lock(&lock);
	f->seen = journal_len;
	pthread_mutex_unlock(&lock);
}

static void on_too_late(uv_timer_t *t)
{
	fail_msg("nothing was called");
}

static void run_until_called(struct fixture *f, int n)
{
	uv_timer_t keep; /* the loop has nothing else that counts */

	uv_timer_init(&f->loop, &keep);
	uv_timer_start(&keep, on_too_late, 10000, 0);
	while (f->called < n)
		assert_true(uv_run(&f->loop, UV_RUN_ONCE));
	uv_close((uv_handle_t *)&keep, NULL);
	uv_run(&f->loop, UV_RUN_NOWAIT);
}

static void test_after_at_once_when_idle(void **state)
{
	struct fixture *f = *state;

	sfs_notify_after(f->n, on_after, f);
	assert_int_equal(f->called, 1);
}

static void test_order_is_kept(void **state)
{
	struct fixture *f = *state;

	gate(false);
	sfs_notify_inode(f->n, 3, false);
	sfs_notify_entry(f->n, 1, "abc", 3);
	sfs_notify_inode(f->n, 3, true);
	sfs_notify_after(f->n, on_after, f);
	sfs_notify_entry(f->n, 1, "later", 5);
	assert_int_equal(f->called, 0);
	gate(true);
	run_until_called(f, 1);
	assert_true(f->seen >= strlen("inode 3;entry 1/abc;inode 3 data;"));
	sfs_notify_after(f->n, on_after, f);
	run_until_called(f, 2);
	assert_string_equal(journal, "inode 3;entry 1/abc;inode 3 data;"
				     "entry 1/later;");
}

static void test_repetitions_are_folded(void **state)
{
	struct fixture *f = *state;
	int k;

	gate(false);
	sfs_notify_entry(f->n, 1, "x", 1);
	for (k = 0; k < 100; k++)
		sfs_notify_inode(f->n, 3, true);
	sfs_notify_inode(f->n, 4, true);
	sfs_notify_after(f->n, on_after, f);
	gate(true);
	run_until_called(f, 1);
	/* one may be in the thread's hands when its like is queued */
	if (strcmp(journal, "entry 1/x;inode 3 data;inode 4 data;"))
		assert_string_equal(journal, "entry 1/x;inode 3 data;"
					     "inode 3 data;inode 4 data;");
}

static void test_child_waits_for_an_inode_being_made(void **state)
{
	struct fixture *f = *state;

	unknown_inode = true;
	sfs_notify_child(f->n, 1, "abc", 3, 9, true);
	sfs_notify_after(f->n, on_after, f);
	run_until_called(f, 1);
	assert_string_equal(journal, "inode 9 data;expire 1/abc;inode 9 data;");
}

static char order[8];

static void on_first(void *arg)
{
	struct fixture *f = arg;

	order[f->called] = 'a';
	on_after(f);
}

static void on_second(void *arg)
{
	struct fixture *f = arg;

	order[f->called] = 'b';
	on_after(f);
}

static void test_those_who_wait_for_the_same_keep_their_order(void **state)
{
	struct fixture *f = *state;

	memset(order, 0, sizeof(order));
	gate(false);
	sfs_notify_inode(f->n, 3, false);
	sfs_notify_after(f->n, on_first, f);
	sfs_notify_after(f->n, on_second, f);
	sfs_notify_inode(f->n, 4, false);
	sfs_notify_after(f->n, on_second, f);
	sfs_notify_after(f->n, on_first, f);
	gate(true);
	run_until_called(f, 4);
	assert_string_equal(order, "abba");
}

static void test_many_who_wait_take_little(void **state)
{
	struct fixture *f = *state;
	size_t before, i;

	gate(false);
	sfs_notify_inode(f->n, 3, false);
	sfs_notify_after(f->n, on_after, f);
	before = mallinfo2().uordblks;
	for (i = 0; i < 10000; i++)
		sfs_notify_after(f->n, on_after, f);
	assert_true(mallinfo2().uordblks - before < 10000 * 64);
	gate(true);
	run_until_called(f, 10001);
}

/* The thread takes those that it finds: then it is still too many. */
static void queue_too_many(struct fixture *f)
{
	for (fuse_ino_t i = 0; i < 2 * SFS_MAX_NOTIFY + 10; i++)
		sfs_notify_inode(f->n, QUIET + i, false);
}

/* In three steps, each of more than is kept. */
static bool on_lost(void *arg, bool first)
{
	struct fixture *f = arg;

	assert_int_equal(first, f->redone == 0);
	for (fuse_ino_t i = 0; i < SFS_MAX_NOTIFY + 10; i++)
		sfs_notify_inode(f->n, QUIET + i, false);
	sfs_notify_inode(f->n, (fuse_ino_t)++f->redone, false);
	return f->redone < 3;
}

/* Who waits for what was dropped waits for what takes its place. */
static void test_after_comes_behind_what_was_lost(void **state)
{
	struct fixture *f = *state;

	sfs_notify_on_lost(f->n, on_lost, f);
	gate(false);
	queue_too_many(f);
	sfs_notify_after(f->n, on_after, f);
	sfs_notify_after(f->n, on_after, f);
	gate(true);
	run_until_called(f, 2);
	assert_int_equal(f->redone, 3);
	assert_string_equal(journal, "inode 1;inode 2;inode 3;");
	assert_int_equal(f->seen, journal_len);
	sfs_notify_after(f->n, on_after, f);
	assert_int_equal(f->called, 3);
}

static void test_free_calls_who_waits_for_what_was_lost(void **state)
{
	struct fixture *f = *state;

	sfs_notify_on_lost(f->n, on_lost, f);
	gate(false);
	queue_too_many(f);
	sfs_notify_after(f->n, on_after, f);
	f->n = sfs_notify_free(f->n);
	assert_int_equal(f->called, 1);
	gate(true);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(f->redone, 0);
}

/* It waits in the kernel for a request that only the loop can answer. */
static void test_free_does_not_wait(void **state)
{
	struct fixture *f = *state;

	gate(false);
	sfs_notify_inode(f->n, 3, false);
	sfs_notify_after(f->n, on_after, f);
	f->n = sfs_notify_free(f->n);
	assert_int_equal(f->called, 1);
	gate(true);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_string_equal(journal, "inode 3;");
}

static void test_nothing_is_told_after_the_end(void **state)
{
	struct fixture *f = *state;

	f->fs.ended = true;
	sfs_notify_inode(f->n, 3, false);
	sfs_notify_after(f->n, on_after, f);
	run_until_called(f, 1);
	assert_string_equal(journal, "");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_after_at_once_when_idle),
		T(test_order_is_kept),
		T(test_repetitions_are_folded),
		T(test_child_waits_for_an_inode_being_made),
		T(test_those_who_wait_for_the_same_keep_their_order),
		T(test_many_who_wait_take_little),
		T(test_after_comes_behind_what_was_lost),
		T(test_free_calls_who_waits_for_what_was_lost),
		T(test_free_does_not_wait),
		T(test_nothing_is_told_after_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
