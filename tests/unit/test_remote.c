/*
 * remote, channel, upload and job against the real helper, started over
 * pipes in a folder of its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/job.h"
#include "client/remote_int.h"
#include "tests/lib/pipe_service.h"
#include "tests/lib/unit.h"

#define PATIENCE_MS 60000

struct fixture {
	uv_loop_t loop;
	uv_timer_t clock;
	uv_check_t turn; /* ask_each_turn */
	bool late, closed;
	char folder[64];
	struct sbx_service *svc;
	struct sbx_remote *r;
	unsigned int doubts, epochs;
	unsigned int asked, answered; /* ask_on, ask_each_turn */
};

static void on_late(uv_timer_t *t)
{
	struct fixture *f = t->data;

	f->late = true;
}

/* Runs the loop until *flag, which must come true in time. */
static void run_until(struct fixture *f, const bool *flag)
{
	f->late = false;
	uv_update_time(&f->loop);
	uv_timer_start(&f->clock, on_late, PATIENCE_MS, 0);
	while (!*flag && !f->late)
		uv_run(&f->loop, UV_RUN_ONCE);
	uv_timer_stop(&f->clock);
	assert_true(*flag);
}

static void on_doubt(void *arg, bool new_epoch)
{
	struct fixture *f = arg;

	f->doubts++;
	f->epochs += new_epoch;
}

static const struct sbx_remote_handler handler = {.on_doubt = on_doubt};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	char tmp[80];

	uv_loop_init(&f->loop);
	uv_timer_init(&f->loop, &f->clock);
	f->clock.data = f;
	uv_check_init(&f->loop, &f->turn);
	f->turn.data = f;
	strcpy(f->folder, "/tmp/sbx-remote.XXXXXX");
	assert_non_null(mkdtemp(f->folder));
	snprintf(tmp, sizeof(tmp), "%s/.tmp", f->folder);
	mkdir(tmp, 0700);
	f->svc = pipe_service_new(&f->loop, f->folder);
	f->r = sbx_remote_new(&f->loop, f->svc, "box", 5000);
	sbx_remote_set_files(f->r, &handler, f);
	*state = f;
	return 0;
}

static void on_closed(void *arg)
{
	struct fixture *f = arg;

	f->closed = true;
	uv_check_stop(&f->turn);
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char cmd[128];

	sbx_remote_close(f->r, on_closed, f);
	run_until(f, &f->closed);
	assert_int_equal(f->answered, f->asked);
	uv_close((uv_handle_t *)&f->clock, NULL);
	uv_close((uv_handle_t *)&f->turn, NULL);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&f->loop), 0);
	pipe_service_free(f->svc);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", f->folder);
	assert_int_equal(system(cmd), 0);
	free(f);
	return 0;
}

struct answer {
	bool done;
	int err;
	struct sbx_attr attr;
	size_t len;
	unsigned int *order, place;
};

static void on_attr(void *arg, int err, struct sbx_rd *rd)
{
	struct answer *a = arg;

	a->err = err;
	if (!err)
		sbx_get_attr(rd, &a->attr);
	if (a->order)
		a->place = ++*a->order;
	a->done = true;
}

static uint32_t ask_getattr(struct fixture *f, const char *name,
			    struct answer *a)
{
	struct sbx_buf *b = sbx_remote_begin(f->r, SBX_OP_GETATTR, 3);

	sbx_put_at(b, SBX_DIR_WORKSPACE, name, strlen(name), 0);
	return sbx_remote_submit(f->r, on_attr, NULL, a);
}

static void ask_mkdir(struct fixture *f, const char *name, struct answer *a)
{
	struct sbx_buf *b = sbx_remote_begin(f->r, SBX_OP_MKDIR, 3);

	sbx_put_u64(b, SBX_DIR_WORKSPACE);
	sbx_put_bin(b, name, strlen(name));
	sbx_put_u64(b, 0750);
	sbx_remote_submit(f->r, on_attr, NULL, a);
}

