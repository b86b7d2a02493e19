/*
 * Requests about what is in files.  A handle is a name and an inode number:
 * each command makes sure that the name still leads to that inode, before it
 * changes anything and after it has read.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/plain_int.h"

#define COPY_MAX (16u << 20) /* of one command; the owner asks again */

/* The place of the file with this handle. */
static int put_handle(struct sbx_plain *p, struct plain_op *op,
		      const char *word, uint64_t handle)
{
	int r = plain_at_handle(&p->names, handle, &op->at);

	r = r < 0 ? r : plain_put_place(&p->line, word, &op->at);
	if (r == 0)
		plain_put_number(&p->line, op->at.ino);
	return r;
}

/* ---- open, create, close ---- */

static int open_begin(struct sbx_plain *p, struct plain_op *op)
{
	struct sbx_rd rd = op->args;
	char how[4] = "-";
	uint32_t flags;
	int r, n = 0;

	op->offset = sbx_get_u64(&rd);
	r = plain_at_get(&p->names, &rd, &op->at);
	flags = sbx_get_u32(&rd);
	op->at.flags = flags;
	r = r < 0 ? r : plain_put_place(&p->line, "open", &op->at);
	if (r < 0 || rd.err || !op->offset)
		return r < 0 ? r : -EINVAL;
	plain_put_number(&p->line, op->at.ino);
	if ((flags & O_ACCMODE) != O_WRONLY)
		how[n++] = 'r';
	if ((flags & O_ACCMODE) != O_RDONLY)
		how[n++] = flags & O_TRUNC ? 't' : 'w';
	plain_put_text(&p->line, how);
	return 0;
}

static int open_end(struct sbx_plain *p, struct plain_op *op, int err,
		    struct sbx_buf *out, const char *text)
{
	struct sbx_attr attr;

	(void)text;
	if (!err)
		err = plain_take_attr(out, &attr);
	if (!err)
		err = plain_handle_add(&p->names, op->offset, &op->at, &attr,
				       op->at.flags);
	if (err)
		return err;
	plain_answer_attr(p, op, &attr);
	return 0;
}

static int create_begin(struct sbx_plain *p, struct plain_op *op)
{
	struct sbx_rd rd = op->args;
	int r = plain_at_get_new(&p->names, &rd, &op->at);
	uint32_t flags, mode;
	char text[8];

	op->offset = sbx_get_u64(&rd);
	flags = sbx_get_u32(&rd);
	mode = sbx_get_u32(&rd) & 07777;
	mode &= ~sbx_get_u32(&rd);
	op->at.flags = flags;
	r = r < 0 ? r : plain_put_place(&p->line, "creat", &op->at);
	if (r < 0 || rd.err || !op->offset)
		return r < 0 ? r : -EINVAL;
	snprintf(text, sizeof(text), "%04o", 0777 & ~mode);
	plain_put_text(&p->line, text);
	/* what open(2) of a tool does not give is set behind it */
	snprintf(text, sizeof(text), "%04o", mode);
	plain_put_text(&p->line, mode & ~0666u ? text : "-");
	plain_put_text(&p->line, flags & O_EXCL	   ? "e"
				 : flags & O_TRUNC ? "t"
						   : "-");
	return 0;
}

static int create_end(struct sbx_plain *p, struct plain_op *op, int err,
		      struct sbx_buf *out, const char *text)
{
	struct sbx_attr attr;
	struct sbx_buf *b;
	uint64_t created = 0;

	(void)text;
	if (!err)
		err = plain_take_attr(out, &attr);
	if (!err && (plain_take_numbers(out, &created, 1) < 0 || created > 1))
		err = -EPROTO;
	if (!err && !S_ISREG(attr.mode))
		err = -EEXIST;
	if (!err)
		err = plain_handle_add(&p->names, op->offset, &op->at, &attr,
				       op->at.flags);
	if (err)
		return err;
	b = plain_answer_begin(p, op, 2);
	sbx_put_attr(b, &attr);
	sbx_put_bool(b, created);
	plain_answer(p, op);
	return 0;
}

