/*
 * Looking names up and making new ones.
 */
#include <errno.h>
#include <fcntl.h>

#include "fuse/ahead.h"
#include "fuse/attr.h"
#include "fuse/cache.h"
#include "fuse/caller.h"
#include "fuse/fresh.h"
#include "fuse/handle.h"
#include "fuse/list.h"
#include "fuse/making.h"
#include "fuse/on.h"
#include "fuse/shown.h"
#include "fuse/tell.h"

/* ---- lookup ---- */

static int lookup_send(struct sfs_call *c)
{
	int err = sfs_dir_tell(c->inode);
	struct sbx_buf *b;

	if (err < 0)
		return err;
	b = sbx_remote_begin(c->files->remote, SBX_OP_LOOKUP, 4);
	sbx_put_at(b, c->inode->dir->number, c->name, c->len, 0);
	sbx_put_u64(b, sfs_ahead_size(c->inode->dir));
	sfs_call_submit(c, NULL);
	if (!c->inode->dir->lookups && c->inode->size <= SFS_TINY_DIR)
		sfs_list_ahead(c->inode);
	return 0;
}

/* One more name is asked for: sees to it that the next ones will be known. */
static void lookup_count(struct sfs_inode *i)
{
	struct sfs_dir *d = i->dir;
	bool many = d->lookups > SFS_LOOKUPS_MANY;

	if (!many && ++d->lookups <= SFS_LOOKUPS_MANY)
		return;
	sfs_list_ahead(i);
	if (d->ahead || (!many && d->complete))
		sfs_list_walk(i);
}

static void lookup_learn(struct sfs_inode *i)
{
	struct sfs_dir *d = i->dir;

	if (sfs_dir_is_true(d))
		lookup_count(i);
	else if (d->watched && d->gen)
		sfs_compare_add(d);
}

static void lookup_done(struct sfs_call *c, int err, struct sbx_rd *rd)
{
	struct sfs_inode *i = c->inode;
	struct sfs_entry *e = NULL;
	const uint8_t *data;
	struct sbx_attr attr;
	size_t len;

	if (!err && !sbx_get_attr(rd, &attr))
		err = -EPROTO;
	if (!err && !i->dir)
		err = -ESTALE;
	if (err && (err != -ENOENT || !i->dir)) {
		sfs_call_err(c, err);
		return;
	}
	if (err)
		sfs_cache_remove(i->dir, c->name, c->len, SFS_PUT_ASKED);
	else
		e = sfs_cache_put(i->dir, c->name, c->len, &attr,
				  SFS_PUT_ASKED);
	if (!err && !e) {
		sfs_call_err(c, -ENOMEM);
		return;
	}
	data = e ? sbx_get_bin(rd, &len) : NULL;
	if (data && !rd->err && S_ISLNK(e->inode->mode))
		sfs_cache_target(e->inode, data, len);
	else if (data && !rd->err)
		sfs_ahead_found(e->inode, data, len);
	sfs_inode_ref(i);
	sfs_call_entry(c, i->dir, e ? e->inode : NULL);
	lookup_learn(i);
	sfs_inode_unref(i);
}

/* The inode's attributes are here: c->inode is the child for that long. */
static void on_child_known(struct sfs_call *c, int err)
{
	struct sfs_inode *child = c->inode, *dir = c->other;
	struct sfs_entry *e = NULL;

	c->inode = dir;
	c->other = child;
	if (!err && dir->dir)
		e = sfs_entries_find(&dir->dir->entries, c->name, c->len);
	if (e && e->inode == child)
		sfs_call_entry(c, dir->dir, child);
	else
		sfs_call_go(c); /* renamed or removed meanwhile */
}

/* Told before an OPEN of what is told all the time came too late: it will
 * again if it is not told anew. */
static bool is_of_before(const struct sfs_inode *i)
{
	const struct sfs_files *f = i->files;

	return sfs_inode_is_file(i) && f->stale_ms &&
	       files_now(f) - f->stale_ms < SFS_BRIEF_MS &&
	       (int32_t)(i->attr_ms - (uint32_t)f->stale_ms) <= 0;
}

static void lookup_answer(struct sfs_call *c);

static void on_fresh(struct sfs_call *c, int err)
{
	if (err)
		sfs_call_err(c, err);
	else
		lookup_answer(c);
}

