/* client/svc_vtrix_*: what is read and what is written. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cleanup.h"
#include "client/json.h"
#include "client/svc_vtrix_json.h"
#include "client/svc_vtrix_rpc.h"
#include "tests/unit/samples.h"

static const char *samples;

static void check_sandbox(const char *state, char *rest)
{
	sample_check_sandbox(sbx_vtrix_sandbox_from_json, state, rest);
}

static void check_open(const char *word, char *text)
{
	SBX_JSON json_t *obj = json_loads(
		text, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL);
	json_t *data = NULL;
	int r;

	assert_non_null(obj);
	r = sbx_vtrix_open(obj, &data);
	if (!strcmp(word, "failed"))
		assert_int_equal(r, -EREMOTEIO);
	else if (!strcmp(word, "none"))
		assert_int_equal(r, -EPROTO);
	else
		assert_int_equal(r, 0);
	assert_int_equal(!strcmp(word, "data"), data != NULL);
}

static void check_list(const char *count, char *rest)
{
	const char *more = strsep(&rest, " ");
	SBX_JSON json_t *obj = sbx_json_parse(rest, strlen(rest));
	bool has_more = true;
	const json_t *list = sbx_vtrix_list(obj, &has_more);

	assert_int_equal(has_more, !strcmp(more, "more"));
	if (!strcmp(count, "none"))
		assert_null(list);
	else
		assert_int_equal(json_array_size(list), atoi(count));
}

static void check_error(const char *word, char *rest)
{
	int status = atoi(strsep(&rest, " "));
	struct sbx_error e = {0};

	assert_int_equal(
		sbx_vtrix_error(&e, status, rest, strlen(rest), "http://h"),
		sample_err(word));
	assert_int_equal(e.err, sample_err(word));
	assert_true(e.text[0] && e.status);
}

static void check_rpc(const char *word, char *rest)
{
	static const char *const kinds[] = {
		[SBX_VTRIX_OTHER] = "other",
		[SBX_VTRIX_NOTE] = "note",
		[SBX_VTRIX_RESULT] = "result",
		[SBX_VTRIX_ERROR] = "error",
	};
	int id = atoi(strsep(&rest, " "));
	struct sbx_vtrix_msg m;
	int r = sbx_vtrix_rpc_parse(&m, rest, strlen(rest));

	if (!strcmp(word, "none")) {
		assert_int_equal(r, -EPROTO);
		return;
	}
	assert_int_equal(r, 0);
	assert_string_equal(kinds[m.kind], word);
	assert_int_equal(m.id, id);
	sbx_vtrix_rpc_release(&m);
}

static void check_rpc_error(const char *word, char *text)
{
	SBX_JSON json_t *obj = json_loads(text, JSON_DECODE_ANY, NULL);
	struct sbx_error e;

	assert_int_equal(sbx_vtrix_rpc_error(&e, obj), sample_err(word));
	assert_int_equal(e.err, sample_err(word));
	assert_true(e.text[0]);
}

static void check_ends(const char *word, char *text)
{
	static const char *const words[] = {
		[SBX_VTRIX_ENDS_THERE] = "there",
		[SBX_VTRIX_ENDS_MISSING] = "missing",
		[SBX_VTRIX_ENDS_ADDED] = "added",
	};
	SBX_JSON json_t *list = sbx_json_parse(text, strlen(text));
	enum sbx_vtrix_ends ends = SBX_VTRIX_ENDS_THERE;
	struct sbx_buf b, out;
	size_t i;
	int r;

	sbx_buf_init(&b, 1000);
	sbx_buf_init(&out, 1000);
	for (i = 0; i < json_array_size(list); i++) {
		const char *one = json_string_value(json_array_get(list, i));

		sbx_buf_add(&b, one, strlen(one) + 1);
	}
	r = sbx_vtrix_ends_from_probe((char *)sbx_buf_at(&b), sbx_buf_len(&b),
				      &ends);
	assert_int_equal(r, strcmp(word, "none") ? 0 : -EPROTO);
	if (r == 0)
		assert_string_equal(words[ends], word);
	/* read so, the chunks are what was printed */
	for (i = 0; r == 0 && i < json_array_size(list); i++) {
		SBX_JSON json_t *note =
			json_pack("{s:O}", "data", json_array_get(list, i));

		assert_int_equal(sbx_vtrix_add_chunk(&out, note, ends), 0);
	}
	sbx_buf_add(&out, "", 1);
	if (r == 0)
		assert_string_equal(sbx_buf_at(&out), SBX_VTRIX_PROBE_PRINTS);
	sbx_buf_release(&b);
	sbx_buf_release(&out);
}

