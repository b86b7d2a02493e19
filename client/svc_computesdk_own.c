/*
 * What ComputeSDK alone has, as files: what is done to one of them is the
 * request of its row (svc_computesdk_rows.c), and what is read is a member of
 * the answer.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cleanup.h"
#include "client/json.h"
#include "client/own.h"
#include "client/svc_computesdk.h"

/* The nth name as it stands in a URL, "" if there is none; NULL without
 * memory. */
static char *name_encoded(const struct csdk_names *names, size_t nr)
{
	SBX_FREE char *name = names->len[nr]
				      ? strndup(names->text[nr], names->len[nr])
				      : strdup("");

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

static bool is_whole(const json_t *v)
{
	double d = json_real_value(v);

	return json_is_real(v) && d > -1e15 && d < 1e15 &&
	       d == (double)(int64_t)d;
}

/* As it is read: text with a line end, a number, or indented JSON. */
static char *value_text(const json_t *v)
{
	SBX_FREE char *json = NULL;
	char *text = NULL;
	int n;

	if (!v || json_is_null(v))
		return strdup("");
	/* numbers may come as 8080.0 */
	if (is_whole(v))
		n = asprintf(&text, "%.0f\n", json_real_value(v));
	else if (json_is_string(v))
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

/* ---- a request ---- */

struct own_state {
	struct csdk_at at; /* first */
	const struct csdk_row *row;
	struct csdk_names names;
	sbx_answer_fn *fn;
	bool is_untold; /* which variables were removed */
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
 * The path is a constant with holes: what fills them are the names, and the
 * word that the input chose.
 */
static void own_ask(struct sbx_work *w)
{
	struct own_state *o = w->state;
	const struct csdk_row *row = o->row;
	struct csdk_words words = {.input = w->call->input,
				   .len = w->call->input_len,
				   .names = &o->names,
				   .sandbox = w->call->id,
				   .dir = o->at.box ? o->at.box->there.dir
						    : NULL};
	bool changes = strcmp(row->method, "GET") != 0;
	struct sbx_request_conf conf = {
		.method = row->method,
		.path = "%s",
		.repeatable = !changes,
		.wants_json = !changes,
	};
	SBX_FREE char *first = NULL, *second = NULL, *query = NULL,
		      *path = NULL;

	if (changes && row->words
		    ? row->words(&words, &w->call->error) < 0
		    : changes && strcmp(row->method, "DELETE") != 0 &&
			      csdk_words_json(&words, &w->call->error) < 0) {
		csdk_words_release(&words);
		sbx_work_done(w, NULL);
		return;
	}
	first = name_encoded(&o->names, 0);
	second = name_encoded(&o->names, 1);
	if (first && second)
		path = csdk_words_path(&words, row->path,
				       (char *const[]){first, second});
	query = first ? filled(row->query, first) : NULL;
	conf.id = path;
	conf.query = query;
	conf.body = words.body;
	if (!path || (!query && row->query))
		sbx_work_no_memory(w);
	else if (row->is_gateways)
		sbx_work_request(w, conf, o->fn);
	else
		csdk_work_ask(w, conf, o->fn);
	csdk_words_release(&words);
}

static void own_start(struct sbx_work *w, const struct csdk_row *rows,
		      sbx_answer_fn *fn)
{
	struct own_state *o = csdk_work_state(w, sizeof(*o));
	struct sbx_error e;

	if (!o)
		return;
	o->fn = fn;
	o->row = csdk_row_of(rows, w->call->path, &o->names);
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

	if (answer->error.err == -EINVAL && o->row->none)
		sbx_work_give_text(w, strdup(o->row->none));
	else if (answer->error.err)
		sbx_work_done(w, &answer->error);
	else
		sbx_work_give_text(
			w, value_text(member_at(answer->json, o->row->member)));
}

static const struct csdk_row variable[] = {
	{"env/+/+", "GET", "/env", "file=%s"}, {NULL}};

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
		sbx_work_give_text(w, value_text(v));
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
			sbx_work_give_text(w, value_text(one));
			return;
		}
	}
	if (!e.err)
		sbx_error_set(&e, -ENOENT, "there is no such snapshot");
	sbx_work_done(w, &e);
}

/* Where a port is reached, whatever listens there. */
static void url_give(struct sbx_work *w)
{
	const struct own_state *o = w->state;
	char *parts[2] = {NULL, NULL}, *text = NULL;
	int r = sbx_csdk_port_url(o->at.box->place.url, parts);
	struct sbx_error e;

	if (r == -ENOENT) {
		sbx_error_set(&e, -EOPNOTSUPP,
			      "%.100s has no name that those of ports could be "
			      "made of",
			      o->at.box->place.url);
		sbx_work_done(w, &e);
		return;
	}
	if (r == 0 && asprintf(&text, "%s%s%s\n", parts[0],
			       w->call->path + strlen("url/"), parts[1]) < 0)
		text = NULL;
	free(parts[0]);
	free(parts[1]);
	sbx_work_give_text(w, text);
}

