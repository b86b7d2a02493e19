/*
 * The contract of a service: how to list, create and end sandboxes, and how
 * to run one command in one with its stdin and stdout as a byte carrier.
 * Everything else (files, jobs, terminals, ports) is the helper's, above.
 * All on the loop thread; nothing blocks.
 *
 * Or, if it has no such streams, to run one to its end (sbx_run).
 *
 * Order of calls: open, then calls and streams in any number, then close.
 * close ends what is still under way (done and on_end are still called,
 * with -ECANCELED) and then calls on_closed.
 */
#ifndef SBX_SERVICE_H
#define SBX_SERVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "client/conf.h"
#include "client/error.h"
#include "client/limits.h"

struct sbx_own;
struct sbx_service;
struct sbx_call;
struct sbx_stream;

enum sbx_state {
	SBX_STATE_STARTING,
	SBX_STATE_RUNNING,
	SBX_STATE_PAUSED,
	SBX_STATE_STOPPING,
	SBX_STATE_STOPPED,
	SBX_STATE_ERROR,
};
const char *sbx_state_name(enum sbx_state state);

struct sbx_url {
	unsigned int port;
	char *url;
};

/* What a service says of one sandbox. */
struct sbx_sandbox {
	char *id;   /* checked: [A-Za-z0-9][A-Za-z0-9._-]{0,127} */
	char *name; /* from its metadata, checked as a file name; or NULL */
	enum sbx_state state;
	char *image; /* template or image, or NULL */
	char *url;   /* where it was made or is reached, or NULL */
	int64_t created_ms, expires_ms; /* Unix epoch; 0: unknown, never */
	struct sbx_url *ports;		/* declared ones */
	size_t nr_ports;
	/* URL of any other: this, its number, and that; NULL: none is known */
	char *any_port[2];
	char *info; /* the service's own answer, JSON text */
};
void sbx_sandbox_release(struct sbx_sandbox *s);
int sbx_sandbox_copy(struct sbx_sandbox *to, const struct sbx_sandbox *from);

enum sbx_call_kind {
	SBX_CALL_LIST,	    /* -> list */
	SBX_CALL_GET,	    /* id, or a name where the service finds one by
				   that -> list[0]; -ENOENT only when certain */
	SBX_CALL_CREATE,    /* options -> list[0], once it is running */
	SBX_CALL_DESTROY,   /* id; idempotent */
	SBX_CALL_KEEPALIVE, /* id, seconds (0: service's default) -> list[0] */
	/* what drives its life: id -> list[0], once that is its state */
	SBX_CALL_PAUSE,
	SBX_CALL_RESUME,
	SBX_CALL_STOP,
	SBX_CALL_START,
	SBX_CALL_RESTART,
	SBX_CALL_WIPE, /* everything in it is as when it was made */
	/*
	 * files without a command, for a sandbox in which none can be run:
	 * id, path (from the workspace on, "/" before it or not; "": itself);
	 * links are followed
	 */
	SBX_CALL_FILES, /* -> files: what is in a folder */
	SBX_CALL_FILE,	/* -> data: all of a file of at most max_file bytes */
	SBX_CALL_SNAPSHOTS,  /* id -> snapshots, in the order they were made */
	SBX_CALL_SNAPSHOT,   /* id, path (its name): makes one */
	SBX_CALL_RESTORE,    /* id, path (one that is listed; else -ENOENT
				 before anything is done) -> list[0] */
	SBX_CALL_UNSNAPSHOT, /* id, path: deletes one; -ENOENT */
	/*
	 * files of the service's own (own.h): id, or NULL beside the
	 * sandboxes; path as it is in the tree, every name in it one that is a
	 * file name
	 */
	SBX_CALL_OWN_READ,   /* -> data */
	SBX_CALL_OWN_WRITE,  /* input -> data: what can be read now; data NULL:
				what READ says then */
	SBX_CALL_OWN_LIST,   /* a folder with a "+" -> files: their names */
	SBX_CALL_OWN_MAKE,   /* what ends in a "+"; -EEXIST */
	SBX_CALL_OWN_REMOVE, /* the same */
	SBX_CALL_KINDS
};

/* What a service says of one file; what kind of file it is it does not. */
struct sbx_file {
	char *name; /* checked: one component */
	uint64_t size;
	int64_t mtime_s;
	bool is_dir;
};

void sbx_files_free(struct sbx_file *files, size_t nr);

