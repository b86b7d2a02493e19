/*
 * jobs/<n>/stdout, stderr and output (both, in order of arrival): each
 * reader starts at the beginning, waits for more, and ends with the command.
 */
#include <errno.h>
#include <poll.h>

#include "fuse/ctl_file.h"
#include "fuse/ctl_job.h"
#include "fuse/stream.h"

struct stream_file {
	struct ctl_file f;
	struct sfs_stream *stream; /* NULL: read to its end */
};

static struct stream_file *stream_of(struct ctl_file *f)
{
	return (struct stream_file *)f;
}

static bool stream_file_is_ready(struct stream_file *sf)
{
	return !sf->stream || sfs_stream_is_ready(sf->stream);
}

static void stream_file_reply(struct stream_file *sf, fuse_req_t req,
			      size_t size)
{
	if (!sf->stream)
		fuse_reply_buf(req, NULL, 0);
	else if (sfs_stream_reply(sf->stream, req, size))
		sf->stream = sfs_stream_free(sf->stream);
}

static void stream_file_pump(struct stream_file *sf)
{
	fuse_req_t req;
	size_t size;
	off_t off;

	while (!sfs_readq_is_empty(&sf->f.readers) &&
	       stream_file_is_ready(sf)) {
		req = sfs_readq_take(&sf->f.readers, &size, &off);
		stream_file_reply(sf, req, size);
	}
}

static void on_ready(void *arg)
{
	struct stream_file *sf = arg;

	stream_file_pump(sf);
	ctl_file_wake(&sf->f);
}

static int stream_file_open(struct ctl_file *f, unsigned int which)
{
	struct ctl_node *n = f->node;
	int err;

	stream_of(f)->stream =
		sfs_stream_new(n->sb, n->job, which, on_ready, f, &err);
	return stream_of(f)->stream ? 0 : err;
}

static int stdout_open(struct ctl_file *f, int flags)
{
	return stream_file_open(f, 1);
}

static int stderr_open(struct ctl_file *f, int flags)
{
	return stream_file_open(f, 2);
}

static int output_open(struct ctl_file *f, int flags)
{
	return stream_file_open(f, 3);
}

static void stream_file_read(fuse_req_t req, struct ctl_file *f, size_t size,
			     bool nonblock)
{
	struct stream_file *sf = stream_of(f);

	if (!nonblock) {
		sfs_readq_add(&f->readers, req, size, 0);
		stream_file_pump(sf);
	} else if (sfs_readq_is_empty(&f->readers) &&
		   stream_file_is_ready(sf)) {
		stream_file_reply(sf, req, size);
	} else {
		fuse_reply_err(req, EAGAIN);
	}
}

static unsigned int stream_file_poll(struct ctl_file *f)
{
	return stream_file_is_ready(stream_of(f)) ? POLLIN | POLLRDNORM : 0;
}

static void stream_file_close(struct ctl_file *f)
{
	stream_of(f)->stream = sfs_stream_free(stream_of(f)->stream);
}

#define STREAM(id, file_name, open_function)                                   \
	static const struct ctl_file_type id##_file = {                        \
		.size = sizeof(struct stream_file),                            \
		.open = open_function,                                         \
		.read = stream_file_read,                                      \
		.poll = stream_file_poll,                                      \
		.close = stream_file_close,                                    \
	};                                                                     \
	const struct ctl_type ctl_job_##id = {                                 \
		.name = file_name,                                             \
		.mode = S_IFREG | 0400,                                        \
		.ops = &ctl_file_ops,                                          \
		.file = &id##_file,                                            \
	}

STREAM(stdout, "stdout", stdout_open);
STREAM(stderr, "stderr", stderr_open);
STREAM(output, "output", output_open);
