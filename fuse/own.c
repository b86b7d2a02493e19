/*
 * Files of a service's own: see own.h.
 */
#include "fuse/own.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuse/place.h"
#include "fuse/sandbox.h"

#define FRESH_MS 2000

static const struct sbx_service_type *type_of(struct sfs_owner owner)
{
	return sbx_client_service(owner.place->client)->type;
}

static struct sfs_own **list_of(struct sfs_owner owner)
{
	return owner.sb ? &owner.sb->owns : &owner.place->owns;
}

/* ---- objects ---- */

static void own_drop_list(struct sfs_own *o)
{
	sbx_files_free(o->files, o->nr_files);
	o->files = NULL;
	o->nr_files = 0;
	o->listed_ms = 0;
}

struct sfs_own *sfs_own_ref(struct sfs_own *o)
{
	o->refs++;
	return o;
}

void sfs_own_unref(struct sfs_own *o)
{
	if (!o || --o->refs > 0)
		return;
	*o->link = o->next;
	if (o->next)
		o->next->link = o->link;
	own_drop_list(o);
	free(o);
}

static struct sfs_own *own_new(struct sfs_owner owner, const char *path,
			       const struct sbx_own_at *at)
{
	struct sfs_own *o = calloc(1, sizeof(*o) + strlen(path) + 1);
	struct sfs_own **list = list_of(owner);

	if (!o)
		return NULL;
	o->refs = 1;
	o->at = *at;
	strcpy(o->path, path);
	o->link = list;
	o->next = *list;
	if (o->next)
		o->next->link = &o->next;
	*list = o;
	return o;
}

bool sfs_own_path(char path[SBX_OWN_MAX_PATH], const struct sfs_own *dir,
		  const char *name)
{
	int n = snprintf(path, SBX_OWN_MAX_PATH, "%s%s%s", dir ? dir->path : "",
			 dir ? "/" : "", name);

	return n < SBX_OWN_MAX_PATH;
}

int sfs_own_get(struct sfs_owner owner, struct sfs_own *dir, const char *name,
		const struct sbx_own_at *at, struct sfs_own **ret)
{
	char path[SBX_OWN_MAX_PATH];
	struct sfs_own *o;

	if (!sfs_own_path(path, dir, name))
		return -ENAMETOOLONG;
	for (o = *list_of(owner); o; o = o->next)
		if (!strcmp(o->path, path))
			break;
	*ret = o ? sfs_own_ref(o) : own_new(owner, path, at);
	return *ret ? 0 : -ENOMEM;
}

/* ---- the table ---- */

struct sbx_own_at sfs_own_at(const struct sfs_own *dir)
{
	return dir ? dir->at : SBX_OWN_TOP;
}

bool sfs_own_enter(struct sfs_owner owner, const struct sfs_own *dir,
		   const char *name, struct sbx_own_at *ret)
{
	struct sbx_own_at at = sfs_own_at(dir);

	return sbx_own_enter(type_of(owner)->own, !owner.sb, &at, name, ret);
}

bool sfs_own_next(struct sfs_owner owner, const struct sfs_own *dir,
		  size_t *pos, char name[256], struct sbx_own_at *ret)
{
	struct sbx_own_at at = sfs_own_at(dir);

	return sbx_own_next(type_of(owner)->own, !owner.sb, &at, pos, name,
			    ret);
}

static bool has_row(struct sfs_owner owner, const struct sbx_own *row,
		    const char *path)
{
	struct sbx_service *svc = sbx_client_service(owner.place->client);

	return !svc->type->own_has ||
	       svc->type->own_has(svc, owner.sb ? owner.sb->box->sb.id : NULL,
				  row, path);
}

/* A folder is there for what is in it. */
bool sfs_own_has(struct sfs_owner owner, const struct sbx_own_at *at)
{
	const struct sbx_own *row = type_of(owner)->own;

	if (at->row && !at->is_dir)
		return has_row(owner, at->row, NULL);
	for (; row->path; row++)
		if (!(row->flags & SBX_OWN_PLACE) == !!owner.sb &&
		    sbx_own_is_below(row, at) && has_row(owner, row, NULL))
			return true;
	return false;
}

bool sfs_own_has_any(struct sfs_owner owner, const struct sfs_own *dir,
		     const char *name, const struct sbx_own_at *at)
{
	char path[SBX_OWN_MAX_PATH];

	return at->row && at->row->flags & SBX_OWN_ANY &&
	       sfs_own_path(path, dir, name) && has_row(owner, at->row, path);
}

/* ---- names that are the service's ---- */

struct asking {
	struct sfs_owner owner; /* the sandbox is counted */
	struct sfs_own *dir;	/* counted, or NULL */
	unsigned int changes;	/* when it was asked for */
	sbx_box_fn *fn;
	void *arg;
};

/* Lists are kept while somebody walks through them, not for all folders that
 * the kernel has ever seen. */
static void drop_lists(struct sfs_owner owner, uint64_t older_than_ms)
{
	uint64_t now = uv_now(owner.place->m->fs.loop);
	struct sfs_own *o;

	for (o = *list_of(owner); o; o = o->next)
		if (now - o->listed_ms >= older_than_ms)
			own_drop_list(o);
}

static void on_listed(void *arg, struct sbx_call *call)
{
	struct asking *a = arg;
	struct sfs_sandbox *sb = a->owner.sb;

	if (!call->error.err) {
		drop_lists(a->owner, FRESH_MS);
		own_drop_list(a->dir);
		a->dir->files = call->files;
		a->dir->nr_files = call->nr_files;
		/* true when it was asked for: not to be kept if it may be from
		 * before a change */
		if (a->changes == a->dir->changes)
			a->dir->listed_ms = uv_now(a->owner.place->m->fs.loop);
		call->files = NULL;
		call->nr_files = 0;
	}
	a->fn(a->arg, NULL, &call->error);
	sfs_own_unref(a->dir);
	free(a);
	sfs_sandbox_unref(sb);
}

void sfs_own_refresh(struct sfs_owner owner, struct sfs_own *dir,
		     sbx_box_fn *fn, void *arg)
{
	uint64_t now = uv_now(owner.place->m->fs.loop);
	struct sbx_error e = {0};
	struct sbx_own_at at;
	struct asking *a;

	if (!dir || (dir->listed_ms && now - dir->listed_ms < FRESH_MS) ||
	    !sbx_own_given(type_of(owner)->own, !owner.sb, &dir->at, &at)) {
		fn(arg, NULL, &e);
		return;
	}
	a = malloc(sizeof(*a));
	if (!a) {
		sbx_error_set(&e, -ENOMEM, "out of memory");
		fn(arg, NULL, &e);
		return;
	}
	*a = (struct asking){.owner = owner,
			     .dir = sfs_own_ref(dir),
			     .changes = dir->changes,
			     .fn = fn,
			     .arg = arg};
	if (owner.sb)
		sfs_sandbox_ref(owner.sb);
	sbx_client_own(owner.place->client, owner.sb ? owner.sb->box : NULL,
		       SBX_CALL_OWN_LIST, dir->path, NULL, 0, on_listed, a);
}

bool sfs_own_is_listed(const struct sfs_own *dir, const char *name)
{
	size_t i;

	for (i = 0; dir && i < dir->nr_files; i++)
		if (!strcmp(dir->files[i].name, name))
			return true;
	return false;
}

void sfs_own_stale(struct sfs_owner owner)
{
	struct sfs_own *o;

	for (o = *list_of(owner); o; o = o->next)
		o->changes++;
	drop_lists(owner, 0);
}
