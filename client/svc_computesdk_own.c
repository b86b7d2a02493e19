/*
 * What ComputeSDK alone has, as files (own.h): servers, overlays, env files,
 * terminals, watchers, signals, session tokens, magic links, code to run and
 * child sandboxes.  Each row of the tree is a request to the daemon and a
 * member of its answer; what is written becomes the request's body in
 * svc_computesdk_words.c.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cleanup.h"
#include "client/json.h"
#include "client/own.h"
#include "client/svc_computesdk.h"

#define R   SBX_OWN_READ
#define W   SBX_OWN_WRITE
#define DIR SBX_OWN_DIR
#define DEL SBX_OWN_REMOVE

const struct sbx_own csdk_own[] = {
	{"daemon/health.json", R},
	{"daemon/info.json", R},
	{"daemon/ready.json", R},
	{"auth", R},
	{"servers/new", R | W},
	{"servers/+", DIR | DEL},
	{"servers/+/info.json", R},
	{"servers/+/status", R},
	{"servers/+/url", R},
	{"servers/+/port", R},
	{"servers/+/pid", R},
	{"servers/+/ctl", W},
	{"servers/+/log/stdout", R},
	{"servers/+/log/stderr", R},
	{"servers/+/log/combined", R},
	{"overlays/new", R | W},
	{"overlays/+", DIR | DEL},
	{"overlays/+/info.json", R},
	{"overlays/+/source", R},
	{"overlays/+/target", R},
	{"overlays/+/strategy", R},
	{"overlays/+/status", R},
	{"overlays/+/error", R},
	{"overlays/+/stats.json", R},
	{"env/+", DIR | SBX_OWN_MAKE},
	{"env/+/+", R | W | SBX_OWN_MAKE | DEL},
	{"term/new", R | W},
	{"term/+", DIR | DEL},
	{"term/+/info.json", R},
	{"term/+/commands.json", R},
	{"term/+/exec", R | W},
	{"term/+/data", SBX_OWN_STREAM | W},
	{"watch/new", R | W},
	{"watch/+", DIR | DEL},
	{"watch/+/info.json", R},
	{"watch/+/events", SBX_OWN_STREAM},
	{"signals/status", R},
	{"signals/ctl", W},
	{"signals/emit", W},
	{"signals/events", SBX_OWN_STREAM},
	{"tokens/new", R | W},
	{"tokens/+", DIR | DEL},
	{"tokens/+/info.json", R},
	{"tokens/+/description", R},
	{"tokens/+/created", R},
	{"tokens/+/expires", R},
	{"magiclink", R | W},
	{"code/auto", R | W | SBX_OWN_FLUSH},
	{"code/python", R | W | SBX_OWN_FLUSH},
	{"code/node", R | W | SBX_OWN_FLUSH},
	{"code/bash", R | W | SBX_OWN_FLUSH},
	{"code/sh", R | W | SBX_OWN_FLUSH},
	{"code/ruby", R | W | SBX_OWN_FLUSH},
	{"batch", R | W | SBX_OWN_FLUSH},
	{"children/new", R | W},
	{"children/+", DIR | DEL},
	{"children/+/info.json", R},
	{"children/+/url", R},
	{"snapshot", R | W | SBX_OWN_FLUSH},
	{"snapshots/+", DIR | DEL | SBX_OWN_PLACE},
	{"snapshots/+/info.json", R | SBX_OWN_PLACE},
	{NULL, 0},
};

/* Generations before the last have none of it, but for the daemon's word; and
 * only a gateway has snapshots. */
bool csdk_own_has(struct sbx_service *svc, const char *id,
		  const struct sbx_own *row, const char *path)
{
	const struct csdk_box *b =
		id ? csdk_box_find((struct csdk *)svc, id) : NULL;

	if (!strncmp(row->path, "snapshot", 8))
		return !csdk_is_direct((struct csdk *)svc);
	return !b || !b->old || !strcmp(row->path, "daemon/health.json");
}

/* ---- places in the tree ---- */

/* Does the path fit?  The names for its "+" then, borrowed from path. */
static bool path_fits(const char *pattern, const char *path,
		      struct csdk_names *ret)
{
	size_t nr = 0, n;

