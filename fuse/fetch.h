/*
 * What is fetched of the content of a file that is open here, for reads that
 * wait (read.c) and ahead of them.
 *
 * A read may be answered from a fetch that was sent when the read was already
 * there, or that is still true: neither our own writes nor events have
 * changed the file since (sfs_file.gen).  Loop thread only.
 */
#ifndef SFS_FETCH_H
#define SFS_FETCH_H

#include "fuse/handle.h"

struct sfs_fetch {
	struct sfs_handle *h; /* referenced while it is under way */
	struct sfs_fetch *next;
	uint64_t offset;
	size_t len, got;
	size_t served;	/* bytes the kernel took: it will not ask again */
	uint32_t gen;	/* sfs_file.gen */
	uint32_t doubt; /* sfs_files.gen */
	uint32_t number;
	uint64_t answered; /* the newest part: sbx_remote_waited */
	uint64_t end_ms;   /* when its end was heard of that is yet to be told,
			      in proc; 0: there is none */
	uint8_t tries;
	bool ahead; /* counted in sfs.readahead */
	bool unwanted;
	bool quiet; /* the sandbox does not count it as read */
	bool last;  /* adopted: there may be no other if OPEN fails */
	bool done, eof;
	int err;
	uint8_t *data;
};

/* Asks for [offset, offset + len); ahead: nobody waits for it yet.  0 or a
 * negative errno. */
int sfs_fetch_new(struct sfs_handle *h, uint64_t offset, size_t len,
		  bool ahead);
/* Whether it was sent after everything that the read must see, or the file was
 * out of reach before it could be opened there.  (It may have come into reach
 * again, by another of its names.) */
bool sfs_fetch_is_new(const struct sfs_fetch *f, const struct sfs_call *c);
/* One for this read that can say what is at pos, now or later; or NULL. */
struct sfs_fetch *sfs_fetch_find(const struct sfs_handle *h,
				 const struct sfs_call *c, uint64_t pos);
/* Frees what is complete and of no more use.  A read that still wanted it asks
 * again. */
void sfs_fetches_tidy(struct sfs_handle *h);
/* A read is about to be answered, at pos: what ended just there, a moment ago,
 * still does; before that, proc may hold something else. */
void sfs_fetches_expect(struct sfs_handle *h, uint64_t pos);
/* Somebody reads what was fetched quietly: the sandbox shall know. */
void sfs_fetch_count(struct sfs_fetch *f);
/* (read.c) Something has arrived, or never will: answers the reads that wait
 * for it. */
void sfs_reads_serve(struct sfs_handle *h);

#endif
