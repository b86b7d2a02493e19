/* client/svc_computesdk_*: what is read and written; wire/lines. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/json.h"
#include "client/svc_computesdk_json.h"
#include "client/svc_computesdk_wire.h"
#include "client/wire/lines.h"
#include "tests/unit/samples.h"

static const char *samples;

/* ---- the samples ---- */

static void check_sandbox(const char *state, char *rest)
{
	const char *name = strsep(&rest, " ");
	SBX_JSON json_t *obj = sbx_json_parse(rest, strlen(rest));
	struct sbx_csdk_place place;
	struct sbx_sandbox s;
	int r;

	assert_non_null(obj);
	r = sbx_csdk_sandbox_from_json(&s, &place, obj, NULL,
				       "https://gateway.example.com");
	if (!sample_is_sandbox(r, &s, state, name))
		return;
	assert_null(strstr(s.info, "token"));
	assert_int_not_equal(place.url[strlen(place.url) - 1], '/');
	sbx_csdk_place_release(&place);
	sbx_sandbox_release(&s);
}

static void check_port(const char *want, char *rest)
{
	char *parts[2], text[200];
	int r = sbx_csdk_port_url(rest, parts);

	if (!strcmp(want, "none")) {
		assert_int_equal(r, -ENOENT);
		return;
	}
	assert_int_equal(r, 0);
	snprintf(text, sizeof(text), "%s|%s", parts[0], parts[1]);
	assert_string_equal(text, want);
	free(parts[0]);
	free(parts[1]);
}

static void check_error(bool daemon, const char *word, char *rest)
{
	int status = atoi(strsep(&rest, " "));
	struct sbx_error e;

	if (daemon)
		sbx_csdk_daemon_error(&e, status, rest, strlen(rest), "h");
	else
		sbx_csdk_gateway_error(&e, status, rest, strlen(rest), "h");
	assert_int_equal(e.err, sample_err(word));
	assert_true(e.text[0]);
	assert_int_equal(e.status, status);
}

static void check_gateway(const char *word, char *rest)
{
	check_error(false, word, rest);
}

static void check_daemon(const char *word, char *rest)
{
	check_error(true, word, rest);
}

static void check_files(const char *want, char *rest)
{
	SBX_JSON json_t *obj = sbx_json_parse(rest, strlen(rest));
	struct sbx_file *files;
	char text[200] = "";
	size_t nr, i, len = 0;
	int r = sbx_csdk_files_from_json(&files, &nr, obj, 100);

	if (!strcmp(want, "none")) {
		assert_int_equal(r, -EPROTO);
		return;
	}
	assert_int_equal(r, 0);
	for (i = 0; i < nr; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len,
					"%s%s:%d:%c", i ? "," : "",
					files[i].name, (int)files[i].size,
					files[i].is_dir ? 'd' : 'f');
	assert_string_equal(text, want);
	sbx_files_free(files, nr);
}

static void check_file(const char *want, char *rest)
{
	SBX_JSON json_t *obj = sbx_json_parse_nul(rest, strlen(rest));
	uint8_t *data;
	size_t len;
	int r = sbx_csdk_file_from_json(&data, &len, obj, 100);

	if (sample_err_or_0(want)) {
		assert_int_equal(r, sample_err(want));
		return;
	}
	assert_int_equal(r, 0);
	assert_int_equal(len, strlen(want));
	assert_memory_equal(data, want, len);
	free(data);
}

static void check_read(const char *kind, const char *channel, const char *text,
		       const void *data, size_t len)
{
	static const char *const kinds[] = {"other", "output", "error",
					    "destroyed"};
	struct sbx_csdk_message m;
	int r = sbx_csdk_read(&m, data, len);

	if (!strcmp(kind, "bad")) {
		assert_int_equal(r, -EPROTO);
	} else {
		assert_int_equal(r, 0);
		assert_string_equal(kinds[m.kind], kind);
		assert_string_equal(m.channel, *channel == '-' ? "" : channel);
		assert_int_equal(sbx_buf_len(&m.text),
				 *text == '-' ? 0 : strlen(text));
		if (sbx_buf_len(&m.text))
			assert_memory_equal(sbx_buf_at(&m.text), text,
					    strlen(text));
	}
	sbx_csdk_message_release(&m);
}

static void check_message(const char *kind, char *rest)
{
	const char *channel = strsep(&rest, " ");
	const char *text = strsep(&rest, " ");

	check_read(kind, channel, text, rest, strlen(rest));
}

/* The bytes in hex are the last words. */
static void check_binary(const char *kind, char *rest)
{
	const char *channel = strsep(&rest, " ");
	const char *text = strsep(&rest, " ");
	uint8_t bytes[300];
	unsigned int byte;
	size_t n = 0;

	for (; *rest; rest++)
		if (*rest != ' ' && sscanf(rest, "%2x", &byte) == 1) {
			bytes[n++] = (uint8_t)byte;
			rest++;
		}
	check_read(kind, channel, text, bytes, n);
}

