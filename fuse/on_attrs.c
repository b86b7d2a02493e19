/*
 * Attributes: reading and setting them, link targets, statfs.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "fuse/attr.h"
#include "fuse/cache.h"
#include "fuse/caller.h"
#include "fuse/follow.h"
#include "fuse/fresh.h"
#include "fuse/making.h"
#include "fuse/on.h"
#include "fuse/shown.h"
#include "fuse/tell.h"

#define STATFS_MS 1000

/* ---- getattr ---- */

static void on_known(struct sfs_call *c, int err)
{
	if (err)
		sfs_call_err(c, err);
	else
		sfs_call_attr(c);
}

void sfs_on_getattr(fuse_req_t req, struct sfs_node *n,
		    struct fuse_file_info *fi)
{
	struct sfs_inode *i = sfs_inode_of(n);
	struct sfs_call *c = sfs_call_new(req, i, NULL, NULL);

	if (!c)
		return;
	c->cached = SFS_CACHED_ATTRIBUTES;
	c->resume = on_known;
	if (sfs_inode_is_recent(i) || sfs_inode_is_gone_dir(i) ||
	    sfs_making_is_opened(i, fuse_req_ctx(req)->pid))
		sfs_call_attr(c);
	else
		sfs_attr_wait(c);
}

/* ---- setattr ---- */

static uint32_t valid_of(int to_set)
{
	static const struct {
		int fuse;
		uint32_t wire;
	} map[] = {
		{FUSE_SET_ATTR_MODE, SBX_SET_MODE},
		{FUSE_SET_ATTR_UID, SBX_SET_UID},
		{FUSE_SET_ATTR_GID, SBX_SET_GID},
		{FUSE_SET_ATTR_SIZE, SBX_SET_SIZE},
		{FUSE_SET_ATTR_ATIME, SBX_SET_ATIME},
		{FUSE_SET_ATTR_MTIME, SBX_SET_MTIME},
		{FUSE_SET_ATTR_ATIME_NOW, SBX_SET_ATIME_NOW},
		{FUSE_SET_ATTR_MTIME_NOW, SBX_SET_MTIME_NOW},
	};
	uint32_t valid = 0;
	size_t k;

	for (k = 0; k < sizeof(map) / sizeof(map[0]); k++)
		if (to_set & map[k].fuse)
			valid |= map[k].wire;
	if (valid & SBX_SET_ATIME_NOW)
		valid &= ~(uint32_t)SBX_SET_ATIME;
	if (valid & SBX_SET_MTIME_NOW)
		valid &= ~(uint32_t)SBX_SET_MTIME;
	return valid;
}

/* By handle where there is one: it may write what its name may not. */
static int setattr_at(struct sfs_call *c, struct sfs_at *at)
{
	struct sfs_handle *h = c->handle;
	int err;

	if (h && (c->flags & SBX_SET_SIZE || sfs_handle_is_told(h))) {
		err = sfs_handle_tell(h);
		memset(at, 0, sizeof(*at));
		at->ino = h->number;
		return err;
	}
	return sfs_call_at(c, c->inode, at);
}

/* What is open and was not needed there so far could not be opened later. */
static void setattr_secure(struct sfs_inode *i, uint32_t valid, mode_t mode)
{
	const struct sfs_entry *e = NULL;

	if (sfs_inode_is_file(i) &&
	    valid & (SBX_SET_MODE | SBX_SET_UID | SBX_SET_GID))
		sfs_handles_secure(i);
	if (!sfs_inode_is_dir(i) || !i->dir || !(valid & SBX_SET_MODE) ||
	    mode & S_IXUSR)
		return;
	while ((e = sfs_entries_next(&i->dir->entries, e)))
		if (e->inode)
			sfs_handles_secure(e->inode);
}

static int setattr_send(struct sfs_call *c)
{
	const struct stat *st = &c->attr;
	struct sbx_buf *b;
	struct sfs_at at;
	int err = setattr_at(c, &at);

	setattr_secure(c->inode, c->flags, st->st_mode);
	if (!err && c->flags & (SBX_SET_SIZE | SBX_SET_UID | SBX_SET_GID))
		err = sfs_call_act(c);
	if (err < 0)
		return err;
	if (c->flags & SBX_SET_SIZE)
		sfs_file_stale(c->inode);
	b = sbx_remote_begin(c->files->remote, SBX_OP_SETATTR, 12);
	sfs_put_at(b, &at);
	sbx_put_u64(b, c->flags);
	sbx_put_u64(b, st->st_mode & 07777);
	sbx_put_u64(b, st->st_uid);
	sbx_put_u64(b, st->st_gid);
	sbx_put_u64(b, (uint64_t)st->st_size);
	sbx_put_i64(b, st->st_atim.tv_sec);
	sbx_put_u64(b, (uint64_t)st->st_atim.tv_nsec);
	sbx_put_i64(b, st->st_mtim.tv_sec);
	sbx_put_u64(b, (uint64_t)st->st_mtim.tv_nsec);
	return sfs_call_submit(c, NULL);
}

