/*
 * Base64 (RFC 4648, with "="), for carriers that take text only.
 */
#ifndef SBX_WIRE_BASE64_H
#define SBX_WIRE_BASE64_H

#include <stddef.h>

/* How much text len bytes become, without a NUL. */
#define SBX_BASE64_LEN(len) (((len) + 2) / 3 * 4)

/* Writes SBX_BASE64_LEN(len) characters. */
void sbx_base64_put(char *dst, const void *data, size_t len);
/*
 * Reads text, in which white space counts for nothing, into dst (which may be
 * the text itself).  Returns the number of bytes, -EPROTO for other text.
 */
long sbx_base64_get(void *dst, const char *text, size_t len);

#endif
