#include "client/svc_timetravel.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cleanup.h"
#include "client/json.h"
#include "client/limits.h"
#include "client/log.h"
#include "client/options.h"
#include "client/parse.h"

static struct timetravel *timetravel_of(const struct sbx_rest *rest)
{
	return (struct timetravel *)(uintptr_t)rest;
}

/* ---- requests ---- */

static bool prepare(struct sbx_request *r, struct sbx_http_request *http,
		    char **ret_url)
{
	*ret_url = sbx_request_url(r, r->rest->url);
	/* without a body a handler throws, and answers with a page */
	http->body = r->body ? r->body : "{}";
	if (!strcmp(r->method, "GET"))
		http->body = NULL;
	http->auth_name = "x-api-key";
	http->auth = r->rest->conf->key;
	return true;
}

static void explain(const struct sbx_request *r, struct sbx_error *e,
		    const struct sbx_http_response *resp)
{
	sbx_timetravel_error(e, resp->status, resp->body, resp->len,
			     r->rest->url);
}

static void wonder(const struct sbx_request *r, struct sbx_error *e,
		   const char *why)
{
	sbx_error_set(e, -EPROTO,
		      "what answers at %.80s does not look like a time-travel "
		      "server (%s); check the address",
		      r->rest->url, why);
}

/* ---- what is remembered of VMs ---- */

static void vm_forget(struct timetravel *x, const char *id)
{
	struct timetravel_vm **at = &x->vms, *vm;

	while ((vm = *at) && strcmp(vm->id, id) != 0)
		at = &vm->next;
	if (!vm)
		return;
	*at = vm->next;
	free(vm);
}

static void vms_keep(struct timetravel *x, const struct sbx_call *call)
{
	const struct sbx_sandbox *s;
	struct timetravel_vm *vm;
	size_t i;

	for (i = 0; i < call->nr; i++) {
		s = &call->list[i];
		vm_forget(x, s->id);
		vm = malloc(sizeof(*vm) + strlen(s->id) + 1);
		if (!vm)
			return;
		strcpy(vm->id, s->id);
		vm->has_agent = !s->image || strcmp(s->image, "docker") != 0;
		vm->next = x->vms;
		x->vms = vm;
	}
}

/* ---- list ---- */

static int list_take(struct sbx_work *w, const json_t *vms, struct sbx_error *e)
{
	struct sbx_call *call = w->call;
	size_t i, n = json_array_size(vms);
	int r;

	if (n > SBX_MAX_SANDBOXES)
		return sbx_error_set(e, -EPROTO,
				     "%s lists %zu VMs, more than can be shown",
				     w->rest->url, n);
	r = sbx_work_make_room(w, n);
	for (i = 0; !r && i < n; i++) {
		r = sbx_timetravel_vm_from_json(&call->list[call->nr],
						json_array_get(vms, i),
						w->rest->url);
		if (r == 0)
			call->nr++;
		else if (r == -EPROTO)
			sbx_log(SBX_LOG_WARNING, "timetravel",
				"leaving out a VM without a usable name");
		if (r == -EPROTO)
			r = 0;
	}
	return r ? sbx_error_set(e, r, "out of memory") : 0;
}

static void on_list(void *arg, const struct sbx_answer *answer)
{
	struct sbx_work *w = arg;
	const json_t *vms = sbx_json_array(answer->json, "vms");
	const struct sbx_request none = {.rest = w->rest};
	struct sbx_error e = answer->error;

	w->request = NULL;
	if (!e.err && !vms)
		wonder(&none, &e, "no list in it");
	else if (!e.err && list_take(w, vms, &e) == 0)
		vms_keep(timetravel_of(w->rest), w->call);
	sbx_work_done(w, &e);
}

static void list_start(struct sbx_work *w)
{
	sbx_work_request(w,
			 (struct sbx_request_conf){.method = "GET",
						   .path = "/vms",
						   .repeatable = true,
						   .wants_json = true},
			 on_list);
}

/* ---- get ---- */

static void work_take_vm(struct sbx_work *w, const json_t *obj)
{
	struct timetravel *x = timetravel_of(w->rest);

	if (!sbx_work_take(w, obj, sbx_timetravel_vm_from_json))
		return;
	vms_keep(x, w->call);
	sbx_work_done(w, NULL);
}

static void on_get(void *arg, const struct sbx_answer *answer)
{
	struct sbx_work *w = arg;

	w->request = NULL;
	if (answer->error.err == -ENOENT && w->call->id)
		vm_forget(timetravel_of(w->rest), w->call->id);
	if (answer->error.err)
		sbx_work_done(w, &answer->error);
	else
		work_take_vm(w, answer->json);
}

