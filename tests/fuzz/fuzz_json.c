/* Any bytes as JSON: parsed within bounds, and every getter tried on it. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "client/cleanup.h"
#include "client/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void read_all(const json_t *v)
{
	const char *key;
	json_t *item;
	size_t i;

	json_object_foreach((json_t *)(uintptr_t)v, key, item)
	{
		sbx_json_str(v, key);
		sbx_json_int(v, key, 0);
		sbx_json_bool(v, key, false);
		sbx_json_object(v, key);
		sbx_json_array(v, key);
		read_all(item);
	}
	for (i = 0; i < json_array_size(v); i++)
		read_all(json_array_get(v, i));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	SBX_JSON json_t *v = sbx_json_parse(data, len);
	SBX_JSON json_t *again = NULL;
	SBX_FREE char *text = NULL;

	if (!v)
		return 0;
	read_all(v);
	text = sbx_json_text(v, true);
	again = text ? sbx_json_parse(text, strlen(text)) : NULL;
	/* what was read can be written, and read again as the same */
	if (!again || !json_equal(v, again))
		abort();
	return 0;
}
