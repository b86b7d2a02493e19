/*
 * Commands of a sandbox: see jobs.h.
 */
#include "fuse/jobs.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuse/control.h"
#include "fuse/feed.h"
#include "fuse/sandbox.h"
#include "fuse/terminals.h"
#include "fuse/text.h"

#define KILL_AFTER_MS 2000 /* what its timeout did not end */
#define NO_TERMINAL   "it can have no terminal there"

/* ---- records ---- */

struct sfs_job *sfs_job_ref(struct sfs_job *j)
{
	j->refs++;
	return j;
}

static void job_drop_input(struct sfs_job *j)
{
	free(j->input);
	j->input = NULL;
	j->input_len = j->input_off = 0;
}

static void job_drop_output(struct sfs_job *j)
{
	struct sbx_job *job = j->job;

	if (!job)
		return;
	j->job = NULL;
	j->length[0] = sbx_job_length(job, 1);
	j->length[1] = sbx_job_length(job, 2);
	sbx_job_watch_del(job, &j->watch);
	sbx_job_unref(job);
}

static void on_timer_closed(uv_handle_t *h)
{
	free(h);
}

static void job_stop_timer(struct sfs_job *j)
{
	if (j->timer)
		uv_close((uv_handle_t *)j->timer, on_timer_closed);
	j->timer = NULL;
}

static void job_drop_texts(struct sfs_job *j)
{
	free(j->command);
	free(j->cwd);
	for (char **e = j->env; e && *e; e++)
		free(*e);
	free(j->env);
	j->command = j->cwd = NULL;
	j->env = NULL;
}

void sfs_job_unref(struct sfs_job *j)
{
	if (!j || --j->refs > 0)
		return;
	job_stop_timer(j);
	job_drop_input(j);
	job_drop_output(j);
	job_drop_texts(j);
	free(j->name);
	free(j);
}

void sfs_job_forget(struct sfs_job *j)
{
	j->next = NULL;
	j->sb = NULL;
	job_drop_texts(j);
	if (j->state == SBX_JOB_ENDED)
		job_drop_output(j);
	sfs_job_unref(j);
}

bool sfs_job_unlink(struct sfs_job **at, struct sfs_job *j)
{
	while (*at && *at != j)
		at = &(*at)->next;
	if (!*at)
		return false;
	*at = j->next;
	return true;
}

void sfs_job_leave(struct sfs_job *j)
{
	if (j->state != SBX_JOB_RUNNING) {
		sfs_job_forget(j);
		return;
	}
	job_drop_texts(j);
	/* nobody comes late any more */
	if (j->job)
		sbx_job_keep(j->job, 0);
	j->leaving = true;
	j->next = j->sb->jobs.leaving;
	j->sb->jobs.leaving = j;
}

uint64_t sfs_job_length(const struct sfs_job *j, unsigned int which)
{
	if (j->job)
		return sbx_job_length(j->job, which);
	return (which & 1 ? j->length[0] : 0) + (which & 2 ? j->length[1] : 0);
}

/* Why it could not run; 0: it could, or may still.  (Who reads its output may
 * hear of it first.) */
static int job_error(const struct sfs_job *j)
{
	if (j->state == SBX_JOB_ENDED || !j->job)
		return j->error;
	return sbx_job_state(j->job) == SBX_JOB_ENDED ? sbx_job_error(j->job)
						      : 0;
}

/* What is wrong with the connection says more than its errno. */
static const char *job_reason(const struct sfs_job *j, int err)
{
	const struct sbx_error *e =
		j->sb && j->sb->remote ? sbx_remote_error(j->sb->remote) : NULL;

	if (e && e->err && j->exit_code < 0)
		return e->text;
	if (err == -EBUSY)
		return "too many run there already, or wait to be read";
	if (err == -EIO)
		return "word of it was lost";
	if (err == -ENOBUFS)
		return "what it printed was not read for too long";
	if (err == -EOPNOTSUPP && j->tty)
		return NO_TERMINAL;
	return strerror(-err);
}

