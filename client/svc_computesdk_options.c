/*
 * The options of a new sandbox: JSON object of the user's to request body.
 * Its own words are checked; others are the provider's, and handed on.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cleanup.h"
#include "client/json.h"
#include "client/options.h"
#include "client/svc_computesdk_json.h"

#define MAX_LIFE_MS (366ll * 24 * 3600 * 1000)

static int take_name(struct sbx_maker *m, const char *key, const json_t *value)
{
	if (!sbx_is_file_name(json_string_value(value)))
		return sbx_maker_wrong(m, key, "must be a file name");
	return sbx_maker_put(m, key, json_deep_copy(value));
}

static int take_text(struct sbx_maker *m, const char *key, const json_t *value)
{
	if (!json_is_string(value) || !*json_string_value(value))
		return sbx_maker_wrong(m, key, "must be text");
	return sbx_maker_put(m, key, json_deep_copy(value));
}

static int take_template(struct sbx_maker *m, const char *key,
			 const json_t *value)
{
	(void)key;
	return take_text(m, "templateId", value);
}

static int take_life(struct sbx_maker *m, const char *key, const json_t *value)
{
	static const char why[] = "must be a number of milliseconds";
	SBX_FREE char *text = sbx_scalar_text(value);
	long long v;
	char *end;

	if (!text || !isdigit((unsigned char)text[0]))
		return sbx_maker_wrong(m, key, why);
	errno = 0;
	v = strtoll(text, &end, 10);
	if (*end || errno || v < 1 || v > MAX_LIFE_MS)
		return sbx_maker_wrong(m, key, why);
	return sbx_maker_put(m, key, json_integer(v));
}

static int take_env(struct sbx_maker *m, const char *key, const json_t *value)
{
	json_t *to = json_object(), *v;
	const char *name;
	int r = json_is_object(value) ? 0
				      : sbx_maker_wrong(m, key,
							"must be an object of "
							"names and values");

	json_object_foreach((json_t *)(uintptr_t)value, name, v)
	{
		SBX_FREE char *text = sbx_scalar_text(v);

		if (r == 0 && !sbx_env_name_is_word(name))
			r = sbx_maker_wrong(m, name,
					    "cannot be the name of a variable");
		if (r == 0 && !text)
			r = sbx_maker_wrong(m, name, "the value must be text");
		if (r == 0 &&
		    json_object_set_new(to, name, json_string(text)) < 0)
			r = sbx_maker_no_memory(m);
	}
	if (r == 0)
		return sbx_maker_put(m, "envs", to);
	json_decref(to);
	return r;
}

static int take_object(struct sbx_maker *m, const char *key,
		       const json_t *value)
{
	if (!json_is_object(value))
		return sbx_maker_wrong(m, key, "must be an object");
	return sbx_maker_put(m, key, json_deep_copy(value));
}

static int take_list(struct sbx_maker *m, const char *key, const json_t *value)
{
	if (!json_is_array(value))
		return sbx_maker_wrong(m, key, "must be a list");
	return sbx_maker_put(m, key, json_deep_copy(value));
}

static const struct sbx_maker_word words[] = {
	{"name", take_name},	     {"namespace", take_text},
	{"template", take_template}, {"templateId", take_template},
	{"image", take_text},	     {"snapshotId", take_text},
	{"directory", take_text},    {"timeout", take_life},
	{"env", take_env},	     {"envs", take_env},
	{"metadata", take_object},   {"overlays", take_list},
	{"servers", take_list},	     {0},
};

static bool is_own_word(const char *key)
{
	size_t i;

	for (i = 0; words[i].key; i++)
		if (!strcmp(words[i].key, key))
			return true;
	return false;
}

/* Ours by their words, the provider's as they are. */
static int take_all(struct sbx_maker *m, json_t *options)
{
	const char *key;
	json_t *v;
	void *next;
	int r = 0;

	json_object_foreach_safe(options, next, key, v)
	{
		if (r < 0 || is_own_word(key))
			continue;
		r = sbx_maker_put(m, key, json_deep_copy(v));
		json_object_del(options, key);
	}
	return r < 0 ? r : sbx_maker_take(m, options, words);
}

/*
 * A name is unique within its namespace, and sandboxes of one namespace share
 * a machine: so each has a namespace of its own unless the user gave one.
 * The name is kept in the metadata, too, since a sandbox that is asked for by
 * its id does not tell its name.
 */
static int put_names(struct sbx_maker *m, const char *marker,
		     struct sbx_csdk_create *ret)
{
	const char *name = sbx_json_str(m->body, "name"), *namespace;
	json_t *metadata = json_object_get(m->body, "metadata");
	char made[48];
	int r = 0;

	ret->is_named = name;
	snprintf(made, sizeof(made), SBX_CSDK_MADE_UP "%.16s", marker);
	if (!metadata) {
		metadata = json_object();
		r = sbx_maker_put(m, "metadata", metadata);
	}
	if (r == 0 && name &&
	    json_object_set_new(metadata, "name", json_string(name)) < 0)
		r = sbx_maker_no_memory(m);
	if (r == 0 && !name)
		r = sbx_maker_put(m, "name", json_string(made));
	name = sbx_json_str(m->body, "name");
	namespace = sbx_json_str(m->body, "namespace");
	ret->may_exist = namespace;
	if (r == 0 && !namespace)
		r = sbx_maker_put(m, "namespace", json_string(name));
	if (r == 0 && (sbx_dup_text(&ret->name, name) < 0 ||
		       sbx_dup_text(&ret->namespace,
				    sbx_json_str(m->body, "namespace")) < 0))
		r = sbx_maker_no_memory(m);
	return r;
}

int sbx_csdk_create_parse(struct sbx_csdk_create *ret, const char *options,
			  const char *marker, struct sbx_error *reterr)
{
	struct sbx_maker m = {.reterr = reterr};
	SBX_JSON json_t *obj = NULL;
	int r;

	memset(ret, 0, sizeof(*ret));
	r = sbx_maker_parse(&m, options, &obj);
	if (r < 0)
		return r;
	m.body = json_object();
	if (!m.body)
		return sbx_maker_no_memory(&m);
	if (obj)
		r = take_all(&m, obj);
	if (r == 0)
		r = put_names(&m, marker, ret);
	if (r == 0) {
		ret->body = sbx_json_text(m.body, false);
		if (!ret->body)
			r = sbx_maker_no_memory(&m);
	}
	json_decref(m.body);
	if (r < 0)
		sbx_csdk_create_release(ret);
	return r;
}

void sbx_csdk_create_release(struct sbx_csdk_create *c)
{
	if (c->body)
		explicit_bzero(c->body, strlen(c->body));
	free(c->body);
	free(c->name);
	free(c->namespace);
	memset(c, 0, sizeof(*c));
}
