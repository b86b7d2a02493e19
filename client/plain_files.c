/*
 * Where no command can be run at all: files by the service's own calls, for
 * reading.  Everything else fails, and says which way: EROFS what would change
 * something, EOPNOTSUPP what cannot be asked.
 *
 * The calls tell little: a name, a size, a time, and whether it is a folder.
 * A link cannot be told from a file, but its size is that of its target's
 * name, so what does not have the size it should have is not given out.  What
 * is empty is not asked for: a named pipe would never answer.
 *
 * One request at a time; each looks anew.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "client/plain_int.h"

#define NOBODY	  65534 /* the owner is not told */
#define LIST_PART 200	/* entries */
#define CALL_MS	  30000

/* What a request is, and what comes of the call it made: 0: answered,
 * 1: another call is under way, negative errno. */
struct files_type {
	uint8_t op;
	int (*begin)(struct sbx_plain *p, struct plain_op *op);
	int (*end)(struct sbx_plain *p, struct plain_op *op,
		   struct sbx_call *call);
};

/* ---- what is there ---- */

/* FNV-1a; which file it is, there is nothing but its path to tell. */
static uint64_t path_number(const struct sbx_plain *p, const char *path,
			    bool is_dir)
{
	uint64_t h = 0xcbf29ce484222325u + is_dir;
	const char *c;

	for (c = p->nonce; *c; c++)
		h = (h ^ (uint8_t)*c) * 0x100000001b3u;
	for (c = path; *c; c++)
		h = (h ^ (uint8_t)*c) * 0x100000001b3u;
	return h ? h : 1;
}

static void file_attr(const struct sbx_plain *p, const char *path,
		      const struct sbx_file *f, struct sbx_attr *a)
{
	memset(a, 0, sizeof(*a));
	a->mode = f->is_dir ? S_IFDIR | 0555 : S_IFREG | 0444;
	a->nlink = 1;
	a->uid = a->gid = NOBODY;
	a->size = f->size > INT64_MAX ? INT64_MAX : f->size;
	a->blocks = a->size / 512 + (a->size % 512 != 0);
	a->ino = path_number(p, path, f->is_dir);
	a->dev = 1;
	a->atime_s = a->mtime_s = a->ctime_s = f->mtime_s;
	a->blksize = 4096;
}

/* The path of name in d (of d itself without one) into dst[PLAIN_PATH]: "/"
 * is the workspace, and there is nothing else. */
static int path_of(const struct sbx_plain *p, const struct plain_dir *d,
		   const char *name, char *dst)
{
	const struct plain_dir *top = d;
	size_t len;
	int r = plain_dir_path(d, dst);

	while (top->parent)
		top = top->parent;
	if (top != plain_dir_find(&p->names, SBX_DIR_WORKSPACE))
		return -EOPNOTSUPP;
	if (r < 0 || !*name)
		return r;
	len = strlen(dst);
	if (len + strlen(name) + 2 > PLAIN_PATH)
		return -ENAMETOOLONG;
	sprintf(dst + len, "%s%s", len > 1 ? "/" : "", name);
	return 0;
}

/* ---- calls ---- */

/* One that is under way.  It is the service's until it is done, so that
 * nothing of the call itself tells that nobody waits any more. */
struct plain_call {
	struct sbx_plain *p; /* NULL: closed meanwhile */
};

static void on_call(struct sbx_call *call);

static int ask(struct sbx_plain *p, enum sbx_call_kind kind,
	       const struct plain_dir *d, const char *name)
{
	struct plain_call *asked;
	struct sbx_call *call;
	char path[PLAIN_PATH];
	int r = path_of(p, d, name, path);

	if (r < 0)
		return r;
	asked = malloc(sizeof(*asked));
	call = sbx_call_new(kind, p->id);
	if (call)
		call->path = strdup(path);
	if (!asked || !call || !call->path) {
		sbx_call_free(call);
		free(asked);
		return -ENOMEM;
	}
	asked->p = p;
	call->timeout_ms = CALL_MS;
	call->done = on_call;
	call->arg = asked;
	p->call = asked;
	p->svc->type->submit(p->svc, call);
	return 1;
}

