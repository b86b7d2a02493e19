#include "client/svc_xgen_wire.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "client/wire/msg.h"

static uint32_t get_be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 |
	       (uint32_t)p[2] << 8 | p[3];
}

static void put_be32(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 24);
	p[1] = (uint8_t)(v >> 16);
	p[2] = (uint8_t)(v >> 8);
	p[3] = (uint8_t)v;
}

static void put_header(uint8_t *p, enum sbx_xgen_type type, uint32_t channel,
		       uint32_t id)
{
	p[0] = (uint8_t)type;
	put_be32(p + 1, channel);
	put_be32(p + 5, id);
}

/* ---- reading ---- */

int sbx_xgen_read(struct sbx_xgen_msg *m, const void *data, size_t len)
{
	const uint8_t *p = data;

	if (len < SBX_XGEN_HEADER)
		return -EBADMSG;
	m->type = p[0];
	m->channel = get_be32(p + 1);
	m->id = get_be32(p + 5);
	m->payload = p + SBX_XGEN_HEADER;
	m->len = len - SBX_XGEN_HEADER;
	return 0;
}

/* A map whose members arrive in any order: those wanted, by name. */
struct wanted {
	const char *name, *other_name;
	int64_t number;
	const char *text;
	size_t text_len;
	bool is_text, is_flag, found;
};

static void wanted_take(struct wanted *w, struct sbx_rd *value)
{
	if (w->is_text)
		w->text = (const char *)sbx_get_bin(value, &w->text_len);
	else if (w->is_flag)
		w->number = sbx_get_bool(value);
	else
		w->number = sbx_get_i64(value);
	w->found = !value->err;
}

static bool name_is(const char *name, const char *key, size_t len)
{
	return name && strlen(name) == len && !memcmp(name, key, len);
}

static void map_take(struct sbx_rd *map, struct wanted *w, size_t nr)
{
	const char *key;
	size_t i, len;

	while (map->left >= 2 && !map->err) {
		key = (const char *)sbx_get_bin(map, &len);
		for (i = 0; key && i < nr; i++)
			if (name_is(w[i].name, key, len) ||
			    name_is(w[i].other_name, key, len))
				break;
		if (key && i < nr)
			wanted_take(&w[i], map);
		else
			sbx_get_skip(map);
	}
}

/* The texts of w point into the message. */
static int payload_take(const struct sbx_xgen_msg *m, struct wanted *w,
			size_t nr)
{
	struct sbx_msg msg;
	struct sbx_rd root, map;
	size_t size;
	int r;

	r = sbx_msg_check(m->payload, m->len, &size);
	if (r < 0)
		return -EBADMSG;
	r = sbx_msg_parse(&msg, m->payload, size);
	if (r < 0)
		return r;
	root = (struct sbx_rd){.at = &msg.root, .left = 1};
	map = sbx_get_map(&root);
	map_take(&map, w, nr);
	r = root.err || map.err ? -EBADMSG : 0;
	sbx_msg_release(&msg);
	return r;
}

int sbx_xgen_read_ack(const struct sbx_xgen_msg *m, uint32_t *ret_process)
{
	struct wanted w[] = {
		{.name = "process_id", .other_name = "processId"},
	};
	int r = payload_take(m, w, 1);

	if (r < 0)
		return r;
	if (!w[0].found || w[0].number < 0 || w[0].number > UINT32_MAX)
		return -EBADMSG;
	*ret_process = (uint32_t)w[0].number;
	return 0;
}

int sbx_xgen_read_exit(const struct sbx_xgen_msg *m, int *ret_exit_code)
{
	struct wanted w[] = {
		{.name = "exit_code", .other_name = "exitCode"},
	};
	int r = payload_take(m, w, 1);

	if (r < 0)
		return r;
	if (!w[0].found || w[0].number < INT_MIN || w[0].number > INT_MAX)
		return -EBADMSG;
	*ret_exit_code = w[0].number < 0 ? -1 : (int)(w[0].number & 0xff);
	return 0;
}

