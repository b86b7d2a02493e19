/*
 * Texts of control files: see text.h.
 */
#include "fuse/text.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void sfs_text_printf(struct sbx_buf *to, const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0)
		to->err = -ENOMEM;
	else
		sbx_buf_add(to, text, (size_t)n);
	if (n >= 0)
		free(text);
}

void sfs_text_clean(struct sbx_buf *to, const char *text)
{
	size_t n;

	for (; text && *text; text += n) {
		for (n = 0; text[n] && !iscntrl((unsigned char)text[n]); n++)
			;
		sbx_buf_add(to, n ? text : "?", n ? n : 1);
		n = n ? n : 1;
	}
}

const char *sfs_text_time(int64_t ms, char dst[SFS_TIME_SIZE])
{
	time_t t = (time_t)(ms / 1000);
	struct tm tm;

	if (!gmtime_r(&t, &tm) ||
	    !strftime(dst, SFS_TIME_SIZE, "%Y-%m-%dT%H:%M:%SZ", &tm))
		strcpy(dst, "unknown"); /* a year that has no such form */
	return dst;
}

int64_t sfs_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int sfs_text_word(char *dst, size_t size, const char *data, size_t len)
{
	while (len && isspace((unsigned char)data[0])) {
		data++;
		len--;
	}
	while (len && isspace((unsigned char)data[len - 1]))
		len--;
	if (len >= size || memchr(data, 0, len))
		return -EINVAL;
	memcpy(dst, data, len);
	dst[len] = 0;
	return 0;
}

int sfs_text_number(const char *word, unsigned long max, unsigned long *ret)
{
	char *end;

	if (!isdigit((unsigned char)word[0]))
		return -EINVAL;
	errno = 0;
	*ret = strtoul(word, &end, 10);
	return *end || errno || *ret > max ? -EINVAL : 0;
}
