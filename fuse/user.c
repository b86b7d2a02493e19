/*
 * As whom commands run: see user.h.
 */
#include "fuse/user.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct check {
	struct sfs_sandbox *sb; /* counted */
	char *user;
	sfs_user_fn *fn;
	void *arg;
};

static bool is_own(const struct sbx_remote_info *info, const char *user)
{
	char uid[16];

	snprintf(uid, sizeof(uid), "%u", info->uid);
	return !strcmp(user, uid) || (info->uid == 0 && !strcmp(user, "root"));
}

static void check_end(struct check *c, int err)
{
	struct sfs_sandbox *sb = c->sb;
	const struct sbx_remote_info *info =
		sb->remote ? sbx_remote_info(sb->remote) : NULL;
	const struct sbx_error *why =
		sb->remote ? sbx_remote_error(sb->remote) : NULL;
	struct sbx_error e = {0};

	if (info && !is_own(info, c->user))
		sbx_error_set(&e, -EOPNOTSUPP,
			      "exec: commands run as the sandbox's own user "
			      "(give its uid, or no \"user\")");
	else if (!info)
		sbx_error_set(&e, err ? err : -EIO,
			      "exec: the sandbox cannot be asked for its user"
			      "%s%s",
			      why && why->err ? ": " : "",
			      why && why->err ? why->text : "");
	c->fn(c->arg, &e);
	free(c->user);
	free(c);
	sfs_sandbox_unref(sb);
}

static void on_answer(void *arg, int err, struct sbx_rd *rd)
{
	check_end(arg, err);
}

void sfs_user_check(struct sfs_sandbox *sb, const char *user, sfs_user_fn *fn,
		    void *arg)
{
	struct check *c = calloc(1, sizeof(*c));
	struct sbx_error e = {0};
	int r;

	if (c)
		*c = (struct check){sfs_sandbox_ref(sb), strdup(user), fn, arg};
	if (!c || !c->user) {
		if (c)
			sfs_sandbox_unref(sb);
		free(c);
		sbx_error_set(&e, -ENOMEM, "out of memory");
		fn(arg, &e);
		return;
	}
	r = sfs_sandbox_use(sb);
	if (r < 0 || sbx_remote_info(sb->remote)) {
		check_end(c, r);
		return;
	}
	/* any answer comes behind what the helper says of itself */
	sbx_remote_begin(sb->remote, SBX_OP_BARRIER, 0);
	sbx_remote_submit(sb->remote, on_answer, NULL, c);
}
