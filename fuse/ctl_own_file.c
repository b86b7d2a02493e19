/*
 * Files of a service's own, open: values, which are asked for at the first
 * read and are sent with each write, and streams, which begin with the first
 * read and are read until they are closed.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "client/spec.h"
#include "fuse/ctl_file.h"
#include "fuse/ctl_own.h"
#include "fuse/sandbox.h"
#include "fuse/text.h"

/* A reader who is behind by this is waited for ... */
#define HOLD_SIZE (256 * 1024)
/* ... and what comes all the same is more than one message of any service. */
#define HOLD_MAX CTL_TEXT_MAX
/* A JSON text that is written in pieces. */
#define VALUE_MAX (8 * 1024 * 1024)
/* What may be written before a stream is read. */
#define INPUT_MAX (64 * 1024)

static void ask(struct ctl_file *f, enum sbx_call_kind kind, const void *input,
		size_t len, sbx_call_fn *fn, void *arg)
{
	const struct ctl_node *n = f->node;

	sbx_client_own(n->place->client, n->sb ? n->sb->box : NULL, kind,
		       n->own->path, input, len, fn, arg);
}

static bool flushes(const struct ctl_node *n)
{
	return n->sb && n->own->at.row->flags & SBX_OWN_FLUSH;
}

/* ---- values: reading ---- */

static void on_read(void *arg, struct sbx_call *call)
{
	struct ctl_file *f = arg;

	if (call->len)
		sbx_buf_add(&f->text, call->data, call->len);
	ctl_file_loaded(f, &call->error);
}

static void on_read_flushed(void *arg, const struct sbx_error *error)
{
	struct ctl_file *f = arg;

	if (error->err)
		ctl_file_loaded(f, error);
	else
		ask(f, SBX_CALL_OWN_READ, NULL, 0, on_read, f);
}

static void value_load(struct ctl_file *f)
{
	if (flushes(f->node))
		sfs_sandbox_flush(f->node->sb, on_read_flushed, f);
	else
		ask(f, SBX_CALL_OWN_READ, NULL, 0, on_read, f);
}

/* ---- values: writing ---- */

struct writing {
	struct ctl_op *op;
	size_t len;
	char data[];
};

/* That it was done is certain, whatever is known of the files. */
static void on_seen(void *arg, const struct sbx_error *error)
{
	static const struct sbx_error none;

	ctl_op_finish(arg, &none);
}

/* What the service said to it is what is read next; and what it did to the
 * sandbox's files is seen by then. */
static void on_written(void *arg, struct sbx_call *call)
{
	struct ctl_op *op = arg;
	struct ctl_file *f = op->file;

	sfs_own_stale(ctl_own_owner(f->node));
	if (!call->error.err && call->data && f->state == CTL_UNREAD)
		ctl_file_give(f, call->data, call->len);
	if (!call->error.err && flushes(f->node))
		sfs_sandbox_flush(f->node->sb, on_seen, op);
	else
		ctl_op_finish(op, &call->error);
}

static void on_write_flushed(void *arg, const struct sbx_error *error)
{
	struct writing *w = arg;

	if (error->err)
		ctl_op_finish(w->op, error);
	else
		ask(w->op->file, SBX_CALL_OWN_WRITE, w->data, w->len,
		    on_written, w->op);
	free(w);
}

static void value_send(struct ctl_op *op, const char *data, size_t size)
{
	struct ctl_file *f = op->file;
	struct writing *w;

	if (!flushes(f->node)) {
		ask(f, SBX_CALL_OWN_WRITE, data, size, on_written, op);
		return;
	}
	w = malloc(sizeof(*w) + size);
	if (!w) {
		ctl_op_finish(op, &(struct sbx_error){.err = -ENOMEM,
						      .text = "out of memory"});
		return;
	}
	w->op = op;
	w->len = size;
	memcpy(w->data, data, size);
	sfs_sandbox_flush(f->node->sb, on_write_flushed, w);
}

/*
 * Each write is sent, but for a JSON object or array that comes in pieces, as
 * shells write one of several lines: it goes when it is complete, or when a
 * descriptor is closed.
 */
struct value_file {
	struct ctl_file f;
	struct sbx_buf text; /* gathered */
	struct sbx_object_scan scan;
	bool had_object; /* the end of its last line may follow */
};

static struct value_file *value_of(struct ctl_file *f)
{
	return (struct value_file *)f;
}

static void value_send_text(struct value_file *v, fuse_req_t req, size_t size)
{
	struct ctl_op *op = ctl_op_new(req, v->f.node, &v->f, size);

	if (op)
		value_send(op, (char *)sbx_buf_at(&v->text),
			   sbx_buf_len(&v->text));
	sbx_buf_clear(&v->text);
	v->scan = (struct sbx_object_scan){0};
}

