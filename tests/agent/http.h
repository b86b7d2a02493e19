/* One HTTP request on a connection, and its answer. */
#ifndef AGENT_HTTP_H
#define AGENT_HTTP_H

#include <jansson.h>

#include "tests/agent/conn.h"

#define AGENT_BODY_MAX (4 * 1024 * 1024)

struct agent_http {
	char method[8];
	char path[512];
	char *authorization; /* NULL: no such header */
	char *token;	     /* ?token=, or NULL */
	char forwarded[256]; /* X-Forwarded-For */

	uint8_t *body;
	size_t body_len;

	int version;	   /* whose headers and errors: 1 or 2 */
	bool past_version; /* the version's own layer has been reached */

	/* what is under way for it; dropped when the connection ends */
	void *job;
	void (*job_drop)(void *job);

	uint8_t *out; /* LWS_PRE, then the answer; NULL: none yet */
	size_t out_len, huge_left;
	uint64_t due_ns;
	bool half, sent, upgrade;
};

/* libwebsockets' callbacks; their return values are its own. */
int agent_http_on_request(struct agent_conn *conn, const char *path,
			  size_t len);
int agent_http_on_body(struct agent_conn *conn, const void *data, size_t len);
int agent_http_on_body_end(struct agent_conn *conn);
int agent_http_on_writeable(struct agent_conn *conn);
int agent_http_on_upgrade(struct agent_conn *conn, const char *protocol);
void agent_http_on_time(struct agent_conn *conn);
void agent_http_release(struct agent_conn *conn);

/* The answer; it is sent when the connection can take it. */
void agent_http_reply(struct agent_conn *conn, int status, const char *type,
		      const char *body, size_t len);
/* The reference is taken. */
void agent_http_reply_json(struct agent_conn *conn, int status, json_t *json);
/* Text as Go's http.Error sends it. */
void agent_http_reply_text(struct agent_conn *conn, int status,
			   const char *text);
void agent_http_reply_empty(struct agent_conn *conn, int status);

/* rest.c: the routes. */
void agent_rest_handle(struct agent_conn *conn);
/* An upgrade: the sandbox, or NULL and the answer is made. */
struct agent_sandbox *agent_rest_upgrade(struct agent_conn *conn);
/* An error of the API in the form of the request's version. */
void agent_rest_error(struct agent_conn *conn, int status, const char *code,
		      bool retryable, const char *message, json_t *details);

/* token.c: NULL if the credentials are good, else what is wrong. */
const char *agent_token_check(struct agent *agent, const char *authorization,
			      const char *token);
/* A new token, to be freed; NULL without memory. */
char *agent_token_new(struct agent *agent, int64_t *ret_expires_ms);
bool agent_token_is_key(const struct agent *agent, const char *key);

/* restexec.c: POST .../exec */
void agent_rest_exec(struct agent_conn *conn, struct agent_sandbox *s,
		     json_t *body);

/* create.c: reads a create body; false: the answer is made. */
bool agent_create_read(struct agent_conn *conn, json_t *body,
		       struct agent_create *ret);
void agent_create_release(struct agent_create *c);

#endif
