/*
 * What the files svc_computesdk*.c share; nobody else includes this.  Loop
 * thread.
 *
 *	svc_computesdk.c         opening and closing
 *	svc_computesdk_rest.c    requests to the gateway and to daemons
 *	svc_computesdk_boxes.c   the sandboxes that are known, and their file
 *	svc_computesdk_calls.c   list, get, destroy, keepalive
 *	svc_computesdk_create.c  create, and waiting until it can be used
 *	svc_computesdk_files.c   files where no command can run
 *	svc_computesdk_reach.c   finding a daemon, and bringing it the helper
 *	svc_computesdk_stream.c  a command, on a terminal of the daemon's
 *	..._pipe.c               where there is none: on a streamed command
 *	..._tick.c               or on one that needs to be kept busy
 *	..._carry.c              its bytes, as lines of text
 *	svc_computesdk_direct.c  the same, but files, of a daemon alone
 *	svc_computesdk_own.c     what it alone has, as files
 *	svc_computesdk_rows.c    which these are, and what each asks for
 *	svc_computesdk_events.c  what happens there, as streams
 *	svc_computesdk_resize.c  the size of a terminal
 *	..._json.c, ..._options.c, ..._wire.c, ..._shell.c, ..._words.c: codecs
 *
 * Two parties: the gateway, which makes and ends sandboxes but lists none,
 * and a daemon in each of them, at an address that the gateway tells.
 */
#ifndef SBX_SVC_COMPUTESDK_H
#define SBX_SVC_COMPUTESDK_H

#include "client/calls.h"
#include "client/own.h"
#include "client/rest_stream.h"
#include "client/svc_computesdk_json.h"
#include "client/svc_computesdk_wire.h"
#include "client/svc_computesdk_words.h"
#include "client/wire/lines.h"

struct csdk;
struct csdk_wait;

/* ---- sandboxes ---- */

/* One that is known: it was made or asked for by this user. */
struct csdk_box {
	struct csdk_box *next;
	struct csdk *x;
	char *id;
	struct sbx_csdk_place place; /* .url NULL: not known yet */
	struct sbx_sandbox told;     /* .id NULL: nothing was told yet */
	uint64_t told_ms;	     /* or nonsense of it; 0: never */
	bool listed;
	unsigned int users; /* streams, requests and waits that hold it */
	bool gone;	    /* freed when nobody holds it any more */

	/* svc_computesdk_reach.c */
	bool ready; /* there can be used, as far as we know */
	bool old;   /* its daemon is of a generation before the last */
	bool first; /* ... and of the first */
	unsigned int generation; /* as it was last seen; 0: never */
	char *runner;	    /* a terminal there that commands are run beside */
	bool runner_is_new; /* made in this look for it */
	unsigned int deaf;  /* terminals in a row that took no input */
	uint64_t deaf_ms;   /* when the last of them was given up */
	bool hears;	    /* one took input without printing all the time */
	char *left;	    /* one to be ended when that is so; or NULL */
	uint64_t pipes_ms;  /* when terminals were of no use; 0: they are */
	uint64_t ticks_ms;  /* when they were but for one that prints; or 0 */
	bool no_ticks;	    /* that was of no use either */
	struct sbx_csdk_there there;
	struct sbx_csdk_upload upload;
	struct csdk_wait *waiting;
	struct sbx_request *request;
	struct sbx_alarm *alarm;
	uint64_t deadline;
	struct sbx_backoff backoff;
	char mark[33];
};
struct csdk_box *csdk_box_find(struct csdk *x, const char *id);
/* The same, made if there is none; NULL without memory or beyond
 * SBX_MAX_SANDBOXES. */
struct csdk_box *csdk_box_of(struct csdk *x, const char *id);
struct csdk_box *csdk_box_hold(struct csdk_box *b);
void csdk_box_let_go(struct csdk_box *b);
/* It is gone for good; NULL is fine. */
void csdk_box_drop(struct csdk_box *b);
/*
 * What the gateway said of one: takes it down, and gives out a copy.  id: as
 * it was asked for, or NULL.  -EPROTO, -ENOMEM.
 */
int csdk_box_take(struct csdk *x, const json_t *data, const char *id,
		  struct sbx_sandbox *ret);
/* From and into the file that remembers them from mount to mount. */
void csdk_boxes_load(struct csdk *x);
/* None is being reached any more. */
void csdk_boxes_stop(struct sbx_rest *rest);
void csdk_boxes_release(struct csdk *x);

/* ---- reaching a daemon ---- */

