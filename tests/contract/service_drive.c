/*
 * Drives a service through its public contract, for the contract tests: reads
 * one command a line from stdin, prints one line of JSON for each result.
 *
 *	service_drive SOURCE [KEYFILE]
 *
 *	list | get ID | destroy ID | keepalive ID [SECONDS]
 *	pause ID | resume ID | stop ID | start ID | restart ID
 *	create [OPTIONS]	a JSON object
 *	exec ID SCRIPT		sh -c SCRIPT, its output and exit code
 *	echo ID BYTES		BYTES through `cat`, checked
 *	pour ID BYTES		BYTES out of `head -c`, paused now and then
 *	quiet ID SCRIPT		the same as exec, its stderr is not wanted
 *	kill ID			starts `sleep`, then closes the stream
 *	big ID			a command of more than 32 KiB
 *	run ID SCRIPT		of services without streams
 *	files ID [FOLDER]	by the service's own calls
 *	file ID NAME
 *	snapshots ID | snapshot ID NAME | unsnapshot ID NAME
 *	own read|list|make|remove ID PATH	ID "-": beside the sandboxes
 *	own write ID PATH TEXT
 *	own stream ID PATH COUNT	closes it after so many pieces
 *	timeout MS		for the calls that follow
 *	quick			closes the service with a call under way
 *	leave ID SCRIPT		the same with a run
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cleanup.h"
#include "client/json.h"
#include "client/log.h"
#include "client/service.h"

#define MAX_OUTPUT 4096

static uv_loop_t loop;
static struct sbx_service *svc;
static unsigned int timeout_ms = 10000;
static struct sbx_stream *stream;
static struct {
	char kind[16];
	size_t want, sent, got, events;
	bool wrong, opened;
	unsigned char next;
	char out[MAX_OUTPUT], err[MAX_OUTPUT];
	size_t out_len, err_len;
	uv_timer_t timer;
	uint64_t started;
} run;

static void next_command(void);

static void print(json_t *obj)
{
	SBX_FREE char *text = sbx_json_text(obj, false);

	printf("%s\n", text ? text : "{}");
	fflush(stdout);
	json_decref(obj);
}

static void put_error(json_t *obj, const struct sbx_error *e)
{
	json_object_set_new(obj, "err", json_integer(e->err));
	json_object_set_new(obj, "retry", json_integer(e->retry));
	json_object_set_new(obj, "status", json_integer(e->status));
	json_object_set_new(obj, "text", json_string(e->err ? e->text : ""));
}

static json_t *text_or_null(const char *s)
{
	return s ? json_string(s) : json_null();
}

static json_t *sandbox_json(const struct sbx_sandbox *s)
{
	json_t *ports = json_array();
	size_t i;

	for (i = 0; i < s->nr_ports; i++)
		json_array_append_new(ports, json_pack("{s:i,s:s}", "port",
						       (int)s->ports[i].port,
						       "url", s->ports[i].url));
	return json_pack(
		"{s:s,s:o,s:s,s:o,s:o,s:I,s:I,s:o,s:s}", "id", s->id, "name",
		text_or_null(s->name), "state", sbx_state_name(s->state),
		"image", text_or_null(s->image), "url", text_or_null(s->url),
		"created_ms", (json_int_t)s->created_ms, "expires_ms",
		(json_int_t)s->expires_ms, "ports", ports, "info", s->info);
}

static void put_files(json_t *obj, const struct sbx_call *call)
{
	json_t *files = json_array();
	size_t i;

	for (i = 0; i < call->nr_files; i++)
		json_array_append_new(
			files, json_pack("{s:s,s:I,s:b,s:I}", "name",
					 call->files[i].name, "size",
					 (json_int_t)call->files[i].size, "dir",
					 call->files[i].is_dir, "mtime",
					 (json_int_t)call->files[i].mtime_s));
	json_object_set_new(obj, "files", files);
	if (call->data)
		json_object_set_new(
			obj, "data",
			json_stringn((const char *)call->data, call->len));
}

static void put_names(json_t *obj, const struct sbx_call *call)
{
	json_t *names = json_array();
	size_t i;

	for (i = 0; i < call->nr_files; i++)
		json_array_append_new(names, json_string(call->files[i].name));
	for (i = 0; i < call->nr_snapshots; i++)
		json_array_append_new(names,
				      json_string(call->snapshots[i].name));
	json_object_set_new(obj, "names", names);
}

static unsigned int calls; /* under way */

