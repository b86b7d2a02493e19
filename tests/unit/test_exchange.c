/*
 * remote, exchange and job against the real helper, by runs of a local shell
 * that go wrong at each point.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/exchange_int.h"
#include "client/job.h"
#include "client/remote.h"
#include "client/wire/base64.h"
#include "tests/lib/run_service.h"
#include "tests/lib/unit.h"

#define PATIENCE_MS 60000
#define TIMEOUT_MS  30000 /* for a request, as of a mount */
#define HASTY_MS    2000  /* where one is to pass */

struct fixture {
	uv_loop_t loop;
	uv_timer_t clock, nap;
	bool late, closed, rested;
	char folder[64];
	struct sbx_service *svc;
	struct sbx_remote *r;
	unsigned int doubts, epochs, changes;
};

static void on_late(uv_timer_t *t)
{
	*(bool *)t->data = true;
}

static void run_until(struct fixture *f, const bool *flag)
{
	f->late = false;
	uv_update_time(&f->loop);
	f->clock.data = &f->late;
	uv_timer_start(&f->clock, on_late, PATIENCE_MS, 0);
	while (!*flag && !f->late)
		uv_run(&f->loop, UV_RUN_ONCE);
	uv_timer_stop(&f->clock);
	assert_true(*flag);
}

static void rest(struct fixture *f, unsigned int ms)
{
	f->rested = false;
	f->nap.data = &f->rested;
	uv_update_time(&f->loop);
	uv_timer_start(&f->nap, on_late, ms, 0);
	run_until(f, &f->rested);
}

static void on_doubt(void *arg, bool new_epoch)
{
	struct fixture *f = arg;

	f->doubts++;
	f->epochs += new_epoch;
}

static void on_change(void *arg, uint64_t dir, const char *name, size_t len,
		      unsigned int what, const struct sbx_attr *attr,
		      uint32_t cookie)
{
	struct fixture *f = arg;

	f->changes++;
}

static const struct sbx_remote_handler handler = {
	.on_change = on_change,
	.on_doubt = on_doubt,
};

static struct fixture *fixture_new(size_t input, size_t output, bool parks,
				   unsigned int timeout_ms)
{
	struct fixture *f = calloc(1, sizeof(*f));
	char path[80];

	uv_loop_init(&f->loop);
	uv_timer_init(&f->loop, &f->clock);
	uv_timer_init(&f->loop, &f->nap);
	strcpy(f->folder, "/tmp/sbx-exchange.XXXXXX");
	assert_non_null(mkdtemp(f->folder));
	snprintf(path, sizeof(path), "%s.tmp", f->folder);
	assert_int_equal(mkdir(path, 0700), 0);
	f->svc = run_service_new(&f->loop, f->folder, input, output, parks);
	f->r = sbx_remote_new(&f->loop, f->svc, "box", timeout_ms);
	sbx_remote_set_files(f->r, &handler, f);
	return f;
}

static int setup(void **state)
{
	*state = fixture_new(96000, 4 << 20, false, TIMEOUT_MS);
	return 0;
}

static int setup_hasty(void **state)
{
	*state = fixture_new(96000, 4 << 20, false, HASTY_MS);
	return 0;
}

static int setup_parking(void **state)
{
	*state = fixture_new(200000, 65536, true, TIMEOUT_MS);
	return 0;
}

static void on_closed(void *arg)
{
	struct fixture *f = arg;

	f->closed = true;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char cmd[256];
	int i;
	pid_t pid =
		sbx_remote_info(f->r) ? (pid_t)sbx_remote_info(f->r)->pid : 0;

	sbx_remote_close(f->r, on_closed, f);
	run_until(f, &f->closed);
	/* the helper was told */
	for (i = 0; pid && !kill(pid, 0) && i < 6000; i++)
		usleep(10000);
	assert_true(!pid || kill(pid, 0) < 0);
	uv_close((uv_handle_t *)&f->clock, NULL);
	uv_close((uv_handle_t *)&f->nap, NULL);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&f->loop), 0);
	run_service_free(f->svc);
	snprintf(cmd, sizeof(cmd), "rm -rf %s %s.tmp %s.home", f->folder,
		 f->folder, f->folder);
	assert_int_equal(system(cmd), 0);
	free(f);
	return 0;
}

