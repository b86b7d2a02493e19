/*
 * Commands in a VM: one at a time in each, since two whose snapshots fall
 * into the same millisecond collide after they ran, and since the runtimes
 * with an agent take one request at a time.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/cleanup.h"
#include "client/svc_timetravel.h"

/* The service ends it, and then answers. */
#define ANSWER_MS 10000

struct timetravel_run {
	struct timetravel_run *next;
	struct timetravel *x;
	struct sbx_run *run;
	struct sbx_request *request;
	struct sbx_alarm *alarm;
	char id[];
};

static void runs_next(struct timetravel *x, const char *id);

/* It is not under way any more, and another of this VM may be. */
static struct sbx_run *run_leave(struct timetravel_run *r)
{
	struct timetravel_run **at = &r->x->runs;
	struct timetravel *x = r->x;
	struct sbx_run *run = r->run;

	while (*at != r)
		at = &(*at)->next;
	*at = r->next;
	run->priv = NULL;
	if (!x->rest.closing)
		runs_next(x, r->id);
	free(r);
	return run;
}

static void run_finish(struct timetravel_run *r)
{
	struct sbx_run *run = run_leave(r);

	run->done(run);
}

/* The same for one that was just started, or cancelled. */
static void run_end_later(struct timetravel_run *r, int err, const char *text)
{
	struct sbx_rest *rest = &r->x->rest;
	struct sbx_run *run = run_leave(r);

	sbx_error_set(&run->error, err, "%s", text);
	sbx_rest_run_end_later(rest, run);
}

static void run_fail(struct timetravel_run *r, int err, const char *text)
{
	sbx_error_set(&r->run->error, err, "%s", text);
	run_finish(r);
}

static void on_answer(void *arg, const struct sbx_answer *a)
{
	struct timetravel_run *r = arg;
	struct sbx_run *run = r->run;

	r->request = NULL;
	run->error = a->error;
	/* any 500 may come from what follows a run */
	run->maybe_done = a->maybe_done || a->error.status == 500;
	if (a->error.err == -ENODEV || a->error.err == -ENOENT)
		run->maybe_done = false;
	if (!a->error.err &&
	    sbx_timetravel_run_from_json(run, a->body, a->len) < 0) {
		run->maybe_done = true;
		sbx_rest_wonder(&r->x->rest, &run->error,
				"what came of a command is missing");
		run->error.retry = SBX_RETRY_LATER;
	}
	run_finish(r);
}

unsigned int timetravel_longest_ms(const struct timetravel *x, const char *id)
{
	const struct timetravel_vm *vm = timetravel_vm_find(x, id);

	/* of one that is not known it is not known either */
	return vm && !vm->has_agent ? TIMETRAVEL_DOCKER_MS
				    : TIMETRAVEL_AGENT_MS;
}

static void run_start(void *arg)
{
	struct timetravel_run *r = arg;
	struct sbx_rest *x = &r->x->rest;
	unsigned int longest = timetravel_longest_ms(r->x, r->id);
	unsigned int ms = r->run->timeout_ms;
	SBX_FREE char *body = NULL;
	int err;

	r->alarm = NULL;
	if (!ms || ms > longest)
		ms = longest;
	/* never 0, which would end it at once */
	body = sbx_timetravel_run_body(r->run, (ms + 999) / 1000, &err);
	if (body)
		r->request = sbx_request_start(
			x,
			&(struct sbx_request_conf){
				.method = "POST",
				.path = "/vms/%s/run",
				.id = r->id,
				.body = body,
				.harmless = r->run->ours,
				.lasts = true,
				.raw = true,
				.max_body =
					r->run->ours ? 0 : TIMETRAVEL_ANSWER,
				.deadline = uv_now(x->loop) + ms + ANSWER_MS},
			on_answer, r);
	if (r->request)
		return;
	if (!body && err == -E2BIG)
		run_fail(r, err,
			 "the command is too long: with its input it may have "
			 "100 KiB");
	else if (!body && err == -EILSEQ)
		run_fail(r, err,
			 "the command is not UTF-8, which this "
			 "service takes alone");
	else
		run_fail(r, -ENOMEM, "out of memory");
}

static bool is_under_way(const struct timetravel_run *r)
{
	return r->request || r->alarm;
}

const struct sbx_run *timetravel_running(const struct timetravel *x,
					 const char *id)
{
	const struct timetravel_run *r = x->runs;

	while (r && (strcmp(r->id, id) != 0 || !r->request))
		r = r->next;
	return r ? r->run : NULL;
}

/* The oldest of this VM, unless one is under way. */
static void runs_next(struct timetravel *x, const char *id)
{
	struct timetravel_run *r, *first = NULL;

	for (r = x->runs; r; r = r->next) {
		if (strcmp(r->id, id) != 0)
			continue;
		if (is_under_way(r))
			return;
		if (!first)
			first = r;
	}
	if (!first)
		return;
	first->alarm = sbx_alarm_set(&x->rest, 0, run_start, first);
	if (!first->alarm)
		run_end_later(first, -ENOMEM, "out of memory");
}

void timetravel_run(struct sbx_service *svc, const char *id,
		    struct sbx_run *run)
{
	struct timetravel *x = (struct timetravel *)svc;
	struct timetravel_run *r = calloc(1, sizeof(*r) + strlen(id) + 1);
	struct timetravel_run **at = &x->runs;

	if (!r) {
		sbx_error_set(&run->error, -ENOMEM, "out of memory");
		sbx_rest_run_end_later(&x->rest, run);
		return;
	}
	strcpy(r->id, id);
	r->x = x;
	r->run = run;
	run->priv = r;
	while (*at)
		at = &(*at)->next;
	*at = r;
	runs_next(x, id);
}

void timetravel_run_cancel(struct sbx_service *svc, struct sbx_run *run)
{
	struct timetravel_run *r = run->priv;

	if (!r)
		return;
	r->request = sbx_request_cancel(r->request);
	r->alarm = sbx_alarm_cancel(r->alarm);
	run_end_later(r, -ECANCELED, "nobody waits for it any more");
}

void timetravel_runs_end(struct timetravel *x)
{
	struct timetravel_run *r;

	while ((r = x->runs)) {
		r->request = sbx_request_cancel(r->request);
		r->alarm = sbx_alarm_cancel(r->alarm);
		r->run->maybe_done = true;
		run_fail(r, -ECANCELED, "the service is being closed");
	}
}
