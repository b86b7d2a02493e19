/*
 * The commands started in one sandbox through this mount, numbered from 1.
 * Records stay after the end, at most SFS_MAX_JOB_RECORDS, and with commands of
 * SFS_MAX_JOB_TEXT bytes at most; the output of the newest ones stays as far as
 * SFS_MAX_JOB_OUTPUT bytes go.  Those that run
 * share SFS_MAX_RUNNING_OUTPUT.  Loop thread.
 */
#ifndef SFS_JOBS_H
#define SFS_JOBS_H

#include <uv.h>

#include "client/job.h"
#include "client/spec.h"

#define SFS_MAX_JOB_RECORDS    1000
#define SFS_MAX_JOB_TEXT       (16 * 1024 * 1024)
#define SFS_MAX_JOB_OUTPUT     (16 * 1024 * 1024)
#define SFS_MAX_RUNNING_OUTPUT (64 * 1024 * 1024)

struct ctl_node;
struct sfs_sandbox;
struct sfs_job_wait;

struct sfs_job {
	unsigned int refs;
	uint32_t number;
	struct sfs_sandbox *sb; /* not counted; NULL: forgotten */
	struct sbx_job *job;	/* NULL: its output is not kept any more */
	struct sbx_job_watch watch;
	struct sfs_job_wait *waits;
	struct ctl_node *nodes;
	struct sfs_job *next; /* one that was started before */
	bool leaving;	      /* forgotten but for its end */

	/* the record; valid without job, too; command NULL: forgotten */
	char *command, *cwd;
	char **env;    /* what was set, or NULL */
	size_t record; /* bytes of these texts */
	bool tty, takes_input;
	unsigned int cols, rows; /* of its terminal */
	uint64_t length[2];	 /* of what it printed */
	enum sbx_job_state state;
	uint64_t ended; /* as the how manieth one; 0: not yet, or a terminal */
	int error, exit_code;
	unsigned int ended_by; /* a signal; 0: none */
	uint32_t pid;
	int64_t started_ms, duration_ms;
	char snapshot[SBX_SNAPSHOT_SIZE]; /* left by it; "": none */

	char *name; /* of a terminal; NULL: of a command */

	char *input; /* what its stdin still gets */
	size_t input_len, input_off;
	uv_timer_t *timer;  /* of timeout_ms; NULL: none */
	unsigned int shots; /* signals that its timeout has sent */
};

struct sfs_jobs {
	struct sfs_job *newest;
	/* terminals, too; no more than may run (SBX_JOBS_MAX) */
	struct sfs_job *leaving;
	uint32_t last_number;
	uint64_t ends; /* so many have ended */
};

/* Starts a command and takes the spec's content; whoever takes it in has had
 * its user checked (user.h).  *ret is borrowed. */
int sfs_jobs_start(struct sfs_sandbox *sb, struct sbx_exec_spec *spec,
		   struct sfs_job **ret, struct sbx_error *reterr);
/*
 * The same for a terminal, which is in no list (terminals.h); the name is
 * copied, the reference is the caller's.
 */
struct sfs_job *sfs_job_new(struct sfs_sandbox *sb, struct sbx_exec_spec *spec,
			    const char *terminal, struct sbx_error *reterr);
/* What is known of a command before it is asked for: whether one of so many
 * bytes, with its input, can be run where commands are runs of their own, and
 * one that wants a terminal (tty), as far as is known already.  0, or an errno
 * and why. */
int sfs_jobs_check(const struct sfs_sandbox *sb, size_t len, bool tty,
		   struct sbx_error *reterr);
struct sfs_job *sfs_jobs_find(struct sfs_sandbox *sb, uint32_t number);
/* Forgets one, or all; commands go on. */
void sfs_jobs_remove(struct sfs_sandbox *sb, struct sfs_job *j);
void sfs_jobs_clear(struct sfs_sandbox *sb);

/*
 * It is in no list any more: drops the list's reference and all that takes
 * memory.  What is open stays as it is; the kernel, which lets go of what it
 * looked up when it likes, and whoever opens something by way of that find the
 * numbers alone.
 */
void sfs_job_forget(struct sfs_job *j);
void sfs_jobs_forget(struct sfs_job **list); /* all of that one */
/* The same; but the end of one that runs is still told. */
void sfs_job_leave(struct sfs_job *j);
/* Takes it out of a list; false: it is not in that. */
bool sfs_job_unlink(struct sfs_job **list, struct sfs_job *j);
struct sfs_job *sfs_job_ref(struct sfs_job *j);
void sfs_job_unref(struct sfs_job *j);

/* bytes printed so far; which as in sbx_job_reader_new */
uint64_t sfs_job_length(const struct sfs_job *j, unsigned int which);
/* 0, or why it could not run, as a sentence */
int sfs_job_failure(const struct sfs_job *j, struct sbx_error *reterr);
/* Reading what it printed fails with err, by way of that file: noted, with the
 * reason (ctl_note). */
void sfs_job_note(const struct sfs_job *j, struct ctl_node *n, int err);

/* It starts when its input has ended, or another command: where commands are
 * runs of their own. */
bool sfs_job_is_queued(const struct sfs_job *j);

/*
 * Calls fn once the command has reached that state, at once if it has.  w
 * stays where it is until then or until sfs_job_wait_del.
 */
struct sfs_job_wait {
	enum sbx_job_state state;
	void (*fn)(void *arg);
	void *arg;
	struct sfs_job_wait *next;
};
void sfs_job_wait_add(struct sfs_job *j, struct sfs_job_wait *w);
void sfs_job_wait_del(struct sfs_job *j, struct sfs_job_wait *w);

#endif