static void on_call(struct sbx_call *call)
{
	json_t *obj = json_object(), *list = json_array();
	bool canceled = call->error.err == -ECANCELED;
	size_t i;

	put_error(obj, &call->error);
	for (i = 0; i < call->nr; i++)
		json_array_append_new(list, sandbox_json(&call->list[i]));
	json_object_set_new(obj, "list", list);
	put_files(obj, call);
	put_names(obj, call);
	print(obj);
	sbx_call_free(call);
	if (--calls == 0 && !canceled)
		next_command();
}

static unsigned int seconds; /* of keepalive */

static void call_with(enum sbx_call_kind kind, const char *id,
		      const char *options, const char *path, const char *input)
{
	struct sbx_call *c = sbx_call_new(kind, id);

	if (options)
		c->options = strdup(options);
	if (path)
		c->path = strdup(path);
	if (input) {
		c->input = strdup(input);
		c->input_len = strlen(input);
	}
	c->timeout_ms = timeout_ms;
	c->seconds = seconds;
	c->done = on_call;
	calls++;
	svc->type->submit(svc, c);
}

static void call(enum sbx_call_kind kind, const char *id, const char *options)
{
	call_with(kind, id, options, NULL, NULL);
}

/* ---- streams ---- */

static bool is(const char *kind)
{
	return !strcmp(run.kind, kind);
}

static void pump(void)
{
	static unsigned char unit[65536];
	size_t i, n;

	while (is("echo") && run.sent < run.want) {
		n = svc->type->max_unit;
		if (n > run.want - run.sent)
			n = run.want - run.sent;
		/* in units of one value: they may change places */
		for (i = 0; i < n; i++)
			unit[i] = (unsigned char)(run.sent / 1000);
		if (svc->type->stream_send(stream, unit, n) < 0)
			return;
		run.sent += n;
	}
}

static void on_unpause(uv_timer_t *timer)
{
	if (stream)
		svc->type->stream_pause(stream, false);
}

static void on_open(void *arg)
{
	run.opened = true;
	pump();
	if (is("kill"))
		svc->type->stream_close(stream);
}

static void keep(char *to, size_t *len, const void *data, size_t n)
{
	if (n > MAX_OUTPUT - 1 - *len)
		n = MAX_OUTPUT - 1 - *len;
	memcpy(to + *len, data, n);
	*len += n;
	to[*len] = '\0';
}

static void on_data(void *arg, int fd, const void *data, size_t len)
{
	const unsigned char *p = data;
	size_t i;

	run.events++;
	if (is("pour")) {
		/* head prints the numbers of yes: "y\n", so a hole shows */
		for (i = 0; i < len; i++, run.next ^= 1)
			if (p[i] != (run.next ? '\n' : 'y'))
				run.wrong = true;
		run.got += len;
		if (run.events % 50 == 0) {
			svc->type->stream_pause(stream, true);
			uv_timer_start(&run.timer, on_unpause, 1, 0);
		}
		return;
	}
	run.got += len;
	if (is("own") && run.events == run.want)
		svc->type->own_close(stream);
	if (is("echo"))
		return;
	if (fd == 1)
		keep(run.out, &run.out_len, data, len);
	else
		keep(run.err, &run.err_len, data, len);
}

static void on_writable(void *arg)
{
	pump();
}

static void on_end(void *arg, int exit_code, const struct sbx_error *e)
{
	json_t *obj = json_object();

	stream = NULL;
	uv_timer_stop(&run.timer);
	put_error(obj, e);
	json_object_set_new(obj, "exit", json_integer(exit_code));
	json_object_set_new(obj, "opened", json_boolean(run.opened));
	json_object_set_new(obj, "out", json_string(run.out));
	json_object_set_new(obj, "stderr", json_string(run.err));
	json_object_set_new(obj, "got", json_integer((json_int_t)run.got));
	json_object_set_new(obj, "right", json_boolean(!run.wrong));
	print(obj);
	next_command();
}

#define HANDLER                                                                \
	.on_open = on_open, .on_data = on_data, .on_writable = on_writable,    \
	.on_end = on_end
