/*
 * What is kept of a command's output, when the helper is anything but kind:
 * outputs of one byte each.
 */
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "client/job.h"
#include "tests/lib/unit.h"

#define MIB (1024 * 1024)

/* ---- a remote that takes everything ---- */

static const struct sbx_remote_job *helper;
static void *job_arg;
static struct sbx_buf scratch;
static uint64_t granted[2];
static enum sbx_wire_op op_begun;
static int answer; /* to EXEC */
static enum sbx_link_state link_state = SBX_LINK_UP;

int sbx_remote_job_add(struct sbx_remote *r, uint32_t job,
		       const struct sbx_remote_job *h, void *arg)
{
	helper = h;
	job_arg = arg;
	return 0;
}

void sbx_remote_job_del(struct sbx_remote *r, uint32_t job)
{
}

uint64_t sbx_remote_number(struct sbx_remote *r)
{
	return 7;
}

struct sbx_buf *sbx_remote_begin(struct sbx_remote *r, enum sbx_wire_op op,
				 unsigned int nr_args)
{
	sbx_buf_clear(&scratch);
	sbx_put_array(&scratch, nr_args);
	op_begun = op;
	return &scratch;
}

const struct sbx_remote_info *sbx_remote_info(const struct sbx_remote *r)
{
	return NULL;
}

/* What it may print before anything is credited. */
static uint32_t first_credit(void)
{
	struct sbx_msg m;
	struct sbx_rd rd;
	uint32_t credit;
	size_t len;

	assert_int_equal(
		sbx_msg_parse(&m, sbx_buf_at(&scratch), sbx_buf_len(&scratch)),
		0);
	rd = sbx_rd_root(&m);
	sbx_get_u64(&rd);
	sbx_get_array(&rd);	/* argv */
	sbx_get_bin(&rd, &len); /* cwd */
	sbx_get_map(&rd);	/* env */
	for (int i = 0; i < 3; i++)
		sbx_get_u64(&rd); /* flags, columns, rows */
	credit = sbx_get_u32(&rd);
	assert_int_equal(rd.err, 0);
	sbx_msg_release(&m);
	return credit;
}

uint32_t sbx_remote_submit(struct sbx_remote *r, sbx_reply_fn *done,
			   sbx_part_fn *part, void *arg)
{
	struct sbx_rd empty = {0};

	assert_int_equal(op_begun, SBX_OP_EXEC);
	granted[0] = granted[1] = first_credit();
	done(arg, answer, &empty);
	return 1;
}

enum sbx_link_state sbx_remote_state(const struct sbx_remote *r)
{
	return link_state;
}

int sbx_remote_submit_quiet(struct sbx_remote *r)
{
	struct sbx_msg m;
	struct sbx_rd rd;
	uint32_t stream;

	if (op_begun != SBX_OP_CREDIT_ONE)
		return 0;
	assert_int_equal(
		sbx_msg_parse(&m, sbx_buf_at(&scratch), sbx_buf_len(&scratch)),
		0);
	rd = sbx_rd_root(&m);
	sbx_get_u32(&rd);
	stream = sbx_get_u32(&rd);
	granted[stream - 1] += sbx_get_u64(&rd);
	sbx_msg_release(&m);
	return 0;
}

/* ---- tests ---- */

static struct sbx_job *job_start_in(struct sbx_job_pool *pool)
{
	static const char *const argv[] = {"x", NULL};
	struct sbx_job_conf conf = {.argv = argv, .pool = pool};

	return sbx_job_start((struct sbx_remote *)&scratch, &conf);
}

static struct sbx_job *job_start(void)
{
	return job_start_in(NULL);
}

static void job_over(struct sbx_job *j)
{
	helper->on_output(job_arg, 1, NULL, 0, true);
	helper->on_output(job_arg, 2, NULL, 0, true);
	helper->on_exit(job_arg, &(struct sbx_remote_exit){.code = 0});
	sbx_job_unref(j);
}

static void print(int stream, uint8_t byte)
{
	assert_true(granted[stream - 1] > 0);
	granted[stream - 1]--;
	helper->on_output(job_arg, stream, &byte, 1, false);
}

static size_t memory(void)
{
	return mallinfo2().uordblks;
}

/* Reads what there is, which must go on counting. */
static size_t read_on(struct sbx_job_reader *rd, uint8_t *next)
{
	uint8_t data[5000];
	size_t total = 0;
	long n, i;

	while ((n = sbx_job_read(rd, data, sizeof(data), NULL)) > 0) {
		for (i = 0; i < n; i++)
			assert_int_equal(data[i], (uint8_t)(*next)++);
		total += (size_t)n;
	}
	return total;
}

