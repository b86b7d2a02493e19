/*
 * Getting the helper into a sandbox: the shell script that receives it on
 * its stdin and then becomes it, and our end of that talk.  Nothing of it is
 * specific to one service.  Loop thread; does no input or output itself.
 *
 * The script prints lines: "need MACHINE" (it then expects the program for
 * that machine in pieces, and prints "K" after each), "start" (from then on
 * its stdout is the helper's), or "machine NAME" (there is no helper for it).
 * One piece is under way at a time, so a carrier that mixes up the order of
 * pieces does no harm.  The program is kept in the sandbox under its hash, in
 * a private folder, and used again.
 */
#ifndef SBX_UPLOAD_H
#define SBX_UPLOAD_H

#include <stddef.h>
#include <stdint.h>

#include "client/error.h"

struct sbx_upload;

/* session: 32 hex digits; piece: most bytes of one send */
struct sbx_upload *sbx_upload_new(const char *session, size_t piece);
struct sbx_upload *sbx_upload_free(struct sbx_upload *u);
/* The command to run in the sandbox, NULL-ended; lives as long as u. */
const char *const *sbx_upload_argv(const struct sbx_upload *u);

/*
 * Bytes of the script's stdout.  Returns 1 when the helper has started:
 * *ret_used bytes were the script's, the rest is the helper's.  0: go on.
 * Negative: it cannot be done, reterr says why.
 */
int sbx_upload_input(struct sbx_upload *u, const void *data, size_t len,
		     size_t *ret_used, struct sbx_error *reterr);
/* The next piece to send, borrowed; NULL: nothing now. */
const void *sbx_upload_piece(struct sbx_upload *u, size_t *ret_len);
/* What an exit of the script before "start" means. */
int sbx_upload_exit(int exit_code, struct sbx_error *reterr);

#endif
