/*
 * The set of known sandboxes: see boxes.h.
 */
#include "client/boxes.h"

#include <errno.h>
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

void sbx_boxes_release(struct sbx_boxes *bs)
{
	for (size_t i = 0; i < bs->nr; i++)
		sbx_box_unref(bs->box[i]);
	free(bs->box);
	*bs = (struct sbx_boxes){0};
}

struct sbx_box *sbx_boxes_by_id(const struct sbx_boxes *bs, const char *id)
{
	for (size_t i = 0; i < bs->nr; i++)
		if (!strcmp(bs->box[i]->sb.id, id))
			return bs->box[i];
	return NULL;
}

struct sbx_box *sbx_boxes_by_name(const struct sbx_boxes *bs, const char *name)
{
	for (size_t i = 0; i < bs->nr; i++)
		if (bs->box[i]->folder && !strcmp(bs->box[i]->folder, name))
			return bs->box[i];
	return sbx_boxes_by_id(bs, name);
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

static struct sbx_box *boxes_add(struct sbx_boxes *bs, const char *id)
{
	struct sbx_box *box;

	if (boxes_grow(bs) < 0)
		return NULL;
	box = calloc(1, sizeof(*box));
	if (!box)
		return NULL;
	/* until the names are given out; an id can always be one */
	box->folder = strdup(id);
	if (!box->folder) {
		free(box);
		return NULL;
	}
	box->refs = 1;
	bs->box[bs->nr++] = box;
	return box;
}

struct sbx_box *sbx_boxes_put(struct sbx_boxes *bs, struct sbx_sandbox *sb,
			      uint64_t now_ms)
{
	struct sbx_box *box = sb->id ? sbx_boxes_by_id(bs, sb->id) : NULL;

	if (!box && sb->id) {
		box = boxes_add(bs, sb->id);
		if (box)
			box->told = sb->state;
	}
	if (!box) {
		sbx_sandbox_release(sb);
		*sb = (struct sbx_sandbox){0};
		return NULL;
	}
	sbx_sandbox_release(&box->sb);
	box->sb = *sb;
	*sb = (struct sbx_sandbox){0};
	box->seen_ms = now_ms;
	return box;
}

void sbx_boxes_remove(struct sbx_boxes *bs, struct sbx_box *box)
{
	for (size_t i = 0; i < bs->nr; i++) {
		if (bs->box[i] != box)
			continue;
		bs->nr--;
		memmove(&bs->box[i], &bs->box[i + 1],
			(bs->nr - i) * sizeof(*bs->box));
		sbx_box_unref(box);
		return;
	}
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

static int by_id(const void *a, const void *b)
{
	return strcmp((*(struct sbx_box *const *)a)->sb.id,
		      (*(struct sbx_box *const *)b)->sb.id);
}

static int key_by_id(const void *key, const void *b)
{
	return strcmp(key, (*(struct sbx_box *const *)b)->sb.id);
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

/* names and ids: the same boxes in the two orders */
static int name_all(struct sbx_box **names, struct sbx_box **ids, size_t nr)
{
	const char *last = "";
	int r = 0;

	for (size_t i = 0; i < nr && r == 0; i++) {
		const struct sbx_sandbox *sb = &names[i]->sb;
		const char *name = sb->name ? sb->name : "";
		struct sbx_box **same =
			bsearch(name, ids, nr, sizeof(*ids), key_by_id);
		bool first = strcmp(name, last) != 0;

		last = name;
		if (first && sbx_folder_name_ok(name) &&
		    (!same || *same == names[i]))
			r = box_set_folder(names[i], name);
		else
			r = box_set_folder(names[i], sb->id);
	}
	return r;
}

int sbx_boxes_name(struct sbx_boxes *bs)
{
	size_t size = bs->nr * sizeof(*bs->box);
	struct sbx_box **names, **ids;
	int r = -ENOMEM;

	if (bs->nr == 0)
		return 0;
	names = malloc(size);
	ids = malloc(size);
	if (names && ids) {
		memcpy(names, bs->box, size);
		memcpy(ids, bs->box, size);
		qsort(names, bs->nr, sizeof(*names), by_name);
		qsort(ids, bs->nr, sizeof(*ids), by_id);
		r = name_all(names, ids, bs->nr);
	}
	free(names);
	free(ids);
	return r;
}
