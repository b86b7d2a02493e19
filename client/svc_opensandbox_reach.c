/*
 * Where the execd of a sandbox is, and whether it answers: the state of the
 * sandbox first, since a frozen one accepts connections and says nothing;
 * then its endpoint, as the server tells it; then a ping there.  What cannot
 * be reached directly is tried by the server's proxy, in turns.  What was
 * found is kept until somebody finds it wrong.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/json.h"
#include "client/log.h"
#include "client/svc_opensandbox.h"

#define EXECD_PORT "44772"
#define PING_MS	   5000

static void reach_look(void *arg);

struct osb_reach *osb_reach_of(struct osb *x, const char *id)
{
	struct osb_reach *r;

	for (r = x->reaches; r; r = r->next)
		if (!strcmp(r->id, id))
			return r;
	r = calloc(1, sizeof(*r));
	if (r)
		r->id = strdup(id);
	if (!r || !r->id) {
		free(r);
		return NULL;
	}
	r->x = x;
	r->next = x->reaches;
	x->reaches = r;
	return r;
}

static void reach_clear(struct osb_reach *r)
{
	r->known = false;
	free(r->base);
	r->base = NULL;
	sbx_osb_endpoint_release(&r->endpoint);
}

void osb_reach_forget(struct osb_reach *r)
{
	r->known = false;
}

static void reach_free(struct osb_reach *r)
{
	struct osb_reach_wait *w;

	while ((w = r->waiting))
		osb_reach_unwait(w);
	sbx_request_cancel(r->request);
	sbx_alarm_cancel(r->alarm);
	reach_clear(r);
	sbx_secret_free(r->token);
	free(r->id);
	free(r);
}

void osb_reach_drop(struct osb *x, const char *id)
{
	struct osb_reach **p, *r;

	for (p = &x->reaches; (r = *p); p = &r->next) {
		if (strcmp(r->id, id) != 0)
			continue;
		/* streams of it end by themselves, and hold on to it */
		r->gone = true;
		r->known = false;
		if (r->waiting || r->users)
			return;
		*p = r->next;
		reach_free(r);
		return;
	}
}

struct osb_reach *osb_reach_hold(struct osb_reach *r)
{
	r->users++;
	return r;
}

void osb_reach_let_go(struct osb_reach *r)
{
	r->users--;
	if (r->gone)
		osb_reach_drop(r->x, r->id);
}

void osb_reach_stop(struct sbx_rest *rest)
{
	struct osb_reach *r;

	for (r = ((struct osb *)rest)->reaches; r; r = r->next) {
		while (r->waiting)
			osb_reach_unwait(r->waiting);
		r->request = sbx_request_cancel(r->request);
		r->alarm = sbx_alarm_cancel(r->alarm);
	}
}

void osb_reach_release(struct sbx_rest *rest)
{
	struct osb *x = (struct osb *)rest;
	struct osb_reach *r;

	while ((r = x->reaches)) {
		x->reaches = r->next;
		reach_free(r);
	}
}

/* ---- finding out ---- */

void osb_reach_unwait(struct osb_reach_wait *w)
{
	if (!w->link)
		return;
	*w->link = w->next;
	if (w->next)
		w->next->link = w->link;
	w->link = NULL;
}

static void reach_tell(struct osb_reach *r, const struct sbx_error *error)
{
	struct osb_reach_wait *w, *all = r->waiting;

	/* who comes from here on waits for the next time */
	r->waiting = NULL;
	if (all)
		all->link = &all;
	while ((w = all)) {
		osb_reach_unwait(w);
		w->fn(w->arg, error);
	}
}

static void reach_fail(struct osb_reach *r, const struct sbx_error *error)
{
	if (error->err == -ENOENT || error->status == 404)
		r->known = false;
	reach_tell(r, error);
}

static void reach_no_memory(struct osb_reach *r)
{
	struct sbx_error e;

	sbx_error_set(&e, -ENOMEM, "out of memory");
	reach_fail(r, &e);
}

static void reach_ask(struct osb_reach *r, struct sbx_request_conf conf,
		      sbx_request_fn *fn)
{
	conf.method = "GET";
	conf.repeatable = true;
	conf.deadline = r->deadline;
	r->request = sbx_request_start(&r->x->rest, &conf, fn, r);
	if (!r->request)
		reach_no_memory(r);
}

/* Again from the start after a pause; if there is no time, fails. */
static void reach_again(struct osb_reach *r, const struct sbx_error *error)
{
	unsigned int ms = sbx_backoff_next(&r->backoff);

	if (uv_now(r->x->rest.loop) + ms >= r->deadline) {
		reach_fail(r, error);
		return;
	}
	r->alarm = sbx_alarm_set(&r->x->rest, ms, reach_look, r);
	if (!r->alarm)
		reach_no_memory(r);
}

static void on_probed(void *arg, const struct sbx_answer *answer)
{
	static const struct sbx_error none;
	struct osb_reach *r = arg;

	r->request = NULL;
	r->take_over = !answer->error.err;
	r->known = true;
	sbx_log(SBX_LOG_DEBUG, "opensandbox", "%s: execd at %s, %s", r->id,
		r->base, r->take_over ? "1.0.19 or later" : "before 1.0.19");
	reach_tell(r, &none);
}

