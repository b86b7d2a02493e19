/* REPORT: see report.h. */
#include "client/helper/report.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/helper/helper.h"
#include "client/helper/report_dir.h"
#include "client/helper/request.h"
#include "client/wire/proto.h"

#define MASK                                                                   \
	(IN_CREATE | IN_DELETE | IN_MODIFY | IN_ATTRIB | IN_MOVED_FROM |       \
	 IN_MOVED_TO | IN_ONLYDIR | IN_EXCL_UNLINK)
/* How long one half of a rename waits for the other, and how long nothing is
 * read while the client does not keep up. */
#define WAIT_MS	     50
#define WALK_AT_ONCE 64

/* ---- telling ---- */

static void tell_path(struct helper *h, unsigned int what, bool is_dir,
		      const char *path, const char *to)
{
	struct sbx_buf *b = &h->event;

	sbx_buf_clear(b);
	sbx_put_array(b, 5);
	sbx_put_u64(b, SBX_MSG_REPORT);
	sbx_put_u64(b, what);
	sbx_put_bool(b, is_dir);
	sbx_put_bin(b, path, strlen(path));
	if (to)
		sbx_put_bin(b, to, strlen(to));
	else
		sbx_put_nil(b);
	peer_send(h, b);
}

static void tell(struct helper *h, unsigned int what, bool is_dir,
		 const struct rdir *d, const char *name)
{
	char buf[PATH_MAX], *path = rdir_path(d, name, buf);

	h->report.last.dir = NULL;
	if (path)
		tell_path(h, what, is_dir, path, NULL);
}

/* ---- directories ---- */

/* In the answer to the request, or later by itself. */
static void tell_unwatched(struct helper *h, const struct rdir *d, int err)
{
	h->report.err = err;
	if (!h->report.ask && d->parent)
		tell(h, 0, true, d->parent, d->name);
}

static void rdir_watch(struct helper *h, struct rdir *d, int fd)
{
	struct report *r = &h->report;
	int wd = -1;

	/* by way of the current directory, as watch.c does */
	h->dirs.inside = NULL;
	if (fchdir(fd) == 0)
		wd = inotify_add_watch(r->fd, ".", MASK);
	if (wd < 0)
		tell_unwatched(h, d, errno);
	if (fchdir(h->dirs.home->fd) == 0)
		h->dirs.inside = h->dirs.home;
	/* mounted at a second place: told where it was found first */
	if (wd < 0 || map_get(&r->wds, (uint64_t)wd))
		return;
	if (map_put(&r->wds, (uint64_t)wd, d) == 0)
		d->wd = wd;
	else
		inotify_rm_watch(r->fd, wd);
}

static void rdir_add(struct helper *h, struct rdir *d, const char *name,
		     bool is_dir, bool is_new)
{
	struct report *r = &h->report;

	if (is_dir && !rdir_child(r, d, name) &&
	    !rdir_new(r, d, name, is_new) && !r->ask)
		tell(h, 0, true, d, name);
}

static void echo_add(struct report *r, const struct rdir *d, const char *name)
{
	if (!r->echo)
		r->echo = calloc(REPORT_ECHO_MAX, sizeof(*r->echo));
	if (!r->echo || r->nr_echo >= REPORT_ECHO_MAX)
		return; /* then it may be told twice */
	r->echo[r->nr_echo].dir = d;
	snprintf(r->echo[r->nr_echo++].name, sizeof(r->echo->name), "%s", name);
}

static bool is_echo(const struct report *r, const struct rdir *d,
		    const char *name)
{
	for (unsigned int i = 0; i < r->nr_echo; i++)
		if (r->echo[i].dir == d && !strcmp(r->echo[i].name, name))
			return true;
	return false;
}

static bool entry_is_dir(int fd, const struct dirent *e)
{
	struct stat st;

	if (e->d_type != DT_UNKNOWN)
		return e->d_type == DT_DIR;
	return fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	       S_ISDIR(st.st_mode);
}