/* Asks again whenever it is answered, many times. */
static void ask_on(void *arg, int err, struct sbx_rd *rd)
{
	struct fixture *f = arg;
	struct sbx_buf *b;

	if (rd)
		f->answered++;
	if (f->asked >= 100)
		return;
	f->asked++;
	b = sbx_remote_begin(f->r, SBX_OP_GETATTR, 3);
	sbx_put_at(b, SBX_DIR_WORKSPACE, NULL, 0, 0);
	sbx_remote_submit(f->r, ask_on, NULL, f);
}

/* (the teardown closes, and counts) */
static void closing_answers_what_is_asked_meanwhile(void **state)
{
	struct fixture *f = *state;

	ask_on(f, 0, NULL);
	assert_int_equal(f->answered, 0);
}

static void on_counted(void *arg, int err, struct sbx_rd *rd)
{
	struct fixture *f = arg;

	f->answered++;
	/* what it belongs to is there till the end */
	assert_false(f->closed);
}

/* Where requests of the kernel come: between what waits and what closes. */
static void on_turn(uv_check_t *turn)
{
	struct fixture *f = turn->data;
	struct sbx_buf *b = sbx_remote_begin(f->r, SBX_OP_GETATTR, 3);

	f->asked++;
	sbx_put_at(b, SBX_DIR_WORKSPACE, NULL, 0, 0);
	sbx_remote_submit(f->r, on_counted, NULL, f);
}

/* (the teardown closes, and counts) */
static void closing_answers_what_is_asked_till_its_end(void **state)
{
	struct fixture *f = *state;
	struct answer a = {0};

	ask_getattr(f, "", &a);
	run_until(f, &a.done);
	uv_check_start(&f->turn, on_turn);
}

static void connects_and_answers(void **state)
{
	struct fixture *f = *state;
	struct answer a = {0}, none = {0};

	ask_getattr(f, "", &a);
	ask_getattr(f, "none", &none);
	assert_false(a.done);
	run_until(f, &none.done);
	assert_int_equal(a.err, 0);
	assert_true(S_ISDIR(a.attr.mode));
	assert_int_equal(none.err, -ENOENT);
	assert_int_equal(sbx_remote_state(f->r), SBX_LINK_UP);
	assert_string_equal(sbx_remote_info(f->r)->cwd, f->folder);
	assert_int_equal(f->doubts, 0);
}

static void answers_keep_order_though_units_are_shuffled(void **state)
{
	struct fixture *f = *state;
	struct answer a[200] = {0};
	unsigned int order = 0, i;
	char name[16];

	pipe_service_shuffle(f->svc, true);
	for (i = 0; i < 200; i++) {
		a[i].order = &order;
		snprintf(name, sizeof(name), "d%u", i / 2);
		if (i % 2)
			ask_getattr(f, name, &a[i]);
		else
			ask_mkdir(f, name, &a[i]);
		if (i % 7 == 0)
			uv_run(&f->loop, UV_RUN_NOWAIT);
	}
	run_until(f, &a[199].done);
	for (i = 0; i < 200; i++) {
		assert_int_equal(a[i].err, 0);
		assert_int_equal(a[i].place, i + 1);
		assert_int_equal(a[i].attr.mode, S_IFDIR | 0750);
	}
}

static void a_cut_loses_and_doubles_nothing(void **state)
{
	struct fixture *f = *state;
	struct answer a[100] = {0};
	unsigned int i;
	char name[16];

	ask_getattr(f, "", &a[0]);
	run_until(f, &a[0].done);
	for (i = 0; i < 100; i++) {
		a[i].done = false;
		snprintf(name, sizeof(name), "e%u", i);
		ask_mkdir(f, name, &a[i]);
		uv_run(&f->loop, UV_RUN_NOWAIT);
		if (i % 20 == 10)
			pipe_service_cut(f->svc);
	}
	for (i = 0; i < 100; i++) {
		run_until(f, &a[i].done);
		/* done twice would be EEXIST */
		assert_int_equal(a[i].err, 0);
	}
	assert_true(pipe_service_opened(f->svc) > 1);
	assert_int_equal(f->doubts, 0);
	assert_int_equal(sbx_remote_epoch(f->r), 1);
}