struct sbx_snapshot {
	char *name;	    /* checked: one component */
	int64_t created_ms; /* Unix epoch; 0: unknown */
	char *info;	    /* the service's own record, JSON text; or NULL */
};

/*
 * One request to a service.  The caller allocates and fills it; submitting
 * lends it to the service until done is called, exactly once (never before
 * submit returns); until then nobody else changes anything of it, .arg
 * included.  Results belong to the call: sbx_call_free frees them.
 */
struct sbx_call {
	enum sbx_call_kind kind;
	char *id;
	char *options; /* CREATE: JSON object of the service's own fields, with
			  "name" for the name to give; NULL: defaults */
	unsigned int seconds;
	char *path;
	char *input; /* with input_len bytes and a NUL behind them */
	size_t input_len;
	unsigned int timeout_ms;
	void (*done)(struct sbx_call *call);
	void *arg;

	struct sbx_error error; /* .err is 0 on success */
	struct sbx_sandbox *list;
	size_t nr;
	struct sbx_file *files;
	size_t nr_files;
	uint8_t *data;
	size_t len;
	struct sbx_snapshot *snapshots;
	size_t nr_snapshots;

	void *priv; /* the service's while it has the call */
};
struct sbx_call *sbx_call_new(enum sbx_call_kind kind, const char *id);
struct sbx_call *sbx_call_free(struct sbx_call *call);

/*
 * A running command as a byte carrier.  Handlers may call any function of
 * the stream, sbx_stream_close included.
 */
struct sbx_stream_handler {
	/* it has started; sending is allowed from here on */
	void (*on_open)(void *arg);
	/* bytes of its stdout (1) or stderr (2), in order within each */
	void (*on_data)(void *arg, int fd, const void *data, size_t len);
	/* sbx_stream_queued() has fallen below half of SBX_STREAM_QUEUE */
	void (*on_writable)(void *arg);
	/*
	 * The last call; the stream is freed when it returns.  error->err 0:
	 * the command ended with exit_code (-1, or 128 plus its number where
	 * that is known: by a signal); else the
	 * stream broke, and whether the command goes on is unknown.
	 */
	void (*on_end)(void *arg, int exit_code, const struct sbx_error *error);
	/* what it says on stderr is not wanted, and may not be told */
	bool no_stderr;
};
#define SBX_STREAM_QUEUE (256 * 1024)

/*
 * One command that is run to its end, for a service without streams.  The
 * caller allocates and fills it; running lends it to the service until done
 * is called, exactly once (never before run returns).  Results belong to the
 * run: sbx_run_release frees them.
 */
struct sbx_run {
	const char *command; /* for a POSIX shell, in the workspace */
	const char *input;   /* its stdin, visible ASCII and line ends; NULL: it
				ends at once */
	unsigned int timeout_ms; /* 0: as long as the service allows */
	bool ours;  /* not the user's: marked so (SBX_RUN_MARK), where the
		       service keeps a list of commands; run twice, it does
		       no harm */
	bool parks; /* may wait for something else, and hinders no others */
	void (*done)(struct sbx_run *run);
	void *arg;

	struct sbx_error error; /* .err is 0 if it ran to its end */
	bool maybe_done;	/* failed, but may have run, or yet run */
	int exit_code;		/* 0 to 255 */
	char *out, *err;	/* stdout, stderr; NUL-ended; NULL: nothing */
	size_t out_len, err_len;
	char snapshot[SBX_SNAPSHOT_SIZE]; /* taken behind it; "": none */

	/* the service's while it has the run */
	void *priv;
	struct sbx_run *next;
};
/* Frees the results. */
void sbx_run_release(struct sbx_run *run);
#define SBX_RUN_MARK ": sbxfs;"

struct sbx_run_limits {
	size_t command, input;	/* bytes of each */
	size_t output;		/* bytes of stdout that may be counted on */
	size_t output_most;	/* that may be tried; 0: no more than that */
	unsigned int gather_ms; /* worth waiting for more to go along */
	bool parks;		/* a run that waits hinders no others */
	/* commands of the user are runs of their own, not the helper's */
	bool commands;
	/* of silence, before the helper is called so that it stays, with what
	 * it holds; 0: what suits it (less in tests) */
	unsigned int stay_ms;
};

#define SBX_UNIT_MIN 16384

