/*
 * Text written into "new", and a service's own answer as lines: see spec.h.
 */
#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/boxes.h"
#include "client/json.h"
#include "client/spec.h"

#define MAX_LINES 1024

static int create_no_memory(struct sbx_error *reterr)
{
	return sbx_error_set(reterr, -ENOMEM, "out of memory");
}

static bool is_list(const char *key)
{
	return !strcmp(key, "ports") || !strcmp(key, "capabilities");
}

static json_t *value_number(const char *s)
{
	char *end;
	long long n;

	if (!isdigit((unsigned char)s[0]) && s[0] != '-')
		return NULL;
	errno = 0;
	n = strtoll(s, &end, 10);
	return *end || errno ? NULL : json_integer(n);
}

/* "a,b,3" */
static json_t *value_list(const char *s)
{
	json_t *list = json_array();

	while (*s) {
		size_t n = strcspn(s, ",");
		char *item = strndup(s, n);
		json_t *v = item ? value_number(item) : NULL;

		if (item && !v)
			v = json_string(item);
		free(item);
		if (json_array_append_new(list, v) < 0) {
			json_decref(list);
			return NULL;
		}
		s += n + (s[n] == ',');
	}
	return list;
}

/* NULL: not text that JSON can hold */
static json_t *value_of(const char *key, const char *s)
{
	json_t *v = NULL;

	if (strchr("[{\"", s[0]) && s[0])
		v = json_loads(s, JSON_DECODE_ANY, NULL);
	else if (is_list(key))
		v = value_list(s);
	else if (!strcmp(s, "true") || !strcmp(s, "false"))
		v = json_boolean(s[0] == 't');
	/* a name of digits is a name, a template "3" a word */
	else if (strcmp(key, "name") && strcmp(key, "template") &&
		 strcmp(key, "image"))
		v = value_number(s);
	return v ? v : json_string(s);
}

static int create_set(json_t *root, const char *key, const char *value,
		      struct sbx_error *reterr)
{
	const char *dot = strchr(key, '.');
	json_t *into = root, *v;

	if (dot) {
		char *outer = strndup(key, (size_t)(dot - key));

		into = outer ? json_object_get(root, outer) : NULL;
		if (!into && outer) {
			into = json_object();
			if (json_object_set_new(root, outer, into) < 0)
				into = NULL;
		}
		free(outer);
		key = dot + 1;
	}
	/* what belongs to a map (env, metadata, resources) is always text */
	v = dot ? json_string(value) : value_of(key, value);
	if (!v || !json_is_object(into) || !*key) {
		json_decref(v);
		return sbx_error_set(reterr, -EINVAL,
				     "new: \"%s\" cannot be set to that", key);
	}
	if (json_object_get(into, key)) {
		json_decref(v);
		return sbx_error_set(reterr, -EINVAL,
				     "new: \"%s\" is given twice", key);
	}
	if (json_object_set_new(into, key, v) < 0)
		return sbx_error_set(reterr, -EINVAL,
				     "new: \"%s\" is not valid UTF-8", key);
	return 0;
}

static char *trim(char *s)
{
	size_t len;

	while (isspace((unsigned char)*s))
		s++;
	len = strlen(s);
	while (len && isspace((unsigned char)s[len - 1]))
		s[--len] = 0;
	return s;
}

static int create_line(json_t *root, char *line, struct sbx_error *reterr)
{
	char *eq;

	line = trim(line);
	if (!*line || *line == '#')
		return 0;
	eq = strchr(line, '=');
	if (!eq)
		return sbx_error_set(reterr, -EINVAL,
				     "new: \"%.80s\" is not of the form "
				     "key=value",
				     line);
	*eq = 0;
	return create_set(root, trim(line), trim(eq + 1), reterr);
}

