/*
 * The calls of client.h that are about one sandbox: each is handed to the
 * service, and what comes back is entered among the boxes.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/client_int.h"

/*
 * A new sandbox may need its image pulled and a machine started; services
 * say 30 s for a cold one.  The user can interrupt the wait.
 */
#define CREATE_TIMEOUT_MS 180000

/* one call under way, about at most one box */
struct ask {
	struct sbx_client *c;
	struct sbx_box *box;  /* counted; NULL: not known yet, or none */
	sbx_call_fn *call_fn; /* gets the call; if NULL: */
	sbx_box_fn *fn;	      /* may be NULL */
	void *arg;
	char *name; /* the one that did not exist, if this says so */
	bool held;  /* by the caller: ENOENT is ESTALE */
	bool part;  /* of a part of it: ENOENT says nothing of the sandbox */
};

/* By its id; or by its name, where it was not known before. */
static bool is_asked_for(const struct sbx_client *c,
			 const struct sbx_call *call,
			 const struct sbx_sandbox *told)
{
	if (!told->id || !call->id || !strcmp(call->id, told->id))
		return told->id;
	return call->kind == SBX_CALL_GET && told->name &&
	       !strcmp(call->id, told->name) &&
	       !sbx_boxes_by_id(&c->boxes, call->id);
}

/* the box of an answer that must be about one sandbox; known: as which it was
 * asked about, or NULL */
static struct sbx_box *client_take_one(struct sbx_client *c,
				       const struct sbx_box *known,
				       struct sbx_call *call)
{
	struct sbx_box *box;

	if (known && known->gone) { /* since this was asked */
		sbx_error_set(&call->error, -ESTALE, "the sandbox is gone");
		return NULL;
	}
	if (call->nr != 1 || !is_asked_for(c, call, &call->list[0])) {
		sbx_error_set(&call->error, -EPROTO,
			      "the service answered about another sandbox "
			      "than the one asked for");
		return NULL;
	}
	box = sbx_boxes_put(&c->boxes, &call->list[0], uv_now(c->loop));
	if (!box || sbx_boxes_name(&c->boxes) < 0)
		sbx_error_set(&call->error, -ENOMEM, "out of memory");
	else if (call->kind == SBX_CALL_CREATE)
		box->listed = true;
	if (box)
		box->looked = call->kind != SBX_CALL_CREATE;
	if (box)
		client_tell(c, box);
	return call->error.err ? NULL : box;
}

static void ask_free(struct ask *a)
{
	sbx_box_unref(a->box);
	free(a->name);
	free(a);
}

/* What the answer says of the sandbox itself. */
static struct sbx_box *ask_take(struct ask *a, struct sbx_call *call)
{
	bool destroyed = call->kind == SBX_CALL_DESTROY && !call->error.err;
	struct sbx_box *box = NULL;

	if (!call->error.err && !destroyed && !a->c->closing)
		box = client_take_one(a->c, a->box, call);
	if (a->box && (destroyed || call->error.err == -ENOENT))
		sbx_client_gone(a->c, a->box);
	if (a->name && call->error.err == -ENOENT)
		client_note_miss(a->c, a->name);
	if (a->held && call->error.err == -ENOENT)
		call->error.err = -ESTALE;
	return box;
}

static void on_asked(struct sbx_call *call)
{
	struct ask *a = call->arg;
	struct sbx_box *box = NULL;

	if (!a->part)
		box = ask_take(a, call);
	else if (!a->call_fn && call->nr && !call->error.err && !a->c->closing)
		box = client_take_one(a->c, a->box, call);
	if (a->call_fn)
		a->call_fn(a->arg, call);
	else
		client_answer(a->fn, a->arg, box, &call->error);
	ask_free(a);
	sbx_call_free(call);
}

/* Takes over call (NULL: no memory); ask: what is to become of it. */
static void client_submit(struct sbx_client *c, struct sbx_call *call,
			  struct sbx_box *box, const struct ask *ask)
{
	struct sbx_call failed = {0};
	struct ask *a = malloc(sizeof(*a));

	if (!a || !call || c->closing) {
		free(a);
		sbx_call_free(call);
		if (c->closing)
			sbx_error_set(&failed.error, -ECANCELED,
				      "the mount is ending");
		else
			sbx_error_set(&failed.error, -ENOMEM, "out of memory");
		if (ask->call_fn)
			ask->call_fn(ask->arg, &failed);
		else
			client_answer(ask->fn, ask->arg, NULL, &failed.error);
		return;
	}
	*a = *ask;
	a->c = c;
	a->box = box ? sbx_box_ref(box) : NULL;
	if (!box && call->id)
		a->name = strdup(call->id);
	call->done = on_asked;
	call->arg = a;
	if (!call->timeout_ms)
		call->timeout_ms = c->conf->timeout_ms;
	c->svc->type->submit(c->svc, call);
}

