/*
 * The directories the client has numbered.  Each remembers its parent, its
 * name there and its identity; descriptors are kept for those used last and
 * found again by name when needed, which fails if another directory has
 * taken the place.
 */
#ifndef HELPER_DIRS_H
#define HELPER_DIRS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "client/helper/map.h"

#define DIRS_MAX 1000000

struct helper;

struct dir {
	uint64_t number;       /* 0: forgotten, kept for its children */
	struct dir *parent;    /* counted; NULL: found by its descriptor only */
	char *name;	       /* in parent; "": the parent itself */
	struct dir *next_name; /* in the table by parent and name */
	dev_t dev;
	ino_t ino;
	struct dir *newer, *older; /* those with a descriptor */
	struct dir *next_wd;	   /* of the same watch */
	int fd;			   /* -1: none at present */
	int wd;			   /* -1: not watched */
	int err; /* why DIR failed, negative; then there is nothing else */
	uint32_t children;
	bool pinned; /* its descriptor is never closed */
	bool lost;   /* moved where we cannot see it: no name */
};

struct dirs {
	struct map map; /* by number */
	size_t count;
	struct dir **names;
	size_t name_slots, name_count;
	struct dir *newest, *oldest;
	size_t fds, fds_max;
	struct dir *inside; /* the current directory of this process */
	struct dir *home;   /* the workspace */
};

int dirs_init(struct helper *h, const char *workspace);
void dirs_release(struct helper *h);

/* The directory, or NULL and *ret_err: ESTALE, or why its DIR failed. */
struct dir *dirs_get(const struct helper *h, uint64_t number, int *ret_err);
/* An O_PATH descriptor, borrowed until the next call; or a negative errno. */
int dirs_fd(struct helper *h, struct dir *d);
/* Makes it the current directory, so that its entries are plain names. */
int dirs_enter(struct helper *h, struct dir *d);
/* Back to the workspace: nothing is kept in use while idle. */
void dirs_leave(struct helper *h);

/*
 * Numbers a directory.  fd is an O_PATH descriptor of it (taken); parent and
 * name say where it was found, parent NULL: nowhere, the descriptor stays.
 */
int dirs_put(struct helper *h, uint64_t number, struct dir *parent,
	     const char *name, int fd, struct dir **ret);
/* Remembers why a number could not be given. */
int dirs_put_error(struct helper *h, uint64_t number, int err);
void dirs_forget(struct helper *h, uint64_t number);

/* ---- directories that move: by a request, or as inotify tells ---- */

/* The first, or the next after d, that is known at this place. */
struct dir *dirs_at(const struct helper *h, const struct dir *parent,
		    const char *name);
struct dir *dirs_next_at(const struct dir *d);
void dirs_set_place(struct helper *h, struct dir *d, struct dir *parent,
		    const char *name);
void dirs_lose_place(struct helper *h, struct dir *d);
/* Whether it is where it is known to be: an event may tell of another that was
 * there before it. */
bool dirs_is_there(struct helper *h, const struct dir *d);
void dirs_renamed(struct helper *h, struct dir *from, const char *old,
		  struct dir *to, const char *new, bool exchange);
/* It is about to be removed: keeps nothing of it in use. */
void dirs_removing(struct helper *h, struct dir *parent, const char *name);
void dirs_removed(struct helper *h, struct dir *parent, const char *name);

#endif
