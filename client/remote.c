#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/log.h"
#include "client/remote_int.h"

#define TICK_MS	      1000
#define PATIENCE      4 /* times timeout_ms for one answer of a living helper */
#define FAIL_AGAIN_MS 1000 /* how long a final failure answers for itself */

/* ---- up and down ---- */

static void remote_state(struct sbx_remote *r, enum sbx_link_state state)
{
	if (r->state == state)
		return;
	r->state = state;
	if (r->listener && r->listener->on_state)
		r->listener->on_state(r->listener_arg, state);
}

static void on_channel_up(void *arg, bool fresh)
{
	struct sbx_remote *r = arg;

	if (r->state == SBX_LINK_DEAD)
		return; /* what was on its way when it died */
	if (fresh) {
		/* without streams a helper is replaced between two answers:
		 * whoever listens must hear that the old one is lost */
		if (r->state == SBX_LINK_UP)
			remote_state(r, SBX_LINK_LOST);
		/* what is held speaks of numbers the new helper lacks */
		r->epoch++;
		sbx_remote_pending_fail_all(r, -ERESTART);
		sbx_remote_held_clear(r);
		sbx_remote_jobs_lost(r);
	}
	r->error.err = 0;
	r->stats.reconnects += r->state == SBX_LINK_LOST;
	remote_state(r, SBX_LINK_UP);
	if (fresh && r->files && r->files->on_doubt)
		r->files->on_doubt(r->files_arg, true);
	sbx_remote_held_send(r);
}

static void on_confirmed(struct sbx_call *call)
{
	struct sbx_remote *r = call->arg;
	int err = call->error.err;

	sbx_call_free(call);
	r->confirm = NULL;
	if (r->closing) {
		sbx_remote_close(r, r->on_closed, r->closed_arg);
		return;
	}
	if (err == -ENOENT)
		sbx_remote_die(r);
	else if (r->state != SBX_LINK_DEAD && r->nr_pending)
		sbx_channel_start(r->channel);
}

/* The service said that there is no such sandbox: make sure. */
static void remote_confirm_gone(struct sbx_remote *r)
{
	if (r->confirm)
		return;
	r->confirm = sbx_call_new(SBX_CALL_GET, r->id);
	if (!r->confirm)
		return;
	r->confirm->timeout_ms = r->timeout_ms;
	r->confirm->done = on_confirmed;
	r->confirm->arg = r;
	r->svc->type->submit(r->svc, r->confirm);
}

static void on_channel_down(void *arg, const struct sbx_error *why,
			    bool retrying)
{
	struct sbx_remote *r = arg;

	if (r->state == SBX_LINK_DEAD)
		return;
	if (r->state == SBX_LINK_UP) {
		r->lost_since = uv_now(r->loop);
		r->lost_at = time(NULL);
	}
	/* one that is paused says so again and again */
	sbx_log(why->retry == SBX_RETRY_RESUME && r->error.retry == why->retry
			? SBX_LOG_DEBUG
			: SBX_LOG_WARNING,
		"remote", "%s: %s%s", r->id, why->text,
		retrying ? "; connecting again" : "");
	r->error = *why;
	remote_state(r, r->epoch > 1 || sbx_channel_info(r->channel)
				? SBX_LINK_LOST
				: SBX_LINK_CONNECTING);
	if (why->err == -ENOENT) {
		remote_confirm_gone(r);
	} else if (!retrying || why->retry == SBX_RETRY_RESUME) {
		r->failed_at = uv_now(r->loop);
		sbx_remote_pending_fail_all(r, why->err);
	}
}

static const struct sbx_channel_handler channel_handler = {
	.on_message = sbx_remote_message,
	.on_up = on_channel_up,
	.on_down = on_channel_down,
};

static bool op_may_take_long(uint8_t op)
{
	return op == SBX_OP_LOCK || op == SBX_OP_FSYNC || op == SBX_OP_COPY ||
	       op == SBX_OP_HASH || op == SBX_OP_STDIN;
}

/* Commands that are runs of their own have to wait for one another. */
static bool op_waits_for_turn(const struct sbx_remote *r, uint8_t op)
{
	const struct sbx_remote_info *info = sbx_channel_info(r->channel);

	return op == SBX_OP_EXEC && info && info->runs;
}

static bool is_due(const struct sbx_remote *r, const struct pending *p,
		   uint64_t since, uint64_t now)
{
	if (since < p->since)
		since = p->since;
	return now - since >= r->timeout_ms;
}

