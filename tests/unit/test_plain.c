/* What the tools of a sandbox print in plain mode, and what a stranger may
 * print instead of them. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/plain_int.h"
#include "tests/unit/wire_test.h"

static int take_attr(const char *text, struct sbx_attr *ret, size_t *ret_left)
{
	struct sbx_buf b;
	int r;

	sbx_buf_init(&b, 4096);
	sbx_buf_add(&b, text, strlen(text));
	r = plain_take_attr(&b, ret);
	*ret_left = sbx_buf_len(&b);
	sbx_buf_release(&b);
	return r;
}

#define REST " 1 1000 100 5 8 77 65024 0 0 "

static void test_attr_is_read(void **state)
{
	struct sbx_attr a;
	size_t left;

	assert_int_equal(take_attr("data\n\n=81a4" REST
				   "1.000000002 -1.500000000 -0.250000000 "
				   "4096\n",
				   &a, &left),
			 0);
	assert_int_equal(left, 5);
	assert_int_equal(a.mode, S_IFREG | 0644);
	assert_int_equal(a.uid, 1000);
	assert_int_equal(a.size, 5);
	assert_int_equal(a.ino, 77);
	assert_int_equal(a.atime_ns, 2);
	assert_int_equal(a.mtime_s, -2);
	assert_int_equal(a.mtime_ns, 500000000);
	assert_int_equal(a.ctime_s, -1);
	assert_int_equal(a.ctime_ns, 750000000);
}

static void test_attr_that_is_none(void **state)
{
	static const char *const bad[] = {
		"",
		"\n",
		"\n=\n",
		"=81a4\n",
		/* not to its end, too much, too few, no fraction */
		"\n=81a4" REST "1.000000000 1.000000000 1.000000000 4096",
		"\n=81a4" REST "1.000000000 1.000000000 1.000000000 4096 1\n",
		"\n=81a4" REST "1.000000000 1.000000000 4096\n",
		"\n=81a4" REST "1 1.000000000 1.000000000 4096\n",
		"\n=81a4 1 1000 100 -5 8 77 65024 0 0 1.000000000 "
		"1.000000000 1.000000000 4096\n",
		"\n=81a4 1 1000 100 9223372036854775808 8 77 65024 0 0 "
		"1.000000000 1.000000000 1.000000000 4096\n",
		"\n=181a481a4 1 1000 100 5 8 77 65024 0 0 1.000000000 "
		"1.000000000 1.000000000 4096\n",
		"\n=81a4 99999999999999999999999 1 1 1 1 1 1 1 1 1\n",
	};
	struct sbx_attr a;
	size_t i, left;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(take_attr(bad[i], &a, &left), -EPROTO);
}

#define ENTRY "f 644 1 0 0 3 8 99 65024 1.0000000010 2.0 3.0000000000"
#define GOOD  "f 644 1 0 0 3 8 99 65024 1.0000000010 2.0000000020 3.0000000030"

static int take_entry(const char *text, size_t len, struct plain_entry *e)
{
	size_t used = 0;
	int r = plain_take_entry((const uint8_t *)text, len, e, &used);

	if (r == 1)
		assert_true(used <= len);
	return r;
}

static void test_entries(void **state)
{
	static const char good[] = "ra\n b\0" GOOD;
	static const char old[] = "ra\0f 644 1 0 0 3 8 9 1 -1.5000000000 1 1";
	static const char device[] = "ra\0b 600 1 0 0 0 0 9 1 1 1 1";
	struct plain_entry e;
	size_t i;

	for (i = 0; i < sizeof(good); i++)
		assert_int_equal(take_entry(good, i, &e), 0);
	assert_int_equal(take_entry(good, sizeof(good), &e), 1);
	assert_int_equal(e.len, 4);
	assert_true(e.has_attr);
	assert_int_equal(e.attr.mode, S_IFREG | 0644);
	assert_int_equal(e.attr.mtime_ns, 2);
	assert_int_equal(take_entry(old, sizeof(old), &e), 1);
	assert_false(e.has_attr);
	assert_int_equal(take_entry(device, sizeof(device), &e), 1);
	assert_false(e.has_attr);
}

