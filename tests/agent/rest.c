/*
 * The routes of the REST interface, versions 1 and 2.  Loop thread only.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/agent/http.h"
#include "tests/agent/sandbox.h"

#define BUCKETS_MAX 1024

void agent_rest_error(struct agent_conn *conn, int status, const char *code,
		      bool retryable, const char *message, json_t *details)
{
	json_t *json;
	char *text;

	if (conn->http->version == 2) {
		json = json_pack("{s:s,s:s,s:b}", "code", code, "message",
				 message, "retryable", retryable);
		if (details)
			json_object_set(json, "details", details);
	} else {
		json = json_pack("{s:s,s:s}", "error", message, "code", code);
		text = details ? json_dumps(details, JSON_COMPACT) : NULL;
		if (text)
			json_object_set_new(json, "details", json_string(text));
		free(text);
	}
	json_decref(details);
	agent_http_reply_json(conn, status, json);
}

static void rest_not_found(struct agent_conn *conn, const char *id)
{
	agent_rest_error(conn, 404, "SANDBOX_NOT_FOUND", false,
			 "sandbox not found",
			 json_pack("{s:s?}", "sandbox_id", id));
}

/* A JSON object as body, or NULL and the answer is made. */
static json_t *rest_body(struct agent_conn *conn)
{
	struct agent_http *h = conn->http;
	json_t *json = NULL;

	if (h->body)
		json = json_loadb((const char *)h->body, h->body_len,
				  JSON_DISABLE_EOF_CHECK, NULL);
	if (!json_is_object(json)) {
		json_decref(json);
		agent_rest_error(conn, 400, "INVALID_REQUEST", false,
				 "invalid request body", NULL);
		return NULL;
	}
	return json;
}

static void rest_token(struct agent_conn *conn)
{
	struct agent *agent = conn->agent;
	json_t *body = rest_body(conn);
	const char *key;
	int64_t expires;
	char *token = NULL;

	if (!body)
		return;
	key = json_string_value(json_object_get(body, "api_key"));
	if (!key && json_object_get(body, "api_key")) {
		agent_rest_error(conn, 400, "INVALID_REQUEST", false,
				 "invalid request body", NULL);
	} else if (!key || !agent_token_is_key(agent, key)) {
		agent_rest_error(conn, 401, "UNAUTHORIZED", false,
				 "invalid API key", NULL);
	} else if (!(token = agent_token_new(agent, &expires))) {
		agent_http_reply_empty(conn, 500);
	} else if (conn->http->version == 2) {
		agent_http_reply_json(conn, 200,
				      json_pack("{s:s,s:I}", "token", token,
						"expires_at_ms", expires));
	} else {
		agent_http_reply_json(conn, 200,
				      json_pack("{s:s,s:o}", "token", token,
						"expires_at",
						agent_sandbox_time(expires)));
	}
	free(token);
	json_decref(body);
}

static void rest_list(struct agent_conn *conn)
{
	json_t *list = json_array();
	struct agent_sandbox *s;

	LIST_FOREACH(s, &conn->agent->sandboxes, link)
	{
		size_t at = agent_random((uint32_t)json_array_size(list) + 1);

		if (s->listed)
			json_array_insert_new(
				list, at,
				agent_sandbox_json(s, conn->http->version,
						   false));
	}
	agent_http_reply_json(conn, 200, list);
}

static void rest_create(struct agent_conn *conn)
{
	struct agent_create c = {0};
	json_t *body = rest_body(conn);
	struct agent_sandbox *s;
	int r;

	if (!body)
		return;
	if (agent_create_read(conn, body, &c)) {
		r = agent_sandbox_create(conn->agent, &c, &s);
		if (r < 0)
			agent_rest_error(conn, 503, "POD_CREATE_FAILED", true,
					 "failed to create sandbox",
					 json_pack("{s:s,s:s}", "reason",
						   strerror(-r), "template",
						   c.template));
		else
			agent_http_reply_json(
				conn, 201,
				agent_sandbox_json(s, conn->http->version,
						   true));
	}
	agent_create_release(&c);
	json_decref(body);
}

static void rest_services(struct agent_conn *conn, struct agent_sandbox *s)
{
	json_t *list = json_array(), *port;
	size_t i;

	json_array_foreach(s->ports, i, port)
	{
		json_array_append_new(
			list,
			json_pack("{s:O,s:o}", "port", port, "preview_url",
				  agent_sandbox_preview(
					  s, json_integer_value(port))));
	}
	agent_http_reply_json(conn, 200, list);
}

