/*
 * Text of shell, as commands in a sandbox are written.  Errors stick to the
 * buffer (wire/buf.h).  Any thread.
 */
#ifndef SBX_SH_H
#define SBX_SH_H

#include "client/wire/buf.h"

void sbx_sh_put(struct sbx_buf *b, const char *text);
/* At most 511 bytes, else -EMSGSIZE. */
void sbx_sh_printf(struct sbx_buf *b, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* One word in quotes, whatever is in it. */
void sbx_sh_quote(struct sbx_buf *b, const char *word);
/* The same; a NUL cannot be in it: -EINVAL. */
void sbx_sh_quote_bytes(struct sbx_buf *b, const void *word, size_t len);
/* Each word of a command, with a space in front. */
void sbx_sh_put_argv(struct sbx_buf *b, const char *const *argv);

#endif
