/*
 * Open files of the control tree, for the ctl_*.c files.  Loop thread.
 *
 * Opening makes one of these, so each open file is a conversation of its
 * own.  Files that hold a value render it at the first read and serve every
 * offset from that text until something is written; what is read after a
 * write starts a new text where the write ended, since both share the
 * descriptor's position.
 *
 * Streams have no position, so that one may write while another reads; those
 * that are seekable have one and can be read only.
 */
#ifndef SFS_CTL_FILE_H
#define SFS_CTL_FILE_H

#include "fuse/control.h"

#define CTL_TEXT_MAX (16 * 1024 * 1024) /* info.json of the largest service */

struct ctl_file {
	struct ctl_node *node;		  /* counted */
	const struct ctl_file_type *type; /* NULL: a directory */
	unsigned int refs;
	bool closed;		     /* nobody reads or writes any more */
	bool seekable;		     /* a stream with offsets: by its open */
	bool nonblock;		     /* of the request at hand, ... */
	off_t off;		     /* ... as this */
	struct ctl_file *next, **at; /* in the mount's list */

	struct sbx_buf text;
	enum { CTL_UNREAD, CTL_LOADING, CTL_LOADED } state;
	uint64_t text_at;   /* file offset of the text's first byte */
	uint64_t write_end; /* where the last write ended; 0: none */
	struct sfs_readq readers;
	struct fuse_pollhandle *poll;
	bool polled; /* somebody has asked whether there is something */
};

struct ctl_file *ctl_file_new(struct ctl_node *n, size_t size);
struct ctl_file *ctl_file_ref(struct ctl_file *f);
void ctl_file_unref(struct ctl_file *f);
static inline struct ctl_file *ctl_file_of(const struct fuse_file_info *fi)
{
	return (struct ctl_file *)(uintptr_t)fi->fh;
}
/*
 * For who does not wait, of what has nothing for him now: it is at its end, as
 * a pipe that nobody writes to, until somebody polls it, for grep -r reads all
 * that it finds so.
 */
void ctl_file_has_nothing(fuse_req_t req, const struct ctl_file *f);
/* The last close, also of what the kernel did not close before it went. */
void ctl_file_close(struct ctl_file *f);
/* Ends an opening that waited (struct ctl_file_type, settle): err 0 or
 * negative. */
void ctl_file_opened(struct ctl_op *op, int err);
/*
 * Ends a load: answers the readers with f->text, or with error (NULL or .err
 * 0: none), which is recorded.
 */
void ctl_file_loaded(struct ctl_file *f, const struct sbx_error *error);
/* What is read from where the last write ended is this; copied. */
void ctl_file_give(struct ctl_file *f, const void *data, size_t len);
/* Answers a create with the node, opened; a value's.  Takes over a reference
 * to it. */
void ctl_file_create(fuse_req_t req, struct ctl_node *n,
		     struct fuse_file_info *fi);
/* Begins a load unless one is under way or done: for poll. */
void ctl_file_load(struct ctl_file *f, uint64_t text_at);
/* Tells pollers to look again. */
void ctl_file_wake(struct ctl_file *f);

#endif
