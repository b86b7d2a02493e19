/*
 * jobs/<n>/stdin: what is written goes to the command.  A write waits while
 * the command does not read, and fails with EPIPE when it cannot read any
 * more.  Closing the file ends the input, unless it was opened O_APPEND.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "fuse/ctl_file.h"
#include "fuse/ctl_job.h"
#include "fuse/jobs.h"

/* A write that waits; what of it was taken is wait.done. */
struct piece {
	struct sfs_wait wait;
	struct piece *next;
	size_t len;
	char data[];
};

struct stdin_file {
	struct ctl_file f;
	struct sbx_job *job; /* counted; NULL: it takes no input */
	struct sbx_job_watch watch;
	struct piece *pieces; /* the oldest first */
	bool keep;	      /* open when this is closed */
};

static struct stdin_file *stdin_of(struct ctl_file *f)
{
	return (struct stdin_file *)f;
}

static void reply_taken(fuse_req_t req, size_t done, int err)
{
	if (done)
		fuse_reply_write(req, done);
	else
		fuse_reply_err(req, -err);
}

static void piece_drop_first(struct stdin_file *sf, int err)
{
	struct piece *p = sf->pieces;
	fuse_req_t req = sfs_wait_end(&p->wait);

	sf->pieces = p->next;
	if (req)
		reply_taken(req, p->wait.done, err);
	free(p);
}

static void stdin_pump(struct stdin_file *sf)
{
	struct piece *p;
	long n;

	while ((p = sf->pieces)) {
		n = p->wait.req ? sbx_job_write(sf->job, p->data + p->wait.done,
						p->len - p->wait.done)
				: 0;
		if (n == -EAGAIN)
			return;
		if (n > 0)
			p->wait.done += (size_t)n;
		if (n <= 0 || p->wait.done == p->len)
			piece_drop_first(sf, (int)n);
	}
}

static void on_news(void *arg)
{
	struct stdin_file *sf = arg;

	stdin_pump(sf);
	if (!sf->pieces && sbx_job_can_write(sf->job) != -EAGAIN)
		ctl_file_wake(&sf->f);
}

/* The rest of a write, which is then answered later. */
static void stdin_wait(struct stdin_file *sf, fuse_req_t req, const char *data,
		       size_t size, size_t done)
{
	struct piece **at = &sf->pieces, *p = malloc(sizeof(*p) + size);

	if (!p) {
		reply_taken(req, done, -ENOMEM);
		return;
	}
	memcpy(p->data, data, size);
	p->len = size;
	p->next = NULL;
	p->wait.done = done;
	if (!sfs_wait_begin(&p->wait, req)) {
		free(p);
		return;
	}
	while (*at)
		at = &(*at)->next;
	*at = p;
}

static void stdin_write(fuse_req_t req, struct ctl_file *f, const char *data,
			size_t size)
{
	struct stdin_file *sf = stdin_of(f);
	long n = -EPIPE;

	if (!size) { /* is no end of input */
		fuse_reply_write(req, 0);
		return;
	}
	if (sf->job)
		n = sf->pieces ? -EAGAIN : sbx_job_write(sf->job, data, size);
	if (n == (long)size || (n > 0 && f->nonblock))
		fuse_reply_write(req, (size_t)n);
	else if ((n < 0 && n != -EAGAIN) || f->nonblock)
		fuse_reply_err(req, (int)-n);
	else
		stdin_wait(sf, req, data, size, n > 0 ? (size_t)n : 0);
}

/* It is written only, and no careless reader is to wait. */
static void stdin_read(fuse_req_t req, struct ctl_file *f, size_t size,
		       bool nonblock)
{
	fuse_reply_buf(req, NULL, 0);
}

static unsigned int stdin_poll(struct ctl_file *f)
{
	struct stdin_file *sf = stdin_of(f);
	int r = sf->job ? sbx_job_can_write(sf->job) : -EPIPE;

	if (r == -EAGAIN || sf->pieces)
		return 0;
	return POLLOUT | POLLWRNORM | (r < 0 ? POLLERR : 0);
}

static int stdin_open(struct ctl_file *f, int flags)
{
	struct stdin_file *sf = stdin_of(f);
	const struct sfs_job *j = f->node->job;

	sf->keep = (flags & O_APPEND) || (flags & O_ACCMODE) == O_RDONLY;
	if (!j->job || !j->takes_input)
		return 0;
	sf->job = sbx_job_ref(j->job);
	sf->watch = (struct sbx_job_watch){.on_news = on_news, .arg = sf};
	sbx_job_watch_add(sf->job, &sf->watch);
	return 0;
}

static void stdin_close(struct ctl_file *f)
{
	struct stdin_file *sf = stdin_of(f);

	while (sf->pieces)
		piece_drop_first(sf, -EIO); /* only if the kernel has gone */
	if (!sf->job)
		return;
	sbx_job_watch_del(sf->job, &sf->watch);
	if (!sf->keep)
		sbx_job_write(sf->job, NULL, 0);
	sbx_job_unref(sf->job);
	sf->job = NULL;
}

static const struct ctl_file_type stdin_file = {
	.size = sizeof(struct stdin_file),
	.open = stdin_open,
	.read = stdin_read,
	.poll = stdin_poll,
	.write = stdin_write,
	.close = stdin_close,
};

const struct ctl_type ctl_job_stdin = {
	.name = "stdin",
	.mode = S_IFREG | 0600,
	.ops = &ctl_file_ops,
	.file = &stdin_file,
};
