/*
 * Commands of the user where they are runs of their own: the service keeps a
 * record of each, under its own text.  Everything sent before is there before
 * one starts, and an exchange after it brings what it changed before its
 * output and its end are told.  Its input must be known when it starts, and
 * nothing reaches it then: no input, no signal, no terminal.
 */
#include <errno.h>
#include <stdlib.h>

#include "client/exchange_int.h"
#include "client/log.h"

#define PIECE	 (32 * 1024)
#define GRACE_MS 10000
/* Output that waits for its readers; with so much, no other command starts. */
#define OUTPUT_MAX ((size_t)64 << 20)

struct exchange_job {
	struct exchange_job *next;
	struct sbx_exchange *x;
	struct sbx_run run;
	uint32_t number, id; /* id: of the request, until it is answered */
	enum { WAITING, RUNNING, OVER, TOLD } state;
	struct sbx_buf command, input;
	bool input_ended, merged;
	uint64_t after; /* which messages were queued before it was complete */
	uint32_t timeout_ms;
	uint64_t began, took;
	uint64_t credit[2];
	size_t given[2];
	bool closed[2], eof[2], exited;
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

/* With how much there is of each stream, which may follow. */
static void send_exit(struct exchange_job *j)
{
	struct sbx_buf b;
	int code = j->run.exit_code;

	message(&b, 7, SBX_MSG_EXIT);
	sbx_put_u64(&b, j->number);
	sbx_put_u64(&b, (uint64_t)code);
	sbx_put_u64(&b, sbx_signal_of_status(code));
	sbx_put_u64(&b, j->took);
	sbx_put_u64(&b, j->closed[0] ? 0 : j->run.out_len);
	sbx_put_u64(&b, j->closed[1] ? 0 : j->run.err_len);
	sbx_put_str(&b, j->run.snapshot);
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
	message(&b, 2, SBX_MSG_JOB_LOST);
	sbx_put_u64(&b, j->number);
	sbx_put_u64(&b, EIO);
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

/*
 * It is over and everything that it did has been told: so is what it said, as
 * far as its readers have room, and then how it ended, for which nobody waits
 * for a reader.
 */
static void job_tell(struct exchange_job *j)
{
	int i;

	for (i = 0; i < 2; i++)
		job_give(j, i);
	if (!j->exited) {
		j->exited = true;
		send_exit(j);
	}
	if (j->eof[0] && j->eof[1])
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

/* The service does not take such a text: it has not run, and says so as a shell
 * would. */
static bool job_refused(struct exchange_job *j)
{
	const struct sbx_error *e = &j->run.error;
	char *text;
	int len;

	if (j->run.maybe_done || (e->err != -E2BIG && e->err != -EILSEQ))
		return false;
	len = asprintf(&text, "sbxfs: cannot run it: %s\n", e->text);
	if (len >= 0) {
		*(j->merged ? &j->run.out : &j->run.err) = text;
		*(j->merged ? &j->run.out_len : &j->run.err_len) = (size_t)len;
	}
	j->run.exit_code = 126;
	return true;
}

static void on_run_done(struct sbx_run *run)
{
	struct exchange_job *j = run->arg;
	struct sbx_exchange *x = j->x;

	x->job = NULL;
	j->state = OVER;
	j->took = uv_now(x->loop) - j->began;
	/* what it did is heard of before its end is */
	x->more = true;
	if (!x->closing && run->error.err && !job_refused(j)) {
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

static bool output_is_full(const struct sbx_exchange *x)
{
	const struct exchange_job *j;
	size_t bytes = 0;

	for (j = x->jobs; j; j = j->next)
		bytes += j->run.out_len + j->run.err_len;
	return bytes >= OUTPUT_MAX;
}

static void job_start(struct exchange_job *j)
{
	struct sbx_exchange *x = j->x;
	uint32_t id = j->id;
	int err = output_is_full(x)
			  ? -EAGAIN
			  : exchange_command_feed(&j->command, &j->input);

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
	if (x->job)
		x->svc->type->run_cancel(x->svc, &x->job->run);
}

/* ---- requests ---- */

static int job_read(struct exchange_job *j, struct sbx_rd *rd)
{
	struct exchange_exec e;
	int r = exchange_exec_parse(&e, rd);

	if (r < 0)
		return r;
	j->credit[0] = j->credit[1] = e.credit;
	j->timeout_ms = e.timeout_ms;
	j->input_ended = !(e.flags & SBX_EXEC_STDIN);
	j->merged = e.flags & SBX_EXEC_MERGE;
	return exchange_command_put(&j->command, &e);
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
	j = nr < SBX_JOBS_MAX ? calloc(1, sizeof(*j)) : NULL;
	if (!j)
		return -EAGAIN;
	j->x = x;
	j->number = number;
	sbx_buf_init(&j->command, x->lim->command + 1);
	sbx_buf_init(&j->input, x->lim->command);
	r = job_read(j, rd);
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

void exchange_jobs_request(struct sbx_exchange *x, const void *data, size_t len,
			   uint64_t after)
{
	struct sbx_msg m;
	struct sbx_rd rd;
	uint32_t op, id;
	int r;

	if (sbx_msg_parse(&m, data, len) < 0)
		return;
	rd = sbx_rd_root(&m);
	op = sbx_get_u32(&rd);
	id = sbx_get_u32(&rd);
	r = rd.err ? -EINVAL : job_request(x, op, id, &rd, after);
	if (r <= 0)
		reply(x, id, r);
	sbx_msg_release(&m);
}

void exchange_jobs_free(struct sbx_exchange *x)
{
	while (x->jobs)
		job_free(x->jobs);
}
