/*
 * Reading and writing JSON with bounds: nothing outside this file's users
 * needs to know that jansson is under it, and text of a stranger is never
 * parsed without a limit of size and depth.  Any thread, one value at a time.
 *
 * Getters take an object (NULL and other types count as an empty one) and a
 * member's name; they borrow.  A member that is missing, null or of another
 * type gives the default: services disagree about types often enough.
 */
#ifndef SBX_JSON_H
#define SBX_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Parses one document; NULL for anything that is not exactly one, is too
 * large or nests too deep.  The caller owns the result (json_decref).
 * Duplicate members are refused: two readers would see two things.
 */
json_t *sbx_json_parse(const void *text, size_t len);

/* The same, for text that may hold NUL: json_string_length counts. */
json_t *sbx_json_parse_nul(const void *text, size_t len);

const char *sbx_json_str(const json_t *obj, const char *name);
/* JSON numbers without fraction, and strings of decimal digits */
int64_t sbx_json_int(const json_t *obj, const char *name, int64_t def);
bool sbx_json_bool(const json_t *obj, const char *name, bool def);
const json_t *sbx_json_object(const json_t *obj, const char *name);
const json_t *sbx_json_array(const json_t *obj, const char *name);

/* Compact text, for a request; with_indent for a person.  The caller frees;
 * NULL without memory. */
char *sbx_json_text(const json_t *value, bool with_indent);

static inline void sbx_json_cleanup(json_t **value)
{
	json_decref(*value);
}
#define SBX_JSON __attribute__((cleanup(sbx_json_cleanup)))

#endif
