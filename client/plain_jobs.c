/*
 * Commands of the user: each is one of the service's own, with a small
 * script around it that tells its process id first and waits for its exit
 * status.  Its input, which most services cannot end, goes through a named
 * pipe that a second command fills and closes.
 *
 * Everything cached is put in doubt before anything is told of what a command
 * printed, and of its end, so that whoever learns of it sees what it did.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/log.h"
#include "client/plain_int.h"

#define PIECE  (32 * 1024)
#define KILLED (128 + 9)

/* $1: the pipe.  Sizes come in lines, each with its bytes behind it. */
static const char feed_script[] =
	"exec 3>\"$1\" || exit 1\n"
	"rm -f \"$1\"; rmdir \"${1%/*}\"\n"
	"printf K\n"
	"while read -r n && [ \"$n\" -gt 0 ]; do\n"
	"  dd bs=64K iflag=fullblock,count_bytes count=\"$n\" status=none "
	">&3 2>/dev/null || { printf E; exit 0; }\n"
	"  printf K\n"
	"done\n";

struct plain_job *plain_job_find(const struct sbx_plain *p, uint32_t number)
{
	struct plain_job *j = p->jobs;

	while (j && j->number != number)
		j = j->next;
	return j;
}

static void job_answer(struct plain_job *j, int err)
{
	struct plain_op op = {.id = j->id};

	if (!j->id)
		return;
	j->id = 0;
	if (err) {
		plain_answer_err(j->p, &op, err);
		return;
	}
	sbx_put_u64(plain_answer_begin(j->p, &op, 1), j->pid);
	plain_answer(j->p, &op);
}

/* ---- output ---- */

static void send_output(struct plain_job *j, int stream, const uint8_t *data,
			size_t len, bool eof)
{
	struct sbx_buf *b;

	plain_doubt(j->p);
	b = plain_message_begin(j->p, SBX_MSG_OUTPUT, 4);
	sbx_put_u64(b, j->number);
	sbx_put_u64(b, (uint64_t)stream);
	sbx_put_bin(b, data, len);
	sbx_put_bool(b, eof);
	plain_message(j->p);
}

static void job_flush(struct plain_job *j, int stream)
{
	struct sbx_buf *held = &j->held[stream - 1];
	uint64_t *credit = &j->credit[stream - 1];
	size_t n;

	while ((n = sbx_buf_len(held)) && *credit) {
		if (n > *credit)
			n = (size_t)*credit;
		if (n > PIECE)
			n = PIECE;
		*credit -= n;
		send_output(j, stream, sbx_buf_at(held), n, false);
		sbx_buf_consume(held, n);
	}
}

static bool job_holds(const struct plain_job *j)
{
	return sbx_buf_len(&j->held[0]) || sbx_buf_len(&j->held[1]);
}

static void job_pause(struct plain_job *j)
{
	bool pause = job_holds(j);

	if (pause == j->paused || !j->stream)
		return;
	j->paused = pause;
	j->p->svc->type->stream_pause(j->stream, pause);
}

/* ---- the end ---- */

static void input_fail(struct plain_job *j)
{
	struct plain_op *op;

	j->deaf = true;
	while ((op = j->input)) {
		j->input = op->next;
		plain_answer_err(j->p, op, -EPIPE);
		plain_op_free(j->p, op);
	}
	j->input_end = &j->input;
}

static void job_free(struct plain_job *j)
{
	struct sbx_plain *p = j->p;
	struct plain_job **at = &p->jobs;

	while (*at != j)
		at = &(*at)->next;
	*at = j->next;
	sbx_buf_release(&j->held[0]);
	sbx_buf_release(&j->held[1]);
	free(j);
	if (p->closing)
		plain_on_over(p);
}

static void tell_end(struct plain_job *j)
{
	struct sbx_plain *p = j->p;
	struct sbx_buf *b;

	if (!j->closed[0])
		send_output(j, 1, NULL, 0, true);
	if (!j->closed[1])
		send_output(j, 2, NULL, 0, true);
	if (j->lost) {
		b = plain_message_begin(p, SBX_MSG_JOB_LOST, 2);
		sbx_put_u64(b, j->number);
		/* who did not read is told so; else it is word of it that is
		 * lost, whatever the reason */
		sbx_put_u64(b, j->lost == -ENOBUFS ? ENOBUFS : EIO);
	} else {
		b = plain_message_begin(p, SBX_MSG_EXIT, 4);
		sbx_put_u64(b, j->number);
		sbx_put_u64(b, (uint64_t)j->exit_code);
		sbx_put_u64(b, sbx_signal_of_status(j->exit_code));
		sbx_put_i64(b, (int64_t)(uv_now(p->loop) - j->began));
	}
	plain_message(p);
}

