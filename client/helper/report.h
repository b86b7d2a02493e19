/*
 * REPORT: everything that happens in the workspace, as paths, for people who
 * want to watch it.  Apart from watch.h, which keeps caches true: this has an
 * inotify instance of its own, sees what requests did, too, and follows the
 * whole tree while it is on.
 */
#ifndef HELPER_REPORT_H
#define HELPER_REPORT_H

#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/inotify.h>

#include "client/helper/loop.h"
#include "client/helper/map.h"

/* Directories watched at most, and never more than half of what the user may
 * watch: the caches need the rest. */
#define REPORT_DIRS_MAX 50000
#define REPORT_SLOTS	16384
/* Names that a walk has reported and whose own events may still come. */
#define REPORT_ECHO_MAX 256

struct helper;
struct rdir;

struct report {
	int fd; /* -1: off */
	struct loop_fd in;
	struct loop_timer timer;
	struct map wds;	     /* watch descriptor to directory */
	struct rdir **names; /* REPORT_SLOTS, by parent and name */
	struct rdir *root;
	struct rdir *todo, **todo_end; /* to be watched and looked into */
	struct {		       /* what is being looked into */
		struct rdir *dir;      /* NULL: nothing */
		DIR *stream;
	} walk;
	struct { /* read, and those behind "at" not yet told */
		size_t at, len;
		char data[16384] __attribute__((
			aligned(__alignof__(struct inotify_event))));
	} events;
	uint32_t nr_dirs, max_dirs;
	int err;       /* why some are not watched; 0: all are */
	uint32_t ask;  /* the request that waits for the first walk; 0: none */
	bool overflow; /* events were lost: it begins again */
	bool lost;     /* it did: to be told when all is watched again */
	/* one half of a rename that waits for the other */
	struct {
		struct rdir *dir; /* NULL: none */
		uint32_t cookie;
		bool is_dir;
		char name[256];
	} moved;
	struct {
		const struct rdir *dir;
		char name[256];
	} * echo;
	unsigned int nr_echo;
	struct { /* told last: a file written to is told once */
		const struct rdir *dir;
		char name[256];
	} last;
};

void report_init(struct helper *h);
void report_release(struct helper *h);

#endif
