/*
 * What a bare exec stream carries, without helper, file protocol or mount:
 * the measure for the mount's own throughput.
 *
 *	bench_stream SOURCE [MiB]
 *
 * Makes a sandbox, reads and writes MiB (256) through one command each, three
 * times, prints MB/s, runs "true" 100 times one after the other, prints how
 * long one takes, runs 50 at once, prints how long that takes, and destroys the
 * sandbox.  The key is found as sbxfs does it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/log.h"
#include "client/service.h"

#define ROUNDS	    3
#define TRUE_ROUNDS 100
#define AT_ONCE	    50

static uv_loop_t loop;
static struct sbx_service *svc;
static struct sbx_stream *stream;
static char *id, script[200];
static size_t size, moved;
static int round_nr, status, running;
static uint64_t started, true_ns;
static unsigned char unit[65536];

static void next_round(void);

static void on_closed(void *arg)
{
}

static void on_destroyed(struct sbx_call *call)
{
	sbx_call_free(call);
	svc->type->close(svc, on_closed, NULL);
}

static void finish(int exit_status)
{
	struct sbx_call *call = sbx_call_new(SBX_CALL_DESTROY, id);

	status = exit_status;
	call->done = on_destroyed;
	svc->type->submit(svc, call);
}

static void fail(const struct sbx_error *e)
{
	fprintf(stderr, "bench_stream: %s\n", e->text);
	finish(1);
}

static bool is_true(void)
{
	return round_nr >= 2 * ROUNDS;
}

static bool is_write(void)
{
	return round_nr % 2;
}

static void pump(void)
{
	size_t max = svc->type->max_unit, n;

	while (moved < size) {
		n = size - moved < max ? size - moved : max;
		if (svc->type->stream_send(stream, unit, n) < 0)
			return;
		moved += n;
	}
}

static void on_open(void *arg)
{
	if (is_true())
		return;
	started = uv_hrtime();
	moved = 0;
	if (is_write())
		pump();
}

static void on_data(void *arg, int fd, const void *data, size_t len)
{
	if (fd == 2)
		fwrite(data, 1, len, stderr);
	else if (!is_write())
		moved += len;
}

static void on_writable(void *arg)
{
	pump();
}

static void on_end(void *arg, int exit_code, const struct sbx_error *e)
{
	double s = (double)(uv_hrtime() - started) / 1e9;

	if (e->err) {
		fail(e);
		return;
	}
	if (is_true()) {
		true_ns += uv_hrtime() - started;
		round_nr++;
		next_round();
		return;
	}
	if (exit_code || moved != size) {
		fprintf(stderr, "bench_stream: exit %d after %zu bytes\n",
			exit_code, moved);
		finish(1);
		return;
	}
	printf("%-5s %zu MiB in %.2f s: %.0f MB/s\n",
	       is_write() ? "write" : "read", size >> 20, s,
	       (double)size / 1e6 / s);
	round_nr++;
	next_round();
}

static const struct sbx_stream_handler handler = {
	.on_open = on_open,
	.on_data = on_data,
	.on_writable = on_writable,
	.on_end = on_end,
};

/* ---- many at once ---- */

static void on_one_open(void *arg)
{
}

static void on_one_end(void *arg, int exit_code, const struct sbx_error *e)
{
	if (e->err) {
		fprintf(stderr, "bench_stream: %s\n", e->text);
		status = 1;
	}
	if (--running)
		return;
	printf("%d at once  %.1f ms\n", AT_ONCE,
	       (double)(uv_hrtime() - started) / 1e6);
	finish(status);
}

static void run_many(void)
{
	static const struct sbx_stream_handler one = {
		.on_open = on_one_open,
		.on_data = on_data,
		.on_end = on_one_end,
	};
	const char *argv[] = {"true", NULL};

	started = uv_hrtime();
	running = AT_ONCE;
	for (int i = 0; i < AT_ONCE; i++)
		svc->type->stream_open(svc, id, argv, &one, NULL);
}

static void next_round(void)
{
	const char *argv[] = {"sh", "-c", script, NULL};
	const char *nothing[] = {"true", NULL};

	if (round_nr == 2 * ROUNDS + TRUE_ROUNDS) {
		printf("true  %.2f ms\n", (double)true_ns / 1e6 / TRUE_ROUNDS);
		run_many();
		return;
	}
	if (is_true()) {
		started = uv_hrtime();
		stream = svc->type->stream_open(svc, id, nothing, &handler,
						NULL);
		return;
	}
	snprintf(script, sizeof(script),
		 is_write() ? "exec head -c %zu >/dev/null"
			    : "exec head -c %zu /dev/zero",
		 size);
	stream = svc->type->stream_open(svc, id, argv, &handler, NULL);
}

static void on_created(struct sbx_call *call)
{
	if (call->error.err) {
		fprintf(stderr, "bench_stream: %s\n", call->error.text);
		status = 1;
		sbx_call_free(call);
		svc->type->close(svc, on_closed, NULL);
		return;
	}
	id = strdup(call->list[0].id);
	sbx_call_free(call);
	next_round();
}

int main(int argc, char **argv)
{
	struct sbx_error e = {0};
	struct sbx_conf conf;
	struct sbx_call *call;

	if (argc < 2) {
		fprintf(stderr, "usage: bench_stream SOURCE [MiB]\n");
		return 2;
	}
	size = (argc > 2 ? strtoul(argv[2], NULL, 10) : 256) << 20;
	sbx_log_open("bench_stream", SBX_LOG_WARNING, 0);
	sbx_conf_init(&conf);
	uv_loop_init(&loop);
	if (sbx_conf_parse_source(&conf, argv[1], &e) < 0 ||
	    sbx_conf_find_key(&conf, NULL, &e) < 0 ||
	    sbx_service_find(conf.service)->open(&loop, &conf, &svc, &e) < 0) {
		fprintf(stderr, "bench_stream: %s\n", e.text);
		return 1;
	}
	call = sbx_call_new(SBX_CALL_CREATE, NULL);
	call->timeout_ms = 60000;
	call->done = on_created;
	svc->type->submit(svc, call);
	uv_run(&loop, UV_RUN_DEFAULT);
	sbx_conf_release(&conf);
	free(id);
	return status;
}
