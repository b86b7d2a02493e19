#include "client/svc_vtrix_rpc.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cleanup.h"
#include "client/json.h"

/* Numbers go through doubles at the other end. */
#define MAX_ID ((int64_t)1 << 53)
/* Of a string: what is shorter is parsed, though nobody looks at it. */
#define LONG 4096

char *sbx_vtrix_rpc_request(int64_t id, const char *method, json_t *params)
{
	SBX_JSON json_t *obj = NULL;

	if (!params)
		return NULL;
	obj = json_pack("{s:s,s:I,s:s,s:o}", "jsonrpc", "2.0", "id",
			(json_int_t)id, "method", method, "params", params);
	return obj ? sbx_json_text(obj, false) : NULL;
}

static int64_t id_of(const json_t *obj)
{
	int64_t id = sbx_json_int(obj, "id", 0);

	return id > 0 && id < MAX_ID ? id : 0;
}

/* The presence of a method is what tells a notification. */
static void msg_read(struct sbx_vtrix_msg *m)
{
	const json_t *error = json_object_get(m->root, "error");

	m->method = sbx_json_str(m->root, "method");
	if (m->method) {
		m->data = sbx_json_object(m->root, "params");
		m->id = id_of(m->data);
		m->kind = SBX_VTRIX_NOTE;
	} else {
		m->id = id_of(m->root);
		m->kind = error && !json_is_null(error) ? SBX_VTRIX_ERROR
							: SBX_VTRIX_RESULT;
		m->data = m->kind == SBX_VTRIX_ERROR
				  ? error
				  : json_object_get(m->root, "result");
	}
	if (!m->id)
		m->kind = SBX_VTRIX_OTHER;
}

/* The last quote of a string, from behind its first; NULL: it has none. */
static const char *string_end(const char *p, const char *end)
{
	const char *q, *back;

	for (; (q = memchr(p, '"', (size_t)(end - p))); p = q + 1) {
		for (back = q; back > p && back[-1] == '\\'; back--)
			;
		if ((q - back) % 2 == 0)
			return q;
	}
	return NULL;
}

static const char *skip_space(const char *p, const char *end)
{
	while (p < end && strchr(" \t\r\n", *p) && *p)
		p++;
	return p;
}

/*
 * All that a command printed comes in pieces, and then twice more as
 * "output", which nobody looks at: what is long is left out before it is
 * parsed.  A copy, which the caller frees; NULL: nothing is left out.
 */
static char *without_output(const char *text, size_t len, size_t *ret_len)
{
	static const char word[] = "\"output\"";
	const char *end = text + len, *p, *stop;
	char *less;

	p = len < LONG ? NULL : memmem(text, len, word, sizeof(word) - 1);
	if (!p)
		return NULL;
	p = skip_space(p + sizeof(word) - 1, end);
	if (p == end || *p != ':')
		return NULL;
	p = skip_space(p + 1, end);
	stop = p == end || *p != '"' ? NULL : string_end(++p, end);
	if (!stop || stop - p < LONG)
		return NULL;
	less = malloc(len - (size_t)(stop - p));
	if (!less)
		return NULL;
	memcpy(less, text, (size_t)(p - text));
	memcpy(less + (p - text), stop, (size_t)(end - stop));
	*ret_len = len - (size_t)(stop - p);
	return less;
}

int sbx_vtrix_rpc_parse(struct sbx_vtrix_msg *m, const char *text, size_t len)
{
	SBX_FREE char *less = without_output(text, len, &len);

	memset(m, 0, sizeof(*m));
	m->root = sbx_json_parse_nul(less ? less : text, len);
	if (!json_is_object(m->root)) {
		sbx_vtrix_rpc_release(m);
		return -EPROTO;
	}
	msg_read(m);
	return 0;
}

void sbx_vtrix_rpc_release(struct sbx_vtrix_msg *m)
{
	json_decref(m->root);
	m->root = NULL;
}

/* ---- errors ---- */

/* The numbers of JSON-RPC, and the one that the executor has of its own. */
static const struct {
	int code, err;
} codes[] = {
	{-32001, -ENOENT},     /* no such file */
	{-32601, -EOPNOTSUPP}, /* no such method */
	{-32602, -EINVAL},
};

