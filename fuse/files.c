/*
 * The file tree of one sandbox: its beginning, its end, and its two roots.
 */
#include "fuse/files.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "fuse/ahead.h"
#include "fuse/attr.h"
#include "fuse/cache.h"
#include "fuse/events.h"
#include "fuse/handle.h"
#include "fuse/list.h"
#include "fuse/on.h"
#include "fuse/shown.h"
#include "fuse/tell.h"

const struct sfs_node_ops sfs_file_ops = {
	.forget = sfs_inode_forget,
	.lookup = sfs_on_lookup,
	.getattr = sfs_on_getattr,
	.setattr = sfs_on_setattr,
	.readlink = sfs_on_readlink,
	.mknod = sfs_on_mknod,
	.mkdir = sfs_on_mkdir,
	.unlink = sfs_on_unlink,
	.rmdir = sfs_on_rmdir,
	.symlink = sfs_on_symlink,
	.rename = sfs_on_rename,
	.link = sfs_on_link,
	.open = sfs_on_open,
	.create = sfs_on_create,
	.read = sfs_on_read,
	.write = sfs_on_write,
	.flush = sfs_on_flush,
	.release = sfs_on_release,
	.fsync = sfs_on_fsync,
	.opendir = sfs_on_opendir,
	.readdir = sfs_on_readdir,
	.releasedir = sfs_on_releasedir,
	.fsyncdir = sfs_on_fsyncdir,
	.statfs = sfs_on_statfs,
	.setxattr = sfs_on_setxattr,
	.getxattr = sfs_on_getxattr,
	.listxattr = sfs_on_listxattr,
	.removexattr = sfs_on_removexattr,
	.getlk = sfs_on_getlk,
	.setlk = sfs_on_setlk,
	.flock = sfs_on_flock,
	.fallocate = sfs_on_fallocate,
	.lseek = sfs_on_lseek,
	.copy_file_range = sfs_on_copy_file_range,
};

/* ---- of a tree that is no more ---- */

static void files_release(struct sfs_files *f);

static void dead_forget(struct sfs_node *n)
{
	struct sfs_inode *i = sfs_inode_of(n);
	struct sfs_files *f = i->files;

	if (n->nlookup)
		return;
	sfs_inodes_free(&f->inodes, i);
	if (f->inodes.nr)
		return;
	sfs_leftover_del(&f->leftover);
	files_release(f);
}

/* open files and directories are gone already; releasing them succeeds */
static const struct sfs_node_ops sfs_dead_ops = {
	.absent = ESTALE,
	.forget = dead_forget,
};

/* ---- beginning and end ---- */

/* Invalidations were dropped: begin again with all of them, some folders at a
 * time, so that not all that is remembered waits at once. */
static bool on_notify_lost(void *arg, bool first)
{
	struct sfs_files *f = arg;
	struct sfs_dir *d, *next;
	size_t told = 0;

	f->told_gen += first;
	for (d = f->lru_first; d && told < SFS_NOTIFY_STEP; d = next) {
		next = d->lru_next;
		if (d->told_gen == f->told_gen || !sfs_inode_is_held(d->inode))
			continue;
		d->told_gen = f->told_gen;
		told += d->entries.nr + 1;
		sfs_dir_distrust(d);
	}
	return told > 0;
}

struct sfs_files *sfs_files_new(struct sfs *fs, struct sbx_remote *remote,
				struct sfs_notify *notify)
{
	struct sfs_files *f = calloc(1, sizeof(*f));
	int t;

	if (!f)
		return NULL;
	if (sfs_inodes_init(&f->inodes) < 0) {
		free(f);
		return NULL;
	}
	f->fs = fs;
	f->remote = remote;
	f->notify = notify;
	f->gen = 1;
	f->max_dirs = SFS_MAX_DIRS;
	f->compare_end = &f->compare;
	f->ahead_end = &f->ahead;
	f->lazy_end = &f->lazy;
	sfs_calls_init(&f->throttled);
	sfs_calls_init(&f->unsure);
	sfs_calls_init(&f->claimed);
	for (t = 0; t < 2; t++) {
		f->owners[t].here_uid = fs->uid;
		f->owners[t].here_gid = fs->gid;
		f->owners[t].umask = fs->umask;
	}
	f->shown_end = &f->shown;
	f->timer = calloc(1, sizeof(*f->timer));
	f->shown_timer = calloc(1, sizeof(*f->shown_timer));
	if (!f->timer || !f->shown_timer) {
		free(f->timer);
		free(f->shown_timer);
		sfs_inodes_release(&f->inodes);
		free(f);
		return NULL;
	}
	uv_timer_init(fs->loop, f->timer);
	f->timer->data = f;
	uv_timer_init(fs->loop, f->shown_timer);
	f->shown_timer->data = f;
	f->next = fs->files;
	f->at = &fs->files;
	if (f->next)
		f->next->at = &f->next;
	fs->files = f;
	sbx_remote_set_files(remote, &sfs_events, f);
	sfs_notify_on_lost(notify, on_notify_lost, f);
	return f;
}

