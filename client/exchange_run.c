/*
 * One run of an exchange: what goes into it, and what its answer means.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/exchange_int.h"
#include "client/helper/batch_call.h"
#include "client/log.h"
#include "client/wire/base64.h"

#define WAIT_MS	      20000 /* for the answers of one batch */
#define PARK_MS	      45000
#define RUN_MS	      60000 /* of one run of ours */
#define SOON_MS	      20    /* nothing else follows on an answer so late */
#define MAX_NONSENSE  4	    /* answers in a row, before it is believed */
#define ANSWER_MAX    ((size_t)2 << 20)
#define BATCH_ROOM(x) ((x)->lim->input / 4 * 3 - 16)

/* ---- the link ---- */

/* The helper is there. */
static void exchange_greet(struct sbx_exchange *x, const struct sbx_hello *h,
			   bool fresh)
{
	bool was_up = x->up;

	x->info = h->info;
	x->info.runs = x->lim->commands;
	x->info.silent = !x->lim->parks;
	x->instance = h->instance;
	x->up = true;
	x->told_down = false;
	x->error.err = 0;
	if (!was_up || fresh)
		x->h->on_up(x->arg, fresh);
	if (fresh && x->lim->commands && !x->closing)
		exchange_resend(x);
}

static int on_hello(struct sbx_exchange *x, const struct sbx_hello *h)
{
	int r;

	if (x->greeted || !sbx_hello_fits(h, x->session))
		return -EPROTO;
	x->greeted = true;
	if (x->instance && x->instance != h->instance) {
		/* what else it says would be of a link that is reset */
		exchange_reset(x);
		sbx_link_deafen(x->link);
		x->ended = true;
		exchange_greet(x, h, true);
		return h->received ? -EPROTO : 0;
	}
	r = sbx_link_confirm(x->link, h->received);
	if (r == 0)
		exchange_greet(x, h, false);
	return r;
}

static int on_control(void *arg, const uint8_t *data, size_t len)
{
	struct sbx_exchange *x = arg;
	struct sbx_hello h;
	int r;

	r = sbx_hello_parse(&h, data, len);
	if (r < 0)
		return r;
	if (h.instance)
		return on_hello(x, &h);
	x->ended = true;
	x->more = h.more || h.owed;
	return 0;
}

static int on_message(void *arg, const uint8_t *data, size_t len)
{
	struct sbx_exchange *x = arg;

	return x->greeted ? x->h->on_message(x->arg, data, len) : -EPROTO;
}

void exchange_deliver(struct sbx_exchange *x, const struct sbx_buf *msg)
{
	if (!msg->err && !x->closing)
		x->h->on_message(x->arg, sbx_buf_at(msg), sbx_buf_len(msg));
}

struct sbx_link *exchange_link_new(struct sbx_exchange *x)
{
	struct sbx_link_conf conf = {
		.frame_max_out = SBX_FRAME_MAX_TO_HELPER,
		.frame_max_in = SBX_FRAME_MAX_TO_CLIENT,
		.window_out = SBX_WINDOW_TO_HELPER,
		.window_in = SBX_WINDOW_TO_CLIENT,
		.on_message = on_message,
		.on_control = on_control,
		.arg = x,
	};

	/* beside the hello, which goes in first */
	if (conf.frame_max_out > BATCH_ROOM(x) - 512)
		conf.frame_max_out = BATCH_ROOM(x) - 512;
	return sbx_link_new(&conf);
}

static int exchange_attach(struct sbx_exchange *x)
{
	struct sbx_buf b;
	int r;

	sbx_buf_init(&b, 1024);
	sbx_hello_put(&b, x->session, x->instance, sbx_link_received(x->link),
		      0);
	r = b.err ? b.err
		  : sbx_link_attach_known(x->link, sbx_buf_at(&b),
					  sbx_buf_len(&b));
	sbx_buf_release(&b);
	return r;
}

/* Everything that is not acknowledged, as far as it goes in, as text. */
static int exchange_put_batch(struct sbx_exchange *x, struct sbx_buf *input)
{
	size_t max = BATCH_ROOM(x), len = 0, n, lazy;
	uint8_t *room;
	int r;

	exchange_queue_hasten(&x->queue, false);
	lazy = x->queue.lazy;
	r = exchange_queue_give(&x->queue, x->link, max);
	x->lazy_sent += lazy - x->queue.lazy;
	if (r < 0)
		return r;
	while ((n = sbx_link_output(x->link, x->unit + len, max - len)))
		len += n;
	/* of what does not go in all is worth the next run */
	if (x->queue.first || sbx_link_queued(x->link)) {
		exchange_queue_hasten(&x->queue, true);
		x->lazy_sent = 0;
	}
	uv_timer_stop(&x->hurry);
	room = sbx_buf_room(input, SBX_BASE64_LEN(len) + 2);
	if (!room)
		return -ENOMEM;
	sbx_base64_put((char *)room, x->unit, len);
	memcpy(room + SBX_BASE64_LEN(len), "\n", 2);
	sbx_buf_added(input, SBX_BASE64_LEN(len) + 2);
	return 0;
}

