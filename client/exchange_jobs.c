/*
 * Commands of the user where they are runs of their own: the service keeps a
 * record of each, under its own text.  Everything sent before is there before
 * one starts, and an exchange after it brings what it changed before its
 * output and its end are told.  Its input must be known when it starts, and
 * nothing reaches it then: no input, no signal, no terminal.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/exchange_int.h"
#include "client/log.h"
#include "client/wire/base64.h"

#define MAX_JOBS   1024
#define MAX_ASKED  ((size_t)4 << 20) /* bytes of requests in one turn */
#define PIECE	   (32 * 1024)
#define KILL_AFTER 2 /* seconds after TERM, of what has a timeout */
#define GRACE_MS   10000

struct exchange_job {
	struct exchange_job *next;
	struct sbx_exchange *x;
	struct sbx_run run;
	uint32_t number, id; /* id: of the request, until it is answered */
	enum { WAITING, RUNNING, OVER, TOLD } state;
	struct sbx_buf command, input;
	bool input_ended;
	uint64_t after; /* which messages were queued before it was complete */
	uint32_t timeout_ms;
	uint64_t began, took;
	uint64_t credit[2];
	size_t given[2];
	bool closed[2], eof[2];
};

/* ---- messages to ourselves ---- */

static struct sbx_buf *message(struct sbx_buf *b, unsigned int nr,
			       enum sbx_wire_msg type)
{
	sbx_buf_init(b, PIECE + 256);
	sbx_put_array(b, nr + 1);
	sbx_put_u64(b, type);
	return b;
}

static void deliver(struct sbx_exchange *x, struct sbx_buf *b)
{
	exchange_deliver(x, b);
	sbx_buf_release(b);
}

static void reply(struct sbx_exchange *x, uint32_t id, int err)
{
	struct sbx_buf b;

	if (!id)
		return;
	message(&b, err ? 2 : 3, SBX_MSG_REPLY);
	sbx_put_u64(&b, id);
	sbx_put_u64(&b, (uint64_t)-err);
	if (!err)
		sbx_put_u64(&b, 0);
	deliver(x, &b);
}

static void send_output(struct exchange_job *j, int stream, const void *data,
			size_t len, bool eof)
{
	struct sbx_buf b;

	message(&b, 4, SBX_MSG_OUTPUT);
	sbx_put_u64(&b, j->number);
	sbx_put_u64(&b, (uint64_t)stream);
	sbx_put_bin(&b, data, len);
	sbx_put_bool(&b, eof);
	deliver(j->x, &b);
}

static void send_exit(struct exchange_job *j)
{
	struct sbx_buf b;
	int code = j->run.exit_code;

	message(&b, 4, SBX_MSG_EXIT);
	sbx_put_u64(&b, j->number);
	sbx_put_u64(&b, (uint64_t)code);
	sbx_put_u64(&b, sbx_signal_of_status(code));
	sbx_put_u64(&b, j->took);
	deliver(j->x, &b);
}

/* ---- the list ---- */

static struct exchange_job *job_find(const struct sbx_exchange *x,
				     uint32_t number)
{
	struct exchange_job *j = x->jobs;

	while (j && j->number != number)
		j = j->next;
	return j;
}

static void job_free(struct exchange_job *j)
{
	struct exchange_job **at = &j->x->jobs;

	while (*at && *at != j)
		at = &(*at)->next;
	if (*at)
		*at = j->next;
	sbx_run_release(&j->run);
	sbx_buf_release(&j->command);
	sbx_buf_release(&j->input);
	free(j);
}

/* Its outcome will never be known. */
static void job_lost(struct exchange_job *j)
{
	struct sbx_buf b;

	reply(j->x, j->id, -EIO);
	message(&b, 1, SBX_MSG_JOB_LOST);
	sbx_put_u64(&b, j->number);
	deliver(j->x, &b);
	job_free(j);
}

/* ---- output ---- */

