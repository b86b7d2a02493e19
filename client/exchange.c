/*
 * An exchange's life, and when something is run: see exchange.h.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/exchange_int.h"
#include "client/random.h"
#include "client/wire/proto.h"

#define QUIT_MS	     1000
#define RETRY_MIN_MS 200
#define RETRY_MAX_MS 5000
#define POLL_MIN_MS  250 /* for what is waited for, and not pushed */
#define POLL_MAX_MS  4000
#define LAZY_MAX     16384
#define STAY_MS	     (SBX_BATCH_LINGER_S / 3 * 1000)
#define RESENDS	     3 /* what is opened anew is written to, and so on */

void exchange_reset(struct sbx_exchange *x)
{
	exchange_queue_clear(&x->queue);
	sbx_link_reset(x->link);
	x->lazy_sent = 0;
	uv_timer_stop(&x->hurry);
}

/* ---- what is next ---- */

void exchange_tell_down(struct sbx_exchange *x, const struct sbx_error *why,
			bool retrying)
{
	x->error = *why;
	x->up = false;
	if (!retrying) {
		x->started = false;
		x->failures = x->nonsense = 0;
	}
	/* what is said again and again fails who has come meanwhile */
	if (x->told_down && retrying && why->retry != SBX_RETRY_RESUME)
		return;
	x->told_down = true;
	x->h->on_down(x->arg, why, retrying);
}

static void on_due(uv_timer_t *t)
{
	struct sbx_exchange *x = t->data;

	x->more |= x->polling && x->expecting && !x->lim->parks;
	x->gathering = x->pausing = x->polling = false;
	if (x->resends)
		x->resent = x->queue.nr;
	exchange_plan(x);
}

void exchange_resend(struct sbx_exchange *x)
{
	x->resends = RESENDS;
	/* its owner is asked to, and does before the loop waits */
	x->gathering = true;
	uv_timer_start(&x->due, on_due, x->lim->gather_ms, 0);
}

/*
 * The first failure is not worth a word: the run is made again at once.
 * Then pauses grow, until one says something again.
 */
void exchange_failed(struct sbx_exchange *x, const struct sbx_error *why)
{
	unsigned int ms = RETRY_MIN_MS;
	bool retry = why->retry != SBX_RETRY_NEVER;

	if (why->err == -ECANCELED || x->closing)
		return;
	if (!retry || x->failures || why->retry == SBX_RETRY_RESUME)
		exchange_tell_down(x, why, retry);
	if (!retry || x->closing)
		return;
	ms <<= x->failures < 8 ? x->failures : 8;
	if (ms > RETRY_MAX_MS)
		ms = RETRY_MAX_MS;
	ms = x->failures++ ? sbx_random_between(ms / 2, ms) : 0;
	x->pausing = true;
	/* who asks of one that must be resumed first is answered at once */
	x->polling = why->retry == SBX_RETRY_RESUME;
	uv_timer_start(&x->due, on_due, ms, 0);
}

static size_t exchange_unsent(const struct sbx_carrier *c)
{
	const struct sbx_exchange *x = (const struct sbx_exchange *)c;
	size_t n = x->queue.bytes + sbx_link_queued(x->link) +
		   sbx_link_unacked(x->link);
	size_t lazy = x->queue.lazy + x->lazy_sent;

	return n > lazy ? n - lazy : 0;
}

/* Something is queued, or not acknowledged, that is worth a run. */
static bool exchange_wants(const struct sbx_exchange *x)
{
	return exchange_unsent(&x->base) || x->queue.lazy > LAZY_MAX;
}

static void exchange_idle(struct sbx_exchange *x, unsigned int ms)
{
	x->pausing = x->polling = true;
	uv_timer_start(&x->due, on_due, ms, 0);
}

void exchange_poll_later(struct sbx_exchange *x)
{
	unsigned int ms = POLL_MIN_MS << (x->polls < 6 ? x->polls : 6);

	x->polls++;
	exchange_idle(x, ms < POLL_MAX_MS ? ms : POLL_MAX_MS);
}

static bool exchange_is_soon(const struct sbx_exchange *x)
{
	return uv_now(x->loop) < x->soon_until;
}

/*
 * What is said next takes the place of the one that is parked: while one
 * thing follows on the other, each would be parked in vain and cost as much
 * as an exchange.
 */
static void exchange_park(struct sbx_exchange *x)
{
	if (x->hasty && exchange_is_soon(x) && !x->expecting)
		exchange_idle(x,
			      (unsigned int)(x->soon_until - uv_now(x->loop)));
	else
		exchange_call(x, true, false);
}

