/* Files that were just told of: see recent.h. */
#include "client/helper/recent.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/helper/creds.h"
#include "client/helper/helper.h"
#include "client/wire/msg.h"

static void recent_drop(struct recent *r, unsigned int i)
{
	struct recent_file *f = &r->files[i];

	if (f->fd)
		close(f->fd - 1);
	r->bytes -= f->bytes;
	f->fd = 0;
	f->bytes = 0;
}

/* r->max: it is not among them. */
static unsigned int recent_find(const struct recent *r, uint64_t dir,
				const char *name, ino_t ino)
{
	unsigned int i;

	for (i = 0; i < r->max; i++)
		if (r->files[i].fd && r->files[i].ino == ino &&
		    r->files[i].dir == dir && !strcmp(r->files[i].name, name))
			break;
	return i;
}

static void on_time(void *arg)
{
	struct helper *h = arg;
	struct recent *r = &h->recent;
	int64_t now = loop_clock_ms();
	bool any = false;
	unsigned int i;

	for (i = 0; i < r->max; i++) {
		if (r->files[i].until_ms <= now)
			recent_drop(r, i);
		any |= r->files[i].fd != 0;
	}
	if (any)
		loop_timer_set(&h->loop, &r->timer, RECENT_MS / 2);
}

/* Open files come first. */
static unsigned int recent_max(void)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) == 0 &&
	    lim.rlim_cur / 8 < RECENT_MAX)
		return (unsigned int)lim.rlim_cur / 8 + 1;
	return RECENT_MAX;
}

void recent_init(struct helper *h)
{
	h->recent = (struct recent){
		.max = recent_max(),
		.timer = {.fn = on_time, .arg = h},
	};
}

void recent_release(struct helper *h)
{
	unsigned int i;

	loop_timer_del(&h->loop, &h->recent.timer);
	for (i = 0; i < h->recent.max; i++)
		recent_drop(&h->recent, i);
}

static unsigned int name_slot(const char *name)
{
	return map_hash_name(0, name) % RECENT_NAMES;
}

bool recent_is_on(const struct helper *h, const char *name)
{
	return h->recent.on_until_ms[name_slot(name)] > h->loop.now_ms;
}

void recent_begin(struct helper *h, const char *name)
{
	h->recent.on_until_ms[name_slot(name)] = loop_clock_ms() + RECENT_ON_MS;
}

/* Drops the oldest. */
static void recent_trim(struct recent *r, unsigned int newest)
{
	unsigned int n, i;

	for (n = 0; n < r->max && r->bytes > RECENT_BYTES; n++) {
		i = (r->next + n) % r->max;
		if (i != newest)
			recent_drop(r, i);
	}
}

void recent_keep(struct helper *h, const struct dir *d, const char *name,
		 int fd, const struct sbx_attr *attr)
{
	struct recent *r = &h->recent;
	unsigned int i;

	if (!S_ISREG(attr->mode)) {
		close(fd);
		return;
	}
	i = recent_find(r, d->number, name, attr->ino);
	if (i == r->max) {
		i = r->next;
		r->next = (i + 1) % r->max;
	}
	recent_drop(r, i);
	r->files[i].fd = fd + 1;
	r->files[i].ino = attr->ino;
	r->files[i].dir = d->number;
	r->files[i].bytes = attr->blocks * 512;
	r->bytes += r->files[i].bytes;
	snprintf(r->files[i].name, sizeof(r->files[i].name), "%s", name);
	r->files[i].until_ms = loop_clock_ms() + RECENT_MS;
	recent_trim(r, i);
	if (!r->timer.at_ms)
		loop_timer_set(&h->loop, &r->timer, RECENT_MS / 2);
}

int recent_open(struct helper *h, const struct dir *d, const char *name,
		ino_t ino, int flags)
{
	struct recent *r = &h->recent;
	unsigned int i = recent_find(r, d->number, name, ino);
	char path[32];
	int fd;

	recent_begin(h, name);
	if (i == r->max)
		return -ESTALE;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", r->files[i].fd - 1);
	fd = creds_begin(h);
	if (fd < 0)
		return fd;
	fd = open(path, flags);
	creds_end(h);
	if (fd >= 0)
		return fd;
	/* /proc may not be there */
	return errno == ENOENT ? -ESTALE : -errno;
}