static const struct sbx_stream_handler handler = {HANDLER};
static const struct sbx_stream_handler quiet_handler = {HANDLER,
							.no_stderr = true};

static void start_clean(const char *kind)
{
	run.want = run.sent = run.got = run.events = 0;
	run.out_len = run.err_len = 0;
	run.out[0] = run.err[0] = '\0';
	run.wrong = run.opened = false;
	run.next = 0;
	snprintf(run.kind, sizeof(run.kind), "%s", kind);
}

static void start(const char *kind, const char *id, const char *script)
{
	const char *argv[] = {"sh", "-c", script, NULL};

	start_clean(kind);
	stream = svc->type->stream_open(
		svc, id, argv, is("quiet") ? &quiet_handler : &handler, NULL);
}

static void start_counted(const char *kind, const char *id, const char *count)
{
	char script[100];
	size_t want = strtoul(count, NULL, 10);

	snprintf(script, sizeof(script),
		 strcmp(kind, "echo") ? "yes | head -c %zu"
				      : "exec head -c %zu",
		 want);
	start(kind, id, script);
	run.want = want;
}

static void start_big(const char *id)
{
	SBX_FREE char *script = malloc(40000);

	memset(script, ' ', 40000);
	script[39999] = '\0';
	start("exec", id, script);
}

/* ---- files of its own ---- */

static void start_own_stream(const char *id, const char *path,
			     const char *count)
{
	start_clean("own");
	run.want = strtoul(count, NULL, 10);
	stream = svc->type->own_open(svc, id, path, NULL, 0, &handler, NULL);
}

static bool do_own(const char *verb, char *rest)
{
	static const struct {
		const char *verb;
		enum sbx_call_kind kind;
	} kinds[] = {
		{"read", SBX_CALL_OWN_READ},	 {"write", SBX_CALL_OWN_WRITE},
		{"list", SBX_CALL_OWN_LIST},	 {"make", SBX_CALL_OWN_MAKE},
		{"remove", SBX_CALL_OWN_REMOVE},
	};
	char *id = strsep(&rest, " "), *path = rest ? strsep(&rest, " ") : NULL;
	size_t i;

	if (id && !strcmp(id, "-"))
		id = NULL;
	if (!path)
		return false;
	for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (strcmp(kinds[i].verb, verb) != 0)
			continue;
		call_with(kinds[i].kind, id, NULL, path,
			  kinds[i].kind == SBX_CALL_OWN_WRITE ? rest : NULL);
		return true;
	}
	if (!rest || strcmp(verb, "stream") != 0)
		return false;
	start_own_stream(id, path, rest);
	return true;
}

/* ---- runs ---- */

static struct sbx_run one;
static char *one_command;

static void on_run(struct sbx_run *r)
{
	bool canceled = r->error.err == -ECANCELED;
	json_t *obj = json_object();

	put_error(obj, &r->error);
	json_object_set_new(obj, "maybe", json_boolean(r->maybe_done));
	json_object_set_new(obj, "exit", json_integer(r->exit_code));
	json_object_set_new(obj, "out", json_string(r->out ? r->out : ""));
	json_object_set_new(obj, "stderr", json_string(r->err ? r->err : ""));
	print(obj);
	sbx_run_release(r);
	free(one_command);
	if (!canceled)
		next_command();
}

static void start_run(const char *id, const char *script)
{
	one_command = strdup(script);
	one = (struct sbx_run){.command = one_command,
			       .timeout_ms = timeout_ms,
			       .done = on_run};
	svc->type->run(svc, id, &one);
}

/* ---- commands ---- */

static void on_closed(void *arg)
{
	uv_close((uv_handle_t *)&run.timer, NULL);
}

static void keepalive(const char *id, const char *count)
{
	seconds = (unsigned int)strtoul(count, NULL, 10);
	call(SBX_CALL_KEEPALIVE, id, NULL);
	seconds = 0;
}

static void files(const char *verb, const char *id, const char *rest)
{
	call_with(strcmp(verb, "file") ? SBX_CALL_FILES : SBX_CALL_FILE, id,
		  NULL, rest, NULL);
}