	for (;; pattern++, path++) {
		n = strcspn(path, "/");
		if (pattern[0] == '+' && n && nr < CSDK_MAX_NAMES) {
			ret->text[nr] = path;
			ret->len[nr++] = n;
			pattern++;
			path += n;
		} else if (strcspn(pattern, "/") != n ||
			   memcmp(pattern, path, n) != 0) {
			return false;
		} else {
			pattern += n;
			path += n;
		}
		if (!*pattern || !*path)
			return !*pattern && !*path;
	}
}

/* The nth name as it stands in a URL; NULL without memory. */
static char *name_encoded(const struct csdk_names *names, size_t nr)
{
	SBX_FREE char *name = strndup(names->text[nr], names->len[nr]);

	return name ? sbx_csdk_encode_query(name) : NULL;
}

/* ---- answers ---- */

/* The member at "a.b" of what the answer is about; its camel-case twin. */
static const json_t *member_at(const json_t *obj, const char *path)
{
	char key[64];
	size_t n;

	obj = sbx_csdk_data(obj);
	while (obj && path && *path) {
		n = strcspn(path, ".");
		snprintf(key, sizeof(key), "%.*s", (int)n, path);
		obj = sbx_csdk_member(obj, key);
		path += n + (path[n] == '.');
	}
	return obj;
}

/* As it is read: text with a line end, a number, or indented JSON. */
static char *value_text(const json_t *v)
{
	SBX_FREE char *json = NULL;
	char *text = NULL;
	int n;

	if (!v || json_is_null(v))
		return strdup("");
	if (json_is_string(v))
		n = asprintf(
			&text, "%s%s", json_string_value(v),
			json_string_length(v) &&
					json_string_value(
						v)[json_string_length(v) - 1] ==
						'\n'
				? ""
				: "\n");
	else if ((json = sbx_json_text(v, true)))
		n = asprintf(&text, "%s\n", json);
	else
		return NULL;
	return n < 0 ? NULL : text;
}

/* Ends the call with this text, which it takes. */
static void own_give(struct sbx_work *w, char *text)
{
	if (!text) {
		sbx_work_no_memory(w);
		return;
	}
	w->call->data = (uint8_t *)text;
	w->call->len = strlen(text);
	sbx_work_done(w, NULL);
}

/* ---- what a row is ---- */

struct own_row {
	const char *pattern;
	const char *method, *path; /* with %s for its first name, encoded */
	const char *query;	   /* with %s likewise; or NULL */
	const char *member;	   /* of the answer; NULL: all of it */
	/* what is written as a body; NULL: it is JSON itself */
	csdk_words_fn *words;
	bool is_gateways; /* it is asked, not the daemon */
};

static const struct own_row reads[] = {
	{"daemon/health.json", "GET", "/health"},
	{"daemon/info.json", "GET", "/info"},
	{"daemon/ready.json", "GET", "/ready"},
	{"auth", "GET", "/auth/status"},
	{"servers/+/info.json", "GET", "/servers/%s", NULL, "server"},
	{"servers/+/status", "GET", "/servers/%s", NULL, "server.status"},
	{"servers/+/url", "GET", "/servers/%s", NULL, "server.url"},
	{"servers/+/port", "GET", "/servers/%s", NULL, "server.port"},
	{"servers/+/pid", "GET", "/servers/%s", NULL, "server.pid"},
	{"servers/+/log/stdout", "GET", "/servers/%s/logs", "stream=stdout",
	 "logs"},
	{"servers/+/log/stderr", "GET", "/servers/%s/logs", "stream=stderr",
	 "logs"},
	{"servers/+/log/combined", "GET", "/servers/%s/logs", "stream=combined",
	 "logs"},
	{"overlays/+/info.json", "GET", "/filesystem/overlays/%s"},
	{"overlays/+/source", "GET", "/filesystem/overlays/%s", NULL, "source"},
	{"overlays/+/target", "GET", "/filesystem/overlays/%s", NULL, "target"},
	{"overlays/+/strategy", "GET", "/filesystem/overlays/%s", NULL,
	 "strategy"},
	{"overlays/+/status", "GET", "/filesystem/overlays/%s", NULL,
	 "copy_status"},
	{"overlays/+/error", "GET", "/filesystem/overlays/%s", NULL,
	 "copy_error"},
	{"overlays/+/stats.json", "GET", "/filesystem/overlays/%s", NULL,
	 "stats"},
	{"term/+/info.json", "GET", "/terminals/%s"},
	{"term/+/commands.json", "GET", "/terminals/%s/commands", NULL,
	 "commands"},
	{"watch/+/info.json", "GET", "/watchers/%s"},
	{"signals/status", "GET", "/signals/status", NULL, "status"},
	{"tokens/+/info.json", "GET", "/auth/session_tokens/%s"},
	{"tokens/+/description", "GET", "/auth/session_tokens/%s", NULL,
	 "description"},
	{"tokens/+/created", "GET", "/auth/session_tokens/%s", NULL,
	 "created_at"},
	{"tokens/+/expires", "GET", "/auth/session_tokens/%s", NULL,
	 "expires_at"},
	{"children/+/info.json", "GET", "/sandboxes/%s"},
	{"children/+/url", "GET", "/sandboxes/%s", NULL, "url"},
	{NULL},
};

