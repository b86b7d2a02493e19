/*
 * Content ahead of need: see ahead.h.
 */
#include "fuse/ahead.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fuse/cache.h"
#include "fuse/handle.h"
#include "fuse/list.h"
#include "fuse/tell.h"

struct sfs_ahead {
	struct sfs_inode *inode;      /* referenced */
	struct sfs_ahead *next, **at; /* files->ahead, oldest first */
	struct sfs_calls waiting;
	uint64_t answered; /* sbx_remote_waited */
	uint64_t ms;	   /* when it arrived */
	size_t len;	   /* counted in fs.readahead */
	uint32_t gen;	   /* sfs_file.gen */
	uint32_t doubt;	   /* sfs_files.gen */
	bool arrived, stale;
	bool known; /* it tells nothing of what is read next */
	uint8_t *data;
};

/* One CONTENT request, or what is to be one. */
struct asking {
	struct sfs_files *files;
	struct sfs_dir *dir; /* until it is sent */
	uint32_t nr, next;
	bool in_vain; /* nothing of it came */
	struct sfs_ahead *list[SBX_CONTENT_FILES];
};

/* ---- what is here ---- */

static struct sfs_ahead *ahead_of(const struct sfs_inode *i)
{
	return sfs_file_is_open(i) ? i->file->ahead : NULL;
}

static void ahead_free(struct sfs_ahead *a)
{
	struct sfs_inode *i = a->inode;
	struct sfs_files *f = i->files;

	*a->at = a->next;
	if (a->next)
		a->next->at = a->at;
	else
		f->ahead_end = a->at;
	f->nr_ahead--;
	f->ahead_bytes -= a->len;
	f->fs->readahead -= a->len;
	i->file->ahead = NULL;
	sfs_file_put(i);
	sfs_inode_unref(i);
	free(a->data);
	free(a);
}

static struct sfs_ahead *ahead_new(struct sfs_inode *i)
{
	struct sfs_files *f = i->files;
	struct sfs_file *file = sfs_file_of(i);
	struct sfs_ahead *a = file ? calloc(1, sizeof(*a)) : NULL;

	if (!a) {
		sfs_file_put(i);
		return NULL;
	}
	a->inode = sfs_inode_ref(i);
	a->len = (size_t)i->size;
	a->gen = file->gen;
	a->doubt = f->gen;
	sfs_calls_init(&a->waiting);
	file->ahead = a;
	a->at = f->ahead_end;
	*a->at = a;
	f->ahead_end = &a->next;
	f->nr_ahead++;
	f->ahead_bytes += a->len;
	f->fs->readahead += a->len;
	return a;
}

static bool ahead_is_true(const struct sfs_ahead *a)
{
	const struct sfs_inode *i = a->inode;

	return !a->stale && a->gen == i->file->gen &&
	       a->doubt == i->files->gen && a->len == i->size &&
	       i->attr_gen == i->files->gen && sfs_inode_is_covered(i);
}

void sfs_ahead_drop(struct sfs_inode *i)
{
	struct sfs_ahead *a = ahead_of(i);

	if (a && a->arrived)
		ahead_free(a);
	else if (a)
		a->stale = true;
}

void sfs_ahead_end(struct sfs_files *f)
{
	while (f->ahead)
		ahead_free(f->ahead);
}

bool sfs_ahead_wait(struct sfs_call *c)
{
	struct sfs_ahead *a = ahead_of(c->inode);

	if (!a || a->arrived || a->stale)
		return false;
	sfs_calls_add(&a->waiting, c);
	sfs_call_waits(c);
	return true;
}

/* data NULL: it could not be had */
static void arrived(struct sfs_ahead *a, const uint8_t *data, size_t len)
{
	struct sfs_inode *i = sfs_inode_ref(a->inode);
	struct sfs_calls waiting = a->waiting;

	a->arrived = true;
	a->ms = files_now(i->files);
	a->answered = sbx_remote_answered(i->files->remote);
	if (data && len == a->len && ahead_is_true(a))
		a->data = malloc(len);
	if (a->data)
		memcpy(a->data, data, len);
	else
		ahead_free(a);
	sfs_calls_resume(&waiting, 0);
	sfs_inode_unref(i);
}

/* It was written, or opened, here; it may never be read: the first to make
 * way. */
static void ahead_keep(struct sfs_ahead *a)
{
	a->known = true;
	a->ms = files_now(a->inode->files) - SFS_AHEAD_MS;
}

/* ---- asking ---- */

