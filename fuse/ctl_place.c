/*
 * The folder that the sandboxes of a service are in: listing and finding
 * them, making them with mkdir, ending them with rmdir.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/spec.h"
#include "fuse/ctl_own.h"
#include "fuse/limits.h"
#include "fuse/sandbox.h"

static void reply_folder(fuse_req_t req, struct sfs_place *p,
			 struct sbx_box *box)
{
	struct sfs_sandbox *sb = sfs_sandbox_get(p, box);

	ctl_reply_node(req, sb ? ctl_node_of_sandbox(sb, &ctl_sandbox) : NULL,
		       SFS_BRIEF);
}

/* ---- finding ---- */

/* A sandbox that we are talking to need not be asked for. */
static struct sbx_box *known_and_up(const struct sfs_place *p, const char *name)
{
	struct sbx_box *box = sbx_client_known(p->client, name);
	struct sfs_sandbox *sb = box ? box->user : NULL;

	if (sb && !sb->gone && sb->remote &&
	    sbx_remote_state(sb->remote) == SBX_LINK_UP)
		return box;
	return NULL;
}

static void on_found(void *arg, struct sbx_box *box,
		     const struct sbx_error *error)
{
	struct ctl_op *op = arg;
	struct sfs_place *p = op->node->place;
	fuse_req_t req;

	if (error->err && error->err != -ENOENT)
		ctl_note(op->node, error);
	req = ctl_op_end(op);
	if (req && box)
		reply_folder(req, p, box);
	else if (req)
		fuse_reply_err(req, -error->err);
}

static void place_lookup(fuse_req_t req, struct ctl_node *n, const char *name)
{
	struct sbx_box *box = known_and_up(n->place, name);
	struct ctl_op *op;

	/* a sandbox of that name has its id, too */
	if (ctl_own_lookup(req, n, name))
		return;
	if (box) {
		reply_folder(req, n->place, box);
		return;
	}
	op = ctl_op_new(req, n, NULL, 0);
	if (op)
		sbx_client_find(n->place->client, name, on_found, op);
}

/* ---- listing ---- */

static void place_refresh(struct ctl_node *n, sbx_box_fn *fn, void *arg)
{
	sbx_client_list(n->place->client, fn, arg);
}

static void place_list(struct ctl_node *n, struct ctl_list *list)
{
	struct sbx_box *box;
	size_t pos = 0;

	while ((box = sbx_client_next(n->place->client, &pos)))
		if (!ctl_own_is(n, box->folder))
			ctl_list_add(list, box->folder, ctl_sandbox.mode,
				     ctl_ino(n->place, box->sb.id,
					     ctl_sandbox.name, 0));
	ctl_own_list(n, list);
}

/* ---- making ---- */

static void on_created(void *arg, struct sbx_box *box,
		       const struct sbx_error *error)
{
	struct ctl_op *op = arg;
	struct sfs_place *p = op->node->place;
	fuse_req_t req;

	if (error->err)
		ctl_note(op->node, error);
	req = ctl_op_end(op);
	if (req && box)
		reply_folder(req, p, box);
	else if (req)
		fuse_reply_err(req, -error->err);
}

static void place_mkdir(fuse_req_t req, struct sfs_node *node, const char *name,
			mode_t mode)
{
	struct ctl_node *n = (struct ctl_node *)node;
	struct sbx_error e;
	struct ctl_op *op;
	char *options;

	if (!sbx_client_can(n->place->client, SBX_CALL_CREATE)) {
		ctl_fail(req, n, -EOPNOTSUPP,
			 "this service does not make sandboxes");
		return;
	}
	if (sbx_create_spec_named(&options, name, &e) < 0) {
		ctl_fail(req, n, e.err, "%s", e.text);
		return;
	}
	op = ctl_op_new(req, n, NULL, 0);
	if (op)
		sbx_client_create(n->place->client, name, options, on_created,
				  op);
	free(options);
}

/* ---- ending ---- */

static void on_destroyed(void *arg, struct sbx_box *box,
			 const struct sbx_error *error)
{
	ctl_op_finish(arg, error);
}

static void on_found_to_destroy(void *arg, struct sbx_box *box,
				const struct sbx_error *error)
{
	struct ctl_op *op = arg;
	fuse_req_t req;

	if (box) {
		sbx_client_destroy(op->node->place->client, box, on_destroyed,
				   op);
	} else if (error->err == -ENOENT) {
		req = ctl_op_end(op);
		if (req)
			fuse_reply_err(req, ENOENT);
	} else {
		ctl_op_finish(op, error);
	}
}

static void place_rmdir(fuse_req_t req, struct sfs_node *node, const char *name)
{
	struct ctl_node *n = (struct ctl_node *)node;
	struct ctl_op *op;

	if (!strcmp(name, ctl_new.name)) {
		fuse_reply_err(req, ENOTDIR);
	} else if (!strcmp(name, ctl_mount.name) || ctl_own_is(n, name)) {
		fuse_reply_err(req, EPERM);
	} else if (n->m->opts->protect) {
		ctl_fail(req, n, -EPERM,
			 "sandboxes are not destroyed here: the mount has the "
			 "option protect");
	} else if (!sbx_client_can(n->place->client, SBX_CALL_DESTROY)) {
		ctl_fail(req, n, -EOPNOTSUPP,
			 "this service does not destroy sandboxes");
	} else {
		op = ctl_op_new(req, n, NULL, 0);
		if (op)
			sbx_client_find(n->place->client, name,
					on_found_to_destroy, op);
	}
}

static const struct sfs_node_ops place_ops = {
	CTL_DIR_OPS,
	.mkdir = place_mkdir,
	.rmdir = place_rmdir,
};

static const struct ctl_type *const place_children[] = {
	&ctl_mount,
	&ctl_new,
	NULL,
};

const struct ctl_type ctl_place = {
	.name = "/",
	.mode = S_IFDIR | 0755,
	.ops = &place_ops,
	.children = place_children,
	.lookup = place_lookup,
	.list = place_list,
	.refresh = place_refresh,
};
