/*
 * Messages that wait for a run of an exchange.  They are given to the link
 * when one starts, and no more of them than go into it: what has not been
 * sent can be taken back, what the link has may have been done.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/exchange_int.h"

/* Bytes that wait.  What nobody waits for is small, and would be missed for
 * good: of that there may be as much again. */
#define MAX_QUEUED ((size_t)16 << 20)

struct exchange_message {
	struct exchange_message *next;
	uint32_t id; /* of the request; 0: nobody waits for its answer */
	bool lazy;
	uint64_t nr, due;
	size_t len;
	uint8_t data[];
};

void exchange_queue_init(struct exchange_queue *q)
{
	*q = (struct exchange_queue){.end = &q->first};
}

int exchange_queue_add(struct exchange_queue *q, uint32_t id, const void *data,
		       size_t len, bool lazy, uint64_t due)
{
	struct exchange_message *m;

	if (!len || len > SBX_MESSAGE_MAX)
		return -EMSGSIZE;
	if (q->bytes + len > (id ? MAX_QUEUED : 2 * MAX_QUEUED))
		return -EAGAIN;
	m = malloc(sizeof(*m) + len);
	if (!m)
		return -ENOMEM;
	m->next = NULL;
	m->id = id;
	m->lazy = lazy;
	m->due = lazy ? due : 0;
	m->nr = ++q->nr;
	m->len = len;
	memcpy(m->data, data, len);
	*q->end = m;
	q->end = &m->next;
	q->bytes += len;
	q->lazy += lazy ? len : 0;
	return 0;
}

void exchange_queue_hasten(struct exchange_queue *q, bool all)
{
	struct exchange_message *m;

	for (m = q->first; m && q->lazy; m = m->next) {
		if (!m->lazy || (!all && !m->due))
			continue;
		q->lazy -= m->len;
		m->lazy = false;
		m->due = 0;
	}
}

uint64_t exchange_queue_due(const struct exchange_queue *q)
{
	const struct exchange_message *m;
	uint64_t due = 0;

	for (m = q->first; m; m = m->next)
		if (m->due && (!due || m->due < due))
			due = m->due;
	return due;
}

void exchange_queue_relax(struct exchange_queue *q, uint32_t id)
{
	struct exchange_message *m = q->first;

	while (m && m->id != id)
		m = m->next;
	if (m)
		m->due = 0;
}

bool exchange_queue_has(const struct exchange_queue *q, uint64_t nr)
{
	return q->first && q->first->nr <= nr;
}

static void queue_take(struct exchange_queue *q, struct exchange_message **at)
{
	struct exchange_message *m = *at;

	*at = m->next;
	if (q->end == &m->next)
		q->end = at;
	q->bytes -= m->len;
	q->lazy -= m->lazy ? m->len : 0;
	free(m);
}

bool exchange_queue_drop(struct exchange_queue *q, uint32_t id)
{
	struct exchange_message **at = &q->first;

	while (*at && (*at)->id != id)
		at = &(*at)->next;
	if (!id || !*at)
		return false;
	queue_take(q, at);
	return true;
}

int exchange_queue_give(struct exchange_queue *q, struct sbx_link *link,
			size_t max)
{
	int r = 0;

	while (!r && q->first && sbx_link_queued(link) < max) {
		r = sbx_link_send(link, q->first->data, q->first->len);
		if (!r)
			queue_take(q, &q->first);
	}
	return r;
}

void exchange_queue_clear(struct exchange_queue *q)
{
	while (q->first)
		queue_take(q, &q->first);
}
