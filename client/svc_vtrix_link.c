/*
 * The executor of a sandbox: calls on one WebSocket, which is made for the
 * first of them and closed when none came for a while.
 *
 * That a connection was made proves nothing: it is made to a stopped sandbox,
 * too, and nobody answers then.  So the gateway is asked first, and then a
 * command whose output is known must come back, from which is seen, too, how
 * this gateway cuts output (svc_vtrix_rpc.h).
 *
 * A pod may vanish behind a connection that stays: where nothing was heard for
 * a while of what is under way, it is asked whether it is there.
 *
 * An executor's answers may get lost, and connections are said to mix up what
 * follows an accident: so whatever is strange ends the connection.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cleanup.h"
#include "client/log.h"
#include "client/parse.h"
#include "client/svc_vtrix.h"

#define LOOK_MS	      20000
#define PROBE_MS      8000
#define IDLE_MS	      60000
#define SILENT_MS     4000 /* something is under way, and nothing is heard */
#define BEAT_MS	      8000
#define MAX_QUEUE     (1024 * 1024)
#define MAX_PROBE     1024
#define PROBE_SECONDS 5

struct vtrix_link {
	struct vtrix *x;
	struct vtrix_link *next;
	bool up;
	bool dead; /* freed when its socket is */
	struct sbx_request *request;
	struct sbx_ws *ws;
	struct sbx_alarm *idle, *watch;
	uint64_t heard_ms;
	int64_t last_id;
	struct vtrix_call *calls;
	struct vtrix_call probe, beat;
	struct sbx_buf probed; /* chunks, each ended by a NUL */
	enum sbx_vtrix_ends ends;
	char id[];
};

/* ---- its end ---- */

static void link_free(struct vtrix_link *l)
{
	sbx_buf_release(&l->probed);
	free(l);
}

static void call_unlink(struct vtrix_call *c)
{
	struct vtrix_call **at = &c->link->calls;

	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	c->link = NULL;
	c->alarm = sbx_alarm_cancel(c->alarm);
	json_decref(c->params);
	c->params = NULL;
}

static void call_fail(struct vtrix_call *c, const struct sbx_error *e)
{
	bool sent = c->id;

	call_unlink(c);
	c->on_end(c, NULL, e, sent);
}

/* What is under way fails.  l is gone, or will be with its socket. */
static void link_break(struct vtrix_link *l, const struct sbx_error *e)
{
	struct vtrix_link **at = &l->x->links;

	if (l->dead)
		return;
	while (*at != l)
		at = &(*at)->next;
	*at = l->next;
	l->dead = true;
	l->up = false;
	l->request = sbx_request_cancel(l->request);
	l->idle = sbx_alarm_cancel(l->idle);
	l->watch = sbx_alarm_cancel(l->watch);
	while (l->calls)
		call_fail(l->calls, e);
	if (l->ws)
		sbx_ws_close(l->ws);
	else
		link_free(l);
}

static void link_fail(struct vtrix_link *l, int err, enum sbx_retry retry,
		      const char *text)
{
	struct sbx_error e;

	sbx_error_set(&e, err, "%s", text);
	e.retry = retry;
	link_break(l, &e);
}

static void link_strange(struct vtrix_link *l)
{
	link_fail(l, -EPROTO, SBX_RETRY_CONNECTION,
		  "the sandbox's executor said what makes no sense");
}

static void link_no_memory(struct vtrix_link *l)
{
	link_fail(l, -ENOMEM, SBX_RETRY_LATER, "out of memory");
}

/* ---- sending ---- */

static void on_late(void *arg)
{
	struct vtrix_call *c = arg;

	c->alarm = NULL;
	link_fail(c->link, -ETIMEDOUT, SBX_RETRY_CONNECTION,
		  "the sandbox's executor did not answer in time");
}