static bool do_command(const char *verb, char *id, char *rest)
{
	if (!strcmp(verb, "list"))
		call(SBX_CALL_LIST, NULL, NULL);
	else if (!strcmp(verb, "get"))
		call(SBX_CALL_GET, id, NULL);
	else if (!strcmp(verb, "destroy"))
		call(SBX_CALL_DESTROY, id, NULL);
	else if (!strcmp(verb, "listing-destroy")) {
		call(SBX_CALL_LIST, NULL, NULL);
		call(SBX_CALL_DESTROY, id, NULL);
	} else if (!strcmp(verb, "keepalive"))
		keepalive(id, rest);
	else if (!strcmp(verb, "pause"))
		call(SBX_CALL_PAUSE, id, NULL);
	else if (!strcmp(verb, "resume"))
		call(SBX_CALL_RESUME, id, NULL);
	else if (!strcmp(verb, "stop"))
		call(SBX_CALL_STOP, id, NULL);
	else if (!strcmp(verb, "start"))
		call(SBX_CALL_START, id, NULL);
	else if (!strcmp(verb, "restart"))
		call(SBX_CALL_RESTART, id, NULL);
	else if (!strcmp(verb, "files") || !strcmp(verb, "file"))
		files(verb, id, rest);
	else if (!strcmp(verb, "exec") || !strcmp(verb, "quiet"))
		start(verb, id, rest);
	else if (!strcmp(verb, "echo") || !strcmp(verb, "pour"))
		start_counted(verb, id, rest);
	else if (!strcmp(verb, "kill"))
		start(verb, id, "exec sleep 1000");
	else if (!strcmp(verb, "big"))
		start_big(id);
	else if (!strcmp(verb, "snapshots"))
		call(SBX_CALL_SNAPSHOTS, id, NULL);
	else if (!strcmp(verb, "snapshot"))
		call_with(SBX_CALL_SNAPSHOT, id, NULL, rest, NULL);
	else if (!strcmp(verb, "unsnapshot"))
		call_with(SBX_CALL_UNSNAPSHOT, id, NULL, rest, NULL);
	else if (!strcmp(verb, "own"))
		return do_own(id, rest);
	else if (!strcmp(verb, "run") && svc->type->run)
		start_run(id, rest);
	else
		return false;
	return true;
}

static void next_command(void)
{
	static char line[262144];
	char *verb, *id, *rest;

	while (fgets(line, sizeof(line), stdin)) {
		line[strcspn(line, "\n")] = '\0';
		rest = line;
		verb = strsep(&rest, " ");
		if (!strcmp(verb, "create")) {
			call(SBX_CALL_CREATE, NULL, rest);
			return;
		}
		if (!strcmp(verb, "quick")) {
			call(SBX_CALL_LIST, NULL, NULL);
			break;
		}
		id = rest ? strsep(&rest, " ") : NULL;
		if (!strcmp(verb, "leave")) {
			start_run(id, rest);
			break;
		}
		if (!strcmp(verb, "timeout") && id)
			timeout_ms = (unsigned int)strtoul(id, NULL, 10);
		else if (do_command(verb, id ? id : (char[]){""},
				    rest ? rest : (char[]){""}))
			return;
	}
	svc->type->close(svc, on_closed, NULL);
}

int main(int argc, char **argv)
{
	struct sbx_error e = {0};
	struct sbx_conf conf;
	json_t *obj;

	if (argc < 2)
		return 2;
	sbx_log_open("service_drive",
		     getenv("DEBUG") ? SBX_LOG_DEBUG : SBX_LOG_ERROR, 0);
	sbx_conf_init(&conf);
	uv_loop_init(&loop);
	uv_timer_init(&loop, &run.timer);
	if (getenv("SBXFS_AGENT"))
		conf.agent = strdup(getenv("SBXFS_AGENT"));
	if (sbx_conf_parse_source(&conf, argv[1], &e) < 0 ||
	    sbx_conf_find_key(&conf, argc > 2 ? argv[2] : NULL, &e) < 0 ||
	    sbx_service_find(conf.service)->open(&loop, &conf, &svc, &e) < 0) {
		obj = json_object();
		put_error(obj, &e);
		print(obj);
		uv_close((uv_handle_t *)&run.timer, NULL);
	} else {
		next_command();
	}
	sbx_conf_wipe_environment();
	uv_run(&loop, UV_RUN_DEFAULT);
	sbx_conf_release(&conf);
	/* everything that was opened must be closed by now */
	return uv_loop_close(&loop) ? 3 : 0;
}
