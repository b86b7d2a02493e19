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

#define MAX_ENV	      50
#define MAX_METADATA  20
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

static int64_t life(const struct sbx_maker *m)
{
	return *(int64_t *)m->own; /* -1: not asked for */
}

static int take_env(struct sbx_maker *m, const char *key, const json_t *value)
{
	json_t *to = json_object(), *v;
	const char *name;
	int r = 0;

	if (!json_is_object(value))
		r = sbx_maker_wrong(m, key,
				    "must be an object of names and values");
	else if (json_object_size(value) > MAX_ENV)
		r = sbx_maker_wrong(m, key,
				    "the service takes at most 50 variables");
	json_object_foreach((json_t *)(uintptr_t)value, name, v)
	{
		SBX_FREE char *text = sbx_scalar_text(v);

		if (r < 0)
			break;
		if (!sbx_env_name_is_word(name))
			r = sbx_maker_wrong(m, name,
					    "cannot be the name of a variable");
		else if (env_name_is_reserved(name))
			r = sbx_maker_wrong(m, name,
					    "the service does not let this "
					    "variable be set");
		else if (!text)
			r = sbx_maker_wrong(m, name, "the value must be text");
		else if (json_object_set_new(to, name, json_string(text)) < 0)
			r = sbx_maker_no_memory(m);
	}
	if (r == 0)
		return sbx_maker_put(m, "env", to);
	json_decref(to);
	return r;
}

static int take_metadata(struct sbx_maker *m, const char *key,
			 const json_t *value)
{
	json_t *to = json_object_get(m->body, "metadata"), *v;
	const char *name;
	int r = 0;

	if (!json_is_object(value))
		return sbx_maker_wrong(m, key,
				       "must be an object of names and values");
	json_object_foreach((json_t *)(uintptr_t)value, name, v)
	{
		SBX_FREE char *text = sbx_scalar_text(v);

		if (!*name || strlen(name) > MAX_META_KEY)
			r = sbx_maker_wrong(m, key,
					    "a name must have 1 to 128 bytes");
		else if (!text || strlen(text) > MAX_META_TEXT)
			r = sbx_maker_wrong(
				m, name, "must be text of at most 1024 bytes");
		else if (json_object_set_new(to, name, json_string(text)) < 0)
			r = sbx_maker_no_memory(m);
		if (r < 0)
			return r;
	}
	return 0;
}

static int take_name(struct sbx_maker *m, const char *key, const json_t *value)
{
	const char *name = json_string_value(value);
	json_t *to = json_object_get(m->body, "metadata");

	if (!name || !*name || strlen(name) > 255 || strchr(name, '/') ||
	    !strcmp(name, ".") || !strcmp(name, ".."))
		return sbx_maker_wrong(m, key, "must be a file name");
	return json_object_set_new(to, "name", json_string(name)) < 0
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
	SBX_FREE char *text = sbx_scalar_text(value);
	int64_t unit = is_ms ? 1 : 1000, v;
	char *end;

	if (life(m) >= 0)
		return sbx_maker_wrong(m, key, "the time is given twice");
	if (!text || !isdigit((unsigned char)text[0]))
		return sbx_maker_wrong(
			m, key,
			is_ms ? "must be a number of milliseconds"
			      : "must be a number of seconds");
	errno = 0;
	v = strtoll(text, &end, 10);
	if (*end || errno || v < 1 || v > MAX_LIFE_S * 1000 / unit)
		return sbx_maker_wrong(
			m, key,
			is_ms ? "must be a number of milliseconds"
			      : "must be a number of seconds");
	*(int64_t *)m->own = v * unit;
	return 0;
}