static void a_new_helper_is_a_new_epoch(void **state)
{
	struct fixture *f = *state;
	struct answer a = {0}, b = {0}, c = {0};

	ask_getattr(f, "", &a);
	run_until(f, &a.done);
	kill((pid_t)sbx_remote_info(f->r)->pid, SIGSTOP);
	ask_mkdir(f, "x", &b);
	uv_run(&f->loop, UV_RUN_NOWAIT);
	kill((pid_t)sbx_remote_info(f->r)->pid, SIGKILL);
	run_until(f, &b.done);
	assert_int_equal(b.err, -ERESTART);
	assert_int_equal(sbx_remote_epoch(f->r), 2);
	assert_int_equal(f->epochs, 1);
	ask_getattr(f, "", &c);
	run_until(f, &c.done);
	assert_int_equal(c.err, 0);
}

/* What fails together is told in the order of asking, for it is sent again
 * in that order; slots are used in turn and go round. */
static void failures_keep_their_order(void **state)
{
	struct fixture *f = *state;
	struct answer first[50] = {0}, a[40] = {0};
	unsigned int order = 0, i;

	for (i = 0; i < 50; i++)
		ask_getattr(f, "", &first[i]);
	run_until(f, &first[49].done);
	kill((pid_t)sbx_remote_info(f->r)->pid, SIGSTOP);
	for (i = 0; i < 40; i++) {
		a[i].order = &order;
		ask_getattr(f, "", &a[i]);
	}
	uv_run(&f->loop, UV_RUN_NOWAIT);
	kill((pid_t)sbx_remote_info(f->r)->pid, SIGKILL);
	run_until(f, &a[39].done);
	for (i = 0; i < 40; i++) {
		assert_int_equal(a[i].err, -ERESTART);
		assert_int_equal(a[i].place, i + 1);
	}
}

/* A reply of the helper, as it would come. */
static void reply_with(struct fixture *f, uint32_t id, uint32_t err)
{
	struct sbx_buf b;

	sbx_buf_init(&b, 64);
	sbx_put_array(&b, 3);
	sbx_put_u64(&b, SBX_MSG_REPLY);
	sbx_put_u64(&b, id);
	sbx_put_u64(&b, err);
	assert_int_equal(
		sbx_remote_message(f->r, sbx_buf_at(&b), sbx_buf_len(&b)), 0);
	sbx_buf_release(&b);
}

/* ENOSYS turns an operation off for a whole mount, numbers above 511 are no
 * answers to the kernel, and ERESTART is a word of ours. */
static void an_error_of_the_helper_is_only_an_error(void **state)
{
	static const struct {
		uint32_t says;
		int is;
	} table[] = {
		{ENOENT, -ENOENT}, {EHWPOISON, -EHWPOISON},
		{511, -511},	   {512, -EIO},
		{4095, -EIO},	   {UINT32_MAX, -EIO},
		{ERESTART, -EIO},  {ENOSYS, -EOPNOTSUPP},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
		struct answer a = {0};

		reply_with(f, ask_getattr(f, "", &a), table[i].says);
		assert_true(a.done);
		assert_int_equal(a.err, table[i].is);
	}
}

/* A signal that no status tells of, in numbers that wrap round to one. */
static void an_end_that_cannot_be_is_nonsense(void **state)
{
	struct fixture *f = *state;
	struct sbx_buf b;

	sbx_buf_init(&b, 64);
	sbx_put_array(&b, 5);
	sbx_put_u64(&b, SBX_MSG_EXIT);
	sbx_put_u64(&b, 1);
	sbx_put_u64(&b, 127);
	sbx_put_u64(&b, UINT32_MAX);
	sbx_put_i64(&b, 0);
	assert_int_equal(
		sbx_remote_message(f->r, sbx_buf_at(&b), sbx_buf_len(&b)),
		-EPROTO);
	sbx_buf_release(&b);
}

