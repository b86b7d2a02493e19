/*
 * Listings: see list.h.
 */
#include "fuse/list.h"

#include <errno.h>
#include <stdlib.h>

#include "fuse/cache.h"
#include "fuse/fresh.h"
#include "fuse/shown.h"
#include "fuse/tell.h"
#include "fuse/tree.h"

struct sfs_listing {
	struct sfs_inode *inode; /* referenced */
	struct sfs_calls waiting;
	uint64_t first_cookie; /* of entries that were not known before */
	uint32_t gen;	       /* files->gen when it was sent */
	uint32_t number;       /* of the request */
	uint8_t tries;
	bool compare; /* counted in files->comparing */
	bool ahead;   /* nobody waits for it yet */
	bool deep;    /* with all that is below: tree */
	struct sfs_tree tree;
	int err;
};

static void compare_run(struct sfs_files *f);
static int listing_send(struct sfs_listing *l);

/* ---- one listing ---- */

static int take_entry(struct sfs_dir *d, struct sbx_rd *rd)
{
	size_t len, size = 0;
	const char *name = sbx_get_name(rd, &len);
	struct sbx_attr attr;
	bool has = sbx_get_attr(rd, &attr);
	const uint8_t *target = rd->left ? sbx_get_bin(rd, &size) : NULL;
	struct sfs_entry *e;

	if (rd->err || !name)
		return -EPROTO;
	if (files_are_full(d->inode->files))
		return -ENOMEM;
	e = sfs_cache_put(d, name, len, has ? &attr : NULL, SFS_PUT_LISTED);
	if (e && e->inode && target)
		sfs_cache_target(e->inode, target, size);
	return e ? 0 : -ENOMEM;
}

static void on_part(void *arg, struct sbx_rd *rd)
{
	struct sfs_listing *l = arg;
	struct sfs_files *f = l->inode->files;
	struct sbx_rd all = sbx_get_array(rd), one;

	while (all.left && !all.err && !l->err && l->inode->dir) {
		one = sbx_get_array(&all);
		l->err = take_entry(l->inode->dir, &one);
	}
	if (rd->err || all.err)
		l->err = -EPROTO;
	/* whatever else comes: there may be no end to it */
	if (l->err)
		sbx_remote_cancel(f->remote, l->number);
}

static void on_tree_part(void *arg, struct sbx_rd *rd)
{
	struct sfs_listing *l = arg;
	struct sfs_files *f = l->inode->files;

	if (!l->err)
		l->err = sfs_tree_part(&l->tree, f, rd);
	if (l->err)
		sbx_remote_cancel(f->remote, l->number);
}

/* Drops what the listing did not show; whether there was any. */
static bool listing_sweep(struct sfs_dir *d)
{
	struct sfs_entry *e, *next;
	bool any = false;

	for (e = sfs_entries_next(&d->entries, NULL); e; e = next) {
		next = sfs_entries_next(&d->entries, e);
		if (e->seen)
			continue;
		sfs_cache_remove_entry(d, e, SFS_PUT_MOVED);
		any = true;
	}
	return any;
}

static void listing_apply(struct sfs_listing *l)
{
	struct sfs_dir *d = l->inode->dir;
	struct sfs_files *f = l->inode->files;
	bool differs = listing_sweep(d);
	bool before = d->complete || d->changed;

	if (d->entries.next_cookie != l->first_cookie)
		differs = true;
	if (differs && before)
		sfs_dir_changed(d);
	d->complete = true;
	d->listed_ms = sfs_told_ms(f);
	if (sfs_dir_is_told(d) && d->watched) {
		d->gen = f->gen;
	} else if (d->gen) {
		sfs_dir_distrust(d);
		d->gen = 0;
	}
}

static void listing_end(struct sfs_listing *l, int err)
{
	struct sfs_inode *i = l->inode;
	struct sfs_files *f = i->files;
	struct sfs_dir *d = i->dir;
	bool compare = l->compare;

	if (d) {
		d->listing = NULL;
		d->ahead = false;
	}
	if (err && d) {
		d->complete = false;
		if (d->gen && d->gen != f->gen) {
			sfs_dir_distrust(d);
			d->gen = 0;
		}
	}
	if (d && compare)
		d->comparing = false;
	sfs_calls_resume(&l->waiting, err);
	free(l);
	if (compare) {
		f->comparing--;
		sfs_inode_unref(i); /* the queue's reference */
		compare_run(f);
	}
	sfs_cache_trim(f);
	sfs_inode_unref(i);
}

