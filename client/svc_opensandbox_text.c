#include "client/svc_opensandbox_text.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/cleanup.h"
#include "client/json.h"
#include "client/labels.h"
#include "client/wire/buf.h"

#define MAX_TARGET   255
#define MAX_LANGUAGE 32
#define MAX_TEXT     (16u << 20)

/* ---- metadata ---- */

bool sbx_osb_is_key(const char *key)
{
	return sbx_label_key_is_valid(key) &&
	       strncmp(key, "opensandbox.io/", 15) != 0;
}

static int no_label(const char *what, struct sbx_error *reterr)
{
	return sbx_error_set(reterr, -EINVAL,
			     "%.80s: metadata are labels: at most 63 letters, "
			     "digits, '.', '_' and '-', with a letter or digit "
			     "at both ends",
			     what);
}

static bool is_value(const char *text)
{
	return !*text || sbx_label_is_valid(text);
}

static int put_body(char **ret_body, const json_t *value,
		    struct sbx_error *reterr)
{
	*ret_body = value ? sbx_json_text(value, false) : NULL;
	return *ret_body ? 0 : sbx_error_set(reterr, -ENOMEM, "out of memory");
}

int sbx_osb_patch_key(char **ret_body, const char *key, const char *text,
		      size_t len, struct sbx_error *reterr)
{
	SBX_JSON json_t *obj = json_object();
	SBX_FREE char *word = NULL;
	json_t *value = NULL;

	while (text && len && isspace((unsigned char)*text)) {
		text++;
		len--;
	}
	while (text && len && isspace((unsigned char)text[len - 1]))
		len--;
	if (!sbx_osb_is_key(key))
		return no_label(key, reterr);
	if (text && memchr(text, '\0', len))
		return no_label(key, reterr);
	word = text ? strndup(text, len) : NULL;
	if (word && !is_value(word))
		return no_label(word, reterr);
	if (!text)
		value = json_null();
	else if (word)
		value = json_string(word);
	if (json_object_set_new(obj, key, value) < 0)
		return put_body(ret_body, NULL, reterr);
	return put_body(ret_body, obj, reterr);
}

int sbx_osb_patch_all(char **ret_body, const char *text, size_t len,
		      struct sbx_error *reterr)
{
	SBX_JSON json_t *obj = sbx_json_parse(text, len);
	const char *key;
	json_t *v;

	if (!json_is_object(obj))
		return sbx_error_set(reterr, -EINVAL,
				     "metadata: a JSON object is wanted, of "
				     "names and values, null to remove one");
	json_object_foreach(obj, key, v)
	{
		if (!sbx_osb_is_key(key))
			return no_label(key, reterr);
		if (!json_is_null(v) &&
		    (!json_is_string(v) || !is_value(json_string_value(v))))
			return no_label(key, reterr);
	}
	return put_body(ret_body, obj, reterr);
}

/* ---- network policy ---- */

static int no_rule(struct sbx_error *reterr)
{
	return sbx_error_set(reterr, -EINVAL,
			     "policy: lines \"allow TARGET\" and \"deny "
			     "TARGET\" are wanted, or \"remove TARGET\", or a "
			     "JSON array of rules; a target is a host's name "
			     "or *.DOMAIN");
}

static bool is_target(const char *text)
{
	size_t i;

	if (!text)
		return false;
	for (i = 0; text[i]; i++)
		if (!isgraph((unsigned char)text[i]) || strchr("\"\\", text[i]))
			return false;
	return i > 0 && i <= MAX_TARGET;
}

static bool is_action(const char *word)
{
	return word && (!strcmp(word, "allow") || !strcmp(word, "deny"));
}

static bool is_rule(const json_t *rule)
{
	return is_action(sbx_json_str(rule, "action")) &&
	       is_target(sbx_json_str(rule, "target"));
}

static int rules_from_json(struct sbx_osb_policy_change *ret,
			   const json_t *rules, struct sbx_error *reterr)
{
	size_t i, n = json_array_size(rules);

	if (!n || n > SBX_OSB_MAX_RULES)
		return no_rule(reterr);
	for (i = 0; i < n; i++)
		if (!is_rule(json_array_get(rules, i)))
			return no_rule(reterr);
	ret->method = "PATCH";
	return put_body(&ret->body, rules, reterr);
}

