/*
 * The folder of one sandbox.
 */
#include <errno.h>
#include <string.h>

#include "fuse/ctl_own.h"
#include "fuse/sandbox.h"

static void sandbox_lookup(fuse_req_t req, struct ctl_node *n, const char *name)
{
	uint64_t dir = !strcmp(name, "workspace") ? SBX_DIR_WORKSPACE
		       : !strcmp(name, "root")	  ? SBX_DIR_ROOT
						  : 0;
	int r;

	if (!dir && ctl_own_lookup(req, n, name))
		return;
	r = dir ? sfs_sandbox_use(n->sb) : -ENOENT;
	if (r < 0)
		fuse_reply_err(req, -r);
	else
		sfs_files_lookup_root(req, n->sb->files, dir);
}

static void sandbox_list(struct ctl_node *n, struct ctl_list *list)
{
	const char *id = n->sb->box->sb.id;

	ctl_list_add(list, "workspace", S_IFDIR,
		     ctl_ino(n->place, id, "workspace", 0));
	ctl_list_add(list, "root", S_IFDIR, ctl_ino(n->place, id, "root", 0));
	ctl_own_list(n, list);
}

static const struct ctl_type *const sandbox_children[] = {
	&ctl_mount,	&ctl_exec,	&ctl_status, &ctl_ports,
	&ctl_keepalive, &ctl_info,	&ctl_jobs,   &ctl_terminals,
	&ctl_events,	&ctl_snapshots, NULL,
};

const struct ctl_type ctl_sandbox = {
	.name = "sandbox",
	.mode = S_IFDIR | 0755,
	.ops = &ctl_dir_ops,
	.children = sandbox_children,
	.lookup = sandbox_lookup,
	.list = sandbox_list,
};