/* Asks for the folder that "at" is in; at the top there is none above. */
static int ask_around(struct sbx_plain *p, const struct plain_at *at)
{
	const struct plain_dir *d = at->dir;

	if (*at->name)
		return ask(p, SBX_CALL_FILES, d, "");
	return ask(p, SBX_CALL_FILES, d->parent ? d->parent : d, "");
}

/* Finds "at" in the answer. */
static int find(struct sbx_plain *p, struct plain_op *op,
		const struct sbx_call *call, struct sbx_attr *ret)
{
	const struct plain_at *at = &op->at;
	const char *name = *at->name ? at->name : at->dir->name;
	static const struct sbx_file top = {.is_dir = true};
	const struct sbx_file *f = NULL;
	char path[PLAIN_PATH];
	size_t i;
	int r = path_of(p, at->dir, at->name, path);

	if (r < 0)
		return r;
	if (!*at->name && !at->dir->parent)
		f = &top;
	for (i = 0; !f && i < call->nr_files; i++)
		if (!strcmp(call->files[i].name, name))
			f = &call->files[i];
	if (!f)
		return -ENOENT;
	file_attr(p, path, f, ret);
	if (at->ino && *at->name && at->ino != ret->ino)
		return -ESTALE;
	return 0;
}

/* ---- requests ---- */

static int look_begin(struct sbx_plain *p, struct plain_op *op)
{
	struct sbx_rd rd = op->args;
	int r = plain_at_get(&p->names, &rd, &op->at);

	return r < 0 ? r : ask_around(p, &op->at);
}

static int look_end(struct sbx_plain *p, struct plain_op *op,
		    struct sbx_call *call)
{
	struct sbx_attr attr;
	int r = find(p, op, call, &attr);

	if (r < 0)
		return r;
	plain_answer_attr(p, op, &attr);
	return 0;
}

static int dir_begin(struct sbx_plain *p, struct plain_op *op)
{
	struct sbx_rd rd = op->args;
	int r = plain_at_get_dir(&p->names, &rd, &op->offset, &op->at);

	return r < 0 ? r : ask_around(p, &op->at);
}

static int dir_end(struct sbx_plain *p, struct plain_op *op,
		   struct sbx_call *call)
{
	struct sbx_attr attr;
	int r = find(p, op, call, &attr);

	if (!r)
		r = plain_dir_number(&p->names, op->offset, &op->at, &attr);
	if (r < 0)
		return r;
	plain_answer_dir(p, op, &attr);
	return 0;
}

static int list_begin(struct sbx_plain *p, struct plain_op *op)
{
	struct sbx_rd rd = op->args;
	struct plain_dir *d = plain_dir_find(&p->names, sbx_get_u64(&rd));

	if (!d)
		return -ESTALE;
	op->at.dir = plain_dir_ref(d);
	return ask(p, SBX_CALL_FILES, d, "");
}

static int put_file(struct sbx_plain *p, struct sbx_buf *b,
		    const struct plain_dir *d, const struct sbx_file *f)
{
	struct sbx_attr attr;
	char path[PLAIN_PATH];
	int r = path_of(p, d, f->name, path);

	sbx_put_array(b, 2);
	sbx_put_bin(b, f->name, strlen(f->name));
	if (r < 0) {
		sbx_put_nil(b);
		return r;
	}
	file_attr(p, path, f, &attr);
	sbx_put_attr(b, &attr);
	return 0;
}

static int list_end(struct sbx_plain *p, struct plain_op *op,
		    struct sbx_call *call)
{
	size_t i, n, done;
	struct sbx_buf *b;