static void rest_keepalive(struct agent_conn *conn, struct agent_sandbox *s)
{
	s->expires_ms =
		agent_now_ms() + conn->agent->traits.life_s * INT64_C(1000);
	agent_http_reply_empty(conn, 204);
}

static void rest_admin(struct agent_conn *conn, const char *what)
{
	struct agent *agent = conn->agent;
	struct agent_sandbox *s;
	int nr = 0, running = 0;

	LIST_FOREACH(s, &agent->sandboxes, link)
	{
		nr += s->listed;
		running += s->listed && s->state == AGENT_RUNNING;
	}
	if (!strcmp(what, "audit-logs") || !strcmp(what, "warm-pool"))
		agent_http_reply_json(conn, 200, json_array());
	else
		agent_http_reply_json(
			conn, 200,
			json_pack("{s:i,s:i,s:i}", "active_sandboxes", nr,
				  "running_sandboxes", running, "connections",
				  (int)agent->journal.sockets));
}

static bool rest_method(struct agent_conn *conn, const char *method)
{
	if (!strcmp(conn->http->method, method))
		return true;
	agent_http_reply_empty(conn, 405);
	return false;
}

/* /api/v?/sandboxes/{id}[/what] */
static void rest_sandbox(struct agent_conn *conn, const char *id,
			 const char *what)
{
	struct agent_sandbox *s = agent_sandbox_find(conn->agent, id);
	const char *method = conn->http->method;
	json_t *body;

	if (!what && !strcmp(method, "DELETE")) {
		if (s)
			agent_sandbox_delete(s);
		agent_http_reply_empty(conn, 204);
	} else if (!what && rest_method(conn, "GET")) {
		if (s)
			agent_http_reply_json(
				conn, 200,
				agent_sandbox_json(s, conn->http->version,
						   false));
		else
			rest_not_found(conn, id);
	} else if (!what) {
		return;
	} else if (!strcmp(what, "keepalive") && rest_method(conn, "POST")) {
		if (s)
			rest_keepalive(conn, s);
		else
			rest_not_found(conn, id);
	} else if (!strcmp(what, "services") && rest_method(conn, "GET")) {
		if (s)
			rest_services(conn, s);
		else
			rest_not_found(conn, id);
	} else if (!strcmp(what, "exec") && rest_method(conn, "POST")) {
		body = rest_body(conn);
		if (body && !s)
			rest_not_found(conn, id);
		else if (body)
			agent_rest_exec(conn, s, body);
		json_decref(body);
	}
}

static bool rest_is_sandbox_route(const char *what)
{
	static const char *const names[] = {"keepalive", "services", "exec",
					    "ws"};

	for (size_t i = 0; what && i < sizeof(names) / sizeof(*names); i++) {
		if (!strcmp(what, names[i]))
			return true;
	}
	return !what;
}

struct bucket {
	char key[256];
	int64_t window_ms;
	int requests;
};

/* The bucket of an X-Forwarded-For value; the oldest gives way to a new one. */
static struct bucket *bucket_find(const char *key)
{
	static struct bucket buckets[BUCKETS_MAX];
	struct bucket *oldest = buckets;

	for (int i = 0; i < BUCKETS_MAX; i++) {
		if (!strcmp(buckets[i].key, key))
			return &buckets[i];
		if (buckets[i].window_ms < oldest->window_ms)
			oldest = &buckets[i];
	}
	*oldest = (struct bucket){0};
	snprintf(oldest->key, sizeof(oldest->key), "%s", key);
	return oldest;
}

static bool rate_exceeded(struct agent_conn *conn)
{
	const struct agent_traits *t = &conn->agent->traits;
	int64_t now = agent_now_ms(), *window = &conn->window_ms;
	int *requests = &conn->requests;

	if (*conn->http->forwarded) {
		struct bucket *b = bucket_find(conn->http->forwarded);

		window = &b->window_ms;
		requests = &b->requests;
	}
	if (now - *window >= t->rate_window_s * INT64_C(1000)) {
		*window = now;
		*requests = 0;
	}
	return t->rate_limit && ++*requests > t->rate_limit;
}

/* Limit, then credentials; false: the answer is made. */
static bool rest_admit(struct agent_conn *conn)
{
	struct agent_http *h = conn->http;
	const char *wrong;
	char text[128];

	if (rate_exceeded(conn)) {
		agent_http_reply_text(conn, 429, "rate limit exceeded");
		return false;
	}
	wrong = agent_token_check(conn->agent, h->authorization, h->token);
	if (!wrong)
		return true;
	snprintf(text, sizeof(text), "{\"error\":\"%s\"}", wrong);
	agent_http_reply_text(conn, 401, text);
	return false;
}

