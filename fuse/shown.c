/*
 * Attributes as they were: see shown.h.
 *
 * Pages are dropped again, after a while, until it is certain that nothing
 * that the kernel was given cuts off any of those read since.  It passes over
 * attributes that it asked for before it was told to drop pages, unless it is
 * just applying them (answers.h).  Others cut off nothing if it had the same
 * before.
 */
#include "fuse/shown.h"

#include <stdlib.h>

#include "fuse/cache.h"
#include "fuse/handle.h"
#include "fuse/list.h"

struct times {
	uint64_t size, blocks;
	int64_t mtime_s, ctime_s;
	uint32_t mtime_ns, ctime_ns;
};

/* From a change until it is shown. */
struct sfs_shown {
	struct sfs_inode *inode; /* referenced; NULL: it is gone */
	struct sfs_shown *next, **at;
	struct times as;   /* shown */
	struct times then; /* when the pages now being dropped were named */
	uint64_t since;	   /* the moment of the first change not shown */
	uint64_t more_since;
	uint64_t held_since;
	uint64_t due_ms; /* when it is looked whether they can be dropped once
			    more; 0: they are being dropped */
	uint64_t until;	 /* so many answers are applied then */
	uint64_t again;	 /* ... and these, of which the last was the second to
			    one thread; 0: there was none */
	pid_t asker;	 /* that was the first, while it is due; -1: none */
	uint8_t tries;
	bool begun;
	bool late;  /* some may not be applied that were given before */
	bool given; /* to the kernel, since it was told to drop them */
	bool had;   /* it has these attributes: giving them does nothing */
	bool more;  /* changed again since the pages are being dropped */
	bool own;   /* ... by ourselves */
	bool held;  /* it will begin (again): sfs_shown_hold */
};

static struct times times_of(const struct sfs_inode *i)
{
	return (struct times){
		.size = i->size,
		.blocks = i->blocks,
		.mtime_s = i->mtime_s,
		.mtime_ns = i->mtime_ns,
		.ctime_s = i->ctime_s,
		.ctime_ns = i->ctime_ns,
	};
}

static struct sfs_shown *shown_of(const struct sfs_inode *i)
{
	return sfs_file_is_open(i) ? i->file->shown : NULL;
}

void sfs_shown_keep(struct sfs_inode *i)
{
	struct sfs_files *files = i->files;
	struct sfs_file *f;
	struct sfs_shown *s;

	if (!sfs_inode_is_held(i) || !sfs_inode_is_file(i) || files->closed)
		return;
	f = sfs_file_of(i);
	if (!f || f->shown)
		return;
	s = calloc(1, sizeof(*s));
	if (!s) {
		sfs_file_put(i);
		return;
	}
	s->inode = sfs_inode_ref(i);
	s->as = times_of(i);
	s->since = files->moment;
	s->asker = -1;
	s->at = files->shown_end;
	*s->at = s;
	files->shown_end = &s->next;
	f->shown = s;
}

/* It is what it is; what the kernel was told may still be under way. */
static void shown_end(struct sfs_shown *s)
{
	struct sfs_inode *i = s->inode;
	struct sfs_files *f = i->files;

	*s->at = s->next;
	if (s->next)
		s->next->at = s->at;
	else
		f->shown_end = s->at;
	s->inode = NULL;
	i->file->shown = NULL;
	sfs_file_put(i);
	sfs_inode_unref(i);
	sfs_settlers_run(f);
}

static void on_dropped(void *arg);
static void on_due(uv_timer_t *t);

/* What holds up the kernel is a page that is being read. */
static bool is_being_read(const struct sfs_inode *i, uint64_t now)
{
	const struct sfs_handle *h;

	for (h = i->file->handles; h; h = h->next)
		if (h->reads.first)
			return true;
	return i->file->read_ms && now - i->file->read_ms < SFS_SHOWN_MS;
}

/* Of the first so many answers. */
static bool some_wait(const struct sfs_shown *s, uint64_t number)
{
	struct sfs_files *f = s->inode->files;
	uint64_t now = files_now(f);

	return sfs_answers_wait(&f->fs->answers, s->inode, number,
				is_being_read(s->inode, now), now);
}

static void drop(struct sfs_shown *s)
{
	struct sfs_files *f = s->inode->files;

	s->late = !s->had && some_wait(s, f->fs->answers.number);
	s->begun = true;
	s->then = times_of(s->inode);
	s->given = s->more = s->own = false;
	s->due_ms = 0;
	sfs_cache_drop_pages(s->inode);
	sfs_notify_after(f->notify, on_dropped, s);
}

/* Other attributes are shown from now on. */
static void shows_others(struct sfs_shown *s)
{
	s->had = false;
	s->again = 0;
	s->asker = -1;
	s->tries = 0;
}

static void look_in(struct sfs_shown *s, unsigned int ms)
{
	uv_timer_t *t = s->inode->files->shown_timer;

	s->due_ms = files_now(s->inode->files) + ms;
	if (!ms || !uv_is_active((uv_handle_t *)t))
		uv_timer_start(t, on_due, ms, 0);
}

/* Whether all that may cut off pages has been applied. */
static void look(struct sfs_shown *s)
{
	bool all = !some_wait(s, s->until);

	s->had = s->tries >= SFS_SHOWN_TRIES ||
		 (s->again && !some_wait(s, s->again));
	if (all && (s->had || !s->again))
		drop(s);
	else
		look_in(s, SFS_SHOWN_MS);
}

