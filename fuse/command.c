/*
 * Commands that are being written: see command.h.
 */
#include "fuse/command.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fuse/sandbox.h"
#include "fuse/user.h"

void sfs_command_init(struct sfs_command *c)
{
	*c = (struct sfs_command){0};
	sbx_buf_init(&c->text, SBX_SPEC_EXEC_MAX);
}

/* A write whose user is being looked up. */
struct sfs_command_asking {
	struct ctl_op *op; /* its file, which is counted, holds the command */
	struct sfs_command *c;
};

static void command_clear(struct sfs_command *c)
{
	sbx_buf_clear(&c->text);
	c->scan = (struct sbx_exec_scan){0};
}

/* Half a command is none. */
static void command_refuse(struct sfs_command *c, int err)
{
	command_clear(c);
	c->refused = err;
}

void sfs_command_end(struct sfs_command *c)
{
	c->refused = 0;
}

void sfs_command_release(struct sfs_command *c)
{
	sbx_buf_release(&c->text);
}

/* ---- writing ---- */

/* Why no command could run there; shells see the errors of writes only, so
 * what is known is said then. */
static int check_usable(const struct sfs_sandbox *sb, struct sbx_error *reterr)
{
	enum sbx_state state = sb->box->sb.state;
	const struct sbx_error *e;

	if (sb->remote && sbx_remote_state(sb->remote) == SBX_LINK_UP)
		return 0;
	if (state == SBX_STATE_PAUSED || state == SBX_STATE_STOPPING ||
	    state == SBX_STATE_STOPPED)
		return sbx_error_set(reterr, -EAGAIN, "the sandbox is %s",
				     sbx_state_name(state));
	e = sb->remote ? sbx_remote_error(sb->remote) : NULL;
	if (!e || !e->err || e->retry == SBX_RETRY_LATER ||
	    e->retry == SBX_RETRY_CONNECTION || e->retry == SBX_RETRY_RESUME)
		return 0;
	*reterr = *e;
	return e->err;
}

static int command_add(struct ctl_file *f, struct sfs_command *c,
		       const char *data, size_t size, struct sbx_error *reterr)
{
	int r = check_usable(f->node->sb, reterr);

	if (r == 0 && sbx_buf_add(&c->text, data, size) < 0)
		r = sbx_error_set(reterr,
				  c->text.err == -ENOMEM ? -ENOMEM : -E2BIG,
				  "exec: a command may have 1 MiB at most; "
				  "put it into a file of the workspace");
	if (r == 0)
		r = sbx_exec_scan(&c->scan, (char *)sbx_buf_at(&c->text),
				  sbx_buf_len(&c->text), reterr);
	/* (what is in an object is shorter, and known when it is complete) */
	if (r == 0 && (!c->scan.is_json || c->scan.tty))
		r = sfs_jobs_check(f->node->sb,
				   c->scan.is_json ? 0 : sbx_buf_len(&c->text),
				   c->scan.tty, reterr);
	return r;
}

/* Whoever was interrupted has written nothing, or writes it again. */
static void command_drop_interrupted(struct sfs_command *c)
{
	if (!c->asking || c->asking->op->wait.req)
		return;
	c->asking = NULL;
	command_clear(c);
}

bool sfs_command_is_empty(struct sfs_command *c)
{
	command_drop_interrupted(c);
	return !sbx_buf_len(&c->text);
}

static bool is_complete(const struct sfs_command *c)
{
	return c->on_complete && c->scan.complete;
}

static void on_user(void *arg, const struct sbx_error *error)
{
	struct sfs_command_asking *a = arg;
	struct sfs_command *c = a->c;
	struct ctl_op *op = a->op;
	bool is_there = c->asking == a; /* else its text is not any more */

	if (is_there) {
		command_drop_interrupted(c);
		c->asking = NULL;
		is_there = !op->file->closed && sbx_buf_len(&c->text);
	}
	free(a);
	if (is_there && error->err)
		command_refuse(c, error->err);
	if (is_there && !error->err && is_complete(c))
		c->on_complete(op);
	else
		ctl_op_finish(op, error);
}

static void command_ask(fuse_req_t req, struct ctl_file *f,
			struct sfs_command *c, size_t size)
{
	static const struct sbx_error none;
	struct sfs_command_asking *a = malloc(sizeof(*a));

	if (!a) {
		command_clear(c);
		fuse_reply_err(req, ENOMEM);
		return;
	}
	*a = (struct sfs_command_asking){ctl_op_new(req, f->node, f, size), c};
	if (!a->op) {
		command_clear(c);
		free(a);
		return;
	}
	c->asking = a;
	if (*c->scan.user)
		sfs_user_check(f->node->sb, c->scan.user, on_user, a);
	else
		on_user(a, &none);
}

void sfs_command_write(fuse_req_t req, struct ctl_file *f,
		       struct sfs_command *c, const char *data, size_t size)
{
	struct sbx_error e = {0};

	command_drop_interrupted(c);
	if (c->refused) {
		fuse_reply_err(req, -c->refused);
	} else if (command_add(f, c, data, size, &e) < 0) {
		command_refuse(c, e.err);
		ctl_note(f->node, &e);
		fuse_reply_err(req, -e.err);
	} else if (*c->scan.user || is_complete(c)) {
		command_ask(req, f, c, size);
	} else {
		fuse_reply_write(req, size);
	}
}

/* ---- starting ---- */

int sfs_command_take(struct sfs_command *c, struct sbx_exec_spec *ret,
		     struct sbx_error *reterr)
{
	int r = sbx_exec_spec_parse(ret, (char *)sbx_buf_at(&c->text),
				    sbx_buf_len(&c->text), reterr);

	command_clear(c);
	return r;
}

int sfs_command_start(struct ctl_file *f, struct sfs_command *c,
		      struct sfs_job **ret, struct sbx_error *reterr)
{
	struct sbx_exec_spec spec;
	int r;

	if (ctl_node_check(f->node) < 0)
		return sbx_error_set(reterr, -ESTALE, "the sandbox is gone");
	r = sfs_command_take(c, &spec, reterr);
	if (r < 0)
		return r;
	r = sfs_jobs_start(f->node->sb, &spec, ret, reterr);
	sbx_exec_spec_release(&spec);
	return r;
}

struct starting {
	struct ctl_op *op;
	struct sfs_job *job; /* counted */
	struct sfs_job_wait wait;
};

static void on_started(void *arg)
{
	struct starting *s = arg;
	struct sbx_error e = {0};

	sfs_job_failure(s->job, &e);
	sfs_job_unref(s->job);
	ctl_op_finish(s->op, &e);
	free(s);
}

void sfs_command_wait(fuse_req_t req, struct ctl_file *f, struct sfs_job *j)
{
	struct starting *s;

	if (sfs_job_is_queued(j)) {
		fuse_reply_err(req, 0);
		return;
	}
	s = calloc(1, sizeof(*s));
	if (!s) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	s->op = ctl_op_new(req, f->node, f, 0);
	if (!s->op) {
		free(s);
		return;
	}
	s->job = sfs_job_ref(j);
	s->wait = (struct sfs_job_wait){
		.state = SBX_JOB_RUNNING,
		.fn = on_started,
		.arg = s,
	};
	sfs_job_wait_add(j, &s->wait);
}
