/*
 * The inside of an exchange, shared by exchange*.c.  Nobody else includes
 * this.
 */
#ifndef SBX_EXCHANGE_INT_H
#define SBX_EXCHANGE_INT_H

#include "client/exchange.h"
#include "client/hello.h"
#include "client/plant.h"
#include "client/wire/link.h"

struct sbx_exchange;

#define EXCHANGE_COMMAND (16 * 1024) /* bytes of a script of ours */

/* ---- scripts: exchange_script.c ---- */

/* Where the helper is to be brought, as the sandbox's shell said. */
struct exchange_upload {
	struct sbx_plant plant; /* its rounds: how often it was begun, too */
	unsigned int folder;
};

struct exchange_call {
	const char *session, *mark;
	unsigned int wait_ms, park_ms;
	size_t max_bytes;
	uint32_t old_pid; /* of a helper to be ended; 0: none */
};

/* Calls the helper with a batch as input, or says what is missing. */
void exchange_put_call(struct sbx_buf *b, const struct exchange_call *c);
/* Brings the next piece, at most "piece" bytes, written to input as text. */
void exchange_put_piece(struct sbx_buf *b, struct sbx_buf *input,
			struct exchange_upload *u,
			const struct exchange_call *c, size_t piece);

enum exchange_said {
	EXCHANGE_SAID_NOTHING,	  /* none of what the scripts say */
	EXCHANGE_SAID_PART,	  /* an answer that was cut */
	EXCHANGE_SAID_BATCH,	  /* an answer, in *ret_data (malloced) */
	EXCHANGE_SAID_NEED,	  /* u: what to bring where */
	EXCHANGE_SAID_GOT,	  /* u->plant.sent: so much is there */
	EXCHANGE_SAID_DONE,	  /* the helper is there */
	EXCHANGE_SAID_IMPOSSIBLE, /* reterr */
};
/* What a script of ours printed. */
enum exchange_said exchange_parse(const char *out, const char *mark,
				  struct exchange_upload *u, uint8_t **ret_data,
				  size_t *ret_len, struct sbx_error *reterr);

/* ---- what waits for a run: exchange_queue.c ---- */

struct exchange_message;

struct exchange_queue {
	struct exchange_message *first, **end;
	size_t bytes, lazy; /* lazy: those of them that are in no hurry */
	uint64_t nr;	    /* messages ever queued */
};

void exchange_queue_init(struct exchange_queue *q);
/* A copy; lazy: it is not worth a run, before due (0: ever).  -EMSGSIZE,
 * -ENOMEM, -EAGAIN: too much waits already. */
int exchange_queue_add(struct exchange_queue *q, uint32_t id, const void *data,
		       size_t len, bool lazy, uint64_t due);
/* All that waits is worth a run; but for what is never due. */
void exchange_queue_hasten(struct exchange_queue *q, bool all);
/* When the first of them is due; 0: none ever. */
uint64_t exchange_queue_due(const struct exchange_queue *q);
/* The request of this id is never due, if it is there and lazy. */
void exchange_queue_relax(struct exchange_queue *q, uint32_t id);
/* Whether one of the first nr messages still waits. */
bool exchange_queue_has(const struct exchange_queue *q, uint64_t nr);
/* The request of this id; false: it is not there (any more). */
bool exchange_queue_drop(struct exchange_queue *q, uint32_t id);
/* Hands the first ones on until the link has so many bytes to give out.
 * -ENOMEM: the rest stays. */
int exchange_queue_give(struct exchange_queue *q, struct sbx_link *link,
			size_t max);
void exchange_queue_clear(struct exchange_queue *q);

/* ---- exchange.c ---- */

enum exchange_what {
	EXCHANGE_CALL,
	EXCHANGE_PIECE,
	EXCHANGE_QUIT,
};

/* One run of ours.  There are two: one may be parked beside the other. */
struct exchange_run {
	struct sbx_run run;
	struct sbx_exchange *x;
	bool busy;
	enum exchange_what what;
	uint64_t begun_ms; /* the loop's time */
	char mark[SBX_SESSION_SIZE];
	struct sbx_buf command, input;
};

struct exchange_job;
struct exchange_request;

/* Requests about jobs that are not yet taken. */
struct exchange_asked {
	struct exchange_request *first, **end;
	size_t bytes;
	uv_timer_t late; /* takes them */
};

struct sbx_exchange {
	struct sbx_carrier base;
	uv_loop_t *loop;
	struct sbx_service *svc;
	const struct sbx_run_limits *lim;
	char *id;
	char session[SBX_SESSION_SIZE];
	const struct sbx_channel_handler *h;
	void *arg;

	struct exchange_queue queue;
	struct sbx_link *link;
	uint64_t instance; /* of the helper; 0: none so far */
	uint32_t old_pid;  /* of the one before, to be ended; 0: none */
	struct sbx_remote_info info;
	struct exchange_upload upload;
	struct exchange_run runs[2];
	struct exchange_run *current; /* the link is attached to it, or NULL */
	uint8_t *unit;		      /* a batch being written */
	unsigned int within_ms;	      /* sbx_remote_defer */
	size_t lazy_sent; /* not worth a run, sent and not acknowledged */