/* ---- requests ---- */

struct answer {
	bool done;
	int err;
	struct sbx_attr attr;
	size_t len;
};

static void on_attr(void *arg, int err, struct sbx_rd *rd)
{
	struct answer *a = arg;

	a->err = err;
	if (!err)
		sbx_get_attr(rd, &a->attr);
	a->done = true;
}

static void ask_getattr(struct fixture *f, const char *name, struct answer *a)
{
	struct sbx_buf *b = sbx_remote_begin(f->r, SBX_OP_GETATTR, 3);

	*a = (struct answer){0};
	sbx_put_at(b, SBX_DIR_WORKSPACE, name, strlen(name), 0);
	sbx_remote_submit(f->r, on_attr, NULL, a);
}

static uint32_t ask_mkdir(struct fixture *f, const char *name, struct answer *a)
{
	struct sbx_buf *b = sbx_remote_begin(f->r, SBX_OP_MKDIR, 3);

	*a = (struct answer){0};
	sbx_put_u64(b, SBX_DIR_WORKSPACE);
	sbx_put_bin(b, name, strlen(name));
	sbx_put_u64(b, 0750);
	return sbx_remote_submit(f->r, on_attr, NULL, a);
}

static int do_getattr(struct fixture *f, const char *name)
{
	struct answer a;

	ask_getattr(f, name, &a);
	run_until(f, &a.done);
	return a.err;
}

static int do_mkdir(struct fixture *f, const char *name)
{
	struct answer a;

	ask_mkdir(f, name, &a);
	run_until(f, &a.done);
	return a.err;
}

static void on_part(void *arg, struct sbx_rd *rd)
{
	struct answer *a = arg;
	size_t len;

	sbx_get_bin(rd, &len);
	a->len += len;
}

static void on_read(void *arg, int err, struct sbx_rd *rd)
{
	struct answer *a = arg;

	a->err = err;
	if (!err)
		on_part(a, rd);
	a->done = true;
}

static void make_file(struct fixture *f, const char *name, size_t size)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", f->folder, name);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	close(fd);
}

static bool is_there(struct fixture *f, const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", f->folder, name);
	return access(path, F_OK) == 0;
}

static void use(struct fixture *f)
{
	assert_int_equal(do_getattr(f, ""), 0);
}

/* ---- tests ---- */

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

static void brings_the_helper_once(void **state)
{
	struct fixture *f = *state;
	struct sbx_remote *second;
	unsigned int runs;

	use(f);
	assert_string_equal(sbx_remote_info(f->r)->cwd, f->folder);
	assert_true(sbx_remote_info(f->r)->runs);
	runs = run_service_runs(f->svc);
	assert_true(runs > 4);
	/* another one finds it there: a hello, and what was asked */
	second = f->r;
	f->r = sbx_remote_new(&f->loop, f->svc, "box", TIMEOUT_MS);
	use(f);
	assert_int_equal(run_service_runs(f->svc), runs + 2);
	f->closed = false;
	sbx_remote_close(second, on_closed, f);
	run_until(f, &f->closed);
	f->closed = false;
	assert_int_equal(run_service_most(f->svc), 1);
}

static void many_requests_are_one_run(void **state)
{
	struct fixture *f = *state;
	struct answer a[100];
	unsigned int i, runs;
	char name[16];

	use(f);
	runs = run_service_runs(f->svc);
	for (i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "d%u", i / 2);
		if (i % 2)
			ask_getattr(f, name, &a[i]);
		else
			ask_mkdir(f, name, &a[i]);
	}
	for (i = 0; i < 100; i++) {
		run_until(f, &a[i].done);
		assert_int_equal(a[i].err, 0);
	}
	assert_int_equal(run_service_runs(f->svc), runs + 1);
}