/* The end of what counted up to total; how much of it there was. */
static size_t read_all_kept(struct sbx_job_reader *rd, size_t total)
{
	uint8_t data[1], next;
	uint64_t lost;

	assert_int_equal(sbx_job_read(rd, data, 1, &lost), 1);
	assert_int_equal(data[0], (uint8_t)lost);
	next = (uint8_t)(lost + 1);
	assert_int_equal(lost + 1 + read_on(rd, &next), total);
	return total - (size_t)lost;
}

static void test_single_bytes_cost_little_more(void **state)
{
	struct sbx_job *j = job_start();
	struct sbx_job_reader *rd;
	size_t before = memory(), i, kept;

	for (i = 0; i < 3 * MIB; i++)
		print(1, (uint8_t)i);
	assert_true(memory() - before < MIB + MIB / 8);
	rd = sbx_job_reader_new(j, 1);
	kept = read_all_kept(rd, 3 * MIB);
	assert_true(kept >= MIB && sbx_job_kept(j) >= kept);
	sbx_job_reader_free(rd);
	job_over(j);
}

static void test_streams_that_take_turns_are_kept_as_long(void **state)
{
	struct sbx_job *j = job_start();
	struct sbx_job_reader *rd;
	size_t before = memory(), i;

	for (i = 0; i < 2 * MIB; i++)
		print(1 + i % 2, (uint8_t)i);
	assert_true(memory() - before < 3 * MIB + MIB / 4);
	assert_true(sbx_job_kept(j) < 3 * MIB + MIB / 4);
	rd = sbx_job_reader_new(j, 3);
	assert_true(read_all_kept(rd, 2 * MIB) >= MIB);
	sbx_job_reader_free(rd);
	job_over(j);
}

/* It holds back what comes, not what that takes. */
static void test_a_reader_that_stalls_costs_little_more(void **state)
{
	struct sbx_job *j = job_start();
	struct sbx_job_reader *rd = sbx_job_reader_new(j, 1);
	size_t before = memory(), n = 0;
	uint8_t data[1000];
	long got, i;

	while (granted[0] && granted[1]) {
		print(1, (uint8_t)n);
		print(2, (uint8_t)~n);
		n++;
	}
	assert_int_equal(n, 512 * 1024);
	assert_true(memory() - before < 2 * n * 3 + MIB / 4);
	n = 0;
	while ((got = sbx_job_read(rd, data, sizeof(data), NULL)) > 0)
		for (i = 0; i < got; i++)
			assert_int_equal(data[i], (uint8_t)n++);
	assert_int_equal(n, 512 * 1024);
	assert_int_equal(sbx_job_reader_seek(rd, 300000), 300000);
	assert_int_equal(sbx_job_read(rd, data, 1, NULL), 1);
	assert_int_equal(data[0], (uint8_t)300000);
	sbx_job_reader_free(rd);
	job_over(j);
}

/* As much as it may; counts on from *count. */
static void print_all_it_may(uint8_t *count)
{
	uint8_t data[1000];

	for (int stream = 1; stream <= 2; stream++)
		while (granted[stream - 1]) {
			size_t n = granted[stream - 1] < sizeof(data)
					   ? granted[stream - 1]
					   : sizeof(data);

			for (size_t i = 0; i < n; i++)
				data[i] = (uint8_t)(*count)++;
			granted[stream - 1] -= n;
			helper->on_output(job_arg, stream, data, n, false);
		}
}

#define STALLED 1024 /* what one sandbox runs at most */

static void test_all_that_stall_together_are_bounded(void **state)
{
	static struct sbx_job *jobs[STALLED];
	static struct sbx_job_reader *rd[STALLED];
	struct sbx_job_pool pool = {0};
	size_t before = memory(), read = 0;
	uint8_t count, next;

	for (size_t i = 0; i < STALLED; i++) {
		jobs[i] = job_start_in(&pool);
		assert_true(granted[0] >= (i < 8 ? 512 * 1024 : 16 * 1024));
		rd[i] = sbx_job_reader_new(jobs[i], 3);
		count = 0;
		print_all_it_may(&count);
		assert_int_equal(granted[0] + granted[1], 0);
	}
	assert_true(pool.taken > 64 * MIB && pool.taken <= 96 * MIB);
	assert_true(memory() - before < 110 * MIB);
	/* the last one that came is read, and goes on */
	next = 0;
	for (int i = 0; i < 100; i++) {
		read += read_on(rd[STALLED - 1], &next);
		print_all_it_may(&count);
	}
	assert_true(read > 100 * 16 * 1024);
	assert_true(pool.taken <= 96 * MIB);
	/* the first one of a pool that is free again is as fast as ever */
	for (size_t i = 0; i < STALLED; i++) {
		helper->on_lost(jobs[i], -EIO);
		sbx_job_reader_free(rd[i]);
		sbx_job_unref(jobs[i]);
	}
	assert_int_equal(pool.taken, 0);
	jobs[0] = job_start_in(&pool);
	assert_int_equal(granted[0], 512 * 1024);
	job_over(jobs[0]);
	assert_int_equal(pool.taken, 0);
}