/* Somebody who waits; in place in its owner. */
struct csdk_wait {
	struct csdk_wait *next, **link; /* link NULL: not waiting */
	/* error->err 0: b->there can be used */
	void (*fn)(void *arg, const struct sbx_error *error);
	void *arg;
};
/* w->fn is called once, later, at the deadline at the latest. */
void csdk_reach(struct csdk_box *b, struct csdk_wait *w, uint64_t deadline);
void csdk_unwait(struct csdk_wait *w);
/* It is not there any more, or may be elsewhere. */
void csdk_reach_forget(struct csdk_box *b);
/* Nothing is asked any more, and nobody told. */
void csdk_reach_stop(struct csdk_box *b);
/* conf is to run a command: where that is asked for, as b->ready was found. */
void csdk_box_run(struct csdk_box *b, struct sbx_request_conf *conf);

/* ---- calls ---- */

extern const struct sbx_rest_type csdk_rest_type;
extern const struct sbx_calls_type csdk_calls_type;
/* As csdk_box_take, into *ret; false: the call has failed. */
bool csdk_work_take(struct sbx_work *w, const json_t *data, const char *id,
		    struct sbx_sandbox *ret);
/* Ends the call with *s, which it takes, as the only one in its list. */
void csdk_work_give(struct sbx_work *w, struct sbx_sandbox *s);
/* Asks for the sandbox of this name in that namespace; -ENOENT in the answer:
 * there is none. */
void csdk_work_find(struct sbx_work *w, const char *namespace, const char *name,
		    sbx_answer_fn *fn);
void csdk_create_start(struct sbx_work *w);
void csdk_files_start(struct sbx_work *w);
void csdk_file_start(struct sbx_work *w);
/* The first member of a work's state, where that is about one daemon. */
struct csdk_at {
	struct csdk_box *box; /* once it is known where it is */
	sbx_work_fn *then;
	sbx_work_fn *looked; /* svc_computesdk_direct.c */
	uint64_t since;
	sbx_answer_fn *fn;
	bool again; /* with what the gateway says now */
};
/* Zeroed state for w, which is freed with it; NULL: the call has failed. */
void *csdk_work_state(struct sbx_work *w, size_t size);
/*
 * Knows where the call's sandbox is, and then(w); the call fails if it cannot.
 * May call then at once.
 */
void csdk_work_place(struct sbx_work *w, sbx_work_fn *then);

/* Asks the daemon there; one that refuses the token once more, by then(w), with
 * the one that the gateway tells now. */
void csdk_work_ask(struct sbx_work *w, struct sbx_request_conf conf,
		   sbx_answer_fn *fn);

/* Without a gateway: knows all there are, and then(w), whose state begins with
 * struct csdk_at; or it has failed. */
void csdk_direct_look(struct sbx_work *w, sbx_work_fn *then);
void csdk_direct_create_start(struct sbx_work *w);

/* ---- files of its own ---- */

extern const struct sbx_own csdk_own[];

/* What one of them asks for. */
struct csdk_row {
	const char *pattern;	   /* its path; NULL: the end of a table */
	const char *method, *path; /* with %s and %t for its names, encoded */
	const char *query;	   /* with %s likewise; or NULL */
	const char *member;	   /* of the answer; NULL: all of it */
	/* what is written as a body; NULL: it is JSON itself */
	csdk_words_fn *words;
	bool is_gateways; /* it is asked, not the daemon */
	/* read where this thing has none, which the daemon refuses; or NULL */
	const char *none;
};
/* Tables, by what is done; of lists member is the list, and words of its
 * entries are their names. */
extern const struct csdk_row csdk_reads[], csdk_writes[], csdk_makes[],
	csdk_removes[], csdk_lists[];
/* The row that fits, and the names for its "+", borrowed from path; NULL. */
const struct csdk_row *csdk_row_of(const struct csdk_row *rows,
				   const char *path, struct csdk_names *names);
sbx_work_fn csdk_own_read_start, csdk_own_write_start, csdk_own_list_start,
	csdk_own_make_start, csdk_own_remove_start;
/* Tells that terminal of b's, an id, its size, and ends the call w. */
void csdk_resize(struct sbx_work *w, const struct csdk_box *b,
		 const char *terminal, unsigned int cols, unsigned int rows);
bool csdk_own_has(struct sbx_service *svc, const char *id,
		  const struct sbx_own *row, const char *path);
struct sbx_stream *csdk_events_open(struct sbx_service *svc, const char *id,
				    const char *path, const char *input,
				    size_t len,
				    const struct sbx_stream_handler *h,
				    void *arg);
void csdk_events_pause(struct sbx_stream *s, bool paused);

/* ---- the service ---- */

#define CSDK_MAX_HEADERS 12
struct csdk {
	struct sbx_rest rest;
	/* of requests to the gateway; texts of secrets; NULL-ended */
	char *headers[CSDK_MAX_HEADERS + 1];
	struct csdk_box *boxes;
	size_t nr_boxes;
	char *file; /* that remembers them, or NULL */
};
void csdk_release(struct sbx_rest *rest);
/* There is no gateway: the address is a daemon's. */
static inline bool csdk_is_direct(const struct csdk *x)
{
	return !x->rest.conf->key && x->rest.conf->token;
}
const struct sbx_secret *csdk_token_of(const struct csdk_box *b);
/* A WebSocket of a daemon's; conf->url is set here.  NULL as with
 * sbx_rest_socket, or without memory. */
