#include "client/job.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/*
 * What is kept of the output is one list of chunks in order of arrival.
 * Positions count bytes of both streams from the start of the command.
 *
 *	head ......... retired ......... end
 *	     kept for        not read by the
 *	     late readers    slowest reader
 *
 * The helper may send CREDIT bytes of each stream beyond "retired"; what is
 * retired is credited anew.  With nobody attached everything is retired as
 * it comes, and dropped from the head as long as KEEP bytes are left.  A
 * lossy job (sbx_job_conf.keep) is always as if nobody were attached, and its
 * readers lose what is dropped.
 */
#define KEEP	    (1024 * 1024)
#define CREDIT	    (512 * 1024)
#define CREDIT_STEP (CREDIT / 4)
#define INPUT_MAX   (256 * 1024)
/* A program that writes byte by byte: its bytes are kept together, in chunks
 * that grow to this. */
#define CHUNK_MAX 4096
/* A chunk's own memory.  Where they cannot be kept together, because both
 * streams take turns, less is kept than usual. */
#define CHUNK_COST   (sizeof(struct chunk) + 16)
#define MEMORY(keep) (2 * (keep) + 64 * 1024)

struct chunk {
	struct chunk *next;
	uint64_t start;
	uint64_t at; /* of its first byte in its own stream */
	uint32_t len, cap;
	uint8_t stream; /* 1 or 2 */
	uint8_t data[];
};

struct sbx_job_reader {
	struct sbx_job_reader *next;
	struct sbx_job *job;
	unsigned int which;
	uint64_t pos;
	uint64_t lost;	  /* dropped before it came; 0: told */
	struct chunk *at; /* holds pos, or NULL: at the end */
};

struct sbx_job {
	struct sbx_remote *r; /* NULL: not any more */
	uint32_t number;
	unsigned int refs;
	enum sbx_job_state state;
	int exit_code, error;
	unsigned int signo;
	uint32_t pid;
	int64_t started_ms, duration_ms;
	bool eof[2], registered;

	char *name; /* what was to be run, until it runs */

	struct chunk *head, *tail;
	size_t keep, memory;
	bool lossy;
	uint64_t end;		  /* position after the last byte */
	uint64_t length[2];	  /* of each stream */
	uint64_t retired;	  /* position */
	struct chunk *retired_at; /* holds it, or NULL: at the end */
	uint32_t grant[2];	  /* retired and not yet credited */
	uint64_t credit[2];	  /* what the helper may still send */
	struct sbx_job_reader *readers;
	struct sbx_job_watch *watches, *next_watch;

	size_t input_waiting;
	int input_error; /* -EPIPE: it has none, or was told of its end */
	bool tty;
};

/* Listeners may come and go while they are called. */
static void job_news(struct sbx_job *j)
{
	struct sbx_job_watch *w;

	sbx_job_ref(j);
	for (w = j->watches; w; w = j->next_watch) {
		j->next_watch = w->next;
		w->on_news(w->arg);
	}
	sbx_job_unref(j);
}

/* ---- output ---- */

static void reader_skip(struct sbx_job_reader *rd)
{
	while (rd->at && !(rd->which & rd->at->stream)) {
		rd->pos = rd->at->start + rd->at->len;
		rd->at = rd->at->next;
	}
}

static uint64_t job_slowest(const struct sbx_job *j)
{
	const struct sbx_job_reader *rd;
	uint64_t pos = j->end;

	for (rd = j->lossy ? NULL : j->readers; rd; rd = rd->next)
		if (rd->pos < pos)
			pos = rd->pos;
	return pos;
}

static void job_credit(struct sbx_job *j, unsigned int stream)
{
	struct sbx_buf *b;

	if (!j->r || j->grant[stream - 1] < CREDIT_STEP || j->eof[stream - 1])
		return;
	b = sbx_remote_begin(j->r, SBX_OP_CREDIT_ONE, 3);
	sbx_put_u64(b, j->number);
	sbx_put_u64(b, stream);
	sbx_put_u64(b, j->grant[stream - 1]);
	sbx_remote_submit_quiet(j->r);
	j->credit[stream - 1] += j->grant[stream - 1];
	j->grant[stream - 1] = 0;
}

