/* Commands: jobs, their streams, their end. */
#ifndef HELPER_RUN_H
#define HELPER_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "client/helper/loop.h"
#include "client/wire/buf.h"

#define STDIN_MAX (2 * 1024 * 1024)
#define ASKS_MAX  4096 /* STDIN requests of a job that wait for the pipe */

struct helper;
struct ask;

struct stream {
	struct job *job;
	struct loop_fd in; /* fd -1: ended, or never was */
	uint64_t credit;
	uint64_t sent;
	size_t owed;	 /* of what it held when the process ended */
	uint32_t number; /* 1, 2 */
};

struct job {
	struct helper *h;
	uint32_t number;
	pid_t pid; /* of its first process, and of its group; 0: both gone */
	bool tty, merged;
	bool exited, exit_sent;
	bool hung_up; /* and its terminal is to be closed */
	int status;
	int64_t started_ms, duration_ms;
	struct stream out[2];
	struct loop_fd stdin;
	struct sbx_buf input;
	uint64_t input_added, input_written;
	bool input_ended; /* the client said so */
	struct ask *asks, **asks_end;
	size_t ask_count;
	struct loop_timer timer;
};

/* A child of ours that is none of children.h ended. */
void run_reaped(struct helper *h, pid_t pid, int status);
/* There is room for output again. */
void run_resume(struct helper *h);
/* The helper ends: signo goes to every job. */
void run_release(struct helper *h, int signo);

#endif