static void test_entries_that_are_none(void **state)
{
	static const struct {
		const char *text;
		size_t len;
	} bad[] = {
#define BAD(text) {text, sizeof(text)}
		BAD("xa\0" GOOD),
		BAD("r\0" GOOD),
		BAD("r.\0" GOOD),
		BAD("r..\0" GOOD),
		BAD("ra/b\0" GOOD),
		BAD("ra\0" ENTRY),
		BAD("ra\0"),
		BAD("ra\0f"),
		BAD("ra\0f "),
		BAD("ra\0f 99999 1 0 0 3 8 9 1 1.0 1.0 1.0"),
	};
	char random[2048];
	struct plain_entry e;
	size_t i;
	int n;

	/* without its own NUL "ra" wants more; with it, it is too little */
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(take_entry(bad[i].text, bad[i].len, &e),
				 -EPROTO);
	srand(1);
	for (n = 0; n < 20000; n++) {
		for (i = 0; i < sizeof(random); i++)
			random[i] = (char)(rand() % 5 ? "r \0.0fd-1"[rand() % 9]
						      : rand());
		take_entry(random, (size_t)rand() % sizeof(random), &e);
	}
}

/* What the shell prints that is told to quit, with this as its setsid. */
static void run_script(const char *setsid, char *ret, size_t size)
{
	char dir[] = "/tmp/sbxfs-test-plain.XXXXXX", path[64], env[128];
	const char *argv[PLAIN_ARGV];
	char *args[PLAIN_ARGV];
	int in[2], out[2], fd;
	size_t n = 0;
	ssize_t r;
	pid_t pid;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/setsid", dir);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
	assert_int_equal(write(fd, setsid, strlen(setsid)), strlen(setsid));
	close(fd);
	assert_int_equal(pipe(in), 0);
	assert_int_equal(pipe(out), 0);
	assert_int_equal(write(in[1], "0 quit\n", 7), 7);
	pid = fork();
	if (!pid) {
		snprintf(env, sizeof(env), "PATH=%s:/usr/bin:/bin", dir);
		putenv(env);
		dup2(in[0], 0);
		dup2(out[1], 1);
		closefrom(3);
		plain_script_argv("nonce", false, argv);
		/* exec changes nothing of them, whatever its prototype says */
		memcpy(args, argv, sizeof(args));
		execvp(args[0], args);
		_exit(127);
	}
	close(out[1]);
	while (n < size - 1 && (r = read(out[0], ret + n, size - 1 - n)) > 0)
		n += (size_t)r;
	ret[n] = '\0';
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	close(in[0]);
	close(in[1]);
	close(out[0]);
	unlink(path);
	rmdir(dir);
}

static void test_setsid_that_cannot_wait(void **state)
{
	char text[256];

	run_script("#!/bin/sh\n[ \"$1\" != -w ] && exec \"$@\"\n", text,
		   sizeof(text));
	assert_int_equal(strncmp(text, "\n@nonce.0 0 ", 12), 0);
}

static void test_errors(void **state)
{
	assert_int_equal(plain_errno("No such file or directory"), -ENOENT);
	assert_int_equal(plain_errno("Directory not empty"), -ENOTEMPTY);
	assert_int_equal(plain_errno("Operation not supported"), -EOPNOTSUPP);
	assert_int_equal(plain_errno("Stale file handle"), -ESTALE);
	assert_int_equal(plain_errno("hard link not allowed for directory"),
			 -EPERM);
	assert_int_equal(plain_errno("No space left on device;"
				     "1+0 records in;0+0 records out;"
				     "0 bytes copied, 0.001 s, 0.0 kB/s"),
			 -ENOSPC);
	/* never success, whatever is said */
	assert_int_equal(plain_errno("Success"), -EIO);
	assert_int_equal(plain_errno(""), -EIO);
}

