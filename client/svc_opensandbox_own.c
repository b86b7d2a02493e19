/*
 * The files that OpenSandbox alone has, in each sandbox's folder:
 *
 *	contexts/		where code is run, with what it remembers
 *	endpoints/PORT		where a port is reached, whatever the port;
 *				seconds: by whoever has the address, for that
 *				long
 *	metadata.json		all labels; what is written is merged
 *	metadata/KEY		one of them
 *	metrics/now.json	of the machine that it is on
 *	metrics/stream		the same again and again
 *	network/policy.json	where it was made with one: what may be reached
 *	search/PATTERN		names of files below the workspace
 *
 * and beside the sandboxes, which need not be there any more:
 *	snapshots/ID/info.json	all snapshots
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cleanup.h"
#include "client/json.h"
#include "client/own.h"
#include "client/parse.h"
#include "client/svc_opensandbox.h"
#include "client/svc_opensandbox_text.h"

#define WORKSPACE "/workspace"
#define POLICY	  "policy.json"

const struct sbx_own osb_own[] = {
	{"contexts/new", SBX_OWN_READ | SBX_OWN_WRITE},
	{"contexts/+", SBX_OWN_DIR | SBX_OWN_REMOVE},
	{"contexts/+/ctl", SBX_OWN_WRITE},
	{"contexts/+/exec",
	 SBX_OWN_READ | SBX_OWN_WRITE | SBX_OWN_FLUSH | SBX_OWN_TEXT},
	{"contexts/+/info.json", SBX_OWN_READ},
	{"endpoints/+", SBX_OWN_READ | SBX_OWN_WRITE | SBX_OWN_ANY},
	{"metadata.json", SBX_OWN_READ | SBX_OWN_WRITE},
	{"metadata/+",
	 SBX_OWN_READ | SBX_OWN_WRITE | SBX_OWN_MAKE | SBX_OWN_REMOVE},
	{"metrics/now.json", SBX_OWN_READ},
	{"metrics/stream", SBX_OWN_STREAM},
	{"network/+", SBX_OWN_READ | SBX_OWN_WRITE},
	{"search/+", SBX_OWN_READ | SBX_OWN_ANY | SBX_OWN_FLUSH},
	{"snapshots/+", SBX_OWN_DIR | SBX_OWN_REMOVE | SBX_OWN_PLACE},
	{"snapshots/+/info.json", SBX_OWN_READ | SBX_OWN_PLACE},
	{0},
};

/* What stands behind the folder. */
static const char *name_of(const char *path)
{
	const char *slash = strchr(path, '/');

	return slash ? slash + 1 : "";
}

bool osb_own_has(struct sbx_service *svc, const char *id,
		 const struct sbx_own *row, const char *path)
{
	return !path || strncmp(path, "endpoints/", 10) != 0 ||
	       sbx_port_from_text(name_of(path));
}

/* ---- results ---- */

void osb_give_missing(struct sbx_work *w)
{
	struct sbx_error e;

	sbx_error_set(&e, -ENOENT, "there is no %.80s", w->call->path);
	sbx_work_done(w, &e);
}

bool osb_make_names(struct sbx_work *w, size_t n)
{
	w->call->files = calloc(n + 1, sizeof(*w->call->files));
	if (!w->call->files)
		sbx_work_no_memory(w);
	return w->call->files;
}

void osb_add_name(struct sbx_work *w, const char *name)
{
	struct sbx_file *f = &w->call->files[w->call->nr_files];

	f->name = strdup(name);
	if (f->name)
		w->call->nr_files++;
}

static void list_none(struct sbx_work *w)
{
	if (osb_make_names(w, 0))
		sbx_work_done(w, NULL);
}

void osb_give_done(struct sbx_work *w, const struct sbx_answer *answer)
{
	sbx_work_done(w, &answer->error);
}

/* ---- endpoints ---- */

