/*
 * The life of plain mode, and its requests in their order.
 */
#include "client/plain.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/log.h"
#include "client/plain_int.h"
#include "client/random.h"

#define TICK_MS	     1000
#define QUIT_MS	     1000
#define KILL_MS	     3000 /* of closing: a shell may have to be started */
#define RETRY_MIN_MS 100
#define RETRY_MAX_MS 5000

/* ---- a shell that was lost with a change under way ---- */

/* offset is its pid */
static int end_begin(struct sbx_plain *p, struct plain_op *op)
{
	plain_put_text(&p->line, "end =/ =.");
	plain_put_number(&p->line, op->offset);
	return 0;
}

static int end_end(struct sbx_plain *p, struct plain_op *op, int err,
		   struct sbx_buf *out, const char *text)
{
	(void)p, (void)op, (void)err, (void)out, (void)text;
	return 0;
}

static const struct plain_type end_type = {
	.op = 255,
	.kind = PLAIN_REPEAT,
	.ms = PLAIN_OP_MS,
	.begin = end_begin,
	.end = end_end,
};

/* What it runs must not change anything behind what comes next. */
static void shell_bury(struct sbx_plain *p, const struct plain_shell *s)
{
	struct plain_op *op;

	if (!s->pid || p->closing)
		return;
	op = plain_op_own(p, &end_type);
	if (op)
		op->offset = s->pid;
}

/* ---- work ---- */

static unsigned int shells_active(const struct sbx_plain *p)
{
	const struct plain_shell *s;
	unsigned int n = 0;

	for (s = p->shells; s; s = s->next)
		n += s->state != SHELL_LEAVING && !s->error.err;
	return n;
}

static bool shell_is_starting(const struct sbx_plain *p)
{
	const struct plain_shell *s;

	for (s = p->shells; s; s = s->next)
		if (s->state == SHELL_STARTING)
			return true;
	return false;
}

static struct plain_shell *shell_idle(const struct sbx_plain *p)
{
	struct plain_shell *s;

	for (s = p->shells; s; s = s->next)
		if (s->state == SHELL_IDLE && !s->error.err)
			return s;
	return NULL;
}

static void plain_down(struct sbx_plain *p, const struct sbx_error *why);

static void shell_want(struct sbx_plain *p)
{
	struct sbx_error why = {0};

	if (shell_is_starting(p) || shells_active(p) >= PLAIN_SHELLS ||
	    uv_is_active((uv_handle_t *)&p->retry))
		return;
	if (plain_shell_new(p))
		return;
	sbx_error_set(&why, -ENOMEM, "out of memory");
	why.retry = SBX_RETRY_LATER;
	plain_down(p, &why);
}

static void op_done(struct sbx_plain *p, struct plain_op *op, int r)
{
	if (r == 1) {
		plain_queue_put_back(p, op);
		return;
	}
	if (r < 0 && !op->internal)
		plain_answer_err(p, op, r);
	plain_op_free(p, op);
}

/* Begins it; true if it needs a shell, with its command in p->line. */
static bool op_begin(struct sbx_plain *p, struct plain_op *op)
{
	int r;

	plain_line_begin(&p->line);
	r = op->type->begin(p, op);
	if (!r && p->line.err)
		r = -ENAMETOOLONG;
	if (!r &&
	    sbx_buf_len(&p->line) + op->data_len + 1 > p->svc->type->max_unit)
		r = -ENAMETOOLONG;
	if (!r)
		return true;
	if (r != 2)
		op_done(p, op, r < 0 ? r : 0);
	return false;
}

/* The first of the queue, if it is its turn; false: something must end. */
static bool work_first(struct sbx_plain *p)
{
	enum plain_kind kind = p->queue->type->kind;
	struct plain_shell *s;
	struct plain_op *op;
	bool alone = kind != PLAIN_ASK && kind != PLAIN_NOTE;

	if (p->files)
		return plain_files_step(p);
	if (p->exclusive || (alone && p->running))
		return false;
	if (kind == PLAIN_NOTE || kind == PLAIN_WAIT) {
		op_begin(p, plain_queue_take(p));
		return true;
	}
	s = shell_idle(p);
	if (!s) {
		shell_want(p);
		return false;
	}
	op = plain_queue_take(p);
	if (!op_begin(p, op))
		return true;
	p->running++;
	p->exclusive = alone;
	plain_shell_run(s, op);
	return true;
}

