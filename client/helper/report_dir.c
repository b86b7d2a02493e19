/* Directories that REPORT watches: see report_dir.h. */
#include "client/helper/report_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "client/helper/report.h"

char *rdir_path(const struct rdir *d, const char *name, char buf[PATH_MAX])
{
	char *p = buf + PATH_MAX - 1;
	size_t len = strlen(name);

	*p = 0;
	for (;;) {
		if (len + 1 > (size_t)(p - buf))
			return NULL;
		p -= len;
		memcpy(p, name, len);
		if (!d->parent)
			return p;
		name = d->name;
		len = strlen(name);
		d = d->parent;
		if (*p)
			*--p = '/';
	}
}

static struct rdir **name_slot(const struct report *r,
			       const struct rdir *parent, const char *name)
{
	return &r->names[map_hash_name((uintptr_t)parent, name) % REPORT_SLOTS];
}

void rdir_link(struct report *r, struct rdir *d, struct rdir *parent)
{
	struct rdir **slot = name_slot(r, parent, d->name);

	d->next_name = *slot;
	d->name_at = slot;
	if (d->next_name)
		d->next_name->name_at = &d->next_name;
	*slot = d;
	d->parent = parent;
	d->next = parent->child;
	d->at = &parent->child;
	if (d->next)
		d->next->at = &d->next;
	parent->child = d;
}

struct rdir *rdir_new(struct report *r, struct rdir *parent, const char *name,
		      bool is_new)
{
	struct rdir *d = NULL;
	int err = ENOMEM;

	if (r->nr_dirs >= r->max_dirs)
		err = ENOSPC;
	else if (parent && parent->depth >= DEPTH_MAX)
		err = ENAMETOOLONG;
	else
		d = calloc(1, sizeof(*d));
	if (d)
		d->name = strdup(name);
	if (!d || !d->name) {
		free(d);
		r->err = err;
		return NULL;
	}
	d->wd = -1;
	d->is_new = is_new;
	if (parent) {
		d->depth = parent->depth + 1;
		rdir_link(r, d, parent);
	}
	r->nr_dirs++;
	d->todo_at = r->todo_end;
	*r->todo_end = d;
	r->todo_end = &d->todo;
	return d;
}

void rdir_take_todo(struct report *r, struct rdir *d)
{
	if (!d->todo_at)
		return;
	*d->todo_at = d->todo;
	if (d->todo)
		d->todo->todo_at = d->todo_at;
	else
		r->todo_end = d->todo_at;
	d->todo = NULL;
	d->todo_at = NULL;
}

void rdir_unlink(struct rdir *d)
{
	if (!d->at)
		return;
	*d->at = d->next;
	if (d->next)
		d->next->at = d->at;
	d->at = NULL;
	d->next = NULL;
	*d->name_at = d->next_name;
	if (d->next_name)
		d->next_name->name_at = d->name_at;
}

void rdir_free(struct report *r, struct rdir *d)
{
	if (!d)
		return;
	while (d->child)
		rdir_free(r, d->child);
	rdir_unlink(d);
	rdir_take_todo(r, d);
	if (d->wd >= 0) {
		map_del(&r->wds, (uint64_t)d->wd);
		inotify_rm_watch(r->fd, d->wd);
	}
	if (r->walk.dir == d) {
		closedir(r->walk.stream);
		r->walk.dir = NULL;
	}
	if (r->moved.dir == d)
		r->moved.dir = NULL;
	r->last.dir = NULL;
	r->nr_echo = 0;
	r->nr_dirs--;
	free(d->name);
	free(d);
}

bool rdir_is_in(const struct rdir *d, const struct rdir *top)
{
	while (d && d != top)
		d = d->parent;
	return d;
}

struct rdir *rdir_child(const struct report *r, const struct rdir *d,
			const char *name)
{
	struct rdir *c = *name_slot(r, d, name);

	while (c && (c->parent != d || strcmp(c->name, name)))
		c = c->next_name;
	return c;
}

int rdir_open(int home, const struct rdir *d)
{
	int up, fd;

	if (!d->parent)
		return openat(home, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	up = rdir_open(home, d->parent);
	if (up < 0)
		return -1;
	fd = openat(up, d->name,
		    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	close(up);
	return fd;
}
