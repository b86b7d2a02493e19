/*
 * terminals/<name>/data: what the terminal shows, and what is typed.
 *
 * Every open file is a screen of its own: it first gets what is kept, and
 * then what follows.  Writing takes as many bytes as there is room for, and
 * waits only if there is none.
 */
#include "fuse/ctl_terminal.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "fuse/ctl_file.h"
#include "fuse/sandbox.h"
#include "fuse/stream.h"

#define MAX_WRITERS 64 /* that wait on one open file */

/* A writer that waits for room. */
struct typing {
	struct typing *next;
	struct ctl_op *op;
	size_t size;
	char data[];
};

struct data_file {
	struct ctl_file f;
	struct sfs_stream *stream;   /* NULL: read to its end */
	struct sbx_job *job;	     /* counted */
	struct sbx_job_watch watch;  /* for writers */
	struct typing *first, **end; /* in order */
	unsigned int nr_waiting;
};

static struct data_file *data_of(struct ctl_file *f)
{
	return (struct data_file *)f;
}

/* ---- reading ---- */

static bool data_is_ready(struct data_file *df)
{
	return !df->stream || sfs_stream_is_ready(df->stream, SFS_STREAM_NEXT);
}

static void data_reply(struct data_file *df, fuse_req_t req, size_t size)
{
	if (!df->stream)
		fuse_reply_buf(req, NULL, 0);
	else if (sfs_stream_reply(df->stream, req, size))
		df->stream = sfs_stream_free(df->stream);
}

static void data_pump(struct data_file *df)
{
	fuse_req_t req;
	size_t size;
	off_t off;

	while (!sfs_readq_is_empty(&df->f.readers) && data_is_ready(df)) {
		req = sfs_readq_take(&df->f.readers, &size, &off);
		data_reply(df, req, size);
	}
}

static void on_ready(void *arg)
{
	struct data_file *df = arg;

	data_pump(df);
	ctl_file_wake(&df->f);
}

static void data_read(fuse_req_t req, struct ctl_file *f, size_t size,
		      bool nonblock)
{
	struct data_file *df = data_of(f);

	if (!nonblock) {
		sfs_readq_add(&f->readers, req, size, 0);
		data_pump(df);
	} else if (sfs_readq_is_empty(&f->readers) && data_is_ready(df)) {
		data_reply(df, req, size);
	} else {
		fuse_reply_err(req, EAGAIN);
	}
}

/* ---- writing ---- */

static void typing_end(struct data_file *df, long n)
{
	struct typing *t = df->first;
	fuse_req_t req = ctl_op_end(t->op);

	df->first = t->next;
	if (!df->first)
		df->end = &df->first;
	df->nr_waiting--;
	free(t);
	if (req && n < 0)
		fuse_reply_err(req, n == -EPIPE ? EIO : (int)-n);
	else if (req)
		fuse_reply_write(req, (size_t)n);
}

static void data_type(struct data_file *df)
{
	while (df->first) {
		struct typing *t = df->first;
		/* of one who was interrupted nothing is taken any more */
		long n = !t->op->wait.req
				 ? 0
				 : sbx_job_write(df->job, t->data, t->size);

		if (n == -EAGAIN)
			return;
		typing_end(df, n);
	}
}

static void on_news(void *arg)
{
	struct data_file *df = arg;

	if (!df->first)
		return;
	ctl_file_ref(&df->f); /* answering may be followed by the last close */
	data_type(df);
	ctl_file_unref(&df->f);
}

static void data_wait(fuse_req_t req, struct data_file *df, const char *data,
		      size_t size)
{
	struct typing *t = NULL;

	if (df->nr_waiting < MAX_WRITERS)
		t = malloc(sizeof(*t) + size);
	if (!t) {
		fuse_reply_err(req,
			       df->nr_waiting < MAX_WRITERS ? ENOMEM : EAGAIN);
		return;
	}
	t->op = ctl_op_new(req, df->f.node, &df->f, size);
	if (!t->op) {
		free(t);
		return;
	}
	t->next = NULL;
	t->size = size;
	memcpy(t->data, data, size);
	*df->end = t;
	df->end = &t->next;
	df->nr_waiting++;
}

static void data_write(fuse_req_t req, struct ctl_file *f, const char *data,
		       size_t size)
{
	struct data_file *df = data_of(f);
	long n = df->first ? -EAGAIN : sbx_job_write(df->job, data, size);

	if (n >= 0)
		fuse_reply_write(req, (size_t)n);
	else if (n == -EPIPE)
		fuse_reply_err(req, EIO); /* as a terminal that was hung up */
	else if (n != -EAGAIN || f->nonblock)
		fuse_reply_err(req, (int)-n);
	else
		data_wait(req, df, data, size);
}

/* ---- the file ---- */

static unsigned int data_poll(struct ctl_file *f)
{
	struct data_file *df = data_of(f);
	unsigned int events = 0;

	if (data_is_ready(df))
		events |= POLLIN | POLLRDNORM;
	if (!df->first && sbx_job_can_write(df->job) != -EAGAIN)
		events |= POLLOUT | POLLWRNORM;
	if (f->node->job->state == SBX_JOB_ENDED)
		events |= POLLHUP;
	return events;
}

static void on_room(void *arg)
{
	struct data_file *df = arg;

	on_news(df);
	if (df->f.poll && sbx_job_can_write(df->job) != -EAGAIN)
		ctl_file_wake(&df->f);
}

static int data_open(struct ctl_file *f, int flags)
{
	struct data_file *df = data_of(f);
	struct sfs_job *j = f->node->job;
	int err = 0;

	df->end = &df->first;
	df->stream = sfs_stream_new(f->node->sb, j, 1, on_ready, df, &err);
	if (!df->stream)
		return err;
	sfs_stream_set_screen(df->stream);
	df->job = sbx_job_ref(j->job);
	df->watch = (struct sbx_job_watch){.on_news = on_room, .arg = df};
	sbx_job_watch_add(df->job, &df->watch);
	return 0;
}

static void data_close(struct ctl_file *f)
{
	struct data_file *df = data_of(f);

	while (df->first)
		typing_end(df, -EIO);
	df->stream = sfs_stream_free(df->stream);
	if (!df->job)
		return;
	sbx_job_watch_del(df->job, &df->watch);
	sbx_job_unref(df->job);
}

static const struct ctl_file_type data_file = {
	.size = sizeof(struct data_file),
	.open = data_open,
	.read = data_read,
	.poll = data_poll,
	.write = data_write,
	.close = data_close,
};

const struct ctl_type ctl_terminal_data = {
	.name = "data",
	.mode = S_IFREG | 0600,
	.ops = &ctl_file_ops,
	.file = &data_file,
};
