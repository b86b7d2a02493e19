/*
 * The snapshots of one sandbox as the service lists them, at most some
 * seconds old.  Loop thread.
 */
#ifndef SFS_SNAPSHOTS_H
#define SFS_SNAPSHOTS_H

#include <stdint.h>

#include "client/client.h"

struct ctl_node;
struct sfs_sandbox;

struct sfs_snapshot {
	unsigned int refs;
	struct sfs_snapshot *next;
	struct ctl_node *nodes;
	char *name, *info; /* info: the service's own record, JSON text */
	int64_t created_ms;
};

struct sfs_snapshots {
	struct sfs_snapshot *first; /* in the service's order */
	uint64_t listed_ms;	    /* 0: never, or not since a change */
	unsigned int changes;
};

struct sfs_snapshot *sfs_snapshot_ref(struct sfs_snapshot *s);
void sfs_snapshot_unref(struct sfs_snapshot *s);
/* From what is known; borrowed, or NULL. */
struct sfs_snapshot *sfs_snapshots_find(struct sfs_sandbox *sb,
					const char *name);
/* Makes what is known up to date, then calls fn; box is not given. */
void sfs_snapshots_refresh(struct sfs_sandbox *sb, sbx_box_fn *fn, void *arg);
/* What is known is not true any more. */
void sfs_snapshots_stale(struct sfs_sandbox *sb);
/* Its folder's inode number, from what that of its kind would be. */
uint64_t sfs_snapshot_ino(const struct sfs_snapshot *s, uint64_t kind);
void sfs_snapshots_clear(struct sfs_sandbox *sb);

#endif
