/*
 * Any bytes as what an xgen service may send: a WebSocket message, a REST
 * answer, a sandbox; and as what a user may write for a new sandbox.  The
 * first byte says which.
 */
#include "client/svc_xgen_json.h"
#include "client/svc_xgen_wire.h"
#include "tests/fuzz/fuzz.h"

static void as_message(const uint8_t *data, size_t len)
{
	struct sbx_xgen_msg m;
	struct sbx_error e;
	uint32_t process;
	struct sbx_file *files;
	size_t i, nr;
	int code;

	if (sbx_xgen_read(&m, data, len) < 0)
		return;
	sbx_xgen_read_ack(&m, &process);
	if (sbx_xgen_read_exit(&m, &code) == 0 && (code < -1 || code > 255))
		abort();
	if (sbx_xgen_read_error(&m, &e) == 0 && e.err >= 0)
		abort();
	if (sbx_xgen_read_list(&m, &files, &nr) < 0)
		return;
	for (i = 0; i < nr; i++)
		if (!*files[i].name || strchr(files[i].name, '/'))
			abort();
	sbx_files_free(files, nr);
}

static void as_sandbox(const uint8_t *data, size_t len)
{
	SBX_JSON json_t *v = sbx_json_parse(data, len);
	struct sbx_sandbox s, copy;

	if (!v || sbx_xgen_sandbox_from_json(&s, v, "http://h") < 0)
		return;
	if (!sbx_is_id(s.id) || strchr(s.id, '/'))
		abort();
	if (s.name && (strchr(s.name, '/') || !*s.name))
		abort();
	if (sbx_sandbox_copy(&copy, &s) == 0)
		sbx_sandbox_release(&copy);
	sbx_sandbox_release(&s);
}

static void as_options(const uint8_t *data, size_t len)
{
	char *text = strndup((const char *)data, len);
	struct sbx_xgen_create c;
	struct sbx_error e;
	int r = sbx_xgen_create_parse(&c, text, "marker", &e);

	fuzz_check_error(r, &e);
	if (r == 0)
		sbx_xgen_create_release(&c);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const struct fuzz_kind kinds[] = {
		{'m', as_message},
		{'s', as_sandbox},
		{'o', as_options},
		{0},
	};

	return fuzz_by_first(kinds, sbx_xgen_error_from_http, data, len);
}
