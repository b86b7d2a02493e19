/*
 * The client as fuse/ sees it: see client.h.  Turns questions into calls of
 * the service and answers into the set of boxes.
 */
#include "client/client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/boxes.h"
#include "client/log.h"
#include "client/making.h"

/*
 * A new sandbox may need its image pulled and a machine started; services
 * say 30 s for a cold one.  The user can interrupt the wait.
 */
#define CREATE_TIMEOUT_MS 180000
#define NR_MISSES	  16

struct waiter {
	sbx_box_fn *fn;
	void *arg;
	struct waiter *next;
};

/* what was asked for and was not there: not asked again for a while */
struct miss {
	char name[128];
	uint64_t at_ms;
};

struct sbx_client {
	uv_loop_t *loop;
	const struct sbx_conf *conf;
	struct sbx_service *svc;
	const struct sbx_client_listener *listener;
	void *listener_arg;

	struct sbx_boxes boxes;
	struct waiter *waiters; /* for the listing under way */
	bool listing, listed;
	uint64_t list_sent_ms, listed_ms;

	struct sbx_making *makings; /* making.c */

	struct miss misses[NR_MISSES];
	unsigned int next_miss;

	bool closing;
	void (*on_closed)(void *arg);
	void *closed_arg;
};

/* one call of the service that is about at most one box */
struct ask {
	struct sbx_client *c;
	struct sbx_box *box; /* counted; NULL: not known yet */
	sbx_box_fn *fn;	     /* may be NULL */
	void *arg;
	char *name; /* the one that did not exist, if this says so */
	bool held;  /* by the caller: ENOENT is ESTALE */
};

static void on_unused_closed(void *arg)
{
}

int sbx_client_open(uv_loop_t *loop, const struct sbx_conf *conf,
		    struct sbx_client **ret, struct sbx_error *reterr)
{
	const struct sbx_service_type *type = sbx_service_find(conf->service);
	struct sbx_service *svc;
	int r;

	if (!type)
		return sbx_error_set(reterr, -EINVAL,
				     "there is no service \"%s\"; see "
				     "sbxfs --help for those that there are",
				     conf->service);
	r = type->open(loop, conf, &svc, reterr);
	if (r < 0)
		return r;
	*ret = sbx_client_new(loop, svc, conf);
	if (*ret)
		return 0;
	type->close(svc, on_unused_closed, NULL);
	return sbx_error_set(reterr, -ENOMEM, "out of memory");
}

struct sbx_client *sbx_client_new(uv_loop_t *loop, struct sbx_service *svc,
				  const struct sbx_conf *conf)
{
	struct sbx_client *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->loop = loop;
	c->svc = svc;
	c->conf = conf;
	return c;
}

void sbx_client_set_listener(struct sbx_client *c,
			     const struct sbx_client_listener *l, void *arg)
{
	c->listener = l;
	c->listener_arg = arg;
}

static void on_service_closed(void *arg)
{
	struct sbx_client *c = arg;
	void (*on_closed)(void *arg) = c->on_closed;
	void *closed_arg = c->closed_arg;

	sbx_boxes_release(&c->boxes);
	free(c);
	if (on_closed)
		on_closed(closed_arg);
}

void sbx_client_close(struct sbx_client *c, void (*on_closed)(void *arg),
		      void *arg)
{
	c->closing = true;
	c->on_closed = on_closed;
	c->closed_arg = arg;
	c->svc->type->close(c->svc, on_service_closed, c);
}

struct sbx_service *sbx_client_service(struct sbx_client *c)
{
	return c->svc;
}

bool sbx_client_can(const struct sbx_client *c, enum sbx_call_kind kind)
{
	return c->svc->type->calls & (1u << kind);
}

/* ---- calls ---- */

static void answer(sbx_box_fn *fn, void *arg, struct sbx_box *box,
		   const struct sbx_error *error)
{
	if (fn)
		fn(arg, box, error);
}

static void fail(sbx_box_fn *fn, void *arg, int err, const char *text)
{
	struct sbx_error e = {0};

	sbx_error_set(&e, err, "%s", text);
	answer(fn, arg, NULL, &e);
}

static bool client_is_fresh(const struct sbx_client *c, uint64_t at_ms)
{
	return uv_now(c->loop) - at_ms < SBX_CLIENT_FRESH_MS;
}

static void client_tell(struct sbx_client *c, struct sbx_box *box)
{
	if (box->told == box->sb.state)
		return;
	box->told = box->sb.state;
	if (c->listener && c->listener->on_changed)
		c->listener->on_changed(c->listener_arg, box);
}

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

