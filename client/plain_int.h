/*
 * The inside of plain mode, shared by plain*.c.  Nobody else includes this.
 *
 * ORDER.  Requests are carried out as they come: those that only ask up to
 * PLAIN_SHELLS at once, a change alone, after all before it and before all
 * behind it.  So each sees what the ones before it did.
 *
 * TRUTH.  A change whose outcome is not known (the connection was lost, the
 * command was not heard of again) is answered ETIMEDOUT, and everything
 * cached is put in doubt.  A command counts as done only if the shell told
 * its exit status behind its output, with a mark of that request.
 */
#ifndef SBX_PLAIN_INT_H
#define SBX_PLAIN_INT_H

#include "client/plain.h"

struct sbx_plain;

#define PLAIN_SHELLS   4
#define PLAIN_PATH     4096	 /* bytes of a path there, NUL included */
#define PLAIN_QUEUE    (8 << 20) /* bytes of requests that wait */
#define PLAIN_OUTPUT   (64 * 1024)
#define PLAIN_OP_MS    30000  /* a command is not heard of again */
#define PLAIN_LONG_MS  120000 /* ... one that moves or syncs much data */
#define PLAIN_RESTARTS 3
#define PLAIN_DIRS     (1 << 18)
#define PLAIN_HANDLES  (1 << 16)
#define PLAIN_NO_TOOLS 93 /* exit status of the script */
#define PLAIN_NONCE    17

/* ---- names: plain_dirs.c ---- */

/* A directory: a name in another one, or the root of a tree. */
struct plain_dir {
	unsigned int refs; /* numbers, children, requests */
	struct plain_dir *parent;
	char *name; /* of a root: its path */
	uint64_t dev, ino;
};

struct plain_handle {
	uint64_t number;
	struct plain_dir *dir; /* referenced */
	char *name;
	uint64_t dev, ino;
	uint32_t flags; /* of open(2) */
	bool gone;	/* we removed the name */
};

struct plain_names {
	void *numbers; /* tsearch: number -> directory */
	void *dirs;    /* tsearch: (dev, ino) -> directory */
	void *handles; /* tsearch: by number */
	size_t nr_numbers, nr_handles;
};

/* What "at" of a request, or a handle, leads to. */
struct plain_at {
	struct plain_dir *dir; /* referenced */
	char name[256];	       /* "": the directory itself (a root) */
	uint64_t ino;	       /* 0: any */
	uint32_t flags;	       /* of the handle */
	bool is_dir;	       /* named by its number */
};

int plain_names_init(struct plain_names *n, const char *workspace);
void plain_names_release(struct plain_names *n);
struct plain_dir *plain_dir_find(const struct plain_names *n, uint64_t number);
struct plain_dir *plain_dir_ref(struct plain_dir *d);
void plain_dir_unref(struct plain_names *n, struct plain_dir *d);
/* The number is that of "at", and this is what is there; -ENOTDIR. */
int plain_dir_number(struct plain_names *n, uint64_t number,
		     const struct plain_at *at, const struct sbx_attr *attr);
void plain_dir_forget(struct plain_names *n, uint64_t number);
/* Its path into dst[PLAIN_PATH]; -ENAMETOOLONG. */
int plain_dir_path(const struct plain_dir *d, char *dst);
/* A directory of this identity has been seen under this name. */
void plain_dir_seen(struct plain_names *n, struct plain_dir *in,
		    const char *name, size_t len, const struct sbx_attr *attr);

int plain_handle_add(struct plain_names *n, uint64_t number,
		     const struct plain_at *at, const struct sbx_attr *attr,
		     uint32_t flags);
struct plain_handle *plain_handle_find(const struct plain_names *n,
				       uint64_t number);
void plain_handle_del(struct plain_names *n, uint64_t number);
/* The name leads nowhere any more (to NULL), or to where the inode ino is
 * now. */
void plain_handles_moved(struct plain_names *n, const struct plain_at *from,
			 const struct plain_at *to, uint64_t ino);
