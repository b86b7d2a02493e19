/*
 * inotify: what happens to the entries of watched directories, and which of
 * it our own requests caused.
 */
#ifndef HELPER_WATCH_H
#define HELPER_WATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/helper/loop.h"
#include "client/helper/map.h"
#include "client/helper/others.h"

#define EXPECT_MAX 8

struct dir;
struct helper;

/* An event that the request now carried out causes. */
struct expect {
	const struct dir *dir;
	char name[256]; /* "": the directory itself */
	uint32_t mask;	/* IN_* */
	bool met;
};

struct watch {
	int fd;		/* -1: no inotify here */
	struct map wds; /* watch descriptor to the first of its directories */
	struct loop_fd in;
	struct loop_timer later; /* changes wait so that more are folded */
	int64_t told_ms;
	struct expect expect[EXPECT_MAX];
	size_t expects;
	bool own; /* events read now may be our own */
	struct others others;
};

void watch_init(struct helper *h);
void watch_release(struct helper *h);
/* -ENOSPC, -EACCES ...: not watched, and nothing changed */
int watch_add(struct helper *h, struct dir *d);
void watch_del(struct helper *h, struct dir *d);

/* Tells that this directory is not watched any more; err: negative. */
void watch_tell_none(struct helper *h, uint64_t number, int err);

/* Reads all events and sends all changes: before whatever implies them. */
void watch_sync(struct helper *h);

/*
 * Around a request that changes something: begin, expect what it will cause,
 * carry it out, end, look at the attributes for its reply.  So what others
 * do to the same object at the same time, and is not told because it looks
 * like our own, is in those attributes (for content: others.h); and all other
 * events of that time are kept, and told after the reply, which was true
 * before.
 */
void watch_own_begin(struct helper *h);
void watch_expect(struct helper *h, const struct dir *d, const char *name,
		  uint32_t mask);
/* What was done until now is not ours: expect what is, and do it, next. */
void watch_own_now(struct helper *h);
void watch_own_none(struct helper *h); /* it causes nothing after all */
void watch_own_end(struct helper *h);  /* idempotent */

#endif