	for (done = 0; done < call->nr_files; done += n) {
		n = call->nr_files - done;
		n = n < LIST_PART ? n : LIST_PART;
		b = plain_part_begin(p, op, 1);
		sbx_put_array(b, (uint32_t)n);
		for (i = 0; i < n; i++)
			put_file(p, b, op->at.dir, &call->files[done + i]);
		plain_answer(p, op);
	}
	sbx_put_u64(plain_answer_begin(p, op, 1), call->nr_files);
	plain_answer(p, op);
	return 0;
}

static int open_begin(struct sbx_plain *p, struct plain_op *op)
{
	struct sbx_rd rd = op->args;
	int r;

	op->offset = sbx_get_u64(&rd);
	r = plain_at_get(&p->names, &rd, &op->at);
	op->at.flags = sbx_get_u32(&rd);
	if (r < 0 || rd.err || !op->offset)
		return r < 0 ? r : -EINVAL;
	if ((op->at.flags & O_ACCMODE) != O_RDONLY || op->at.flags & O_TRUNC)
		return -EROFS;
	return ask_around(p, &op->at);
}

static int is_readable(const struct sbx_plain *p, const struct sbx_attr *attr)
{
	if (S_ISDIR(attr->mode))
		return -EISDIR;
	return attr->size > p->svc->type->max_file ? -EFBIG : 0;
}

static int open_end(struct sbx_plain *p, struct plain_op *op,
		    struct sbx_call *call)
{
	struct sbx_attr attr;
	int r = find(p, op, call, &attr);

	if (!r)
		r = is_readable(p, &attr);
	if (!r)
		r = plain_handle_add(&p->names, op->offset, &op->at, &attr,
				     op->at.flags);
	if (r < 0)
		return r;
	plain_answer_attr(p, op, &attr);
	return 0;
}

/* ---- read ---- */

static int read_begin(struct sbx_plain *p, struct plain_op *op)
{
	struct sbx_rd rd = op->args;
	uint64_t handle = sbx_get_u64(&rd);
	int r;

	op->offset = sbx_get_u64(&rd);
	op->length = sbx_get_u64(&rd);
	if (rd.err || op->length > SBX_READ_MAX)
		return -EINVAL;
	r = plain_at_handle(&p->names, handle, &op->at);
	return r < 0 ? r : ask_around(p, &op->at);
}

static void read_answer(struct sbx_plain *p, struct plain_op *op,
			const uint8_t *data, size_t len)
{
	size_t at = op->offset < len ? op->offset : len;
	size_t n = len - at < op->length ? len - at : op->length;
	struct sbx_buf *b = plain_answer_begin(p, op, 4);

	sbx_put_bin(b, n ? data + at : NULL, n);
	sbx_put_bool(b, n < op->length);
	sbx_put_i64(b, (int64_t)op->done);
	sbx_put_u64(b, 0);
	plain_answer(p, op);
}

static int read_content(struct sbx_plain *p, struct plain_op *op,
			const struct sbx_call *call)
{
	if (call->len == op->expected) {
		read_answer(p, op, call->data, call->len);
		return 0;
	}
	/* it may have changed; but what has another size again is a link */
	return op->tries++ ? -EOPNOTSUPP : ask_around(p, &op->at);
}

static int read_end(struct sbx_plain *p, struct plain_op *op,
		    struct sbx_call *call)
{
	struct sbx_attr attr;
	int r;

	if (call->kind == SBX_CALL_FILE)
		return read_content(p, op, call);
	r = find(p, op, call, &attr);
	if (!r)
		r = is_readable(p, &attr);
	if (r < 0)
		return r;
	op->done = (uint64_t)attr.atime_s;
	op->expected = attr.size;
	if (attr.size)
		return ask(p, SBX_CALL_FILE, op->at.dir, op->at.name);
	read_answer(p, op, NULL, 0);
	return 0;
}

/* ---- what needs no call, and what cannot be ---- */

/* As with a shell: it needs none. */
static int note(struct sbx_plain *p, struct plain_op *op)
{
	int r = op->type->begin(p, op);

	return r == 1 ? 0 : r;
}

static int refuse_change(struct sbx_plain *p, struct plain_op *op)
{
	(void)p, (void)op;
	return -EROFS;
}

