/*
 * remote and exchange against the real helper, by runs of a local shell that go
 * wrong at each point.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "client/remote.h"
#include "client/wire/proto.h"
#include "tests/lib/exchange_rig.h"
#include "tests/lib/run_service.h"
#include "tests/lib/unit.h"

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

static void brings_the_helper_once(void **state)
{
	struct exchange_rig *f = *state;
	struct sbx_remote *second;
	unsigned int runs;

	rig_use(f);
	assert_string_equal(sbx_remote_info(f->r)->cwd, f->folder);
	assert_true(sbx_remote_info(f->r)->runs);
	runs = run_service_runs(f->svc);
	assert_true(runs > 4);
	/* another one finds it there: a hello, and what was asked */
	second = f->r;
	f->r = sbx_remote_new(&f->loop, f->svc, "box", RIG_TIMEOUT_MS);
	rig_use(f);
	assert_int_equal(run_service_runs(f->svc), runs + 2);
	f->closed = false;
	sbx_remote_close(second, rig_on_closed, f);
	rig_run_until(f, &f->closed);
	f->closed = false;
	assert_int_equal(run_service_most(f->svc), 1);
}

static void many_requests_are_one_run(void **state)
{
	struct exchange_rig *f = *state;
	struct answer a[100];
	unsigned int i, runs;
	char name[16];

	rig_use(f);
	runs = run_service_runs(f->svc);
	for (i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "d%u", i / 2);
		if (i % 2)
			rig_ask_getattr(f, name, &a[i]);
		else
			rig_ask_mkdir(f, name, &a[i]);
	}
	for (i = 0; i < 100; i++) {
		rig_run_until(f, &a[i].done);
		assert_int_equal(a[i].err, 0);
	}
	assert_int_equal(run_service_runs(f->svc), runs + 1);
}

static void nothing_runs_while_nobody_asks(void **state)
{
	struct exchange_rig *f = *state;
	unsigned int runs;

	rig_use(f);
	runs = run_service_runs(f->svc);
	rig_rest(f, 1500);
	assert_int_equal(run_service_runs(f->svc), runs);
}

static bool is_down(const struct exchange_rig *f)
{
	return sbx_remote_state(f->r) != SBX_LINK_UP;
}

/* The helper would end some day, with what it holds. */
static void it_is_called_now_and_then_while_it_holds_something(void **state)
{
	struct exchange_rig *f = *state;
	unsigned int runs, i;

	run_service_stay(f->svc, 300);
	rig_use(f);
	f->holds = true;
	runs = run_service_runs(f->svc);
	rig_rest(f, 1600);
	assert_in_range(run_service_runs(f->svc) - runs, 2, 5);
	/* when the service was away, too */
	run_service_fault(f->svc, RUN_REFUSED, 4);
	for (i = 0; i < 100 && !is_down(f); i++)
		rig_rest(f, 100);
	assert_true(is_down(f));
	for (i = 0; i < 100 && is_down(f); i++)
		rig_rest(f, 100);
	assert_false(is_down(f));
	f->holds = false;
	rig_rest(f, 50);
	runs = run_service_runs(f->svc);
	rig_rest(f, 1000);
	assert_int_equal(run_service_runs(f->svc), runs);
}

/* One that never brings what it says it has. */
static void more_that_does_not_come_is_asked_for_with_pauses(void **state)
{
	struct exchange_rig *f = *state;
	unsigned int runs;

	rig_use(f);
	run_service_fault(f->svc, RUN_MORE, 1000);
	assert_int_equal(rig_do_mkdir(f, "d"), 0);
	runs = run_service_runs(f->svc);
	rig_rest(f, 1200);
	/* 250 and 500 ms after two that were not */
	assert_true(run_service_runs(f->svc) <= runs + 5);
	/* who asks something does not wait */
	assert_int_equal(rig_do_getattr(f, "d"), 0);
	run_service_fault(f->svc, RUN_WELL, 0);
	assert_int_equal(rig_do_mkdir(f, "e"), 0);
}