static void on_pinged(void *arg, const struct sbx_answer *answer)
{
	struct osb_reach *r = arg;

	r->request = NULL;
	if (!answer->error.err) {
		reach_ask(r,
			  (struct sbx_request_conf){.path = "/directories/list",
						    .query = "path=/&depth=0",
						    .to = r},
			  on_probed);
		return;
	}
	if (answer->error.err == -EACCES) {
		reach_fail(r, &answer->error);
		return;
	}
	r->by_server = !r->by_server;
	reach_again(r, &answer->error);
}

const char *osb_reach_query(const struct osb_reach *r)
{
	return r->by_server ? "use_server_proxy=true" : NULL;
}

int osb_reach_take(struct osb_reach *r, struct osb *x, const json_t *obj)
{
	struct sbx_osb_endpoint e;
	bool tls = !strncmp(x->rest.url, "https:", 6);
	char *base;
	int n = sbx_osb_endpoint_from_json(&e, obj);

	if (n < 0)
		return n;
	/* no scheme comes with it: it is that of the server */
	if (asprintf(&base, "http%s://%s", tls ? "s" : "", e.base) < 0) {
		sbx_osb_endpoint_release(&e);
		return -ENOMEM;
	}
	reach_clear(r);
	r->endpoint = e;
	r->base = base;
	return 0;
}

static void reach_ping(struct osb_reach *r)
{
	uint64_t until = uv_now(r->x->rest.loop) + PING_MS;
	struct sbx_request_conf conf = {
		.method = "GET",
		.path = "/ping",
		.deadline = until < r->deadline ? until : r->deadline,
		.to = r};

	/* not repeated: the other way is tried first */
	r->request = sbx_request_start(&r->x->rest, &conf, on_pinged, r);
	if (!r->request)
		reach_no_memory(r);
}

static void on_endpoint(void *arg, const struct sbx_answer *answer)
{
	struct osb_reach *r = arg;
	struct sbx_error e = answer->error;
	int n = e.err ? 0 : osb_reach_take(r, r->x, answer->json);

	r->request = NULL;
	if (n == -EPROTO)
		sbx_rest_wonder(&r->x->rest, &e,
				"the endpoint it gives is no address");
	else if (n < 0)
		sbx_error_set(&e, n, "out of memory");
	if (!e.err)
		reach_ping(r);
	else if (e.retry == SBX_RETRY_LATER)
		reach_again(r, &e); /* no address yet */
	else
		reach_fail(r, &e);
}

static void on_state(void *arg, const struct sbx_answer *answer)
{
	struct osb_reach *r = arg;
	const char *word = sbx_osb_state_word(answer->json);
	struct sbx_error e = answer->error;

	r->request = NULL;
	if (!e.err &&
	    (!strcmp(word, "Running") || !strcmp(word, "Allocated"))) {
		reach_ask(r,
			  (struct sbx_request_conf){
				  .path = "/sandboxes/%s/endpoints/" EXECD_PORT,
				  .id = r->id,
				  .query = osb_reach_query(r),
				  .wants_json = true},
			  on_endpoint);
		return;
	}
	if (!e.err && (!strcmp(word, "Pending") || !strcmp(word, "Resuming"))) {
		sbx_error_set(&e, -EAGAIN, "the sandbox is not ready yet");
		e.retry = SBX_RETRY_LATER;
		reach_again(r, &e);
		return;
	}
	if (!e.err && !strncmp(word, "Paus", 4)) {
		sbx_error_set(&e, -EAGAIN, "the sandbox is \"%.40s\"", word);
		e.retry = SBX_RETRY_RESUME;
	} else if (!e.err) {
		sbx_error_set(&e, -EIO, "the sandbox is \"%.40s\"", word);
		e.retry = SBX_RETRY_LATER;
	}
	reach_fail(r, &e);
}

static void reach_look(void *arg)
{
	struct osb_reach *r = arg;

	r->alarm = NULL;
	reach_ask(r,
		  (struct sbx_request_conf){.path = "/sandboxes/%s",
					    .id = r->id,
					    .wants_json = true},
		  on_state);
}

static void on_known(void *arg)
{
	static const struct sbx_error none;
	struct osb_reach *r = arg;

	r->alarm = NULL;
	if (r->known)
		reach_tell(r, &none);
	else
		reach_look(r);
}

void osb_reach_find(struct osb_reach *r, struct osb_reach_wait *w,
		    uint64_t deadline)
{
	w->next = r->waiting;
	w->link = &r->waiting;
	if (w->next)
		w->next->link = &w->next;
	r->waiting = w;
	if (r->request || r->alarm) {
		if (deadline > r->deadline)
			r->deadline = deadline;
		return;
	}
	r->deadline = deadline;
	r->backoff = (struct sbx_backoff){.first_ms = 200, .max_ms = 2000};
	r->alarm = sbx_alarm_set(&r->x->rest, 0, on_known, r);
	if (!r->alarm)
		reach_no_memory(r);
}