/* A server that listens there may have been told another. */
static void on_servers(struct sbx_work *w, const struct sbx_answer *answer)
{
	const json_t *list = member_at(answer->json, "servers"), *one;
	unsigned int port = sbx_port_from_text(w->call->path + strlen("url/"));
	size_t i;

	for (i = 0; !answer->error.err && i < json_array_size(list); i++) {
		one = json_array_get(list, i);
		if (json_number_value(json_object_get(one, "port")) == port &&
		    sbx_json_str(one, "url")) {
			sbx_work_give_text(
				w, value_text(json_object_get(one, "url")));
			return;
		}
	}
	url_give(w);
}

static void url_ask(struct sbx_work *w)
{
	csdk_work_ask(w,
		      (struct sbx_request_conf){.method = "GET",
						.path = "/servers",
						.repeatable = true,
						.wants_json = true},
		      on_servers);
}

static void url_read(struct sbx_work *w)
{
	if (!sbx_port_from_text(w->call->path + strlen("url/"))) {
		struct sbx_error e;

		sbx_error_set(&e, -ENOENT, "that is no port");
		sbx_work_done(w, &e);
	} else if (csdk_work_state(w, sizeof(struct own_state))) {
		csdk_work_place(w, url_ask);
	}
}

void csdk_own_read_start(struct sbx_work *w)
{
	static const struct csdk_row snapshot[] = {{"snapshots/+/info.json",
						    "GET", "/snapshots",
						    .is_gateways = true},
						   {NULL}};
	struct csdk_names names;

	if (!strncmp(w->call->path, "url/", 4))
		url_read(w);
	else if (csdk_row_of(variable, w->call->path, &names))
		own_start(w, variable, on_variable);
	else if (csdk_row_of(snapshot, w->call->path, &names))
		own_start(w, snapshot, on_snapshots);
	else if (!csdk_row_of(csdk_reads, w->call->path, &names) &&
		 csdk_row_of(csdk_writes, w->call->path, &names))
		sbx_work_give_text(w, strdup("")); /* nothing was asked of it */
	else
		own_start(w, csdk_reads, on_read);
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
		sbx_work_give_text(w, token_text(answer->json));
	else if (member && !*member)
		sbx_work_done(w, NULL);
	else
		sbx_work_give_text(w,
				   value_text(member_at(answer->json, member)));
}

/* That it is there, and can be resized; nothing answers what is said to one. */
static void on_terminal(struct sbx_work *w, const struct sbx_answer *answer)
{
	const struct own_state *o = w->state;
	const json_t *pty = json_object_get(sbx_csdk_data(answer->json), "pty");
	struct csdk_words words = {.input = w->call->input,
				   .len = w->call->input_len};
	SBX_FREE char *id = strndup(o->names.text[0], o->names.len[0]);
	struct sbx_error e = answer->error;
	unsigned int cols = 0, rows = 0;

	if (!e.err && json_is_false(pty))
		sbx_error_set(&e, -EOPNOTSUPP,
			      "it runs commands, and has no size");
	if (!e.err && !sbx_csdk_thing_is_valid(id))
		sbx_error_set(&e, -ENOENT, "there is no such terminal");
	if (!e.err)
		csdk_words_size(&words, &cols, &rows, &e);
	if (e.err)
		sbx_work_done(w, &e);
	else
		csdk_resize(w, o->at.box, id, cols, rows);
}

void csdk_own_write_start(struct sbx_work *w)
{
	static const struct csdk_row size[] = {
		{"term/+/size", "GET", "/terminals/%s"}, {NULL}};
	struct csdk_names names;

	if (csdk_row_of(size, w->call->path, &names))
		own_start(w, size, on_terminal);
	else
		own_start(w, csdk_writes, on_written);
}

static void on_done(struct sbx_work *w, const struct sbx_answer *answer)
{
	sbx_work_done(w, &answer->error);
}

void csdk_own_make_start(struct sbx_work *w)
{
	own_start(w, csdk_makes, on_done);
}

/* Is it still there, which was not said to be removed? */
static void on_key_left(struct sbx_work *w, const struct sbx_answer *answer)
{
	const struct own_state *o = w->state;
	SBX_FREE char *key = strndup(o->names.text[1], o->names.len[1]);
	struct sbx_error e = answer->error;

	if (!e.err && key &&
	    json_object_get(member_at(answer->json, "variables"), key))
		sbx_error_set(&e, -EIO,
			      "%.80s was not removed: a proxy on the way may "
			      "have dropped what was asked; the file itself "
			      "is in workspace/",
			      key);
	else if (!e.err && !o->is_untold)
		sbx_error_set(&e, -ENOENT, "there is no such variable");
	sbx_work_done(w, &e);
}

