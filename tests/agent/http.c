/*
 * HTTP below the routes: what libwebsockets gives of a request is kept here,
 * and an answer is put together as bytes and sent when it can be.  Also the
 * faults that spoil answers.  Loop thread only.
 */
#include "tests/agent/http.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define HUGE_BODY   (100 * 1024 * 1024)
#define HUGE_PIECE  65536
#define HEADERS_MAX 2048

static const char cors[] =
	"Access-Control-Allow-Origin: *\r\n"
	"Access-Control-Allow-Methods: GET, POST, PUT, DELETE, OPTIONS\r\n"
	"Access-Control-Allow-Headers: Content-Type, Authorization\r\n";

static const char deprecation[] =
	"Deprecation: true\r\n"
	"Sunset: Sun, 01 Nov 2026 00:00:00 GMT\r\n"
	"Warning: 299 - \"API v1 is deprecated, use v2\"\r\n"
	"Link: </docs/api-v2>; rel=\"deprecation\"\r\n";

static const char *status_text(int status)
{
	static const struct {
		int status;
		const char *text;
	} texts[] = {{200, "OK"},
		     {201, "Created"},
		     {204, "No Content"},
		     {400, "Bad Request"},
		     {401, "Unauthorized"},
		     {403, "Forbidden"},
		     {404, "Not Found"},
		     {405, "Method Not Allowed"},
		     {409, "Conflict"},
		     {413, "Request Entity Too Large"},
		     {426, "Upgrade Required"},
		     {429, "Too Many Requests"},
		     {500, "Internal Server Error"},
		     {502, "Bad Gateway"},
		     {503, "Service Unavailable"},
		     {504, "Gateway Timeout"}};

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		if (texts[i].status == status)
			return texts[i].text;
	}
	return "Status";
}

static void http_free(struct agent_http *h)
{
	if (!h)
		return;
	if (h->job)
		h->job_drop(h->job);
	if (h->authorization)
		explicit_bzero(h->authorization, strlen(h->authorization));
	free(h->authorization);
	free(h->token);
	free(h->body);
	free(h->out);
	free(h);
}

void agent_http_release(struct agent_conn *conn)
{
	http_free(conn->http);
	conn->http = NULL;
}

static void http_put(struct agent_conn *conn, const char *head, size_t head_len,
		     const void *body, size_t len)
{
	struct agent_http *h = conn->http;
	uint64_t delay = conn->agent->fault.delay_ms;

	h->out = malloc(LWS_PRE + head_len + len);
	if (!h->out) {
		agent_conn_close(conn);
		return;
	}
	memcpy(h->out + LWS_PRE, head, head_len);
	if (len)
		memcpy(h->out + LWS_PRE + head_len, body, len);
	h->out_len = head_len + len;
	/* the way here and the way back */
	h->due_ns = delay ? uv_hrtime() + 2 * delay * 1000000 : 0;
	if (h->due_ns)
		agent_conn_wake_at(conn, h->due_ns);
	else
		lws_callback_on_writable(conn->wsi);
}

static void http_answer(struct agent_conn *conn, int status, const char *type,
			const char *more, const char *body, size_t len,
			size_t claimed)
{
	char head[HEADERS_MAX];
	char length[64] = "";
	int n;

	if (status != 204)
		snprintf(length, sizeof(length), "Content-Length: %zu\r\n",
			 claimed);
	n = snprintf(head, sizeof(head), "HTTP/1.1 %d %s\r\n%s%s%s%s%s%s%s\r\n",
		     status, status_text(status), type ? "Content-Type: " : "",
		     type ? type : "", type ? "\r\n" : "", length, cors,
		     conn->http->version == 1 && conn->http->past_version
			     ? deprecation
			     : "",
		     more);
	http_put(conn, head, (size_t)n, body, len);
}

static bool fault_take(uint32_t *left)
{
	if (!*left)
		return false;
	(*left)--;
	return true;
}

