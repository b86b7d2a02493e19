#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/job_int.h"

/* ---- what the helper says ---- */

static void job_check_over(struct sbx_job *j)
{
	if (j->state == SBX_JOB_ENDED && j->eof[0] && j->eof[1])
		sbx_job_unregister(j);
}

static void job_end(struct sbx_job *j, int exit_code, int error)
{
	if (j->state == SBX_JOB_ENDED)
		return;
	j->state = SBX_JOB_ENDED;
	j->exit_code = exit_code;
	/* to whoever reads EAGAIN says that there will be more */
	if (error)
		j->error = error == -EAGAIN ? -EBUSY : error;
}

static void on_output(void *arg, int stream, const uint8_t *data, size_t len,
		      bool eof)
{
	struct sbx_job *j = sbx_job_ref(arg);

	if (sbx_job_output(j, stream, data, len) < 0) {
		/* memory is not what it may fill: it is heard no more */
		job_end(j, -1, -EPROTO);
		sbx_job_unregister(j);
	}
	if (eof)
		sbx_job_output_end(j, stream);
	sbx_job_news(j);
	job_check_over(j);
	sbx_job_unref(j);
}

static void on_exit_code(void *arg, const struct sbx_remote_exit *e)
{
	struct sbx_job *j = sbx_job_ref(arg);

	memcpy(j->printed, e->printed, sizeof(j->printed));
	j->signo = e->signo;
	j->duration_ms = e->duration_ms;
	if (e->snapshot)
		snprintf(j->snapshot, sizeof(j->snapshot), "%s", e->snapshot);
	job_end(j, e->code, 0);
	sbx_job_news(j);
	job_check_over(j);
	sbx_job_unref(j);
}

static void on_lost(void *arg, int err)
{
	struct sbx_job *j = sbx_job_ref(arg);

	j->r = NULL; /* it has forgotten the number already */
	job_end(j, -1, err);
	sbx_job_unregister(j);
	sbx_job_news(j);
	sbx_job_unref(j);
}

static const struct sbx_remote_job remote_job = {
	.on_output = on_output,
	.on_exit = on_exit_code,
	.on_lost = on_lost,
};

/* As env(1): 127 not found, 126 found and no good; -1: not its fault. */
static int refused_code(int err)
{
	switch (-err) {
	case ENOENT:
		return 127;
	case EACCES:
	case EPERM:
	case ENOEXEC:
	case ENOTDIR:
	case EISDIR:
	case ELOOP:
	case ENAMETOOLONG:
	case ETXTBSY:
	case ELIBBAD:
	case E2BIG:
		return 126;
	default:
		return -1;
	}
}

/* Who waits for its output gets the reason there, as from a shell.  What the
 * connection failed with is no word about the command. */
static void job_refused(struct sbx_job *j, int err)
{
	bool is_answer = j->r && sbx_remote_state(j->r) == SBX_LINK_UP;
	int code = is_answer ? refused_code(err) : -1;
	char text[512];

	if (code >= 0) {
		snprintf(text, sizeof(text), "sbxfs: cannot run %.400s: %s\n",
			 j->name ? j->name : "it", strerror(-err));
		sbx_job_output(j, j->one_stream ? 1 : 2, text, strlen(text));
		j->eof[0] = j->eof[1] = true;
	}
	job_end(j, code, err);
}

static void on_started(void *arg, int err, struct sbx_rd *rd)
{
	struct sbx_job *j = arg;
	uint32_t pid = sbx_get_u32(rd);

	if (!err && rd->err)
		err = rd->err;
	if (err) {
		/* a lost helper may or may not have started it */
		job_refused(j, err == -ERESTART ? -EIO : err);
		sbx_job_unregister(j);
	} else if (j->state == SBX_JOB_STARTING) {
		j->pid = pid;
		j->state = SBX_JOB_RUNNING;
	}
	free(j->name);
	j->name = NULL;
	sbx_job_news(j);
	sbx_job_unref(j);
}

/* ---- starting ---- */

static size_t list_len(const char *const *list)
{
	size_t n = 0;

	while (list && list[n])
		n++;
	return n;
}

static void put_env(struct sbx_buf *b, const char *const *env)
{
	size_t i, n = list_len(env);

	sbx_put_map(b, (uint32_t)n);
	for (i = 0; i < n; i++) {
		const char *eq = strchrnul(env[i], '=');

		sbx_put_bin(b, env[i], (size_t)(eq - env[i]));
		sbx_put_bin(b, *eq ? eq + 1 : "", *eq ? strlen(eq + 1) : 0);
	}
}

/* The program, and the place if one was asked for: either may be missing. */
static void job_set_name(struct sbx_job *j, const struct sbx_job_conf *conf)
{
	int n = conf->cwd ? asprintf(&j->name, "%s in %s", conf->argv[0],
				     conf->cwd)
			  : asprintf(&j->name, "%s", conf->argv[0]);

	if (n < 0)
		j->name = NULL; /* it is called something else then */
}

static void job_exec(struct sbx_job *j, const struct sbx_job_conf *conf)
{
	struct sbx_buf *b = sbx_remote_begin(j->r, SBX_OP_EXEC, 9);
	size_t i, n = list_len(conf->argv);

	sbx_put_u64(b, j->number);
	sbx_put_array(b, (uint32_t)n);
	for (i = 0; i < n; i++)
		sbx_put_bin(b, conf->argv[i], strlen(conf->argv[i]));
	sbx_put_bin(b, conf->cwd, conf->cwd ? strlen(conf->cwd) : 0);
	put_env(b, conf->env);
	sbx_put_u64(b, conf->flags);
	sbx_put_u64(b, conf->cols);
	sbx_put_u64(b, conf->rows);
	sbx_put_u64(b, j->window[0]);
	sbx_put_u64(b, conf->timeout_ms);
	sbx_job_ref(j);
	sbx_remote_submit(j->r, on_started, NULL, j);
}

struct sbx_job *sbx_job_start(struct sbx_remote *r,
			      const struct sbx_job_conf *conf)
{
	struct sbx_job *j = calloc(1, sizeof(*j));
	struct timespec now;
	int err;

	if (!j)
		return NULL;
	clock_gettime(CLOCK_REALTIME, &now);
	j->refs = 1;
	j->exit_code = -1;
	j->tty = conf->flags & SBX_EXEC_TTY;
	j->one_stream = conf->flags & (SBX_EXEC_TTY | SBX_EXEC_MERGE);
	if (!(conf->flags & (SBX_EXEC_TTY | SBX_EXEC_STDIN)))
		j->input_error = -EPIPE;
	job_set_name(j, conf);
	sbx_job_output_init(j, conf->keep, conf->pool);
	j->started_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
	j->number = (uint32_t)sbx_remote_number(r);
	err = sbx_remote_job_add(r, j->number, &remote_job, j);
	if (err < 0) {
		job_end(j, -1, err);
		return j;
	}
	j->r = r;
	j->registered = true;
	sbx_job_account(j);
	sbx_job_ref(j);
	job_exec(j, conf);
	return j;
}
