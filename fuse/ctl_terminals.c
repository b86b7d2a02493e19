/*
 * "terminals/": interactive sessions.  mkdir starts one, rmdir hangs it up;
 * "new" starts one whose name is then read.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuse/command.h"
#include "fuse/ctl_file.h"
#include "fuse/ctl_job.h"
#include "fuse/ctl_terminal.h"
#include "fuse/limits.h"
#include "fuse/sandbox.h"
#include "fuse/text.h"

static const struct ctl_type terminal_dir, terminals_new;

static void reply_terminal(fuse_req_t req, struct ctl_node *n,
			   struct sfs_job *j)
{
	ctl_reply_node(req, ctl_node_of_job(n->sb, j, &terminal_dir),
		       SFS_BRIEF);
}

/* ---- starting ---- */

/* Once; j is borrowed, NULL after an error. */
typedef void start_fn(void *arg, struct sfs_job *j,
		      const struct sbx_error *error);

/* Somebody who waits for a terminal to have started. */
struct starting {
	struct sfs_job *job; /* counted */
	struct sfs_job_wait wait;
	start_fn *fn;
	void *arg;
};

static void on_started(void *arg)
{
	struct starting *s = arg;
	struct sfs_job *j = s->job;
	struct sbx_error e = {0};

	if (j->state == SBX_JOB_ENDED && j->error) {
		sbx_error_set(&e, j->error,
			      "terminals: it could not be started: %s",
			      strerror(-j->error));
		if (j->sb)
			sfs_terminals_remove(j->sb, j);
	}
	s->fn(s->arg, e.err ? NULL : j, &e);
	sfs_job_unref(j);
	free(s);
}

static void start(struct sfs_sandbox *sb, const char *name,
		  struct sbx_exec_spec *spec, start_fn *fn, void *arg)
{
	struct starting *s = calloc(1, sizeof(*s));
	struct sbx_error e = {0};

	if (!s)
		sbx_error_set(&e, -ENOMEM, "out of memory");
	else
		s->job = sfs_terminals_start(sb, name, spec, &e);
	if (!s || !s->job) {
		free(s);
		fn(arg, NULL, &e);
		return;
	}
	sfs_job_ref(s->job);
	s->fn = fn;
	s->arg = arg;
	s->wait = (struct sfs_job_wait){
		.state = SBX_JOB_RUNNING,
		.fn = on_started,
		.arg = s,
	};
	sfs_job_wait_add(s->job, &s->wait);
}

/* ---- terminals/ ---- */

static void terminals_lookup(fuse_req_t req, struct ctl_node *n,
			     const char *name)
{
	struct sfs_job *j = sfs_terminals_find(n->sb, name);

	if (j)
		reply_terminal(req, n, j);
	else
		fuse_reply_err(req, ENOENT);
}

static void terminals_list(struct ctl_node *n, struct ctl_list *list)
{
	const struct sfs_job *j = n->sb->terminals.newest;

	for (; j; j = j->next)
		ctl_list_add(list, j->name, S_IFDIR,
			     ctl_ino(n->place, n->sb->box->sb.id,
				     terminal_dir.name, j->number));
}

static void on_made_dir(void *arg, struct sfs_job *j,
			const struct sbx_error *error)
{
	struct ctl_op *op = arg;
	struct ctl_node *n = op->node;
	fuse_req_t req;

	if (error->err) {
		ctl_op_finish(op, error);
		return;
	}
	n->refs++; /* ours: the operation's goes now */
	req = ctl_op_end(op);
	if (req)
		reply_terminal(req, n, j);
	ctl_node_unref(n);
}

static void terminals_mkdir(fuse_req_t req, struct sfs_node *node,
			    const char *name, mode_t mode)
{
	struct ctl_node *n = (struct ctl_node *)node;
	struct ctl_op *op;

	if (ctl_node_check(n) < 0) {
		fuse_reply_err(req, ESTALE);
	} else if (!strcmp(name, terminals_new.name) ||
		   sfs_terminals_find(n->sb, name)) {
		fuse_reply_err(req, EEXIST);
	} else {
		op = ctl_op_new(req, n, NULL, 0);
		if (op)
			start(n->sb, name, NULL, on_made_dir, op);
	}
}

static void terminals_rmdir(fuse_req_t req, struct sfs_node *node,
			    const char *name)
{
	struct ctl_node *n = (struct ctl_node *)node;
	struct sfs_job *j;

	if (ctl_node_check(n) < 0) {
		fuse_reply_err(req, ESTALE);
		return;
	}
	j = sfs_terminals_find(n->sb, name);
	if (j)
		sfs_terminals_remove(n->sb, j);
	if (!j && !strcmp(name, terminals_new.name))
		fuse_reply_err(req, ENOTDIR);
	else
		fuse_reply_err(req, j ? 0 : ENOENT);
}

static const struct sfs_node_ops terminals_ops = {
	CTL_DIR_OPS,
	.mkdir = terminals_mkdir,
	.rmdir = terminals_rmdir,
};

/* Nothing reaches what runs where a command is a run of its own. */
static bool terminals_present(const struct ctl_node *dir)
{
	return !sfs_place_runs(dir->place);
}