static const struct own_row writes[] = {
	{"servers/new", "POST", "/servers", NULL, "server.slug"},
	{"servers/+/ctl", "POST", "/servers/%s/%v", NULL, "",
	 csdk_words_server_ctl},
	{"overlays/new", "POST", "/filesystem/overlays", NULL, "id"},
	{"term/new", "POST", "/terminals", NULL, "id", csdk_words_terminal},
	{"term/+/exec", "POST", "/terminals/%s/execute", NULL, NULL,
	 csdk_words_command},
	{"watch/new", "POST", "/watchers", NULL, "id", csdk_words_watch},
	{"signals/ctl", "POST", "/signals/%v", NULL, "", csdk_words_signal_ctl},
	{"signals/emit", "POST", "/signals/%v", NULL, "", csdk_words_emit},
	{"tokens/new", "POST", "/auth/session_tokens", NULL, NULL,
	 csdk_words_token},
	{"magiclink", "POST", "/auth/magic-links", NULL, "magic_url",
	 csdk_words_link},
	{"code/+", "POST", "/run/code", NULL, "output", csdk_words_code},
	{"batch", "POST", "/files/batch", NULL, "results", csdk_words_batch},
	{"children/new", "POST", "/sandboxes", NULL, "subdomain"},
	{"env/+/+", "POST", "/env", "file=%s", "", csdk_words_variable},
	{"snapshot", "POST", "/snapshots", NULL, "id", csdk_words_snapshot,
	 true},
	{NULL},
};

static const struct own_row makes[] = {
	{"env/+", "POST", "/env", "file=%s", NULL, csdk_words_no_variable},
	{"env/+/+", "POST", "/env", "file=%s", NULL, csdk_words_variable},
	{NULL},
};

static const struct own_row removes[] = {
	{"servers/+", "DELETE", "/servers/%s"},
	{"overlays/+", "DELETE", "/filesystem/overlays/%s"},
	{"term/+", "DELETE", "/terminals/%s"},
	{"watch/+", "DELETE", "/watchers/%s"},
	{"tokens/+", "DELETE", "/auth/session_tokens/%s"},
	{"children/+", "DELETE", "/sandboxes/%s", "delete_files=true"},
	{"env/+/+", "DELETE", "/env", "file=%s", NULL, csdk_words_key},
	{"snapshots/+", "DELETE", "/snapshots/%s", .is_gateways = true},
	{NULL},
};

/* member: the list; words of its entries are their names */
static const struct own_row lists[] = {
	{"servers", "GET", "/servers", NULL, "servers"},
	{"overlays", "GET", "/filesystem/overlays", NULL, "overlays"},
	{"term", "GET", "/terminals", NULL, "terminals"},
	{"watch", "GET", "/watchers", NULL, "watchers"},
	{"tokens", "GET", "/auth/session_tokens", NULL, "tokens"},
	{"children", "GET", "/sandboxes", NULL, "sandboxes"},
	{"env", "GET", "/files", "path=.", "files"},
	{"env/+", "GET", "/env", "file=%s", "variables"},
	{"snapshots", "GET", "/snapshots", .is_gateways = true},
	{NULL},
};

static const struct own_row *row_of(const struct own_row *rows,
				    const char *path, struct csdk_names *names)
{
	for (; rows->pattern; rows++)
		if (path_fits(rows->pattern, path, names))
			return rows;
	return NULL;
}

/* ---- a request ---- */

struct own_state {
	struct csdk_at at; /* first */
	const struct own_row *row;
	struct csdk_names names;
	sbx_answer_fn *fn;
};

