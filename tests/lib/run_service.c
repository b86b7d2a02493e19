#include "tests/lib/run_service.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/sh.h"
#include "client/wire/base64.h"

#define NOT_STARTED 95 /* client/helper/batch_call.h */

struct run_service {
	struct sbx_service base;
	struct sbx_service_type type;
	struct sbx_run_limits limits;
	size_t cap;
	uv_loop_t *loop;
	char folder[256];
	enum run_fault fault;
	unsigned int faulty, runs, commands, most, now, late;
	uint64_t answered_ms; /* the last one that was not parked; 0: none */
	char last[65536];
};

struct one {
	struct run_service *svc;
	struct sbx_run *run;
	enum run_fault fault;
	uv_process_t process;
	uv_pipe_t in, out, err;
	uv_timer_t timer;
	uv_write_t write;
	struct sbx_buf text[2];
	char buf[65536];
	char *input;
	unsigned int handles;
	bool canceled;
	int status;
};

static void set_error(struct sbx_run *run, int err, enum sbx_retry retry,
		      const char *text)
{
	sbx_error_set(&run->error, err, "%s", text);
	run->error.retry = retry;
	run->maybe_done = err != -ECONNREFUSED;
}

static void take(struct sbx_buf *b, char **ret, size_t *ret_len)
{
	*ret_len = sbx_buf_len(b);
	sbx_buf_add(b, "", 1);
	*ret = malloc(*ret_len + 1);
	memcpy(*ret, sbx_buf_at(b), *ret_len + 1);
}

/* In the last word of the helper, whose answer is base64 between two lines
 * that begin with a mark. */
static void say_more(struct sbx_buf *b)
{
	static const char is_not[] = "\xa4more\xc2";
	size_t len, mark_len;
	char *text, *mark, *begin, *end, *at;
	long n;

	take(b, &text, &len);
	mark = text + strspn(text, "\n");
	mark_len = strcspn(mark, "\n");
	begin = mark + mark_len;
	end = memmem(begin, len - (size_t)(begin - text), mark, mark_len);
	n = end ? sbx_base64_get(begin, begin, (size_t)(end - begin)) : -1;
	at = n < 0 ? NULL : memmem(begin, (size_t)n, is_not, 6);
	sbx_buf_clear(b);
	if (at) {
		char *line = malloc(SBX_BASE64_LEN((size_t)n) + 1);

		at[5] = '\xc3';
		sbx_base64_put(line, begin, (size_t)n);
		line[SBX_BASE64_LEN((size_t)n)] = '\0';
		sbx_sh_printf(b, "%.*s\n", (int)mark_len, mark);
		sbx_sh_put(b, line);
		sbx_sh_printf(b, "\n%.*s %ld\n", (int)mark_len, mark, n);
		free(line);
	}
	free(text);
}

static void finish(struct one *o)
{
	struct sbx_run *run = o->run;

	o->svc->now--;
	if (!run->parks)
		o->svc->answered_ms = uv_now(o->svc->loop);
	if (o->canceled)
		set_error(run, -ECANCELED, SBX_RETRY_NEVER, "canceled");
	else if (o->fault == RUN_REFUSED)
		set_error(run, -ECONNREFUSED, SBX_RETRY_CONNECTION, "refused");
	else if (o->fault == RUN_LOST_BEFORE || o->fault == RUN_LOST_AFTER)
		set_error(run, -EIO, SBX_RETRY_NEVER, "UNIQUE constraint");
	else if (o->fault == RUN_CUT)
		sbx_buf_truncate(&o->text[0], sbx_buf_len(&o->text[0]) / 2);
	else if (o->fault == RUN_NOISE)
		sbx_buf_add(&o->text[0], "\nbye\n", 5);
	else if (o->fault == RUN_MORE)
		say_more(&o->text[0]);
	if (o->svc->cap && sbx_buf_len(&o->text[0]) > o->svc->cap)
		sbx_buf_truncate(&o->text[0], o->svc->cap);
	run->exit_code = o->fault == RUN_NOT_STARTED ? NOT_STARTED : o->status;
	if (!run->error.err) {
		take(&o->text[0], &run->out, &run->out_len);
		take(&o->text[1], &run->err, &run->err_len);
	}
	sbx_buf_release(&o->text[0]);
	sbx_buf_release(&o->text[1]);
	free(o->input);
	free(o);
	run->done(run);
}

