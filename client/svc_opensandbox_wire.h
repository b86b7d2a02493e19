/*
 * What is said on execd's PTY WebSocket in pipe mode: bytes to struct and
 * back, and the line of shell that makes a bash there run one command and
 * tell how it ended.  No input or output.
 *
 * Why that line: execd's own word of the end may overtake the last output,
 * its reattaching starts an ended session anew, and its stdin cannot be
 * closed.  So the shell stays when the command has ended, and says so with a
 * mark at the end of each stream, which nothing can overtake.
 */
#ifndef SBX_SVC_OPENSANDBOX_WIRE_H
#define SBX_SVC_OPENSANDBOX_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/error.h"
#include "client/wire/buf.h"

#define SBX_OSB_STDIN	  0		      /* first byte of a binary frame */
#define SBX_OSB_MAX_FRAME ((1u << 20) + 4096) /* a replay is the largest */

enum sbx_osb_kind {
	SBX_OSB_DATA,	/* bytes of stdout or stderr */
	SBX_OSB_REPLAY, /* bytes of both, from an offset on */
	SBX_OSB_CONNECTED,
	SBX_OSB_EXIT,
	SBX_OSB_ERROR,
	SBX_OSB_PONG,
	SBX_OSB_OTHER,
};
struct sbx_osb_frame {
	enum sbx_osb_kind kind;
	int fd;		 /* DATA */
	uint64_t offset; /* REPLAY */
	const uint8_t *data;
	size_t len;
	int exit_code; /* EXIT; -1: by a signal */
	struct sbx_error error;
};
/* data is borrowed by ret; -EPROTO */
int sbx_osb_read_binary(struct sbx_osb_frame *ret, const void *data,
			size_t len);
int sbx_osb_read_text(struct sbx_osb_frame *ret, const char *text, size_t len);

/* The line that runs argv, with or without its stderr; word: of the mark,
 * letters and digits.  -E2BIG, -ENOMEM */
#define SBX_OSB_MAX_LINE (96u << 10)
#define SBX_OSB_WORD_LEN 32
int sbx_osb_put_line(struct sbx_buf *b, const char *const *argv,
		     const char *word, bool with_stderr);

/*
 * Looks for the mark at the end of one of the streams: a byte that UTF-8 does
 * not have, that word, and three digits.  What may be the beginning of it is
 * kept back until more comes, so it must not be how text ends.
 */
#define SBX_OSB_MARK_LEN (1 + SBX_OSB_WORD_LEN)
struct sbx_osb_tail {
	char mark[SBX_OSB_MARK_LEN + 1];
	char held[SBX_OSB_MARK_LEN + 8]; /* may be the beginning of it */
	size_t nr_held;
	size_t nr_given; /* of these were given out all the same */
	bool hasty;
	bool ended;
	int exit_code;
};
/*
 * hasty: what is no more than a few bytes of a mark is not kept back.  For a
 * stream of messages that nobody misses a byte of, but which may end in any
 * byte: a mark that came in pieces would have some of its own before it.
 */
void sbx_osb_tail_init(struct sbx_osb_tail *t, const char *word, bool hasty);
/*
 * Bytes as they come; what surely belongs to the stream goes to
 * fn(arg, data, len), in order.  Nothing does once t->ended.
 */
void sbx_osb_tail_add(struct sbx_osb_tail *t, const void *data, size_t len,
		      void (*fn)(void *arg, const void *data, size_t len),
		      void *arg);

#endif
