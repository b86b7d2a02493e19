/*
 * Snapshots.  One is made after every command, and cannot be deleted.  Those
 * that our own traffic leaves are not shown; one that is asked for is made by
 * a command that does nothing but say its name, under which it is shown.
 *
 * Restoring a name that does not exist empties the workspace before it fails:
 * so the name is looked for in the list first, and it is the list's own that
 * is sent.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/json.h"
#include "client/svc_timetravel.h"

void timetravel_snapshots_request(struct sbx_work *w, sbx_answer_fn *fn)
{
	sbx_work_request(w,
			 (struct sbx_request_conf){.method = "GET",
						   .path = "/vms/%s/snapshots",
						   .id = w->call->id,
						   .repeatable = true,
						   .wants_json = true},
			 fn);
}

/* The list in an answer; NULL: *e says why not. */
static const json_t *list_of(const struct sbx_work *w,
			     const struct sbx_answer *answer,
			     struct sbx_error *e)
{
	const json_t *list = sbx_json_array(answer->json, "snapshots");

	*e = answer->error;
	if (e->err)
		return NULL;
	if (!list)
		sbx_rest_wonder(w->rest, e, "no snapshots in it");
	return list;
}

/* ---- list ---- */

static void on_list(struct sbx_work *w, const struct sbx_answer *answer)
{
	struct sbx_error e;
	const json_t *list = list_of(w, answer, &e);

	if (list && sbx_timetravel_snapshots(w->call, list) < 0)
		sbx_error_set(&e, -ENOMEM, "out of memory");
	sbx_work_done(w, &e);
}

void timetravel_snapshots_start(struct sbx_work *w)
{
	timetravel_snapshots_request(w, on_list);
}

/* ---- restore ---- */

static void on_listed_to_restore(struct sbx_work *w,
				 const struct sbx_answer *answer)
{
	struct sbx_error e;
	const json_t *list = list_of(w, answer, &e);
	const char *name = NULL;
	char *path;

	if (list)
		name = sbx_json_str(
			sbx_timetravel_find_snapshot(list, w->call->path),
			"snapshot_name");
	if (list && !name)
		sbx_error_set(&e, -ENOENT, "there is no snapshot %.80s",
			      w->call->path);
	else if (list && !sbx_timetravel_id_is_valid(name))
		sbx_error_set(&e, -EPROTO, "its name there is none");
	if (e.err) {
		sbx_work_done(w, &e);
		return;
	}
	if (asprintf(&path, "/vms/%%s/snapshots/%s/restore", name) < 0) {
		sbx_work_no_memory(w);
		return;
	}
	w->state = path;
	w->drop = free;
	sbx_work_act(w,
		     (struct sbx_request_conf){
			     .method = "POST", .path = path, .id = w->call->id},
		     NULL);
}

void timetravel_restore_start(struct sbx_work *w)
{
	timetravel_snapshots_request(w, on_listed_to_restore);
}

/* ---- making one ---- */

/* The run that makes it, while the call waits. */
struct making {
	struct sbx_run run;
	struct sbx_work *work; /* NULL: given up */
	char command[];
};

static void making_drop(void *state)
{
	struct making *m = state;

	m->work = NULL; /* on_run_done frees it */
}

static void on_run_done(struct sbx_run *run)
{
	struct making *m = run->arg;
	struct sbx_error e = run->error;
	struct sbx_work *w = m->work;

	/* it collided with another's: this one was made all the same? */
	if (!e.err && run->exit_code)
		sbx_error_set(&e, -EIO, "making the snapshot failed: %.100s",
			      run->err ? run->err : "");
	sbx_run_release(run);
	if (w)
		w->drop = NULL;
	free(m);
	if (w)
		sbx_work_done(w, &e);
}

static void on_listed_to_make(struct sbx_work *w,
			      const struct sbx_answer *answer)
{
	size_t len = strlen(w->call->path);
	struct sbx_error e;
	const json_t *list = list_of(w, answer, &e);
	struct making *m;

	if (list && sbx_timetravel_find_snapshot(list, w->call->path))
		sbx_error_set(&e, -EEXIST, "there is a snapshot %.80s already",
			      w->call->path);
	if (e.err) {
		sbx_work_done(w, &e);
		return;
	}
	m = calloc(1, sizeof(*m) + strlen(SBX_TIMETRAVEL_NAMED) + len + 1);
	if (!m) {
		sbx_work_no_memory(w);
		return;
	}
	strcpy(m->command, SBX_TIMETRAVEL_NAMED);
	strcat(m->command, w->call->path);
	m->work = w;
	m->run = (struct sbx_run){.command = m->command,
				  .timeout_ms = 60000,
				  .done = on_run_done,
				  .arg = m};
	w->state = m;
	w->drop = making_drop;
	timetravel_run(&w->rest->base, w->call->id, &m->run);
}

void timetravel_snapshot_start(struct sbx_work *w)
{
	struct sbx_error e;

	if (sbx_timetravel_id_is_valid(w->call->path) &&
	    strcmp(w->call->path, "restore") != 0) {
		timetravel_snapshots_request(w, on_listed_to_make);
		return;
	}
	sbx_error_set(&e, -EINVAL,
		      "a snapshot's name is made of letters, digits, '.', '_' "
		      "and '-', and begins with one of the first two");
	sbx_work_done(w, &e);
}
