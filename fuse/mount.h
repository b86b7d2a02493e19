/*
 * All that one mount owns.  Made by main, used by every part of the control
 * tree.  Loop thread.
 */
#ifndef SFS_MOUNT_H
#define SFS_MOUNT_H

#include "client/job.h"
#include "fuse/errlog.h"
#include "fuse/fs.h"
#include "fuse/opts.h"

struct ctl_file;
struct ctl_node;
struct sfs_log;
struct sfs_place;
struct sfs_sandbox;

struct sfs_mount {
	struct sfs fs; /* first: what libfuse hands to the handlers */
	const struct sfs_opts *opts;
	char *path;		  /* the mountpoint, absolute */
	struct sfs_place *places; /* place.h; one, or several with names */
	int64_t made_ms;	  /* Unix epoch */
	struct sfs_errlog errors;
	struct sfs_log *log; /* ctl_log.h; or NULL */
	struct sbx_job_pool job_pool;

	struct ctl_node *nodes; /* those that belong to no place */
	struct ctl_node *all_nodes;
	struct ctl_file *files;	       /* everything open in the control tree */
	struct sfs_sandbox *sandboxes; /* of all places */
	uv_timer_t keeper;	       /* keeper.h */
	uv_timer_t reaper; /* closes what is gone, outside of callbacks */
};

static inline struct sfs_mount *sfs_mount_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

#endif
