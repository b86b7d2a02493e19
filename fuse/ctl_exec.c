/*
 * "exec": a command is written, its output is read, in a conversation per
 * open file.
 *
 * A command starts when a descriptor of its writer is closed, so that it has
 * been started before close(2) returns, or at the first read.  It is sent
 * behind all changes made through the mount before it, on the one ordered
 * connection: that is the barrier before it; the one behind it is stream.h's.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "fuse/ctl_file.h"
#include "fuse/sandbox.h"
#include "fuse/stream.h"

#define MAX_RUNS 64 /* commands of one open file whose output is unread */

struct run {
	struct run *next;
	struct sfs_stream *stream;
};

struct exec_file {
	struct ctl_file f;
	struct sbx_buf text; /* written and not started yet */
	struct run *runs;    /* the oldest first */
	unsigned int nr_runs;
	bool can_read;
	bool talked; /* it had a command: no other one is shown to it */
};

/* The end of a descriptor that waits for the command to have started. */
struct starting {
	struct ctl_op *op;
	struct sfs_job *job; /* counted */
	struct sfs_job_wait wait;
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
	free(run);
}

/* Answers one read; the end of a command ends its part of the talk. */
static void exec_reply(struct exec_file *ef, fuse_req_t req, size_t size)
{
	if (!ef->runs)
		fuse_reply_buf(req, NULL, 0);
	else if (sfs_stream_reply(ef->runs->stream, req, size))
		run_drop_first(ef);
}

static bool exec_is_ready(struct exec_file *ef)
{
	return !ef->runs || sfs_stream_is_ready(ef->runs->stream);
}

static void exec_pump(struct exec_file *ef)
{
	fuse_req_t req;
	size_t size;
	off_t off;

	while (!sfs_readq_is_empty(&ef->f.readers) && exec_is_ready(ef)) {
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
	while (*at)
		at = &(*at)->next;
	*at = run;
	ef->nr_runs++;
	return 0;
}

/* ---- starting ---- */

static int exec_start(struct exec_file *ef, struct sfs_job **ret,
		      struct sbx_error *reterr)
{
	struct sbx_exec_spec spec;
	int r;

	if (ef->nr_runs >= MAX_RUNS)
		return sbx_error_set(reterr, -EBUSY,
				     "exec: read the output of the commands "
				     "before first");
	r = sbx_exec_spec_parse(&spec, (char *)sbx_buf_at(&ef->text),
				sbx_buf_len(&ef->text), reterr);
	sbx_buf_clear(&ef->text);
	if (r < 0)
		return r;
	r = sfs_jobs_start(ef->f.node->sb, &spec, ret, reterr);
	sbx_exec_spec_release(&spec);
	if (r == 0 && ef->can_read) {
		r = exec_attach(ef, *ret);
		if (r < 0)
			return sbx_error_set(reterr, r, "out of memory");
	}
	return r;
}

/* What was written becomes a command.  False: it does not, and req has been
 * answered. */
static bool exec_begin(fuse_req_t req, struct exec_file *ef,
		       struct sfs_job **ret)
{
	struct sbx_error e = {0};

	*ret = NULL;
	if (!sbx_buf_len(&ef->text))
		return true;
	if (ctl_node_check(ef->f.node) < 0)
		sbx_error_set(&e, -ESTALE, "the sandbox is gone");
	else
		exec_start(ef, ret, &e);
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
		sfs_readq_add(&f->readers, req, size, 0);
		exec_pump(ef);
	} else if (sfs_readq_is_empty(&f->readers) && exec_is_ready(ef)) {
		exec_reply(ef, req, size);
	} else {
		fuse_reply_err(req, EAGAIN);
	}
}

static void exec_write(fuse_req_t req, struct ctl_file *f, const char *data,
		       size_t size)
{
	struct exec_file *ef = exec_of(f);

	if (sbx_buf_add(&ef->text, data, size) < 0) {
		int err = ef->text.err == -ENOMEM ? -ENOMEM : -E2BIG;

		sbx_buf_clear(&ef->text);
		ctl_fail(req, f->node, err,
			 "exec: a command may have 1 MiB at most; put it into "
			 "a file of the workspace");
		return;
	}
	fuse_reply_write(req, size);
}

static void on_started(void *arg)
{
	struct starting *s = arg;
	struct sbx_error e = {0};

	if (s->job->state == SBX_JOB_ENDED && s->job->error)
		sbx_error_set(&e, s->job->error,
			      "exec: the command could not be run: %s",
			      strerror(-s->job->error));
	sfs_job_unref(s->job);
	ctl_op_finish(s->op, &e);
	free(s);
}

static void exec_flush(fuse_req_t req, struct ctl_file *f)
{
	struct exec_file *ef = exec_of(f);
	struct sfs_job *job;
	struct starting *s;

	if (!exec_begin(req, ef, &job))
		return;
	s = job ? calloc(1, sizeof(*s)) : NULL;
	if (!s) {
		fuse_reply_err(req, job ? ENOMEM : 0);
		return;
	}
	s->op = ctl_op_new(req, f->node, f, 0);
	if (!s->op) {
		free(s);
		return;
	}
	s->job = sfs_job_ref(job);
	s->wait = (struct sfs_job_wait){
		.state = SBX_JOB_RUNNING,
		.fn = on_started,
		.arg = s,
	};
	sfs_job_wait_add(job, &s->wait);
}

/* ---- the file ---- */

static unsigned int exec_poll(struct ctl_file *f)
{
	static const unsigned int out = POLLOUT | POLLWRNORM;
	struct exec_file *ef = exec_of(f);

	if (!sbx_buf_len(&ef->text))
		exec_attach_newest(ef);
	return exec_is_ready(ef) ? out | POLLIN | POLLRDNORM : out;
}

static int exec_open(struct ctl_file *f, int flags)
{
	struct exec_file *ef = exec_of(f);

	sbx_buf_init(&ef->text, SBX_SPEC_EXEC_MAX);
	ef->can_read = (flags & O_ACCMODE) != O_WRONLY;
	return 0;
}

static void exec_close(struct ctl_file *f)
{
	struct exec_file *ef = exec_of(f);

	while (ef->runs)
		run_drop_first(ef);
	sbx_buf_release(&ef->text);
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
