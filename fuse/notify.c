/*
 * The queue between the loop and one thread that makes the kernel forget.
 *
 * The loop appends to the queue; the thread takes it as a whole and works
 * through it in order.  An item "after" comes back to the loop through a list
 * of its own and an async handle.
 *
 * What is too much for the queue is dropped.  Then whoever waits is held, by
 * the loop, until the queue was empty and what on_lost queued anew is done.
 */
#include "fuse/notify.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "client/log.h"
#include "fuse/limits.h"

enum kind { INODE, ENTRY, EXPIRE, CHILD, AFTER };

/* A call that waits for what was queued before it.  The loop's own. */
struct after {
	struct after *next, **at;
	struct after *behind;  /* waits for the same */
	void (*fn)(void *arg); /* NULL: already called */
	void *arg;
};

/* Calls that wait for the same, in order. */
struct waits {
	struct after *first, **end;
};

struct item {
	struct item *next;
	fuse_ino_t ino, parent;
	uint64_t from; /* pages from there on */
	struct waits waits;
	uint8_t kind;
	bool data;
	uint8_t len;
	char name[];
};

struct queue {
	struct item *first, **end;
	size_t nr;
};

struct sfs_notify {
	struct fuse_session *se;
	struct sfs *fs;
	uv_async_t async;
	pthread_t thread;
	pthread_mutex_t lock; /* protects: todo, done, busy, stop, ended */
	pthread_cond_t news;
	struct queue todo, done;
	bool busy; /* the thread has items that are in no queue */
	bool stop;
	bool ended; /* the thread has */
	/* the loop's own */
	struct after *afters;
	bool lost;    /* something was dropped */
	bool redoing; /* on_lost has more to do */
	bool all;     /* it is at it: nothing is dropped */
	sfs_lost_fn *on_lost;
	void *lost_arg;
	struct waits held; /* until that is done */
	struct item *last; /* newest item of todo, to fold repetitions */
};

static void queue_init(struct queue *q)
{
	q->first = NULL;
	q->end = &q->first;
	q->nr = 0;
}

static void queue_add(struct queue *q, struct item *it)
{
	it->next = NULL;
	*q->end = it;
	q->end = &it->next;
	q->nr++;
}

static struct item *queue_take_all(struct queue *q)
{
	struct item *first = q->first;

	queue_init(q);
	return first;
}

static void after_add(struct sfs_notify *n, struct after *a)
{
	a->next = n->afters;
	a->at = &n->afters;
	if (a->next)
		a->next->at = &a->next;
	n->afters = a;
}

static void waits_add(struct waits *w, struct after *a)
{
	if (!w->end)
		w->end = &w->first;
	*w->end = a;
	w->end = &a->behind;
}

static void waits_free(struct waits *w)
{
	struct after *a;

	while ((a = w->first)) {
		w->first = a->behind;
		free(a);
	}
}

static void after_call(struct after *a)
{
	void (*fn)(void *arg) = a->fn;

	if (!fn)
		return;
	*a->at = a->next;
	if (a->next)
		a->next->at = a->at;
	a->fn = NULL;
	fn(a->arg);
}

static void item_free(struct item *it)
{
	waits_free(&it->waits);
	free(it);
}

/* ---- the thread ---- */

static int inval_inode(struct fuse_session *se, const struct item *it)
{
	/* a negative offset: attributes only; length 0: up to the end */
	return fuse_lowlevel_notify_inval_inode(
		se, it->ino, it->data ? (off_t)it->from : -1, 0);
}

/*
 * An inode that the kernel does not know may be one that it is just making
 * from a reply of ours.  It does so holding the folder's lock, and expiring
 * an entry waits for that lock.
 */
static void inval_child(struct fuse_session *se, const struct item *it)
{
	if (inval_inode(se, it) != -ENOENT)
		return;
	fuse_lowlevel_notify_expire_entry(se, it->parent, it->name, it->len,
					  FUSE_LL_EXPIRE_ONLY);
	inval_inode(se, it);
}

static void expire_entry(struct fuse_session *se, const struct item *it)
{
	/* before Linux 6.2 there is only the harder way */
	if (fuse_lowlevel_notify_expire_entry(se, it->parent, it->name, it->len,
					      FUSE_LL_EXPIRE_ONLY) == -ENOSYS)
		fuse_lowlevel_notify_inval_entry(se, it->parent, it->name,
						 it->len);
}

