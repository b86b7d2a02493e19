/*
 * Numbers of directories and handles of files.  A helper holds descriptors;
 * here they are names, which are put right when we rename, and when a
 * directory is seen under another name.
 */
#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "client/plain_int.h"

struct number {
	uint64_t number;
	struct plain_dir *dir;
};

static int number_compare(const void *a, const void *b)
{
	const struct number *x = a, *y = b;

	return (x->number > y->number) - (x->number < y->number);
}

static int handle_compare(const void *a, const void *b)
{
	const struct plain_handle *x = a, *y = b;

	return (x->number > y->number) - (x->number < y->number);
}

static int dir_compare(const void *a, const void *b)
{
	const struct plain_dir *x = a, *y = b;

	if (x->dev != y->dev)
		return x->dev > y->dev ? 1 : -1;
	return (x->ino > y->ino) - (x->ino < y->ino);
}

/* ---- directories ---- */

struct plain_dir *plain_dir_ref(struct plain_dir *d)
{
	d->refs++;
	return d;
}

static void dir_unindex(struct plain_names *n, struct plain_dir *d)
{
	struct plain_dir **at = tfind(d, &n->dirs, dir_compare);

	if (at && *at == d)
		tdelete(d, &n->dirs, dir_compare);
}

void plain_dir_unref(struct plain_names *n, struct plain_dir *d)
{
	struct plain_dir *parent;

	while (d && !--d->refs) {
		parent = d->parent;
		dir_unindex(n, d);
		free(d->name);
		free(d);
		d = parent;
	}
}

static struct plain_dir *dir_new(struct plain_dir *parent, const char *name,
				 size_t len)
{
	struct plain_dir *d = calloc(1, sizeof(*d));

	if (d)
		d->name = strndup(name, len);
	if (!d || !d->name) {
		free(d);
		return NULL;
	}
	d->refs = 1;
	d->parent = parent ? plain_dir_ref(parent) : NULL;
	return d;
}

static struct number *number_find(const struct plain_names *n, uint64_t number)
{
	struct number key = {.number = number};
	struct number **at = tfind(&key, &n->numbers, number_compare);

	return at ? *at : NULL;
}

struct plain_dir *plain_dir_find(const struct plain_names *n, uint64_t number)
{
	struct number *x = number_find(n, number);

	return x ? x->dir : NULL;
}

/* Takes the reference over, also when it fails. */
static int number_set(struct plain_names *n, uint64_t number,
		      struct plain_dir *d)
{
	struct number *x = number_find(n, number);

	if (x) {
		plain_dir_unref(n, x->dir);
		x->dir = d;
		return 0;
	}
	x = n->nr_numbers < PLAIN_DIRS ? calloc(1, sizeof(*x)) : NULL;
	if (x) {
		x->number = number;
		x->dir = d;
	}
	if (!x || !tsearch(x, &n->numbers, number_compare)) {
		free(x);
		plain_dir_unref(n, d);
		return -ENOMEM;
	}
	n->nr_numbers++;
	return 0;
}

void plain_dir_forget(struct plain_names *n, uint64_t number)
{
	struct number *x = number_find(n, number);

	if (!x || number < SBX_DIR_FIRST)
		return;
	tdelete(x, &n->numbers, number_compare);
	plain_dir_unref(n, x->dir);
	free(x);
	n->nr_numbers--;
}

int plain_dir_path(const struct plain_dir *d, char *dst)
{
	char *at = dst + PLAIN_PATH - 1;
	size_t len;

	*at = '\0';
	for (; d->parent; d = d->parent) {
		len = strlen(d->name);
		if ((size_t)(at - dst) < len + 1)
			return -ENAMETOOLONG;
		at -= len;
		memcpy(at, d->name, len);
		*--at = '/';
	}
	/* "/" is nothing in front of the others */
	len = strlen(d->name);
	if (len == 1 && *at)
		len = 0;
	if ((size_t)(at - dst) < len)
		return -ENAMETOOLONG;
	at -= len;
	memcpy(at, d->name, len);
	memmove(dst, at, strlen(at) + 1);
	return 0;
}

static bool is_below(const struct plain_dir *d, const struct plain_dir *top)
{
	for (; d; d = d->parent)
		if (d == top)
			return true;
	return false;
}