/* The next answers are spoilt, if so ordered; true: this one is. */
static bool http_spoil(struct agent_conn *conn)
{
	static const char html[] =
		"<!DOCTYPE html>\n<html><head><title>Welcome</title></head>"
		"<body><h1>It works!</h1></body></html>\n";
	static const char half[] = "[{\"id\": \"0123";
	struct agent_fault *f = &conn->agent->fault;
	char garbage[256];

	if (fault_take(&f->http_left)) {
		http_answer(conn, (int)f->http_status,
			    "text/plain; charset=utf-8", "", "fault\n", 6, 6);
	} else if (fault_take(&f->garbage)) {
		for (size_t i = 0; i < sizeof(garbage); i++)
			garbage[i] = (char)agent_random(256);
		http_answer(conn, 200, "application/json", "", garbage,
			    sizeof(garbage), sizeof(garbage));
	} else if (fault_take(&f->html)) {
		http_answer(conn, 200, "text/html", "", html, sizeof(html) - 1,
			    sizeof(html) - 1);
	} else if (fault_take(&f->huge)) {
		conn->http->huge_left = HUGE_BODY;
		http_answer(conn, 200, "application/json", "", "", 0,
			    HUGE_BODY);
	} else if (fault_take(&f->half)) {
		conn->http->half = true;
		http_answer(conn, 200, "application/json", "", half,
			    sizeof(half) - 1, 4096);
	} else {
		return false;
	}
	return true;
}

void agent_http_reply(struct agent_conn *conn, int status, const char *type,
		      const char *body, size_t len)
{
	bool plain = type && !strncmp(type, "text/plain", 10);

	if (!conn->http || conn->http->out)
		return;
	if (conn->http->past_version && http_spoil(conn))
		return;
	/* the library ends the connection of an upgrade that was refused */
	http_answer(conn, status, type,
		    conn->http->upgrade	     ? "Connection: close\r\n"
		    : plain && status >= 400 ? "X-Content-Type-Options: "
					       "nosniff\r\n"
					     : "",
		    body, len, len);
}

void agent_http_reply_json(struct agent_conn *conn, int status, json_t *json)
{
	char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
	size_t len = text ? strlen(text) : 0;

	/* Go's encoder ends every document with a newline */
	if (text) {
		text[len] = '\n';
		agent_http_reply(conn, status, "application/json", text,
				 len + 1);
	} else {
		agent_http_reply_empty(conn, 500);
	}
	free(text);
	json_decref(json);
}

void agent_http_reply_text(struct agent_conn *conn, int status,
			   const char *text)
{
	char line[512];
	int n = snprintf(line, sizeof(line), "%s\n", text);

	agent_http_reply(conn, status, "text/plain; charset=utf-8", line,
			 (size_t)n);
}

void agent_http_reply_empty(struct agent_conn *conn, int status)
{
	agent_http_reply(conn, status, NULL, "", 0);
}

static int http_send_huge(struct agent_conn *conn)
{
	static uint8_t piece[LWS_PRE + HUGE_PIECE];
	struct agent_http *h = conn->http;
	size_t n = h->huge_left < HUGE_PIECE ? h->huge_left : HUGE_PIECE;

	/* a list that never comes to its end */
	memset(piece + LWS_PRE, '[', n);
	if (lws_write(conn->wsi, piece + LWS_PRE, n, LWS_WRITE_HTTP) < 0)
		return -1;
	h->huge_left -= n;
	lws_callback_on_writable(conn->wsi);
	return 0;
}

int agent_http_on_writeable(struct agent_conn *conn)
{
	struct agent_http *h = conn->http;

	if (!h || !h->out || conn->closing || conn->agent->fault.blackhole)
		return 0;
	if (h->due_ns > uv_hrtime()) {
		agent_conn_wake_at(conn, h->due_ns);
		return 0;
	}
	if (agent_fault_count(conn->agent, h->out_len)) {
		agent_conn_reset(conn);
		return 0;
	}
	if (!h->sent) {
		h->sent = true;
		if (lws_write(conn->wsi, h->out + LWS_PRE, h->out_len,
			      LWS_WRITE_HTTP) < 0)
			return -1;
		if (h->half || h->huge_left) {
			lws_callback_on_writable(conn->wsi);
			return 0;
		}
	}
	if (h->half)
		return -1;
	if (h->huge_left)
		return http_send_huge(conn);
	agent_http_release(conn);
	return lws_http_transaction_completed(conn->wsi) ? -1 : 0;
}

void agent_http_on_time(struct agent_conn *conn)
{
	if (conn->http && conn->http->out && !conn->closing)
		lws_callback_on_writable(conn->wsi);
}

static char *header_dup(struct lws *wsi, enum lws_token_indexes token)
{
	int len = lws_hdr_total_length(wsi, token);
	char *text;

	if (len <= 0)
		return NULL;
	text = malloc((size_t)len + 1);
	if (text && lws_hdr_copy(wsi, text, len + 1, token) < 0)
		text[0] = 0;
	return text;
}