static void on_work(uv_prepare_t *handle)
{
	struct sbx_plain *p = handle->data;
	struct plain_op *op;

	uv_prepare_stop(handle);
	if (p->closing && !p->queue)
		plain_on_over(p);
	while ((op = p->quick)) {
		p->quick = op->next;
		if (!p->quick)
			p->quick_end = &p->quick;
		p->queued -= op->len;
		op_begin(p, op);
	}
	if (p->up)
		while (p->queue && work_first(p))
			;
	else if (p->started && !p->closing)
		shell_want(p);
}

void plain_work_later(struct sbx_plain *p)
{
	if (!uv_is_closing((uv_handle_t *)&p->work))
		uv_prepare_start(&p->work, on_work);
}

/* ---- up and down ---- */

static void on_retry(uv_timer_t *t)
{
	plain_work_later(t->data);
}

/* No command can be run, and the service has another way: true. */
static bool plain_go_files(struct sbx_plain *p, const struct sbx_error *why)
{
	bool fresh = p->fresh || p->known;

	if (why->err != -EOPNOTSUPP || plain_files_begin(p, why) < 0)
		return false;
	sbx_log(SBX_LOG_WARNING, "plain", "%s: %s", p->id, p->info.plain);
	p->files = p->known = p->up = true;
	p->fresh = false;
	p->h->on_up(p->arg, fresh);
	plain_work_later(p);
	return true;
}

/* No shell is started meanwhile; longer each time, until one carries out a
 * command. */
static void shell_pause(struct sbx_plain *p)
{
	unsigned int ms = RETRY_MIN_MS << (p->attempts < 8 ? p->attempts : 8);

	if (ms > RETRY_MAX_MS)
		ms = RETRY_MAX_MS;
	p->attempts++;
	uv_timer_start(&p->retry, on_retry, sbx_random_between(ms / 2, ms), 0);
}

static void plain_down(struct sbx_plain *p, const struct sbx_error *why)
{
	bool retry = why->retry != SBX_RETRY_NEVER && why->err != -ENOENT;
	bool news = p->up || !p->attempts || !retry ||
		    why->retry == SBX_RETRY_RESUME;

	if (p->files || plain_go_files(p, why))
		return;
	p->up = false;
	p->error = *why;
	p->started = retry;
	if (retry)
		shell_pause(p);
	else
		plain_queue_drop(p); /* the owner fails them */
	if (news)
		p->h->on_down(p->arg, why, retry);
}

/* The next text, in place; NULL: there is none. */
static const char *hello_text(const uint8_t **at, const uint8_t *end)
{
	const uint8_t *text = *at, *nul = memchr(text, 0, (size_t)(end - text));

	if (nul)
		*at = nul + 1;
	return nul ? (const char *)text : NULL;
}

static int hello_copy(char *dst, size_t size, const uint8_t **at,
		      const uint8_t *end)
{
	const char *text = hello_text(at, end);

	if (!text || strlen(text) >= size)
		return -EPROTO;
	strcpy(dst, text);
	return 0;
}

static void hello_groups(struct sbx_remote_info *info, const char *text)
{
	char *end;

	info->nr_groups = 0;
	while (*text && info->nr_groups < SBX_HELLO_GROUPS) {
		uint32_t group = (uint32_t)strtoul(text, &end, 10);

		if (end == text)
			break;
		info->groups[info->nr_groups++] = group;
		text = end + strspn(end, " ");
	}
	info->more_groups = *text;
}

static int hello_parse(struct sbx_plain *p, const uint8_t *at, size_t len)
{
	struct sbx_remote_info *info = &p->info;
	const uint8_t *end = at + len;
	const char *uid = hello_text(&at, end), *gid = hello_text(&at, end);
	const char *groups = hello_text(&at, end);

	if (!uid || !gid || !groups ||
	    hello_copy(info->machine, sizeof(info->machine), &at, end) < 0 ||
	    hello_copy(info->cwd, sizeof(info->cwd), &at, end) < 0 ||
	    hello_copy(info->home, sizeof(info->home), &at, end) < 0 ||
	    info->cwd[0] != '/')
		return -EPROTO;
	info->uid = (uint32_t)strtoul(uid, NULL, 10);
	info->gid = (uint32_t)strtoul(gid, NULL, 10);
	hello_groups(info, groups);
	return plain_names_init(&p->names, info->cwd);
}

