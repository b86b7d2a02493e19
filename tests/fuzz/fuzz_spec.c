/* Any bytes written to exec and new: an error, or something that is whole. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "client/spec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void try_exec(const char *text, size_t len)
{
	struct sbx_exec_scan scan = {0};
	struct sbx_exec_spec spec;
	struct sbx_error e = {0};

	/* in two pieces */
	if (sbx_exec_scan(&scan, text, len / 2, &e) == 0 &&
	    sbx_exec_scan(&scan, text, len, &e) < 0 && !e.text[0])
		abort();
	if (sbx_exec_spec_parse(&spec, text, len, &e) < 0) {
		if (spec.argv || !e.text[0])
			abort();
		return;
	}
	if (!spec.argv[0] || !spec.text || (spec.input_len && !spec.input))
		abort();
	for (size_t i = 0; spec.env && spec.env[i]; i++)
		if (!strchr(spec.env[i], '='))
			abort();
	sbx_exec_spec_release(&spec);
}

static void try_create(const char *text, size_t len)
{
	char *options, *name;
	struct sbx_error e;

	if (sbx_create_spec_parse(&options, &name, text, len, &e) < 0) {
		if (!e.text[0])
			abort();
		return;
	}
	if (options[0] != '{' || (name && strchr(name, '/')))
		abort();
	free(options);
	free(name);
}

static void try_info(const char *text, size_t len)
{
	static const char *const skip[] = {"id", NULL};
	char *copy = strndup(text, len);

	if (copy)
		free(sbx_info_lines(copy, skip));
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	try_exec((const char *)data, len);
	try_create((const char *)data, len);
	try_info((const char *)data, len);
	return 0;
}