/* ---- runs ---- */

static void on_run_done(struct sbx_run *run);

/* A run's command and input are written: off it goes. */
static void exchange_start_run(struct sbx_exchange *x, struct exchange_run *r,
			       enum exchange_what what, bool parks)
{
	r->run = (struct sbx_run){
		.command = (char *)sbx_buf_at(&r->command),
		.input = (char *)sbx_buf_at(&r->input),
		.timeout_ms = RUN_MS + (parks ? PARK_MS : 0),
		.ours = true,
		.parks = parks,
		.done = on_run_done,
		.arg = r,
	};
	r->busy = true;
	r->what = what;
	r->begun_ms = uv_now(x->loop);
	if (!parks && !x->asked_ms)
		x->asked_ms = uv_now(x->loop);
	x->current = r;
	x->svc->type->run(x->svc, x->id, &r->run);
}

static struct exchange_run *exchange_free_run(struct sbx_exchange *x)
{
	struct exchange_run *r = &x->runs[0];

	if (r->busy)
		r = x->lim->parks ? &x->runs[1] : r;
	if (r->busy)
		return NULL;
	sbx_buf_clear(&r->command);
	sbx_buf_clear(&r->input);
	return sbx_session_make(r->mark) < 0 ? NULL : r;
}

static void exchange_no_memory(struct sbx_exchange *x)
{
	struct sbx_error e;

	sbx_link_detach(x->link);
	sbx_error_set(&e, -ENOMEM, "out of memory");
	e.retry = SBX_RETRY_LATER;
	exchange_failed(x, &e);
}

static struct exchange_call exchange_call_of(const struct sbx_exchange *x,
					     const struct exchange_run *r,
					     unsigned int park_ms)
{
	size_t most = x->output / 4 * 3 - 4096;

	return (struct exchange_call){
		.session = x->session,
		.mark = r->mark,
		.old_pid = x->old_pid,
		.wait_ms = WAIT_MS,
		.park_ms = park_ms,
		.max_bytes = most < ANSWER_MAX ? most : ANSWER_MAX,
	};
}

bool exchange_call(struct sbx_exchange *x, bool parks, bool quits)
{
	struct exchange_run *r = exchange_free_run(x);
	struct exchange_call c;
	struct sbx_buf quit;
	int err;

	if (!r)
		return false;
	c = exchange_call_of(x, r, parks ? PARK_MS : 0);
	x->stays = false;
	exchange_put_call(&r->command, &c);
	err = exchange_attach(x);
	if (!err && quits) {
		sbx_buf_init(&quit, 64);
		sbx_hello_put_quit(&quit);
		sbx_link_send_control(x->link, sbx_buf_at(&quit),
				      sbx_buf_len(&quit));
		sbx_buf_release(&quit);
	}
	if (!err)
		err = exchange_put_batch(x, &r->input);
	if (err < 0 || r->command.err)
		exchange_no_memory(x);
	else
		exchange_start_run(x, r, quits ? EXCHANGE_QUIT : EXCHANGE_CALL,
				   parks);
	return true;
}

bool exchange_piece(struct sbx_exchange *x)
{
	struct exchange_run *r = exchange_free_run(x);
	struct exchange_call c;

	if (!r)
		return false;
	c = exchange_call_of(x, r, 0);
	exchange_put_piece(&r->command, &r->input, &x->upload, &c,
			   BATCH_ROOM(x));
	if (r->command.err || r->input.err)
		exchange_no_memory(x);
	else
		exchange_start_run(x, r, EXCHANGE_PIECE, false);
	return true;
}

/* ---- what came of one ---- */

static void exchange_nonsense(struct sbx_exchange *x, const struct sbx_run *run)
{
	struct sbx_error e;

	sbx_log(SBX_LOG_DEBUG, "exchange", "%s: exit status %d, \"%.60s\"",
		x->id, run->exit_code, run->err ? run->err : "");
	if (run->exit_code == BATCH_NO_DAEMON)
		sbx_error_set(&e, -EOPNOTSUPP,
			      "the helper found no folder for its socket in "
			      "the sandbox, or could not be started: %.60s",
			      run->err ? run->err : "");
	else
		sbx_error_set(&e, -EPROTO,
			      "the sandbox answered nonsense in place of the "
			      "helper (exit status %d): %.60s",
			      run->exit_code, run->err ? run->err : "");
	/* one that was cut off while it started is started again */
	if (++x->nonsense < MAX_NONSENSE)
		e.retry = SBX_RETRY_LATER;
	exchange_failed(x, &e);
}

void exchange_new_session(struct sbx_exchange *x)
{
	exchange_reset(x);
	sbx_session_make(x->session);
	x->instance = x->instance ? UINT64_MAX : 0;
}

/* What r answers was true when it ran: not before it was begun.  A parked one
 * answers at once when something happens. */
static uint64_t exchange_true_ms(const struct exchange_run *r)
{
	return r->run.parks ? uv_now(r->x->loop) : r->begun_ms;
}