/* Reads "at" of a request; -ESTALE for what is not known. */
int plain_at_get(struct plain_names *n, struct sbx_rd *rd,
		 struct plain_at *ret);
/* Reads a number, and which directory it is going to be that of: requests
 * behind may use it. */
int plain_at_get_dir(struct plain_names *n, struct sbx_rd *rd,
		     uint64_t *ret_number, struct plain_at *ret);
/* Reads a directory and a new name in it. */
int plain_at_get_new(struct plain_names *n, struct sbx_rd *rd,
		     struct plain_at *ret);
int plain_at_handle(struct plain_names *n, uint64_t number,
		    struct plain_at *ret);
void plain_at_release(struct plain_names *n, struct plain_at *at);

/* ---- requests: plain_queue.c ---- */

struct plain_op {
	struct plain_op *next;
	const struct plain_type *type;
	uint32_t id; /* 0: no answer is wanted */
	struct sbx_msg msg;
	struct sbx_rd args;
	uint64_t since;
	uint8_t tries;
	bool sent;     /* the shell may have done it */
	bool again;    /* what it found may have been changed since */
	bool internal; /* of our own: nobody wants an answer */

	/* as its type needs them */
	struct plain_at at, at2;
	uint64_t offset, length, done;
	uint64_t expected;   /* size of a file that is asked for */
	uint32_t count;	     /* of a listing */
	const uint8_t *data; /* to send behind the command */
	size_t data_len;
	size_t max_out; /* 0: PLAIN_OUTPUT */
	size_t len;	/* of raw */
	uint8_t raw[];
};

enum plain_kind {
	PLAIN_ASK,    /* several at once */
	PLAIN_CHANGE, /* alone */
	PLAIN_REPEAT, /* alone; doing it twice is the same as once */
	PLAIN_NOTE,   /* needs no shell */
	PLAIN_WAIT,   /* needs no shell; alone */
	PLAIN_QUICK,  /* needs no shell; at once, whatever waits */
};

struct plain_type {
	uint8_t op; /* enum sbx_wire_op */
	enum plain_kind kind;
	unsigned int ms;
	/*
	 * Writes the command to p->line.  0: send it.  1: it has been
	 * answered.  2: it is kept.  Negative errno: that is the answer.
	 */
	int (*begin)(struct sbx_plain *p, struct plain_op *op);
	/*
	 * Has its output; err: what its exit status and last words mean.
	 * Answers, or returns 1: begin again.
	 */
	int (*end)(struct sbx_plain *p, struct plain_op *op, int err,
		   struct sbx_buf *out, const char *text);
	/* Takes whole elements of an output of any length; may be NULL. */
	int (*drain)(struct sbx_plain *p, struct plain_op *op,
		     struct sbx_buf *out);
};

/* Ends a request that is answered with the attributes of op->at. */
int plain_end_attr(struct sbx_plain *p, struct plain_op *op, int err,
		   struct sbx_buf *out, const char *text);

extern const struct plain_type plain_op_types[];   /* plain_ops.c */
extern const struct plain_type plain_data_types[]; /* plain_data.c */
extern const struct plain_type plain_job_types[];  /* plain_jobs.c */

struct sbx_plain {
	struct sbx_carrier base;
	uv_loop_t *loop;
	struct sbx_service *svc;
	char *id;
	const struct sbx_channel_handler *h;
	void *arg;
	struct sbx_remote_info info;
	struct plain_names names;
	char nonce[PLAIN_NONCE];

	bool started, up, known; /* known: it was up once */
	bool fresh;		 /* another one was there before it */
	bool closing, told;	 /* told: since the last doubt */
	struct sbx_error error;	 /* of the last shell that did not start */
	struct plain_op *queue, **queue_end, *quick, **quick_end;
	size_t queued;
	unsigned int running; /* with shells */
	bool exclusive;	      /* a change runs */
	struct plain_shell *shells;
	unsigned int nr_shells, attempts;
	bool files;		  /* no shells, but the service's own calls */
	struct plain_call *call;  /* of theirs, under way */
	struct plain_op *call_op; /* ... what it is for */