static void item_run(struct sfs_notify *n, const struct item *it)
{
	switch ((enum kind)it->kind) {
	case INODE:
		inval_inode(n->se, it);
		break;
	case ENTRY:
		fuse_lowlevel_notify_inval_entry(n->se, it->parent, it->name,
						 it->len);
		break;
	case EXPIRE:
		expire_entry(n->se, it);
		break;
	case CHILD:
		inval_child(n->se, it);
		break;
	case AFTER:
		break;
	}
}

static void give_back(struct sfs_notify *n, struct item *it)
{
	pthread_mutex_lock(&n->lock);
	queue_add(&n->done, it);
	pthread_mutex_unlock(&n->lock);
	uv_async_send(&n->async);
}

/* Waits for work; NULL: it is time to end. */
static struct item *wait_for_items(struct sfs_notify *n)
{
	struct item *it;

	pthread_mutex_lock(&n->lock);
	n->busy = false;
	if (!n->todo.first)
		uv_async_send(&n->async);
	while (!n->todo.first && !n->stop)
		pthread_cond_wait(&n->news, &n->lock);
	it = queue_take_all(&n->todo);
	n->busy = it != NULL;
	pthread_mutex_unlock(&n->lock);
	return it;
}

static void *notify_thread(void *arg)
{
	struct sfs_notify *n = arg;
	struct item *it, *next;

	while ((it = wait_for_items(n))) {
		for (; it; it = next) {
			next = it->next;
			if (it->kind == AFTER) {
				give_back(n, it);
				continue;
			}
			if (!__atomic_load_n(&n->fs->ended, __ATOMIC_RELAXED))
				item_run(n, it);
			free(it);
		}
	}
	pthread_mutex_lock(&n->lock);
	n->ended = true;
	pthread_mutex_unlock(&n->lock);
	uv_async_send(&n->async);
	return NULL;
}

/* ---- the loop's side ---- */

static bool notify_is_idle(struct sfs_notify *n)
{
	bool idle;

	pthread_mutex_lock(&n->lock);
	idle = !n->todo.first && !n->busy && !n->done.first;
	pthread_mutex_unlock(&n->lock);
	return idle;
}

static void on_async_closed(uv_handle_t *h)
{
	struct sfs_notify *n = h->data;

	waits_free(&n->held);
	pthread_cond_destroy(&n->news);
	pthread_mutex_destroy(&n->lock);
	free(n);
}

static void notify_end(struct sfs_notify *n)
{
	pthread_join(n->thread, NULL);
	uv_close((uv_handle_t *)&n->async, on_async_closed);
}

static bool item_same(const struct item *a, const struct item *b)
{
	return a->kind == b->kind && a->kind != AFTER && a->ino == b->ino &&
	       a->parent == b->parent && a->data == b->data &&
	       a->from == b->from && a->len == b->len &&
	       !memcmp(a->name, b->name, a->len);
}

static void notify_add(struct sfs_notify *n, struct item *it)
{
	bool drop;

	pthread_mutex_lock(&n->lock);
	drop = it->kind != AFTER && !n->all && n->todo.nr >= SFS_MAX_NOTIFY;
	if (drop)
		n->lost = true;
	else if (n->todo.first && n->last && item_same(n->last, it))
		drop = true;
	else
		queue_add(&n->todo, it);
	if (!drop) {
		n->last = it;
		pthread_cond_signal(&n->news);
	}
	pthread_mutex_unlock(&n->lock);
	if (drop)
		free(it);
}

static struct item *item_new(struct sfs_notify *n, enum kind kind,
			     const char *name, size_t len)
{
	struct item *it = NULL;

	if (len <= 255)
		/* libfuse wants the name NUL-ended */
		it = calloc(1, sizeof(*it) + len + 1);
	if (!it) {
		n->lost = true;
		uv_async_send(&n->async);
		return NULL;
	}
	it->kind = (uint8_t)kind;
	it->len = (uint8_t)len;
	if (len)
		memcpy(it->name, name, len);
	return it;
}

/* Whoever is held waits for what is queued now: behind those who do so
 * already, if nothing was queued since. */
static bool waits_join(struct sfs_notify *n)
{
	bool joined;

	pthread_mutex_lock(&n->lock);
	joined = n->todo.first && n->last && n->last->kind == AFTER;
	if (joined) {
		*n->last->waits.end = n->held.first;
		n->last->waits.end = n->held.end;
	}
	pthread_mutex_unlock(&n->lock);
	return joined;
}

static void notify_release(struct sfs_notify *n)
{
	struct item *it;

	if (!n->held.first)
		return;
	if (!waits_join(n)) {
		it = item_new(n, AFTER, NULL, 0);
		if (!it)
			return; /* they are held on */
		it->waits = n->held;
		notify_add(n, it);
	}
	n->held = (struct waits){0};
}

