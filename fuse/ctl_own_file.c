/*
 * Files of a service's own, open: values, which are asked for at the first
 * read and are sent with each write, and streams, which begin with the first
 * read and are read until they are closed.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "client/cleanup.h"
#include "fuse/ctl_file.h"
#include "fuse/ctl_own.h"
#include "fuse/pieces.h"
#include "fuse/sandbox.h"

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

/* ---- values: writing ---- */

/*
 * Each write is sent, but for a JSON object or array that comes in pieces: it
 * goes when it is complete, or when a descriptor is closed or it is read.  So
 * do single lines, where a text may have several; elsewhere they do not wait,
 * since shells do not look at what close(2) says of them.
 */
struct value_file {
	struct ctl_file f;
	struct sfs_pieces pieces;
};

static struct value_file *value_of(struct ctl_file *f)
{
	return (struct value_file *)f;
}

static void value_ask(struct ctl_file *f);

/* What is being sent. */
struct writing {
	struct ctl_file *f;
	struct ctl_op *op; /* who waits for it; NULL: a reader */
	bool answered;	   /* what the reader gets is there */
	size_t len;
	char data[];
};

static void writing_end(struct writing *w, const struct sbx_error *error)
{
	struct ctl_op *op = w->op;
	struct ctl_file *f = w->f;
	bool is_loaded = error->err || w->answered;

	sbx_wipe_bytes(w, sizeof(*w) + w->len);
	if (op)
		ctl_op_finish(op, error);
	else if (is_loaded)
		ctl_file_loaded(f, error);
	else
		value_ask(f);
}

/* That it was done is certain, whatever is known of the files. */
static void on_seen(void *arg, const struct sbx_error *error)
{
	static const struct sbx_error none;

	writing_end(arg, &none);
}

/* What the service said to it is what is read next; and what it did to the
 * sandbox's files is seen by then. */
static void on_written(void *arg, struct sbx_call *call)
{
	struct writing *w = arg;
	struct ctl_file *f = w->f;

	sfs_own_stale(ctl_own_owner(f->node));
	if (!call->error.err && call->data) {
		w->answered = true;
		if (!w->op)
			sbx_buf_add(&f->text, call->data, call->len);
		else if (f->state == CTL_UNREAD)
			ctl_file_give(f, call->data, call->len);
	}
	if (!call->error.err && flushes(f->node))
		sfs_sandbox_flush(f->node->sb, on_seen, w);
	else
		writing_end(w, &call->error);
}

static void on_write_flushed(void *arg, const struct sbx_error *error)
{
	struct writing *w = arg;

	if (error->err)
		writing_end(w, error);
	else
		ask(w->f, SBX_CALL_OWN_WRITE, w->data, w->len, on_written, w);
}

/* What was gathered; op may be NULL. */
static void value_send(struct value_file *v, struct ctl_op *op)
{
	static const struct sbx_error none, no_memory = {
						    .err = -ENOMEM,
						    .text = "out of memory",
					    };
	size_t len = sbx_buf_len(&v->pieces.text);
	struct writing *w = malloc(sizeof(*w) + len);

	if (w) {
		*w = (struct writing){.f = &v->f, .op = op, .len = len};
		memcpy(w->data, sbx_buf_at(&v->pieces.text), len);
	}
	sfs_pieces_clear(&v->pieces);
	if (!w && op)
		ctl_op_finish(op, &no_memory);
	else if (!w)
		ctl_file_loaded(&v->f, &no_memory);
	else if (flushes(v->f.node))
		sfs_sandbox_flush(v->f.node->sb, on_write_flushed, w);
	else
		on_write_flushed(w, &none);
}

static void value_write(fuse_req_t req, struct ctl_file *f, const char *data,
			size_t size)
{
	struct sfs_pieces *p = &value_of(f)->pieces;
	struct ctl_op *op;
	struct sbx_error e;
	int r;

	if (p->refused) {
		fuse_reply_err(req, -p->refused);
		return;
	}
	r = sfs_pieces_add(p, data, size, &e);
	if (r < 0) {
		ctl_fail(req, f->node, r, "%s: %s", f->node->own->path, e.text);
	} else if (r == SFS_PIECES_MORE &&
		   (p->is_json || p->is_text || !sbx_buf_len(&p->text))) {
		fuse_reply_write(req, size);
	} else {
		op = ctl_op_new(req, f->node, f, size);
		if (op)
			value_send(value_of(f), op);
		else
			sfs_pieces_clear(p);
	}
}

static void value_flush(fuse_req_t req, struct ctl_file *f)
{
	struct sfs_pieces *p = &value_of(f)->pieces;
	struct ctl_op *op = NULL;

	sfs_pieces_end(p);
	if (!sbx_buf_len(&p->text))
		fuse_reply_err(req, 0);
	else
		op = ctl_op_new(req, f->node, f, 0);
	if (op)
		value_send(value_of(f), op);
}

static int value_open(struct ctl_file *f, int flags)
{
	struct sfs_pieces *p = &value_of(f)->pieces;

	sfs_pieces_init(p, VALUE_MAX);
	p->is_text = f->node->own->at.row->flags & SBX_OWN_TEXT;
	return 0;
}

static void value_close(struct ctl_file *f)
{
	sfs_pieces_release(&value_of(f)->pieces);
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

static void value_ask(struct ctl_file *f)
{
	static const struct sbx_error none;

	if (flushes(f->node))
		sfs_sandbox_flush(f->node->sb, on_read_flushed, f);
	else
		on_read_flushed(f, &none);
}

static void value_load(struct ctl_file *f)
{
	struct sfs_pieces *p = &value_of(f)->pieces;

	sfs_pieces_end(p);
	if (sbx_buf_len(&p->text))
		value_send(value_of(f), NULL);
	else
		value_ask(f);
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

/* With the first who waits for something of it.  Who does not is at its end
 * until then, as of a pipe that nobody writes to: grep -r asks for nothing. */
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

	if (nonblock && !s->begun && !s->ended) {
		fuse_reply_buf(req, NULL, 0);
		return;
	}
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
	sbx_buf_wipe(&s->input);
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

static const struct ctl_file_type value_r = {.load = value_ask};
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
	static const struct ctl_type w = OWN_FILE(0600, value_w);
	static const struct ctl_type rw = OWN_FILE(0600, value_rw);
	static const struct ctl_type flow = OWN_FILE(0400, stream_r);
	static const struct ctl_type told = OWN_FILE(0600, stream_rw);

	if (flags & SBX_OWN_STREAM)
		return flags & SBX_OWN_WRITE ? &told : &flow;
	if (!(flags & SBX_OWN_WRITE))
		return &r;
	return flags & SBX_OWN_READ ? &rw : &w;
}
