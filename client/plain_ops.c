/*
 * Requests about names and attributes, as commands of the script.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "client/plain_int.h"

#define LIST_PART   (48 * 1024)
#define LIST_OUTPUT (256 * 1024) /* what one arrival may leave undigested */

/* ---- what several have in common ---- */

/* The attributes at the end of the output, and what they teach. */
static int take_attr(struct sbx_plain *p, const struct plain_at *at,
		     struct sbx_buf *out, struct sbx_attr *ret)
{
	int r = plain_take_attr(out, ret);

	if (r < 0)
		return r;
	if (S_ISDIR(ret->mode) && *at->name)
		plain_dir_seen(&p->names, at->dir, at->name, strlen(at->name),
			       ret);
	return 0;
}

int plain_end_attr(struct sbx_plain *p, struct plain_op *op, int err,
		   struct sbx_buf *out, const char *text)
{
	struct sbx_attr attr;

	(void)text;
	if (!err)
		err = take_attr(p, &op->at, out, &attr);
	if (err)
		return err;
	plain_answer_attr(p, op, &attr);
	return 0;
}

static int end_nothing(struct sbx_plain *p, struct plain_op *op, int err,
		       struct sbx_buf *out, const char *text)
{
	(void)out, (void)text;
	if (err)
		return err;
	plain_answer_begin(p, op, 0);
	plain_answer(p, op);
	return 0;
}

/* Always five digits: fewer leave bits of directories as they are. */
static void put_octal(struct sbx_buf *b, uint32_t mode)
{
	char text[16];

	snprintf(text, sizeof(text), "%05o", mode);
	plain_put_text(b, text);
}

/* The umask that leaves these bits, and what must be set behind. */
static void put_mode(struct sbx_buf *b, uint32_t mode, uint32_t made)
{
	uint32_t bits = mode & 07777;

	put_octal(b, 0777 & ~mode);
	if (bits & ~made)
		put_octal(b, bits);
	else
		plain_put_text(b, "-");
}

/* ---- looking ---- */

static int get_begin(struct sbx_plain *p, struct plain_op *op)
{
	struct sbx_rd rd = op->args;
	int r = plain_at_get(&p->names, &rd, &op->at);

	r = r < 0 ? r : plain_put_place(&p->line, "get", &op->at);
	plain_put_number(&p->line, op->at.ino);
	return r;
}

static int dir_begin(struct sbx_plain *p, struct plain_op *op)
{
	struct sbx_rd rd = op->args;
	int r = plain_at_get_dir(&p->names, &rd, &op->offset, &op->at);

	r = r < 0 ? r : plain_put_place(&p->line, "get", &op->at);
	plain_put_number(&p->line, op->at.ino);
	return r;
}

static int dir_end(struct sbx_plain *p, struct plain_op *op, int err,
		   struct sbx_buf *out, const char *text)
{
	struct sbx_attr attr;

	(void)text;
	if (!err)
		err = plain_take_attr(out, &attr);
	if (!err)
		err = plain_dir_number(&p->names, op->offset, &op->at, &attr);
	if (err)
		return err;
	plain_answer_dir(p, op, &attr);
	return 0;
}

static int forget(struct sbx_plain *p, struct plain_op *op)
{
	struct sbx_rd rd = op->args;

	while (rd.left && !rd.err)
		plain_dir_forget(&p->names, sbx_get_u64(&rd));
	plain_answer_begin(p, op, 0);
	plain_answer(p, op);
	return 1;
}

static int barrier(struct sbx_plain *p, struct plain_op *op)
{
	plain_answer_begin(p, op, 0);
	plain_answer(p, op);
	return 1;
}

static int statfs_begin(struct sbx_plain *p, struct plain_op *op)
{
	struct sbx_rd rd = op->args;
	struct plain_at in = {0};
	int r = plain_at_get(&p->names, &rd, &op->at);

	if (r < 0)
		return r;
	in.dir = op->at.dir; /* that it is in */
	return plain_put_place(&p->line, "stfs", &in);
}

static int statfs_end(struct sbx_plain *p, struct plain_op *op, int err,
		      struct sbx_buf *out, const char *text)
{
	uint64_t v[8];
	struct sbx_buf *b;
	int i;

	(void)text;
	if (!err)
		err = plain_take_numbers(out, v, 8);
	if (err)
		return err;
	b = plain_answer_begin(p, op, 8);
	for (i = 0; i < 8; i++)
		sbx_put_u64(b, v[i]);
	plain_answer(p, op);
	return 0;
}

static int readlink_begin(struct sbx_plain *p, struct plain_op *op)
{
	struct sbx_rd rd = op->args;
	int r = plain_at_get(&p->names, &rd, &op->at);

	return r < 0 ? r : plain_put_place(&p->line, "link", &op->at);
}

