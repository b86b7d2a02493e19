#include "client/remote.h"

#include <assert.h>
#include <errno.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/channel.h"
#include "client/log.h"

#define MAX_PENDING   65535 /* a request id holds 16 bits of slot */
#define MAX_JOBS      1024
#define MAX_HELD      (8 * 1024 * 1024) /* bytes of requests while it is down */
#define TICK_MS	      1000
#define PATIENCE      4 /* times timeout_ms for one answer of a living helper */
#define FAIL_AGAIN_MS 1000 /* how long a final failure answers for itself */

/* A request that waits for its answer. */
struct pending {
	uint32_t id; /* 0: the slot is free */
	uint8_t op;
	int fail; /* to be completed with this by the next kick */
	uint64_t since;
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

struct job {
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
	uint16_t generation;
	struct sbx_buf scratch; /* the request being written */
	uint32_t begun_id;
	uint8_t begun_op;
	struct held *held, **held_tail;
	size_t held_bytes;
	void *jobs; /* tsearch tree of struct job */
	unsigned int nr_jobs;

	struct sbx_call *confirm; /* is the sandbox really gone? */
	uv_timer_t tick;
	uv_prepare_t kick;
	unsigned int open_handles;
	bool closing;
	void (*on_closed)(void *arg);
	void *closed_arg;
};

/* ---- requests that wait ---- */

static struct pending *pending_find(struct sbx_remote *r, uint32_t id)
{
	uint32_t slot = (id & 0xffff) - 1;

	if (!id || slot >= r->nr_slots || r->slots[slot].id != id)
		return NULL;
	return &r->slots[slot];
}

static int slots_grow(struct sbx_remote *r)
{
	uint32_t n = r->nr_slots ? r->nr_slots * 2 : 64;
	struct pending *p;

	if (n > MAX_PENDING)
		n = MAX_PENDING;
	if (n == r->nr_slots)
		return -EAGAIN;
	p = realloc(r->slots, n * sizeof(*p));
	if (!p)
		return -ENOMEM;
	memset(p + r->nr_slots, 0, (n - r->nr_slots) * sizeof(*p));
	r->slots = p;
	r->nr_slots = n;
	return 0;
}

/* A free slot with a new id; NULL: too many wait already. */
static struct pending *pending_new(struct sbx_remote *r)
{
	uint32_t i, slot;

	if (r->nr_pending == r->nr_slots && slots_grow(r) < 0)
		return NULL;
	for (i = 0; i < r->nr_slots; i++) {
		slot = (r->next_slot + i) % r->nr_slots;
		if (!r->slots[slot].id)
			break;
	}
	r->next_slot = slot + 1;
	if (!r->nr_pending++)
		sbx_channel_expect(r->channel, true);
	if (!++r->generation)
		r->generation = 1; /* ids stay above 65535: see submit_quiet */
	r->slots[slot].id = (uint32_t)r->generation << 16 | (slot + 1);
	return &r->slots[slot];
}

static void held_drop(struct sbx_remote *r, uint32_t id)
{
	struct held **at = &r->held, *h;

	while ((h = *at) && h->id != id)
		at = &h->next;
	if (!h)
		return;
	*at = h->next;
	if (r->held_tail == &h->next)
		r->held_tail = at;
	r->held_bytes -= h->len;
	free(h);
}

static void held_clear(struct sbx_remote *r)
{
	struct held *h;

	while ((h = r->held)) {
		r->held = h->next;
		free(h);
	}
	r->held_tail = &r->held;
	r->held_bytes = 0;
}

static void pending_finish(struct sbx_remote *r, struct pending *p, int err,
			   struct sbx_rd *rd)
{
	struct sbx_rd empty = {0};
	struct pending done = *p;

	p->id = 0;
	p->fail = 0;
	if (!--r->nr_pending)
		sbx_channel_expect(r->channel, false);
	if (err < 0 && r->held)
		held_drop(r, done.id);
	done.done(done.arg, err, rd ? rd : &empty);
}

static void on_kick(uv_prepare_t *k)
{
	struct sbx_remote *r = k->data;
	uint32_t i, n = r->nr_slots;

	uv_prepare_stop(k);
	for (i = 0; i < n; i++)
		if (r->slots[i].id && r->slots[i].fail)
			pending_finish(r, &r->slots[i], r->slots[i].fail, NULL);
}

static void pending_fail_later(struct sbx_remote *r, struct pending *p, int err)
{
	p->fail = err;
	uv_prepare_start(&r->kick, on_kick);
}

static void pending_fail_all(struct sbx_remote *r, int err)
{
	uint32_t i;

	for (i = 0; i < r->nr_slots; i++)
		if (r->slots[i].id && !r->slots[i].fail)
			pending_fail_later(r, &r->slots[i], err);
}

/* ---- jobs ---- */

static int job_compare(const void *a, const void *b)
{
	const struct job *x = a, *y = b;

	return (x->number > y->number) - (x->number < y->number);
}

static struct job *job_find(struct sbx_remote *r, uint32_t number)
{
	struct job key = {.number = number};
	struct job **at = tfind(&key, &r->jobs, job_compare);

