/*
 * Numbered directories that others rename: see moves.h.
 *
 * An exchange of a and b is told as: from a, to b, from b, to a.  So what is
 * at b when something else arrives there is put aside, and taken first when
 * "from b" follows.  The two ends of a rename may be read apart from each
 * other, so what is under way waits in a small ring, by number.
 */
#include "client/helper/moves.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include "client/helper/helper.h"

static struct move *moves_add(struct helper *h, const struct dir *d)
{
	struct moves *s = &h->moves;
	struct move *m = &s->ring[s->next++ % MOVES_MAX];

	*m = (struct move){.number = d->number};
	return m;
}

static struct dir *move_dir(const struct helper *h, const struct move *m)
{
	int err;

	return m->number ? dirs_get(h, m->number, &err) : NULL;
}

static bool from_displaced(struct helper *h, const struct dir *d,
			   const char *name, uint32_t cookie)
{
	struct move *m;
	bool any = false;

	for (m = h->moves.ring; m < h->moves.ring + MOVES_MAX; m++) {
		if (!m->number || m->cookie || m->parent != d->number ||
		    strcmp(m->name, name))
			continue;
		m->cookie = cookie;
		any = true;
	}
	return any;
}

/*
 * What is there is left alone.  It may have been numbered there before the
 * event was read; or the same events tell that it went on from there, and that
 * it is there and what it was exchanged for, which nobody knew, is where it
 * came from.
 */
static void moved_from(struct helper *h, struct dir *d, const char *name,
		       uint32_t cookie)
{
	struct dir *moved, *next;

	if (from_displaced(h, d, name, cookie))
		return;
	for (moved = dirs_at(h, d, name); moved; moved = next) {
		next = dirs_next_at(moved);
		if (dirs_is_there(h, moved))
			continue;
		dirs_lose_place(h, moved);
		if (moved->number)
			moves_add(h, moved)->cookie = cookie;
	}
}

static void moved_to(struct helper *h, struct dir *d, const char *name,
		     uint32_t cookie)
{
	struct dir *there, *next;
	struct move *m;

	for (there = dirs_at(h, d, name); there; there = next) {
		next = dirs_next_at(there);
		if (dirs_is_there(h, there))
			continue;
		dirs_lose_place(h, there);
		if (!there->number)
			continue;
		m = moves_add(h, there);
		m->parent = d->number;
		snprintf(m->name, sizeof(m->name), "%s", name);
	}
	for (m = h->moves.ring; m < h->moves.ring + MOVES_MAX; m++) {
		if (!m->number || m->cookie != cookie)
			continue;
		there = move_dir(h, m);
		if (there)
			dirs_set_place(h, there, d, name);
		m->number = 0;
	}
}

void moves_event(struct helper *h, struct dir *d, const char *name,
		 const struct inotify_event *e)
{
	if (e->mask & IN_MOVED_FROM)
		moved_from(h, d, name, e->cookie);
	else if (e->mask & IN_MOVED_TO)
		moved_to(h, d, name, e->cookie);
	else if (e->mask & IN_DELETE)
		dirs_removed(h, d, name);
}