static void nothing_runs_while_nobody_asks(void **state)
{
	struct fixture *f = *state;
	unsigned int runs;

	use(f);
	runs = run_service_runs(f->svc);
	rest(f, 1500);
	assert_int_equal(run_service_runs(f->svc), runs);
}

static void a_fault_loses_and_doubles_nothing(void **state)
{
	static const enum run_fault faults[] = {RUN_LOST_BEFORE, RUN_LOST_AFTER,
						RUN_REFUSED,	 RUN_CUT,
						RUN_NOT_STARTED, RUN_NOISE};
	struct fixture *f = *state;
	char name[32];
	size_t i;
	unsigned int n;

	use(f);
	for (i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		for (n = 1; n <= 3; n += 2) {
			run_service_fault(f->svc, faults[i], n);
			snprintf(name, sizeof(name), "f%zu-%u", i, n);
			assert_int_equal(do_mkdir(f, name), 0);
			assert_true(is_there(f, name));
		}
	}
	assert_int_equal(f->epochs, 0);
}

/* One run in three fails, whatever it was about to do: so the next one comes
 * at once, and nobody hears of it. */
static void faults_while_the_helper_is_brought(void **state)
{
	static const enum run_fault faults[] = {RUN_LOST_BEFORE, RUN_LOST_AFTER,
						RUN_REFUSED};
	struct fixture *f = *state;
	unsigned int i;
	struct answer a;

	ask_getattr(f, "", &a);
	for (i = 0; i < 40 && !a.done; i++) {
		unsigned int runs = run_service_runs(f->svc);

		run_service_fault(f->svc, faults[i % 3], 1);
		while (run_service_runs(f->svc) < runs + 3 && !a.done)
			uv_run(&f->loop, UV_RUN_ONCE);
		assert_int_equal(sbx_remote_error(f->r)->err, 0);
	}
	run_until(f, &a.done);
	assert_int_equal(a.err, 0);
	run_service_fault(f->svc, RUN_WELL, 0); /* the next one tells the end */
}

static void a_killed_helper_is_another_one(void **state)
{
	struct fixture *f = *state;
	uint32_t pid;
	int err;

	use(f);
	pid = sbx_remote_info(f->r)->pid;
	kill((pid_t)pid, SIGKILL);
	err = do_mkdir(f, "d");
	assert_true(err == -ERESTART);
	assert_false(is_there(f, "d"));
	assert_int_equal(f->epochs, 1);
	assert_int_equal(do_mkdir(f, "d"), 0);
	assert_true(sbx_remote_info(f->r)->pid != pid);
}

/* The file that is open as 77 */
static void read_again(struct fixture *f, unsigned int nr)
{
	struct answer a[8] = {0};
	struct sbx_buf *b;
	unsigned int i;

	for (i = 0; i < nr; i++) {
		b = sbx_remote_begin(f->r, SBX_OP_READ, 3);
		sbx_put_u64(b, 77);
		sbx_put_u64(b, (uint64_t)i << 20);
		sbx_put_u64(b, 1 << 20);
		sbx_remote_submit(f->r, on_read, on_part, &a[i]);
	}
	for (i = 0; i < nr; i++) {
		run_until(f, &a[i].done);
		assert_int_equal(a[i].err, 0);
		assert_int_equal(a[i].len, 1 << 20);
	}
}

static void read_mebibytes(struct fixture *f, unsigned int nr)
{
	struct sbx_buf *b;

	make_file(f, "big", nr << 20);
	b = sbx_remote_begin(f->r, SBX_OP_OPEN, 5);
	sbx_put_u64(b, 77);
	sbx_put_at(b, SBX_DIR_WORKSPACE, "big", 3, 0);
	sbx_put_u64(b, O_RDONLY);
	sbx_remote_submit_quiet(f->r);
	read_again(f, nr);
}

static void large_answers_come_in_several(void **state)
{
	read_mebibytes(*state, 8);
}