struct sbx_service_type {
	const char *name; /* scheme word in SOURCE */
	uint32_t calls;	  /* 1 << SBX_CALL_*: what it can do */
	/* most bytes of one sbx_stream_send; at least SBX_UNIT_MIN */
	size_t max_unit;
	size_t max_file; /* the largest that SBX_CALL_FILE gives */
	/* most bytes that a helper may send without being told that they have
	 * arrived; 0: as many as it likes */
	size_t max_unacked;
	unsigned int create_ms; /* patience with create; 0: the usual */
	unsigned int life_ms;	/* with start, stop and so on; likewise */
	bool keep_set_seconds;	/* keepalive takes a number of seconds */
	bool hides_expiry;	/* no end that is told is not "never" */
	bool lists_part;	/* a listing says less of each than GET does */
	const struct sbx_own *own; /* files of its own: own.h; NULL: none */

	/* conf is borrowed until close has finished */
	int (*open)(uv_loop_t *loop, const struct sbx_conf *conf,
		    struct sbx_service **ret, struct sbx_error *reterr);
	void (*close)(struct sbx_service *svc, void (*on_closed)(void *arg),
		      void *arg);
	void (*submit)(struct sbx_service *svc, struct sbx_call *call);
	/* What CREATE would say at once to these options, which may not be all
	 * yet: 0 or -EINVAL.  Makes nothing. */
	int (*options_check)(const char *options, struct sbx_error *reterr);

	/*
	 * Runs argv in the sandbox with a stdin.  Never fails at once: what
	 * is wrong comes through on_end.  handler and arg are borrowed until
	 * on_end, id and argv for the call.
	 */
	struct sbx_stream *(*stream_open)(struct sbx_service *svc,
					  const char *id,
					  const char *const *argv,
					  const struct sbx_stream_handler *h,
					  void *arg);
	/*
	 * One unit of at most max_unit bytes to its stdin; copied.  Units may
	 * arrive in another order, each in one piece.  -EAGAIN when
	 * SBX_STREAM_QUEUE bytes wait here: try after on_writable.
	 */
	int (*stream_send)(struct sbx_stream *s, const void *data, size_t len);
	/* stops (starts) reading from the network: back pressure */
	void (*stream_pause)(struct sbx_stream *s, bool paused);
	/* breaks the connection; on_end(-ECANCELED) follows later */
	void (*stream_close)(struct sbx_stream *s);

	/*
	 * Instead of streams (stream_open is NULL then; exchange.h makes do
	 * with it).  id is borrowed for the call, the run's strings until
	 * done.  run_cancel: nobody waits for it any more; done(-ECANCELED)
	 * follows later.
	 */
	const struct sbx_run_limits *run_limits;
	void (*run)(struct sbx_service *svc, const char *id,
		    struct sbx_run *run);
	void (*run_cancel)(struct sbx_service *svc, struct sbx_run *run);

	/*
	 * Whether a sandbox has what that row of own says, as far as is known
	 * now; may be absent: it has.  path: of a row with SBX_OWN_ANY, a file
	 * that somebody asks for; else NULL.
	 */
	bool (*own_has)(struct sbx_service *svc, const char *id,
			const struct sbx_own *row, const char *path);
	/*
	 * For rows with SBX_OWN_STREAM: as stream_open, with what was written
	 * as its input.  All comes as stdout; its exit_code means nothing; it
	 * can be paused and closed, nothing else.
	 */
	struct sbx_stream *(*own_open)(struct sbx_service *svc, const char *id,
				       const char *path, const char *input,
				       size_t len,
				       const struct sbx_stream_handler *h,
				       void *arg);
	void (*own_pause)(struct sbx_stream *s, bool paused);
	void (*own_close)(struct sbx_stream *s);
};

/* first member of every service's own struct */
struct sbx_service {
	const struct sbx_service_type *type;
};
struct sbx_stream {
	struct sbx_service *svc;
};

extern const struct sbx_service_type sbx_svc_xgen;
extern const struct sbx_service_type sbx_svc_local;
extern const struct sbx_service_type sbx_svc_opensandbox;
extern const struct sbx_service_type sbx_svc_computesdk;
extern const struct sbx_service_type sbx_svc_timetravel;
extern const struct sbx_service_type sbx_svc_vtrix;

/* By name, NULL if there is none; sbx_service_nth for listing them. */
const struct sbx_service_type *sbx_service_find(const char *name);
const struct sbx_service_type *sbx_service_nth(size_t n);

#endif
