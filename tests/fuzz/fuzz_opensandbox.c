/*
 * Any bytes as what an OpenSandbox server or execd may send: a sandbox, an
 * endpoint, an error, frames, output with a mark or of code, what was found;
 * and as what a user may write for a new sandbox, a network policy, metadata
 * or a code context.  The first
 * byte says which.
 */
#include "client/svc_opensandbox_json.h"
#include "client/svc_opensandbox_text.h"
#include "client/svc_opensandbox_wire.h"
#include "tests/fuzz/fuzz.h"

static void as_sandbox(const uint8_t *data, size_t len)
{
	SBX_JSON json_t *v = sbx_json_parse(data, len);
	struct sbx_sandbox s;

	if (!v || sbx_osb_sandbox_from_json(&s, v, "http://h") < 0)
		return;
	if (!sbx_is_id(s.id) || (s.name && !sbx_is_file_name(s.name)))
		abort();
	sbx_sandbox_release(&s);
}

static void as_endpoint(const uint8_t *data, size_t len)
{
	SBX_JSON json_t *v = sbx_json_parse(data, len);
	struct sbx_osb_endpoint e;
	size_t i;

	if (!v || sbx_osb_endpoint_from_json(&e, v) < 0)
		return;
	for (i = 0; e.headers[i]; i++)
		if (strpbrk(e.headers[i], "\r\n"))
			abort();
	if (strpbrk(e.base, " \r\n@?#\\") || strstr(e.base, ".."))
		abort();
	sbx_osb_endpoint_release(&e);
}

static void as_options(const uint8_t *data, size_t len)
{
	char *text = strndup((const char *)data, len);
	struct sbx_osb_create c;
	struct sbx_error e;
	int r = sbx_osb_create_parse(&c, text, "marker", &e);

	fuzz_check_error(r, &e);
	if (r == 0)
		sbx_osb_create_release(&c);
	free(text);
}

static void as_policy(const uint8_t *data, size_t len)
{
	struct sbx_osb_policy_change c;
	struct sbx_error e = {0};
	int r = sbx_osb_policy_parse(&c, (const char *)data, len, &e);

	fuzz_check_body(r, c.body, &e);
}

static void as_metadata(const uint8_t *data, size_t len)
{
	const char *text = (const char *)data;
	struct sbx_error e = {0};
	char *body = NULL;
	int r = sbx_osb_patch_all(&body, text, len, &e);

	fuzz_check_body(r, body, &e);
	r = sbx_osb_patch_key(&body, "key", text, len, &e);
	fuzz_check_body(r, body, &e);
}

static void as_found(const uint8_t *data, size_t len)
{
	SBX_JSON json_t *v = sbx_json_parse(data, len);
	char *text;

	if (v && sbx_osb_search_text(&text, v, "/workspace") == 0)
		free(text);
}

static void as_code(const uint8_t *data, size_t len)
{
	const char *text = (const char *)data;
	struct sbx_error e = {0};
	struct sbx_buf b;
	char *body = NULL;

	sbx_buf_init(&b, 1 << 20);
	fuzz_check_error(sbx_osb_code_output(&b, text, len, "http://h", &e),
			 &e);
	sbx_buf_release(&b);
	e = (struct sbx_error){0};
	fuzz_check_body(sbx_osb_context_body(&body, text, len, "/", &e), body,
			&e);
}

static void count(void *arg, const void *data, size_t len)
{
	if (!len)
		abort();
	*(size_t *)arg += len;
}

/* All comes out, but for the mark and what follows it. */
static void as_output(const uint8_t *data, size_t len)
{
	struct sbx_osb_tail t;
	size_t out, half = len / 2, i, kept;

	for (i = 0; i < 2; i++) {
		out = 0;
		sbx_osb_tail_init(&t, "aaaaaaaabaaaaaaabaaaaaaaabaaaaab", i);
		sbx_osb_tail_add(&t, data, half, count, &out);
		sbx_osb_tail_add(&t, data + half, len - half, count, &out);
		kept = t.nr_held - t.nr_given;
		if (out + kept > len || (!t.ended && out + kept != len))
			abort();
	}
}

static void as_frame(const uint8_t *data, size_t len)
{
	struct sbx_osb_frame f;

	sbx_osb_read_binary(&f, data, len);
}

static void as_text_frame(const uint8_t *data, size_t len)
{
	struct sbx_osb_frame f;

	sbx_osb_read_text(&f, (const char *)data, len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const struct fuzz_kind kinds[] = {
		{'s', as_sandbox},
		{'e', as_endpoint},
		{'o', as_options},
		{'b', as_frame},
		{'t', as_text_frame},
		{'p', as_policy},
		{'k', as_metadata},
		{'f', as_found},
		{'m', as_output},
		{'c', as_code},
		{0},
	};

	return fuzz_by_first(kinds, sbx_osb_error_from_http, data, len);
}
