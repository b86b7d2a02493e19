/*
 * What is written to ComputeSDK's own files, as bodies of requests.  No input
 * or output.
 */
#include "client/svc_computesdk_words.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cleanup.h"
#include "client/json.h"
#include "client/parse.h"

#define MAX_TOKEN_S (366ll * 86400)

void csdk_words_release(struct csdk_words *w)
{
	sbx_wipe(w->body);
	w->body = NULL;
}

static int wrong(struct sbx_error *reterr, const char *why)
{
	return sbx_error_set(reterr, -EINVAL, "%s", why);
}

/* Takes obj, which may be NULL. */
static int take_body(struct csdk_words *w, json_t *obj,
		     struct sbx_error *reterr)
{
	w->body = obj ? sbx_json_text(obj, false) : NULL;
	json_decref(obj);
	return w->body ? 0
		       : sbx_error_set(reterr, -EINVAL,
				       "it must be text in UTF-8");
}

/* What was written, without the line end; NULL: none, or no text. */
static char *line_of(const struct csdk_words *w)
{
	size_t len = w->len;

	while (len && memchr(" \t\r\n", w->input[len - 1], 4))
		len--;
	return len && !memchr(w->input, '\0', len) ? strndup(w->input, len)
						   : NULL;
}

/* The same where nothing may be said, too: 0 with *ret NULL. */
static int line_or_none(const struct csdk_words *w, char **ret,
			struct sbx_error *reterr)
{
	*ret = NULL;
	if (w->len && memchr(w->input, '\0', w->len))
		return wrong(reterr, "a line of text holds no zero byte");
	*ret = line_of(w);
	return 0;
}

/* text up to a blank; *rest is what follows it */
static char *word_of(char **rest)
{
	char *word;

	while (**rest == ' ' || **rest == '\t')
		(*rest)++;
	word = *rest;
	*rest += strcspn(*rest, " \t");
	if (**rest)
		*(*rest)++ = '\0';
	while (**rest == ' ' || **rest == '\t')
		(*rest)++;
	return word;
}

static json_t *object_of(const struct csdk_words *w)
{
	json_t *obj = w->len ? sbx_json_parse(w->input, w->len) : NULL;

	if (json_is_object(obj))
		return obj;
	json_decref(obj);
	return NULL;
}

int csdk_words_json(struct csdk_words *w, struct sbx_error *reterr)
{
	json_t *obj = object_of(w);

	return obj ? take_body(w, obj, reterr)
		   : wrong(reterr, "it must be one JSON object");
}

char *csdk_words_path(const struct csdk_words *w, const char *path,
		      char *const name[CSDK_MAX_NAMES])
{
	size_t len = strlen(path) + strlen(name[0]) + strlen(name[1]) +
		     sizeof(w->verb);
	char *to = calloc(1, len + 1), *at = to;

	for (; to && *path; path++) {
		if (path[0] != '%')
			*at++ = *path;
		else if (*++path == 's')
			at = stpcpy(at, name[0]);
		else if (*path == 't')
			at = stpcpy(at, name[1]);
		else
			at = stpcpy(at, w->verb);
	}
	return to;
}

/* ---- by kind of file ---- */

static int take_verb(struct csdk_words *w, const char *const *verbs,
		     const char *why, struct sbx_error *reterr)
{
	SBX_FREE char *line = line_of(w);

	for (; line && *verbs; verbs++)
		if (!strcmp(line, *verbs)) {
			snprintf(w->verb, sizeof(w->verb), "%s", line);
			return take_body(w, json_object(), reterr);
		}
	return wrong(reterr, why);
}

int csdk_words_server_ctl(struct csdk_words *w, struct sbx_error *reterr)
{
	static const char *const verbs[] = {"stop", "restart", NULL};

	return take_verb(w, verbs, "ctl takes stop or restart", reterr);
}

int csdk_words_server_status(struct csdk_words *w, struct sbx_error *reterr)
{
	static const char *const words[] = {"installing", "starting", "running",
					    "ready",	  "failed",   "stopped",
					    "restarting", NULL};
	SBX_FREE char *line = line_of(w);
	const char *const *one = words;

	while (line && *one && strcmp(line, *one) != 0)
		one++;
	if (!line || !*one)
		return wrong(reterr, "a server's status is installing, "
				     "starting, running, ready, failed, "
				     "stopped or restarting; ctl takes stop "
				     "or restart");
	return take_body(w, json_pack("{s:s}", "status", line), reterr);
}

int csdk_words_signal_ctl(struct csdk_words *w, struct sbx_error *reterr)
{
	static const char *const verbs[] = {"start", "stop", NULL};

	return take_verb(w, verbs, "ctl takes start or stop", reterr);
}

/* Has obj no members but these?  The daemon takes others, too, and does what
 * is asked without them. */