/* The helper is there a moment after the sandbox was found to be gone. */
static void what_is_dead_does_not_come_up(void **state)
{
	struct fixture *f = *state;
	struct answer a = {0}, b = {0};

	ask_getattr(f, "", &a);
	sbx_remote_die(f->r);
	assert_int_equal(a.err, -ESTALE);
	f->late = false;
	uv_timer_start(&f->clock, on_late, PATIENCE_MS, 0);
	while (!sbx_remote_info(f->r) && !f->late)
		uv_run(&f->loop, UV_RUN_ONCE);
	uv_timer_stop(&f->clock);
	assert_false(f->late);
	assert_int_equal(sbx_remote_state(f->r), SBX_LINK_DEAD);
	ask_getattr(f, "", &b);
	run_until(f, &b.done);
	assert_int_equal(b.err, -ESTALE);
}

#define MANY_GROUPS 300 /* their numbers are longer than 1 KiB of text */

/* Only root may choose its groups. */
static void check_many_groups(struct fixture *f)
{
	gid_t many[MANY_GROUPS], mine[NGROUPS_MAX];
	int n = getgroups(NGROUPS_MAX, mine);
	const struct sbx_remote_info *info;
	struct answer a = {0};

	for (int i = 0; i < MANY_GROUPS; i++)
		many[i] = 70000 + (gid_t)i;
	if (setgroups(MANY_GROUPS, many) < 0)
		skip();
	ask_getattr(f, "", &a);
	run_until(f, &a.done);
	assert_int_equal(setgroups((size_t)n, mine), 0);
	assert_int_equal(a.err, 0);
	info = sbx_remote_info(f->r);
	assert_true(info->more_groups);
	assert_int_equal(info->nr_groups, SBX_HELLO_GROUPS);
}

static void that_there_are_more_groups_is_known(void **state)
{
	check_many_groups(*state);
}

static void plain_mode_bears_many_groups(void **state)
{
	struct fixture *f = *state;

	sbx_remote_set_plain(f->r, "none is wanted");
	check_many_groups(f);
}

/* One that ends as soon as it is up is started at once the first time, and then
 * with growing pauses: of 100, 200 and 400 ms at least. */
static void one_that_keeps_ending_is_not_started_in_a_rush(void **state)
{
	struct fixture *f = *state;
	uint32_t killed = 0;
	struct answer a = {0};
	uint64_t since;

	ask_getattr(f, "", &a);
	run_until(f, &a.done);
	since = uv_now(&f->loop);
	f->late = false;
	uv_timer_start(&f->clock, on_late, PATIENCE_MS, 0);
	while (pipe_service_opened(f->svc) < 5 && !f->late) {
		if (sbx_remote_state(f->r) == SBX_LINK_UP &&
		    sbx_remote_info(f->r)->pid != killed) {
			killed = sbx_remote_info(f->r)->pid;
			kill((pid_t)killed, SIGKILL);
		}
		uv_run(&f->loop, UV_RUN_ONCE);
	}
	uv_timer_stop(&f->clock);
	assert_false(f->late);
	assert_true(uv_now(&f->loop) - since >= 700);
	/* the last is not at its start any more when the folder goes */
	a.done = false;
	ask_getattr(f, "", &a);
	run_until(f, &a.done);
}

static void nonsense_is_cut_off_and_nothing_lost(void **state)
{
	struct fixture *f = *state;
	struct answer a = {0}, b = {0};

	ask_getattr(f, "", &a);
	run_until(f, &a.done);
	pipe_service_garble(f->svc);
	ask_mkdir(f, "g", &b);
	run_until(f, &b.done);
	/* done twice would be EEXIST */
	assert_int_equal(b.err, 0);
	assert_int_equal(pipe_service_opened(f->svc), 2);
}

/* As while a stream is taken up again: the first who is asked to wait is who
 * brings the helper. */
static void what_is_refused_is_sent_later(void **state)
{
	struct fixture *f = *state;
	struct answer a = {0};

	pipe_service_refuse(f->svc, true);
	ask_mkdir(f, "r", &a);
	run_until(f, &a.done);
	assert_int_equal(a.err, 0);
	assert_int_equal(pipe_service_opened(f->svc), 1);
}