/* Lines of one kind: rules, or targets of rules. */
static int add_line(json_t *to, char *line, const char **method)
{
	char *save = NULL, *word = strtok_r(line, " \t\r", &save);
	char *target = strtok_r(NULL, " \t\r", &save);
	bool removes = word && !strcmp(word, "remove");
	const char *wanted = removes ? "DELETE" : "PATCH";
	json_t *v;

	if (!word)
		return 0;
	if ((!removes && !is_action(word)) || !is_target(target) ||
	    strtok_r(NULL, " \t\r", &save) ||
	    (*method && strcmp(*method, wanted) != 0))
		return -EINVAL;
	*method = wanted;
	v = removes ? json_string(target)
		    : json_pack("{s:s,s:s}", "action", word, "target", target);
	return json_array_append_new(to, v) < 0 ? -ENOMEM : 0;
}

static int rules_from_lines(struct sbx_osb_policy_change *ret, char *text,
			    struct sbx_error *reterr)
{
	SBX_JSON json_t *list = json_array();
	char *save = NULL, *line;
	int r = list ? 0 : -ENOMEM;

	for (line = strtok_r(text, "\n", &save); line && r == 0;
	     line = strtok_r(NULL, "\n", &save))
		r = add_line(list, line, &ret->method);
	if (r == -EINVAL ||
	    (r == 0 &&
	     (!ret->method || json_array_size(list) > SBX_OSB_MAX_RULES)))
		return no_rule(reterr);
	return put_body(&ret->body, r < 0 ? NULL : list, reterr);
}

int sbx_osb_policy_parse(struct sbx_osb_policy_change *ret, const char *text,
			 size_t len, struct sbx_error *reterr)
{
	SBX_JSON json_t *rules = sbx_json_parse(text, len);
	SBX_FREE char *lines = NULL;

	*ret = (struct sbx_osb_policy_change){0};
	if (rules)
		return rules_from_json(ret, rules, reterr);
	if (memchr(text, '\0', len))
		return no_rule(reterr);
	lines = strndup(text, len);
	if (!lines)
		return sbx_error_set(reterr, -ENOMEM, "out of memory");
	return rules_from_lines(ret, lines, reterr);
}

/* ---- code ---- */

/* What it becomes a kernel of. */
static bool is_language(const char *word)
{
	size_t i;

	if (!word)
		return false;
	for (i = 0; word[i]; i++)
		if (!isalnum((unsigned char)word[i]) &&
		    !strchr("+#_-", word[i]))
			return false;
	/* of these no context is made that anybody could see */
	return i > 0 && i <= MAX_LANGUAGE && strcmp(word, "bash") != 0 &&
	       strcmp(word, "sql") != 0 && strcmp(word, "command") != 0;
}

static int no_context(struct sbx_error *reterr)
{
	return sbx_error_set(
		reterr, -EINVAL,
		"contexts: a language is wanted, as \"python\", or "
		"a JSON object with \"language\" and \"cwd\"; for "
		"bash there is exec");
}

static bool is_wish(const json_t *obj)
{
	const char *key, *cwd = sbx_json_str(obj, "cwd");
	json_t *v;

	json_object_foreach((json_t *)(uintptr_t)obj, key,
			    v) if (strcmp(key, "language") != 0 &&
				   strcmp(key, "cwd") != 0) return false;
	return is_language(sbx_json_str(obj, "language")) &&
	       (!json_object_get(obj, "cwd") || (cwd && cwd[0] == '/'));
}

int sbx_osb_context_body(char **ret_body, const char *text, size_t len,
			 const char *dir, struct sbx_error *reterr)
{
	SBX_JSON json_t *obj = sbx_json_parse(text, len);
	SBX_FREE char *word = obj ? NULL : strndup(text, len);
	char *save = NULL;

	if (!obj && word && !memchr(text, '\0', len))
		obj = json_pack("{s:s?}", "language",
				strtok_r(word, " \t\r\n", &save));
	if (!is_wish(obj) || (word && strtok_r(NULL, " \t\r\n", &save)))
		return no_context(reterr);
	if (!json_object_get(obj, "cwd") &&
	    json_object_set_new(obj, "cwd", json_string(dir)) < 0)
		return put_body(ret_body, NULL, reterr);
	return put_body(ret_body, obj, reterr);
}

int sbx_osb_code_body(char **ret_body, const char *id, const char *language,
		      const char *code, size_t len, struct sbx_error *reterr)
{
	json_t *text = json_stringn(code, len);
	SBX_JSON json_t *body = NULL;

	if (!text)
		return sbx_error_set(reterr, -EINVAL, "code must be UTF-8");
	body = json_pack("{s:o,s:{s:s,s:s}}", "code", text, "context", "id", id,
			 "language", language);
	return put_body(ret_body, body, reterr);
}

static void add_string(struct sbx_buf *to, const json_t *v)
{
	if (json_is_string(v))
		sbx_buf_add(to, json_string_value(v), json_string_length(v));
}

