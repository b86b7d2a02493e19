/*
 * The process that carries one batch (proto.h, BATCH): takes it as text from
 * its standard input, has the session's daemon answer it, and prints the
 * answer as text.
 */
#ifndef HELPER_BATCH_CALL_H
#define HELPER_BATCH_CALL_H

#define BATCH_LEAST	8192	  /* bytes of an answer that one may ask for */
#define BATCH_INPUT	(4 << 20) /* bytes of text of a batch */
#define BATCH_NO_DAEMON 95	  /* exit status: there can be none */

struct handover;

/* Returns the exit status of this process. */
int batch_call(const char *session, const struct handover *how,
	       const char *mark);

#endif
