#include "client/service.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/cleanup.h"
#include "client/service_check.h"

static const struct sbx_service_type *const types[] = {
	&sbx_svc_local,	     &sbx_svc_xgen,	  &sbx_svc_opensandbox,
	&sbx_svc_computesdk, &sbx_svc_timetravel, &sbx_svc_vtrix,
};
#define NR_TYPES (sizeof(types) / sizeof(types[0]))

/* As they are given out: with the checking layer around each. */
static struct sbx_service_type checked[NR_TYPES];

static int checked_open(uv_loop_t *loop, const struct sbx_conf *conf,
			struct sbx_service **ret, struct sbx_error *reterr)
{
	size_t i;

	for (i = 0; i < NR_TYPES; i++)
		if (conf->service && !strcmp(types[i]->name, conf->service))
			return sbx_check_open(&checked[i], types[i], loop, conf,
					      ret, reterr);
	return sbx_error_set(reterr, -EINVAL, "no service was named");
}

const struct sbx_service_type *sbx_service_nth(size_t n)
{
	struct sbx_service_type *t;

	if (n >= NR_TYPES)
		return NULL;
	t = &checked[n];
	if (t->name)
		return t;
	*t = *types[n];
	t->open = checked_open;
	t->close = sbx_check_close;
	t->submit = sbx_check_submit;
	if (t->own_has)
		t->own_has = sbx_check_own_has;
	if (t->own_open) {
		t->own_open = sbx_check_own_open;
		t->own_pause = sbx_check_stream_pause;
		t->own_close = sbx_check_stream_close;
	}
	if (t->run) {
		t->run = sbx_check_run;
		t->run_cancel = sbx_check_run_cancel;
		return t;
	}
	t->stream_open = sbx_check_stream_open;
	t->stream_send = sbx_check_stream_send;
	t->stream_pause = sbx_check_stream_pause;
	t->stream_close = sbx_check_stream_close;
	return t;
}

const struct sbx_service_type *sbx_service_find(const char *name)
{
	size_t i;

	for (i = 0; i < NR_TYPES; i++)
		if (!strcmp(types[i]->name, name))
			return sbx_service_nth(i);
	return NULL;
}

const char *sbx_state_name(enum sbx_state state)
{
	static const char *const names[] = {
		[SBX_STATE_STARTING] = "starting",
		[SBX_STATE_RUNNING] = "running",
		[SBX_STATE_PAUSED] = "paused",
		[SBX_STATE_STOPPING] = "stopping",
		[SBX_STATE_STOPPED] = "stopped",
		[SBX_STATE_ERROR] = "error",
	};

	return (size_t)state < sizeof(names) / sizeof(names[0]) ? names[state]
								: "error";
}

/* ---- sandboxes ---- */

void sbx_sandbox_release(struct sbx_sandbox *s)
{
	size_t i;

	free(s->id);
	free(s->name);
	free(s->image);
	free(s->url);
	free(s->info);
	for (i = 0; i < s->nr_ports; i++)
		free(s->ports[i].url);
	free(s->ports);
	free(s->any_port[0]);
	free(s->any_port[1]);
	memset(s, 0, sizeof(*s));
}

static int copy_text(char **to, const char *from)
{
	if (!from)
		return 0;
	*to = strdup(from);
	return *to ? 0 : -ENOMEM;
}

static int copy_ports(struct sbx_sandbox *to, const struct sbx_sandbox *from)
{
	size_t i;
	int r;

	if (!from->nr_ports)
		return 0;
	to->ports = calloc(from->nr_ports, sizeof(*to->ports));
	if (!to->ports)
		return -ENOMEM;
	for (i = 0; i < from->nr_ports; i++) {
		to->ports[i].port = from->ports[i].port;
		to->nr_ports = i + 1;
		r = copy_text(&to->ports[i].url, from->ports[i].url);
		if (r < 0)
			return r;
	}
	return 0;
}

int sbx_sandbox_copy(struct sbx_sandbox *to, const struct sbx_sandbox *from)
{
	struct sbx_sandbox s = {.state = from->state,
				.created_ms = from->created_ms,
				.expires_ms = from->expires_ms};
	int r;

	r = copy_text(&s.id, from->id);
	if (r == 0)
		r = copy_text(&s.name, from->name);
	if (r == 0)
		r = copy_text(&s.image, from->image);
	if (r == 0)
		r = copy_text(&s.url, from->url);
	if (r == 0)
		r = copy_text(&s.info, from->info);
	if (r == 0)
		r = copy_ports(&s, from);
	if (r == 0)
		r = copy_text(&s.any_port[0], from->any_port[0]);
	if (r == 0)
		r = copy_text(&s.any_port[1], from->any_port[1]);
	if (r < 0) {
		sbx_sandbox_release(&s);
		return r;
	}
	*to = s;
	return 0;
}

/* ---- runs ---- */

void sbx_run_release(struct sbx_run *run)
{
	free(run->out);
	free(run->err);
	run->out = run->err = NULL;
	run->out_len = run->err_len = 0;
}

/* ---- calls ---- */

void sbx_files_free(struct sbx_file *files, size_t nr)
{
	size_t i;

	for (i = 0; i < nr; i++)
		free(files[i].name);
	free(files);
}

struct sbx_call *sbx_call_new(enum sbx_call_kind kind, const char *id)
{
	struct sbx_call *call = calloc(1, sizeof(*call));

	if (!call)
		return NULL;
	call->kind = kind;
	if (id && copy_text(&call->id, id) < 0)
		return sbx_call_free(call);
	return call;
}

struct sbx_call *sbx_call_free(struct sbx_call *call)
{
	size_t i;

	if (!call)
		return NULL;
	for (i = 0; i < call->nr; i++)
		sbx_sandbox_release(&call->list[i]);
	free(call->list);
	sbx_files_free(call->files, call->nr_files);
	for (i = 0; i < call->nr_snapshots; i++) {
		free(call->snapshots[i].name);
		free(call->snapshots[i].info);
	}
	free(call->snapshots);
	sbx_wipe_bytes(call->data, call->len);
	free(call->path);
	sbx_wipe_bytes(call->input, call->input_len);
	free(call->id);
	sbx_wipe(call->options);
	free(call);
	return NULL;
}
