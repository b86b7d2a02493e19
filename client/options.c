#include "client/options.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/json.h"
#include "client/limits.h"

int sbx_maker_wrong(struct sbx_maker *m, const char *key, const char *why)
{
	return sbx_error_set(m->reterr, -EINVAL, "%.60s: %s", key, why);
}

int sbx_maker_no_memory(struct sbx_maker *m)
{
	return sbx_error_set(m->reterr, -ENOMEM, "out of memory");
}

int sbx_maker_put(struct sbx_maker *m, const char *key, json_t *value)
{
	return json_object_set_new(m->body, key, value) < 0
		       ? sbx_maker_no_memory(m)
		       : 0;
}

char *sbx_scalar_text(const json_t *v)
{
	if (json_is_string(v))
		return strdup(json_string_value(v));
	if (json_is_number(v) || json_is_boolean(v))
		return sbx_json_text(v, false);
	return NULL;
}

bool sbx_env_name_is_word(const char *name)
{
	size_t i;

	if (!isalpha((unsigned char)name[0]) && name[0] != '_')
		return false;
	for (i = 1; name[i]; i++)
		if (!isalnum((unsigned char)name[i]) && name[i] != '_')
			return false;
	return i <= 255;
}

int sbx_maker_parse(struct sbx_maker *m, const char *options, json_t **ret)
{
	json_t *obj = NULL;

	if (options && strlen(options) <= SBX_MAX_OPTIONS)
		obj = sbx_json_parse(options, strlen(options));
	if (options && !json_is_object(obj)) {
		json_decref(obj);
		return sbx_error_set(m->reterr, -EINVAL,
				     "the options of a new sandbox must be one "
				     "JSON object of at most 64 KiB");
	}
	*ret = obj;
	return 0;
}

/* "not an option ...; there are A, B, C" */
static int maker_unknown(struct sbx_maker *m, const char *key,
			 const struct sbx_maker_word *words)
{
	char list[160] = "";
	size_t len = 0;

	for (; words->key && len < sizeof(list); words++)
		len += (size_t)snprintf(list + len, sizeof(list) - len, "%s%s",
					len ? ", " : "", words->key);
	return sbx_error_set(m->reterr, -EINVAL,
			     "%.40s: not an option of a new sandbox; there "
			     "are %s",
			     key, list);
}

int sbx_maker_take(struct sbx_maker *m, const json_t *options,
		   const struct sbx_maker_word *words)
{
	const struct sbx_maker_word *w;
	const char *key;
	json_t *v;
	int r = 0;

	json_object_foreach((json_t *)(uintptr_t)options, key, v)
	{
		for (w = words; w->key && strcmp(w->key, key); w++)
			;
		r = w->key ? w->take(m, key, v) : maker_unknown(m, key, words);
		if (r < 0)
			return r;
	}
	return r;
}
