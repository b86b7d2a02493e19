/*
 * The options of a new sandbox: JSON object of the user's to request body.
 * Its own words are checked; others are the provider's, and handed on.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cleanup.h"
#include "client/json.h"
#include "client/options.h"
#include "client/svc_computesdk_json.h"

#define MAX_ENV	    200
#define MAX_LIFE_MS (366ll * 24 * 3600 * 1000)

static int take_name(struct sbx_maker *m, const char *key, const json_t *value)
{
	if (!sbx_is_file_name(json_string_value(value)))
		return sbx_maker_wrong(m, key, "must be a file name");
	return sbx_maker_put(m, key, json_deep_copy(value));
}

static int take_template(struct sbx_maker *m, const char *key,
			 const json_t *value)
{
	(void)key;
	return sbx_take_text(m, "templateId", value);
}

static int take_life(struct sbx_maker *m, const char *key, const json_t *value)
{
	int64_t n;
	int r = sbx_maker_number(m, key, value, 1, MAX_LIFE_MS,
				 "must be a number of milliseconds", &n);

	return r < 0 ? r : sbx_maker_put(m, key, json_integer(n));
}

static int take_env(struct sbx_maker *m, const char *key, const json_t *value)
{
	json_t *to = sbx_maker_object(m, "envs");

	return to ? sbx_maker_add_texts(m, key, value, MAX_ENV, sbx_env_wrong,
					to)
		  : -ENOMEM;
}

/* The provider's words are the provider's to judge. */
static int take_other(struct sbx_maker *m, const char *key, const json_t *value)
{
	return sbx_maker_put(m, key, json_deep_copy(value));
}

static const struct sbx_maker_word words[] = {
	{"name", take_name},
	{"namespace", sbx_take_text},
	{"template", take_template},
	{"templateId", take_template},
	{"image", sbx_take_text},
	{"snapshotId", sbx_take_text},
	{"directory", sbx_take_text},
	{"timeout", take_life},
	{"env", take_env},
	{"envs", take_env},
	{"metadata", sbx_take_object},
	{"overlays", sbx_take_list},
	{"servers", sbx_take_list},
	{NULL, take_other},
};

/*
 * A name is unique within its namespace, and sandboxes of one namespace share
 * a machine: so each has a namespace of its own unless the user gave one.
 * The name is kept in the metadata, too, since a sandbox that is asked for by
 * its id does not tell its name.
 */
static int put_names(struct sbx_maker *m)
{
	struct sbx_csdk_create *ret = m->own;
	const char *name = sbx_json_str(m->body, "name"), *namespace;
	json_t *metadata = sbx_maker_object(m, "metadata");
	char made[48];
	int r = metadata ? 0 : -ENOMEM;

	ret->is_named = name;
	snprintf(made, sizeof(made), SBX_CSDK_MADE_UP "%.16s", m->marker);
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
	struct sbx_maker m = {.own = ret,
			      .marker = marker,
			      .text = &ret->body,
			      .reterr = reterr};
	int r;

	memset(ret, 0, sizeof(*ret));
	r = sbx_maker_run(&m, options, words, put_names);
	if (r < 0)
		sbx_csdk_create_release(ret);
	return r;
}

int sbx_csdk_options_check(const char *options, struct sbx_error *reterr)
{
	struct sbx_csdk_create c;
	int r = sbx_csdk_create_parse(&c, options, "", reterr);

	sbx_csdk_create_release(&c);
	return r;
}

void sbx_csdk_create_release(struct sbx_csdk_create *c)
{
	sbx_wipe(c->body);
	free(c->name);
	free(c->namespace);
	memset(c, 0, sizeof(*c));
}