/* false: it must wait until there is room, or the link broke. */
static bool call_send(struct vtrix_call *c)
{
	struct vtrix_link *l = c->link;
	SBX_FREE char *text = NULL;
	int r;

	text = sbx_vtrix_rpc_request(l->last_id + 1, c->method,
				     json_incref(c->params));
	if (!text) {
		link_no_memory(l);
		return false;
	}
	r = sbx_ws_send_text(l->ws, text);
	if (r == -EAGAIN)
		return false;
	if (r < 0) {
		link_fail(l, r, SBX_RETRY_CONNECTION,
			  "a message to the sandbox's executor cannot be sent");
		return false;
	}
	c->id = ++l->last_id;
	json_decref(c->params);
	c->params = NULL;
	sbx_alarm_cancel(c->alarm);
	c->alarm = sbx_alarm_set(&l->x->rest, c->timeout_ms, on_late, c);
	if (c->alarm)
		return true;
	link_no_memory(l);
	return false;
}

static void link_watch(struct vtrix_link *l);

static void link_send(struct vtrix_link *l)
{
	struct vtrix_call *c;

	do {
		for (c = l->calls; c && c->id; c = c->next)
			;
		if (c)
			link_watch(l);
	} while (c && call_send(c));
}

/* ---- idling ---- */

static void on_idle(void *arg)
{
	struct vtrix_link *l = arg;

	l->idle = NULL;
	link_fail(l, -ECANCELED, SBX_RETRY_CONNECTION, "nobody needs it");
}

static void link_rest(struct vtrix_link *l)
{
	if (l->calls || l->idle || l->dead)
		return;
	l->idle = sbx_alarm_set(&l->x->rest, IDLE_MS, on_idle, l);
	if (!l->idle)
		link_no_memory(l);
}

/* ---- what comes ---- */

static struct vtrix_call *call_find(const struct vtrix_link *l, int64_t id)
{
	struct vtrix_call *c = l->calls;

	while (c && c->id != id)
		c = c->next;
	return c;
}

/* What the executor refused it may have begun, unless it says otherwise. */
static bool error_is_sure(const struct sbx_error *e)
{
	return e->err == -EOPNOTSUPP || e->err == -EINVAL || e->err == -ENOENT;
}

static void call_answer(struct vtrix_call *c, const struct sbx_vtrix_msg *m)
{
	struct vtrix_link *l = c->link;
	struct sbx_error e = {0};

	if (m->kind == SBX_VTRIX_ERROR)
		sbx_vtrix_rpc_error(&e, m->data);
	call_unlink(c);
	/* before it is told: that may end the link, or start another call */
	link_rest(l);
	c->on_end(c, m->data, &e, e.err && !error_is_sure(&e));
}

static void on_text(void *arg, const char *text, size_t len)
{
	struct vtrix_link *l = arg;
	struct sbx_vtrix_msg m;
	struct vtrix_call *c;
	int r;

	if (l->dead)
		return;
	l->heard_ms = uv_now(l->x->rest.loop);
	r = sbx_vtrix_rpc_parse(&m, text, len);
	if (r < 0) {
		link_strange(l);
		return;
	}
	/* of what is not known any more it is only late */
	c = m.kind == SBX_VTRIX_OTHER ? NULL : call_find(l, m.id);
	if (c && m.kind != SBX_VTRIX_NOTE)
		call_answer(c, &m);
	else if (c && c->on_note)
		c->on_note(c, &m, l->ends);
	sbx_vtrix_rpc_release(&m);
}

static void on_message(void *arg, const void *data, size_t len)
{
	link_strange(arg);
}

static void on_writable(void *arg)
{
	struct vtrix_link *l = arg;

	if (l->up)
		link_send(l);
}

static void refused(struct sbx_error *e, int status, const char *url)
{
	if (status == 404 || status == 405) {
		sbx_error_set(e, -EOPNOTSUPP,
			      "%s has no channel for commands of this sandbox; "
			      "is it of a later generation?",
			      url);
		e->status = status;
	} else if (status == 401 || status == 403) {
		e->retry = SBX_RETRY_NEVER;
	}
}

static void on_close(void *arg, const struct sbx_ws_end *end)
{
	struct vtrix_link *l = arg;
	struct sbx_error e = end->error;

	l->ws = NULL;
	if (l->dead) {
		link_free(l);
		return;
	}
	if (!end->was_open)
		refused(&e, end->error.status, l->x->rest.url);
	link_break(l, &e);
}

