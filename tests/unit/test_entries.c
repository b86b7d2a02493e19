/* fuse/entries: names and cookies under insertion and removal */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuse/entries.h"
#include "tests/lib/unit.h"

static const char *name_of(unsigned n, char *buf)
{
	sprintf(buf, n % 3 ? "f%u" : "a-rather-long-name-of-a-file-%u.txt", n);
	return buf;
}

static struct sfs_entry *find(struct sfs_entries *t, unsigned n)
{
	char buf[64];

	name_of(n, buf);
	return sfs_entries_find(t, buf, strlen(buf));
}

static struct sfs_entry *add(struct sfs_entries *t, unsigned n)
{
	char buf[64];
	struct sfs_entry *e;

	name_of(n, buf);
	e = sfs_entries_add(t, buf, strlen(buf));
	assert_non_null(e);
	return e;
}

static void clear(struct sfs_entries *t)
{
	struct sfs_entry *e;

	while ((e = sfs_entries_after(t, 0)))
		sfs_entries_remove(t, e);
	assert_int_equal(t->nr, 0);
	sfs_entries_release(t);
}

static void test_names_are_found(void **state)
{
	struct sfs_entries t;
	unsigned n;

	sfs_entries_init(&t, 12345);
	for (n = 0; n < 5000; n++) {
		assert_null(find(&t, n));
		add(&t, n);
	}
	for (n = 0; n < 5000; n++)
		assert_non_null(find(&t, n));
	for (n = 0; n < 5000; n += 2)
		sfs_entries_remove(&t, find(&t, n));
	for (n = 0; n < 5000; n++)
		assert_int_equal(find(&t, n) != NULL, n % 2);
	assert_int_equal(t.nr, 2500);
	clear(&t);
}

static void test_cookies_grow_and_stay(void **state)
{
	uint64_t cookie[300], last = SFS_COOKIE_FIRST - 1;
	struct sfs_entries t;
	unsigned n;

	sfs_entries_init(&t, 1);
	for (n = 0; n < 300; n++) {
		cookie[n] = add(&t, n)->cookie;
		assert_true(cookie[n] > last);
		last = cookie[n];
	}
	for (n = 0; n < 300; n++)
		if (n % 7)
			sfs_entries_remove(&t, find(&t, n));
	for (n = 0; n < 300; n += 7)
		assert_int_equal(find(&t, n)->cookie, cookie[n]);
	/* a name that comes again comes last */
	assert_true(add(&t, 1)->cookie > last);
	clear(&t);
}

/* Most of a large directory vanishes while it is gone through: a search for
 * each would take minutes. */
static void test_gone_through_while_removing(void **state)
{
	struct sfs_entry *e, *next;
	struct sfs_entries t;
	unsigned n, left = 0;

	sfs_entries_init(&t, 7);
	for (n = 0; n < 400000; n++)
		add(&t, n);
	n = 0;
	for (e = sfs_entries_next(&t, NULL); e; e = next) {
		next = sfs_entries_next(&t, e);
		if (n++ % 1000)
			sfs_entries_remove(&t, e);
	}
	assert_int_equal(n, 400000);
	for (e = NULL; (e = sfs_entries_next(&t, e)); left++)
		assert_ptr_equal(find(&t, left * 1000), e);
	assert_int_equal(left, 400);
	while ((e = sfs_entries_last(&t)))
		sfs_entries_remove(&t, e);
	sfs_entries_release(&t);
}

/* A reader goes on behind its cookie, whatever happened meanwhile. */
static void test_listing_survives_changes(void **state)
{
	bool shown[2000] = {0};
	struct sfs_entries t;
	struct sfs_entry *e;
	uint64_t at = 0;
	unsigned n, step = 0;

	sfs_entries_init(&t, 7);
	for (n = 0; n < 1000; n++)
		add(&t, n);
	while ((e = sfs_entries_after(&t, at))) {
		assert_true(e->cookie > at);
		at = e->cookie;
		for (n = 0; n < 2000 && find(&t, n) != e;)
			n++;
		assert_true(n < 2000);
		assert_false(shown[n]);
		shown[n] = true;
		/* one behind the reader goes, one before it, one is added */
		if (n >= 10 && n < 990 && find(&t, n - 10))
			sfs_entries_remove(&t, find(&t, n - 10));
		if (step < 400 && step % 2 && find(&t, 999 - step))
			sfs_entries_remove(&t, find(&t, 999 - step));
		if (step < 500)
			add(&t, 1000 + step);
		step++;
	}
	for (n = 0; n < 2000; n++)
		if (find(&t, n))
			assert_true(shown[n]);
	clear(&t);
}

static void test_after_skips_gaps(void **state)
{
	struct sfs_entries t;
	struct sfs_entry *e;
	uint64_t c10, c60;
	unsigned n;

	sfs_entries_init(&t, 3);
	for (n = 0; n < 64; n++)
		add(&t, n);
	c10 = find(&t, 10)->cookie;
	c60 = find(&t, 60)->cookie;
	for (n = 10; n < 60; n++)
		sfs_entries_remove(&t, find(&t, n));
	for (n = 0; n < 50; n++) {
		e = sfs_entries_after(&t, c10 - 1 + n);
		assert_int_equal(e->cookie, c60);
	}
	assert_null(sfs_entries_after(&t, UINT64_MAX));
	clear(&t);
}

/* Files that come and go must not make the table grow. */
static void test_churn_is_bounded(void **state)
{
	struct sfs_entries t;
	unsigned n;

	sfs_entries_init(&t, 9);
	for (n = 0; n < 100; n++)
		add(&t, n);
	for (n = 100; n < 100000; n++) {
		add(&t, n);
		sfs_entries_remove(&t, find(&t, n));
	}
	assert_true(t.cap_list < 1000);
	assert_true(t.index_mask < 4096);
	assert_int_equal(t.nr, 100);
	clear(&t);
}

static void test_random_against_a_model(void **state)
{
	bool model[500] = {0};
	struct sfs_entries t;
	unsigned n, step, rnd = 42, count = 0;

	sfs_entries_init(&t, 99);
	for (step = 0; step < 200000; step++) {
		rnd = rnd * 1103515245 + 12345;
		n = (rnd >> 8) % 500;
		assert_int_equal(find(&t, n) != NULL, model[n]);
		if (model[n]) {
			sfs_entries_remove(&t, find(&t, n));
			count--;
		} else {
			add(&t, n);
			count++;
		}
		model[n] = !model[n];
		assert_int_equal(t.nr, count);
	}
	clear(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names_are_found),
		cmocka_unit_test(test_cookies_grow_and_stay),
		cmocka_unit_test(test_listing_survives_changes),
		cmocka_unit_test(test_gone_through_while_removing),
		cmocka_unit_test(test_after_skips_gaps),
		cmocka_unit_test(test_churn_is_bounded),
		cmocka_unit_test(test_random_against_a_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
