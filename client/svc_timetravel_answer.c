/*
 * What came of a command.  Its output may be long, and is read as it stands,
 * once: a JSON library takes a second for 60 MiB, in which nothing else would
 * be done.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/svc_timetravel.h"

#define MAX_NUMBER 24

struct reader {
	const char *at, *end;
};

static void skip_space(struct reader *r)
{
	while (r->at < r->end && memchr(" \t\r\n", *r->at, 4))
		r->at++;
}

static bool next_is(struct reader *r, char c)
{
	skip_space(r);
	if (r->at == r->end || *r->at != c)
		return false;
	r->at++;
	return true;
}

/* ---- strings ---- */

static long hex4(const char *p, const char *end)
{
	char text[5] = "";
	char *stop;
	long n;

	if (end - p < 4)
		return -1;
	memcpy(text, p, 4);
	if (strspn(text, "0123456789abcdefABCDEF") != 4)
		return -1;
	n = strtol(text, &stop, 16);
	return n;
}

/* At most 4 bytes, of an escape of 6 or, for what is beyond 0xffff, 12. */
static char *put_utf8(char *to, long n)
{
	if (n < 0x80) {
		*to++ = (char)n;
	} else if (n < 0x800) {
		*to++ = (char)(0xc0 | n >> 6);
		*to++ = (char)(0x80 | (n & 0x3f));
	} else if (n < 0x10000) {
		*to++ = (char)(0xe0 | n >> 12);
		*to++ = (char)(0x80 | (n >> 6 & 0x3f));
		*to++ = (char)(0x80 | (n & 0x3f));
	} else {
		*to++ = (char)(0xf0 | n >> 18);
		*to++ = (char)(0x80 | (n >> 12 & 0x3f));
		*to++ = (char)(0x80 | (n >> 6 & 0x3f));
		*to++ = (char)(0x80 | (n & 0x3f));
	}
	return to;
}

/* Behind "\u"; half of a pair alone is none. */
static bool take_code(struct reader *r, char **to)
{
	long n = hex4(r->at, r->end), low = -1;

	if (n < 0)
		return false;
	r->at += 4;
	if (n >= 0xd800 && n < 0xdc00 && r->end - r->at >= 6 &&
	    r->at[0] == '\\' && r->at[1] == 'u')
		low = hex4(r->at + 2, r->end);
	if (low >= 0xdc00 && low < 0xe000) {
		r->at += 6;
		n = 0x10000 + ((n - 0xd800) << 10) + (low - 0xdc00);
	} else if (n >= 0xd800 && n < 0xe000) {
		n = 0xfffd;
	}
	*to = put_utf8(*to, n);
	return true;
}

/* Behind a backslash. */
static bool take_escape(struct reader *r, char **to)
{
	static const char names[] = "\"\\/bfnrt", bytes[] = "\"\\/\b\f\n\r\t";
	const char *name;

	if (r->at == r->end)
		return false;
	if (*r->at == 'u') {
		r->at++;
		return take_code(r, to);
	}
	name = *r->at ? strchr(names, *r->at) : NULL;
	if (!name)
		return false;
	r->at++;
	*(*to)++ = bytes[name - names];
	return true;
}

/* Behind the quote that begins it: up to the one that ends it; NULL. */
static const char *string_end(const struct reader *r)
{
	const char *p = r->at;

	for (; p < r->end && *p != '"'; p++)
		if (*p == '\\' && ++p == r->end)
			return NULL;
	return p < r->end ? p : NULL;
}

/* A string, with a NUL behind it; -EPROTO, -ENOMEM. */
static int take_string(struct reader *r, char **ret, size_t *ret_len)
{
	struct reader in = *r;
	const char *p;
	char *to;

	if (!next_is(&in, '"'))
		return -EPROTO;
	p = string_end(&in);
	if (!p || *ret)
		return -EPROTO;
	in.end = p;
	r->at = p + 1;
	to = *ret = malloc((size_t)(in.end - in.at) + 1); /* none gets longer */
	if (!to)
		return -ENOMEM;
	while (in.at < in.end) {
		p = memchr(in.at, '\\', (size_t)(in.end - in.at));
		p = p ? p : in.end;
		memcpy(to, in.at, (size_t)(p - in.at));
		to += p - in.at;
		in.at = p < in.end ? p + 1 : p;
		if (p < in.end && !take_escape(&in, &to))
			return -EPROTO;
	}
	*to = '\0';
	*ret_len = (size_t)(to - *ret);
	return 0;
}

/* ---- members ---- */

static int take_number(struct reader *r, int64_t *ret)
{
	char text[MAX_NUMBER] = "", *stop;
	size_t n = 0;

	skip_space(r);
	while (r->at < r->end && n < sizeof(text) - 1 &&
	       !memchr(",} \t\r\n", *r->at, 6))
		text[n++] = *r->at++;
	errno = 0;
	*ret = strtoll(text, &stop, 10);
	return !n || *stop || errno || text[0] == '+' ? -EPROTO : 0;
}

/* Anything, of no use to us; a string or a plain word. */
static int skip_value(struct reader *r)
{
	char *text = NULL;
	size_t len;
	int err = 0;

	if (next_is(r, '"')) {
		r->at--;
		err = take_string(r, &text, &len);
		free(text);
		return err;
	}
	while (r->at < r->end && !memchr(",}", *r->at, 2))
		err |= memchr("{[]\"", *r->at++, 4) ? -EPROTO : 0;
	return err;
}

static int take_member(struct reader *r, struct sbx_run *run, int64_t *code,
		       bool *has_code)
{
	char *name = NULL;
	size_t len;
	int err = take_string(r, &name, &len);

	if (!err && !next_is(r, ':'))
		err = -EPROTO;
	if (err)
		; /* no name */
	else if (!strcmp(name, "stdout"))
		err = take_string(r, &run->out, &run->out_len);
	else if (!strcmp(name, "stderr"))
		err = take_string(r, &run->err, &run->err_len);
	else if (strcmp(name, "exitCode") != 0)
		err = skip_value(r);
	else if (*has_code)
		err = -EPROTO;
	else if (!(err = take_number(r, code)))
		*has_code = true;
	free(name);
	return err;
}

int sbx_timetravel_run_from_json(struct sbx_run *run, const char *body,
				 size_t len)
{
	struct reader r = {body, body + len};
	bool has_code = false;
	int64_t n = 0;
	int err = next_is(&r, '{') ? 0 : -EPROTO;

	do
		err = err ? err : take_member(&r, run, &n, &has_code);
	while (!err && next_is(&r, ','));
	if (!err && !next_is(&r, '}'))
		err = -EPROTO;
	skip_space(&r);
	if (!err && (r.at != r.end || !has_code || !run->out || !run->err))
		err = -EPROTO;
	if (err) {
		sbx_run_release(run);
		return err;
	}
	/* an agent gives a signal as a negative number */
	run->exit_code = (int)((n < 0 && n >= -64 ? 128 - n : n) & 255);
	return 0;
}