/* the box of an answer that must be about one sandbox */
static struct sbx_box *client_take_one(struct sbx_client *c,
				       struct sbx_call *call)
{
	struct sbx_box *box;

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
		client_tell(c, box);
	return call->error.err ? NULL : box;
}

/* The names are not given out anew. */
static void client_drop(struct sbx_client *c, struct sbx_box *box)
{
	if (box->gone || c->closing)
		return;
	sbx_box_ref(box);
	box->gone = true;
	sbx_boxes_remove(&c->boxes, box);
	if (c->listener)
		c->listener->on_gone(c->listener_arg, box);
	sbx_box_unref(box);
}

void sbx_client_gone(struct sbx_client *c, struct sbx_box *box)
{
	client_drop(c, box);
	/* its name may be free for another one now; without memory for that
	 * the other just keeps its id */
	(void)sbx_boxes_name(&c->boxes);
}

static void client_note_miss(struct sbx_client *c, const char *name)
{
	struct miss *m = &c->misses[c->next_miss++ % NR_MISSES];

	if (strlen(name) >= sizeof(m->name))
		return;
	strcpy(m->name, name);
	m->at_ms = uv_now(c->loop);
}

static bool client_is_miss(const struct sbx_client *c, const char *name)
{
	for (size_t i = 0; i < NR_MISSES; i++)
		if (!strcmp(c->misses[i].name, name))
			return client_is_fresh(c, c->misses[i].at_ms);
	return false;
}

static void ask_free(struct ask *a)
{
	sbx_box_unref(a->box);
	free(a->name);
	free(a);
}

static void on_asked(struct sbx_call *call)
{
	struct ask *a = call->arg;
	struct sbx_client *c = a->c;
	struct sbx_box *box = NULL;
	bool destroyed = call->kind == SBX_CALL_DESTROY && !call->error.err;

	if (!call->error.err && !destroyed && !c->closing)
		box = client_take_one(c, call);
	if (a->box && (destroyed || call->error.err == -ENOENT))
		sbx_client_gone(c, a->box);
	if (a->name && call->error.err == -ENOENT)
		client_note_miss(c, a->name);
	if (a->held && call->error.err == -ENOENT)
		call->error.err = -ESTALE;
	answer(a->fn, a->arg, box, &call->error);
	ask_free(a);
	sbx_call_free(call);
}

/* Takes over ask (NULL: no memory) and name. */
static void client_submit(struct sbx_client *c, struct sbx_call *call,
			  struct sbx_box *box, bool held, sbx_box_fn *fn,
			  void *arg)
{
	struct ask *a = calloc(1, sizeof(*a));

	if (!a || !call || c->closing) {
		free(a);
		sbx_call_free(call);
		if (c->closing)
			fail(fn, arg, -ECANCELED, "the mount is ending");
		else
			fail(fn, arg, -ENOMEM, "out of memory");
		return;
	}
	*a = (struct ask){.c = c, .fn = fn, .arg = arg, .held = held};
	if (box)
		a->box = sbx_box_ref(box);
	else if (call->id)
		a->name = strdup(call->id);
	call->done = on_asked;
	call->arg = a;
	if (!call->timeout_ms)
		call->timeout_ms = c->conf->timeout_ms;
	c->svc->type->submit(c->svc, call);
}

void sbx_client_refresh(struct sbx_client *c, struct sbx_box *box,
			bool even_if_fresh, unsigned int timeout_ms,
			sbx_box_fn *fn, void *arg)
{
	static const struct sbx_error none;
	struct sbx_call *call;

	if (box->gone) {
		fail(fn, arg, -ESTALE, "the sandbox is gone");
		return;
	}
	if (!even_if_fresh && client_is_fresh(c, box->seen_ms)) {
		answer(fn, arg, box, &none);
		return;
	}
	call = sbx_call_new(SBX_CALL_GET, box->sb.id);
	if (call)
		call->timeout_ms = timeout_ms;
	client_submit(c, call, box, true, fn, arg);
}

struct sbx_making **sbx_client_makings(struct sbx_client *c)
{
	return &c->makings;
}

void sbx_client_make(struct sbx_client *c, const char *options, sbx_box_fn *fn,
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
	client_submit(c, call, NULL, false, fn, arg);
}

void sbx_client_destroy(struct sbx_client *c, struct sbx_box *box,
			sbx_box_fn *fn, void *arg)
{
	client_submit(c, sbx_call_new(SBX_CALL_DESTROY, box->sb.id), box, true,
		      fn, arg);
}

void sbx_client_drive(struct sbx_client *c, struct sbx_box *box,
		      enum sbx_call_kind kind, sbx_box_fn *fn, void *arg)
{
	struct sbx_call *call = sbx_call_new(kind, box->sb.id);