static void a_fault_loses_and_doubles_nothing(void **state)
{
	static const enum run_fault faults[] = {RUN_LOST_BEFORE, RUN_LOST_AFTER,
						RUN_REFUSED,	 RUN_CUT,
						RUN_NOT_STARTED, RUN_NOISE};
	struct exchange_rig *f = *state;
	char name[32];
	size_t i;
	unsigned int n;

	rig_use(f);
	for (i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		for (n = 1; n <= 3; n += 2) {
			run_service_fault(f->svc, faults[i], n);
			snprintf(name, sizeof(name), "f%zu-%u", i, n);
			assert_int_equal(rig_do_mkdir(f, name), 0);
			assert_true(rig_is_there(f, name));
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
	struct exchange_rig *f = *state;
	unsigned int i;
	struct answer a;

	rig_ask_getattr(f, "", &a);
	for (i = 0; i < 40 && !a.done; i++) {
		unsigned int runs = run_service_runs(f->svc);

		run_service_fault(f->svc, faults[i % 3], 1);
		while (run_service_runs(f->svc) < runs + 3 && !a.done)
			uv_run(&f->loop, UV_RUN_ONCE);
		assert_int_equal(sbx_remote_error(f->r)->err, 0);
	}
	rig_run_until(f, &a.done);
	assert_int_equal(a.err, 0);
	run_service_fault(f->svc, RUN_WELL, 0); /* the next one tells the end */
}

static void a_killed_helper_is_another_one(void **state)
{
	struct exchange_rig *f = *state;
	uint32_t pid;
	int err;

	rig_use(f);
	pid = sbx_remote_info(f->r)->pid;
	kill((pid_t)pid, SIGKILL);
	err = rig_do_mkdir(f, "d");
	assert_true(err == -ERESTART);
	assert_false(rig_is_there(f, "d"));
	assert_int_equal(f->epochs, 1);
	assert_int_equal(rig_do_mkdir(f, "d"), 0);
	assert_true(sbx_remote_info(f->r)->pid != pid);
}

/* The file that is open as 77 */
static void read_again(struct exchange_rig *f, unsigned int nr)
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
		rig_run_until(f, &a[i].done);
		assert_int_equal(a[i].err, 0);
		assert_int_equal(a[i].len, 1 << 20);
	}
}

static void read_mebibytes(struct exchange_rig *f, unsigned int nr)
{
	struct sbx_buf *b;

	rig_make_file(f, "big", nr << 20);
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
	struct exchange_rig *f = *state;
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
	struct exchange_rig *f = *state;
	struct answer a[40];
	struct sbx_buf *b;
	unsigned int i;

	rig_make_file(f, "file", 0);
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
		sbx_remote_submit(f->r, rig_on_attr, NULL, &a[i]);
	}
	for (i = 0; i < 40; i++) {
		rig_run_until(f, &a[i].done);
		assert_int_equal(a[i].err, 0);
	}
	assert_int_equal(a[39].attr.size, 40 * sizeof(data));
}

static void changes_come_with_the_next_answer(void **state)
{
	struct exchange_rig *f = *state;
	struct sbx_buf *b;
	uint64_t before;

	rig_use(f);
	before = sbx_remote_heard_ms(f->r);
	assert_true(before != 0 && before != UINT64_MAX);
	b = sbx_remote_begin(f->r, SBX_OP_DIR, 5);
	sbx_put_u64(b, SBX_DIR_WORKSPACE);
	sbx_put_at(b, SBX_DIR_WORKSPACE, NULL, 0, 0);
	sbx_put_bool(b, true);
	sbx_remote_submit_quiet(f->r);
	rig_use(f);
	rig_make_file(f, "new", 5);
	rig_rest(f, 50);
	assert_int_equal(f->changes, 0);
	rig_use(f);
	assert_true(f->changes > 0);
	assert_true(sbx_remote_heard_ms(f->r) > before);
}

/* What happens behind a run is not in its answer, however late that is. */
static void what_is_known_is_as_old_as_the_run(void **state)
{
	struct exchange_rig *f = *state;
	uint64_t before;

	rig_use(f);
	run_service_fault(f->svc, RUN_LATE, 1);
	before = uv_now(&f->loop);
	rig_use(f);
	assert_true(uv_now(&f->loop) >= before + RUN_LATE_MS);
	assert_true(sbx_remote_heard_ms(f->r) < before + RUN_LATE_MS);
}

