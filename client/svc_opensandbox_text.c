#include "client/svc_opensandbox_text.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/cleanup.h"
#include "client/json.h"
#include "client/labels.h"
#include "client/wire/buf.h"

#define MAX_TARGET 255
#define MAX_TEXT   (16u << 20)

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

unsigned int sbx_osb_port(const char *name)
{
	unsigned int port = 0;
	size_t i;

	for (i = 0; name[i]; i++) {
		if (!isdigit((unsigned char)name[i]) || i >= 5)
			return 0;
		port = port * 10 + (unsigned int)(name[i] - '0');
	}
	return name[0] == '0' || port > 65535 ? 0 : port;
}
