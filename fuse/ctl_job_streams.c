/*
 * jobs/<n>/stdout, stderr and output (both, in order of arrival): each
 * reader starts at the beginning, waits for more, and ends with the command.
 * Writing "close" says that nobody wants the stream any more.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>

#include "fuse/ctl_file.h"
#include "fuse/ctl_job.h"
#include "fuse/jobs.h"
#include "fuse/stream.h"
#include "fuse/text.h"

struct stream_file {
	struct ctl_file f;
	struct sfs_stream *stream; /* NULL: not opened for reading */
};

static struct stream_file *stream_of(struct ctl_file *f)
{
	return (struct stream_file *)f;
}

static void stream_file_reply(struct stream_file *sf, fuse_req_t req,
			      size_t size)
{
	int err = sfs_stream_error(sf->stream);

	if (err)
		sfs_job_note(sf->f.node->job, sf->f.node, err);
	sfs_stream_reply(sf->stream, req, size);
}

static void stream_file_pump(struct stream_file *sf)
{
	fuse_req_t req;
	size_t size;
	off_t off;

	while (sfs_readq_peek(&sf->f.readers, &off) &&
	       sfs_stream_is_ready(sf->stream, (uint64_t)off)) {
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

static int stream_file_open(struct ctl_file *f, int flags, unsigned int which)
{
	struct ctl_node *n = f->node;
	int err;

	f->seekable = true;
	/* writers hold nothing back */
	if ((flags & O_ACCMODE) == O_WRONLY)
		return 0;
	stream_of(f)->stream =
		sfs_stream_new(n->sb, n->job, which, on_ready, f, &err);
	return stream_of(f)->stream ? 0 : err;
}

static int stdout_open(struct ctl_file *f, int flags)
{
	return stream_file_open(f, flags, 1);
}

static int stderr_open(struct ctl_file *f, int flags)
{
	return stream_file_open(f, flags, 2);
}

static int output_open(struct ctl_file *f, int flags)
{
	return stream_file_open(f, flags, 3);
}

static void stream_file_read(fuse_req_t req, struct ctl_file *f, size_t size,
			     bool nonblock)
{
	struct stream_file *sf = stream_of(f);

	if (!nonblock) {
		sfs_readq_add(&f->readers, req, size, f->off);
		stream_file_pump(sf);
	} else if (sfs_readq_is_empty(&f->readers) &&
		   sfs_stream_is_ready(sf->stream, (uint64_t)f->off)) {
		stream_file_reply(sf, req, size);
	} else {
		fuse_reply_err(req, EAGAIN);
	}
}

static unsigned int stream_file_poll(struct ctl_file *f)
{
	struct sfs_stream *stream = stream_of(f)->stream;
	unsigned int out = POLLOUT | POLLWRNORM;

	return stream && sfs_stream_is_ready(stream, SFS_STREAM_NEXT)
		       ? out | POLLIN | POLLRDNORM
		       : out;
}

static void stream_file_write(fuse_req_t req, struct ctl_file *f,
			      const char *data, size_t size, unsigned int which)
{
	const struct sfs_job *j = f->node->job;
	char word[16];

	if (sfs_text_word(word, sizeof(word), data, size) < 0 ||
	    strcmp(word, "close")) {
		ctl_fail(req, f->node, -EINVAL,
			 "%s: only \"close\" can be written",
			 f->node->type->name);
		return;
	}
	for (unsigned int stream = 1; j->job && stream <= 2; stream++)
		if (which & stream)
			sbx_job_close_output(j->job, stream);
	fuse_reply_write(req, size);
}

static void stdout_write(fuse_req_t req, struct ctl_file *f, const char *data,
			 size_t size)
{
	stream_file_write(req, f, data, size, 1);
}

static void stderr_write(fuse_req_t req, struct ctl_file *f, const char *data,
			 size_t size)
{
	stream_file_write(req, f, data, size, 2);
}

static void output_write(fuse_req_t req, struct ctl_file *f, const char *data,
			 size_t size)
{
	stream_file_write(req, f, data, size, 3);
}

static uint64_t stdout_length(const struct ctl_node *n)
{
	return sfs_job_length(n->job, 1);
}

static uint64_t stderr_length(const struct ctl_node *n)
{
	return sfs_job_length(n->job, 2);
}

static uint64_t output_length(const struct ctl_node *n)
{
	return sfs_job_length(n->job, 3);
}

static void stream_file_close(struct ctl_file *f)
{
	stream_of(f)->stream = sfs_stream_free(stream_of(f)->stream);
}

#define STREAM(id)                                                             \
	static const struct ctl_file_type id##_file = {                        \
		.size = sizeof(struct stream_file),                            \
		.open = id##_open,                                             \
		.read = stream_file_read,                                      \
		.poll = stream_file_poll,                                      \
		.write = id##_write,                                           \
		.close = stream_file_close,                                    \
	};                                                                     \
	const struct ctl_type ctl_job_##id = {                                 \
		.name = #id,                                                   \
		.mode = S_IFREG | 0600,                                        \
		.length = id##_length,                                         \
		.ops = &ctl_file_ops,                                          \
		.file = &id##_file,                                            \
	}

STREAM(stdout);
STREAM(stderr);
STREAM(output);
