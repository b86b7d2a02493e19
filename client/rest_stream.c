#include "client/rest_stream.h"

#include <errno.h>
#include <stdlib.h>

#define MAX_HELD (16u << 20)
#define PIECE	 32768

void sbx_rest_stream_init(struct sbx_rest_stream *s,
			  const struct sbx_rest_stream_type *type,
			  struct sbx_rest *rest, uint64_t patience_ms,
			  const struct sbx_stream_handler *h, void *arg)
{
	s->base.svc = &rest->base;
	s->type = type;
	s->rest = rest;
	s->handler = h;
	s->arg = arg;
	s->exit_code = -1;
	sbx_buf_init(&s->held[0], MAX_HELD);
	sbx_buf_init(&s->held[1], MAX_HELD);
	s->backoff = (struct sbx_backoff){.first_ms = 200, .max_ms = 2000};
	s->next = rest->streams;
	s->link = &rest->streams;
	if (s->next)
		s->next->link = &s->next;
	rest->streams = s;
	uv_timer_init(rest->loop, &s->timer);
	s->timer.data = s;
	sbx_rest_handle_made(rest);
	uv_update_time(rest->loop);
	s->give_up = uv_now(rest->loop) + patience_ms;
}

/* ---- the end ---- */

static void on_timer_closed(uv_handle_t *handle)
{
	struct sbx_rest_stream *s = handle->data;
	struct sbx_rest *rest = s->rest;

	free(s);
	sbx_rest_handle_closed(rest);
}

static void stream_finish(struct sbx_rest_stream *s)
{
	*s->link = s->next;
	if (s->next)
		s->next->link = s->link;
	s->request = sbx_request_cancel(s->request);
	s->type->release(s);
	sbx_buf_release(&s->held[0]);
	sbx_buf_release(&s->held[1]);
	uv_timer_stop(&s->timer);
	s->handler->on_end(s->arg, s->exit_code, &s->error);
	uv_close((uv_handle_t *)&s->timer, on_timer_closed);
}

static void on_end_due(uv_timer_t *timer)
{
	stream_finish(timer->data);
}

static void stream_end(struct sbx_rest_stream *s, int exit_code,
		       const struct sbx_error *error)
{
	if (sbx_rest_stream_is_over(s))
		return;
	s->exit_code = exit_code;
	s->error = *error;
	s->phase = SBX_STREAM_ENDED;
	uv_timer_stop(&s->timer);
	if (s->ws)
		sbx_ws_close(s->ws); /* its on_close finishes */
	else
		uv_timer_start(&s->timer, on_end_due, 0, 0);
}

void sbx_rest_stream_done(struct sbx_rest_stream *s, int exit_code)
{
	static const struct sbx_error none;

	stream_end(s, exit_code, &none);
}

void sbx_rest_stream_end(struct sbx_rest_stream *s,
			 const struct sbx_error *error)
{
	stream_end(s, -1, error);
}

void sbx_rest_stream_fail(struct sbx_rest_stream *s, int err,
			  enum sbx_retry retry, const char *text)
{
	struct sbx_error e;

	sbx_error_set(&e, err, "%s", text);
	e.retry = retry;
	stream_end(s, -1, &e);
}

void sbx_rest_stream_no_memory(struct sbx_rest_stream *s)
{
	sbx_rest_stream_fail(s, -ENOMEM, SBX_RETRY_LATER, "out of memory");
}

static void on_answer(void *arg, const struct sbx_answer *answer)
{
	struct sbx_rest_stream *s = arg;

	s->request = NULL;
	if (!sbx_rest_stream_is_over(s))
		s->answered(s, answer);
}

void sbx_rest_stream_request(struct sbx_rest_stream *s,
			     const struct sbx_request_conf *conf,
			     sbx_request_fn *fn)
{
	s->answered = fn;
	s->request = sbx_request_start(s->rest, conf, on_answer, s);
	if (!s->request)
		sbx_rest_stream_no_memory(s);
}

/* ---- what is not to be read yet ---- */

void sbx_rest_stream_take(struct sbx_rest_stream *s, int fd, const void *data,
			  size_t len)
{
	struct sbx_buf *b = &s->held[fd - 1];

	if (!s->paused && !sbx_buf_len(b))
		s->type->give(s, fd, data, len);
	else if (sbx_buf_add(b, data, len) < 0)
		sbx_rest_stream_fail(s, -ENOBUFS, SBX_RETRY_NEVER,
				     "the output of the command was not read "
				     "for too long");
}

static void stream_give_held(struct sbx_rest_stream *s, int fd)
{
	struct sbx_buf *b = &s->held[fd - 1];
	size_t n;

	while (!s->paused && !sbx_rest_stream_is_over(s) &&
	       (n = sbx_buf_len(b))) {
		if (n > PIECE)
			n = PIECE;
		s->type->give(s, fd, sbx_buf_at(b), n);
		sbx_buf_consume(b, n);
	}
}

bool sbx_rest_stream_pause(struct sbx_rest_stream *s, bool paused)
{
	if (s->paused == paused || sbx_rest_stream_is_over(s))
		return false;
	s->paused = paused;
	if (paused)
		return true;
	/* from within: whoever gives goes on with it */
	if (s->giving)
		return false;
	s->giving = true;
	stream_give_held(s, 1);
	stream_give_held(s, 2);
	s->giving = false;
	if (s->paused || sbx_rest_stream_is_over(s))
		return false;
	sbx_buf_release(&s->held[0]);
	sbx_buf_release(&s->held[1]);
	return true;
}

void sbx_rest_stream_close(struct sbx_stream *stream)
{
	sbx_rest_stream_fail((struct sbx_rest_stream *)stream, -ECANCELED,
			     SBX_RETRY_NEVER, "the stream was closed");
}

bool sbx_rest_stream_lost_ws(struct sbx_rest_stream *s)
{
	s->ws = NULL;
	uv_timer_stop(&s->timer);
	if (!sbx_rest_stream_is_over(s))
		return true;
	stream_finish(s);
	return false;
}

void sbx_rest_streams_close(struct sbx_rest *rest)
{
	struct sbx_rest_stream *s, *next;

	for (s = rest->streams; s; s = next) {
		next = s->next;
		if (s->type->close)
			s->type->close(&s->base);
		else
			sbx_rest_stream_close(&s->base);
	}
}
