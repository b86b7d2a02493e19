/*
 * "exec": a command is written, its output is read, in a conversation per
 * open file.
 *
 * A command starts when a descriptor of its writer is closed, so that it has
 * been started before close(2) returns, or at the first read.  It is sent
 * behind all changes made through the mount before it, on the one ordered
 * connection: that is the barrier before it; the one behind it is stream.h's.
 *
 * Who opens it only to read gets the newest command, and positions in what
 * that printed; a conversation has none.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>

#include "fuse/command.h"
#include "fuse/sandbox.h"
#include "fuse/stream.h"

#define MAX_RUNS 64 /* commands of one open file whose output is unread */

struct run {
	struct run *next;
	struct sfs_stream *stream;
	struct sfs_job *job; /* counted */
};

struct exec_file {
	struct ctl_file f;
	struct sfs_command command;
	struct run *runs; /* the oldest first */
	unsigned int nr_runs;
	bool can_read;
	bool talked; /* it had a command: no other one is shown to it */
};

static struct exec_file *exec_of(struct ctl_file *f)
{
	return (struct exec_file *)f;
}

/* ---- reading ---- */

static void run_drop_first(struct exec_file *ef)
{
	struct run *run = ef->runs;

	ef->runs = run->next;
	ef->nr_runs--;
	sfs_stream_free(run->stream);
	sfs_job_unref(run->job);
	free(run);
}

static uint64_t exec_off(const struct exec_file *ef, off_t off)
{
	return ef->f.seekable ? (uint64_t)off : SFS_STREAM_NEXT;
}

/* Answers one read; the end of a command ends its part of the talk. */
static void exec_reply(struct exec_file *ef, fuse_req_t req, size_t size)
{
	struct run *run = ef->runs;
	int err = run ? sfs_stream_error(run->stream) : 0;

	if (err)
		sfs_job_note(run->job, ef->f.node, err);
	if (!run)
		fuse_reply_buf(req, NULL, 0);
	else if (sfs_stream_reply(run->stream, req, size) && !ef->f.seekable)
		run_drop_first(ef);
}

static bool exec_is_ready(struct exec_file *ef, uint64_t off)
{
	return !ef->runs || sfs_stream_is_ready(ef->runs->stream, off);
}

static void exec_pump(struct exec_file *ef)
{
	fuse_req_t req;
	size_t size;
	off_t off;

	while (sfs_readq_peek(&ef->f.readers, &off) &&
	       exec_is_ready(ef, exec_off(ef, off))) {
		req = sfs_readq_take(&ef->f.readers, &size, &off);
		exec_reply(ef, req, size);
	}
}

static void on_ready(void *arg)
{
	struct exec_file *ef = arg;

	exec_pump(ef);
	ctl_file_wake(&ef->f);
}

static int exec_attach(struct exec_file *ef, struct sfs_job *job)
{
	struct run **at = &ef->runs, *run = calloc(1, sizeof(*run));
	int r = -ENOMEM;

	ef->talked = true;
	if (run)
		run->stream = sfs_stream_new(ef->f.node->sb, job, 3, on_ready,
					     ef, &r);
	if (!run || !run->stream) {
		free(run);
		return r;
	}
	run->job = sfs_job_ref(job);
	while (*at)
		at = &(*at)->next;
	*at = run;
	ef->nr_runs++;
	return 0;
}

/* ---- starting ---- */

/* What was written becomes a command.  False: it does not, and req has been
 * answered. */
static bool exec_begin(fuse_req_t req, struct exec_file *ef,
		       struct sfs_job **ret)
{
	struct sbx_error e = {0};

	*ret = NULL;
	sfs_command_end(&ef->command);
	if (sfs_command_is_empty(&ef->command))
		return true;
	if (sfs_command_start(&ef->f, &ef->command, ret, &e) == 0 &&
	    ef->can_read && exec_attach(ef, *ret) < 0)
		sbx_error_set(&e, -ENOMEM, "out of memory");
	if (!e.err)
		return true;
	ctl_note(ef->f.node, &e);
	fuse_reply_err(req, -e.err);
	return false;
}

/* One that wrote nothing gets the newest command. */
static void exec_attach_newest(struct exec_file *ef)
{
	struct sfs_job *newest = ef->f.node->sb->jobs.newest;

	if (!ef->talked && newest)
		(void)exec_attach(ef, newest); /* then there is none */
}

static void exec_read(fuse_req_t req, struct ctl_file *f, size_t size,
		      bool nonblock)
{
	struct exec_file *ef = exec_of(f);
	struct sfs_job *job;

	if (!exec_begin(req, ef, &job))
		return;
	exec_attach_newest(ef);
	if (!nonblock) {
		sfs_readq_add(&f->readers, req, size, f->off);
		exec_pump(ef);
	} else if (sfs_readq_is_empty(&f->readers) &&
		   exec_is_ready(ef, exec_off(ef, f->off))) {
		exec_reply(ef, req, size);
	} else {
		fuse_reply_err(req, EAGAIN);
	}
}

static void exec_write(fuse_req_t req, struct ctl_file *f, const char *data,
		       size_t size)
{
	struct exec_file *ef = exec_of(f);

	/* what is refused is no reason to show it another's output */
	ef->talked = true;
	if (ef->nr_runs >= MAX_RUNS) {
		ef->command.refused = -EBUSY;
		ctl_fail(req, f->node, -EBUSY,
			 "exec: read the output of the %d commands before "
			 "first",
			 MAX_RUNS);
	} else {
		sfs_command_write(req, f, &ef->command, data, size);
	}
}

static void exec_flush(fuse_req_t req, struct ctl_file *f)
{
	struct exec_file *ef = exec_of(f);
	struct sfs_job *job;

	if (!exec_begin(req, ef, &job))
		return;
	if (job)
		sfs_command_wait(req, f, job);
	else
		fuse_reply_err(req, 0);
}

/* ---- the file ---- */

static unsigned int exec_poll(struct ctl_file *f)
{
	static const unsigned int out = POLLOUT | POLLWRNORM;
	struct exec_file *ef = exec_of(f);

	if (sfs_command_is_empty(&ef->command))
		exec_attach_newest(ef);
	return exec_is_ready(ef, SFS_STREAM_NEXT) ? out | POLLIN | POLLRDNORM
						  : out;
}

static int exec_open(struct ctl_file *f, int flags)
{
	struct exec_file *ef = exec_of(f);

	sfs_command_init(&ef->command);
	ef->can_read = (flags & O_ACCMODE) != O_WRONLY;
	f->seekable = (flags & O_ACCMODE) == O_RDONLY;
	return 0;
}

static void exec_close(struct ctl_file *f)
{
	struct exec_file *ef = exec_of(f);

	while (ef->runs)
		run_drop_first(ef);
	sfs_command_release(&ef->command);
}

static const struct ctl_file_type exec_file = {
	.size = sizeof(struct exec_file),
	.open = exec_open,
	.read = exec_read,
	.poll = exec_poll,
	.write = exec_write,
	.flush = exec_flush,
	.close = exec_close,
};

const struct ctl_type ctl_exec = {
	.name = "exec",
	.mode = S_IFREG | 0600,
	.ops = &ctl_file_ops,
	.file = &exec_file,
};
