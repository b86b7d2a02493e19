/*
 * Directories of the control tree.  An open one holds a snapshot of its
 * entries, packed one after the other, which starting over renews.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "fuse/ctl_file.h"
#include "fuse/sandbox.h"

struct ctl_list {
	struct ctl_file *f;
	struct ctl_node *dir;
};

/* followed by the name and its NUL */
struct entry {
	uint64_t ino;
	mode_t mode;
	uint16_t size; /* of all of it */
};

void ctl_list_add(struct ctl_list *list, const char *name, mode_t mode,
		  uint64_t ino)
{
	size_t len = strlen(name) + 1;
	struct entry e = {
		.ino = ino,
		.mode = mode,
		.size = (uint16_t)(sizeof(e) + len),
	};

	if (len > NAME_MAX + 1)
		return; /* no name that a listing holds */
	sbx_buf_add(&list->f->text, &e, sizeof(e));
	sbx_buf_add(&list->f->text, name, len);
}

static void list_children(struct ctl_list *list)
{
	const struct ctl_node *n = list->dir;
	const char *id = n->sb ? n->sb->box->sb.id : "";

	for (size_t i = 0; n->type->children && n->type->children[i]; i++) {
		const struct ctl_type *t = n->type->children[i];

		if (!t->present || t->present(n))
			ctl_list_add(list, t->name, t->mode,
				     t->of_mount ? ctl_ino(NULL, "", t->name, 0)
						 : ctl_ino(n->place, id,
							   t->name, 0));
	}
}

static void dir_fill(struct ctl_file *f)
{
	struct ctl_list list = {.f = f, .dir = f->node};

	sbx_buf_clear(&f->text);
	ctl_list_add(&list, ".", S_IFDIR, ctl_ino(NULL, "", ".", 0));
	ctl_list_add(&list, "..", S_IFDIR, ctl_ino(NULL, "", "..", 0));
	list_children(&list);
	if (f->node->type->list)
		f->node->type->list(f->node, &list);
}

void ctl_lookup(fuse_req_t req, struct sfs_node *node, const char *name)
{
	struct ctl_node *n = (struct ctl_node *)node;
	const struct ctl_type *const *t = n->type->children;

	if (ctl_node_check(n) < 0) {
		fuse_reply_err(req, ESTALE);
		return;
	}
	/* the kernel takes more; whatever makes something is asked here first
	 */
	if (strlen(name) > NAME_MAX) {
		fuse_reply_err(req, ENAMETOOLONG);
		return;
	}
	for (; t && *t; t++) {
		if (strcmp((*t)->name, name) ||
		    ((*t)->present && !(*t)->present(n)))
			continue;
		ctl_reply_child(req, n, *t);
		return;
	}
	if (n->type->lookup)
		n->type->lookup(req, n, name);
	else
		fuse_reply_err(req, ENOENT);
}

static void dir_open(fuse_req_t req, struct ctl_node *n)
{
	struct ctl_file *f = ctl_file_new(n, 0);
	struct fuse_file_info fi = {0};

	if (!f) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	fi.fh = (uintptr_t)f;
	if (fuse_reply_open(req, &fi) < 0)
		ctl_file_close(f);
}

static void on_refreshed(void *arg, struct sbx_box *box,
			 const struct sbx_error *error)
{
	struct ctl_op *op = arg;
	struct ctl_node *n = op->node;
	fuse_req_t req;

	n->refs++; /* ours: the operation's goes now */
	if (error->err)
		ctl_note(n, error);
	req = ctl_op_end(op);
	if (req && error->err)
		fuse_reply_err(req, -error->err);
	else if (req)
		dir_open(req, n);
	ctl_node_unref(n);
}

void ctl_opendir(fuse_req_t req, struct sfs_node *node,
		 struct fuse_file_info *fi)
{
	struct ctl_node *n = (struct ctl_node *)node;
	struct ctl_op *op;

	if (ctl_node_check(n) < 0) {
		fuse_reply_err(req, ESTALE);
	} else if (!n->type->refresh) {
		dir_open(req, n);
	} else {
		op = ctl_op_new(req, n, NULL, 0);
		if (op)
			n->type->refresh(n, on_refreshed, op);
	}
}

static const uint8_t *dir_entry(const struct ctl_file *f, size_t at,
				struct entry *ret)
{
	const uint8_t *p = sbx_buf_at(&f->text) + at;

	memcpy(ret, p, sizeof(*ret));
	return p;
}

/* The first entry at or behind an offset, which may be any: lseek(2) takes
 * those that we never gave, too. */
static size_t dir_find(const struct ctl_file *f, uint64_t off)
{
	size_t len = sbx_buf_len(&f->text), at = 0;
	struct entry e;

	while (at < len && at < off) {
		dir_entry(f, at, &e);
		at += e.size;
	}
	return at;
}

void ctl_readdir(fuse_req_t req, struct sfs_node *node, size_t size, off_t off,
		 struct fuse_file_info *fi, bool plus)
{
	struct ctl_file *f = ctl_file_of(fi);
	struct sfs_dirbuf d;
	size_t at, len;
	int r;

	if (off == 0)
		dir_fill(f);
	len = sbx_buf_len(&f->text);
	r = f->text.err ? f->text.err : sfs_dirbuf_init(&d, req, size, plus);
	if (r < 0) {
		fuse_reply_err(req, -r);
		return;
	}
	at = dir_find(f, (uint64_t)off);
	while (at < len) {
		struct fuse_entry_param param = {0};
		struct entry e;
		const uint8_t *p = dir_entry(f, at, &e);

		param.attr.st_ino = e.ino;
		param.attr.st_mode = e.mode;
		if (!sfs_dirbuf_add(&d, &f->node->m->fs,
				    (const char *)p + sizeof(e), NULL, &param,
				    (off_t)(at + e.size)))
			break;
		at += e.size;
	}
	sfs_dirbuf_reply(&d);
}

const struct sfs_node_ops ctl_dir_ops = {
	CTL_DIR_OPS,
};
