/*
 * Requests: see request.h.  Called by the link for each message, in order.
 */
#include "client/helper/request.h"

#include <errno.h>

#include "client/helper/helper.h"
#include "client/wire/proto.h"

/* In a batch's reply so much is left for the errors of what follows. */
#define BATCH_REST (192 * 1024)

enum {
	CHANGES = 1, /* causes events of its own */
	LATER = 2,   /* may be left for later: not in a batch */
};

static const struct {
	req_fn *fn;
	uint8_t results;
	uint8_t flags;
} ops[] = {
	[SBX_OP_DIR] = {op_dir, 2, 0},
	[SBX_OP_FORGET] = {op_forget, 0, 0},
	[SBX_OP_LOOKUP] = {op_lookup, 2, 0},
	[SBX_OP_LIST] = {op_list, 1, LATER},
	[SBX_OP_TREE] = {op_tree, 2, LATER},
	[SBX_OP_CONTENT] = {op_content, 1, LATER},
	[SBX_OP_GETATTR] = {op_getattr, 1, 0},
	[SBX_OP_SETATTR] = {op_setattr, 1, CHANGES},
	[SBX_OP_READLINK] = {op_readlink, 1, 0},
	[SBX_OP_ACCESS] = {op_access, 0, 0},
	[SBX_OP_STATFS] = {op_statfs, 8, 0},
	[SBX_OP_GETXATTR] = {op_getxattr, 1, 0},
	[SBX_OP_LISTXATTR] = {op_listxattr, 1, 0},
	[SBX_OP_SETXATTR] = {op_setxattr, 1, CHANGES},
	[SBX_OP_REMOVEXATTR] = {op_removexattr, 1, CHANGES},
	[SBX_OP_CREATE] = {op_create, 2, CHANGES},
	[SBX_OP_MKDIR] = {op_mkdir, 3, CHANGES},
	[SBX_OP_MKNOD] = {op_mknod, 1, CHANGES},
	[SBX_OP_SYMLINK] = {op_symlink, 1, CHANGES},
	[SBX_OP_LINK] = {op_link, 1, CHANGES},
	[SBX_OP_UNLINK] = {op_unlink, 0, CHANGES},
	[SBX_OP_RMDIR] = {op_rmdir, 0, CHANGES},
	[SBX_OP_RENAME] = {op_rename, 1, CHANGES},
	[SBX_OP_OPEN] = {op_open, 1, CHANGES},
	[SBX_OP_CLOSE] = {op_close, 0, CHANGES},
	[SBX_OP_READ] = {op_read, 4, 0},
	[SBX_OP_WRITE] = {op_write, 1, CHANGES},
	[SBX_OP_FSYNC] = {op_fsync, 1, 0},
	[SBX_OP_FALLOCATE] = {op_fallocate, 1, CHANGES},
	[SBX_OP_SEEK] = {op_seek, 1, 0},
	[SBX_OP_COPY] = {op_copy, 2, CHANGES},
	[SBX_OP_LOCK] = {op_lock, 4, CHANGES},
	[SBX_OP_HASH] = {op_hash, 2, LATER},
	[SBX_OP_BARRIER] = {op_barrier, 0, 0},
	[SBX_OP_BATCH] = {op_batch, 1, LATER},
	[SBX_OP_CREDS] = {op_creds, 0, 0},
	[SBX_OP_EXEC] = {op_exec, 1, 0},
	[SBX_OP_STDIN] = {op_stdin, 0, LATER},
	[SBX_OP_SIGNAL] = {op_signal, 0, 0},
	[SBX_OP_RESIZE] = {op_resize, 0, 0},
	[SBX_OP_HANGUP] = {op_hangup, 0, 0},
	[SBX_OP_CREDIT] = {op_credit, 0, 0},
	[SBX_OP_CREDIT_ONE] = {op_credit_one, 0, 0},
	[SBX_OP_CLOSE_OUTPUT] = {op_close_output, 0, 0},
	[SBX_OP_PORTS] = {op_ports, 1, 0},
	[SBX_OP_PORT_WATCH] = {op_port_watch, 0, 0},
	[SBX_OP_REPORT] = {op_report, 2, LATER},
};

/* ---- replies ---- */

/* The reply of the request at hand is written into h->reply; those of earlier
 * ones, which may be sent meanwhile, into h->later. */
static void reply_head(struct sbx_buf *b, uint32_t id, int err, uint32_t n)
{
	sbx_buf_clear(b);
	sbx_put_array(b, 3 + n);
	sbx_put_u64(b, SBX_MSG_REPLY);
	sbx_put_u64(b, id);
	sbx_put_u64(b, (uint64_t)-err);
}

static void reply_send(struct helper *h, struct sbx_buf *b, uint32_t id)
{
	if (!id)
		return;
	h->owed--;
	if (b->err == -EMSGSIZE)
		reply_head(b, id, -EMSGSIZE, 0);
	peer_send(h, b);
}