static void job_give(struct exchange_job *j, int i)
{
	const char *data = i ? j->run.err : j->run.out;
	size_t len = i ? j->run.err_len : j->run.out_len, n;

	if (j->closed[i])
		j->given[i] = len;
	while ((n = len - j->given[i]) && j->credit[i]) {
		if (n > j->credit[i])
			n = (size_t)j->credit[i];
		if (n > PIECE)
			n = PIECE;
		j->credit[i] -= n;
		j->given[i] += n;
		send_output(j, i + 1, data + j->given[i] - n, n, false);
	}
	if (j->given[i] == len && !j->eof[i]) {
		j->eof[i] = true;
		send_output(j, i + 1, NULL, 0, true);
	}
}

/* It is over and everything that it did has been told: so is what it said. */
static void job_tell(struct exchange_job *j)
{
	struct sbx_exchange *x = j->x;
	uint32_t number = j->number;
	int i;

	/* whoever hears of it may ask for credit, or forget the job */
	for (i = 0; i < 2; i++)
		job_give(j, i);
	if (job_find(x, number) != j || !j->eof[0] || !j->eof[1])
		return;
	send_exit(j);
	job_free(j);
}

void exchange_jobs_told(struct sbx_exchange *x)
{
	struct exchange_job *j, *next;

	if (x->more)
		return;
	for (j = x->jobs; j; j = next) {
		next = j->next;
		if (j->state != OVER)
			continue;
		j->state = TOLD;
		job_tell(j);
	}
}

/* ---- running ---- */

static void on_run_done(struct sbx_run *run)
{
	struct exchange_job *j = run->arg;
	struct sbx_exchange *x = j->x;

	x->job = NULL;
	j->state = OVER;
	j->took = uv_now(x->loop) - j->began;
	/* what it did is heard of before its end is */
	x->more = true;
	if (!x->closing && run->error.err) {
		sbx_log(SBX_LOG_WARNING, "exchange", "%s: a command: %s", x->id,
			run->error.text);
		job_lost(j);
	}
	exchange_run_over(x);
}

static bool job_is_ready(const struct exchange_job *j)
{
	return j->state == WAITING && j->input_ended;
}

/* The input goes before the text, so that the record still ends with it. */
static int job_add_input(struct exchange_job *j)
{
	size_t len = sbx_buf_len(&j->input);
	struct sbx_buf with;
	uint8_t *room;

	/* part of it would be another input */
	if (j->input.err)
		return j->input.err == -ENOMEM ? -ENOMEM : -E2BIG;
	if (!len)
		return 0;
	sbx_buf_init(&with, j->x->lim->command + 1);
	sbx_buf_add(&with, "printf %s '", 11);
	room = sbx_buf_room(&with, SBX_BASE64_LEN(len));
	if (room) {
		sbx_base64_put((char *)room, sbx_buf_at(&j->input), len);
		sbx_buf_added(&with, SBX_BASE64_LEN(len));
	}
	sbx_buf_add(&with, "' | base64 -d | {\n", 18);
	sbx_buf_add(&with, sbx_buf_at(&j->command),
		    sbx_buf_len(&j->command) - 1);
	sbx_buf_add(&with, "\n}", 3);
	if (with.err) {
		int err = with.err == -ENOMEM ? -ENOMEM : -E2BIG;

		sbx_buf_release(&with);
		return err;
	}
	sbx_buf_release(&j->command);
	j->command = with;
	return 0;
}

static void job_start(struct exchange_job *j)
{
	struct sbx_exchange *x = j->x;
	uint32_t id = j->id;
	int err = job_add_input(j);

	if (err < 0) {
		j->id = 0;
		reply(x, id, err);
		job_free(j);
		return;
	}
	j->run = (struct sbx_run){
		.command = (char *)sbx_buf_at(&j->command),
		.timeout_ms = j->timeout_ms ? j->timeout_ms + GRACE_MS : 0,
		.done = on_run_done,
		.arg = j,
	};
	j->state = RUNNING;
	j->began = uv_now(x->loop);
	x->job = j;
	x->svc->type->run(x->svc, x->id, &j->run);
	j->id = 0;
	reply(x, id, 0);
}