/* Tells of the end once everything before it has been told. */
static void job_check(struct plain_job *j)
{
	if (!j->ended || j->stream)
		return;
	if (!j->p->closing && job_holds(j))
		return;
	if (j->started && !j->deaf)
		input_fail(j);
	if (j->feeder) {
		j->p->svc->type->stream_close(j->feeder);
		return; /* its end comes back here */
	}
	if (j->started && !j->p->closing)
		tell_end(j);
	job_free(j);
}

static void on_job_end(void *arg, int exit_code, const struct sbx_error *error)
{
	struct plain_job *j = arg;

	j->stream = NULL;
	j->ended = true;
	/* nobody but a signal ends the script before its command */
	j->exit_code = exit_code < 0 ? KILLED : exit_code & 255;
	j->lost = error->err;
	if (!j->started)
		job_answer(j, error->err ? error->err : -EIO);
	input_fail(j);
	job_check(j);
}

/* ---- input ---- */

static void feed_next(struct plain_job *j)
{
	struct sbx_buf b;
	size_t len;
	struct sbx_rd rd;
	const uint8_t *data;
	int r;

	if (!j->ready || j->feeding || !j->feeder || !j->input)
		return;
	rd = j->input->args;
	sbx_get_u64(&rd);
	data = sbx_get_bin(&rd, &len);
	sbx_buf_init(&b, j->p->svc->type->max_unit);
	plain_put_number(&b, len);
	sbx_buf_add(&b, "\n", 1);
	if (len)
		sbx_buf_add(&b, data, len);
	r = b.err ? b.err
		  : j->p->svc->type->stream_send(j->feeder, sbx_buf_at(&b),
						 sbx_buf_len(&b));
	sbx_buf_release(&b);
	j->feeding = true;
	if (r < 0)
		j->p->svc->type->stream_close(j->feeder);
}

/* The piece in front has reached the pipe. */
static void feed_done(struct plain_job *j)
{
	struct plain_op *op = j->input;

	if (!op)
		return;
	j->input = op->next;
	if (!j->input)
		j->input_end = &j->input;
	plain_answer_begin(j->p, op, 0);
	plain_answer(j->p, op);
	plain_op_free(j->p, op);
}

static void on_feed_data(void *arg, int fd, const void *data, size_t len)
{
	struct plain_job *j = arg;
	const char *p = data;
	size_t i;

	for (i = 0; fd == 1 && i < len; i++) {
		if (p[i] != 'K' || j->ready != j->feeding) {
			input_fail(j);
			return;
		}
		if (j->feeding)
			feed_done(j);
		j->ready = true;
		j->feeding = false;
		feed_next(j);
	}
}

static bool input_is_end(const struct plain_op *op)
{
	struct sbx_rd rd = op->args;
	size_t len;

	sbx_get_u64(&rd);
	sbx_get_bin(&rd, &len);
	return !len;
}

static void on_feed_end(void *arg, int exit_code, const struct sbx_error *error)
{
	struct plain_job *j = arg;

	(void)exit_code, (void)error;
	j->feeder = NULL;
	/* the end of input: its shell ends behind it */
	if (j->input && j->feeding && !error->err && input_is_end(j->input))
		feed_done(j);
	input_fail(j);
	job_check(j);
}

static void on_feed_open(void *arg)
{
	(void)arg;
}

static const struct sbx_stream_handler feed_handler = {
	.on_open = on_feed_open,
	.on_data = on_feed_data,
	.on_end = on_feed_end,
};

static void feed_start(struct plain_job *j, const char *folder)
{
	char path[PLAIN_JOB_HEAD];
	const char *argv[] = {"sh",	    "-c", feed_script,
			      "sbxfs-feed", path, NULL};

	snprintf(path, sizeof(path), "%s/in", folder);
	if (!j->feeder)
		j->feeder = j->p->svc->type->stream_open(
			j->p->svc, j->p->id, argv, &feed_handler, j);
	if (!j->feeder)
		j->p->svc->type->stream_close(j->stream);
}

