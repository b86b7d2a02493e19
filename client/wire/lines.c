/* Bytes as lines of text: see lines.h. */
#include "client/wire/lines.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "client/wire/base64.h"

#define MAX_DIGITS 18

void sbx_line_put(struct sbx_buf *b, char mark, char kind, uint64_t number,
		  const void *data, size_t len)
{
	char head[32];
	uint8_t *room;

	snprintf(head, sizeof(head), "%c%c%llu:", mark, kind,
		 (unsigned long long)number);
	sbx_buf_add(b, head, strlen(head));
	room = sbx_buf_room(b, SBX_BASE64_LEN(len) + 1);
	if (!room)
		return;
	sbx_base64_put((char *)room, data, len);
	room[SBX_BASE64_LEN(len)] = '\n';
	sbx_buf_added(b, SBX_BASE64_LEN(len) + 1);
}

void sbx_lines_init(struct sbx_lines *l, char mark)
{
	l->mark = mark;
	sbx_buf_init(&l->text, SBX_LINE_MAX);
}

void sbx_lines_release(struct sbx_lines *l)
{
	sbx_buf_release(&l->text);
}

/* NUMBER ":", after *at */
static int read_number(const char *p, size_t len, size_t *at, uint64_t *ret)
{
	size_t digits = 0;

	*ret = 0;
	while (*at < len && p[*at] >= '0' && p[*at] <= '9') {
		if (++digits > MAX_DIGITS)
			return -EPROTO;
		*ret = *ret * 10 + (uint64_t)(p[(*at)++] - '0');
	}
	return digits && *at < len && p[(*at)++] == ':' ? 0 : -EPROTO;
}

/* text is decoded in place */
static int line_read(struct sbx_line *ret, char mark, char *p, size_t len)
{
	size_t at = 2;
	long n;

	if (len < 4 || p[0] != mark || memchr(p, '\0', len) ||
	    memchr(p, ' ', len) || read_number(p, len, &at, &ret->number) < 0)
		return -EPROTO;
	n = sbx_base64_get(p + at, p + at, len - at);
	if (n < 0)
		return -EPROTO;
	ret->kind = p[1];
	ret->data = (uint8_t *)p + at;
	ret->len = (size_t)n;
	return 0;
}

static int line_end(struct sbx_lines *l,
		    int (*fn)(void *arg, const struct sbx_line *line),
		    void *arg)
{
	char *p = (char *)sbx_buf_at(&l->text);
	size_t len = sbx_buf_len(&l->text);
	struct sbx_line line;
	int r = 0;

	/* a terminal may make "\r\n" of "\n" */
	while (len && p[len - 1] == '\r')
		len--;
	/* one that was too long was noise */
	if (l->text.err != -EMSGSIZE && line_read(&line, l->mark, p, len) == 0)
		r = fn(arg, &line);
	sbx_buf_clear(&l->text);
	return r;
}

int sbx_lines_add(struct sbx_lines *l, const void *data, size_t len,
		  int (*fn)(void *arg, const struct sbx_line *line), void *arg)
{
	const char *p = data, *end = p + len, *nl;
	int r;

	while (p < end) {
		nl = memchr(p, '\n', (size_t)(end - p));
		sbx_buf_add(&l->text, p, (size_t)((nl ? nl : end) - p));
		if (l->text.err == -ENOMEM)
			return -ENOMEM;
		if (!nl)
			return 0;
		p = nl + 1;
		r = line_end(l, fn, arg);
		if (r)
			return r;
	}
	return 0;
}