/* Those who ask without a break will have done so twice by then. */
static void look_again(struct sfs_shown *s)
{
	s->until = s->inode->files->fs->answers.number;
	s->again = 0;
	s->asker = -1;
	s->tries++;
	if (s->given)
		look_in(s, SFS_SHOWN_MS);
	else
		look(s);
}

static void on_due(uv_timer_t *t)
{
	struct sfs_files *f = t->data;
	uint64_t next = UINT64_MAX, now = files_now(f);
	struct sfs_shown *s, *after;

	for (s = f->shown; s; s = after) {
		after = s->next;
		if (s->due_ms && s->due_ms <= now)
			look(s);
	}
	for (s = f->shown; s; s = s->next)
		if (s->due_ms && s->due_ms < next)
			next = s->due_ms;
	if (next != UINT64_MAX)
		uv_timer_start(t, on_due, next - now, 0);
}

static void on_dropped(void *arg)
{
	struct sfs_shown *s = arg;
	struct sfs_files *f = s->inode ? s->inode->files : NULL;

	if (!f) {
		free(s);
	} else if (!s->had && (s->late || s->given)) {
		look_again(s);
	} else if (s->more) {
		if (!s->own)
			s->as = s->then;
		s->since = s->more_since;
		shows_others(s);
		drop(s);
		sfs_settlers_run(f);
	} else if (s->held) {
		if (!s->own)
			s->as = s->then;
		s->since = s->held_since;
		shows_others(s);
		s->begun = false;
		sfs_settlers_run(f);
	} else {
		shown_end(s);
		free(s);
	}
}

void sfs_shown_begin(struct sfs_inode *i)
{
	struct sfs_shown *s = shown_of(i);

	if (!s)
		return;
	if (s->begun && !s->more) {
		s->more = true;
		s->more_since = s->held ? s->held_since : i->files->moment;
	}
	s->held = false;
	if (!s->begun)
		drop(s);
}

void sfs_shown_hold(struct sfs_inode *i)
{
	struct sfs_shown *s;

	sfs_shown_keep(i);
	s = shown_of(i);
	if (!s || s->held)
		return;
	s->held = true;
	s->held_since = i->files->moment;
}

void sfs_shown_own(struct sfs_inode *i)
{
	struct sfs_shown *s = shown_of(i);

	if (!s)
		return;
	s->as = times_of(i);
	s->own = true;
	shows_others(s);
}

void sfs_shown_cut(struct sfs_inode *i)
{
	struct sfs_shown *s = shown_of(i);

	if (!s)
		return;
	if (s->then.size > i->size)
		s->then.size = i->size;
	if (s->as.size <= i->size)
		return;
	s->as.size = i->size;
	s->as.blocks = i->blocks;
	shows_others(s);
}

void sfs_shown_attr(const struct sfs_inode *i, struct stat *st)
{
	const struct sfs_shown *s = shown_of(i);

	if (!s)
		return;
	st->st_size = (off_t)s->as.size;
	st->st_blocks = (blkcnt_t)s->as.blocks;
	st->st_mtim.tv_sec = s->as.mtime_s;
	st->st_mtim.tv_nsec = s->as.mtime_ns;
	st->st_ctim.tv_sec = s->as.ctime_s;
	st->st_ctim.tv_nsec = s->as.ctime_ns;
}

/*
 * What one thread is given a second time, it asked for after it had been told
 * to drop pages, and does not pass over.  (0 is any of another container's.)
 */
static void given_again(struct sfs_shown *s, pid_t asker)
{
	if (s->asker <= 0) {
		s->asker = asker;
	} else if (s->asker == asker && !s->again) {
		s->again = s->inode->files->fs->answers.number;
		look_in(s, 0);
	}
}

void sfs_shown_given(struct sfs_inode *i, pid_t asker)
{
	struct sfs_shown *s = shown_of(i);
	struct sfs *fs = i->files->fs;

	if (sfs_inode_is_file(i) && (asker > 0 || sfs_file_is_open(i)))
		sfs_answers_add(&fs->answers, i, asker, uv_now(fs->loop));
	if (!s)
		return;
	s->given = true;
	if (s->due_ms)
		given_again(s, asker);
}

void sfs_shown_asks(struct sfs *fs, pid_t asker)
{
	struct sfs_files *f;
	struct sfs_shown *s;

	if (!sfs_answers_asks(&fs->answers, asker))
		return;
	for (f = fs->files; f; f = f->next)
		for (s = f->shown; s; s = s->next)
			if (s->due_ms)
				look_in(s, 0);
}

bool sfs_shown_is_on(const struct sfs_inode *i)
{
	return shown_of(i);
}

bool sfs_shown_lacks(const struct sfs_files *f, uint64_t moment)
{
	const struct sfs_shown *s;

	for (s = f->shown; s; s = s->next)
		if (s->since <= moment)
			return true;
	return false;
}

void sfs_shown_leave(struct sfs_files *f)
{
	struct sfs_shown *s;
	bool waits;

	while ((s = f->shown)) {
		/* for nobody but the timer, or what calls no more */
		waits = s->due_ms || !s->begun;
		shown_end(s);
		if (waits)
			free(s);
	}
}