/* Readers that are still there go on behind it, and learn what they lost. */
static void job_leave_chunk(struct sbx_job *j, const struct chunk *c)
{
	struct sbx_job_reader *rd;

	for (rd = j->readers; rd; rd = rd->next)
		if (rd->at == c)
			rd->at = c->next;
}

static void job_drop_head(struct sbx_job *j)
{
	uint64_t slowest = job_slowest(j);
	struct chunk *c;

	while ((c = j->head) && c != j->retired_at &&
	       c->start + c->len <= slowest &&
	       (j->end - (c->start + c->len) >= j->keep ||
		j->memory > MEMORY(j->keep))) {
		if (j->lossy)
			job_leave_chunk(j, c);
		j->head = c->next;
		if (!j->head)
			j->tail = NULL;
		j->memory -= CHUNK_COST + c->cap;
		free(c);
	}
}

/* Moves "retired" up to the slowest reader and lets go what may go. */
static void job_retire(struct sbx_job *j)
{
	uint64_t to = job_slowest(j);
	struct chunk *c;

	while ((c = j->retired_at) && j->retired < to) {
		uint64_t stop = c->start + c->len;
		uint64_t step = stop < to ? stop : to;

		j->grant[c->stream - 1] += (uint32_t)(step - j->retired);
		j->retired = step;
		if (step == stop)
			j->retired_at = c->next;
	}
	job_credit(j, 1);
	job_credit(j, 2);
	job_drop_head(j);
}

/* The tail if there is room in it, or a new one; NULL without memory. */
static struct chunk *chunk_for(struct sbx_job *j, int stream, size_t len)
{
	struct chunk *c = j->tail;
	size_t cap = len;

	if (c && c->stream == stream) {
		if (c->cap - c->len >= len)
			return c;
		if (cap < 2 * (size_t)c->cap)
			cap = 2 * (size_t)c->cap;
		if (cap > CHUNK_MAX)
			cap = len < CHUNK_MAX ? CHUNK_MAX : len;
	}
	c = malloc(sizeof(*c) + cap);
	if (!c)
		return NULL;
	c->next = NULL;
	c->start = j->end;
	c->at = j->length[stream - 1];
	c->len = 0;
	c->cap = (uint32_t)cap;
	c->stream = (uint8_t)stream;
	if (j->tail)
		j->tail->next = c;
	else
		j->head = c;
	j->tail = c;
	j->memory += CHUNK_COST + cap;
	return c;
}

static void job_append(struct sbx_job *j, int stream, const uint8_t *data,
		       size_t len)
{
	struct chunk *c = chunk_for(j, stream, len);
	struct sbx_job_reader *rd;

	if (!c) {
		j->error = -ENOMEM;
		return;
	}
	memcpy(c->data + c->len, data, len);
	c->len += (uint32_t)len;
	j->end += len;
	j->length[stream - 1] += len;
	if (!j->retired_at)
		j->retired_at = c;
	for (rd = j->readers; rd; rd = rd->next) {
		if (!rd->at)
			rd->at = c;
		reader_skip(rd);
	}
	job_retire(j);
}

struct sbx_job_reader *sbx_job_reader_new(struct sbx_job *j, unsigned which)
{
	struct sbx_job_reader *rd = calloc(1, sizeof(*rd));

	if (!rd)
		return NULL;
	rd->job = sbx_job_ref(j);
	rd->which = which;
	rd->next = j->readers;
	j->readers = rd;
	sbx_job_reader_seek(rd, 0);
	return rd;
}

struct sbx_job_reader *sbx_job_reader_free(struct sbx_job_reader *rd)
{
	struct sbx_job_reader **at;

	if (!rd)
		return NULL;
	for (at = &rd->job->readers; *at != rd; at = &(*at)->next)
		;
	*at = rd->next;
	job_retire(rd->job);
	sbx_job_unref(rd->job);
	free(rd);
	return NULL;
}

