/* Commands of the user where each is a run of its own. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/job.h"
#include "client/remote.h"
#include "client/wire/proto.h"
#include "tests/lib/exchange_rig.h"
#include "tests/lib/run_service.h"
#include "tests/lib/unit.h"

static void on_news(void *arg)
{
}

static struct sbx_job *start(struct exchange_rig *f, const char *text)
{
	const char *argv[] = {"sh", "-c", text, NULL};
	struct sbx_job_conf conf = {.argv = argv};

	return sbx_job_start(f->r, &conf);
}

static void wait_job(struct exchange_rig *f, struct sbx_job *j)
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
	struct exchange_rig *f = *state;
	struct answer a;
	char out[256];
	struct sbx_job *j;
	size_t n;

	rig_ask_mkdir(f, "before", &a);
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
	assert_int_equal(rig_do_getattr(f, "from-command"), 0);
}

static void a_command_with_more_to_it(void **state)
{
	static const char *const argv[] = {
		"sh", "-c", "pwd; cat; echo \"$A\"; sleep 9", NULL};
	static const char *const env[] = {"A=it's", NULL};
	struct exchange_rig *f = *state;
	struct sbx_job_conf conf = {.argv = argv,
				    .env = env,
				    .cwd = "d d",
				    .timeout_ms = 500,
				    .flags = SBX_EXEC_STDIN};
	struct sbx_job *j;
	char out[256], want[256];
	size_t n;

	assert_int_equal(rig_do_mkdir(f, "d d"), 0);
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
	struct exchange_rig *f = *state;
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
	struct exchange_rig *f = *state;
	struct sbx_job *j;

	rig_use(f);
	j = start(f, "true");
	run_service_fault(f->svc, RUN_LOST_AFTER, 1);
	wait_job(f, j);
	assert_int_equal(sbx_job_error(j), -EIO);
	sbx_job_unref(j);
	rig_use(f);
}

static void what_cannot_reach_a_command_fails(void **state)
{
	static const char *const argv[] = {"sh", NULL};
	struct exchange_rig *f = *state;
	struct sbx_job_conf conf = {.argv = argv, .flags = SBX_EXEC_TTY};
	struct sbx_job *j;

	rig_use(f);
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

static struct sbx_job *start_and_see(struct exchange_rig *f, const char *text)
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
	struct exchange_rig *f = *state;
	struct sbx_error why = {0};
	struct answer first, second;
	struct sbx_job *j, *next;

	sbx_remote_set_listener(f->r, &listener, &why);
	rig_use(f);
	j = start_and_see(f, "until [ -e go ]; do sleep 0.05; done");
	assert_true(sbx_remote_is_occupied(f->r));
	next = start(f, "true");
	rig_ask_mkdir(f, "first", &first);
	rig_run_until(f, &first.done);
	assert_int_equal(first.err, -ETIMEDOUT);
	assert_int_equal(why.err, -ETIMEDOUT);
	assert_non_null(strstr(why.text, "a command that runs"));
	rig_ask_mkdir(f, "second", &second);
	rig_make_file(f, "go", 0);
	rig_run_until(f, &second.done);
	assert_int_equal(second.err, 0);
	assert_false(rig_is_there(f, "first"));
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
	struct exchange_rig *f = *state;
	struct answer none, done;
	struct sbx_job *j;
	uint32_t number;

	rig_use(f);
	number = rig_ask_mkdir(f, "sent", &done);
	while (!rig_is_there(f, "sent"))
		uv_run(&f->loop, UV_RUN_ONCE);
	assert_false(sbx_remote_withdraw(f->r, number));
	rig_run_until(f, &done.done);
	assert_int_equal(done.err, 0);
	j = start_and_see(f, "until [ -e go ]; do sleep 0.05; done");
	number = rig_ask_mkdir(f, "none", &none);
	rig_ask_mkdir(f, "done", &done);
	assert_true(sbx_remote_withdraw(f->r, number));
	assert_true(none.done);
	assert_int_equal(none.err, -EINTR);
	rig_make_file(f, "go", 0);
	rig_run_until(f, &done.done);
	assert_int_equal(done.err, 0);
	assert_false(rig_is_there(f, "none"));
	wait_job(f, j);
	sbx_job_unref(j);
}

struct endless {
	struct exchange_rig *f;
	unsigned int answers;
	bool stop, done;
};

static void ask_on(struct endless *e);

static void on_ask_on(void *arg, int err, struct sbx_rd *rd)
{
	struct endless *e = arg;

	assert_int_equal(err, 0);
	e->answers++;
	e->done = e->stop;
	if (!e->stop)
		ask_on(e);
}

static void ask_on(struct endless *e)
{
	struct sbx_buf *b = sbx_remote_begin(e->f->r, SBX_OP_GETATTR, 3);

	sbx_put_at(b, SBX_DIR_WORKSPACE, NULL, 0, 0);
	sbx_remote_submit(e->f->r, on_ask_on, NULL, e);
}

static void who_asks_without_pause_holds_no_command_back(void **state)
{
	struct exchange_rig *f = *state;
	struct endless e = {.f = f};
	struct answer before;
	unsigned int runs, i;
	struct sbx_job *j[3];

	rig_use(f);
	ask_on(&e);
	while (e.answers < 3)
		uv_run(&f->loop, UV_RUN_ONCE);
	rig_ask_mkdir(f, "before", &before);
	for (i = 0; i < 3; i++)
		j[i] = start(f, "ls -d before");
	runs = run_service_runs(f->svc);
	for (i = 0; i < 3; i++) {
		wait_job(f, j[i]);
		assert_int_equal(sbx_job_exit_code(j[i]), 0);
		sbx_job_unref(j[i]);
	}
	/* the run under way, the one that says what was said before, and for
	 * each command its own and the one behind it, where all others have
	 * their turn, too */
	assert_in_range(run_service_runs(f->svc) - runs, 6, 9);
	assert_true(e.answers >= 5);
	e.stop = true;
	rig_run_until(f, &e.done);
}

