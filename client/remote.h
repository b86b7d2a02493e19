/*
 * The file protocol's client side: one per sandbox.  Brings the helper up
 * when first needed, keeps one ordered conversation with it, makes it anew
 * when it is lost.  wire/proto.h is the reference of every request.
 *
 * Loop thread only.  Requests are carried out, and answers and events arrive,
 * in one order: whoever applies them as they arrive holds what was true.
 */
#ifndef SBX_REMOTE_H
#define SBX_REMOTE_H

#include <stdbool.h>
#include <stdint.h>

#include "client/error.h"
#include "client/service.h"
#include "client/wire/msg.h"
#include "client/wire/proto.h"

struct sbx_remote;

enum sbx_link_state {
	SBX_LINK_IDLE, /* never needed so far */
	SBX_LINK_CONNECTING,
	SBX_LINK_UP,
	SBX_LINK_LOST, /* being made anew */
	SBX_LINK_DEAD, /* the sandbox is gone; everything is -ESTALE */
};

/* What the helper said of itself and its sandbox; valid once it was up. */
struct sbx_remote_info {
	uint32_t pid, uid, gid, features;
	uint32_t groups[SBX_HELLO_GROUPS];
	size_t nr_groups;
	bool more_groups; /* than these */
	char version[32], machine[32];
	char cwd[4096], home[4096]; /* of the sandbox, absolute */
	char plain[240];	    /* why there is no helper; "": there is */
	bool runs;   /* commands are the service's own: once they run, neither
			input nor a signal reaches them */
	bool silent; /* what happens is told when something is asked only */
};

/* What the owner of the caches wants to hear.  All members may be NULL. */
struct sbx_remote_handler {
	/* wire/proto.h, SBX_MSG_CHANGE; attr NULL: gone.  name is not
	 * NUL-ended and dies with the call */
	void (*on_change)(void *arg, uint64_t dir, const char *name, size_t len,
			  unsigned int what, const struct sbx_attr *attr,
			  uint32_t cookie);
	/* Events may have been missed: every cached thing is in doubt.  With
	 * new_epoch the helper is another one, too: directories and handles
	 * told to the old one are unknown to it. */
	void (*on_doubt)(void *arg, bool new_epoch);
	void (*on_unwatched)(void *arg, uint64_t dir, int err);
	/* Whether something would be lost with the helper, such as a lock:
	 * then one that ends when nothing is asked of it for long is called
	 * before.  May be NULL: no. */
	bool (*holds)(void *arg);
};
struct sbx_remote_listener {
	void (*on_state)(void *arg, enum sbx_link_state state);
	void (*on_port)(void *arg, uint16_t port, bool open);
	/* Requests fail with -ETIMEDOUT that have not even been sent. */
	void (*on_stuck)(void *arg, const struct sbx_error *why);
	/* SBX_MSG_REPORT; names are not NUL-ended; to NULL: none */
	void (*on_report)(void *arg, unsigned int what, bool is_dir,
			  const char *path, size_t len, const char *to,
			  size_t to_len);
};

/*
 * svc and loop are borrowed until on_closed.  id is copied.  Nothing is
 * connected yet.
 */
struct sbx_remote *sbx_remote_new(uv_loop_t *loop, struct sbx_service *svc,
				  const char *id, unsigned int timeout_ms);
/* Before its first request: goes without a helper; why: for status. */
void sbx_remote_set_plain(struct sbx_remote *r, const char *why);
void sbx_remote_set_files(struct sbx_remote *r,
			  const struct sbx_remote_handler *h, void *arg);
void sbx_remote_set_listener(struct sbx_remote *r,
			     const struct sbx_remote_listener *l, void *arg);
/* Ends the helper (waiting at most a second for it), fails what is under way
 * with -ECANCELED, frees, then calls on_closed (may be NULL). */
void sbx_remote_close(struct sbx_remote *r, void (*on_closed)(void *arg),
		      void *arg);
/* The sandbox was destroyed: fail everything now and from now on. */
void sbx_remote_die(struct sbx_remote *r);

/* Everything in the sandbox may be another: starts over, as if the helper had
 * been lost. */
