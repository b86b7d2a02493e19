/* Bytes as JSON text: what is not UTF-8 becomes U+FFFD, as Go does it. */
#ifndef AGENT_UTF8_H
#define AGENT_UTF8_H

#include <jansson.h>
#include <stddef.h>

/* A new reference; NULL without memory. */
json_t *agent_utf8_json(const char *data, size_t len);

#endif
