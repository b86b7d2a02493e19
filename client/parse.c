#include "client/parse.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/json.h"

bool sbx_is_id(const char *id)
{
	size_t i;

	if (!id || !isalnum((unsigned char)id[0]))
		return false;
	for (i = 0; id[i]; i++)
		if (!isalnum((unsigned char)id[i]) && id[i] != '-')
			return false;
	return i <= 128;
}

bool sbx_is_file_name(const char *name)
{
	size_t i;

	if (!name || !*name || !strcmp(name, ".") || !strcmp(name, ".."))
		return false;
	for (i = 0; name[i]; i++)
		if (name[i] == '/' || (unsigned char)name[i] < 0x20 ||
		    name[i] == 0x7f)
			return false;
	return i <= 255;
}

unsigned int sbx_port_from_text(const char *text)
{
	unsigned int port = 0;
	size_t i;

	for (i = 0; text[i]; i++) {
		if (!isdigit((unsigned char)text[i]) || i >= 5)
			return 0;
		port = port * 10 + (unsigned int)(text[i] - '0');
	}
	return text[0] == '0' || port > 65535 ? 0 : port;
}

int64_t sbx_number_from_text(const char *text, int64_t max)
{
	char *end;
	long long v;

	if (!isdigit((unsigned char)text[0]))
		return -1;
	errno = 0;
	v = strtoll(text, &end, 10);
	return *end || errno || v > max ? -1 : v;
}

int64_t sbx_time_from_text(const char *text)
{
	struct tm tm = {0};
	int hours = 0, minutes = 0;
	const char *p;
	int64_t ms = 0, unit = 100;

	if (!text)
		return 0;
	p = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
	if (!p)
		return 0;
	if (*p == '.')
		for (p++; isdigit((unsigned char)*p); p++, unit /= 10)
			ms += (*p - '0') * unit;
	ms += (int64_t)timegm(&tm) * 1000;
	if ((*p == '+' || *p == '-') &&
	    sscanf(p + 1, "%2d:%2d", &hours, &minutes) == 2)
		ms -= (*p == '+' ? 1 : -1) * (hours * 60 + minutes) * 60000;
	return ms;
}

int sbx_dup_text(char **to, const char *text)
{
	if (!text)
		return 0;
	*to = strdup(text);
	return *to ? 0 : -ENOMEM;
}

enum sbx_state sbx_state_from_word(const struct sbx_state_word *words,
				   const char *word)
{
	while (words->word && strcmp(words->word, word) != 0)
		words++;
	return words->state;
}

int sbx_sandbox_texts(struct sbx_sandbox *s, const json_t *obj, const char *id,
		      const char *name, const char *image, const char *url)
{
	s->info = sbx_json_text(obj, true);
	if (s->info && sbx_dup_text(&s->id, id) == 0 &&
	    sbx_dup_text(&s->name, sbx_is_file_name(name) ? name : NULL) == 0 &&
	    sbx_dup_text(&s->image, image) == 0 &&
	    sbx_dup_text(&s->url, url) == 0)
		return 0;
	sbx_sandbox_release(s);
	return -ENOMEM;
}

char *sbx_percent_encode(const char *text)
{
	char *to = malloc(3 * strlen(text) + 1), *p = to;

	for (; to && *text; text++) {
		if (isalnum((unsigned char)*text) || strchr("-._~", *text))
			*p++ = *text;
		else
			p += sprintf(p, "%%%02X", (unsigned char)*text);
	}
	if (to)
		*p = '\0';
	return to;
}

int sbx_files_from_json(struct sbx_file **ret, size_t *ret_nr,
			const json_t *list, size_t max,
			int (*file)(struct sbx_file *ret, const json_t *obj))
{
	size_t i, n = json_array_size(list), nr = 0;
	struct sbx_file *files;
	int r;

	if (n > max)
		return -E2BIG;
	files = calloc(n + 1, sizeof(*files));
	if (!files)
		return -ENOMEM;
	for (i = 0; i < n; i++) {
		r = file(&files[nr], json_array_get(list, i));
		if (r == -ENOMEM) {
			sbx_files_free(files, nr);
			return r;
		}
		nr += r == 0;
	}
	*ret = files;
	*ret_nr = nr;
	return 0;
}