static void on_part(void *arg, struct sbx_rd *rd)
{
	struct asking *k = arg;
	struct sbx_rd all = sbx_get_array(rd);
	const uint8_t *data;
	size_t len;

	while (all.left && k->next < k->nr) {
		data = sbx_get_bin(&all, &len);
		if (data)
			k->in_vain = false;
		arrived(k->list[k->next++], all.err ? NULL : data, len);
	}
}

static void on_content(void *arg, int err, struct sbx_rd *rd)
{
	struct asking *k = arg;
	struct sfs_files *f = k->files;

	while (k->next < k->nr)
		arrived(k->list[k->next++], NULL, 0);
	if (!k->in_vain)
		f->ahead_in_vain = 0;
	else if (f->ahead_in_vain < SFS_AHEAD_IN_VAIN)
		f->ahead_in_vain++;
	free(k);
}

static void asking_send(struct asking *k)
{
	struct sbx_remote *r = k->files->remote;
	struct sbx_buf *b = sbx_remote_begin(r, SBX_OP_CONTENT, 3);
	const struct sfs_entry *e;
	uint32_t n;

	sbx_put_u64(b, k->dir->number);
	sbx_put_u64(b, SFS_AHEAD_FILE);
	sbx_put_array(b, k->nr);
	for (n = 0; n < k->nr; n++) {
		e = k->list[n]->inode->names;
		sbx_put_array(b, 2);
		sbx_put_bin(b, e->name, e->len);
		sbx_put_u64(b, e->inode->ino);
	}
	sbx_remote_ahead(r, sbx_remote_submit(r, on_content, on_part, k));
}

/* ---- what to ask for ---- */

/* A look at some of what may be read next. */
struct look {
	struct sfs_files *files;
	struct asking *asking; /* NULL: none begun */
	unsigned int steps;
	uint32_t room;	/* files that may be asked for */
	uint32_t lists; /* and folders that may be listed */
	bool full;
};

static void look_send(struct look *l)
{
	if (l->asking)
		asking_send(l->asking);
	l->asking = NULL;
}

static bool is_idle(const struct sfs_ahead *a)
{
	return a->arrived && files_now(a->inode->files) - a->ms >= SFS_AHEAD_MS;
}

void sfs_ahead_yield(struct sfs_files *f, size_t len)
{
	struct sfs_ahead *a;
	size_t left = f->ahead_bytes;

	while ((a = f->ahead) && is_idle(a) && left - f->ahead_bytes < len) {
		ahead_free(a);
		f->ahead_window = SFS_AHEAD_MIN;
	}
}

/* In proportion to the mount's memory. */
size_t sfs_ahead_max(const struct sfs *fs)
{
	size_t max = fs->cache_max / 8;

	if (max < SFS_READAHEAD_LEAST)
		return SFS_READAHEAD_LEAST;
	return max < SFS_READAHEAD_TOTAL ? max : SFS_READAHEAD_TOTAL;
}

static bool is_full(const struct sfs_files *f, size_t len)
{
	return f->nr_ahead >= SFS_AHEAD_FILES ||
	       f->ahead_bytes + len > SFS_AHEAD_BYTES ||
	       f->fs->readahead + len > sfs_ahead_max(f->fs) / 2;
}

bool sfs_ahead_has_room(struct sfs_files *f, size_t len)
{
	if (is_full(f, len))
		sfs_ahead_yield(f, len);
	return !is_full(f, len);
}

/* Somebody may open it to read it, and the kernel does not have it.  Only its
 * owner may read it without changing its time of access. */
static bool is_of_use(const struct sfs_inode *i)
{
	const struct sbx_remote_info *info = sbx_remote_info(i->files->remote);

	return sfs_inode_is_file(i) && i->size && i->size <= SFS_AHEAD_FILE &&
	       !(i->flags & (SFS_INODE_WHOLE | SFS_INODE_GONE)) && !i->file &&
	       info && (!info->uid || i->uid == info->uid) &&
	       sfs_inode_is_known(i) && sfs_inode_is_readable(i);
}

/* Room for one more file of this directory in a request; NULL: no memory. */
static struct asking *look_asking(struct look *l, struct sfs_dir *d)
{
	if (l->asking &&
	    (l->asking->dir != d || l->asking->nr == SBX_CONTENT_FILES))
		look_send(l);
	if (l->asking)
		return l->asking;
	l->asking = calloc(1, sizeof(*l->asking));
	if (l->asking) {
		l->asking->files = l->files;
		l->asking->dir = d;
		l->asking->in_vain = true;
	}
	return l->asking;
}