/* Watched first, then looked into: nothing slips between. */
static void walk_begin(struct helper *h, struct rdir *d)
{
	struct report *r = &h->report;
	int fd = rdir_open(h->dirs.home->fd, d);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	rdir_take_todo(r, d);
	if (!dir) {
		if (fd >= 0)
			close(fd);
		else if (errno != ENOENT && errno != ENOTDIR)
			tell_unwatched(h, d, errno);
		if (d != r->root)
			rdir_free(r, d);
		return;
	}
	r->walk.dir = d;
	r->walk.stream = dir;
	rdir_watch(h, d, fd);
}

static void walk_entry(struct helper *h, const struct dirent *e)
{
	struct report *r = &h->report;
	struct rdir *d = r->walk.dir;
	bool is_dir;

	if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
		return;
	is_dir = entry_is_dir(dirfd(r->walk.stream), e);
	if (d->is_new) {
		tell(h, SBX_CHANGE_CREATED, is_dir, d, e->d_name);
		echo_add(r, d, e->d_name);
	}
	rdir_add(h, d, e->d_name, is_dir, d->is_new);
}

/* One directory, or as much of it as the client keeps up with: what is in it
 * may be more than there is room for. */
static void walk_step(struct helper *h)
{
	struct report *r = &h->report;
	const struct dirent *e = NULL;

	if (!r->walk.dir)
		walk_begin(h, r->todo);
	if (!r->walk.dir)
		return;
	while (!peer_is_busy(h) && (e = readdir(r->walk.stream)))
		walk_entry(h, e);
	if (e || peer_is_busy(h))
		return;
	closedir(r->walk.stream);
	r->walk.dir = NULL;
}

static bool is_walking(const struct report *r)
{
	return r->walk.dir || r->todo;
}

/* ---- events ---- */

static void moved_flush(struct helper *h)
{
	struct report *r = &h->report;
	struct rdir *d = r->moved.dir;

	if (!d)
		return;
	r->moved.dir = NULL;
	tell(h, SBX_CHANGE_DELETED, r->moved.is_dir, d, r->moved.name);
	if (r->moved.is_dir)
		rdir_free(r, rdir_child(r, d, r->moved.name));
}

/* At once, for what is not watched yet is missed; of a large tree the rest
 * comes next. */
static void walk_some(struct helper *h)
{
	for (int n = 0;
	     is_walking(&h->report) && n < WALK_AT_ONCE && !peer_is_busy(h);
	     n++)
		walk_step(h);
}

/* What was there is gone, or in the other's place (RENAME_EXCHANGE, whose
 * other half comes next): both places are looked at anew. */
static void moved_over(struct helper *h, struct rdir *from, struct rdir *to,
		       const char *name)
{
	struct report *r = &h->report;

	rdir_free(r, rdir_child(r, to, name));
	rdir_free(r, rdir_child(r, from, r->moved.name));
	rdir_add(h, from, r->moved.name, true, false);
	rdir_add(h, to, name, true, false);
	walk_some(h);
}

static void moved_dir(struct helper *h, struct rdir *from, struct rdir *to,
		      const char *name)
{
	struct report *r = &h->report;
	struct rdir *c = rdir_child(r, from, r->moved.name);
	struct rdir *there = rdir_child(r, to, name);
	char *own;

	/* cannot be: what is known is not true, and is given up */
	r->overflow = rdir_is_in(to, c) || rdir_is_in(from, there);
	if (r->overflow)
		return;
	if (there) {
		moved_over(h, from, to, name);
		return;
	}
	if (!c)
		return;
	own = strdup(name);
	if (own && to->depth < c->depth) {
		/* its watches stay: they are those of the inodes */
		rdir_unlink(c);
		free(c->name);
		c->name = own;
		rdir_link(r, c, to);
		return;
	}
	/* deeper than it was, so its depths are wrong: looked at anew */
	free(own);
	rdir_free(r, c);
	rdir_add(h, to, name, true, false);
}

static void moved_to(struct helper *h, struct rdir *d, const char *name)
{
	struct report *r = &h->report;
	struct rdir *from = r->moved.dir;
	char from_buf[PATH_MAX], to_buf[PATH_MAX];
	char *from_path = rdir_path(from, r->moved.name, from_buf);
	char *to_path = rdir_path(d, name, to_buf);

	if (from_path && to_path)
		tell_path(h, SBX_CHANGE_MOVED_TO, r->moved.is_dir, from_path,
			  to_path);
	r->last.dir = NULL;
	r->moved.dir = NULL;
	if (r->moved.is_dir)
		moved_dir(h, from, d, name);
}

