/*
 * A place is where the sandboxes of one service are: the top of a mount of
 * one service, a folder of its profile's name in a mount of several.  It has
 * a client of its own, so that one service that is slow or away concerns
 * nobody else.  Made before the mount, kept until its end.  Loop thread.
 */
#ifndef SFS_PLACE_H
#define SFS_PLACE_H

#include "client/client.h"
#include "client/conf.h"
#include "client/remote.h"
#include "fuse/mount.h"

struct sfs_place {
	struct sfs_mount *m;
	char *name; /* of its folder; NULL: it is the top of the mount */
	struct sbx_conf conf;
	struct sbx_client *client; /* NULL: not open */
	struct sbx_box *only;	/* SOURCE/ID: that sandbox, counted; or NULL */
	struct ctl_node *nodes; /* those that belong to no sandbox of it */
	struct sfs_own *owns;	/* own.h: the same */
	bool probed;		/* the service has answered once ... */
	struct sbx_error probe_error;	/* ... with this */
	struct sbx_latencies latencies; /* of all its sandboxes */
	struct sfs_place *next;
};

/* The last in the mount's list; name NULL: the only one.  NULL: no memory. */
struct sfs_place *sfs_place_new(struct sfs_mount *m, const char *name);
/* All of them, when their clients are closed. */
void sfs_places_free(struct sfs_mount *m);

/* Opens the service and asks it once; the answer is in probed and
 * probe_error, possibly at once. */
int sfs_place_open(struct sfs_place *p, struct sbx_error *reterr);

/* What the end of a sandbox is of which none is told: "never", or "unknown". */
const char *sfs_place_no_end(const struct sfs_place *p);
/* The limits of a command that is a run of its own; NULL: they are the
 * helper's. */
const struct sbx_run_limits *sfs_place_runs(const struct sfs_place *p);

/* A sandbox as it is called below the mount, "work/demo" in a mount of
 * several; cut to the size. */
#define SFS_LABEL_SIZE 600
const char *sfs_place_label(const struct sfs_place *p,
			    const struct sbx_box *box,
			    char label[SFS_LABEL_SIZE]);

#endif
