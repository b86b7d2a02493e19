/*
 * "status": what is known of a sandbox, and the verbs that drive its life;
 * "info.json": the service's own answer.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/spec.h"
#include "fuse/ctl_file.h"
#include "fuse/sandbox.h"
#include "fuse/text.h"

/* Who looks at the status of a service that does not answer wants to see
 * that, not to wait for it. */
#define LOOK_MS 3000

/* ---- reading ---- */

/* The value is a stranger's, or NULL. */
static void put_text(struct sbx_buf *to, const char *key, const char *value)
{
	sfs_text_printf(to, "%s: ", key);
	sfs_text_clean(to, value);
	sbx_buf_add(to, "\n", 1);
}

static void put_time(struct sbx_buf *to, const char *key, int64_t ms,
		     const char *otherwise)
{
	char text[SFS_TIME_SIZE];

	sfs_text_printf(to, "%s: %s\n", key,
			ms ? sfs_text_time(ms, text) : otherwise);
}

static void put_service(struct sbx_buf *to, const struct sfs_sandbox *sb)
{
	const struct sbx_sandbox *s = &sb->box->sb;

	put_text(to, "id", s->id);
	put_text(to, "name", s->name);
	sfs_text_printf(to, "service: %s\nstate: %s\n",
			sbx_client_service(sb->place->client)->type->name,
			sbx_state_name(s->state));
	put_time(to, "created", s->created_ms, "unknown");
	put_time(to, "expires", s->expires_ms, sfs_place_no_end(sb->place));
	put_text(to, "template", s->image);
	put_text(to, "url", s->url);
}

static void put_helper(struct sbx_buf *to, const struct sfs_sandbox *sb)
{
	const struct sbx_remote_info *info =
		sb->remote ? sbx_remote_info(sb->remote) : NULL;
	const struct sbx_error *e =
		sb->remote ? sbx_remote_error(sb->remote) : NULL;

	if (info && *info->plain)
		put_text(to, "helper: none", info->plain);
	else if (info)
		put_text(to, "helper", info->version);
	else
		put_text(to, "helper: none",
			 e && e->err ? e->text : "not needed so far");
	if (info && (info->silent || !(info->features & SBX_FEATURE_INOTIFY)))
		sfs_text_printf(to, "push: none: changes made there are seen "
				    "after a second\n");
}

static void put_connection(struct sbx_buf *to, const struct sfs_sandbox *sb)
{
	char text[200] = "none: not needed so far";

	if (sb->remote)
		sbx_remote_describe(sb->remote, text, sizeof(text));
	sfs_text_printf(to, "connection: %s\nunsent: %zu\nlast_error: %s\n",
			text, sb->remote ? sbx_remote_unsent(sb->remote) : 0,
			sb->last_error.err ? sb->last_error.text : "");
}

static void put_own(struct sbx_buf *to, const struct sfs_sandbox *sb)
{
	/* what stands above in our words */
	static const char *const skip[] = {
		"id",	      "name",	    "status",	     "state",
		"template",   "image",	    "url",	     "ws_url",
		"created_at", "expires_at", "created_at_ms", "expires_at_ms",
		"last_error", NULL,
	};
	char *lines = sb->box->sb.info ? sbx_info_lines(sb->box->sb.info, skip)
				       : NULL;

	if (lines)
		sbx_buf_add(to, lines, strlen(lines));
	free(lines);
}

static void on_looked(void *arg, struct sbx_box *box,
		      const struct sbx_error *error)
{
	struct ctl_file *f = arg;
	const struct sfs_sandbox *sb = f->node->sb;

	if (error->err == -ESTALE || sb->gone) {
		ctl_file_loaded(f, error);
		return;
	}
	/* else what was known, and what is wrong */
	if (error->err)
		ctl_note(f->node, error);
	put_service(&f->text, sb);
	put_helper(&f->text, sb);
	put_connection(&f->text, sb);
	put_own(&f->text, sb);
	ctl_file_loaded(f, NULL);
}

static void status_load(struct ctl_file *f)
{
	const struct sfs_place *p = f->node->place;
	unsigned int ms =
		p->conf.timeout_ms < LOOK_MS ? p->conf.timeout_ms : LOOK_MS;

	sbx_client_refresh(p->client, f->node->sb->box, false, ms, on_looked,
			   f);
}

/* ---- writing ---- */

static void on_verb_done(void *arg, struct sbx_box *box,
			 const struct sbx_error *error)
{
	ctl_op_finish(arg, error);
}

static void on_renewed(void *arg, const struct sbx_error *error)
{
	ctl_op_finish(arg, error);
}

/* Whatever came of it: what was known of its files is not. */
static void on_wiped(void *arg, struct sbx_box *box,
		     const struct sbx_error *error)
{
	struct ctl_op *op = arg;

	sfs_sandbox_renew(op->node->sb, error, on_renewed, op);
}

/* Its processes are others, the helper among them: the next command must not
 * be the one that finds out. */
static void on_started(void *arg, struct sbx_box *box,
		       const struct sbx_error *error)
{
	struct ctl_op *op = arg;

	if (error->err)
		ctl_op_finish(op, error);
	else
		sfs_sandbox_renew(op->node->sb, error, on_renewed, op);
}

