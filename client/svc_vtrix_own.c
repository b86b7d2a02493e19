/*
 * The files that Vtrix alone has, in each sandbox's folder:
 *
 *	update		its spec; what is written changes it, or the image, or,
 *			in the first dialect, what each pod is told
 *	configure	what is written is said to its pod; empty until then
 *
 * Both may make a new pod, which takes minutes, and of which nobody may know
 * for a while.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/cleanup.h"
#include "client/json.h"
#include "client/own.h"
#include "client/svc_vtrix.h"

#define CHANGE_MS   300000
#define STALE_TRIES 8
#define POLL_MAX_MS 4000
/* So many answers "active" are not believed: it is that before, too. */
#define DOUBTS 2

const struct sbx_own vtrix_own[] = {
	{"update", SBX_OWN_READ | SBX_OWN_WRITE | SBX_OWN_FLUSH},
	{"configure", SBX_OWN_READ | SBX_OWN_WRITE | SBX_OWN_FLUSH},
	{0},
};

struct change {
	bool configures;
	bool begun; /* it was seen not to be active since */
	unsigned int tries;
	char *body;
};

static void change_drop(void *state)
{
	struct change *c = state;

	sbx_wipe(c->body);
	free(c);
}

static bool is_configure(const struct sbx_work *w)
{
	return !strcmp(w->call->path, "configure");
}

/* The spec that a record tells, as text. */
static void give_spec(struct sbx_work *w, const json_t *record)
{
	const json_t *spec = sbx_json_object(record, "spec");

	if (spec)
		sbx_work_give_json(w, spec);
	else
		sbx_work_give_line(w, "{}");
}

static void on_read(struct sbx_work *w, const struct sbx_answer *answer)
{
	if (answer->error.err)
		sbx_work_done(w, &answer->error);
	else
		give_spec(w, answer->json);
}

/* ---- until it is active again ---- */

static uint64_t pause_ms(struct sbx_work *w)
{
	uint64_t ms = (uint64_t)500 << (w->looks < 4 ? w->looks : 4);

	w->looks++;
	return ms < POLL_MAX_MS ? ms : POLL_MAX_MS;
}

static void look(struct sbx_work *w);

static void on_looked(struct sbx_work *w, const struct sbx_answer *answer)
{
	const char *word = sbx_vtrix_state_word(answer->json);
	bool is_active = !strcmp(word, "active");
	struct change *c = w->state;
	struct sbx_error e = answer->error;

	if (!e.err && !is_active)
		c->begun = true;
	if (!e.err && (!strcmp(word, "failed") || !strcmp(word, "stopped")))
		sbx_error_set(&e, -EIO, "the sandbox is \"%s\" after this",
			      word);
	if (!e.err && !is_active &&
	    uv_now(w->rest->loop) + POLL_MAX_MS > w->deadline)
		sbx_error_set(&e, -ETIMEDOUT,
			      "the sandbox was not active again in time");
	if (e.err)
		sbx_work_done(w, &e);
	else if (!is_active || (!c->begun && w->looks < DOUBTS))
		sbx_work_pause(w, pause_ms(w), look);
	else
		give_spec(w, answer->json);
}

static void look(struct sbx_work *w)
{
	sbx_work_get(w, w->call->id, on_looked);
}

/* ---- changing ---- */

static void change_ask(struct sbx_work *w);

static void on_changed(struct sbx_work *w, const struct sbx_answer *answer)
{
	struct change *c = w->state;
	const struct sbx_error *e = &answer->error;

	if (e->err && c->configures && e->status >= 500 &&
	    c->tries++ < STALE_TRIES) {
		/* the address of the pod before */
		sbx_work_pause(w, pause_ms(w), change_ask);
		return;
	}
	if (e->err) {
		sbx_work_done(w, e);
		return;
	}
	/* what is connected may be of a pod that is no more */
	vtrix_link_drop(vtrix_of(w->rest), w->call->id);
	w->looks = 0;
	sbx_work_pause(w, pause_ms(w), look);
}

static void change_ask(struct sbx_work *w)
{
	const struct change *c = w->state;
	const char *path = c->configures ? "/%s/configure" : VTRIX_ONE;

	sbx_work_request(w,
			 (struct sbx_request_conf){
				 .method = c->configures ? "POST" : "PATCH",
				 .path = path,
				 .id = w->call->id,
				 .body = c->body},
			 on_changed);
}

static enum sbx_vtrix_change change_of(const struct sbx_work *w)
{
	if (is_configure(w))
		return SBX_VTRIX_CONFIGURE;
	return vtrix_of(w->rest)->dialect == VTRIX_G1A ? SBX_VTRIX_UPDATE_MORE
						       : SBX_VTRIX_UPDATE;
}

static void change_start(struct sbx_work *w)
{
	struct change *c = calloc(1, sizeof(*c));
	struct sbx_error e;

	if (!c) {
		sbx_work_no_memory(w);
		return;
	}
	w->state = c;
	w->drop = change_drop;
	w->deadline = uv_now(w->rest->loop) + CHANGE_MS;
	c->configures = is_configure(w);
	if (w->call->input_len &&
	    memchr(w->call->input, '\0', w->call->input_len))
		sbx_error_set(&e, -EINVAL, "text holds no zero byte");
	else
		c->body = sbx_vtrix_change_body(
			w->call->input ? w->call->input : "", change_of(w), &e);
	if (c->body)
		change_ask(w);
	else
		sbx_work_done(w, &e);
}

void vtrix_own_start(struct sbx_work *w)
{
	if (w->call->kind == SBX_CALL_OWN_WRITE)
		change_start(w);
	else if (is_configure(w))
		sbx_work_done(w, NULL); /* nothing was asked of it */
	else
		sbx_work_get(w, w->call->id, on_read);
}
