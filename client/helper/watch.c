/* inotify: see watch.h. */
#include "client/helper/watch.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "client/helper/helper.h"
#include "client/helper/moves.h"
#include "client/wire/msg.h"
#include "client/wire/proto.h"

#define WATCH_MASK                                                             \
	(IN_CREATE | IN_DELETE | IN_MODIFY | IN_ATTRIB | IN_MOVED_FROM |       \
	 IN_MOVED_TO | IN_CLOSE_WRITE | IN_DELETE_SELF)
#define WATCH_FLAGS IN_ONLYDIR
#define ENTRY_MASK  (IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO)
#define DATA_MASK   (IN_MODIFY | IN_CLOSE_WRITE)

/* Changes that nobody waits for are told this often at most. */
#define FOLD_MS 10

static void on_events(void *arg, short revents);
static void on_later(void *arg);

void watch_init(struct helper *h)
{
	struct watch *w = &h->watch;

	*w = (struct watch){0};
	w->in = (struct loop_fd){.fn = on_events, .arg = h};
	w->later = (struct loop_timer){.fn = on_later, .arg = h};
	w->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (w->fd >= 0 && loop_add(&h->loop, &w->in, w->fd, POLLIN) < 0) {
		close(w->fd);
		w->fd = -1;
	}
}

void watch_release(struct helper *h)
{
	struct watch *w = &h->watch;

	loop_timer_del(&h->loop, &w->later);
	loop_del(&h->loop, &w->in);
	if (w->fd >= 0)
		close(w->fd);
	w->fd = -1;
	map_release(&w->wds);
}

/* ---- watches: one per inode, which may have several numbers ---- */

static int watch_check(struct helper *h, struct dir *d)
{
	int fd = dirs_fd(h, d);

	if (fd < 0)
		return fd;
	/* a network's other machines change it without a word */
	if (fstype_of_fd(&h->fstypes, d->dev, fd) != FSTYPE_PLAIN)
		return -EOPNOTSUPP;
	return dirs_enter(h, d);
}

int watch_add(struct helper *h, struct dir *d)
{
	struct watch *w = &h->watch;
	int wd, r;

	if (d->wd >= 0)
		return 0;
	if (w->fd < 0)
		return -ENOSYS;
	r = watch_check(h, d);
	if (r < 0)
		return r;
	/* by way of the current directory: it needs no /proc, and no link in
	 * a path can lead elsewhere */
	wd = inotify_add_watch(w->fd, ".", WATCH_MASK | WATCH_FLAGS);
	if (wd < 0)
		return -errno;
	d->next_wd = map_get(&w->wds, (uint64_t)wd);
	r = map_put(&w->wds, (uint64_t)wd, d);
	if (r < 0) {
		if (!d->next_wd)
			inotify_rm_watch(w->fd, wd);
		d->next_wd = NULL;
		return r;
	}
	d->wd = wd;
	return 0;
}

/* Takes it from its watch's list; whether it was the last. */
static bool watch_unlist(struct watch *w, struct dir *d)
{
	uint64_t wd = (uint64_t)d->wd;
	struct dir *at = map_get(&w->wds, wd);

	if (at == d && d->next_wd)
		map_put(&w->wds, wd, d->next_wd); /* replaces: cannot fail */
	else if (at == d)
		map_del(&w->wds, wd);
	for (; at && at != d; at = at->next_wd)
		if (at->next_wd == d)
			at->next_wd = d->next_wd;
	d->next_wd = NULL;
	d->wd = -1;
	return !map_get(&w->wds, wd);
}

void watch_del(struct helper *h, struct dir *d)
{
	int wd = d->wd;

	if (wd >= 0 && watch_unlist(&h->watch, d) && h->watch.fd >= 0)
		inotify_rm_watch(h->watch.fd, wd);
}

/* ---- our own events ---- */

void watch_own_begin(struct helper *h)
{
	h->watch.expects = 0;
	h->watch.own = true;
}

void watch_expect(struct helper *h, const struct dir *d, const char *name,
		  uint32_t mask)
{
	struct watch *w = &h->watch;
	struct expect *e;

	/* one too many is told like anybody else's */
	if (!d || !w->own || w->expects == EXPECT_MAX)
		return;
	e = &w->expect[w->expects++];
	e->dir = d;
	e->mask = mask;
	e->met = false;
	snprintf(e->name, sizeof(e->name), "%s", name);
}

void watch_own_none(struct helper *h)
{
	h->watch.expects = 0;
}

static struct expect *expected(struct watch *w, const struct dir *d,
			       const char *name, uint32_t mask)
{
	size_t i;

	for (i = 0; w->own && i < w->expects; i++)
		if (w->expect[i].dir == d && (w->expect[i].mask & mask) &&
		    !strcmp(w->expect[i].name, name))
			return &w->expect[i];
	return NULL;
}

/* A write is one event; equal ones that follow each other are one, too. */
static bool is_others(const struct expect *e)
{
	return !e || (e->mask == IN_MODIFY && e->met);
}