static struct exchange_job *job_next(const struct sbx_exchange *x)
{
	struct exchange_job *j = x->jobs;

	while (j && !job_is_ready(j))
		j = j->next;
	return j;
}

/*
 * What was queued before it has been answered.  What came later waits, or
 * somebody who asks without pause would keep it waiting; behind each command
 * there is an exchange, so that has its turn, too.
 */
static bool job_has_turn(const struct exchange_job *j)
{
	const struct sbx_exchange *x = j->x;

	return !exchange_queue_has(&x->queue, j->after) &&
	       !sbx_link_queued(x->link) && !sbx_link_unacked(x->link);
}

enum exchange_turn exchange_jobs_run(struct sbx_exchange *x)
{
	struct exchange_job *j;

	/* one may be refused: the next one has its turn */
	while (!x->job && (j = job_next(x))) {
		if (!job_has_turn(j))
			return EXCHANGE_TURN_BEFORE;
		job_start(j);
	}
	return x->job ? EXCHANGE_TURN_TAKEN : EXCHANGE_TURN_NONE;
}

void exchange_jobs_close(struct sbx_exchange *x)
{
	uv_timer_stop(&x->late);
	if (x->job)
		x->svc->type->run_cancel(x->svc, &x->job->run);
}

/* ---- requests ---- */

static void put_quoted(struct sbx_buf *b, const uint8_t *data, size_t len)
{
	size_t i;

	if (len && memchr(data, 0, len))
		b->err = -EINVAL;
	sbx_buf_add(b, "'", 1);
	for (i = 0; i < len; i++)
		if (data[i] == '\'')
			sbx_buf_add(b, "'\\''", 4);
		else
			sbx_buf_add(b, data + i, 1);
	sbx_buf_add(b, "' ", 2);
}

static bool is_word(const uint8_t *data, size_t len, const char *word)
{
	return data && len == strlen(word) && !memcmp(data, word, len);
}

/* "sh -c TEXT" and nothing else is TEXT, as the user wrote it. */
static bool put_plain_text(struct sbx_buf *b, struct sbx_rd argv)
{
	const uint8_t *data;
	size_t len;

	if (argv.left != 3)
		return false;
	data = sbx_get_bin(&argv, &len);
	if (!is_word(data, len, "sh") && !is_word(data, len, "/bin/sh"))
		return false;
	data = sbx_get_bin(&argv, &len);
	if (!is_word(data, len, "-c"))
		return false;
	data = sbx_get_bin(&argv, &len);
	if (argv.err || !len || memchr(data, 0, len))
		return false;
	while (len && data[len - 1] == '\n')
		len--;
	sbx_buf_add(b, data, len);
	return true;
}

static void put_command(struct exchange_job *j, struct sbx_rd argv,
			const uint8_t *cwd, size_t cwd_len, struct sbx_rd env,
			uint32_t flags)
{
	struct sbx_buf *b = &j->command;
	const uint8_t *data;
	size_t len;
	char text[48];

	if (!cwd_len && !env.left && !j->timeout_ms &&
	    !(flags & SBX_EXEC_MERGE) && put_plain_text(b, argv))
		return;
	if (cwd_len) {
		sbx_buf_add(b, "cd -- ", 6);
		put_quoted(b, cwd, cwd_len);
		sbx_buf_add(b, "|| exit 127; ", 13);
	}
	sbx_buf_add(b, "exec ", 5);
	if (j->timeout_ms) {
		snprintf(text, sizeof(text), "timeout -k %d %u.%03u ",
			 KILL_AFTER, j->timeout_ms / 1000,
			 j->timeout_ms % 1000);
		sbx_buf_add(b, text, strlen(text));
	}
	sbx_buf_add(b, "env -- ", 7);
	while (env.left >= 2 && !env.err) {
		uint8_t one[4096];
		size_t n;

		data = sbx_get_bin(&env, &n);
		if (!n || n >= sizeof(one) || memchr(data, '=', n)) {
			b->err = -EINVAL;
			return;
		}
		memcpy(one, data, n);
		one[n++] = '=';
		data = sbx_get_bin(&env, &len);
		if (len > sizeof(one) - n) {
			b->err = -E2BIG;
			return;
		}
		if (len)
			memcpy(one + n, data, len);
		put_quoted(b, one, n + len);
	}
	while (argv.left && !argv.err) {
		data = sbx_get_bin(&argv, &len);
		put_quoted(b, data, len);
	}
	if (flags & SBX_EXEC_MERGE)
		sbx_buf_add(b, "2>&1", 4);
}