static void test_counts(void **state)
{
	uint64_t n = 0;

	assert_int_equal(plain_take_count("0+1 records in;0+1 records out;"
					  "32000 bytes (32 kB) copied, 1 s",
					  &n),
			 0);
	assert_int_equal(n, 32000);
	assert_int_equal(plain_take_count("1 byte copied, 0.1 s", &n), 0);
	assert_int_equal(n, 1);
	assert_int_equal(plain_take_count("dd: 5", &n), -EPROTO);
	assert_int_equal(plain_take_count("", &n), -EPROTO);
}

static void test_words_hold_any_bytes(void **state)
{
	struct sbx_buf b;

	sbx_buf_init(&b, 4096);
	plain_put_word(&b, "a$(x) '\n\\\xff", 10);
	sbx_buf_add(&b, "", 1);
	assert_string_equal(
		(char *)sbx_buf_at(&b),
		" =a\\0044\\0050x\\0051\\0040\\0047\\0012\\0134\\0377");
	sbx_buf_release(&b);
}

/* ---- files by calls ---- */

/* A service that has one call, lent to it as it was. */
struct lent {
	struct sbx_service base;
	struct sbx_call *call;
	void (*done)(struct sbx_call *call);
	void *arg;
	bool closed;
};

static void lent_submit(struct sbx_service *svc, struct sbx_call *call)
{
	struct lent *l = (struct lent *)svc;

	l->call = call;
	l->done = call->done;
	l->arg = call->arg;
	call->done = NULL;
	call->arg = l;
}

static int on_message(void *arg, const uint8_t *data, size_t len)
{
	fail(); /* it was closed before there was an answer */
	return -EPROTO;
}

static void on_closed(void *arg)
{
	((struct lent *)arg)->closed = true;
}

/* Looks at the workspace; runs until the service has been asked. */
static void look(struct sbx_plain *p, uv_loop_t *loop)
{
	struct sbx_buf b;

	sbx_buf_init(&b, 4096);
	sbx_put_array(&b, 5);
	sbx_put_u64(&b, SBX_OP_GETATTR);
	sbx_put_u64(&b, 1);
	sbx_put_u64(&b, SBX_DIR_WORKSPACE);
	sbx_put_bin(&b, "", 0);
	sbx_put_u64(&b, 0);
	assert_int_equal(plain_queue_add(p, sbx_buf_at(&b), sbx_buf_len(&b)),
			 0);
	sbx_buf_release(&b);
	uv_run(loop, UV_RUN_NOWAIT);
}

/* Plain mode of l's service, not started; closed with l as the argument. */
static struct sbx_plain *plain_of(uv_loop_t *loop, struct lent *l)
{
	static const struct sbx_channel_handler handler = {
		.on_message = on_message,
	};

	uv_loop_init(loop);
	return (struct sbx_plain *)sbx_plain_new(loop, &l->base, "box", "",
						 false, &handler, NULL);
}

static void test_closed_while_a_call_is_lent(void **state)
{
	static const struct sbx_service_type type = {
		.calls = 1u << SBX_CALL_FILES | 1u << SBX_CALL_FILE,
		.max_unit = 4096,
		.submit = lent_submit,
	};
	struct lent l = {.base.type = &type};
	struct sbx_error why = {.text = "no command runs"};
	struct sbx_carrier *c;
	struct sbx_plain *p;
	uv_loop_t loop;

	p = plain_of(&loop, &l);
	c = (struct sbx_carrier *)p;
	assert_int_equal(plain_files_begin(p, &why), 0);
	p->files = p->up = true;
	look(p, &loop);
	assert_non_null(l.call);
	c->type->close(c, on_closed, &l);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_true(l.closed);
	assert_ptr_equal(l.call->arg, &l);
	l.call->arg = l.arg;
	sbx_error_set(&l.call->error, -EIO, "too late");
	l.done(l.call);
	assert_int_equal(uv_loop_close(&loop), 0);
}