static void without_a_helper_there_is_nothing(void **state)
{
	struct exchange_rig *f = *state;

	sbx_remote_set_plain(f->r, "it was turned off");
	assert_int_equal(rig_do_getattr(f, ""), -EOPNOTSUPP);
	assert_int_equal(run_service_runs(f->svc), 0);
	assert_non_null(strstr(sbx_remote_error(f->r)->text, "turned off"));
}

static void watch_workspace(struct exchange_rig *f)
{
	struct sbx_buf *b;

	b = sbx_remote_begin(f->r, SBX_OP_DIR, 5);
	sbx_put_u64(b, SBX_DIR_WORKSPACE);
	sbx_put_at(b, SBX_DIR_WORKSPACE, NULL, 0, 0);
	sbx_put_bool(b, true);
	sbx_remote_submit_quiet(f->r);
	rig_use(f);
	rig_rest(f, 200);
}

/* Returns as soon as a change was told that was made now. */
static void make_and_hear(struct exchange_rig *f, const char *name)
{
	unsigned int before = f->changes;
	uint64_t end = uv_now(&f->loop) + PATIENCE_MS;

	rig_make_file(f, name, 5);
	while (f->changes == before && uv_now(&f->loop) < end)
		uv_run(&f->loop, UV_RUN_ONCE);
	assert_true(f->changes > before);
}

static void rest_until(struct exchange_rig *f, bool up)
{
	uint64_t end = uv_now(&f->loop) + PATIENCE_MS;

	while (!sbx_remote_error(f->r)->err != up && uv_now(&f->loop) < end)
		rig_rest(f, 10);
	assert_true(!sbx_remote_error(f->r)->err == up);
}

static void a_parked_run_brings_changes_by_itself(void **state)
{
	struct exchange_rig *f = *state;
	char name[16];
	int i;

	watch_workspace(f);
	make_and_hear(f, "new");
	/* and others are not kept waiting by the next one, once it is there */
	for (i = 0; i < 50 && run_service_most(f->svc) < 2; i++) {
		rig_rest(f, 50);
		snprintf(name, sizeof(name), "d%d", i);
		assert_int_equal(rig_do_mkdir(f, name), 0);
	}
	assert_int_equal(run_service_most(f->svc), 2);
}

/* Output of a command, or a change, may be waited for by somebody who asks
 * nothing. */
static void it_is_reached_again_though_nobody_asks(void **state)
{
	struct exchange_rig *f = *state;

	watch_workspace(f);
	run_service_fault(f->svc, RUN_REFUSED, 2);
	make_and_hear(f, "one");
	rest_until(f, false);
	rest_until(f, true);
	make_and_hear(f, "two");
}

/*
 * Each was parked between two, in vain: twice as many runs.  One is behind the
 * first answer, on which nothing had followed yet; and where this process did
 * not get to run in time, one is before what comes late and one behind it.
 */
static void none_is_parked_while_one_thing_follows_on_the_other(void **state)
{
	struct exchange_rig *f = *state;
	unsigned int i, before, late;
	char name[16];

	rig_use(f);
	before = run_service_runs(f->svc);
	late = run_service_late(f->svc);
	for (i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "d%u", i);
		assert_int_equal(rig_do_mkdir(f, name), 0);
	}
	late = run_service_late(f->svc) - late;
	assert_true(run_service_runs(f->svc) - before <= 20 + 1 + 2 * late);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, rig_setup, rig_teardown)
#define P(fn)                                                                  \
	cmocka_unit_test_setup_teardown(fn, rig_setup_parking, rig_teardown)
	const struct CMUnitTest tests[] = {
		T(brings_the_helper_once),
		T(many_requests_are_one_run),
		T(nothing_runs_while_nobody_asks),
		T(it_is_called_now_and_then_while_it_holds_something),
		T(more_that_does_not_come_is_asked_for_with_pauses),
		T(a_fault_loses_and_doubles_nothing),
		T(faults_while_the_helper_is_brought),
		T(a_killed_helper_is_another_one),
		T(large_answers_come_in_several),
		T(large_batches_go_in_several),
		T(changes_come_with_the_next_answer),
		T(what_is_known_is_as_old_as_the_run),
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
