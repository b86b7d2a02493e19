/*
 * Files that one service alone has: a table of it, from which they are shown
 * in each sandbox's folder, or beside the sandboxes, by fuse/ctl_own*.c.  How
 * to use it: client/README.md, "A file of the service's own".  No input or
 * output.
 */
#ifndef SBX_OWN_H
#define SBX_OWN_H

#include <stdbool.h>
#include <stddef.h>

#define SBX_OWN_MAX_PATH  1024	/* a place in the tree below the folder */
#define SBX_OWN_MAX_NAMES 10000 /* in one folder of it; more are not shown */

/* What a row is; a file has one of the first three at least. */
#define SBX_OWN_READ  (1u << 0) /* SBX_CALL_OWN_READ gives all of it */
#define SBX_OWN_WRITE (1u << 1) /* SBX_CALL_OWN_WRITE for each write */
#define SBX_OWN_STREAM                                                         \
	(1u << 2)	      /* own_open: is read until it is closed; what    \
				 was written before goes with it */
#define SBX_OWN_DIR (1u << 3) /* a folder; needed for the next two only */
/* of a row that ends in "+" */
#define SBX_OWN_MAKE   (1u << 4) /* SBX_CALL_OWN_MAKE */
#define SBX_OWN_REMOVE (1u << 5) /* SBX_CALL_OWN_REMOVE */
#define SBX_OWN_ANY    (1u << 6) /* is there if own_has says so, listed or not */
/* any */
#define SBX_OWN_FLUSH                                                          \
	(1u << 7)		/* about the sandbox's files: what was written \
				   to them is there before it is asked, and    \
				   what a write does to them is seen behind it */
#define SBX_OWN_PLACE (1u << 8) /* beside the sandboxes: of the account */
#define SBX_OWN_TEXT                                                           \
	(1u << 9) /* code, say: single lines, as shells write them, are one    \
		     text, which is sent when it is read or a descriptor is    \
		     closed */

/* One row.  The folders on the way to it need none. */
struct sbx_own {
	/* "metrics", "network/policy.json"; "+" stands for a name that the
	 * service gives: "servers/+/status".  NULL: the end of the table. */
	const char *path;
	unsigned int flags;
};

/* A place in a table: a path as its rows write it. */
struct sbx_own_at {
	const char *text; /* len bytes of some row's path */
	size_t len;
	const struct sbx_own *row; /* of this path itself; NULL: a folder
				      without one, or the beginning */
	bool is_dir;
	bool is_given; /* the last name is a "+" */
};
/* The beginning: .text "", .is_dir. */
#define SBX_OWN_TOP ((struct sbx_own_at){.text = "", .is_dir = true})

/*
 * What dir holds under that name: a row's own word comes before a "+", whose
 * names must be file names.  of_place: rows with SBX_OWN_PLACE count, else
 * those without.  false: nothing.
 */
bool sbx_own_enter(const struct sbx_own *table, bool of_place,
		   const struct sbx_own_at *dir, const char *name,
		   struct sbx_own_at *ret);
/* What a "+" in dir stands for; false: there is none. */
bool sbx_own_given(const struct sbx_own *table, bool of_place,
		   const struct sbx_own_at *dir, struct sbx_own_at *ret);
/*
 * The rows' own words in dir one after the other, each once: *pos starts at
 * 0; false: no more.
 */
bool sbx_own_next(const struct sbx_own *table, bool of_place,
		  const struct sbx_own_at *dir, size_t *pos, char name[256],
		  struct sbx_own_at *ret);
/* Whether the row is what at says, or is below it. */
bool sbx_own_is_below(const struct sbx_own *row, const struct sbx_own_at *at);

#endif