/*
 * It waits for a run that does not come: a command of the user's is under way,
 * or one of ours that is not answered.  While answers come it has its turn.
 * Or it went with that run, and whether it was carried out is not known.
 */
static bool pending_is_stuck(struct sbx_remote *r, const struct pending *p,
			     uint64_t now)
{
	uint64_t asked = sbx_channel_asked_ms(r->channel);

	if (is_due(r, p, sbx_channel_answered_ms(r->channel), now) &&
	    sbx_channel_withdraw(r->channel, p->id))
		return true;
	return asked && is_due(r, p, asked, now) &&
	       !op_waits_for_turn(r, p->op);
}

/* True: it is stuck. */
static bool pending_check(struct sbx_remote *r, struct pending *p, uint64_t now)
{
	uint64_t since = p->since;
	bool stuck = false;

	if (r->state == SBX_LINK_UP) {
		stuck = pending_is_stuck(r, p, now);
		if (!stuck &&
		    (op_may_take_long(p->op) || op_waits_for_turn(r, p->op) ||
		     now - since < (uint64_t)PATIENCE * r->timeout_ms))
			return false;
	} else {
		if (r->lost_since > since)
			since = r->lost_since;
		if (now - since < r->timeout_ms)
			return false;
	}
	sbx_remote_pending_fail_later(r, p, -ETIMEDOUT);
	return stuck;
}

static void remote_tell_stuck(struct sbx_remote *r)
{
	struct sbx_error e;

	if (sbx_channel_is_occupied(r->channel))
		sbx_error_set(&e, -ETIMEDOUT,
			      "files waited %u s for a command that runs "
			      "there, since this service runs one at a time; "
			      "that ends with it, and a command with its "
			      "timeout_ms",
			      r->timeout_ms / 1000);
	else
		sbx_error_set(&e, -ETIMEDOUT,
			      "files waited %u s for the service to answer",
			      r->timeout_ms / 1000);
	if (r->listener && r->listener->on_stuck)
		r->listener->on_stuck(r->listener_arg, &e);
}

static void on_tick(uv_timer_t *t)
{
	struct sbx_remote *r = t->data;
	uint64_t now = uv_now(r->loop);
	bool stuck = false;
	uint32_t i;

	if (r->nr_pending == r->nr_lazy) {
		uv_timer_stop(t);
		return;
	}
	for (i = 0; i < r->nr_slots; i++)
		if (r->slots[i].id && !r->slots[i].fail &&
		    r->slots[i].haste == NOW)
			stuck |= pending_check(r, &r->slots[i], now);
	if (stuck)
		remote_tell_stuck(r);
}

static void remote_tick(struct sbx_remote *r)
{
	if (!uv_is_active((uv_handle_t *)&r->tick) && !r->closing)
		uv_timer_start(&r->tick, on_tick, TICK_MS, TICK_MS);
}

/* ---- sending ---- */

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
		remote_state(r, SBX_LINK_CONNECTING);
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
		remote_tick(r);
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
	remote_tick(r);
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

/* ---- life ---- */

struct sbx_remote *sbx_remote_new(uv_loop_t *loop, struct sbx_service *svc,
				  const char *id, unsigned int timeout_ms)
{
	struct sbx_remote *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->loop = loop;
	r->svc = svc;
	r->timeout_ms = timeout_ms;
	r->epoch = 1;
	r->last_number = SBX_DIR_FIRST - 1;
	r->held_tail = &r->held;
	sbx_buf_init(&r->scratch, SBX_MESSAGE_MAX);
	r->id = strdup(id);
	if (r->id)
		r->channel =
			sbx_channel_new(loop, svc, id, &channel_handler, r);
	if (!r->channel) {
		free(r->id);
		free(r);
		return NULL;
	}
	uv_timer_init(loop, &r->tick);
	uv_prepare_init(loop, &r->kick);
	r->tick.data = r->kick.data = r;
	r->open_handles = 2;
	return r;
}

void sbx_remote_set_plain(struct sbx_remote *r, const char *why)
{
	sbx_channel_set_plain(r->channel, why);
}

void sbx_remote_set_files(struct sbx_remote *r,
			  const struct sbx_remote_handler *h, void *arg)
{
	r->files = h;
	r->files_arg = arg;
}

void sbx_remote_set_listener(struct sbx_remote *r,
			     const struct sbx_remote_listener *l, void *arg)
{
	r->listener = l;
	r->listener_arg = arg;
}

static void remote_fail_now(struct sbx_remote *r, int err)
{
	sbx_remote_pending_fail_all(r, err);
	sbx_remote_held_clear(r);
	sbx_remote_kick(&r->kick);
	sbx_remote_jobs_lost(r);
}