/* Ours, and certainly nobody else's besides. */
static bool watch_is_own(struct watch *w, const struct dir *d, const char *name,
			 uint32_t mask)
{
	struct expect *e = expected(w, d, name, mask);
	int64_t now;

	if (!e && mask & IN_CLOSE_WRITE)
		others_closed(&w->others, d->number, name);
	if (!(mask & DATA_MASK))
		return e;
	now = loop_clock_ms();
	if (mask & IN_MODIFY && is_others(e))
		others_wrote(&w->others, d->number, name, now);
	if (e)
		e->met = true;
	return e && !others_write(&w->others, d->number, name, now);
}

/* ---- events ---- */

static unsigned int what_of(uint32_t mask)
{
	unsigned int what = 0;

	if (mask & IN_CREATE)
		what |= SBX_CHANGE_CREATED;
	if (mask & IN_DELETE)
		what |= SBX_CHANGE_DELETED;
	if (mask & DATA_MASK)
		what |= SBX_CHANGE_DATA;
	if (mask & IN_ATTRIB)
		what |= SBX_CHANGE_ATTR;
	if (mask & IN_MOVED_FROM)
		what |= SBX_CHANGE_MOVED_FROM;
	if (mask & IN_MOVED_TO)
		what |= SBX_CHANGE_MOVED_TO;
	return what;
}

void watch_tell_none(struct helper *h, uint64_t number, int err)
{
	struct sbx_buf *b = &h->event;

	sbx_buf_clear(b);
	sbx_put_array(b, 3);
	sbx_put_u64(b, SBX_MSG_UNWATCHED);
	sbx_put_u64(b, number);
	sbx_put_u64(b, (uint64_t)-err);
	peer_send(h, b);
}

/* The kernel dropped the watch: directory removed, or unmounted. */
static void on_ignored(struct helper *h, uint64_t wd)
{
	struct dir *d;

	while ((d = map_get(&h->watch.wds, wd))) {
		watch_unlist(&h->watch, d);
		if (d->number)
			watch_tell_none(h, d->number, -ENOENT);
	}
}

static void on_entry_event(struct helper *h, struct dir *d, const char *name,
			   const struct inotify_event *e)
{
	if (watch_is_own(&h->watch, d, name, e->mask))
		return;
	if (name[0] && (e->mask & IN_ISDIR))
		moves_event(h, d, name, e);
	if (!d->number || !what_of(e->mask))
		return;
	changes_add(h, d->number, name, what_of(e->mask), e->cookie);
	/* its times, and its link count, changed with its entries */
	if (e->mask & ENTRY_MASK)
		changes_add(h, d->number, "", SBX_CHANGE_ATTR, 0);
}

static void on_event(struct helper *h, const struct inotify_event *e)
{
	const char *name = e->len ? e->name : "";
	struct dir *d, *next;

	if (e->mask & IN_Q_OVERFLOW) {
		changes_overflow(h);
		return;
	}
	if (e->mask & IN_IGNORED) {
		on_ignored(h, (uint64_t)e->wd);
		return;
	}
	for (d = map_get(&h->watch.wds, (uint64_t)e->wd); d; d = next) {
		next = d->next_wd;
		on_entry_event(h, d, name, e);
	}
}

/* All that has happened until now: what goes on meanwhile may have no end. */
static void watch_read(struct helper *h)
{
	char buf[16384]
		__attribute__((aligned(__alignof__(struct inotify_event))));
	const struct inotify_event *e;
	int left = 0;
	ssize_t n;
	char *p;

	if (h->watch.fd < 0 || ioctl(h->watch.fd, FIONREAD, &left) < 0)
		return;
	while (left > 0 && (n = read(h->watch.fd, buf, sizeof(buf))) > 0) {
		left -= (int)n;
		for (p = buf; p < buf + n; p += sizeof(*e) + e->len) {
			e = (const struct inotify_event *)(const void *)p;
			on_event(h, e);
		}
	}
}

void watch_own_now(struct helper *h)
{
	if (h->watch.own)
		watch_read(h);
}

void watch_own_end(struct helper *h)
{
	if (!h->watch.own)
		return;
	watch_read(h);
	h->watch.own = false;
	h->watch.expects = 0;
	/* those not ours are sent after the reply, which was true before */
	if (h->changes.first && !h->watch.later.at_ms)
		loop_timer_set(&h->loop, &h->watch.later, 0);
}

void watch_sync(struct helper *h)
{
	watch_read(h);
	changes_flush(h);
	if (!h->watch.later.at_ms)
		return;
	loop_timer_stop(&h->watch.later);
	loop_set(&h->loop, &h->watch.in, POLLIN);
}

/* Nobody waits: the first is told at once, more after a short while. */
static void on_events(void *arg, short revents)
{
	struct helper *h = arg;
	struct watch *w = &h->watch;
	int64_t wait = w->told_ms + FOLD_MS - loop_clock_ms();

	if (wait <= 0) {
		on_later(h);
		return;
	}
	loop_set(&h->loop, &w->in, -1);
	loop_timer_set(&h->loop, &w->later, wait);
}

static void on_later(void *arg)
{
	struct helper *h = arg;

	watch_sync(h);
	h->watch.told_ms = loop_clock_ms();
	loop_set(&h->loop, &h->watch.in, POLLIN);
}