static void on_endpoint(struct sbx_work *w, const struct sbx_answer *answer)
{
	struct osb_reach to = {0};
	struct sbx_error e = answer->error;
	char *text = NULL;
	int r = 0;

	if (!e.err)
		r = osb_reach_take(&to, (struct osb *)w->rest, answer->json);
	if (r == -EPROTO)
		sbx_rest_wonder(w->rest, &e,
				"the endpoint it gives is no address");
	if (!e.err && r == 0)
		r = sbx_osb_endpoint_text(&text, to.base, &to.endpoint);
	sbx_osb_endpoint_release(&to.endpoint);
	free(to.base);
	if (e.err)
		sbx_work_done(w, &e);
	else
		sbx_work_give_text(w, text);
}

struct endpoint_ask {
	char path[40], query[40];
};

/* expires: seconds since 1970, until when the address is good for whoever has
 * it (which the server's proxy cannot do); 0: the one that is used here */
static void endpoint_ask(struct sbx_work *w, int64_t expires)
{
	struct osb_reach *r = osb_reach_of((struct osb *)w->rest, w->call->id);
	unsigned int port = sbx_port_from_text(name_of(w->call->path));
	struct endpoint_ask *a;

	if (!port) {
		osb_give_missing(w);
		return;
	}
	a = r ? malloc(sizeof(*a)) : NULL;
	if (!a) {
		sbx_work_no_memory(w);
		return;
	}
	snprintf(a->path, sizeof(a->path), "/sandboxes/%%s/endpoints/%u", port);
	snprintf(a->query, sizeof(a->query), "expires=%lld",
		 (long long)expires);
	w->state = a;
	w->drop = free;
	sbx_work_request(
		w,
		(struct sbx_request_conf){.method = "GET",
					  .path = a->path,
					  .id = w->call->id,
					  .query = expires ? a->query
							   : osb_reach_query(r),
					  .repeatable = true,
					  .wants_json = true},
		on_endpoint);
}

static void endpoint_read(struct sbx_work *w)
{
	endpoint_ask(w, 0);
}

static void endpoint_write(struct sbx_work *w)
{
	char *text = w->call->input;
	size_t len = w->call->input_len;
	struct sbx_error e;
	int64_t s;

	if (len && text[len - 1] == '\n')
		text[--len] = '\0';
	s = strlen(text) == len ? sbx_number_from_text(text, OSB_MAX_LIFE_S)
				: -1;
	if (s > 0) {
		endpoint_ask(w, sbx_rest_now_ms(w->rest) / 1000 + s);
		return;
	}
	sbx_error_set(&e, -EINVAL,
		      "%s takes for how many seconds its address is to be good",
		      w->call->path);
	sbx_work_done(w, &e);
}

/* ---- metadata ---- */

static void on_metadata(struct sbx_work *w, const struct sbx_answer *answer)
{
	const json_t *all = sbx_json_object(answer->json, "metadata");
	const char *value = sbx_json_str(all, name_of(w->call->path));

	if (answer->error.err)
		sbx_work_done(w, &answer->error);
	else if (!value)
		osb_give_missing(w);
	else
		sbx_work_give_line(w, value);
}

static void metadata_read(struct sbx_work *w)
{
	sbx_work_get(w, w->call->id, on_metadata);
}

static void on_all_metadata(struct sbx_work *w, const struct sbx_answer *answer)
{
	SBX_JSON json_t *none = json_object();
	const json_t *all = sbx_json_object(answer->json, "metadata");

	if (answer->error.err)
		sbx_work_done(w, &answer->error);
	else
		sbx_work_give_json(w, all ? all : none);
}

static void all_metadata_read(struct sbx_work *w)
{
	sbx_work_get(w, w->call->id, on_all_metadata);
}