/* Some of what takes the place of what was dropped, or who waited for that. */
static void notify_redo(struct sfs_notify *n)
{
	bool first = n->lost;

	n->lost = false;
	n->all = true;
	n->redoing = n->on_lost && n->on_lost(n->lost_arg, first);
	n->all = false;
	if (n->lost || n->redoing) /* when that is done */
		uv_async_send(&n->async);
	else
		notify_release(n);
}

static void on_async(uv_async_t *async)
{
	struct sfs_notify *n = async->data;
	struct item *it, *next;
	struct after *a;
	bool ended;

	pthread_mutex_lock(&n->lock);
	it = queue_take_all(&n->done);
	ended = n->ended;
	pthread_mutex_unlock(&n->lock);
	for (; it; it = next) {
		next = it->next;
		for (a = it->waits.first; a; a = a->behind)
			after_call(a);
		item_free(it);
	}
	if (ended)
		notify_end(n);
	else if ((n->lost || n->redoing) && notify_is_idle(n))
		notify_redo(n);
}

void sfs_notify_inode(struct sfs_notify *n, fuse_ino_t ino, bool data)
{
	struct item *it = item_new(n, INODE, NULL, 0);

	if (!it)
		return;
	it->ino = ino;
	it->data = data;
	notify_add(n, it);
}

void sfs_notify_pages(struct sfs_notify *n, fuse_ino_t ino, uint64_t from)
{
	struct item *it = item_new(n, INODE, NULL, 0);

	if (!it)
		return;
	it->ino = ino;
	it->data = true;
	it->from = from;
	notify_add(n, it);
}

void sfs_notify_entry(struct sfs_notify *n, fuse_ino_t parent, const char *name,
		      size_t len)
{
	struct item *it = item_new(n, ENTRY, name, len);

	if (!it)
		return;
	it->parent = parent;
	notify_add(n, it);
}

void sfs_notify_expire(struct sfs_notify *n, fuse_ino_t parent,
		       const char *name, size_t len)
{
	struct item *it = item_new(n, EXPIRE, name, len);

	if (!it)
		return;
	it->parent = parent;
	notify_add(n, it);
}

void sfs_notify_child(struct sfs_notify *n, fuse_ino_t parent, const char *name,
		      size_t len, fuse_ino_t ino, bool data)
{
	struct item *it = item_new(n, CHILD, name, len);

	if (!it)
		return;
	it->parent = parent;
	it->ino = ino;
	it->data = data;
	notify_add(n, it);
}

void sfs_notify_after(struct sfs_notify *n, void (*fn)(void *arg), void *arg)
{
	bool is_held = n->lost || n->redoing;
	struct after *a;

	if (!is_held && notify_is_idle(n)) {
		fn(arg);
		return;
	}
	a = calloc(1, sizeof(*a));
	if (!a) {
		fn(arg);
		return;
	}
	a->fn = fn;
	a->arg = arg;
	after_add(n, a);
	waits_add(&n->held, a);
	if (!is_held)
		notify_release(n);
}

void sfs_notify_on_lost(struct sfs_notify *n, sfs_lost_fn *fn, void *arg)
{
	n->on_lost = fn;
	n->lost_arg = arg;
}

struct sfs_notify *sfs_notify_new(struct sfs *fs)
{
	struct sfs_notify *n = calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	n->fs = fs;
	n->se = fs->se;
	queue_init(&n->todo);
	queue_init(&n->done);
	pthread_mutex_init(&n->lock, NULL);
	pthread_cond_init(&n->news, NULL);
	if (uv_async_init(fs->loop, &n->async, on_async) < 0)
		goto fail;
	n->async.data = n;
	uv_unref((uv_handle_t *)&n->async);
	if (pthread_create(&n->thread, NULL, notify_thread, n) == 0)
		return n;
	sbx_log(SBX_LOG_ERROR, "notify", "cannot start a thread");
	uv_close((uv_handle_t *)&n->async, on_async_closed);
	return NULL;
fail:
	free(n);
	return NULL;
}

/*
 * The thread may be in the kernel, waiting for an inode that one of our own
 * requests holds, so the loop must not wait for it here: it says when it has
 * ended.
 */
struct sfs_notify *sfs_notify_free(struct sfs_notify *n)
{
	if (!n)
		return NULL;
	n->on_lost = NULL;
	n->lost = n->redoing = false;
	while (n->afters)
		after_call(n->afters);
	uv_ref((uv_handle_t *)&n->async);
	pthread_mutex_lock(&n->lock);
	n->stop = true;
	pthread_cond_signal(&n->news);
	pthread_mutex_unlock(&n->lock);
	return NULL;
}