/* Of the numbers that a program in Rust tells, those of files. */
static int os_error(const char *text)
{
	const char *at = strstr(text, "(os error ");
	long n = at ? strtol(at + 10, NULL, 10) : 0;

	return n > 0 && n < 134 ? (int)-n : 0;
}

/* In the words of the C library. */
static int error_of_words(const char *text)
{
	static const int errs[] = {
		ENOENT, EACCES,	      EPERM,   EEXIST, ENOTDIR,
		EISDIR, ENOSPC,	      EROFS,   EDQUOT, EBUSY,
		ELOOP,	ENAMETOOLONG, ETXTBSY, EXDEV,  EINVAL,
	};
	size_t i;

	for (i = 0; i < sizeof(errs) / sizeof(errs[0]); i++)
		if (strstr(text, strerrordesc_np(errs[i])))
			return -errs[i];
	return 0;
}

int sbx_vtrix_rpc_error(struct sbx_error *e, const json_t *error)
{
	const char *text = sbx_json_str(error, "message");
	int64_t code = sbx_json_int(error, "code", 0);
	int err = 0;
	size_t i;

	text = text ? text : "no reason given";
	for (i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		if (codes[i].code == code)
			err = codes[i].err;
	if (!err)
		err = os_error(text);
	if (!err)
		err = error_of_words(text);
	if (!err && (strstr(text, "timed out") || strstr(text, "timeout")))
		err = -ETIMEDOUT;
	if (!err)
		err = -EIO;
	return sbx_error_set(e, err, "the sandbox's executor: %.150s (%d)",
			     text, (int)code);
}

/* ---- output ---- */

int sbx_vtrix_ends_from_probe(const char *chunks, size_t len,
			      enum sbx_vtrix_ends *ret)
{
	static const struct {
		const char *joined;
		enum sbx_vtrix_ends ends;
	} ways[] = {
		{SBX_VTRIX_PROBE_PRINTS, SBX_VTRIX_ENDS_THERE},
		{"onetwo", SBX_VTRIX_ENDS_MISSING},
	};
	SBX_FREE char *joined = malloc(len + 1);
	SBX_FREE char *less = malloc(len + 1);
	size_t at, n, nj = 0, nl = 0, i;

	if (!joined || !less)
		return -ENOMEM;
	for (at = 0; at < len; at += n + 1) {
		n = strnlen(chunks + at, len - at);
		memcpy(joined + nj, chunks + at, n);
		nj += n;
		memcpy(less + nl, chunks + at, n);
		nl += n;
		if (n && less[nl - 1] == '\n')
			nl--;
	}
	joined[nj] = less[nl] = '\0';
	for (i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		if (strcmp(joined, ways[i].joined) != 0)
			continue;
		*ret = ways[i].ends;
		return 0;
	}
	if (strcmp(less, SBX_VTRIX_PROBE_PRINTS) != 0)
		return -EPROTO;
	*ret = SBX_VTRIX_ENDS_ADDED;
	return 0;
}

int sbx_vtrix_add_chunk(struct sbx_buf *b, const json_t *params,
			enum sbx_vtrix_ends ends)
{
	const json_t *data = json_object_get(params, "data");
	const char *text = json_string_value(data);
	size_t len = json_string_length(data);

	if (!text)
		return -EPROTO;
	if (ends == SBX_VTRIX_ENDS_ADDED && len && text[len - 1] == '\n')
		len--;
	if (len)
		sbx_buf_add(b, text, len);
	if (ends == SBX_VTRIX_ENDS_MISSING)
		sbx_buf_add(b, "\n", 1);
	return b->err;
}

int sbx_vtrix_exit_code(const json_t *result)
{
	const json_t *code = json_object_get(result, "exit_code");
	json_int_t n = json_integer_value(code);

	if (!json_is_integer(code))
		return -EPROTO;
	/* a signal as a negative number is what some runtimes give */
	return (int)((n < 0 && n >= -64 ? 128 - n : n) & 255);
}
