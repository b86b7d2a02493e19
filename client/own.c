#include "client/own.h"

#include <string.h>

#include "client/parse.h"

#define GIVEN "+"

static bool is_among(const struct sbx_own *row, bool of_place)
{
	return !!(row->flags & SBX_OWN_PLACE) == of_place;
}

bool sbx_own_is_below(const struct sbx_own *row, const struct sbx_own_at *at)
{
	return !strncmp(row->path, at->text, at->len) &&
	       (!at->len || !row->path[at->len] || row->path[at->len] == '/');
}

/* The component of the row's path behind dir; NULL: the row is not below. */
static const char *word_below(const struct sbx_own *row, bool of_place,
			      const struct sbx_own_at *dir, size_t *ret_len)
{
	const char *p;

	if (!is_among(row, of_place) || !sbx_own_is_below(row, dir))
		return NULL;
	p = row->path + dir->len;
	if (dir->len && *p++ != '/')
		return NULL;
	*ret_len = strcspn(p, "/");
	return p;
}

static bool word_is(const char *word, size_t len, const char *name)
{
	return word && strlen(name) == len && !memcmp(word, name, len);
}

/* Of all rows, what is known of the place that word of row ends at. */
static void at_set(const struct sbx_own *table, bool of_place,
		   const struct sbx_own *row, const char *word, size_t len,
		   struct sbx_own_at *ret)
{
	struct sbx_own_at at = {
		.text = row->path,
		.len = (size_t)(word - row->path) + len,
		.is_given = word_is(word, len, GIVEN),
	};

	for (; table->path; table++) {
		if (!is_among(table, of_place) || !sbx_own_is_below(table, &at))
			continue;
		if (!table->path[at.len])
			at.row = table;
		if (table->path[at.len] || table->flags & SBX_OWN_DIR)
			at.is_dir = true;
	}
	*ret = at;
}

static bool find(const struct sbx_own *table, bool of_place,
		 const struct sbx_own_at *dir, const char *name,
		 struct sbx_own_at *ret)
{
	const struct sbx_own *row;
	const char *word;
	size_t len;

	for (row = table; row && row->path; row++) {
		word = word_below(row, of_place, dir, &len);
		if (!word_is(word, len, name))
			continue;
		at_set(table, of_place, row, word, len, ret);
		return true;
	}
	return false;
}

bool sbx_own_given(const struct sbx_own *table, bool of_place,
		   const struct sbx_own_at *dir, struct sbx_own_at *ret)
{
	return find(table, of_place, dir, GIVEN, ret);
}

bool sbx_own_enter(const struct sbx_own *table, bool of_place,
		   const struct sbx_own_at *dir, const char *name,
		   struct sbx_own_at *ret)
{
	if (!sbx_is_file_name(name))
		return false;
	return (strcmp(name, GIVEN) != 0 &&
		find(table, of_place, dir, name, ret)) ||
	       sbx_own_given(table, of_place, dir, ret);
}

bool sbx_own_next(const struct sbx_own *table, bool of_place,
		  const struct sbx_own_at *dir, size_t *pos, char name[256],
		  struct sbx_own_at *ret)
{
	const struct sbx_own *row;
	struct sbx_own_at first;
	const char *word;
	size_t len;

	for (; table && (row = table + *pos)->path;) {
		++*pos;
		word = word_below(row, of_place, dir, &len);
		if (!word || len > 255 || word_is(word, len, GIVEN))
			continue;
		memcpy(name, word, len);
		name[len] = '\0';
		/* rows of one folder: it was given with the first of them */
		if (!find(table, of_place, dir, name, &first) ||
		    first.text != row->path)
			continue;
		*ret = first;
		return true;
	}
	return false;
}