/* A command of the user's, or what must be said before it, or nothing. */
static bool exchange_take_turn(struct sbx_exchange *x)
{
	enum exchange_turn turn = EXCHANGE_TURN_NONE;

	if (x->up && !x->more)
		turn = x->jobs && exchange_queue_has(&x->queue, x->resent)
			       ? EXCHANGE_TURN_BEFORE
			       : exchange_jobs_run(x);
	if (turn == EXCHANGE_TURN_BEFORE ||
	    (turn == EXCHANGE_TURN_NONE &&
	     (!x->up || x->more || x->stays || exchange_wants(x)))) {
		x->hasty = exchange_is_soon(x);
		exchange_call(x, false, false);
	} else if (turn == EXCHANGE_TURN_NONE) {
		return false;
	}
	return true;
}

void exchange_plan(struct sbx_exchange *x)
{
	bool parked = x->current && x->current->run.parks;

	if (x->closing || !x->started || x->gathering || x->pausing || x->job ||
	    (x->current && !parked))
		return;
	if (x->refused) {
		exchange_tell_down(x, &x->error, false);
		return;
	}
	/* nobody wants anything of what cannot be reached; but what is pushed
	 * is waited for by who asks nothing */
	if (!x->up && x->told_down && !x->expecting && !x->lim->parks &&
	    !x->stays && !exchange_unsent(&x->base)) {
		x->started = false;
		return;
	}
	if (x->upload.plant.blob) {
		exchange_piece(x);
	} else if (exchange_take_turn(x) || parked) {
		return;
	} else if (x->lim->parks) {
		exchange_park(x);
	} else if (x->expecting) {
		exchange_poll_later(x);
	}
}

/*
 * What wants no answer and changes nothing that anybody could see: it goes
 * along with the next run, and is not worth one.
 */
static bool is_lazy(uint32_t id, const void *data, size_t len)
{
	uint32_t op = sbx_msg_op(data, len);

	return !id && (op == SBX_OP_DIR || op == SBX_OP_FORGET ||
		       op == SBX_OP_CLOSE || op == SBX_OP_CREDS);
}

/* There is something to be said: a run is on its way, or is begun soon. */
static void exchange_stir(struct sbx_exchange *x)
{
	x->started = true;
	x->polls = 0;
	/* a run under way, or a pause after a failure, gathers, too */
	if (x->polling)
		x->pausing = x->polling = false;
	if (!x->pausing && !x->gathering &&
	    (!x->current || x->current->run.parks)) {
		x->gathering = true;
		uv_timer_start(&x->due, on_due, x->lim->gather_ms, 0);
	}
}

static void on_hurry(uv_timer_t *t)
{
	struct sbx_exchange *x = t->data;

	uint64_t due = exchange_queue_due(&x->queue), now = uv_now(x->loop);

	if (!due || x->closing)
		return;
	if (due > now) {
		uv_timer_start(t, on_hurry, due - now, 0);
		return;
	}
	exchange_queue_hasten(&x->queue, false);
	exchange_stir(x);
}

/*
 * The helper ends when it is not called for long (SBX_BATCH_LINGER_S), and with
 * it what it holds for us.  Nobody can call it while a command of the user's
 * runs, so it is tried well before.
 */
static void on_stay(uv_timer_t *t)
{
	struct sbx_exchange *x = t->data;
	uint64_t ms = x->lim->stay_ms ? x->lim->stay_ms : STAY_MS;
	uint64_t silence = uv_now(x->loop) - x->answered_ms;
	bool calls = silence >= ms;

	uv_timer_start(t, on_stay, calls ? ms : ms - silence, 0);
	if (calls && x->h->holds && x->h->holds(x->arg)) {
		x->stays = true;
		exchange_stir(x);
	}
}

void exchange_stay(struct sbx_exchange *x)
{
	if (!x->closing && !uv_is_active((uv_handle_t *)&x->stay))
		on_stay(&x->stay);
}

static void exchange_defer(struct sbx_carrier *c, unsigned int ms)
{
	struct sbx_exchange *x = (struct sbx_exchange *)c;

	x->within_ms = ms;
}

static void exchange_hasten(struct sbx_carrier *c)
{
	struct sbx_exchange *x = (struct sbx_exchange *)c;

	if (!uv_is_active((uv_handle_t *)&x->hurry))
		return;
	uv_timer_stop(&x->hurry);
	if (exchange_queue_due(&x->queue) && !x->closing) {
		exchange_queue_hasten(&x->queue, false);
		exchange_stir(x);
	}
}