/* One that is busy says that there is more before it has it; one that never has
 * it must not be asked without end. */
static void exchange_count_empty(struct sbx_exchange *x, uint32_t received,
				 size_t unacked)
{
	bool brought = sbx_link_received(x->link) != received ||
		       sbx_link_unacked(x->link) != unacked;

	x->empty = x->more && !brought ? x->empty + 1 : 0;
}

static void exchange_answer(struct sbx_exchange *x,
			    const struct exchange_run *run, uint8_t *data,
			    size_t len)
{
	uint32_t received = sbx_link_received(x->link);
	size_t unacked = sbx_link_unacked(x->link);
	int r;

	x->greeted = x->ended = x->more = false;
	r = sbx_link_input(x->link, data, len);
	free(data);
	sbx_link_detach(x->link);
	if (r < 0 || !x->greeted || !x->ended) {
		if (sbx_link_is_broken(x->link))
			exchange_new_session(x);
		x->more = true;
		exchange_nonsense(x, &run->run);
		return;
	}
	exchange_count_empty(x, received, unacked);
	x->nonsense = x->failures = x->old_pid = 0;
	x->answered_ms = uv_now(x->loop);
	x->asked_ms = 0;
	x->lazy_sent = 0;
	exchange_stay(x);
	x->upload.plant.blob = NULL;
	x->upload.plant.rounds = 0;
	if (x->closing)
		return;
	/* one that brought something by itself was not parked in vain */
	x->soon_until = run->run.parks ? 0 : uv_now(x->loop) + SOON_MS;
	if (!x->more)
		x->heard_ms = exchange_true_ms(run);
	else if (x->output < x->output_most && run->run.out_len > x->output / 4)
		x->output *= 2;
	exchange_jobs_told(x);
	if (x->resends && x->resends--)
		x->resent = x->queue.nr;
	if (x->empty > 1)
		exchange_poll_later(x);
}

static void exchange_impossible(struct sbx_exchange *x,
				const struct sbx_error *why)
{
	sbx_log(SBX_LOG_WARNING, "exchange", "%s: %s", x->id, why->text);
	x->upload.plant.blob = NULL;
	exchange_tell_down(x, why, false);
}

/* The service gives less of what is printed than was tried: it is not tried
 * again.  What was cut comes again. */
static void exchange_cut(struct sbx_exchange *x, const struct exchange_run *r)
{
	if (x->output <= x->lim->output) {
		exchange_nonsense(x, &r->run);
		return;
	}
	x->output /= 2;
	x->output_most = x->output;
	x->more = true;
	sbx_log(SBX_LOG_INFO, "exchange",
		"%s: an answer was cut; asking for %zu bytes at most", x->id,
		x->output);
}

static void exchange_said(struct sbx_exchange *x, const struct exchange_run *r,
			  enum exchange_said said, const struct sbx_error *e)
{
	struct sbx_error why;

	switch (said) {
	case EXCHANGE_SAID_IMPOSSIBLE:
		exchange_impossible(x, e);
		return;
	case EXCHANGE_SAID_NEED:
	case EXCHANGE_SAID_GOT:
		x->failures = x->nonsense = 0;
		if (x->upload.plant.rounds <= SBX_PLANT_ROUNDS)
			return;
		sbx_error_set(&why, -EOPNOTSUPP,
			      "the helper does not stay in the sandbox");
		x->upload.plant.rounds = 0;
		exchange_impossible(x, &why);
		return;
	case EXCHANGE_SAID_DONE:
		x->failures = x->nonsense = 0;
		x->upload.plant.blob = NULL;
		return;
	case EXCHANGE_SAID_PART:
		exchange_cut(x, r);
		return;
	case EXCHANGE_SAID_NOTHING:
	case EXCHANGE_SAID_BATCH:
		exchange_nonsense(x, &r->run);
		return;
	}
}

static void on_run_done(struct sbx_run *run)
{
	struct exchange_run *r = run->arg;
	struct sbx_exchange *x = r->x;
	bool stale = x->current != r;
	enum exchange_said said;
	struct sbx_error e = {0};
	uint8_t *data = NULL;
	size_t len = 0;

	if (!stale)
		x->current = NULL;
	if (stale || x->closing) {
		/* another has taken its place: what it says comes again */
	} else if (run->error.err) {
		sbx_link_detach(x->link);
		e = run->error;
		if (run->maybe_done && e.retry == SBX_RETRY_NEVER &&
		    e.err != -ENOENT)
			e.retry = SBX_RETRY_LATER;
		exchange_failed(x, &e);
	} else {
		said = exchange_parse(run->out, r->mark, &x->upload, &data,
				      &len, &e);
		if (said == EXCHANGE_SAID_BATCH && r->what == EXCHANGE_CALL)
			exchange_answer(x, r, data, len);
		else
			exchange_said(x, r, said, &e);
	}
	sbx_run_release(run);
	r->busy = false; /* not before: who hears of it may want another run */
	exchange_run_over(x);
}