int sfs_job_failure(const struct sfs_job *j, struct sbx_error *reterr)
{
	int err = job_error(j);

	if (!err)
		return 0;
	if (j->sb && j->sb->gone)
		return sbx_error_set(reterr, -ESTALE, "the sandbox is gone");
	return sbx_error_set(reterr, err, "exec: %s: %s",
			     err == -EIO || err == -ENOBUFS
				     ? "what became of the command is not known"
				     : "the command could not be run",
			     job_reason(j, err));
}

void sfs_job_note(const struct sfs_job *j, struct ctl_node *n, int err)
{
	struct sbx_error e = {0};

	if (!sfs_job_failure(j, &e))
		sbx_error_set(&e, err, "%s: what it printed: %s", n->type->name,
			      strerror(-err));
	ctl_note(n, &e);
}

/* ---- waiting ---- */

bool sfs_job_is_queued(const struct sfs_job *j)
{
	return j->sb && sfs_place_runs(j->sb->place) &&
	       j->state == SBX_JOB_STARTING &&
	       (j->takes_input ||
		(j->sb->remote && sbx_remote_is_occupied(j->sb->remote)));
}

void sfs_job_wait_add(struct sfs_job *j, struct sfs_job_wait *w)
{
	if (j->state >= w->state) {
		w->fn(w->arg);
		return;
	}
	w->next = j->waits;
	j->waits = w;
}

void sfs_job_wait_del(struct sfs_job *j, struct sfs_job_wait *w)
{
	struct sfs_job_wait **at = &j->waits;

	while (*at && *at != w)
		at = &(*at)->next;
	if (*at)
		*at = w->next;
}

static void job_wake(struct sfs_job *j)
{
	struct sfs_job_wait **at = &j->waits, *w;

	while ((w = *at)) {
		if (j->state < w->state) {
			at = &w->next;
			continue;
		}
		*at = w->next;
		w->fn(w->arg);
		at = &j->waits; /* others may have come or gone */
	}
}

/* ---- news ---- */

static void job_feed(struct sfs_job *j)
{
	while (j->input && j->job) {
		size_t left = j->input_len - j->input_off;
		long n = sbx_job_write(j->job, j->input + j->input_off, left);

		if (n == -EAGAIN)
			return;
		if (n < 0 || left == 0) { /* it does not read, or was told */
			job_drop_input(j);
			return;
		}
		j->input_off += (size_t)n;
	}
}

/* The more of them run, the less of each is kept. */
static void jobs_share(struct sfs_sandbox *sb)
{
	struct sfs_job *j;
	size_t running = 0;

	for (j = sb->jobs.newest; j; j = j->next)
		running += j->state != SBX_JOB_ENDED;
	for (j = sb->jobs.newest; j; j = j->next)
		if (j->state != SBX_JOB_ENDED && j->job)
			sbx_job_keep(j->job, SFS_MAX_RUNNING_OUTPUT / running);
}

/* Of those that have ended, the one that did so first; NULL: none. */
static struct sfs_job *jobs_oldest(struct sfs_sandbox *sb, bool with_output)
{
	struct sfs_job *j, *oldest = NULL;

	for (j = sb->jobs.newest; j; j = j->next)
		if (j->ended && (j->job || !with_output) &&
		    (!oldest || j->ended < oldest->ended))
			oldest = j;
	return oldest;
}

/* Output goes first: a record costs little, unless its command is long. */
static void jobs_trim(struct sfs_sandbox *sb)
{
	struct sfs_job *j;
	unsigned int records = 0;
	size_t kept = 0, text = 0;

	for (j = sb->jobs.newest; j; j = j->next) {
		records += j->ended != 0;
		text += j->ended ? j->record : 0;
		kept += j->ended && j->job ? sbx_job_kept(j->job) : 0;
	}
	while (kept > SFS_MAX_JOB_OUTPUT && (j = jobs_oldest(sb, true))) {
		kept -= sbx_job_kept(j->job);
		job_drop_output(j);
	}
	while ((records > SFS_MAX_JOB_RECORDS || text > SFS_MAX_JOB_TEXT) &&
	       (j = jobs_oldest(sb, false))) {
		records--;
		text -= j->record;
		sfs_jobs_remove(sb, j);
	}
}

