/* When a run is told of: never from within starting or cancelling it, once,
 * and whatever memory there is. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/service.h"
#include "tests/lib/unit.h"

#define TRIES 12 /* more allocations than it takes to start a run */

static const char *const services[] = {"vtrix", "timetravel"};

static uv_loop_t loop;
static struct sbx_conf conf;
static struct sbx_service *svc;
static struct sbx_run run;
static unsigned int told;
static bool waiting, is_closed;
static int failing; /* which allocation from here on; 0: none */

/* instead of the system's: see meson.build */
void *__real_calloc(size_t nr, size_t size);
void *__wrap_calloc(size_t nr, size_t size);
void *__wrap_calloc(size_t nr, size_t size)
{
	if (failing && !--failing)
		return NULL;
	return __real_calloc(nr, size);
}

static void on_done(struct sbx_run *r)
{
	assert_ptr_equal(r, &run);
	told++;
	if (waiting)
		uv_stop(&loop);
}

static void on_closed(void *arg)
{
	is_closed = true;
}

/* One that nobody answers. */
static void setup(const char *name)
{
	char source[64];
	struct sbx_error e;

	told = 0;
	is_closed = false;
	uv_loop_init(&loop);
	sbx_conf_init(&conf);
	snprintf(source, sizeof(source), "%s+http://127.0.0.1:1", name);
	assert_int_equal(sbx_conf_parse_source(&conf, source, &e), 0);
	conf.key = sbx_secret_new("k", 1);
	assert_int_equal(sbx_service_find(name)->open(&loop, &conf, &svc, &e),
			 0);
	run = (struct sbx_run){.command = "true", .done = on_done};
}

static void start(void)
{
	svc->type->run(svc, "one", &run);
	failing = 0;
	assert_int_equal(told, 0);
}

static void wait_end(void)
{
	waiting = true;
	uv_run(&loop, UV_RUN_DEFAULT);
	waiting = false;
	assert_int_equal(told, 1);
}

static void teardown(void)
{
	svc->type->close(svc, on_closed, NULL);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_true(is_closed);
	assert_int_equal(told, 1);
	assert_int_equal(uv_loop_close(&loop), 0);
	sbx_conf_release(&conf);
}

static void without_memory_it_fails_later(void **state)
{
	for (size_t i = 0; i < sizeof(services) / sizeof(*services); i++) {
		for (int n = 1; n <= TRIES; n++) {
			setup(services[i]);
			failing = n;
			start();
			/* one that had enough is not waited for */
			svc->type->run_cancel(svc, &run);
			wait_end();
			assert_true(run.error.err == -ENOMEM ||
				    run.error.err == -ECANCELED);
			teardown();
		}
	}
}

static void cancelled_it_ends_later(void **state)
{
	for (size_t i = 0; i < sizeof(services) / sizeof(*services); i++) {
		setup(services[i]);
		start();
		svc->type->run_cancel(svc, &run);
		svc->type->run_cancel(svc, &run);
		assert_int_equal(told, 0);
		wait_end();
		assert_int_equal(run.error.err, -ECANCELED);
		teardown();
	}
}

static void closing_ends_it(void **state)
{
	for (size_t i = 0; i < sizeof(services) / sizeof(*services); i++) {
		setup(services[i]);
		start();
		teardown();
		assert_int_equal(run.error.err, -ECANCELED);
		setup(services[i]);
		start();
		svc->type->run_cancel(svc, &run);
		teardown();
		assert_int_equal(run.error.err, -ECANCELED);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_memory_it_fails_later),
		cmocka_unit_test(cancelled_it_ends_later),
		cmocka_unit_test(closing_ends_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
