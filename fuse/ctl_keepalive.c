/*
 * "keepalive": how long a sandbox still lives.  Writing seconds, an empty
 * line, or touching it extends that.
 */
#include <errno.h>

#include "fuse/ctl_file.h"
#include "fuse/sandbox.h"
#include "fuse/text.h"

#define MAX_SECONDS (10ul * 366 * 86400)

static void on_looked(void *arg, struct sbx_box *box,
		      const struct sbx_error *error)
{
	struct ctl_file *f = arg;
	int64_t expires = box ? box->sb.expires_ms : 0;
	int64_t left = expires - sfs_now_ms();
	char when[SFS_TIME_SIZE];

	if (box && expires)
		sfs_text_printf(&f->text, "expires: %s\nremaining_s: %lld\n",
				sfs_text_time(expires, when),
				(long long)(left > 0 ? left / 1000 : 0));
	else if (box)
		sfs_text_printf(&f->text, "expires: %s\n",
				sfs_place_no_end(f->node->place));
	ctl_file_loaded(f, error);
}

static void keepalive_load(struct ctl_file *f)
{
	sbx_client_refresh(f->node->place->client, f->node->sb->box, false, 0,
			   on_looked, f);
}

static void on_extended(void *arg, struct sbx_box *box,
			const struct sbx_error *error)
{
	ctl_op_finish(arg, error);
}

static void keepalive_write(fuse_req_t req, struct ctl_file *f,
			    const char *data, size_t size)
{
	unsigned long seconds = 0;
	struct ctl_op *op;
	char word[32];
	int r = sfs_text_word(word, sizeof(word), data, size);

	if (r == 0 && word[0])
		r = sfs_text_number(word, MAX_SECONDS, &seconds);
	if (r < 0) {
		ctl_fail(req, f->node, r,
			 "keepalive: a number of seconds is wanted, or an "
			 "empty line");
		return;
	}
	op = ctl_op_new(req, f->node, f, size);
	if (op)
		sbx_client_keepalive(f->node->place->client, f->node->sb->box,
				     (unsigned int)seconds, on_extended, op);
}

static void on_touched(void *arg, struct sbx_box *box,
		       const struct sbx_error *error)
{
	struct ctl_op *op = arg;
	struct stat st;
	fuse_req_t req;

	if (error->err) {
		ctl_op_finish(op, error);
		return;
	}
	ctl_node_attr(op->node, &st);
	req = ctl_op_end(op);
	if (req)
		fuse_reply_attr(req, &st, 0);
}

static void keepalive_touch(fuse_req_t req, struct ctl_node *n, bool now)
{
	struct ctl_op *op = NULL;

	if (now)
		op = ctl_op_new(req, n, NULL, 0);
	else /* cannot be kept */
		fuse_reply_err(req, EPERM);
	if (op)
		sbx_client_keepalive(n->place->client, n->sb->box, 0,
				     on_touched, op);
}

static bool keepalive_present(const struct ctl_node *dir)
{
	return sbx_client_can(dir->place->client, SBX_CALL_KEEPALIVE);
}

static const struct ctl_file_type keepalive_file = {
	.load = keepalive_load,
	.write = keepalive_write,
};

const struct ctl_type ctl_keepalive = {
	.name = "keepalive",
	.mode = S_IFREG | 0600,
	.ops = &ctl_file_ops,
	.file = &keepalive_file,
	.present = keepalive_present,
	.touch = keepalive_touch,
};
