#include "client/json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/limits.h"

/*
 * Counts brackets and commas outside strings before anything is allocated.
 * jansson has a limit of depth (2048 levels), but it is deeper than anything
 * we would like to walk, and it has none of the number of values.
 */
static bool json_is_modest(const char *text, size_t len)
{
	size_t i, depth = 0, values = 0;
	bool in_string = false;

	for (i = 0; i < len; i++) {
		char c = text[i];

		if (in_string) {
			if (c == '\\')
				i++;
			else if (c == '"')
				in_string = false;
		} else if (c == '"') {
			in_string = true;
		} else if (c == '[' || c == '{') {
			if (++depth > SBX_JSON_MAX_DEPTH)
				return false;
			values++;
		} else if ((c == ']' || c == '}') && depth > 0) {
			depth--;
		} else if (c == ',') {
			values++;
		}
		if (values > SBX_JSON_MAX_VALUES)
			return false;
	}
	return true;
}

static json_t *json_parse(const void *text, size_t len, size_t flags)
{
	if (!text || len > SBX_JSON_MAX_TEXT || !json_is_modest(text, len))
		return NULL;
	return json_loadb(text, len, JSON_REJECT_DUPLICATES | flags, NULL);
}

json_t *sbx_json_parse(const void *text, size_t len)
{
	return json_parse(text, len, 0);
}

json_t *sbx_json_parse_nul(const void *text, size_t len)
{
	return json_parse(text, len, JSON_ALLOW_NUL);
}

const char *sbx_json_str(const json_t *obj, const char *name)
{
	return json_string_value(json_object_get(obj, name));
}

static bool json_digits(const char *s, int64_t *ret)
{
	char *end;
	long long v;

	if (!s || !*s)
		return false;
	errno = 0;
	v = strtoll(s, &end, 10);
	if (errno || *end || s[0] == ' ')
		return false;
	*ret = v;
	return true;
}

int64_t sbx_json_int(const json_t *obj, const char *name, int64_t def)
{
	const json_t *v = json_object_get(obj, name);
	int64_t n;
	double d;

	if (json_is_integer(v))
		return json_integer_value(v);
	if (json_is_real(v)) {
		d = json_real_value(v);
		if (d >= -9007199254740992.0 && d <= 9007199254740992.0)
			return (int64_t)d;
		return def;
	}
	if (json_digits(json_string_value(v), &n))
		return n;
	return def;
}

bool sbx_json_bool(const json_t *obj, const char *name, bool def)
{
	const json_t *v = json_object_get(obj, name);

	return json_is_boolean(v) ? json_is_true(v) : def;
}

const json_t *sbx_json_object(const json_t *obj, const char *name)
{
	const json_t *v = json_object_get(obj, name);

	return json_is_object(v) ? v : NULL;
}

const json_t *sbx_json_array(const json_t *obj, const char *name)
{
	const json_t *v = json_object_get(obj, name);

	return json_is_array(v) ? v : NULL;
}

char *sbx_json_text(const json_t *value, bool with_indent)
{
	size_t flags = JSON_ENCODE_ANY;

	flags |= with_indent ? JSON_INDENT(2) : JSON_COMPACT;
	return json_dumps(value, flags);
}
