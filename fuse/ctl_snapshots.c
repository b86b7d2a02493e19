/*
 * "snapshots/": where the service has them.  ls lists, mkdir makes one, rmdir
 * deletes one, and writing a name to "restore" goes back to it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fuse/ctl_file.h"
#include "fuse/limits.h"
#include "fuse/sandbox.h"
#include "fuse/text.h"

static const struct ctl_type snapshot_dir, snapshots_restore;

/* ---- looking ---- */

static void reply_snapshot(fuse_req_t req, struct ctl_node *n,
			   struct sfs_snapshot *s)
{
	ctl_reply_node(req, ctl_node_of_snapshot(n->sb, s, &snapshot_dir),
		       SFS_BRIEF);
}

/* What a look-up, or a new one, is about. */
struct naming {
	struct ctl_op *op;
	char name[256];
};

static struct naming *naming_new(fuse_req_t req, struct ctl_node *n,
				 const char *name)
{
	struct naming *a = NULL;

	if (ctl_node_check(n) < 0)
		fuse_reply_err(req, ESTALE);
	else if (strlen(name) >= sizeof(a->name))
		fuse_reply_err(req, ENAMETOOLONG);
	else if (!(a = calloc(1, sizeof(*a))))
		fuse_reply_err(req, ENOMEM);
	if (!a)
		return NULL;
	strcpy(a->name, name);
	a->op = ctl_op_new(req, n, NULL, 0);
	if (a->op)
		return a;
	free(a);
	return NULL;
}

/* The list is new: answers with the snapshot of that name. */
static void on_looked(void *arg, struct sbx_box *box,
		      const struct sbx_error *error)
{
	struct naming *a = arg;
	struct ctl_node *n = a->op->node;
	struct sfs_snapshot *s = NULL;
	fuse_req_t req;

	if (error->err) {
		ctl_op_finish(a->op, error);
		free(a);
		return;
	}
	s = sfs_snapshots_find(n->sb, a->name);
	n->refs++; /* ours: the operation's goes now */
	req = ctl_op_end(a->op);
	if (req && s)
		reply_snapshot(req, n, s);
	else if (req)
		fuse_reply_err(req, ENOENT);
	ctl_node_unref(n);
	free(a);
}

static void snapshots_lookup(fuse_req_t req, struct ctl_node *n,
			     const char *name)
{
	struct naming *a = naming_new(req, n, name);

	if (a)
		sfs_snapshots_refresh(n->sb, on_looked, a);
}

static void snapshots_list(struct ctl_node *n, struct ctl_list *list)
{
	const struct sfs_snapshot *s = n->sb->snapshots.first;

	for (; s; s = s->next)
		ctl_list_add(
			list, s->name, S_IFDIR,
			sfs_snapshot_ino(s, ctl_ino(n->place, n->sb->box->sb.id,
						    snapshot_dir.name, 0)));
}

static void snapshots_refresh(struct ctl_node *n, sbx_box_fn *fn, void *arg)
{
	sfs_snapshots_refresh(n->sb, fn, arg);
}

/* ---- making one ---- */

static void on_made(void *arg, struct sbx_box *box,
		    const struct sbx_error *error)
{
	struct naming *a = arg;
	struct ctl_node *n = a->op->node;

	sfs_snapshots_stale(n->sb);
	if (error->err)
		on_looked(a, NULL, error);
	else
		sfs_snapshots_refresh(n->sb, on_looked, a);
}

/* Everything written before is in it. */
static void on_flushed(void *arg, const struct sbx_error *error)
{
	struct naming *a = arg;
	struct sfs_sandbox *sb = a->op->node->sb;

	if (error->err)
		on_looked(a, NULL, error);
	else
		sbx_client_snapshot(sb->place->client, sb->box,
				    SBX_CALL_SNAPSHOT, a->name, on_made, a);
}

static void snapshots_mkdir(fuse_req_t req, struct sfs_node *node,
			    const char *name, mode_t mode)
{
	struct ctl_node *n = (struct ctl_node *)node;
	struct naming *a;

	if (!strcmp(name, snapshots_restore.name) ||
	    sfs_snapshots_find(n->sb, name)) {
		fuse_reply_err(req, EEXIST);
		return;
	}
	a = naming_new(req, n, name);
	if (a)
		sfs_sandbox_flush(n->sb, on_flushed, a);
}

/* ---- deleting one ---- */

