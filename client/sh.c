#include "client/sh.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void sbx_sh_put(struct sbx_buf *b, const char *text)
{
	sbx_buf_add(b, text, strlen(text));
}

void sbx_sh_printf(struct sbx_buf *b, const char *fmt, ...)
{
	char text[512];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= sizeof(text))
		b->err = -EMSGSIZE;
	else
		sbx_buf_add(b, text, (size_t)n);
}

void sbx_sh_quote_bytes(struct sbx_buf *b, const void *word, size_t len)
{
	const char *at = word, *quote;

	if (len && memchr(at, 0, len))
		b->err = -EINVAL;
	sbx_sh_put(b, "'");
	while (len && (quote = memchr(at, '\'', len))) {
		sbx_buf_add(b, at, (size_t)(quote - at));
		sbx_sh_put(b, "'\\''");
		len -= (size_t)(quote - at) + 1;
		at = quote + 1;
	}
	sbx_buf_add(b, at, len);
	sbx_sh_put(b, "'");
}

void sbx_sh_quote(struct sbx_buf *b, const char *word)
{
	sbx_sh_quote_bytes(b, word, strlen(word));
}

void sbx_sh_put_argv(struct sbx_buf *b, const char *const *argv)
{
	for (; *argv; argv++) {
		sbx_sh_put(b, " ");
		sbx_sh_quote(b, *argv);
	}
}
