/*
 * All of one helper: the program that sbxfs runs inside a sandbox.  One
 * process, one thread, one poll loop; jobs and slow system calls run in
 * children.  client/wire/proto.h says what it does.
 */
#ifndef HELPER_HELPER_H
#define HELPER_HELPER_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "client/helper/changes.h"
#include "client/helper/dirs.h"
#include "client/helper/fstype.h"
#include "client/helper/loop.h"
#include "client/helper/map.h"
#include "client/helper/moves.h"
#include "client/helper/recent.h"
#include "client/helper/report.h"
#include "client/helper/silence.h"
#include "client/helper/watch.h"
#include "client/wire/buf.h"
#include "client/wire/link.h"

/* While this much waits to be sent, long answers and job output pause. */
#define HELPER_BUSY_BYTES (512 * 1024)
/* A client that asks without reading answers is dropped at this. */
#define HELPER_QUEUE_MAX (64 * 1024 * 1024)
/* Changes are folded into "everything is in doubt" beyond this. */
#define HELPER_EVENT_MAX (8 * 1024 * 1024)

struct handle;
struct task;
struct job;
struct child;
struct creds;

struct handover;

/* Streams that carry one batch (proto.h). */
struct batch {
	bool on;
	bool eof;   /* all of it has come */
	bool ended; /* its last word is queued */
	size_t given, hello, max;
	bool timed;	    /* the time to wait for answers is over */
	bool synced;	    /* what happened before it has been told */
	int64_t park_until; /* loop_clock_ms */
	struct loop_timer timer;
};

struct peer {
	struct batch batch;
	size_t frame_max;
	struct sbx_link *link;
	struct loop_fd in, out;
	bool same_fd; /* one descriptor is both */
	uint8_t *input;
	uint8_t *output;
	size_t out_len, out_off;
	struct loop_timer linger;
	struct silence silence;
	int64_t said_ms;
	uint64_t frames, pings;
	uint64_t instance;
	bool attached, greeted;
};

struct ports {
	struct loop_timer timer;
	uint16_t *open; /* sorted */
	size_t n;
	bool watching, is_quick;
	int64_t quick_until_ms; /* looked at more often until then */
};

struct helper {
	struct loop loop;
	struct peer peer;
	struct dirs dirs;
	struct watch watch;
	struct changes changes;
	struct moves moves;
	struct recent recent;
	struct fstypes fstypes;
	struct map handles;
	struct map jobs;
	size_t job_count;
	struct task *tasks, **tasks_end, *last_task;
	size_t task_count;
	struct child *children;
	size_t child_count;
	struct loop_fd sigchld;
	struct creds *creds; /* what CREDS set; NULL: ourselves */
	int creds_err;	     /* why nobody can be acted for */
	struct ports ports;
	struct report report;
	struct sbx_buf reply, later, event; /* messages being written */
	/* requests without an answer so far, and those among them that may wait
	 * for ever: for locks, or for room in a pipe */
	size_t owed, patient;

	/* how it was started */
	char session[33];
	char cwd[PATH_MAX];
	char self[PATH_MAX]; /* its own file */
	dev_t self_dev;
	ino_t self_ino;
	mode_t umask;
	struct rlimit nofile;
	bool remove_self;

	/* why the loop ends */
	bool quit;	   /* the client said so: jobs are killed */
	bool ended;	   /* any reason */
	bool lost_account; /* memory ran out: nothing can be relied on */

	/* tells the session's owner that the streams are gone */
	void (*on_detached)(void *arg);
	void *on_detached_arg;
};

/* how: in which way the first streams will be used.  Negative errno; to be
 * released all the same. */
int helper_init(struct helper *h, const char *session,
		const struct handover *how);
void helper_release(struct helper *h);
/* Serves until it ends; the streams, if any, are attached before. */
void helper_run(struct helper *h);
/* Memory for what must not be lost is missing: ends, so that the client
 * notices instead of waiting. */
void helper_out_of_memory(struct helper *h);

/* peer.c */
int peer_init(struct helper *h, const struct handover *how);
void peer_release(struct helper *h);
/* Takes both descriptors. */
int peer_attach(struct helper *h, int in, int out, const struct handover *how);

void peer_detach(struct helper *h);
void peer_send(struct helper *h, const struct sbx_buf *msg);
void peer_pump(struct helper *h); /* writes what there is */
bool peer_is_busy(const struct helper *h);
bool peer_is_full(const struct helper *h);

/* batch.c */
void batch_init(struct helper *h);
/* New streams; hello: bytes of ours that come before anything else. */
void batch_begin(struct helper *h, const struct handover *how, size_t hello);
/* How much of max may still be given. */
size_t batch_room(const struct helper *h, size_t max);
/* Gives streams up that carried a batch, once that is answered. */
void batch_check(struct helper *h);

#endif