static void value_gather(fuse_req_t req, struct value_file *v, const char *data,
			 size_t size)
{
	bool ended = false, first = !sbx_buf_len(&v->text);

	if (sbx_buf_add(&v->text, data, size) < 0) {
		sbx_buf_clear(&v->text);
		ctl_fail(req, v->f.node, -E2BIG, "%s: that is too much",
			 v->f.node->own->path);
		return;
	}
	for (size_t i = 0; i < size; i++)
		ended |= sbx_object_scan_byte(&v->scan, data[i]);
	v->had_object = ended;
	if (ended || (first && !sfs_text_is_piece(data, size)))
		value_send_text(v, req, size);
	else
		fuse_reply_write(req, size);
}

static void value_write(fuse_req_t req, struct ctl_file *f, const char *data,
			size_t size)
{
	struct value_file *v = value_of(f);
	struct ctl_op *op;

	if (v->had_object && sfs_text_is_blank(data, size)) {
		fuse_reply_write(req, size);
	} else if (sbx_buf_len(&v->text) || data[0] == '{' || data[0] == '[') {
		value_gather(req, v, data, size);
	} else {
		v->had_object = false;
		op = ctl_op_new(req, f->node, f, size);
		if (op)
			value_send(op, data, size);
	}
}

static void value_flush(fuse_req_t req, struct ctl_file *f)
{
	struct value_file *v = value_of(f);

	v->had_object = false;
	if (sbx_buf_len(&v->text))
		value_send_text(v, req, 0);
	else
		fuse_reply_err(req, 0);
}

static int value_open(struct ctl_file *f, int flags)
{
	sbx_buf_init(&value_of(f)->text, VALUE_MAX);
	return 0;
}

static void value_close(struct ctl_file *f)
{
	sbx_buf_release(&value_of(f)->text);
}

/* ---- streams ---- */

/* What a service sends for one open file; is there until the service has
 * ended it, so that it may be longer. */
struct flow {
	struct ctl_file *f; /* NULL: closed */
	struct sbx_stream *stream;
};

struct stream_file {
	struct ctl_file f; /* f.text: what came and was not read yet */
	struct flow *flow;
	struct sbx_buf input;
	bool begun, ended, paused;
	struct sbx_error error; /* of the end */
};

static struct stream_file *stream_of(struct ctl_file *f)
{
	return (struct stream_file *)f;
}

static const struct sbx_service_type *type_of(const struct ctl_file *f)
{
	return sbx_client_service(f->node->place->client)->type;
}

static bool stream_is_ready(const struct stream_file *s)
{
	return s->ended || sbx_buf_len(&s->f.text);
}

static void stream_reply(struct stream_file *s, fuse_req_t req, size_t size)
{
	struct sbx_buf *b = &s->f.text;
	size_t n = sbx_buf_len(b);

	if (n > size)
		n = size;
	if (!n && s->error.err)
		fuse_reply_err(req, -s->error.err);
	else
		fuse_reply_buf(req, n ? (char *)sbx_buf_at(b) : NULL, n);
	sbx_buf_consume(b, n);
	if (s->paused && s->flow && sbx_buf_len(b) < HOLD_SIZE / 2) {
		s->paused = false;
		type_of(&s->f)->own_pause(s->flow->stream, false);
	}
}

static void stream_news(struct stream_file *s)
{
	fuse_req_t req;
	size_t size;
	off_t off;

	while (!sfs_readq_is_empty(&s->f.readers) && stream_is_ready(s)) {
		req = sfs_readq_take(&s->f.readers, &size, &off);
		stream_reply(s, req, size);
	}
	ctl_file_wake(&s->f);
}

/* Nothing more comes of it. */
static void stream_end(struct stream_file *s, const struct sbx_error *error)
{
	if (s->ended)
		return;
	s->ended = true;
	s->error = *error;
	stream_news(s);
}

static void stream_fail(struct stream_file *s, int err, const char *text)
{
	struct sbx_error e = {0};

	sbx_error_set(&e, err, "%s", text);
	stream_end(s, &e);
}

/* Nobody wants it any more; its on_end follows. */
static void stream_let_go(struct stream_file *s)
{
	struct flow *flow = s->flow;

	s->flow = NULL;
	if (!flow)
		return;
	flow->f = NULL;
	type_of(&s->f)->own_close(flow->stream);
}

static void on_open(void *arg)
{
}

static void on_data(void *arg, int fd, const void *data, size_t len)
{
	struct flow *flow = arg;
	struct stream_file *s = flow->f ? stream_of(flow->f) : NULL;

	if (!s || s->ended)
		return;
	if (sbx_buf_add(&s->f.text, data, len) < 0) {
		stream_fail(s, -ENOBUFS, "more came than can be kept");
		stream_let_go(s);
		return;
	}
	if (!s->paused && sbx_buf_len(&s->f.text) > HOLD_SIZE) {
		s->paused = true;
		type_of(&s->f)->own_pause(flow->stream, true);
	}
	stream_news(s);
}

static void on_end(void *arg, int exit_code, const struct sbx_error *error)
{
	struct flow *flow = arg;

	if (flow->f) {
		if (error->err)
			ctl_note(flow->f->node, error);
		stream_of(flow->f)->flow = NULL;
		stream_end(stream_of(flow->f), error);
	}
	free(flow);
}

static const struct sbx_stream_handler flow_handler = {
	.on_open = on_open,
	.on_data = on_data,
	.on_end = on_end,
	.no_stderr = true,
};

