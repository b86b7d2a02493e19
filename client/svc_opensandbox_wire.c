#include "client/svc_opensandbox_wire.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/cleanup.h"
#include "client/json.h"
#include "client/sh.h"

/* ---- frames ---- */

int sbx_osb_read_binary(struct sbx_osb_frame *ret, const void *data, size_t len)
{
	const uint8_t *p = data;
	size_t i;

	memset(ret, 0, sizeof(*ret));
	if (!len)
		return -EPROTO;
	ret->data = p + 1;
	ret->len = len - 1;
	if (p[0] == 1 || p[0] == 2) {
		ret->kind = SBX_OSB_DATA;
		ret->fd = p[0];
		return 0;
	}
	if (p[0] != 3) {
		ret->kind = SBX_OSB_OTHER;
		return 0;
	}
	if (len < 9)
		return -EPROTO;
	for (i = 1; i < 9; i++)
		ret->offset = ret->offset << 8 | p[i];
	ret->kind = SBX_OSB_REPLAY;
	ret->data = p + 9;
	ret->len = len - 9;
	return ret->offset > INT64_MAX ? -EPROTO : 0;
}

static void read_error(struct sbx_osb_frame *ret, const json_t *obj)
{
	const char *code = sbx_json_str(obj, "code");
	const char *text = sbx_json_str(obj, "error");

	ret->kind = SBX_OSB_ERROR;
	if (code && !strcmp(code, "START_FAILED"))
		sbx_error_set(&ret->error, -EOPNOTSUPP,
			      "the sandbox has no bash, which its execd needs "
			      "for this (%.100s)",
			      text ? text : "");
	else
		sbx_error_set(&ret->error, -EIO, "execd: %.150s (%.40s)",
			      text ? text : "error", code ? code : "");
	/* of others the next session knows nothing */
	if (ret->error.err == -EIO)
		ret->error.retry = SBX_RETRY_CONNECTION;
}

int sbx_osb_read_text(struct sbx_osb_frame *ret, const char *text, size_t len)
{
	SBX_JSON json_t *obj = sbx_json_parse(text, len);
	const char *type = sbx_json_str(obj, "type");
	int64_t code;

	memset(ret, 0, sizeof(*ret));
	ret->kind = SBX_OSB_OTHER;
	if (!type)
		return -EPROTO;
	if (!strcmp(type, "connected")) {
		ret->kind = SBX_OSB_CONNECTED;
	} else if (!strcmp(type, "pong")) {
		ret->kind = SBX_OSB_PONG;
	} else if (!strcmp(type, "exit")) {
		ret->kind = SBX_OSB_EXIT;
		code = sbx_json_int(obj, "exit_code", -1);
		ret->exit_code = code >= 0 && code <= 255 ? (int)code : -1;
	} else if (!strcmp(type, "error")) {
		read_error(ret, obj);
	}
	return 0;
}

/* ---- the line ---- */

int sbx_osb_put_line(struct sbx_buf *b, const char *const *argv,
		     const char *word, bool with_stderr)
{
	/* bash tells of signals on its own stderr, which is not wanted */
	sbx_sh_put(b, with_stderr ? "exec 3>&2 2>/dev/null; command --"
				  : "exec 2>/dev/null; command --");
	sbx_sh_put_argv(b, argv);
	sbx_sh_put(b, with_stderr ? " 2>&3 3>&-" : "");
	sbx_sh_put(b, "; s=00$?; s=");
	sbx_sh_put(b, word);
	sbx_sh_put(b, "${s: -3}; printf '\\301%s' $s");
	sbx_sh_put(b,
		   with_stderr ? "; printf '\\301%s' $s >&3; exec 3>&-" : "");
	/* what the command has not read is no script; ten minutes without
	 * anybody there, and this ends by itself */
	sbx_sh_put(b,
		   "; while IFS= read -r -t 600 -N 4096 s; do :; done; exit\n");
	if (b->err == -EMSGSIZE || sbx_buf_len(b) > SBX_OSB_MAX_LINE)
		return -E2BIG;
	return b->err;
}

/* ---- the mark ---- */

#define DIGITS 3
#define A_FEW  8 /* bytes; that so many are none of it happens once in 2^36 */

void sbx_osb_tail_init(struct sbx_osb_tail *t, const char *word, bool hasty)
{
	memset(t, 0, sizeof(*t));
	t->hasty = hasty;
	snprintf(t->mark, sizeof(t->mark), "\301%s", word);
}

/* Could these be the first of a mark with its digits? */
static bool tail_fits(const struct sbx_osb_tail *t, const char *p, size_t n)
{
	size_t i, words = n < SBX_OSB_MARK_LEN ? n : SBX_OSB_MARK_LEN;

	if (memcmp(p, t->mark, words) != 0)
		return false;
	for (i = words; i < n; i++)
		if (!isdigit((unsigned char)p[i]))
			return false;
	return true;
}

static void tail_end(struct sbx_osb_tail *t)
{
	char digits[DIGITS + 1] = "";
	long code;

	memcpy(digits, t->held + SBX_OSB_MARK_LEN, DIGITS);
	code = strtol(digits, NULL, 10);
	t->exit_code = code <= 255 ? (int)code : -1;
	t->ended = true;
}

/* The first n that are held are given out, if they were not. */
static void tail_give(struct sbx_osb_tail *t, size_t n,
		      void (*fn)(void *arg, const void *data, size_t len),
		      void *arg)
{
	if (n > t->nr_given) {
		fn(arg, t->held + t->nr_given, n - t->nr_given);
		t->nr_given = n;
	}
}

/* One more byte than fits: gives out from the front what cannot be it. */
static void tail_release(struct sbx_osb_tail *t,
			 void (*fn)(void *arg, const void *data, size_t len),
			 void *arg)
{
	size_t n = 0;

	while (n < t->nr_held && !tail_fits(t, t->held + n, t->nr_held - n))
		n++;
	tail_give(t, n, fn, arg);
	t->nr_held -= n;
	t->nr_given -= n;
	memmove(t->held, t->held + n, t->nr_held);
}

/* How many of these bytes surely come before the mark. */
static size_t tail_before(const struct sbx_osb_tail *t, const char *p,
			  size_t len)
{
	const char *at = memmem(p, len, t->mark, SBX_OSB_MARK_LEN);
	size_t n = len < SBX_OSB_MARK_LEN ? len : SBX_OSB_MARK_LEN - 1;

	if (at)
		return (size_t)(at - p);
	while (n && memcmp(p + len - n, t->mark, n) != 0)
		n--;
	return len - n;
}

void sbx_osb_tail_add(struct sbx_osb_tail *t, const void *data, size_t len,
		      void (*fn)(void *arg, const void *data, size_t len),
		      void *arg)
{
	const char *p = data, *end = p + len;
	size_t n;

	while (p < end && !t->ended) {
		if (!t->nr_held) {
			n = tail_before(t, p, (size_t)(end - p));
			if (n)
				fn(arg, p, n);
			p += n;
			if (p == end)
				return;
		}
		t->held[t->nr_held++] = *p++;
		tail_release(t, fn, arg);
		if (t->nr_held == SBX_OSB_MARK_LEN + DIGITS)
			tail_end(t);
	}
	if (t->hasty && t->nr_held < A_FEW)
		tail_give(t, t->nr_held, fn, arg);
}
