/*
 * What a command prints, on its way to the readers of one open file.
 * Loop thread.
 *
 * What was taken from the command is held until the kernel has dropped from
 * its caches what the command had changed by then; so who has seen its
 * output, or its end, sees its changes, too.
 */
#ifndef SFS_STREAM_H
#define SFS_STREAM_H

#include "fuse/node.h"

struct sfs_job;
struct sfs_sandbox;
struct sfs_stream;

/*
 * From the beginning of what the command printed; which as in
 * sbx_job_reader_new.  on_ready is called when something can be read that
 * could not before, never from within these functions.  NULL: no memory, or
 * (then *ret_err is -ENODATA) its output is not kept any more.
 */
struct sfs_stream *sfs_stream_new(struct sfs_sandbox *sb, struct sfs_job *job,
				  unsigned int which, void (*on_ready)(void *),
				  void *arg, int *ret_err);
/* It is a terminal's: what is missing at the beginning is not told, and the
 * rest begins with a whole line. */
void sfs_stream_set_screen(struct sfs_stream *st);
struct sfs_stream *sfs_stream_free(struct sfs_stream *st);

/*
 * Whether sfs_stream_reply can answer now with what is at that offset, or
 * SFS_STREAM_NEXT: where the last answer ended.  At the offset 0, and only
 * there, a line takes the place of a beginning that was dropped; others get
 * -ENODATA.
 */
#define SFS_STREAM_NEXT UINT64_MAX
bool sfs_stream_is_ready(struct sfs_stream *st, uint64_t off);
/* The error that it would be answered with; 0: none. */
int sfs_stream_error(const struct sfs_stream *st);
/* Answers a read; true: with the end of the stream, or an error.  What comes
 * behind the end after all can still be read. */
bool sfs_stream_reply(struct sfs_stream *st, fuse_req_t req, size_t size);

#endif