void sbx_remote_die(struct sbx_remote *r)
{
	if (r->state == SBX_LINK_DEAD)
		return;
	sbx_error_set(&r->error, -ESTALE, "the sandbox is gone");
	remote_state(r, SBX_LINK_DEAD);
	remote_fail_now(r, -ESTALE);
	if (r->files && r->files->on_doubt)
		r->files->on_doubt(r->files_arg, true);
}

void sbx_remote_look_again(struct sbx_remote *r)
{
	if (!r->channel || r->closing || r->state == SBX_LINK_DEAD ||
	    r->state == SBX_LINK_IDLE)
		return;
	r->error = (struct sbx_error){0};
	sbx_channel_look_again(r->channel);
}

void sbx_remote_renew(struct sbx_remote *r)
{
	if (r->channel && !r->closing && r->state != SBX_LINK_DEAD)
		sbx_channel_renew(r->channel);
}

/* Also what is asked for in answer to that. */
static void remote_fail_rest(struct sbx_remote *r)
{
	while (r->nr_pending) {
		sbx_remote_pending_fail_all(r, -ECANCELED);
		sbx_remote_kick(&r->kick);
	}
}

static void on_handle_closed(uv_handle_t *h)
{
	struct sbx_remote *r = h->data;
	void (*fn)(void *arg) = r->on_closed;
	void *arg = r->closed_arg;

	if (--r->open_handles)
		return;
	/* what was asked for since these began to close */
	remote_fail_rest(r);
	sbx_remote_held_clear(r);
	sbx_buf_release(&r->scratch);
	free(r->slots);
	free(r->id);
	free(r);
	if (fn)
		fn(arg);
}

static void on_channel_closed(void *arg)
{
	struct sbx_remote *r = arg;

	r->channel = NULL;
	remote_fail_rest(r);
	uv_close((uv_handle_t *)&r->tick, on_handle_closed);
	uv_close((uv_handle_t *)&r->kick, on_handle_closed);
}

void sbx_remote_close(struct sbx_remote *r, void (*on_closed)(void *arg),
		      void *arg)
{
	r->on_closed = on_closed;
	r->closed_arg = arg;
	if (!r->closing) {
		r->closing = true;
		r->files = NULL;
		r->listener = NULL;
		remote_fail_now(r, -ECANCELED);
	}
	if (r->confirm)
		return; /* on_confirmed comes back here */
	sbx_channel_close(r->channel, on_channel_closed, r);
}

/* ---- questions ---- */

enum sbx_link_state sbx_remote_state(const struct sbx_remote *r)
{
	return r->state;
}

void sbx_remote_describe(const struct sbx_remote *r, char *dst, size_t size)
{
	char when[32];
	struct tm tm;

	gmtime_r(&r->lost_at, &tm);
	strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &tm);
	switch (r->state) {
	case SBX_LINK_IDLE:
		snprintf(dst, size, "not needed yet");
		break;
	case SBX_LINK_CONNECTING:
		snprintf(dst, size, "connecting since %s", when);
		break;
	case SBX_LINK_UP:
		snprintf(dst, size, "up%s",
			 sbx_remote_is_occupied(r)
				 ? "; files wait for the command that runs"
				 : "");
		break;
	case SBX_LINK_LOST:
		snprintf(dst, size, "reconnecting since %s", when);
		break;
	case SBX_LINK_DEAD:
		snprintf(dst, size, "sandbox gone");
		break;
	}
}

const struct sbx_remote_info *sbx_remote_info(const struct sbx_remote *r)
{
	return r->channel ? sbx_channel_info(r->channel) : NULL;
}

uint32_t sbx_remote_epoch(const struct sbx_remote *r)
{
	return r->epoch;
}

const struct sbx_error *sbx_remote_error(const struct sbx_remote *r)
{
	return &r->error;
}

size_t sbx_remote_unsent(const struct sbx_remote *r)
{
	return r->held_bytes +
	       (r->channel ? sbx_channel_unsent(r->channel) : 0);
}

uint64_t sbx_remote_heard_ms(const struct sbx_remote *r)
{
	return r->channel ? sbx_channel_heard_ms(r->channel) : UINT64_MAX;
}

bool sbx_remote_is_occupied(const struct sbx_remote *r)
{
	return r->channel && sbx_channel_is_occupied(r->channel);
}

uint64_t sbx_remote_number(struct sbx_remote *r)
{
	return ++r->last_number;
}
