#include "client/options.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cleanup.h"
#include "client/json.h"
#include "client/limits.h"

int sbx_maker_wrong(struct sbx_maker *m, const char *key, const char *why)
{
	return sbx_error_set(m->reterr, -EINVAL, "%.60s: %s", key, why);
}

int sbx_maker_no_memory(struct sbx_maker *m)
{
	return sbx_error_set(m->reterr, -ENOMEM, "out of memory");
}

int sbx_maker_put(struct sbx_maker *m, const char *key, json_t *value)
{
	return json_object_set_new(m->body, key, value) < 0
		       ? sbx_maker_no_memory(m)
		       : 0;
}

int sbx_maker_text(struct sbx_maker *m, char **ret)
{
	*ret = sbx_json_text(m->body, false);
	return *ret ? 0 : sbx_maker_no_memory(m);
}

char *sbx_scalar_text(const json_t *v)
{
	if (json_is_string(v))
		return strdup(json_string_value(v));
	if (json_is_number(v) || json_is_boolean(v))
		return sbx_json_text(v, false);
	return NULL;
}

static bool env_name_is_word(const char *name)
{
	size_t i;

	if (!isalpha((unsigned char)name[0]) && name[0] != '_')
		return false;
	for (i = 1; name[i]; i++)
		if (!isalnum((unsigned char)name[i]) && name[i] != '_')
			return false;
	return i <= 255;
}

const char *sbx_env_wrong(const char *name, const char *text)
{
	return env_name_is_word(name) ? NULL
				      : "cannot be the name of a variable";
}

json_t *sbx_maker_object(struct sbx_maker *m, const char *key)
{
	json_t *obj = json_object_get(m->body, key);

	if (obj)
		return obj;
	obj = json_object();
	return sbx_maker_put(m, key, obj) < 0 ? NULL : obj;
}

int sbx_maker_add_texts(
	struct sbx_maker *m, const char *key, const json_t *value, size_t most,
	const char *(*wrong)(const char *name, const char *text), json_t *to)
{
	const char *name, *why;
	char many[80];
	json_t *v;

	snprintf(many, sizeof(many),
		 "must be an object of at most %zu names and values", most);
	if (!json_is_object(value) || json_object_size(value) > most)
		return sbx_maker_wrong(m, key, many);
	json_object_foreach((json_t *)(uintptr_t)value, name, v)
	{
		SBX_FREE char *text = sbx_scalar_text(v);

		why = !text   ? "the value must be text"
		      : wrong ? wrong(name, text)
			      : NULL;
		if (why)
			return sbx_maker_wrong(m, *name ? name : key, why);
		if (json_object_set_new(to, name, json_string(text)) < 0)
			return sbx_maker_no_memory(m);
	}
	return 0;
}

int sbx_maker_number(struct sbx_maker *m, const char *key, const json_t *value,
		     int64_t least, int64_t most, const char *why, int64_t *ret)
{
	SBX_FREE char *text = sbx_scalar_text(value);
	long long n;
	char *end;

	if (!text || !isdigit((unsigned char)text[0]))
		return sbx_maker_wrong(m, key, why);
	errno = 0;
	n = strtoll(text, &end, 10);
	if (*end || errno || n < least || n > most)
		return sbx_maker_wrong(m, key, why);
	*ret = n;
	return 0;
}

int sbx_take_truth(struct sbx_maker *m, const char *key, const json_t *value)
{
	if (!json_is_boolean(value))
		return sbx_maker_wrong(m, key, "must be true or false");
	return sbx_maker_put(m, key, json_boolean(json_is_true(value)));
}

int sbx_take_text(struct sbx_maker *m, const char *key, const json_t *value)
{
	if (!json_is_string(value) || !*json_string_value(value))
		return sbx_maker_wrong(m, key, "must be text");
	return sbx_maker_put(m, key, json_deep_copy(value));
}

int sbx_take_object(struct sbx_maker *m, const char *key, const json_t *value)
{
	if (!json_is_object(value))
		return sbx_maker_wrong(m, key, "must be an object");
	return sbx_maker_put(m, key, json_deep_copy(value));
}

int sbx_take_list(struct sbx_maker *m, const char *key, const json_t *value)
{
	if (!json_is_array(value))
		return sbx_maker_wrong(m, key, "must be a list");
	return sbx_maker_put(m, key, json_deep_copy(value));
}

/* "not an option ...; there are A, B, C" */
static int maker_unknown(struct sbx_maker *m, const char *key,
			 const struct sbx_maker_word *words)
{
	char list[160] = "";
	size_t len = 0;

	for (; words->key && len < sizeof(list); words++)
		len += (size_t)snprintf(list + len, sizeof(list) - len, "%s%s",
					len ? ", " : "", words->key);
	return sbx_error_set(m->reterr, -EINVAL,
			     "%.40s: not an option here; there "
			     "are %s",
			     key, list);
}

static int maker_take(struct sbx_maker *m, const json_t *options,
		      const struct sbx_maker_word *words)
{
	const struct sbx_maker_word *w;
	const char *key;
	json_t *v;
	int r = 0;

	json_object_foreach((json_t *)(uintptr_t)options, key, v)
	{
		for (w = words; w->key && strcmp(w->key, key); w++)
			;
		r = w->take ? w->take(m, key, v) : maker_unknown(m, key, words);
		if (r < 0)
			return r;
	}
	return r;
}

static int maker_parse(struct sbx_maker *m, const char *options, json_t **ret)
{
	SBX_JSON json_t *obj = NULL;

	*ret = NULL;
	if (!options)
		return 0;
	if (strlen(options) <= SBX_MAX_OPTIONS)
		obj = sbx_json_parse(options, strlen(options));
	if (!json_is_object(obj))
		return sbx_error_set(m->reterr, -EINVAL,
				     "one JSON object of at most 64 KiB is "
				     "wanted");
	*ret = SBX_TAKE(obj);
	return 0;
}

int sbx_maker_run(struct sbx_maker *m, const char *options,
		  const struct sbx_maker_word *words,
		  int (*finish)(struct sbx_maker *m))
{
	SBX_JSON json_t *body = json_object();
	SBX_JSON json_t *given = NULL;
	int r;

	if (!body)
		return sbx_maker_no_memory(m);
	m->body = body;
	r = maker_parse(m, options, &given);
	if (r == 0)
		r = maker_take(m, given, words);
	if (r == 0 && finish)
		r = finish(m);
	if (r == 0 && m->text)
		r = sbx_maker_text(m, m->text);
	m->body = NULL;
	return r;
}