static void on_listed(void *arg, int err, struct sbx_rd *rd)
{
	struct sfs_listing *l = arg;
	struct sfs_files *f = l->inode->files;

	if (l->inode->dir)
		l->inode->dir->answered = sbx_remote_answered(f->remote);
	if (l->err && err != -ERESTART)
		err = l->err;
	if (!err && !l->inode->dir)
		err = -ESTALE;
	/* what came before everything was in doubt proves nothing */
	if (!err && l->gen != f->gen)
		err = -ERESTART;
	if (!f->closed && sfs_dir_untell(l->inode, err))
		err = -ERESTART;
	/* more than goes into one answer: the names first; or what is in it may
	 * not be looked at, but its names may */
	if ((err == -EACCES || (!err && !l->tree.complete)) && l->deep) {
		l->deep = false;
		err = -ERESTART;
	}
	if (err == -ERESTART && l->tries++ < SFS_MAX_RESTARTS) {
		err = listing_send(l);
		if (!err)
			return;
	}
	if (!err)
		listing_apply(l);
	listing_end(l, err == -ERESTART ? -EIO : err);
}

static int listing_send(struct sfs_listing *l)
{
	struct sfs_inode *i = l->inode;
	struct sfs_files *f = i->files;
	struct sfs_entry *e = NULL;
	struct sbx_buf *b;
	int err = l->compare ? sfs_dir_tell_again(i) : sfs_dir_tell(i);

	if (err < 0)
		return err;
	while ((e = sfs_entries_next(&i->dir->entries, e)))
		e->seen = false;
	l->first_cookie = i->dir->entries.next_cookie;
	l->gen = f->gen;
	l->err = 0;
	if (l->deep) {
		sfs_tree_begin(&l->tree, i->dir);
	} else {
		b = sbx_remote_begin(f->remote, SBX_OP_LIST, 2);
		sbx_put_u64(b, i->dir->number);
		sbx_put_u64(b, 0);
	}
	l->number = sbx_remote_submit(f->remote, on_listed,
				      l->deep ? on_tree_part : on_part, l);
	if (l->ahead)
		sbx_remote_ahead(f->remote, l->number);
	return 0;
}

enum why { ASKED, AHEAD, COMPARE };

static struct sfs_listing *listing_new(struct sfs_dir *d, enum why why,
				       int *ret_err)
{
	struct sfs_listing *l = calloc(1, sizeof(*l));

	*ret_err = -ENOMEM;
	if (!l)
		return NULL;
	l->inode = sfs_inode_ref(d->inode);
	l->compare = why == COMPARE;
	l->ahead = why != ASKED;
	l->deep = why != COMPARE && !d->inode->tree &&
		  sfs_tree_is_wanted(d->inode->files);
	sfs_calls_init(&l->waiting);
	*ret_err = listing_send(l);
	if (*ret_err < 0) {
		sfs_inode_unref(l->inode);
		free(l);
		return NULL;
	}
	d->listing = l;
	return l;
}

void sfs_list_spoil(struct sfs_dir *d)
{
	d->complete = false;
	if (d->listing && !d->listing->err)
		d->listing->err = -ENOMEM;
}

bool sfs_list_is_good(const struct sfs_dir *d)
{
	if (!d->complete || sfs_inode_is_fleeting(d->inode))
		return false;
	return sfs_dir_is_true(d) || sfs_list_is_recent(d);
}

/* It need not be listed ahead of need. */
static bool is_listed(const struct sfs_dir *d)
{
	return d->listing ||
	       (d->inode->flags & SFS_INODE_VOLATILE ? sfs_list_is_good(d)
						     : d->complete);
}

/* Lists n of the directories between these places; returns how many more
 * there could have been. */
static unsigned int walk_on(struct sfs_dir *up, uint64_t at, uint64_t to,
			    unsigned int n)
{
	const struct sfs_entry *e;

	while (n && (e = sfs_entries_after(&up->entries, at)) &&
	       e->cookie < to) {
		at = e->cookie;
		if (!e->inode || !sfs_inode_is_dir(e->inode) ||
		    (e->inode->dir && is_listed(e->inode->dir)))
			continue;
		sfs_list_ahead(e->inode);
		n--;
	}
	return n;
}