static void verb_destroy(fuse_req_t req, struct ctl_file *f, size_t size)
{
	struct ctl_op *op;

	if (f->node->m->opts->protect) {
		ctl_fail(req, f->node, -EPERM,
			 "sandboxes are not destroyed here: the mount has the "
			 "option protect");
		return;
	}
	op = ctl_op_new(req, f->node, f, size);
	if (op)
		sbx_client_destroy(f->node->place->client, f->node->sb->box,
				   on_verb_done, op);
}

static void verb_refresh(fuse_req_t req, struct ctl_file *f, size_t size)
{
	struct ctl_op *op = ctl_op_new(req, f->node, f, size);

	if (op)
		sbx_client_refresh(f->node->place->client, f->node->sb->box,
				   true, 0, on_verb_done, op);
}

static void drive(struct ctl_op *op, enum sbx_call_kind kind, sbx_box_fn *fn)
{
	sbx_client_drive(op->node->place->client, op->node->sb->box, kind, fn,
			 op);
}

/* What was written before is not left to wait for the end of a pause, or
 * lost with the helper; if it cannot be sent, it is done all the same. */
static void on_flushed_to_pause(void *arg, const struct sbx_error *error)
{
	drive(arg, SBX_CALL_PAUSE, on_verb_done);
}

static void on_flushed_to_stop(void *arg, const struct sbx_error *error)
{
	drive(arg, SBX_CALL_STOP, on_verb_done);
}

static void on_flushed_to_restart(void *arg, const struct sbx_error *error)
{
	drive(arg, SBX_CALL_RESTART, on_started);
}

/* What a service may be able to do; the order is that of the sentence. */
static const struct verb {
	const char *word;
	enum sbx_call_kind kind;
	sfs_sandbox_fn *flushed; /* NULL: nothing is flushed before */
	sbx_box_fn *fn;		 /* then */
} verbs[] = {
	{"pause", SBX_CALL_PAUSE, on_flushed_to_pause, NULL},
	{"resume", SBX_CALL_RESUME, NULL, on_verb_done},
	{"stop", SBX_CALL_STOP, on_flushed_to_stop, NULL},
	{"start", SBX_CALL_START, NULL, on_started},
	{"restart", SBX_CALL_RESTART, on_flushed_to_restart, NULL},
	{"wipe", SBX_CALL_WIPE, NULL, on_wiped},
};
#define NR_VERBS (sizeof(verbs) / sizeof(verbs[0]))

static void verb_drive(fuse_req_t req, struct ctl_file *f, size_t size,
		       const struct verb *v)
{
	struct sbx_client *c = f->node->place->client;
	struct ctl_op *op;

	if (!sbx_client_can(c, v->kind)) {
		ctl_fail(req, f->node, -EOPNOTSUPP,
			 "status: %s cannot %s a sandbox",
			 sbx_client_service(c)->type->name, v->word);
	} else if (v->kind == SBX_CALL_WIPE && f->node->m->opts->protect) {
		ctl_fail(req, f->node, -EPERM,
			 "sandboxes are not wiped here: the mount has the "
			 "option protect");
	} else {
		op = ctl_op_new(req, f->node, f, size);
		if (op && v->flushed)
			sfs_sandbox_flush(f->node->sb, v->flushed, op);
		else if (op)
			drive(op, v->kind, v->fn);
	}
}

static void status_write(fuse_req_t req, struct ctl_file *f, const char *data,
			 size_t size)
{
	const struct verb *v = verbs;
	char word[64] = "";

	if (sfs_text_word(word, sizeof(word), data, size) < 0)
		ctl_fail(req, f->node, -EINVAL,
			 "status: one verb is wanted, for example refresh");
	else if (!strcmp(word, "destroy"))
		verb_destroy(req, f, size);
	else if (!strcmp(word, "refresh"))
		verb_refresh(req, f, size);
	else {
		while (v < verbs + NR_VERBS && strcmp(v->word, word))
			v++;
		if (v < verbs + NR_VERBS)
			verb_drive(req, f, size, v);
		else
			ctl_fail(req, f->node, -EINVAL,
				 "status: there is no verb \"%s\"; there are "
				 "pause, resume, stop, start, restart, wipe, "
				 "refresh and destroy",
				 word);
	}
}

static const struct ctl_file_type status_file = {
	.load = status_load,
	.write = status_write,
};

const struct ctl_type ctl_status = {
	.name = "status",
	.mode = S_IFREG | 0600,
	.ops = &ctl_file_ops,
	.file = &status_file,
};

/* ---- info.json ---- */

static void on_info(void *arg, struct sbx_box *box,
		    const struct sbx_error *error)
{
	struct ctl_file *f = arg;
	const char *info = box ? box->sb.info : NULL;

	if (info) {
		sbx_buf_add(&f->text, info, strlen(info));
		if (!*info || info[strlen(info) - 1] != '\n')
			sbx_buf_add(&f->text, "\n", 1);
	}
	ctl_file_loaded(f, error);
}

static void info_load(struct ctl_file *f)
{
	sbx_client_refresh(f->node->place->client, f->node->sb->box, false, 0,
			   on_info, f);
}

static const struct ctl_file_type info_file = {.load = info_load};

const struct ctl_type ctl_info = {
	.name = "info.json",
	.mode = S_IFREG | 0400,
	.ops = &ctl_file_ops,
	.file = &info_file,
};