static void job_ended(struct sfs_job *j)
{
	struct sfs_sandbox *sb = j->sb; /* jobs_trim may forget j */

	job_stop_timer(j);
	job_drop_input(j);
	if (!sb || !j->number || j->name || j->leaving)
		return;
	j->ended = ++sb->jobs.ends;
	jobs_trim(sb);
	/* some services make one after each */
	sfs_snapshots_stale(sb);
}

static void on_news(void *arg)
{
	struct sfs_job *j = sfs_job_ref(arg);

	job_feed(j);
	if (j->job && j->state != SBX_JOB_ENDED) {
		enum sbx_job_state before = j->state;

		j->state = sbx_job_state(j->job);
		j->error = sbx_job_error(j->job);
		j->exit_code = sbx_job_exit_code(j->job);
		j->ended_by = sbx_job_ended_by(j->job);
		j->pid = sbx_job_pid(j->job);
		j->duration_ms = sbx_job_duration_ms(j->job);
		snprintf(j->snapshot, sizeof(j->snapshot), "%s",
			 sbx_job_snapshot(j->job));
		if (j->state != before && j->sb && j->number)
			sfs_feed_job(j->sb, j);
		if (j->state == SBX_JOB_ENDED)
			job_ended(j);
		job_wake(j);
		if (j->state == SBX_JOB_ENDED && j->sb && j->leaving &&
		    sfs_job_unlink(&j->sb->jobs.leaving, j))
			sfs_job_forget(j);
		else if (j->state == SBX_JOB_ENDED && !j->sb)
			job_drop_output(j);
	}
	sfs_job_unref(j);
}

/* First politely, then not. */
static void on_timeout(uv_timer_t *t)
{
	struct sfs_job *j = t->data;

	if (j->job)
		sbx_job_signal(j->job, j->shots++ ? SIGKILL : SIGTERM);
	if (j->shots == 1)
		uv_timer_start(t, on_timeout, KILL_AFTER_MS, 0);
}

/* ---- starting and forgetting ---- */

static int job_start_timer(struct sfs_job *j, uv_loop_t *loop, unsigned int ms)
{
	if (!ms)
		return 0;
	j->timer = malloc(sizeof(*j->timer));
	if (!j->timer)
		return -ENOMEM;
	uv_timer_init(loop, j->timer);
	j->timer->data = j;
	return uv_timer_start(j->timer, on_timeout, ms, 0);
}

static int job_start(struct sfs_job *j, struct sfs_sandbox *sb,
		     const struct sbx_exec_spec *spec)
{
	struct sbx_job_conf conf = {
		.argv = (const char *const *)spec->argv,
		.cwd = spec->cwd,
		.env = (const char *const *)spec->env,
		.flags = spec->flags,
		.cols = j->cols,
		.rows = j->rows,
		.timeout_ms = spec->timeout_ms,
		.keep = j->name ? SFS_TERMINAL_KEEP : 0,
		.pool = &sb->m->job_pool,
	};

	if (job_start_timer(j, sb->m->fs.loop, spec->timeout_ms) < 0)
		return -ENOMEM;
	if (sb->files)
		sfs_files_secure(sb->files);
	j->job = sbx_job_start(sb->remote, &conf);
	if (!j->job)
		return -ENOMEM;
	j->started_ms = sbx_job_started_ms(j->job);
	j->watch = (struct sbx_job_watch){.on_news = on_news, .arg = j};
	sbx_job_watch_add(j->job, &j->watch);
	return 0;
}

static size_t text_size(const char *text)
{
	return text ? strlen(text) + 1 : 0;
}

static size_t record_size(const struct sfs_job *j)
{
	size_t n = text_size(j->command) + text_size(j->cwd);

	for (char **e = j->env; e && *e; e++)
		n += text_size(*e);
	return n;
}

