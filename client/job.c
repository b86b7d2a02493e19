#include <stdlib.h>

#include "client/job_int.h"

void sbx_job_news(struct sbx_job *j)
{
	struct sbx_job_watch *w;

	for (w = j->watches; w; w = j->next_watch) {
		j->next_watch = w->next;
		w->on_news(w->arg);
	}
}

void sbx_job_unregister(struct sbx_job *j)
{
	if (!j->registered)
		return;
	j->registered = false;
	sbx_job_account(j);
	if (j->r)
		sbx_remote_job_del(j->r, j->number);
	j->r = NULL;
	sbx_job_unref(j);
}

struct sbx_job *sbx_job_ref(struct sbx_job *j)
{
	j->refs++;
	return j;
}

void sbx_job_unref(struct sbx_job *j)
{
	if (--j->refs) {
		/* over, and only the registration for late output is left */
		if (j->refs == 1 && j->registered &&
		    j->state == SBX_JOB_ENDED) {
			sbx_job_output_drain(j);
			sbx_job_unregister(j);
		}
		return;
	}
	sbx_job_output_free(j);
	free(j->name);
	free(j);
}

void sbx_job_watch_add(struct sbx_job *j, struct sbx_job_watch *w)
{
	w->next = j->watches;
	j->watches = w;
}

void sbx_job_watch_del(struct sbx_job *j, struct sbx_job_watch *w)
{
	struct sbx_job_watch **at = &j->watches;

	while (*at && *at != w)
		at = &(*at)->next;
	if (*at)
		*at = w->next;
	if (j->next_watch == w)
		j->next_watch = w->next;
}

void sbx_job_order(struct sbx_job *j, uint32_t op, size_t nr,
		   const uint64_t *numbers)
{
	struct sbx_buf *b = sbx_remote_begin(j->r, op, (uint32_t)nr + 1);
	size_t i;

	sbx_put_u64(b, j->number);
	for (i = 0; i < nr; i++)
		sbx_put_u64(b, numbers[i]);
	sbx_remote_submit_quiet(j->r);
}

/* ---- questions ---- */

enum sbx_job_state sbx_job_state(const struct sbx_job *j)
{
	return j->state;
}

int sbx_job_exit_code(const struct sbx_job *j)
{
	return j->exit_code;
}

int sbx_job_error(const struct sbx_job *j)
{
	return j->error;
}

unsigned int sbx_job_ended_by(const struct sbx_job *j)
{
	return j->signo;
}

uint32_t sbx_job_pid(const struct sbx_job *j)
{
	return j->pid;
}

int64_t sbx_job_started_ms(const struct sbx_job *j)
{
	return j->started_ms;
}

int64_t sbx_job_duration_ms(const struct sbx_job *j)
{
	return j->duration_ms;
}

const char *sbx_job_snapshot(const struct sbx_job *j)
{
	return j->snapshot;
}