static void get_request(struct sbx_work *w, const char *id, sbx_request_fn *fn)
{
	sbx_work_request(w,
			 (struct sbx_request_conf){.method = "GET",
						   .path = "/vms/%s",
						   .id = id,
						   .repeatable = true,
						   .wants_json = true},
			 fn);
}

static void get_start(struct sbx_work *w)
{
	get_request(w, w->call->id, on_get);
}

/* ---- destroy ---- */

static void on_destroyed(void *arg, const struct sbx_answer *answer)
{
	struct sbx_work *w = arg;
	struct sbx_error e = answer->error;

	w->request = NULL;
	if (e.err == -ENOENT)
		e = (struct sbx_error){0}; /* gone is gone */
	if (!e.err)
		vm_forget(timetravel_of(w->rest), w->call->id);
	sbx_work_done(w, &e);
}

static void delete_request(struct sbx_work *w, const char *id,
			   sbx_request_fn *fn)
{
	sbx_work_request(w,
			 (struct sbx_request_conf){.method = "DELETE",
						   .path = "/vms/%s",
						   .id = id,
						   .repeatable = true},
			 fn);
}

static void destroy_start(struct sbx_work *w)
{
	delete_request(w, w->call->id, on_destroyed);
}

/* ---- create ---- */

/* A VM's name is unique, so one that was not there before, and is after an
 * answer was lost, is the one that was made. */
struct making {
	char *name;
	struct sbx_error error; /* why it could not be made */
};

static void making_drop(void *state)
{
	struct making *m = state;

	free(m->name);
	free(m);
}

static void on_swept(void *arg, const struct sbx_answer *answer)
{
	struct sbx_work *w = arg;
	const struct making *m = w->state;

	w->request = NULL;
	sbx_work_done(w, &m->error);
}

/* A VM that could not be made leaves a record that blocks its name. */
static void on_looked_after(void *arg, const struct sbx_answer *answer)
{
	struct sbx_work *w = arg;
	struct making *m = w->state;
	const char *status = sbx_json_str(answer->json, "status");

	w->request = NULL;
	if (!answer->error.err && status && !strcmp(status, "running"))
		work_take_vm(w, answer->json);
	else if (!answer->error.err && status && !strcmp(status, "error"))
		delete_request(w, m->name, on_swept);
	else
		sbx_work_done(w, &m->error);
}

static void on_made(void *arg, const struct sbx_answer *answer)
{
	struct sbx_work *w = arg;
	struct making *m = w->state;

	w->request = NULL;
	if (!answer->error.err) {
		work_take_vm(w, answer->json);
		return;
	}
	m->error = answer->error;
	if (m->error.err == -EEXIST || m->error.err == -EACCES ||
	    (!answer->maybe_done && m->error.status != 500)) {
		sbx_work_done(w, &m->error);
		return;
	}
	if (m->error.status == 500)
		m->error.retry = SBX_RETRY_NEVER;
	/* the call's own time may be over */
	if (w->deadline < uv_now(w->rest->loop) + 10000)
		w->deadline = uv_now(w->rest->loop) + 10000;
	get_request(w, m->name, on_looked_after);
}

static void on_looked_before(void *arg, const struct sbx_answer *answer)
{
	struct sbx_work *w = arg;
	struct making *m = w->state;
	SBX_JSON json_t *body = NULL;
	SBX_FREE char *text = NULL;
	struct sbx_error e = answer->error;

	w->request = NULL;
	if (!e.err)
		sbx_error_set(&e, -EEXIST, "there is a VM %s already", m->name);
	if (e.err != -ENOENT) {
		sbx_work_done(w, &e);
		return;
	}
	body = json_pack("{s:s}", "name", m->name);
	text = body ? sbx_json_text(body, false) : NULL;
	if (!text) {
		sbx_work_no_memory(w);
		return;
	}
	sbx_work_request(w,
			 (struct sbx_request_conf){.method = "POST",
						   .path = "/vms",
						   .body = text,
						   .wants_json = true},
			 on_made);
}

static int take_name(struct sbx_maker *m, const char *key, const json_t *value)
{
	if (!sbx_timetravel_id_is_valid(json_string_value(value)))
		return sbx_maker_wrong(m, key,
				       "a VM's name is made of letters, "
				       "digits, '.', '_' and '-', and begins "
				       "with one of the first two");
	return sbx_maker_put(m, key, json_string(json_string_value(value)));
}

static const struct sbx_maker_word create_words[] = {
	{"name", take_name},
	{0},
};

/* The name that the options give, or one made up. */
static char *create_name(const char *options, struct sbx_error *e)
{
	struct sbx_maker m = {.body = json_object(), .reterr = e};
	json_t *given = NULL;
	char marker[33], *name = NULL;
	const char *text;

	if (!m.body) {
		sbx_error_set(e, -ENOMEM, "out of memory");
		return NULL;
	}
	if (sbx_maker_parse(&m, options, &given) == 0 &&
	    sbx_maker_take(&m, given, create_words) == 0) {
		text = sbx_json_str(m.body, "name");
		if (text)
			name = strdup(text);
		else if (sbx_work_make_marker(marker) == 0 &&
			 asprintf(&name, "vm-%.12s", marker) < 0)
			name = NULL;
		if (!name)
			sbx_error_set(e, -ENOMEM, "out of memory");
	}
	json_decref(given);
	json_decref(m.body);
	return name;
}

