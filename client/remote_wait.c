/*
 * Requests that wait for their answers, and messages that wait for the helper.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/remote_int.h"

#define TICK_MS	    1000
#define PATIENCE    4 /* times timeout_ms for one answer of a living helper */
#define MAX_PENDING 65534 /* an id ends in 1 to that many; 65535: none */
#define MAX_HELD    (8 * 1024 * 1024) /* bytes of requests while it is down */

struct pending *sbx_remote_pending_find(struct sbx_remote *r, uint32_t id)
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

/* While closing, answers are still given when the channel is gone. */
static void remote_expect(struct sbx_remote *r)
{
	const struct sbx_remote_info *info = sbx_remote_info(r);
	bool listening = r->listening && info && info->silent;

	if (r->channel)
		sbx_channel_expect(r->channel,
				   r->nr_pending > r->nr_lazy || listening);
}

void sbx_remote_pending_defer(struct sbx_remote *r, struct pending *p)
{
	p->haste = r->within_ms == SBX_WHENEVER ? WHENEVER : SOON;
	r->hurries |= p->haste == SOON;
	if (++r->nr_lazy == r->nr_pending)
		remote_expect(r);
}

void sbx_remote_pending_hasten(struct sbx_remote *r)
{
	uint32_t i;

	for (i = 0; i < r->nr_slots; i++) {
		if (!r->slots[i].id || r->slots[i].haste != SOON)
			continue;
		r->slots[i].haste = NOW;
		if (r->nr_lazy-- == r->nr_pending)
			remote_expect(r);
	}
	r->hurries = false;
}

void sbx_remote_listen(struct sbx_remote *r, bool listening)
{
	r->listening = listening;
	remote_expect(r);
}

struct pending *sbx_remote_pending_new(struct sbx_remote *r)
{
	uint32_t i, slot = 0;

	if (r->nr_pending == r->nr_slots && slots_grow(r) < 0)
		return NULL;
	for (i = 0; i < r->nr_slots; i++) {
		slot = (r->next_slot + i) % r->nr_slots;
		if (!r->slots[slot].id)
			break;
	}
	r->next_slot = slot + 1;
	if (r->nr_pending++ == r->nr_lazy)
		remote_expect(r);
	if (!++r->generation)
		r->generation = 1; /* ids stay above 65535: see submit_quiet */
	r->slots[slot].id = (uint32_t)r->generation << 16 | (slot + 1);
	r->slots[slot].order = ++r->last_order;
	return &r->slots[slot];
}

static bool held_drop(struct sbx_remote *r, uint32_t id)
{
	struct held **at = &r->held, *h;

	while ((h = *at) && h->id != id)
		at = &h->next;
	if (!h)
		return false;
	*at = h->next;
	if (r->held_tail == &h->next)
		r->held_tail = at;
	r->held_bytes -= h->len;
	free(h);
	return true;
}

/* It stays here if it has not gone out. */
static bool pending_unsend(struct sbx_remote *r, uint32_t id)
{
	return held_drop(r, id) ||
	       (r->channel && sbx_channel_withdraw(r->channel, id));
}

void sbx_remote_held_clear(struct sbx_remote *r)
{
	struct held *h;

	while ((h = r->held)) {
		r->held = h->next;
		free(h);
	}
	r->held_tail = &r->held;
	r->held_bytes = 0;
}

void sbx_remote_pending_drop(struct sbx_remote *r, struct pending *p)
{
	r->nr_pending--;
	r->nr_lazy -= p->haste != NOW;
	p->id = 0;
	p->fail = 0;
	p->haste = NOW;
	if (r->nr_pending == r->nr_lazy)
		remote_expect(r);
}

void sbx_remote_pending_finish(struct sbx_remote *r, struct pending *p, int err,
			       struct sbx_rd *rd)
{
	struct sbx_rd empty = {0};
	struct pending done = *p;

	sbx_remote_pending_drop(r, p);
	if (!rd)
		pending_unsend(r, done.id);
	done.done(done.arg, err, rd ? rd : &empty);
}

bool sbx_remote_withdraw(struct sbx_remote *r, uint32_t number)
{
	struct pending *p = sbx_remote_pending_find(r, number);

	if (!p || !pending_unsend(r, number))
		return false;
	sbx_remote_pending_finish(r, p, -EINTR, NULL);
	return true;
}

