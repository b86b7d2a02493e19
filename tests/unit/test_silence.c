/* When the helper gives its client up: client/helper/silence.h. */
#include "client/helper/silence.h"
#include "tests/lib/unit.h"

#define MS   40000
#define STEP (MS / SILENCE_LOOKS)

/* Looks as its timer does until it gives up or it is `until`. */
static int64_t look_on(struct silence *l, int64_t now, int64_t until)
{
	int64_t left;

	while (now < until && (left = silence_look(l, now)))
		now += left;
	return now;
}

static void silence_ends_it(void **state)
{
	struct silence l = {.ms = MS, .heard_ms = 1000};

	assert_int_equal(look_on(&l, 1000, 1000000), 1000 + MS);
}

static void who_is_heard_is_not_given_up(void **state)
{
	struct silence l = {.ms = MS, .heard_ms = 1000};
	int64_t now = 1000;

	while (now < 500000) {
		now = look_on(&l, now, now + MS - 1);
		l.heard_ms = now;
	}
	assert_true(now >= 500000);
	assert_int_equal(look_on(&l, now, INT64_MAX), now + MS);
}

static void looks_that_are_a_little_late_count(void **state)
{
	struct silence l = {.ms = MS, .heard_ms = 1000};
	int64_t now = 1000, left;

	while ((left = silence_look(&l, now)))
		now += left + STEP;
	assert_in_range(now, MS, MS + 2 * STEP);
}

/* Frozen for an hour, twice: it has still most of its time to be found. */
static void time_in_the_ice_is_no_silence(void **state)
{
	struct silence l = {.ms = MS, .heard_ms = 1000};
	int64_t now = look_on(&l, 1000, 1000 + STEP);

	now += 3600000;
	assert_true(silence_look(&l, now) > 0);
	assert_true(look_on(&l, now, INT64_MAX) >= now + MS - 2 * STEP);

	l = (struct silence){.ms = MS, .heard_ms = 1000};
	now = look_on(&l, 1000, 1000 + STEP) + 3600000;
	l.heard_ms = now; /* before the look that is late */
	assert_int_equal(silence_look(&l, now + 1), STEP);
	assert_true(l.heard_ms <= now + 1);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(silence_ends_it),
		cmocka_unit_test(who_is_heard_is_not_given_up),
		cmocka_unit_test(looks_that_are_a_little_late_count),
		cmocka_unit_test(time_in_the_ice_is_no_silence),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