/* Reads the rest. */
static size_t read_on(struct exchange_rig *f, struct sbx_job_reader *rd)
{
	static char buf[65536];
	size_t len = 0;
	long n;

	while ((n = sbx_job_read(rd, buf, sizeof(buf), NULL)) != 0) {
		assert_true(n > 0 || n == -EAGAIN);
		if (n > 0)
			len += (size_t)n;
		else
			uv_run(&f->loop, UV_RUN_ONCE);
	}
	return len;
}

static void much_output_waits_for_its_reader(void **state)
{
	struct exchange_rig *f = *state;
	struct sbx_job *j = start(f, "yes | head -c 3000000; exit 3");
	struct sbx_job_reader *rd = sbx_job_reader_new(j, 1);

	assert_int_equal(read_on(f, rd), 3000000);
	wait_job(f, j);
	assert_int_equal(sbx_job_exit_code(j), 3);
	sbx_job_reader_free(rd);
	sbx_job_unref(j);
}

static void a_reader_who_waits_keeps_the_end_from_nobody(void **state)
{
	struct exchange_rig *f = *state;
	struct sbx_job *j = start(f, "yes | head -c 3000000; exit 3");
	struct sbx_job_reader *rd = sbx_job_reader_new(j, 1);
	struct sbx_job *next = start(f, "exit 4");

	wait_job(f, j);
	assert_int_equal(sbx_job_exit_code(j), 3);
	wait_job(f, next);
	assert_int_equal(sbx_job_exit_code(next), 4);
	sbx_job_unref(next);
	assert_int_equal(read_on(f, rd), 3000000);
	sbx_job_reader_free(rd);
	sbx_job_unref(j);
}

#define LARGE 40000000

static void what_waits_for_readers_is_bounded(void **state)
{
	struct exchange_rig *f = *state;
	struct sbx_job_reader *rd[2];
	struct sbx_job *j[2], *more;
	int i;

	for (i = 0; i < 2; i++) {
		j[i] = start(f, "yes | head -c 40000000");
		rd[i] = sbx_job_reader_new(j[i], 1);
	}
	more = start(f, "true");
	wait_job(f, more);
	assert_int_equal(sbx_job_error(more), -EBUSY);
	sbx_job_unref(more);
	/* what is read has room again, and what nobody reads any more */
	assert_int_equal(read_on(f, rd[0]), LARGE);
	sbx_job_reader_free(rd[0]);
	more = start(f, "true");
	wait_job(f, more);
	assert_int_equal(sbx_job_error(more), 0);
	sbx_job_unref(more);
	sbx_job_unref(j[0]);
	j[0] = start(f, "yes | head -c 40000000");
	rd[0] = sbx_job_reader_new(j[0], 1);
	wait_job(f, j[0]);
	for (i = 0; i < 2; i++) {
		sbx_job_reader_free(rd[i]);
		sbx_job_unref(j[i]);
	}
	rig_use(f);
	more = start(f, "true");
	wait_job(f, more);
	assert_int_equal(sbx_job_error(more), 0);
	sbx_job_unref(more);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, rig_setup, rig_teardown)
#define H(fn) cmocka_unit_test_setup_teardown(fn, rig_setup_hasty, rig_teardown)
	const struct CMUnitTest tests[] = {
		T(a_command_is_a_run_of_its_own),
		T(a_command_with_more_to_it),
		T(commands_take_turns),
		T(a_command_that_is_lost_says_so),
		T(what_cannot_reach_a_command_fails),
		H(what_waits_too_long_for_a_command_is_dropped),
		T(what_was_not_sent_is_taken_back),
		T(who_asks_without_pause_holds_no_command_back),
		T(much_output_waits_for_its_reader),
		T(a_reader_who_waits_keeps_the_end_from_nobody),
		T(what_waits_for_readers_is_bounded),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