void sfs_list_walk(struct sfs_inode *i)
{
	const struct sfs_entry *e = i->names;
	struct sfs_dir *up = e ? e->dir : NULL;
	unsigned int n = SFS_WALK_MIN;

	if (!up || !sfs_list_is_trusted(up))
		return;
	if (up->walked < 16)
		up->walked++;
	if (up->walked < SFS_WALK_MANY && sfs_tree_is_wanted(i->files))
		up->walked = SFS_WALK_MANY;
	if (up->walked < SFS_WALK_MANY)
		return;
	n <<= up->walked - SFS_WALK_MANY < 3 ? up->walked - SFS_WALK_MANY : 3;
	if (n > SFS_WALK_MAX)
		n = SFS_WALK_MAX;
	n = walk_on(up, e->cookie, UINT64_MAX, n);
	/* programs that go by the names' order come to those before it, too */
	walk_on(up, 0, e->cookie, n);
}

void sfs_list_wait(struct sfs_call *c)
{
	struct sfs_dir *d = sfs_dir_of(c->inode);
	struct sfs_listing *l;
	int err = -ENOMEM;
	bool walks;

	l = d ? d->listing : NULL;
	walks = d && !is_listed(d);
	if (d && !l)
		l = listing_new(d, ASKED, &err);
	if (!l) {
		c->resume(c, err);
		return;
	}
	sfs_calls_add(&l->waiting, c);
	sfs_call_waits(c);
	if (walks)
		sfs_list_walk(c->inode);
}

void sfs_list_ahead(struct sfs_inode *i)
{
	struct sfs_dir *d = sfs_dir_of(i);
	int err;

	if (!d || is_listed(d) || i->files->closed || i->size > SFS_SMALL_DIR ||
	    sfs_inode_is_fleeting(i))
		return;
	if (listing_new(d, AHEAD, &err))
		d->ahead = true;
}

void sfs_list_waited(const struct sfs_dir *d)
{
	if (!d->inode->files->closed)
		sbx_remote_waited(d->inode->files->remote, d->answered);
}

/* ---- who waits until nothing is in doubt ---- */

struct sfs_settler {
	struct sfs_settler *next;
	bool compared;	 /* no change before this moment is unknown */
	uint64_t moment; /* files->moment */
	void (*fn)(void *arg);
	void *arg;
};

void sfs_files_settle(struct sfs_files *f, void (*fn)(void *arg), void *arg)
{
	struct sfs_settler *s, **at = &f->settlers;

	sfs_cache_barrier(f);
	s = malloc(sizeof(*s));
	if (!s) {
		sfs_notify_after(f->notify, fn, arg);
		return;
	}
	*s = (struct sfs_settler){.fn = fn, .arg = arg};
	while (*at)
		at = &(*at)->next;
	*at = s;
	sfs_settlers_run(f);
}

static bool settler_waits(struct sfs_files *f, struct sfs_settler *s)
{
	if (f->closed)
		return false;
	if (!s->compared && (f->comparing || f->compare))
		return true;
	if (!s->compared)
		s->moment = f->moment++;
	s->compared = true;
	return sfs_shown_lacks(f, s->moment);
}

void sfs_settlers_run(struct sfs_files *f)
{
	struct sfs_settler *s;

	while ((s = f->settlers) && !settler_waits(f, s)) {
		f->settlers = s->next;
		sfs_notify_after(f->notify, s->fn, s->arg);
		free(s);
	}
}

/* ---- comparing ---- */

static void compare_one(struct sfs_files *f, struct sfs_dir *d)
{
	struct sfs_inode *i = d->inode;
	int err;

	if (d->gen == f->gen || f->closed ||
	    (d->listing && d->listing->compare)) {
		d->comparing = false;
		sfs_inode_unref(i);
		return;
	}
	f->comparing++;
	if (d->listing) {
		/* starts again by itself */
		d->listing->compare = true;
		return;
	}
	if (listing_new(d, COMPARE, &err))
		return;
	f->comparing--;
	d->comparing = false;
	sfs_dir_distrust(d);
	d->gen = 0;
	sfs_inode_unref(i);
}

static void compare_run(struct sfs_files *f)
{
	struct sfs_dir *d;

	while (f->comparing < SFS_MAX_COMPARE && (d = f->compare)) {
		f->compare = d->compare_next;
		if (!f->compare)
			f->compare_end = &f->compare;
		compare_one(f, d);
	}
	if (!f->comparing && !f->compare)
		sfs_settlers_run(f);
}

void sfs_compare_add(struct sfs_dir *d)
{
	struct sfs_files *f = d->inode->files;

	if (d->comparing || f->closed)
		return;
	d->comparing = true;
	sfs_inode_ref(d->inode);
	d->compare_next = NULL;
	*f->compare_end = d;
	f->compare_end = &d->compare_next;
	compare_run(f);
}
