/*
 * Nodes of the control tree: see control.h.
 */
#include "fuse/control.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fuse/ctl_file.h"
#include "fuse/jobs.h"
#include "fuse/limits.h"
#include "fuse/notify.h"
#include "fuse/own.h"
#include "fuse/sandbox.h"

static struct ctl_node *node_of(struct sfs_node *n)
{
	return (struct ctl_node *)n;
}

/* ---- nodes ---- */

/*
 * The kernel lets one write(2) to an inode after the other, and whoever waits
 * for his turn cannot be interrupted.  So what can be written is an inode of
 * its own for each look-up: nobody waits for what somebody else waits for.
 * One that all have closed is given to the next who looks: the kernel, which
 * still knows it, looks twice when it finds another.
 */
static bool is_apart(const struct ctl_type *type)
{
	return type->file && type->file->write;
}

/* Nobody else is about to open it, and no pages would come in sight. */
static bool is_free(const struct ctl_node *n)
{
	return !is_apart(n->type) ||
	       (n->idle && !(n->paged && n->type->length));
}

/* list belongs to the owner, the most special that is given. */
static struct ctl_node *node_get(struct ctl_node **list,
				 const struct ctl_type *type,
				 struct sfs_mount *m, struct sfs_place *p,
				 struct sfs_sandbox *sb, struct sfs_job *job)
{
	struct ctl_node *n;

	for (n = *list; n; n = n->next)
		if (n->type == type && is_free(n)) {
			n->idle = false;
			n->refs++;
			return n;
		}
	n = calloc(1, sizeof(*n));
	if (!n)
		return NULL;
	n->n.ops = type->ops;
	n->type = type;
	n->m = m;
	n->place = p;
	n->sb = sb ? sfs_sandbox_ref(sb) : NULL;
	n->job = job ? sfs_job_ref(job) : NULL;
	n->refs = 1;
	n->list = list;
	n->next = *list;
	*list = n;
	n->all_at = &m->all_nodes;
	n->all_next = m->all_nodes;
	if (n->all_next)
		n->all_next->all_at = &n->all_next;
	m->all_nodes = n;
	return n;
}

struct ctl_node *ctl_node_of_mount(struct sfs_mount *m,
				   const struct ctl_type *type)
{
	return node_get(&m->nodes, type, m, NULL, NULL, NULL);
}

struct ctl_node *ctl_node_of_place(struct sfs_place *p,
				   const struct ctl_type *type)
{
	return node_get(&p->nodes, type, p->m, p, NULL, NULL);
}

struct ctl_node *ctl_node_of_sandbox(struct sfs_sandbox *sb,
				     const struct ctl_type *type)
{
	return node_get(&sb->nodes, type, sb->m, sb->place, sb, NULL);
}

struct ctl_node *ctl_node_of_snapshot(struct sfs_sandbox *sb,
				      struct sfs_snapshot *s,
				      const struct ctl_type *type)
{
	struct ctl_node *n =
		node_get(&s->nodes, type, sb->m, sb->place, sb, NULL);

	if (n && !n->snapshot)
		n->snapshot = sfs_snapshot_ref(s);
	return n;
}

struct ctl_node *ctl_node_of_job(struct sfs_sandbox *sb, struct sfs_job *job,
				 const struct ctl_type *type)
{
	return node_get(&job->nodes, type, sb->m, sb->place, sb, job);
}

struct ctl_node *ctl_node_of_own(struct sfs_owner owner, struct sfs_own *own,
				 const struct ctl_type *type)
{
	struct ctl_node *n = node_get(&own->nodes, type, owner.place->m,
				      owner.place, owner.sb, NULL);

	if (n && !n->own)
		n->own = sfs_own_ref(own);
	return n;
}

void ctl_node_unref(struct ctl_node *n)
{
	struct ctl_node **at;

	if (!n || --n->refs > 0)
		return;
	for (at = n->list; *at != n; at = &(*at)->next)
		;
	*at = n->next;
	*n->all_at = n->all_next;
	if (n->all_next)
		n->all_next->all_at = n->all_at;
	/* last: the list may go with its owner */
	if (n->job)
		sfs_job_unref(n->job);
	sfs_snapshot_unref(n->snapshot);
	sfs_own_unref(n->own);
	if (n->sb)
		sfs_sandbox_unref(n->sb);
	free(n);
}

static void node_forget(struct ctl_node *n)
{
	if (!n->known)
		return;
	n->known = false;
	ctl_node_unref(n);
}

void ctl_forget_all(struct sfs_mount *m)
{
	struct ctl_node *n, *next;

	while (m->files)
		ctl_file_close(m->files);
	for (n = m->all_nodes; n; n = next) {
		next = n->all_next;
		node_forget(n);
	}
}