	return at ? *at : NULL;
}

int sbx_remote_job_add(struct sbx_remote *r, uint32_t number,
		       const struct sbx_remote_job *h, void *arg)
{
	struct job *j;

	if (r->nr_jobs >= MAX_JOBS)
		return -EAGAIN;
	j = calloc(1, sizeof(*j));
	if (!j)
		return -ENOMEM;
	j->number = number;
	j->h = h;
	j->arg = arg;
	if (!tsearch(j, &r->jobs, job_compare)) {
		free(j);
		return -ENOMEM;
	}
	r->nr_jobs++;
	return 0;
}

void sbx_remote_job_del(struct sbx_remote *r, uint32_t number)
{
	struct job *j = job_find(r, number);

	if (!j)
		return;
	tdelete(j, &r->jobs, job_compare);
	free(j);
	r->nr_jobs--;
}

static void jobs_lost(struct sbx_remote *r)
{
	while (r->jobs) {
		struct job j = **(struct job **)r->jobs;

		sbx_remote_job_del(r, j.number);
		j.h->on_lost(j.arg);
	}
}

/* ---- what the helper sends ---- */

static int on_reply(struct sbx_remote *r, struct sbx_rd *rd)
{
	struct pending *p = pending_find(r, sbx_get_u32(rd));
	uint32_t err = sbx_get_u32(rd);

	if (rd->err || err > 4095)
		return -EPROTO;
	if (p && !p->fail)
		pending_finish(r, p, -(int)err, rd);
	return 0;
}

static int on_part(struct sbx_remote *r, struct sbx_rd *rd)
{
	struct pending *p = pending_find(r, sbx_get_u32(rd));

	if (rd->err)
		return -EPROTO;
	if (!p || p->fail)
		return 0;
	p->since = uv_now(r->loop);
	if (p->part)
		p->part(p->arg, rd);
	return 0;
}

static int on_change(struct sbx_remote *r, struct sbx_rd *rd)
{
	uint64_t dir = sbx_get_u64(rd);
	size_t len;
	const char *name = sbx_get_name(rd, &len);
	unsigned int what = sbx_get_u32(rd);
	struct sbx_attr attr;
	bool exists = sbx_get_attr(rd, &attr);
	uint32_t cookie = sbx_get_u32(rd);

	if (rd->err)
		return -EPROTO;
	if (r->files && r->files->on_change)
		r->files->on_change(r->files_arg, dir, name ? name : "", len,
				    what, exists ? &attr : NULL, cookie);
	return 0;
}

static int on_output(struct sbx_remote *r, struct sbx_rd *rd)
{
	struct job *j = job_find(r, sbx_get_u32(rd));
	uint32_t stream = sbx_get_u32(rd);
	size_t len;
	const uint8_t *data = sbx_get_bin(rd, &len);
	bool eof = sbx_get_bool(rd);

	if (rd->err || stream < 1 || stream > 2)
		return -EPROTO;
	if (j)
		j->h->on_output(j->arg, (int)stream, data, len, eof);
	return 0;
}

static int on_exit_msg(struct sbx_remote *r, struct sbx_rd *rd)
{
	struct job *j = job_find(r, sbx_get_u32(rd));
	uint32_t code = sbx_get_u32(rd);
	int64_t ms;

	sbx_get_u32(rd); /* the signal is in code, too */
	ms = sbx_get_i64(rd);
	if (rd->err || code > 255)
		return -EPROTO;
	if (j)
		j->h->on_exit(j->arg, (int)code, ms);
	return 0;
}

static int on_event(struct sbx_remote *r, uint32_t type, struct sbx_rd *rd)
{
	size_t len;
	const uint8_t *text;
	uint64_t n;
	uint32_t v;

	switch (type) {
	case SBX_MSG_OVERFLOW:
		if (r->files && r->files->on_doubt)
			r->files->on_doubt(r->files_arg, false);
		return 0;
	case SBX_MSG_UNWATCHED:
		n = sbx_get_u64(rd);
		v = sbx_get_u32(rd);
		if (!rd->err && r->files && r->files->on_unwatched)
			r->files->on_unwatched(r->files_arg, n, (int)v);
		return rd->err;
	case SBX_MSG_PORT:
		v = sbx_get_u32(rd);
		if (v > 65535)
			return -EPROTO;
		if (r->listener && r->listener->on_port)
			r->listener->on_port(r->listener_arg, (uint16_t)v,
					     sbx_get_bool(rd));
		return rd->err;
	case SBX_MSG_LOG:
		sbx_get_u32(rd);
		text = sbx_get_bin(rd, &len);
		if (text)
			sbx_log(SBX_LOG_INFO, "helper", "%.*s",
				(int)(len > 500 ? 500 : len),
				(const char *)text);
		return rd->err;
	default:
		return 0; /* a later version's; ignoring */
	}
}

static int on_channel_message(void *arg, const uint8_t *data, size_t len)
{
	struct sbx_remote *r = arg;
	struct sbx_msg m;
	struct sbx_rd rd;
	uint32_t type;
	int err;

	if (sbx_msg_parse(&m, data, len) < 0)
		return -EPROTO;
	rd = sbx_rd_root(&m);
	type = sbx_get_u32(&rd);
	if (rd.err)
		err = -EPROTO;
	else if (type == SBX_MSG_REPLY)
		err = on_reply(r, &rd);
	else if (type == SBX_MSG_PART)
		err = on_part(r, &rd);
	else if (type == SBX_MSG_CHANGE)
		err = on_change(r, &rd);
	else if (type == SBX_MSG_OUTPUT)
		err = on_output(r, &rd);
	else if (type == SBX_MSG_EXIT)
		err = on_exit_msg(r, &rd);
	else
		err = on_event(r, type, &rd);
	sbx_msg_release(&m);
	return err;
}

/* ---- up and down ---- */

static void remote_state(struct sbx_remote *r, enum sbx_link_state state)
{
	if (r->state == state)
		return;
	r->state = state;
	if (r->listener && r->listener->on_state)
		r->listener->on_state(r->listener_arg, state);
}

static void held_release(struct sbx_remote *r)
{
	struct held *h;

	for (h = r->held; h; h = h->next) {
		struct pending *p = pending_find(r, h->id);

		if (sbx_channel_send(r->channel, h->data, h->len) < 0 && p)
			pending_fail_later(r, p, -ENOMEM);
	}
	held_clear(r);
}

static void on_channel_up(void *arg, bool fresh)
{
	struct sbx_remote *r = arg;

	if (fresh) {
		/* what is held speaks of numbers the new helper lacks */
		r->epoch++;
		pending_fail_all(r, -ERESTART);
		held_clear(r);
		jobs_lost(r);
	}
	r->error.err = 0;
	remote_state(r, SBX_LINK_UP);
	if (fresh && r->files && r->files->on_doubt)
		r->files->on_doubt(r->files_arg, true);
	held_release(r);
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
	sbx_log(SBX_LOG_WARNING, "remote", "%s: %s%s", r->id, why->text,
		retrying ? "; connecting again" : "");
	r->error = *why;
	remote_state(r, r->epoch > 1 || sbx_channel_info(r->channel)
				? SBX_LINK_LOST
				: SBX_LINK_CONNECTING);
	if (why->err == -ENOENT) {
		remote_confirm_gone(r);
	} else if (!retrying) {
		r->failed_at = uv_now(r->loop);
		pending_fail_all(r, why->err);
	}
}

static const struct sbx_channel_handler channel_handler = {
	.on_message = on_channel_message,
	.on_up = on_channel_up,
	.on_down = on_channel_down,
};

static bool op_may_take_long(uint8_t op)
{
	return op == SBX_OP_LOCK || op == SBX_OP_FSYNC || op == SBX_OP_COPY ||
	       op == SBX_OP_HASH || op == SBX_OP_STDIN;
}

static void pending_check(struct sbx_remote *r, struct pending *p, uint64_t now)
{
	uint64_t since = p->since;

	if (r->state == SBX_LINK_UP) {
		if (op_may_take_long(p->op) ||
		    now - since < (uint64_t)PATIENCE * r->timeout_ms)
			return;
	} else {
		if (r->lost_since > since)
			since = r->lost_since;
		if (now - since < r->timeout_ms)
			return;
	}
	pending_fail_later(r, p, -ETIMEDOUT);
}

static void on_tick(uv_timer_t *t)
{
	struct sbx_remote *r = t->data;
	uint64_t now = uv_now(r->loop);
	uint32_t i;

	if (!r->nr_pending) {
		uv_timer_stop(t);
		return;
	}
	for (i = 0; i < r->nr_slots; i++)
		if (r->slots[i].id && !r->slots[i].fail)
			pending_check(r, &r->slots[i], now);
}

/* ---- sending ---- */

struct sbx_buf *sbx_remote_begin(struct sbx_remote *r, enum sbx_wire_op op,
				 unsigned int nr_args)
{
	struct pending *p = pending_new(r);

	r->begun_id = p ? p->id : 0;
	r->begun_op = (uint8_t)op;
	sbx_buf_clear(&r->scratch);
	sbx_put_array(&r->scratch, 2 + nr_args);
	sbx_put_u64(&r->scratch, op);
	sbx_put_u64(&r->scratch, r->begun_id);
	return &r->scratch;
}

static int held_add(struct sbx_remote *r, uint32_t id)
{
	size_t len = sbx_buf_len(&r->scratch);
	struct held *h;

	if (r->held_bytes + len > MAX_HELD)
		return -EAGAIN;
	h = malloc(sizeof(*h) + len);
	if (!h)
		return -ENOMEM;
	h->next = NULL;
	h->id = id;
	h->len = len;
	memcpy(h->data, sbx_buf_at(&r->scratch), len);
	*r->held_tail = h;
	r->held_tail = &h->next;
	r->held_bytes += len;
	return 0;
}

/* Why nothing can be asked now; 0: it can. */
static int remote_refuses(struct sbx_remote *r)
{
	if (r->closing)
		return -ECANCELED;
	if (r->state == SBX_LINK_DEAD)
		return -ESTALE;
	if (r->scratch.err)
		return -E2BIG;
	if (r->error.err && !sbx_channel_is_trying(r->channel) && !r->confirm &&
	    r->state != SBX_LINK_UP &&
	    uv_now(r->loop) - r->failed_at < FAIL_AGAIN_MS)
		return r->error.err;
	return 0;
}

static int remote_send(struct sbx_remote *r, uint32_t id)
{
	int err = remote_refuses(r);

	if (err < 0)
		return err;
	if (r->state == SBX_LINK_UP && !r->held)
		return sbx_channel_send(r->channel, sbx_buf_at(&r->scratch),
					sbx_buf_len(&r->scratch));
	if (r->state == SBX_LINK_IDLE) {
		r->lost_since = uv_now(r->loop);
		r->lost_at = time(NULL);
		remote_state(r, SBX_LINK_CONNECTING);
	}
	if (!r->confirm)
		sbx_channel_start(r->channel);
	return held_add(r, id);
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
	struct pending *p = pending_find(r, r->begun_id);
	int err;

	if (!p) {
		submit_overflow(r, done, arg);
		return UINT32_MAX; /* no slot has this id */
	}
	p->op = r->begun_op;
	p->since = uv_now(r->loop);
	p->done = done;
	p->part = part;
	p->arg = arg;
	if (!uv_is_active((uv_handle_t *)&r->tick) && !r->closing)
		uv_timer_start(&r->tick, on_tick, TICK_MS, TICK_MS);
	err = remote_send(r, p->id);
	if (err < 0)
		pending_fail_later(r, p, err);
	return p->id;
}

/*
 * The id was written by begin before it was known that nobody waits: set it
 * to 0.  It stands behind an array header of one byte and the op, as 0xce and
 * four bytes, since ids are above 65535.
 */
void sbx_remote_submit_quiet(struct sbx_remote *r)
{
	struct pending *p = pending_find(r, r->begun_id);
	size_t at = 1 + (r->begun_op < 128 ? 1 : 2);

	if (!p)
		return;
	p->id = 0;
	if (!--r->nr_pending)
		sbx_channel_expect(r->channel, false);
	if (r->scratch.err)
		return;
	memset(sbx_buf_at(&r->scratch) + at + 1, 0, 4);
	remote_send(r, 0);
}

void sbx_remote_cancel(struct sbx_remote *r, uint32_t number)
{
	struct pending *p = pending_find(r, number);

	if (p)
		pending_finish(r, p, -EINTR, NULL);
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
	pending_fail_all(r, err);
	held_clear(r);
	on_kick(&r->kick);
	jobs_lost(r);
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

static void on_handle_closed(uv_handle_t *h)
{
	struct sbx_remote *r = h->data;
	void (*fn)(void *arg) = r->on_closed;
	void *arg = r->closed_arg;

	if (--r->open_handles)
		return;
	held_clear(r);
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
		snprintf(dst, size, "up");
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
	return sbx_channel_info(r->channel);
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
	return r->held_bytes + sbx_channel_unsent(r->channel);
}

uint64_t sbx_remote_number(struct sbx_remote *r)
{
	return ++r->last_number;
}