/* It is asked for whether what is remembered is still so. */
static bool lookup_is_unsure(struct sfs_call *c)
{
	c->resume = on_fresh;
	return sfs_fresh_wait(c);
}

/* From a list that nobody keeps true, but that was just brought; false: not. */
static bool lookup_recent(struct sfs_call *c)
{
	struct sfs_dir *d = c->inode->dir;
	struct sfs_entry *e;

	if (!sfs_list_is_trusted(d))
		return false;
	e = sfs_entries_find(&d->entries, c->name, c->len);
	if (e && !(e->inode && sfs_inode_is_recent(e->inode)))
		return false;
	sfs_list_waited(d);
	sfs_call_entry(c, d, e ? e->inode : NULL);
	return true;
}

/* From memory, or by asking. */
static void lookup_answer(struct sfs_call *c)
{
	struct sfs_inode *i = c->inode;
	struct sfs_entry *e = NULL;

	if (!i->dir || !sfs_dir_is_true(i->dir)) {
		if (!i->dir || !lookup_recent(c))
			sfs_call_go(c);
		return;
	}
	sfs_dir_used(i->dir);
	e = sfs_entries_find(&i->dir->entries, c->name, c->len);
	if (i->dir->complete) {
		sfs_list_waited(i->dir);
		lookup_count(i);
	}
	if (e && e->inode &&
	    (sfs_inode_is_known(e->inode) || sfs_inode_is_recent(e->inode))) {
		if (is_of_before(e->inode))
			sfs_call_go(c);
		else if (!lookup_is_unsure(c))
			sfs_call_entry(c, i->dir, e->inode);
	} else if (e && e->inode) {
		c->other = i; /* takes the reference over */
		c->inode = sfs_inode_ref(e->inode);
		c->resume = on_child_known;
		sfs_attr_wait(c);
	} else if (!e && sfs_dir_is_complete(i->dir)) {
		if (!lookup_is_unsure(c))
			sfs_call_entry(c, i->dir, NULL);
	} else {
		sfs_call_go(c);
	}
}

static void on_listed(struct sfs_call *c, int err)
{
	lookup_answer(c);
}

void sfs_on_lookup(fuse_req_t req, struct sfs_node *n, const char *name)
{
	struct sfs_inode *i = sfs_inode_of(n);
	struct sfs_call *c = sfs_call_new(req, i, name, NULL);

	if (!c)
		return;
	c->cached = SFS_CACHED_ENTRIES;
	c->send = lookup_send;
	c->done = lookup_done;
	if (c->len > 255) {
		sfs_call_err(c, -ENAMETOOLONG);
	} else if (i->dir && i->dir->ahead &&
		   !sfs_entries_find(&i->dir->entries, name, c->len)) {
		c->resume = on_listed;
		sfs_list_wait(c);
	} else {
		lookup_answer(c);
	}
}

/* ---- new names: mkdir, mknod, symlink, link ---- */

static void made(struct sfs_call *c, int err, struct sbx_rd *rd)
{
	struct sfs_dir *d = c->inode->dir;
	struct sfs_entry *e = NULL;
	struct sfs_inode *i;
	struct sbx_attr attr;

	/* after a restart nobody can tell whose it is */
	if (err == -EEXIST && c->tries)
		err = -EIO;
	if (!err && (!sbx_get_attr(rd, &attr) || !d))
		err = -EPROTO;
	/* another has replaced it already: the kernel looks again */
	if (!err && (attr.mode & S_IFMT) != c->flags) {
		sfs_cache_put(d, c->name, c->len, &attr, 0);
		err = -ESTALE;
	}
	if (!err) {
		e = sfs_cache_put(d, c->name, c->len, &attr,
				  sfs_call_how(c) | SFS_PUT_NEW * !c->other);
		if (!e)
			err = -ENOMEM;
	}
	if (err) {
		sfs_call_unsure(c->inode, err);
		sfs_call_err(c, err);
		return;
	}
	i = sfs_inode_ref(e->inode);
	/* it will be filled next */
	if (sfs_inode_is_dir(i) && sbx_get_bool(rd))
		sfs_dir_born(i, c->rdev, sbx_get_bool(rd));
	sfs_call_entry(c, d, i);
	if (sfs_inode_is_dir(i))
		sfs_list_ahead(i);
	sfs_inode_unref(i);
}

