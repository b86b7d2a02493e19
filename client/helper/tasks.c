/* Long requests in steps: see tasks.h. */
#include "client/helper/tasks.h"

#include <errno.h>

#include "client/helper/helper.h"
#include "client/helper/request.h"

int task_start(struct req *q, struct task *t)
{
	struct helper *h = q->h;
	int r = TASK_AGAIN;

	t->next = NULL;
	t->id = q->id;
	/* those before it go on first */
	if (!h->tasks && !peer_is_busy(h))
		r = t->step(h, t);
	if (r == TASK_AGAIN && h->task_count >= TASKS_MAX)
		r = -ENOBUFS;
	if (r != TASK_AGAIN) {
		t->free(h, t);
		return r < 0 ? r : REQ_LATER;
	}
	*h->tasks_end = t;
	h->tasks_end = &t->next;
	h->task_count++;
	return REQ_LATER;
}

static struct task *task_shift(struct helper *h)
{
	struct task *t = h->tasks;

	h->tasks = t->next;
	if (!h->tasks)
		h->tasks_end = &h->tasks;
	t->next = NULL;
	h->task_count--;
	return t;
}

bool tasks_run(struct helper *h)
{
	size_t n = h->task_count;
	int r;

	while (n-- && !peer_is_busy(h)) {
		struct task *t = task_shift(h);

		/* each part tells no more than what was announced */
		watch_sync(h);
		r = t->step(h, t);
		if (r == TASK_AGAIN) {
			*h->tasks_end = t;
			h->tasks_end = &t->next;
			h->task_count++;
			continue;
		}
		if (r < 0)
			reply_error(h, t->id, r);
		t->free(h, t);
	}
	return h->tasks && !peer_is_busy(h);
}

void tasks_release(struct helper *h)
{
	while (h->tasks) {
		struct task *t = task_shift(h);

		t->free(h, t);
	}
}