/* The helper is a stranger: that is no way to more than it may send. */
static void test_nothing_is_taken_after_the_end(void **state)
{
	struct sbx_job_pool pool = {0};
	struct sbx_job *j = job_start_in(&pool);

	helper->on_output(job_arg, 1, (const uint8_t *)"x", 1, true);
	assert_int_equal(pool.taken, 512 * 1024);
	helper->on_output(job_arg, 1, (const uint8_t *)"y", 1, false);
	assert_int_equal(sbx_job_error(j), -EPROTO);
	assert_int_equal(sbx_job_length(j, 1), 1);
	assert_int_equal(pool.taken, 0);
	sbx_job_unref(j);
}

/* Readers of one and of both streams, now here and now there. */
static void test_readers_see_every_byte_once(void **state)
{
	struct sbx_job *j = job_start();
	struct sbx_job_reader *all = sbx_job_reader_new(j, 3);
	struct sbx_job_reader *out = sbx_job_reader_new(j, 1);
	struct sbx_job_reader *err = sbx_job_reader_new(j, 2);
	uint8_t next = 0, seen, data[64];
	size_t i, k, n_all = 0, n_out = 0, n_err = 0, n_print[2] = {0};
	long n;

	srand(1);
	for (i = 0; i < 200000; i++) {
		int stream = rand() % 50 ? 1 : 2;

		n_print[stream - 1]++;
		print(stream, (uint8_t)i);
		if (rand() % 40)
			continue;
		k = (size_t)rand() % sizeof(data) + 1;
		n = sbx_job_read(all, data, k, NULL);
		for (seen = 0; n > 0 && seen < n; seen++)
			assert_int_equal(data[seen], next++);
		n_all += n > 0 ? (size_t)n : 0;
		n = sbx_job_read(out, data, sizeof(data), NULL);
		n_out += n > 0 ? (size_t)n : 0;
		n = sbx_job_read(err, data, 3, NULL);
		n_err += n > 0 ? (size_t)n : 0;
	}
	n_all += read_on(all, &next);
	while ((n = sbx_job_read(out, data, sizeof(data), NULL)) > 0)
		n_out += (size_t)n;
	while ((n = sbx_job_read(err, data, sizeof(data), NULL)) > 0)
		n_err += (size_t)n;
	assert_int_equal(n_all, 200000);
	assert_int_equal(n_out, n_print[0]);
	assert_int_equal(n_err, n_print[1]);
	sbx_job_reader_free(all);
	sbx_job_reader_free(out);
	sbx_job_reader_free(err);
	job_over(j);
}

/* All that was printed, by what a reader reads: 1, 2, or 3. */
static struct {
	uint8_t data[256 * 1024];
	size_t len;
} model[4];

static void print_some(int stream, size_t len)
{
	uint8_t data[5000];

	for (size_t i = 0; i < len; i++) {
		data[i] = (uint8_t)rand();
		model[stream].data[model[stream].len++] = data[i];
		model[3].data[model[3].len++] = data[i];
	}
	granted[stream - 1] -= len;
	helper->on_output(job_arg, stream, data, len, false);
}

static void check_somewhere(struct sbx_job_reader *rd, unsigned int which)
{
	size_t len = model[which].len, at = (size_t)rand() % (len + 1);
	uint8_t data[5000];
	long n;

	assert_int_equal(sbx_job_reader_seek(rd, at), at);
	n = sbx_job_read(rd, data, (size_t)rand() % sizeof(data) + 1, NULL);
	if (n == -EAGAIN) {
		assert_int_equal(at, len);
		return;
	}
	assert_true(n > 0 && at + (size_t)n <= len);
	assert_memory_equal(data, model[which].data + at, (size_t)n);
}

