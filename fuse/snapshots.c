/*
 * Snapshots of a sandbox: see snapshots.h.
 */
#include "fuse/snapshots.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fuse/sandbox.h"

#define FRESH_MS 2000

struct sfs_snapshot *sfs_snapshot_ref(struct sfs_snapshot *s)
{
	s->refs++;
	return s;
}

void sfs_snapshot_unref(struct sfs_snapshot *s)
{
	if (!s || --s->refs > 0)
		return;
	free(s->name);
	free(s->info);
	free(s);
}

struct sfs_snapshot *sfs_snapshots_find(struct sfs_sandbox *sb,
					const char *name)
{
	struct sfs_snapshot *s = sb->snapshots.first;

	while (s && strcmp(s->name, name) != 0)
		s = s->next;
	return s;
}

/* Takes the texts of what the service said: another state, or even another
 * snapshot that somebody has given the name of one. */
static void snapshot_take(struct sfs_snapshot *s, struct sbx_snapshot *from)
{
	free(s->info);
	s->info = from->info;
	s->created_ms = from->created_ms;
	from->info = NULL;
}

static struct sfs_snapshot *snapshot_new(struct sbx_snapshot *from)
{
	struct sfs_snapshot *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->refs = 1;
	s->name = from->name;
	from->name = NULL;
	return s;
}

/* Those that are known stay the same objects, which the kernel may hold. */
static int take_list(struct sfs_sandbox *sb, struct sbx_call *call)
{
	struct sfs_snapshot *old = sb->snapshots.first, *s;
	struct sfs_snapshot *first = NULL, **end = &first, **at;
	int err = 0;
	size_t i;

	for (i = 0; i < call->nr_snapshots && !err; i++) {
		for (at = &old; (s = *at); at = &s->next)
			if (!strcmp(s->name, call->snapshots[i].name))
				break;
		if (s)
			*at = s->next;
		else
			s = snapshot_new(&call->snapshots[i]);
		if (!s) {
			err = -ENOMEM;
			break;
		}
		snapshot_take(s, &call->snapshots[i]);
		s->next = NULL;
		*end = s;
		end = &s->next;
	}
	while ((s = old)) {
		old = s->next;
		s->next = NULL;
		sfs_snapshot_unref(s);
	}
	sb->snapshots.first = first;
	return err;
}

struct asking {
	struct sfs_sandbox *sb; /* counted */
	unsigned int changes;	/* when it was asked for */
	sbx_box_fn *fn;
	void *arg;
};

static void on_listed(void *arg, struct sbx_call *call)
{
	struct asking *a = arg;
	struct sfs_sandbox *sb = a->sb;
	struct sbx_error e = call->error;
	/* it may be from before a change */
	bool is_old = a->changes != sb->snapshots.changes;

	if (!e.err && sb->closing) /* nobody would ever free them */
		sbx_error_set(&e, -ESTALE, "the sandbox is gone");
	if (!e.err && !(is_old && sb->snapshots.listed_ms) &&
	    take_list(sb, call) < 0)
		sbx_error_set(&e, -ENOMEM, "out of memory");
	if (!e.err && !is_old)
		sb->snapshots.listed_ms = uv_now(sb->m->fs.loop);
	a->fn(a->arg, NULL, &e);
	free(a);
	sfs_sandbox_unref(sb);
}

void sfs_snapshots_refresh(struct sfs_sandbox *sb, sbx_box_fn *fn, void *arg)
{
	uint64_t at = sb->snapshots.listed_ms;
	struct sbx_error e = {0};
	struct asking *a;

	if (at && uv_now(sb->m->fs.loop) - at < FRESH_MS) {
		fn(arg, NULL, &e);
		return;
	}
	a = malloc(sizeof(*a));
	if (!a) {
		sbx_error_set(&e, -ENOMEM, "out of memory");
		fn(arg, NULL, &e);
		return;
	}
	*a = (struct asking){.sb = sfs_sandbox_ref(sb),
			     .changes = sb->snapshots.changes,
			     .fn = fn,
			     .arg = arg};
	sbx_client_snapshots(sb->place->client, sb->box, on_listed, a);
}

uint64_t sfs_snapshot_ino(const struct sfs_snapshot *s, uint64_t kind)
{
	const char *p;

	for (p = s->name; *p; p++)
		kind = (kind ^ (unsigned char)*p) * 0x100000001b3; /* FNV-1a */
	return kind | (uint64_t)1 << 63;
}

void sfs_snapshots_stale(struct sfs_sandbox *sb)
{
	sb->snapshots.listed_ms = 0;
	sb->snapshots.changes++;
}

void sfs_snapshots_clear(struct sfs_sandbox *sb)
{
	struct sfs_snapshot *s;

	while ((s = sb->snapshots.first)) {
		sb->snapshots.first = s->next;
		s->next = NULL;
		sfs_snapshot_unref(s);
	}
}