/* Below /api/v1/ or /api/v2/. */
static void rest_api(struct agent_conn *conn, char *path)
{
	char *id = NULL, *what = NULL;
	bool token = !strcmp(path, "auth/token");
	bool list = !strcmp(path, "sandboxes");
	bool admin = !strncmp(path, "admin/", 6);

	if (!strncmp(path, "sandboxes/", 10) && path[10]) {
		id = path + 10;
		what = strchr(id, '/');
		if (what)
			*what++ = 0;
	}
	if (!token && !list && !admin &&
	    !(id && *id && rest_is_sandbox_route(what))) {
		agent_http_reply_text(conn, 404, "404 page not found");
		return;
	}
	if (!token && !rest_admit(conn))
		return;
	conn->http->past_version = true;
	if (token && rest_method(conn, "POST"))
		rest_token(conn);
	else if (list && !strcmp(conn->http->method, "POST"))
		rest_create(conn);
	else if (list && rest_method(conn, "GET"))
		rest_list(conn);
	else if (admin && rest_method(conn, "GET"))
		rest_admin(conn, path + 6);
	else if (what && !strcmp(what, "ws") && rest_method(conn, "GET"))
		agent_http_reply_text(conn, 426,
				      "WebSocket protocol violation: "
				      "Connection header does not contain "
				      "Upgrade");
	else if (id)
		rest_sandbox(conn, id, what);
}

static void rest_metrics(struct agent_conn *conn)
{
	struct agent_sandbox *s;
	char text[256];
	int nr = 0, n;

	LIST_FOREACH(s, &conn->agent->sandboxes, link)
	nr += s->listed;
	n = snprintf(text, sizeof(text),
		     "# TYPE xgen_sandboxes_active gauge\n"
		     "xgen_sandboxes_active %d\n"
		     "# TYPE xgen_ws_connections_total counter\n"
		     "xgen_ws_connections_total %llu\n",
		     nr, (unsigned long long)conn->agent->nr_accepted);
	agent_http_reply(conn, 200, "text/plain; version=0.0.4", text,
			 (size_t)n);
}

void agent_rest_handle(struct agent_conn *conn)
{
	struct agent_http *h = conn->http;
	char *path = h->path;

	agent_journal_rest(&conn->agent->journal, h->method, path);
	if (!strcmp(h->method, "OPTIONS"))
		agent_http_reply_empty(conn, 204);
	else if (!strcmp(path, "/healthz"))
		agent_http_reply(conn, 200, "text/plain; charset=utf-8", "ok",
				 2);
	else if (!strcmp(path, "/metrics"))
		rest_metrics(conn);
	else if (!strncmp(path, "/api/v1/", 8) ||
		 (!strncmp(path, "/api/v2/", 8) && conn->agent->traits.v2))
		rest_api(conn, path + 8);
	else
		agent_http_reply_text(conn, 404, "404 page not found");
}

/* "/api/v?/sandboxes/{id}/ws": the id is cut out in place. */
static const char *upgrade_id(const struct agent *agent, char *path)
{
	char *id, *end;

	if (strncmp(path, "/api/v1/sandboxes/", 18) &&
	    (strncmp(path, "/api/v2/sandboxes/", 18) || !agent->traits.v2))
		return NULL;
	id = path + 18;
	end = strchr(id, '/');
	if (!end || strcmp(end, "/ws"))
		return NULL;
	*end = 0;
	return id;
}

struct agent_sandbox *agent_rest_upgrade(struct agent_conn *conn)
{
	struct agent *agent = conn->agent;
	struct agent_sandbox *s;
	const char *id;

	agent_journal_rest(&agent->journal, "GET", conn->http->path);
	id = upgrade_id(agent, conn->http->path);
	if (!id) {
		agent_http_reply_text(conn, 404, "404 page not found");
		return NULL;
	}
	if (!rest_admit(conn))
		return NULL;
	s = agent_sandbox_find(agent, id);
	if (!s) {
		agent_http_reply_text(conn, 404, "sandbox not found");
		return NULL;
	}
	if (agent->fault.not_ready || agent->fault.refuse ||
	    !agent_sandbox_is_reachable(s)) {
		if (agent->fault.not_ready)
			agent->fault.not_ready--;
		agent_http_reply_text(conn, 503, "sandbox not ready");
		return NULL;
	}
	return s;
}