static void http_read_query(struct agent_conn *conn)
{
	char arg[4096];

	for (int i = 0; lws_hdr_copy_fragment(conn->wsi, arg, sizeof(arg),
					      WSI_TOKEN_HTTP_URI_ARGS, i) >= 0;
	     i++) {
		if (!strncmp(arg, "token=", 6) && !conn->http->token)
			conn->http->token = strdup(arg + 6);
	}
}

/* The request as far as we need it; the library forgets it soon. */
static int http_open(struct agent_conn *conn, const char *path, size_t len)
{
	static const struct {
		enum lws_token_indexes token;
		const char *name;
	} methods[] = {{WSI_TOKEN_GET_URI, "GET"},
		       {WSI_TOKEN_POST_URI, "POST"},
		       {WSI_TOKEN_OPTIONS_URI, "OPTIONS"},
		       {WSI_TOKEN_PUT_URI, "PUT"},
		       {WSI_TOKEN_PATCH_URI, "PATCH"},
		       {WSI_TOKEN_DELETE_URI, "DELETE"},
		       {WSI_TOKEN_HEAD_URI, "HEAD"}};
	struct agent_http *h;

	agent_http_release(conn);
	h = conn->http = calloc(1, sizeof(*h));
	if (!h)
		return -1;
	for (size_t i = 0; i < sizeof(methods) / sizeof(*methods); i++) {
		if (lws_hdr_total_length(conn->wsi, methods[i].token))
			snprintf(h->method, sizeof(h->method), "%s",
				 methods[i].name);
	}
	snprintf(h->path, sizeof(h->path), "%.*s", (int)len, path);
	h->version = !strncmp(h->path, "/api/v1/", 8) ? 1 : 2;
	h->authorization = header_dup(conn->wsi, WSI_TOKEN_HTTP_AUTHORIZATION);
	if (lws_hdr_total_length(conn->wsi, WSI_TOKEN_X_FORWARDED_FOR) > 0)
		lws_hdr_copy(conn->wsi, h->forwarded, sizeof(h->forwarded),
			     WSI_TOKEN_X_FORWARDED_FOR);
	http_read_query(conn);
	/* our answers take the time they take */
	lws_set_timeout(conn->wsi, NO_PENDING_TIMEOUT, 0);
	return agent_fault_count(conn->agent, len) ? -1 : 0;
}

int agent_http_on_request(struct agent_conn *conn, const char *path, size_t len)
{
	char length[24] = "";

	if (http_open(conn, path, len) < 0)
		return -1;
	if (lws_hdr_copy(conn->wsi, length, sizeof(length),
			 WSI_TOKEN_HTTP_CONTENT_LENGTH) > 0 &&
	    strtoull(length, NULL, 10) > 0)
		return 0; /* the body comes first */
	agent_rest_handle(conn);
	return 0;
}

int agent_http_on_body(struct agent_conn *conn, const void *data, size_t len)
{
	struct agent_http *h = conn->http;
	uint8_t *body;

	if (!h || !len)
		return h ? 0 : -1;
	if (agent_fault_count(conn->agent, len)) {
		agent_conn_reset(conn);
		return 0;
	}
	if (h->body_len + len > AGENT_BODY_MAX)
		return -1;
	body = realloc(h->body, h->body_len + len + 1);
	if (!body)
		return -1;
	memcpy(body + h->body_len, data, len);
	h->body = body;
	h->body_len += len;
	return 0;
}

int agent_http_on_body_end(struct agent_conn *conn)
{
	/* without a body the request has been handled already */
	if (conn->http && !conn->http->out && conn->http->body_len)
		agent_rest_handle(conn);
	return 0;
}

int agent_http_on_upgrade(struct agent_conn *conn, const char *protocol)
{
	char path[512] = "";
	struct agent_sandbox *s;
	int n;

	if (strcmp(protocol, "websocket"))
		return -1;
	n = lws_hdr_copy(conn->wsi, path, sizeof(path), WSI_TOKEN_GET_URI);
	if (n < 0 || http_open(conn, path, (size_t)n) < 0)
		return -1;
	conn->http->upgrade = true;
	s = agent_rest_upgrade(conn);
	if (!s) {
		/* the library goes on as soon as we say it is refused */
		if (!conn->http || !conn->http->out ||
		    lws_write(conn->wsi, conn->http->out + LWS_PRE,
			      conn->http->out_len, LWS_WRITE_HTTP) < 0)
			return -1;
		agent_http_release(conn);
		return 1;
	}
	conn->sandbox = agent_sandbox_ref(s);
	return 0;
}
