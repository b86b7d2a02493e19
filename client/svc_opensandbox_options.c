/*
 * The options of a new sandbox: JSON object of the user's to request body.
 * What the service refuses with worse words, or ignores, is checked here.
 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/cleanup.h"
#include "client/json.h"
#include "client/labels.h"
#include "client/options.h"
#include "client/svc_opensandbox_json.h"

#define DEFAULT_IMAGE "python:3.11" /* as in the service's own examples */
#define DEFAULT_LIFE  3600
#define MIN_LIFE      60
#define MAX_LIFE      (366ll * 24 * 3600)
#define MAX_TEXTS     200 /* in one object */
#define TOKEN_ENV     "EXECD_ACCESS_TOKEN"

static int take_name(struct sbx_maker *m, const char *key, const json_t *value)
{
	return sbx_labels_take_name(m, key, value, "metadata");
}

/* A reference, or the service's object with credentials for the registry. */
static int take_image(struct sbx_maker *m, const char *key, const json_t *value)
{
	if (json_is_object(value) && sbx_json_str(value, "uri"))
		return sbx_maker_put(m, "image", json_deep_copy(value));
	if (!json_is_string(value) || !*json_string_value(value))
		return sbx_maker_wrong(m, key, "must be an image reference");
	return sbx_maker_put(
		m, "image",
		json_pack("{s:O}", "uri", (json_t *)(uintptr_t)value));
}

static int take_snapshot(struct sbx_maker *m, const char *key,
			 const json_t *value)
{
	if (!sbx_is_id(json_string_value(value)))
		return sbx_maker_wrong(m, key, "must be a snapshot's id");
	return sbx_maker_put(m, "snapshotId", json_deep_copy(value));
}

static int take_life(struct sbx_maker *m, const char *key, const json_t *value)
{
	int64_t s;
	int r;

	if (json_is_string(value) && !strcmp(json_string_value(value), "never"))
		return sbx_maker_put(m, "timeout", json_null());
	r = sbx_maker_number(m, key, value, MIN_LIFE, MAX_LIFE,
			     "must be a number of seconds, 60 or more, or "
			     "never",
			     &s);
	return r < 0 ? r : sbx_maker_put(m, "timeout", json_integer(s));
}

static int take_texts(struct sbx_maker *m, const char *key, const char *as,
		      const json_t *value,
		      const char *(*wrong)(const char *name, const char *text))
{
	json_t *to = sbx_maker_object(m, as);

	return to ? sbx_maker_add_texts(m, key, value, MAX_TEXTS, wrong, to)
		  : -ENOMEM;
}

static int take_resources(struct sbx_maker *m, const char *key,
			  const json_t *value)
{
	return take_texts(m, key, "resourceLimits", value, NULL);
}

static int take_as_named(struct sbx_maker *m, const char *key,
			 const json_t *value)
{
	return take_texts(m, key, key, value, NULL);
}

static int take_env(struct sbx_maker *m, const char *key, const json_t *value)
{
	return take_texts(m, key, key, value, sbx_env_wrong);
}

static const char *metadata_wrong(const char *name, const char *text)
{
	return strncmp(name, "opensandbox.io/", 15)
		       ? sbx_label_wrong(name, text)
		       : "labels of opensandbox.io are the service's own";
}

static int take_metadata(struct sbx_maker *m, const char *key,
			 const json_t *value)
{
	return take_texts(m, key, key, value, metadata_wrong);
}

static int take_entrypoint(struct sbx_maker *m, const char *key,
			   const json_t *value)
{
	size_t i;

	if (!json_array_size(value))
		return sbx_maker_wrong(m, key, "must be a list of words");
	for (i = 0; i < json_array_size(value); i++)
		if (!json_is_string(json_array_get(value, i)))
			return sbx_maker_wrong(m, key,
					       "must be a list of words");
	return sbx_maker_put(m, key, json_deep_copy(value));
}

