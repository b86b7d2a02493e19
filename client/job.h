/*
 * Commands in a sandbox: start, streams, signals, result.  What a command
 * prints is kept, bounded, so that readers may come late; while readers are
 * attached the slowest one holds the command back, with none attached the
 * oldest output is dropped.  Loop thread only.
 */
#ifndef SBX_JOB_H
#define SBX_JOB_H

#include <stdbool.h>
#include <stdint.h>

#include "client/remote.h"

struct sbx_job;

/*
 * What the commands of a mount share: the more of their output waits for
 * readers who have stalled, the less may come of each.  Zeroed at first;
 * outlives them.
 */
struct sbx_job_pool {
	uint64_t taken; /* bytes that nobody has read, or that may come */
};

struct sbx_job_conf {
	const char *const *argv; /* NULL-ended */
	const char *cwd;	 /* NULL: workspace */
	const char *const *env;	 /* "NAME=value", NULL-ended, or NULL */
	unsigned int flags;	 /* SBX_EXEC_* */
	unsigned int cols, rows; /* of a terminal; 0: 80x24 */
	/* the owner kills it then; where no signal reaches it, it is done
	 * there; 0: never */
	unsigned int timeout_ms;
	/* not 0: that much of the output is kept, and a slow reader loses the
	 * oldest instead of holding the command back */
	size_t keep;
	struct sbx_job_pool *pool; /* NULL: it shares with none */
};

/* Called whenever something about the job changed: output came, it started
 * or ended.  Owners then look.  Several listeners per job. */
struct sbx_job_watch {
	void (*on_news)(void *arg);
	void *arg;
	struct sbx_job_watch *next; /* the job's */
};

/*
 * Starts a command; strings are copied.  Never NULL but for lack of memory;
 * what goes wrong shows in sbx_job_error.  One reference is the caller's.
 */
struct sbx_job *sbx_job_start(struct sbx_remote *r,
			      const struct sbx_job_conf *conf);
struct sbx_job *sbx_job_ref(struct sbx_job *j);
void sbx_job_unref(struct sbx_job *j); /* does not kill it */

void sbx_job_watch_add(struct sbx_job *j, struct sbx_job_watch *w);
void sbx_job_watch_del(struct sbx_job *j, struct sbx_job_watch *w);

enum sbx_job_state { SBX_JOB_STARTING, SBX_JOB_RUNNING, SBX_JOB_ENDED };
enum sbx_job_state sbx_job_state(const struct sbx_job *j);
int sbx_job_exit_code(const struct sbx_job *j); /* 128 + signal; -1: none */
/* the signal that ended it; 0: none */
unsigned int sbx_job_ended_by(const struct sbx_job *j);
/* 0, or why it could not start.  -EBUSY: too many run there.  If it was the
 * command's fault there is an exit code, too, 127 or 126, and a sentence on
 * stderr, as env(1) has it. */
int sbx_job_error(const struct sbx_job *j);
uint32_t sbx_job_pid(const struct sbx_job *j);
int64_t sbx_job_started_ms(const struct sbx_job *j); /* Unix epoch */
int64_t sbx_job_duration_ms(const struct sbx_job *j);
/* the one that the service took when it had ended; "": none, or not yet */
const char *sbx_job_snapshot(const struct sbx_job *j);
/* the memory that its output takes, with all that is beside the bytes */
size_t sbx_job_kept(const struct sbx_job *j);
/* From now on no more than that many bytes are kept for late readers, and no
 * more than 1 MiB; those that are there lose nothing. */
void sbx_job_keep(struct sbx_job *j, size_t size);
/* bytes that it has printed so far, which may still be on their way, and
 * whether all there will be has come; which as below */
uint64_t sbx_job_length(const struct sbx_job *j, unsigned which);
bool sbx_job_is_over(const struct sbx_job *j, unsigned which);

/* Position of a reader in what the job printed; which: bit 0 stdout, bit 1
 * stderr, both: in order of arrival. */
struct sbx_job_reader;
struct sbx_job_reader *sbx_job_reader_new(struct sbx_job *j, unsigned which);
struct sbx_job_reader *sbx_job_reader_free(struct sbx_job_reader *rd);
/*
 * Goes to the byte of that number, counted in what this reader sees.  Returns
 * where it is now: further on if that byte was dropped, less far if it has
 * not come yet.
 */
uint64_t sbx_job_reader_seek(struct sbx_job_reader *rd, uint64_t to);
/*
 * Up to size bytes into dst; 0: the stream has ended; -EAGAIN: nothing yet.
 * *ret_lost: bytes dropped before the first one, told once to whoever starts
 * at the beginning (may be NULL).
 */
long sbx_job_read(struct sbx_job_reader *rd, void *dst, size_t size,
		  uint64_t *ret_lost);

/*
 * Input: how many bytes were taken; -EAGAIN when 2 MiB wait (news follow
 * when there is room), -EPIPE when nobody can read them.  len 0: end of input.
 */
long sbx_job_write(struct sbx_job *j, const void *data, size_t len);
/* What sbx_job_write would say: 0 (there is room), -EAGAIN, -EPIPE. */
int sbx_job_can_write(const struct sbx_job *j);
/* Nobody wants stream 1 or 2 any more: writing to it fails there. */
int sbx_job_close_output(struct sbx_job *j, unsigned int stream);
/* -ESRCH; -EOPNOTSUPP: nothing reaches the commands of this service. */
int sbx_job_signal(struct sbx_job *j, int signo);
/* Hangs its terminal up, as closing a terminal window does. */
int sbx_job_hangup(struct sbx_job *j);
int sbx_job_resize(struct sbx_job *j, unsigned int cols, unsigned int rows);

#endif
