/*
 * The body of a create request: reads and checks it.  Version 1 and 2 differ
 * in the unit of the life only.
 */
#include <ctype.h>
#include <string.h>

#include "tests/agent/http.h"

static bool create_invalid(struct agent_conn *conn, const char *field,
			   json_t *value, const char *reason)
{
	agent_rest_error(
		conn, 400, "INVALID_PARAMETER", false, "invalid parameter",
		json_pack("{s:s,s:o,s:s}", "field", field, "value",
			  value ? value : json_null(), "reason", reason));
	return false;
}

static bool create_malformed(struct agent_conn *conn)
{
	agent_rest_error(conn, 400, "INVALID_REQUEST", false,
			 "invalid request body", NULL);
	return false;
}

/* A member of the wrong type is a bad request; null is as if absent. */
static bool create_member(struct agent_conn *conn, json_t *body,
			  const char *name, json_type type, json_t **ret)
{
	json_t *member = json_object_get(body, name);

	*ret = NULL;
	if (!member || json_is_null(member))
		return true;
	if (json_typeof(member) != type)
		return create_malformed(conn);
	*ret = member;
	return true;
}

static bool is_string_map(json_t *map)
{
	const char *key;
	json_t *value;

	json_object_foreach(map, key, value)
	{
		if (!json_is_string(value))
			return false;
	}
	return true;
}

static bool env_name_is_valid(const char *name)
{
	if (!isalpha((unsigned char)*name) && *name != '_')
		return false;
	for (; *name; name++) {
		if (!isalnum((unsigned char)*name) && *name != '_')
			return false;
	}
	return true;
}

static const char *env_refusal(const char *name)
{
	static const char *const names[] = {"PATH", "HOME", "USER", "SHELL"};
	static const char *const prefixes[] = {"KUBERNETES_", "LD_",
					       "SANDBOX_"};

	if (!env_name_is_valid(name))
		return "invalid environment variable name";
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		if (!strcmp(name, names[i]))
			return "environment variable is reserved";
	}
	for (size_t i = 0; i < sizeof(prefixes) / sizeof(*prefixes); i++) {
		if (!strncmp(name, prefixes[i], strlen(prefixes[i])))
			return "environment variable prefix is reserved";
	}
	return NULL;
}

/* These are found out late by the real service: 503, marked retryable. */
static bool create_check_env(struct agent_conn *conn, json_t *env,
			     const char *template)
{
	const char *why = NULL, *name;
	json_t *value;

	if (json_object_size(env) > 50)
		why = "too many environment variables";
	json_object_foreach(env, name, value)
	{
		if (!why)
			why = env_refusal(name);
	}
	if (!why)
		return true;
	agent_rest_error(
		conn, 503, "POD_CREATE_FAILED", true,
		"failed to create sandbox",
		json_pack("{s:s,s:s}", "reason", why, "template", template));
	return false;
}

static bool create_check_metadata(struct agent_conn *conn, json_t *metadata)
{
	const char *key;
	json_t *value;

	if (json_object_size(metadata) > 20)
		return create_invalid(
			conn, "metadata",
			json_integer((json_int_t)json_object_size(metadata)),
			"too many entries");
	json_object_foreach(metadata, key, value)
	{
		if (strlen(key) > 128)
			return create_invalid(conn, "metadata",
					      json_string(key), "key too long");
		if (json_string_length(value) > 1024)
			return create_invalid(conn, "metadata",
					      json_string(key),
					      "value too long");
	}
	return true;
}

static bool create_check_ports(struct agent_conn *conn, json_t *ports)
{
	json_t *port, *earlier;
	size_t i, k;

	json_array_foreach(ports, i, port)
	{
		json_int_t n = json_integer_value(port);

		if (!json_is_integer(port))
			return create_malformed(conn);
		if (n < 1 || n > 65535) {
			agent_rest_error(conn, 400, "INVALID_PARAMETER", false,
					 "invalid parameter",
					 json_pack("{s:s,s:I,s:i,s:i}", "field",
						   "ports", "value", n, "min",
						   1, "max", 65535));
			return false;
		}
		json_array_foreach(ports, k, earlier)
		{
			if (k < i && json_integer_value(earlier) == n)
				return create_invalid(conn, "ports",
						      json_integer(n),
						      "duplicate port");
		}
	}
	return true;
}

