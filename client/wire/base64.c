/* Base64: see base64.h.  Runs in the client and in the helper. */
#include "client/wire/base64.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
			     "abcdefghijklmnopqrstuvwxyz0123456789+/";

void sbx_base64_put(char *dst, const void *data, size_t len)
{
	const uint8_t *p = data;
	uint32_t v;

	for (; len >= 3; len -= 3, p += 3) {
		v = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
		*dst++ = digits[v >> 18];
		*dst++ = digits[v >> 12 & 63];
		*dst++ = digits[v >> 6 & 63];
		*dst++ = digits[v & 63];
	}
	if (!len)
		return;
	v = (uint32_t)p[0] << 16 | (len > 1 ? (uint32_t)p[1] << 8 : 0);
	*dst++ = digits[v >> 18];
	*dst++ = digits[v >> 12 & 63];
	*dst++ = len > 1 ? digits[v >> 6 & 63] : '=';
	*dst = '=';
}

static int digit_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '+')
		return 62;
	return c == '/' ? 63 : -1;
}

long sbx_base64_get(void *dst, const char *text, size_t len)
{
	uint8_t *out = dst;
	unsigned int n = 0, pad = 0;
	uint32_t v = 0;
	size_t i;

	for (i = 0; i < len; i++) {
		int d = digit_value(text[i]);

		if (text[i] && strchr(" \t\r\n", text[i]))
			continue;
		if (text[i] == '=' && n + pad >= 2 && n + pad < 4) {
			pad++;
			continue;
		}
		if (d < 0 || pad)
			return -EPROTO;
		v = v << 6 | (uint32_t)d;
		if (++n < 4)
			continue;
		*out++ = (uint8_t)(v >> 16);
		*out++ = (uint8_t)(v >> 8);
		*out++ = (uint8_t)v;
		n = 0;
	}
	if (n + pad != 0 && n + pad != 4)
		return -EPROTO;
	if (n >= 2)
		*out++ = (uint8_t)(v >> (n == 3 ? 10 : 4));
	if (n == 3)
		*out++ = (uint8_t)(v >> 2);
	return out - (uint8_t *)dst;
}