static int make_begin(struct sfs_call *c, enum sbx_wire_op op,
		      unsigned int nr_args, struct sbx_buf **ret)
{
	int err = sfs_dir_tell(c->inode);

	if (!err)
		err = sfs_call_act(c);
	if (err < 0)
		return err;
	*ret = sbx_remote_begin(c->files->remote, op, nr_args);
	return 0;
}

static void put_name(struct sbx_buf *b, const struct sfs_call *c)
{
	sbx_put_u64(b, c->inode->dir->number);
	sbx_put_bin(b, c->name, c->len);
}

static void put_mode(struct sbx_buf *b, struct sfs_call *c)
{
	uint32_t umask = sfs_call_umask(c);

	sbx_put_u64(b, c->mode);
	sbx_put_u64(b, umask);
}

static int make_submit(struct sfs_call *c)
{
	sfs_call_submit(c, NULL);
	sfs_attr_touch_dir(c->inode);
	return 0;
}

/* type: S_IFMT of what is made */
static void make_go(struct sfs_call *c, mode_t type,
		    int (*send)(struct sfs_call *c))
{
	c->flags = type;
	c->send = send;
	c->done = made;
	c->change = true;
	if (c->len > 255)
		sfs_call_err(c, -ENAMETOOLONG);
	else
		sfs_call_go(c);
}

static int mkdir_send(struct sfs_call *c)
{
	struct sbx_buf *b = NULL;
	int err;

	c->rdev = sbx_remote_number(c->files->remote); /* the directory's */
	err = make_begin(c, SBX_OP_MKDIR, 5, &b);
	if (err < 0)
		return err;
	put_name(b, c);
	put_mode(b, c);
	sbx_put_u64(b, c->rdev);
	return make_submit(c);
}

void sfs_on_mkdir(fuse_req_t req, struct sfs_node *n, const char *name,
		  mode_t mode)
{
	struct sfs_call *c = sfs_call_new(req, sfs_inode_of(n), name, NULL);

	if (!c)
		return;
	c->mode = mode & 07777;
	c->umask = fuse_req_ctx(req)->umask;
	make_go(c, S_IFDIR, mkdir_send);
}

static int mknod_send(struct sfs_call *c)
{
	uint32_t umask;
	struct sbx_buf *b = NULL;
	int err = make_begin(c, SBX_OP_MKNOD, 5, &b);

	if (err < 0)
		return err;
	umask = sfs_call_umask(c);
	put_name(b, c);
	sbx_put_u64(b, c->mode);
	sbx_put_u64(b, c->rdev);
	sbx_put_u64(b, umask);
	return make_submit(c);
}

void sfs_on_mknod(fuse_req_t req, struct sfs_node *n, const char *name,
		  mode_t mode, dev_t rdev)
{
	struct sfs_call *c = sfs_call_new(req, sfs_inode_of(n), name, NULL);

	if (!c)
		return;
	c->mode = mode;
	c->umask = fuse_req_ctx(req)->umask;
	c->rdev = rdev;
	make_go(c, mode & S_IFMT, mknod_send);
}

static int symlink_send(struct sfs_call *c)
{
	struct sbx_buf *b = NULL;
	int err = make_begin(c, SBX_OP_SYMLINK, 3, &b);

	if (err < 0)
		return err;
	put_name(b, c);
	sbx_put_bin(b, c->name2, c->len2);
	return make_submit(c);
}

void sfs_on_symlink(fuse_req_t req, const char *link, struct sfs_node *n,
		    const char *name)
{
	struct sfs_call *c = sfs_call_new(req, sfs_inode_of(n), name, link);

	if (c)
		make_go(c, S_IFLNK, symlink_send);
}

/* c->other is what gets another name. */
static int link_send(struct sfs_call *c)
{
	struct sfs_at at;
	struct sbx_buf *b = NULL;
	int err = sfs_call_at(c, c->other, &at);

	if (!err)
		err = make_begin(c, SBX_OP_LINK, 5, &b);
	if (err < 0)
		return err;
	sfs_put_at(b, &at);
	put_name(b, c);
	return make_submit(c);
}

void sfs_on_link(fuse_req_t req, struct sfs_node *n, struct sfs_node *newparent,
		 const char *newname)
{
	struct sfs_call *c;

	if (sfs_inode_of(n)->files != sfs_inode_of(newparent)->files) {
		fuse_reply_err(req, EXDEV);
		return;
	}
	c = sfs_call_new(req, sfs_inode_of(newparent), newname, NULL);
	if (!c)
		return;
	c->other = sfs_inode_ref(sfs_inode_of(n));
	make_go(c, c->other->mode & S_IFMT, link_send);
}

