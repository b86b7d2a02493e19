/*
 * Plain mode: a sandbox's files and commands without a helper in it.  It
 * takes the messages that a helper would take (wire/proto.h), carries each
 * out by the tools of the sandbox, run by a shell there, and gives the
 * answers that a helper would give.  So what stands above does not know the
 * difference, but for what the tools cannot do, which fails.
 *
 * One object per sandbox, behind the seam of channel.h.  Loop thread only.
 *
 *	plain.c		life; each request in its turn
 *	plain_queue.c	requests that wait, and their answers
 *	plain_shell.c	one shell there: a command in, its output back
 *	plain_script.c	what that shell runs
 *	plain_dirs.c	numbers and handles, which are names here
 *	plain_ops.c	requests about names and attributes as commands
 *	plain_data.c	requests about contents, and handles
 *	plain_text.c	reading what the tools print
 *	plain_files.c	where no command runs: files by the service's calls
 *	plain_exec.c	commands of the user: starting one
 *	plain_jobs.c	... and what becomes of it
 *	plain_ports.c	what listens there
 *
 * Nothing in it knows a service: all it needs is stream_open.  Where that can
 * run no command, SBX_CALL_FILES and SBX_CALL_FILE will do for reading.
 */
#ifndef SBX_PLAIN_H
#define SBX_PLAIN_H

#include "client/channel.h"

struct sbx_plain;

/*
 * why: one sentence, for the user; fresh: a helper had been there before it.
 * Borrows all but id and why; nothing is connected yet.
 */
struct sbx_plain *sbx_plain_new(uv_loop_t *loop, struct sbx_service *svc,
				const char *id, const char *why, bool fresh,
				const struct sbx_channel_handler *h, void *arg);
/* Gets a shell there unless it has one or is about to. */
void sbx_plain_start(struct sbx_plain *p);
/* Ends shells and commands, waits a second at most, frees p, then calls
 * on_closed.  No handler is called any more. */
void sbx_plain_close(struct sbx_plain *p, void (*on_closed)(void *arg),
		     void *arg);
/* Takes one request (copied).  The answer never comes from within. */
int sbx_plain_send(struct sbx_plain *p, const void *data, size_t len);

bool sbx_plain_is_up(const struct sbx_plain *p);
bool sbx_plain_is_trying(const struct sbx_plain *p);
const struct sbx_remote_info *sbx_plain_info(const struct sbx_plain *p);
/* bytes of requests that have not been carried out */
size_t sbx_plain_unsent(const struct sbx_plain *p);

#endif
