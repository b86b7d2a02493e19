/*
 * The files of jobs/ that have a file of their own, for ctl_jobs.c.
 */
#ifndef SFS_CTL_JOB_H
#define SFS_CTL_JOB_H

#include "fuse/control.h"

struct ctl_file;

/* For files of a command that was forgotten, though its folder is still held:
 * true, and the load has ended with -ESTALE. */
bool ctl_job_is_forgotten(struct ctl_file *f);

extern const struct ctl_type ctl_job_stdout, ctl_job_stderr, ctl_job_output;
extern const struct ctl_type ctl_job_exit, ctl_job_snapshot, ctl_job_stdin,
	ctl_job_size;
extern const struct ctl_type ctl_job_new;

#endif
