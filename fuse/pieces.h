/*
 * Text that is written in pieces, as shells write it, to files that want it
 * whole: a JSON object or array, or lines.  Loop thread.
 */
#ifndef SFS_PIECES_H
#define SFS_PIECES_H

#include <stdbool.h>
#include <stddef.h>

#include "client/error.h"
#include "client/spec.h"
#include "client/wire/buf.h"

struct sfs_pieces {
	struct sbx_buf text; /* gathered so far; whoever has used it clears */
	bool is_text;	     /* by its owner: never JSON */
	bool is_json;	     /* of it: it begins like an object or array */
	struct sbx_object_scan scan;
	/* of what was written until a descriptor was closed or it was read */
	bool whole;  /* the last is; the end of its line may follow */
	int refused; /* why a piece was, and all that follows is; or 0 */
};

enum { SFS_PIECES_MORE, SFS_PIECES_WHOLE };

void sfs_pieces_init(struct sfs_pieces *p, size_t max);
void sfs_pieces_release(struct sfs_pieces *p);
/*
 * Adds what was written.  SFS_PIECES_MORE: more may come of it, as after a
 * single line, or what fills a buffer; SFS_PIECES_WHOLE: it is complete;
 * -E2BIG, -ENOMEM: it was refused.  Not to be called when one was.
 */
int sfs_pieces_add(struct sfs_pieces *p, const char *data, size_t size,
		   struct sbx_error *reterr);
void sfs_pieces_clear(struct sfs_pieces *p);
/* Half of it is nothing: clears, and refuses what follows.  err: negative. */
void sfs_pieces_refuse(struct sfs_pieces *p, int err);
/* A descriptor is closed, or it is read: what follows is another matter. */
void sfs_pieces_end(struct sfs_pieces *p);

#endif
