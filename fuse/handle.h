/*
 * Open files.  A handle is told to the sandbox (OPEN) when it is first
 * needed there: at once, so that the file stays whatever becomes of its name,
 * but for a file whose content the kernel has as a whole (lazy.h).  Loop
 * thread only.
 */
#ifndef SFS_HANDLE_H
#define SFS_HANDLE_H

#include "fuse/call.h"

struct sfs_ahead;
struct sfs_fetch;
struct sfs_lock_owner;
struct sfs_making;
struct sfs_piece;
struct sfs_shown;
struct sfs_written;

/* A regular file's part that exists while it is open, or written, or the
 * kernel is dropping its pages. */
struct sfs_file {
	struct sfs_handle *handles;
	/* writes not acknowledged, in order: write.c */
	struct sfs_piece *pieces, **pieces_end;
	uint32_t nr_pieces, nr_lost;
	uint32_t nr_opening;	   /* of them: sfs_write_open */
	struct sfs_making *making; /* the first of them makes it: making.h */
	int make_err;		   /* why it could not be made */
	uint64_t answered;	   /* the last of them: sbx_remote_waited */
	uint32_t epoch;		   /* in which they were sent */
	struct sfs_calls drain;	   /* waiting for all of them */
	/* the last error of a write, and how many there were: each handle
	 * reports what it has not yet reported */
	int error;
	uint32_t nr_errors;
	struct sfs_lock_owner *lock_owners; /* locks.h */
	uint32_t gen; /* grows when what was fetched is not true any more */
	/* up to where the kernel has been given it, while gen is whole_gen */
	uint64_t whole;
	uint32_t whole_gen;
	struct sfs_shown *shown; /* shown.h; NULL: no page is being dropped */
	uint64_t read_ms;	 /* when the kernel was last given content */
	struct sfs_ahead *ahead; /* ahead.h */
	struct sfs_written *written; /* written.h */
};

struct sfs_handle {
	struct sfs_inode *inode;       /* referenced */
	struct sfs_handle *next, **at; /* of the file's */
	uint64_t number;
	uint32_t epoch; /* in which it was told */
	uint32_t refs;
	uint32_t errors_seen;
	int flags;    /* of open(2) */
	int open_err; /* why the sandbox did not open it */
	bool told, released;
	struct sfs_caller *caller; /* who opened it; caller.h */
	bool lock_lost;		   /* and could not be taken again */
	uint8_t flock;		   /* held: F_RDLCK, F_WRLCK, F_UNLCK: none */
	struct sfs_call *opener;   /* waits for the answer to OPEN, or NULL */
	/* requests that are of little use once it is closed; 0: none */
	uint32_t opening, counting;
	/* in files->lazy since then; lazy_at NULL: it is not */
	struct sfs_handle *lazy_next, **lazy_at;
	uint64_t lazy_ms;
	/* for pages of a mapping when the handle itself is O_APPEND */
	struct sfs_handle *plain;

	/* reading: fetch.h, read.c */
	struct sfs_fetch *fetches;
	unsigned int nr_fetches;
	struct sfs_calls reads;
	uint64_t expect; /* where the next read is if they are in sequence */
	uint64_t ahead;	 /* end of what was asked for */
	size_t window;
};

/* An open file of this inode; NULL without memory. */
struct sfs_handle *sfs_handle_new(struct sfs_inode *i, int flags);
struct sfs_handle *sfs_handle_ref(struct sfs_handle *h);
void sfs_handle_unref(struct sfs_handle *h);
/* Nobody has it open any more: closed there, too. */
void sfs_handle_release(struct sfs_handle *h);
static inline struct sfs_handle *sfs_handle_of(const struct fuse_file_info *fi)
{
	return fi ? (struct sfs_handle *)(uintptr_t)fi->fh : NULL;
}

bool sfs_handle_is_told(const struct sfs_handle *h);
/* Sends OPEN unless that was done.  Requests that follow may use the number.
 * Negative errno: it cannot be opened again. */
int sfs_handle_tell(struct sfs_handle *h);
/* Sends OPEN with these flags, in place of what it was told there before.  The
 * request's number. */
uint32_t sfs_handle_open(struct sfs_handle *h, const struct sfs_at *at,
			 int flags, sbx_reply_fn *done, void *arg);
/* Begins a request that gives the handle a new number there. */
struct sbx_buf *sfs_handle_begin(struct sfs_handle *h, enum sbx_wire_op op,
				 unsigned int nr_args);
/* What an answer means: a number unknown there stands for the error that
 * opening it gave. */
int sfs_handle_error(const struct sfs_handle *h, int err);
/* One that is told, of this inode; NULL: there is none. */
struct sfs_handle *sfs_handle_any(const struct sfs_inode *i);
/* Opens there all that are not, because the name is about to go. */
void sfs_handles_secure(struct sfs_inode *i);

/* Reports an error of a write once per handle; 0 or negative errno. */
int sfs_handle_take_error(struct sfs_handle *h);

/* That part, made if need be; NULL without memory. */
struct sfs_file *sfs_file_of(struct sfs_inode *i);
bool sfs_file_is_dirty(const struct sfs_inode *i);
/* ... but for having been opened, which changes nothing that is not known */
bool sfs_file_is_opening(const struct sfs_inode *i);
/* Somebody waited for its writes, for the statistics. */
void sfs_file_waited(struct sfs_inode *i);
static inline bool sfs_file_is_open(const struct sfs_inode *i)
{
	return sfs_inode_is_file(i) && i->file;
}
/* What was fetched is not true any more. */
void sfs_file_stale(struct sfs_inode *i);
/* Frees the part if nothing needs it. */
void sfs_file_put(struct sfs_inode *i);

/* ---- write.c ---- */

/* Sends the data (copied).  The call is answered when that is due. */
void sfs_write(struct sfs_call *c, struct sfs_handle *h, const char *data,
	       size_t size, uint64_t offset, bool wait);
/*
 * Sends OPEN as if it was a write: nobody waits for it, but for what waits for
 * writes, and if it fails the next flush or fsync says so.  0 or a negative
 * errno.
 */
int sfs_write_open(struct sfs_handle *h, int flags);
/* The same with the request that makes the file (taken, unless it fails). */
int sfs_write_make(struct sfs_handle *h, struct sfs_making *m);
/*
 * Whether something on its way changes the file, so that who closes it is told
 * what came of it.  Having opened one that is there does not.
 */
bool sfs_writes_change(const struct sfs_inode *i);
/* The remote is gone. */
void sfs_writes_wake(struct sfs_files *f);

/* ---- read.c ---- */

/* Answers the call, a read, when its bytes are here.  Takes it. */
void sfs_read(struct sfs_call *c);
/* Asks for the beginning of a file that is just being opened. */
void sfs_read_first(struct sfs_handle *h);

/* ---- fetch.c ---- */

/* Has the whole content (len bytes, taken unless it fails) at hand, which the
 * sandbox does not count as read yet, before the file is opened there.  If it
 * cannot be any more, since another has its name by now, that is what is read:
 * opening it here went well. */
bool sfs_fetch_adopt(struct sfs_handle *h, uint8_t *data, size_t len,
		     uint64_t answered);
/* It is opened there. */
void sfs_fetch_opened(struct sfs_handle *h);
/* What the handle fetched and nobody waits for. */
void sfs_fetch_drop(struct sfs_handle *h);
void sfs_fetch_end(struct sfs_handle *h);
/* Nobody has read what was fetched for it, before that: whoever opens the file
 * next will. */
void sfs_fetch_leave(struct sfs_handle *h);

#endif