struct sbx_ws *csdk_box_socket(const struct csdk_box *b,
			       struct sbx_ws_conf *conf,
			       const struct sbx_ws_handler *h, void *arg);

/* ---- streams ---- */

enum csdk_phase {
	CSDK_REACH,  /* looking for the daemon */
	CSDK_MAKE,   /* connecting, and making a terminal */
	CSDK_LAUNCH, /* the line was typed; nothing of ours has answered */
	CSDK_RUN,
};

struct csdk_stream {
	struct sbx_rest_stream base;
	struct csdk_box *box;
	struct csdk_wait wait;
	struct sbx_buf command; /* its text, until it is sent */
	char *terminal; /* what is deleted at the end; may be NULL if piped */
	char *channel;	/* on which it is heard; NULL: not made yet */
	bool ws_is_open;
	unsigned int attempts, refusals;
	bool turned_down;     /* the attempt at hand, by the daemon itself */
	bool deaf;	      /* the terminal takes no input */
	bool is_dead;	      /* nobody is on it any more */
	struct sbx_error why; /* the attempt at hand fails */

	/* svc_computesdk_pipe.c */
	bool piped;	     /* a streamed command, and no terminal */
	char *pipe;	     /* the path of its input */
	char *streamed;	     /* its id */
	struct sbx_buf post; /* lines that wait for those before */

	/* svc_computesdk_tick.c */
	bool ticked;   /* the terminal's program prints all the time */
	char *program; /* its path */
	uint64_t make_by;
	sbx_request_fn *made; /* told of the terminal */

	/* svc_computesdk_carry.c */
	struct sbx_lines lines;
	struct sbx_buf say; /* lines to be sent together */
	unsigned int version;
	struct sbx_buf queue;	   /* for its stdin */
	uint64_t sent, sent_taken; /* of its stdin */
	bool refused;		   /* a send: on_writable is owed */
	uint64_t received[2], got; /* of its streams; both, given out */
	uint64_t got_told;
	bool ended[2], has_exit;
	bool is_let_go; /* the end of its stderr is not waited for */
	int status;	/* its exit */
	struct sbx_alarm *beat, *hold;
	uint64_t heard_ms;
};

/* svc_computesdk_stream.c, for the other */
/* What carries it is there, and can be told what to run. */
void csdk_stream_started(struct csdk_stream *s);
/* It was told. */
void csdk_stream_heard(struct csdk_stream *s);
/* svc_computesdk_pipe.c, for both */
/* Whether terminals have been found to be of no use, and there is this. */
bool csdk_box_uses_pipes(const struct csdk_box *b);
/* They are; false: there is nothing else. */
bool csdk_box_try_pipes(struct csdk_box *b);
void csdk_pipe_make(struct csdk_stream *s, uint64_t deadline,
		    sbx_request_fn *fn);
/* Takes down what was made; -EOPNOTSUPP: the daemon does not stream. */
int csdk_pipe_made(struct csdk_stream *s, const json_t *data);
int csdk_pipe_start(struct csdk_stream *s);
int csdk_pipe_say(struct csdk_stream *s, const void *lines, size_t len);
/* A request to remove it, for the caller to free; NULL without memory. */
char *csdk_pipe_remove_body(const struct csdk_stream *s);
/* svc_computesdk_tick.c, likewise */
bool csdk_box_uses_ticks(const struct csdk_box *b);
bool csdk_box_try_ticks(struct csdk_box *b);
/* It has been tried in vain. */
void csdk_box_no_ticks(struct csdk_box *b);
/* fn is told of the terminal, or of what went wrong before. */
void csdk_tick_make(struct csdk_stream *s, uint64_t deadline,
		    sbx_request_fn *fn);
/* svc_computesdk_carry.c */
void csdk_carry_init(struct csdk_stream *s);
void csdk_carry_release(struct csdk_stream *s);
/* `give` of its type */
void csdk_carry_give(struct sbx_rest_stream *s, int fd, const void *data,
		     size_t len);
/* What the terminal printed. */
void csdk_carry_input(struct csdk_stream *s, const void *data, size_t len);
/* Sends the command. */
void csdk_carry_start(struct csdk_stream *s);

struct sbx_stream *csdk_stream_open(struct sbx_service *svc, const char *id,
				    const char *const *argv,
				    const struct sbx_stream_handler *h,
				    void *arg);
/* Is it that of one of our streams? */
bool csdk_terminal_is_ours(const struct csdk *x, const char *terminal);
int csdk_stream_send(struct sbx_stream *s, const void *data, size_t len);
void csdk_stream_pause(struct sbx_stream *s, bool paused);

#endif
