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

/* Bytes of a list: the service could not put more into one answer. */
#define LIST_MAX      ((size_t)1 << 30)
#define LIST_TRIES    3
#define LIST_PAUSE_MS 300
#define LIST_LEAST_MS 10000
#define MAKE_TRIES    3

/* ---- asking for the list ---- */

/* A list being read, in place of the work's own state. */
struct listing {
	struct timetravel_sieve sieve;
	const char *name;
	timetravel_listed_fn *fn;
	void *state;
	void (*drop)(void *state);
	size_t bytes, seen; /* that came; when it was looked last */
	uint64_t patience_ms;
	unsigned int failures;
};

static void listing_drop(void *state)
{
	struct listing *l = state;

	sbx_timetravel_sieve_release(&l->sieve);
	if (l->drop)
		l->drop(l->state);
	free(l);
}

static void on_piece(void *arg, const char *data, size_t len)
{
	struct sbx_work *w = arg;
	struct listing *l = w->state;

	l->bytes += len;
	if (l->bytes <= LIST_MAX)
		sbx_timetravel_sieve_put(&l->sieve, data, len);
}

static bool listing_watch(struct sbx_work *w);

/* It takes its time, but not without a word. */
static void on_listing_due(void *arg)
{
	struct sbx_work *w = arg;
	struct listing *l = w->state;
	struct sbx_error e;

	w->alarm = NULL;
	if (l->bytes != l->seen && l->bytes <= LIST_MAX) {
		listing_watch(w);
		return;
	}
	if (l->bytes > LIST_MAX)
		sbx_rest_wonder(w->rest, &e, "a list without an end");
	else
		sbx_error_set(&e, -ETIMEDOUT,
			      "%s: no list of snapshots in time", w->rest->url);
	sbx_work_done(w, &e);
}

/* false: no memory, and the work is done. */
static bool listing_watch(struct sbx_work *w)
{
	struct listing *l = w->state;

	l->seen = l->bytes;
	w->alarm = sbx_alarm_set(w->rest, l->patience_ms, on_listing_due, w);
	if (w->alarm)
		return true;
	sbx_work_no_memory(w);
	return false;
}

static void listing_ask(struct sbx_work *w);

static void on_listing(struct sbx_work *w, const struct sbx_answer *answer)
{
	struct listing *l = w->state;
	struct sbx_error e = answer->error;
	const json_t *list = NULL;
	int err;

	w->alarm = sbx_alarm_cancel(w->alarm);
	if (e.err && e.retry == SBX_RETRY_CONNECTION &&
	    ++l->failures < LIST_TRIES) {
		sbx_work_pause(w, LIST_PAUSE_MS, listing_ask);
		return;
	}
	if (!e.err) {
		list = sbx_timetravel_sieve_end(&l->sieve, &err);
		if (!list && err == -ENOMEM)
			sbx_error_set(&e, err, "out of memory");
		else if (!list)
			sbx_rest_wonder(w->rest, &e, "no snapshots in it");
	}
	if (e.err) {
		sbx_work_done(w, &e);
		return;
	}
	w->state = l->state;
	w->drop = l->drop;
	l->drop = NULL;
	l->fn(w, list);
	listing_drop(l);
}

static void listing_ask(struct sbx_work *w)
{
	struct listing *l = w->state;

	sbx_timetravel_sieve_release(&l->sieve);
	sbx_timetravel_sieve_init(&l->sieve, l->name);
	l->bytes = 0;
	if (!listing_watch(w))
		return;
	sbx_work_request(w,
			 (struct sbx_request_conf){.method = "GET",
						   .path = "/vms/%s/snapshots",
						   .id = w->call->id,
						   .harmless = true,
						   .on_piece = on_piece},
			 on_listing);
}

void timetravel_snapshots_request(struct sbx_work *w, const char *name,
				  timetravel_listed_fn *fn)
{
	struct listing *l = calloc(1, sizeof(*l));
	uint64_t now = uv_now(w->rest->loop);

	if (!l) {
		sbx_work_no_memory(w);
		return;
	}
	l->name = name;
	l->fn = fn;
	l->state = w->state;
	l->drop = w->drop;
	/* after a command the call's own time may be over */
	l->patience_ms = w->deadline > now + LIST_LEAST_MS ? w->deadline - now
							   : LIST_LEAST_MS;
	w->state = l;
	w->drop = listing_drop;
	listing_ask(w);
}

/* ---- list ---- */

static void on_list(struct sbx_work *w, const json_t *list)
{
	if (sbx_timetravel_snapshots(w->call, list) < 0)
		sbx_work_no_memory(w);
	else
		sbx_work_done(w, NULL);
}

void timetravel_snapshots_start(struct sbx_work *w)
{
	timetravel_snapshots_request(w, NULL, on_list);
}

/* ---- restore ---- */

static void on_listed_to_restore(struct sbx_work *w, const json_t *list)
{
	const char *name =
		sbx_json_str(sbx_timetravel_find_snapshot(list, w->call->path),
			     "snapshot_name");
	struct sbx_error e = {0};
	char *path;

	if (!name)
		sbx_error_set(&e, -ENOENT, "there is no snapshot %.80s",
			      w->call->path);
	else if (!sbx_timetravel_id_is_valid(name))
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
		     timetravel_probe);
}

void timetravel_restore_start(struct sbx_work *w)
{
	timetravel_snapshots_request(w, w->call->path, on_listed_to_restore);
}

/* ---- making one ---- */

static void on_listed_to_make(struct sbx_work *w, const json_t *list);

/* One that may have been made, or collided with that of another client's
 * command, is looked for, and made again if it is not there. */
static void on_snapshot_run(struct sbx_work *w, const struct sbx_run *run)
{
	struct sbx_error e = run->error;

	if (e.err && run->maybe_done && ++w->step < MAKE_TRIES) {
		timetravel_snapshots_request(w, w->call->path,
					     on_listed_to_make);
		return;
	}
	if (!e.err && run->exit_code)
		sbx_error_set(&e, -EIO, "making the snapshot failed: %.100s",
			      run->err ? run->err : "");
	sbx_work_done(w, &e);
}

static void on_listed_to_make(struct sbx_work *w, const json_t *list)
{
	bool is_there = sbx_timetravel_find_snapshot(list, w->call->path);
	struct sbx_error e = {0};
	char *command = NULL;

	if (is_there && !w->step)
		sbx_error_set(&e, -EEXIST, "there is a snapshot %.80s already",
			      w->call->path);
	if (is_there) {
		sbx_work_done(w, &e);
	} else if (asprintf(&command, "%s%s", SBX_TIMETRAVEL_NAMED,
			    w->call->path) < 0) {
		sbx_work_no_memory(w);
	} else {
		timetravel_errand(w, command, false, on_snapshot_run);
		free(command);
	}
}

void timetravel_snapshot_start(struct sbx_work *w)
{
	struct sbx_error e;

	if (sbx_timetravel_id_is_valid(w->call->path) &&
	    strcmp(w->call->path, "restore") != 0) {
		timetravel_snapshots_request(w, w->call->path,
					     on_listed_to_make);
		return;
	}
	sbx_error_set(&e, -EINVAL,
		      "a snapshot's name is made of letters, digits, '.', '_' "
		      "and '-', and begins with one of the first two");
	sbx_work_done(w, &e);
}
