/*
 * The inside of a remote, shared by remote.c (its life), remote_send.c
 * (requests on their way), remote_wait.c (requests that wait for their
 * answers), remote_in.c (what the helper sends) and remote_stats.c.  Nobody
 * else includes this.
 */
#ifndef SBX_REMOTE_INT_H
#define SBX_REMOTE_INT_H

#include "client/channel.h"
#include "client/remote.h"

/* An answer that comes in parts may take longer than others, but no longer
 * than this many times timeout_ms: there are always more parts from a helper
 * that means harm.  A listing of a million names takes seconds. */
#define PARTS_PATIENCE 40

/* A request that waits for its answer. */
struct pending {
	uint32_t id; /* 0: the slot is free */
	uint8_t op;
	bool ahead;			    /* see sbx_remote_ahead */
	enum { NOW, SOON, WHENEVER } haste; /* see sbx_remote_defer */
	int fail;	/* to be completed with this by the next kick */
	uint64_t order; /* in which requests were begun */
	uint64_t since, begun;
	uint64_t sent_at; /* stats.round_trips */
	uint64_t submitted_ns;
	sbx_reply_fn *done;
	sbx_part_fn *part;
	void *arg;
};

/* A message that waits for the helper to be there. */
struct held {
	struct held *next;
	uint32_t id;
	size_t len;
	uint8_t data[];
};

struct remote_job {
	uint32_t number;
	const struct sbx_remote_job *h;
	void *arg;
};

struct sbx_remote {
	uv_loop_t *loop;
	struct sbx_service *svc;
	char *id;
	unsigned int timeout_ms;
	struct sbx_channel *channel;
	enum sbx_link_state state;
	uint32_t epoch;
	uint64_t lost_since; /* uv_now; meaningful while not up */
	time_t lost_at;
	uint64_t failed_at; /* of a failure that is not retried by itself */
	struct sbx_error error;
	uint64_t last_number;

	const struct sbx_remote_handler *files;
	void *files_arg;
	const struct sbx_remote_listener *listener;
	void *listener_arg;

	struct pending *slots;
	uint32_t nr_slots, nr_pending, next_slot;
	uint32_t nr_lazy;	/* of those that wait: not NOW */
	unsigned int within_ms; /* sbx_remote_defer */
	bool hurries;		/* some of them may be SOON */
	bool listening;
	uint64_t last_order;
	uint16_t generation;
	struct sbx_buf scratch; /* the request being written */
	uint32_t begun_id;
	uint8_t begun_op;
	struct held *held, **held_tail;
	size_t held_bytes;
	void *jobs; /* tsearch tree of struct job */
	unsigned int nr_jobs;

	struct sbx_remote_stats stats;
	struct sbx_latencies *latencies; /* or NULL */
	uint64_t answered;		 /* of what is being delivered */

	struct sbx_call *confirm; /* is the sandbox really gone? */
	uv_timer_t tick;
	uv_prepare_t kick;
	unsigned int open_handles;
	bool closing;
	void (*on_closed)(void *arg);
	void *closed_arg;
};

/* ---- remote.c ---- */

/* Tells the listener if it is another. */
void sbx_remote_set_state(struct sbx_remote *r, enum sbx_link_state state);

/* ---- remote_wait.c ---- */

/* By id; NULL if nobody waits for it (any more). */
struct pending *sbx_remote_pending_find(struct sbx_remote *r, uint32_t id);
/* A free slot with a new id; NULL: too many wait already. */
struct pending *sbx_remote_pending_new(struct sbx_remote *r);
/* It is in no hurry: sbx_remote_defer. */
void sbx_remote_pending_defer(struct sbx_remote *r, struct pending *p);
/* All that is SOON is NOW. */
void sbx_remote_pending_hasten(struct sbx_remote *r);
/* Frees the slot without a word: nobody wants the answer. */
void sbx_remote_pending_drop(struct sbx_remote *r, struct pending *p);
/* Frees the slot and gives its owner the answer; rd NULL: there is none, and
 * what has not been sent is not sent any more. */
void sbx_remote_pending_finish(struct sbx_remote *r, struct pending *p, int err,
			       struct sbx_rd *rd);
/* The same before the loop next waits, for where owners may not be called */
void sbx_remote_pending_fail_later(struct sbx_remote *r, struct pending *p,
				   int err);
void sbx_remote_pending_fail_all(struct sbx_remote *r, int err);
/* Another helper is there: what was asked of the old one fails with -ERESTART,
 * and its commands are lost; where those are runs of their own they are not
 * its, and go on. */
void sbx_remote_restarted(struct sbx_remote *r);
/* Fails at once what is to fail later. */
void sbx_remote_kick(uv_prepare_t *kick);

/* Looks every second whether some have waited for too long, as long as some
 * wait. */
void sbx_remote_tick(struct sbx_remote *r);

/* Keeps the message in r->scratch until the helper is there. */
int sbx_remote_held_add(struct sbx_remote *r, uint32_t id);
/* Sends what was kept. */
void sbx_remote_held_send(struct sbx_remote *r);
void sbx_remote_held_clear(struct sbx_remote *r);

/* ---- remote_stats.c ---- */

/* The request in r->scratch was taken to be sent. */
void sbx_remote_count_sent(struct sbx_remote *r);
/* An answer, or a part of one, is about to be delivered. */
void sbx_remote_count_answer(struct sbx_remote *r, const struct pending *p);
/* That was all of it. */
void sbx_remote_count_latency(struct sbx_remote *r, const struct pending *p);

/* ---- remote_in.c ---- */

/* One message of the helper; -EPROTO if it makes no sense. */
int sbx_remote_message(void *arg, const uint8_t *data, size_t len);
/* Tells all jobs that their helper is gone, and forgets them. */
void sbx_remote_jobs_lost(struct sbx_remote *r);

#endif
