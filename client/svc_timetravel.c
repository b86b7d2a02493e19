#include "client/svc_timetravel.h"

#include <errno.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cleanup.h"
#include "client/json.h"
#include "client/options.h"
#include "client/parse.h"

#define MAKING_MS 1000 /* between two looks at one that is being made */

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

/* ---- what is remembered of VMs ---- */

static int vm_compare(const void *a, const void *b)
{
	const struct timetravel_vm *x = a, *y = b;

	return strcmp(x->id, y->id);
}

static struct timetravel_vm *vm_find(const struct timetravel *x, const char *id)
{
	struct timetravel_vm key, **at;

	snprintf(key.id, sizeof(key.id), "%s", id);
	at = tfind(&key, &x->vms, vm_compare);
	return at ? *at : NULL;
}

const struct timetravel_vm *timetravel_vm_find(const struct timetravel *x,
					       const char *id)
{
	return vm_find(x, id);
}

static void vm_forget(struct timetravel *x, struct timetravel_vm *vm)
{
	tdelete(vm, &x->vms, vm_compare);
	x->nr_vms--;
	free(vm);
}

static void vms_forget(struct timetravel *x)
{
	while (x->vms)
		vm_forget(x, *(struct timetravel_vm **)x->vms);
}

static struct timetravel_vm *vm_new(struct timetravel *x, const char *id)
{
	struct timetravel_vm *vm = calloc(1, sizeof(*vm));

	if (!vm)
		return NULL;
	snprintf(vm->id, sizeof(vm->id), "%s", id);
	if (!tsearch(vm, &x->vms, vm_compare)) {
		free(vm);
		return NULL;
	}
	x->nr_vms++;
	return vm;
}

/*
 * A record says running of a VM that was lost, too; whether it is well is told
 * by a look at that one alone, and kept.  An agent that runs a command does not
 * say that it is well.
 */
static void vm_judge(struct timetravel *x, struct timetravel_vm *vm,
		     struct sbx_sandbox *s)
{
	bool runs, is_told = sbx_timetravel_says_agent(s->info, &runs);

	if (is_told && vm->has_agent && runs && timetravel_running(x, s->id))
		s->state = SBX_STATE_RUNNING;
	if (is_told)
		vm->is_lost = s->state == SBX_STATE_ERROR;
	else if (vm->is_lost && s->state == SBX_STATE_RUNNING)
		s->state = SBX_STATE_ERROR;
}

static int took(struct sbx_rest *rest, struct sbx_sandbox *list, size_t nr)
{
	struct timetravel *x = timetravel_of(rest);
	struct timetravel_vm *vm;
	size_t i;

	/* those that are no more may have gone without a word */
	if (x->nr_vms + nr > 2 * (size_t)SBX_MAX_SANDBOXES)
		vms_forget(x);
	for (i = 0; i < nr; i++) {
		vm = vm_find(x, list[i].id);
		if (!vm)
			vm = vm_new(x, list[i].id);
		if (!vm)
			return -ENOMEM;
		vm->has_agent =
			!list[i].image || strcmp(list[i].image, "docker") != 0;
		vm_judge(x, vm, &list[i]);
	}
	return 0;
}

