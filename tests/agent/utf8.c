/* See utf8.h. */
#include "tests/agent/utf8.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Length of the sequence at p, 0 if it is none. */
static size_t sequence(const uint8_t *p, size_t len)
{
	size_t n = *p < 0x80	? 1
		   : *p >= 0xf0 ? 4
		   : *p >= 0xe0 ? 3
		   : *p >= 0xc2 ? 2
				: 0;

	if (!n || *p > 0xf4 || n > len)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	}
	/* overlong forms, surrogates, and what is above U+10FFFF */
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
	    (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return n;
}

json_t *agent_utf8_json(const char *data, size_t len)
{
	const uint8_t *p = (const uint8_t *)data;
	char *text = malloc(len * 3 + 1);
	size_t used = 0;
	json_t *json;

	if (!text)
		return NULL;
	while (len) {
		size_t n = sequence(p, len);

		if (n) {
			memcpy(text + used, p, n);
			used += n;
		} else {
			memcpy(text + used, "\xef\xbf\xbd", 3);
			used += 3;
			n = 1;
		}
		p += n;
		len -= n;
	}
	json = json_stringn(text, used);
	free(text);
	return json;
}