/* Of a chunk's first byte in what the reader sees. */
static uint64_t reader_count(const struct sbx_job_reader *rd,
			     const struct chunk *c)
{
	return rd->which == 3 ? c->start : c->at;
}

uint64_t sbx_job_reader_seek(struct sbx_job_reader *rd, uint64_t to)
{
	struct sbx_job *j = rd->job;
	struct chunk *c = j->head;
	uint64_t off = 0, now;

	while (c &&
	       (!(rd->which & c->stream) || reader_count(rd, c) + c->len <= to))
		c = c->next;
	if (c && reader_count(rd, c) < to)
		off = to - reader_count(rd, c);
	rd->at = c;
	rd->pos = c ? c->start + off : j->end;
	now = c ? reader_count(rd, c) + off : sbx_job_length(j, rd->which);
	rd->lost = to ? 0 : now;
	job_retire(j);
	return now;
}

/* One stream ends when it is closed; both together with the command. */
bool sbx_job_is_over(const struct sbx_job *j, unsigned which)
{
	return j->state == SBX_JOB_ENDED || (which != 3 && j->eof[which - 1]);
}

static long reader_at_end(const struct sbx_job_reader *rd)
{
	const struct sbx_job *j = rd->job;

	if (j->state == SBX_JOB_ENDED && j->error && j->exit_code < 0)
		return j->error;
	return sbx_job_is_over(j, rd->which) ? 0 : -EAGAIN;
}

long sbx_job_read(struct sbx_job_reader *rd, void *dst, size_t size,
		  uint64_t *ret_lost)
{
	size_t done = 0;

	if (ret_lost)
		*ret_lost = 0;
	if (!rd->at) {
		long r = reader_at_end(rd);

		if (r != 0)
			return r;
	}
	if (rd->at && rd->pos < rd->at->start) { /* of a lossy job */
		rd->lost += rd->at->start - rd->pos;
		rd->pos = rd->at->start;
	}
	if (ret_lost)
		*ret_lost = rd->lost;
	rd->lost = 0;
	while (rd->at && done < size) {
		size_t off = (size_t)(rd->pos - rd->at->start);
		size_t n = rd->at->len - off;

		if (n > size - done)
			n = size - done;
		memcpy((uint8_t *)dst + done, rd->at->data + off, n);
		done += n;
		rd->pos += n;
		if (off + n == rd->at->len) {
			rd->at = rd->at->next;
			reader_skip(rd);
		}
	}
	job_retire(rd->job);
	return (long)done;
}

/* ---- what the helper says ---- */

static void job_unregister(struct sbx_job *j)
{
	if (!j->registered)
		return;
	j->registered = false;
	if (j->r)
		sbx_remote_job_del(j->r, j->number);
	j->r = NULL;
	sbx_job_unref(j);
}

static void job_check_over(struct sbx_job *j)
{
	if (j->state == SBX_JOB_ENDED && j->eof[0] && j->eof[1])
		job_unregister(j);
}

static void job_end(struct sbx_job *j, int exit_code, int error)
{
	if (j->state == SBX_JOB_ENDED)
		return;
	j->state = SBX_JOB_ENDED;
	j->exit_code = exit_code;
	/* to whoever reads EAGAIN says that there will be more */
	if (error)
		j->error = error == -EAGAIN ? -EBUSY : error;
}

static void on_output(void *arg, int stream, const uint8_t *data, size_t len,
		      bool eof)
{
	struct sbx_job *j = sbx_job_ref(arg);

	if (len > j->credit[stream - 1]) {
		/* memory is not what it may fill: it is heard no more */
		job_end(j, -1, -EPROTO);
		job_unregister(j);
	} else if (len) {
		j->credit[stream - 1] -= len;
		job_append(j, stream, data, len);
	}
	if (eof)
		j->eof[stream - 1] = true;
	job_news(j);
	job_check_over(j);
	sbx_job_unref(j);
}