static void check_exit(const char *word, char *text)
{
	SBX_JSON json_t *obj = json_loads(text, JSON_DECODE_ANY, NULL);

	assert_int_equal(sbx_vtrix_exit_code(obj),
			 strcmp(word, "none") ? atoi(word) : -EPROTO);
}

static void vtrix_samples(void **state)
{
	static const struct sample_kind kinds[] = {
		{"sandbox", check_sandbox},
		{"open", check_open},
		{"list", check_list},
		{"error", check_error},
		{"rpc", check_rpc},
		{"rpcerror", check_rpc_error},
		{"ends", check_ends},
		{"exit", check_exit},
		{0},
	};

	samples_check(samples, kinds, 90);
}

static void vtrix_empty_lists(void **state)
{
	static const char *const texts[] = {
		"{\"code\":0,\"data\":null}",
		"{\"code\":0,\"data\":{\"items\":null}}",
		"{\"code\":0,\"data\":{\"items\":[]}}",
	};
	size_t i;

	for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		SBX_JSON json_t *obj =
			sbx_json_parse(texts[i], strlen(texts[i]));
		json_t *data = NULL;

		assert_int_equal(sbx_vtrix_fill_list(obj), 0);
		assert_int_equal(sbx_vtrix_open(obj, &data), 0);
		assert_non_null(sbx_vtrix_list(data, NULL));
	}
}

static struct sbx_sandbox sandbox(const char *text)
{
	SBX_JSON json_t *obj = sbx_json_parse(text, strlen(text));
	struct sbx_sandbox s;

	assert_int_equal(sbx_vtrix_sandbox_from_json(&s, obj, "u"), 0);
	return s;
}

static void vtrix_times(void **state)
{
	struct sbx_sandbox s = sandbox(
		"{\"id\":\"a\",\"status\":\"active\","
		"\"created_at\":\"2026-06-15T12:00:00.123456789+02:00\","
		"\"expire_at\":\"2026-06-15T10:00:00.5Z\"}");

	assert_int_equal(s.created_ms, 1781517600123);
	assert_int_equal(s.expires_ms, 1781517600500);
	sbx_sandbox_release(&s);
}

static void vtrix_previews(void **state)
{
	struct sbx_sandbox s =
		sandbox("{\"id\":\"a\",\"status\":\"active\",\"port\":8080,"
			"\"preview_host\":\"p.example.org\","
			"\"preview_url\":\"https://x\"}");

	/* one host for every port */
	assert_string_equal(s.any_port[0], "https://");
	assert_string_equal(s.any_port[1], "-p.example.org");
	assert_int_equal(s.nr_ports, 0);
	sbx_sandbox_release(&s);
	/* no host: the address is of one port alone */
	s = sandbox("{\"id\":\"a\",\"status\":\"active\",\"port\":8080,"
		    "\"preview_host\":\"\",\"preview_url\":\"https://x/y\"}");
	assert_null(s.any_port[0]);
	assert_int_equal(s.nr_ports, 1);
	assert_int_equal(s.ports[0].port, 8080);
	assert_string_equal(s.ports[0].url, "https://x/y");
	sbx_sandbox_release(&s);
	s = sandbox("{\"id\":\"a\",\"status\":\"active\",\"port\":8080,"
		    "\"preview_host\":\"h/../x\",\"preview_url\":\"x:y z\"}");
	assert_null(s.any_port[0]);
	assert_int_equal(s.nr_ports, 0);
	sbx_sandbox_release(&s);
}

/* Members sorted, so that they can be compared. */
static void check_body(const char *options, const char *want)
{
	struct sbx_error e = {0};
	SBX_FREE char *text = sbx_vtrix_create_body(options, "m1", &e);
	SBX_JSON json_t *obj = NULL;
	SBX_FREE char *sorted = NULL;

	assert_string_equal(e.text, "");
	assert_non_null(text);
	obj = sbx_json_parse(text, strlen(text));
	sorted = json_dumps(obj, JSON_COMPACT | JSON_SORT_KEYS);
	assert_string_equal(sorted, want);
}