void plain_on_ready(struct plain_shell *s, const uint8_t *hello, size_t len)
{
	struct sbx_plain *p = s->p;

	if (p->closing) { /* it may have been started to kill what runs */
		plain_work_later(p);
		return;
	}
	if (!p->known && hello_parse(p, hello, len) < 0) {
		plain_names_release(&p->names);
		plain_shell_break(s, -EPROTO,
				  "the shell in the sandbox talks nonsense");
		s->state = SHELL_STARTING;
		return;
	}
	p->known = true;
	plain_work_later(p);
	if (p->up)
		return;
	p->up = true;
	p->h->on_up(p->arg, p->fresh);
	p->fresh = false;
}

/* ---- what became of a command ---- */

static void op_left(struct sbx_plain *p)
{
	p->running--;
	p->exclusive = false;
	plain_work_later(p);
}

static bool op_may_repeat(const struct plain_op *op)
{
	return op->type->kind == PLAIN_ASK || op->type->kind == PLAIN_REPEAT;
}

void plain_on_output(struct plain_shell *s, struct plain_op *op, int status,
		     const char *text)
{
	struct sbx_plain *p = s->p;
	int err = status ? plain_errno(text) : 0;

	op_left(p);
	p->attempts = 0;
	/* a command of the user ran meanwhile and has ended */
	if (op->again && op->type->kind == PLAIN_ASK && !op->type->drain &&
	    op->tries++ < PLAIN_RESTARTS) {
		plain_queue_put_back(p, op);
		return;
	}
	if (p->closing) {
		plain_op_free(p, op);
		return;
	}
	op_done(p, op, op->type->end(p, op, err, &s->out, text));
}

static void op_lost(struct sbx_plain *p, const struct plain_shell *s,
		    struct plain_op *op, const struct sbx_error *why)
{
	bool change = op->type->kind != PLAIN_ASK;
	bool sent = op->sent;

	op_left(p);
	if (p->closing) {
		/* what ends commands needs another shell then */
		if (op->internal && op_may_repeat(op) &&
		    why->err != -ECANCELED && op->tries++ < PLAIN_RESTARTS)
			plain_queue_put_back(p, op);
		else
			plain_op_free(p, op);
		return;
	}
	if (!sent || (op_may_repeat(op) && !op->type->drain &&
		      why->err != -EPROTO && op->tries++ < PLAIN_RESTARTS)) {
		plain_queue_put_back(p, op);
	} else {
		op_done(p, op, why->err == -EPROTO ? -EPROTO : -ETIMEDOUT);
		if (change)
			plain_doubt(p);
	}
	if (sent)
		shell_bury(p, s);
}

void plain_on_lost(struct plain_shell *s, struct plain_op *op,
		   const struct sbx_error *why)
{
	struct sbx_plain *p = s->p;

	if (op)
		op_lost(p, s, op, why);
	if (p->closing)
		plain_on_over(p);
	else if (s->state == SHELL_STARTING)
		plain_down(p, why);
	else if (op && s->seq == 1) /* it has never carried one out */
		shell_pause(p);
	else
		plain_work_later(p);
}

/* ---- time ---- */

/* While nothing can be carried out: what nobody waits for any more is not
 * carried out later. */
static void queue_expire(struct sbx_plain *p)
{
	uint64_t now = uv_now(p->loop);

	while (p->queue && now - p->queue->since > PLAIN_OP_MS)
		op_done(p, plain_queue_take(p), -ETIMEDOUT);
}

static void shells_close(struct sbx_plain *p)
{
	struct plain_shell *s;

	for (s = p->shells; s; s = s->next)
		plain_shell_break(s, -ECANCELED, "closing");
	plain_jobs_close(p);
}

static void on_tick(uv_timer_t *t)
{
	struct sbx_plain *p = t->data;

	if (p->closing) {
		shells_close(p);
		return;
	}
	plain_shells_check(p);
	plain_ports_check(p);
	if (!p->up)
		queue_expire(p);
}

/* ---- the beginning and the end ---- */

static void plain_start(struct sbx_carrier *c)
{
	struct sbx_plain *p = (struct sbx_plain *)c;

	if (p->started || p->closing)
		return;
	p->started = true;
	uv_timer_start(&p->tick, on_tick, TICK_MS, TICK_MS);
	plain_work_later(p);
}