/* Texts embed paths, so only their end tells what went wrong. */
static const struct {
	const char *end;
	int err;
} error_ends[] = {
	{"no such file or directory", -ENOENT},
	{"permission denied", -EACCES},
	{"operation not permitted", -EPERM},
	{"not a directory", -ENOTDIR},
	{"is a directory", -EISDIR},
	{"directory not empty", -ENOTEMPTY},
	{"file exists", -EEXIST},
	{"file name too long", -ENAMETOOLONG},
	{"too many links", -ELOOP},
	{"too many levels of symbolic links", -ELOOP},
	{"invalid argument", -EINVAL},
	{"argument list too long", -E2BIG},
	{"no space left on device", -ENOSPC},
	{"disk quota exceeded", -EDQUOT},
	{"read-only file system", -EROFS},
	{"cannot remove workspace root", -EBUSY},
	/* of exec_failed: the runtime is gone, and commands with it */
	{"runtime container process not found", -EOPNOTSUPP},
};

static bool text_ends(const char *text, size_t len, const char *end)
{
	size_t n = strlen(end);

	return len >= n && !memcmp(text + len - n, end, n) &&
	       (len == n || text[len - n - 1] == ' ');
}

static int error_number(const struct wanted *code, const struct wanted *text)
{
	static const char escapes[] = "path escapes workspace root";
	size_t i, n = sizeof(escapes) - 1;

	if (code->text &&
	    (name_is("invalid_payload", code->text, code->text_len) ||
	     name_is("unknown_message", code->text, code->text_len)))
		return -EPROTO;
	if (!text->text)
		return -EIO;
	if (text->text_len >= n && !memcmp(text->text, escapes, n))
		return -EACCES;
	for (i = 0; i < sizeof(error_ends) / sizeof(error_ends[0]); i++)
		if (text_ends(text->text, text->text_len, error_ends[i].end))
			return error_ends[i].err;
	return -EIO;
}

int sbx_xgen_read_error(const struct sbx_xgen_msg *m, struct sbx_error *e)
{
	struct wanted w[] = {
		{.name = "code", .is_text = true},
		{.name = "message", .is_text = true},
	};
	int r = payload_take(m, w, 2);

	if (r < 0)
		return r;
	sbx_error_set(e, error_number(&w[0], &w[1]),
		      "the sandbox refused: %.*s (%.*s)",
		      (int)(w[1].text_len < 150 ? w[1].text_len : 150),
		      w[1].text ? w[1].text : "",
		      (int)(w[0].text_len < 40 ? w[0].text_len : 40),
		      w[0].text ? w[0].text : "no reason given");
	/* nothing was started, for a reason that may have passed soon, such
	 * as too many processes, or one that is just ending */
	if (e->err == -EIO && w[0].text &&
	    name_is("exec_failed", w[0].text, w[0].text_len))
		e->retry = SBX_RETRY_LATER;
	return 0;
}

/* ---- lists ---- */

static bool is_component(const char *name, size_t len)
{
	return name && len && len <= 255 && !memchr(name, '/', len) &&
	       !memchr(name, 0, len) && !name_is(".", name, len) &&
	       !name_is("..", name, len);
}

static int file_take(struct sbx_rd *rd, struct sbx_file *ret)
{
	struct wanted w[] = {
		{.name = "name", .is_text = true},
		{.name = "size"},
		{.name = "modTime", .other_name = "mod_time"},
		{.name = "isDir", .other_name = "is_dir", .is_flag = true},
	};
	struct sbx_rd map = sbx_get_map(rd);

	map_take(&map, w, 4);
	if (rd->err || map.err || w[1].number < 0 ||
	    !is_component(w[0].text, w[0].text_len))
		return -EBADMSG;
	ret->size = (uint64_t)w[1].number;
	ret->mtime_s = w[2].number;
	ret->is_dir = w[3].number;
	ret->name = strndup(w[0].text, w[0].text_len);
	return ret->name ? 0 : -ENOMEM;
}