static int close_handle(struct sbx_plain *p, struct plain_op *op)
{
	struct sbx_rd rd = op->args;

	plain_handle_del(&p->names, sbx_get_u64(&rd));
	plain_answer_begin(p, op, 0);
	plain_answer(p, op);
	return 1;
}

/* ---- read ---- */

static int read_begin(struct sbx_plain *p, struct plain_op *op)
{
	struct sbx_rd rd = op->args;
	uint64_t handle = sbx_get_u64(&rd), offset = sbx_get_u64(&rd);
	int r;

	op->length = sbx_get_u64(&rd);
	if (rd.err || op->length > SBX_READ_MAX || offset > INT64_MAX)
		return -EINVAL;
	r = put_handle(p, op, "read", handle);
	plain_put_number(&p->line, offset);
	plain_put_number(&p->line, op->length);
	op->max_out = op->length + PLAIN_OUTPUT;
	return r;
}

static void read_answer(struct sbx_plain *p, struct plain_op *op,
			struct sbx_buf *out, const struct sbx_attr *attr)
{
	bool eof = sbx_buf_len(out) < op->length;
	struct sbx_buf *b;

	while (sbx_buf_len(out) > SBX_READ_PIECE) {
		b = plain_part_begin(p, op, 1);
		sbx_put_bin(b, sbx_buf_at(out), SBX_READ_PIECE);
		sbx_buf_consume(out, SBX_READ_PIECE);
		plain_answer(p, op);
	}
	b = plain_answer_begin(p, op, 4);
	sbx_put_bin(b, sbx_buf_at(out), sbx_buf_len(out));
	sbx_put_bool(b, eof);
	sbx_put_i64(b, attr->atime_s);
	sbx_put_u64(b, attr->atime_ns);
	plain_answer(p, op);
}

static int read_end(struct sbx_plain *p, struct plain_op *op, int err,
		    struct sbx_buf *out, const char *text)
{
	struct sbx_attr attr;

	(void)text;
	if (!err)
		err = plain_take_attr(out, &attr);
	if (!err && attr.ino != op->at.ino)
		err = -ESTALE; /* another file has taken the name */
	if (!err && sbx_buf_len(out) > op->length)
		err = -EPROTO;
	if (!err)
		read_answer(p, op, out, &attr);
	/* the name is all there is of an open file here */
	return err == -ENOENT || err == -ELOOP ? -ESTALE : err;
}

/* ---- write ---- */

static int write_begin(struct sbx_plain *p, struct plain_op *op)
{
	struct sbx_rd rd = op->args;
	uint64_t handle = sbx_get_u64(&rd), offset = sbx_get_u64(&rd);
	const uint8_t *data;
	size_t len, room;
	int r;

	data = sbx_get_bin(&rd, &len);
	if (rd.err || offset > INT64_MAX || len > SBX_WRITE_MAX ||
	    op->done > len)
		return -EINVAL;
	r = put_handle(p, op, "write", handle);
	if (r < 0)
		return r;
	if (op->at.flags & O_APPEND && op->tries)
		return -ETIMEDOUT; /* it may be there already */
	if (op->at.flags & O_APPEND)
		plain_put_text(&p->line, "a");
	else
		plain_put_number(&p->line, offset + op->done);
	/* number, flags and the end of the line behind this */
	room = sbx_buf_len(&p->line) + 64;
	if (room > p->svc->type->max_unit - 512)
		return -ENAMETOOLONG;
	room = p->svc->type->max_unit - room;
	op->data = data + op->done;
	op->data_len = len - op->done < room ? len - op->done : room;
	plain_put_number(&p->line, op->data_len);
	plain_put_text(&p->line, (op->at.flags & O_SYNC) == O_SYNC ? ",sync"
				 : op->at.flags & O_DSYNC	   ? ",dsync"
							  : ",nofollow");
	plain_put_text(&p->line, "- - f");
	return 0;
}