void ctl_forget(struct sfs_node *n)
{
	if (!n->nlookup)
		node_forget(node_of(n));
}

int ctl_node_check(const struct ctl_node *n)
{
	return n->sb && n->sb->gone ? -ESTALE : 0;
}

static uint64_t hash(uint64_t h, const char *s)
{
	for (; *s; s++)
		h = (h ^ (unsigned char)*s) * 0x100000001b3;
	return h;
}

uint64_t ctl_ino(const struct sfs_place *p, const char *sandbox,
		 const char *what, unsigned int number)
{
	uint64_t h = 0xcbf29ce484222325; /* FNV-1a */

	if (p && p->name)
		h = hash(hash(h, p->name), "/");
	h = hash(hash(hash(h, sandbox), "/"), what);
	h = (h ^ number) * 0x100000001b3;
	/* numbers of a sandbox's files are far below */
	return h | (uint64_t)1 << 63;
}

/* The folder's path may be NULL. */
static uint64_t own_ino(const struct ctl_node *n, const char *dir,
			const char *name)
{
	uint64_t h =
		ctl_ino(n->place, n->sb ? n->sb->box->sb.id : "", "own", 0);

	if (dir)
		h = hash(hash(h, dir), "/");
	return hash(h, name) | (uint64_t)1 << 63;
}

uint64_t ctl_own_ino(const struct ctl_node *dir, const char *name)
{
	return own_ino(dir, dir->own ? dir->own->path : NULL, name);
}

static int64_t node_time_ms(const struct ctl_node *n)
{
	if (n->job)
		return n->job->started_ms;
	if (n->snapshot && n->snapshot->created_ms)
		return n->snapshot->created_ms;
	if (n->sb && n->sb->box->sb.created_ms)
		return n->sb->box->sb.created_ms;
	return n->m->made_ms;
}

void ctl_node_attr(const struct ctl_node *n, struct stat *st)
{
	const struct sfs *fs = &n->m->fs;
	int64_t ms = node_time_ms(n);

	memset(st, 0, sizeof(*st));
	st->st_ino = ctl_ino(n->place, n->sb ? n->sb->box->sb.id : "",
			     n->type->name, n->job ? n->job->number : 0);
	if (n->snapshot)
		st->st_ino = sfs_snapshot_ino(n->snapshot, st->st_ino);
	if (n->own)
		st->st_ino = own_ino(n, NULL, n->own->path);
	st->st_mode = n->type->mode;
	if (fs->umask != (mode_t)-1 && !S_ISLNK(st->st_mode))
		st->st_mode &= ~fs->umask;
	st->st_nlink = S_ISDIR(st->st_mode) ? 2 : 1;
	st->st_uid = fs->uid;
	st->st_gid = fs->gid;
	st->st_blksize = 4096;
	if (n->type->length) {
		st->st_size = (off_t)n->type->length(n);
		st->st_blocks = (st->st_size + 511) / 512;
	}
	st->st_mtim.tv_sec = ms / 1000;
	st->st_mtim.tv_nsec = ms % 1000 * 1000000;
	st->st_atim = st->st_mtim;
	st->st_ctim = st->st_mtim;
}

void ctl_node_entry(struct ctl_node *n, double timeout,
		    struct fuse_entry_param *ret)
{
	*ret = (struct fuse_entry_param){
		.attr_timeout = n->type->length ? 0 : SFS_FOREVER,
		.entry_timeout = timeout,
	};
	ctl_node_attr(n, &ret->attr);
	/* the caller's reference becomes the kernel's, if it has none yet */
	if (n->known)
		n->refs--;
	n->known = true;
}

void ctl_reply_node(fuse_req_t req, struct ctl_node *n, double timeout)
{
	struct fuse_entry_param e;

	if (!n) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	ctl_node_entry(n, timeout, &e);
	sfs_reply_entry(req, &n->n, &e);
}

void ctl_reply_child(fuse_req_t req, struct ctl_node *dir,
		     const struct ctl_type *type)
{
	struct ctl_node *n;

	if (type->of_mount || !dir->place)
		n = ctl_node_of_mount(dir->m, type);
	else if (!dir->sb)
		n = ctl_node_of_place(dir->place, type);
	else if (dir->snapshot)
		n = ctl_node_of_snapshot(dir->sb, dir->snapshot, type);
	else if (!dir->job)
		n = ctl_node_of_sandbox(dir->sb, type);
	else
		n = ctl_node_of_job(dir->sb, dir->job, type);
	ctl_reply_node(req, n, is_apart(type) ? 0 : SFS_FOREVER);
}

/* ---- operations of every node ---- */

