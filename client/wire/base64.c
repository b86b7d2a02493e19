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

/* Of each digit one more than its value. */
#define TWO(c, v) [c] = (v) + 1, [(c) + 1] = (v) + 2
static const uint8_t values[256] = {
	TWO('A', 0),  TWO('C', 2),  TWO('E', 4),  TWO('G', 6),	TWO('I', 8),
	TWO('K', 10), TWO('M', 12), TWO('O', 14), TWO('Q', 16), TWO('S', 18),
	TWO('U', 20), TWO('W', 22), TWO('Y', 24), TWO('a', 26), TWO('c', 28),
	TWO('e', 30), TWO('g', 32), TWO('i', 34), TWO('k', 36), TWO('m', 38),
	TWO('o', 40), TWO('q', 42), TWO('s', 44), TWO('u', 46), TWO('w', 48),
	TWO('y', 50), TWO('0', 52), TWO('2', 54), TWO('4', 56), TWO('6', 58),
	TWO('8', 60), ['+'] = 63,   ['/'] = 64,
};

long sbx_base64_get(void *dst, const char *text, size_t len)
{
	uint8_t *out = dst;
	unsigned int n = 0, pad = 0;
	uint32_t v = 0;
	size_t i;

	for (i = 0; i < len; i++) {
		uint8_t d = values[(uint8_t)text[i]];

		if (!d && text[i] && strchr(" \t\r\n", text[i]))
			continue;
		if (text[i] == '=' && n + pad >= 2 && n + pad < 4) {
			pad++;
			continue;
		}
		if (!d || pad)
			return -EPROTO;
		v = v << 6 | (d - 1u);
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