/* "FOLDER:MORE;TEXT", with "|" for line feeds */
static void check_look(const char *word, char *rest)
{
	char *want = strsep(&rest, ";"), *dir = strsep(&want, ":"), *p;
	struct sbx_csdk_there there = {0};
	struct sbx_csdk_upload upload = {0};
	enum sbx_csdk_said said;

	for (p = rest; *p; p++)
		if (*p == '|')
			*p = '\n';
	said = sbx_csdk_read_look(rest, "M", &there, &upload);
	if (!strcmp(word, "nothing")) {
		assert_int_equal(said, SBX_CSDK_SAID_NOTHING);
	} else if (!strcmp(word, "ready")) {
		assert_int_equal(said, SBX_CSDK_SAID_READY);
		assert_true(!there.helper == !!there.why);
		assert_string_equal(dir, there.dir);
		assert_string_equal(want, there.helper ? there.helper : "-");
	} else {
		assert_int_equal(said, SBX_CSDK_SAID_NEED);
		assert_string_equal(dir, there.dir);
		assert_string_equal(want, upload.folder);
		assert_true(upload.plant.gz && upload.plant.size);
	}
	sbx_csdk_there_release(&there);
}

/* It has no end of wishes. */
static void a_helper_that_is_needed_again_and_again(void **state)
{
	struct sbx_csdk_there there = {0};
	struct sbx_csdk_upload upload = {0};
	enum sbx_csdk_said said = SBX_CSDK_SAID_NEED;
	unsigned int n;

	for (n = 0; n < 10 && said == SBX_CSDK_SAID_NEED; n++)
		said = sbx_csdk_read_look("M at /w\nM need x86_64 gzip /tmp\n",
					  "M", &there, &upload);
	assert_in_range(n, 2, 9);
	assert_int_equal(said, SBX_CSDK_SAID_READY);
	assert_non_null(there.why);
	sbx_csdk_there_release(&there);
}

static void samples_are_read_as_they_say(void **state)
{
	static const struct sample_kind kinds[] = {
		{"sandbox", check_sandbox}, {"port", check_port},
		{"gateway", check_gateway}, {"daemon", check_daemon},
		{"files", check_files},	    {"file", check_file},
		{"message", check_message}, {"binary", check_binary},
		{"look", check_look},	    {0},
	};

	samples_check(samples, kinds, 50);
}

/* ---- what is written ---- */

static void new_sandboxes_have_a_namespace_of_their_own(void **state)
{
	struct sbx_csdk_create c;
	struct sbx_error e;
	SBX_JSON json_t *obj = NULL;

	assert_int_equal(sbx_csdk_create_parse(
				 &c,
				 "{\"name\":\"demo\",\"timeout\":\"60000\","
				 "\"env\":{\"A\":1},\"cpu\":2}",
				 "m", &e),
			 0);
	obj = sbx_json_parse(c.body, strlen(c.body));
	assert_string_equal(sbx_json_str(obj, "name"), "demo");
	assert_string_equal(sbx_json_str(obj, "namespace"), "demo");
	assert_string_equal(
		sbx_json_str(sbx_json_object(obj, "metadata"), "name"), "demo");
	assert_string_equal(sbx_json_str(sbx_json_object(obj, "envs"), "A"),
			    "1");
	assert_int_equal(sbx_json_int(obj, "timeout", 0), 60000);
	assert_int_equal(sbx_json_int(obj, "cpu", 0), 2);
	assert_true(c.is_named && !c.may_exist);
	sbx_csdk_create_release(&c);
	assert_int_equal(sbx_csdk_create_parse(&c, NULL, "m0", &e), 0);
	assert_true(!c.is_named && !strncmp(c.name, "sbxfs-m0", 8));
	sbx_csdk_create_release(&c);
	assert_int_equal(
		sbx_csdk_create_parse(
			&c, "{\"name\":\"a\",\"namespace\":\"b\"}", "m", &e),
		0);
	assert_true(c.may_exist);
	assert_string_equal(c.namespace, "b");
	sbx_csdk_create_release(&c);
}

static void wrong_options_are_named(void **state)
{
	static const char *const wrong[][2] = {
		{"{\"name\":\"a/b\"}", "name"},
		{"[]", "JSON"},
		{"{\"timeout\":\"soon\"}", "milli"},
		{"{\"env\":[]}", "env"},
		{"{\"env\":{\"a b\":1}}", "a b"},
		{"{\"image\":1}", "image"},
		{"{\"servers\":{}}", "list"},
		{"{\"metadata\":1}", "object"},
	};
	struct sbx_csdk_create c;
	struct sbx_error e;
	size_t i;

	for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(
			sbx_csdk_create_parse(&c, wrong[i][0], "m", &e),
			-EINVAL);
		assert_non_null(strstr(e.text, wrong[i][1]));
	}
}

