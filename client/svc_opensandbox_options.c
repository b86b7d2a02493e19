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
#define MAX_ENV	      200
#define MAX_METADATA  50
#define TOKEN_ENV     "EXECD_ACCESS_TOKEN"

static int take_name(struct sbx_maker *m, const char *key, const json_t *value)
{
	const char *name = json_string_value(value);

	if (!sbx_is_file_name(name))
		return sbx_maker_wrong(m, key, "must be a file name");
	return sbx_labels_put_name(json_object_get(m->body, "metadata"), name) <
			       0
		       ? sbx_maker_no_memory(m)
		       : 0;
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
	static const char why[] = "must be a number of seconds, 60 or more, or "
				  "never";
	SBX_FREE char *text = sbx_scalar_text(value);
	long long v;
	char *end;

	if (text && !strcmp(text, "never"))
		return sbx_maker_put(m, "timeout", json_null());
	if (!text || !isdigit((unsigned char)text[0]))
		return sbx_maker_wrong(m, key, why);
	errno = 0;
	v = strtoll(text, &end, 10);
	if (*end || errno || v < MIN_LIFE || v > MAX_LIFE)
		return sbx_maker_wrong(m, key, why);
	return sbx_maker_put(m, "timeout", json_integer(v));
}

/* An object of texts, for which scalars may stand. */
static int take_texts(struct sbx_maker *m, const char *key, const char *as,
		      const json_t *value)
{
	json_t *to = json_object(), *v;
	const char *name;
	int r = 0;

	if (!json_is_object(value))
		r = sbx_maker_wrong(m, key,
				    "must be an object of names and values");
	json_object_foreach((json_t *)(uintptr_t)value, name, v)
	{
		SBX_FREE char *text = sbx_scalar_text(v);

		if (r == 0 && !text)
			r = sbx_maker_wrong(m, name, "the value must be text");
		if (r == 0 &&
		    json_object_set_new(to, name, json_string(text)) < 0)
			r = sbx_maker_no_memory(m);
	}
	if (r == 0)
		return sbx_maker_put(m, as, to);
	json_decref(to);
	return r;
}

static int take_resources(struct sbx_maker *m, const char *key,
			  const json_t *value)
{
	return take_texts(m, key, "resourceLimits", value);
}

static int take_extensions(struct sbx_maker *m, const char *key,
			   const json_t *value)
{
	return take_texts(m, key, key, value);
}

static int take_env(struct sbx_maker *m, const char *key, const json_t *value)
{
	const char *name;
	json_t *v;

	if (json_object_size(value) > MAX_ENV)
		return sbx_maker_wrong(m, key, "at most 200 variables");
	json_object_foreach((json_t *)(uintptr_t)value, name, v) if (
		!sbx_env_name_is_word(
			name)) return sbx_maker_wrong(m, name,
						      "cannot be the name of a "
						      "variable");
	return take_texts(m, key, key, value);
}

static bool is_label_key(const char *key)
{
	return sbx_label_key_is_valid(key) &&
	       strncmp(key, "opensandbox.io/", 15) != 0;
}

static int take_metadata(struct sbx_maker *m, const char *key,
			 const json_t *value)
{
	json_t *to = json_object_get(m->body, "metadata"), *v;
	const char *name;

	if (!json_is_object(value) || json_object_size(value) > MAX_METADATA)
		return sbx_maker_wrong(m, key,
				       "must be an object of at most 50 names "
				       "and values");
	json_object_foreach((json_t *)(uintptr_t)value, name, v)
	{
		SBX_FREE char *text = sbx_scalar_text(v);

		if (!is_label_key(name) || !text ||
		    (*text && !sbx_label_is_valid(text)))
			return sbx_maker_wrong(
				m, *name ? name : key,
				"metadata are labels: at most 63 letters, "
				"digits, '.', '_' and '-', with a letter or "
				"digit at both ends");
		if (json_object_set_new(to, name, json_string(text)) < 0)
			return sbx_maker_no_memory(m);
	}
	return 0;
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

/* The service's own objects are the service's to judge. */
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

static int take_truth(struct sbx_maker *m, const char *key, const json_t *value)
{
	if (!json_is_boolean(value))
		return sbx_maker_wrong(m, key, "must be true or false");
	return sbx_maker_put(m, key, json_boolean(json_is_true(value)));
}

static const struct sbx_maker_word words[] = {
	{"name", take_name},
	{"image", take_image},
	{"snapshotId", take_snapshot},
	{"snapshot", take_snapshot},
	{"entrypoint", take_entrypoint},
	{"resourceLimits", take_resources},
	{"resources", take_resources},
	{"timeout", take_life},
	{"env", take_env},
	{"metadata", take_metadata},
	{"networkPolicy", take_object},
	{"credentialProxy", take_object},
	{"secureAccess", take_truth},
	{"platform", take_object},
	{"volumes", take_list},
	{"extensions", take_extensions},
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

static int make_all(struct sbx_maker *m, const json_t *options,
		    const char *marker, struct sbx_osb_create *ret)
{
	json_t *metadata = json_object();
	int r;

	r = sbx_maker_put(m, "metadata", metadata);
	if (r == 0)
		r = sbx_maker_take(m, options, words);
	if (r == 0 && json_object_set_new(metadata, SBX_LABEL_MARKER,
					  json_string(marker)) < 0)
		r = sbx_maker_no_memory(m);
	if (r == 0)
		r = put_defaults(m);
	if (r == 0)
		r = take_token(m, ret);
	if (r < 0)
		return r;
	ret->body = sbx_json_text(m->body, false);
	return ret->body ? 0 : sbx_maker_no_memory(m);
}

int sbx_osb_create_parse(struct sbx_osb_create *ret, const char *options,
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
	r = make_all(&m, obj, marker, ret);
	json_decref(m.body);
	if (r < 0)
		sbx_osb_create_release(ret);
	return r;
}

static void wipe(char *text)
{
	if (text)
		explicit_bzero(text, strlen(text));
	free(text);
}

void sbx_osb_create_release(struct sbx_osb_create *c)
{
	wipe(c->body);
	wipe(c->token);
	memset(c, 0, sizeof(*c));
}
