/*
 * The client as fuse/ sees it, see client.h: its life, which boxes there are,
 * and finding one.
 *
 *	client_ask.c	calls about one sandbox
 *	making.c	making one that has a name
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/client_int.h"
#include "client/log.h"

struct client_waiter {
	sbx_box_fn *fn;
	void *arg;
	struct client_waiter *next;
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

/* ---- boxes come and go ---- */

void client_answer(sbx_box_fn *fn, void *arg, struct sbx_box *box,
		   const struct sbx_error *error)
{
	if (fn)
		fn(arg, box, error);
}

void client_fail(sbx_box_fn *fn, void *arg, int err, const char *text)
{
	struct sbx_error e = {0};

	sbx_error_set(&e, err, "%s", text);
	client_answer(fn, arg, NULL, &e);
}

bool client_is_fresh(const struct sbx_client *c, uint64_t at_ms)
{
	return uv_now(c->loop) - at_ms < SBX_CLIENT_FRESH_MS;
}

void client_tell(struct sbx_client *c, struct sbx_box *box)
{
	if (box->told == box->sb.state)
		return;
	box->told = box->sb.state;
	if (c->listener && c->listener->on_changed)
		c->listener->on_changed(c->listener_arg, box);
}

static void client_note_gone(struct sbx_client *c, const char *id)
{
	struct client_gone *g = c->nr_gone < CLIENT_MAX_GONE
					? malloc(sizeof(*g) + strlen(id) + 1)
					: NULL;

	if (!g)
		return;
	strcpy(g->id, id);
	g->next = c->gone;
	c->gone = g;
	c->nr_gone++;
}

static void client_forget_gone(struct sbx_client *c)
{
	struct client_gone *g;

	while ((g = c->gone)) {
		c->gone = g->next;
		free(g);
	}
	c->nr_gone = 0;
}

/* It went since the listing was asked for, and nobody made it anew. */
static bool client_is_gone(const struct sbx_client *c, const char *id)
{
	const struct client_gone *g = c->gone;

	while (g && strcmp(g->id, id) != 0)
		g = g->next;
	return g && !sbx_boxes_by_id(&c->boxes, id);
}

/* The names are not given out anew. */
static void client_drop(struct sbx_client *c, struct sbx_box *box)
{
	if (box->gone || c->closing)
		return;
	sbx_box_ref(box);
	box->gone = true;
	if (c->listing)
		client_note_gone(c, box->sb.id);
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

void client_note_miss(struct sbx_client *c, const char *name)
{
	struct client_miss *m = &c->misses[c->next_miss++ % CLIENT_MISSES];

	if (strlen(name) >= sizeof(m->name))
		return;
	strcpy(m->name, name);
	m->at_ms = uv_now(c->loop);
}

static bool client_is_miss(const struct sbx_client *c, const char *name)
{
	for (size_t i = 0; i < CLIENT_MISSES; i++)
		if (!strcmp(c->misses[i].name, name) &&
		    client_is_fresh(c, c->misses[i].at_ms))
			return true;
	return false;
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
		struct sbx_box *box;

		if (call->list[i].id && client_is_gone(c, call->list[i].id))
			continue;
		box = sbx_boxes_put(&c->boxes, &call->list[i], uv_now(c->loop));
		if (box) {
			box->listed = true;
			box->looked = false;
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
	struct client_waiter *w = c->waiters;

	c->waiters = NULL;
	c->listing = false;
	if (!call->error.err && !c->closing)
		client_take_list(c, call);
	client_forget_gone(c);
	while (w) {
		struct client_waiter *next = w->next;

		client_answer(w->fn, w->arg, NULL, &call->error);
		free(w);
		w = next;
	}
	sbx_call_free(call);
}

static void client_start_list(struct sbx_client *c)
{
	struct sbx_call *call = sbx_call_new(SBX_CALL_LIST, NULL);
	struct client_waiter *w = c->waiters;

	if (!call) { /* only the one who has just come waits */
		c->waiters = NULL;
		client_fail(w->fn, w->arg, -ENOMEM, "out of memory");
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
	struct client_waiter *w;

	if (!sbx_client_can(c, SBX_CALL_LIST) ||
	    (c->listed && client_is_fresh(c, c->listed_ms))) {
		client_answer(fn, arg, NULL, &none);
		return;
	}
	w = c->closing ? NULL : malloc(sizeof(*w));
	if (!w) {
		client_fail(fn, arg, c->closing ? -ECANCELED : -ENOMEM,
			    c->closing ? "the mount is ending"
				       : "out of memory");
		return;
	}
	*w = (struct client_waiter){.fn = fn, .arg = arg, .next = c->waiters};
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
	static const struct sbx_error none;

	if (client_is_fresh(c, box->seen_ms))
		client_answer(f->fn, f->arg, box, &none);
	else
		client_get(c, box->sb.id, box, f->fn, f->arg);
}

static void on_find_listed(void *arg, struct sbx_box *none,
			   const struct sbx_error *error)
{
	struct find *f = arg;
	struct sbx_client *c = f->c;
	struct sbx_box *box = NULL;

	if (error->err)
		client_answer(f->fn, f->arg, NULL, error);
	else if ((box = sbx_boxes_by_name(&c->boxes, f->name)))
		find_known(c, box, f);
	else if (!is_id(f->name) || client_is_miss(c, f->name) ||
		 !sbx_client_can(c, SBX_CALL_GET))
		client_fail(f->fn, f->arg, -ENOENT, "there is no such sandbox");
	else
		client_get(c, f->name, NULL, f->fn, f->arg);
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
		client_fail(fn, arg, -ENOMEM, "out of memory");
		return;
	}
	sbx_client_list(c, on_find_listed, f);
}
