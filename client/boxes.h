/*
 * The set of sandboxes that the client knows, and the folder name of each.
 * Used by client*.c alone.  Loop thread only; asks nobody anything.
 */
#ifndef SBX_BOXES_H
#define SBX_BOXES_H

#include "client/client.h"

/* More sandboxes than this are not taken from a listing: it bounds memory
 * and the length of one directory listing. */
#define SBX_BOXES_MAX 16384

struct sbx_boxes {
	struct sbx_box **box; /* one reference each */
	size_t nr, cap;
	/* boxes.c only */
	void *ids;	       /* the same by id, a tree of search.h */
	struct sbx_box **name; /* those with a folder name, by that; or NULL */
	size_t nr_names;
	bool unnamed;	/* the folder names may be out of date */
	bool contested; /* some have not the name that they would have */
};

void sbx_boxes_release(struct sbx_boxes *bs);
struct sbx_box *sbx_boxes_by_id(const struct sbx_boxes *bs, const char *id);
/* by folder name, else by id */
struct sbx_box *sbx_boxes_by_name(const struct sbx_boxes *bs, const char *name);
/*
 * Enters or updates one; moves *sb into it (which is left empty, also on
 * failure).  The folder names may be out of date until sbx_boxes_name.
 * NULL: no memory, or too many.
 */
struct sbx_box *sbx_boxes_put(struct sbx_boxes *bs, struct sbx_sandbox *sb,
			      uint64_t now_ms);
/* Takes it out and drops the set's reference; the names as above. */
void sbx_boxes_remove(struct sbx_boxes *bs, struct sbx_box *box);
/*
 * Gives every box its folder name: the name in its metadata if it can be one
 * and no id is the same, else its id.  Of several with one name the oldest
 * has it, so that nobody's folder changes under him.  Costs nothing if nothing
 * has changed since.  -ENOMEM.
 */
int sbx_boxes_name(struct sbx_boxes *bs);
/* Whether a sandbox of that name may have a folder of that name. */
bool sbx_folder_name_ok(const char *name);

#endif