static const struct files_type types[] = {
	{SBX_OP_LOOKUP, look_begin, look_end},
	{SBX_OP_GETATTR, look_begin, look_end},
	{SBX_OP_DIR, dir_begin, dir_end},
	{SBX_OP_LIST, list_begin, list_end},
	{SBX_OP_OPEN, open_begin, open_end},
	{SBX_OP_READ, read_begin, read_end},
	{SBX_OP_CLOSE, note, NULL},
	{SBX_OP_FORGET, note, NULL},
	{SBX_OP_BARRIER, note, NULL},
	{SBX_OP_LOCK, note, NULL},
	{SBX_OP_SETATTR, refuse_change, NULL},
	{SBX_OP_SETXATTR, refuse_change, NULL},
	{SBX_OP_REMOVEXATTR, refuse_change, NULL},
	{SBX_OP_CREATE, refuse_change, NULL},
	{SBX_OP_MKDIR, refuse_change, NULL},
	{SBX_OP_MKNOD, refuse_change, NULL},
	{SBX_OP_SYMLINK, refuse_change, NULL},
	{SBX_OP_LINK, refuse_change, NULL},
	{SBX_OP_UNLINK, refuse_change, NULL},
	{SBX_OP_RMDIR, refuse_change, NULL},
	{SBX_OP_RENAME, refuse_change, NULL},
	{SBX_OP_WRITE, refuse_change, NULL},
	{SBX_OP_FALLOCATE, refuse_change, NULL},
	{SBX_OP_COPY, refuse_change, NULL},
};

static int refuse(struct sbx_plain *p, struct plain_op *op)
{
	(void)p, (void)op;
	return -EOPNOTSUPP;
}

static const struct files_type *type_of(const struct plain_op *op)
{
	static const struct files_type others = {0, refuse, NULL};
	size_t i;

	for (i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (!op->internal && types[i].op == op->type->op)
			return &types[i];
	return &others;
}

/* ---- in turn ---- */

static void op_over(struct sbx_plain *p, struct plain_op *op, int r)
{
	if (r < 0 && !op->internal)
		plain_answer_err(p, op, r);
	plain_op_free(p, op);
}

static void on_call(struct sbx_call *call)
{
	struct plain_call *asked = call->arg;
	struct sbx_plain *p = asked->p;
	struct plain_op *op;
	int r;

	free(asked);
	if (!p) {
		sbx_call_free(call);
		return;
	}
	op = p->call_op;
	p->call = NULL;
	r = call->error.err;
	if (!r)
		r = type_of(op)->end(p, op, call);
	sbx_call_free(call);
	if (r == 1)
		return;
	p->call_op = NULL;
	op_over(p, op, r);
	plain_work_later(p);
}

bool plain_files_step(struct sbx_plain *p)
{
	struct plain_op *op;
	int r;

	if (p->call_op)
		return false;
	op = plain_queue_take(p);
	r = type_of(op)->begin(p, op);
	if (r == 1)
		p->call_op = op;
	else
		op_over(p, op, r);
	return true;
}

int plain_files_begin(struct sbx_plain *p, const struct sbx_error *why)
{
	const uint32_t needed = 1u << SBX_CALL_FILES | 1u << SBX_CALL_FILE;
	int r;

	if ((p->svc->type->calls & needed) != needed)
		return -EOPNOTSUPP;
	/* numbers and handles are those of another tree */
	plain_names_release(&p->names);
	r = plain_names_init(&p->names, "/");
	if (r < 0)
		return r;
	snprintf(p->info.plain, sizeof(p->info.plain),
		 "files can only be read: %.200s", why->text);
	p->info.uid = p->info.gid = NOBODY;
	p->info.nr_groups = 0;
	p->info.more_groups = false;
	return 0;
}

void plain_files_drop(struct sbx_plain *p)
{
	if (p->call)
		p->call->p = NULL;
	p->call = NULL;
	if (p->call_op)
		plain_op_free(p, p->call_op);
	p->call_op = NULL;
}