static void waiting_ends_in_time(void **state)
{
	struct fixture *f = *state;
	struct answer a = {0}, b = {0};

	pipe_service_fail(f->svc, 1000, -ECONNREFUSED, SBX_RETRY_CONNECTION);
	ask_getattr(f, "", &a);
	run_until(f, &a.done);
	assert_int_equal(a.err, -ETIMEDOUT);
	pipe_service_fail(f->svc, 0, 0, SBX_RETRY_NEVER);
	ask_getattr(f, "", &b);
	run_until(f, &b.done);
	assert_int_equal(b.err, 0);
}

static void a_final_failure_is_told_at_once(void **state)
{
	struct fixture *f = *state;
	struct answer a = {0};

	pipe_service_fail(f->svc, 1, -EACCES, SBX_RETRY_NEVER);
	ask_getattr(f, "", &a);
	run_until(f, &a.done);
	assert_int_equal(a.err, -EACCES);
}

/* (the teardown closes, and counts) */
static void closing_after_a_failure_answers_everything(void **state)
{
	a_final_failure_is_told_at_once(state);
	ask_on(*state, 0, NULL);
}

/* They change what the helper holds, and it may be the same afterwards. */
static void what_is_quiet_outlasts_a_final_failure(void **state)
{
	struct fixture *f = *state;
	struct answer a = {0};
	struct sbx_buf *b;

	ask_getattr(f, "", &a);
	run_until(f, &a.done);
	pipe_service_fail(f->svc, 1, -EACCES, SBX_RETRY_NEVER);
	pipe_service_cut(f->svc);
	a.done = false;
	ask_getattr(f, "", &a);
	run_until(f, &a.done);
	assert_int_equal(a.err, -EACCES);
	b = sbx_remote_begin(f->r, SBX_OP_MKDIR, 4);
	sbx_put_u64(b, SBX_DIR_WORKSPACE);
	sbx_put_bin(b, "quiet", 5);
	sbx_put_u64(b, 0750);
	sbx_put_u64(b, 0);
	assert_int_equal(sbx_remote_submit_quiet(f->r), 0);
	do {
		a.done = false;
		ask_getattr(f, "quiet", &a);
		run_until(f, &a.done);
	} while (a.err == -EACCES);
	assert_int_equal(a.err, 0);
	assert_int_equal(f->epochs, 0);
}

static void a_gone_sandbox_is_stale_for_ever(void **state)
{
	struct fixture *f = *state;
	struct answer a = {0}, b = {0};

	pipe_service_fail(f->svc, 1, -ENOENT, SBX_RETRY_NEVER);
	ask_getattr(f, "", &a);
	run_until(f, &a.done);
	assert_int_equal(a.err, -ESTALE);
	assert_int_equal(sbx_remote_state(f->r), SBX_LINK_DEAD);
	ask_getattr(f, "", &b);
	assert_false(b.done);
	run_until(f, &b.done);
	assert_int_equal(b.err, -ESTALE);
}

static void cancel_answers_at_once(void **state)
{
	struct fixture *f = *state;
	struct answer a = {0}, b = {0};
	uint32_t n = ask_getattr(f, "", &a);

	sbx_remote_cancel(f->r, n);
	assert_true(a.done);
	assert_int_equal(a.err, -EINTR);
	sbx_remote_cancel(f->r, n);
	ask_getattr(f, "", &b);
	run_until(f, &b.done);
	assert_int_equal(b.err, 0);
}

/* ---- jobs ---- */

struct watcher {
	struct sbx_job_watch w;
	bool news;
};

static void on_news(void *arg)
{
	struct watcher *w = arg;

	w->news = true;
}

static struct sbx_job *start(struct fixture *f, struct watcher *w,
			     const char *command, unsigned int flags)
{
	const char *argv[] = {"sh", "-c", command, NULL};
	struct sbx_job_conf conf = {.argv = argv, .flags = flags};
	struct sbx_job *j = sbx_job_start(f->r, &conf);

	assert_non_null(j);
	w->news = false;
	w->w.on_news = on_news;
	w->w.arg = w;
	sbx_job_watch_add(j, &w->w);
	return j;
}