static void create_start(struct sbx_work *w)
{
	struct making *m = calloc(1, sizeof(*m));
	struct sbx_error e = {0};

	if (!m) {
		sbx_work_no_memory(w);
		return;
	}
	w->state = m;
	w->drop = making_drop;
	m->name = create_name(w->call->options, &e);
	if (m->name)
		get_request(w, m->name, on_looked_before);
	else
		sbx_work_done(w, &e);
}

/* ---- wipe ---- */

static void on_wiped(void *arg, const struct sbx_answer *answer)
{
	struct sbx_work *w = arg;

	w->request = NULL;
	if (answer->error.err)
		sbx_work_done(w, &answer->error);
	else
		get_start(w);
}

static void wipe_start(struct sbx_work *w)
{
	/* empty is empty, however often */
	sbx_work_request(w,
			 (struct sbx_request_conf){.method = "POST",
						   .path = "/vms/%s/wipe",
						   .id = w->call->id,
						   .repeatable = true},
			 on_wiped);
}

/* ---- the service ---- */

static void (*const starts[SBX_CALL_KINDS])(struct sbx_work *w) = {
	[SBX_CALL_LIST] = list_start,
	[SBX_CALL_GET] = get_start,
	[SBX_CALL_CREATE] = create_start,
	[SBX_CALL_DESTROY] = destroy_start,
	[SBX_CALL_WIPE] = wipe_start,
	[SBX_CALL_SNAPSHOTS] = timetravel_snapshots_start,
	[SBX_CALL_SNAPSHOT] = timetravel_snapshot_start,
	[SBX_CALL_RESTORE] = timetravel_restore_start,
};

static void timetravel_submit(struct sbx_service *svc, struct sbx_call *call)
{
	bool has_id =
		call->kind != SBX_CALL_LIST && call->kind != SBX_CALL_CREATE;

	sbx_work_start((struct sbx_rest *)svc, call,
		       !has_id || sbx_timetravel_id_is_valid(call->id),
		       starts[call->kind]);
}

static void cancel_streams(struct sbx_rest *rest)
{
	timetravel_runs_end(timetravel_of(rest));
}

static void timetravel_free(struct sbx_rest *rest)
{
	struct timetravel *x = timetravel_of(rest);

	while (x->vms)
		vm_forget(x, x->vms->id);
	free(x);
}

static const struct sbx_rest_type rest_type = {
	.service = &sbx_svc_timetravel,
	.prepare = prepare,
	.explain = explain,
	.wonder = wonder,
	.cancel_streams = cancel_streams,
	.free = timetravel_free,
};

static int timetravel_open(uv_loop_t *loop, const struct sbx_conf *conf,
			   struct sbx_service **ret, struct sbx_error *reterr)
{
	struct timetravel *x;
	int r;

	if (!conf->url)
		return sbx_error_set(reterr, -EINVAL,
				     "timetravel needs an address: "
				     "timetravel+http://HOST:PORT");
	if (!conf->key)
		return sbx_error_set(reterr, -ENOKEY, "there is no key for %s",
				     conf->url);
	x = calloc(1, sizeof(*x));
	if (!x)
		return sbx_error_set(reterr, -ENOMEM, "out of memory");
	r = sbx_rest_open(&x->rest, &rest_type, loop, conf, reterr);
	if (r < 0)
		free(x);
	else
		*ret = &x->rest.base;
	return r;
}

static const struct sbx_run_limits run_limits = {
	.command = TIMETRAVEL_COMMAND,
	.input = TIMETRAVEL_INPUT,
	.output = TIMETRAVEL_OUTPUT,
	.gather_ms = 8, /* each run is a snapshot */
	.commands = true,
};

const struct sbx_service_type sbx_svc_timetravel = {
	.name = "timetravel",
	.calls = 1 << SBX_CALL_LIST | 1 << SBX_CALL_GET | 1 << SBX_CALL_CREATE |
		 1 << SBX_CALL_DESTROY | 1 << SBX_CALL_WIPE |
		 1 << SBX_CALL_SNAPSHOTS | 1 << SBX_CALL_SNAPSHOT |
		 1 << SBX_CALL_RESTORE,
	.open = timetravel_open,
	.close = sbx_rest_close,
	.submit = timetravel_submit,
	.run_limits = &run_limits,
	.run = timetravel_run,
	.run_cancel = timetravel_run_cancel,
};
