/*
 * One sandbox of the mount: what is known of it, its connection, its files,
 * its commands, its control files.  Made at the first lookup of its folder;
 * the connection and the files when they are first needed.  When the sandbox
 * is gone all of it is taken down, and what the kernel still holds answers
 * ESTALE.  Loop thread.
 */
#ifndef SFS_SANDBOX_H
#define SFS_SANDBOX_H

#include "client/client.h"
#include "client/remote.h"
#include "fuse/files.h"
#include "fuse/jobs.h"
#include "fuse/mount.h"
#include "fuse/notify.h"
#include "fuse/place.h"
#include "fuse/snapshots.h"
#include "fuse/terminals.h"

struct sfs_feed;
struct sfs_portwait;

struct sfs_sandbox {
	struct sfs_mount *m;
	struct sfs_place *place;
	struct sbx_box *box; /* counted */
	unsigned int refs;
	bool gone;    /* everything is ESTALE */
	bool closing; /* the parts below are being closed */
	bool halted;  /* paused or stopped, as it was told last */
	struct ctl_node *nodes;
	struct sbx_error last_error;

	/* NULL until first used, and after closing */
	struct sbx_remote *remote;
	struct sfs_notify *notify;
	struct sfs_files *files;
	struct sfs_jobs jobs;
	struct sfs_terminals terminals;
	struct sfs_snapshots snapshots;
	struct sfs_own *owns; /* own.h: those that the kernel holds */

	struct sfs_portwait *portwaits; /* ctl_ports.c's */
	struct sfs_feed *feed;		/* feed.h; NULL: nobody reads events */
	uint32_t port_epoch; /* the helper that was told to watch; 0: none */

	bool keeping;	 /* keeper.c's: a question is under way */
	int64_t kept_ms; /* when it was asked last */

	void (*on_closed)(void *arg); /* while closing; may be NULL */
	void *closed_arg;
	struct sfs_sandbox *next, **at; /* in the mount's list */
};

/* Of that box, made if need be; borrowed: the mount keeps it while the
 * sandbox exists.  NULL: no memory. */
struct sfs_sandbox *sfs_sandbox_get(struct sfs_place *p, struct sbx_box *box);
struct sfs_sandbox *sfs_sandbox_ref(struct sfs_sandbox *sb);
void sfs_sandbox_unref(struct sfs_sandbox *sb);

/* Makes sure that remote, notify and files are there. */
int sfs_sandbox_use(struct sfs_sandbox *sb);
/* sfs_files_settle for whoever shows what commands say. */
void sfs_sandbox_settle(struct sfs_sandbox *sb, void (*fn)(void *arg),
			void *arg);
/* Calls fn when everything sent before has been done there. */
typedef void sfs_sandbox_fn(void *arg, const struct sbx_error *error);
void sfs_sandbox_flush(struct sfs_sandbox *sb, sfs_sandbox_fn *fn, void *arg);
/*
 * All of its files may be others: starts over with a new helper, and calls
 * fn, with this error, when nothing that was known before is shown any more.
 */
void sfs_sandbox_renew(struct sfs_sandbox *sb, const struct sbx_error *error,
		       sfs_sandbox_fn *fn, void *arg);
/* For struct sbx_client_listener; arg is the mount. */
void sfs_sandbox_on_gone(void *arg, struct sbx_box *box);
void sfs_sandbox_on_changed(void *arg, struct sbx_box *box);
/*
 * Takes down all parts, then calls on_closed.  What waits for them is ended
 * with errors.
 */
void sfs_sandbox_close(struct sfs_sandbox *sb, void (*on_closed)(void *arg),
		       void *arg);

#endif