static int readlink_end(struct sbx_plain *p, struct plain_op *op, int err,
			struct sbx_buf *out, const char *text)
{
	struct sbx_attr attr;

	(void)text;
	if (!err)
		err = plain_take_attr(out, &attr);
	if (!err && op->at.ino && attr.ino != op->at.ino)
		err = -ESTALE;
	if (err)
		return err;
	sbx_put_bin(plain_answer_begin(p, op, 1), sbx_buf_at(out),
		    sbx_buf_len(out));
	plain_answer(p, op);
	return 0;
}

/* ---- listing ---- */

static int list_begin(struct sbx_plain *p, struct plain_op *op)
{
	struct sbx_rd rd = op->args;
	struct plain_dir *d = plain_dir_find(&p->names, sbx_get_u64(&rd));
	char path[PLAIN_PATH];
	int r;

	if (!d)
		return -ESTALE;
	op->at.dir = plain_dir_ref(d);
	op->max_out = LIST_OUTPUT;
	op->count = 0;
	r = plain_dir_path(d, path);
	if (r < 0)
		return r;
	plain_put_text(&p->line, "list");
	plain_put_word(&p->line, path, strlen(path));
	plain_put_word(&p->line, ".", 1);
	return 0;
}

static void put_entry(struct sbx_buf *b, const struct plain_entry *e)
{
	sbx_put_array(b, 2);
	sbx_put_bin(b, e->name, e->len);
	if (e->has_attr)
		sbx_put_attr(b, &e->attr);
	else
		sbx_put_nil(b);
}

/* How many whole entries stand at the front, of how many bytes. */
static int count_entries(struct sbx_buf *out, uint32_t *ret_nr,
			 size_t *ret_bytes)
{
	struct plain_entry e;
	size_t used;
	int r;

	*ret_nr = 0;
	*ret_bytes = 0;
	while (*ret_bytes < LIST_PART) {
		r = plain_take_entry(sbx_buf_at(out) + *ret_bytes,
				     sbx_buf_len(out) - *ret_bytes, &e, &used);
		if (r < 0)
			return r;
		if (r == 0)
			break;
		*ret_bytes += used;
		(*ret_nr)++;
	}
	return 0;
}

/* One part from the front; 0: there is none. */
static int list_part(struct sbx_plain *p, struct plain_op *op,
		     struct sbx_buf *out)
{
	struct plain_entry e;
	struct sbx_buf *b;
	size_t bytes, used;
	uint32_t nr, i;
	int r = count_entries(out, &nr, &bytes);

	if (r < 0 || !nr)
		return r;
	b = plain_part_begin(p, op, 1);
	sbx_put_array(b, nr);
	for (i = 0; i < nr; i++) {
		plain_take_entry(sbx_buf_at(out), sbx_buf_len(out), &e, &used);
		put_entry(b, &e);
		if (e.has_attr && S_ISDIR(e.attr.mode))
			plain_dir_seen(&p->names, op->at.dir, e.name, e.len,
				       &e.attr);
		sbx_buf_consume(out, used);
	}
	op->count += nr;
	plain_answer(p, op);
	return 1;
}

static int list_drain(struct sbx_plain *p, struct plain_op *op,
		      struct sbx_buf *out)
{
	int r = 1;

	while (r == 1 && sbx_buf_len(out) >= LIST_PART)
		r = list_part(p, op, out);
	return r < 0 ? r : 0;
}

static int list_end(struct sbx_plain *p, struct plain_op *op, int err,
		    struct sbx_buf *out, const char *text)
{
	int r = 1;

	(void)text;
	while (r == 1)
		r = list_part(p, op, out);
	if (!err && (r < 0 || sbx_buf_len(out)))
		err = -EPROTO;
	if (err)
		return err;
	sbx_put_u64(plain_answer_begin(p, op, 1), op->count);
	plain_answer(p, op);
	return 0;
}

/* ---- setting attributes ---- */

static void put_owner(struct sbx_buf *b, uint32_t valid, uint32_t uid,
		      uint32_t gid)
{
	char text[32] = "-";

	if (valid & SBX_SET_UID && valid & SBX_SET_GID)
		snprintf(text, sizeof(text), "+%u:+%u", uid, gid);
	else if (valid & SBX_SET_UID)
		snprintf(text, sizeof(text), "+%u", uid);
	else if (valid & SBX_SET_GID)
		snprintf(text, sizeof(text), ":+%u", gid);
	plain_put_text(b, text);
}