	struct sbx_buf line, reply;
	struct plain_job *jobs;
	bool port_watch;
	struct plain_op *port_op; /* asks what listens now */
	void *ports;		  /* bits of what was open: uint8_t[8192] */

	uv_timer_t tick, retry;
	uv_prepare_t work;
	unsigned int open_handles;
	void (*on_closed)(void *arg);
	void *closed_arg;
};

/* Something may go on: before the loop next waits. */
void plain_work_later(struct sbx_plain *p);
/* Everything that is cached may be wrong. */
void plain_doubt(struct sbx_plain *p);
/* Frees the request. */
void plain_op_free(struct sbx_plain *p, struct plain_op *op);
/* A request of our own, ahead of all others. */
struct plain_op *plain_op_own(struct sbx_plain *p,
			      const struct plain_type *type);

void plain_queue_put_back(struct sbx_plain *p, struct plain_op *op);
/* Takes one request (copied).  The answer never comes from within. */
int plain_queue_add(struct sbx_plain *p, const void *data, size_t len);
struct plain_op *plain_queue_take(struct sbx_plain *p);
void plain_queue_drop(struct sbx_plain *p);

/* ---- answers: plain_queue.c ---- */

/* Begins an answer of nr results; then sbx_put_*, then plain_answer. */
struct sbx_buf *plain_answer_begin(struct sbx_plain *p,
				   const struct plain_op *op, unsigned int nr);
struct sbx_buf *plain_part_begin(struct sbx_plain *p, const struct plain_op *op,
				 unsigned int nr);
/* Sends what was begun. */
void plain_answer(struct sbx_plain *p, const struct plain_op *op);
/* Answers with attributes; with those of a directory and "not watched". */
void plain_answer_attr(struct sbx_plain *p, const struct plain_op *op,
		       const struct sbx_attr *attr);
void plain_answer_dir(struct sbx_plain *p, const struct plain_op *op,
		      const struct sbx_attr *attr);
void plain_answer_err(struct sbx_plain *p, const struct plain_op *op, int err);
struct sbx_buf *plain_message_begin(struct sbx_plain *p, unsigned int type,
				    unsigned int nr);
void plain_message(struct sbx_plain *p);

/* ---- shells: plain_shell.c ---- */

struct plain_shell {
	struct sbx_plain *p;
	struct plain_shell *next;
	struct sbx_stream *stream;
	enum { SHELL_STARTING, SHELL_IDLE, SHELL_BUSY, SHELL_LEAVING } state;
	struct plain_op *op;
	uint32_t seq, pid;
	uint64_t born, since; /* of its state */
	struct sbx_buf out;
	struct sbx_error error; /* why it is being given up */
};

/* One more; NULL without memory. */
struct plain_shell *plain_shell_new(struct sbx_plain *p);
/* Runs the command of p->line for op, which it holds until the end. */
void plain_shell_run(struct plain_shell *s, struct plain_op *op);
/* It ends by itself; it gets no more commands. */
void plain_shell_quit(struct plain_shell *s);
void plain_shell_break(struct plain_shell *s, int err, const char *why);
/* Timeouts; called once a second. */
void plain_shells_check(struct sbx_plain *p);
/* The nonce's command line, for the first shell and later ones. */
const char *const *plain_script_argv(const char *nonce, bool first,
				     const char **argv);
#define PLAIN_ARGV 10

/* what shells, and commands, tell plain.c */
void plain_on_over(struct sbx_plain *p); /* perhaps nothing is left */
void plain_on_ready(struct plain_shell *s, const uint8_t *hello, size_t len);
void plain_on_output(struct plain_shell *s, struct plain_op *op, int status,
		     const char *text);
