/* The directories the client has numbered: see dirs.h. */
#include "client/helper/dirs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/helper/helper.h"
#include "client/helper/watch.h"
#include "client/wire/proto.h"

#define FDS_MAX	  8192
#define FDS_MIN	  16
#define DEPTH_MAX 4096
#define OPEN_DIR  (O_PATH | O_NOFOLLOW | O_DIRECTORY | O_CLOEXEC)

/* ---- descriptors: the ones used last stay open ---- */

static void lru_unlink(struct dirs *s, struct dir *d)
{
	if (d->newer)
		d->newer->older = d->older;
	else
		s->newest = d->older;
	if (d->older)
		d->older->newer = d->newer;
	else
		s->oldest = d->newer;
	d->newer = d->older = NULL;
}

static void lru_push(struct dirs *s, struct dir *d)
{
	d->older = s->newest;
	if (s->newest)
		s->newest->newer = d;
	else
		s->oldest = d;
	s->newest = d;
}

static void dir_close(struct helper *h, struct dir *d)
{
	struct dirs *s = &h->dirs;

	if (s->inside == d)
		dirs_leave(h);
	if (d->fd < 0)
		return;
	if (!d->pinned) {
		lru_unlink(s, d);
		s->fds--;
	}
	close(d->fd);
	d->fd = -1;
}

static void dirs_evict(struct helper *h, size_t keep)
{
	while (h->dirs.fds > keep)
		dir_close(h, h->dirs.oldest);
}

static void dir_set_fd(struct helper *h, struct dir *d, int fd)
{
	d->fd = fd;
	if (d->pinned)
		return;
	lru_push(&h->dirs, d);
	h->dirs.fds++;
	dirs_evict(h, h->dirs.fds_max);
}

static int dir_check(const struct dir *d, int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	return st.st_dev == d->dev && st.st_ino == d->ino ? 0 : -ESTALE;
}

/* Its place is taken by something else, or gone: it is stale. */
static int place_error(int err)
{
	return err == ENOENT || err == ENOTDIR || err == ELOOP ? -ESTALE : -err;
}

static int dir_open(struct helper *h, const struct dir *d, int parent)
{
	const char *name = d->name[0] ? d->name : ".";
	int fd, r;

	fd = openat(parent, name, OPEN_DIR);
	if (fd < 0 && errno == EMFILE) {
		/* others took what we counted on */
		dirs_evict(h, h->dirs.fds / 2 + 1);
		fd = openat(parent, name, OPEN_DIR);
	}
	if (fd < 0)
		return place_error(errno);
	r = dir_check(d, fd);
	if (r < 0) {
		close(fd);
		return r;
	}
	return fd;
}

static int dirs_resolve(struct helper *h, struct dir *d, int depth)
{
	int parent, fd;

	if (d->err)
		return d->err;
	if (d->fd >= 0) {
		if (!d->pinned) {
			lru_unlink(&h->dirs, d);
			lru_push(&h->dirs, d);
		}
		return d->fd;
	}
	if (!d->parent || d->lost)
		return -ESTALE;
	if (depth > DEPTH_MAX)
		return -ENAMETOOLONG;
	parent = dirs_resolve(h, d->parent, depth + 1);
	if (parent < 0)
		return parent;
	fd = dir_open(h, d, parent);
	if (fd >= 0)
		dir_set_fd(h, d, fd);
	return fd;
}

int dirs_fd(struct helper *h, struct dir *d)
{
	return dirs_resolve(h, d, 0);
}

int dirs_enter(struct helper *h, struct dir *d)
{
	int fd;

	if (h->dirs.inside == d)
		return 0;
	fd = dirs_fd(h, d);
	if (fd < 0)
		return fd;
	if (fchdir(fd) < 0)
		return -errno;
	h->dirs.inside = d;
	return 0;
}

void dirs_leave(struct helper *h)
{
	struct dirs *s = &h->dirs;

	if (!s->inside || s->inside == s->home)
		return;
	s->inside = NULL;
	if (s->home && fchdir(s->home->fd) == 0)
		s->inside = s->home;
	else if (chdir("/") < 0)
		s->inside = NULL;
}

/* ---- places: the table by parent and name ---- */

static size_t place_slot(const struct dirs *s, const struct dir *parent,
			 const char *name)
{
	return (size_t)map_hash_name((uintptr_t)parent, name) &
	       (s->name_slots - 1);
}

static void place_link(struct dirs *s, struct dir *d)
{
	size_t i = place_slot(s, d->parent, d->name);

	d->next_name = s->names[i];
	s->names[i] = d;
	s->name_count++;
}