static int write_end(struct sbx_plain *p, struct plain_op *op, int err,
		     struct sbx_buf *out, const char *text)
{
	struct sbx_rd rd = op->args;
	struct sbx_attr attr;
	uint64_t count;
	size_t len;

	if (!err)
		err = plain_take_attr(out, &attr);
	if (!err &&
	    (plain_take_count(text, &count) < 0 || count != op->data_len))
		err = -EPROTO;
	if (err)
		return err == -ENOENT ? -ESTALE : err;
	op->done += count;
	sbx_get_u64(&rd);
	sbx_get_u64(&rd);
	sbx_get_bin(&rd, &len);
	if (op->done < len)
		return 1;
	plain_answer_attr(p, op, &attr);
	return 0;
}

/* ---- others ---- */

static int fsync_begin(struct sbx_plain *p, struct plain_op *op)
{
	struct sbx_rd rd = op->args;
	uint64_t handle = sbx_get_u64(&rd), dir;
	bool data = sbx_get_bool(&rd);
	struct plain_dir *d;
	int r;

	dir = sbx_get_u64(&rd);
	if (rd.err)
		return -EINVAL;
	if (handle) {
		r = put_handle(p, op, "sync", handle);
	} else {
		d = plain_dir_find(&p->names, dir);
		if (!d)
			return -ESTALE;
		op->at.dir = plain_dir_ref(d);
		r = plain_put_place(&p->line, "sync", &op->at);
		plain_put_number(&p->line, d->ino);
	}
	plain_put_text(&p->line, data ? "-d" : "--");
	return r;
}

static int fallocate_begin(struct sbx_plain *p, struct plain_op *op)
{
	struct sbx_rd rd = op->args;
	uint64_t handle = sbx_get_u64(&rd), offset, length;
	uint32_t mode = sbx_get_u32(&rd);
	const char *how;
	int r;

	offset = sbx_get_u64(&rd);
	length = sbx_get_u64(&rd);
	if (rd.err || offset > INT64_MAX || length > INT64_MAX || !length)
		return -EINVAL;
	switch (mode) {
	case 0:
		how = "-v";
		break;
	case FALLOC_FL_KEEP_SIZE:
		how = "-n";
		break;
	case FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE:
		how = "-p";
		break;
	case FALLOC_FL_ZERO_RANGE:
		how = "-z";
		break;
	case FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE:
		how = "-zn";
		break;
	case FALLOC_FL_COLLAPSE_RANGE:
		how = "-c";
		break;
	case FALLOC_FL_INSERT_RANGE:
		how = "-i";
		break;
	default:
		return -EOPNOTSUPP;
	}
	r = put_handle(p, op, "falloc", handle);
	plain_put_number(&p->line, offset);
	plain_put_number(&p->line, length);
	plain_put_text(&p->line, how);
	plain_put_text(&p->line, "- - f");
	return r;
}

/* No tool tells of holes; that all of a file is data is always true. */
static int seek_begin(struct sbx_plain *p, struct plain_op *op)
{
	struct sbx_rd rd = op->args;
	uint64_t handle = sbx_get_u64(&rd);

	op->offset = sbx_get_u64(&rd);
	op->count = sbx_get_u32(&rd);
	if (rd.err || (op->count != SEEK_DATA && op->count != SEEK_HOLE))
		return -EINVAL;
	return put_handle(p, op, "get", handle);
}

static int seek_end(struct sbx_plain *p, struct plain_op *op, int err,
		    struct sbx_buf *out, const char *text)
{
	struct sbx_attr attr;

	(void)text;
	if (!err)
		err = plain_take_attr(out, &attr);
	if (!err && op->offset >= attr.size)
		err = -ENXIO;
	if (err)
		return err == -ENOENT ? -ESTALE : err;
	sbx_put_u64(plain_answer_begin(p, op, 1),
		    op->count == SEEK_DATA ? op->offset : attr.size);
	plain_answer(p, op);
	return 0;
}