static void on_created(struct helper *h, struct rdir *d, const char *name,
		       bool is_dir)
{
	struct report *r = &h->report;

	if (is_echo(r, d, name))
		return;
	tell(h, SBX_CHANGE_CREATED, is_dir, d, name);
	rdir_add(h, d, name, is_dir, true);
	walk_some(h);
}

static void on_modified(struct helper *h, struct rdir *d, const char *name)
{
	struct report *r = &h->report;

	if (r->last.dir == d && !strcmp(r->last.name, name))
		return;
	tell(h, SBX_CHANGE_DATA, false, d, name);
	r->last.dir = d;
	snprintf(r->last.name, sizeof(r->last.name), "%s", name);
}

static void on_gone(struct report *r, uint64_t wd)
{
	struct rdir *d = map_get(&r->wds, wd);

	if (!d)
		return;
	map_del(&r->wds, wd);
	d->wd = -1;
	if (d != r->root)
		rdir_free(r, d);
}

static void on_event(struct helper *h, const struct inotify_event *e)
{
	struct report *r = &h->report;
	const char *name = e->len ? e->name : "";
	bool is_dir = e->mask & IN_ISDIR;
	struct rdir *d;

	if (r->moved.dir &&
	    (!(e->mask & IN_MOVED_TO) || e->cookie != r->moved.cookie))
		moved_flush(h);
	/* only now: what has left the workspace is gone */
	d = map_get(&r->wds, (uint64_t)e->wd);
	if (e->mask & IN_Q_OVERFLOW)
		r->overflow = true;
	else if (e->mask & IN_IGNORED)
		on_gone(r, (uint64_t)e->wd);
	else if (!d || (!name[0] && d != r->root))
		return;
	else if (e->mask & IN_MOVED_FROM) {
		r->moved.dir = d;
		r->moved.cookie = e->cookie;
		r->moved.is_dir = is_dir;
		snprintf(r->moved.name, sizeof(r->moved.name), "%s", name);
	} else if ((e->mask & IN_MOVED_TO) && r->moved.dir)
		moved_to(h, d, name);
	else if (e->mask & (IN_CREATE | IN_MOVED_TO))
		on_created(h, d, name, is_dir);
	else if (e->mask & IN_DELETE) {
		tell(h, SBX_CHANGE_DELETED, is_dir, d, name);
		if (is_dir)
			rdir_free(r, rdir_child(r, d, name));
	} else if (e->mask & IN_ATTRIB)
		tell(h, SBX_CHANGE_ATTR, is_dir, d, name);
	else if (e->mask & IN_MODIFY)
		on_modified(h, d, name);
}

/* One piece, or as much of it as comes before a directory that must be looked
 * into first; false: there is none. */
static bool report_read(struct helper *h)
{
	struct report *r = &h->report;
	const struct inotify_event *e;

	if (r->events.at == r->events.len) {
		ssize_t n = read(r->fd, r->events.data, sizeof(r->events.data));

		if (n <= 0)
			return false;
		r->events.at = 0;
		r->events.len = (size_t)n;
	}
	while (r->events.at < r->events.len && !r->overflow && !is_walking(r)) {
		e = (const void *)(r->events.data + r->events.at);
		r->events.at += sizeof(*e) + e->len;
		on_event(h, e);
	}
	return true;
}

static void report_answer(struct helper *h)
{
	struct report *r = &h->report;
	struct sbx_buf *b;

	if (r->lost)
		tell_path(h, 0, false, "", NULL);
	r->lost = false;
	if (!r->ask)
		return;
	b = reply_begin(h, r->ask, 2);
	sbx_put_u64(b, r->nr_dirs);
	sbx_put_u64(b, (uint64_t)r->err);
	reply_end(h, r->ask);
	r->ask = 0;
}

static int report_again(struct helper *h);

