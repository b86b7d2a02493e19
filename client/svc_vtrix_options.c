/*
 * The options of a new sandbox: JSON object of the user's to request body.
 * Environment has no field of its own: it is a call that the service makes to
 * the sandbox once that runs.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "client/cleanup.h"
#include "client/json.h"
#include "client/labels.h"
#include "client/options.h"
#include "client/parse.h"
#include "client/svc_vtrix_json.h"

#define DEFAULT_USER "sbxfs"
#define MAX_LABELS   50
#define MAX_ENV	     200
#define MAX_HOURS    (366 * 24)

static int take_name(struct sbx_maker *m, const char *key, const json_t *value)
{
	const char *name = json_string_value(value);

	if (!sbx_is_file_name(name))
		return sbx_maker_wrong(m, key, "must be a file name");
	return sbx_labels_put_name(json_object_get(m->body, "labels"), name) < 0
		       ? sbx_maker_no_memory(m)
		       : 0;
}

static int take_user(struct sbx_maker *m, const char *key, const json_t *value)
{
	if (!json_is_string(value) || !*json_string_value(value))
		return sbx_maker_wrong(m, key, "must be the name of a user");
	return sbx_maker_put(m, key, json_deep_copy(value));
}

/* A member of "spec", all of whose members are texts. */
static int put_spec(struct sbx_maker *m, const char *key, const json_t *value)
{
	json_t *spec = json_object_get(m->body, "spec");
	SBX_FREE char *text = sbx_scalar_text(value);

	if (!text || !*text)
		return sbx_maker_wrong(m, key,
				       "must be text, as in 500m, 4Gi or the "
				       "name of an image");
	if (!spec) {
		spec = json_object();
		if (sbx_maker_put(m, "spec", spec) < 0)
			return -ENOMEM;
	}
	return json_object_set_new(spec, key, json_string(text)) < 0
		       ? sbx_maker_no_memory(m)
		       : 0;
}

static int take_spec(struct sbx_maker *m, const char *key, const json_t *value)
{
	const char *name;
	json_t *v;
	int r = 0;

	if (!json_is_object(value))
		return sbx_maker_wrong(m, key, "must be an object");
	json_object_foreach((json_t *)(uintptr_t)value, name, v)
	{
		if (r == 0)
			r = put_spec(m, name, v);
	}
	return r;
}

static int take_labels(struct sbx_maker *m, const char *key,
		       const json_t *value)
{
	json_t *to = json_object_get(m->body, "labels"), *v;
	const char *name;

	if (!json_is_object(value) || json_object_size(value) > MAX_LABELS)
		return sbx_maker_wrong(m, key,
				       "must be an object of at most 50 names "
				       "and values");
	json_object_foreach((json_t *)(uintptr_t)value, name, v)
	{
		SBX_FREE char *text = sbx_scalar_text(v);

		if (!sbx_label_key_is_valid(name) || !text ||
		    (*text && !sbx_label_is_valid(text)))
			return sbx_maker_wrong(
				m, *name ? name : key,
				"labels are at most 63 letters, digits, '.', "
				"'_' and '-', with a letter or digit at both "
				"ends");
		if (json_object_set_new(to, name, json_string(text)) < 0)
			return sbx_maker_no_memory(m);
	}
	return 0;
}

/* The list of payloads, made if it is not there; NULL without memory. */
static json_t *payloads_of(struct sbx_maker *m)
{
	json_t *list = json_object_get(m->body, "payloads");

	if (list)
		return list;
	list = json_array();
	return sbx_maker_put(m, "payloads", list) < 0 ? NULL : list;
}

static int take_payloads(struct sbx_maker *m, const char *key,
			 const json_t *value)
{
	json_t *list = payloads_of(m);
	size_t i;

	if (!list)
		return -ENOMEM;
	if (!json_is_array(value))
		return sbx_maker_wrong(m, key, "must be a list");
	for (i = 0; i < json_array_size(value); i++) {
		json_t *one = json_array_get(value, i);

		if (!sbx_json_str(one, "api"))
			return sbx_maker_wrong(m, key,
					       "each must be an object with "
					       "\"api\", the path of a call");
		if (json_array_append_new(list, json_deep_copy(one)) < 0)
			return sbx_maker_no_memory(m);
	}
	return 0;
}