int sbx_xgen_read_list(const struct sbx_xgen_msg *m, struct sbx_file **ret,
		       size_t *ret_nr)
{
	struct sbx_file *files = NULL;
	struct sbx_msg msg;
	struct sbx_rd rd;
	size_t size, nr = 0;
	int r;

	if (m->len > SBX_XGEN_MAX_LIST ||
	    sbx_msg_check(m->payload, m->len, &size) < 0)
		return -EBADMSG;
	r = sbx_msg_parse(&msg, m->payload, size);
	if (r < 0)
		return r;
	rd = sbx_rd_whole(&msg);
	rd = sbx_get_array(&rd);
	r = rd.err;
	if (!r && rd.left)
		files = calloc(rd.left, sizeof(*files));
	if (!r && rd.left && !files)
		r = -ENOMEM;
	while (!r && rd.left)
		r = file_take(&rd, &files[nr++]);
	sbx_msg_release(&msg);
	if (r < 0) {
		sbx_files_free(files, nr);
		return r;
	}
	*ret = files;
	*ret_nr = nr;
	return 0;
}

/* ---- writing ---- */

static void put_env(struct sbx_buf *b, const char *const *env)
{
	const char *eq;
	uint32_t i, n = 0;
	char name[256];
	size_t len;

	while (env && env[n])
		n++;
	sbx_put_str(b, "env");
	sbx_put_map(b, n);
	for (i = 0; i < n; i++) {
		eq = strchrnul(env[i], '=');
		len = (size_t)(eq - env[i]);
		if (len >= sizeof(name)) {
			b->err = -E2BIG;
			return;
		}
		memcpy(name, env[i], len);
		name[len] = '\0';
		sbx_put_str(b, name);
		sbx_put_str(b, *eq ? eq + 1 : "");
	}
}

int sbx_xgen_put_start(struct sbx_buf *b, uint32_t channel, uint32_t id,
		       const char *const *argv, const char *const *env)
{
	size_t start = sbx_buf_len(b);
	uint8_t head[SBX_XGEN_HEADER];
	uint32_t i, n = 0;

	while (argv[0] && argv[1 + n])
		n++;
	put_header(head, SBX_XGEN_EXEC_START, channel, id);
	sbx_buf_add(b, head, sizeof(head));
	sbx_put_map(b, env && env[0] ? 4 : 3);
	sbx_put_str(b, "command");
	sbx_put_str(b, argv[0] ? argv[0] : "");
	sbx_put_str(b, "args");
	sbx_put_array(b, n);
	for (i = 0; i < n; i++)
		sbx_put_str(b, argv[1 + i]);
	sbx_put_str(b, "tty");
	sbx_put_bool(b, false);
	if (env && env[0])
		put_env(b, env);
	if (b->err)
		return b->err == -ENOMEM ? -ENOMEM : -E2BIG;
	return sbx_buf_len(b) - start > SBX_XGEN_MAX_MESSAGE ? -E2BIG : 0;
}

int sbx_xgen_put_path(struct sbx_buf *b, enum sbx_xgen_type type, uint32_t id,
		      const char *path)
{
	uint8_t head[SBX_XGEN_HEADER];

	put_header(head, type, 0, id);
	sbx_buf_add(b, head, sizeof(head));
	sbx_put_map(b, 1);
	sbx_put_str(b, "path");
	sbx_put_str(b, path);
	return b->err;
}

void sbx_xgen_stdin_head(uint8_t head[SBX_XGEN_STDIN_HEAD], uint32_t channel,
			 uint32_t process)
{
	put_header(head, SBX_XGEN_EXEC_STDIN, channel, 0);
	put_be32(head + SBX_XGEN_HEADER, process);
}

int sbx_xgen_put_signal(struct sbx_buf *b, uint32_t channel, uint32_t process,
			const char *name)
{
	uint8_t head[SBX_XGEN_HEADER];

	put_header(head, SBX_XGEN_EXEC_SIGNAL, channel, 0);
	sbx_buf_add(b, head, sizeof(head));
	sbx_put_map(b, 2);
	sbx_put_str(b, "process_id");
	sbx_put_u64(b, process);
	sbx_put_str(b, "signal");
	sbx_put_str(b, name);
	return b->err;
}
