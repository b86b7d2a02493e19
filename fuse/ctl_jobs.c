/*
 * "jobs/": every command started in a sandbox, jobs/last being the newest.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "fuse/ctl_file.h"
#include "fuse/ctl_job.h"
#include "fuse/limits.h"
#include "fuse/sandbox.h"
#include "fuse/text.h"

static const struct ctl_type job_dir, job_last;

/* ---- jobs/ ---- */

static void reply_job_node(fuse_req_t req, struct ctl_node *n,
			   struct sfs_job *j, const struct ctl_type *type,
			   double timeout)
{
	ctl_reply_node(req, ctl_node_of_job(n->sb, j, type), timeout);
}

static struct sfs_job *job_named(struct sfs_sandbox *sb, const char *name)
{
	unsigned long number;

	/* one name for each: no leading zeros */
	if (name[0] == '0' || sfs_text_number(name, UINT32_MAX, &number) < 0)
		return NULL;
	return sfs_jobs_find(sb, (uint32_t)number);
}

static void jobs_lookup(fuse_req_t req, struct ctl_node *n, const char *name)
{
	struct sfs_job *newest = n->sb->jobs.newest;
	struct sfs_job *j = job_named(n->sb, name);

	if (newest && !strcmp(name, job_last.name))
		reply_job_node(req, n, newest, &job_last, 0);
	else if (j)
		reply_job_node(req, n, j, &job_dir, SFS_BRIEF);
	else
		fuse_reply_err(req, ENOENT);
}

static void jobs_list(struct ctl_node *n, struct ctl_list *list)
{
	const char *id = n->sb->box->sb.id;
	struct sfs_job *j = n->sb->jobs.newest;
	char name[16];

	if (j)
		ctl_list_add(list, job_last.name, S_IFLNK,
			     ctl_ino(n->place, id, job_last.name, j->number));
	for (; j; j = j->next) {
		snprintf(name, sizeof(name), "%u", j->number);
		ctl_list_add(list, name, S_IFDIR,
			     ctl_ino(n->place, id, job_dir.name, j->number));
	}
}

static void jobs_rmdir(fuse_req_t req, struct sfs_node *node, const char *name)
{
	struct ctl_node *n = (struct ctl_node *)node;
	struct sfs_job *j;

	if (ctl_node_check(n) < 0) {
		fuse_reply_err(req, ESTALE);
		return;
	}
	j = job_named(n->sb, name);
	if (!j) {
		fuse_reply_err(req, ENOENT);
		return;
	}
	if (j->job && j->state != SBX_JOB_ENDED &&
	    sbx_job_signal(j->job, SIGKILL) == -EOPNOTSUPP) {
		ctl_fail(req, n, -EOPNOTSUPP,
			 "jobs: nothing reaches a command here; %u can be "
			 "forgotten when it has ended",
			 j->number);
		return;
	}
	sfs_jobs_remove(n->sb, j);
	fuse_reply_err(req, 0);
}

static const struct sfs_node_ops jobs_ops = {
	CTL_DIR_OPS,
	.rmdir = jobs_rmdir,
};

static const struct ctl_type *const jobs_children[] = {&ctl_job_new, NULL};

const struct ctl_type ctl_jobs = {
	.name = "jobs",
	.mode = S_IFDIR | 0755,
	.ops = &jobs_ops,
	.children = jobs_children,
	.lookup = jobs_lookup,
	.list = jobs_list,
};

/* ---- jobs/last ---- */

static void last_readlink(fuse_req_t req, struct sfs_node *node)
{
	const struct ctl_node *n = (struct ctl_node *)node;
	char name[16];

	snprintf(name, sizeof(name), "%u", n->job->number);
	fuse_reply_readlink(req, name);
}

static const struct sfs_node_ops last_ops = {
	.forget = ctl_forget,
	.getattr = ctl_getattr,
	.readlink = last_readlink,
};

static const struct ctl_type job_last = {
	.name = "last",
	.mode = S_IFLNK | 0777,
	.ops = &last_ops,
};

/* ---- values of one job ---- */

static const char *state_name(const struct sfs_job *j)
{
	switch (j->state) {
	case SBX_JOB_STARTING:
		return "starting";
	case SBX_JOB_RUNNING:
		return "running";
	case SBX_JOB_ENDED:
		break;
	}
	return j->error ? "failed" : "ended";
}

static int64_t job_elapsed_ms(const struct sfs_job *j)
{
	if (j->state == SBX_JOB_ENDED)
		return j->duration_ms;
	return sfs_now_ms() - j->started_ms;
}

static void put_line(struct sbx_buf *to, const char *text)
{
	size_t len = strlen(text);

	sbx_buf_add(to, text, len);
	if (!len || text[len - 1] != '\n')
		sbx_buf_add(to, "\n", 1);
}

bool ctl_job_is_forgotten(struct ctl_file *f)
{
	struct sbx_error e = {0};

	if (f->node->job->command)
		return false;
	sbx_error_set(&e, -ESTALE, "jobs: the command was forgotten");
	ctl_file_loaded(f, &e);
	return true;
}

static void command_load(struct ctl_file *f)
{
	if (ctl_job_is_forgotten(f))
		return;
	put_line(&f->text, f->node->job->command);
	ctl_file_loaded(f, NULL);
}