static int check_known(const json_t *obj, const char *const *known,
		       const char *why, struct sbx_error *reterr)
{
	const char *const *one;
	const char *key;
	json_t *v;

	json_object_foreach((json_t *)(uintptr_t)obj, key, v)
	{
		for (one = known; *one && strcmp(key, *one) != 0; one++)
			continue;
		if (*one)
			continue;
		return sbx_error_set(reterr, -EINVAL, "%s, not \"%.40s\"", why,
				     key);
	}
	return 0;
}

/* Takes obj as the body if it has no others. */
static int take_known(struct csdk_words *w, json_t *obj,
		      const char *const *known, const char *why,
		      struct sbx_error *reterr)
{
	if (check_known(obj, known, why, reterr) == 0)
		return take_body(w, obj, reterr);
	json_decref(obj);
	return -EINVAL;
}

int csdk_words_child(struct csdk_words *w, struct sbx_error *reterr)
{
	static const char *const known[] = {"directory", "overlays", "servers",
					    NULL};
	json_t *obj = object_of(w);

	return obj ? take_known(w, obj, known,
				"new takes directory, overlays and servers",
				reterr)
		   : wrong(reterr, "new takes one JSON object");
}

/* JSON, or the shell's path alone. */
int csdk_words_terminal(struct csdk_words *w, struct sbx_error *reterr)
{
	static const char *const known[] = {"shell", "pty", "encoding", NULL};
	SBX_FREE char *line = NULL;
	json_t *obj;

	if (line_or_none(w, &line, reterr) < 0)
		return -EINVAL;
	obj = object_of(w);
	/* the generations do not agree on what they are if nothing is said */
	if (obj && !json_object_get(obj, "pty"))
		json_object_set_new(obj, "pty", json_true());
	if (obj)
		return take_known(w, obj, known,
				  "new takes shell, pty and encoding", reterr);
	if (!line)
		return take_body(w, json_pack("{s:b}", "pty", 1), reterr);
	return take_body(w, json_pack("{s:b,s:s}", "pty", 1, "shell", line),
			 reterr);
}

/* JSON, or the command alone; "async" is what the second generation calls
 * "background". */
int csdk_words_command(struct csdk_words *w, struct sbx_error *reterr)
{
	static const char *const known[] = {"command", "background", NULL};
	static const char why[] = "exec takes command and background";
	SBX_FREE char *line = line_of(w);
	json_t *obj = object_of(w);

	if (json_object_get(obj, "background") &&
	    check_known(obj, known, why, reterr) == 0) {
		json_object_set(obj, "async",
				json_object_get(obj, "background"));
		return take_body(w, obj, reterr);
	}
	if (obj)
		return take_known(w, obj, known, why, reterr);
	if (!line)
		return wrong(reterr, "exec takes a command");
	return take_body(w, json_pack("{s:s}", "command", line), reterr);
}

/* JSON, or the path alone.  There are daemons that take a relative one for
 * below wherever they were started. */
int csdk_words_watch(struct csdk_words *w, struct sbx_error *reterr)
{
	SBX_FREE char *line = line_of(w), *whole = NULL;
	json_t *obj = object_of(w);
	const char *path;

	if (!obj && !line)
		return wrong(reterr, "new takes a path, or a JSON object");
	if (!obj)
		obj = json_pack("{s:s}", "path", line);
	path = sbx_json_str(obj, "path");
	if (!path || !*path || *path == '/' || !w->dir)
		return take_body(w, obj, reterr);
	if (asprintf(&whole, "%s/%s", w->dir, path) < 0)
		whole = NULL;
	if (whole && json_object_set_new(obj, "path", json_string(whole)) == 0)
		return take_body(w, obj, reterr);
	json_decref(obj);
	return sbx_error_set(reterr, -ENOMEM, "out of memory");
}

int csdk_words_size(const struct csdk_words *w, unsigned int *ret_cols,
		    unsigned int *ret_rows, struct sbx_error *reterr)
{
	SBX_FREE char *line = line_of(w);
	char *rest = line;
	int64_t cols, rows;

	cols = line ? sbx_number_from_text(word_of(&rest), 65535) : 0;
	rows = line ? sbx_number_from_text(rest, 65535) : 0;
	if (cols < 1 || rows < 1)
		return wrong(reterr, "size takes COLS ROWS");
	*ret_cols = (unsigned int)cols;
	*ret_rows = (unsigned int)rows;
	return 0;
}

/* Both spellings: the generations do not agree. */
int csdk_words_token(struct csdk_words *w, struct sbx_error *reterr)
{
	SBX_FREE char *line = line_of(w);
	char *rest = line, *word = line ? word_of(&rest) : NULL;
	int64_t s = word ? sbx_number_from_text(word, MAX_TOKEN_S) : -1;

	if (s < 1)
		return wrong(reterr, "new takes a number of seconds, and what "
				     "it is for");
	return take_body(w,
			 json_pack("{s:I,s:I,s:s}", "expiresIn", (json_int_t)s,
				   "expires_in", (json_int_t)s, "description",
				   rest),
			 reterr);
}

