/*
 * Files that a name was told to lead to, held by O_PATH descriptors for a
 * moment, so that they can be opened though another file has the name by now:
 * on a local disk, looking a name up and opening what it leads to is one step,
 * and whoever opens a file that is replaced all the time gets one of them.
 *
 * They are known by name and number: a number alone is given to another file
 * as soon as nobody holds it, and that may be held here, too.  What is held
 * takes space though its name is gone, and keeps file systems in use, so
 * nothing is until an OPEN has come too late, and then only what has its name,
 * in any directory: whoever sent it looks the name up again.
 */
#ifndef HELPER_RECENT_H
#define HELPER_RECENT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "client/helper/loop.h"

struct dir;
struct helper;
struct sbx_attr;

#define RECENT_MAX   512
#define RECENT_BYTES (128u << 20) /* of all of them but the newest */
#define RECENT_MS    5000	  /* each is held: more than an OPEN takes */
/* ... and after the last OPEN that was too late, or would have been */
#define RECENT_ON_MS 10000
#define RECENT_NAMES 256 /* told apart by their hashes */

struct recent {
	struct recent_file {
		int fd; /* one more; 0: none */
		ino_t ino;
		uint64_t dir, bytes;
		char name[256];
		int64_t until_ms;
	} files[RECENT_MAX];
	unsigned int max, next;
	uint64_t bytes;			   /* of all of them */
	int64_t on_until_ms[RECENT_NAMES]; /* 0: none of that name is held */
	struct loop_timer timer;
};

void recent_init(struct helper *h);
void recent_release(struct helper *h);
/* Whether what is told to have this name is to be held. */
bool recent_is_on(const struct helper *h, const char *name);
/* An OPEN of that name came too late: what has it is held from now on. */
void recent_begin(struct helper *h, const char *name);
/* The name leads to what is open at fd, which is taken, and this is told. */
void recent_keep(struct helper *h, const struct dir *d, const char *name,
		 int fd, const struct sbx_attr *attr);
/* open(2) of one of them; -ESTALE: it is none of them, but will be if it is
 * told again. */
int recent_open(struct helper *h, const struct dir *d, const char *name,
		ino_t ino, int flags);

#endif
