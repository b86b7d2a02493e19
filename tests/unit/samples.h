/*
 * Samples of a service, a file of lines in tests/golden: "KIND WORD REST".
 * KIND says which check reads the line, WORD what is to come of REST.
 */
#ifndef TEST_SAMPLES_H
#define TEST_SAMPLES_H

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "client/json.h"
#include "client/service.h"
#include "tests/lib/unit.h"

struct sample_kind {
	const char *kind;
	void (*check)(const char *word, char *rest);
};

/* The number of an errno by its name; 0: no such name. */
static inline int sample_err_or_0(const char *word)
{
	static const struct {
		const char *word;
		int err;
	} errors[] = {
		{"ENOENT", -ENOENT},   {"EAGAIN", -EAGAIN},
		{"EPROTO", -EPROTO},   {"EACCES", -EACCES},
		{"EINVAL", -EINVAL},   {"EOPNOTSUPP", -EOPNOTSUPP},
		{"EBUSY", -EBUSY},     {"EIO", -EIO},
		{"ENOTDIR", -ENOTDIR}, {"EISDIR", -EISDIR},
		{"ENOSPC", -ENOSPC},   {"ETIMEDOUT", -ETIMEDOUT},
		{"EILSEQ", -EILSEQ},   {"EEXIST", -EEXIST},
		{"ENODEV", -ENODEV},   {"E2BIG", -E2BIG},
	};
	size_t i;

	for (i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
		if (!strcmp(errors[i].word, word))
			return errors[i].err;
	return 0;
}

static inline int sample_err(const char *word)
{
	int err = sample_err_or_0(word);

	if (!err)
		fail_msg("no such error: %s", word);
	return err;
}

/*
 * s is what reading a sandbox gave with r: in that state and of that name,
 * "-" for none; or the word is "none".  true: there is one, to be released.
 */
static inline bool sample_is_sandbox(int r, const struct sbx_sandbox *s,
				     const char *word, const char *name)
{
	if (!strcmp(word, "none")) {
		assert_int_equal(r, -EPROTO);
		return false;
	}
	assert_int_equal(r, 0);
	assert_string_equal(sbx_state_name(s->state), word);
	assert_string_equal(s->name ? s->name : "-", name);
	return true;
}

/* "STATE NAME RECORD" */
static inline void sample_check_sandbox(int (*parse)(struct sbx_sandbox *s,
						     const json_t *obj,
						     const char *url),
					const char *word, char *rest)
{
	const char *name = strsep(&rest, " ");
	SBX_JSON json_t *obj = sbx_json_parse(rest, strlen(rest));
	struct sbx_sandbox s;

	assert_non_null(obj);
	if (sample_is_sandbox(parse(&s, obj, "http://h"), &s, word, name))
		sbx_sandbox_release(&s);
}

static inline void sample_check_line(const struct sample_kind *k, char *rest)
{
	const char *kind = strsep(&rest, " "), *word = strsep(&rest, " ");

	while (k->kind && strcmp(k->kind, kind))
		k++;
	if (!k->kind)
		fail_msg("no such kind: %s", kind);
	k->check(word, rest);
}

/* All lines of the file, by a list that a NULL ends; they are more than
 * `least`. */
static inline void samples_check(const char *path,
				 const struct sample_kind *kinds,
				 unsigned int least)
{
	FILE *f = fopen(path, "re");
	char line[4096];
	unsigned int n = 0;

	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = '\0';
		if (!line[0] || line[0] == '#')
			continue;
		sample_check_line(kinds, line);
		n++;
	}
	fclose(f);
	assert_true(n > least);
}

#endif
