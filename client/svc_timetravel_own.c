/*
 * The files that the time-travel service alone has, in each VM's folder:
 *
 *	export	what is written puts the workspace, or a snapshot, into the
 *		bucket of the service; then it tells where that is
 *	import	what is written makes a snapshot of what is in the bucket
 *
 * The service packs for as long as it takes, and is asked once only.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/cleanup.h"
#include "client/json.h"
#include "client/own.h"
#include "client/svc_timetravel.h"

#define PACK_MS 300000

const struct sbx_own timetravel_own[] = {
	{"export", SBX_OWN_READ | SBX_OWN_WRITE | SBX_OWN_FLUSH},
	{"import", SBX_OWN_READ | SBX_OWN_WRITE},
	{0},
};

static void body_drop(void *state)
{
	json_decref(state);
}

static void on_packed(struct sbx_work *w, const struct sbx_answer *answer)
{
	if (answer->error.err)
		sbx_work_done(w, &answer->error);
	else
		sbx_work_give_json(w, answer->json);
}

static void pack(struct sbx_work *w)
{
	SBX_FREE char *text = sbx_json_text(w->state, false);
	bool imports = !strcmp(w->call->path, "import");

	if (!text) {
		sbx_work_no_memory(w);
		return;
	}
	sbx_work_request(
		w,
		(struct sbx_request_conf){.method = "POST",
					  .path = imports ? "/vms/%s/import"
							  : "/vms/%s/export",
					  .id = w->call->id,
					  .body = text,
					  .wants_json = true},
		on_packed);
}

/* Its name there, which alone may be sent. */
static void on_listed(struct sbx_work *w, const json_t *list)
{
	const char *name = sbx_json_str(w->state, "snapshot");
	const json_t *found = sbx_timetravel_find_snapshot(list, name);
	struct sbx_error e;

	if (!found) {
		sbx_error_set(&e, -ENOENT, "there is no snapshot %.80s", name);
		sbx_work_done(w, &e);
	} else if (json_object_set(w->state, "snapshot",
				   json_object_get(found, "snapshot_name")) <
		   0) {
		sbx_work_no_memory(w);
	} else {
		pack(w);
	}
}

static void write_start(struct sbx_work *w)
{
	struct sbx_error e = {0};
	const char *name;

	w->deadline = uv_now(w->rest->loop) + PACK_MS;
	w->state =
		sbx_timetravel_pack_body(w->call->input, w->call->input_len,
					 !strcmp(w->call->path, "import"), &e);
	if (!w->state) {
		sbx_work_done(w, &e);
		return;
	}
	w->drop = body_drop;
	name = sbx_json_str(w->state, "snapshot");
	if (name)
		timetravel_snapshots_request(w, name, on_listed);
	else
		pack(w);
}

void timetravel_own_start(struct sbx_work *w)
{
	if (w->call->kind == SBX_CALL_OWN_WRITE)
		write_start(w);
	else
		sbx_work_done(w, NULL); /* nothing was asked of it */
}