static struct plain_dir *dir_known(const struct plain_names *n,
				   const struct sbx_attr *attr)
{
	struct plain_dir key = {.dev = attr->dev, .ino = attr->ino};
	struct plain_dir **at = tfind(&key, &n->dirs, dir_compare);

	return at ? *at : NULL;
}

static void dir_move(struct plain_names *n, struct plain_dir *d,
		     struct plain_dir *to, const char *name, size_t len)
{
	struct plain_dir *from = d->parent;
	char *copy;

	if (from == to && strlen(d->name) == len && !memcmp(d->name, name, len))
		return;
	/* a root stays, and nothing is below itself, whatever is said */
	copy = from && !is_below(to, d) ? strndup(name, len) : NULL;
	if (!copy)
		return;
	free(d->name);
	d->name = copy;
	d->parent = plain_dir_ref(to);
	plain_dir_unref(n, from);
}

void plain_dir_seen(struct plain_names *n, struct plain_dir *in,
		    const char *name, size_t len, const struct sbx_attr *attr)
{
	struct plain_dir *d = dir_known(n, attr);

	if (d)
		dir_move(n, d, in, name, len);
}

static int dir_expect(struct plain_names *n, uint64_t number,
		      const struct plain_at *at)
{
	struct plain_dir *d = plain_dir_find(n, number);

	if (d && *at->name && at->ino && d->ino == at->ino)
		dir_move(n, d, at->dir, at->name, strlen(at->name));
	if (d)
		return 0;
	d = *at->name ? dir_new(at->dir, at->name, strlen(at->name))
		      : plain_dir_ref(at->dir);
	return d ? number_set(n, number, d) : -ENOMEM;
}

static int dir_identify(struct plain_names *n, struct plain_dir *d,
			const struct sbx_attr *attr)
{
	dir_unindex(n, d);
	d->dev = attr->dev;
	d->ino = attr->ino;
	return tsearch(d, &n->dirs, dir_compare) ? 0 : -ENOMEM;
}

int plain_dir_number(struct plain_names *n, uint64_t number,
		     const struct plain_at *at, const struct sbx_attr *attr)
{
	struct plain_dir *d = plain_dir_find(n, number);
	struct plain_dir *known = dir_known(n, attr);

	if (!S_ISDIR(attr->mode))
		return -ENOTDIR;
	if (!*at->name) /* it is that directory itself */
		return d ? 0 : number_set(n, number, plain_dir_ref(at->dir));
	if (known) {
		dir_move(n, known, at->dir, at->name, strlen(at->name));
		return number_set(n, number, plain_dir_ref(known));
	}
	if (!d || d->ino) {
		d = dir_new(at->dir, at->name, strlen(at->name));
		if (!d || number_set(n, number, d) < 0)
			return -ENOMEM;
	}
	return dir_identify(n, d, attr);
}

/* ---- handles ---- */

struct plain_handle *plain_handle_find(const struct plain_names *n,
				       uint64_t number)
{
	struct plain_handle key = {.number = number};
	struct plain_handle **at = tfind(&key, &n->handles, handle_compare);

	return at ? *at : NULL;
}

int plain_handle_add(struct plain_names *n, uint64_t number,
		     const struct plain_at *at, const struct sbx_attr *attr,
		     uint32_t flags)
{
	struct plain_handle *h;

	if (!number || plain_handle_find(n, number))
		return -EINVAL;
	h = n->nr_handles < PLAIN_HANDLES ? calloc(1, sizeof(*h)) : NULL;
	if (!h)
		return -ENFILE;
	h->number = number;
	h->name = strdup(at->name);
	h->dev = attr->dev;
	h->ino = attr->ino;
	h->flags = flags;
	if (!h->name || !tsearch(h, &n->handles, handle_compare)) {
		free(h->name);
		free(h);
		return -ENOMEM;
	}
	h->dir = plain_dir_ref(at->dir);
	n->nr_handles++;
	return 0;
}

static void handle_free(struct plain_names *n, struct plain_handle *h)
{
	tdelete(h, &n->handles, handle_compare);
	n->nr_handles--;
	plain_dir_unref(n, h->dir);
	free(h->name);
	free(h);
}

void plain_handle_del(struct plain_names *n, uint64_t number)
{
	struct plain_handle *h = plain_handle_find(n, number);

	if (h)
		handle_free(n, h);
}

struct move {
	struct plain_names *n;
	const struct plain_at *from, *to;
	uint64_t ino;
};