static void small_answers_come_in_many(void **state)
{
	read_mebibytes(*state, 1);
}

/* What can be counted on is little; more is tried, and less again. */
static void answers_are_as_long_as_they_come_whole(void **state)
{
	struct fixture *f = *state;
	unsigned int all, capped;

	read_mebibytes(f, 8);
	all = run_service_runs(f->svc);
	assert_true(all < 40);
	run_service_cap(f->svc, 200000);
	read_again(f, 8);
	capped = run_service_runs(f->svc) - all;
	assert_true(capped > 60 && capped < 160);
	assert_int_equal(f->epochs, 0);
}

static void large_batches_go_in_several(void **state)
{
	static uint8_t data[30000];
	struct fixture *f = *state;
	struct answer a[40];
	struct sbx_buf *b;
	unsigned int i;

	make_file(f, "file", 0);
	b = sbx_remote_begin(f->r, SBX_OP_OPEN, 5);
	sbx_put_u64(b, 77);
	sbx_put_at(b, SBX_DIR_WORKSPACE, "file", 4, 0);
	sbx_put_u64(b, O_RDWR);
	sbx_remote_submit_quiet(f->r);
	for (i = 0; i < 40; i++) {
		a[i] = (struct answer){0};
		b = sbx_remote_begin(f->r, SBX_OP_WRITE, 3);
		sbx_put_u64(b, 77);
		sbx_put_u64(b, i * sizeof(data));
		sbx_put_bin(b, data, sizeof(data));
		sbx_remote_submit(f->r, on_attr, NULL, &a[i]);
	}
	for (i = 0; i < 40; i++) {
		run_until(f, &a[i].done);
		assert_int_equal(a[i].err, 0);
	}
	assert_int_equal(a[39].attr.size, 40 * sizeof(data));
}

static void changes_come_with_the_next_answer(void **state)
{
	struct fixture *f = *state;
	struct sbx_buf *b;
	uint64_t before;

	use(f);
	before = sbx_remote_heard_ms(f->r);
	assert_true(before != 0 && before != UINT64_MAX);
	b = sbx_remote_begin(f->r, SBX_OP_DIR, 5);
	sbx_put_u64(b, SBX_DIR_WORKSPACE);
	sbx_put_at(b, SBX_DIR_WORKSPACE, NULL, 0, 0);
	sbx_put_bool(b, true);
	sbx_remote_submit_quiet(f->r);
	use(f);
	make_file(f, "new", 5);
	rest(f, 50);
	assert_int_equal(f->changes, 0);
	use(f);
	assert_true(f->changes > 0);
	assert_true(sbx_remote_heard_ms(f->r) > before);
}

static void on_news(void *arg)
{
}

static struct sbx_job *start(struct fixture *f, const char *text)
{
	const char *argv[] = {"sh", "-c", text, NULL};
	struct sbx_job_conf conf = {.argv = argv};

	return sbx_job_start(f->r, &conf);
}

static void wait_job(struct fixture *f, struct sbx_job *j)
{
	struct sbx_job_watch w = {.on_news = on_news};
	uint64_t end;

	sbx_job_watch_add(j, &w);
	uv_update_time(&f->loop);
	end = uv_now(&f->loop) + PATIENCE_MS;
	while (sbx_job_state(j) != SBX_JOB_ENDED && uv_now(&f->loop) < end)
		uv_run(&f->loop, UV_RUN_ONCE);
	assert_int_equal(sbx_job_state(j), SBX_JOB_ENDED);
	sbx_job_watch_del(j, &w);
}

static size_t read_all(struct sbx_job *j, unsigned int which, char *dst,
		       size_t size)
{
	struct sbx_job_reader *rd = sbx_job_reader_new(j, which);
	size_t len = 0;
	long n;

	while ((n = sbx_job_read(rd, dst + len, size - len, NULL)) > 0)
		len += (size_t)n;
	sbx_job_reader_free(rd);
	return len;
}