/* It says which were removed, since some proxies drop the body of a DELETE. */
static void on_key_removed(struct sbx_work *w, const struct sbx_answer *answer)
{
	struct own_state *o = w->state;
	const json_t *keys = member_at(answer->json, "keys");
	SBX_FREE char *key = strndup(o->names.text[1], o->names.len[1]);
	const char *one;
	size_t i;

	for (i = 0; key && i < json_array_size(keys); i++) {
		one = json_string_value(json_array_get(keys, i));
		if (one && !strcmp(one, key))
			break;
	}
	if (answer->error.err || i < json_array_size(keys)) {
		sbx_work_done(w, &answer->error);
		return;
	}
	o->is_untold = !json_is_array(keys);
	o->row = variable;
	o->fn = on_key_left;
	own_ask(w);
}

/* Of a daemon that would wait for a word there for ever, and keep all other
 * terminals waiting. */
static void on_doomed(struct sbx_work *w, const struct sbx_answer *answer)
{
	const json_t *pty = json_object_get(sbx_csdk_data(answer->json), "pty");
	struct own_state *o = w->state;
	struct sbx_error e = answer->error;

	if (!e.err && !json_is_false(pty) && o->at.box->deaf)
		sbx_error_set(&e, -EOPNOTSUPP,
			      "this daemon cannot end a terminal whose program "
			      "says nothing; end the program");
	if (e.err) {
		sbx_work_done(w, &e);
		return;
	}
	o->row = csdk_row_of(csdk_removes, w->call->path, &o->names);
	o->fn = on_done;
	own_ask(w);
}

void csdk_own_remove_start(struct sbx_work *w)
{
	static const struct csdk_row terminal[] = {
		{"term/+", "GET", "/terminals/%s"}, {NULL}};
	const char *id = w->call->id; /* NULL: beside the sandboxes */
	const struct csdk_box *b =
		id ? csdk_box_find((struct csdk *)w->rest, id) : NULL;
	struct csdk_names names;

	if (b && b->deaf && csdk_row_of(terminal, w->call->path, &names)) {
		own_start(w, terminal, on_doomed);
		return;
	}
	own_start(w, csdk_removes,
		  csdk_row_of(variable, w->call->path, &names) ? on_key_removed
							       : on_done);
}

/* ---- listing ---- */

/* The list tells nobody of what carries the mount itself: who reads all that
 * is there would wait for it, and who removes it removes the mount's way. */
static bool is_hidden(const struct sbx_work *w, const char *name)
{
	const struct own_state *o = w->state;

	return !strcmp(o->row->pattern, "term") &&
	       csdk_terminal_is_ours((struct csdk *)w->rest, name);
}

/* ".env", ".env.local", "production.env" */
static bool is_env_file(const char *name)
{
	size_t len = strlen(name);

	return !strncmp(name, ".env", 4) ||
	       (len > 4 && !strcmp(name + len - 4, ".env"));
}

static const char *entry_name(const json_t *entry, bool files)
{
	static const char *const keys[] = {"slug", "id", "subdomain", "cmd_id",
					   NULL};
	const char *name = NULL;
	size_t i;

	if (files) {
		name = json_string_value(sbx_csdk_member(entry, "name"));
		if (name && (!is_env_file(name) ||
			     json_is_true(sbx_csdk_member(entry, "is_dir"))))
			name = NULL;
		return name;
	}
	entry = sbx_csdk_data(entry);
	for (i = 0; !name && keys[i]; i++)
		name = sbx_json_str(entry, keys[i]);
	return name;
}

static int list_add(struct sbx_work *w, const char *name)
{
	struct sbx_call *call = w->call;
	struct sbx_file *f = &call->files[call->nr_files];

	if (!sbx_is_file_name(name) || is_hidden(w, name))
		return 0;
	f->name = strdup(name);
	if (!f->name)
		return -ENOMEM;
	call->nr_files++;
	return 0;
}

static int list_take(struct sbx_work *w, const json_t *list, bool files)
{
	struct sbx_call *call = w->call;
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
		list_add(w, key);
	for (i = 0; r == 0 && json_is_array(list) && i < n; i++)
		r = list_add(w, entry_name(json_array_get(list, i), files));
	return r;
}

static void on_list(struct sbx_work *w, const struct sbx_answer *answer)
{
	const struct own_state *o = w->state;
	const json_t *list = member_at(answer->json, o->row->member);
	struct sbx_error e = answer->error;

	if (e.err == -EINVAL && o->row->none) {
		sbx_work_done(w, NULL);
		return;
	}
	/* an empty one may be null */
	if (!e.err && !json_is_array(list) && !json_is_object(list) &&
	    !json_is_null(list))
		sbx_rest_wonder(w->rest, &e, "no list in it");
	if (!e.err && list_take(w, list, !strcmp(o->row->pattern, "env")) < 0)
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
	/* of those that are there without being listed */
	if (!strcmp(w->call->path, "url")) {
		sbx_work_done(w, NULL);
		return;
	}
	own_start(w, csdk_lists, on_list);
}