static void on_closed(uv_handle_t *h);

static void on_timer(uv_timer_t *t)
{
	struct one *o = t->data;

	o->handles = 1;
	uv_close((uv_handle_t *)t, on_closed);
}

static void on_closed(uv_handle_t *h)
{
	struct one *o = h->data;

	if (--o->handles)
		return;
	if (o->fault != RUN_LATE) {
		finish(o);
		return;
	}
	o->fault = RUN_WELL;
	uv_timer_init(o->svc->loop, &o->timer);
	uv_timer_start(&o->timer, on_timer, RUN_LATE_MS, 0);
}

static void on_exit_process(uv_process_t *p, int64_t status, int sig)
{
	struct one *o = p->data;

	o->status = sig ? 128 + sig : (int)status;
	uv_close((uv_handle_t *)p, on_closed);
}

static void on_alloc(uv_handle_t *h, size_t size, uv_buf_t *buf)
{
	struct one *o = h->data;

	*buf = uv_buf_init(o->buf, sizeof(o->buf));
}

static void on_read(uv_stream_t *h, ssize_t n, const uv_buf_t *buf)
{
	struct one *o = h->data;
	int i = h == (uv_stream_t *)&o->err;

	if (n > 0)
		sbx_buf_add(&o->text[i], buf->base, (size_t)n);
	else if (n < 0)
		uv_close((uv_handle_t *)h, on_closed);
}

static void on_written(uv_write_t *req, int status)
{
	struct one *o = req->data;

	uv_close((uv_handle_t *)&o->in, on_closed);
}

static void spawn(struct one *o)
{
	struct run_service *svc = o->svc;
	char home[300], tmp[300], run[300], path[] = "PATH=/usr/bin:/bin";
	char *env[] = {path, home, tmp, run, NULL};
	char sh[] = "/bin/sh", c[] = "-c", *command = strdup(o->run->command);
	char *argv[] = {sh, c, command, NULL};
	uv_stdio_container_t io[3] = {
		{.flags = UV_CREATE_PIPE | UV_READABLE_PIPE,
		 .data.stream = (uv_stream_t *)&o->in},
		{.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE,
		 .data.stream = (uv_stream_t *)&o->out},
		{.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE,
		 .data.stream = (uv_stream_t *)&o->err},
	};
	uv_process_options_t opt = {.exit_cb = on_exit_process,
				    .file = sh,
				    .args = argv,
				    .env = env,
				    .cwd = svc->folder,
				    .stdio_count = 3,
				    .stdio = io};
	uv_buf_t b;

	o->input = strdup(o->run->input ? o->run->input : "");
	b = uv_buf_init(o->input, (unsigned int)strlen(o->input));
	snprintf(home, sizeof(home), "HOME=%s.home", svc->folder);
	snprintf(tmp, sizeof(tmp), "TMPDIR=%s.tmp", svc->folder);
	snprintf(run, sizeof(run), "XDG_RUNTIME_DIR=%s.tmp", svc->folder);
	uv_pipe_init(svc->loop, &o->in, 0);
	uv_pipe_init(svc->loop, &o->out, 0);
	uv_pipe_init(svc->loop, &o->err, 0);
	o->handles = 4;
	if (uv_spawn(svc->loop, &o->process, &opt) < 0)
		abort();
	free(command);
	uv_read_start((uv_stream_t *)&o->out, on_alloc, on_read);
	uv_read_start((uv_stream_t *)&o->err, on_alloc, on_read);
	o->write.data = o;
	uv_write(&o->write, (uv_stream_t *)&o->in, &b, 1, on_written);
}

static void service_run(struct sbx_service *base, const char *id,
			struct sbx_run *run)
{
	struct run_service *svc = (struct run_service *)base;
	struct one *o = calloc(1, sizeof(*o));

