/*
 * Calls: see call.h.
 */
#include "fuse/call.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "fuse/attr.h"
#include "fuse/cache.h"
#include "fuse/handle.h"
#include "fuse/lazy.h"
#include "fuse/list.h"
#include "fuse/making.h"
#include "fuse/shown.h"
#include "fuse/tell.h"

#define TICK_MS 100

void sfs_calls_init(struct sfs_calls *l)
{
	l->first = NULL;
	l->end = &l->first;
}

void sfs_calls_add(struct sfs_calls *l, struct sfs_call *c)
{
	c->next = NULL;
	*l->end = c;
	l->end = &c->next;
}

void sfs_calls_resume(struct sfs_calls *l, int err)
{
	struct sfs_call *c = l->first, *next;

	sfs_calls_init(l);
	for (; c; c = next) {
		next = c->next;
		c->resume(c, err);
	}
}

struct sfs_call *sfs_call_new(fuse_req_t req, struct sfs_inode *inode,
			      const char *name, const char *name2)
{
	size_t len = name ? strlen(name) : 0;
	size_t len2 = name2 ? strlen(name2) : 0;
	struct sfs_call *c = calloc(1, sizeof(*c) + len + len2 + 2);

	if (!c) {
		fuse_reply_err(req, ENOMEM);
		return NULL;
	}
	c->req = req;
	c->files = inode->files;
	c->inode = sfs_inode_ref(inode);
	c->len = len;
	c->len2 = len2;
	c->name = c->text;
	c->name2 = c->text + len + 1;
	if (len)
		memcpy(c->text, name, len);
	if (len2)
		memcpy(c->text + len + 1, name2, len2);
	return c;
}

int sfs_call_keep(struct sfs_call *c, const char *data, size_t size)
{
	c->data = malloc(size ? size : 1);
	if (!c->data)
		return -ENOMEM;
	memcpy(c->data, data, size);
	c->size = size;
	return 0;
}

/* ---- interrupts ---- */

static void on_timer(uv_timer_t *t);

static void interrupted_del(struct sfs_call *c)
{
	if (!c->int_at)
		return;
	*c->int_at = c->int_next;
	if (c->int_next)
		c->int_next->int_at = c->int_at;
	c->int_at = NULL;
}

void sfs_call_tick(struct sfs_files *f)
{
	if (!uv_is_active((uv_handle_t *)f->timer))
		uv_timer_start(f->timer, on_timer, TICK_MS, TICK_MS);
}

/* It is let go after ms, or earlier if that was said before. */
static void interrupted_add(struct sfs_call *c, uint64_t ms)
{
	struct sfs_files *f = c->files;
	uint64_t due = files_now(f) + ms;

	if (c->int_at) {
		if (c->int_due > due)
			c->int_due = due;
		return;
	}
	c->int_due = due;
	c->int_next = f->interrupted;
	c->int_at = &f->interrupted;
	if (c->int_next)
		c->int_next->int_at = &c->int_next;
	f->interrupted = c;
	sfs_call_tick(f);
}

static void call_hasten(struct sfs_call *c)
{
	void (*interrupt)(struct sfs_call * c) = c->interrupt;

	c->interrupt = NULL;
	if (interrupt)
		interrupt(c);
}

/* Answers now.  May free the call. */
static void call_let_go(struct sfs_call *c)
{
	fuse_req_t req = c->req;

	interrupted_del(c);
	call_hasten(c);
	/* what was never sent is never done, and that was its answer */
	if (c->number && sbx_remote_withdraw(c->files->remote, c->number))
		return;
	c->req = NULL;
	fuse_reply_err(req, EINTR);
	if (!c->change && c->number)
		sbx_remote_cancel(c->files->remote, c->number);
}

static struct sfs_call *interrupted_due(const struct sfs_files *f)
{
	struct sfs_call *c = f->interrupted;

	while (c && files_now(f) < c->int_due)
		c = c->int_next;
	return c;
}

static void on_timer(uv_timer_t *t)
{
	struct sfs_files *f = t->data;
	struct sfs_call *c;
	bool more;

	/* from the start again: letting one go may end others */
	while ((c = interrupted_due(f)))
		call_let_go(c);
	more = sfs_lazy_tick(f);
	more |= sfs_cache_trim(f);
	if (!f->interrupted && !more)
		uv_timer_stop(t);
}

