/*
 * Requests that wait: see wait.h.
 */
#include "fuse/wait.h"

#include <errno.h>
#include <stdlib.h>

struct sfs_reader {
	struct sfs_wait wait;
	struct sfs_reader *next;
	size_t size;
	off_t off;
};

static void on_interrupt(fuse_req_t req, void *data)
{
	struct sfs_wait *w = data;

	w->req = NULL; /* first: answering frees the request */
	if (w->done)
		fuse_reply_write(req, w->done);
	else
		fuse_reply_err(req, EINTR);
}

bool sfs_wait_begin(struct sfs_wait *w, fuse_req_t req)
{
	/*
	 * Looked at first, because libfuse would call the function with the
	 * request's lock held, and answering frees the request.  Between the
	 * two nothing can happen: interrupts are read by this thread.
	 */
	if (fuse_req_interrupted(req)) {
		on_interrupt(req, w);
		return false;
	}
	w->req = req;
	fuse_req_interrupt_func(req, on_interrupt, w);
	return true;
}

fuse_req_t sfs_wait_end(struct sfs_wait *w)
{
	fuse_req_t req = w->req;

	w->req = NULL;
	if (req)
		fuse_req_interrupt_func(req, NULL, NULL);
	return req;
}

/* Interrupted readers stay behind without a request: out with them. */
static void readq_purge(struct sfs_readq *q)
{
	struct sfs_reader **at = &q->first, *r;

	while ((r = *at)) {
		if (r->wait.req) {
			at = &r->next;
			continue;
		}
		*at = r->next;
		free(r);
	}
}

void sfs_readq_add(struct sfs_readq *q, fuse_req_t req, size_t size, off_t off)
{
	struct sfs_reader *r = calloc(1, sizeof(*r)), **at;

	if (!r) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	readq_purge(q);
	r->size = size;
	r->off = off;
	if (!sfs_wait_begin(&r->wait, req)) {
		free(r);
		return;
	}
	for (at = &q->first; *at; at = &(*at)->next)
		;
	*at = r;
}

bool sfs_readq_is_empty(struct sfs_readq *q)
{
	readq_purge(q);
	return !q->first;
}

bool sfs_readq_peek(struct sfs_readq *q, off_t *ret_off)
{
	readq_purge(q);
	if (q->first)
		*ret_off = q->first->off;
	return q->first;
}

fuse_req_t sfs_readq_take(struct sfs_readq *q, size_t *ret_size, off_t *ret_off)
{
	struct sfs_reader *r;
	fuse_req_t req;

	readq_purge(q);
	r = q->first;
	if (!r)
		return NULL;
	q->first = r->next;
	req = sfs_wait_end(&r->wait);
	*ret_size = r->size;
	*ret_off = r->off;
	free(r);
	return req;
}

void sfs_readq_fail(struct sfs_readq *q, int err)
{
	fuse_req_t req;
	size_t size;
	off_t off;

	while ((req = sfs_readq_take(q, &size, &off)))
		fuse_reply_err(req, err);
}
