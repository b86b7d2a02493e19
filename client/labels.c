#include "client/labels.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "client/json.h"
#include "client/parse.h"

#define MAX_LABEL  63
#define MAX_PREFIX 253
#define NAME_PIECE 31 /* bytes, of which hex fits a label */
#define MAX_PIECES 9

bool sbx_label_is_valid(const char *text)
{
	size_t i, len = strlen(text);

	if (!len || len > MAX_LABEL || !isalnum((unsigned char)text[0]) ||
	    !isalnum((unsigned char)text[len - 1]))
		return false;
	for (i = 0; i < len; i++)
		if (!isalnum((unsigned char)text[i]) && !strchr("._-", text[i]))
			return false;
	return true;
}

bool sbx_label_key_is_valid(const char *key)
{
	const char *slash = strrchr(key, '/');

	return sbx_label_is_valid(slash ? slash + 1 : key) &&
	       (!slash || slash - key <= MAX_PREFIX);
}

const char *sbx_label_wrong(const char *key, const char *text)
{
	if (sbx_label_key_is_valid(key) && (!*text || sbx_label_is_valid(text)))
		return NULL;
	return "labels are at most 63 letters, digits, '.', '_' and '-', with "
	       "a letter or digit at both ends";
}

static int put_piece(json_t *labels, size_t nr, const char *at, size_t n)
{
	char key[32], hex[2 * NAME_PIECE + 1];
	size_t i;

	snprintf(key, sizeof(key), SBX_LABEL_NAME_HEX "%zu", nr);
	for (i = 0; i < n; i++)
		snprintf(hex + 2 * i, 3, "%02x", (unsigned char)at[i]);
	return json_object_set_new(labels, key, json_string(hex)) < 0 ? -ENOMEM
								      : 0;
}

int sbx_labels_put_name(json_t *labels, const char *name)
{
	size_t len = strlen(name), at, nr = 0;
	int r = 0;

	if (sbx_label_is_valid(name))
		return json_object_set_new(labels, SBX_LABEL_NAME,
					   json_string(name)) < 0
			       ? -ENOMEM
			       : 0;
	for (at = 0; r == 0 && at < len; at += NAME_PIECE)
		r = put_piece(labels, nr++, name + at,
			      len - at < NAME_PIECE ? len - at : NAME_PIECE);
	return r;
}

int sbx_labels_take_name(struct sbx_maker *m, const char *key,
			 const json_t *value, const char *member)
{
	const char *name = json_string_value(value);
	json_t *labels = sbx_maker_object(m, member);

	if (!labels)
		return -ENOMEM;
	if (!sbx_is_file_name(name))
		return sbx_maker_wrong(m, key, "must be a file name");
	return sbx_labels_put_name(labels, name) < 0 ? sbx_maker_no_memory(m)
						     : 0;
}

int sbx_labels_put_marker(struct sbx_maker *m, const char *member,
			  const char *marker)
{
	json_t *labels = sbx_maker_object(m, member);

	if (!labels)
		return -ENOMEM;
	return json_object_set_new(labels, SBX_LABEL_MARKER,
				   json_string(marker)) < 0
		       ? sbx_maker_no_memory(m)
		       : 0;
}

static bool add_hex(char *name, size_t *len, const char *hex)
{
	unsigned int byte;

	for (; hex[0] && hex[1]; hex += 2) {
		if (!isxdigit((unsigned char)hex[0]) ||
		    !isxdigit((unsigned char)hex[1]) || *len >= 255)
			return false;
		sscanf(hex, "%2x", &byte);
		name[(*len)++] = (char)byte;
	}
	return !hex[0];
}

const char *sbx_labels_name(const json_t *labels, char buf[256])
{
	const char *name = sbx_json_str(labels, SBX_LABEL_NAME), *hex;
	size_t nr, len = 0;
	char key[32];

	for (nr = 0; nr < MAX_PIECES; nr++) {
		snprintf(key, sizeof(key), SBX_LABEL_NAME_HEX "%zu", nr);
		hex = sbx_json_str(labels, key);
		if (!hex)
			break;
		if (!add_hex(buf, &len, hex))
			return NULL;
	}
	buf[len] = '\0';
	/* a zero in it would make it another name */
	if (len && strlen(buf) == len)
		name = buf;
	return sbx_is_file_name(name) ? name : NULL;
}