static void handle_move(struct plain_handle *h, const struct move *m)
{
	char *name;

	/* what had the name it moves to has lost it */
	if (m->to && h->dir == m->to->dir && !strcmp(h->name, m->to->name)) {
		h->gone = h->gone || !m->ino || h->ino != m->ino;
		return;
	}
	if (h->gone || h->dir != m->from->dir ||
	    strcmp(h->name, m->from->name) != 0)
		return;
	name = m->to ? strdup(m->to->name) : NULL;
	if (!name) {
		h->gone = true;
		return;
	}
	free(h->name);
	h->name = name;
	plain_dir_unref(m->n, h->dir);
	h->dir = plain_dir_ref(m->to->dir);
}

static void on_handle(const void *node, VISIT which, void *arg)
{
	struct plain_handle *h = *(struct plain_handle *const *)node;

	if (which == postorder || which == leaf)
		handle_move(h, arg);
}

void plain_handles_moved(struct plain_names *n, const struct plain_at *from,
			 const struct plain_at *to, uint64_t ino)
{
	struct move m = {.n = n, .from = from, .to = to, .ino = ino};

	twalk_r(n->handles, on_handle, &m);
}

/* ---- places ---- */

void plain_at_release(struct plain_names *n, struct plain_at *at)
{
	plain_dir_unref(n, at->dir);
	memset(at, 0, sizeof(*at));
}

int plain_at_handle(struct plain_names *n, uint64_t number,
		    struct plain_at *ret)
{
	const struct plain_handle *h = plain_handle_find(n, number);

	if (!h || h->gone)
		return -ESTALE;
	ret->dir = plain_dir_ref(h->dir);
	strcpy(ret->name, h->name);
	ret->ino = h->ino;
	ret->flags = h->flags;
	return 0;
}

int plain_at_get(struct plain_names *n, struct sbx_rd *rd, struct plain_at *ret)
{
	uint64_t dir = sbx_get_u64(rd), ino;
	size_t len;
	const char *name = sbx_get_name(rd, &len);
	struct plain_dir *d;

	ino = sbx_get_u64(rd);
	if (rd->err)
		return -EINVAL;
	if (!dir)
		return plain_at_handle(n, ino, ret);
	d = plain_dir_find(n, dir);
	if (!d)
		return -ESTALE;
	ret->dir = plain_dir_ref(d);
	if (name)
		memcpy(ret->name, name, len);
	ret->ino = name ? ino : d->ino;
	ret->is_dir = !name;
	return 0;
}

int plain_at_get_dir(struct plain_names *n, struct sbx_rd *rd,
		     uint64_t *ret_number, struct plain_at *ret)
{
	int r;

	*ret_number = sbx_get_u64(rd);
	if (!*ret_number)
		return -EINVAL;
	r = plain_at_get(n, rd, ret);
	return r < 0 ? r : dir_expect(n, *ret_number, ret);
}

int plain_at_get_new(struct plain_names *n, struct sbx_rd *rd,
		     struct plain_at *ret)
{
	struct plain_dir *d = plain_dir_find(n, sbx_get_u64(rd));
	size_t len;
	const char *name = sbx_get_name(rd, &len);

	if (rd->err)
		return -EINVAL;
	if (!d)
		return -ESTALE;
	if (!name) /* O_TMPFILE */
		return -EOPNOTSUPP;
	ret->dir = plain_dir_ref(d);
	memcpy(ret->name, name, len);
	return 0;
}

/* ---- the beginning and the end ---- */

int plain_names_init(struct plain_names *n, const char *workspace)
{
	struct plain_dir *ws = dir_new(NULL, workspace, strlen(workspace));
	struct plain_dir *root = dir_new(NULL, "/", 1);

	if (!ws || !root) {
		plain_dir_unref(n, ws);
		plain_dir_unref(n, root);
		return -ENOMEM;
	}
	if (number_set(n, SBX_DIR_WORKSPACE, ws) < 0) {
		plain_dir_unref(n, root);
		return -ENOMEM;
	}
	return number_set(n, SBX_DIR_ROOT, root);
}

void plain_names_release(struct plain_names *n)
{
	while (n->handles)
		handle_free(n, *(struct plain_handle **)n->handles);
	while (n->numbers) {
		struct number *x = *(struct number **)n->numbers;

		tdelete(x, &n->numbers, number_compare);
		plain_dir_unref(n, x->dir);
		free(x);
	}
	n->nr_numbers = 0;
}
