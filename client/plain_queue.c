/*
 * Requests as they wait, and their answers.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/plain_int.h"

/* ---- answers ---- */

struct sbx_buf *plain_message_begin(struct sbx_plain *p, unsigned int type,
				    unsigned int nr)
{
	sbx_buf_clear(&p->reply);
	sbx_put_array(&p->reply, nr + 1);
	sbx_put_u64(&p->reply, type);
	return &p->reply;
}

void plain_message(struct sbx_plain *p)
{
	if (!p->closing && !p->reply.err)
		p->h->on_message(p->arg, sbx_buf_at(&p->reply),
				 sbx_buf_len(&p->reply));
}

struct sbx_buf *plain_answer_begin(struct sbx_plain *p,
				   const struct plain_op *op, unsigned int nr)
{
	plain_message_begin(p, SBX_MSG_REPLY, nr + 2);
	sbx_put_u64(&p->reply, op->id);
	sbx_put_u64(&p->reply, 0);
	return &p->reply;
}

struct sbx_buf *plain_part_begin(struct sbx_plain *p, const struct plain_op *op,
				 unsigned int nr)
{
	plain_message_begin(p, SBX_MSG_PART, nr + 1);
	sbx_put_u64(&p->reply, op->id);
	return &p->reply;
}

void plain_answer(struct sbx_plain *p, const struct plain_op *op)
{
	p->told = true;
	if (op->id)
		plain_message(p);
}

void plain_answer_attr(struct sbx_plain *p, const struct plain_op *op,
		       const struct sbx_attr *attr)
{
	sbx_put_attr(plain_answer_begin(p, op, 1), attr);
	plain_answer(p, op);
}

void plain_answer_dir(struct sbx_plain *p, const struct plain_op *op,
		      const struct sbx_attr *attr)
{
	struct sbx_buf *b = plain_answer_begin(p, op, 2);

	sbx_put_attr(b, attr);
	sbx_put_bool(b, false); /* nothing watches it */
	plain_answer(p, op);
}

void plain_answer_err(struct sbx_plain *p, const struct plain_op *op, int err)
{
	struct sbx_buf *b = plain_message_begin(p, SBX_MSG_REPLY, 2);

	sbx_put_u64(b, op->id);
	sbx_put_u64(b, (uint64_t)-err);
	plain_answer(p, op);
}

void plain_doubt(struct sbx_plain *p)
{
	struct plain_shell *s;

	for (s = p->shells; s; s = s->next)
		if (s->op)
			s->op->again = true;
	if (!p->told)
		return;
	p->told = false;
	plain_message_begin(p, SBX_MSG_OVERFLOW, 0);
	plain_message(p);
}

/* ---- requests ---- */

static int refuse(struct sbx_plain *p, struct plain_op *op)
{
	(void)p;
	(void)op;
	return -EOPNOTSUPP;
}

static const struct plain_type unknown_type = {
	.kind = PLAIN_NOTE,
	.begin = refuse,
};

static const struct plain_type *type_find(uint32_t op)
{
	const struct plain_type *const tables[] = {
		plain_op_types, plain_data_types, plain_job_types};
	const struct plain_type *t;
	size_t i;

	for (i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
		for (t = tables[i]; t->op; t++)
			if (t->op == op)
				return t;
	return &unknown_type;
}

void plain_op_free(struct sbx_plain *p, struct plain_op *op)
{
	plain_at_release(&p->names, &op->at);
	plain_at_release(&p->names, &op->at2);
	if (op->msg.zone)
		sbx_msg_release(&op->msg);
	if (op == p->port_op)
		p->port_op = NULL;
	free(op);
}

static void queue_add(struct sbx_plain *p, struct plain_op *op)
{
	struct plain_op ***end =
		op->type->kind == PLAIN_QUICK ? &p->quick_end : &p->queue_end;

	op->next = NULL;
	**end = op;
	*end = &op->next;
	p->queued += op->len;
	plain_work_later(p);
}

void plain_queue_put_back(struct sbx_plain *p, struct plain_op *op)
{
	op->next = p->queue;
	p->queue = op;
	if (!op->next)
		p->queue_end = &op->next;
	p->queued += op->len;
	op->sent = op->again = false;
	plain_at_release(&p->names, &op->at);
	plain_at_release(&p->names, &op->at2);
	op->data_len = op->max_out = 0;
	plain_work_later(p);
}

struct plain_op *plain_queue_take(struct sbx_plain *p)
{
	struct plain_op *op = p->queue;

	p->queue = op->next;
	if (!p->queue)
		p->queue_end = &p->queue;
	p->queued -= op->len;
	return op;
}

int plain_queue_add(struct sbx_plain *p, const void *data, size_t len)
{
	struct plain_op *op;
	int r;

	if (p->queued + len > PLAIN_QUEUE)
		return -EAGAIN;
	op = calloc(1, sizeof(*op) + len);
	if (!op)
		return -ENOMEM;
	memcpy(op->raw, data, len);
	op->len = len;
	op->since = uv_now(p->loop);
	r = sbx_msg_parse(&op->msg, op->raw, len);
	if (r < 0) {
		free(op);
		return r;
	}
	op->args = sbx_rd_root(&op->msg);
	op->type = type_find(sbx_get_u32(&op->args));
	op->id = sbx_get_u32(&op->args);
	queue_add(p, op);
	return 0;
}

struct plain_op *plain_op_own(struct sbx_plain *p,
			      const struct plain_type *type)
{
	struct plain_op *op = calloc(1, sizeof(*op));

	if (!op)
		return NULL;
	op->type = type;
	op->internal = true;
	op->since = uv_now(p->loop);
	plain_queue_put_back(p, op);
	return op;
}

void plain_queue_drop(struct sbx_plain *p)
{
	struct plain_op *op;

	while (p->queue)
		plain_op_free(p, plain_queue_take(p));
	while ((op = p->quick)) {
		p->quick = op->next;
		p->queued -= op->len;
		plain_op_free(p, op);
	}
	p->quick_end = &p->quick;
}