static void on_deleted(void *arg, struct sbx_box *box,
		       const struct sbx_error *error)
{
	struct ctl_op *op = arg;

	sfs_snapshots_stale(op->node->sb);
	ctl_op_finish(op, error);
}

static void snapshots_rmdir(fuse_req_t req, struct sfs_node *node,
			    const char *name)
{
	struct ctl_node *n = (struct ctl_node *)node;
	struct ctl_op *op;

	if (!strcmp(name, snapshots_restore.name)) {
		fuse_reply_err(req, ENOTDIR);
	} else if (!sbx_client_can(n->place->client, SBX_CALL_UNSNAPSHOT)) {
		fuse_reply_err(req, EPERM);
	} else if (ctl_node_check(n) < 0) {
		fuse_reply_err(req, ESTALE);
	} else {
		op = ctl_op_new(req, n, NULL, 0);
		if (op)
			sbx_client_snapshot(n->place->client, n->sb->box,
					    SBX_CALL_UNSNAPSHOT, name,
					    on_deleted, op);
	}
}

static const struct sfs_node_ops snapshots_ops = {
	CTL_DIR_OPS,
	.mkdir = snapshots_mkdir,
	.rmdir = snapshots_rmdir,
};

/* ---- restore ---- */

static void on_renewed(void *arg, const struct sbx_error *error)
{
	ctl_op_finish(arg, error);
}

static void on_restored(void *arg, struct sbx_box *box,
			const struct sbx_error *error)
{
	struct ctl_op *op = arg;

	sfs_snapshots_stale(op->node->sb);
	/* before anything was done; else nobody knows what is there now */
	if (error->err == -ENOENT || error->err == -EINVAL)
		ctl_op_finish(op, error);
	else
		sfs_sandbox_renew(op->node->sb, error, on_renewed, op);
}

static void restore_write(fuse_req_t req, struct ctl_file *f, const char *data,
			  size_t size)
{
	struct sfs_sandbox *sb = f->node->sb;
	struct ctl_op *op;
	char word[256];

	if (sfs_text_word(word, sizeof(word), data, size) < 0 || !*word) {
		ctl_fail(req, f->node, -EINVAL,
			 "restore: the name of a snapshot is wanted");
	} else if (f->node->m->opts->protect) {
		ctl_fail(req, f->node, -EPERM,
			 "what is there is not given up here: the mount has "
			 "the option protect");
	} else {
		op = ctl_op_new(req, f->node, f, size);
		if (op)
			sbx_client_snapshot(sb->place->client, sb->box,
					    SBX_CALL_RESTORE, word, on_restored,
					    op);
	}
}

static bool restore_present(const struct ctl_node *dir)
{
	return sbx_client_can(dir->place->client, SBX_CALL_RESTORE);
}

static const struct ctl_file_type restore_file = {.write = restore_write};

static const struct ctl_type snapshots_restore = {
	.name = "restore",
	.mode = S_IFREG | 0600,
	.present = restore_present,
	.ops = &ctl_file_ops,
	.file = &restore_file,
};

/* ---- one snapshot ---- */

/* The kernel wants the result of mkdir to be a folder: so each is one. */
static void info_load(struct ctl_file *f)
{
	const char *info = f->node->snapshot->info;

	sfs_text_printf(&f->text, "%s\n", info ? info : "");
	ctl_file_loaded(f, NULL);
}

static const struct ctl_file_type info_file = {.load = info_load};

static const struct ctl_type snapshot_info = {
	.name = "info.json",
	.mode = S_IFREG | 0400,
	.ops = &ctl_file_ops,
	.file = &info_file,
};

static const struct ctl_type *const snapshot_children[] = {
	&snapshot_info,
	NULL,
};

static const struct ctl_type snapshot_dir = {
	.name = "snapshot",
	.mode = S_IFDIR | 0555,
	.ops = &ctl_dir_ops,
	.children = snapshot_children,
};

/* ---- all of them ---- */

static const struct ctl_type *const snapshots_children[] = {
	&snapshots_restore,
	NULL,
};

static bool snapshots_present(const struct ctl_node *dir)
{
	return sbx_client_can(dir->place->client, SBX_CALL_SNAPSHOTS);
}

const struct ctl_type ctl_snapshots = {
	.name = "snapshots",
	.mode = S_IFDIR | 0755,
	.ops = &snapshots_ops,
	.present = snapshots_present,
	.children = snapshots_children,
	.lookup = snapshots_lookup,
	.list = snapshots_list,
	.refresh = snapshots_refresh,
};