/* ---- its beginning ---- */

static void probe_note(struct vtrix_call *c, const struct sbx_vtrix_msg *m,
		       enum sbx_vtrix_ends ends)
{
	struct vtrix_link *l = c->arg;

	if (strcmp(m->method, "exec.stdout") != 0)
		return;
	if (sbx_vtrix_add_chunk(&l->probed, m->data, SBX_VTRIX_ENDS_THERE) == 0)
		sbx_buf_add(&l->probed, "", 1);
	if (l->probed.err)
		link_strange(l);
}

static void probe_end(struct vtrix_call *c, const json_t *result,
		      const struct sbx_error *e, bool maybe_done)
{
	struct vtrix_link *l = c->arg;

	if (l->dead)
		return;
	/* in a pod that is about to go, say */
	if (!e->err && sbx_vtrix_exit_code(result) != 0) {
		link_strange(l);
		return;
	}
	/* one that refuses answers, too: so it does to what is to come */
	if (!e->err &&
	    sbx_vtrix_ends_from_probe((char *)sbx_buf_at(&l->probed),
				      sbx_buf_len(&l->probed), &l->ends) < 0)
		sbx_log(SBX_LOG_WARNING, "vtrix",
			"%s: a command's output is not what it should be",
			l->id);
	sbx_buf_release(&l->probed);
	l->up = true;
	link_send(l);
}

static void call_add(struct vtrix_link *l, struct vtrix_call *c)
{
	struct vtrix_call **at = &l->calls;

	while (*at)
		at = &(*at)->next;
	c->link = l;
	c->next = NULL;
	c->id = 0;
	c->alarm = NULL;
	*at = c;
	l->idle = sbx_alarm_cancel(l->idle);
}

/* ---- whether it is there ---- */

/* Whatever it says, it is. */
static void beat_end(struct vtrix_call *c, const json_t *result,
		     const struct sbx_error *e, bool maybe_done)
{
}

static void on_watch(void *arg)
{
	struct vtrix_link *l = arg;
	uint64_t now = uv_now(l->x->rest.loop);

	l->watch = NULL;
	if (!l->calls)
		return;
	link_watch(l);
	if (l->beat.link || now - l->heard_ms < SILENT_MS)
		return;
	l->beat = (struct vtrix_call){
		.method = "stat",
		.params = json_pack("{s:s}", "path", "/"),
		.timeout_ms = BEAT_MS,
		.on_end = beat_end,
	};
	call_add(l, &l->beat);
	call_send(&l->beat);
}

/* Without memory for it, the deadlines of the calls must do. */
static void link_watch(struct vtrix_link *l)
{
	if (!l->watch)
		l->watch = sbx_alarm_set(&l->x->rest, SILENT_MS, on_watch, l);
}

static void on_open(void *arg)
{
	struct vtrix_link *l = arg;

	l->probe = (struct vtrix_call){
		.method = "exec",
		.params = json_pack("{s:s,s:i}", "command", SBX_VTRIX_PROBE,
				    "timeout", PROBE_SECONDS),
		.timeout_ms = PROBE_MS,
		.on_note = probe_note,
		.on_end = probe_end,
		.arg = l,
	};
	call_add(l, &l->probe);
	call_send(&l->probe);
}

static void link_connect(struct vtrix_link *l)
{
	static const struct sbx_ws_handler handler = {
		.on_open = on_open,
		.on_message = on_message,
		.on_text = on_text,
		.on_writable = on_writable,
		.on_close = on_close,
	};
	struct sbx_rest *rest = &l->x->rest;
	SBX_FREE char *prefix = vtrix_prefix(rest, l->x->dialect);
	SBX_FREE char *id = sbx_percent_encode(l->id);
	SBX_FREE char *url = NULL;

	if (!prefix || !id || asprintf(&url, "%s/%s/connect", prefix, id) < 0) {
		url = NULL;
		link_no_memory(l);
		return;
	}
	l->ws = sbx_rest_socket(rest,
				&(struct sbx_ws_conf){.url = url,
						      .auth_scheme = "Bearer",
						      .auth = rest->conf->key,
						      .headers = l->x->headers,
						      .max_queue = MAX_QUEUE},
				&handler, l);
	if (!l->ws)
		link_fail(l, -EAGAIN, SBX_RETRY_LATER,
			  "too many connections at once");
}