static void vtrix_create(void **state)
{
	check_body(NULL, "{\"labels\":{\"sbxfs-create\":\"m1\"},"
			 "\"user_id\":\"sbxfs\"}");
	check_body("{\"name\":\"demo\",\"image\":\"py\",\"cpu\":2,"
		   "\"user_id\":\"u\",\"ttl_hours\":3,\"labels\":{\"a\":1},"
		   "\"spec\":{\"requests_cpu\":\"500m\"},"
		   "\"env\":{\"A\":\"b\",\"N\":5}}",
		   "{\"labels\":{\"a\":\"1\",\"name\":\"demo\","
		   "\"sbxfs-create\":\"m1\"},\"payloads\":[{\"api\":\"/api/v1/"
		   "env\",\"body\":{\"A\":\"b\",\"N\":\"5\"}}],\"spec\":{"
		   "\"cpu\":\"2\",\"image\":\"py\",\"requests_cpu\":\"500m\"},"
		   "\"ttl_hours\":3,\"user_id\":\"u\"}");
	/* seconds become whole hours, never fewer */
	check_body("{\"timeout\":\"3601\",\"payloads\":[{\"api\":\"/x\"}]}",
		   "{\"labels\":{\"sbxfs-create\":\"m1\"},\"payloads\":[{"
		   "\"api\":\"/x\"}],\"ttl_hours\":2,\"user_id\":\"sbxfs\"}");
}

static void vtrix_create_refuses(void **state)
{
	static const char *const wrong[] = {
		"{\"name\":\"a/b\"}",
		"{\"nonsense\":1}",
		"{\"ttl_hours\":0}",
		"{\"ttl_hours\":-1}",
		"{\"ttl_hours\":\"1x\"}",
		"{\"timeout\":1e99}",
		"{\"timeout\":\"99999999999999999999\"}",
		"{\"user_id\":\"\"}",
		"{\"env\":{\"a b\":\"c\"}}",
		"{\"env\":{\"a\":[]}}",
		"{\"env\":7}",
		"{\"labels\":{\"a\":\"-b\"}}",
		"{\"labels\":[]}",
		"{\"spec\":[]}",
		"{\"cpu\":{}}",
		"{\"payloads\":{}}",
		"{\"payloads\":[{}]}",
		"{\"ports\":[80]}",
		"[]",
		"{",
	};
	size_t i;

	for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct sbx_error e = {0};

		assert_null(sbx_vtrix_create_body(wrong[i], "m", &e));
		assert_int_equal(e.err, -EINVAL);
		assert_true(e.text[0]);
	}
}

static void vtrix_extend(void **state)
{
	char text[SBX_VTRIX_EXTEND_BODY];

	sbx_vtrix_extend_body(text, SBX_VTRIX_BOTH, 3601);
	assert_string_equal(text, "{\"hours\":2,\"seconds\":3601}");
	sbx_vtrix_extend_body(text, SBX_VTRIX_SECONDS, 90);
	assert_string_equal(text, "{\"seconds\":90}");
	/* 0 would be half a day */
	sbx_vtrix_extend_body(text, SBX_VTRIX_HOURS, 1);
	assert_string_equal(text, "{\"hours\":1}");
}

static void vtrix_requests(void **state)
{
	SBX_FREE char *text = sbx_vtrix_rpc_request(
		7, "exec", json_pack("{s:s}", "command", "printf '\\n\"'"));

	assert_string_equal(text, "{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":"
				  "\"exec\",\"params\":{\"command\":\"printf "
				  "'\\\\n\\\"'\"}}");
	assert_null(sbx_vtrix_rpc_request(7, "exec", NULL));
}

static void vtrix_chunks(void **state)
{
	static const char text[] = "{\"data\":\"a\\u0000b\\n\"}";
	SBX_JSON json_t *note = sbx_json_parse_nul(text, strlen(text));
	SBX_JSON json_t *none = json_object();
	struct sbx_buf b;

	sbx_buf_init(&b, 10);
	assert_int_equal(sbx_vtrix_add_chunk(&b, note, SBX_VTRIX_ENDS_THERE),
			 0);
	assert_int_equal(sbx_buf_len(&b), 4);
	assert_memory_equal(sbx_buf_at(&b), "a\0b\n", 4);
	assert_int_equal(sbx_vtrix_add_chunk(&b, note, SBX_VTRIX_ENDS_MISSING),
			 0);
	assert_int_equal(sbx_buf_len(&b), 9);
	assert_int_equal(sbx_vtrix_add_chunk(&b, none, SBX_VTRIX_ENDS_THERE),
			 -EPROTO);
	assert_int_equal(sbx_vtrix_add_chunk(&b, note, SBX_VTRIX_ENDS_THERE),
			 -EMSGSIZE);
	sbx_buf_release(&b);
}