static void a_command_is_a_run_of_its_own(void **state)
{
	static const char text[] = "mkdir from-command; echo 'it''s'; "
				   "ls; echo err >&2; exit 7";
	struct fixture *f = *state;
	struct answer a;
	char out[256];
	struct sbx_job *j;
	size_t n;

	ask_mkdir(f, "before", &a);
	j = start(f, text);
	wait_job(f, j);
	assert_true(a.done);
	assert_int_equal(sbx_job_exit_code(j), 7);
	n = read_all(j, 1, out, sizeof(out));
	out[n] = '\0';
	assert_string_equal(out, "its\nbefore\nfrom-command\n");
	n = read_all(j, 2, out, sizeof(out));
	out[n] = '\0';
	assert_string_equal(out, "err\n");
	assert_int_equal(run_service_commands(f->svc), 1);
	assert_string_equal(run_service_last(f->svc), text);
	assert_int_equal(sbx_job_signal(j, SIGTERM), -ESRCH);
	sbx_job_unref(j);
	assert_int_equal(do_getattr(f, "from-command"), 0);
}

static void a_command_with_more_to_it(void **state)
{
	static const char *const argv[] = {
		"sh", "-c", "pwd; cat; echo \"$A\"; sleep 9", NULL};
	static const char *const env[] = {"A=it's", NULL};
	struct fixture *f = *state;
	struct sbx_job_conf conf = {.argv = argv,
				    .env = env,
				    .cwd = "d d",
				    .timeout_ms = 500,
				    .flags = SBX_EXEC_STDIN};
	struct sbx_job *j;
	char out[256], want[256];
	size_t n;

	assert_int_equal(do_mkdir(f, "d d"), 0);
	j = sbx_job_start(f->r, &conf);
	assert_int_equal(sbx_job_write(j, "in\n", 3), 3);
	assert_int_equal(sbx_job_write(j, NULL, 0), 0);
	wait_job(f, j);
	assert_int_equal(sbx_job_exit_code(j), 124);
	n = read_all(j, 1, out, sizeof(out));
	out[n] = '\0';
	snprintf(want, sizeof(want), "%s/d d\nin\nit's\n", f->folder);
	assert_string_equal(out, want);
	sbx_job_unref(j);
}

static void commands_take_turns(void **state)
{
	struct fixture *f = *state;
	struct sbx_job *j[5];
	size_t i;

	for (i = 0; i < 5; i++)
		j[i] = start(f, "mkdir one && rmdir one");
	for (i = 0; i < 5; i++) {
		wait_job(f, j[i]);
		assert_int_equal(sbx_job_exit_code(j[i]), 0);
		sbx_job_unref(j[i]);
	}
	assert_int_equal(run_service_most(f->svc), 1);
}

static void a_command_that_is_lost_says_so(void **state)
{
	struct fixture *f = *state;
	struct sbx_job *j;

	use(f);
	j = start(f, "true");
	run_service_fault(f->svc, RUN_LOST_AFTER, 1);
	wait_job(f, j);
	assert_int_equal(sbx_job_error(j), -EIO);
	sbx_job_unref(j);
	use(f);
}

static void what_cannot_reach_a_command_fails(void **state)
{
	static const char *const argv[] = {"sh", NULL};
	struct fixture *f = *state;
	struct sbx_job_conf conf = {.argv = argv, .flags = SBX_EXEC_TTY};
	struct sbx_job *j;

	use(f);
	j = sbx_job_start(f->r, &conf);
	wait_job(f, j);
	assert_int_equal(sbx_job_error(j), -EOPNOTSUPP);
	sbx_job_unref(j);
	j = start(f, "sleep 0.3");
	while (sbx_job_state(j) == SBX_JOB_STARTING)
		uv_run(&f->loop, UV_RUN_ONCE);
	assert_int_equal(sbx_job_signal(j, SIGTERM), -EOPNOTSUPP);
	wait_job(f, j);
	assert_int_equal(sbx_job_exit_code(j), 0);
	sbx_job_unref(j);
}