/*
 * Before a write by somebody outside of its group the kernel has a
 * set-group-id bit taken away, but does not say so where the group may not
 * execute: it looks like a chown to nobody, which they may not.  The write
 * itself, as them, takes the bit away.
 */
static bool is_before_write(const struct sfs_call *c)
{
	return c->flags == SBX_SET_UID && c->attr.st_uid == (uid_t)-1 &&
	       S_ISREG(c->inode->mode) &&
	       (c->inode->mode & (S_ISGID | S_IXGRP)) == S_ISGID;
}

static void setattr_done(struct sfs_call *c, int err, struct sbx_rd *rd)
{
	struct sbx_attr attr;

	if (c->handle)
		err = sfs_handle_error(c->handle, err);
	/* (until here it was what a change waits with) */
	c->resume = on_known;
	if (err == -EPERM && is_before_write(c)) {
		sfs_attr_wait(c);
		return;
	}
	if (!err && !sbx_get_attr(rd, &attr))
		err = -EPROTO;
	if (err) {
		/* the kernel may have cut its pages already */
		if (c->flags & SBX_SET_SIZE)
			sfs_cache_changed(c->inode,
					  SFS_DIFF_ATTR | SFS_DIFF_DATA);
		c->inode->attr_gen = 0;
		sfs_call_err(c, err);
		return;
	}
	sfs_cache_attr(c->inode, &attr, sfs_call_how(c));
	/* writes under way bring newer ones */
	if (sfs_file_is_dirty(c->inode))
		sfs_attr_wait(c);
	else
		sfs_call_attr(c);
}

static bool is_open_to_write(const struct sfs_inode *i)
{
	const struct sfs_handle *h =
		sfs_file_is_open(i) ? i->file->handles : NULL;

	while (h &&
	       ((h->flags & O_ACCMODE) == O_RDONLY || !sfs_handle_is_told(h)))
		h = h->next;
	return h;
}

/*
 * A mode or an owner that the file has already, as programs set them that just
 * made it: nothing but its ctime will change, and whoever asks for that waits
 * for it.  Where it is open to be written this will not be refused.
 */
static bool is_so_already(const struct sfs_call *c)
{
	static const uint32_t owner = SBX_SET_UID | SBX_SET_GID;
	const struct sfs_inode *i = c->inode;
	const struct stat *st = &c->attr;

	if (c->flags & ~(SBX_SET_MODE | owner) || !sfs_inode_is_known(i) ||
	    !is_open_to_write(i))
		return false;
	if (c->flags & SBX_SET_MODE &&
	    (st->st_mode & 07777) != (i->mode & 07777u))
		return false;
	/* an owner that is set clears these */
	if (c->flags & owner && i->mode & (S_ISUID | S_ISGID))
		return false;
	return (!(c->flags & SBX_SET_UID) || st->st_uid == i->uid ||
		st->st_uid == (uid_t)-1) &&
	       (!(c->flags & SBX_SET_GID) || st->st_gid == i->gid);
}

static void setattr_go(struct sfs_call *c)
{
	fuse_req_t req = c->req;
	struct stat st;
	int err = 0;

	if (!is_so_already(c)) {
		sfs_call_go(c);
		return;
	}
	/* who calls is known as long as the request is there */
	if (c->flags & (SBX_SET_UID | SBX_SET_GID))
		err = sfs_call_act(c);
	if (err < 0) {
		sfs_call_err(c, err);
		return;
	}
	sfs_inode_attr(c->inode, &st);
	c->req = NULL;
	c->inode->attr_gen = 0;
	sfs_shown_given(c->inode, fuse_req_ctx(req)->pid);
	sfs_call_go(c);
	fuse_reply_attr(req, &st, 0);
}

void sfs_on_setattr(fuse_req_t req, struct sfs_node *n, struct stat *attr,
		    int to_set, struct fuse_file_info *fi)
{
	struct sfs_inode *i = sfs_inode_of(n);
	struct sfs_call *c = sfs_call_new(req, i, NULL, NULL);
	const struct sfs_owners *o;

	if (!c)
		return;
	o = sfs_owners_of(i);
	c->attr = *attr;
	if (attr->st_uid == o->here_uid)
		c->attr.st_uid = o->there_uid;
	if (attr->st_gid == o->here_gid)
		c->attr.st_gid = o->there_gid;
	c->flags = valid_of(to_set);
	/* an owner that stays as it is: still a change */
	if (!c->flags) {
		c->flags = SBX_SET_UID;
		c->attr.st_uid = (uid_t)-1;
	}
	if (fi && sfs_inode_is_file(i))
		c->handle = sfs_handle_ref(sfs_handle_of(fi));
	c->send = setattr_send;
	c->done = setattr_done;
	c->change = true;
	setattr_go(c);
}

/* ---- readlink ---- */

