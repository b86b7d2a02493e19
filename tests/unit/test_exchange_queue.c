/* What waits for a run: for how long, how much, and what is in no hurry. */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "client/exchange_int.h"
#include "client/remote.h"
#include "tests/lib/exchange_rig.h"
#include "tests/lib/run_service.h"
#include "tests/lib/unit.h"

static void on_stuck(void *arg, const struct sbx_error *why)
{
	struct sbx_error *e = arg;

	*e = *why;
}

/* Whether it was sent or waits behind what was. */
static void a_service_that_does_not_answer_is_not_waited_for(void **state)
{
	static const struct sbx_remote_listener listener = {.on_stuck =
								    on_stuck};
	struct exchange_rig *f = *state;
	struct sbx_error why = {0};
	struct answer sent, behind;
	uint64_t begin;

	sbx_remote_set_listener(f->r, &listener, &why);
	rig_use(f);
	run_service_fault(f->svc, RUN_SILENT, 1);
	begin = uv_now(&f->loop);
	rig_ask_mkdir(f, "sent", &sent);
	rig_rest(f, 100);
	rig_ask_mkdir(f, "behind", &behind);
	rig_run_until(f, &sent.done);
	assert_int_equal(sent.err, -ETIMEDOUT);
	/* two seconds, looked for every second: far from four times that */
	assert_in_range(uv_now(&f->loop) - begin, 2000, 6000);
	rig_run_until(f, &behind.done);
	assert_int_equal(behind.err, -ETIMEDOUT);
	assert_non_null(strstr(why.text, "for the service to answer"));
	sbx_remote_set_listener(f->r, NULL, NULL);
}

static void what_is_in_no_hurry_goes_along(void **state)
{
	struct exchange_rig *f = *state;
	struct answer whenever, soon, a;
	unsigned int runs;

	rig_use(f);
	runs = run_service_runs(f->svc);
	sbx_remote_defer(f->r, SBX_WHENEVER);
	rig_ask_mkdir(f, "whenever", &whenever);
	sbx_remote_defer(f->r, PATIENCE_MS);
	rig_ask_mkdir(f, "soon", &soon);
	sbx_remote_defer(f->r, 0);
	rig_rest(f, 1500);
	assert_int_equal(run_service_runs(f->svc), runs);
	rig_ask_getattr(f, "soon", &a);
	rig_run_until(f, &a.done);
	assert_true(whenever.done && soon.done);
	assert_int_equal(whenever.err | soon.err | a.err, 0);
	assert_int_equal(run_service_runs(f->svc), runs + 1);
}

static void what_is_in_no_hurry_goes_when_it_is_due(void **state)
{
	struct exchange_rig *f = *state;
	struct answer whenever, soon;
	unsigned int runs;

	rig_use(f);
	runs = run_service_runs(f->svc);
	sbx_remote_defer(f->r, SBX_WHENEVER);
	rig_ask_mkdir(f, "whenever", &whenever);
	sbx_remote_defer(f->r, 50);
	rig_ask_mkdir(f, "soon", &soon);
	sbx_remote_defer(f->r, 0);
	rig_run_until(f, &soon.done);
	assert_int_equal(whenever.err | soon.err, 0);
	sbx_remote_defer(f->r, PATIENCE_MS);
	rig_ask_mkdir(f, "later", &soon);
	sbx_remote_defer(f->r, 0);
	sbx_remote_hasten(f->r);
	rig_run_until(f, &soon.done);
	assert_int_equal(soon.err, 0);
	assert_int_equal(run_service_runs(f->svc), runs + 2);
}

static void what_is_of_no_more_use_is_never_due(void **state)
{
	struct exchange_rig *f = *state;
	struct answer soon, a;
	unsigned int runs;

	rig_use(f);
	runs = run_service_runs(f->svc);
	sbx_remote_defer(f->r, 100);
	sbx_remote_relax(f->r, rig_ask_mkdir(f, "soon", &soon));
	sbx_remote_defer(f->r, 0);
	rig_rest(f, 500);
	sbx_remote_hasten(f->r);
	rig_rest(f, 500);
	assert_int_equal(run_service_runs(f->svc), runs);
	rig_ask_getattr(f, "soon", &a);
	rig_run_until(f, &a.done);
	assert_true(soon.done);
	assert_int_equal(soon.err | a.err, 0);
}

static void a_lost_answer_to_what_hurried_is_asked_for_again(void **state)
{
	struct exchange_rig *f = *state;
	struct answer soon;

	rig_use(f);
	sbx_remote_defer(f->r, PATIENCE_MS);
	rig_ask_mkdir(f, "soon", &soon);
	sbx_remote_defer(f->r, 0);
	run_service_fault(f->svc, RUN_LOST_AFTER, 1);
	sbx_remote_hasten(f->r);
	rig_run_until(f, &soon.done);
	assert_int_equal(soon.err, 0);
}

static void what_waits_is_bounded(void **state)
{
	static uint8_t message[SBX_MESSAGE_MAX];
	struct exchange_queue q;
	unsigned int nr = 0;

	exchange_queue_init(&q);
	while (exchange_queue_add(&q, 1, message, sizeof(message), nr & 1, 0) ==
	       0)
		nr++;
	assert_in_range(q.bytes, 8 << 20, 16 << 20);
	assert_int_equal(q.lazy, nr / 2 * sizeof(message));
	assert_int_equal(
		exchange_queue_add(&q, 1, message, sizeof(message), 0, 0),
		-EAGAIN);
	/* nobody would hear that it was not taken */
	assert_int_equal(exchange_queue_add(&q, 0, message, 100, true, 5), 0);
	assert_true(exchange_queue_has(&q, 1));
	assert_int_equal(exchange_queue_due(&q), 5);
	exchange_queue_hasten(&q, false);
	assert_int_equal(q.lazy, nr / 2 * sizeof(message));
	assert_int_equal(exchange_queue_due(&q), 0);
	exchange_queue_hasten(&q, true);
	assert_int_equal(q.lazy, 0);
	exchange_queue_clear(&q);
	assert_int_equal(q.bytes, 0);
	assert_false(exchange_queue_has(&q, q.nr));
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, rig_setup, rig_teardown)
#define H(fn) cmocka_unit_test_setup_teardown(fn, rig_setup_hasty, rig_teardown)
	const struct CMUnitTest tests[] = {
		H(a_service_that_does_not_answer_is_not_waited_for),
		T(what_is_in_no_hurry_goes_along),
		T(what_is_in_no_hurry_goes_when_it_is_due),
		T(what_is_of_no_more_use_is_never_due),
		T(a_lost_answer_to_what_hurried_is_asked_for_again),
		cmocka_unit_test(what_waits_is_bounded),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
