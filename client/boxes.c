/*
 * The set of known sandboxes: see boxes.h.
 */
#include "client/boxes.h"

#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

struct sbx_box *sbx_box_ref(struct sbx_box *box)
{
	box->refs++;
	return box;
}

void sbx_box_unref(struct sbx_box *box)
{
	if (!box || --box->refs > 0)
		return;
	sbx_sandbox_release(&box->sb);
	free(box->folder);
	free(box);
}

static void keep(void *box)
{
}

void sbx_boxes_release(struct sbx_boxes *bs)
{
	tdestroy(bs->ids, keep);
	for (size_t i = 0; i < bs->nr; i++)
		sbx_box_unref(bs->box[i]);
	free(bs->box);
	free(bs->name);
	*bs = (struct sbx_boxes){0};
}

static int tree_by_id(const void *a, const void *b)
{
	return strcmp(((const struct sbx_box *)a)->sb.id,
		      ((const struct sbx_box *)b)->sb.id);
}

struct sbx_box *sbx_boxes_by_id(const struct sbx_boxes *bs, const char *id)
{
	const struct sbx_box key = {.sb.id = (char *)(uintptr_t)id};
	struct sbx_box **found = tfind(&key, &bs->ids, tree_by_id);

	return found ? *found : NULL;
}

static int key_by_folder(const void *key, const void *b)
{
	return strcmp(key, (*(struct sbx_box *const *)b)->folder);
}

/* Where it stands among the names; NULL: it has none. */
static struct sbx_box **name_find(const struct sbx_boxes *bs, const char *name)
{
	return bs->name ? bsearch(name, bs->name, bs->nr_names,
				  sizeof(*bs->name), key_by_folder)
			: NULL;
}

struct sbx_box *sbx_boxes_by_name(const struct sbx_boxes *bs, const char *name)
{
	struct sbx_box **found = name_find(bs, name);

	return found ? *found : sbx_boxes_by_id(bs, name);
}

static int boxes_grow(struct sbx_boxes *bs)
{
	size_t cap = bs->cap ? bs->cap * 2 : 16;
	struct sbx_box **box;

	if (bs->nr < bs->cap)
		return 0;
	if (bs->nr >= SBX_BOXES_MAX)
		return -EMFILE;
	box = realloc(bs->box, cap * sizeof(*box));
	if (!box)
		return -ENOMEM;
	bs->box = box;
	bs->cap = cap;
	return 0;
}

/* Takes over *sb. */
static struct sbx_box *boxes_add(struct sbx_boxes *bs, struct sbx_sandbox *sb)
{
	struct sbx_box *box;

	if (boxes_grow(bs) < 0)
		return NULL;
	box = calloc(1, sizeof(*box));
	if (!box)
		return NULL;
	box->sb = *sb;
	/* until the names are given out; an id can always be one */
	box->folder = strdup(sb->id);
	if (!box->folder || !tsearch(box, &bs->ids, tree_by_id)) {
		free(box->folder);
		free(box);
		return NULL;
	}
	box->refs = 1;
	box->told = sb->state;
	bs->box[bs->nr++] = box;
	bs->unnamed = true;
	return box;
}

static bool is_same_text(const char *a, const char *b)
{
	return a && b ? !strcmp(a, b) : a == b;
}

/* Takes over *sb, of the same id. */
static void box_update(struct sbx_boxes *bs, struct sbx_box *box,
		       struct sbx_sandbox *sb)
{
	if (!is_same_text(box->sb.name, sb->name) ||
	    box->sb.created_ms != sb->created_ms)
		bs->unnamed = true;
	sbx_sandbox_release(&box->sb);
	box->sb = *sb;
}

struct sbx_box *sbx_boxes_put(struct sbx_boxes *bs, struct sbx_sandbox *sb,
			      uint64_t now_ms)
{
	struct sbx_box *box = sb->id ? sbx_boxes_by_id(bs, sb->id) : NULL;

	if (box)
		box_update(bs, box, sb);
	else if (sb->id)
		box = boxes_add(bs, sb);
	if (box)
		box->seen_ms = now_ms;
	else
		sbx_sandbox_release(sb);
	*sb = (struct sbx_sandbox){0};
	return box;
}

