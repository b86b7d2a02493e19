/* Open files, numbered by the client. */
#ifndef HELPER_HANDLES_H
#define HELPER_HANDLES_H

#include <stdbool.h>
#include <stdint.h>

#define HANDLES_MAX 65536
#define OWNERS_MAX  256

struct helper;
struct dir;

/* Locks of one owner: they belong to an open file description of their own,
 * since those of one description do not conflict. */
struct owner {
	struct owner *next;
	uint64_t owner;
	bool flock; /* flock(2) and fcntl(2) locks are dropped apart */
	int fd;
};

struct handle {
	uint64_t number;
	int fd;
	int flags;    /* of open(2), ours */
	uint64_t dir; /* where it was opened, for telling our own changes */
	char *name;
	unsigned int users; /* long requests that still work on it */
	bool closing;
	bool changes;	   /* closing it tells IN_CLOSE_WRITE */
	uint32_t close_id; /* who waits for the last of them */
	struct owner *owners;
	unsigned int owner_count;
};

struct handle *handles_get(const struct helper *h, uint64_t number);
/* Takes fd, on failure, too.  -EBUSY if the number is in use. */
int handles_put(struct helper *h, uint64_t number, int fd, int flags,
		const struct dir *d, const char *name, struct handle **ret);
/* For the time of a request that is left for later. */
void handle_use(struct handle *hd);
void handle_unuse(struct helper *h, struct handle *hd);
/* An entry has another name now: closing the handle tells of that one. */
void handles_renamed(struct helper *h, uint64_t from, const char *old,
		     uint64_t to, const char *new);
void handles_release(struct helper *h);
/* Descriptor for an owner's locks, or a negative errno. */
int handle_owner_fd(struct handle *hd, uint64_t owner, bool flock);
void handle_owner_drop(struct helper *h, struct handle *hd, uint64_t owner,
		       bool flock);

#endif