void sbx_remote_renew(struct sbx_remote *r);

/*
 * The sandbox was paused or stopped, or goes on: who is connected finds out
 * anew whether it can be reached, and who waits to try again tries at once.
 */
void sbx_remote_look_again(struct sbx_remote *r);

enum sbx_link_state sbx_remote_state(const struct sbx_remote *r);
/* one line for status, e.g. "up", "reconnecting since 2026-..." */
void sbx_remote_describe(const struct sbx_remote *r, char *dst, size_t size);
/* NULL before the first hello */
const struct sbx_remote_info *sbx_remote_info(const struct sbx_remote *r);
/* Grows by one with each new helper; directory numbers and handles belong to
 * the epoch in which they were told. */
uint32_t sbx_remote_epoch(const struct sbx_remote *r);
/* why it is not up; .err 0 if it is */
const struct sbx_error *sbx_remote_error(const struct sbx_remote *r);
/* bytes of changes not yet acknowledged by the helper */
size_t sbx_remote_unsent(const struct sbx_remote *r);
/*
 * The loop's time when everything that had happened in the sandbox was told;
 * UINT64_MAX: it is told as it happens.
 */
uint64_t sbx_remote_heard_ms(const struct sbx_remote *r);
/* Where it is told with answers only (info.silent): what the answer at hand
 * says was true at this time, or later.  Else 0. */
uint64_t sbx_remote_asked_ms(const struct sbx_remote *r);
/*
 * Somebody waits for what is told of there: where that is told with answers
 * only (info.silent) one is asked for now and then, at most every 4 s.
 */
void sbx_remote_listen(struct sbx_remote *r, bool listening);
/* A command of the user's runs there, and everything else waits for its end:
 * where commands are runs of their own. */
bool sbx_remote_is_occupied(const struct sbx_remote *r);
/* A number never given before: for directories, handles and jobs. */
uint64_t sbx_remote_number(struct sbx_remote *r);

/*
 * Called exactly once: err 0 and the results, or a negative errno and an
 * empty reader: the helper's, -ETIMEDOUT (not connected and not back within
 * timeout_ms), -EAGAIN (it is paused), -ESTALE (sandbox gone), -ECANCELED
 * (closing), -EPROTO, or -ERESTART: the helper was lost for good and a new one
 * is there; whether the request was carried out is unknown.  Numbers of the old
 * epoch must be told again before repeating it.
 */
typedef void sbx_reply_fn(void *arg, int err, struct sbx_rd *rd);
/* each SBX_MSG_PART before it; may be NULL where none comes */
typedef void sbx_part_fn(void *arg, struct sbx_rd *rd);

/*
 * A request is written in place: begin, the arguments with sbx_put_*, then
 * submit; nothing else of this remote may be called between.  nr_args counts
 * the arguments ("at" counts three).
 */
struct sbx_buf *sbx_remote_begin(struct sbx_remote *r, enum sbx_wire_op op,
				 unsigned int nr_args);
/* Returns a number for sbx_remote_cancel, never 0.  Done is never called
 * before submit returns. */
uint32_t sbx_remote_submit(struct sbx_remote *r, sbx_reply_fn *done,
			   sbx_part_fn *part, void *arg);
/* The same without an answer (request id 0): it reaches the helper that is
 * there now, or none.  Negative errno: it never will. */
int sbx_remote_submit_quiet(struct sbx_remote *r);
/*
 * What is submitted from here on is in no hurry, until this is called with 0:
 * where a run is what it costs (exchange.h) it goes along with what is, in its
 * order, at the latest after ms; SBX_WHENEVER: never by itself.  Who waits for
 * an answer of these says so.
 */
#define SBX_WHENEVER UINT32_MAX
void sbx_remote_defer(struct sbx_remote *r, unsigned int ms);
/* Somebody waits: what was deferred to some time is sent now. */
void sbx_remote_hasten(struct sbx_remote *r);
/* This request, if it was, may as well go SBX_WHENEVER by now. */
void sbx_remote_relax(struct sbx_remote *r, uint32_t number);
/*
 * Gives up waiting: done is called with -EINTR from within.  A request that
 * already went out is carried out all the same.  Unknown numbers are ignored.
 */
