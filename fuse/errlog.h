/*
 * The last failures of a mount, as .sbxfs/errors shows them.  Loop thread.
 */
#ifndef SFS_ERRLOG_H
#define SFS_ERRLOG_H

#include <stdint.h>

#include "client/error.h"
#include "client/wire/buf.h"

#define SFS_ERRLOG_MAX 100

struct sfs_errlog_entry {
	int64_t at_ms; /* Unix epoch */
	char operation[32];
	char sandbox[64];
	int err;
	char text[sizeof(((struct sbx_error *)0)->text)];
};
struct sfs_errlog {
	struct sfs_errlog_entry entry[SFS_ERRLOG_MAX];
	unsigned int nr; /* ever noted */
};

/* sandbox may be NULL.  Writes it to the log, too. */
void sfs_errlog_note(struct sfs_errlog *log, const char *operation,
		     const char *sandbox, const struct sbx_error *e);
void sfs_errlog_print(const struct sfs_errlog *log, struct sbx_buf *to);

#endif
