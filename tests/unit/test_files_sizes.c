/* fuse/files: a size that the kernel is shown, and the pages that belong to it
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fuse/shown.h"
#include "tests/lib/files_rig.h"

/* by a thread of this number; 0: of no certain one */
static fuse_req_t stat_by(struct sfs_node *n, pid_t pid)
{
	struct fuse_file_info fi = {0};
	fuse_req_t r = rig_req();

	r->ctx.pid = pid;
	n->ops->getattr(r, n, &fi);
	return r;
}

static fuse_req_t stat_of(struct sfs_node *n)
{
	return stat_by(n, 0);
}

/* The sandbox writes to "log", and the kernel has not dropped its pages. */
static void log_grows(uint64_t size)
{
	struct sbx_attr a = fake_attr(S_IFREG | 0644, 10);

	a.size = size;
	f->kernel_is_slow = true;
	fake_change(f, SBX_DIR_WORKSPACE, "log", SBX_CHANGE_DATA, &a);
}

static void shows(fuse_req_t r, off_t size, bool lasting)
{
	assert_int_equal(r->replies, 1);
	assert_int_equal(r->attr.st_size, size);
	if (lasting)
		assert_true(r->timeout > 1e6);
	else
		assert_true(r->timeout <= 0);
}

static void on_called(void *arg)
{
	++*(int *)arg;
}

static void on_tick(uv_timer_t *t)
{
	unsigned int *ticks = t->data;

	if (!--*ticks)
		fail_msg("the kernel was told nothing");
}

/* Runs the loop until the kernel is told something. */
static void told_later(const char *what)
{
	unsigned int ticks = 10000;
	uv_timer_t t;

	uv_timer_init(&f->loop, &t);
	t.data = &ticks;
	uv_timer_start(&t, on_tick, 1, 1);
	while (!f->told_len)
		uv_run(&f->loop, UV_RUN_ONCE);
	uv_close((uv_handle_t *)&t, NULL);
	uv_run(&f->loop, UV_RUN_NOWAIT);
	rig_told_is(what);
}

/* The new size is not seen while the kernel has the old pages. */
static void test_content_before_size(void **state)
{
	struct sfs_node *n = rig_found(rig_root(), "log", S_IFREG | 0644, 10);

	log_grows(1000);
	rig_told_is("child log data;");
	fake_kernel_done(f);
	shows(stat_of(n), 1000, true);
	rig_told_is("");
}

/* The kernel cuts off its pages at an older size that it is given: what it
 * read since they were dropped would end in zeros. */
static void test_pages_go_once_more_behind_an_older_size(void **state)
{
	struct sfs_node *n = rig_found(rig_root(), "log", S_IFREG | 0644, 10);

	log_grows(1000);
	rig_told_is("child log data;");
	shows(stat_of(n), 10, false);
	fake_kernel_step(f);
	shows(stat_of(n), 10, false);
	told_later("child log data;");
	fake_kernel_step(f);
	shows(stat_of(n), 1000, true);
	rig_told_is("");
}

/* ... until it is certain that the kernel has had it before. */
static void test_pages_go_again_until_all_is_certain(void **state)
{
	struct sfs_node *n = rig_found(rig_root(), "log", S_IFREG | 0644, 10);
	pid_t sleeps = getppid();

	log_grows(1000);
	rig_told_is("child log data;");
	shows(stat_by(n, sleeps), 10, false);
	fake_kernel_step(f);
	told_later("child log data;");
	shows(stat_by(n, sleeps), 10, false);
	fake_kernel_step(f);
	shows(stat_by(n, sleeps), 10, false); /* it has it now */
	shows(stat_by(n, sleeps), 10, false);
	told_later("child log data;");
	shows(stat_by(n, sleeps), 10, false);
	fake_kernel_step(f);
	shows(stat_by(n, sleeps), 1000, true);
}

/* ... which two that cannot be told apart do not make it: one of them may be
 * late. */
static void test_pages_go_again_behind_any_of_a_container(void **state)
{
	struct sfs_node *n = rig_found(rig_root(), "log", S_IFREG | 0644, 10);

	log_grows(1000);
	rig_told_is("child log data;");
	shows(stat_of(n), 10, false);
	fake_kernel_step(f);
	shows(stat_of(n), 10, false);
	shows(stat_of(n), 10, false);
	told_later("child log data;");
	shows(stat_of(n), 10, false);
	fake_kernel_step(f);
	shows(stat_of(n), 10, false);
	told_later("child log data;");
	fake_kernel_step(f);
	shows(stat_of(n), 1000, true);
}