static bool ranges_meet(uint64_t a, uint64_t b, uint64_t len)
{
	return a < b ? b - a < len : a - b < len;
}

/* (the file, its handle's offset) twice, and how much */
static int copy_begin(struct sbx_plain *p, struct plain_op *op)
{
	struct sbx_rd rd = op->args;
	uint64_t from = sbx_get_u64(&rd), from_at = sbx_get_u64(&rd);
	uint64_t to = sbx_get_u64(&rd), to_at = sbx_get_u64(&rd);
	char path[PLAIN_PATH], text[64];
	uint32_t flags;
	int r;

	op->length = sbx_get_u64(&rd);
	flags = sbx_get_u32(&rd);
	if (rd.err || flags || from_at > INT64_MAX || to_at > INT64_MAX)
		return -EINVAL;
	if (op->length > COPY_MAX)
		op->length = COPY_MAX;
	r = plain_at_handle(&p->names, from, &op->at2);
	r = r < 0 ? r : put_handle(p, op, "copy", to);
	r = r < 0 ? r : plain_dir_path(op->at2.dir, path);
	if (r < 0)
		return r;
	if (op->at.ino == op->at2.ino &&
	    ranges_meet(from_at, to_at, op->length))
		return -EINVAL;
	snprintf(text, sizeof(text), "%llu,%llu", (unsigned long long)from_at,
		 (unsigned long long)to_at);
	plain_put_text(&p->line, text);
	plain_put_number(&p->line, op->length);
	plain_put_word(&p->line, path, strlen(path));
	plain_put_word(&p->line, op->at2.name, strlen(op->at2.name));
	plain_put_number(&p->line, op->at2.ino);
	plain_put_text(&p->line, "f");
	return 0;
}

static int copy_end(struct sbx_plain *p, struct plain_op *op, int err,
		    struct sbx_buf *out, const char *text)
{
	struct sbx_attr attr;
	struct sbx_buf *b;
	uint64_t count;

	if (!err)
		err = plain_take_attr(out, &attr);
	if (!err && (plain_take_count(text, &count) < 0 || count > op->length))
		err = -EPROTO;
	if (err)
		return err;
	b = plain_answer_begin(p, op, 2);
	sbx_put_u64(b, count);
	sbx_put_attr(b, &attr);
	plain_answer(p, op);
	return 0;
}

/* A lock lives as long as the program that has it, and none of ours does. */
static int lock(struct sbx_plain *p, struct plain_op *op)
{
	(void)p;
	(void)op;
	return -ENOLCK;
}

const struct plain_type plain_data_types[] = {
	{SBX_OP_OPEN, PLAIN_REPEAT, PLAIN_OP_MS, open_begin, open_end},
	{SBX_OP_CREATE, PLAIN_CHANGE, PLAIN_OP_MS, create_begin, create_end},
	{SBX_OP_CLOSE, PLAIN_NOTE, 0, close_handle},
	{SBX_OP_READ, PLAIN_ASK, PLAIN_LONG_MS, read_begin, read_end},
	{SBX_OP_WRITE, PLAIN_REPEAT, PLAIN_LONG_MS, write_begin, write_end},
	{SBX_OP_FSYNC, PLAIN_REPEAT, PLAIN_LONG_MS, fsync_begin,
	 plain_end_attr},
	{SBX_OP_FALLOCATE, PLAIN_CHANGE, PLAIN_LONG_MS, fallocate_begin,
	 plain_end_attr},
	{SBX_OP_SEEK, PLAIN_ASK, PLAIN_OP_MS, seek_begin, seek_end},
	{SBX_OP_COPY, PLAIN_REPEAT, PLAIN_LONG_MS, copy_begin, copy_end},
	{SBX_OP_LOCK, PLAIN_NOTE, 0, lock},
	{0},
};
