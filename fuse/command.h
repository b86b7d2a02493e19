/*
 * A command while it is being written to "exec" or "jobs/new": gathered,
 * refused as soon as something is known to be wrong with it, started.
 * Loop thread.
 */
#ifndef SFS_COMMAND_H
#define SFS_COMMAND_H

#include "client/spec.h"
#include "fuse/ctl_file.h"

struct sfs_command {
	struct sbx_buf text; /* written and not started yet */
	struct sbx_exec_scan scan;
	struct sfs_command_asking *asking; /* of the last write, or NULL */
	/* why a piece was refused, and so is what follows it: shells write
	 * line by line and go on; 0: none was */
	int refused;
	/* may be set: what to do, instead of answering the write, with the one
	 * that completes a JSON object */
	void (*on_complete)(struct ctl_op *op);
};

void sfs_command_init(struct sfs_command *c);
void sfs_command_release(struct sfs_command *c);
/* Nothing was written, or that write was interrupted. */
bool sfs_command_is_empty(struct sfs_command *c);

/* Answers a write: takes the text, or refuses it and all before it, and then
 * all until the end of what is being written. */
void sfs_command_write(fuse_req_t req, struct ctl_file *f,
		       struct sfs_command *c, const char *data, size_t size);
/* That end: a descriptor is closed, or it is read. */
void sfs_command_end(struct sfs_command *c);
/* Takes what was written apart, and forgets it. */
int sfs_command_take(struct sfs_command *c, struct sbx_exec_spec *ret,
		     struct sbx_error *reterr);
/* Starts what was written, and forgets it.  *ret is borrowed. */
int sfs_command_start(struct ctl_file *f, struct sfs_command *c,
		      struct sfs_job **ret, struct sbx_error *reterr);
/* Answers a flush once that command, started for it, runs or could not, or has
 * to wait for something else. */
void sfs_command_wait(fuse_req_t req, struct ctl_file *f, struct sfs_job *j);

#endif
