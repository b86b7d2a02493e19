/*
 * For targets whose input says with its first byte what the rest is read as.
 */
#ifndef FUZZ_FUZZ_H
#define FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "client/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* An answer that is no success, of a status: as what services have. */
typedef int fuzz_error_fn(struct sbx_error *e, int status, const char *body,
			  size_t len, const char *what);

struct fuzz_kind {
	char first; /* 0 ends the list */
	void (*read)(const uint8_t *data, size_t len);
};

/* What was refused has an error and a sentence. */
static inline void fuzz_check_error(int r, const struct sbx_error *e)
{
	if (r < 0 && (e->err >= 0 || !e->text[0]))
		abort();
}

/* Whatever is sent on is JSON of ours, and is freed; else there is a
 * sentence. */
static inline void fuzz_check_body(int r, char *body, const struct sbx_error *e)
{
	SBX_JSON json_t *v =
		r == 0 ? sbx_json_parse_nul(body, strlen(body)) : NULL;

	if (r > 0 || !v != !!r)
		abort();
	fuzz_check_error(r, e);
	if (r == 0)
		free(body);
}

/* Any other first byte is a status, and the rest the body of an error. */
static inline int fuzz_by_first(const struct fuzz_kind *k, fuzz_error_fn *error,
				const uint8_t *data, size_t len)
{
	struct sbx_error e = {0};
	int r;

	if (!len)
		return 0;
	while (k->first && *data != (uint8_t)k->first)
		k++;
	if (k->first) {
		k->read(data + 1, len - 1);
		return 0;
	}
	r = error(&e, 400 + *data % 105, (const char *)data + 1, len - 1, "h");
	if (r >= 0)
		abort();
	fuzz_check_error(r, &e);
	return 0;
}

#endif
