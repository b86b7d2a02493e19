/*
 * The directories of the workspace that REPORT watches, as a tree of names:
 * what a path is now is put together when it is told, so that renaming a
 * directory costs nothing.
 */
#ifndef HELPER_REPORT_DIR_H
#define HELPER_REPORT_DIR_H

#include <limits.h>
#include <stdbool.h>

#define DEPTH_MAX 250

struct report;

/* A directory of the workspace. */
struct rdir {
	struct rdir *parent; /* NULL: the workspace itself */
	struct rdir *child, *next, **at;
	struct rdir *next_name, **name_at; /* in report.names */
	struct rdir *todo, **todo_at;	   /* todo_at NULL: not in the list */
	int wd;				   /* -1: not watched */
	unsigned int depth;
	bool is_new; /* what is in it has not been told */
	char *name;
};

/* The path of a name in d; NULL: too long. */
char *rdir_path(const struct rdir *d, const char *name, char buf[PATH_MAX]);
/* A new one, to be looked into; NULL: r->err says why. */
struct rdir *rdir_new(struct report *r, struct rdir *parent, const char *name,
		      bool is_new);
/* With all below it; DEPTH_MAX bounds the recursion. */
void rdir_free(struct report *r, struct rdir *d);
/* Whether d is top, or below it; top may be NULL. */
bool rdir_is_in(const struct rdir *d, const struct rdir *top);
struct rdir *rdir_child(const struct report *r, const struct rdir *d,
			const char *name);
void rdir_link(struct report *r, struct rdir *d, struct rdir *parent);
void rdir_unlink(struct rdir *d);
/* It need not be looked into any more. */
void rdir_take_todo(struct report *r, struct rdir *d);
/* Opened step by step from the workspace, so that no link leads elsewhere. */
int rdir_open(int home, const struct rdir *d);

#endif