static void on_timer_closed(uv_handle_t *h)
{
	free(h);
}

/* Nothing is under way any more: what is open is open no longer. */
static void inode_close(struct sfs_inode *i)
{
	struct sfs_handle *h;

	sfs_inode_ref(i);
	while (sfs_file_is_open(i) && (h = i->file->handles)) {
		h->refs = 1;
		sfs_handle_release(h);
	}
	i->refs--;
}

/* What the kernel holds stays as a shell until it lets go, or (keep_held
 * false) is never asked for any more. */
static void inodes_end(struct sfs_files *f, bool keep_held)
{
	struct sfs_inode *i, *next;
	size_t slot;

	for (slot = 0; slot < f->inodes.nr_slots; slot++) {
		for (i = f->inodes.slots[slot]; i; i = next) {
			inode_close(i);
			next = i->hash_next;
			i->refs = 1;
			i->node.ops = &sfs_dead_ops;
			if (!keep_held || !sfs_inode_is_held(i))
				sfs_inodes_free(&f->inodes, i);
		}
	}
}

static void files_release(struct sfs_files *f)
{
	free(f->acting);
	sfs_inodes_release(&f->inodes);
	free(f);
}

static void on_leftover(struct sfs_leftover *l)
{
	struct sfs_files *f =
		(void *)((char *)l - offsetof(struct sfs_files, leftover));

	inodes_end(f, false);
	files_release(f);
}

struct sfs_files *sfs_files_free(struct sfs_files *f)
{
	struct sfs_dir *d;

	if (!f)
		return NULL;
	f->closed = true;
	sfs_shown_leave(f);
	sfs_ahead_end(f);
	while ((d = f->compare)) {
		f->compare = d->compare_next;
		d->comparing = false;
		sfs_inode_unref(d->inode);
	}
	f->compare_end = &f->compare;
	sfs_settlers_run(f);
	uv_close((uv_handle_t *)f->timer, on_timer_closed);
	uv_close((uv_handle_t *)f->shown_timer, on_timer_closed);
	sfs_cache_clear(f);
	inodes_end(f, f->fs->started);
	files_uncount(f, f->bytes);
	*f->at = f->next;
	if (f->next)
		f->next->at = f->at;
	if (!f->inodes.nr) {
		files_release(f);
		return NULL;
	}
	f->leftover.free = on_leftover;
	sfs_leftover_add(f->fs, &f->leftover);
	return NULL;
}

/* ---- the roots ---- */

/* A root that is looked up for the first time: there is no inode yet. */
struct root_call {
	fuse_req_t req; /* NULL: answered */
	struct sfs_files *files;
	uint8_t tree, tries;
	bool next; /* then root/, whose numbers go by those of workspace/ */
};

static void on_root(void *arg, int err, struct sbx_rd *rd);

static void root_reply(fuse_req_t req, struct sfs_inode *i)
{
	struct fuse_entry_param e;

	sfs_inode_entry(i, NULL, &e);
	sfs_reply_entry(req, &i->node, &e);
}

static int root_call(struct root_call *c, uint8_t tree)
{
	c->tree = tree;
	c->tries = 0;
	return sfs_root_tell(c->files, tree, on_root, c);
}

static void root_end(struct root_call *c, int err)
{
	if (c->next && c->req && err != -ESTALE && err != -ETIMEDOUT) {
		c->next = false;
		err = root_call(c, 1);
		if (!err)
			return;
	}
	if (c->req && err)
		fuse_reply_err(c->req, -err);
	else if (c->req)
		root_reply(c->req, c->files->root[c->tree]);
	free(c);
}