static bool create_check_capabilities(struct agent_conn *conn, json_t *list)
{
	json_t *item;
	size_t i;

	json_array_foreach(list, i, item)
	{
		const char *name = json_string_value(item);

		if (!name)
			return create_malformed(conn);
		if (!strcmp(name, "sudo") || !strcmp(name, "git-ssh") ||
		    !strcmp(name, "browser"))
			continue;
		agent_rest_error(conn, 400, "INVALID_PARAMETER", false,
				 "invalid parameter",
				 json_pack("{s:s,s:s,s:[s,s,s]}", "field",
					   "capabilities", "value", name,
					   "allowed", "sudo", "git-ssh",
					   "browser"));
		return false;
	}
	return true;
}

static bool create_read_life(struct agent_conn *conn, json_t *body,
			     int64_t *ret_ms)
{
	const struct agent_traits *t = &conn->agent->traits;
	json_t *life;

	*ret_ms = t->life_s * INT64_C(1000);
	if (!create_member(conn, body,
			   conn->http->version == 2 ? "timeout_ms"
						    : "timeout_seconds",
			   JSON_INTEGER, &life))
		return false;
	if (json_integer_value(life) > 0) {
		int64_t max_ms = t->max_life_s * INT64_C(1000);
		int64_t n = json_integer_value(life);
		int64_t unit = conn->http->version == 2 ? 1 : 1000;

		*ret_ms = n > max_ms / unit ? max_ms : n * unit;
	}
	return true;
}

/* Members that are read but change nothing here. */
static bool create_check_rest(struct agent_conn *conn, json_t *body)
{
	json_t *member = json_object_get(body, "gui");

	if (member && !json_is_boolean(member) && !json_is_null(member))
		return create_malformed(conn);
	return create_member(conn, body, "resources", JSON_OBJECT, &member) &&
	       (is_string_map(member) || create_malformed(conn));
}

bool agent_create_read(struct agent_conn *conn, json_t *body,
		       struct agent_create *ret)
{
	json_t *template, *metadata, *env, *ports, *capabilities;

	if (!create_member(conn, body, "template", JSON_STRING, &template) ||
	    !create_member(conn, body, "metadata", JSON_OBJECT, &metadata) ||
	    !create_member(conn, body, "env", JSON_OBJECT, &env) ||
	    !create_member(conn, body, "ports", JSON_ARRAY, &ports) ||
	    !create_member(conn, body, "capabilities", JSON_ARRAY,
			   &capabilities) ||
	    !create_read_life(conn, body, &ret->life_ms) ||
	    !create_check_rest(conn, body))
		return false;
	if (!is_string_map(metadata) || !is_string_map(env))
		return create_malformed(conn);
	snprintf(ret->template, sizeof(ret->template), "%s",
		 json_string_length(template) ? json_string_value(template)
					      : "base");
	if (!create_check_ports(conn, ports) ||
	    !create_check_metadata(conn, metadata) ||
	    !create_check_capabilities(conn, capabilities) ||
	    !create_check_env(conn, env, ret->template))
		return false;
	ret->metadata = json_incref(metadata);
	ret->env = json_incref(env);
	ret->ports = json_incref(ports);
	ret->capabilities = json_incref(capabilities);
	return true;
}

void agent_create_release(struct agent_create *c)
{
	json_decref(c->metadata);
	json_decref(c->env);
	json_decref(c->ports);
	json_decref(c->capabilities);
	c->metadata = c->env = c->ports = c->capabilities = NULL;
}