static void on_handle_closed(uv_handle_t *h)
{
	struct sbx_plain *p = h->data;
	void (*fn)(void *arg) = p->on_closed;
	void *arg = p->closed_arg;

	if (--p->open_handles)
		return;
	plain_queue_drop(p);
	plain_names_release(&p->names);
	sbx_buf_release(&p->line);
	sbx_buf_release(&p->reply);
	free(p->ports);
	free(p->id);
	free(p);
	fn(arg);
}

void plain_on_over(struct sbx_plain *p)
{
	struct plain_shell *s;

	if (!p->closing || uv_is_closing((uv_handle_t *)&p->tick))
		return;
	if (!p->running && !p->queue) {
		for (s = p->shells; s; s = s->next)
			if (s->state == SHELL_IDLE && !s->error.err)
				plain_shell_quit(s);
		plain_jobs_close(p);
	}
	if (p->nr_shells || p->jobs)
		return;
	uv_close((uv_handle_t *)&p->tick, on_handle_closed);
	uv_close((uv_handle_t *)&p->retry, on_handle_closed);
	uv_close((uv_handle_t *)&p->work, on_handle_closed);
}

static void plain_close(struct sbx_carrier *c, void (*on_closed)(void *arg),
			void *arg)
{
	struct sbx_plain *p = (struct sbx_plain *)c;
	struct plain_shell *s;

	p->on_closed = on_closed;
	p->closed_arg = arg;
	p->closing = true;
	plain_queue_drop(p);
	plain_files_drop(p);
	uv_timer_stop(&p->retry);
	for (s = p->shells; s; s = s->next)
		if (s->state == SHELL_STARTING)
			plain_shell_break(s, -ECANCELED, "closing");
	if (p->up)
		plain_jobs_kill(p);
	uv_timer_start(&p->tick, on_tick, p->queue ? KILL_MS : QUIT_MS,
		       QUIT_MS);
	plain_work_later(p);
}

/* ---- questions ---- */

static bool plain_is_up(const struct sbx_carrier *c)
{
	const struct sbx_plain *p = (const struct sbx_plain *)c;

	return p->up;
}

static bool plain_is_trying(const struct sbx_carrier *c)
{
	const struct sbx_plain *p = (const struct sbx_plain *)c;

	return p->started && !p->up;
}

static const struct sbx_remote_info *plain_info(const struct sbx_carrier *c)
{
	const struct sbx_plain *p = (const struct sbx_plain *)c;

	return p->known ? &p->info : NULL;
}

static size_t plain_unsent(const struct sbx_carrier *c)
{
	const struct sbx_plain *p = (const struct sbx_plain *)c;

	return p->queued;
}

static int plain_send(struct sbx_carrier *c, uint32_t id, const void *data,
		      size_t len)
{
	return plain_queue_add((struct sbx_plain *)c, data, len);
}

static const struct sbx_carrier_type plain_carrier = {
	.start = plain_start,
	.close = plain_close,
	.send = plain_send,
	.is_up = plain_is_up,
	.is_trying = plain_is_trying,
	.info = plain_info,
	.unsent = plain_unsent,
};

struct sbx_carrier *sbx_plain_new(uv_loop_t *loop, struct sbx_service *svc,
				  const char *id, const char *why, bool fresh,
				  const struct sbx_channel_handler *h,
				  void *arg)
{
	struct sbx_plain *p = calloc(1, sizeof(*p));

	if (!p || sbx_random_hex(p->nonce, PLAIN_NONCE / 2) < 0 ||
	    !(p->id = strdup(id))) {
		free(p);
		return NULL;
	}
	snprintf(p->info.plain, sizeof(p->info.plain), "%s", why);
	p->base.type = &plain_carrier;
	p->loop = loop;
	p->svc = svc;
	p->h = h;
	p->arg = arg;
	p->fresh = fresh;
	p->queue_end = &p->queue;
	p->quick_end = &p->quick;
	sbx_buf_init(&p->line, svc->type->max_unit);
	sbx_buf_init(&p->reply, SBX_MESSAGE_MAX);
	uv_timer_init(loop, &p->tick);
	uv_timer_init(loop, &p->retry);
	uv_prepare_init(loop, &p->work);
	p->tick.data = p->retry.data = p->work.data = p;
	p->open_handles = 3;
	return &p->base;
}