/* About a sandbox that the caller holds. */
static void client_ask(struct sbx_client *c, struct sbx_call *call,
		       struct sbx_box *box, sbx_box_fn *fn, void *arg)
{
	client_submit(c, call, box,
		      &(struct ask){.fn = fn, .arg = arg, .held = true});
}

void client_get(struct sbx_client *c, const char *id, struct sbx_box *box,
		sbx_box_fn *fn, void *arg)
{
	client_submit(c, sbx_call_new(SBX_CALL_GET, id), box,
		      &(struct ask){.fn = fn, .arg = arg});
}

void client_make(struct sbx_client *c, const char *options, sbx_box_fn *fn,
		 void *arg)
{
	struct sbx_call *call = sbx_call_new(SBX_CALL_CREATE, NULL);

	if (call) {
		call->timeout_ms = c->svc->type->create_ms;
		if (!call->timeout_ms)
			call->timeout_ms = CREATE_TIMEOUT_MS;
		if (options && !(call->options = strdup(options)))
			call = sbx_call_free(call);
	}
	memset(c->misses, 0, sizeof(c->misses));
	client_submit(c, call, NULL, &(struct ask){.fn = fn, .arg = arg});
}

void sbx_client_refresh(struct sbx_client *c, struct sbx_box *box,
			bool even_if_fresh, unsigned int timeout_ms,
			sbx_box_fn *fn, void *arg)
{
	static const struct sbx_error none;
	struct sbx_call *call;

	if (box->gone) {
		client_fail(fn, arg, -ESTALE, "the sandbox is gone");
		return;
	}
	if (!even_if_fresh && client_is_fresh(c, box->seen_ms) &&
	    (box->looked || !c->svc->type->lists_part)) {
		client_answer(fn, arg, box, &none);
		return;
	}
	call = sbx_call_new(SBX_CALL_GET, box->sb.id);
	if (call)
		call->timeout_ms = timeout_ms;
	client_ask(c, call, box, fn, arg);
}

void sbx_client_destroy(struct sbx_client *c, struct sbx_box *box,
			sbx_box_fn *fn, void *arg)
{
	client_ask(c, sbx_call_new(SBX_CALL_DESTROY, box->sb.id), box, fn, arg);
}

void sbx_client_drive(struct sbx_client *c, struct sbx_box *box,
		      enum sbx_call_kind kind, sbx_box_fn *fn, void *arg)
{
	struct sbx_call *call = sbx_call_new(kind, box->sb.id);

	if (call) {
		call->timeout_ms = c->svc->type->life_ms;
		if (!call->timeout_ms) /* as slow as making one */
			call->timeout_ms = CREATE_TIMEOUT_MS;
	}
	client_ask(c, call, box, fn, arg);
}

void sbx_client_keepalive(struct sbx_client *c, struct sbx_box *box,
			  unsigned int seconds, sbx_box_fn *fn, void *arg)
{
	struct sbx_call *call = sbx_call_new(SBX_CALL_KEEPALIVE, box->sb.id);

	if (call)
		call->seconds = seconds;
	client_ask(c, call, box, fn, arg);
}

/* A call with path and input, copied; NULL: no memory. */
static struct sbx_call *part_new(const struct sbx_box *box,
				 enum sbx_call_kind kind, const char *path,
				 const void *input, size_t len)
{
	struct sbx_call *call = sbx_call_new(kind, box ? box->sb.id : NULL);

	if (!call)
		return NULL;
	if (path)
		call->path = strdup(path);
	if (input)
		call->input = malloc(len + 1);
	if ((path && !call->path) || (input && !call->input))
		return sbx_call_free(call);
	if (input) {
		memcpy(call->input, input, len);
		call->input[len] = '\0';
		call->input_len = len;
	}
	return call;
}

void sbx_client_snapshots(struct sbx_client *c, struct sbx_box *box,
			  sbx_call_fn *fn, void *arg)
{
	sbx_client_own(c, box, SBX_CALL_SNAPSHOTS, NULL, NULL, 0, fn, arg);
}

void sbx_client_snapshot(struct sbx_client *c, struct sbx_box *box,
			 enum sbx_call_kind kind, const char *name,
			 sbx_box_fn *fn, void *arg)
{
	struct sbx_call *call = part_new(box, kind, name, NULL, 0);

	if (call) /* copying a large tree takes its time */
		call->timeout_ms = CREATE_TIMEOUT_MS;
	client_submit(c, call, box,
		      &(struct ask){.fn = fn, .arg = arg, .part = true});
}

void sbx_client_own(struct sbx_client *c, struct sbx_box *box,
		    enum sbx_call_kind kind, const char *path,
		    const void *input, size_t len, sbx_call_fn *fn, void *arg)
{
	client_submit(c, part_new(box, kind, path, input, len), box,
		      &(struct ask){.call_fn = fn, .arg = arg, .part = true});
}
