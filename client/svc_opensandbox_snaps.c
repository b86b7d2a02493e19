/*
 * Snapshots: listed, made and deleted.  None can be gone back to: a new
 * sandbox is made from one ("snapshot" among its options), by its id.
 *
 * Their names are wishes, which several may have, or none.  So one is shown
 * by its name if that can be a folder's and no older one has it, else by its
 * id.
 *
 * They outlive their sandbox: so all of them are shown once more beside the
 * sandboxes, by their ids (own.h).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/cleanup.h"
#include "client/json.h"
#include "client/limits.h"
#include "client/svc_opensandbox.h"

#define PAGE	      200
#define POLL_FIRST_MS 200
#define POLL_MAX_MS   3000

static const char *state_of(const json_t *obj)
{
	const char *word =
		sbx_json_str(sbx_json_object(obj, "status"), "state");

	return word ? word : "";
}

/* ---- the list, page by page ---- */

struct snaps {
	json_t *all; /* by their ids */
	unsigned int page;
	char *sid;			/* of the one in question */
	void (*fn)(struct sbx_work *w); /* when all are known */
};

static void snaps_drop(void *state)
{
	struct snaps *s = state;

	json_decref(s->all);
	free(s->sid);
	free(s);
}

static void snaps_ask(struct sbx_work *w);

/* Those of other sandboxes are not the business of this one, whatever the
 * service made of the query.  sandbox NULL: of all. */
static int add_page(struct snaps *s, const char *sandbox, const json_t *items)
{
	const char *id, *of;
	json_t *obj;
	size_t i;

	json_array_foreach((json_t *)(uintptr_t)items, i, obj)
	{
		id = sbx_json_str(obj, "id");
		of = sbx_json_str(obj, "sandboxId");
		if (!sbx_is_id(id) || !strcmp(state_of(obj), "Deleting") ||
		    (of && sandbox && strcmp(of, sandbox) != 0))
			continue;
		if (json_object_set(s->all, id, obj) < 0)
			return -ENOMEM;
	}
	return json_object_size(s->all) > SBX_MAX_SNAPSHOTS ? -E2BIG : 0;
}

static void on_page(struct sbx_work *w, const struct sbx_answer *answer)
{
	const json_t *items = sbx_json_array(answer->json, "items");
	const json_t *pages = sbx_json_object(answer->json, "pagination");
	struct snaps *s = w->state;
	struct sbx_error e = answer->error;
	int r = 0;

	if (!e.err && !items)
		sbx_rest_wonder(w->rest, &e, "no list in it");
	if (!e.err)
		r = add_page(s, w->call->id, items);
	if (r == -E2BIG && w->call->id)
		sbx_error_set(&e, -EPROTO,
			      "%s lists more snapshots than can be shown",
			      w->rest->url);
	else if (r < 0 && r != -E2BIG)
		sbx_error_set(&e, r, "out of memory");
	if (e.err) {
		sbx_work_done(w, &e);
	} else if (r == 0 && json_array_size(items) &&
		   sbx_json_bool(pages, "hasNextPage", false)) {
		s->page++;
		snaps_ask(w);
	} else {
		s->fn(w);
	}
}

static void snaps_ask(struct sbx_work *w)
{
	const struct snaps *s = w->state;
	const char *id = w->call->id;
	char query[200];

	snprintf(query, sizeof(query), "%s%s%spage=%u&pageSize=%d",
		 id ? "sandboxId=" : "", id ? id : "", id ? "&" : "", s->page,
		 PAGE);
	sbx_work_request(w,
			 (struct sbx_request_conf){.method = "GET",
						   .path = "/snapshots",
						   .query = query,
						   .repeatable = true,
						   .wants_json = true},
			 on_page);
}

static void snaps_start(struct sbx_work *w, void (*fn)(struct sbx_work *w))
{
	struct snaps *s = calloc(1, sizeof(*s));

	if (s)
		s->all = json_object();
	if (!s || !s->all) {
		free(s);
		sbx_work_no_memory(w);
		return;
	}
	w->state = s;
	w->drop = snaps_drop;
	s->page = 1;
	s->fn = fn;
	snaps_ask(w);
}

/* ---- as they are shown ---- */

static int by_age(const void *a, const void *b)
{
	const struct sbx_snapshot *x = a, *y = b;

	if (x->created_ms != y->created_ms)
		return x->created_ms < y->created_ms ? -1 : 1;
	return strcmp(x->name, y->name);
}

/* All with their ids as names, oldest first, then those names that can be
 * used. */
