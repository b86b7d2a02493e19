/*
 * Callers: see caller.h.
 */
#include "fuse/caller.h"

#include <errno.h>
#include <stdlib.h>

#include "fuse/cache.h"
#include "fuse/handle.h"

/* More groups than this are not passed on: the helper takes no more. */
#define GROUPS_MAX 1024

struct sfs_caller {
	uint32_t uid, gid;
	uint32_t nr;
	uint32_t groups[];
};

/* ---- who calls ---- */

static size_t caller_size(uint32_t nr)
{
	return sizeof(struct sfs_caller) + nr * sizeof(uint32_t);
}

static bool caller_is(const struct sfs_caller *a, const struct sfs_caller *b)
{
	if (!a || !b)
		return a == b;
	return a->nr == b->nr && !memcmp(a, b, caller_size(a->nr));
}

static uint32_t gid_there(const struct sfs_owners *o, gid_t gid)
{
	return gid == o->here_gid ? o->there_gid : gid;
}

static struct sfs_caller *caller_new(fuse_req_t req, uint32_t uid,
				     const struct sfs_owners *o)
{
	struct sfs_caller *w;
	gid_t groups[GROUPS_MAX];
	int n = 0, k;

	/* root's groups make no difference; who has ended meanwhile has none */
	if (uid)
		n = fuse_req_getgroups(req, GROUPS_MAX, groups);
	if (n < 0)
		n = 0;
	if (n > GROUPS_MAX)
		n = GROUPS_MAX;
	w = calloc(1, caller_size((uint32_t)n));
	if (!w)
		return NULL;
	w->uid = uid;
	w->gid = gid_there(o, fuse_req_ctx(req)->gid);
	w->nr = (uint32_t)n;
	for (k = 0; k < n; k++)
		w->groups[k] = gid_there(o, groups[k]);
	return w;
}

struct sfs_caller *sfs_caller_copy(const struct sfs_caller *w)
{
	struct sfs_caller *copy = w ? malloc(caller_size(w->nr)) : NULL;

	if (copy)
		memcpy(copy, w, caller_size(w->nr));
	return copy;
}

/* NULL: it is the sandbox's user who acts, whoever calls. */
static const struct sbx_remote_info *info_of_many(const struct sfs_files *f)
{
	const struct sbx_remote_info *info = sbx_remote_info(f->remote);

	return info && info->features & SBX_FEATURE_ROOT_USER ? info : NULL;
}

static uint32_t uid_there(const struct sfs_owners *o, uid_t uid)
{
	return uid == o->here_uid ? o->there_uid : uid;
}

/* c->caller stays NULL for the sandbox's own user. */
static int call_find_caller(struct sfs_call *c)
{
	const struct sbx_remote_info *info = info_of_many(c->files);
	const struct sfs_owners *o = sfs_owners_of(c->inode);
	const struct fuse_ctx *ctx;
	uint32_t uid;

	if (c->caller_known || !info)
		return 0;
	if (!c->req)
		return -EINTR;
	ctx = fuse_req_ctx(c->req);
	uid = uid_there(o, ctx->uid);
	if (uid != info->uid || gid_there(o, ctx->gid) != info->gid) {
		c->caller = caller_new(c->req, uid, o);
		if (!c->caller)
			return -ENOMEM;
	}
	c->caller_known = true;
	return 0;
}

/* ---- telling the helper ---- */

static int creds_send(struct sfs_files *f, const struct sfs_caller *w)
{
	struct sbx_buf *b =
		sbx_remote_begin(f->remote, SBX_OP_CREDS, w ? 3 : 0);
	uint32_t k;

	if (w) {
		sbx_put_u64(b, w->uid);
		sbx_put_u64(b, w->gid);
		sbx_put_array(b, w->nr);
		for (k = 0; k < w->nr; k++)
			sbx_put_u64(b, w->groups[k]);
	}
	return sbx_remote_submit_quiet(f->remote);
}

int sfs_act_as(struct sfs_files *f, const struct sfs_caller *w)
{
	struct sfs_caller *copy = NULL;
	int err;

	/* a new helper acts as itself */
	if (f->acting && f->acting_epoch != sbx_remote_epoch(f->remote)) {
		free(f->acting);
		f->acting = NULL;
	}
	if (caller_is(f->acting, w))
		return 0;
	if (w) {
		copy = sfs_caller_copy(w);
		if (!copy)
			return -ENOMEM;
	}
	err = creds_send(f, w);
	if (err < 0) {
		free(copy);
		return err;
	}
	free(f->acting);
	f->acting = copy;
	f->acting_epoch = sbx_remote_epoch(f->remote);
	return 0;
}

int sfs_call_act(struct sfs_call *c)
{
	int err = call_find_caller(c);

	return err < 0 ? err : sfs_act_as(c->files, c->caller);
}

int sfs_call_is_other(struct sfs_call *c, const struct sfs_handle *h)
{
	const struct sbx_remote_info *info = info_of_many(c->files);
	uint32_t uid;
	int err;

	if (c->caller_known)
		return 1;
	if (!info || !c->req)
		return 0;
	uid = uid_there(sfs_owners_of(c->inode), fuse_req_ctx(c->req)->uid);
	if (uid == (h->caller ? h->caller->uid : info->uid))
		return 0;
	err = call_find_caller(c);
	return err < 0 ? err : 1;
}

int sfs_call_act_by(struct sfs_call *c, const struct sfs_handle *h)
{
	int r = sfs_call_is_other(c, h);

	return r < 0 ? r : sfs_act_as(c->files, r ? c->caller : h->caller);
}

/* A directory without extended attributes has no default ACL, which would
 * take the umask's place. */
uint32_t sfs_call_umask(struct sfs_call *c)
{
	if (c->inode->flags & SFS_INODE_XATTR)
		return c->umask;
	c->mode &= ~c->umask;
	return 0;
}
