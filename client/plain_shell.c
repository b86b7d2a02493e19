/*
 * One shell in the sandbox: gets a command, gives back what it printed and
 * how it ended.  A command goes out in one unit, since units may change
 * places, and the next one only when the answer is here.
 *
 * The answer ends in a mark that names the request, so the output itself may
 * be any bytes.  An output that is more than was asked for, or that comes
 * unasked, ends the shell.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/log.h"
#include "client/plain_int.h"

#define START_MS 30000 /* connecting, up to its first words */
#define IDLE_MS	 20000 /* unused so long: ended */
#define LIFE_MS	 90000 /* the script ends itself after 240 s */
#define LEAVE_MS 3000
#define MAX_MARK 512 /* mark, status and last words */

static void shell_enter(struct plain_shell *s, int state)
{
	s->state = state;
	s->since = uv_now(s->p->loop);
}

void plain_shell_break(struct plain_shell *s, int err, const char *why)
{
	if (s->error.err)
		return;
	sbx_error_set(&s->error, err, "%s", why);
	s->error.retry = SBX_RETRY_CONNECTION;
	s->p->svc->type->stream_close(s->stream);
}

/* ---- answers ---- */

/* Finds the mark at the end of the output; NULL: it is not there yet. */
static char *find_mark(struct plain_shell *s, int *ret_len)
{
	char mark[64], *from = (char *)sbx_buf_at(&s->out);
	size_t len = sbx_buf_len(&s->out), tail;

	if (!len || from[len - 1] != '\n')
		return NULL;
	*ret_len =
		snprintf(mark, sizeof(mark), "\n@%s.%u ", s->p->nonce, s->seq);
	tail = len < MAX_MARK ? len : MAX_MARK;
	return memmem(from + len - tail, tail, mark, (size_t)*ret_len);
}

/* "0 words\n": the exit status and the last words; true if whole. */
static bool mark_parse(struct plain_shell *s, const char *at, int *ret_status,
		       char *text, size_t size)
{
	const char *end = (char *)sbx_buf_at(&s->out) + sbx_buf_len(&s->out);
	long status = 0;
	size_t len;

	while (*at >= '0' && *at <= '9' && status < 1000)
		status = status * 10 + (*at++ - '0');
	if (*at++ != ' ' || status > 255)
		return false;
	len = (size_t)(end - 1 - at);
	if (at >= end || len >= size)
		return false;
	memcpy(text, at, len);
	text[len] = '\0';
	if (strlen(text) != len)
		return false;
	*ret_status = (int)status;
	return true;
}

static void shell_answered(struct plain_shell *s, int status, const char *text)
{
	struct plain_op *op = s->op;

	if (s->state == SHELL_STARTING) {
		s->pid = (uint32_t)strtoul(text, NULL, 10);
		shell_enter(s, SHELL_IDLE);
		plain_on_ready(s, sbx_buf_at(&s->out), sbx_buf_len(&s->out));
		sbx_buf_clear(&s->out);
		return;
	}
	s->op = NULL;
	shell_enter(s, SHELL_IDLE);
	/* it ends itself then */
	if (op->type->op == SBX_OP_WRITE && status)
		shell_enter(s, SHELL_LEAVING);
	plain_on_output(s, op, status, text);
	sbx_buf_clear(&s->out);
	if (s->state == SHELL_IDLE && !s->error.err &&
	    s->since - s->born > LIFE_MS)
		plain_shell_quit(s);
}

static void shell_look(struct plain_shell *s)
{
	char text[MAX_MARK];
	int n, status, r = 0;
	char *mark = find_mark(s, &n);

	if (!mark && s->op && s->op->type->drain)
		r = s->op->type->drain(s->p, s->op, &s->out);
	if (r < 0) {
		plain_shell_break(s, -EPROTO,
				  "a command in the sandbox printed nonsense");
		return;
	}
	if (!mark)
		return;
	if (!mark_parse(s, mark + n, &status, text, sizeof(text))) {
		plain_shell_break(s, -EPROTO,
				  "the shell in the sandbox talks nonsense");
		return;
	}
	sbx_buf_truncate(&s->out, (size_t)(mark - (char *)sbx_buf_at(&s->out)));
	shell_answered(s, status, text);
}

/* ---- the stream ---- */

static void on_stream_open(void *arg)
{
	(void)arg; /* it speaks first */
}

static void on_stream_data(void *arg, int fd, const void *data, size_t len)
{
	struct plain_shell *s = arg;

	if (s->error.err || s->state == SHELL_LEAVING)
		return;
	if (fd != 1) {
		sbx_log(SBX_LOG_DEBUG, "plain", "%.*s",
			(int)(len > 200 ? 200 : len), (const char *)data);
		return;
	}
	if (s->state == SHELL_IDLE || sbx_buf_add(&s->out, data, len) < 0) {
		plain_shell_break(s, -EPROTO,
				  "a command in the sandbox printed more than "
				  "was asked for");
		return;
	}
	shell_look(s);
}

