/*
 * The bytes of a stream as lines on a terminal (wire/lines.h): our end.  What
 * was paused is not read on by the other side either, but for a window; a
 * shell that stands for a helper has none, so what it sends is kept here.
 */
#include <errno.h>

#include "client/svc_computesdk.h"

#define MAX_SAY	  12288 /* of lines in one message */
#define BEAT_MS	  20000
#define SILENT_MS 60000
#define HELD_MS	  2000 /* for the end of a stderr that others hold open */

static bool is_over(const struct csdk_stream *s)
{
	return sbx_rest_stream_is_over(&s->base);
}

/* ---- to it ---- */

static int say_typed(struct csdk_stream *s, const void *lines, size_t len)
{
	struct sbx_buf b;
	int r;

	sbx_buf_init(&b, SBX_LINE_MAX);
	sbx_csdk_put_input(&b, s->terminal, lines, len);
	r = b.err ? b.err
		  : sbx_ws_send_text(s->base.ws, (char *)sbx_buf_at(&b));
	sbx_buf_release(&b);
	return r;
}

static void say_flush(struct csdk_stream *s)
{
	int r = s->say.err;

	if (!s->base.ws || is_over(s) || (!sbx_buf_len(&s->say) && !r))
		return;
	if (!r)
		r = (s->piped ? csdk_pipe_say : say_typed)(
			s, sbx_buf_at(&s->say), sbx_buf_len(&s->say));
	sbx_buf_clear(&s->say);
	if (r < 0)
		sbx_rest_stream_fail(
			&s->base, -EIO, SBX_RETRY_CONNECTION,
			"what is meant for the command could not be "
			"sent");
}

static void say(struct csdk_stream *s, char kind, uint64_t number,
		const void *data, size_t len)
{
	sbx_line_put(&s->say, SBX_LINE_IN, kind, number, data, len);
	if (sbx_buf_len(&s->say) >= MAX_SAY)
		say_flush(s);
}

static void pump(struct csdk_stream *s)
{
	uint64_t under_way;
	size_t n;

	while (s->base.phase == CSDK_RUN && (n = sbx_buf_len(&s->queue))) {
		under_way = s->sent - s->sent_taken;
		if (under_way >= SBX_LINE_WINDOW)
			break;
		if (n > SBX_LINE_WINDOW - under_way)
			n = SBX_LINE_WINDOW - under_way;
		if (n > SBX_LINE_DATA)
			n = SBX_LINE_DATA;
		say(s, 'i', s->sent, sbx_buf_at(&s->queue), n);
		sbx_buf_consume(&s->queue, n);
		s->sent += n;
	}
	say_flush(s);
}

int csdk_stream_send(struct sbx_stream *stream, const void *data, size_t len)
{
	struct csdk_stream *s = (struct csdk_stream *)stream;
	int r;

	if (s->base.phase != CSDK_RUN)
		return -ENOTCONN;
	if (sbx_buf_len(&s->queue) >= SBX_STREAM_QUEUE) {
		s->refused = true;
		return -EAGAIN;
	}
	r = sbx_buf_add(&s->queue, data, len);
	if (r == 0)
		pump(s);
	return r;
}

static void taken(struct csdk_stream *s, uint64_t number)
{
	if (number > s->sent || number < s->sent_taken)
		return;
	s->sent_taken = number;
	pump(s);
	if (is_over(s) || !s->refused ||
	    sbx_buf_len(&s->queue) >= SBX_STREAM_QUEUE / 2)
		return;
	s->refused = false;
	if (s->base.handler->on_writable)
		s->base.handler->on_writable(s->base.arg);
}

static void on_beat(void *arg)
{
	struct csdk_stream *s = arg;

	s->beat = NULL;
	if (uv_now(s->base.rest->loop) - s->heard_ms > SILENT_MS) {
		sbx_rest_stream_fail(&s->base, -ETIMEDOUT, SBX_RETRY_CONNECTION,
				     "the sandbox does not answer any more");
		return;
	}
	say(s, '.', s->sent, NULL, 0);
	say_flush(s);
	if (!is_over(s))
		s->beat = sbx_alarm_set(s->base.rest, BEAT_MS, on_beat, s);
}

void csdk_carry_start(struct csdk_stream *s)
{
	size_t n;

	while ((n = sbx_buf_len(&s->command)) && !is_over(s)) {
		if (n > SBX_LINE_DATA)
			n = SBX_LINE_DATA;
		say(s, 'r', 0, sbx_buf_at(&s->command), n);
		sbx_buf_consume(&s->command, n);
	}
	say(s, 'g', s->base.handler->no_stderr, NULL, 0);
	say_flush(s);
	sbx_buf_release(&s->command);
	if (!is_over(s))
		s->beat = sbx_alarm_set(s->base.rest, BEAT_MS, on_beat, s);
}

