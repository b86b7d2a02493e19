/* Files that just got a name: see recent.h. */
#include "client/helper/recent.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/helper/helper.h"
#include "client/wire/msg.h"

static void recent_drop(struct recent *r, unsigned int i)
{
	if (r->files[i].fd)
		close(r->files[i].fd - 1);
	r->files[i].fd = 0;
}

static void on_time(void *arg)
{
	struct helper *h = arg;
	struct recent *r = &h->recent;
	int64_t now = loop_clock_ms();
	bool any = false;
	unsigned int i;

	for (i = 0; i < RECENT_MAX; i++) {
		if (r->files[i].until_ms <= now)
			recent_drop(r, i);
		any |= r->files[i].fd != 0;
	}
	if (any)
		loop_timer_set(&h->loop, &r->timer, RECENT_MS);
}

void recent_init(struct helper *h)
{
	h->recent = (struct recent){.timer = {.fn = on_time, .arg = h}};
}

void recent_release(struct helper *h)
{
	unsigned int i;

	loop_timer_del(&h->loop, &h->recent.timer);
	for (i = 0; i < RECENT_MAX; i++)
		recent_drop(&h->recent, i);
}

void recent_keep(struct helper *h, const char *name,
		 const struct sbx_attr *attr)
{
	struct recent *r = &h->recent;
	unsigned int i = r->next;
	struct stat st;
	int fd;

	if (!S_ISREG(attr->mode))
		return;
	fd = open(name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return;
	if (fstat(fd, &st) < 0 || st.st_ino != attr->ino ||
	    st.st_dev != attr->dev) {
		close(fd);
		return;
	}
	r->next = (i + 1) % RECENT_MAX;
	recent_drop(r, i);
	r->files[i].fd = fd + 1;
	r->files[i].dev = st.st_dev;
	r->files[i].ino = st.st_ino;
	r->files[i].until_ms = loop_clock_ms() + RECENT_MS;
	if (!r->timer.at_ms)
		loop_timer_set(&h->loop, &r->timer, RECENT_MS);
}

int recent_open(struct helper *h, dev_t dev, ino_t ino, int flags)
{
	const struct recent *r = &h->recent;
	char path[32];
	unsigned int i;
	int fd;

	for (i = 0; i < RECENT_MAX; i++)
		if (r->files[i].fd && r->files[i].ino == ino &&
		    r->files[i].dev == dev)
			break;
	if (i == RECENT_MAX)
		return -ESTALE;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", r->files[i].fd - 1);
	fd = open(path, flags);
	if (fd >= 0)
		return fd;
	/* /proc may not be there */
	return errno == ENOENT ? -ESTALE : -errno;
}
