/*
 * Small helpers for the texts of control files.  Any thread.
 */
#ifndef SFS_TEXT_H
#define SFS_TEXT_H

#include <stddef.h>
#include <stdint.h>

#include "client/wire/buf.h"

void sfs_text_printf(struct sbx_buf *to, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* A stranger's text, NULL for none, as part of one line: control characters
 * are '?'. */
void sfs_text_clean(struct sbx_buf *to, const char *text);
#define SFS_TIME_SIZE 32
/* RFC 3339, UTC, in seconds: "2026-04-22T09:30:00Z" */
const char *sfs_text_time(int64_t ms, char dst[SFS_TIME_SIZE]);
int64_t sfs_now_ms(void); /* Unix epoch */
/*
 * One word or line that was written to a control file, without the white
 * space around it, into dst.  -EINVAL if it does not fit or holds a zero
 * byte.
 */
int sfs_text_word(char *dst, size_t size, const char *data, size_t len);
/* A whole number without sign, 0 to max; -EINVAL. */
int sfs_text_number(const char *word, unsigned long max, unsigned long *ret);

#endif