static void readlink_reply(struct sfs_call *c, const char *target)
{
	struct sfs_inode *i = c->inode;
	bool inside = c->files->fs->follow_inside && target[0] == '/';
	char way[4096];
	int err = target[0] ? 0 : -EACCES;

	if (inside)
		err = sfs_follow_inside(i, target, way, sizeof(way));
	if (c->req && err)
		fuse_reply_err(c->req, -err);
	else if (c->req)
		fuse_reply_readlink(c->req, inside ? way : target);
	/* the kernel keeps every target, also one that cannot be kept, or
	 * that is another after a directory above it was moved */
	if (i->flags & SFS_INODE_VOLATILE || inside)
		sfs_notify_inode(c->files->notify,
				 sfs_node_ino(c->files->fs, &i->node), true);
	sfs_call_free(c);
}

static int readlink_send(struct sfs_call *c)
{
	struct sfs_at at;
	int err = sfs_inode_at(c->inode, &at);

	if (err < 0)
		return err;
	sfs_put_at(sbx_remote_begin(c->files->remote, SBX_OP_READLINK, 3), &at);
	return sfs_call_submit(c, NULL);
}

static void readlink_done(struct sfs_call *c, int err, struct sbx_rd *rd)
{
	struct sfs_inode *i = c->inode;
	const uint8_t *data = NULL;
	char target[SFS_MAX_TARGET];
	size_t len;

	if (!err) {
		data = sbx_get_bin(rd, &len);
		if (rd->err || !data || !len || len >= sizeof(target) ||
		    memchr(data, 0, len))
			err = -EPROTO;
	}
	if (err) {
		sfs_call_err(c, err);
		return;
	}
	memcpy(target, data, len);
	target[len] = '\0';
	/* of those in proc more is known only when they are asked for anew */
	if (!(i->flags & SFS_INODE_VOLATILE))
		sfs_cache_target(i, data, len);
	readlink_reply(c, target);
}

static void on_fresh_target(struct sfs_call *c, int err)
{
	const char *target = sfs_inode_target(c->inode);

	if (err)
		sfs_call_err(c, err);
	else if (target)
		readlink_reply(c, target);
	else
		sfs_call_go(c);
}

void sfs_on_readlink(fuse_req_t req, struct sfs_node *n)
{
	struct sfs_inode *i = sfs_inode_of(n);
	struct sfs_call *c;

	if (!S_ISLNK(i->mode)) {
		fuse_reply_err(req, EINVAL);
		return;
	}
	c = sfs_call_new(req, i, NULL, NULL);
	if (!c)
		return;
	c->send = readlink_send;
	c->done = readlink_done;
	c->resume = on_fresh_target;
	if (!sfs_inode_target(i))
		sfs_call_go(c);
	else if (i->flags & SFS_INODE_VOLATILE || !sfs_fresh_wait(c))
		readlink_reply(c, i->target);
}

/* ---- statfs ---- */

/* Other file systems below root/ have their own numbers. */
static bool statfs_is_root(const struct sfs_inode *i)
{
	const struct sfs_inode *root = i->files->root[i->tree];

	return root && i->dev == root->dev;
}

static int statfs_send(struct sfs_call *c)
{
	struct sfs_at at;
	int err = sfs_inode_at(c->inode, &at);

	if (err < 0)
		return err;
	sfs_put_at(sbx_remote_begin(c->files->remote, SBX_OP_STATFS, 3), &at);
	return sfs_call_submit(c, NULL);
}

static void statfs_done(struct sfs_call *c, int err, struct sbx_rd *rd)
{
	struct sfs_statfs *cache = &c->files->statfs[c->inode->tree];
	struct statvfs st = {0};

	if (!err) {
		st.f_bsize = sbx_get_u64(rd);
		st.f_frsize = sbx_get_u64(rd);
		st.f_blocks = sbx_get_u64(rd);
		st.f_bfree = sbx_get_u64(rd);
		st.f_bavail = sbx_get_u64(rd);
		st.f_files = sbx_get_u64(rd);
		st.f_ffree = sbx_get_u64(rd);
		st.f_favail = st.f_ffree;
		st.f_namemax = sbx_get_u64(rd);
		if (rd->err)
			err = -EPROTO;
	}
	if (err) {
		sfs_call_err(c, err);
		return;
	}
	if (statfs_is_root(c->inode)) {
		cache->st = st;
		cache->ms = files_now(c->files) + 1;
	}
	if (c->req)
		fuse_reply_statfs(c->req, &st);
	sfs_call_free(c);
}

void sfs_on_statfs(fuse_req_t req, struct sfs_node *n)
{
	struct sfs_inode *i = sfs_inode_of(n);
	const struct sfs_statfs *cache = &i->files->statfs[i->tree];
	struct sfs_call *c;

	if (cache->ms && statfs_is_root(i) &&
	    files_now(i->files) + 1 - cache->ms < STATFS_MS) {
		fuse_reply_statfs(req, &cache->st);
		return;
	}
	c = sfs_call_new(req, i, NULL, NULL);
	if (!c)
		return;
	c->send = statfs_send;
	c->done = statfs_done;
	sfs_call_go(c);
}
