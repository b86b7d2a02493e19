/*
 * A call: one request of the kernel on its way to the sandbox and back.
 * Joins a fuse_req_t to requests of the remote, so that it is answered
 * exactly once, whatever happens first: the reply, an interrupt, the end.
 * Used by the handlers of file nodes (on_*.c), on the loop thread.
 *
 * An interrupted call is answered with EINTR and its req is NULL from then
 * on.  What only asks is given up; what changes something goes on, for its
 * outcome must be known to the caches, and ends unheard.
 *
 * Which signals interrupt: one that will end the program does so at once,
 * but for a change that is on its way: a program that is gone shall not yet
 * change something, so that is given SFS_DYING_MS to become known.
 * One that the program handles does not touch a call of a local disk, and
 * programs rely on that (timers while git works, child processes ending), so
 * it ends a call only if that is still waiting after SFS_INTERRUPT_MS.
 */
#ifndef SFS_CALL_H
#define SFS_CALL_H

#include "fuse/files_int.h"

struct sfs_at;
struct sfs_handle;

struct sfs_call {
	fuse_req_t req; /* NULL: answered */
	struct sfs_files *files;
	struct sfs_inode *inode; /* referenced */
	struct sfs_inode *other; /* referenced, or NULL */
	uint32_t number;	 /* of the request under way; 0: none */
	uint8_t tries;
	bool change;
	bool reads;   /* (a change) but of nothing that others see */
	bool counted; /* in files->changes */
	bool caller_known;
	bool retold; /* sent again for a directory that had moved */
	bool named;  /* sfs_call_at was used */
	uint8_t way; /* which it gives */
	bool waited;
	uint8_t cached;		   /* enum sfs_cached: what it asks for */
	struct sfs_caller *caller; /* NULL: the sandbox's user; caller.h */

	/* Sends the request (again, after a restart of the helper).  A
	 * negative errno ends the call as if it were the answer. */
	int (*send)(struct sfs_call *c);
	/* Has the result: answers and ends the call. */
	void (*done)(struct sfs_call *c, int err, struct sbx_rd *rd);
	/* When something waited for has come about (lists of waiting calls) */
	void (*resume)(struct sfs_call *c, int err);
	/* A signal came: has the answer come soon, since by itself it might
	 * not.  NULL: not needed, or done. */
	void (*interrupt)(struct sfs_call *c);
	void (*then)(struct sfs_call *c, int err); /* attr.c: after it */
	struct sfs_call *next;			   /* in such a list */

	/* interrupted, not let go yet: files->interrupted */
	struct sfs_call *int_next, **int_at;
	uint64_t int_due; /* when it will be */

	/* arguments, as the operation needs them */
	struct sfs_handle *handle, *handle2; /* referenced, or NULL */
	struct fuse_file_info fi;
	uint64_t offset, offset2;
	size_t size;
	uint32_t mode, umask, flags;
	uint64_t rdev;
	uint32_t gen, doubt; /* reads: see fetch.h */
	uint32_t left;	     /* writes: pieces not acknowledged */
	int err;	     /* writes: of a piece */
	bool plus;	     /* readdir */
	bool negative;	     /* removexattr */
	struct stat attr;
	char *data;		  /* with size; freed with the call */
	const char *name, *name2; /* stored behind */
	size_t len, len2;
	char text[];
};

void sfs_calls_init(struct sfs_calls *l);
void sfs_calls_add(struct sfs_calls *l, struct sfs_call *c);
/* Takes all out and calls each one's resume. */
void sfs_calls_resume(struct sfs_calls *l, int err);

/*
 * A call for this request, both names (may be NULL) copied; NULL: without
 * memory, the request has been answered.
 */
struct sfs_call *sfs_call_new(fuse_req_t req, struct sfs_inode *inode,
			      const char *name, const char *name2);
/* Keeps a copy of what the request came with. */
int sfs_call_keep(struct sfs_call *c, const char *data, size_t size);
/* Drops its references.  It must have been answered. */
void sfs_call_free(struct sfs_call *c);

/* Sends the request: c->send, then c->done when the answer is there. */
void sfs_call_go(struct sfs_call *c);
/* To be returned by send, after sbx_remote_begin and the arguments. */
int sfs_call_submit(struct sfs_call *c, sbx_part_fn *part);
/*
 * For send: where i is, c->other or else c->inode.  By its name, so that
 * nobody's file is taken for another; by other names, and then by a handle, if
 * that proves to be out of reach, since what is open stays in reach of whoever
 * has it open.
 */
int sfs_call_at(struct sfs_call *c, struct sfs_inode *i, struct sfs_at *ret);
/* The call waits for something other than its own request. */
void sfs_call_waits(struct sfs_call *c);

/* The outcome is certain and no signal ends it any more: gives the request to
 * be answered later, and frees the call.  It must not have been answered. */
fuse_req_t sfs_call_take(struct sfs_call *c);

/* Answers, unless that was done, and frees the call. */
void sfs_call_err(struct sfs_call *c, int err);
void sfs_call_attr(struct sfs_call *c); /* of c->inode */
void sfs_call_entry(struct sfs_call *c, struct sfs_dir *d,
		    struct sfs_inode *found); /* NULL: there is none */

/* How a change is applied (enum sfs_put): the kernel does not know what an
 * interrupted call did after all. */
unsigned int sfs_call_how(const struct sfs_call *c);
/*
 * The change failed with err.  If that leaves open whether it was carried
 * out, or yet will be, what is in the directory is looked at behind it.
 */
void sfs_call_unsure(struct sfs_inode *dir, int err);

/* Something is to be looked at in a while: interrupted calls, memory. */
void sfs_call_tick(struct sfs_files *f);

#endif