/* Stays until the bytes are in the pipe. */
static int stdin_begin(struct sbx_plain *p, struct plain_op *op)
{
	struct sbx_rd rd = op->args;
	struct plain_job *j = plain_job_find(p, sbx_get_u32(&rd));
	size_t len;

	sbx_get_bin(&rd, &len);
	if (rd.err || len > SBX_WRITE_MAX)
		return -EINVAL;
	if (!j || j->deaf || !(j->flags & SBX_EXEC_STDIN))
		return -EPIPE;
	op->next = NULL;
	*j->input_end = op;
	j->input_end = &op->next;
	feed_next(j);
	return 2;
}

/* ---- signals ---- */

/* offset: the signal, length: process id, count: it leads a group */
static int sig_begin(struct sbx_plain *p, struct plain_op *op)
{
	char text[32];

	snprintf(text, sizeof(text), "%s%u", op->count ? "-" : "",
		 (uint32_t)op->length);
	plain_put_text(&p->line, "sig =/ =.");
	plain_put_number(&p->line, op->offset);
	plain_put_text(&p->line, text);
	return 0;
}

static int sig_end(struct sbx_plain *p, struct plain_op *op, int err,
		   struct sbx_buf *out, const char *text)
{
	(void)p, (void)op, (void)err, (void)out, (void)text;
	return 0;
}

/* Alone, so that two keep their order, and never again because something
 * else was found to have changed: it would be a second signal. */
static const struct plain_type sig_type = {
	.op = 254,
	.kind = PLAIN_REPEAT,
	.ms = PLAIN_OP_MS,
	.begin = sig_begin,
	.end = sig_end,
};

static int job_signal(const struct plain_job *j, int signo)
{
	struct plain_op *own = plain_op_own(j->p, &sig_type);

	if (!own)
		return -ENOMEM;
	own->offset = (uint64_t)signo;
	own->length = j->pid;
	own->count = j->session;
	return 0;
}

/* ---- the stream of a command ---- */

/* One line of what the script tells; false: there is no command. */
static bool head_line(struct plain_job *j, const char *line)
{
	switch (line[0]) {
	case 'S':
		j->session = true;
		return true;
	case 'D':
		feed_start(j, line + 1);
		return true;
	case 'P':
		j->pid = (uint32_t)strtoul(line + 1, NULL, 10);
		j->started = true;
		job_answer(j, 0);
		return true;
	case 'E':
		job_answer(j, plain_errno(line + 1));
		return false;
	default:
		job_answer(j, -EPROTO);
		return false;
	}
}

/* Returns how many bytes were the script's, or -1. */
static long job_head(struct plain_job *j, const char *data, size_t len)
{
	size_t i;

	for (i = 0; i < len && !j->started; i++) {
		if (data[i] != '\n') {
			if (j->head_len + 1 >= sizeof(j->head))
				return -1;
			j->head[j->head_len++] = data[i];
			continue;
		}
		j->head[j->head_len] = '\0';
		j->head_len = 0;
		if (!head_line(j, j->head))
			return -1;
	}
	return (long)i;
}

/* What printed it would get this where its reader has gone away. */
static void job_prints_in_vain(struct plain_job *j)
{
	if (j->vain)
		return;
	j->vain = true;
	job_signal(j, SIGPIPE);
}

static void on_job_data(void *arg, int fd, const void *data, size_t len)
{
	struct plain_job *j = arg;
	const uint8_t *p = data;
	long used = 0;

	if (!j->started && fd == 1)
		used = job_head(j, data, len);
	if (used < 0) {
		job_answer(j, -EPROTO);
		j->p->svc->type->stream_close(j->stream);
		return;
	}
	if (!j->started || fd < 1 || fd > 2 || len == (size_t)used)
		return;
	if (j->closed[fd - 1]) {
		job_prints_in_vain(j);
		return;
	}
	if (sbx_buf_add(&j->held[fd - 1], p + used, len - (size_t)used) < 0) {
		j->p->svc->type->stream_close(j->stream);
		return;
	}
	job_flush(j, fd);
	job_pause(j);
}

static void on_job_open(void *arg)
{
	(void)arg;
}

const struct sbx_stream_handler plain_job_handler = {
	.on_open = on_job_open,
	.on_data = on_job_data,
	.on_end = on_job_end,
};

/* ---- what the owner says of it ---- */

