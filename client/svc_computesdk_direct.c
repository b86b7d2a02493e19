/*
 * A daemon without a gateway: it lists, makes and ends the sandboxes on its
 * own machine, of which one is the main one.  Those of a daemon that cannot
 * have more than one are that one.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/cleanup.h"
#include "client/json.h"
#include "client/svc_computesdk.h"

#define MAIN "main" /* where it does not tell a name */

static struct csdk *csdk_of(const struct sbx_work *w)
{
	return (struct csdk *)w->rest;
}

static void direct_nonsense(struct sbx_work *w, int r)
{
	struct sbx_error e;

	if (r == -EPROTO)
		sbx_error_wonder(&e, w->rest->url, "a ComputeSDK daemon",
				 "no sandbox in it");
	else
		sbx_error_set(&e, r, "out of memory");
	sbx_work_done(w, &e);
}

/* An entry of the daemon's, in the words of a gateway; NULL: it told none. */
static int take_entry(struct csdk *x, const json_t *entry, const char *id,
		      bool is_main, struct sbx_sandbox *ret)
{
	SBX_JSON json_t *obj = entry ? json_deep_copy(entry) : json_object();

	if (!obj || json_object_set_new(obj, "sandboxId", json_string(id)) < 0)
		return id && obj ? -ENOMEM : -EPROTO;
	/* its own idea of its address may be another */
	if (is_main &&
	    json_object_set_new(obj, "url", json_string(x->rest.url)) < 0)
		return -ENOMEM;
	return csdk_box_take(x, obj, NULL, ret);
}

static int take_child(struct csdk *x, const json_t *entry,
		      struct sbx_sandbox *ret)
{
	return take_entry(x, entry, sbx_json_str(entry, "subdomain"),
			  sbx_json_bool(entry, "is_main", false), ret);
}

/* ---- what there is ---- */

static void looked(struct sbx_work *w)
{
	struct csdk_at *at = w->state;
	struct csdk_box *b, *next;

	for (b = csdk_of(w)->boxes; b; b = next) {
		next = b->next;
		if (b->told_ms < at->since)
			csdk_box_drop(b);
	}
	at->looked(w);
}

static void on_info(struct sbx_work *w, const struct sbx_answer *answer)
{
	const json_t *info = sbx_csdk_data(answer->json);
	const char *id = sbx_json_str(info, "main_subdomain");
	struct sbx_sandbox s;
	int r;

	if (answer->error.err && answer->error.err != -EOPNOTSUPP) {
		sbx_work_done(w, &answer->error);
		return;
	}
	r = take_entry(csdk_of(w), answer->error.err ? NULL : info,
		       sbx_csdk_id_is_valid(id) ? id : MAIN, true, &s);
	if (r < 0) {
		direct_nonsense(w, r);
		return;
	}
	sbx_sandbox_release(&s);
	looked(w);
}

static void on_sandboxes(struct sbx_work *w, const struct sbx_answer *answer)
{
	const json_t *list =
		json_object_get(sbx_csdk_data(answer->json), "sandboxes");
	struct sbx_sandbox s;
	size_t i;

	if (answer->error.err == -EOPNOTSUPP || answer->error.err == -ENOENT) {
		sbx_work_request(w,
				 (struct sbx_request_conf){.method = "GET",
							   .path = "/info",
							   .repeatable = true,
							   .wants_json = true},
				 on_info);
		return;
	}
	if (answer->error.err) {
		sbx_work_done(w, &answer->error);
		return;
	}
	if (!json_is_array(list) && !json_is_null(list)) {
		direct_nonsense(w, -EPROTO);
		return;
	}
	/* one that makes no sense is left out */
	for (i = 0; i < json_array_size(list); i++)
		if (take_child(csdk_of(w), json_array_get(list, i), &s) == 0)
			sbx_sandbox_release(&s);
	looked(w);
}

void csdk_direct_look(struct sbx_work *w, sbx_work_fn *then)
{
	struct csdk_at *at = w->state;

	at->looked = then;
	at->since = uv_now(w->rest->loop);
	sbx_work_request(w,
			 (struct sbx_request_conf){.method = "GET",
						   .path = "/sandboxes",
						   .repeatable = true,
						   .wants_json = true},
			 on_sandboxes);
}

/* ---- making one ---- */

static void on_made(struct sbx_work *w, const struct sbx_answer *answer)
{
	struct sbx_sandbox s;
	int r;

	if (answer->error.err) {
		sbx_work_done(w, &answer->error);
		return;
	}
	r = take_child(csdk_of(w), sbx_csdk_data(answer->json), &s);
	if (r < 0)
		direct_nonsense(w, r);
	else
		csdk_work_give(w, &s);
}

/* It gives names itself, and keeps no others. */
void csdk_direct_create_start(struct sbx_work *w)
{
	struct sbx_csdk_create wish;
	SBX_JSON json_t *obj = NULL;
	SBX_FREE char *body = NULL;
	struct sbx_error e;

	if (sbx_csdk_create_parse(&wish, w->call->options, "", &e) < 0) {
		sbx_work_done(w, &e);
		return;
	}
	obj = sbx_json_parse(wish.body, strlen(wish.body));
	if (wish.is_named || wish.may_exist) {
		sbx_error_set(&e, -EOPNOTSUPP,
			      "a daemon without a gateway names its sandboxes "
			      "itself; write other options to `new`");
		sbx_csdk_create_release(&wish);
		sbx_work_done(w, &e);
		return;
	}
	sbx_csdk_create_release(&wish);
	json_object_del(obj, "name");
	json_object_del(obj, "namespace");
	body = obj ? sbx_json_text(obj, false) : NULL;
	if (!body) {
		sbx_work_no_memory(w);
		return;
	}
	sbx_work_request(w,
			 (struct sbx_request_conf){.method = "POST",
						   .path = "/sandboxes",
						   .body = body,
						   .wants_json = true},
			 on_made);
}
