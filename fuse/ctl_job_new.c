/*
 * "jobs/new": a command is written as to "exec", and its number is read back
 * on the same open file, at once.  So whoever starts many at a time knows
 * which is whose.
 */
#include <errno.h>

#include "fuse/command.h"
#include "fuse/ctl_job.h"
#include "fuse/jobs.h"
#include "fuse/text.h"

struct new_file {
	struct ctl_file f;
	struct sfs_command command;
	uint32_t number; /* of what was started last; 0: nothing */
};

static struct new_file *new_of(struct ctl_file *f)
{
	return (struct new_file *)f;
}

static void new_write(fuse_req_t req, struct ctl_file *f, const char *data,
		      size_t size)
{
	new_of(f)->number = 0;
	sfs_command_write(req, f, &new_of(f)->command, data, size);
}

/* What was written, if there is something; the job, or NULL. */
static struct sfs_job *new_start(struct new_file *nf, struct sbx_error *reterr)
{
	struct sfs_job *j = NULL;

	sfs_command_end(&nf->command);
	if (!sfs_command_is_empty(&nf->command) &&
	    sfs_command_start(&nf->f, &nf->command, &j, reterr) == 0)
		nf->number = j->number;
	return j;
}

static void new_load(struct ctl_file *f)
{
	struct new_file *nf = new_of(f);
	struct sbx_error e = {0};

	new_start(nf, &e);
	/* whoever wrote nothing finds nothing, and does not wait */
	if (nf->number)
		sfs_text_printf(&f->text, "%u\n", nf->number);
	ctl_file_loaded(f, &e);
}

static void new_flush(fuse_req_t req, struct ctl_file *f)
{
	struct sbx_error e = {0};
	struct sfs_job *j = new_start(new_of(f), &e);

	if (j) {
		sfs_command_wait(req, f, j);
		return;
	}
	if (e.err)
		ctl_note(f->node, &e);
	fuse_reply_err(req, -e.err);
}

static int new_open(struct ctl_file *f, int flags)
{
	sfs_command_init(&new_of(f)->command);
	return 0;
}

static void new_close(struct ctl_file *f)
{
	sfs_command_release(&new_of(f)->command);
}

static const struct ctl_file_type new_file = {
	.size = sizeof(struct new_file),
	.open = new_open,
	.load = new_load,
	.write = new_write,
	.flush = new_flush,
	.close = new_close,
};

const struct ctl_type ctl_job_new = {
	.name = "new",
	.mode = S_IFREG | 0600,
	.ops = &ctl_file_ops,
	.file = &new_file,
};
