/*
 * A command that a call needs, which waits for it, and what the workspace as a
 * whole is about: emptying it, and whether it is there.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/svc_timetravel.h"

#define ERRAND_MS 60000

struct errand {
	struct sbx_run run;
	struct sbx_work *work; /* NULL: given up */
	timetravel_errand_fn *fn;
	char command[];
};

static void errand_drop(void *state)
{
	struct errand *e = state;

	e->work = NULL; /* on_errand_done frees it */
}

static void on_errand_done(struct sbx_run *run)
{
	struct errand *e = run->arg;
	struct sbx_work *w = e->work;

	if (w) {
		w->state = NULL;
		w->drop = NULL;
		e->fn(w, run);
	}
	sbx_run_release(run);
	free(e);
}

void timetravel_errand(struct sbx_work *w, const char *command, bool ours,
		       timetravel_errand_fn *fn)
{
	struct errand *e = calloc(1, sizeof(*e) + strlen(command) + 1);

	if (!e) {
		sbx_work_no_memory(w);
		return;
	}
	strcpy(e->command, command);
	e->work = w;
	e->fn = fn;
	e->run = (struct sbx_run){.command = e->command,
				  .timeout_ms = ERRAND_MS,
				  .ours = ours,
				  .done = on_errand_done,
				  .arg = e};
	if (w->drop)
		w->drop(w->state);
	w->state = e;
	w->drop = errand_drop;
	timetravel_run(&w->rest->base, w->call->id, &e->run);
}

/* ---- whether it is there ---- */

static void on_probed(struct sbx_work *w, const struct sbx_run *run)
{
	struct sbx_error e = run->error;

	if (!e.err && run->exit_code)
		sbx_error_set(&e, -EIO,
			      "the VM still has the workspace that was "
			      "replaced; destroy it and make it anew");
	sbx_work_done(w, &e);
}

/*
 * A container may go on seeing a workspace that was replaced by another
 * subvolume: in there nothing can be made.  Agents have none of that.
 */
void timetravel_probe(struct sbx_work *w)
{
	const struct timetravel *x = (const struct timetravel *)w->rest;
	const struct timetravel_vm *vm = timetravel_vm_find(x, w->call->id);
	const struct sbx_run *run = timetravel_running(x, w->call->id);

	/* nor is the end of a command of the user's waited for */
	if ((vm && vm->has_agent) || (run && !run->ours))
		sbx_work_done(w, NULL);
	else
		timetravel_errand(w, "d=.sbxfs-$$; mkdir $d && rmdir $d", true,
				  on_probed);
}

/* ---- wipe ---- */

static void on_unlinked(struct sbx_work *w, const struct sbx_run *run)
{
	if (run->error.err)
		sbx_work_done(w, &run->error);
	else
		timetravel_wipe_start(w);
}

/* An agent does not empty one in which a link to a folder lies. */
static void on_wiped(struct sbx_work *w, const struct sbx_answer *answer)
{
	const struct timetravel_vm *vm = timetravel_vm_find(
		(const struct timetravel *)w->rest, w->call->id);

	if (!answer->error.err)
		sbx_work_look(w, timetravel_probe);
	else if (answer->error.status == 500 && answer->error.err == -EIO &&
		 vm && vm->has_agent && !w->step++)
		timetravel_errand(w,
				  "find . -mindepth 1 -maxdepth 1 -type l "
				  "-exec rm -f -- {} +",
				  true, on_unlinked);
	else
		sbx_work_done(w, &answer->error);
}

void timetravel_wipe_start(struct sbx_work *w)
{
	/* empty is empty, however often */
	sbx_work_request(w,
			 (struct sbx_request_conf){.method = "POST",
						   .path = "/vms/%s/wipe",
						   .id = w->call->id,
						   .repeatable = true},
			 on_wiped);
}