static void test_every_offset_can_be_read(void **state)
{
	struct sbx_job *j = job_start();
	struct sbx_job_reader *rd[4] = {0};

	srand(2);
	for (unsigned int which = 1; which <= 3; which++)
		rd[which] = sbx_job_reader_new(j, which);
	while (model[3].len < sizeof(model[3].data) - 5000) {
		print_some(1 + rand() % 2,
			   1 + (size_t)rand() % (rand() % 50 ? 20 : 5000));
		for (unsigned int which = 1; which <= 3; which++)
			check_somewhere(rd[which], which);
	}
	for (unsigned int which = 1; which <= 3; which++)
		sbx_job_reader_free(rd[which]);
	job_over(j);
}

/* The key was refused, say: that no command was run is no exit code. */
static void test_a_connection_that_fails_gives_no_exit_code(void **state)
{
	struct sbx_job *j;

	answer = -EACCES;
	j = job_start();
	assert_int_equal(sbx_job_exit_code(j), 126);
	assert_true(sbx_job_length(j, 2) > 0);
	sbx_job_unref(j);
	link_state = SBX_LINK_CONNECTING;
	j = job_start();
	assert_int_equal(sbx_job_exit_code(j), -1);
	assert_int_equal(sbx_job_error(j), -EACCES);
	assert_int_equal(sbx_job_length(j, 3), 0);
	sbx_job_unref(j);
	link_state = SBX_LINK_UP;
	answer = 0;
}

/* The end of the command is told; what it printed is under way. */
static void test_what_was_printed_comes_after_the_end(void **state)
{
	static const struct sbx_remote_exit end = {.code = 5,
						   .printed = {3, 1}};
	struct sbx_job *j = job_start();
	struct sbx_job_reader *out = sbx_job_reader_new(j, 1);
	struct sbx_job_reader *err = sbx_job_reader_new(j, 2);
	uint8_t data[8];

	print(1, 'a');
	helper->on_exit(job_arg, &end);
	assert_int_equal(sbx_job_length(j, 3), 4);
	assert_int_equal(sbx_job_exit_code(j), 5);
	assert_int_equal(sbx_job_read(out, data, 8, NULL), 1);
	assert_int_equal(sbx_job_read(out, data, 8, NULL), -EAGAIN);
	print(1, 'b');
	print(1, 'c');
	assert_int_equal(sbx_job_read(out, data, 8, NULL), 2);
	/* others hold it open: that is the end all the same */
	assert_int_equal(sbx_job_read(out, data, 8, NULL), 0);
	assert_int_equal(sbx_job_read(err, data, 8, NULL), -EAGAIN);
	helper->on_lost(job_arg, -EIO);
	assert_int_equal(sbx_job_read(out, data, 8, NULL), 0);
	assert_int_equal(sbx_job_read(err, data, 8, NULL), -EIO);
	assert_int_equal(sbx_job_exit_code(j), 5);
	sbx_job_reader_free(out);
	sbx_job_reader_free(err);
	sbx_job_unref(j);
}

/* Nobody read it for too long, on a service that cannot hold it back. */
static void test_readers_are_told_why_it_was_given_up(void **state)
{
	struct sbx_job *j = job_start();
	struct sbx_job_reader *out = sbx_job_reader_new(j, 1);
	uint8_t data[8];

	print(1, 'a');
	helper->on_lost(job_arg, -ENOBUFS);
	assert_int_equal(sbx_job_read(out, data, 8, NULL), 1);
	assert_int_equal(sbx_job_read(out, data, 8, NULL), -ENOBUFS);
	assert_int_equal(sbx_job_error(j), -ENOBUFS);
	assert_int_equal(sbx_job_exit_code(j), -1);
	sbx_job_reader_free(out);
	sbx_job_unref(j);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_single_bytes_cost_little_more),
		cmocka_unit_test(test_streams_that_take_turns_are_kept_as_long),
		cmocka_unit_test(test_a_reader_that_stalls_costs_little_more),
		cmocka_unit_test(test_all_that_stall_together_are_bounded),
		cmocka_unit_test(test_nothing_is_taken_after_the_end),
		cmocka_unit_test(test_readers_see_every_byte_once),
		cmocka_unit_test(test_every_offset_can_be_read),
		cmocka_unit_test(
			test_a_connection_that_fails_gives_no_exit_code),
		cmocka_unit_test(test_what_was_printed_comes_after_the_end),
		cmocka_unit_test(test_readers_are_told_why_it_was_given_up),
	};
	int failed;

	sbx_buf_init(&scratch, 65536);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	sbx_buf_release(&scratch);
	return failed;
}