static int exec_parse(struct exchange_job *j, struct sbx_rd *rd)
{
	struct sbx_rd argv, env;
	const uint8_t *cwd;
	size_t cwd_len;
	uint32_t flags;

	argv = sbx_get_array(rd);
	cwd = sbx_get_bin(rd, &cwd_len);
	env = sbx_get_map(rd);
	flags = sbx_get_u32(rd);
	sbx_get_u32(rd); /* columns */
	sbx_get_u32(rd); /* rows */
	j->credit[0] = j->credit[1] = sbx_get_u32(rd);
	j->timeout_ms = rd->left ? sbx_get_u32(rd) : 0;
	if (rd->err || argv.err || env.err || !argv.left)
		return -EINVAL;
	if (flags & SBX_EXEC_TTY)
		return -EOPNOTSUPP;
	j->input_ended = !(flags & SBX_EXEC_STDIN);
	put_command(j, argv, cwd, cwd_len, env, flags);
	sbx_buf_add(&j->command, "", 1);
	if (j->command.err == -EMSGSIZE)
		return -E2BIG;
	return j->command.err;
}

static int job_new(struct sbx_exchange *x, uint32_t id, struct sbx_rd *rd,
		   uint64_t after)
{
	struct exchange_job *j, **end = &x->jobs;
	uint32_t number = sbx_get_u32(rd);
	unsigned int nr = 0;
	int r;

	for (; *end; end = &(*end)->next)
		nr++;
	if (rd->err || !number || job_find(x, number))
		return -EINVAL;
	j = nr < MAX_JOBS ? calloc(1, sizeof(*j)) : NULL;
	if (!j)
		return -EAGAIN;
	j->x = x;
	j->number = number;
	sbx_buf_init(&j->command, x->lim->command + 1);
	sbx_buf_init(&j->input, x->lim->command);
	r = exec_parse(j, rd);
	if (r < 0) {
		job_free(j);
		return r;
	}
	j->id = id;
	j->after = after;
	*end = j;
	return 1;
}

static int job_stdin(struct exchange_job *j, struct sbx_rd *rd)
{
	size_t len;
	const uint8_t *data = sbx_get_bin(rd, &len);

	if (rd->err)
		return -EINVAL;
	if (!j || j->state != WAITING || j->input_ended)
		return -EPIPE;
	if (!len) {
		j->input_ended = true;
		return 0;
	}
	return sbx_buf_add(&j->input, data, len) < 0 ? -EFBIG : 0;
}

/* What has not begun does not begin; nothing reaches what has. */
static int job_signal(struct exchange_job *j, uint32_t signo)
{
	if (!j || j->state > RUNNING)
		return -ESRCH;
	if (!signo || signo > 64)
		return -EINVAL;
	if (j->state == RUNNING)
		return -EOPNOTSUPP;
	reply(j->x, j->id, 0);
	j->run.exit_code = (int)(128 + signo);
	j->state = TOLD;
	job_tell(j);
	return 0;
}