	bool started, up, expecting, closing, refused, told_down;
	bool quits;	     /* the helper is to be told that it shall end */
	bool greeted, ended; /* by the answer at hand */
	bool more;	     /* there is more to be had at once */
	bool stays;	     /* the helper is to be told to, once */
	unsigned int failures, nonsense, polls;
	unsigned int
		empty; /* answers in a row that brought nothing but "more" */
	uint64_t soon_until; /* of the last answer; 0: it was of a parked one */
	bool hasty;	     /* it followed soon on the one before */
	/* of one run: lim->output, more while that comes whole, at most this */
	size_t output, output_most;
	uint64_t heard_ms, answered_ms;
	uint64_t asked_ms; /* the first run since that was answered; 0: none */
	struct sbx_error error;
	uv_timer_t due;
	uv_timer_t hurry;		  /* for what has been in no hurry */
	uv_timer_t stay;		  /* the helper is to */
	bool gathering, pausing, polling; /* why it runs */
	/* answers until what the helper before was told has been said again,
	 * before any command begins: all that was queued until then */
	unsigned int resends;
	uint64_t resent;

	struct exchange_job *jobs, *job; /* job: the one that runs */
	struct exchange_asked asked;
	unsigned int open_handles;
	void (*on_closed)(void *arg);
	void *closed_arg;
};

/* What was said, sent or not, is of a helper that is gone. */
void exchange_reset(struct sbx_exchange *x);
/* Runs nothing for a while, longer each time, unless something is asked. */
void exchange_poll_later(struct sbx_exchange *x);
/* Something may be due: looks what is to be run next. */
void exchange_plan(struct sbx_exchange *x);
/* Another helper is there: commands wait for what it is told again. */
void exchange_resend(struct sbx_exchange *x);
/* The helper is there, and is to stay while it holds something. */
void exchange_stay(struct sbx_exchange *x);
/* A run failed: another is made later, if that makes sense. */
void exchange_failed(struct sbx_exchange *x, const struct sbx_error *why);
/* Tells the owner, once. */
void exchange_tell_down(struct sbx_exchange *x, const struct sbx_error *why,
			bool retrying);
/* A run of ours or of the user's is over: x may be freed by this. */
void exchange_run_over(struct sbx_exchange *x);

/* ---- runs of ours: exchange_run.c ---- */

struct sbx_link *exchange_link_new(struct sbx_exchange *x);
/* A message as if the helper had sent it. */
void exchange_deliver(struct sbx_exchange *x, const struct sbx_buf *msg);
/* One exchange; false: all runs are busy. */
bool exchange_call(struct sbx_exchange *x, bool parks, bool quits);
/* The next piece of the helper, likewise. */
bool exchange_piece(struct sbx_exchange *x);
/* What was said cannot be taken up again: the helper of another session is
 * another instance, so the owner hears of a fresh one. */
void exchange_new_session(struct sbx_exchange *x);

/* ---- commands as text: exchange_command.c ---- */

/* An SBX_OP_EXEC behind its number; borrows from the message. */
struct exchange_exec {
	struct sbx_rd argv, env;
	const uint8_t *cwd;
	size_t cwd_len;
	uint32_t flags, credit, timeout_ms;
};
/* -EINVAL, -EOPNOTSUPP: it wants a terminal */
int exchange_exec_parse(struct exchange_exec *e, struct sbx_rd *rd);
/* Its text, with a NUL. -EINVAL, -E2BIG, -ENOMEM */
int exchange_command_put(struct sbx_buf *b, const struct exchange_exec *e);
/* Puts what it is to read in front, within the limit of b, which is as it was
 * after an error.  -E2BIG, -ENOMEM */
int exchange_command_feed(struct sbx_buf *b, const struct sbx_buf *input);

/* ---- requests about jobs: exchange_asked.c ---- */

void exchange_asked_init(struct sbx_exchange *x);
/* Takes a request about commands; -EOPNOTSUPP: it is for the helper; -EAGAIN:
 * too much waits already. */
int exchange_asked_add(struct sbx_exchange *x, const void *data, size_t len);
void exchange_asked_free(struct sbx_exchange *x);

/* ---- jobs: exchange_jobs.c ---- */

/* What was asked, once that many messages had been queued; answers it now or
 * later. */
void exchange_jobs_request(struct sbx_exchange *x, const void *data, size_t len,
			   uint64_t after);
enum exchange_turn {
	EXCHANGE_TURN_NONE,   /* no command is ready to run */
	EXCHANGE_TURN_BEFORE, /* first what was said before the next one */
	EXCHANGE_TURN_TAKEN,  /* it runs */
};
/* The next command, if it is its turn. */
enum exchange_turn exchange_jobs_run(struct sbx_exchange *x);
/* An exchange has been answered. */
void exchange_jobs_told(struct sbx_exchange *x);
/* Starts nothing any more; x->job ends later. */
void exchange_jobs_close(struct sbx_exchange *x);
void exchange_jobs_free(struct sbx_exchange *x);

#endif