/* With the first who waits for something of it. */
static void stream_begin(struct stream_file *s)
{
	const struct ctl_node *n = s->f.node;
	struct flow *flow;

	if (s->begun)
		return;
	s->begun = true;
	flow = calloc(1, sizeof(*flow));
	if (flow) {
		flow->f = &s->f;
		flow->stream = type_of(&s->f)->own_open(
			sbx_client_service(n->place->client),
			n->sb ? n->sb->box->sb.id : NULL, n->own->path,
			(char *)sbx_buf_at(&s->input), sbx_buf_len(&s->input),
			&flow_handler, flow);
	}
	if (flow && flow->stream) {
		s->flow = flow;
		return;
	}
	free(flow);
	stream_fail(s, -ENOMEM, "out of memory");
}

static int stream_open(struct ctl_file *f, int flags)
{
	sbx_buf_release(&f->text);
	sbx_buf_init(&f->text, HOLD_MAX);
	sbx_buf_init(&stream_of(f)->input, INPUT_MAX);
	return 0;
}

static void stream_read(fuse_req_t req, struct ctl_file *f, size_t size,
			bool nonblock)
{
	struct stream_file *s = stream_of(f);

	stream_begin(s);
	if (!nonblock) {
		sfs_readq_add(&f->readers, req, size, 0);
		stream_news(s);
	} else if (sfs_readq_is_empty(&f->readers) && stream_is_ready(s)) {
		stream_reply(s, req, size);
	} else {
		fuse_reply_err(req, EAGAIN);
	}
}

static unsigned int stream_poll(struct ctl_file *f)
{
	stream_begin(stream_of(f));
	return stream_is_ready(stream_of(f)) ? POLLIN | POLLRDNORM : 0;
}

static void stream_write(fuse_req_t req, struct ctl_file *f, const char *data,
			 size_t size)
{
	struct stream_file *s = stream_of(f);

	if (s->begun)
		ctl_fail(req, f->node, -EINVAL,
			 "%s: what it shall be about is written before it is "
			 "read",
			 f->node->own->path);
	else if (sbx_buf_add(&s->input, data, size) < 0)
		ctl_fail(req, f->node, -EMSGSIZE, "%s: that is too much",
			 f->node->own->path);
	else
		fuse_reply_write(req, size);
}

static void stream_close(struct ctl_file *f)
{
	struct stream_file *s = stream_of(f);

	s->ended = true;
	stream_let_go(s);
	sbx_buf_release(&s->input);
}

void ctl_own_gone(struct sfs_sandbox *sb)
{
	struct ctl_file *f, *next;

	for (f = sb->m->files; f; f = next) {
		next = f->next;
		if (f->node->sb != sb || !f->type ||
		    f->type->close != stream_close)
			continue;
		stream_fail(stream_of(f), -ESTALE, "the sandbox is gone");
		stream_let_go(stream_of(f));
	}
}

/* ---- what there is ---- */

static const struct ctl_file_type value_r = {.load = value_load};
static const struct ctl_file_type value_w = {
	.size = sizeof(struct value_file),
	.open = value_open,
	.write = value_write,
	.flush = value_flush,
	.close = value_close,
};
static const struct ctl_file_type value_rw = {
	.size = sizeof(struct value_file),
	.open = value_open,
	.load = value_load,
	.write = value_write,
	.flush = value_flush,
	.close = value_close,
};
static const struct ctl_file_type stream_r = {
	.size = sizeof(struct stream_file),
	.open = stream_open,
	.read = stream_read,
	.poll = stream_poll,
	.close = stream_close,
};
static const struct ctl_file_type stream_rw = {
	.size = sizeof(struct stream_file),
	.open = stream_open,
	.read = stream_read,
	.poll = stream_poll,
	.write = stream_write,
	.close = stream_close,
};

/* What touch(1) is to do, that the file is there, was done when it was opened;
 * a time of the user's choice cannot be kept. */
static void own_touch(fuse_req_t req, struct ctl_node *n, bool now)
{
	if (now && n->own->at.row->flags & SBX_OWN_MAKE)
		ctl_getattr(req, &n->n, NULL);
	else
		fuse_reply_err(req, EPERM);
}

#define OWN_FILE(bits, what)                                                   \
	{                                                                      \
		.name = "own", .mode = S_IFREG | (bits), .ops = &ctl_file_ops, \
		.touch = own_touch, .file = &(what),                           \
	}

const struct ctl_type *ctl_own_file_type(unsigned int flags)
{
	static const struct ctl_type r = OWN_FILE(0400, value_r);
	static const struct ctl_type w = OWN_FILE(0200, value_w);
	static const struct ctl_type rw = OWN_FILE(0600, value_rw);
	static const struct ctl_type flow = OWN_FILE(0400, stream_r);
	static const struct ctl_type told = OWN_FILE(0600, stream_rw);

	if (flags & SBX_OWN_STREAM)
		return flags & SBX_OWN_WRITE ? &told : &flow;
	if (!(flags & SBX_OWN_WRITE))
		return &r;
	return flags & SBX_OWN_READ ? &rw : &w;
}
