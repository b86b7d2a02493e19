/*
 * The options of a new sandbox: JSON object of the user's to request bodies,
 * every field checked here, since the service ignores or refuses many of
 * them with worse words, or silently.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cleanup.h"
#include "client/json.h"
#include "client/labels.h"
#include "client/limits.h"
#include "client/options.h"
#include "client/svc_xgen_json.h"

#define MAX_ENV 50
/* All of them go with each command, in a message of 32 KiB that is our
 * script's, too. */
#define MAX_ENV_BYTES (24 * 1024)
#define MAX_METADATA  20
#define MAX_RESOURCES 3
#define MAX_META_KEY  128
#define MAX_META_TEXT 1024
#define MAX_LIFE_S    (366ll * 24 * 3600)

/* The service refuses these, as 503 and "try again". */
static bool env_name_is_reserved(const char *name)
{
	static const char *const words[] = {"PATH", "HOME", "USER", "SHELL"};
	static const char *const starts[] = {"KUBERNETES_", "LD_", "SANDBOX_"};
	size_t i;

	for (i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (!strcmp(name, words[i]))
			return true;
	for (i = 0; i < sizeof(starts) / sizeof(starts[0]); i++)
		if (!strncmp(name, starts[i], strlen(starts[i])))
			return true;
	return false;
}

/* What is being made of the options, beside the body. */
struct wish {
	struct sbx_xgen_create *ret;
	const char *marker;
	int64_t life_ms; /* -1: not asked for */
};

static struct wish *wish_of(const struct sbx_maker *m)
{
	return m->own;
}

static const char *env_wrong(const char *name, const char *text)
{
	return env_name_is_reserved(name)
		       ? "the service does not let this variable be set"
		       : sbx_env_wrong(name, text);
}

static int take_env(struct sbx_maker *m, const char *key, const json_t *value)
{
	json_t *to = sbx_maker_object(m, key), *text;
	const char *name;
	size_t len = 0;
	int r;

	if (!to)
		return -ENOMEM;
	r = sbx_maker_add_texts(m, key, value, MAX_ENV, env_wrong, to);
	json_object_foreach(to, name, text) len +=
		strlen(name) + json_string_length(text);
	if (r == 0 && len > MAX_ENV_BYTES)
		r = sbx_maker_wrong(m, key,
				    "names and values are at most 24 KiB "
				    "together, for each command is given them");
	return r;
}

static const char *metadata_wrong(const char *name, const char *text)
{
	if (!*name || strlen(name) > MAX_META_KEY)
		return "a name must have 1 to 128 bytes";
	return strlen(text) > MAX_META_TEXT
		       ? "must be text of at most 1024 bytes"
		       : NULL;
}

static int take_metadata(struct sbx_maker *m, const char *key,
			 const json_t *value)
{
	json_t *to = sbx_maker_object(m, key);

	return to ? sbx_maker_add_texts(m, key, value, MAX_METADATA,
					metadata_wrong, to)
		  : -ENOMEM;
}

static int take_name(struct sbx_maker *m, const char *key, const json_t *value)
{
	json_t *to = sbx_maker_object(m, "metadata");

	if (!to)
		return -ENOMEM;
	if (!sbx_is_file_name(json_string_value(value)))
		return sbx_maker_wrong(m, key, "must be a file name");
	return json_object_set_new(to, "name", json_deep_copy(value)) < 0
		       ? sbx_maker_no_memory(m)
		       : 0;
}

static int take_text(struct sbx_maker *m, const char *key, const json_t *value)
{
	const char *text = json_string_value(value);

	if (!text || !*text || strlen(text) > 1024)
		return sbx_maker_wrong(m, key, "must be a word");
	if (!strcmp(key, "image"))
		key = "template";
	if (json_object_get(m->body, key))
		return sbx_maker_wrong(m, key,
				       "given twice (image means template)");
	return sbx_maker_put(m, key, json_string(text));
}

static int take_life(struct sbx_maker *m, const char *key, const json_t *value)
{
	bool is_ms = strlen(key) > 3 && !strcmp(key + strlen(key) - 3, "_ms");
	int64_t unit = is_ms ? 1 : 1000, n;
	int r;

	if (wish_of(m)->life_ms >= 0)
		return sbx_maker_wrong(m, key, "the time is given twice");
	r = sbx_maker_number(m, key, value, 1, MAX_LIFE_S * 1000 / unit,
			     is_ms ? "must be a number of milliseconds"
				   : "must be a number of seconds",
			     &n);
	if (r == 0)
		wish_of(m)->life_ms = n * unit;
	return r;
}

static const char *resource_wrong(const char *name, const char *text)
{
	if (strcmp(name, "cpu") && strcmp(name, "memory") &&
	    strcmp(name, "disk"))
		return "unknown; resources are cpu, memory and disk";
	return isdigit((unsigned char)text[0])
		       ? NULL
		       : "must be an amount like 500m, 2 or 1Gi";
}

static int take_resources(struct sbx_maker *m, const char *key,
			  const json_t *value)
{
	json_t *to = sbx_maker_object(m, key);

	return to ? sbx_maker_add_texts(m, key, value, MAX_RESOURCES,
					resource_wrong, to)
		  : -ENOMEM;
}

static int take_ports(struct sbx_maker *m, const char *key, const json_t *value)
{
	size_t i, j, n = json_array_size(value);
	json_t *to = json_array();
	int64_t port, other;
	int r = 0;

	if (!json_is_array(value) || n > SBX_MAX_PORTS)
		r = sbx_maker_wrong(m, key, "must be a list of port numbers");
	for (i = 0; r == 0 && i < n; i++) {
		port = json_integer_value(json_array_get(value, i));
		if (port < 1 || port > 65535)
			r = sbx_maker_wrong(m, key,
					    "a port is a number of 1 to 65535");
		for (j = 0; j < i && r == 0; j++) {
			other = json_integer_value(json_array_get(value, j));
			if (other == port)
				r = sbx_maker_wrong(m, key,
						    "a port is given twice");
		}
		if (r == 0 && json_array_append_new(to, json_integer(port)) < 0)
			r = sbx_maker_no_memory(m);
	}
	if (r == 0)
		return sbx_maker_put(m, "ports", to);
	json_decref(to);
	return r;
}

static int take_capabilities(struct sbx_maker *m, const char *key,
			     const json_t *value)
{
	json_t *to = json_array();
	const char *word;
	size_t i;
	int r = 0;

	if (!json_is_array(value))
		r = sbx_maker_wrong(m, key,
				    "must be a list of sudo, git-ssh, browser");
	for (i = 0; r == 0 && i < json_array_size(value); i++) {
		word = json_string_value(json_array_get(value, i));
		if (!word || (strcmp(word, "sudo") && strcmp(word, "git-ssh") &&
			      strcmp(word, "browser")))
			r = sbx_maker_wrong(m, key,
					    "known are sudo, git-ssh, browser");
		else if (json_array_append_new(to, json_string(word)) < 0)
			r = sbx_maker_no_memory(m);
	}
	if (r == 0)
		return sbx_maker_put(m, "capabilities", to);
	json_decref(to);
	return r;
}

static const struct sbx_maker_word words[] = {
	{"name", take_name},
	{"template", take_text},
	{"image", take_text},
	{"timeout", take_life},
	{"timeout_s", take_life},
	{"timeout_seconds", take_life},
	{"timeout_ms", take_life},
	{"resources", take_resources},
	{"env", take_env},
	{"ports", take_ports},
	{"gui", sbx_take_truth},
	{"metadata", take_metadata},
	{"capabilities", take_capabilities},
	{0},
};

void sbx_xgen_env_free(char **env)
{
	size_t i;

	for (i = 0; env && env[i]; i++)
		sbx_wipe(env[i]);
	free(env);
}

static char **env_list(const json_t *env)
{
	char **list = calloc(json_object_size(env) + 1, sizeof(*list));
	const char *name;
	json_t *v;
	size_t n = 0;

	if (!list)
		return NULL;
	json_object_foreach((json_t *)(uintptr_t)env, name, v)
	{
		if (asprintf(&list[n], "%s=%s", name, json_string_value(v)) <
		    0) {
			list[n] = NULL;
			sbx_xgen_env_free(list);
			return NULL;
		}
		n++;
	}
	return list;
}

static int make_bodies(struct sbx_maker *m)
{
	struct sbx_xgen_create *ret = wish_of(m)->ret;
	int64_t ms = wish_of(m)->life_ms;
	int r = 0;

	if (ms >= 0)
		r = sbx_maker_put(m, "timeout_seconds",
				  json_integer((ms + 999) / 1000));
	if (r == 0)
		r = sbx_maker_text(m, &ret->body_v1);
	json_object_del(m->body, "timeout_seconds");
	if (r == 0 && ms >= 0)
		r = sbx_maker_put(m, "timeout_ms", json_integer(ms));
	return r < 0 ? r : sbx_maker_text(m, &ret->body_v2);
}

static int finish(struct sbx_maker *m)
{
	const json_t *env = json_object_get(m->body, "env");
	int r = sbx_labels_put_marker(m, "metadata", wish_of(m)->marker);

	if (r == 0 && json_object_size(json_object_get(m->body, "metadata")) >
			      MAX_METADATA)
		r = sbx_maker_wrong(
			m, "metadata",
			"the service takes 20 entries; the name and one of "
			"our own are among them");
	if (r < 0)
		return r;
	if (env) {
		wish_of(m)->ret->env = env_list(env);
		if (!wish_of(m)->ret->env)
			return sbx_maker_no_memory(m);
	}
	return make_bodies(m);
}

int sbx_xgen_create_parse(struct sbx_xgen_create *ret, const char *options,
			  const char *marker, struct sbx_error *reterr)
{
	struct wish w = {.ret = ret, .marker = marker, .life_ms = -1};
	struct sbx_maker m = {.reterr = reterr, .own = &w};
	int r;

	memset(ret, 0, sizeof(*ret));
	r = sbx_maker_run(&m, options, words, finish);
	if (r < 0)
		sbx_xgen_create_release(ret);
	return r;
}

int sbx_xgen_options_check(const char *options, struct sbx_error *reterr)
{
	struct sbx_xgen_create c;
	int r = sbx_xgen_create_parse(&c, options, "", reterr);

	sbx_xgen_create_release(&c);
	return r;
}

void sbx_xgen_create_release(struct sbx_xgen_create *c)
{
	sbx_wipe(c->body_v1);
	sbx_wipe(c->body_v2);
	sbx_xgen_env_free(c->env);
	memset(c, 0, sizeof(*c));
}
