/*
 * Open files of the control tree: see ctl_file.h.
 */
#include "fuse/ctl_file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <stdlib.h>

#define PAGE 4096 /* of any kernel, or a part of one */

struct ctl_file *ctl_file_new(struct ctl_node *n, size_t size)
{
	struct ctl_file *f = calloc(1, size > sizeof(*f) ? size : sizeof(*f));

	if (!f)
		return NULL;
	n->refs++;
	n->opens++;
	n->idle = false;
	f->node = n;
	f->type = n->type->file;
	f->refs = 1;
	sbx_buf_init(&f->text, CTL_TEXT_MAX);
	f->next = n->m->files;
	f->at = &n->m->files;
	if (f->next)
		f->next->at = &f->next;
	n->m->files = f;
	return f;
}

struct ctl_file *ctl_file_ref(struct ctl_file *f)
{
	f->refs++;
	return f;
}

void ctl_file_unref(struct ctl_file *f)
{
	if (--f->refs > 0)
		return;
	sbx_buf_wipe(&f->text); /* a new token, say */
	ctl_node_unref(f->node);
	free(f);
}

void ctl_file_close(struct ctl_file *f)
{
	f->closed = true;
	f->node->idle = --f->node->opens == 0;
	*f->at = f->next;
	if (f->next)
		f->next->at = f->at;
	sfs_readq_fail(&f->readers, EIO); /* only if the kernel has gone */
	if (f->poll)
		fuse_pollhandle_destroy(f->poll);
	f->poll = NULL;
	if (f->type && f->type->close)
		f->type->close(f);
	ctl_file_unref(f);
}

void ctl_file_wake(struct ctl_file *f)
{
	if (!f->poll)
		return;
	fuse_lowlevel_notify_poll(f->poll);
	fuse_pollhandle_destroy(f->poll);
	f->poll = NULL;
}

/* ---- values ---- */

static void file_serve(struct ctl_file *f, fuse_req_t req, size_t size,
		       off_t off)
{
	/* pread from the start also finds it */
	uint64_t at = (uint64_t)off < f->text_at ? (uint64_t)off
						 : (uint64_t)off - f->text_at;
	size_t len = sbx_buf_len(&f->text);

	if (at >= len) {
		fuse_reply_buf(req, NULL, 0);
		return;
	}
	if (size > len - at)
		size = len - (size_t)at;
	fuse_reply_buf(req, (char *)sbx_buf_at(&f->text) + at, size);
}

void ctl_file_loaded(struct ctl_file *f, const struct sbx_error *error)
{
	struct sbx_error e = {0};
	fuse_req_t req;
	size_t size;
	off_t off;

	if (error)
		e = *error;
	if (!e.err && f->text.err)
		sbx_error_set(&e, f->text.err, "the text is too long");
	f->state = e.err ? CTL_UNREAD : CTL_LOADED;
	if (e.err) {
		ctl_note(f->node, &e);
		sbx_buf_clear(&f->text);
	}
	while ((req = sfs_readq_take(&f->readers, &size, &off))) {
		if (e.err)
			fuse_reply_err(req, -e.err);
		else
			file_serve(f, req, size, off);
	}
	ctl_file_wake(f);
	ctl_file_unref(f);
}

void ctl_file_give(struct ctl_file *f, const void *data, size_t len)
{
	sbx_buf_clear(&f->text);
	sbx_buf_add(&f->text, data, len);
	f->text_at = f->write_end;
	ctl_file_loaded(ctl_file_ref(f), NULL);
}

void ctl_file_load(struct ctl_file *f, uint64_t text_at)
{
	if (f->state != CTL_UNREAD)
		return;
	f->state = CTL_LOADING;
	f->text_at = text_at;
	sbx_buf_clear(&f->text);
	f->type->load(ctl_file_ref(f));
}

static void file_read_value(fuse_req_t req, struct ctl_file *f, size_t size,
			    off_t off)
{
	if (f->state == CTL_LOADED) {
		file_serve(f, req, size, off);
		return;
	}
	sfs_readq_add(&f->readers, req, size, off);
	if (sfs_readq_is_empty(&f->readers))
		return;
	/* who reads on where his write ended reads the text from its start */
	ctl_file_load(f, (uint64_t)off == f->write_end ? f->write_end : 0);
}

/* Only what may take for ever is not waited for by those who do not want to:
 * a slow answer of a service is no more than a slow disk. */
static bool file_would_block(struct ctl_file *f, int flags)
{
	return (flags & O_NONBLOCK) && f->type->poll &&
	       !(f->type->poll(f) & POLLIN);
}

/* ---- operations ---- */

/*
 * Without a position the kernel takes no lock for it, which would make a
 * write wait, and not to be interrupted, while somebody reads the same open
 * file.  libfuse has no word for that flag.
 */
static int reply_open_stream(fuse_req_t req, struct ctl_file *f)
{
	struct fuse_open_out out = {
		.fh = (uintptr_t)f,
		.open_flags = FOPEN_DIRECT_IO | FOPEN_STREAM |
			      (f->type->flush ? 0 : FOPEN_NOFLUSH),
	};

	return fuse_reply_buf(req, (char *)&out, sizeof(out));
}

static void file_answer_open(fuse_req_t req, struct ctl_file *f)
{
	struct fuse_file_info fi = {
		.fh = (uintptr_t)f,
		.direct_io = 1,
		.noflush = !f->type->flush,
	};
	int r;

	if (f->type->read && !f->seekable)
		r = reply_open_stream(req, f);
	else
		r = fuse_reply_open(req, &fi);
	if (r < 0)
		ctl_file_close(f);
}

