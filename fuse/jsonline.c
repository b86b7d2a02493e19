/*
 * JSON lines: see jsonline.h.
 */
#include "fuse/jsonline.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/wire/base64.h"
#include "fuse/text.h"

#define LINE_MAX (64 * 1024)

void sfs_jsonline_begin(struct sfs_jsonline *j)
{
	sbx_buf_init(&j->b, LINE_MAX);
	sbx_buf_add(&j->b, "{", 1);
}

static void put_key(struct sfs_jsonline *j, const char *key)
{
	sfs_text_printf(&j->b, "%s\"%s\":", sbx_buf_len(&j->b) > 1 ? "," : "",
			key);
}

/* Bytes of the UTF-8 sequence at s; 0: it is none. */
static size_t utf8_len(const uint8_t *s, size_t len)
{
	size_t n = s[0] < 0x80	 ? 1
		   : s[0] < 0xc2 ? 0
		   : s[0] < 0xe0 ? 2
		   : s[0] < 0xf0 ? 3
		   : s[0] < 0xf5 ? 4
				 : 0;

	if (n > len)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	/* overlong, surrogates, beyond U+10FFFF */
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] >= 0xa0) ||
	    (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] >= 0x90))
		return 0;
	return n;
}

/* Whether all of it was text. */
static bool put_text(struct sbx_buf *b, const char *value, size_t len)
{
	const uint8_t *s = (const uint8_t *)value;
	bool clean = true;
	size_t n;

	sbx_buf_add(b, "\"", 1);
	for (; len; s += n, len -= n) {
		n = utf8_len(s, len);
		if (!n) {
			clean = false;
			n = 1;
			sbx_buf_add(b, "\xef\xbf\xbd", 3);
		} else if (n == 1 && (*s == '"' || *s == '\\')) {
			sbx_buf_add(b, "\\", 1);
			sbx_buf_add(b, s, 1);
		} else if (*s < 0x20 || *s == 0x7f) {
			sfs_text_printf(b, "\\u%04x", *s);
		} else {
			sbx_buf_add(b, s, n);
		}
	}
	sbx_buf_add(b, "\"", 1);
	return clean;
}

static void put_base64(struct sbx_buf *b, const char *value, size_t len)
{
	const size_t size = SBX_BASE64_LEN(len);
	uint8_t *to = sbx_buf_room(b, size);

	if (!to)
		return;
	sbx_base64_put((char *)to, value, len);
	sbx_buf_added(b, size);
}

void sfs_jsonline_bytes(struct sfs_jsonline *j, const char *key,
			const char *value, size_t len)
{
	put_key(j, key);
	if (put_text(&j->b, value, len))
		return;
	sfs_text_printf(&j->b, ",\"%s_b64\":\"", key);
	put_base64(&j->b, value, len);
	sbx_buf_add(&j->b, "\"", 1);
}

void sfs_jsonline_string(struct sfs_jsonline *j, const char *key,
			 const char *value)
{
	put_key(j, key);
	put_text(&j->b, value, strlen(value));
}

void sfs_jsonline_number(struct sfs_jsonline *j, const char *key, int64_t value)
{
	put_key(j, key);
	sfs_text_printf(&j->b, "%lld", (long long)value);
}

void sfs_jsonline_bool(struct sfs_jsonline *j, const char *key, bool value)
{
	put_key(j, key);
	sfs_text_printf(&j->b, "%s", value ? "true" : "false");
}

void sfs_jsonline_time(struct sfs_jsonline *j, const char *key, int64_t ms)
{
	char text[SFS_TIME_SIZE];
	size_t len;

	put_key(j, key);
	len = strlen(sfs_text_time(ms, text));
	if (text[len - 1] == 'Z') /* else it has no such form */
		text[len - 1] = 0;
	sfs_text_printf(&j->b, "\"%s.%03dZ\"", text, (int)(ms % 1000));
}

char *sfs_jsonline_end(struct sfs_jsonline *j)
{
	char *text = NULL;

	sbx_buf_add(&j->b, "}\n", 3);
	if (!j->b.err)
		text = strdup((char *)sbx_buf_at(&j->b));
	sbx_buf_release(&j->b);
	return text;
}
