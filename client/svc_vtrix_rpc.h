/*
 * Vtrix's JSON-RPC on the executor's WebSocket: messages to struct and back,
 * and output put together from its chunks.  No input or output.
 */
#ifndef SBX_SVC_VTRIX_RPC_H
#define SBX_SVC_VTRIX_RPC_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/error.h"
#include "client/wire/buf.h"

/* ---- messages ---- */

/* A request, which the caller frees.  params is taken; NULL without memory,
 * also if params is NULL. */
char *sbx_vtrix_rpc_request(int64_t id, const char *method, json_t *params);

enum sbx_vtrix_kind {
	SBX_VTRIX_OTHER, /* news, or of nobody: to be ignored */
	SBX_VTRIX_NOTE,	 /* of a call that goes on */
	SBX_VTRIX_RESULT,
	SBX_VTRIX_ERROR,
};

/* One message; what it points to lives as long as root. */
struct sbx_vtrix_msg {
	json_t *root;
	enum sbx_vtrix_kind kind;
	int64_t id;	    /* of the call that it belongs to */
	const char *method; /* NOTE */
	const json_t *data; /* params, result or error */
};
/* -EPROTO: this is none.  Release it after success. */
int sbx_vtrix_rpc_parse(struct sbx_vtrix_msg *m, const char *text, size_t len);
void sbx_vtrix_rpc_release(struct sbx_vtrix_msg *m);

/* What the executor's error object means; its errno. */
int sbx_vtrix_rpc_error(struct sbx_error *e, const json_t *error);

/* ---- output ---- */

/*
 * How chunks of output and line ends go together is not promised: all that
 * was written, or each chunk a line without its end, or each with a line end
 * that was not written.  A command whose output is known tells.
 */
enum sbx_vtrix_ends {
	SBX_VTRIX_ENDS_THERE,
	SBX_VTRIX_ENDS_MISSING,
	SBX_VTRIX_ENDS_ADDED,
};
#define SBX_VTRIX_PROBE	       "printf 'one\\ntwo\\n'"
#define SBX_VTRIX_PROBE_PRINTS "one\ntwo\n"
/* From the probe's chunks, each ended by a NUL; -EPROTO: none of these. */
int sbx_vtrix_ends_from_probe(const char *chunks, size_t len,
			      enum sbx_vtrix_ends *ret);
/* Adds the "data" of one note to an output; -ENOMEM, -EMSGSIZE, -EPROTO. */
int sbx_vtrix_add_chunk(struct sbx_buf *b, const json_t *params,
			enum sbx_vtrix_ends ends);

/* The exit status that a result tells, 0 to 255; -EPROTO. */
int sbx_vtrix_exit_code(const json_t *result);

#endif