void plain_on_lost(struct plain_shell *s, struct plain_op *op,
		   const struct sbx_error *why);

/* ---- texts: plain_text.c ---- */

/* A command is one line: its number, filled in last, and words. */
void plain_line_begin(struct sbx_buf *b);
void plain_line_number(struct sbx_buf *b, uint32_t number);
/* One word of a command: any bytes. */
void plain_put_word(struct sbx_buf *b, const void *data, size_t len);
void plain_put_text(struct sbx_buf *b, const char *word); /* as it is */
void plain_put_number(struct sbx_buf *b, uint64_t v);
/* Begins a command about "at": its letter and place. */
int plain_put_place(struct sbx_buf *b, const char *op,
		    const struct plain_at *at);
/* The errno (negative) that a tool's last words mean. */
int plain_errno(const char *text);
/* The line of attributes at the end of an output; what stands before it is
 * left in out.  -EPROTO. */
int plain_take_attr(struct sbx_buf *out, struct sbx_attr *ret);
/*
 * One entry of a listing at the front: 1, its bytes in *ret_used; 0: more
 * are needed.  has_attr false: it must be examined by itself.  -EPROTO.
 */
struct plain_entry {
	const char *name;
	size_t len;
	bool has_attr;
	struct sbx_attr attr;
};
int plain_take_entry(const uint8_t *data, size_t len, struct plain_entry *ret,
		     size_t *ret_used);
/* How many bytes dd says it copied. */
int plain_take_count(const char *text, uint64_t *ret);
/* n whole numbers in one line, blanks between them. */
int plain_take_numbers(const struct sbx_buf *out, uint64_t *ret, size_t n);

/* ---- commands: plain_jobs.c, plain_exec.c ---- */

#define PLAIN_JOB_HEAD 1024	 /* what the script says before the command */
#define PLAIN_JOB_HELD (1 << 20) /* output without credit; it is paused */

struct plain_job {
	struct plain_job *next;
	struct sbx_plain *p;
	uint32_t number, id; /* id: of the request, until it is answered */
	uint32_t flags, pid;
	struct sbx_stream *stream;
	bool session, started, ended, paused, vain;
	int lost; /* why it was, or 0 */
	int exit_code;
	uint64_t began;
	uint64_t credit[2];
	struct sbx_buf held[2];
	bool closed[2]; /* nobody wants it any more */
	char head[PLAIN_JOB_HEAD];
	size_t head_len;

	struct sbx_stream *feeder;
	bool ready;   /* it has the pipe */
	bool feeding; /* a piece is under way */
	bool deaf;    /* nobody reads its input */
	struct plain_op *input, **input_end;
};

struct plain_job *plain_job_find(const struct sbx_plain *p, uint32_t number);
extern const struct sbx_stream_handler plain_job_handler;
/* Starts one; the request is answered when it runs. */
int plain_exec_begin(struct sbx_plain *p, struct plain_op *op);
/* Kills all of them; closing their streams comes later. */
void plain_jobs_kill(struct sbx_plain *p);
void plain_jobs_close(struct sbx_plain *p);

/* ---- without any command: plain_files.c ---- */

/* Goes over to the service's own calls; -EOPNOTSUPP: it has none. */
int plain_files_begin(struct sbx_plain *p, const struct sbx_error *why);
/* Takes the first of the queue in hand; false: another is not done. */
bool plain_files_step(struct sbx_plain *p);
/* Nobody wants to know any more. */
void plain_files_drop(struct sbx_plain *p);

/* ---- ports: plain_ports.c ---- */

int plain_ports_begin(struct sbx_plain *p, struct plain_op *op);
int plain_ports_end(struct sbx_plain *p, struct plain_op *op, int err,
		    struct sbx_buf *out, const char *text);
int plain_port_watch(struct sbx_plain *p, struct plain_op *op);
/* Asks if it is time to; called once a second. */
void plain_ports_check(struct sbx_plain *p);

#endif
