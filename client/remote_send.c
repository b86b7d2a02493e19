/*
 * Requests on their way: written, sent, deferred, given up.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/remote_int.h"

#define FAIL_AGAIN_MS 1000 /* how long a final failure answers for itself */

struct sbx_buf *sbx_remote_begin(struct sbx_remote *r, enum sbx_wire_op op,
				 unsigned int nr_args)
{
	struct pending *p = sbx_remote_pending_new(r);

	r->begun_id = p ? p->id : 0;
	r->begun_op = (uint8_t)op;
	sbx_buf_clear(&r->scratch);
	sbx_put_array(&r->scratch, 2 + nr_args);
	sbx_put_u64(&r->scratch, op);
	sbx_put_u64(&r->scratch, r->begun_id);
	return &r->scratch;
}

/* Why nothing can be asked now; 0: it can. */
static int remote_refuses(struct sbx_remote *r)
{
	/* (one that is dead is closed next, which may take a second) */
	if (r->state == SBX_LINK_DEAD)
		return -ESTALE;
	if (r->closing)
		return -ECANCELED;
	if (r->scratch.err)
		return -E2BIG;
	return 0;
}

/* It would at once again. */
static bool remote_has_failed(const struct sbx_remote *r)
{
	return r->error.err &&
	       (!sbx_channel_is_trying(r->channel) ||
		r->error.retry == SBX_RETRY_RESUME) &&
	       !r->confirm && r->state != SBX_LINK_UP &&
	       uv_now(r->loop) - r->failed_at < FAIL_AGAIN_MS;
}

static int remote_send(struct sbx_remote *r, uint32_t id)
{
	int err = remote_refuses(r);
	bool failed;

	if (err < 0)
		return err;
	/* what nobody would hear the failure of is kept: the helper may be
	 * the same when it is reached again */
	failed = remote_has_failed(r);
	if (failed && id)
		return r->error.err;
	sbx_remote_count_sent(r);
	if (r->state == SBX_LINK_UP && !r->held)
		return sbx_channel_send(r->channel, id, sbx_buf_at(&r->scratch),
					sbx_buf_len(&r->scratch));
	if (r->state == SBX_LINK_IDLE) {
		r->lost_since = uv_now(r->loop);
		r->lost_at = time(NULL);
		sbx_remote_set_state(r, SBX_LINK_CONNECTING);
	}
	if (!r->confirm && !failed)
		sbx_channel_start(r->channel);
	return sbx_remote_held_add(r, id);
}

struct overflow {
	uv_timer_t timer;
	sbx_reply_fn *done;
	void *arg;
};

static void on_overflow_closed(uv_handle_t *h)
{
	free(h->data);
}

static void on_overflow(uv_timer_t *t)
{
	struct overflow *o = t->data;
	struct sbx_rd empty = {0};

	o->done(o->arg, -EAGAIN, &empty);
	uv_close((uv_handle_t *)t, on_overflow_closed);
}

/* No slot was left: the answer still must not come from within submit. */
static void submit_overflow(struct sbx_remote *r, sbx_reply_fn *done, void *arg)
{
	struct overflow *o = calloc(1, sizeof(*o));
	struct sbx_rd empty = {0};

	if (!o) {
		done(arg, -ENOMEM, &empty);
		return;
	}
	o->done = done;
	o->arg = arg;
	uv_timer_init(r->loop, &o->timer);
	o->timer.data = o;
	uv_timer_start(&o->timer, on_overflow, 0, 0);
}

uint32_t sbx_remote_submit(struct sbx_remote *r, sbx_reply_fn *done,
			   sbx_part_fn *part, void *arg)
{
	struct pending *p = sbx_remote_pending_find(r, r->begun_id);
	int err;

	if (!p) {
		submit_overflow(r, done, arg);
		return UINT32_MAX; /* no slot has this id */
	}
	p->op = r->begun_op;
	p->since = p->begun = uv_now(r->loop);
	p->sent_at = r->stats.round_trips;
	p->submitted_ns = uv_hrtime();
	p->ahead = false;
	p->done = done;
	p->part = part;
	p->arg = arg;
	if (r->within_ms)
		sbx_remote_pending_defer(r, p);
	else
		sbx_remote_tick(r);
	err = remote_send(r, p->id);
	if (err < 0)
		sbx_remote_pending_fail_later(r, p, err);
	return p->id;
}

/*
 * The id was written by begin before it was known that nobody waits: set it
 * to 0.  It stands behind an array header of one byte and the op, as 0xce and
 * four bytes, since ids are above 65535.
 */
int sbx_remote_submit_quiet(struct sbx_remote *r)
{
	struct pending *p = sbx_remote_pending_find(r, r->begun_id);
	size_t at = 1 + (r->begun_op < 128 ? 1 : 2);

	if (p)
		sbx_remote_pending_drop(r, p);
	if (r->scratch.err)
		return -E2BIG;
	/* without a slot it has been 0 from the start */
	if (p)
		memset(sbx_buf_at(&r->scratch) + at + 1, 0, 4);
	return remote_send(r, 0);
}

void sbx_remote_defer(struct sbx_remote *r, unsigned int ms)
{
	r->within_ms = ms;
	if (r->channel)
		sbx_channel_defer(r->channel, ms);
}

void sbx_remote_hasten(struct sbx_remote *r)
{
	if (!r->hurries || !r->channel)
		return;
	sbx_remote_pending_hasten(r);
	sbx_remote_tick(r);
	sbx_channel_hasten(r->channel);
}

void sbx_remote_relax(struct sbx_remote *r, uint32_t number)
{
	struct pending *p = sbx_remote_pending_find(r, number);

	if (!p || p->haste != SOON || !r->channel)
		return;
	p->haste = WHENEVER;
	sbx_channel_relax(r->channel, number);
}

void sbx_remote_cancel(struct sbx_remote *r, uint32_t number)
{
	struct pending *p = sbx_remote_pending_find(r, number);

	if (p)
		sbx_remote_pending_finish(r, p, -EINTR, NULL);
}
