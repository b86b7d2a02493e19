/*
 * The end of a mount, in one order: no new requests, what is unsent goes
 * out, connections are closed, then the service, then the loop is empty.
 * Begun by the kernel (unmounted), by a signal, or by main after a failed
 * start; a second signal skips the waiting.  Loop thread.
 */
#ifndef SFS_STOP_H
#define SFS_STOP_H

#include "fuse/mount.h"

enum sfs_stop_stage {
	SFS_STOP_NOT,
	SFS_STOP_DETACHING, /* the kernel was asked to let the mount go */
	SFS_STOP_FLUSHING,
	SFS_STOP_CLOSING,
};

struct sfs_stop {
	struct sfs_mount *m;
	enum sfs_stop_stage stage;
	bool mounted; /* there is a session */
	bool asked;   /* a signal came */
	bool lost;    /* something could not be sent */
	unsigned int pending;
	uv_timer_t timer;
	uv_signal_t signals[3];
};

int sfs_stop_init(struct sfs_stop *s, struct sfs_mount *m);
bool sfs_stop_is_asked(const struct sfs_stop *s);
/* For sfs_start: the kernel has ended the session; arg is the sfs_stop.  Also
 * how main ends what did not get so far. */
void sfs_stop_begin(void *arg);

#endif