static struct sbx_job *start_and_see(struct fixture *f, const char *text)
{
	struct sbx_job *j = start(f, text);

	while (sbx_job_state(j) == SBX_JOB_STARTING)
		uv_run(&f->loop, UV_RUN_ONCE);
	return j;
}

static void on_stuck(void *arg, const struct sbx_error *why)
{
	struct sbx_error *e = arg;

	*e = *why;
}

/* Nothing is sent while it runs, so what nobody waits for any more is not. */
static void what_waits_too_long_for_a_command_is_dropped(void **state)
{
	static const struct sbx_remote_listener listener = {.on_stuck =
								    on_stuck};
	struct fixture *f = *state;
	struct sbx_error why = {0};
	struct answer first, second;
	struct sbx_job *j, *next;

	sbx_remote_set_listener(f->r, &listener, &why);
	use(f);
	j = start_and_see(f, "until [ -e go ]; do sleep 0.05; done");
	assert_true(sbx_remote_is_occupied(f->r));
	next = start(f, "true");
	ask_mkdir(f, "first", &first);
	run_until(f, &first.done);
	assert_int_equal(first.err, -ETIMEDOUT);
	assert_int_equal(why.err, -ETIMEDOUT);
	assert_non_null(strstr(why.text, "a command that runs"));
	ask_mkdir(f, "second", &second);
	make_file(f, "go", 0);
	run_until(f, &second.done);
	assert_int_equal(second.err, 0);
	assert_false(is_there(f, "first"));
	/* one that waits for its turn waits for no answer */
	wait_job(f, next);
	assert_int_equal(sbx_job_exit_code(next), 0);
	wait_job(f, j);
	sbx_remote_set_listener(f->r, NULL, NULL);
	sbx_job_unref(next);
	sbx_job_unref(j);
}

static void what_was_not_sent_is_taken_back(void **state)
{
	struct fixture *f = *state;
	struct answer none, done;
	struct sbx_job *j;
	uint32_t number;

	use(f);
	number = ask_mkdir(f, "sent", &done);
	while (!is_there(f, "sent"))
		uv_run(&f->loop, UV_RUN_ONCE);
	assert_false(sbx_remote_withdraw(f->r, number));
	run_until(f, &done.done);
	assert_int_equal(done.err, 0);
	j = start_and_see(f, "until [ -e go ]; do sleep 0.05; done");
	number = ask_mkdir(f, "none", &none);
	ask_mkdir(f, "done", &done);
	assert_true(sbx_remote_withdraw(f->r, number));
	assert_true(none.done);
	assert_int_equal(none.err, -EINTR);
	make_file(f, "go", 0);
	run_until(f, &done.done);
	assert_int_equal(done.err, 0);
	assert_false(is_there(f, "none"));
	wait_job(f, j);
	sbx_job_unref(j);
}

static void much_output_waits_for_its_reader(void **state)
{
	struct fixture *f = *state;
	struct sbx_job_reader *rd;
	struct sbx_job *j = start(f, "yes | head -c 3000000; exit 3");
	static char buf[65536];
	size_t len = 0;
	long n = 0;

	rd = sbx_job_reader_new(j, 1);
	while ((n = sbx_job_read(rd, buf, sizeof(buf), NULL)) != 0) {
		assert_true(n > 0 || n == -EAGAIN);
		if (n > 0)
			len += (size_t)n;
		else
			uv_run(&f->loop, UV_RUN_ONCE);
	}
	assert_int_equal(len, 3000000);
	wait_job(f, j);
	assert_int_equal(sbx_job_exit_code(j), 3);
	sbx_job_reader_free(rd);
	sbx_job_unref(j);
}