static int take_list(struct sbx_call *call, const json_t *all)
{
	SBX_JSON json_t *used = json_object();
	struct sbx_snapshot *s;
	const char *id, *name;
	json_t *obj;
	size_t i;

	call->snapshots =
		calloc(json_object_size(all) + 1, sizeof(*call->snapshots));
	if (!call->snapshots || !used)
		return -ENOMEM;
	json_object_foreach((json_t *)(uintptr_t)all, id, obj)
	{
		s = &call->snapshots[call->nr_snapshots++];
		s->created_ms =
			sbx_time_from_text(sbx_json_str(obj, "createdAt"));
		s->info = sbx_json_text(obj, true);
		if (!s->info || sbx_dup_text(&s->name, id) < 0)
			return -ENOMEM;
	}
	qsort(call->snapshots, call->nr_snapshots, sizeof(*call->snapshots),
	      by_age);
	for (i = 0; i < call->nr_snapshots; i++) {
		s = &call->snapshots[i];
		name = sbx_json_str(json_object_get(all, s->name), "name");
		if (!sbx_is_file_name(name) || json_object_get(used, name) ||
		    json_object_get(all, name))
			continue;
		json_object_set_new(used, name, json_true());
		free(s->name);
		s->name = NULL;
		if (sbx_dup_text(&s->name, name) < 0)
			return -ENOMEM;
	}
	return 0;
}

static void snapshots_drop(struct sbx_call *call)
{
	size_t i;

	for (i = 0; i < call->nr_snapshots; i++) {
		free(call->snapshots[i].name);
		free(call->snapshots[i].info);
	}
	free(call->snapshots);
	call->snapshots = NULL;
	call->nr_snapshots = 0;
}

/* false: no memory, and the call is done. */
static bool snaps_show(struct sbx_work *w)
{
	const struct snaps *s = w->state;

	if (take_list(w->call, s->all) == 0)
		return true;
	snapshots_drop(w->call);
	sbx_work_no_memory(w);
	return false;
}

static void on_list(struct sbx_work *w)
{
	if (snaps_show(w))
		sbx_work_done(w, NULL);
}

void osb_snapshots_start(struct sbx_work *w)
{
	snaps_start(w, on_list);
}

/* The id of the one that is shown by the call's name, into the work's state;
 * false: there is none.  Nothing of the list stays in the call. */
static bool snaps_find(struct sbx_work *w)
{
	struct snaps *s = w->state;
	struct sbx_call *call = w->call;
	size_t i;
	SBX_JSON json_t *obj = NULL;

	for (i = 0; i < call->nr_snapshots && !obj; i++)
		if (!strcmp(call->snapshots[i].name, call->path))
			obj = sbx_json_parse(call->snapshots[i].info,
					     strlen(call->snapshots[i].info));
	snapshots_drop(call);
	return obj && sbx_dup_text(&s->sid, sbx_json_str(obj, "id")) == 0;
}

/* ---- making one ---- */

static void make_look(struct sbx_work *w);

static void make_wait(struct sbx_work *w)
{
	uint64_t ms = POLL_FIRST_MS << (w->looks < 8 ? w->looks : 8);
	struct sbx_error e;

	w->looks++;
	if (ms > POLL_MAX_MS)
		ms = POLL_MAX_MS;
	if (uv_now(w->rest->loop) + ms < w->deadline) {
		sbx_work_pause(w, ms, make_look);
		return;
	}
	sbx_error_set(&e, -ETIMEDOUT,
		      "the snapshot was begun, but is not ready in time");
	e.retry = SBX_RETRY_LATER;
	sbx_work_done(w, &e);
}

/* An answer that is a snapshot. */
static void on_making(struct sbx_work *w, const struct sbx_answer *answer)
{
	struct snaps *s = w->state;
	const char *id = sbx_json_str(answer->json, "id");
	const char *message = sbx_json_str(
		sbx_json_object(answer->json, "status"), "message");
	struct sbx_error e = answer->error;

	if (!e.err && (!sbx_is_id(id) || (s->sid && strcmp(id, s->sid) != 0)))
		sbx_rest_wonder(w->rest, &e, "no snapshot in it");
	if (!e.err && !s->sid && sbx_dup_text(&s->sid, id) < 0)
		sbx_error_set(&e, -ENOMEM, "out of memory");
	if (!e.err && !strcmp(state_of(answer->json), "Failed"))
		sbx_error_set(&e, -EIO, "the snapshot failed: %.150s",
			      message ? message : "no reason was given");
	if (e.err || !strcmp(state_of(answer->json), "Ready"))
		sbx_work_done(w, &e);
	else
		make_wait(w);
}

