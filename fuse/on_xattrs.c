/*
 * Extended attributes.  Nearly no file has any, and the kernel asks for
 * security.capability before every write: each inode carries a flag that
 * says whether asking is worth a request.
 */
#include <errno.h>

#include "fuse/attr.h"
#include "fuse/cache.h"
#include "fuse/on.h"
#include "fuse/tell.h"

#define CAPABILITY "security.capability"

/* Certainly none. */
static bool has_none(const struct sfs_inode *i)
{
	return !(i->flags & SFS_INODE_XATTR) &&
	       ((i->attr_gen == i->files->gen && sfs_inode_is_covered(i)) ||
		(i->flags & SFS_INODE_VOLATILE && sfs_inode_is_recent(i)));
}

/* Its flag may say so soon, and those of its siblings with it (ls -l asks each
 * folder). */
static bool is_worth_waiting(const struct sfs_inode *i)
{
	return sfs_inode_is_dir(i) && !sfs_dir_is_told(i->dir);
}

static int name_check(const struct sfs_call *c)
{
	return c->len > 255 ? -ERANGE : 0;
}

/* ---- get, list ---- */

static int get_send(struct sfs_call *c)
{
	struct sfs_at at;
	struct sbx_buf *b;
	int err = sfs_call_at(c, c->inode, &at);

	if (err < 0)
		return err;
	b = sbx_remote_begin(c->files->remote,
			     c->len ? SBX_OP_GETXATTR : SBX_OP_LISTXATTR,
			     c->len ? 4 : 3);
	sfs_put_at(b, &at);
	if (c->len)
		sbx_put_bin(b, c->name, c->len);
	return sfs_call_submit(c, NULL);
}

/* size 0 asks how long it is */
static void get_done(struct sfs_call *c, int err, struct sbx_rd *rd)
{
	const uint8_t *data;
	size_t len;

	data = err ? NULL : sbx_get_bin(rd, &len);
	if (!err && rd->err)
		err = -EPROTO;
	if (!err && c->size && len > c->size)
		err = -ERANGE;
	if (err) {
		sfs_call_err(c, err);
		return;
	}
	if (c->req && !c->size)
		fuse_reply_xattr(c->req, len);
	else if (c->req)
		fuse_reply_buf(c->req, (const char *)data, len);
	sfs_call_free(c);
}

static void reply_none(fuse_req_t req, bool named, size_t size)
{
	if (named)
		fuse_reply_err(req, ENODATA);
	else if (size)
		fuse_reply_buf(req, NULL, 0);
	else
		fuse_reply_xattr(req, 0);
}

static void on_flag(struct sfs_call *c, int err)
{
	bool named = c->len;
	size_t size = c->size;

	if (err)
		sfs_call_err(c, err);
	else if (c->req && has_none(c->inode))
		reply_none(sfs_call_take(c), named, size);
	else
		sfs_call_go(c);
}

/* name: NULL for the list of them */
static void get_go(fuse_req_t req, struct sfs_inode *i, const char *name,
		   size_t size)
{
	struct sfs_call *c = sfs_call_new(req, i, name, NULL);
	int err;

	if (!c)
		return;
	c->size = size;
	c->send = get_send;
	c->done = get_done;
	err = name_check(c);
	if (err) {
		sfs_call_err(c, err);
	} else if (is_worth_waiting(i)) {
		c->resume = on_flag;
		sfs_attr_wait(c);
	} else {
		sfs_call_go(c);
	}
}

void sfs_on_getxattr(fuse_req_t req, struct sfs_node *n, const char *name,
		     size_t size)
{
	struct sfs_inode *i = sfs_inode_of(n);

	if (has_none(i) ||
	    (!strcmp(name, CAPABILITY) && !(i->flags & SFS_INODE_XATTR)))
		reply_none(req, true, size);
	else
		get_go(req, i, name, size);
}

void sfs_on_listxattr(fuse_req_t req, struct sfs_node *n, size_t size)
{
	struct sfs_inode *i = sfs_inode_of(n);

	if (has_none(i))
		reply_none(req, false, size);
	else
		get_go(req, i, NULL, size);
}

/* ---- set, remove: the value is name2, its length size ---- */

static int set_send(struct sfs_call *c)
{
	struct sfs_at at;
	struct sbx_buf *b;
	int err = sfs_call_at(c, c->inode, &at);

	if (err < 0)
		return err;
	if (c->negative) {
		b = sbx_remote_begin(c->files->remote, SBX_OP_REMOVEXATTR, 4);
		sfs_put_at(b, &at);
		sbx_put_bin(b, c->name, c->len);
		return sfs_call_submit(c, NULL);
	}
	b = sbx_remote_begin(c->files->remote, SBX_OP_SETXATTR, 6);
	sfs_put_at(b, &at);
	sbx_put_bin(b, c->name, c->len);
	sbx_put_bin(b, c->data, c->size);
	sbx_put_u64(b, c->flags);
	return sfs_call_submit(c, NULL);
}

static void set_done(struct sfs_call *c, int err, struct sbx_rd *rd)
{
	struct sbx_attr attr;

	/* sent twice, and the first time did it */
	if (c->tries && (err == -ENODATA || err == -EEXIST))
		err = c->negative || c->flags ? -EIO : err;
	if (!err && !sbx_get_attr(rd, &attr))
		err = -EPROTO;
	if (!err)
		sfs_cache_attr(c->inode, &attr, sfs_call_how(c));
	else
		c->inode->attr_gen = 0;
	sfs_call_err(c, err);
}

static void set_go(struct sfs_call *c)
{
	int err = name_check(c);

	c->send = set_send;
	c->done = set_done;
	c->change = true;
	if (err)
		sfs_call_err(c, err);
	else
		sfs_call_go(c);
}

void sfs_on_setxattr(fuse_req_t req, struct sfs_node *n, const char *name,
		     const char *value, size_t size, int flags)
{
	struct sfs_call *c = sfs_call_new(req, sfs_inode_of(n), name, NULL);

	if (!c)
		return;
	if (sfs_call_keep(c, value, size) < 0) {
		sfs_call_err(c, -ENOMEM);
		return;
	}
	c->flags = (uint32_t)flags;
	set_go(c);
}

void sfs_on_removexattr(fuse_req_t req, struct sfs_node *n, const char *name)
{
	struct sfs_call *c = sfs_call_new(req, sfs_inode_of(n), name, NULL);

	if (!c)
		return;
	c->negative = true;
	set_go(c);
}
