/*
 * Messages that wait for a run of an exchange.  They are given to the link
 * when one starts, and no more of them than go into it: what has not been
 * sent can be taken back, what the link has may have been done.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/exchange_int.h"

struct exchange_message {
	struct exchange_message *next;
	uint32_t id; /* of the request; 0: nobody waits for its answer */
	size_t len;
	uint8_t data[];
};

void exchange_queue_init(struct exchange_queue *q)
{
	*q = (struct exchange_queue){.end = &q->first};
}

int exchange_queue_add(struct exchange_queue *q, uint32_t id, const void *data,
		       size_t len)
{
	struct exchange_message *m;

	if (!len || len > SBX_MESSAGE_MAX)
		return -EMSGSIZE;
	m = malloc(sizeof(*m) + len);
	if (!m)
		return -ENOMEM;
	m->next = NULL;
	m->id = id;
	m->len = len;
	memcpy(m->data, data, len);
	*q->end = m;
	q->end = &m->next;
	q->bytes += len;
	return 0;
}

static void queue_take(struct exchange_queue *q, struct exchange_message **at)
{
	struct exchange_message *m = *at;

	*at = m->next;
	if (q->end == &m->next)
		q->end = at;
	q->bytes -= m->len;
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