/* The sandbox's answer to a first read of "log", which is open. */
static void log_is_read(struct sfs_node *n, struct fuse_file_info *fi)
{
	struct sbx_attr a = fake_attr(S_IFREG | 0644, 10);
	fuse_req_t r = rig_req();

	n->ops->open(r, n, fi);
	fake_answer(f, SBX_OP_OPEN, 0, &a);
	*fi = r->fi;
	n->ops->read(rig_req(), n, 4096, 0, fi);
	f->told_len = 0;
}

/* Waits until it is. */
static void is_in_state(pid_t pid, char state)
{
	char path[32], text[256], *end = NULL;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%ld/stat", (long)pid);
	while (!end || end[2] != state) {
		usleep(1000);
		fd = open(path, O_RDONLY);
		n = read(fd, text, sizeof(text) - 1);
		close(fd);
		assert_true(n > 0);
		text[n] = '\0';
		end = strrchr(text, ')');
		assert_non_null(end);
	}
}

/* ... if a test fails */
static void ends_with_us(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
}

/* A process that waits in the kernel, not to be interrupted, as one does that
 * waits for a page; until "let_go" is closed. */
static pid_t held_up(int *ret_let_go)
{
	char byte;
	int fds[2];
	pid_t pid;

	assert_int_equal(pipe(fds), 0);
	pid = fork();
	if (!pid) {
		ends_with_us();
		close(fds[1]);
		if (!vfork()) /* the other one waits for its end */
			_exit(read(fds[0], &byte, 1) != 0);
		_exit(0);
	}
	close(fds[0]);
	*ret_let_go = fds[1];
	is_in_state(pid, 'D');
	return pid;
}

static void let_go(pid_t pid, int let_go)
{
	close(let_go);
	waitpid(pid, NULL, 0);
}

static void on_later(uv_timer_t *t)
{
	*(bool *)t->data = true;
}

/* Runs the loop for a while, in which the kernel is told nothing. */
static void told_nothing_for(unsigned int ms)
{
	bool done = false;
	uv_timer_t t;

	uv_timer_init(&f->loop, &t);
	t.data = &done;
	uv_timer_start(&t, on_later, ms, 0);
	while (!done)
		uv_run(&f->loop, UV_RUN_ONCE);
	uv_close((uv_handle_t *)&t, NULL);
	uv_run(&f->loop, UV_RUN_NOWAIT);
	rig_told_is("");
}

/* The kernel's thread is applying what it was given, but is held up, however
 * long: it would cut off a page that was read meanwhile. */
static void test_pages_go_once_more_behind_a_late_one(void **state)
{
	struct sfs_node *n = rig_found(rig_root(), "log", S_IFREG | 0644, 10);
	int end;
	pid_t late = held_up(&end);

	shows(stat_by(n, late), 10, true);
	log_grows(1000);
	rig_told_is("child log data;");
	fake_kernel_done(f);
	told_nothing_for(300);
	shows(stat_of(n), 10, false);
	let_go(late, end);
	told_later("child log data;");
	fake_kernel_done(f);
	shows(stat_of(n), 1000, true);
}

/* ... nor has it done that when another one asks that has no number, either,
 * as all have that see the mount from outside of our container */
static void test_pages_go_once_more_behind_one_without_a_number(void **state)
{
	struct sfs_node *n = rig_found(rig_root(), "log", S_IFREG | 0644, 10);
	struct fuse_file_info fi = {0};

	log_is_read(n, &fi);
	shows(stat_of(n), 10, true);
	sfs_shown_asks(&f->fs, 0);
	log_grows(1000);
	rig_told_is("child log data;");
	fake_kernel_done(f);
	shows(stat_of(n), 10, false);
	told_later("child log data;");
	fake_answer_read(f);
	fake_kernel_done(f);
	shows(stat_of(n), 1000, true);
	n->ops->release(rig_req(), n, &fi);
}