static struct sfs_job *job_alloc(const char *terminal)
{
	struct sfs_job *j = calloc(1, sizeof(*j));

	if (j && terminal)
		j->name = strdup(terminal);
	if (!j || (terminal && !j->name)) {
		free(j);
		return NULL;
	}
	return j;
}

struct sfs_job *sfs_job_new(struct sfs_sandbox *sb, struct sbx_exec_spec *spec,
			    const char *terminal, struct sbx_error *reterr)
{
	struct sfs_job *j;
	int r = sfs_sandbox_use(sb);

	if (r < 0) {
		sbx_error_set(reterr, r, "the sandbox cannot be used");
		return NULL;
	}
	j = job_alloc(terminal);
	if (!j) {
		sbx_error_set(reterr, -ENOMEM, "out of memory");
		return NULL;
	}
	j->refs = 1;
	j->sb = sb;
	j->exit_code = -1;
	j->command = spec->text;
	j->cwd = spec->cwd;
	j->input = spec->input;
	j->input_len = spec->input_len;
	j->env = spec->env;
	j->record = record_size(j);
	j->tty = spec->flags & SBX_EXEC_TTY;
	j->takes_input =
		!spec->input && (spec->flags & (SBX_EXEC_TTY | SBX_EXEC_STDIN));
	j->cols = spec->cols ? spec->cols : 80;
	j->rows = spec->rows ? spec->rows : 24;
	r = job_start(j, sb, spec);
	spec->text = spec->cwd = spec->input = NULL;
	spec->env = NULL;
	if (r < 0) {
		sfs_job_unref(j);
		sbx_error_set(reterr, r, "out of memory");
		return NULL;
	}
	on_news(j);
	return j;
}

int sfs_jobs_check(const struct sfs_sandbox *sb, size_t len, bool tty,
		   struct sbx_error *reterr)
{
	const struct sbx_run_limits *lim = sfs_place_runs(sb->place);
	const struct sbx_remote_info *info =
		sb->remote ? sbx_remote_info(sb->remote) : NULL;

	if (tty && (lim || (info && *info->plain)))
		return sbx_error_set(
			reterr, -EOPNOTSUPP,
			"exec: the command could not be run: " NO_TERMINAL);
	if (!lim || len <= lim->command)
		return 0;
	return sbx_error_set(reterr, -E2BIG,
			     "exec: with this service a command and its input "
			     "may have %zu bytes; put it into a file of the "
			     "workspace",
			     lim->command);
}

int sfs_jobs_start(struct sfs_sandbox *sb, struct sbx_exec_spec *spec,
		   struct sfs_job **ret, struct sbx_error *reterr)
{
	size_t len = strlen(spec->text) + spec->input_len / 3 * 4;
	struct sfs_job *j = NULL;

	if (sfs_jobs_check(sb, len, spec->flags & SBX_EXEC_TTY, reterr) == 0)
		j = sfs_job_new(sb, spec, NULL, reterr);
	if (!j)
		return reterr->err;
	j->number = ++sb->jobs.last_number;
	j->next = sb->jobs.newest;
	sb->jobs.newest = j;
	if (j->state == SBX_JOB_ENDED)
		job_ended(j);
	else
		jobs_share(sb);
	*ret = j;
	return 0;
}

struct sfs_job *sfs_jobs_find(struct sfs_sandbox *sb, uint32_t number)
{
	struct sfs_job *j = sb->jobs.newest;

	while (j && j->number != number)
		j = j->next;
	return j;
}

void sfs_jobs_remove(struct sfs_sandbox *sb, struct sfs_job *j)
{
	if (sfs_job_unlink(&sb->jobs.newest, j))
		sfs_job_leave(j);
}

void sfs_jobs_forget(struct sfs_job **list)
{
	struct sfs_job *j;

	while ((j = *list)) {
		*list = j->next;
		sfs_job_forget(j);
	}
}

void sfs_jobs_clear(struct sfs_sandbox *sb)
{
	sfs_jobs_forget(&sb->jobs.newest);
	sfs_jobs_forget(&sb->jobs.leaving);
}