static int take_resources(struct sbx_maker *m, const char *key,
			  const json_t *value)
{
	json_t *to = json_object(), *v;
	const char *name;
	int r = 0;

	if (!json_is_object(value))
		r = sbx_maker_wrong(m, key,
				    "must be an object of cpu, memory, disk");
	json_object_foreach((json_t *)(uintptr_t)value, name, v)
	{
		SBX_FREE char *text = sbx_scalar_text(v);

		if (r < 0)
			break;
		if (strcmp(name, "cpu") && strcmp(name, "memory") &&
		    strcmp(name, "disk"))
			r = sbx_maker_wrong(m, name,
					    "unknown; resources are cpu, "
					    "memory and disk");
		else if (!text || !isdigit((unsigned char)text[0]))
			r = sbx_maker_wrong(m, name,
					    "must be an amount like 500m, 2 or "
					    "1Gi");
		else if (json_object_set_new(to, name, json_string(text)) < 0)
			r = sbx_maker_no_memory(m);
	}
	if (r == 0)
		return sbx_maker_put(m, "resources", to);
	json_decref(to);
	return r;
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

static int take_gui(struct sbx_maker *m, const char *key, const json_t *value)
{
	if (!json_is_boolean(value))
		return sbx_maker_wrong(m, key, "must be true or false");
	return sbx_maker_put(m, "gui", json_boolean(json_is_true(value)));
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
	{"gui", take_gui},
	{"metadata", take_metadata},
	{"capabilities", take_capabilities},
	{0},
};

void sbx_xgen_env_free(char **env)
{
	size_t i;

	for (i = 0; env && env[i]; i++)
		free(env[i]);
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

static int make_bodies(struct sbx_maker *m, struct sbx_xgen_create *ret)
{
	const json_t *env = json_object_get(m->body, "env");
	int r = 0;

	if (env) {
		ret->env = env_list(env);
		if (!ret->env)
			return sbx_maker_no_memory(m);
	}
	if (life(m) >= 0)
		r = sbx_maker_put(m, "timeout_seconds",
				  json_integer((life(m) + 999) / 1000));
	if (r == 0)
		ret->body_v1 = sbx_json_text(m->body, false);
	json_object_del(m->body, "timeout_seconds");
	if (r == 0 && life(m) >= 0)
		r = sbx_maker_put(m, "timeout_ms", json_integer(life(m)));
	if (r == 0)
		ret->body_v2 = sbx_json_text(m->body, false);
	return ret->body_v1 && ret->body_v2 ? r : sbx_maker_no_memory(m);
}

static int make_all(struct sbx_maker *m, const json_t *options,
		    const char *marker)
{
	json_t *metadata = json_object();
	int r;

	r = sbx_maker_put(m, "metadata", metadata);
	if (r == 0)
		r = sbx_maker_take(m, options, words);
	if (r == 0 && json_object_set_new(metadata, SBX_LABEL_MARKER,
					  json_string(marker)) < 0)
		r = sbx_maker_no_memory(m);
	if (r == 0 && json_object_size(metadata) > MAX_METADATA)
		r = sbx_maker_wrong(
			m, "metadata",
			"the service takes 20 entries; the name and one of "
			"our own are among them");
	return r;
}

int sbx_xgen_create_parse(struct sbx_xgen_create *ret, const char *options,
			  const char *marker, struct sbx_error *reterr)
{
	SBX_JSON json_t *obj = NULL;
	int64_t life_ms = -1;
	struct sbx_maker m = {.reterr = reterr, .own = &life_ms};
	int r;

	memset(ret, 0, sizeof(*ret));
	r = sbx_maker_parse(&m, options, &obj);
	if (r < 0)
		return r;
	m.body = json_object();
	if (!m.body)
		return sbx_maker_no_memory(&m);
	r = make_all(&m, obj, marker);
	if (r == 0)
		r = make_bodies(&m, ret);
	json_decref(m.body);
	if (r < 0)
		sbx_xgen_create_release(ret);
	return r;
}

void sbx_xgen_create_release(struct sbx_xgen_create *c)
{
	free(c->body_v1);
	free(c->body_v2);
	sbx_xgen_env_free(c->env);
	memset(c, 0, sizeof(*c));
}