	svc->runs++;
	if (!run->ours) {
		svc->commands++;
		snprintf(svc->last, sizeof(svc->last), "%s", run->command);
	}
	if (++svc->now > svc->most)
		svc->most = svc->now;
	if (!run->parks && svc->answered_ms)
		svc->late +=
			uv_now(svc->loop) - svc->answered_ms >= RUN_SOON_MS;
	o->svc = svc;
	o->run = run;
	run->priv = o;
	if (svc->faulty) {
		svc->faulty--;
		o->fault = svc->fault;
	}
	sbx_buf_init(&o->text[0], 1 << 26);
	sbx_buf_init(&o->text[1], 1 << 26);
	if (o->fault == RUN_NOISE)
		sbx_buf_add(&o->text[0], "welcome\n", 8);
	o->process.data = o->in.data = o->out.data = o->err.data = o;
	o->timer.data = o;
	if (o->fault == RUN_LOST_BEFORE || o->fault == RUN_REFUSED ||
	    o->fault == RUN_NOT_STARTED) {
		uv_timer_init(svc->loop, &o->timer);
		uv_timer_start(&o->timer, on_timer, 0, 0);
		return;
	}
	if (o->fault == RUN_SILENT) {
		uv_timer_init(svc->loop, &o->timer);
		return;
	}
	spawn(o);
}

static void service_cancel(struct sbx_service *base, struct sbx_run *run)
{
	struct one *o = run->priv;

	o->canceled = true;
	if (o->process.pid)
		uv_process_kill(&o->process, 9);
	else if (o->fault == RUN_SILENT)
		uv_timer_start(&o->timer, on_timer, 0, 0);
}

static void on_submit(uv_timer_t *t)
{
	struct sbx_call *call = t->data;

	uv_close((uv_handle_t *)t, (uv_close_cb)free);
	call->done(call);
}

/* Every call fails: -ENOENT for GET, so that a lost sandbox is confirmed. */
static void service_submit(struct sbx_service *base, struct sbx_call *call)
{
	struct run_service *svc = (struct run_service *)base;
	uv_timer_t *t = malloc(sizeof(*t));

	call->error.err = -ENOENT;
	uv_timer_init(svc->loop, t);
	t->data = call;
	uv_timer_start(t, on_submit, 0, 0);
}

struct sbx_service *run_service_new(uv_loop_t *loop, const char *folder,
				    size_t input, size_t output, bool parks)
{
	struct run_service *svc = calloc(1, sizeof(*svc));

	svc->limits = (struct sbx_run_limits){.command = 32768,
					      .input = input,
					      .output = output,
					      .output_most = 1 << 20,
					      .gather_ms = 5,
					      .parks = parks,
					      .commands = !parks};
	svc->type = (struct sbx_service_type){.name = "runs",
					      .run_limits = &svc->limits,
					      .submit = service_submit,
					      .run = service_run,
					      .run_cancel = service_cancel};
	svc->base.type = &svc->type;
	svc->loop = loop;
	snprintf(svc->folder, sizeof(svc->folder), "%s", folder);
	return &svc->base;
}

void run_service_stay(struct sbx_service *base, unsigned int ms)
{
	((struct run_service *)base)->limits.stay_ms = ms;
}

void run_service_cap(struct sbx_service *base, size_t bytes)
{
	((struct run_service *)base)->cap = bytes;
}

void run_service_free(struct sbx_service *svc)
{
	free(svc);
}

void run_service_fault(struct sbx_service *base, enum run_fault fault,
		       unsigned int n)
{
	struct run_service *svc = (struct run_service *)base;

	svc->fault = fault;
	svc->faulty = n;
}

unsigned int run_service_runs(const struct sbx_service *svc)
{
	return ((const struct run_service *)svc)->runs;
}

unsigned int run_service_commands(const struct sbx_service *svc)
{
	return ((const struct run_service *)svc)->commands;
}

unsigned int run_service_most(const struct sbx_service *svc)
{
	return ((const struct run_service *)svc)->most;
}

unsigned int run_service_late(const struct sbx_service *svc)
{
	return ((const struct run_service *)svc)->late;
}

const char *run_service_last(const struct sbx_service *svc)
{
	return ((const struct run_service *)svc)->last;
}