/* Reads to the end; returns how much, counts what was lost. */
static size_t read_all(struct fixture *f, struct watcher *w,
		       struct sbx_job_reader *rd, char *dst, size_t size,
		       uint64_t *ret_lost)
{
	size_t len = 0;
	uint64_t lost;
	long n;

	*ret_lost = 0;
	for (;;) {
		char buf[5000];

		w->news = false;
		n = sbx_job_read(rd, buf, sizeof(buf), &lost);
		*ret_lost += lost;
		if (n == 0)
			return len;
		if (n == -EAGAIN) {
			run_until(f, &w->news);
			continue;
		}
		assert_true(n > 0);
		if (len + (size_t)n <= size)
			memcpy(dst + len, buf, (size_t)n);
		len += (size_t)n;
	}
}

static void finish(struct fixture *f, struct watcher *w, struct sbx_job *j)
{
	while (sbx_job_state(j) != SBX_JOB_ENDED) {
		w->news = false;
		run_until(f, &w->news);
	}
	(void)f;
}

static void job_prints_and_exits(void **state)
{
	struct fixture *f = *state;
	struct watcher w;
	struct sbx_job *j = start(f, &w, "echo out; echo err >&2; exit 7", 0);
	struct sbx_job_reader *out = sbx_job_reader_new(j, 1);
	struct sbx_job_reader *err = sbx_job_reader_new(j, 2);
	uint64_t lost;
	char buf[16];

	assert_int_equal(read_all(f, &w, out, buf, sizeof(buf), &lost), 4);
	assert_memory_equal(buf, "out\n", 4);
	assert_int_equal(read_all(f, &w, err, buf, sizeof(buf), &lost), 4);
	assert_memory_equal(buf, "err\n", 4);
	finish(f, &w, j);
	assert_int_equal(sbx_job_exit_code(j), 7);
	sbx_job_reader_free(out);
	sbx_job_reader_free(err);
	sbx_job_watch_del(j, &w.w);
	sbx_job_unref(j);
}

static void job_takes_input_to_its_end(void **state)
{
	struct fixture *f = *state;
	struct watcher w;
	struct sbx_job *j = start(f, &w, "wc -c", SBX_EXEC_STDIN);
	struct sbx_job_reader *rd = sbx_job_reader_new(j, 3);
	size_t sent = 0;
	uint64_t lost;
	char buf[50000], text[16] = "";

	memset(buf, 'x', sizeof(buf));
	while (sent < 1000000) {
		long n = sbx_job_write(j, buf, sizeof(buf));

		if (n == -EAGAIN) {
			w.news = false;
			run_until(f, &w.news);
			continue;
		}
		assert_true(n > 0);
		sent += (size_t)n;
	}
	assert_int_equal(sbx_job_write(j, NULL, 0), 0);
	read_all(f, &w, rd, text, sizeof(text) - 1, &lost);
	assert_int_equal(strtoul(text, NULL, 10), sent);
	sbx_job_reader_free(rd);
	sbx_job_watch_del(j, &w.w);
	sbx_job_unref(j);
}

static void slow_reader_gets_everything(void **state)
{
	struct fixture *f = *state;
	struct watcher w;
	struct sbx_job *j = start(f, &w, "head -c 20000000 /dev/zero", 0);
	struct sbx_job_reader *rd = sbx_job_reader_new(j, 3);
	uint64_t lost;

	assert_int_equal(read_all(f, &w, rd, NULL, 0, &lost), 20000000);
	assert_int_equal(lost, 0);
	sbx_job_reader_free(rd);
	sbx_job_watch_del(j, &w.w);
	sbx_job_unref(j);
}