static void make_look(struct sbx_work *w)
{
	const struct snaps *s = w->state;

	sbx_work_request(w,
			 (struct sbx_request_conf){.method = "GET",
						   .path = "/snapshots/%s",
						   .id = s->sid,
						   .repeatable = true,
						   .wants_json = true},
			 on_making);
}

static void on_listed_to_make(struct sbx_work *w)
{
	SBX_JSON json_t *obj = json_pack("{s:s}", "name", w->call->path);
	SBX_FREE char *body = obj ? sbx_json_text(obj, false) : NULL;
	struct sbx_error e;

	if (!snaps_show(w))
		return;
	if (snaps_find(w)) {
		sbx_error_set(&e, -EEXIST, "there is a snapshot %.80s already",
			      w->call->path);
		sbx_work_done(w, &e);
	} else if (!body) {
		sbx_error_set(&e, -EINVAL,
			      "a snapshot's name must be text in UTF-8");
		sbx_work_done(w, &e);
	} else {
		sbx_work_request(w,
				 (struct sbx_request_conf){
					 .method = "POST",
					 .path = "/sandboxes/%s/snapshots",
					 .id = w->call->id,
					 .body = body,
					 .wants_json = true},
				 on_making);
	}
}

void osb_snapshot_start(struct sbx_work *w)
{
	snaps_start(w, on_listed_to_make);
}

/* ---- deleting one ---- */

static void on_deleted(struct sbx_work *w, const struct sbx_answer *answer)
{

	if (answer->error.err == -ENOENT)
		sbx_work_done(w, NULL); /* gone is gone */
	else
		sbx_work_done(w, &answer->error);
}

static void on_listed_to_delete(struct sbx_work *w)
{
	const struct snaps *s = w->state;
	struct sbx_error e;

	if (!snaps_show(w))
		return;
	if (!snaps_find(w)) {
		sbx_error_set(&e, -ENOENT, "there is no snapshot %.80s",
			      w->call->path);
		sbx_work_done(w, &e);
		return;
	}
	sbx_work_request(w,
			 (struct sbx_request_conf){.method = "DELETE",
						   .path = "/snapshots/%s",
						   .id = s->sid,
						   .repeatable = true},
			 on_deleted);
}

void osb_unsnapshot_start(struct sbx_work *w)
{
	snaps_start(w, on_listed_to_delete);
}

/* ---- those of all sandboxes ---- */

static void on_all(struct sbx_work *w)
{
	const struct snaps *s = w->state;
	const char *id;
	json_t *obj;

	if (!osb_make_names(w, json_object_size(s->all)))
		return;
	json_object_foreach(s->all, id,
			    obj) if (w->call->nr_files < SBX_OWN_MAX_NAMES)
		osb_add_name(w, id);
	sbx_work_done(w, NULL);
}

void osb_all_snapshots_list(struct sbx_work *w)
{
	snaps_start(w, on_all);
}

/* "snapshots/ID" or "snapshots/ID/info.json": the id, which the work keeps;
 * NULL: there is none, and the call is done. */
static const char *sid_of_path(struct sbx_work *w)
{
	const char *id = w->call->path + strcspn(w->call->path, "/");
	struct snaps *s = calloc(1, sizeof(*s));

	id += *id == '/';
	if (s) {
		s->sid = strndup(id, strcspn(id, "/"));
		w->state = s;
		w->drop = snaps_drop;
	}
	if (!s || !s->sid) {
		sbx_work_no_memory(w);
		return NULL;
	}
	if (sbx_is_id(s->sid))
		return s->sid;
	osb_give_missing(w);
	return NULL;
}

static void on_one(struct sbx_work *w, const struct sbx_answer *answer)
{
	const struct snaps *s = w->state;
	const char *id = sbx_json_str(answer->json, "id");
	struct sbx_error e = answer->error;

	if (!e.err && (!id || strcmp(id, s->sid) != 0))
		sbx_rest_wonder(w->rest, &e, "another snapshot in it");
	if (e.err)
		sbx_work_done(w, &e);
	else
		sbx_work_give_json(w, answer->json);
}

void osb_any_snapshot_read(struct sbx_work *w)
{
	const char *sid = sid_of_path(w);

	if (sid)
		sbx_work_request(
			w,
			(struct sbx_request_conf){.method = "GET",
						  .path = "/snapshots/%s",
						  .id = sid,
						  .repeatable = true,
						  .wants_json = true},
			on_one);
}

void osb_any_snapshot_remove(struct sbx_work *w)
{
	const char *sid = sid_of_path(w);

	if (sid)
		sbx_work_request(
			w,
			(struct sbx_request_conf){.method = "DELETE",
						  .path = "/snapshots/%s",
						  .id = sid,
						  .repeatable = true},
			on_deleted);
}
