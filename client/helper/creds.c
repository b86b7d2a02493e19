/*
 * Whom changes act as: see creds.h.  With another fsuid than 0 the kernel
 * also takes away the capabilities that pass over file permissions, so every
 * check is that user's.
 */
#include "client/helper/creds.h"

#include <errno.h>
#include <grp.h>
#include <stdlib.h>
#include <sys/fsuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "client/helper/helper.h"
#include "client/helper/request.h"

static struct creds *creds_new(uid_t uid, gid_t gid, int n)
{
	struct creds *c = calloc(1, sizeof(*c) + (size_t)n * sizeof(gid_t));

	if (!c)
		return NULL;
	c->uid = uid;
	c->gid = gid;
	c->n = n;
	return c;
}

/* What the process started with, read when it is left for the first time. */
static const struct creds *own_creds(void)
{
	static struct creds *own;
	int n;

	if (own)
		return own;
	n = getgroups(0, NULL);
	own = creds_new(geteuid(), getegid(), n < 0 ? 0 : n);
	if (own && getgroups(own->n, own->groups) < 0)
		own->n = 0;
	return own;
}

/* Whether it took effect: the kernel ignores setfsuid without the right. */
static bool creds_apply(const struct creds *c)
{
	bool groups;

	/* the groups first, while we still may */
	setfsuid(0);
	groups = syscall(SYS_setgroups, (size_t)c->n, c->groups) == 0;
	setfsgid(c->gid);
	setfsuid(c->uid);
	return groups && setfsgid((gid_t)-1) == (int)c->gid &&
	       setfsuid((uid_t)-1) == (int)c->uid;
}

static bool creds_try(const struct creds *c)
{
	const struct creds *own = own_creds();
	bool ok = own && creds_apply(c);

	return own && creds_apply(own) && ok;
}

bool creds_can(void)
{
	struct creds *c;
	bool can;

	if (geteuid())
		return false;
	c = creds_new(65534, 65534, 0);
	can = c && creds_try(c);
	free(c);
	return can;
}

int creds_begin(const struct helper *h)
{
	if (h->creds)
		creds_apply(h->creds);
	return h->creds_err;
}

void creds_end(const struct helper *h)
{
	int err = errno;

	if (h->creds)
		creds_apply(own_creds());
	errno = err;
}

/* Nobody is acted for until it is known for whom. */
int op_creds(struct req *q)
{
	struct helper *h = q->h;
	bool none = !q->rd.left;
	uint32_t uid = sbx_get_u32(&q->rd), gid = sbx_get_u32(&q->rd);
	struct sbx_rd groups = sbx_get_array(&q->rd);
	struct creds *c;
	int i;

	free(h->creds);
	h->creds = NULL;
	h->creds_err = 0;
	if (none)
		return 0;
	h->creds_err = -EPERM;
	if (q->rd.err || groups.left > CREDS_GROUPS_MAX)
		return -EINVAL;
	if (geteuid())
		return -EPERM;
	c = creds_new(uid, gid, (int)groups.left);
	if (!c)
		return -ENOMEM;
	for (i = 0; i < c->n; i++)
		c->groups[i] = sbx_get_u32(&groups);
	if (groups.err || !creds_try(c)) {
		free(c);
		return groups.err ? -EINVAL : -EPERM;
	}
	h->creds = c;
	h->creds_err = 0;
	return 0;
}