static const struct ctl_type *const terminals_children[] = {
	&terminals_new,
	NULL,
};

const struct ctl_type ctl_terminals = {
	.name = "terminals",
	.mode = S_IFDIR | 0755,
	.ops = &terminals_ops,
	.children = terminals_children,
	.present = terminals_present,
	.lookup = terminals_lookup,
	.list = terminals_list,
};

/* ---- terminals/new ---- */

/*
 * Starts one when it is first read, unless a command was written before, which
 * starts when it is known to be complete: with the end of a JSON object, else
 * when a descriptor is closed or the name is read.  Who may only read gets
 * nothing: a careless "grep -r" must not start shells.
 */
struct new_file {
	struct ctl_file f;
	struct sfs_command command;
	struct sfs_job *job; /* counted; the newest of this open file */
	bool may_start;
};

static struct new_file *new_of(struct ctl_file *f)
{
	return (struct new_file *)f;
}

static void new_take(struct ctl_file *f, struct sfs_job *j)
{
	if (f->closed)
		return;
	sfs_job_unref(new_of(f)->job);
	new_of(f)->job = sfs_job_ref(j);
}

static void on_made_to_read(void *arg, struct sfs_job *j,
			    const struct sbx_error *error)
{
	struct ctl_file *f = arg;

	if (j) {
		new_take(f, j);
		sfs_text_printf(&f->text, "%s\n", j->name);
	}
	ctl_file_loaded(f, error);
}

/* What was written, or without that a login shell. */
static void new_start(struct ctl_file *f, start_fn *fn, void *arg)
{
	struct sfs_command *c = &new_of(f)->command;
	struct sbx_exec_spec spec = {0};
	struct sbx_error e = {0};
	bool is_shell = sfs_command_is_empty(c);

	if (!is_shell && sfs_command_take(c, &spec, &e) < 0)
		fn(arg, NULL, &e);
	else
		start(f->node->sb, NULL, is_shell ? NULL : &spec, fn, arg);
	sbx_exec_spec_release(&spec);
}

static void new_load(struct ctl_file *f)
{
	struct new_file *nf = new_of(f);
	bool is_empty = sfs_command_is_empty(&nf->command);

	sfs_command_end(&nf->command);
	if (is_empty && nf->job)
		sfs_text_printf(&f->text, "%s\n", nf->job->name);
	if (is_empty && (nf->job || !nf->may_start))
		ctl_file_loaded(f, NULL);
	else
		new_start(f, on_made_to_read, f);
}

static void on_made(void *arg, struct sfs_job *j, const struct sbx_error *error)
{
	struct ctl_op *op = arg;

	if (j)
		new_take(op->file, j);
	ctl_op_finish(op, error);
}

static void on_complete(struct ctl_op *op)
{
	new_start(op->file, on_made, op);
}

static void new_write(fuse_req_t req, struct ctl_file *f, const char *data,
		      size_t size)
{
	sfs_command_write(req, f, &new_of(f)->command, data, size);
}

static void new_flush(fuse_req_t req, struct ctl_file *f)
{
	struct sfs_command *c = &new_of(f)->command;
	struct ctl_op *op = NULL;

	sfs_command_end(c);
	if (sfs_command_is_empty(c))
		fuse_reply_err(req, 0);
	else
		op = ctl_op_new(req, f->node, f, 0);
	if (op)
		new_start(f, on_made, op);
}

static int new_open(struct ctl_file *f, int flags)
{
	new_of(f)->may_start = (flags & O_ACCMODE) == O_RDWR;
	sfs_command_init(&new_of(f)->command);
	new_of(f)->command.on_complete = on_complete;
	return 0;
}

static void new_close(struct ctl_file *f)
{
	sfs_job_unref(new_of(f)->job);
	new_of(f)->job = NULL;
	sfs_command_release(&new_of(f)->command);
}

static const struct ctl_file_type new_file = {
	.size = sizeof(struct new_file),
	.open = new_open,
	.load = new_load,
	.write = new_write,
	.flush = new_flush,
	.close = new_close,
};

static const struct ctl_type terminals_new = {
	.name = "new",
	.mode = S_IFREG | 0600,
	.ops = &ctl_file_ops,
	.file = &new_file,
};

/* ---- values of one terminal ---- */

static void command_load(struct ctl_file *f)
{
	if (ctl_job_is_forgotten(f))
		return;
	sfs_text_printf(&f->text, "%s\n", f->node->job->command);
	ctl_file_loaded(f, NULL);
}

static const struct ctl_file_type command_file = {.load = command_load};

static const struct ctl_type terminal_command = {
	.name = "command",
	.mode = S_IFREG | 0400,
	.ops = &ctl_file_ops,
	.file = &command_file,
};

static const struct ctl_type *const terminal_children[] = {
	&ctl_terminal_data, &ctl_job_size, &terminal_command,
	&ctl_job_exit,	    NULL,
};

static const struct ctl_type terminal_dir = {
	.name = "terminal",
	.mode = S_IFDIR | 0755,
	.ops = &ctl_dir_ops,
	.children = terminal_children,
};