static void exchange_relax(struct sbx_carrier *c, uint32_t id)
{
	struct sbx_exchange *x = (struct sbx_exchange *)c;

	exchange_queue_relax(&x->queue, id);
}

static int exchange_send(struct sbx_carrier *c, uint32_t id, const void *data,
			 size_t len)
{
	struct sbx_exchange *x = (struct sbx_exchange *)c;
	bool waits = x->within_ms && x->within_ms != SBX_WHENEVER;
	bool lazy = x->within_ms || is_lazy(id, data, len);
	uint64_t due = waits ? uv_now(x->loop) + x->within_ms : 0;
	int r = -EOPNOTSUPP;

	if (x->lim->commands)
		r = exchange_asked_add(x, data, len);
	if (r == -EOPNOTSUPP)
		r = exchange_queue_add(&x->queue, id, data, len, lazy, due);
	if (r < 0 || x->closing)
		return r;
	if (waits && !uv_is_active((uv_handle_t *)&x->hurry))
		uv_timer_start(&x->hurry, on_hurry, x->within_ms, 0);
	if (!lazy || exchange_wants(x))
		exchange_stir(x);
	return 0;
}

static bool exchange_withdraw(struct sbx_carrier *c, uint32_t id)
{
	struct sbx_exchange *x = (struct sbx_exchange *)c;

	return exchange_queue_drop(&x->queue, id);
}

static void exchange_expect(struct sbx_carrier *c, bool expecting)
{
	struct sbx_exchange *x = (struct sbx_exchange *)c;

	x->expecting = expecting;
	x->polls = 0;
}

/* ---- life ---- */

static void exchange_start(struct sbx_carrier *c)
{
	struct sbx_exchange *x = (struct sbx_exchange *)c;

	if (x->started || x->closing)
		return;
	x->started = true;
	x->gathering = true;
	uv_timer_start(&x->due, on_due, 0, 0);
}

static void exchange_renew(struct sbx_carrier *c)
{
	struct sbx_exchange *x = (struct sbx_exchange *)c;

	if (!x->instance || x->closing)
		return;
	x->old_pid = x->info.pid;
	/* what is under way is of the old one */
	x->current = NULL;
	sbx_link_detach(x->link);
	exchange_new_session(x);
	x->more = true;
	x->heard_ms = 0;
	exchange_plan(x);
}

static void exchange_look_again(struct sbx_carrier *c)
{
	struct sbx_exchange *x = (struct sbx_exchange *)c;

	if (x->started && x->pausing && !x->closing)
		uv_timer_start(&x->due, on_due, 0, 0);
}

static void on_freed(uv_handle_t *handle)
{
	struct sbx_exchange *x = handle->data;
	void (*fn)(void *arg) = x->on_closed;
	void *arg = x->closed_arg;
	size_t i;

	if (--x->open_handles)
		return;
	exchange_asked_free(x);
	exchange_jobs_free(x);
	exchange_queue_clear(&x->queue);
	for (i = 0; i < 2; i++) {
		sbx_buf_release(&x->runs[i].command);
		sbx_buf_release(&x->runs[i].input);
	}
	sbx_link_free(x->link);
	free(x->unit);
	free(x->id);
	free(x);
	if (fn)
		fn(arg);
}

static void exchange_cancel(struct sbx_exchange *x)
{
	size_t i;

	for (i = 0; i < 2; i++)
		if (x->runs[i].busy)
			x->svc->type->run_cancel(x->svc, &x->runs[i].run);
}

static void on_quit_due(uv_timer_t *t)
{
	exchange_cancel(t->data);
}

void exchange_run_over(struct sbx_exchange *x)
{
	if (!x->closing) {
		exchange_plan(x);
		return;
	}
	if (x->runs[0].busy || x->runs[1].busy || x->job ||
	    uv_is_closing((uv_handle_t *)&x->due))
		return;
	if (x->quits) {
		x->quits = false;
		sbx_link_detach(x->link);
		uv_timer_start(&x->due, on_quit_due, QUIT_MS, 0);
		exchange_call(x, false, true);
		if (x->current)
			return;
	}
	uv_close((uv_handle_t *)&x->due, on_freed);
	uv_close((uv_handle_t *)&x->asked.late, on_freed);
	uv_close((uv_handle_t *)&x->hurry, on_freed);
	uv_close((uv_handle_t *)&x->stay, on_freed);
}

