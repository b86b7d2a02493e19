/*
 * The options of a new sandbox: JSON object of the user's to request body.
 * Environment has no field of its own: it is a call that the service makes to
 * the sandbox once that runs.
 */
#include <errno.h>
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
	return sbx_labels_take_name(m, key, value, "labels");
}

/* A member of "spec", all of whose members are texts. */
static int put_spec(struct sbx_maker *m, const char *key, const json_t *value)
{
	json_t *spec = sbx_maker_object(m, "spec");
	SBX_FREE char *text = sbx_scalar_text(value);

	if (!text || !*text)
		return sbx_maker_wrong(m, key,
				       "must be text, as in 500m, 4Gi or the "
				       "name of an image");
	if (!spec)
		return -ENOMEM;
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
	json_t *to = sbx_maker_object(m, "labels");

	return to ? sbx_maker_add_texts(m, key, value, MAX_LABELS,
					sbx_label_wrong, to)
		  : -ENOMEM;
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
	SBX_JSON json_t *body = json_object();
	json_t *list = payloads_of(m);
	int r = body && list ? 0 : sbx_maker_no_memory(m);

	if (r == 0)
		r = sbx_maker_add_texts(m, key, value, MAX_ENV, sbx_env_wrong,
					body);
	if (r == 0 && json_array_append_new(list, json_pack("{s:s,s:O}", "api",
							    "/api/v1/env",
							    "body", body)) < 0)
		r = sbx_maker_no_memory(m);
	return r;
}

static int put_hours(struct sbx_maker *m, int64_t hours)
{
	return sbx_maker_put(m, "ttl_hours", json_integer(hours));
}

static int take_hours(struct sbx_maker *m, const char *key, const json_t *value)
{
	int64_t n;
	int r = sbx_maker_number(m, key, value, 1, MAX_HOURS,
				 "must be a number of hours, at most a year",
				 &n);

	return r < 0 ? r : put_hours(m, n);
}

static int take_seconds(struct sbx_maker *m, const char *key,
			const json_t *value)
{
	int64_t n;
	int r = sbx_maker_number(m, key, value, 1, MAX_HOURS * 3600,
				 "must be a number of seconds, at most a year",
				 &n);

	return r < 0 ? r : put_hours(m, (n + 3599) / 3600);
}

static const struct sbx_maker_word words[] = {
	{"name", take_name},
	{"user_id", sbx_take_text},
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

static int finish(struct sbx_maker *m)
{
	int r = sbx_labels_put_marker(m, "labels", m->marker);

	if (r == 0 && !json_object_get(m->body, "user_id"))
		r = sbx_maker_put(m, "user_id", json_string(DEFAULT_USER));
	return r;
}

char *sbx_vtrix_create_body(const char *options, const char *marker,
			    struct sbx_error *reterr)
{
	char *body = NULL;
	struct sbx_maker m = {
		.marker = marker, .text = &body, .reterr = reterr};

	return sbx_maker_run(&m, options, words, finish) < 0 ? NULL : body;
}

int sbx_vtrix_options_check(const char *options, struct sbx_error *reterr)
{
	char *body = sbx_vtrix_create_body(options, "", reterr);
	int r = body ? 0 : reterr->err;

	sbx_wipe(body);
	return r;
}

/* ---- of one that is there ---- */

#define UPDATE_WORDS                                                           \
	{"image", sbx_take_text}, {"cpu", put_spec}, {"memory", put_spec},     \
	{                                                                      \
		"spec", take_spec                                              \
	}
static const struct sbx_maker_word update_words[] = {UPDATE_WORDS, {0}};
static const struct sbx_maker_word update_more_words[] = {
	UPDATE_WORDS, {"payloads", take_payloads}, {"env", take_env}, {0}};
static const struct sbx_maker_word configure_words[] = {
	{"payloads", take_payloads},
	{"env", take_env},
	{0},
};

static int finish_update(struct sbx_maker *m)
{
	if (!json_object_size(m->body))
		return sbx_maker_wrong(m, "update",
				       "what is to be changed is wanted, as "
				       "in {\"memory\":\"2Gi\"}");
	return 0;
}

char *sbx_vtrix_change_body(const char *text, enum sbx_vtrix_change what,
			    struct sbx_error *reterr)
{
	char *body = NULL;
	struct sbx_maker m = {.text = &body, .reterr = reterr};
	int r;

	if (!text[strspn(text, " \t\r\n")])
		text = NULL;
	if (what == SBX_VTRIX_CONFIGURE)
		r = sbx_maker_run(&m, text, configure_words, NULL);
	else
		r = sbx_maker_run(&m, text,
				  what == SBX_VTRIX_UPDATE ? update_words
							   : update_more_words,
				  finish_update);
	return r < 0 ? NULL : body;
}
