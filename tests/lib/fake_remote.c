#include "tests/lib/fake_remote.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/unit.h"

/* one at a time: the functions below are given no other way to find it */
static struct fake *the;
static struct sbx_buf scratch;
static const struct sbx_remote_handler *handler;
static void *handler_arg;

/* ---- client/remote.h ---- */

void sbx_remote_set_files(struct sbx_remote *r,
			  const struct sbx_remote_handler *h, void *arg)
{
	handler = h;
	handler_arg = arg;
}

enum sbx_link_state sbx_remote_state(const struct sbx_remote *r)
{
	return SBX_LINK_UP;
}

const struct sbx_remote_info *sbx_remote_info(const struct sbx_remote *r)
{
	return &the->info;
}

uint32_t sbx_remote_epoch(const struct sbx_remote *r)
{
	return the->epoch;
}

uint64_t sbx_remote_heard_ms(const struct sbx_remote *r)
{
	return the->silent ? the->heard_ms : UINT64_MAX;
}

uint64_t sbx_remote_asked_ms(const struct sbx_remote *r)
{
	return 0;
}

uint64_t sbx_remote_number(struct sbx_remote *r)
{
	return ++the->numbers;
}

struct sbx_buf *sbx_remote_begin(struct sbx_remote *r, enum sbx_wire_op op,
				 unsigned int nr_args)
{
	assert_int_equal(sbx_buf_len(&scratch), 0); /* no begin within one */
	sbx_put_array(&scratch, nr_args + 1);
	sbx_put_u64(&scratch, op);
	return &scratch;
}

static void request_read(struct fake_request *q)
{
	struct sbx_msg m;
	struct sbx_rd rd;
	const uint8_t *data;
	size_t len, n = 0;

	assert_int_equal(sbx_msg_parse(&m, sbx_buf_at(&q->bytes),
				       sbx_buf_len(&q->bytes)),
			 0);
	rd = sbx_rd_root(&m);
	q->op = (enum sbx_wire_op)sbx_get_u64(&rd);
	while (rd.left) {
		struct sbx_rd at = rd;
		uint64_t v = sbx_get_u64(&rd);

		if (!rd.err) {
			if (n < 6)
				q->arg[n++] = v;
			continue;
		}
		rd = at;
		data = sbx_get_bin(&rd, &len);
		if (rd.err) {
			rd = at;
			sbx_get_skip(&rd);
		} else if (data && len < sizeof(q->name) && !q->name[0]) {
			memcpy(q->name, data, len);
		}
	}
	sbx_msg_release(&m);
}

static struct fake_request *submit(bool quiet)
{
	struct fake_request *q = calloc(1, sizeof(*q)), **at = &the->first;

	q->bytes = scratch;
	q->quiet = quiet;
	q->number = ++the->last_number;
	sbx_buf_init(&scratch, 1 << 20);
	request_read(q);
	the->sent[q->op]++;
	if (quiet) {
		sbx_buf_release(&q->bytes);
		free(q);
		return NULL;
	}
	while (*at)
		at = &(*at)->next;
	*at = q;
	return q;
}

uint32_t sbx_remote_submit(struct sbx_remote *r, sbx_reply_fn *done,
			   sbx_part_fn *part, void *arg)
{
	struct fake_request *q = submit(false);

	q->done = done;
	q->part = part;
	q->arg_fn = arg;
	return q->number;
}

int sbx_remote_submit_quiet(struct sbx_remote *r)
{
	submit(true);
	return 0;
}

static void finish(struct fake_request *q, int err, struct sbx_buf *result)
{
	struct fake_request **at = &the->first;
	struct sbx_msg m = {0};
	struct sbx_rd rd = {0};

	while (*at != q)
		at = &(*at)->next;
	*at = q->next;
	if (result) {
		assert_int_equal(sbx_msg_parse(&m, sbx_buf_at(result),
					       sbx_buf_len(result)),
				 0);
		rd = sbx_rd_root(&m);
	}
	q->done(q->arg_fn, err, &rd);
	if (result) {
		sbx_msg_release(&m);
		sbx_buf_release(result);
	}
	sbx_buf_release(&q->bytes);
	free(q);
}