static void on_unpaged(void *arg)
{
	struct ctl_op *op = arg;
	struct stat st;
	fuse_req_t req;

	ctl_node_attr(op->node, &st);
	req = ctl_op_end(op);
	if (req)
		fuse_reply_attr(req, &st, 0);
}

/*
 * sendfile(2) and the like read by way of pages, direct I/O or not.  The one
 * in which a stream ended has zeros behind that, which would come in sight as
 * soon as the kernel knew of a greater length.
 */
static void getattr_unpaged(fuse_req_t req, struct ctl_node *n)
{
	struct ctl_op *op = ctl_op_new(req, n, NULL, 0);

	if (!op)
		return;
	n->paged = false;
	sfs_notify_inode(n->sb->notify, sfs_node_ino(&n->m->fs, &n->n), true);
	sfs_notify_after(n->sb->notify, on_unpaged, op);
}

void ctl_getattr(fuse_req_t req, struct sfs_node *node,
		 struct fuse_file_info *fi)
{
	struct ctl_node *n = node_of(node);
	struct stat st;

	if (ctl_node_check(n) < 0) {
		fuse_reply_err(req, ESTALE);
		return;
	}
	ctl_node_attr(n, &st);
	if (n->paged && n->type->length && n->sb && n->sb->notify)
		getattr_unpaged(req, n);
	else
		fuse_reply_attr(req, &st, n->type->length ? 0 : SFS_FOREVER);
}

static bool times_are_now(int to_set)
{
	return (!(to_set & FUSE_SET_ATTR_ATIME) ||
		to_set & FUSE_SET_ATTR_ATIME_NOW) &&
	       (!(to_set & FUSE_SET_ATTR_MTIME) ||
		to_set & FUSE_SET_ATTR_MTIME_NOW);
}

/*
 * Truncating, as ">" does, means nothing.  Times mean something where
 * touching does.  Modes and owners are ours.
 */
void ctl_setattr(fuse_req_t req, struct sfs_node *node, struct stat *attr,
		 int to_set, struct fuse_file_info *fi)
{
	static const int times = FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME |
				 FUSE_SET_ATTR_ATIME_NOW |
				 FUSE_SET_ATTR_MTIME_NOW;
	struct ctl_node *n = node_of(node);

	if (to_set &
	    (FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID))
		fuse_reply_err(req, EPERM);
	else if (to_set & FUSE_SET_ATTR_SIZE)
		ctl_getattr(req, node, fi);
	else if (!(to_set & times) || ctl_node_check(n) < 0)
		ctl_getattr(req, node, fi);
	else if (n->type->touch)
		n->type->touch(req, n, times_are_now(to_set));
	else
		fuse_reply_err(req, EPERM);
}

/* ---- requests in flight ---- */

struct ctl_op *ctl_op_new(fuse_req_t req, struct ctl_node *n,
			  struct ctl_file *f, size_t size)
{
	struct ctl_op *op = calloc(1, sizeof(*op));

	if (!op) {
		fuse_reply_err(req, ENOMEM);
		return NULL;
	}
	if (!sfs_wait_begin(&op->wait, req)) {
		free(op);
		return NULL;
	}
	n->refs++;
	op->node = n;
	op->file = f ? ctl_file_ref(f) : NULL;
	op->size = size;
	return op;
}

fuse_req_t ctl_op_end(struct ctl_op *op)
{
	fuse_req_t req = sfs_wait_end(&op->wait);

	if (op->file)
		ctl_file_unref(op->file);
	ctl_node_unref(op->node);
	free(op);
	return req;
}

void ctl_op_finish(struct ctl_op *op, const struct sbx_error *error)
{
	size_t size = op->size;
	fuse_req_t req;

	if (error->err)
		ctl_note(op->node, error);
	req = ctl_op_end(op);
	if (!req)
		return;
	if (error->err)
		fuse_reply_err(req, -error->err);
	else if (size)
		fuse_reply_write(req, size);
	else
		fuse_reply_err(req, 0);
}

/* ---- failures ---- */

void ctl_note(struct ctl_node *n, const struct sbx_error *error)
{
	char label[SFS_LABEL_SIZE];

	sfs_errlog_note(&n->m->errors, n->own ? n->own->path : n->type->name,
			n->sb ? sfs_place_label(n->place, n->sb->box, label)
			: n->place ? n->place->name
				   : NULL,
			error);
	if (n->sb)
		n->sb->last_error = *error;
}

void ctl_fail(fuse_req_t req, struct ctl_node *n, int err, const char *fmt, ...)
{
	struct sbx_error e = {0};
	va_list ap;

	va_start(ap, fmt);
	sbx_error_vset(&e, err, fmt, ap);
	va_end(ap);
	ctl_note(n, &e);
	fuse_reply_err(req, -err);
}
