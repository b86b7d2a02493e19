/*
 * One JSON object on one line, member by member.  Any thread.
 */
#ifndef SFS_JSONLINE_H
#define SFS_JSONLINE_H

#include <stdbool.h>
#include <stdint.h>

#include "client/wire/buf.h"

struct sfs_jsonline {
	struct sbx_buf b;
};

void sfs_jsonline_begin(struct sfs_jsonline *j);
void sfs_jsonline_string(struct sfs_jsonline *j, const char *key,
			 const char *value);
/*
 * Bytes that are usually text.  What is not UTF-8 in them is shown as U+FFFD,
 * and then a second member, its key followed by "_b64", has all the bytes.
 */
void sfs_jsonline_bytes(struct sfs_jsonline *j, const char *key,
			const char *value, size_t len);
void sfs_jsonline_number(struct sfs_jsonline *j, const char *key,
			 int64_t value);
void sfs_jsonline_bool(struct sfs_jsonline *j, const char *key, bool value);
/* RFC 3339, UTC, with milliseconds */
void sfs_jsonline_time(struct sfs_jsonline *j, const char *key, int64_t ms);
/* The line with its line feed, malloced; NULL: no memory. */
char *sfs_jsonline_end(struct sfs_jsonline *j);

#endif