	if (call) /* as slow as making one */
		call->timeout_ms = CREATE_TIMEOUT_MS;
	client_submit(c, call, box, true, fn, arg);
}

/* What is not there then says nothing of the sandbox. */
struct other_ask {
	struct sbx_client *c;
	struct sbx_box *box; /* counted, or NULL */
	sbx_call_fn *call_fn;
	sbx_box_fn *fn; /* if there is no call_fn */
	void *arg;
};

static void on_other(struct sbx_call *call)
{
	struct other_ask *a = call->arg;
	struct sbx_box *box = NULL;

	if (a->call_fn) {
		a->call_fn(a->arg, call);
	} else {
		if (call->nr && !call->error.err && !a->c->closing)
			box = client_take_one(a->c, call);
		a->fn(a->arg, box, &call->error);
	}
	sbx_box_unref(a->box);
	free(a);
	sbx_call_free(call);
}

/* A call with path and input, copied; NULL: no memory. */
static struct sbx_call *other_new(const struct sbx_box *box,
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

/* Takes over call (NULL: no memory). */
static void other_submit(struct sbx_client *c, struct sbx_box *box,
			 struct sbx_call *call, const struct other_ask *ask)
{
	struct sbx_call failed = {0};
	struct other_ask *a = malloc(sizeof(*a));

	if (!a || !call || c->closing) {
		free(a);
		sbx_call_free(call);
		sbx_error_set(&failed.error, c->closing ? -ECANCELED : -ENOMEM,
			      "it cannot be asked for now");
		if (ask->call_fn)
			ask->call_fn(ask->arg, &failed);
		else
			ask->fn(ask->arg, NULL, &failed.error);
		return;
	}
	*a = *ask;
	a->c = c;
	a->box = box ? sbx_box_ref(box) : NULL;
	if (!call->timeout_ms)
		call->timeout_ms = c->conf->timeout_ms;
	call->done = on_other;
	call->arg = a;
	c->svc->type->submit(c->svc, call);
}

void sbx_client_snapshots(struct sbx_client *c, struct sbx_box *box,
			  sbx_call_fn *fn, void *arg)
{
	other_submit(c, box, other_new(box, SBX_CALL_SNAPSHOTS, NULL, NULL, 0),
		     &(struct other_ask){.call_fn = fn, .arg = arg});
}

void sbx_client_snapshot(struct sbx_client *c, struct sbx_box *box,
			 enum sbx_call_kind kind, const char *name,
			 sbx_box_fn *fn, void *arg)
{
	struct sbx_call *call = other_new(box, kind, name, NULL, 0);

	if (call) /* copying a large tree takes its time */
		call->timeout_ms = CREATE_TIMEOUT_MS;
	other_submit(c, box, call, &(struct other_ask){.fn = fn, .arg = arg});
}

void sbx_client_own(struct sbx_client *c, struct sbx_box *box,
		    enum sbx_call_kind kind, const char *path,
		    const void *input, size_t len, sbx_call_fn *fn, void *arg)
{
	other_submit(c, box, other_new(box, kind, path, input, len),
		     &(struct other_ask){.call_fn = fn, .arg = arg});
}

void sbx_client_keepalive(struct sbx_client *c, struct sbx_box *box,
			  unsigned int seconds, sbx_box_fn *fn, void *arg)
{
	struct sbx_call *call = sbx_call_new(SBX_CALL_KEEPALIVE, box->sb.id);

	if (call)
		call->seconds = seconds;
	client_submit(c, call, box, true, fn, arg);
}

/* ---- the listing ---- */

/*
 * What the listing did not show.  One that is in use is asked for by itself
 * before it is given up: listings of some services are late or cut short.
 */
static void client_sweep(struct sbx_client *c)
{
	for (size_t i = c->boxes.nr; i-- > 0;) {
		struct sbx_box *box = c->boxes.box[i];

		if (box->seen_ms >= c->list_sent_ms)
			continue;
		box->listed = false;
		if (box->refs > 1 && sbx_client_can(c, SBX_CALL_GET))
			sbx_client_refresh(c, box, true, 0, NULL, NULL);
		else
			client_drop(c, box);
	}
}

static void client_take_list(struct sbx_client *c, struct sbx_call *call)
{
	for (size_t i = 0; i < call->nr; i++) {
		struct sbx_box *box = sbx_boxes_put(&c->boxes, &call->list[i],
						    uv_now(c->loop));

		if (box) {
			box->listed = true;
			client_tell(c, box);
		} else
			sbx_log(SBX_LOG_WARNING, "client",
				"a sandbox of the listing does not fit, "
				"ignoring it");
	}
	client_sweep(c);
	if (sbx_boxes_name(&c->boxes) < 0)
		sbx_error_set(&call->error, -ENOMEM, "out of memory");
	c->listed = true;
	c->listed_ms = uv_now(c->loop);
}

static void on_listed(struct sbx_call *call)
{
	struct sbx_client *c = call->arg;
	struct waiter *w = c->waiters;

	c->waiters = NULL;
	c->listing = false;
	if (!call->error.err && !c->closing)
		client_take_list(c, call);
	while (w) {
		struct waiter *next = w->next;

		answer(w->fn, w->arg, NULL, &call->error);
		free(w);
		w = next;
	}
	sbx_call_free(call);
}

static void client_start_list(struct sbx_client *c)
{
	struct sbx_call *call = sbx_call_new(SBX_CALL_LIST, NULL);
	struct waiter *w = c->waiters;

	if (!call) { /* only the one who has just come waits */
		c->waiters = NULL;
		fail(w->fn, w->arg, -ENOMEM, "out of memory");
		free(w);
		return;
	}
	c->listing = true;
	c->list_sent_ms = uv_now(c->loop);
	call->done = on_listed;
	call->arg = c;
	call->timeout_ms = c->conf->timeout_ms;
	c->svc->type->submit(c->svc, call);
}

void sbx_client_list(struct sbx_client *c, sbx_box_fn *fn, void *arg)
{
	static const struct sbx_error none;
	struct waiter *w;

	if (!sbx_client_can(c, SBX_CALL_LIST) ||
	    (c->listed && client_is_fresh(c, c->listed_ms))) {
		answer(fn, arg, NULL, &none);
		return;
	}
	w = c->closing ? NULL : malloc(sizeof(*w));
	if (!w) {
		fail(fn, arg, c->closing ? -ECANCELED : -ENOMEM,
		     c->closing ? "the mount is ending" : "out of memory");
		return;
	}
	*w = (struct waiter){.fn = fn, .arg = arg, .next = c->waiters};
	c->waiters = w;
	if (!c->listing)
		client_start_list(c);
}

struct sbx_box *sbx_client_next(struct sbx_client *c, size_t *pos)
{
	while (*pos < c->boxes.nr) {
		struct sbx_box *box = c->boxes.box[(*pos)++];

		if (box->listed)
			return box;
	}
	return NULL;
}

struct sbx_box *sbx_client_known(struct sbx_client *c, const char *name)
{
	return sbx_boxes_by_name(&c->boxes, name);
}

/* ---- finding one ---- */

struct find {
	struct sbx_client *c;
	char *name;
	sbx_box_fn *fn;
	void *arg;
};

/* only what can be an id is worth a question */
static bool is_id(const char *s)
{
	size_t len = strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
			       "abcdefghijklmnopqrstuvwxyz0123456789._-");

	return len > 0 && len <= 127 && !s[len] && !strchr("._-", s[0]);
}

