/*
 * "events": everything that happens in a sandbox, as a stream of JSON lines
 * from the moment of opening, which waits until everything is watched.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#include "fuse/ctl_file.h"
#include "fuse/feed.h"
#include "fuse/sandbox.h"

#define PIECE_MAX (64 * 1024)

struct events_file {
	struct ctl_file f;
	struct sfs_feed_reader reader;
	struct ctl_op *opening;
};

static struct events_file *events_of(struct ctl_file *f)
{
	return (struct events_file *)f;
}

static void events_reply(struct events_file *ef, fuse_req_t req, size_t size)
{
	static char piece[PIECE_MAX];
	size_t n = sfs_feed_read(&ef->reader, piece,
				 size < PIECE_MAX ? size : PIECE_MAX);

	fuse_reply_buf(req, n ? piece : NULL, n);
}

static void on_news(void *arg)
{
	struct events_file *ef = arg;
	fuse_req_t req;
	size_t size;
	off_t off;

	while (!sfs_readq_is_empty(&ef->f.readers) &&
	       sfs_feed_is_ready(&ef->reader)) {
		req = sfs_readq_take(&ef->f.readers, &size, &off);
		events_reply(ef, req, size);
	}
	ctl_file_wake(&ef->f);
}

static void events_read(fuse_req_t req, struct ctl_file *f, size_t size,
			bool nonblock)
{
	struct events_file *ef = events_of(f);

	if (!nonblock) {
		sfs_readq_add(&f->readers, req, size, 0);
		on_news(ef);
	} else if (sfs_readq_is_empty(&f->readers) &&
		   sfs_feed_is_ready(&ef->reader)) {
		events_reply(ef, req, size);
	} else {
		ctl_file_has_nothing(req, f);
	}
}

static unsigned int events_poll(struct ctl_file *f)
{
	return sfs_feed_is_ready(&events_of(f)->reader) ? POLLIN | POLLRDNORM
							: 0;
}

static void on_ready(void *arg)
{
	struct events_file *ef = arg;
	struct ctl_op *op = ef->opening;

	ef->opening = NULL;
	if (op)
		ctl_file_opened(op, 0);
}

static void events_settle(struct ctl_file *f, struct ctl_op *op)
{
	struct events_file *ef = events_of(f);
	int r;

	ef->opening = op;
	ef->reader.on_news = on_news;
	ef->reader.on_ready = on_ready;
	ef->reader.arg = ef;
	r = sfs_feed_attach(f->node->sb, &ef->reader);
	if (r == 0)
		return;
	ef->opening = NULL;
	ctl_file_opened(op, r);
}

static void events_close(struct ctl_file *f)
{
	struct events_file *ef = events_of(f);

	if (ef->reader.feed)
		sfs_feed_detach(&ef->reader);
	on_ready(ef);
}

static const struct ctl_file_type events_file = {
	.size = sizeof(struct events_file),
	.settle = events_settle,
	.read = events_read,
	.poll = events_poll,
	.close = events_close,
	.outlives = true,
};

const struct ctl_type ctl_events = {
	.name = "events",
	.mode = S_IFREG | 0400,
	.ops = &ctl_file_ops,
	.file = &events_file,
};