/* text with its "%s" filled in, or as it is; NULL without memory. */
static char *filled(const char *text, const char *name)
{
	const char *hole = text ? strstr(text, "%s") : NULL;
	char *to = NULL;

	if (!hole)
		return text ? strdup(text) : NULL;
	if (asprintf(&to, "%.*s%s%s", (int)(hole - text), text, name,
		     hole + 2) < 0)
		return NULL;
	return to;
}

/*
 * The path is a constant with one hole: what fills it is the name, and the
 * word that the input chose besides.
 */
static void own_ask(struct sbx_work *w)
{
	struct own_state *o = w->state;
	const struct own_row *row = o->row;
	struct csdk_words words = {.input = w->call->input,
				   .len = w->call->input_len,
				   .names = &o->names,
				   .sandbox = w->call->id};
	bool changes = strcmp(row->method, "GET") != 0;
	SBX_FREE char *name = NULL, *query = NULL, *path = NULL;

	if (changes && row->words
		    ? row->words(&words, &w->call->error) < 0
		    : changes && strcmp(row->method, "DELETE") != 0 &&
			      csdk_words_json(&words, &w->call->error) < 0) {
		csdk_words_release(&words);
		sbx_work_done(w, NULL);
		return;
	}
	name = o->names.len[0] ? name_encoded(&o->names, 0) : strdup("");
	if (name)
		path = csdk_words_path(&words, row->path, name);
	query = name ? filled(row->query, name) : NULL;
	if (path && (query || !row->query))
		sbx_work_request(
			w,
			(struct sbx_request_conf){.method = row->method,
						  .path = "%s",
						  .id = path,
						  .query = query,
						  .body = words.body,
						  .repeatable = !changes,
						  .wants_json = !changes,
						  .to = o->at.box},
			o->fn);
	else
		sbx_work_no_memory(w);
	csdk_words_release(&words);
}

static void own_start(struct sbx_work *w, const struct own_row *rows,
		      sbx_answer_fn *fn)
{
	struct own_state *o = csdk_work_state(w, sizeof(*o));
	struct sbx_error e;

	if (!o)
		return;
	o->fn = fn;
	o->row = row_of(rows, w->call->path, &o->names);
	if (o->row && o->row->is_gateways) {
		own_ask(w);
		return;
	}
	if (o->row) {
		csdk_work_place(w, own_ask);
		return;
	}
	sbx_error_set(&e, -EOPNOTSUPP, "%.80s: that cannot be done to it",
		      w->call->path);
	sbx_work_done(w, &e);
}

/* ---- reading ---- */

static void on_read(struct sbx_work *w, const struct sbx_answer *answer)
{
	const struct own_state *o = w->state;

	if (answer->error.err)
		sbx_work_done(w, &answer->error);
	else
		own_give(w,
			 value_text(member_at(answer->json, o->row->member)));
}

/* One variable of an env file. */
static void on_variable(struct sbx_work *w, const struct sbx_answer *answer)
{
	const struct own_state *o = w->state;
	const json_t *all = member_at(answer->json, "variables");
	SBX_FREE char *key = strndup(o->names.text[1], o->names.len[1]);
	const json_t *v = key ? json_object_get(all, key) : NULL;
	struct sbx_error e = answer->error;

	if (!e.err && !v)
		sbx_error_set(&e, -ENOENT, "there is no such variable");
	if (e.err)
		sbx_work_done(w, &e);
	else
		own_give(w, value_text(v));
}

/* A gateway lists snapshots, and tells of none by itself. */
static void on_snapshots(struct sbx_work *w, const struct sbx_answer *answer)
{
	const struct own_state *o = w->state;
	SBX_FREE char *want = strndup(o->names.text[0], o->names.len[0]);
	struct sbx_error e = answer->error;
	const char *id;
	size_t i;

	for (i = 0; want && !e.err && i < json_array_size(answer->json); i++) {
		const json_t *one = json_array_get(answer->json, i);

		id = sbx_json_str(one, "id");
		if (id && !strcmp(id, want)) {
			own_give(w, value_text(one));
			return;
		}
	}
	if (!e.err)
		sbx_error_set(&e, -ENOENT, "there is no such snapshot");
	sbx_work_done(w, &e);
}