static void input_is_json_whatever_it_holds(void **state)
{
	static const char text[] = "a\"b\\c\n\x01\x7f\xc3\xbc";
	SBX_JSON json_t *obj = NULL;
	struct sbx_buf b;

	sbx_buf_init(&b, 4096);
	sbx_csdk_put_input(&b, "t1", text, sizeof(text) - 1);
	assert_int_equal(b.err, 0);
	obj = sbx_json_parse(sbx_buf_at(&b), sbx_buf_len(&b) - 1);
	assert_string_equal(sbx_json_str(obj, "type"), "terminal:input");
	assert_string_equal(sbx_json_str(sbx_json_object(obj, "data"), "input"),
			    text);
	sbx_buf_release(&b);
}

static void paths_are_encoded_as_the_reference_does(void **state)
{
	char *s = sbx_csdk_encode_path("src/a b.c\xc3\xbc%");

	assert_string_equal(s, "src/a%20b.c%C3%BC%25");
	free(s);
	s = sbx_csdk_encode_query("a+b=&");
	assert_string_equal(s, "a%2Bb%3D%26");
	free(s);
}

static void commands_and_pieces_fit_into_one_word(void **state)
{
	const struct sbx_helper_blob *blob = sbx_helper_blobs;
	struct sbx_csdk_upload u = {.plant = {.blob = blob,
					      .gz = true,
					      .data = blob->gz,
					      .size = blob->gz_size},
				    .folder = "/tmp/it's"};
	const char *argv[] = {"echo", "it's", NULL};
	struct sbx_csdk_there there = {.dir = (char[]){"/w"}};
	struct sbx_buf b;

	sbx_buf_init(&b, 1 << 20);
	sbx_csdk_put_piece(&b, "M", &u);
	assert_int_equal(b.err, 0);
	assert_true(sbx_buf_len(&b) < 131072);
	sbx_buf_clear(&b);
	assert_int_equal(sbx_csdk_put_command(&b, argv), 0);
	assert_memory_equal(sbx_buf_at(&b), "exec 'echo' 'it'\\''s'", 21);
	sbx_buf_clear(&b);
	/* a terminal takes no longer line */
	sbx_csdk_put_launch(&b, &there);
	assert_true(sbx_buf_len(&b) < 4095);
	assert_int_equal(sbx_buf_at(&b)[sbx_buf_len(&b) - 1], '\n');
	sbx_buf_release(&b);
}

/* ---- lines ---- */

struct heard {
	char kinds[32];
	size_t nr, bytes;
	uint64_t number;
};

static int on_line(void *arg, const struct sbx_line *line)
{
	struct heard *h = arg;

	h->kinds[h->nr++] = line->kind;
	h->number = line->number;
	h->bytes += line->len;
	return h->nr == sizeof(h->kinds) - 1;
}

static void lines_come_through_noise_and_cuts(void **state)
{
	/* but for the last line */
	static const char noise[] = "~o:\n~o12\n~o1:a\n~o1:====\n~\n"
				    "~o99999999999999999999:\n~o1:YQ==\r\n";
	uint8_t data[300];
	struct heard h = {0};
	struct sbx_lines l;
	struct sbx_buf b;
	size_t i;

	for (i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)i;
	sbx_buf_init(&b, 65536);
	sbx_buf_add(&b, "$ exec x\r\n", 10);
	sbx_line_put(&b, '~', 'o', 123, data, sizeof(data));
	sbx_line_put(&b, '<', 'i', 5, data, 3); /* an echo */
	sbx_buf_add(&b, noise, sizeof(noise) - 1);
	sbx_line_put(&b, '~', 'x', 7, NULL, 0);
	sbx_lines_init(&l, '~');
	for (i = 0; i < sbx_buf_len(&b); i++)
		assert_int_equal(
			sbx_lines_add(&l, sbx_buf_at(&b) + i, 1, on_line, &h),
			0);
	assert_string_equal(h.kinds, "oox");
	assert_int_equal(h.bytes, sizeof(data) + 1);
	assert_int_equal(h.number, 7);
	sbx_buf_release(&b);
	sbx_lines_release(&l);
}

static void a_line_without_end_is_noise(void **state)
{
	static char big[SBX_LINE_MAX + 100];
	struct heard h = {0};
	struct sbx_lines l;

	memset(big, 'A', sizeof(big));
	memcpy(big, "~o0:", 4);
	sbx_lines_init(&l, '~');
	assert_int_equal(sbx_lines_add(&l, big, sizeof(big), on_line, &h), 0);
	assert_int_equal(sbx_lines_add(&l, "\n~x0:\n", 7, on_line, &h), 0);
	assert_string_equal(h.kinds, "x");
	sbx_lines_release(&l);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(samples_are_read_as_they_say),
		cmocka_unit_test(a_helper_that_is_needed_again_and_again),
		cmocka_unit_test(new_sandboxes_have_a_namespace_of_their_own),
		cmocka_unit_test(wrong_options_are_named),
		cmocka_unit_test(input_is_json_whatever_it_holds),
		cmocka_unit_test(paths_are_encoded_as_the_reference_does),
		cmocka_unit_test(commands_and_pieces_fit_into_one_word),
		cmocka_unit_test(lines_come_through_noise_and_cuts),
		cmocka_unit_test(a_line_without_end_is_noise),
	};

	if (argc < 2)
		return 2;
	samples = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