static void on_exit_code(void *arg, int code, unsigned int signo,
			 int64_t duration_ms)
{
	struct sbx_job *j = sbx_job_ref(arg);

	j->signo = signo;
	j->duration_ms = duration_ms;
	job_end(j, code, 0);
	job_news(j);
	job_check_over(j);
	sbx_job_unref(j);
}

static void on_lost(void *arg)
{
	struct sbx_job *j = sbx_job_ref(arg);

	j->r = NULL; /* it has forgotten the number already */
	job_end(j, -1, -EIO);
	job_unregister(j);
	job_news(j);
	sbx_job_unref(j);
}

static const struct sbx_remote_job remote_job = {
	.on_output = on_output,
	.on_exit = on_exit_code,
	.on_lost = on_lost,
};

/* As env(1): 127 not found, 126 found and no good; -1: not its fault. */
static int refused_code(int err)
{
	switch (-err) {
	case ENOENT:
		return 127;
	case EACCES:
	case EPERM:
	case ENOEXEC:
	case ENOTDIR:
	case EISDIR:
	case ELOOP:
	case ENAMETOOLONG:
	case ETXTBSY:
	case ELIBBAD:
	case E2BIG:
		return 126;
	default:
		return -1;
	}
}

/* Who waits for its output gets the reason there, as from a shell.  What the
 * connection failed with is no word about the command. */
static void job_refused(struct sbx_job *j, int err)
{
	bool is_answer = j->r && sbx_remote_state(j->r) == SBX_LINK_UP;
	int code = is_answer ? refused_code(err) : -1;
	char text[512];

	if (code >= 0) {
		snprintf(text, sizeof(text), "sbxfs: cannot run %.400s: %s\n",
			 j->name ? j->name : "it", strerror(-err));
		job_append(j, j->tty ? 1 : 2, (const uint8_t *)text,
			   strlen(text));
		j->eof[0] = j->eof[1] = true;
	}
	job_end(j, code, err);
}

static void on_started(void *arg, int err, struct sbx_rd *rd)
{
	struct sbx_job *j = arg;
	uint32_t pid = sbx_get_u32(rd);

	if (!err && rd->err)
		err = rd->err;
	if (err) {
		/* a lost helper may or may not have started it */
		job_refused(j, err == -ERESTART ? -EIO : err);
		job_unregister(j);
	} else if (j->state == SBX_JOB_STARTING) {
		j->pid = pid;
		j->state = SBX_JOB_RUNNING;
	}
	free(j->name);
	j->name = NULL;
	job_news(j);
	sbx_job_unref(j);
}

/* ---- starting ---- */

static size_t list_len(const char *const *list)
{
	size_t n = 0;

	while (list && list[n])
		n++;
	return n;
}

static void put_env(struct sbx_buf *b, const char *const *env)
{
	size_t i, n = list_len(env);

	sbx_put_map(b, (uint32_t)n);
	for (i = 0; i < n; i++) {
		const char *eq = strchrnul(env[i], '=');

		sbx_put_bin(b, env[i], (size_t)(eq - env[i]));
		sbx_put_bin(b, *eq ? eq + 1 : "", *eq ? strlen(eq + 1) : 0);
	}
}

/* The program, and the place if one was asked for: either may be missing. */
static void job_set_name(struct sbx_job *j, const struct sbx_job_conf *conf)
{
	int n = conf->cwd ? asprintf(&j->name, "%s in %s", conf->argv[0],
				     conf->cwd)
			  : asprintf(&j->name, "%s", conf->argv[0]);

	if (n < 0)
		j->name = NULL; /* it is called something else then */
}

