/*
 * Files that others just gave a name, held by O_PATH descriptors for a
 * moment.  The client was told of them and may open one by that name when yet
 * another file has taken it: on a local disk, looking a name up and opening
 * what it leads to is one step.
 */
#ifndef HELPER_RECENT_H
#define HELPER_RECENT_H

#include <stdint.h>
#include <sys/types.h>

#include "client/helper/loop.h"

struct helper;
struct sbx_attr;

#define RECENT_MAX 128
/* As long as a name that was told may take to come back as an OPEN: they
 * keep removed files' space, and file systems in use. */
#define RECENT_MS 2000

struct recent {
	struct {
		int fd; /* one more; 0: none */
		dev_t dev;
		ino_t ino;
		int64_t until_ms;
	} files[RECENT_MAX];
	unsigned int next;
	struct loop_timer timer;
};

void recent_init(struct helper *h);
void recent_release(struct helper *h);
/* The entry name of the current directory has just been told. */
void recent_keep(struct helper *h, const char *name,
		 const struct sbx_attr *attr);
/* open(2) of one of them; -ESTALE: it is none of them. */
int recent_open(struct helper *h, dev_t dev, ino_t ino, int flags);

#endif