static int places_grow(struct dirs *s)
{
	size_t old = s->name_slots, i;
	struct dir **names = s->names, *d, *next;

	if (s->name_count < old)
		return 0;
	s->name_slots = old ? old * 2 : 64;
	s->names = calloc(s->name_slots, sizeof(struct dir *));
	if (!s->names) {
		s->names = names;
		s->name_slots = old;
		return old ? 0 : -ENOMEM;
	}
	s->name_count = 0;
	for (i = 0; i < old; i++)
		for (d = names[i]; d; d = next) {
			next = d->next_name;
			place_link(s, d);
		}
	free(names);
	return 0;
}

static void place_unlink(struct dirs *s, struct dir *d)
{
	struct dir **at;

	if (!d->parent || d->lost)
		return;
	at = &s->names[place_slot(s, d->parent, d->name)];
	while (*at != d)
		at = &(*at)->next_name;
	*at = d->next_name;
	s->name_count--;
}

struct dir *dirs_at(const struct helper *h, const struct dir *parent,
		    const char *name)
{
	const struct dirs *s = &h->dirs;
	struct dir *d;

	if (!s->name_slots)
		return NULL;
	d = s->names[place_slot(s, parent, name)];
	while (d && (d->parent != parent || strcmp(d->name, name)))
		d = d->next_name;
	return d;
}

struct dir *dirs_next_at(const struct dir *d)
{
	struct dir *n = d->next_name;

	while (n && (n->parent != d->parent || strcmp(n->name, d->name)))
		n = n->next_name;
	return n;
}

/* ---- directories come and go ---- */

struct dir *dirs_get(const struct helper *h, uint64_t number, int *ret_err)
{
	struct dir *d = map_get(&h->dirs.map, number);

	*ret_err = d ? d->err : -ESTALE;
	return *ret_err ? NULL : d;
}

static void dir_free(struct helper *h, struct dir *d)
{
	while (d && !d->number && !d->children) {
		struct dir *parent = d->parent;

		watch_del(h, d);
		dir_close(h, d);
		place_unlink(&h->dirs, d);
		free(d->name);
		free(d);
		h->dirs.count--;
		if (parent)
			parent->children--;
		d = parent;
	}
}

void dirs_forget(struct helper *h, uint64_t number)
{
	struct dir *d = map_get(&h->dirs.map, number);

	if (!d)
		return;
	map_del(&h->dirs.map, number);
	watch_del(h, d);
	d->number = 0;
	dir_free(h, d);
}

static struct dir *dir_new(struct helper *h, uint64_t number)
{
	struct dir *d;

	if (h->dirs.count >= DIRS_MAX)
		return NULL;
	d = calloc(1, sizeof(*d));
	if (!d)
		return NULL;
	d->number = number;
	d->fd = d->wd = -1;
	if (map_put(&h->dirs.map, number, d) < 0) {
		free(d);
		return NULL;
	}
	h->dirs.count++;
	return d;
}

int dirs_put_error(struct helper *h, uint64_t number, int err)
{
	struct dir *d;

	dirs_forget(h, number);
	d = dir_new(h, number);
	if (!d)
		return -ENOSPC;
	d->err = err;
	return 0;
}

/* Whether d is parent, or above it. */
static bool is_above(const struct dir *d, const struct dir *parent)
{
	while (parent && parent != d)
		parent = parent->parent;
	return parent;
}

static int dir_place(struct helper *h, struct dir *d, struct dir *parent,
		     const char *name)
{
	if (places_grow(&h->dirs) < 0)
		return -ENOMEM;
	d->name = strdup(name);
	if (!d->name)
		return -ENOMEM;
	d->parent = parent;
	parent->children++;
	place_link(&h->dirs, d);
	return 0;
}

int dirs_put(struct helper *h, uint64_t number, struct dir *parent,
	     const char *name, int fd, struct dir **ret)
{
	struct dir *d = map_get(&h->dirs.map, number);
	struct stat st;

	if (fstat(fd, &st) < 0) {
		close(fd);
		return -errno;
	}
	if (d && !d->err && d->dev == st.st_dev && d->ino == st.st_ino) {
		close(fd);
		if (parent && d->parent && d != parent)
			dirs_set_place(h, d, parent, name);
		*ret = d;
		return 0;
	}
	/* another directory now; parent may be the one that loses its number */
	if (parent)
		parent->children++;
	dirs_forget(h, number);
	d = dir_new(h, number);
	if (d && parent && dir_place(h, d, parent, name) < 0) {
		map_del(&h->dirs.map, number);
		d->number = 0;
		dir_free(h, d);
		d = NULL;
	}
	if (parent) {
		parent->children--;
		dir_free(h, parent);
	}
	if (!d) {
		close(fd);
		return -ENOSPC;
	}
	d->dev = st.st_dev;
	d->ino = st.st_ino;
	d->pinned = !parent;
	dir_set_fd(h, d, fd);
	*ret = d;
	return 0;
}

