#include "tests/lib/pipe_service.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_UNIT 32755

struct pipe_service {
	struct sbx_service base;
	uv_loop_t *loop;
	char folder[256];
	struct pipe_stream *stream;
	int fail, fail_err;
	enum sbx_retry fail_retry;
	bool shuffle, garble, refuse;
	unsigned int opened;
};

struct pipe_stream {
	struct sbx_stream base;
	struct pipe_service *svc;
	const struct sbx_stream_handler *h;
	void *arg;
	uv_process_t process;
	uv_pipe_t in, out;
	uv_timer_t timer;
	bool spawned, exited, eof, ended, closing, refused;
	int status, err;
	enum sbx_retry retry;
	unsigned int handles;
	uint8_t *held; /* shuffle: waits for the next unit */
	size_t held_len;
	char buf[65536];
};

struct write {
	uv_write_t req;
	uint8_t data[];
};

static void on_handle_closed(uv_handle_t *handle)
{
	struct pipe_stream *s = handle->data;
	struct sbx_error e = {.err = s->err, .retry = s->retry};

	if (--s->handles)
		return;
	if (s->svc->stream == s)
		s->svc->stream = NULL;
	s->h->on_end(s->arg, s->status, &e);
	free(s->held);
	free(s);
}

static void stream_end(struct pipe_stream *s)
{
	if (s->ended)
		return;
	s->ended = true;
	uv_close((uv_handle_t *)&s->in, on_handle_closed);
	uv_close((uv_handle_t *)&s->out, on_handle_closed);
	uv_close((uv_handle_t *)&s->timer, on_handle_closed);
	if (s->spawned) {
		/* it is left alone, as a lost connection leaves it */
		s->handles++;
		uv_close((uv_handle_t *)&s->process, on_handle_closed);
	}
}

static void check_end(struct pipe_stream *s)
{
	if (s->exited && s->eof)
		stream_end(s);
}

static void on_exit_process(uv_process_t *p, int64_t status, int sig)
{
	struct pipe_stream *s = p->data;

	s->exited = true;
	s->status = sig ? -1 : (int)status;
	check_end(s);
}

static void on_alloc(uv_handle_t *h, size_t size, uv_buf_t *buf)
{
	struct pipe_stream *s = h->data;

	(void)size;
	*buf = uv_buf_init(s->buf, sizeof(s->buf));
}

static void on_read(uv_stream_t *h, ssize_t n, const uv_buf_t *buf)
{
	struct pipe_stream *s = h->data;

	if (n > 0) {
		buf->base[0] ^= s->svc->garble;
		s->svc->garble = false;
		s->h->on_data(s->arg, 1, buf->base, (size_t)n);
	} else if (n < 0) {
		s->eof = true;
		check_end(s);
	}
}

static void flush_held(struct pipe_stream *s);

static void on_timer(uv_timer_t *t)
{
	struct pipe_stream *s = t->data;

	if (s->err)
		stream_end(s);
	else if (s->refused)
		s->h->on_writable(s->arg);
	else
		flush_held(s);
}

static void on_written(uv_write_t *req, int status)
{
	(void)status;
	free(req->data);
}

static void stream_write(struct pipe_stream *s, const void *data, size_t len)
{
	struct write *w = malloc(sizeof(*w) + len);
	uv_buf_t b;

	memcpy(w->data, data, len);
	w->req.data = w;
	b = uv_buf_init((char *)w->data, (unsigned int)len);
	uv_write(&w->req, (uv_stream_t *)&s->in, &b, 1, on_written);
}

static void flush_held(struct pipe_stream *s)
{
	if (s->held)
		stream_write(s, s->held, s->held_len);
	free(s->held);
	s->held = NULL;
}

static int pipe_send(struct sbx_stream *base, const void *data, size_t len)
{
	struct pipe_stream *s = (struct pipe_stream *)base;

	if (s->ended)
		return -EPIPE;
	if (uv_stream_get_write_queue_size((uv_stream_t *)&s->in) >
	    SBX_STREAM_QUEUE)
		return -EAGAIN;
	if (s->svc->refuse && !s->refused) {
		s->refused = true;
		uv_timer_start(&s->timer, on_timer, 2, 0);
		return -EAGAIN;
	}
	s->refused = false;
	if (s->svc->shuffle && !s->held) {
		s->held = malloc(len);
		s->held_len = len;
		memcpy(s->held, data, len);
		uv_timer_start(&s->timer, on_timer, 2, 0);
		return 0;
	}
	stream_write(s, data, len);
	flush_held(s);
	return 0;
}

static void pipe_close(struct sbx_stream *base)
{
	struct pipe_stream *s = (struct pipe_stream *)base;

	if (!s->err)
		s->err = -ECANCELED;
	uv_timer_start(&s->timer, on_timer, 0, 0);
}

