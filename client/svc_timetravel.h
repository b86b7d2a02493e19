/*
 * What the files svc_timetravel*.c share; nobody else includes this.
 * Loop thread.
 *
 *	svc_timetravel.c       the service, its requests, its own of calls
 *	svc_timetravel_run.c   commands, one at a time in each VM
 *	svc_timetravel_errand.c commands that calls need; wipe
 *	svc_timetravel_snaps.c what the product is for
 *	svc_timetravel_own.c   ... and what can be done with it beside
 *	svc_timetravel_json.c  records, times and errors; no input or output
 *	svc_timetravel_sieve.c lists of snapshots; likewise
 */
#ifndef SBX_SVC_TIMETRAVEL_H
#define SBX_SVC_TIMETRAVEL_H

#include "client/calls.h"
#include "client/limits.h"
#include "client/own.h"
#include "client/wire/buf.h"

/* One request's body: more is answered 413. */
#define TIMETRAVEL_BODY 102400
/* A command's input, as text inside the command. */
#define TIMETRAVEL_INPUT   96000
#define TIMETRAVEL_COMMAND 100000
/* The service holds an answer in memory several times. */
#define TIMETRAVEL_OUTPUT (4 << 20)
/* An answer to a command of the user's: six bytes for one that is printed,
 * where that is a zero.  The loop takes a second or two to read so much. */
#define TIMETRAVEL_ANSWER SBX_JSON_MAX_TEXT
/* The runtimes with an agent are given up by their own service's client
 * after 300 s; a docker VM has no such limit. */
#define TIMETRAVEL_AGENT_MS  280000
#define TIMETRAVEL_DOCKER_MS (24 * 3600 * 1000)

struct timetravel_run;

/* What is remembered of a VM. */
struct timetravel_vm {
	bool has_agent;
	bool is_lost; /* as it was looked at last */
	char id[129];
};

struct timetravel {
	struct sbx_rest rest;
	struct timetravel_run *runs; /* waiting and under way */
	/* tsearch: struct timetravel_vm by id; at most those of two lists */
	void *vms;
	size_t nr_vms;
};

/* NULL: nothing is */
const struct timetravel_vm *timetravel_vm_find(const struct timetravel *x,
					       const char *id);

void timetravel_run(struct sbx_service *svc, const char *id,
		    struct sbx_run *run);
void timetravel_run_cancel(struct sbx_service *svc, struct sbx_run *run);
void timetravel_runs_end(struct timetravel *x);
/* The command that is under way in it; NULL: none of this mount is. */
const struct sbx_run *timetravel_running(const struct timetravel *x,
					 const char *id);
/* The longest that a command may take in this VM. */
unsigned int timetravel_longest_ms(const struct timetravel *x, const char *id);

/*
 * A command that a call needs: fn gets what came of it.  The work's state is
 * dropped.  ours: as of struct sbx_run.
 */
typedef void timetravel_errand_fn(struct sbx_work *w,
				  const struct sbx_run *run);
void timetravel_errand(struct sbx_work *w, const char *command, bool ours,
		       timetravel_errand_fn *fn);
/* Ends the call: with an error if the VM does not see its workspace. */
void timetravel_probe(struct sbx_work *w);
void timetravel_wipe_start(struct sbx_work *w);

/* calls about snapshots: svc_timetravel_snaps.c */
void timetravel_snapshots_start(struct sbx_work *w);
void timetravel_snapshot_start(struct sbx_work *w);
void timetravel_restore_start(struct sbx_work *w);

/*
 * Asks for the snapshots that are shown, or those of this name, which is
 * borrowed until then; fn gets them, for as long as it runs.  Else the work
 * is done, with an error.  Meanwhile w->state is not to be touched.
 */
typedef void timetravel_listed_fn(struct sbx_work *w, const json_t *list);
void timetravel_snapshots_request(struct sbx_work *w, const char *name,
				  timetravel_listed_fn *fn);

/* files of its own: svc_timetravel_own.c */
extern const struct sbx_own timetravel_own[];
void timetravel_own_start(struct sbx_work *w);

/* ---- records and errors ---- */

bool sbx_timetravel_id_is_valid(const char *id);
/* "YYYY-MM-DD HH:MM:SS", UTC, to milliseconds; 0 if it is none */
int64_t sbx_timetravel_time(const char *text);
int sbx_timetravel_vm_from_json(struct sbx_sandbox *ret, const json_t *obj,
				const char *url);
/* Whether the record that info is the text of says how the VM's agent is, as
 * that of a list does not; *ret_runs: it says that the VM runs.  NULL: no. */
bool sbx_timetravel_says_agent(const char *info, bool *ret_runs);
/* What the command of a snapshot that was asked for begins with; then comes its
 * name here. */
#define SBX_TIMETRAVEL_NAMED ": sbxfs snapshot "
/* Its name here, borrowed; NULL: it is not to be shown. */
const char *sbx_timetravel_shown_name(const json_t *record);
/* The snapshots of a list, but for those that our own traffic leaves, into the
 * call: the newest, if they are too many, and the newer of two of one name.
 * -ENOMEM. */
int sbx_timetravel_snapshots(struct sbx_call *call, const json_t *list);

/* An answer that is a list of snapshots, as it comes. */
struct timetravel_sieve {
	const char *name; /* only those of this name; or NULL */
	struct sbx_buf frame, record;
	json_t *kept; /* records, oldest first */
	size_t bytes; /* of them, about */
	unsigned int depth;
	bool in_string, escaped;
	int err;
};
/* name is borrowed until the end. */
void sbx_timetravel_sieve_init(struct timetravel_sieve *s, const char *name);
void sbx_timetravel_sieve_put(struct timetravel_sieve *s, const char *data,
			      size_t len);
/* What is shown of it, the newest, if that is too much; borrowed.  NULL:
 * -EPROTO or -ENOMEM in *ret_err. */
const json_t *sbx_timetravel_sieve_end(struct timetravel_sieve *s,
				       int *ret_err);
void sbx_timetravel_sieve_release(struct timetravel_sieve *s);

/* The record of one of these names; NULL: there is none. */
const json_t *sbx_timetravel_find_snapshot(const json_t *list,
					   const char *name);
/*
 * The body that what was written to export, or import, asks for, a JSON object:
 * {"snapshot", "key"}, both as one likes, or {"name", "key"}.  The caller frees
 * it; NULL: reterr.
 */
json_t *sbx_timetravel_pack_body(const char *text, size_t len, bool imports,
				 struct sbx_error *reterr);
#define SBX_TIMETRAVEL_PRODUCT "a time-travel server"
/* What an answer that is not 2xx means. */
int sbx_timetravel_error(struct sbx_error *e, int status, const char *body,
			 size_t len, const char *what);
/* The body of a run; NULL: -EILSEQ, -E2BIG or -ENOMEM in *ret_err. */
char *sbx_timetravel_run_body(const struct sbx_run *run, unsigned int timeout_s,
			      int *ret_err);
/* What came of it; -EPROTO, -ENOMEM. */
int sbx_timetravel_run_from_json(struct sbx_run *run, const char *body,
				 size_t len);

#endif