static void add_line_of(struct sbx_buf *to, const json_t *v)
{
	if (!json_is_string(v))
		return;
	add_string(to, v);
	sbx_buf_add(to, "\n", 1);
}

/* The traceback has it all; who has none says its last line. */
static void add_failure(struct sbx_buf *to, const json_t *e)
{
	const json_t *lines = sbx_json_array(e, "traceback");
	size_t i;

	for (i = 0; i < json_array_size(lines); i++)
		add_line_of(to, json_array_get(lines, i));
	if (i)
		return;
	add_string(to, json_object_get(e, "ename"));
	sbx_buf_add(to, ": ", 2);
	add_line_of(to, json_object_get(e, "evalue"));
}

static int add_event(struct sbx_buf *to, const char *line, size_t len,
		     const char *url, bool *ended, struct sbx_error *reterr)
{
	SBX_JSON json_t *event = sbx_json_parse_nul(line, len);
	const char *type = sbx_json_str(event, "type");

	if (type &&
	    (!strcmp(type, "execution_complete") || !strcmp(type, "error")))
		*ended = true;
	if (type && (!strcmp(type, "stdout") || !strcmp(type, "stderr")))
		add_string(to, json_object_get(event, "text"));
	else if (type && !strcmp(type, "result"))
		add_line_of(to,
			    json_object_get(sbx_json_object(event, "results"),
					    "text"));
	else if (type && !strcmp(type, "error"))
		add_failure(to, sbx_json_object(event, "error"));
	else if (!type && sbx_json_str(event, "code"))
		/* said too late for a status */
		return sbx_osb_error_from_http(reterr, 500, line, len, url);
	else if (!type)
		return sbx_error_wonder(reterr, url, SBX_OSB_PRODUCT,
					"events in it that are none");
	return 0;
}

/* Bare JSON, or as server-sent events have it. */
static const char *event_of(const char *line, size_t *len)
{
	static const char *const others[] = {":", "event:", "id:", "retry:"};
	size_t i;

	for (i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (*len >= strlen(others[i]) &&
		    !memcmp(line, others[i], strlen(others[i])))
			return NULL;
	if (*len >= 5 && !memcmp(line, "data:", 5)) {
		line += 5;
		*len -= 5;
	}
	while (*len && isspace((unsigned char)line[*len - 1]))
		--*len;
	return *len ? line : NULL;
}

int sbx_osb_code_output(struct sbx_buf *to, const char *body, size_t len,
			const char *url, struct sbx_error *reterr)
{
	const char *end = body + len, *next, *event;
	bool ended = false;
	size_t n;
	int r = 0;

	for (; body < end && r == 0; body = next) {
		next = memchr(body, '\n', (size_t)(end - body));
		next = next ? next + 1 : end;
		n = (size_t)(next - body);
		event = event_of(body, &n);
		if (event)
			r = add_event(to, event, n, url, &ended, reterr);
	}
	if (r == 0 && !ended)
		r = sbx_error_set(reterr, -EIO,
				  "code ran, and %s did not say how it ended",
				  url);
	if (r == 0 && to->err)
		r = sbx_error_set(reterr, to->err,
				  "more came of it than can be kept");
	return r;
}

/* ---- answers ---- */

static int buf_text(struct sbx_buf *b, char **ret_text)
{
	int r;

	sbx_buf_add(b, "", 1);
	r = b->err;
	*ret_text = r ? NULL : strdup((char *)sbx_buf_at(b));
	sbx_buf_release(b);
	return r ? r : *ret_text ? 0 : -ENOMEM;
}

static void buf_put(struct sbx_buf *b, const char *text)
{
	sbx_buf_add(b, text, strlen(text));
}

int sbx_osb_search_text(char **ret_text, const json_t *found, const char *dir)
{
	size_t i, len = strlen(dir);
	struct sbx_buf b;
	const char *path;

	sbx_buf_init(&b, MAX_TEXT);
	for (i = 0; i < json_array_size(found); i++) {
		path = sbx_json_str(json_array_get(found, i), "path");
		if (!path)
			continue;
		if (!strncmp(path, dir, len) && path[len] == '/')
			path += len + 1;
		buf_put(&b, path);
		buf_put(&b, "\n");
	}
	return buf_text(&b, ret_text);
}

int sbx_osb_endpoint_text(char **ret_text, const char *url,
			  const struct sbx_osb_endpoint *e)
{
	struct sbx_buf b;
	size_t i;

	sbx_buf_init(&b, MAX_TEXT);
	buf_put(&b, url);
	buf_put(&b, "\n");
	for (i = 0; e->headers && e->headers[i]; i++) {
		buf_put(&b, e->headers[i]);
		buf_put(&b, "\n");
	}
	return buf_text(&b, ret_text);
}