static void put_time(struct sbx_buf *b, uint32_t valid, uint32_t set,
		     uint32_t now, int64_t s, uint32_t ns)
{
	char text[48] = "-";
	/* touch takes a fraction, not seconds and what is added to them */
	bool negative = s < 0 && ns;

	if (valid & now)
		strcpy(text, "now");
	else if (valid & set)
		snprintf(text, sizeof(text), "%s%lld.%09u",
			 negative && s == -1 ? "-" : "",
			 (long long)(negative ? s + 1 : s),
			 negative ? 1000000000 - ns : ns);
	plain_put_text(b, text);
}

static int setattr_begin(struct sbx_plain *p, struct plain_op *op)
{
	struct sbx_rd rd = op->args;
	struct sbx_buf *b = &p->line;
	uint32_t valid, mode, uid, gid, ans, mns;
	uint64_t size;
	int64_t as, ms;
	int r = plain_at_get(&p->names, &rd, &op->at);

	r = r < 0 ? r : plain_put_place(b, "set", &op->at);
	if (r < 0)
		return r;
	valid = sbx_get_u32(&rd);
	mode = sbx_get_u32(&rd);
	uid = sbx_get_u32(&rd);
	gid = sbx_get_u32(&rd);
	size = sbx_get_u64(&rd);
	as = sbx_get_i64(&rd);
	ans = sbx_get_u32(&rd);
	ms = sbx_get_i64(&rd);
	mns = sbx_get_u32(&rd);
	if (rd.err || size > INT64_MAX || ans > 999999999 || mns > 999999999)
		return -EINVAL;
	plain_put_number(b, op->at.ino);
	if (valid & SBX_SET_SIZE)
		plain_put_number(b, size);
	else
		plain_put_text(b, "-");
	if (valid & SBX_SET_MODE)
		put_octal(b, mode & 07777);
	else
		plain_put_text(b, "-");
	put_owner(b, valid, uid, gid);
	put_time(b, valid, SBX_SET_ATIME, SBX_SET_ATIME_NOW, as, ans);
	put_time(b, valid, SBX_SET_MTIME, SBX_SET_MTIME_NOW, ms, mns);
	plain_put_text(b, op->at.flags & O_ACCMODE ? "f" : "-");
	return 0;
}

/* ---- new names ---- */

static int mkdir_begin(struct sbx_plain *p, struct plain_op *op)
{
	struct sbx_rd rd = op->args;
	int r = plain_at_get_new(&p->names, &rd, &op->at);
	uint32_t mode;

	r = r < 0 ? r : plain_put_place(&p->line, "mkdir", &op->at);
	mode = sbx_get_u32(&rd) & 01777;
	put_mode(&p->line, mode & ~sbx_get_u32(&rd), 0777);
	return r < 0 ? r : rd.err;
}

static int mknod_begin(struct sbx_plain *p, struct plain_op *op)
{
	struct sbx_rd rd = op->args;
	int r = plain_at_get_new(&p->names, &rd, &op->at);
	uint32_t mode = sbx_get_u32(&rd);
	uint64_t rdev = sbx_get_u64(&rd);
	uint32_t umask = sbx_get_u32(&rd) & 07777;
	const char *type;

	r = r < 0 ? r : plain_put_place(&p->line, "mknod", &op->at);
	if (r < 0 || rd.err)
		return r < 0 ? r : -EINVAL;
	switch (mode & S_IFMT) {
	case 0:
	case S_IFREG:
		type = "f";
		break;
	case S_IFIFO:
		type = "p";
		break;
	case S_IFBLK:
		type = "b";
		break;
	case S_IFCHR:
		type = "c";
		break;
	default: /* no tool makes a socket's name */
		return -EOPNOTSUPP;
	}
	put_mode(&p->line, mode & ~umask, 0666);
	plain_put_text(&p->line, type);
	plain_put_number(&p->line, major(rdev));
	plain_put_number(&p->line, minor(rdev));
	return 0;
}

static int symlink_begin(struct sbx_plain *p, struct plain_op *op)
{
	struct sbx_rd rd = op->args;
	int r = plain_at_get_new(&p->names, &rd, &op->at);
	size_t len;
	const uint8_t *target = sbx_get_bin(&rd, &len);

	r = r < 0 ? r : plain_put_place(&p->line, "symln", &op->at);
	if (r < 0 || rd.err)
		return r < 0 ? r : -EINVAL;
	if (!target || memchr(target, 0, len))
		return -ENOENT;
	plain_put_word(&p->line, target, len);
	return 0;
}

/* Two more words: directory and name of at. */
static int put_at2(struct sbx_buf *b, const struct plain_at *at)
{
	char path[PLAIN_PATH];
	int r = plain_dir_path(at->dir, path);

	if (r < 0)
		return r;
	plain_put_word(b, path, strlen(path));
	plain_put_word(b, at->name, strlen(at->name));
	return 0;
}