/* ---- from it ---- */

static void end_if_complete(struct csdk_stream *s)
{
	bool all = s->ended[0] &&
		   (s->ended[1] || s->is_let_go || s->base.handler->no_stderr);

	if (is_over(s) || !s->has_exit || !all ||
	    sbx_rest_stream_holds(&s->base))
		return;
	say(s, 'b', 0, NULL, 0);
	say_flush(s);
	if (is_over(s))
		return;
	sbx_rest_stream_done(&s->base, s->status);
}

static void on_held(void *arg)
{
	struct csdk_stream *s = arg;

	s->hold = NULL;
	s->is_let_go = true;
	end_if_complete(s);
}

/*
 * A helper ends what a background process holds open; a shell cannot, so
 * its end is waited for while lines come.
 */
static void wait_for_stderr(struct csdk_stream *s)
{
	if (is_over(s) || s->version == SBX_LINE_VERSION || !s->has_exit ||
	    !s->ended[0] || s->ended[1])
		return;
	sbx_alarm_cancel(s->hold);
	s->hold = sbx_alarm_set(s->base.rest, HELD_MS, on_held, s);
}

void csdk_carry_give(struct sbx_rest_stream *base, int fd, const void *data,
		     size_t len)
{
	struct csdk_stream *s = (struct csdk_stream *)base;

	s->got += len;
	if (fd == 1 || !s->base.handler->no_stderr)
		s->base.handler->on_data(s->base.arg, fd, data, len);
	if (is_over(s) || s->got - s->got_told < SBX_LINE_WINDOW / 4)
		return;
	s->got_told = s->got;
	say(s, 'k', s->got, NULL, 0);
	say_flush(s);
}

static void lost(struct csdk_stream *s)
{
	sbx_rest_stream_fail(&s->base, -EIO, SBX_RETRY_CONNECTION,
			     "lines of the terminal were lost");
}

static void output(struct csdk_stream *s, int fd, const struct sbx_line *line)
{
	if (line->number != s->received[fd - 1] || s->ended[fd - 1]) {
		lost(s);
		return;
	}
	s->received[fd - 1] += line->len;
	sbx_rest_stream_take(&s->base, fd, line->data, line->len);
}

static void output_end(struct csdk_stream *s, int fd, uint64_t total)
{
	if (total != s->received[fd - 1])
		lost(s);
	else
		s->ended[fd - 1] = true;
}

static void hello(struct csdk_stream *s, uint64_t version)
{
	if (s->base.phase != CSDK_LAUNCH || version < 1 || version > 2)
		return;
	s->version = (unsigned int)version;
	csdk_stream_started(s);
}

static int on_line(void *arg, const struct sbx_line *line)
{
	struct csdk_stream *s = arg;

	if (line->kind == 'h')
		hello(s, line->number);
	if (s->base.phase != CSDK_RUN)
		return is_over(s);
	switch (line->kind) {
	case 'g':
		csdk_stream_heard(s);
		break;
	case 'o':
		output(s, 1, line);
		break;
	case 'e':
		output(s, 2, line);
		break;
	case 'O':
		output_end(s, 1, line->number);
		break;
	case 'E':
		output_end(s, 2, line->number);
		break;
	case 'k':
		taken(s, line->number);
		break;
	case 'x':
		s->status = line->number <= 255 ? (int)line->number : -1;
		s->has_exit = true;
		break;
	case '!':
		lost(s);
		break;
	default:
		break;
	}
	end_if_complete(s);
	wait_for_stderr(s);
	return is_over(s);
}

void csdk_carry_input(struct csdk_stream *s, const void *data, size_t len)
{
	s->heard_ms = uv_now(s->base.rest->loop);
	if (sbx_lines_add(&s->lines, data, len, on_line, s) == -ENOMEM)
		sbx_rest_stream_no_memory(&s->base);
}

/* ---- pausing ---- */

void csdk_stream_pause(struct sbx_stream *stream, bool paused)
{
	struct csdk_stream *s = (struct csdk_stream *)stream;

	if (sbx_rest_stream_pause(&s->base, paused) && !paused)
		end_if_complete(s);
}

/* ---- its life ---- */

void csdk_carry_init(struct csdk_stream *s)
{
	sbx_lines_init(&s->lines, SBX_LINE_OUT);
	sbx_buf_init(&s->say, SBX_LINE_MAX);
	sbx_buf_init(&s->queue, 2 * SBX_STREAM_QUEUE);
}

void csdk_carry_release(struct csdk_stream *s)
{
	s->beat = sbx_alarm_cancel(s->beat);
	s->hold = sbx_alarm_cancel(s->hold);
	sbx_lines_release(&s->lines);
	sbx_buf_release(&s->say);
	sbx_buf_release(&s->queue);
}