static void late_reader_is_told_what_is_lost(void **state)
{
	struct fixture *f = *state;
	struct watcher w;
	struct sbx_job *j = start(f, &w, "head -c 20000000 /dev/zero", 0);
	struct sbx_job_reader *rd;
	uint64_t lost;
	size_t n;

	finish(f, &w, j);
	rd = sbx_job_reader_new(j, 3);
	n = read_all(f, &w, rd, NULL, 0, &lost);
	assert_true(n >= 900000 && n < 4000000);
	assert_int_equal(n + lost, 20000000);
	sbx_job_reader_free(rd);
	sbx_job_watch_del(j, &w.w);
	sbx_job_unref(j);
}

static void signal_ends_the_whole_group(void **state)
{
	struct fixture *f = *state;
	struct watcher w;
	struct sbx_job *j = start(f, &w, "sleep 100 & sleep 100; echo no", 0);

	while (sbx_job_state(j) != SBX_JOB_RUNNING) {
		w.news = false;
		run_until(f, &w.news);
	}
	assert_int_equal(sbx_job_signal(j, SIGTERM), 0);
	finish(f, &w, j);
	assert_int_equal(sbx_job_exit_code(j), 128 + SIGTERM);
	sbx_job_watch_del(j, &w.w);
	sbx_job_unref(j);
}

static void job_that_cannot_start_says_why(void **state)
{
	struct fixture *f = *state;
	const char *argv[] = {"/no/such/program", NULL};
	struct sbx_job_conf conf = {.argv = argv};
	struct sbx_job *j = sbx_job_start(f->r, &conf);
	struct watcher w = {.w = {.on_news = on_news, .arg = &w}};

	sbx_job_watch_add(j, &w.w);
	finish(f, &w, j);
	assert_int_equal(sbx_job_error(j), -ENOENT);
	sbx_job_watch_del(j, &w.w);
	sbx_job_unref(j);
}

static void job_survives_a_cut(void **state)
{
	struct fixture *f = *state;
	struct watcher w;
	struct sbx_job *j = start(
		f, &w, "for i in $(seq 50); do echo $i; sleep 0.01; done", 0);
	struct sbx_job_reader *rd = sbx_job_reader_new(j, 1);
	char buf[256], want[256] = "";
	uint64_t lost;
	size_t len, i;

	while (sbx_job_state(j) != SBX_JOB_RUNNING) {
		w.news = false;
		run_until(f, &w.news);
	}
	pipe_service_cut(f->svc);
	len = read_all(f, &w, rd, buf, sizeof(buf), &lost);
	for (i = 1; i <= 50; i++)
		sprintf(want + strlen(want), "%zu\n", i);
	assert_int_equal(len, strlen(want));
	assert_memory_equal(buf, want, len);
	sbx_job_reader_free(rd);
	sbx_job_watch_del(j, &w.w);
	sbx_job_unref(j);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(connects_and_answers),
		T(closing_answers_what_is_asked_meanwhile),
		T(closing_answers_what_is_asked_till_its_end),
		T(answers_keep_order_though_units_are_shuffled),
		T(a_cut_loses_and_doubles_nothing),
		T(a_new_helper_is_a_new_epoch),
		T(failures_keep_their_order),
		T(that_there_are_more_groups_is_known),
		T(plain_mode_bears_many_groups),
		T(one_that_keeps_ending_is_not_started_in_a_rush),
		T(an_error_of_the_helper_is_only_an_error),
		T(an_end_that_cannot_be_is_nonsense),
		T(what_is_dead_does_not_come_up),
		T(nonsense_is_cut_off_and_nothing_lost),
		T(what_is_refused_is_sent_later),
		T(waiting_ends_in_time),
		T(a_final_failure_is_told_at_once),
		T(closing_after_a_failure_answers_everything),
		T(what_is_quiet_outlasts_a_final_failure),
		T(a_gone_sandbox_is_stale_for_ever),
		T(cancel_answers_at_once),
		T(job_prints_and_exits),
		T(job_takes_input_to_its_end),
		T(slow_reader_gets_everything),
		T(late_reader_is_told_what_is_lost),
		T(signal_ends_the_whole_group),
		T(job_that_cannot_start_says_why),
		T(job_survives_a_cut),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
