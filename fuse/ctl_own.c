/*
 * The tree of a service's own files: see ctl_own.h.  Nothing here knows what
 * they are; that is in the service's table.
 */
#include "fuse/ctl_own.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fuse/ctl_file.h"
#include "fuse/limits.h"
#include "fuse/sandbox.h"

static const struct ctl_type own_dir, own_open_dir;

struct sfs_owner ctl_own_owner(const struct ctl_node *n)
{
	return (struct sfs_owner){.place = n->place, .sb = n->sb};
}

/* ---- one of them ---- */

/* What can be done to names in it that are the service's. */
static unsigned int flags_in(struct sfs_owner owner,
			     const struct sbx_own_at *dir, bool *ret_is_dir)
{
	struct sbx_own_at at;

	if (!sbx_own_given(sbx_client_service(owner.place->client)->type->own,
			   !owner.sb, dir, &at) ||
	    !at.row)
		return 0;
	*ret_is_dir = at.is_dir;
	return at.row->flags;
}

static const struct ctl_type *type_at(struct sfs_owner owner,
				      const struct sbx_own_at *at)
{
	bool is_dir;

	if (!at->is_dir)
		return ctl_own_file_type(at->row->flags);
	return flags_in(owner, at, &is_dir) & (SBX_OWN_MAKE | SBX_OWN_REMOVE)
		       ? &own_open_dir
		       : &own_dir;
}

/* Its node; NULL: *ret_err says why not. */
static struct ctl_node *node_at(struct ctl_node *dir, const char *name,
				const struct sbx_own_at *at, int *ret_err)
{
	struct sfs_owner owner = ctl_own_owner(dir);
	struct ctl_node *n;
	struct sfs_own *o;

	*ret_err = sfs_own_get(owner, dir->own, name, at, &o);
	if (*ret_err < 0)
		return NULL;
	n = ctl_node_of_own(owner, o, type_at(owner, at));
	sfs_own_unref(o);
	if (!n)
		*ret_err = -ENOMEM;
	return n;
}

static void reply_at(fuse_req_t req, struct ctl_node *dir, const char *name,
		     const struct sbx_own_at *at)
{
	int err;
	struct ctl_node *n = node_at(dir, name, at, &err);

	if (!n)
		fuse_reply_err(req, -err);
	else
		ctl_reply_node(req, n, n->type->file ? 0 : SFS_BRIEF);
}

/* ---- looking ---- */

/* What a request about a name needs until the service has answered. */
struct naming {
	struct ctl_op *op;
	struct sbx_own_at at;
	struct fuse_file_info fi; /* of one that is created */
	void (*made)(fuse_req_t req, struct ctl_node *dir,
		     const struct naming *a);
	char name[256];
};

/* The op takes over the request in any case. */
static struct naming *naming_new(fuse_req_t req, struct ctl_node *n,
				 const char *name, const struct sbx_own_at *at)
{
	struct naming *a = calloc(1, sizeof(*a));

	if (!a) {
		fuse_reply_err(req, ENOMEM);
		return NULL;
	}
	strcpy(a->name, name); /* a file name */
	a->at = *at;
	a->op = ctl_op_new(req, n, NULL, 0);
	if (a->op)
		return a;
	free(a);
	return NULL;
}

static void on_listed(void *arg, struct sbx_box *box,
		      const struct sbx_error *error)
{
	struct naming *a = arg;
	struct ctl_node *n = a->op->node;
	fuse_req_t req;

	if (error->err) {
		ctl_op_finish(a->op, error);
		free(a);
		return;
	}
	n->refs++; /* ours: the operation's goes now */
	req = ctl_op_end(a->op);
	if (req && sfs_own_is_listed(n->own, a->name))
		reply_at(req, n, a->name, &a->at);
	else if (req)
		fuse_reply_err(req, ENOENT);
	ctl_node_unref(n);
	free(a);
}

bool ctl_own_is(struct ctl_node *n, const char *name)
{
	struct sbx_own_at at;

	return sfs_own_enter(ctl_own_owner(n), n->own, name, &at) &&
	       sfs_own_has(ctl_own_owner(n), &at);
}

bool ctl_own_lookup(fuse_req_t req, struct ctl_node *n, const char *name)
{
	struct sfs_owner owner = ctl_own_owner(n);
	struct sbx_own_at at;
	struct naming *a;

	if (!sfs_own_enter(owner, n->own, name, &at))
		return false;
	if (!at.is_given && !sfs_own_has(owner, &at))
		return false;
	if (!at.is_given || sfs_own_has_any(owner, n->own, name, &at)) {
		reply_at(req, n, name, &at);
		return true;
	}
	a = naming_new(req, n, name, &at);
	if (a)
		sfs_own_refresh(owner, n->own, on_listed, a);
	return true;
}

static void own_lookup(fuse_req_t req, struct ctl_node *n, const char *name)
{
	if (!ctl_own_lookup(req, n, name))
		fuse_reply_err(req, ENOENT);
}

static void list_add(struct ctl_node *n, struct ctl_list *list,
		     const char *name, const struct sbx_own_at *at)
{
	ctl_list_add(list, name, type_at(ctl_own_owner(n), at)->mode,
		     ctl_own_ino(n, name));
}

static bool is_word(struct sfs_owner owner, const struct sfs_own *dir,
		    const char *name)
{
	struct sbx_own_at at;

	return sfs_own_enter(owner, dir, name, &at) && !at.is_given;
}