static void gone(struct sbx_rest *rest, const char *id)
{
	struct timetravel *x = timetravel_of(rest);
	struct timetravel_vm *vm = vm_find(x, id);

	if (vm)
		vm_forget(x, vm);
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

static void take_vm(struct sbx_work *w, const json_t *obj)
{
	if (sbx_work_take(w, obj))
		sbx_work_done(w, NULL);
}

static void on_swept(struct sbx_work *w, const struct sbx_answer *answer)
{
	const struct making *m = w->state;

	sbx_work_done(w, &m->error);
}

static void look_after(struct sbx_work *w);

/* A VM that could not be made leaves a record that blocks its name; one that
 * is being made may take a minute yet. */
static void on_looked_after(struct sbx_work *w, const struct sbx_answer *answer)
{
	struct making *m = w->state;
	const char *status = sbx_json_str(answer->json, "status");

	if (!answer->error.err && status && !strcmp(status, "running"))
		take_vm(w, answer->json);
	else if (!answer->error.err && status && !strcmp(status, "error"))
		sbx_work_delete(w, m->name, 0, on_swept);
	else if (!answer->error.err && status && !strcmp(status, "creating") &&
		 uv_now(w->rest->loop) + MAKING_MS < w->deadline)
		sbx_work_pause(w, MAKING_MS, look_after);
	else
		sbx_work_done(w, &m->error);
}

static void look_after(struct sbx_work *w)
{
	const struct making *m = w->state;

	sbx_work_get(w, m->name, on_looked_after);
}

static void on_made(struct sbx_work *w, const struct sbx_answer *answer)
{
	struct making *m = w->state;

	if (!answer->error.err) {
		take_vm(w, answer->json);
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
	look_after(w);
}

static void on_looked_before(struct sbx_work *w,
			     const struct sbx_answer *answer)
{
	struct making *m = w->state;
	SBX_JSON json_t *body = NULL;
	SBX_FREE char *text = NULL;
	struct sbx_error e = answer->error;

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
static int create_name(struct sbx_maker *m)
{
	const char *text = sbx_json_str(m->body, "name");
	char **name = m->own;
	char marker[33];

	if (text)
		*name = strdup(text);
	else if (sbx_make_marker(marker) == 0 &&
		 asprintf(name, "vm-%.12s", marker) < 0)
		*name = NULL;
	return *name ? 0 : sbx_maker_no_memory(m);
}

static int options_check(const char *options, struct sbx_error *reterr)
{
	char *name = NULL;
	struct sbx_maker maker = {.own = &name, .reterr = reterr};
	int r = sbx_maker_run(&maker, options, create_words, create_name);

	free(name);
	return r;
}

static void create_start(struct sbx_work *w)
{
	struct making *m = calloc(1, sizeof(*m));
	struct sbx_error e = {0};
	struct sbx_maker maker = {.reterr = &e};

	if (!m) {
		sbx_work_no_memory(w);
		return;
	}
	maker.own = &m->name;
	w->state = m;
	w->drop = making_drop;
	if (sbx_maker_run(&maker, w->call->options, create_words,
			  create_name) == 0)
		sbx_work_get(w, m->name, on_looked_before);
	else
		sbx_work_done(w, &e);
}

/* ---- the service ---- */

static const struct sbx_calls_type calls_type = {
	.start = {[SBX_CALL_LIST] = sbx_list_start,
		  [SBX_CALL_GET] = sbx_get_start,
		  [SBX_CALL_CREATE] = create_start,
		  [SBX_CALL_DESTROY] = sbx_destroy_start,
		  [SBX_CALL_WIPE] = timetravel_wipe_start,
		  [SBX_CALL_SNAPSHOTS] = timetravel_snapshots_start,
		  [SBX_CALL_SNAPSHOT] = timetravel_snapshot_start,
		  [SBX_CALL_RESTORE] = timetravel_restore_start,
		  [SBX_CALL_OWN_READ] = timetravel_own_start,
		  [SBX_CALL_OWN_WRITE] = timetravel_own_start},
	.id_is_valid = sbx_timetravel_id_is_valid,
	.id = "name",
	.all = "/vms",
	.one = "/vms/%s",
	.parse = sbx_timetravel_vm_from_json,
	.list = "vms",
	.took = took,
	.gone = gone,
};

static void cancel_runs(struct sbx_rest *rest)
{
	timetravel_runs_end(timetravel_of(rest));
}

static void release(struct sbx_rest *rest)
{
	vms_forget(timetravel_of(rest));
}

static const struct sbx_rest_type rest_type = {
	.service = &sbx_svc_timetravel,
	.calls = &calls_type,
	.product = SBX_TIMETRAVEL_PRODUCT,
	.prepare = prepare,
	.explain = explain,
	.cancel = cancel_runs,
	.release = release,
};

static int timetravel_open(uv_loop_t *loop, const struct sbx_conf *conf,
			   struct sbx_service **ret, struct sbx_error *reterr)
{
	struct sbx_rest *rest;
	int r;

	if (conf->url && !conf->key)
		return sbx_rest_no_key(conf, reterr);
	r = sbx_rest_open(&rest_type, sizeof(struct timetravel), loop, conf,
			  &rest, reterr);
	if (r == 0)
		*ret = &rest->base;
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
		 1 << SBX_CALL_RESTORE | 1 << SBX_CALL_OWN_READ |
		 1 << SBX_CALL_OWN_WRITE,
	.lists_part = true,
	.own = timetravel_own,
	.open = timetravel_open,
	.close = sbx_rest_close,
	.submit = sbx_calls_submit,
	.options_check = options_check,
	.run_limits = &run_limits,
	.run = timetravel_run,
	.run_cancel = timetravel_run_cancel,
};