void ctl_file_opened(struct ctl_op *op, int err)
{
	struct ctl_file *f = ctl_file_ref(op->file);
	fuse_req_t req = ctl_op_end(op);

	if (req && !err && !f->closed) {
		file_answer_open(req, f);
	} else {
		/* nobody waits any more, or nobody will ever close it */
		if (!f->closed)
			ctl_file_close(f);
		if (req)
			fuse_reply_err(req, err ? -err : EIO);
	}
	ctl_file_unref(f);
}

static void file_settle(fuse_req_t req, struct ctl_file *f)
{
	struct ctl_op *op = ctl_op_new(req, f->node, f, 0);

	if (op)
		f->type->settle(f, op);
	else
		ctl_file_close(f);
}

static void file_open(fuse_req_t req, struct sfs_node *node,
		      struct fuse_file_info *fi)
{
	struct ctl_node *n = (struct ctl_node *)node;
	struct ctl_file *f;
	int r = ctl_node_check(n);

	/* the kernel lets root pass; as in cgroupfs that is no use to him */
	if (r == 0 && (fi->flags & O_ACCMODE) != O_RDONLY &&
	    !n->type->file->write)
		r = -EACCES;

	f = r < 0 ? NULL : ctl_file_new(n, n->type->file->size);
	if (!f) {
		fuse_reply_err(req, r < 0 ? -r : ENOMEM);
		return;
	}
	r = f->type->open ? f->type->open(f, fi->flags) : 0;
	if (r < 0) {
		ctl_file_close(f);
		fuse_reply_err(req, -r);
		return;
	}
	if (f->type->settle)
		file_settle(req, f);
	else
		file_answer_open(req, f);
}

void ctl_file_create(fuse_req_t req, struct ctl_node *n,
		     struct fuse_file_info *fi)
{
	struct ctl_file *f = ctl_file_new(n, n->type->file->size);
	struct fuse_entry_param e;
	int r = -ENOMEM;

	if (f)
		r = f->type->open ? f->type->open(f, fi->flags) : 0;
	if (r < 0) {
		if (f)
			ctl_file_close(f);
		ctl_node_unref(n);
		fuse_reply_err(req, -r);
		return;
	}
	ctl_node_entry(n, 0, &e);
	fi->fh = (uintptr_t)f;
	fi->direct_io = 1;
	fi->noflush = !f->type->flush;
	if (sfs_reply_create(req, &n->n, &e, fi) < 0)
		ctl_file_close(f);
}

static void file_read(fuse_req_t req, struct sfs_node *node, size_t size,
		      off_t off, struct fuse_file_info *fi)
{
	struct ctl_file *f = ctl_file_of(fi);
	int r = f->type->outlives ? 0 : ctl_node_check(f->node);

	f->off = off;
	f->nonblock = fi->flags & O_NONBLOCK;
	if (off % PAGE == 0 && size % PAGE == 0)
		f->node->paged = true;
	if (r < 0)
		fuse_reply_err(req, -r);
	else if (f->type->read)
		f->type->read(req, f, size, fi->flags & O_NONBLOCK);
	else if (!f->type->load) /* nothing to read, and no error for grep -r */
		fuse_reply_buf(req, NULL, 0);
	else if (file_would_block(f, fi->flags))
		fuse_reply_err(req, EAGAIN);
	else
		file_read_value(req, f, size, off);
}

static void file_write(fuse_req_t req, struct sfs_node *node, const char *data,
		       size_t size, off_t off, struct fuse_file_info *fi)
{
	struct ctl_file *f = ctl_file_of(fi);
	int r = ctl_node_check(f->node);

	if (r < 0) {
		fuse_reply_err(req, -r);
		return;
	}
	if (f->state == CTL_LOADED) {
		f->state = CTL_UNREAD;
		sbx_buf_clear(&f->text);
	}
	f->write_end = (uint64_t)off + size;
	f->nonblock = fi->flags & O_NONBLOCK;
	f->type->write(req, f, data, size);
}

static void file_flush(fuse_req_t req, struct sfs_node *node,
		       struct fuse_file_info *fi)
{
	struct ctl_file *f = ctl_file_of(fi);

	if (f->type->flush)
		f->type->flush(req, f);
	else
		fuse_reply_err(req, 0);
}

static void file_fsync(fuse_req_t req, struct sfs_node *node, int datasync,
		       struct fuse_file_info *fi)
{
	file_flush(req, node, fi);
}

void ctl_release(fuse_req_t req, struct sfs_node *node,
		 struct fuse_file_info *fi)
{
	ctl_file_close(ctl_file_of(fi));
	fuse_reply_err(req, 0);
}

void ctl_file_has_nothing(fuse_req_t req, const struct ctl_file *f)
{
	if (f->polled)
		fuse_reply_err(req, EAGAIN);
	else
		fuse_reply_buf(req, NULL, 0);
}

static void file_poll(fuse_req_t req, struct sfs_node *node,
		      struct fuse_file_info *fi, struct fuse_pollhandle *ph)
{
	struct ctl_file *f = ctl_file_of(fi);
	unsigned int events = POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM;

	f->polled = true;
	/* before asking: what is asked may change while it is looked at */
	if (ph) {
		if (f->poll)
			fuse_pollhandle_destroy(f->poll);
		f->poll = ph;
	}
	if (!f->type->outlives && ctl_node_check(f->node) < 0)
		events |= POLLERR;
	else if (f->type->poll)
		events = f->type->poll(f);
	fuse_reply_poll(req, events & (fi->poll_events | POLLERR | POLLHUP));
}

const struct sfs_node_ops ctl_file_ops = {
	.forget = ctl_forget,
	.getattr = ctl_getattr,
	.setattr = ctl_setattr,
	.open = file_open,
	.read = file_read,
	.write = file_write,
	.flush = file_flush,
	.fsync = file_fsync,
	.release = ctl_release,
	.poll = file_poll,
};