static void on_metadata_to_list(struct sbx_work *w,
				const struct sbx_answer *answer)
{
	const json_t *all = sbx_json_object(answer->json, "metadata");
	const char *key;
	json_t *v;

	if (answer->error.err) {
		sbx_work_done(w, &answer->error);
		return;
	}
	if (!osb_make_names(w, json_object_size(all)))
		return;
	/* those with a prefix and '/' are in metadata.json alone */
	json_object_foreach((json_t *)(uintptr_t)all, key,
			    v) if (sbx_is_file_name(key) &&
				   w->call->nr_files < SBX_OWN_MAX_NAMES)
		osb_add_name(w, key);
	sbx_work_done(w, NULL);
}

static void metadata_list(struct sbx_work *w)
{
	sbx_work_get(w, w->call->id, on_metadata_to_list);
}

/* r: what came of making body; frees that. */
static void metadata_send(struct sbx_work *w, int r, char *body,
			  const struct sbx_error *error)
{
	if (r < 0)
		sbx_work_done(w, error);
	else
		sbx_work_request(w,
				 (struct sbx_request_conf){
					 .method = "PATCH",
					 .path = "/sandboxes/%s/metadata",
					 .id = w->call->id,
					 .body = body,
					 .repeatable = true},
				 osb_give_done);
	sbx_wipe(body);
}

static void metadata_set(struct sbx_work *w, const char *value, size_t len)
{
	struct sbx_error e;
	char *body = NULL;
	int r = sbx_osb_patch_key(&body, name_of(w->call->path), value, len,
				  &e);

	metadata_send(w, r, body, &e);
}

static void metadata_write(struct sbx_work *w)
{
	metadata_set(w, w->call->input, w->call->input_len);
}

/* There may be one by now, of somebody else, which keeps its value. */
static void on_metadata_to_make(struct sbx_work *w,
				const struct sbx_answer *answer)
{
	const json_t *all = sbx_json_object(answer->json, "metadata");

	if (answer->error.err)
		sbx_work_done(w, &answer->error);
	else if (sbx_json_str(all, name_of(w->call->path)))
		sbx_work_done(w, NULL);
	else
		metadata_set(w, "", 0);
}

static void metadata_make(struct sbx_work *w)
{
	sbx_work_get(w, w->call->id, on_metadata_to_make);
}

static void metadata_remove(struct sbx_work *w)
{
	metadata_set(w, NULL, 0);
}

static void all_metadata_write(struct sbx_work *w)
{
	struct sbx_error e;
	char *body = NULL;
	int r = sbx_osb_patch_all(&body, w->call->input, w->call->input_len,
				  &e);

	metadata_send(w, r, body, &e);
}

/* ---- metrics ---- */

/* As it came: its numbers are not to be changed by reading them. */
static void on_metrics(struct sbx_work *w, const struct sbx_answer *answer)
{
	struct sbx_error e = answer->error;

	if (!e.err && !answer->json)
		sbx_rest_wonder(w->rest, &e, "its answer is no JSON");
	if (e.err)
		sbx_work_done(w, &e);
	else
		sbx_work_give_line(w, answer->body);
}

static void metrics_read(struct sbx_work *w)
{
	osb_errand_start(w, &(struct osb_errand){.method = "GET",
						 .path = "/metrics",
						 .is_safe = true,
						 .fn = on_metrics});
}

/* ---- network policy ---- */

static bool is_policy(const struct sbx_answer *answer)
{
	return !answer->error.err && sbx_json_object(answer->json, "policy");
}

static void policy_ask(struct sbx_work *w, sbx_answer_fn *fn)
{
	osb_errand_start(w, &(struct osb_errand){.method = "GET",
						 .path = "/policy",
						 .port = OSB_EGRESS_PORT,
						 .is_safe = true,
						 .fn = fn});
}

/* Whoever else is there knows no policy; nor does nobody. */
static void on_policy_to_list(struct sbx_work *w,
			      const struct sbx_answer *answer)
{

	if (!osb_make_names(w, 1))
		return;
	if (is_policy(answer))
		osb_add_name(w, POLICY);
	sbx_work_done(w, NULL);
}

static void policy_list(struct sbx_work *w)
{
	policy_ask(w, on_policy_to_list);
}