void sbx_remote_cancel(struct sbx_remote *r, uint32_t number);
/* The same if it is certain that it has not gone out, and does not any more;
 * else false, and nothing is given up. */
bool sbx_remote_withdraw(struct sbx_remote *r, uint32_t number);

/*
 * What was said to helpers so far.  round_trips is the longest chain of
 * requests of which each was sent when the answer to the one before was
 * there: what somebody at a distance has waited for.
 */
#define SBX_STATS_OPS 128
struct sbx_remote_stats {
	uint64_t requests[SBX_STATS_OPS]; /* by enum sbx_wire_op */
	uint64_t answers, events;
	uint64_t bytes_sent, bytes_received; /* of messages */
	uint64_t round_trips;
	uint64_t reconnects;
};
const struct sbx_remote_stats *sbx_remote_stats(const struct sbx_remote *r);
/*
 * How long somebody waited for answers, by enum sbx_wire_op: from the
 * submitting of a request to the last part of its answer.  What ends without
 * one is not in it.  Several remotes may share it.
 */
#define SBX_LATENCY_BUCKETS 8
extern const uint32_t sbx_latency_us[SBX_LATENCY_BUCKETS]; /* upper ends */
struct sbx_latency {
	/* bucket[i]: of those in no bucket before it */
	uint64_t bucket[SBX_LATENCY_BUCKETS], count, sum_us;
};
struct sbx_latencies {
	struct sbx_latency of[SBX_STATS_OPS];
};
/* Borrowed until on_closed. */
void sbx_remote_set_latencies(struct sbx_remote *r, struct sbx_latencies *l);
/* "lookup" ...; NULL: there is no such request */
const char *sbx_wire_op_name(unsigned int op);
/*
 * Nobody waits for the answer to this request, so it is no link of the chain.
 * Who uses it after all says so, with what sbx_remote_answered gave while
 * it was being delivered.
 */
void sbx_remote_ahead(struct sbx_remote *r, uint32_t number);
uint64_t sbx_remote_answered(const struct sbx_remote *r);
void sbx_remote_waited(struct sbx_remote *r, uint64_t answered);

/* How a command ended. */
struct sbx_remote_exit {
	int code; /* 0 to 255 */
	unsigned int signo;
	int64_t duration_ms;
	uint64_t printed[2];  /* bytes of each stream that come, in all, unless
				 the command is lost */
	const char *snapshot; /* borrowed, with its NUL within
				 SBX_SNAPSHOT_SIZE; NULL: none was taken */
};

/*
 * What the helper sends about one command, for job.c.  on_lost is the last
 * call: the helper that ran it is gone (or will never be asked again), -EIO, or
 * there is another reason.
 */
struct sbx_remote_job {
	void (*on_output)(void *arg, int stream, const uint8_t *data,
			  size_t len, bool eof);
	void (*on_exit)(void *arg, const struct sbx_remote_exit *e);
	void (*on_lost)(void *arg, int err);
};
/* At most one per number, SBX_JOBS_MAX at once (-EAGAIN). */
int sbx_remote_job_add(struct sbx_remote *r, uint32_t job,
		       const struct sbx_remote_job *h, void *arg);
void sbx_remote_job_del(struct sbx_remote *r, uint32_t job);

/* Where nothing but an exit status is known: the signal that a shell means
 * by it, or 0. */
static inline unsigned int sbx_signal_of_status(int status)
{
	return status > 128 && status <= 128 + 64 ? (unsigned int)status - 128
						  : 0;
}

static inline void sbx_put_at(struct sbx_buf *b, uint64_t dir, const void *name,
			      size_t len, uint64_t ino)
{
	sbx_put_u64(b, dir);
	sbx_put_bin(b, name, len);
	sbx_put_u64(b, ino);
}
static inline void sbx_put_at_handle(struct sbx_buf *b, uint64_t handle)
{
	sbx_put_at(b, 0, NULL, 0, handle);
}

#endif
