/*
 * Bytes over a carrier that takes lines of text only, such as a terminal:
 *
 *	MARK KIND NUMBER ":" BASE64 "\n"
 *
 * without blanks.  MARK is one character for each direction, so that what a
 * terminal echoes is taken for noise, as is every line that is not of this
 * form: a prompt, a word of somebody else's.  What NUMBER counts shows that
 * nothing was lost in between.
 *
 * To the sandbox (SBX_LINE_IN), with NUMBER:
 *	r 0		another piece of the text of the command
 *	g 0 or 1	that was all of it: run it; 1: its stderr is not wanted
 *	i before	bytes of its stdin, and how many came before these
 *	k taken		so many bytes of its output have been taken
 *	. sent		nothing; so many bytes of stdin were sent so far
 *	b 0		its end was heard: that is all
 * From there (SBX_LINE_OUT):
 *	h version	it is there
 *	g 0		it was told all of the command
 *	o e before	bytes of its stdout, stderr
 *	k taken		so many bytes of stdin have been taken
 *	x status	it ended so: 0 to 255
 *	O E total	the end of its stdout, stderr
 *	! 0		lines were lost: it is given up
 *	. 0		nothing
 *
 * Runs in the client and in the helper.
 */
#ifndef SBX_WIRE_LINES_H
#define SBX_WIRE_LINES_H

#include <stddef.h>
#include <stdint.h>

#include "client/wire/buf.h"

#define SBX_LINE_IN  '<'
#define SBX_LINE_OUT '~'
/* Bytes in one line to the sandbox: a terminal that takes whole lines cuts
 * them at 4095. */
#define SBX_LINE_DATA 3000
/* The longest line that is read. */
#define SBX_LINE_MAX 65536
/* Bytes of output that a carrier sends without being told of their being
 * taken, and of stdin that may be on their way to it. */
#define SBX_LINE_WINDOW 65536
#define SBX_LINE_VERSION                                                       \
	1 /* of the helper; 2: a shell, which has no window                    \
	   */

struct sbx_line {
	char kind;
	uint64_t number;
	const uint8_t *data;
	size_t len;
};

void sbx_line_put(struct sbx_buf *b, char mark, char kind, uint64_t number,
		  const void *data, size_t len);

/* The lines of one direction, as they come. */
struct sbx_lines {
	char mark;
	struct sbx_buf text; /* of a line that is not complete */
};
void sbx_lines_init(struct sbx_lines *l, char mark);
void sbx_lines_release(struct sbx_lines *l);
/*
 * Calls fn for each line that these bytes complete; line->data dies with the
 * call.  Stops when fn returns other than 0, and returns that; -ENOMEM.
 */
int sbx_lines_add(struct sbx_lines *l, const void *data, size_t len,
		  int (*fn)(void *arg, const struct sbx_line *line), void *arg);

#endif
