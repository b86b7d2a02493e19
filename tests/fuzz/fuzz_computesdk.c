/*
 * Any bytes as what a ComputeSDK gateway, a daemon, a terminal or a shell may
 * send, and as what a user may write for a new sandbox or to a file of its
 * own.  The first byte says which.
 */
#include "client/svc_computesdk_json.h"
#include "client/svc_computesdk_wire.h"
#include "client/svc_computesdk_words.h"
#include "client/wire/lines.h"
#include "tests/fuzz/fuzz.h"

static void as_sandbox(const uint8_t *data, size_t len)
{
	SBX_JSON json_t *v = sbx_json_parse(data, len);
	struct sbx_csdk_place place;
	struct sbx_sandbox s;

	if (!v || sbx_csdk_sandbox_from_json(&s, &place, sbx_csdk_data(v), NULL,
					     "http://h") < 0)
		return;
	if (!sbx_csdk_id_is_valid(s.id) ||
	    (s.name && !sbx_is_file_name(s.name)) ||
	    strpbrk(place.url, " \r\n@?#\\%") || strstr(place.url, "..") ||
	    strstr(s.info, "\"token\":"))
		abort();
	sbx_csdk_place_release(&place);
	sbx_sandbox_release(&s);
}

static void as_files(const uint8_t *data, size_t len)
{
	SBX_JSON json_t *v = sbx_json_parse_nul(data, len);
	struct sbx_file *files;
	uint8_t *bytes;
	size_t nr, i;

	if (sbx_csdk_files_from_json(&files, &nr, v, 100) == 0) {
		for (i = 0; i < nr; i++)
			if (!sbx_is_file_name(files[i].name))
				abort();
		sbx_files_free(files, nr);
	}
	if (sbx_csdk_file_from_json(&bytes, &nr, v, 100) == 0) {
		if (nr > 100)
			abort();
		free(bytes);
	}
	sbx_csdk_command_output(v);
}

static void as_message(const uint8_t *data, size_t len)
{
	struct sbx_csdk_message m;

	if (sbx_csdk_read(&m, data, len) == 0 &&
	    (strlen(m.channel) >= sizeof(m.channel) ||
	     sbx_buf_len(&m.text) > len))
		abort();
	sbx_csdk_message_release(&m);
}

static int on_line(void *arg, const struct sbx_line *line)
{
	*(size_t *)arg += line->len;
	return line->kind == '!';
}

/* In two pieces it is the same. */
static void as_lines(const uint8_t *data, size_t len)
{
	size_t whole = 0, parts = 0, half = len / 2;
	struct sbx_lines l;

	sbx_lines_init(&l, SBX_LINE_OUT);
	sbx_lines_add(&l, data, len, on_line, &whole);
	sbx_lines_release(&l);
	sbx_lines_init(&l, SBX_LINE_OUT);
	if (sbx_lines_add(&l, data, half, on_line, &parts) == 0)
		sbx_lines_add(&l, data + half, len - half, on_line, &parts);
	sbx_lines_release(&l);
	if (whole != parts || whole > len)
		abort();
}

static void as_look(const uint8_t *data, size_t len)
{
	char *text = strndup((const char *)data, len);
	struct sbx_csdk_there there = {0};
	struct sbx_csdk_upload upload = {
		.plant = {.blob = sbx_helper_blobs, .size = 10}};

	if (sbx_csdk_read_look(text, "M", &there, &upload) ==
		    SBX_CSDK_SAID_NEED &&
	    (!upload.plant.blob || upload.plant.sent > upload.plant.size))
		abort();
	if ((there.dir && there.dir[0] != '/') ||
	    (there.helper && strpbrk(there.helper, "\r\n")))
		abort();
	sbx_csdk_there_release(&there);
	free(text);
}

static void as_options(const uint8_t *data, size_t len)
{
	char *text = strndup((const char *)data, len);
	struct sbx_csdk_create c;
	struct sbx_error e;
	int r = sbx_csdk_create_parse(&c, text, "marker", &e);

	fuzz_check_error(r, &e);
	if (r == 0)
		sbx_csdk_create_release(&c);
	free(text);
}

static void as_words(const uint8_t *data, size_t len)
{
	static csdk_words_fn *const fns[] = {
		csdk_words_json,     csdk_words_server_ctl, csdk_words_terminal,
		csdk_words_command,  csdk_words_watch,	    csdk_words_token,
		csdk_words_link,     csdk_words_code,	    csdk_words_batch,
		csdk_words_variable, csdk_words_key,	    csdk_words_emit,
		csdk_words_snapshot,
	};
	struct csdk_names names = {.text = {"auto", "KEY"}, .len = {4, 3}};
	struct sbx_error e;
	size_t i;

	for (i = 0; i < sizeof(fns) / sizeof(fns[0]); i++) {
		struct csdk_words w = {.input = (const char *)data,
				       .len = len,
				       .names = &names,
				       .sandbox = "sb-1"};
		int r = fns[i](&w, &e);
		SBX_JSON json_t *v = NULL;

		if (r == 0)
			v = sbx_json_parse_nul(w.body, strlen(w.body));
		if (r == 0 ? !json_is_object(v) : e.err >= 0 || !e.text[0])
			abort();
		csdk_words_release(&w);
	}
}

/* The same as an error of either; the one that follows is told. */
static int as_error(struct sbx_error *e, int status, const char *body,
		    size_t len, const char *what)
{
	int r = sbx_csdk_gateway_error(e, status, body, len, what);

	if (r >= 0)
		abort();
	fuzz_check_error(r, e);
	return sbx_csdk_daemon_error(e, status, body, len, what);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const struct fuzz_kind kinds[] = {
		{'s', as_sandbox}, {'f', as_files},
		{'m', as_message}, {'l', as_lines},
		{'k', as_look},	   {'o', as_options},
		{'w', as_words},   {0},
	};

	return fuzz_by_first(kinds, as_error, data, len);
}