static void look_ask(struct look *l, struct sfs_dir *d, struct sfs_inode *i)
{
	struct asking *k;
	struct sfs_ahead *a;

	/* (of several names the first is the one that is sent) */
	if (!is_of_use(i) || i->names->dir != d)
		return;
	l->full = !l->room || !sfs_ahead_has_room(l->files, (size_t)i->size);
	if (l->full)
		return;
	k = look_asking(l, d);
	a = k ? ahead_new(i) : NULL;
	if (a) {
		k->list[k->nr++] = a;
		l->room--;
	} else {
		l->full = true;
	}
}

/* Its folders are looked into one after the other. */
static bool is_walked(const struct sfs_dir *d)
{
	return d->walked >= SFS_WALK_MANY;
}

static int name_cmp(const struct sfs_entry *a, const struct sfs_entry *b)
{
	size_t len = a->len < b->len ? a->len : b->len;
	int r = memcmp(a->name, b->name, len);

	return r ? r : a->len - b->len;
}

static int by_name(const void *a, const void *b)
{
	return name_cmp(*(struct sfs_entry *const *)a,
			*(struct sfs_entry *const *)b);
}

/*
 * What comes behind that entry (NULL: all), at most so many, in the order in
 * which things are read now.  Returns how many; *ret is the caller's to free.
 */
static size_t look_behind(const struct look *l, const struct sfs_dir *d,
			  const struct sfs_entry *from, struct sfs_entry ***ret)
{
	uint64_t at = from && !l->files->read_by_name ? from->cookie : 0;
	size_t max = SFS_AHEAD_STEPS - l->steps, n = 0;
	struct sfs_entry **list = malloc((max + 1) * sizeof(*list)), *e;

	while (list && n < max && (e = sfs_entries_after(&d->entries, at))) {
		at = e->cookie;
		if (!from || !l->files->read_by_name || name_cmp(e, from) > 0)
			list[n++] = e;
	}
	if (n && l->files->read_by_name)
		qsort(list, n, sizeof(*list), by_name);
	*ret = list;
	return n;
}

static void look_into(struct look *l, struct sfs_dir *d,
		      const struct sfs_entry *from, int depth);

static void look_into_dir(struct look *l, struct sfs_inode *i, int depth)
{
	if (i->dir && sfs_dir_is_complete(i->dir)) {
		look_into(l, i->dir, NULL, depth - 1);
	} else if (l->lists && !(i->dir && i->dir->listing)) {
		sfs_list_ahead(i);
		l->lists--;
	}
}

/* The files behind that place, and in the folders there. */
static void look_into(struct look *l, struct sfs_dir *d,
		      const struct sfs_entry *from, int depth)
{
	struct sfs_entry **list;
	size_t n = look_behind(l, d, from, &list), k;
	struct sfs_inode *i;

	for (k = 0; k < n && !l->full; k++) {
		i = list[k]->inode;
		if (++l->steps >= SFS_AHEAD_STEPS)
			l->full = true;
		if (i && !sfs_inode_is_dir(i))
			look_ask(l, d, i);
		else if (i && is_walked(d) && depth)
			look_into_dir(l, i, depth);
	}
	free(list);
}

/* In a small folder the order does not matter. */
static const struct sfs_entry *place_of(const struct sfs_entry *e)
{
	const struct sfs_dir *d = e->dir;

	return d->entries.nr <= d->inode->files->ahead_window ? NULL : e;
}

/* What is behind that file, in its folder and then behind that. */
static void look_from(const struct sfs_entry *e, uint32_t room)
{
	struct look l = {
		.files = e->dir->inode->files,
		.room = room,
		.lists = SFS_WALK_MIN,
	};

	look_into(&l, e->dir, place_of(e), SFS_AHEAD_DEPTH);
	while (!l.full && (e = e->dir->inode->names) && is_walked(e->dir) &&
	       sfs_dir_is_complete(e->dir))
		look_into(&l, e->dir, e, SFS_AHEAD_DEPTH);
	look_send(&l);
}

/* ---- how far ---- */

/* How many more may be asked for: those that nobody came for do not count. */
static uint32_t window_left(const struct sfs_files *f)
{
	uint32_t n = f->nr_ahead;
	const struct sfs_ahead *a;

	for (a = f->ahead; a && is_idle(a); a = a->next)
		n--;
	return n < f->ahead_window ? f->ahead_window - n : 0;
}