/* ... or one that read the folder */
static void test_pages_go_once_more_behind_a_late_listing(void **state)
{
	static const char *const names[] = {"log"};
	struct sfs_node *top = rig_root(), *n;
	struct fuse_file_info fi = {0};
	fuse_req_t r = rig_req();
	int end;
	pid_t late = held_up(&end);

	n = rig_found(top, "log", S_IFREG | 0644, 10);
	log_is_read(n, &fi);
	r->ctx.pid = late;
	rig_list(top, r);
	fake_answer_read(f);
	fake_answer_read(f);
	fake_answer_list(f, names, 1, 10);
	assert_true(r->len > 0);
	f->told_len = 0;
	log_grows(1000);
	rig_told_is("child log data;");
	fake_kernel_done(f);
	shows(stat_of(n), 10, false);
	let_go(late, end);
	told_later("child log data;");
	fake_kernel_done(f);
	shows(stat_of(n), 1000, true);
	n->ops->release(rig_req(), n, &fi);
}

/* One that asks for something else has done it, and so has one that sleeps,
 * or that is gone: for none of them anybody waits. */
static void test_pages_do_not_wait_for_those_who_are_done(void **state)
{
	struct sfs_node *n = rig_found(rig_root(), "log", S_IFREG | 0644, 10);
	pid_t here = getpid(), gone = fork(), sleeps;

	if (!gone)
		_exit(0);
	waitpid(gone, NULL, 0);
	sleeps = fork();
	if (!sleeps) {
		ends_with_us();
		for (;;)
			pause();
	}
	shows(stat_by(n, gone), 10, true);
	shows(stat_by(n, here), 10, true);
	sfs_shown_asks(&f->fs, here);
	log_grows(1000);
	rig_told_is("child log data;");
	fake_kernel_done(f);
	shows(stat_by(n, sleeps), 1000, true);
	is_in_state(sleeps, 'S');
	log_grows(2000);
	rig_told_is("child log data;");
	fake_kernel_done(f);
	shows(stat_by(n, here), 2000, true);
	kill(sleeps, SIGKILL);
	waitpid(sleeps, NULL, 0);
}

/* Nor, for long, for one that has much to do and asks for nothing. */
static void test_pages_do_not_wait_for_one_that_runs(void **state)
{
	struct sfs_node *n = rig_found(rig_root(), "log", S_IFREG | 0644, 10);
	pid_t runs = fork();

	if (!runs) {
		ends_with_us();
		for (;;)
			getppid();
	}
	shows(stat_by(n, runs), 10, true);
	log_grows(1000);
	rig_told_is("child log data;");
	fake_kernel_done(f);
	shows(stat_of(n), 10, false);
	told_later("child log data;");
	fake_kernel_done(f);
	shows(stat_of(n), 1000, true);
	kill(runs, SIGKILL);
	waitpid(runs, NULL, 0);
}

/* A thread that asks without a break is waited for no longer than until it has
 * certainly applied what it was given. */
static void test_pages_go_behind_one_that_asks_all_the_time(void **state)
{
	struct sfs_node *n = rig_found(rig_root(), "log", S_IFREG | 0644, 10);
	pid_t here = getpid();
	int k;

	log_grows(1000);
	rig_told_is("child log data;");
	shows(stat_by(n, here), 10, false);
	fake_kernel_step(f);
	for (k = 0; k < 3; k++) {
		uv_run(&f->loop, UV_RUN_NOWAIT);
		rig_told_is("");
		sfs_shown_asks(&f->fs, here);
		shows(stat_by(n, here), 10, false);
	}
	sfs_shown_asks(&f->fs, here);
	shows(stat_by(n, here), 10, false);
	told_later("child log data;");
	shows(stat_by(n, here), 10, false); /* it has it now */
	fake_kernel_step(f);
	shows(stat_by(n, here), 1000, true);
}

/* Nobody waits without end for somebody else to be done with asking. */
static void test_pages_do_not_go_for_ever(void **state)
{
	struct sfs_node *n = rig_found(rig_root(), "log", S_IFREG | 0644, 10);
	fuse_req_t r;
	int k = 0;

	log_grows(1000);
	do {
		assert_true(k++ < 10);
		told_later("child log data;");
		shows(stat_of(n), 10, false);
		fake_kernel_step(f);
		r = stat_of(n);
	} while (r->attr.st_size == 10);
	shows(r, 1000, true);
}

