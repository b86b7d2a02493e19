/* The content of small files, sent before somebody opens them. */
#ifndef HELPER_CONTENT_H
#define HELPER_CONTENT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "client/wire/buf.h"

#define CONTENT_MAX (64 * 1024)

/*
 * Reads the regular file of this name in the current directory, if it has no
 * more than max bytes (and CONTENT_MAX), as a whole.  Nobody has asked for it
 * yet, so its time of access stays as it is: -EPERM where that is not
 * allowed.  Returns its length, *ret_data valid until the next call and
 * *ret_st as of after reading; or a negative errno.
 */
ssize_t content_read(const char *name, size_t max, const uint8_t **ret_data,
		     struct stat *ret_st);
/* The same as a message's element: bin; or nil, also if it is not ino. */
void content_put(struct sbx_buf *b, const char *name, uint64_t ino, size_t max);
/* Where the symbolic link of this name in the current directory leads to, as a
 * message's element: bin, empty if that may not be known (EACCES); or nil, also
 * if it is long (LOOKUP in proto.h). */
void content_put_target(struct sbx_buf *b, const char *name);

#endif
