/*
 * Requests about commands that are runs of their own, from when they are sent
 * until exchange_jobs.c takes them: answers never come from within sending.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/exchange_int.h"

#define MAX_ASKED ((size_t)4 << 20) /* bytes of requests in one turn */

struct exchange_request {
	struct exchange_request *next;
	uint64_t after; /* how much had been queued when it was sent */
	size_t len;
	uint8_t data[];
};

static void on_late(uv_timer_t *t)
{
	struct sbx_exchange *x = t->data;
	struct exchange_asked *q = &x->asked;
	struct exchange_request *a;

	while ((a = q->first) && !x->closing) {
		q->first = a->next;
		if (!q->first)
			q->end = &q->first;
		q->bytes -= a->len;
		exchange_jobs_request(x, a->data, a->len, a->after);
		free(a);
	}
	exchange_plan(x);
}

void exchange_asked_init(struct sbx_exchange *x)
{
	x->asked.end = &x->asked.first;
	uv_timer_init(x->loop, &x->asked.late);
	x->asked.late.data = x;
}

int exchange_asked_add(struct sbx_exchange *x, const void *data, size_t len)
{
	struct exchange_asked *q = &x->asked;
	struct exchange_request *a;

	if (!sbx_op_is_of_jobs(sbx_msg_op(data, len)))
		return -EOPNOTSUPP;
	if (q->bytes + len > MAX_ASKED)
		return -EAGAIN;
	a = malloc(sizeof(*a) + len);
	if (!a)
		return -ENOMEM;
	a->next = NULL;
	a->after = x->queue.nr;
	a->len = len;
	memcpy(a->data, data, len);
	q->bytes += len;
	*q->end = a;
	q->end = &a->next;
	uv_timer_start(&q->late, on_late, 0, 0);
	return 0;
}

void exchange_asked_free(struct sbx_exchange *x)
{
	struct exchange_request *a;

	while ((a = x->asked.first)) {
		x->asked.first = a->next;
		free(a);
	}
}