/* A look-up is told the same, and counts. */
static void test_pages_go_once_more_behind_a_lookup(void **state)
{
	struct sfs_node *top = rig_root();
	fuse_req_t r;

	rig_found(top, "log", S_IFREG | 0644, 10);
	log_grows(1000);
	rig_told_is("child log data;");
	r = rig_lookup(top, "log");
	assert_int_equal(r->entry.attr.st_size, 10);
	assert_true(r->entry.attr_timeout <= 0);
	fake_kernel_step(f);
	told_later("child log data;");
	fake_kernel_step(f);
	assert_int_equal(rig_lookup(top, "log")->entry.attr.st_size, 1000);
}

/* It changes faster than pages are dropped: what was true is shown. */
static void test_size_of_what_never_stops_growing(void **state)
{
	struct sfs_node *n = rig_found(rig_root(), "log", S_IFREG | 0644, 10);

	log_grows(1000);
	rig_told_is("child log data;");
	log_grows(2000);
	log_grows(3000);
	rig_told_is(""); /* in its turn */
	fake_kernel_step(f);
	rig_told_is("child log data;");
	shows(stat_of(n), 1000, false);
	log_grows(4000);
	fake_kernel_step(f);
	told_later("child log data;");
	fake_kernel_step(f);
	shows(stat_of(n), 4000, true);
}

/* A command's end is not seen before what it did; what happens after it does
 * not hold it up. */
static void test_settled_when_it_is_shown(void **state)
{
	struct sfs_node *n = rig_found(rig_root(), "log", S_IFREG | 0644, 10);
	int first = 0, second = 0;

	log_grows(1000);
	shows(stat_of(n), 10, false);
	sfs_files_settle(f->files, on_called, &first);
	log_grows(2000);
	sfs_files_settle(f->files, on_called, &second);
	rig_told_is("child log data;");
	fake_kernel_step(f);
	assert_int_equal(f->nr_after, 0);
	told_later("child log data;");
	fake_kernel_done(f);
	assert_int_equal(first, 1);
	assert_int_equal(second, 1);
	shows(stat_of(n), 2000, true);

	log_grows(3000);
	sfs_files_settle(f->files, on_called, &first);
	log_grows(4000);
	sfs_files_settle(f->files, on_called, &second);
	fake_kernel_step(f);
	shows(stat_of(n), 3000, false);
	while (first == 1 && f->nr_after)
		fake_kernel_step(f);
	assert_int_equal(first, 2);
	assert_int_equal(second, 1);
	f->told_len = 0;
	told_later("child log data;");
	fake_kernel_done(f);
	assert_int_equal(second, 2);
	shows(stat_of(n), 4000, true);
}

/* What became shorter has no size beyond its end, where reading would give
 * zeros; but all else is shown with its content. */
static void test_shorter_at_once(void **state)
{
	struct sfs_node *n = rig_found(rig_root(), "log", S_IFREG | 0644, 10);
	struct sbx_attr a = fake_attr(S_IFREG | 0644, 10);
	time_t was = stat_of(n)->attr.st_mtim.tv_sec;

	f->kernel_is_slow = true;
	a.size = 4;
	a.mtime_s += 7;
	fake_change(f, SBX_DIR_WORKSPACE, "log", SBX_CHANGE_DATA, &a);
	shows(stat_of(n), 4, false);
	assert_int_equal(stat_of(n)->attr.st_mtim.tv_sec, was);
	log_grows(1000);
	shows(stat_of(n), 4, false);
	log_grows(3);
	shows(stat_of(n), 3, false);
	rig_told_is("child log data;");
	fake_kernel_step(f);
	shows(stat_of(n), 3, false);
	log_grows(2000);
	shows(stat_of(n), 3, false);
	f->told_len = 0;
	told_later("child log data;");
	fake_kernel_done(f);
	shows(stat_of(n), 2000, true);
}

/* What our own change brought is not taken back. */
static void test_own_size_is_not_followed_by_older_ones(void **state)
{
	struct sbx_attr a = fake_attr(S_IFREG | 0644, 10);
	struct sfs_node *top = rig_root();
	struct sfs_node *n = rig_found(top, "log", S_IFREG | 0644, 10);
	struct stat st = {.st_size = 5};
	fuse_req_t r = rig_req();

	log_grows(1000);
	log_grows(2000);
	n->ops->setattr(r, n, &st, FUSE_SET_ATTR_SIZE, NULL);
	a.size = 5;
	fake_answer(f, SBX_OP_SETATTR, 0, &a);
	assert_int_equal(r->attr.st_size, 5);
	assert_int_equal(rig_lookup(top, "log")->entry.attr.st_size, 5);
	rig_told_is("child log data;");
	fake_kernel_step(f);
	shows(stat_of(n), 5, false);
	told_later("child log data;");
	fake_kernel_done(f);
	shows(stat_of(n), 5, true);
}

