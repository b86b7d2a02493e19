/*
 * What is said on the WebSocket of a daemon, and what its shells are told.
 * No input or output.
 */
#ifndef SBX_SVC_COMPUTESDK_WIRE_H
#define SBX_SVC_COMPUTESDK_WIRE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/error.h"
#include "client/plant.h"
#include "client/wire/buf.h"

/* ---- messages ---- */

enum sbx_csdk_kind {
	SBX_CSDK_OTHER,
	SBX_CSDK_OUTPUT,    /* of a terminal or a streamed command: text */
	SBX_CSDK_ERROR,	    /* it cannot be read any more */
	SBX_CSDK_DESTROYED, /* or the command has ended */
};
struct sbx_csdk_message {
	enum sbx_csdk_kind kind;
	char channel[160]; /* "terminal:ID"; "" if none is said, or too long */
	/* what it says that it is about, likewise */
	char terminal[160], command[160];
	bool of_command; /* it is about a streamed command */
	bool is_plain;	 /* of text: no encoding was said, nor undone */
	struct sbx_buf text;
	json_t *event; /* of SBX_CSDK_OTHER: its data and its type; or NULL */
};
/*
 * One message, JSON text or binary, of any generation.  -EPROTO, -ENOMEM;
 * released by sbx_csdk_message_release in any case.
 */
int sbx_csdk_read(struct sbx_csdk_message *ret, const void *data, size_t len);
void sbx_csdk_message_release(struct sbx_csdk_message *m);

/* A request to hear of a channel, in a form that all generations read. */
void sbx_csdk_put_subscribe(struct sbx_buf *b, const char *channel);
/* Input for a terminal, UTF-8.  All of these end in NUL. */
void sbx_csdk_put_input(struct sbx_buf *b, const char *terminal,
			const void *text, size_t len);
/* Its size. */
void sbx_csdk_put_resize(struct sbx_buf *b, const char *terminal,
			 unsigned int cols, unsigned int rows);
/* That a streamed command shall begin. */
void sbx_csdk_put_start(struct sbx_buf *b, const char *command);

/* ---- words for the shell ---- */

/* argv as one command; -E2BIG beyond what a helper takes, -ENOMEM. */
int sbx_csdk_put_command(struct sbx_buf *b, const char *const *argv);

/* Where things are in one sandbox. */
struct sbx_csdk_there {
	char *dir;    /* the workspace */
	char *helper; /* the program; NULL: there is none, a shell must do */
	char *why;    /* ... since; NULL with a helper */
};
void sbx_csdk_there_release(struct sbx_csdk_there *t);

/* The helper on its way. */
struct sbx_csdk_upload {
	struct sbx_plant plant;
	char folder[256];
	size_t piece; /* bytes in one command; 0: SBX_CSDK_PIECE */
};

/* The line that starts what carries a command on a terminal, with its end. */
void sbx_csdk_put_launch(struct sbx_buf *b, const struct sbx_csdk_there *t);

/*
 * The same as a command with a named pipe as its input, which it makes and
 * removes: its path, where files of ours are, NULL without memory; what starts
 * it; what puts whole lines of ours into it, and fails where it is gone; and
 * what removes it for a command that was killed.  The texts end in NUL.
 */
char *sbx_csdk_path_of(const struct sbx_csdk_there *t, const char *what,
		       const char *mark);
void sbx_csdk_put_pipe_launch(struct sbx_buf *b, const struct sbx_csdk_there *t,
			      const char *pipe);
void sbx_csdk_put_pipe_lines(struct sbx_buf *b, const char *pipe,
			     const void *lines, size_t len);
void sbx_csdk_put_pipe_remove(struct sbx_buf *b, const char *pipe);

/* Writes a program that does the same by the helper, which prints all the
 * time then; it removes itself.  Ends in NUL. */
void sbx_csdk_put_tick_program(struct sbx_buf *b,
			       const struct sbx_csdk_there *t,
			       const char *path);

/* mark: letters and digits that begin each line of ours; dir: the workspace,
 * if it is there, or NULL: where commands are run. */
void sbx_csdk_put_look(struct sbx_buf *b, const char *mark, const char *dir);
/* The next piece; also asks how much there is. */
#define SBX_CSDK_PIECE 73728 /* becomes 96 KiB: a command has less than 128 */
#define SBX_CSDK_SMALL 4096  /* who takes less takes no helper */
void sbx_csdk_put_piece(struct sbx_buf *b, const char *mark,
			const struct sbx_csdk_upload *u);

enum sbx_csdk_said {
	SBX_CSDK_SAID_NOTHING, /* of ours */
	SBX_CSDK_SAID_READY,   /* *there can be used */
	SBX_CSDK_SAID_NEED,    /* *upload is to be sent */
};
/* What a look or a piece printed; there->dir is set by a look. */
enum sbx_csdk_said sbx_csdk_read_look(const char *out, const char *mark,
				      struct sbx_csdk_there *there,
				      struct sbx_csdk_upload *upload);

#endif