/* A message whose output is "times" repetitions of a piece, and the exit
 * status that it tells; -1: it is none. */
static int with_output(const char *before, const char *piece, size_t times,
		       const char *after, size_t *ret_left)
{
	struct sbx_vtrix_msg m;
	struct sbx_buf b;
	int code = -1;

	sbx_buf_init(&b, 1 << 20);
	sbx_buf_add(&b, before, strlen(before));
	for (; times; times--)
		sbx_buf_add(&b, piece, strlen(piece));
	sbx_buf_add(&b, after, strlen(after));
	assert_int_equal(b.err, 0);
	if (sbx_vtrix_rpc_parse(&m, (char *)sbx_buf_at(&b), sbx_buf_len(&b)) ==
	    0) {
		code = sbx_vtrix_exit_code(m.data);
		*ret_left =
			json_string_length(json_object_get(m.data, "output"));
		sbx_vtrix_rpc_release(&m);
	}
	sbx_buf_release(&b);
	return code;
}

/* It came before, in pieces: so it is not parsed once more. */
static void vtrix_long_output_is_left_out(void **state)
{
	static const char before[] =
		"{\"id\":1,\"result\":{\"cmd_id\":\"say \\\"output\\\"\","
		"\"output\" : \"";
	static const char after[] = "\",\"exit_code\":7}}";
	size_t left = 1;

	assert_int_equal(with_output(before, "x", 100, after, &left), 7);
	assert_int_equal(left, 100);
	assert_int_equal(with_output(before, "x", 100000, after, &left), 7);
	assert_int_equal(left, 0);
	/* quotes and backslashes of its own, an odd and an even number */
	assert_int_equal(
		with_output(before, "\\\"\\\\\\\"", 10000, after, &left), 7);
	assert_int_equal(left, 0);
	assert_int_equal(with_output(before, "\\\\", 10000, after, &left), 7);
	assert_int_equal(left, 0);
	/* one that has no end, and what is no text */
	assert_int_equal(with_output(before, "\\\"", 10000, "", &left), -1);
	assert_int_equal(with_output("{\"id\":1,\"result\":{\"exit_code\":7,"
				     "\"output\":[0",
				     ",1", 10000, "]}}", &left),
			 7);
}

static const char answer[] =
	"{\"code\":0,\"message\":\"ok\",\"data\":{\"items\":[{\"id\":\"sb-1\","
	"\"status\":\"active\",\"spec\":{\"image\":\"x\"},\"port\":8080,"
	"\"preview_host\":\"h.org\",\"labels\":{\"sbxfs-name-0\":\"612d62\"}}],"
	"\"pagination\":{\"has_more\":true}}}";

/* One bit is another in all places: nothing but reading differently. */
static void vtrix_flipped_bits(void **state)
{
	char copy[sizeof(answer)];
	size_t bit;

	for (bit = 0; bit < 8 * (sizeof(answer) - 1); bit++) {
		SBX_JSON json_t *obj = NULL;
		json_t *data = NULL;
		struct sbx_sandbox s;
		struct sbx_vtrix_msg m;
		bool more;

		memcpy(copy, answer, sizeof(answer));
		copy[bit / 8] ^= (char)(1 << bit % 8);
		obj = sbx_json_parse(copy, sizeof(answer) - 1);
		if (sbx_vtrix_rpc_parse(&m, copy, sizeof(answer) - 1) == 0)
			sbx_vtrix_rpc_release(&m);
		if (!obj || sbx_vtrix_open(obj, &data) < 0)
			continue;
		if (sbx_vtrix_sandbox_from_json(
			    &s, json_array_get(sbx_vtrix_list(data, &more), 0),
			    "u") < 0)
			continue;
		assert_null(strchr(s.id, '/'));
		sbx_sandbox_release(&s);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(vtrix_samples),
		cmocka_unit_test(vtrix_empty_lists),
		cmocka_unit_test(vtrix_times),
		cmocka_unit_test(vtrix_previews),
		cmocka_unit_test(vtrix_create),
		cmocka_unit_test(vtrix_create_refuses),
		cmocka_unit_test(vtrix_extend),
		cmocka_unit_test(vtrix_requests),
		cmocka_unit_test(vtrix_chunks),
		cmocka_unit_test(vtrix_long_output_is_left_out),
		cmocka_unit_test(vtrix_flipped_bits),
	};

	if (argc < 2)
		return 2;
	samples = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