void sbx_remote_defer(struct sbx_remote *r, unsigned int ms)
{
}

void sbx_remote_hasten(struct sbx_remote *r)
{
}

void sbx_remote_relax(struct sbx_remote *r, uint32_t number)
{
}

void sbx_remote_ahead(struct sbx_remote *r, uint32_t number)
{
	(void)r;
	(void)number;
}

uint64_t sbx_remote_answered(const struct sbx_remote *r)
{
	(void)r;
	return 0;
}

void sbx_remote_waited(struct sbx_remote *r, uint64_t answered)
{
	(void)r;
	(void)answered;
}

void sbx_remote_cancel(struct sbx_remote *r, uint32_t number)
{
	struct fake_request *q;

	for (q = the->first; q; q = q->next)
		if (q->number == number) {
			finish(q, -EINTR, NULL);
			return;
		}
}

/* what was submitted has been sent */
bool sbx_remote_withdraw(struct sbx_remote *r, uint32_t number)
{
	return false;
}

bool sbx_remote_is_occupied(const struct sbx_remote *r)
{
	return false;
}

/* ---- fuse/notify.h ---- */

static void note(const char *kind, const char *name, size_t len, bool data)
{
	the->told_len += (size_t)snprintf(
		the->told + the->told_len, sizeof(the->told) - the->told_len,
		"%s %.*s%s;", kind, (int)len, name, data ? " data" : "");
}

void sfs_notify_pages(struct sfs_notify *n, fuse_ino_t ino, uint64_t from)
{
	sfs_notify_inode(n, ino, true);
}

void sfs_notify_inode(struct sfs_notify *n, fuse_ino_t ino, bool data)
{
	note("inode", "", 0, data);
}

void sfs_notify_entry(struct sfs_notify *n, fuse_ino_t parent, const char *name,
		      size_t len)
{
	note("entry", name, len, false);
}

void sfs_notify_expire(struct sfs_notify *n, fuse_ino_t parent,
		       const char *name, size_t len)
{
	note("expire", name, len, false);
}

void sfs_notify_child(struct sfs_notify *n, fuse_ino_t parent, const char *name,
		      size_t len, fuse_ino_t ino, bool data)
{
	note("child", name, len, data);
}

void sfs_notify_after(struct sfs_notify *n, void (*fn)(void *arg), void *arg)
{
	if (the->kernel_is_slow && the->nr_after < 16) {
		the->after[the->nr_after].fn = fn;
		the->after[the->nr_after++].arg = arg;
	} else {
		fn(arg);
	}
}

void fake_kernel_step(struct fake *f)
{
	void (*fn)(void *arg) = f->after[0].fn;
	void *arg = f->after[0].arg;

	assert_true(f->nr_after > 0);
	memmove(f->after, f->after + 1, --f->nr_after * sizeof(f->after[0]));
	fn(arg);
}

void fake_kernel_done(struct fake *f)
{
	while (f->nr_after)
		fake_kernel_step(f);
	f->kernel_is_slow = false;
}

void sfs_notify_on_lost(struct sfs_notify *n, sfs_lost_fn *fn, void *arg)
{
	the->on_lost = fn;
	the->lost_arg = arg;
}

/* ---- libfuse: the answers ---- */

void *fuse_req_userdata(fuse_req_t req)
{
	return req->fs;
}

const struct fuse_ctx *fuse_req_ctx(fuse_req_t req)
{
	return &req->ctx;
}

void fuse_req_interrupt_func(fuse_req_t req, fuse_interrupt_func_t func,
			     void *data)
{
	req->interrupt = func;
	req->data = data;
}

int fuse_req_interrupted(fuse_req_t req)
{
	return 0;
}

int fuse_reply_err(fuse_req_t req, int err)
{
	req->replies++;
	req->err = err;
	return 0;
}

int fuse_reply_entry(fuse_req_t req, const struct fuse_entry_param *e)
{
	req->replies++;
	req->entry = *e;
	return 0;
}

