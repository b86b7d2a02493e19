/*
 * jobs/<n>/exit_code: the exit status, or 128 plus the signal, and
 * jobs/<n>/snapshot: which snapshot the service took then.  Reading either
 * waits for the end of the command, and for the kernel to have dropped what
 * the command has changed.
 */
#include <errno.h>
#include <poll.h>

#include "fuse/ctl_file.h"
#include "fuse/ctl_job.h"
#include "fuse/sandbox.h"
#include "fuse/text.h"

struct exit_file {
	struct ctl_file f;
	struct sfs_job_wait wait;
	bool waiting;
};

static struct exit_file *exit_of(struct ctl_file *f)
{
	return (struct exit_file *)f;
}

static void on_settled(void *arg)
{
	struct ctl_file *f = arg;
	const struct sfs_job *j = f->node->job;
	struct sbx_error e = {0};

	if (j->exit_code < 0)
		sfs_job_failure(j, &e);
	else if (f->node->type == &ctl_job_snapshot)
		sfs_text_printf(&f->text, "%s%s", j->snapshot,
				*j->snapshot ? "\n" : "");
	else
		sfs_text_printf(&f->text, "%d\n", j->exit_code);
	ctl_file_loaded(f, &e);
}

static void on_ended(void *arg)
{
	struct ctl_file *f = arg;

	exit_of(f)->waiting = false;
	sfs_sandbox_settle(f->node->sb, on_settled, f);
}

static void exit_load(struct ctl_file *f)
{
	struct exit_file *ef = exit_of(f);

	ef->waiting = true;
	ef->wait = (struct sfs_job_wait){
		.state = SBX_JOB_ENDED,
		.fn = on_ended,
		.arg = f,
	};
	sfs_job_wait_add(f->node->job, &ef->wait);
}

static unsigned int exit_poll(struct ctl_file *f)
{
	if (f->node->job->state != SBX_JOB_ENDED)
		ctl_file_load(f, 0); /* so that its end wakes pollers */
	return f->node->job->state == SBX_JOB_ENDED ? POLLIN | POLLRDNORM : 0;
}

static void exit_close(struct ctl_file *f)
{
	struct exit_file *ef = exit_of(f);

	if (!ef->waiting)
		return;
	ef->waiting = false;
	sfs_job_wait_del(f->node->job, &ef->wait);
	ctl_file_unref(f); /* the load's */
}

static const struct ctl_file_type exit_file = {
	.size = sizeof(struct exit_file),
	.load = exit_load,
	.poll = exit_poll,
	.close = exit_close,
};

const struct ctl_type ctl_job_exit = {
	.name = "exit_code",
	.mode = S_IFREG | 0400,
	.ops = &ctl_file_ops,
	.file = &exit_file,
};

/* Where a command is a run of its own, of which a record is kept. */
static bool snapshot_present(const struct ctl_node *dir)
{
	return sfs_place_runs(dir->place);
}

const struct ctl_type ctl_job_snapshot = {
	.name = "snapshot",
	.mode = S_IFREG | 0400,
	.ops = &ctl_file_ops,
	.file = &exit_file,
	.present = snapshot_present,
};