/* as in /proc/PID/status */
#define SIGNAL_BIT(signo) (1ull << ((signo)-1))

static uint64_t status_mask(const char *text, const char *key)
{
	const char *at = strstr(text, key);

	return at ? strtoull(at + strlen(key), NULL, 16) : 0;
}

/*
 * Whether a signal waits for the thread that it does not handle.  The thread
 * waits for us, so it is there; where we cannot see it (another's, in a /proc
 * with hidepid; in a pid namespace that is not below ours) it is taken for one
 * that handles its signals, which has a little longer.
 */
static bool is_dying(pid_t tid)
{
	/* those that are ignored unless handled, and those that stop a
	 * program, which goes on later */
	static const uint64_t harmless =
		SIGNAL_BIT(SIGCHLD) | SIGNAL_BIT(SIGCONT) | SIGNAL_BIT(SIGURG) |
		SIGNAL_BIT(SIGWINCH) | SIGNAL_BIT(SIGSTOP) |
		SIGNAL_BIT(SIGTSTP) | SIGNAL_BIT(SIGTTIN) | SIGNAL_BIT(SIGTTOU);
	char path[40], text[4096];
	uint64_t pending, kept;
	bool is_gone;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%ld/status", (long)tid);
	fd = tid > 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	if (fd < 0)
		return false;
	n = read(fd, text, sizeof(text) - 1);
	is_gone = n < 0 && errno == ESRCH;
	close(fd);
	if (n <= 0)
		return is_gone;
	text[n] = '\0';
	pending =
		status_mask(text, "\nSigPnd:") | status_mask(text, "\nShdPnd:");
	kept = status_mask(text, "\nSigBlk:") | status_mask(text, "\nSigIgn:") |
	       status_mask(text, "\nSigCgt:");
	return pending & ~kept & ~harmless;
}

static void call_interrupt(struct sfs_call *c)
{
	bool dying;

	if (!c->req)
		return;
	call_hasten(c);
	dying = is_dying(fuse_req_ctx(c->req)->pid);
	if (sbx_remote_state(c->files->remote) != SBX_LINK_UP ||
	    sbx_remote_is_occupied(c->files->remote) || (dying && !c->change))
		call_let_go(c);
	else
		interrupted_add(c, dying ? SFS_DYING_MS : SFS_INTERRUPT_MS);
}

static void on_interrupt(fuse_req_t req, void *data)
{
	struct sfs_call *c = data;

	/* libfuse calls this from within the registration, too, and holds
	 * the request's lock then: answering must wait */
	if (c->int_due == UINT64_MAX)
		return;
	call_interrupt(c);
}

void sfs_call_waits(struct sfs_call *c)
{
	c->waited = true;
	if (!c->files->closed)
		sbx_remote_hasten(c->files->remote);
	if (!c->req || c->int_at)
		return;
	c->int_due = UINT64_MAX;
	fuse_req_interrupt_func(c->req, on_interrupt, c);
	c->int_due = 0;
	/* what interrupted it before now is dealt with by the timer, since
	 * the caller still uses the call */
	if (fuse_req_interrupted(c->req))
		interrupted_add(c, c->change ? SFS_DYING_MS : 0);
}

fuse_req_t sfs_call_take(struct sfs_call *c)
{
	fuse_req_t req = c->req;

	c->req = NULL;
	fuse_req_interrupt_func(req, NULL, NULL);
	sfs_call_free(c);
	return req;
}

/* ---- requests ---- */

static void call_count(struct sfs_call *c, bool on)
{
	if (!c->change || c->counted == on)
		return;
	c->counted = on;
	c->files->changes += on ? 1u : -1u;
}

static void call_done(struct sfs_call *c, int err, struct sbx_rd *rd)
{
	call_count(c, false);
	if (c->change && !c->reads)
		sfs_cache_stirred(c->inode);
	c->done(c, err, rd);
}

static void call_send(struct sfs_call *c)
{
	struct sbx_rd none = {0};
	int err;

	call_count(c, true);
	err = c->files->closed ? -ESTALE : c->send(c);
	if (err < 0)
		call_done(c, err, &none);
}

/* Its directory's number was not known there: nothing was done. */
static bool is_untold(const struct sfs_call *c, int err)
{
	return !c->retold && !c->files->closed && sfs_dir_untell(c->inode, err);
}

int sfs_call_at(struct sfs_call *c, struct sfs_inode *i, struct sfs_at *at)
{
	c->named = true;
	return sfs_inode_way(i, c->way, at);
}