int fuse_reply_create(fuse_req_t req, const struct fuse_entry_param *e,
		      const struct fuse_file_info *fi)
{
	req->fi = *fi;
	return fuse_reply_entry(req, e);
}

int fuse_reply_attr(fuse_req_t req, const struct stat *attr, double timeout)
{
	req->replies++;
	req->attr = *attr;
	req->timeout = timeout;
	return 0;
}

int fuse_reply_statfs(fuse_req_t req, const struct statvfs *st)
{
	req->replies++;
	return 0;
}

int fuse_reply_open(fuse_req_t req, const struct fuse_file_info *fi)
{
	req->replies++;
	req->fi = *fi;
	return 0;
}

int fuse_reply_write(fuse_req_t req, size_t count)
{
	req->replies++;
	req->len = count;
	return 0;
}

int fuse_reply_buf(fuse_req_t req, const char *buf, size_t size)
{
	req->replies++;
	assert_true(size <= sizeof(req->bytes));
	if (size)
		memcpy(req->bytes, buf, size);
	req->len = size;
	return 0;
}

int fuse_reply_iov(fuse_req_t req, const struct iovec *iov, int count)
{
	int k;

	req->replies++;
	req->len = 0;
	for (k = 0; k < count; k++) {
		assert_true(req->len + iov[k].iov_len <= sizeof(req->bytes));
		memcpy(req->bytes + req->len, iov[k].iov_base, iov[k].iov_len);
		req->len += iov[k].iov_len;
	}
	return 0;
}

/* ---- for tests ---- */

fuse_req_t fake_req(struct fake *f)
{
	fuse_req_t req = calloc(1, sizeof(*req));

	assert_non_null(req);
	req->fs = &f->fs;
	return req;
}

struct fake *fake_new(void)
{
	struct fake *f = calloc(1, sizeof(*f));

	the = f;
	sbx_buf_init(&scratch, 1 << 20);
	uv_loop_init(&f->loop);
	f->fs.loop = &f->loop;
	f->fs.started = true;
	f->fs.cache_max = f->fs.cache_full = 1 << 20;
	f->fs.umask = (mode_t)-1;
	f->epoch = 1;
	f->numbers = SBX_DIR_FIRST;
	f->files = sfs_files_new(&f->fs, NULL, NULL);
	assert_non_null(f->files);
	return f;
}

void fake_free(struct fake *f)
{
	struct sfs_leftover *l;

	while (f->first)
		finish(f->first, -ECANCELED, NULL);
	f->fs.started = false;
	sfs_files_free(f->files);
	while ((l = f->fs.leftovers)) {
		sfs_leftover_del(l);
		l->free(l);
	}
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&f->loop), 0);
	sbx_buf_release(&scratch);
	free(f);
	the = NULL;
}

struct sbx_attr fake_attr(mode_t mode, uint64_t ino)
{
	struct sbx_attr a = {.mode = mode,
			     .nlink = S_ISDIR(mode) ? 2 : 1,
			     .ino = ino,
			     .dev = 1,
			     .size = S_ISDIR(mode) ? FAKE_DIR_SIZE : 10,
			     .mtime_s = 100,
			     .ctime_s = 100};
	return a;
}

static struct fake_request *oldest(struct fake *f, enum sbx_wire_op op)
{
	assert_non_null(f->first);
	assert_int_equal(f->first->op, op);
	return f->first;
}

void fake_answer(struct fake *f, enum sbx_wire_op op, int err,
		 const struct sbx_attr *attr)
{
	struct fake_request *q = oldest(f, op);
	struct sbx_buf b;

	if (err || !attr) {
		finish(q, err, NULL);
		return;
	}
	sbx_buf_init(&b, 65536);
	sbx_put_array(&b, 1);
	sbx_put_attr(&b, attr);
	finish(q, 0, &b);
}

void fake_answer_flag(struct fake *f, enum sbx_wire_op op,
		      const struct sbx_attr *attr, bool flag)
{
	struct fake_request *q = oldest(f, op);
	struct sbx_buf b;

	sbx_buf_init(&b, 65536);
	sbx_put_array(&b, 2);
	sbx_put_attr(&b, attr);
	sbx_put_bool(&b, flag);
	finish(q, 0, &b);
}