/* ---- directories that move ---- */

void dirs_lose_place(struct helper *h, struct dir *d)
{
	place_unlink(&h->dirs, d);
	d->lost = true;
}

void dirs_set_place(struct helper *h, struct dir *d, struct dir *parent,
		    const char *name)
{
	struct dir *old = d->parent;
	char *copy;

	if (!old || is_above(d, parent))
		return;
	copy = strdup(name);
	if (!copy)
		return;
	place_unlink(&h->dirs, d);
	free(d->name);
	d->name = copy;
	d->parent = parent;
	d->lost = false;
	parent->children++;
	place_link(&h->dirs, d);
	old->children--;
	dir_free(h, old);
}

bool dirs_is_there(struct helper *h, const struct dir *d)
{
	int fd = d->parent ? dirs_fd(h, d->parent) : -1;
	struct stat st;

	return fd >= 0 && !fstatat(fd, d->name, &st, AT_SYMLINK_NOFOLLOW) &&
	       st.st_ino == d->ino && st.st_dev == d->dev;
}

/* Everything known at a place, at most a few: the same directory may have
 * been numbered twice. */
#define TWINS_MAX 16

static size_t dirs_take(struct helper *h, struct dir *parent, const char *name,
			struct dir **list)
{
	struct dir *d;
	size_t n = 0, i;

	for (d = dirs_at(h, parent, name); d && n < TWINS_MAX;
	     d = dirs_next_at(d))
		list[n++] = d;
	for (i = 0; i < n; i++)
		dirs_lose_place(h, list[i]);
	return n;
}

void dirs_renamed(struct helper *h, struct dir *from, const char *old,
		  struct dir *to, const char *new, bool exchange)
{
	struct dir *moved[TWINS_MAX], *other[TWINS_MAX];
	size_t n, m, i;

	n = dirs_take(h, from, old, moved);
	/* without exchange these were replaced: they have no name any more */
	m = dirs_take(h, to, new, other);
	for (i = 0; i < n; i++)
		dirs_set_place(h, moved[i], to, new);
	for (i = 0; exchange && i < m; i++)
		dirs_set_place(h, other[i], from, old);
}

/* The kernel tells that a directory is gone once nobody holds it. */
void dirs_removing(struct helper *h, struct dir *parent, const char *name)
{
	struct dir *d;

	for (d = dirs_at(h, parent, name); d; d = dirs_next_at(d))
		if (!d->pinned)
			dir_close(h, d);
}

void dirs_removed(struct helper *h, struct dir *parent, const char *name)
{
	struct dir *d, *next;

	for (d = dirs_at(h, parent, name); d; d = next) {
		next = dirs_next_at(d);
		if (dirs_is_there(h, d))
			continue;
		if (!d->pinned)
			dir_close(h, d);
		dirs_lose_place(h, d);
	}
}

/* ---- beginning and end ---- */

static size_t fds_limit(void)
{
	struct rlimit lim;
	size_t n = FDS_MAX;

	if (getrlimit(RLIMIT_NOFILE, &lim) == 0 && lim.rlim_cur / 2 < n)
		n = (size_t)lim.rlim_cur / 2;
	return n < FDS_MIN ? FDS_MIN : n;
}

static int dirs_put_path(struct helper *h, uint64_t number, const char *path)
{
	struct dir *d;
	int fd = open(path, OPEN_DIR);

	if (fd < 0)
		return -errno;
	return dirs_put(h, number, NULL, NULL, fd, &d);
}

int dirs_init(struct helper *h, const char *workspace)
{
	int r;

	h->dirs.fds_max = fds_limit();
	r = dirs_put_path(h, SBX_DIR_WORKSPACE, workspace);
	if (r < 0)
		return r;
	r = dirs_put_path(h, SBX_DIR_ROOT, "/");
	if (r < 0)
		return r;
	h->dirs.home = map_get(&h->dirs.map, SBX_DIR_WORKSPACE);
	return 0;
}

void dirs_release(struct helper *h)
{
	struct dirs *s = &h->dirs;
	size_t i;

	s->home = s->inside = NULL;
	for (i = 0; i < s->map.size;) {
		uint64_t number = s->map.slots[i].key;

		if (number)
			dirs_forget(h, number);
		else
			i++;
	}
	map_release(&s->map);
	free(s->names);
	s->names = NULL;
	s->name_slots = 0;
}