/* What is put in place by a rename is there as it is. */
static void test_renamed_into_place_with_its_size(void **state)
{
	struct sbx_attr a = fake_attr(S_IFREG | 0644, 10);
	struct sfs_node *top = rig_root();
	fuse_req_t r;

	rig_found(top, "log", S_IFREG | 0644, 10);
	log_grows(0); /* its number was another file's before */
	fake_change(f, SBX_DIR_WORKSPACE, "log", SBX_CHANGE_MOVED_FROM, NULL);
	a.size = 5;
	r = rig_lookup(top, "all");
	fake_change(f, SBX_DIR_WORKSPACE, "all", SBX_CHANGE_MOVED_TO, &a);
	fake_answer(f, SBX_OP_LOOKUP, 0, &a);
	assert_int_equal(r->entry.attr.st_size, 5);
	fake_kernel_step(f);
	assert_int_equal(rig_lookup(top, "all")->entry.attr.st_size, 5);
	f->told_len = 0;
	while (!fake_is_idle(f))
		fake_answer(f, f->first->op, 0, &a);
}

/* The sandbox goes meanwhile. */
static void test_pages_that_are_never_dropped(void **state)
{
	struct sfs_node *n = rig_found(rig_root(), "log", S_IFREG | 0644, 10);
	int called = 0;

	log_grows(1000);
	shows(stat_of(n), 10, false);
	sfs_files_settle(f->files, on_called, &called);
	f->files = sfs_files_free(f->files);
	fake_kernel_done(f);
	assert_int_equal(called, 1);
}

/* ... and nothing but a timer remembers */
static void test_pages_that_are_not_dropped_again(void **state)
{
	struct sfs_node *n = rig_found(rig_root(), "log", S_IFREG | 0644, 10);

	log_grows(1000);
	shows(stat_of(n), 10, false);
	fake_kernel_done(f);
	f->files = sfs_files_free(f->files);
}

/* Who opens a file has it, whatever becomes of its name. */
static void test_opened_there_before_the_answer(void **state)
{
	struct sbx_attr a = fake_attr(S_IFREG | 0644, 10);
	struct sfs_node *top = rig_root(), *n;
	fuse_req_t r = rig_req(), again = rig_req();
	struct fuse_file_info fi = {0};

	n = rig_found(top, "f", S_IFREG | 0644, 10);
	a.size = 5;
	fake_change(f, SBX_DIR_WORKSPACE, "f", SBX_CHANGE_DATA, &a);
	n->ops->open(r, n, &fi);
	assert_int_equal(r->replies, 0);
	fake_answer(f, SBX_OP_OPEN, 0, &a);
	assert_int_equal(r->replies, 1);
	assert_int_equal(r->err, 0);
	/* its beginning is on its way already */
	assert_int_equal(f->sent[SBX_OP_READ], 1);
	n->ops->release(again, n, &r->fi);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)
	const struct CMUnitTest tests[] = {
		T(test_content_before_size),
		T(test_pages_go_once_more_behind_an_older_size),
		T(test_pages_go_again_until_all_is_certain),
		T(test_pages_go_again_behind_any_of_a_container),
		T(test_pages_go_once_more_behind_a_late_one),
		T(test_pages_go_once_more_behind_one_without_a_number),
		T(test_pages_go_once_more_behind_a_late_listing),
		T(test_pages_do_not_wait_for_those_who_are_done),
		T(test_pages_do_not_wait_for_one_that_runs),
		T(test_pages_go_behind_one_that_asks_all_the_time),
		T(test_pages_do_not_go_for_ever),
		T(test_pages_go_once_more_behind_a_lookup),
		T(test_size_of_what_never_stops_growing),
		T(test_settled_when_it_is_shown),
		T(test_shorter_at_once),
		T(test_own_size_is_not_followed_by_older_ones),
		T(test_renamed_into_place_with_its_size),
		T(test_pages_that_are_never_dropped),
		T(test_pages_that_are_not_dropped_again),
		T(test_opened_there_before_the_answer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