void ctl_own_list(struct ctl_node *n, struct ctl_list *list)
{
	struct sfs_owner owner = ctl_own_owner(n);
	const struct sfs_own *dir = n->own;
	struct sbx_own_at at;
	char name[256];
	size_t pos = 0;

	while (sfs_own_next(owner, dir, &pos, name, &at))
		if (sfs_own_has(owner, &at))
			list_add(n, list, name, &at);
	for (pos = 0; dir && pos < dir->nr_files; pos++) {
		const char *given = dir->files[pos].name;

		if (pos < SBX_OWN_MAX_NAMES && !is_word(owner, dir, given) &&
		    sfs_own_enter(owner, dir, given, &at))
			list_add(n, list, given, &at);
	}
}

static void own_refresh(struct ctl_node *n, sbx_box_fn *fn, void *arg)
{
	sfs_own_refresh(ctl_own_owner(n), n->own, fn, arg);
}

/* ---- making and removing ---- */

/* The service has made, or removed, it. */
static void on_changed(void *arg, struct sbx_call *call)
{
	struct naming *a = arg;
	struct ctl_node *n = a->op->node;
	fuse_req_t req;

	sfs_own_stale(ctl_own_owner(n));
	if (call->error.err) {
		ctl_op_finish(a->op, &call->error);
		free(a);
		return;
	}
	n->refs++;
	req = ctl_op_end(a->op);
	if (req)
		a->made(req, n, a);
	ctl_node_unref(n);
	free(a);
}

/* Asks for it if that can be done here to what is a folder or not. */
static void change(fuse_req_t req, struct ctl_node *n, const char *name,
		   bool is_dir, enum sbx_call_kind kind, struct naming with)
{
	struct sfs_owner owner = ctl_own_owner(n);
	unsigned int can =
		kind == SBX_CALL_OWN_MAKE ? SBX_OWN_MAKE : SBX_OWN_REMOVE;
	char path[SBX_OWN_MAX_PATH];
	struct naming *a;
	bool dirs;

	if (ctl_node_check(n) < 0) {
		fuse_reply_err(req, ESTALE);
	} else if (!sfs_own_enter(owner, n->own, name, &with.at) ||
		   !with.at.is_given ||
		   !(flags_in(owner, &n->own->at, &dirs) & can)) {
		fuse_reply_err(req, EPERM);
	} else if (dirs != is_dir) {
		fuse_reply_err(req, kind == SBX_CALL_OWN_MAKE ? EPERM
				    : is_dir		      ? ENOTDIR
							      : EISDIR);
	} else if (!sfs_own_path(path, n->own, name)) {
		fuse_reply_err(req, ENAMETOOLONG);
	} else if ((a = naming_new(req, n, name, &with.at))) {
		a->fi = with.fi;
		a->made = with.made;
		sbx_client_own(owner.place->client,
			       owner.sb ? owner.sb->box : NULL, kind, path,
			       NULL, 0, on_changed, a);
	}
}

static void made_dir(fuse_req_t req, struct ctl_node *dir,
		     const struct naming *a)
{
	reply_at(req, dir, a->name, &a->at);
}

static void made_file(fuse_req_t req, struct ctl_node *dir,
		      const struct naming *a)
{
	int err;
	struct ctl_node *n = node_at(dir, a->name, &a->at, &err);
	struct fuse_file_info fi = a->fi;

	if (n)
		ctl_file_create(req, n, &fi);
	else
		fuse_reply_err(req, -err);
}

static void removed(fuse_req_t req, struct ctl_node *dir,
		    const struct naming *a)
{
	fuse_reply_err(req, 0);
}

static void own_mkdir(fuse_req_t req, struct sfs_node *node, const char *name,
		      mode_t mode)
{
	change(req, (struct ctl_node *)node, name, true, SBX_CALL_OWN_MAKE,
	       (struct naming){.made = made_dir});
}

static void own_create(fuse_req_t req, struct sfs_node *node, const char *name,
		       mode_t mode, struct fuse_file_info *fi)
{
	change(req, (struct ctl_node *)node, name, false, SBX_CALL_OWN_MAKE,
	       (struct naming){.made = made_file, .fi = *fi});
}

static void own_unlink(fuse_req_t req, struct sfs_node *node, const char *name)
{
	change(req, (struct ctl_node *)node, name, false, SBX_CALL_OWN_REMOVE,
	       (struct naming){.made = removed});
}

static void own_rmdir(fuse_req_t req, struct sfs_node *node, const char *name)
{
	change(req, (struct ctl_node *)node, name, true, SBX_CALL_OWN_REMOVE,
	       (struct naming){.made = removed});
}

/* ---- folders ---- */

static const struct sfs_node_ops own_dir_ops = {
	CTL_DIR_OPS,	      .mkdir = own_mkdir, .create = own_create,
	.unlink = own_unlink, .rmdir = own_rmdir,
};

static const struct ctl_type own_dir = {
	.name = "own",
	.mode = S_IFDIR | 0555,
	.ops = &ctl_dir_ops,
	.lookup = own_lookup,
	.list = ctl_own_list,
	.refresh = own_refresh,
};

/* where things are made or removed */
static const struct ctl_type own_open_dir = {
	.name = "own",
	.mode = S_IFDIR | 0755,
	.ops = &own_dir_ops,
	.lookup = own_lookup,
	.list = ctl_own_list,
	.refresh = own_refresh,
};