static int create_from_lines(json_t *root, char *text, struct sbx_error *reterr)
{
	char *save = NULL;
	int n = 0;

	for (char *line = strtok_r(text, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		int r = create_line(root, line, reterr);

		if (r < 0)
			return r;
		if (++n > MAX_LINES)
			return sbx_error_set(reterr, -E2BIG,
					     "new: too many lines");
	}
	return 0;
}

static int create_check_name(json_t *root, struct sbx_error *reterr)
{
	json_t *name = json_object_get(root, "name");
	const char *s = json_string_value(name);

	if (!name)
		return 0;
	if (!s || !sbx_folder_name_ok(s))
		return sbx_error_set(reterr, -EINVAL,
				     "a sandbox cannot have this name: it "
				     "must be a file name of at most 255 "
				     "bytes and neither \".sbxfs\" nor "
				     "\"new\"");
	for (; *s; s++)
		if (iscntrl((unsigned char)*s))
			return sbx_error_set(reterr, -EINVAL,
					     "a sandbox's name cannot hold "
					     "control characters");
	return 0;
}

static int create_finish(char **ret_options, char **ret_name, json_t *root,
			 struct sbx_error *reterr)
{
	json_t *name = json_object_get(root, "name");
	int r = create_check_name(root, reterr);

	if (r < 0)
		return r;
	*ret_name = name ? strdup(json_string_value(name)) : NULL;
	*ret_options = json_dumps(root, JSON_COMPACT);
	if (*ret_options && (!name || *ret_name))
		return 0;
	free(*ret_options);
	free(*ret_name);
	return create_no_memory(reterr);
}

static int create_parse(char **ret_options, char **ret_name, char *text,
			struct sbx_error *reterr)
{
	char *start = trim(text);
	json_error_t e = {0};
	json_t *root;
	int r = 0;

	root = *start == '{' ? json_loads(start, JSON_REJECT_DUPLICATES, &e)
			     : json_object();
	if (!root)
		return sbx_error_set(reterr, -EINVAL,
				     "new: not a JSON object: %s (line %d)",
				     e.text, e.line);
	if (*start != '{')
		r = create_from_lines(root, start, reterr);
	if (r == 0)
		r = create_finish(ret_options, ret_name, root, reterr);
	json_decref(root);
	return r;
}

int sbx_create_spec_parse(char **ret_options, char **ret_name, const char *text,
			  size_t len, struct sbx_error *reterr)
{
	char *copy;
	int r;

	if (len > SBX_SPEC_CREATE_MAX)
		return sbx_error_set(reterr, -E2BIG,
				     "new: at most 64 KiB of options");
	if (memchr(text, 0, len))
		return sbx_error_set(reterr, -EINVAL,
				     "new: options cannot hold a zero byte");
	copy = strndup(text, len);
	if (!copy)
		return create_no_memory(reterr);
	r = create_parse(ret_options, ret_name, copy, reterr);
	free(copy);
	return r;
}

int sbx_create_spec_named(char **ret_options, const char *name,
			  struct sbx_error *reterr)
{
	json_t *root = json_pack("{s:s}", "name", name);
	char *same;
	int r;

	if (!root)
		return sbx_error_set(reterr, -EINVAL,
				     "a sandbox's name must be valid UTF-8");
	r = create_finish(ret_options, &same, root, reterr);
	if (r == 0)
		free(same);
	json_decref(root);
	return r;
}

/* ---- a service's answer as lines ---- */

static bool is_skipped(const char *key, const char *const *skip)
{
	for (; *skip; skip++)
		if (!strcmp(*skip, key))
			return true;
	return false;
}

/* a stranger's text: one line, no control characters */
static void put_clean(FILE *f, const char *s)
{
	for (; *s; s++)
		putc(iscntrl((unsigned char)*s) ? '?' : *s, f);
}

static void put_field(FILE *f, const char *key, json_t *v)
{
	char *number;

	if (json_is_string(v)) {
		put_clean(f, key);
		fputs(": ", f);
		put_clean(f, json_string_value(v));
	} else if (json_is_number(v) || json_is_boolean(v)) {
		number = json_dumps(v, JSON_ENCODE_ANY);
		put_clean(f, key);
		fprintf(f, ": %s", number ? number : "");
		free(number);
	} else {
		return;
	}
	putc('\n', f);
}

char *sbx_info_lines(const char *json, const char *const *skip)
{
	json_t *root = sbx_json_parse(json, strlen(json));
	char *text = NULL;
	size_t size;
	const char *key;
	json_t *v;
	FILE *f = root ? open_memstream(&text, &size) : NULL;

	if (f) {
		json_object_foreach(root, key, v) if (!is_skipped(key, skip))
			put_field(f, key, v);
		fclose(f);
	}
	json_decref(root);
	return text;
}