/* The entry is gone from a list of *nr. */
static void list_remove(struct sbx_box **list, size_t *nr,
			struct sbx_box **entry)
{
	--*nr;
	memmove(entry, entry + 1,
		(*nr - (size_t)(entry - list)) * sizeof(*list));
}

void sbx_boxes_remove(struct sbx_boxes *bs, struct sbx_box *box)
{
	struct sbx_box **named = name_find(bs, box->folder);
	size_t i = 0;

	while (i < bs->nr && bs->box[i] != box)
		i++;
	if (i == bs->nr)
		return;
	list_remove(bs->box, &bs->nr, &bs->box[i]);
	if (named && *named == box)
		list_remove(bs->name, &bs->nr_names, named);
	tdelete(box, &bs->ids, tree_by_id);
	bs->unnamed |= bs->contested;
	sbx_box_unref(box);
}

bool sbx_folder_name_ok(const char *name)
{
	size_t len = strlen(name);

	return len > 0 && len <= 255 && !strchr(name, '/') &&
	       strcmp(name, ".") && strcmp(name, "..") &&
	       strcmp(name, ".sbxfs") && strcmp(name, "new");
}

/* the oldest of a name first; ids are unique, so the order is total */
static int by_name(const void *a, const void *b)
{
	const struct sbx_sandbox *x = &(*(struct sbx_box *const *)a)->sb;
	const struct sbx_sandbox *y = &(*(struct sbx_box *const *)b)->sb;
	int r = strcmp(x->name ? x->name : "", y->name ? y->name : "");

	if (r)
		return r;
	if (x->created_ms != y->created_ms)
		return x->created_ms < y->created_ms ? -1 : 1;
	return strcmp(x->id, y->id);
}

static int by_folder(const void *a, const void *b)
{
	return strcmp((*(struct sbx_box *const *)a)->folder,
		      (*(struct sbx_box *const *)b)->folder);
}

static int box_set_folder(struct sbx_box *box, const char *name)
{
	char *copy;

	if (!strcmp(box->folder, name))
		return 0;
	copy = strdup(name);
	if (!copy)
		return -ENOMEM;
	free(box->folder);
	box->folder = copy;
	return 0;
}

/* names: all of them, by_name */
static int name_all(struct sbx_boxes *bs, struct sbx_box **names)
{
	const char *last = "";
	int r = 0;

	for (size_t i = 0; i < bs->nr && r == 0; i++) {
		const struct sbx_sandbox *sb = &names[i]->sb;
		const char *name = sb->name ? sb->name : "";
		const struct sbx_box *same = sbx_boxes_by_id(bs, name);
		bool first = strcmp(name, last) != 0;
		bool may = sbx_folder_name_ok(name);
		bool has = may && first && (!same || same == names[i]);

		last = name;
		bs->contested |= may && !has;
		r = box_set_folder(names[i], has ? name : sb->id);
	}
	return r;
}

int sbx_boxes_name(struct sbx_boxes *bs)
{
	struct sbx_box **names;
	int r;

	if (!bs->unnamed)
		return 0;
	names = malloc((bs->nr + 1) * sizeof(*names));
	if (!names)
		return -ENOMEM;
	/* their order is none until all have their names */
	free(bs->name);
	bs->name = NULL;
	bs->contested = false;
	if (bs->nr)
		memcpy(names, bs->box, bs->nr * sizeof(*names));
	qsort(names, bs->nr, sizeof(*names), by_name);
	r = name_all(bs, names);
	if (r < 0) {
		free(names);
		return r;
	}
	qsort(names, bs->nr, sizeof(*names), by_folder);
	bs->name = names;
	bs->nr_names = bs->nr;
	bs->unnamed = false;
	return 0;
}