static void without_a_helper_there_is_nothing(void **state)
{
	struct fixture *f = *state;

	sbx_remote_set_plain(f->r, "it was turned off");
	assert_int_equal(do_getattr(f, ""), -EOPNOTSUPP);
	assert_int_equal(run_service_runs(f->svc), 0);
	assert_non_null(strstr(sbx_remote_error(f->r)->text, "turned off"));
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

static void watch_workspace(struct fixture *f)
{
	struct sbx_buf *b;

	b = sbx_remote_begin(f->r, SBX_OP_DIR, 5);
	sbx_put_u64(b, SBX_DIR_WORKSPACE);
	sbx_put_at(b, SBX_DIR_WORKSPACE, NULL, 0, 0);
	sbx_put_bool(b, true);
	sbx_remote_submit_quiet(f->r);
	use(f);
	rest(f, 200);
}

/* Returns as soon as a change was told that was made now. */
static void make_and_hear(struct fixture *f, const char *name)
{
	unsigned int before = f->changes;
	uint64_t end = uv_now(&f->loop) + PATIENCE_MS;

	make_file(f, name, 5);
	while (f->changes == before && uv_now(&f->loop) < end)
		uv_run(&f->loop, UV_RUN_ONCE);
	assert_true(f->changes > before);
}

static void rest_until(struct fixture *f, bool up)
{
	uint64_t end = uv_now(&f->loop) + PATIENCE_MS;

	while (!sbx_remote_error(f->r)->err != up && uv_now(&f->loop) < end)
		rest(f, 10);
	assert_true(!sbx_remote_error(f->r)->err == up);
}

static void a_parked_run_brings_changes_by_itself(void **state)
{
	struct fixture *f = *state;

	watch_workspace(f);
	make_and_hear(f, "new");
	/* and others are not kept waiting by it */
	assert_int_equal(do_mkdir(f, "d"), 0);
	assert_int_equal(run_service_most(f->svc), 2);
}

/* Output of a command, or a change, may be waited for by somebody who asks
 * nothing. */
static void it_is_reached_again_though_nobody_asks(void **state)
{
	struct fixture *f = *state;

	watch_workspace(f);
	run_service_fault(f->svc, RUN_REFUSED, 2);
	make_and_hear(f, "one");
	rest_until(f, false);
	rest_until(f, true);
	make_and_hear(f, "two");
}

/* Each was parked between two, in vain: twice as many runs. */
static void none_is_parked_while_one_thing_follows_on_the_other(void **state)
{
	struct fixture *f = *state;
	unsigned int i, before;
	char name[16];

	use(f);
	before = run_service_runs(f->svc);
	for (i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "d%u", i);
		assert_int_equal(do_mkdir(f, name), 0);
	}
	assert_true(run_service_runs(f->svc) - before < 30);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
#define H(fn) cmocka_unit_test_setup_teardown(fn, setup_hasty, teardown)
#define P(fn) cmocka_unit_test_setup_teardown(fn, setup_parking, teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(base64_goes_both_ways),
		cmocka_unit_test(what_was_not_brought_is_not_there),
		cmocka_unit_test(what_came_wrong_is_brought_again),
		T(brings_the_helper_once),
		T(many_requests_are_one_run),
		T(nothing_runs_while_nobody_asks),
		T(a_fault_loses_and_doubles_nothing),
		T(faults_while_the_helper_is_brought),
		T(a_killed_helper_is_another_one),
		T(large_answers_come_in_several),
		T(large_batches_go_in_several),
		T(changes_come_with_the_next_answer),
		T(a_command_is_a_run_of_its_own),
		T(a_command_with_more_to_it),
		T(commands_take_turns),
		T(a_command_that_is_lost_says_so),
		T(what_cannot_reach_a_command_fails),
		H(what_waits_too_long_for_a_command_is_dropped),
		T(what_was_not_sent_is_taken_back),
		T(much_output_waits_for_its_reader),
		T(without_a_helper_there_is_nothing),
		P(a_parked_run_brings_changes_by_itself),
		P(it_is_reached_again_though_nobody_asks),
		P(none_is_parked_while_one_thing_follows_on_the_other),
		P(a_fault_loses_and_doubles_nothing),
		P(small_answers_come_in_many),
		P(answers_are_as_long_as_they_come_whole),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