void csdk_own_read_start(struct sbx_work *w)
{
	static const struct own_row snapshot[] = {{"snapshots/+/info.json",
						   "GET", "/snapshots",
						   .is_gateways = true},
						  {NULL}};
	static const struct own_row variable[] = {
		{"env/+/+", "GET", "/env", "file=%s"}, {NULL}};
	struct csdk_names names;

	if (row_of(variable, w->call->path, &names))
		own_start(w, variable, on_variable);
	else if (row_of(snapshot, w->call->path, &names))
		own_start(w, snapshot, on_snapshots);
	else if (row_of(writes, w->call->path, &names))
		own_give(w, strdup("")); /* nothing was asked of it */
	else
		own_start(w, reads, on_read);
}

/* ---- writing ---- */

/* A token is told once, and is the one thing worth having of it. */
static char *token_text(const json_t *json)
{
	const char *id = sbx_json_str(sbx_csdk_data(json), "id");
	const char *token = sbx_json_str(sbx_csdk_data(json), "token");
	char *text;

	if (asprintf(&text, "id: %s\ntoken: %s\n", id ? id : "",
		     token ? token : "") < 0)
		return NULL;
	return text;
}

static void on_written(struct sbx_work *w, const struct sbx_answer *answer)
{
	const struct own_state *o = w->state;
	const char *member = o->row->member;

	if (answer->error.err)
		sbx_work_done(w, &answer->error);
	else if (o->row->words == csdk_words_token)
		own_give(w, token_text(answer->json));
	else if (member && !*member)
		sbx_work_done(w, NULL);
	else
		own_give(w, value_text(member_at(answer->json, member)));
}

void csdk_own_write_start(struct sbx_work *w)
{
	own_start(w, writes, on_written);
}

static void on_done(struct sbx_work *w, const struct sbx_answer *answer)
{
	sbx_work_done(w, &answer->error);
}

void csdk_own_make_start(struct sbx_work *w)
{
	own_start(w, makes, on_done);
}

void csdk_own_remove_start(struct sbx_work *w)
{
	own_start(w, removes, on_done);
}

/* ---- listing ---- */

static const char *entry_name(const json_t *entry, bool files)
{
	static const char *const keys[] = {"slug", "id", "subdomain", NULL};
	const char *name = NULL;
	size_t i;

	if (files) {
		name = json_string_value(sbx_csdk_member(entry, "name"));
		if (name && (strncmp(name, ".env", 4) != 0 ||
			     json_is_true(sbx_csdk_member(entry, "is_dir"))))
			name = NULL;
		return name;
	}
	entry = sbx_csdk_data(entry);
	for (i = 0; !name && keys[i]; i++)
		name = sbx_json_str(entry, keys[i]);
	return name;
}

static int list_add(struct sbx_call *call, const char *name)
{
	struct sbx_file *f = &call->files[call->nr_files];

	if (!sbx_is_file_name(name))
		return 0;
	f->name = strdup(name);
	if (!f->name)
		return -ENOMEM;
	call->nr_files++;
	return 0;
}

static int list_take(struct sbx_call *call, const json_t *list, bool files)
{
	size_t i, n = json_is_object(list) ? json_object_size(list)
					   : json_array_size(list);
	const char *key;
	json_t *v;
	int r = 0;

	if (n > SBX_OWN_MAX_NAMES)
		n = SBX_OWN_MAX_NAMES;
	call->files = calloc(n + 1, sizeof(*call->files));
	if (!call->files)
		return -ENOMEM;
	json_object_foreach((json_t *)(uintptr_t)list, key,
			    v) if (r == 0 && call->nr_files < n) r =
		list_add(call, key);
	for (i = 0; r == 0 && json_is_array(list) && i < n; i++)
		r = list_add(call, entry_name(json_array_get(list, i), files));
	return r;
}

static void on_list(struct sbx_work *w, const struct sbx_answer *answer)
{
	const struct own_state *o = w->state;
	const json_t *list = member_at(answer->json, o->row->member);
	struct sbx_error e = answer->error;

	/* an env file that is not there has no variables */
	if (!e.err && !json_is_array(list) && !json_is_object(list))
		sbx_rest_wonder(w->rest, &e, "no list in it");
	if (!e.err &&
	    list_take(w->call, list, !strcmp(o->row->pattern, "env")) < 0)
		sbx_error_set(&e, -ENOMEM, "out of memory");
	if (e.err) {
		sbx_files_free(w->call->files, w->call->nr_files);
		w->call->files = NULL;
		w->call->nr_files = 0;
	}
	sbx_work_done(w, &e);
}

void csdk_own_list_start(struct sbx_work *w)
{
	own_start(w, lists, on_list);
}