static void pipe_pause(struct sbx_stream *base, bool paused)
{
	struct pipe_stream *s = (struct pipe_stream *)base;

	if (paused)
		uv_read_stop((uv_stream_t *)&s->out);
	else
		uv_read_start((uv_stream_t *)&s->out, on_alloc, on_read);
}

static void spawn(struct pipe_stream *s, const char *const *argv)
{
	char home[300], tmp[300], path[] = "PATH=/usr/bin:/bin";
	char *env[] = {path, home, tmp, NULL};
	uv_stdio_container_t io[3] = {
		{.flags = UV_CREATE_PIPE | UV_READABLE_PIPE,
		 .data.stream = (uv_stream_t *)&s->in},
		{.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE,
		 .data.stream = (uv_stream_t *)&s->out},
		{.flags = UV_INHERIT_FD, .data.fd = 2},
	};
	uv_process_options_t o = {
		.exit_cb = on_exit_process,
		.file = argv[0],
		.args = (char **)(uintptr_t)argv,
		.env = env,
		.cwd = s->svc->folder,
		.stdio_count = 3,
		.stdio = io,
	};
	int r;

	snprintf(home, sizeof(home), "HOME=%s/.home", s->svc->folder);
	snprintf(tmp, sizeof(tmp), "TMPDIR=%s/.tmp", s->svc->folder);
	r = uv_spawn(s->svc->loop, &s->process, &o);
	s->spawned = true;
	if (r < 0) {
		s->err = r;
		uv_timer_start(&s->timer, on_timer, 0, 0);
		return;
	}
	uv_read_start((uv_stream_t *)&s->out, on_alloc, on_read);
}

static struct sbx_stream *pipe_open(struct sbx_service *base, const char *id,
				    const char *const *argv,
				    const struct sbx_stream_handler *h,
				    void *arg)
{
	struct pipe_service *svc = (struct pipe_service *)base;
	struct pipe_stream *s = calloc(1, sizeof(*s));

	(void)id;
	s->base.svc = base;
	s->svc = svc;
	s->h = h;
	s->arg = arg;
	s->handles = 3;
	svc->stream = s;
	svc->opened++;
	uv_pipe_init(svc->loop, &s->in, 0);
	uv_pipe_init(svc->loop, &s->out, 0);
	uv_timer_init(svc->loop, &s->timer);
	s->in.data = s->out.data = s->timer.data = s->process.data = s;
	if (svc->fail) {
		svc->fail--;
		s->err = svc->fail_err;
		s->retry = svc->fail_retry;
		uv_timer_start(&s->timer, on_timer, 0, 0);
	} else {
		spawn(s, argv);
	}
	return &s->base;
}

static void on_submit(uv_timer_t *t)
{
	struct sbx_call *call = t->data;

	uv_close((uv_handle_t *)t, (uv_close_cb)free);
	call->done(call);
}

/* Every call fails: -ENOENT for GET, so that a lost sandbox is confirmed. */
static void pipe_submit(struct sbx_service *base, struct sbx_call *call)
{
	struct pipe_service *svc = (struct pipe_service *)base;
	uv_timer_t *t = malloc(sizeof(*t));

	call->error.err = -ENOENT;
	uv_timer_init(svc->loop, t);
	t->data = call;
	uv_timer_start(t, on_submit, 0, 0);
}

static const struct sbx_service_type type = {
	.name = "pipe",
	.max_unit = MAX_UNIT,
	.submit = pipe_submit,
	.stream_open = pipe_open,
	.stream_send = pipe_send,
	.stream_pause = pipe_pause,
	.stream_close = pipe_close,
};

struct sbx_service *pipe_service_new(uv_loop_t *loop, const char *folder)
{
	struct pipe_service *svc = calloc(1, sizeof(*svc));

	svc->base.type = &type;
	svc->loop = loop;
	snprintf(svc->folder, sizeof(svc->folder), "%s", folder);
	return &svc->base;
}

void pipe_service_free(struct sbx_service *svc)
{
	free(svc);
}

void pipe_service_cut(struct sbx_service *base)
{
	struct pipe_stream *s = ((struct pipe_service *)base)->stream;

	if (!s || s->ended)
		return;
	s->err = -ECONNRESET;
	s->retry = SBX_RETRY_CONNECTION;
	stream_end(s);
}

void pipe_service_fail(struct sbx_service *base, int n, int err,
		       enum sbx_retry retry)
{
	struct pipe_service *svc = (struct pipe_service *)base;

	svc->fail = n;
	svc->fail_err = err;
	svc->fail_retry = retry;
}

void pipe_service_garble(struct sbx_service *base)
{
	((struct pipe_service *)base)->garble = true;
}

void pipe_service_shuffle(struct sbx_service *base, bool on)
{
	((struct pipe_service *)base)->shuffle = on;
}

void pipe_service_refuse(struct sbx_service *base, bool on)
{
	((struct pipe_service *)base)->refuse = on;
}

unsigned int pipe_service_opened(const struct sbx_service *base)
{
	return ((const struct pipe_service *)base)->opened;
}