static int job_credit(struct exchange_job *j, uint32_t stream, uint32_t bytes)
{
	if (!j)
		return 0;
	if (stream != 2)
		j->credit[0] += bytes;
	if (stream != 1)
		j->credit[1] += bytes;
	if (j->state == TOLD)
		job_tell(j);
	return 0;
}

static int job_close_output(struct exchange_job *j, uint32_t stream)
{
	if (stream < 1 || stream > 2)
		return -EINVAL;
	if (j)
		j->closed[stream - 1] = true;
	if (j && j->state == TOLD)
		job_tell(j);
	return 0;
}

/* 1: it is answered later */
static int job_request(struct sbx_exchange *x, uint32_t op, uint32_t id,
		       struct sbx_rd *rd, uint64_t after)
{
	struct sbx_rd all = *rd;
	struct exchange_job *j = job_find(x, sbx_get_u32(rd));
	uint32_t a, b;

	if (j && op == SBX_OP_STDIN)
		j->after = after;

	switch (op) {
	case SBX_OP_EXEC:
		return job_new(x, id, &all, after);
	case SBX_OP_STDIN:
		return job_stdin(j, rd);
	case SBX_OP_SIGNAL:
		return job_signal(j, sbx_get_u32(rd));
	case SBX_OP_CREDIT:
		return job_credit(j, 0, sbx_get_u32(rd));
	case SBX_OP_CREDIT_ONE:
		a = sbx_get_u32(rd);
		b = sbx_get_u32(rd);
		return a == 1 || a == 2 ? job_credit(j, a, b) : -EINVAL;
	case SBX_OP_CLOSE_OUTPUT:
		return job_close_output(j, sbx_get_u32(rd));
	default: /* RESIZE, HANGUP: there are no terminals */
		return -ESRCH;
	}
}

/* A request that was taken: answers never come from within sending. */
struct exchange_asked {
	struct exchange_asked *next;
	uint64_t after;
	size_t len;
	uint8_t data[];
};

static void request_run(struct sbx_exchange *x, const struct exchange_asked *a)
{
	struct sbx_msg m;
	struct sbx_rd rd;
	uint32_t op, id;
	int r;

	if (sbx_msg_parse(&m, a->data, a->len) < 0)
		return;
	rd = sbx_rd_root(&m);
	op = sbx_get_u32(&rd);
	id = sbx_get_u32(&rd);
	r = rd.err ? -EINVAL : job_request(x, op, id, &rd, a->after);
	if (r <= 0)
		reply(x, id, r);
	sbx_msg_release(&m);
}

static void on_late(uv_timer_t *t)
{
	struct sbx_exchange *x = t->data;
	struct exchange_asked *a;

	while ((a = x->asked) && !x->closing) {
		x->asked = a->next;
		if (!x->asked)
			x->asked_end = &x->asked;
		x->asked_bytes -= a->len;
		request_run(x, a);
		free(a);
	}
	exchange_plan(x);
}

int exchange_jobs_send(struct sbx_exchange *x, const void *data, size_t len)
{
	const uint8_t *p = data;
	struct exchange_asked *a;

	/* an array of less than 16, and numbers below 128 */
	if (len < 2 || p[1] < SBX_OP_EXEC || p[1] > SBX_OP_HANGUP)
		return -EOPNOTSUPP;
	if (x->asked_bytes + len > MAX_ASKED)
		return -EAGAIN;
	a = malloc(sizeof(*a) + len);
	if (!a)
		return -ENOMEM;
	a->next = NULL;
	a->after = x->queue.nr;
	a->len = len;
	x->asked_bytes += len;
	memcpy(a->data, data, len);
	*x->asked_end = a;
	x->asked_end = &a->next;
	uv_timer_start(&x->late, on_late, 0, 0);
	return 0;
}

void exchange_jobs_free(struct sbx_exchange *x)
{
	struct exchange_asked *a;

	while (x->jobs)
		job_free(x->jobs);
	while ((a = x->asked)) {
		x->asked = a->next;
		free(a);
	}
}
