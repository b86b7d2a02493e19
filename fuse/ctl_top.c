/*
 * The top directory of a mount of several services: a folder for each.  No
 * service is asked for it, so it is there whoever is not.
 */
#include <errno.h>
#include <string.h>

#include "fuse/control.h"
#include "fuse/limits.h"
#include "fuse/place.h"

static void top_lookup(fuse_req_t req, struct ctl_node *n, const char *name)
{
	struct sfs_place *p = n->m->places;

	while (p && strcmp(p->name, name) != 0)
		p = p->next;
	if (p)
		ctl_reply_node(req, ctl_node_of_place(p, &ctl_place),
			       SFS_FOREVER);
	else
		fuse_reply_err(req, ENOENT);
}

static void top_list(struct ctl_node *n, struct ctl_list *list)
{
	const struct sfs_place *p;

	for (p = n->m->places; p; p = p->next)
		ctl_list_add(list, p->name, ctl_place.mode,
			     ctl_ino(p, "", ctl_place.name, 0));
}

static const struct ctl_type *const top_children[] = {
	&ctl_mount,
	NULL,
};

const struct ctl_type ctl_top = {
	.name = "/",
	.mode = S_IFDIR | 0755,
	.ops = &ctl_dir_ops,
	.children = top_children,
	.lookup = top_lookup,
	.list = top_list,
};