/* A little at a time: one directory, or one piece of events. */
static void report_step(struct helper *h)
{
	struct report *r = &h->report;
	bool more = true;

	if (r->overflow && report_again(h) < 0)
		return;
	if (peer_is_busy(h)) {
		loop_set(&h->loop, &r->in, -1);
		loop_timer_set(&h->loop, &r->timer, WAIT_MS);
		return;
	}
	if (is_walking(r)) {
		walk_step(h);
	} else {
		report_answer(h);
		more = report_read(h);
		if (!more)
			r->nr_echo = 0;
	}
	loop_set(&h->loop, &r->in, POLLIN);
	if (more || is_walking(r))
		loop_timer_set(&h->loop, &r->timer, 0);
	else if (r->moved.dir)
		loop_timer_set(&h->loop, &r->timer, WAIT_MS);
}

static void on_inotify(void *arg, short revents)
{
	report_step(arg);
}

static void on_timer(void *arg)
{
	struct helper *h = arg;

	if (!is_walking(&h->report) && !peer_is_busy(h) && !report_read(h))
		moved_flush(h);
	report_step(h);
}

/* ---- on and off ---- */

static uint32_t dirs_max(void)
{
	FILE *f = fopen("/proc/sys/fs/inotify/max_user_watches", "re");
	unsigned long n = 0;

	if (f && fscanf(f, "%lu", &n) != 1)
		n = 0;
	if (f)
		fclose(f);
	n /= 2;
	return n && n < REPORT_DIRS_MAX ? (uint32_t)n : REPORT_DIRS_MAX;
}

/* The timer stays in the loop's list. */
static void report_clear(struct helper *h)
{
	struct report *r = &h->report;
	struct loop_timer timer = r->timer;

	*r = (struct report){
		.fd = -1,
		.in = {.fd = -1, .fn = on_inotify, .arg = h},
		.timer = timer,
	};
	r->todo_end = &r->todo;
}

static void report_off(struct helper *h)
{
	struct report *r = &h->report;

	if (r->fd < 0)
		return;
	if (r->ask)
		reply_error(h, r->ask, -EINTR);
	loop_timer_stop(&r->timer);
	loop_del(&h->loop, &r->in);
	/* all watches go with it */
	close(r->fd);
	r->fd = -1;
	rdir_free(r, r->root);
	map_release(&r->wds);
	free(r->names);
	free(r->echo);
	report_clear(h);
}

static int report_on(struct helper *h, uint32_t id)
{
	struct report *r = &h->report;
	int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC), err;

	if (fd < 0)
		return -errno;
	err = loop_add(&h->loop, &r->in, fd, POLLIN);
	if (err < 0) {
		close(fd);
		return err;
	}
	r->fd = fd;
	r->max_dirs = dirs_max();
	r->ask = id;
	r->names = calloc(REPORT_SLOTS, sizeof(*r->names));
	if (r->names)
		r->root = rdir_new(r, NULL, "", false);
	if (!r->root) {
		r->ask = 0;
		report_off(h);
		return -ENOMEM;
	}
	loop_timer_set(&h->loop, &r->timer, 0);
	return REQ_LATER;
}

/*
 * Events were lost: what is where, and what is new, is not known any more.
 * All is looked at anew, and with a new queue, since the ends of all watches
 * would fill the old one.
 */
static int report_again(struct helper *h)
{
	uint32_t ask = h->report.ask;
	int r;

	h->report.ask = 0; /* it is still to be answered */
	report_off(h);
	r = report_on(h, ask);
	h->report.lost = r >= 0;
	if (r >= 0)
		return 0;
	if (ask)
		reply_error(h, ask, r);
	tell_path(h, 0, true, ".", NULL);
	return r;
}

int op_report(struct req *q)
{
	bool on = sbx_get_bool(&q->rd);

	if (q->rd.err)
		return -EINVAL;
	report_off(q->h);
	if (on)
		return report_on(q->h, q->id);
	sbx_put_u64(q->out, 0);
	sbx_put_u64(q->out, 0);
	return 0;
}

void report_init(struct helper *h)
{
	h->report.timer = (struct loop_timer){.fn = on_timer, .arg = h};
	report_clear(h);
}

void report_release(struct helper *h)
{
	h->report.ask = 0;
	report_off(h);
	loop_timer_del(&h->loop, &h->report.timer);
}