static void find_known(struct sbx_client *c, struct sbx_box *box,
		       const struct find *f)
{
	if (client_is_fresh(c, box->seen_ms))
		sbx_client_refresh(c, box, false, 0, f->fn, f->arg);
	else
		client_submit(c, sbx_call_new(SBX_CALL_GET, box->sb.id), box,
			      false, f->fn, f->arg);
}

static void on_find_listed(void *arg, struct sbx_box *none,
			   const struct sbx_error *error)
{
	struct find *f = arg;
	struct sbx_client *c = f->c;
	struct sbx_box *box = NULL;

	if (error->err)
		answer(f->fn, f->arg, NULL, error);
	else if ((box = sbx_boxes_by_name(&c->boxes, f->name)))
		find_known(c, box, f);
	else if (!is_id(f->name) || client_is_miss(c, f->name) ||
		 !sbx_client_can(c, SBX_CALL_GET))
		fail(f->fn, f->arg, -ENOENT, "there is no such sandbox");
	else
		client_submit(c, sbx_call_new(SBX_CALL_GET, f->name), NULL,
			      false, f->fn, f->arg);
	free(f->name);
	free(f);
}

void sbx_client_find(struct sbx_client *c, const char *name, sbx_box_fn *fn,
		     void *arg)
{
	struct find *f = calloc(1, sizeof(*f));

	if (f)
		*f = (struct find){
			.c = c, .name = strdup(name), .fn = fn, .arg = arg};
	if (!f || !f->name) {
		free(f);
		fail(fn, arg, -ENOMEM, "out of memory");
		return;
	}
	sbx_client_list(c, on_find_listed, f);
}