static void on_policy(struct sbx_work *w, const struct sbx_answer *answer)
{

	if (is_policy(answer))
		sbx_work_give_json(w, answer->json);
	else if (answer->error.err)
		sbx_work_done(w, &answer->error);
	else
		osb_give_missing(w);
}

static void policy_read(struct sbx_work *w)
{
	if (strcmp(name_of(w->call->path), POLICY) != 0)
		osb_give_missing(w);
	else
		policy_ask(w, on_policy);
}

static void policy_write(struct sbx_work *w)
{
	struct sbx_osb_policy_change change;
	struct sbx_error e;

	if (sbx_osb_policy_parse(&change, w->call->input, w->call->input_len,
				 &e) < 0)
		sbx_work_done(w, &e);
	else
		osb_errand_start(w,
				 &(struct osb_errand){.method = change.method,
						      .path = "/policy",
						      .port = OSB_EGRESS_PORT,
						      .body = change.body,
						      .fn = osb_give_done});
}

/* ---- search ---- */

static void on_found(struct sbx_work *w, const struct sbx_answer *answer)
{
	struct sbx_error e = answer->error;
	char *text = NULL;

	if (!e.err && !json_is_array(answer->json))
		sbx_rest_wonder(w->rest, &e, "no list in it");
	if (e.err) {
		sbx_work_done(w, &e);
		return;
	}
	(void)sbx_osb_search_text(&text, answer->json, WORKSPACE);
	sbx_work_give_text(w, text);
}

static void search_read(struct sbx_work *w)
{
	SBX_FREE char *pattern = sbx_percent_encode(name_of(w->call->path));
	char *query = NULL;

	if (!pattern ||
	    asprintf(&query, "path=" WORKSPACE "&pattern=%s", pattern) < 0) {
		sbx_work_no_memory(w);
		return;
	}
	osb_errand_start(w, &(struct osb_errand){.method = "GET",
						 .path = "/files/search",
						 .query = query,
						 .is_safe = true,
						 .fn = on_found});
}

/* ---- all ---- */

typedef void start_fn(struct sbx_work *w);

static const struct {
	const char *begins; /* its paths */
	start_fn *read, *write, *list, *make, *remove;
} files[] = {
	{"contexts", .read = osb_contexts_read, .write = osb_contexts_write,
	 .list = osb_contexts_list, .remove = osb_contexts_remove},
	{"endpoints", .read = endpoint_read, .write = endpoint_write,
	 .list = list_none},
	{"metadata.json", .read = all_metadata_read,
	 .write = all_metadata_write},
	{"metadata", .read = metadata_read, .write = metadata_write,
	 .list = metadata_list, .make = metadata_make,
	 .remove = metadata_remove},
	{"metrics", .read = metrics_read},
	{"network", .read = policy_read, .write = policy_write,
	 .list = policy_list},
	{"search", .read = search_read, .list = list_none},
	{"snapshots", .read = osb_any_snapshot_read,
	 .list = osb_all_snapshots_list, .remove = osb_any_snapshot_remove},
};

static start_fn *start_of(size_t i, enum sbx_call_kind kind)
{
	return kind == SBX_CALL_OWN_READ    ? files[i].read
	       : kind == SBX_CALL_OWN_WRITE ? files[i].write
	       : kind == SBX_CALL_OWN_LIST  ? files[i].list
	       : kind == SBX_CALL_OWN_MAKE  ? files[i].make
					    : files[i].remove;
}

void osb_own_start(struct sbx_work *w)
{
	size_t i, len = strcspn(w->call->path, "/");
	start_fn *start = NULL;

	for (i = 0; !start && i < sizeof(files) / sizeof(files[0]); i++)
		if (strlen(files[i].begins) == len &&
		    !strncmp(files[i].begins, w->call->path, len))
			start = start_of(i, w->call->kind);
	if (start)
		start(w);
	else
		osb_give_missing(w);
}
