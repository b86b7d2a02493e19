/*
 * What carries a command where a daemon's terminals cannot: a streamed command,
 * whose output comes on the WebSocket, and for the other direction a named
 * pipe in the sandbox that further commands fill, one after the other.  Each
 * costs a request, so it is used only where no terminal is of use.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/cleanup.h"
#include "client/json.h"
#include "client/svc_computesdk.h"

#define PIPES_FOR_MS 300000 /* then a terminal is tried once more */
#define SAY_MS	     15000
#define SAY_MAX	     49152 /* of lines in one command */
#define TEXT_MAX     (64u << 10)

bool csdk_box_uses_pipes(const struct csdk_box *b)
{
	return b->pipes_ms && !b->old &&
	       uv_now(b->x->rest.loop) - b->pipes_ms < PIPES_FOR_MS;
}

bool csdk_box_try_pipes(struct csdk_box *b)
{
	/* the second generation does not stream */
	if (b->old)
		return false;
	b->pipes_ms = uv_now(b->x->rest.loop);
	return true;
}

/* ---- making it ---- */

void csdk_pipe_make(struct csdk_stream *s, uint64_t deadline,
		    sbx_request_fn *fn)
{
	SBX_FREE char *body = NULL;
	struct sbx_buf text;
	char mark[33];

	free(s->pipe);
	s->pipe = sbx_make_marker(mark) < 0
			  ? NULL
			  : sbx_csdk_path_of(&s->box->there, "in", mark);
	sbx_buf_init(&text, TEXT_MAX);
	if (s->pipe)
		sbx_csdk_put_pipe_launch(&text, &s->box->there, s->pipe);
	if (s->pipe && !text.err)
		body = sbx_csdk_stream_body((char *)sbx_buf_at(&text));
	sbx_buf_release(&text);
	if (body)
		sbx_rest_stream_request(
			&s->base,
			&(struct sbx_request_conf){.method = "POST",
						   .path = "/run/command",
						   .body = body,
						   .deadline = deadline,
						   .wants_json = true,
						   .to = s->box},
			fn);
	else
		sbx_rest_stream_no_memory(&s->base);
}

int csdk_pipe_made(struct csdk_stream *s, const json_t *data)
{
	const char *id = sbx_json_str(data, "cmd_id");
	const char *channel = sbx_json_str(data, "channel");
	const char *terminal = sbx_json_str(data, "terminal_id");

	if (!sbx_csdk_thing_is_valid(id) || !sbx_csdk_thing_is_valid(channel))
		return -EOPNOTSUPP;
	s->streamed = strdup(id);
	s->channel = strdup(channel);
	if (sbx_csdk_thing_is_valid(terminal))
		s->terminal = strdup(terminal);
	return s->streamed && s->channel ? 0 : -ENOMEM;
}

int csdk_pipe_start(struct csdk_stream *s)
{
	struct sbx_buf b;
	int r;

	sbx_buf_init(&b, 1024);
	sbx_csdk_put_start(&b, s->streamed);
	r = b.err ? b.err
		  : sbx_ws_send_text(s->base.ws, (char *)sbx_buf_at(&b));
	sbx_buf_release(&b);
	return r;
}

/* ---- to it ---- */

static void pipe_send(struct csdk_stream *s);

static void on_sent(void *arg, const struct sbx_answer *answer)
{
	struct csdk_stream *s = arg;
	const json_t *data = sbx_csdk_data(answer->json);
	const json_t *code = json_object_get(data, "exit_code");

	/* it may be there or not: nothing can go on behind it */
	if (answer->error.err || !json_is_number(code) ||
	    json_number_value(code) != 0)
		sbx_rest_stream_fail(&s->base, -EIO, SBX_RETRY_CONNECTION,
				     "what is meant for the command could not "
				     "be brought to it");
	else if (sbx_buf_len(&s->post))
		pipe_send(s);
}

/* As many whole lines as go into one command. */
static size_t lines_len(const struct sbx_buf *b)
{
	const char *at = (const char *)sbx_buf_at(b), *end;
	size_t n = sbx_buf_len(b);

	if (n <= SAY_MAX)
		return n;
	end = memrchr(at, '\n', SAY_MAX);
	return end ? (size_t)(end - at) + 1 : n;
}

static void pipe_send(struct csdk_stream *s)
{
	SBX_FREE char *body = NULL;
	size_t n = lines_len(&s->post);
	struct sbx_buf text;

	sbx_buf_init(&text, TEXT_MAX);
	sbx_csdk_put_pipe_lines(&text, s->pipe, sbx_buf_at(&s->post), n);
	if (!text.err)
		body = sbx_csdk_command_body((char *)sbx_buf_at(&text));
	sbx_buf_release(&text);
	if (!body) {
		sbx_rest_stream_no_memory(&s->base);
		return;
	}
	sbx_buf_consume(&s->post, n);
	sbx_rest_stream_request(
		&s->base,
		&(struct sbx_request_conf){
			.method = "POST",
			.path = "/run/command",
			.body = body,
			.deadline = uv_now(s->base.rest->loop) + SAY_MS,
			.wants_json = true,
			.to = s->box},
		on_sent);
}

int csdk_pipe_say(struct csdk_stream *s, const void *lines, size_t len)
{
	int r = sbx_buf_add(&s->post, lines, len);

	if (!r && !s->base.request)
		pipe_send(s);
	return r;
}

/* ---- the end ---- */

char *csdk_pipe_remove_body(const struct csdk_stream *s)
{
	struct sbx_buf text;
	char *body = NULL;

	sbx_buf_init(&text, 8192);
	sbx_csdk_put_pipe_remove(&text, s->pipe);
	if (!text.err)
		body = sbx_csdk_command_body((char *)sbx_buf_at(&text));
	sbx_buf_release(&text);
	return body;
}
