/*
 * Where nothing tells of changes as they happen (services without streams),
 * what is known is as true as the last answer is old: it is shown for a second
 * after one, and then one request makes all of it true again, since every
 * answer brings all that was to be told.  Elsewhere everything is always fresh.
 * Loop thread only.
 */
#ifndef SFS_FRESH_H
#define SFS_FRESH_H

#include "fuse/call.h"

bool sfs_files_are_fresh(const struct sfs_files *f);
/* For what the answer at hand tells, and is trusted without a watch: since when
 * it is true, but so that something is left of that time. */
uint32_t sfs_told_ms(const struct sfs_files *f);
/* What is sent from here on, until this is called with 0, may wait for so long
 * for something else to go with: sbx_remote_defer. */
void sfs_files_defer(struct sfs_files *f, unsigned int ms);
/* Seconds, no more than what is known may be shown. */
double sfs_fresh_limit(const struct sfs_files *f, double s);
/*
 * False: it is fresh.  True: calls c->resume(c, err) when it is; what was
 * known may have changed by then.
 */
bool sfs_fresh_wait(struct sfs_call *c);
/* The same for a request that opens: calls resume with fi in the call, at once
 * if it is fresh. */
void sfs_fresh_open(fuse_req_t req, struct sfs_inode *i,
		    const struct fuse_file_info *fi,
		    void (*resume)(struct sfs_call *c, int err));

#endif
