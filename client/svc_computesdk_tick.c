/*
 * Terminals that pass on what is typed only when something is printed there,
 * of a daemon that is too old to stream commands: the helper is the terminal's
 * program itself, since a shell would wait in silence for its first line,
 * and prints an empty line all the time (helper/carry.h).
 */
#include <stdio.h>
#include <stdlib.h>

#include "client/cleanup.h"
#include "client/json.h"
#include "client/svc_computesdk.h"

#define TICKS_FOR_MS 300000 /* then a quiet terminal is tried once more */

bool csdk_box_uses_ticks(const struct csdk_box *b)
{
	if (b->first) /* there is nothing else */
		return !b->no_ticks && b->there.helper;
	return b->ticks_ms &&
	       uv_now(b->x->rest.loop) - b->ticks_ms < TICKS_FOR_MS;
}

bool csdk_box_try_ticks(struct csdk_box *b)
{
	if (b->no_ticks || !b->there.helper)
		return false;
	b->ticks_ms = uv_now(b->x->rest.loop);
	return true;
}

void csdk_box_no_ticks(struct csdk_box *b)
{
	b->no_ticks = true;
	b->ticks_ms = 0;
}

/* There is a program now that a terminal can run, without arguments. */
static void on_written(void *arg, const struct sbx_answer *answer)
{
	struct csdk_stream *s = arg;
	SBX_JSON json_t *obj = NULL;
	SBX_FREE char *body = NULL;

	if (answer->error.err) {
		s->made(s, answer);
		return;
	}
	obj = json_pack("{s:b,s:s,s:s}", "pty", 1, "shell", s->program,
			"encoding", "raw");
	if (obj)
		body = sbx_json_text(obj, false);
	if (body)
		sbx_rest_stream_request(
			&s->base,
			&(struct sbx_request_conf){.method = "POST",
						   .path = "/terminals",
						   .body = body,
						   .deadline = s->make_by,
						   .wants_json = true,
						   .to = s->box},
			s->made);
	else
		sbx_rest_stream_no_memory(&s->base);
}

void csdk_tick_make(struct csdk_stream *s, uint64_t deadline,
		    sbx_request_fn *fn)
{
	SBX_FREE char *body = NULL;
	struct sbx_request_conf conf = {.deadline = deadline};
	struct sbx_buf text;
	char mark[33];

	s->made = fn;
	s->make_by = deadline;
	free(s->program);
	s->program = sbx_make_marker(mark) < 0
			     ? NULL
			     : sbx_csdk_path_of(&s->box->there, "tick", mark);
	sbx_buf_init(&text, 32768);
	if (s->program)
		sbx_csdk_put_tick_program(&text, &s->box->there, s->program);
	if (s->program && !text.err)
		body = sbx_csdk_command_body((char *)sbx_buf_at(&text));
	sbx_buf_release(&text);
	csdk_box_run(s->box, &conf);
	conf.body = body;
	if (body)
		sbx_rest_stream_request(&s->base, &conf, on_written);
	else
		sbx_rest_stream_no_memory(&s->base);
}