/* The question what listens is lost with the queue, once. */
static void test_ports_are_asked_again(void **state)
{
	static const struct sbx_service_type type = {.max_unit = 4096};
	struct lent l = {.base.type = &type};
	struct sbx_carrier *c;
	struct sbx_plain *p;
	uv_loop_t loop;

	p = plain_of(&loop, &l);
	c = (struct sbx_carrier *)p;
	p->up = p->port_watch = true;
	plain_ports_check(p);
	assert_non_null(p->queue);
	plain_ports_check(p);
	assert_null(p->queue->next);
	plain_queue_drop(p);
	plain_ports_check(p);
	assert_non_null(p->queue);
	p->up = false;
	c->type->close(c, on_closed, &l);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_true(l.closed);
	assert_int_equal(uv_loop_close(&loop), 0);
}

/* ---- shells ---- */

/* A service whose streams are one at a time, and take nothing. */
struct deaf {
	struct sbx_service base;
	struct sbx_stream stream;
	const struct sbx_stream_handler *h; /* of the last one */
	void *arg;
	unsigned int opened;
	bool is_closed, closed;
};

static struct sbx_stream *deaf_open(struct sbx_service *svc, const char *id,
				    const char *const *argv,
				    const struct sbx_stream_handler *h,
				    void *arg)
{
	struct deaf *d = (struct deaf *)svc;

	d->stream.svc = svc;
	d->h = h;
	d->arg = arg;
	d->opened++;
	d->is_closed = false;
	return &d->stream;
}

static int deaf_send(struct sbx_stream *s, const void *data, size_t len)
{
	return -EAGAIN;
}

static void deaf_close(struct sbx_stream *s)
{
	((struct deaf *)s->svc)->is_closed = true;
}

static void deaf_end(struct deaf *d)
{
	struct sbx_error e;

	assert_true(d->is_closed);
	sbx_error_set(&e, -ECANCELED, "closed");
	d->h->on_end(d->arg, -1, &e);
}

static void on_up(void *arg, bool fresh)
{
}

static void on_all_closed(void *arg)
{
	((struct deaf *)arg)->closed = true;
}

static void test_a_shell_that_does_nothing_is_not_replaced_at_once(void **state)
{
	static const char hello[] = "0\0"
				    "0\0\0x86_64\0/w\0/\0\n";
	static const struct sbx_service_type type = {
		.max_unit = SBX_UNIT_MIN,
		.stream_open = deaf_open,
		.stream_send = deaf_send,
		.stream_close = deaf_close,
	};
	static const struct sbx_channel_handler handler = {
		.on_up = on_up,
		.on_message = on_message,
	};
	struct deaf d = {.base.type = &type};
	struct sbx_carrier *c;
	struct sbx_plain *p;
	char mark[64];
	uv_loop_t loop;

	uv_loop_init(&loop);
	c = sbx_plain_new(&loop, &d.base, "box", "", false, &handler, NULL);
	p = (struct sbx_plain *)c;
	c->type->start(c);
	uv_run(&loop, UV_RUN_NOWAIT);
	assert_int_equal(d.opened, 1);
	d.h->on_data(d.arg, 1, hello, sizeof(hello) - 2);
	snprintf(mark, sizeof(mark), "\n@%s.0 0 77\n", p->nonce);
	d.h->on_data(d.arg, 1, mark, strlen(mark));
	assert_true(p->up);
	look(p, &loop);
	deaf_end(&d);
	assert_non_null(p->queue);
	uv_run(&loop, UV_RUN_NOWAIT);
	assert_int_equal(d.opened, 1);
	while (d.opened < 2) /* on_tick, if nothing else, ends each turn */
		uv_run(&loop, UV_RUN_ONCE);
	c->type->close(c, on_all_closed, &d);
	deaf_end(&d);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_true(d.closed);
	assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_attr_is_read),
		cmocka_unit_test(test_attr_that_is_none),
		cmocka_unit_test(test_entries),
		cmocka_unit_test(test_entries_that_are_none),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_setsid_that_cannot_wait),
		cmocka_unit_test(test_counts),
		cmocka_unit_test(test_words_hold_any_bytes),
		cmocka_unit_test(test_closed_while_a_call_is_lent),
		cmocka_unit_test(test_ports_are_asked_again),
		cmocka_unit_test(
			test_a_shell_that_does_nothing_is_not_replaced_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