static const struct sbx_maker_word words[] = {
	{"name", take_name},
	{"image", take_image},
	{"snapshotId", take_snapshot},
	{"snapshot", take_snapshot},
	{"entrypoint", take_entrypoint},
	{"resourceLimits", take_resources},
	{"resources", take_resources},
	{"resourceRequests", take_as_named},
	{"timeout", take_life},
	{"env", take_env},
	{"metadata", take_metadata},
	{"networkPolicy", sbx_take_object},
	{"credentialProxy", sbx_take_object},
	{"secureAccess", sbx_take_truth},
	{"platform", sbx_take_object},
	{"volumes", sbx_take_list},
	{"extensions", take_as_named},
	{0},
};

/* As the service's own libraries do it: it has no defaults of its own. */
static int put_defaults(struct sbx_maker *m)
{
	bool pool =
		sbx_json_str(sbx_json_object(m->body, "extensions"), "poolRef");
	int r = 0;

	if (!pool && !json_object_get(m->body, "image") &&
	    !json_object_get(m->body, "snapshotId"))
		r = sbx_maker_put(m, "image",
				  json_pack("{s:s}", "uri", DEFAULT_IMAGE));
	if (r == 0 && json_object_get(m->body, "image") &&
	    json_object_get(m->body, "snapshotId"))
		r = sbx_maker_wrong(m, "image",
				    "a sandbox is made of an image or of a "
				    "snapshot, not of both");
	if (r == 0 && json_object_get(m->body, "image") &&
	    !json_object_get(m->body, "entrypoint"))
		r = sbx_maker_put(
			m, "entrypoint",
			json_pack("[s,s,s]", "tail", "-f", "/dev/null"));
	if (r == 0 && !json_object_get(m->body, "resourceLimits"))
		r = sbx_maker_put(
			m, "resourceLimits",
			json_pack("{s:s,s:s}", "cpu", "1", "memory", "2Gi"));
	if (r == 0 && !json_object_get(m->body, "timeout"))
		r = sbx_maker_put(m, "timeout", json_integer(DEFAULT_LIFE));
	if (r == 0 && json_is_null(json_object_get(m->body, "timeout")))
		json_object_del(m->body, "timeout");
	return r;
}

/* It becomes a header line of every request. */
static int take_token(struct sbx_maker *m, struct sbx_osb_create *ret)
{
	const char *token =
		sbx_json_str(sbx_json_object(m->body, "env"), TOKEN_ENV);
	size_t i;

	for (i = 0; token && token[i]; i++)
		if (token[i] <= 0x20 || token[i] > 0x7e || i > 1024)
			return sbx_maker_wrong(m, TOKEN_ENV,
					       "must be visible ASCII");
	return sbx_dup_text(&ret->token, token) < 0 ? sbx_maker_no_memory(m)
						    : 0;
}

static int finish(struct sbx_maker *m)
{
	int r = sbx_labels_put_marker(m, "metadata", m->marker);

	if (r == 0)
		r = put_defaults(m);
	return r < 0 ? r : take_token(m, m->own);
}

int sbx_osb_create_parse(struct sbx_osb_create *ret, const char *options,
			 const char *marker, struct sbx_error *reterr)
{
	struct sbx_maker m = {.own = ret,
			      .marker = marker,
			      .text = &ret->body,
			      .reterr = reterr};
	int r;

	memset(ret, 0, sizeof(*ret));
	r = sbx_maker_run(&m, options, words, finish);
	if (r < 0)
		sbx_osb_create_release(ret);
	return r;
}

int sbx_osb_options_check(const char *options, struct sbx_error *reterr)
{
	struct sbx_osb_create c;
	int r = sbx_osb_create_parse(&c, options, "", reterr);

	sbx_osb_create_release(&c);
	return r;
}

void sbx_osb_create_release(struct sbx_osb_create *c)
{
	sbx_wipe(c->body);
	sbx_wipe(c->token);
	memset(c, 0, sizeof(*c));
}