static void exchange_close(struct sbx_carrier *c, void (*on_closed)(void *arg),
			   void *arg)
{
	struct sbx_exchange *x = (struct sbx_exchange *)c;

	x->quits = x->up;
	x->on_closed = on_closed;
	x->closed_arg = arg;
	x->closing = true;
	uv_timer_stop(&x->due);
	uv_timer_stop(&x->asked.late);
	uv_timer_stop(&x->stay);
	exchange_jobs_close(x);
	exchange_cancel(x);
	exchange_run_over(x);
}

/* ---- questions ---- */

static bool exchange_is_up(const struct sbx_carrier *c)
{
	const struct sbx_exchange *x = (const struct sbx_exchange *)c;

	return x->up;
}

static bool exchange_is_trying(const struct sbx_carrier *c)
{
	const struct sbx_exchange *x = (const struct sbx_exchange *)c;

	return x->started && !x->up;
}

static const struct sbx_remote_info *exchange_info(const struct sbx_carrier *c)
{
	const struct sbx_exchange *x = (const struct sbx_exchange *)c;

	return x->instance ? &x->info : NULL;
}

static uint64_t exchange_heard_ms(const struct sbx_carrier *c)
{
	const struct sbx_exchange *x = (const struct sbx_exchange *)c;

	return x->heard_ms;
}

static uint64_t exchange_answered_ms(const struct sbx_carrier *c)
{
	const struct sbx_exchange *x = (const struct sbx_exchange *)c;

	return x->answered_ms;
}

static uint64_t exchange_asked_ms(const struct sbx_carrier *c)
{
	const struct sbx_exchange *x = (const struct sbx_exchange *)c;

	return x->asked_ms;
}

static bool exchange_is_occupied(const struct sbx_carrier *c)
{
	const struct sbx_exchange *x = (const struct sbx_exchange *)c;

	return x->job;
}

static const struct sbx_carrier_type exchange_carrier = {
	.start = exchange_start,
	.renew = exchange_renew,
	.look_again = exchange_look_again,
	.close = exchange_close,
	.send = exchange_send,
	.defer = exchange_defer,
	.hasten = exchange_hasten,
	.relax = exchange_relax,
	.withdraw = exchange_withdraw,
	.expect = exchange_expect,
	.is_up = exchange_is_up,
	.is_trying = exchange_is_trying,
	.info = exchange_info,
	.unsent = exchange_unsent,
	.heard_ms = exchange_heard_ms,
	.answered_ms = exchange_answered_ms,
	.asked_ms = exchange_asked_ms,
	.is_occupied = exchange_is_occupied,
};

/* ---- the beginning ---- */

struct sbx_carrier *sbx_exchange_new(uv_loop_t *loop, struct sbx_service *svc,
				     const char *id,
				     const struct sbx_channel_handler *h,
				     void *arg)
{
	const struct sbx_run_limits *lim = svc->type->run_limits;
	struct sbx_exchange *x = calloc(1, sizeof(*x));
	size_t i;

	if (!x)
		return NULL;
	x->base.type = &exchange_carrier;
	x->loop = loop;
	x->svc = svc;
	x->lim = lim;
	x->output = lim->output;
	x->output_most = lim->output_most;
	x->h = h;
	x->arg = arg;
	x->id = strdup(id);
	x->link = exchange_link_new(x);
	x->unit = malloc(lim->input);
	for (i = 0; i < 2; i++) {
		x->runs[i].x = x;
		sbx_buf_init(&x->runs[i].command, EXCHANGE_COMMAND);
		sbx_buf_init(&x->runs[i].input, lim->input + 2);
	}
	if (!x->id || !x->link || !x->unit ||
	    sbx_session_make(x->session) < 0) {
		sbx_link_free(x->link);
		free(x->unit);
		free(x->id);
		free(x);
		return NULL;
	}
	exchange_queue_init(&x->queue);
	uv_timer_init(loop, &x->due);
	exchange_asked_init(x);
	uv_timer_init(loop, &x->hurry);
	uv_timer_init(loop, &x->stay);
	x->due.data = x->hurry.data = x->stay.data = x;
	x->open_handles = 4;
	return &x->base;
}

void sbx_exchange_refuse(struct sbx_carrier *c, const char *why)
{
	struct sbx_exchange *x = (struct sbx_exchange *)c;

	sbx_error_set(&x->error, -EOPNOTSUPP,
		      "%s; this service needs the helper", why);
	x->refused = true;
}
