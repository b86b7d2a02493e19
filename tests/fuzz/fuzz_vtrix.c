/*
 * Any bytes as what a Vtrix gateway or executor may send: an answer in its
 * envelope with a list in it, an error, a message, the chunks of the probe;
 * and as what a user may write.  The first byte says which.
 */
#include "client/parse.h"
#include "client/svc_vtrix_json.h"
#include "client/svc_vtrix_rpc.h"
#include "tests/fuzz/fuzz.h"

static void as_sandbox(const json_t *v)
{
	struct sbx_sandbox s;

	if (sbx_vtrix_sandbox_from_json(&s, v, "http://h") < 0)
		return;
	if (!sbx_is_id(s.id) || (s.name && !sbx_is_file_name(s.name)))
		abort();
	if (s.any_port[1] && strpbrk(s.any_port[1], " /\r\n@?#"))
		abort();
	sbx_sandbox_release(&s);
}

static void as_answer(const uint8_t *data, size_t len)
{
	SBX_JSON json_t *v = sbx_json_parse(data, len);
	json_t *inner = NULL;
	const json_t *list;
	bool more;
	size_t i;

	if (!v || sbx_vtrix_fill_list(v) < 0 || sbx_vtrix_open(v, &inner) < 0)
		return;
	list = sbx_vtrix_list(inner, &more);
	for (i = 0; i < json_array_size(list); i++)
		as_sandbox(json_array_get(list, i));
	as_sandbox(sbx_vtrix_created(inner));
}

static void as_message(const uint8_t *data, size_t len)
{
	struct sbx_vtrix_msg m;
	struct sbx_error e;
	struct sbx_buf b;

	if (sbx_vtrix_rpc_parse(&m, (const char *)data, len) < 0)
		return;
	if ((m.kind == SBX_VTRIX_OTHER) != !m.id)
		abort();
	if (m.kind == SBX_VTRIX_ERROR &&
	    (sbx_vtrix_rpc_error(&e, m.data) >= 0 || !e.text[0]))
		abort();
	if (sbx_vtrix_exit_code(m.data) > 255)
		abort();
	sbx_buf_init(&b, 1000);
	sbx_vtrix_add_chunk(&b, m.data, SBX_VTRIX_ENDS_ADDED);
	sbx_vtrix_add_chunk(&b, m.data, SBX_VTRIX_ENDS_MISSING);
	if (sbx_buf_len(&b) > 1000)
		abort();
	sbx_buf_release(&b);
	sbx_vtrix_rpc_release(&m);
}

static void as_options(const uint8_t *data, size_t len)
{
	char *text = strndup((const char *)data, len), *body;
	struct sbx_error e = {0};

	body = sbx_vtrix_create_body(text, "marker", &e);
	fuzz_check_body(e.err, body, &e);
	e.err = 0;
	body = sbx_vtrix_change_body(text, SBX_VTRIX_UPDATE, &e);
	fuzz_check_body(e.err, body, &e);
	e.err = 0;
	body = sbx_vtrix_change_body(text, SBX_VTRIX_CONFIGURE, &e);
	fuzz_check_body(e.err, body, &e);
	free(text);
}

static void as_probe(const uint8_t *data, size_t len)
{
	enum sbx_vtrix_ends ends;

	sbx_vtrix_ends_from_probe((const char *)data, len, &ends);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const struct fuzz_kind kinds[] = {
		{'a', as_answer},
		{'m', as_message},
		{'o', as_options},
		{'p', as_probe},
		{0},
	};

	return fuzz_by_first(kinds, sbx_vtrix_error, data, len);
}