static int link_begin(struct sbx_plain *p, struct plain_op *op)
{
	struct sbx_rd rd = op->args;
	int r = plain_at_get(&p->names, &rd, &op->at2);

	if (!r && op->at2.is_dir)
		r = -EPERM;
	r = r < 0 ? r : plain_at_get_new(&p->names, &rd, &op->at);
	r = r < 0 ? r : plain_put_place(&p->line, "hard", &op->at);
	r = r < 0 ? r : put_at2(&p->line, &op->at2);
	plain_put_number(&p->line, op->at2.ino);
	return r;
}

/* ---- names that go ---- */

static int remove_begin(struct sbx_plain *p, struct plain_op *op)
{
	struct sbx_rd rd = op->args;
	int r = plain_at_get_new(&p->names, &rd, &op->at);

	op->at.ino = sbx_get_u64(&rd);
	r = r < 0 ? r
		  : plain_put_place(&p->line,
				    op->type->op == SBX_OP_UNLINK ? "unlnk"
								  : "rmdir",
				    &op->at);
	plain_put_number(&p->line, op->at.ino);
	return r < 0 ? r : rd.err;
}

static int remove_end(struct sbx_plain *p, struct plain_op *op, int err,
		      struct sbx_buf *out, const char *text)
{
	if (!err)
		plain_handles_moved(&p->names, &op->at, NULL, 0);
	return end_nothing(p, op, err, out, text);
}

static int rename_begin(struct sbx_plain *p, struct plain_op *op)
{
	struct sbx_rd rd = op->args;
	int r = plain_at_get_new(&p->names, &rd, &op->at);

	r = r < 0 ? r : plain_at_get_new(&p->names, &rd, &op->at2);
	/* as file systems answer that do not know a flag */
	if (!r && (sbx_get_u32(&rd) || rd.err))
		r = -EINVAL;
	r = r < 0 ? r : plain_put_place(&p->line, "mv", &op->at);
	return r < 0 ? r : put_at2(&p->line, &op->at2);
}

static int rename_end(struct sbx_plain *p, struct plain_op *op, int err,
		      struct sbx_buf *out, const char *text)
{
	struct sbx_attr attr = {0};

	(void)text;
	if (err)
		return err;
	/* nothing is there if it has been moved on already */
	if (sbx_buf_len(out) && take_attr(p, &op->at2, out, &attr) < 0)
		return -EPROTO;
	plain_handles_moved(&p->names, &op->at, &op->at2, attr.ino);
	sbx_put_u64(plain_answer_begin(p, op, 1), attr.ino);
	plain_answer(p, op);
	return 0;
}

/* ---- the table ---- */

const struct plain_type plain_op_types[] = {
	{SBX_OP_DIR, PLAIN_ASK, PLAIN_OP_MS, dir_begin, dir_end},
	{SBX_OP_FORGET, PLAIN_NOTE, 0, forget},
	{SBX_OP_BARRIER, PLAIN_WAIT, 0, barrier},
	{SBX_OP_LOOKUP, PLAIN_ASK, PLAIN_OP_MS, get_begin, plain_end_attr},
	{SBX_OP_GETATTR, PLAIN_ASK, PLAIN_OP_MS, get_begin, plain_end_attr},
	{SBX_OP_LIST, PLAIN_ASK, PLAIN_LONG_MS, list_begin, list_end,
	 list_drain},
	{SBX_OP_STATFS, PLAIN_ASK, PLAIN_OP_MS, statfs_begin, statfs_end},
	{SBX_OP_READLINK, PLAIN_ASK, PLAIN_OP_MS, readlink_begin, readlink_end},
	{SBX_OP_SETATTR, PLAIN_REPEAT, PLAIN_OP_MS, setattr_begin,
	 plain_end_attr},
	{SBX_OP_MKDIR, PLAIN_CHANGE, PLAIN_OP_MS, mkdir_begin, plain_end_attr},
	{SBX_OP_MKNOD, PLAIN_CHANGE, PLAIN_OP_MS, mknod_begin, plain_end_attr},
	{SBX_OP_SYMLINK, PLAIN_CHANGE, PLAIN_OP_MS, symlink_begin,
	 plain_end_attr},
	{SBX_OP_LINK, PLAIN_CHANGE, PLAIN_OP_MS, link_begin, plain_end_attr},
	{SBX_OP_UNLINK, PLAIN_CHANGE, PLAIN_OP_MS, remove_begin, remove_end},
	{SBX_OP_RMDIR, PLAIN_CHANGE, PLAIN_OP_MS, remove_begin, remove_end},
	{SBX_OP_RENAME, PLAIN_CHANGE, PLAIN_OP_MS, rename_begin, rename_end},
	{0},
};