static void shell_explain(struct plain_shell *s, int exit_code,
			  struct sbx_error *why)
{
	if (s->error.err) {
		*why = s->error;
	} else if (why->err) {
		return;
	} else if (exit_code == PLAIN_NO_TOOLS) {
		sbx_error_set(why, -EOPNOTSUPP,
			      "without a helper, GNU coreutils and findutils "
			      "are needed in the sandbox");
	} else if (exit_code == 126 || exit_code == 127) {
		sbx_error_set(why, -EOPNOTSUPP,
			      "the sandbox has no usable shell");
	} else {
		sbx_error_set(why, -EIO, "the shell in the sandbox ended");
		why->retry = SBX_RETRY_CONNECTION;
	}
}

static void on_stream_end(void *arg, int exit_code,
			  const struct sbx_error *error)
{
	struct plain_shell *s = arg, **at = &s->p->shells;
	struct sbx_error why = *error;
	struct plain_op *op = s->op;

	shell_explain(s, exit_code, &why);
	s->stream = NULL;
	s->op = NULL;
	while (*at != s)
		at = &(*at)->next;
	*at = s->next;
	s->p->nr_shells--;
	plain_on_lost(s, op, &why);
	sbx_buf_release(&s->out);
	free(s);
}

static const struct sbx_stream_handler handler = {
	.on_open = on_stream_open,
	.on_data = on_stream_data,
	.on_end = on_stream_end,
};

struct plain_shell *plain_shell_new(struct sbx_plain *p)
{
	struct plain_shell *s = calloc(1, sizeof(*s));
	const char *argv[PLAIN_ARGV];

	if (!s)
		return NULL;
	s->p = p;
	s->born = uv_now(p->loop);
	shell_enter(s, SHELL_STARTING);
	sbx_buf_init(&s->out, PLAIN_OUTPUT);
	s->stream = p->svc->type->stream_open(
		p->svc, p->id, plain_script_argv(p->nonce, !p->known, argv),
		&handler, s);
	if (!s->stream) {
		free(s);
		return NULL;
	}
	s->next = p->shells;
	p->shells = s;
	p->nr_shells++;
	return s;
}

/* ---- commands ---- */

static int shell_send(struct plain_shell *s, const void *data, size_t len)
{
	return s->p->svc->type->stream_send(s->stream, data, len);
}

void plain_shell_run(struct plain_shell *s, struct plain_op *op)
{
	struct sbx_buf *line = &s->p->line;

	s->op = op;
	plain_line_number(&s->p->line, ++s->seq);
	s->out.max = op->max_out ? op->max_out : PLAIN_OUTPUT;
	shell_enter(s, SHELL_BUSY);
	sbx_buf_add(line, "\n", 1);
	if (op->data_len)
		sbx_buf_add(line, op->data, op->data_len);
	if (line->err || shell_send(s, sbx_buf_at(line), sbx_buf_len(line)) < 0)
		plain_shell_break(s, -EIO, "a command could not be sent");
	else
		op->sent = true;
}

void plain_shell_quit(struct plain_shell *s)
{
	static const char quit[] = "0 quit\n";

	shell_enter(s, SHELL_LEAVING);
	if (shell_send(s, quit, sizeof(quit) - 1) < 0)
		plain_shell_break(s, -ECANCELED, "not needed any more");
}

static void shell_check(struct plain_shell *s, uint64_t now)
{
	uint64_t ms = now - s->since;

	switch (s->state) {
	case SHELL_STARTING:
		if (ms > START_MS)
			plain_shell_break(s, -ETIMEDOUT,
					  "the sandbox's shell did not get "
					  "started in 30 seconds");
		break;
	case SHELL_IDLE:
		if (ms > IDLE_MS)
			plain_shell_quit(s);
		break;
	case SHELL_BUSY:
		if (ms > s->op->type->ms)
			plain_shell_break(s, -ETIMEDOUT,
					  "a command in the sandbox did not "
					  "end in time");
		break;
	case SHELL_LEAVING:
		if (ms > LEAVE_MS)
			plain_shell_break(s, -ECANCELED, "not needed any more");
		break;
	}
}

void plain_shells_check(struct sbx_plain *p)
{
	uint64_t now = uv_now(p->loop);
	struct plain_shell *s;

	for (s = p->shells; s; s = s->next)
		if (!s->error.err)
			shell_check(s, now);
}
