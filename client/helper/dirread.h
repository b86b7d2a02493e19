/* Reading a directory's names, in steps. */
#ifndef HELPER_DIRREAD_H
#define HELPER_DIRREAD_H

#include <stdbool.h>
#include <stddef.h>

#define DIRREAD_BYTES 32768

struct helper;
struct dir;

struct dirread {
	int fd; /* -1: none is open */
	size_t len, pos;
	char buf[DIRREAD_BYTES] __attribute__((aligned(8)));
};

void dirread_init(struct dirread *r);
/* Also enters it, so that its entries are plain names. */
int dirread_open(struct helper *h, struct dir *d, struct dirread *r);
/* One that cannot be entered: what is in it has names and nothing else. */
int dirread_open_shut(struct helper *h, struct dir *d, struct dirread *r);
/* A descriptor of such a one, the caller's; or a negative errno. */
int dirread_fd_shut(struct helper *h, struct dir *d);
void dirread_close(struct dirread *r);
/* 1 and a name other than . and .., 0 at the end, or a negative errno.
 * *ret_refill: the name is the first of those read anew from the kernel. */
int dirread_next(struct dirread *r, const char **ret_name, bool *ret_refill);

#endif