void request_waits(struct helper *h, uint32_t id, bool on)
{
	if (id && on)
		h->patient++;
	else if (id)
		h->patient--;
}

struct sbx_buf *reply_begin(struct helper *h, uint32_t id, uint32_t n)
{
	reply_head(&h->later, id, 0, n);
	return &h->later;
}

void reply_end(struct helper *h, uint32_t id)
{
	reply_send(h, &h->later, id);
}

void reply_error(struct helper *h, uint32_t id, int err)
{
	reply_head(&h->later, id, err, 0);
	reply_send(h, &h->later, id);
}

struct sbx_buf *part_begin(struct helper *h, uint32_t id, uint32_t n)
{
	sbx_buf_clear(&h->later);
	sbx_put_array(&h->later, 2 + n);
	sbx_put_u64(&h->later, SBX_MSG_PART);
	sbx_put_u64(&h->later, id);
	return &h->later;
}

void part_end(struct helper *h)
{
	peer_send(h, &h->later);
}

/* ---- carrying out ---- */

static bool op_exists(uint32_t op)
{
	return op < sizeof(ops) / sizeof(ops[0]) && ops[op].fn;
}

/*
 * What others did before is told first, so that the reply implies nothing
 * untold; what they do meanwhile is told after it.
 */
static int request_run(struct req *q)
{
	struct helper *h = q->h;
	bool changes = ops[q->op].flags & CHANGES;
	int r;

	watch_sync(h);
	if (changes)
		watch_own_begin(h);
	r = ops[q->op].fn(q);
	/* what failed did nothing: others did what looks like it */
	if (changes && r < 0)
		watch_own_none(h);
	if (changes)
		watch_own_end(h);
	/* an argument of a wrong type, whatever came of it */
	if (r == 0 && q->rd.err)
		r = -EINVAL;
	return r;
}

int request_message(struct helper *h, const uint8_t *data, size_t len)
{
	struct req q = {.h = h, .out = &h->reply};
	struct sbx_msg m;
	int r;

	r = sbx_msg_parse(&m, data, len);
	if (r < 0)
		return r == -ENOMEM ? r : -EPROTO;
	q.rd = sbx_rd_root(&m);
	q.op = sbx_get_u32(&q.rd);
	q.id = sbx_get_u32(&q.rd);
	if (q.rd.err) {
		sbx_msg_release(&m);
		return -EPROTO;
	}
	if (q.id)
		h->owed++;
	r = -EOPNOTSUPP;
	if (op_exists(q.op)) {
		reply_head(&h->reply, q.id, 0, ops[q.op].results);
		r = request_run(&q);
	}
	/* what took its place, or was there before it, is told first */
	if (r == -ESTALE || r == -EEXIST || r == -ENOTEMPTY)
		watch_sync(h);
	if (r < 0)
		reply_error(h, q.id, r);
	else if (r != REQ_LATER)
		reply_send(h, &h->reply, q.id);
	sbx_msg_release(&m);
	return 0;
}

int op_barrier(struct req *q)
{
	return 0;
}

/* ---- several at once ---- */

static int batch_run(struct req *q, struct sbx_rd rd)
{
	struct req one = {.h = q->h, .out = q->out, .rd = rd, .in_batch = true};
	size_t at = sbx_buf_len(q->out);
	int r = -EOPNOTSUPP;

	one.op = sbx_get_u32(&one.rd);
	sbx_get_skip(&one.rd); /* its id */
	if (sbx_buf_len(q->out) + BATCH_REST > q->out->max) {
		r = -ENOBUFS; /* not carried out: the reply would not fit */
	} else if (!one.rd.err && op_exists(one.op) &&
		   !(ops[one.op].flags & LATER)) {
		sbx_put_array(q->out, 1u + ops[one.op].results);
		sbx_put_u64(q->out, 0);
		r = request_run(&one);
	}
	if (!r)
		return 0;
	sbx_buf_truncate(q->out, at);
	sbx_put_array(q->out, 1);
	sbx_put_u64(q->out, (uint64_t)-r);
	return r;
}

int op_batch(struct req *q)
{
	bool stop = sbx_get_bool(&q->rd);
	struct sbx_rd all = sbx_get_array(&q->rd);
	struct sbx_buf replies, *out = q->out;
	uint32_t n = 0;

	if (q->rd.err)
		return -EINVAL;
	sbx_buf_init(&replies, out->max);
	q->out = &replies;
	while (all.left) {
		struct sbx_rd one = sbx_get_array(&all);

		if (all.err)
			break;
		n++;
		if (batch_run(q, one) < 0 && stop)
			break;
	}
	/* the number of replies is known only now */
	sbx_put_array(out, n);
	sbx_buf_add(out, sbx_buf_at(&replies), sbx_buf_len(&replies));
	q->out = out;
	if (!out->err)
		out->err = replies.err;
	sbx_buf_release(&replies);
	return 0;
}