void fake_answer_content(struct fake *f, const struct sbx_attr *attr,
			 const char *content)
{
	struct fake_request *q = oldest(f, SBX_OP_LOOKUP);
	struct sbx_buf b;

	sbx_buf_init(&b, 65536);
	sbx_put_array(&b, 2);
	sbx_put_attr(&b, attr);
	sbx_put_bin(&b, content, strlen(content));
	finish(q, 0, &b);
}

/* What of a READ was not given yet. */
static void put_content(struct sbx_buf *b, struct fake_request *q)
{
	uint64_t at = q->arg[1] + q->given;
	size_t len = (size_t)(q->arg[1] + q->arg[2] - at), k;
	uint8_t *data = malloc(len + 1);

	for (k = 0; k < len; k++)
		data[k] = (uint8_t)(at + k);
	sbx_put_bin(b, data, len);
	q->given += len;
	free(data);
}

void fake_answer_read(struct fake *f)
{
	struct fake_request *q = oldest(f, SBX_OP_READ);
	struct sbx_buf b;

	sbx_buf_init(&b, 2 << 20);
	sbx_put_array(&b, 2);
	put_content(&b, q);
	sbx_put_bool(&b, false);
	finish(q, 0, &b);
}

void fake_give_reads(struct fake *f)
{
	struct fake_request *q;
	struct sbx_msg m;
	struct sbx_rd rd;
	struct sbx_buf b;

	for (q = f->first; q; q = q->next) {
		if (q->op != SBX_OP_READ || q->given)
			continue;
		sbx_buf_init(&b, 2 << 20);
		sbx_put_array(&b, 1);
		put_content(&b, q);
		assert_int_equal(
			sbx_msg_parse(&m, sbx_buf_at(&b), sbx_buf_len(&b)), 0);
		rd = sbx_rd_root(&m);
		q->part(q->arg_fn, &rd);
		sbx_msg_release(&m);
		sbx_buf_release(&b);
	}
}

void fake_answer_list(struct fake *f, const char *const *names, size_t n,
		      uint64_t ino)
{
	struct fake_request *q = oldest(f, SBX_OP_LIST), *before = f->first;
	struct sbx_attr a;
	struct sbx_msg m;
	struct sbx_rd rd;
	struct sbx_buf b;
	size_t k;

	sbx_buf_init(&b, 16 << 20);
	sbx_put_array(&b, 1);
	sbx_put_array(&b, (uint32_t)n);
	for (k = 0; k < n; k++) {
		a = ino ? fake_attr(S_IFREG | 0644, ino + k)
			: fake_attr(S_IFDIR | 0755, 5000 + k);
		sbx_put_array(&b, 2);
		sbx_put_bin(&b, names[k], strlen(names[k]));
		sbx_put_attr(&b, &a);
	}
	assert_int_equal(sbx_msg_parse(&m, sbx_buf_at(&b), sbx_buf_len(&b)), 0);
	rd = sbx_rd_root(&m);
	q->part(q->arg_fn, &rd);
	sbx_msg_release(&m);
	sbx_buf_release(&b);
	/* unless whoever asked had enough */
	if (the->first == before)
		finish(q, 0, NULL);
}

bool fake_is_idle(const struct fake *f)
{
	return !f->first;
}

void fake_restart(struct fake *f)
{
	struct fake_request *old = f->first, *q, **at;

	f->epoch++;
	f->first = NULL;
	handler->on_doubt(handler_arg, true);
	while ((q = old)) { /* what they send now belongs to the new one */
		old = q->next;
		for (at = &f->first; *at;)
			at = &(*at)->next;
		q->next = NULL;
		*at = q;
		finish(q, -ERESTART, NULL);
	}
}

bool fake_holds(struct fake *f)
{
	return handler->holds(handler_arg);
}

void fake_change(struct fake *f, uint64_t dir, const char *name,
		 unsigned int what, const struct sbx_attr *attr)
{
	handler->on_change(handler_arg, dir, name, strlen(name), what, attr, 0);
}