static void on_looked(void *arg, const struct sbx_answer *answer)
{
	struct vtrix_link *l = arg;
	const char *url = l->x->rest.url;
	struct sbx_error e = answer->error;
	struct sbx_sandbox s = {0};

	l->request = NULL;
	if (!e.err && sbx_vtrix_sandbox_from_json(&s, answer->json, url) < 0)
		sbx_rest_wonder(&l->x->rest, &e, "no sandbox in it");
	else if (!e.err && s.state != SBX_STATE_RUNNING) {
		sbx_error_set(&e, -EAGAIN, "the sandbox is %s",
			      sbx_state_name(s.state));
		/* somebody must start it: it is not worth waiting for */
		e.retry = s.state == SBX_STATE_STOPPED ? SBX_RETRY_RESUME
						       : SBX_RETRY_LATER;
	}
	sbx_sandbox_release(&s);
	if (e.err)
		link_break(l, &e);
	else
		link_connect(l);
}

static void link_begin(struct vtrix_link *l)
{
	struct sbx_rest *rest = &l->x->rest;

	l->request = sbx_request_start(
		rest,
		&(struct sbx_request_conf){.method = "GET",
					   .path = VTRIX_ONE,
					   .id = l->id,
					   .deadline =
						   uv_now(rest->loop) + LOOK_MS,
					   .repeatable = true,
					   .wants_json = true},
		on_looked, l);
	if (!l->request)
		link_no_memory(l);
}

/* ---- what the others call ---- */

static struct vtrix_link *link_find(const struct vtrix *x, const char *id)
{
	struct vtrix_link *l = x->links;

	while (l && strcmp(l->id, id) != 0)
		l = l->next;
	return l;
}

static struct vtrix_link *link_new(struct vtrix *x, const char *id)
{
	struct vtrix_link *l = calloc(1, sizeof(*l) + strlen(id) + 1);

	if (!l)
		return NULL;
	l->x = x;
	strcpy(l->id, id);
	sbx_buf_init(&l->probed, MAX_PROBE);
	l->next = x->links;
	x->links = l;
	return l;
}

/* Nothing is called from within: the alarm of a call that waits starts it. */
static void on_due(void *arg)
{
	struct vtrix_call *c = arg;
	struct vtrix_link *l = c->link;

	c->alarm = NULL;
	if (l->up)
		link_send(l);
	else if (!l->request && !l->ws)
		link_begin(l);
}

int vtrix_call_start(struct vtrix *x, const char *id, struct vtrix_call *c)
{
	struct vtrix_link *l = link_find(x, id);

	if (!l)
		l = link_new(x, id);
	if (!l) {
		json_decref(c->params);
		return -ENOMEM;
	}
	call_add(l, c);
	c->alarm = c->params ? sbx_alarm_set(&x->rest, 0, on_due, c) : NULL;
	if (c->alarm)
		return 0;
	vtrix_call_cancel(c);
	return -ENOMEM;
}

void vtrix_call_cancel(struct vtrix_call *c)
{
	struct vtrix_link *l = c->link;

	if (!l)
		return;
	call_unlink(c);
	link_rest(l);
}

void vtrix_link_drop(struct vtrix *x, const char *id)
{
	struct vtrix_link *l = link_find(x, id);

	if (l)
		link_fail(l, -ETIMEDOUT, SBX_RETRY_CONNECTION,
			  "the sandbox was started anew, or ended");
}

void vtrix_links_end(struct vtrix *x)
{
	while (x->links)
		link_fail(x->links, -ECANCELED, SBX_RETRY_NEVER,
			  "the service is being closed");
}