/* ---- create ---- */

static int create_send(struct sfs_call *c)
{
	struct sbx_buf *b = NULL;
	int err;

	c->rdev = sbx_remote_number(c->files->remote); /* the handle's */
	err = make_begin(c, SBX_OP_CREATE, 6, &b);
	if (err < 0)
		return err;
	put_name(b, c);
	sbx_put_u64(b, c->rdev);
	sbx_put_u64(b, c->flags);
	put_mode(b, c);
	return make_submit(c);
}

static struct sfs_handle *created_handle(struct sfs_call *c,
					 struct sfs_inode *i)
{
	struct sfs_handle *h = sfs_handle_new(i, c->fi.flags);

	if (!h)
		return NULL;
	h->caller = c->caller;
	c->caller = NULL;
	h->number = c->rdev;
	h->epoch = sbx_remote_epoch(c->files->remote);
	h->told = true;
	return h;
}

static void created_close(struct sfs_call *c)
{
	sbx_put_u64(sbx_remote_begin(c->files->remote, SBX_OP_CLOSE, 1),
		    c->rdev);
	sbx_remote_submit_quiet(c->files->remote);
}

static void create_reply(struct sfs_call *c, struct sfs_inode *i,
			 struct sfs_handle *h)
{
	struct fuse_entry_param e;

	c->fi.fh = (uintptr_t)h;
	sfs_open_flags(i, &c->fi);
	sfs_inode_entry(i, c->inode->dir, &e);
	sfs_shown_given(i, fuse_req_ctx(c->req)->pid);
	if (sfs_reply_create(c->req, &i->node, &e, &c->fi) < 0)
		sfs_handle_release(h);
}

static void create_done(struct sfs_call *c, int err, struct sbx_rd *rd)
{
	struct sfs_dir *d = c->inode->dir;
	struct sfs_handle *h = NULL;
	struct sfs_entry *e = NULL;
	struct sbx_attr attr;
	bool created;

	if (err == -EEXIST && c->tries)
		err = -EIO;
	if (!err && (!sbx_get_attr(rd, &attr) || !d))
		err = -EPROTO;
	/* another made something else of that name: the kernel looks again */
	if (!err && !S_ISREG(attr.mode)) {
		created_close(c);
		sfs_cache_put(d, c->name, c->len, &attr, 0);
		err = -ESTALE;
	} else if (err == -ELOOP) {
		err = -ESTALE;
	}
	if (!err) {
		created = sbx_get_bool(rd);
		e = sfs_cache_put(d, c->name, c->len, &attr,
				  sfs_call_how(c) | SFS_PUT_NEW * created);
		h = e ? created_handle(c, e->inode) : NULL;
		if (!h)
			err = -ENOMEM;
	}
	if (err) {
		sfs_call_unsure(c->inode, err);
		sfs_call_err(c, err);
		return;
	}
	if (c->flags & O_TRUNC)
		sfs_file_stale(e->inode);
	if (c->req)
		create_reply(c, e->inode, h);
	else
		sfs_handle_release(h);
	sfs_call_free(c);
}

void sfs_on_create(fuse_req_t req, struct sfs_node *n, const char *name,
		   mode_t mode, struct fuse_file_info *fi)
{
	struct sfs_call *c = sfs_call_new(req, sfs_inode_of(n), name, NULL);
	struct sfs_handle *h;
	int err;

	if (!c)
		return;
	c->fi = *fi;
	c->mode = mode & 07777;
	c->umask = fuse_req_ctx(req)->umask;
	c->flags = (uint32_t)fi->flags &
		   (O_ACCMODE | O_CREAT | O_EXCL | O_TRUNC | O_APPEND | O_SYNC);
	c->send = create_send;
	c->done = create_done;
	c->change = true;
	if (c->len > 255) {
		sfs_call_err(c, -ENAMETOOLONG);
		return;
	}
	err = sfs_make_here(c, &h);
	if (err < 0) {
		sfs_call_err(c, err);
	} else if (h) {
		create_reply(c, h->inode, h);
		sfs_call_free(c);
	} else {
		sfs_call_go(c);
	}
}