static int take_env(struct sbx_maker *m, const char *key, const json_t *value)
{
	json_t *body = json_object(), *list = payloads_of(m), *v;
	const char *name;
	int r = body && list ? 0 : sbx_maker_no_memory(m);

	if (r == 0 &&
	    (!json_is_object(value) || json_object_size(value) > MAX_ENV))
		r = sbx_maker_wrong(m, key,
				    "must be an object of at most 200 names "
				    "and values");
	json_object_foreach((json_t *)(uintptr_t)value, name, v)
	{
		SBX_FREE char *text = sbx_scalar_text(v);

		if (r == 0 && (!sbx_env_name_is_word(name) || !text))
			r = sbx_maker_wrong(m, name,
					    "cannot be a variable and its "
					    "value");
		if (r == 0 &&
		    json_object_set_new(body, name, json_string(text)) < 0)
			r = sbx_maker_no_memory(m);
	}
	if (r == 0 && json_array_append_new(list, json_pack("{s:s,s:O}", "api",
							    "/api/v1/env",
							    "body", body)) < 0)
		r = sbx_maker_no_memory(m);
	json_decref(body);
	return r;
}

static int put_hours(struct sbx_maker *m, const char *key, const json_t *value,
		     unsigned int seconds_each)
{
	SBX_FREE char *text = sbx_scalar_text(value);
	unsigned long n = 0;
	char *end = NULL;

	errno = 0;
	if (text && text[0] >= '0' && text[0] <= '9')
		n = strtoul(text, &end, 10);
	if (!end || *end || errno || n > (unsigned long)INT_MAX)
		n = 0;
	n = (n * seconds_each + 3599) / 3600;
	if (n < 1 || n > MAX_HOURS)
		return sbx_maker_wrong(m, key,
				       seconds_each == 1
					       ? "must be a number of seconds, "
						 "at most a year"
					       : "must be a number of hours, "
						 "at most a year");
	return sbx_maker_put(m, "ttl_hours", json_integer((json_int_t)n));
}

static int take_hours(struct sbx_maker *m, const char *key, const json_t *value)
{
	return put_hours(m, key, value, 3600);
}

static int take_seconds(struct sbx_maker *m, const char *key,
			const json_t *value)
{
	return put_hours(m, key, value, 1);
}

static const struct sbx_maker_word words[] = {
	{"name", take_name},
	{"user_id", take_user},
	{"image", put_spec},
	{"cpu", put_spec},
	{"memory", put_spec},
	{"spec", take_spec},
	{"env", take_env},
	{"labels", take_labels},
	{"metadata", take_labels},
	{"payloads", take_payloads},
	{"ttl_hours", take_hours},
	{"timeout", take_seconds},
	{0},
};

static char *make_all(struct sbx_maker *m, const json_t *options,
		      const char *marker)
{
	json_t *labels = json_object();
	char *text;

	if (sbx_maker_put(m, "user_id", json_string(DEFAULT_USER)) < 0 ||
	    sbx_maker_put(m, "labels", labels) < 0 ||
	    sbx_maker_take(m, options, words) < 0)
		return NULL;
	if (json_object_set_new(labels, SBX_LABEL_MARKER, json_string(marker)) <
	    0) {
		sbx_maker_no_memory(m);
		return NULL;
	}
	text = sbx_json_text(m->body, false);
	if (!text)
		sbx_maker_no_memory(m);
	return text;
}

char *sbx_vtrix_create_body(const char *options, const char *marker,
			    struct sbx_error *reterr)
{
	struct sbx_maker m = {.body = json_object(), .reterr = reterr};
	SBX_JSON json_t *given = NULL;
	char *text = NULL;

	if (!m.body)
		sbx_maker_no_memory(&m);
	else if (sbx_maker_parse(&m, options, &given) == 0)
		text = make_all(&m, given, marker);
	json_decref(m.body);
	return text;
}