int csdk_words_link(struct csdk_words *w, struct sbx_error *reterr)
{
	SBX_FREE char *line = NULL;

	if (line_or_none(w, &line, reterr) < 0)
		return -EINVAL;
	if (line && (line[0] != '/' || line[1] == '/'))
		return wrong(reterr, "magiclink takes a path of the daemon's, "
				     "as /play/, or an empty line");
	return take_body(w,
			 line ? json_pack("{s:s}", "redirectUrl", line)
			      : json_object(),
			 reterr);
}

int csdk_words_code(struct csdk_words *w, struct sbx_error *reterr)
{
	const char *name = w->names->text[0];
	size_t len = w->names->len[0];
	json_t *code = json_stringn(w->input, w->len), *obj;

	if (!w->len || !code) {
		json_decref(code);
		return wrong(reterr, "code is text in UTF-8");
	}
	obj = json_pack("{s:o}", "code", code);
	if (obj && (len != 4 || memcmp(name, "auto", 4) != 0) &&
	    json_object_set_new(obj, "language", json_stringn(name, len)) < 0) {
		json_decref(obj);
		obj = NULL;
	}
	return take_body(w, obj, reterr);
}

int csdk_words_batch(struct csdk_words *w, struct sbx_error *reterr)
{
	json_t *v = w->len ? sbx_json_parse(w->input, w->len) : NULL;

	if (json_is_array(v))
		return take_body(w, json_pack("{s:o}", "files", v), reterr);
	json_decref(v);
	return wrong(reterr, "batch takes a JSON list of objects with path, "
			     "operation (write or delete) and content");
}

static json_t *key_of(const struct csdk_words *w)
{
	return json_stringn(w->names->text[1], w->names->len[1]);
}

int csdk_words_variable(struct csdk_words *w, struct sbx_error *reterr)
{
	size_t len = w->len;
	SBX_FREE char *key = strndup(w->names->text[1], w->names->len[1]);
	json_t *value;

	if (len && w->input[len - 1] == '\n')
		len--;
	value = json_stringn(len ? w->input : "", len);
	if (!key || !value || memchr(len ? w->input : "", '\n', len) ||
	    strchr(key, '=')) {
		json_decref(value);
		return wrong(reterr, "a variable is a line of text");
	}
	return take_body(w, json_pack("{s:{s:o}}", "variables", key, value),
			 reterr);
}

int csdk_words_no_variable(struct csdk_words *w, struct sbx_error *reterr)
{
	return take_body(w, json_pack("{s:{}}", "variables"), reterr);
}

int csdk_words_key(struct csdk_words *w, struct sbx_error *reterr)
{
	return take_body(w, json_pack("{s:[o]}", "keys", key_of(w)), reterr);
}

/* "port 3000 open URL", "error TEXT", "server-ready 3000 URL" */
int csdk_words_emit(struct csdk_words *w, struct sbx_error *reterr)
{
	static const char why[] = "emit takes port NUMBER open|close URL, "
				  "error TEXT, or server-ready NUMBER URL";
	SBX_FREE char *line = line_of(w);
	char *rest = line, *verb = line ? word_of(&rest) : NULL, *type = NULL;
	json_t *obj = NULL;
	long long port;

	if (!verb || !*rest)
		return wrong(reterr, why);
	if (!strcmp(verb, "error")) {
		obj = json_pack("{s:s}", "message", rest);
	} else if (!strcmp(verb, "port") || !strcmp(verb, "server-ready")) {
		port = sbx_number_from_text(word_of(&rest), 65535);
		type = !strcmp(verb, "port") ? word_of(&rest) : NULL;
		if (port < 1 || !*rest ||
		    (type && strcmp(type, "open") && strcmp(type, "close")))
			return wrong(reterr, why);
		obj = json_pack("{s:I,s:s,s:s*}", "port", (json_int_t)port,
				"url", rest, "type", type);
	} else {
		return wrong(reterr, why);
	}
	snprintf(w->verb, sizeof(w->verb), "%s", verb);
	return take_body(w, obj, reterr);
}

/* The name of a new snapshot, or an empty line. */
int csdk_words_snapshot(struct csdk_words *w, struct sbx_error *reterr)
{
	SBX_FREE char *line = NULL;

	if (line_or_none(w, &line, reterr) < 0)
		return -EINVAL;
	return take_body(
		w,
		json_pack("{s:s,s:s*}", "sandboxId", w->sandbox, "name", line),
		reterr);
}