static void job_exec(struct sbx_job *j, const struct sbx_job_conf *conf)
{
	struct sbx_buf *b = sbx_remote_begin(j->r, SBX_OP_EXEC, 9);
	size_t i, n = list_len(conf->argv);

	sbx_put_u64(b, j->number);
	sbx_put_array(b, (uint32_t)n);
	for (i = 0; i < n; i++)
		sbx_put_bin(b, conf->argv[i], strlen(conf->argv[i]));
	sbx_put_bin(b, conf->cwd, conf->cwd ? strlen(conf->cwd) : 0);
	put_env(b, conf->env);
	sbx_put_u64(b, conf->flags);
	sbx_put_u64(b, conf->cols);
	sbx_put_u64(b, conf->rows);
	sbx_put_u64(b, CREDIT);
	sbx_put_u64(b, conf->timeout_ms);
	sbx_job_ref(j);
	sbx_remote_submit(j->r, on_started, NULL, j);
}

struct sbx_job *sbx_job_start(struct sbx_remote *r,
			      const struct sbx_job_conf *conf)
{
	struct sbx_job *j = calloc(1, sizeof(*j));
	struct timespec now;
	int err;

	if (!j)
		return NULL;
	clock_gettime(CLOCK_REALTIME, &now);
	j->refs = 1;
	j->exit_code = -1;
	j->tty = conf->flags & SBX_EXEC_TTY;
	if (!(conf->flags & (SBX_EXEC_TTY | SBX_EXEC_STDIN)))
		j->input_error = -EPIPE;
	job_set_name(j, conf);
	j->credit[0] = j->credit[1] = CREDIT;
	j->lossy = conf->keep != 0;
	j->keep = conf->keep ? conf->keep : KEEP;
	j->started_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
	j->number = (uint32_t)sbx_remote_number(r);
	err = sbx_remote_job_add(r, j->number, &remote_job, j);
	if (err < 0) {
		job_end(j, -1, err);
		return j;
	}
	j->r = r;
	j->registered = true;
	sbx_job_ref(j);
	job_exec(j, conf);
	return j;
}

struct sbx_job *sbx_job_ref(struct sbx_job *j)
{
	j->refs++;
	return j;
}

void sbx_job_unref(struct sbx_job *j)
{
	struct chunk *c;

	if (--j->refs) {
		/* over, and only the registration for late output is left */
		if (j->refs == 1 && j->registered && j->state == SBX_JOB_ENDED)
			job_unregister(j);
		return;
	}
	while ((c = j->head)) {
		j->head = c->next;
		free(c);
	}
	free(j->name);
	free(j);
}

void sbx_job_watch_add(struct sbx_job *j, struct sbx_job_watch *w)
{
	w->next = j->watches;
	j->watches = w;
}

void sbx_job_watch_del(struct sbx_job *j, struct sbx_job_watch *w)
{
	struct sbx_job_watch **at = &j->watches;

	while (*at && *at != w)
		at = &(*at)->next;
	if (*at)
		*at = w->next;
	if (j->next_watch == w)
		j->next_watch = w->next;
}

/* ---- input, signals ---- */

static void on_input_done(void *arg, int err, struct sbx_rd *rd)
{
	struct sbx_job *j = arg;

	(void)rd;
	j->input_waiting -= j->input_waiting < SBX_WRITE_MAX ? j->input_waiting
							     : SBX_WRITE_MAX;
	if (err && !j->input_error)
		j->input_error = err == -EPIPE ? -EPIPE : -EIO;
	job_news(j);
	sbx_job_unref(j);
}

static void job_send_input(struct sbx_job *j, const void *data, size_t len)
{
	struct sbx_buf *b = sbx_remote_begin(j->r, SBX_OP_STDIN, 2);

	sbx_put_u64(b, j->number);
	sbx_put_bin(b, data, len);
	/* counted by the piece, so that the answer need not be told how much */
	j->input_waiting += SBX_WRITE_MAX;
	sbx_job_ref(j);
	sbx_remote_submit(j->r, on_input_done, NULL, j);
}

int sbx_job_can_write(const struct sbx_job *j)
{
	if (!j->r || j->state == SBX_JOB_ENDED)
		return -EPIPE;
	if (j->input_error)
		return j->input_error;
	return j->input_waiting + SBX_WRITE_MAX <= INPUT_MAX ? 0 : -EAGAIN;
}