/* Where it was looked for is out of reach, but there is another way to it:
 * nothing was done. */
static bool is_shut_out(const struct sfs_call *c, int err)
{
	struct sfs_inode *i = c->other ? c->other : c->inode;
	struct sfs_at at;

	return err == -EACCES && c->named && c->way < SFS_MAX_WAYS &&
	       !c->files->closed && sfs_inode_way(i, c->way + 1u, &at) == 0;
}

static void on_reply(void *arg, int err, struct sbx_rd *rd)
{
	struct sfs_call *c = arg;
	struct sfs_files *f = c->files;

	c->number = 0;
	if (is_untold(c, err)) {
		c->retold = true;
		call_send(c);
		return;
	}
	if (is_shut_out(c, err)) {
		c->way++;
		call_send(c);
		return;
	}
	if (err == -ERESTART && c->tries < SFS_MAX_RESTARTS && c->files &&
	    (c->req || c->change)) {
		c->tries++;
		call_send(c);
		return;
	}
	call_done(c, err == -ERESTART ? -EIO : err, rd);
	sfs_cache_trim(f);
}

int sfs_call_submit(struct sfs_call *c, sbx_part_fn *part)
{
	c->number = sbx_remote_submit(c->files->remote, on_reply, part, c);
	return 0;
}

static void on_claim(struct sfs_call *c, int err)
{
	if (err || !c->req)
		sfs_call_err(c, err);
	else
		call_send(c);
}

void sfs_call_go(struct sfs_call *c)
{
	if (c->change && !c->reads) {
		c->resume = on_claim;
		if (sfs_claim_wait(c))
			return;
	}
	sfs_call_waits(c);
	call_send(c);
}

/* ---- answers ---- */

void sfs_call_free(struct sfs_call *c)
{
	struct sfs_count *count = &c->files->fs->count;

	if (c->waited)
		count->misses[c->cached]++;
	else
		count->hits[c->cached]++;
	interrupted_del(c);
	if (c->handle)
		sfs_handle_unref(c->handle);
	if (c->handle2)
		sfs_handle_unref(c->handle2);
	if (c->other)
		sfs_inode_unref(c->other);
	sfs_inode_unref(c->inode);
	free(c->caller);
	free(c->data);
	free(c);
}

void sfs_call_err(struct sfs_call *c, int err)
{
	if (c->req)
		fuse_reply_err(c->req, err < 0 ? -err : err);
	sfs_call_free(c);
}

void sfs_call_attr(struct sfs_call *c)
{
	struct stat st;
	double timeout;

	if (c->req) {
		sfs_inode_attr(c->inode, &st);
		timeout = sfs_inode_timeout(c->inode);
		sfs_shown_given(c->inode, fuse_req_ctx(c->req)->pid);
		fuse_reply_attr(c->req, &st, timeout);
	}
	sfs_call_free(c);
}

static void reply_negative(struct sfs_call *c, struct sfs_dir *d)
{
	struct fuse_entry_param e = {0};

	/* where nothing tells of a new name, it could not be made known that
	 * there is one after all */
	if (!sfs_dir_is_true(d)) {
		fuse_reply_err(c->req, ENOENT);
		return;
	}
	e.entry_timeout = sfs_dir_timeout(d);
	d->negatives = true;
	fuse_reply_entry(c->req, &e);
}

void sfs_call_entry(struct sfs_call *c, struct sfs_dir *d,
		    struct sfs_inode *found)
{
	struct fuse_entry_param e;

	if (c->req && !found) {
		reply_negative(c, d);
	} else if (c->req) {
		sfs_inode_entry(found, d, &e);
		sfs_shown_given(found, fuse_req_ctx(c->req)->pid);
		sfs_reply_entry(c->req, &found->node, &e);
	}
	sfs_call_free(c);
}

/* ---- changes ---- */

unsigned int sfs_call_how(const struct sfs_call *c)
{
	return c->req ? SFS_PUT_OWN : 0;
}

void sfs_call_unsure(struct sfs_inode *dir, int err)
{
	struct sfs_dir *d = dir->dir;

	if (err != -ETIMEDOUT && err != -EPROTO && err != -EIO &&
	    err != -EAGAIN)
		return;
	if (!d || !d->gen)
		return;
	d->gen = 0;
	sfs_dir_distrust(d);
	sfs_compare_add(d);
}