static int credit_begin(struct sbx_plain *p, struct plain_op *op)
{
	struct sbx_rd rd = op->args;
	struct plain_job *j = plain_job_find(p, sbx_get_u32(&rd));
	bool one = op->type->op == SBX_OP_CREDIT_ONE;
	uint32_t stream = one ? sbx_get_u32(&rd) : 0;
	uint32_t bytes = sbx_get_u32(&rd);
	int i;

	if (rd.err || stream > 2 || (one && !stream))
		return -EINVAL;
	plain_answer_begin(p, op, 0);
	plain_answer(p, op);
	for (i = 1; j && i <= 2; i++) {
		if (one && (uint32_t)i != stream)
			continue;
		j->credit[i - 1] += bytes;
		job_flush(j, i);
	}
	if (j) {
		job_pause(j);
		job_check(j);
	}
	return 1;
}

static int close_begin(struct sbx_plain *p, struct plain_op *op)
{
	struct sbx_rd rd = op->args;
	struct plain_job *j = plain_job_find(p, sbx_get_u32(&rd));
	uint32_t stream = sbx_get_u32(&rd);

	if (rd.err || stream < 1 || stream > 2)
		return -EINVAL;
	plain_answer_begin(p, op, 0);
	plain_answer(p, op);
	if (!j || j->closed[stream - 1])
		return 1;
	j->closed[stream - 1] = true;
	sbx_buf_clear(&j->held[stream - 1]);
	if (j->started)
		send_output(j, (int)stream, NULL, 0, true);
	job_pause(j);
	job_check(j);
	return 1;
}

static int signal_begin(struct sbx_plain *p, struct plain_op *op)
{
	struct sbx_rd rd = op->args;
	struct plain_job *j = plain_job_find(p, sbx_get_u32(&rd));
	uint32_t signo = sbx_get_u32(&rd);
	int r;

	if (rd.err || !signo || signo > 64)
		return -EINVAL;
	if (!j || !j->pid || j->ended)
		return -ESRCH;
	r = job_signal(j, (int)signo);
	if (r < 0)
		return r;
	plain_answer_begin(p, op, 0);
	plain_answer(p, op);
	return 1;
}

#define KILL_WORD "-4294967295,"
_Static_assert(SBX_JOBS_MAX * sizeof(KILL_WORD) + 64 <= SBX_UNIT_MIN,
	       "all that run are killed by one line");

static int kill_begin(struct sbx_plain *p, struct plain_op *op)
{
	const struct plain_job *j;
	char text[sizeof(KILL_WORD)];

	(void)op;
	plain_put_text(&p->line, "sig =/ =. 9 ");
	for (j = p->jobs; j; j = j->next) {
		snprintf(text, sizeof(text), "%s%u,", j->session ? "-" : "",
			 j->pid);
		if (j->pid)
			sbx_buf_add(&p->line, text, strlen(text));
	}
	return 0;
}

static const struct plain_type kill_type = {
	.op = 253,
	.kind = PLAIN_ASK,
	.ms = PLAIN_OP_MS,
	.begin = kill_begin,
	.end = sig_end,
};

void plain_jobs_kill(struct sbx_plain *p)
{
	const struct plain_job *j = p->jobs;

	while (j && !j->pid)
		j = j->next;
	if (j)
		plain_op_own(p, &kill_type);
}

void plain_jobs_close(struct sbx_plain *p)
{
	struct plain_job *j, *next;

	for (j = p->jobs; j; j = next) {
		next = j->next;
		if (j->feeder)
			p->svc->type->stream_close(j->feeder);
		if (j->stream)
			p->svc->type->stream_close(j->stream);
	}
}

/* ---- the table ---- */

const struct plain_type plain_job_types[] = {
	{SBX_OP_EXEC, PLAIN_WAIT, 0, plain_exec_begin},
	{SBX_OP_STDIN, PLAIN_NOTE, 0, stdin_begin},
	{SBX_OP_CLOSE_OUTPUT, PLAIN_QUICK, 0, close_begin},
	{SBX_OP_SIGNAL, PLAIN_NOTE, 0, signal_begin},
	{SBX_OP_CREDIT, PLAIN_QUICK, 0, credit_begin},
	{SBX_OP_CREDIT_ONE, PLAIN_QUICK, 0, credit_begin},
	{SBX_OP_PORTS, PLAIN_ASK, PLAIN_OP_MS, plain_ports_begin,
	 plain_ports_end},
	{SBX_OP_PORT_WATCH, PLAIN_NOTE, 0, plain_port_watch},
	{0},
};
