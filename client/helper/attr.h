/* The attributes of objects, as the protocol sends them. */
#ifndef HELPER_ATTR_H
#define HELPER_ATTR_H

#include <stdint.h>
#include <sys/stat.h>

#include "client/wire/msg.h"

struct dir;
struct handle;
struct helper;

/* An entry of a directory, or itself if name is empty; ino 0: any. */
int attr_of_name(struct helper *h, struct dir *d, const char *name,
		 uint64_t ino, struct sbx_attr *ret);
int attr_of_fd(struct helper *h, int fd, struct sbx_attr *ret);

#endif
