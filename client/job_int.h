/*
 * What the files job*.c share; nobody else includes this.  Loop thread.
 *
 *	job.c         one command: who holds it, who listens, what it is
 *	job_start.c   how it starts, and what the helper says of it
 *	job_output.c  what is kept of its output, and who reads that
 *	job_input.c   its input, signals, and other orders
 */
#ifndef SBX_JOB_INT_H
#define SBX_JOB_INT_H

#include "client/job.h"

/* What the helper may send of each stream before it is credited anew: so much
 * at first, and more while whoever reads it keeps up; less where the pool has
 * not that much left. */
#define SBX_JOB_CREDIT	   (512 * 1024)
#define SBX_JOB_CREDIT_MAX (2 * 1024 * 1024)
#define SBX_JOB_CREDIT_MIN (16 * 1024)
/* All that is taken of a pool, but for SBX_JOB_CREDIT_MIN of each stream; and
 * which part of what is free one stream may take. */
#define SBX_JOB_POOL	   (64 * 1024 * 1024)
#define SBX_JOB_POOL_SHARE 64

struct sbx_chunk;

struct sbx_job {
	struct sbx_remote *r; /* NULL: not any more */
	uint32_t number;
	unsigned int refs;
	enum sbx_job_state state;
	int exit_code, error;
	unsigned int signo;
	uint32_t pid;
	int64_t started_ms, duration_ms;
	char snapshot[SBX_SNAPSHOT_SIZE]; /* "": none */
	bool eof[2], registered;

	char *name; /* what was to be run, until it runs */

	struct sbx_chunk *head, *tail;
	size_t keep, memory;
	bool lossy;
	uint64_t end;		      /* position after the last byte */
	uint64_t length[2];	      /* of each stream */
	uint64_t printed[2];	      /* what it comes to; once it has ended */
	uint64_t retired;	      /* position */
	struct sbx_chunk *retired_at; /* holds it, or NULL: at the end */
	uint32_t grant[2];	      /* retired and not yet credited */
	uint64_t credit[2];	      /* what the helper may still send */
	uint32_t window[2];	      /* how much that is at most */
	struct sbx_job_pool *pool;    /* or NULL */
	uint64_t taken;		      /* of it */
	struct sbx_job_reader *readers;
	struct sbx_job_watch *watches, *next_watch;

	size_t input_waiting;
	int input_error; /* -EPIPE: it has none, or was told of its end */
	bool tty;
	bool one_stream; /* all that it prints is standard output */
};

/* Tells those who listen, who may come and go meanwhile; the caller holds j. */
void sbx_job_news(struct sbx_job *j);
/* The helper has nothing more to say of it; lets go a reference. */
void sbx_job_unregister(struct sbx_job *j);
/* Sends an order about it, with nr numbers; nobody waits for the answer.  j->r
 * is not NULL. */
void sbx_job_order(struct sbx_job *j, uint32_t op, size_t nr,
		   const uint64_t *numbers);

/* ---- job_output.c ---- */

/* keep and pool: as in struct sbx_job_conf */
void sbx_job_output_init(struct sbx_job *j, size_t keep,
			 struct sbx_job_pool *pool);
/* After it was registered, or is not any more. */
void sbx_job_account(struct sbx_job *j);
/* Bytes of stream 1 or 2; -EPROTO: more than it may send.  Without memory
 * they are lost, which is an error of j. */
int sbx_job_output(struct sbx_job *j, int stream, const void *data, size_t len);
/* Nothing more comes of that stream. */
void sbx_job_output_end(struct sbx_job *j, int stream);
/* Nobody wants what still comes: lets the helper send what its pipes hold, for
 * it keeps the job until then. */
void sbx_job_output_drain(struct sbx_job *j);
void sbx_job_output_free(struct sbx_job *j);

#endif
