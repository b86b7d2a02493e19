/*
 * Plain mode: a sandbox's files and commands without a helper in it.  It
 * takes the messages that a helper would take (wire/proto.h), carries each
 * out by the tools of the sandbox, run by a shell there, and gives the
 * answers that a helper would give.  So what stands above does not know the
 * difference, but for what the tools cannot do, which fails.
 *
 * A carrier of channel.h, one for a sandbox.  Loop thread only.
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

#include "client/carrier.h"

/*
 * why: one sentence, for the user; fresh: a helper had been there before it.
 * Borrows all but id and why; nothing is connected yet.  NULL: no memory.
 */
struct sbx_carrier *sbx_plain_new(uv_loop_t *loop, struct sbx_service *svc,
				  const char *id, const char *why, bool fresh,
				  const struct sbx_channel_handler *h,
				  void *arg);

#endif