long sbx_job_write(struct sbx_job *j, const void *data, size_t len)
{
	const uint8_t *p = data;
	size_t done = 0;

	int r = sbx_job_can_write(j);

	if (r < 0 && (r != -EAGAIN || len))
		return r;
	if (!len) {
		job_send_input(j, NULL, 0);
		if (!j->tty) /* there it is but a character */
			j->input_error = -EPIPE;
		return 0;
	}
	while (done < len && j->input_waiting + SBX_WRITE_MAX <= INPUT_MAX) {
		size_t n = len - done;

		if (n > SBX_WRITE_MAX)
			n = SBX_WRITE_MAX;
		job_send_input(j, p + done, n);
		done += n;
	}
	return done ? (long)done : -EAGAIN;
}

int sbx_job_hangup(struct sbx_job *j)
{
	struct sbx_buf *b;

	if (!j->r || j->state == SBX_JOB_ENDED)
		return -ESRCH;
	b = sbx_remote_begin(j->r, SBX_OP_HANGUP, 1);
	sbx_put_u64(b, j->number);
	sbx_remote_submit_quiet(j->r);
	return 0;
}

int sbx_job_signal(struct sbx_job *j, int signo)
{
	const struct sbx_remote_info *info;
	struct sbx_buf *b;

	if (!j->r || j->state == SBX_JOB_ENDED)
		return -ESRCH;
	info = sbx_remote_info(j->r);
	if (info && info->runs && j->state == SBX_JOB_RUNNING)
		return -EOPNOTSUPP;
	b = sbx_remote_begin(j->r, SBX_OP_SIGNAL, 2);
	sbx_put_u64(b, j->number);
	sbx_put_u64(b, (uint64_t)signo);
	sbx_remote_submit_quiet(j->r);
	return 0;
}

int sbx_job_resize(struct sbx_job *j, unsigned int cols, unsigned int rows)
{
	struct sbx_buf *b;

	if (!j->r || j->state == SBX_JOB_ENDED)
		return -ESRCH;
	b = sbx_remote_begin(j->r, SBX_OP_RESIZE, 3);
	sbx_put_u64(b, j->number);
	sbx_put_u64(b, cols);
	sbx_put_u64(b, rows);
	sbx_remote_submit_quiet(j->r);
	return 0;
}

int sbx_job_close_output(struct sbx_job *j, unsigned int stream)
{
	struct sbx_buf *b;

	if (!j->r || j->state == SBX_JOB_ENDED)
		return -ESRCH;
	b = sbx_remote_begin(j->r, SBX_OP_CLOSE_OUTPUT, 2);
	sbx_put_u64(b, j->number);
	sbx_put_u64(b, stream);
	sbx_remote_submit_quiet(j->r);
	return 0;
}

/* ---- questions ---- */

enum sbx_job_state sbx_job_state(const struct sbx_job *j)
{
	return j->state;
}

int sbx_job_exit_code(const struct sbx_job *j)
{
	return j->exit_code;
}

int sbx_job_error(const struct sbx_job *j)
{
	return j->error;
}

unsigned int sbx_job_ended_by(const struct sbx_job *j)
{
	return j->signo;
}

uint32_t sbx_job_pid(const struct sbx_job *j)
{
	return j->pid;
}

int64_t sbx_job_started_ms(const struct sbx_job *j)
{
	return j->started_ms;
}

int64_t sbx_job_duration_ms(const struct sbx_job *j)
{
	return j->duration_ms;
}

size_t sbx_job_kept(const struct sbx_job *j)
{
	return j->head ? (size_t)(j->end - j->head->start) : 0;
}

void sbx_job_keep(struct sbx_job *j, size_t size)
{
	if (j->lossy)
		return;
	j->keep = size < KEEP ? size : KEEP;
	job_drop_head(j);
}

uint64_t sbx_job_length(const struct sbx_job *j, unsigned which)
{
	return (which & 1 ? j->length[0] : 0) + (which & 2 ? j->length[1] : 0);
}