/* One line each, so that a line break in a value is written \n. */
static void env_load(struct ctl_file *f)
{
	if (ctl_job_is_forgotten(f))
		return;
	for (char **e = f->node->job->env; e && *e; e++) {
		for (const char *c = *e; *c; c++) {
			if (*c == '\n' || *c == '\\')
				sbx_buf_add(&f->text, "\\", 1);
			sbx_buf_add(&f->text, *c == '\n' ? "n" : c, 1);
		}
		sbx_buf_add(&f->text, "\n", 1);
	}
	ctl_file_loaded(f, NULL);
}

static void cwd_load(struct ctl_file *f)
{
	const struct sfs_job *j = f->node->job;

	if (ctl_job_is_forgotten(f))
		return;
	/* as the command gave it: relative to the workspace */
	put_line(&f->text, j->cwd ? j->cwd : ".");
	ctl_file_loaded(f, NULL);
}

static void status_load(struct ctl_file *f)
{
	const struct sfs_job *j = f->node->job;
	char when[SFS_TIME_SIZE];

	sfs_text_printf(&f->text, "state: %s\n", state_name(j));
	if (j->pid)
		sfs_text_printf(&f->text, "pid: %u\n", j->pid);
	sfs_text_printf(&f->text, "started: %s\nduration_ms: %lld\n",
			sfs_text_time(j->started_ms, when),
			(long long)job_elapsed_ms(j));
	if (j->state == SBX_JOB_ENDED && j->exit_code >= 0)
		sfs_text_printf(&f->text, "exit_code: %d\n", j->exit_code);
	if (j->error)
		sfs_text_printf(&f->text, "error: %s\n", strerror(-j->error));
	ctl_file_loaded(f, NULL);
}

/* (0 would be kill's own process group) */
static void pid_load(struct ctl_file *f)
{
	if (f->node->job->pid)
		sfs_text_printf(&f->text, "%u\n", f->node->job->pid);
	ctl_file_loaded(f, NULL);
}

static void started_load(struct ctl_file *f)
{
	char when[SFS_TIME_SIZE];

	put_line(&f->text, sfs_text_time(f->node->job->started_ms, when));
	ctl_file_loaded(f, NULL);
}

static void duration_load(struct ctl_file *f)
{
	sfs_text_printf(&f->text, "%lld\n",
			(long long)job_elapsed_ms(f->node->job));
	ctl_file_loaded(f, NULL);
}

/* ---- signal ---- */

/* "TERM", "SIGTERM", "15" */
static int signal_number(const char *word)
{
	unsigned long number;

	if (sfs_text_number(word, SIGRTMAX, &number) == 0)
		return number ? (int)number : -EINVAL;
	if (!strncmp(word, "SIG", 3))
		word += 3;
	for (int i = 1; i < SIGRTMIN; i++) {
		const char *name = sigabbrev_np(i);

		if (name && !strcmp(name, word))
			return i;
	}
	return -EINVAL;
}

static void signal_write(fuse_req_t req, struct ctl_file *f, const char *data,
			 size_t size)
{
	const struct sfs_job *j = f->node->job;
	char word[32];
	int r = sfs_text_word(word, sizeof(word), data, size);

	if (r == 0)
		r = signal_number(word);
	if (r < 0) {
		ctl_fail(req, f->node, -EINVAL,
			 "signal: a name such as TERM or a number is wanted");
		return;
	}
	r = j->job ? sbx_job_signal(j->job, r) : -ESRCH;
	if (r < 0)
		ctl_fail(req, f->node, r, "signal: %s",
			 r == -EOPNOTSUPP ? "nothing reaches a command here"
					  : "the command has ended");
	else
		fuse_reply_write(req, size);
}

static void signal_load(struct ctl_file *f)
{
	unsigned int signo = f->node->job->ended_by;
	const char *name = signo ? sigabbrev_np((int)signo) : NULL;

	if (name)
		put_line(&f->text, name);
	else if (signo) /* those for real-time have numbers only */
		sfs_text_printf(&f->text, "%u\n", signo);
	ctl_file_loaded(f, NULL);
}

/* ---- the table ---- */

#define VALUE(id, file_name, permissions, ...)                                 \
	static const struct ctl_file_type id##_file = {__VA_ARGS__};           \
	static const struct ctl_type job_##id = {                              \
		.name = file_name,                                             \
		.mode = S_IFREG | (permissions),                               \
		.ops = &ctl_file_ops,                                          \
		.file = &id##_file,                                            \
	}

VALUE(command, "command", 0400, .load = command_load);
VALUE(cwd, "cwd", 0400, .load = cwd_load);
VALUE(env, "env", 0400, .load = env_load);
VALUE(status, "status", 0400, .load = status_load);
VALUE(pid, "pid", 0400, .load = pid_load);
VALUE(started, "started", 0400, .load = started_load);
VALUE(duration, "duration_ms", 0400, .load = duration_load);
VALUE(signal, "signal", 0600, .load = signal_load, .write = signal_write);

static const struct ctl_type *const job_children[] = {
	&job_command,	&job_cwd,	   &job_env,	    &job_status,
	&job_pid,	&job_started,	   &job_duration,   &job_signal,
	&ctl_job_stdin, &ctl_job_stdout,   &ctl_job_stderr, &ctl_job_output,
	&ctl_job_exit,	&ctl_job_snapshot, &ctl_job_size,   NULL,
};

static const struct ctl_type job_dir = {
	.name = "job",
	.mode = S_IFDIR | 0755,
	.ops = &ctl_dir_ops,
	.children = job_children,
};