static void window_set(struct sfs_files *f, bool hit)
{
	if (f->ahead_window < SFS_AHEAD_MIN)
		f->ahead_window = SFS_AHEAD_MIN;
	if (!hit || ++f->ahead_hits < f->ahead_window / 2)
		return;
	f->ahead_hits = 0;
	if (f->ahead_window < SFS_AHEAD_FILES)
		f->ahead_window *= 2;
}

/* Programs read in the order of the listing or in that of names, the folders,
 * too: a step that is forward in one of them only tells. */
static void learn_order(struct sfs_files *f, const struct sfs_entry *e)
{
	struct sfs_dir *d = e->dir;
	const struct sfs_entry *last =
		d->last_read ? sfs_entries_after(&d->entries, d->last_read - 1)
			     : NULL;
	bool listed, named;

	if (last && last != e) {
		listed = last->cookie < e->cookie;
		named = name_cmp(last, e) < 0;
		if (listed != named)
			f->read_by_name = named;
	}
	d->last_read = e->cookie;
}

/* Another folder beside it was read from a moment ago. */
static bool is_read_on(struct sfs_files *f, const struct sfs_dir *d)
{
	const struct sfs_entry *up = d->inode->names;
	uint64_t number = up ? up->dir->number : 0;
	bool on = number && number == f->read_up && is_walked(up->dir) &&
		  files_now(f) - f->read_ms < SFS_AHEAD_MS;

	f->read_up = number;
	f->read_ms = files_now(f);
	return on;
}

static void opened(struct sfs_inode *i, bool hit)
{
	const struct sfs_entry *e = i->names;
	struct sfs_files *f = i->files;
	struct sfs_dir *d = e ? e->dir : NULL;
	uint32_t left;
	bool on;

	if (!d || f->closed || f->ahead_in_vain >= SFS_AHEAD_IN_VAIN ||
	    !sfs_dir_is_complete(d))
		return;
	window_set(f, hit);
	learn_order(f, e);
	on = is_read_on(f, d) || hit;
	if (d->reads < SFS_READS_MANY)
		d->reads++;
	if (!on && d->reads < SFS_READS_MANY) {
		f->ahead_window = SFS_AHEAD_MIN;
		return;
	}
	left = window_left(f);
	/* what was not foreseen is put right at once */
	if (!hit && left < SFS_AHEAD_MIN)
		left = SFS_AHEAD_MIN;
	if (!hit || left >= f->ahead_window / 2)
		look_from(e, left);
}

void sfs_ahead_missed(struct sfs_inode *i)
{
	opened(i, false);
}

static bool ahead_give(struct sfs_ahead *a, struct sfs_handle *h)
{
	uint8_t *data = ahead_is_true(a) ? malloc(a->len) : NULL;

	if (!data)
		return false;
	memcpy(data, a->data, a->len);
	if (sfs_fetch_adopt(h, data, a->len, a->answered))
		return true;
	free(data);
	return false;
}

/* Programs open a file twice before they read it (git, vim): it stays until
 * the kernel has it, or others need the place. */
bool sfs_ahead_take(struct sfs_handle *h)
{
	struct sfs_ahead *a = ahead_of(h->inode);
	bool taken, is_new;

	if (!a || !a->arrived)
		return false;
	is_new = !a->known;
	taken = ahead_give(a, h);
	if (!taken)
		ahead_free(a);
	else if (is_new)
		ahead_keep(a);
	if (taken && is_new)
		opened(h->inode, true);
	return taken;
}

/* ---- with a look-up ---- */

uint32_t sfs_ahead_size(const struct sfs_dir *d)
{
	return d->lookups < SFS_LOOKUPS_MANY ? SFS_AHEAD_LOOKUP : 0;
}

void sfs_ahead_found(struct sfs_inode *i, const uint8_t *data, size_t len)
{
	struct sfs_ahead *a;

	/* something of ours that was sent after the look-up may change it */
	if (i->files->changes || !is_of_use(i) || len != i->size ||
	    !sfs_ahead_has_room(i->files, len))
		return;
	a = ahead_new(i);
	if (a)
		arrived(a, data, len);
}

/* ---- what was written here ---- */

void sfs_ahead_keep(struct sfs_inode *i, uint8_t *data, size_t len)
{
	struct sfs_ahead *a = NULL;

	if (!i->file->ahead && sfs_inode_is_known(i) &&
	    sfs_ahead_has_room(i->files, len))
		a = ahead_new(i);
	if (!a) {
		free(data);
		return;
	}
	a->data = data;
	a->arrived = true;
	ahead_keep(a);
}