struct failing {
	uint64_t order;
	uint32_t id;
};

static int failing_compare(const void *a, const void *b)
{
	const struct failing *x = a, *y = b;

	return (x->order > y->order) - (x->order < y->order);
}

/* Those that are to fail, the oldest first; NULL without memory. */
static struct failing *failing_list(const struct sbx_remote *r, size_t *ret_nr)
{
	struct failing *list = malloc((r->nr_pending + 1u) * sizeof(*list));
	const struct pending *p;
	size_t nr = 0;
	uint32_t i;

	for (i = 0; list && i < r->nr_slots; i++) {
		p = &r->slots[i];
		if (p->id && p->fail)
			list[nr++] = (struct failing){p->order, p->id};
	}
	*ret_nr = nr;
	if (list)
		qsort(list, nr, sizeof(*list), failing_compare);
	return list;
}

/* In the order in which they were sent: many are sent again at once, and
 * the later ones may count on what the earlier ones did. */
void sbx_remote_kick(uv_prepare_t *k)
{
	struct sbx_remote *r = k->data;
	uint32_t n = r->nr_slots, slot;
	struct failing *list;
	struct pending *p;
	size_t i, nr;

	uv_prepare_stop(k);
	list = failing_list(r, &nr);
	for (i = 0; i < nr; i++) {
		p = sbx_remote_pending_find(r, list[i].id);
		if (p && p->fail)
			sbx_remote_pending_finish(r, p, p->fail, NULL);
	}
	for (slot = 0; !list && slot < n; slot++)
		if (r->slots[slot].id && r->slots[slot].fail)
			sbx_remote_pending_finish(r, &r->slots[slot],
						  r->slots[slot].fail, NULL);
	free(list);
}

void sbx_remote_pending_fail_later(struct sbx_remote *r, struct pending *p,
				   int err)
{
	p->fail = err;
	/* (else it is kicked once more when it has closed) */
	if (!uv_is_closing((uv_handle_t *)&r->kick))
		uv_prepare_start(&r->kick, sbx_remote_kick);
}

void sbx_remote_pending_fail_all(struct sbx_remote *r, int err)
{
	uint32_t i;

	for (i = 0; i < r->nr_slots; i++)
		if (r->slots[i].id && !r->slots[i].fail)
			sbx_remote_pending_fail_later(r, &r->slots[i], err);
}

void sbx_remote_restarted(struct sbx_remote *r)
{
	const struct sbx_remote_info *info = sbx_channel_info(r->channel);
	bool runs = info && info->runs;
	struct held *h, **at = &r->held;
	uint32_t i;

	for (i = 0; i < r->nr_slots; i++)
		if (r->slots[i].id && !r->slots[i].fail &&
		    !(runs && sbx_op_is_of_jobs(r->slots[i].op)))
			sbx_remote_pending_fail_later(r, &r->slots[i],
						      -ERESTART);
	while ((h = *at)) {
		if (runs && sbx_op_is_of_jobs(sbx_msg_op(h->data, h->len))) {
			at = &h->next;
			continue;
		}
		*at = h->next;
		r->held_bytes -= h->len;
		free(h);
	}
	r->held_tail = at;
	if (!runs)
		sbx_remote_jobs_lost(r);
}

/* ---- how long ---- */

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

void sbx_remote_tick(struct sbx_remote *r)
{
	if (!uv_is_active((uv_handle_t *)&r->tick) && !r->closing)
		uv_timer_start(&r->tick, on_tick, TICK_MS, TICK_MS);
}

/* ---- for the helper ---- */

int sbx_remote_held_add(struct sbx_remote *r, uint32_t id)
{
	size_t len = sbx_buf_len(&r->scratch);
	size_t max = id ? MAX_HELD : 2 * MAX_HELD;
	struct held *h;

	/* what nobody waits for is small, and would be missed for good */
	if (r->held_bytes + len > max)
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

void sbx_remote_held_send(struct sbx_remote *r)
{
	struct held *h;

	for (h = r->held; h; h = h->next) {
		struct pending *p = sbx_remote_pending_find(r, h->id);

		if (sbx_channel_send(r->channel, h->id, h->data, h->len) < 0 &&
		    p)
			sbx_remote_pending_fail_later(r, p, -ENOMEM);
	}
	sbx_remote_held_clear(r);
}