static void on_root(void *arg, int err, struct sbx_rd *rd)
{
	struct root_call *c = arg;
	struct sfs_inode *i;
	struct sbx_attr attr;

	if (err == -ERESTART && c->tries++ < SFS_MAX_RESTARTS && c->req) {
		err = sfs_root_tell(c->files, c->tree, on_root, c);
		if (!err)
			return;
	}
	if (!err && !sbx_get_attr(rd, &attr))
		err = -EPROTO;
	if (!err) {
		i = sfs_cache_root(c->files, c->tree, &attr);
		if (i)
			sfs_root_told(i, sbx_get_bool(rd));
		else
			err = -ENOTDIR;
	}
	root_end(c, err == -ERESTART ? -EIO : err);
}

static void on_root_interrupt(fuse_req_t req, void *data)
{
	struct root_call *c = data;

	/* (it may not be answered from within the registration) */
	if (!c->req)
		return;
	c->req = NULL;
	fuse_reply_err(req, EINTR);
}

static void on_root_known(struct sfs_call *c, int err)
{
	if (err)
		sfs_call_err(c, err);
	else
		sfs_call_entry(c, NULL, c->inode);
}

static void root_known(fuse_req_t req, struct sfs_inode *i)
{
	struct sfs_call *c = sfs_call_new(req, i, NULL, NULL);

	if (!c)
		return;
	c->resume = on_root_known;
	sfs_attr_wait(c);
}

void sfs_files_lookup_root(fuse_req_t req, struct sfs_files *f, uint64_t dir)
{
	uint8_t tree = dir == SBX_DIR_ROOT;
	struct root_call *c;
	int err;

	if (f->root[tree]) {
		root_known(req, f->root[tree]);
		return;
	}
	c = calloc(1, sizeof(*c));
	if (!c) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	c->files = f;
	c->next = tree && !f->root[0];
	fuse_req_interrupt_func(req, on_root_interrupt, c);
	c->req = req;
	err = root_call(c, c->next ? 0 : tree);
	if (err)
		root_end(c, err);
}

/* ---- questions ---- */

bool sfs_files_in_use(const struct sfs_files *f)
{
	return f->nr_handles || f->nr_open_dirs;
}

int sfs_files_path(const struct sfs_files *f, const struct sfs_node *n,
		   char *dst, size_t size)
{
	const struct sbx_remote_info *info;
	const struct sfs_inode *i = (const struct sfs_inode *)n;
	const struct sfs_entry *e;
	size_t at = size, base;

	info = f->closed ? NULL : sbx_remote_info(f->remote);
	if (!info || !size)
		return -ENOENT;
	dst[--at] = '\0';
	for (; !(i->flags & SFS_INODE_ROOT); i = e->dir->inode) {
		e = i->names;
		if (!e)
			return -ENOENT;
		if (at < (size_t)e->len + 1)
			return -ENAMETOOLONG;
		at -= e->len;
		memcpy(dst + at, e->name, e->len);
		dst[--at] = '/';
	}
	base = i->tree ? 0 : strlen(info->cwd);
	if (base == 1 && dst[at])
		base = 0; /* the workspace is "/" */
	if (!base && !dst[at] && at)
		dst[--at] = '/';
	if (base > at)
		return -ENAMETOOLONG;
	memcpy(dst, info->cwd, base);
	memmove(dst + base, dst + at, size - at);
	return 0;
}

/* ---- flush ---- */

#define FLUSH_TRIES 16

struct flush {
	struct sfs_files *files;
	void (*fn)(void *arg);
	void *arg;
	int tries;
};

static void on_barrier(void *arg, int err, struct sbx_rd *rd);

static void barrier_send(struct flush *fl)
{
	sbx_remote_begin(fl->files->remote, SBX_OP_BARRIER, 0);
	sbx_remote_submit(fl->files->remote, on_barrier, NULL, fl);
}

/* After a restart, what was sent again may be behind the barrier. */
static void on_barrier(void *arg, int err, struct sbx_rd *rd)
{
	struct flush *fl = arg;
	bool again = err == -ERESTART || (!err && fl->tries);

	if (again && fl->files->changes && fl->tries++ < FLUSH_TRIES) {
		barrier_send(fl);
		return;
	}
	fl->fn(fl->arg);
	free(fl);
}

void sfs_files_flush(struct sfs_files *f, void (*fn)(void *arg), void *arg)
{
	struct flush *fl;

	if (f->closed || !f->changes || !(fl = calloc(1, sizeof(*fl)))) {
		fn(arg);
		return;
	}
	fl->files = f;
	fl->fn = fn;
	fl->arg = arg;
	barrier_send(fl);
}
