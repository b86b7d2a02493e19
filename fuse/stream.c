/*
 * Output of a command for the readers of an open file: see stream.h.
 */
#include "fuse/stream.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuse/jobs.h"
#include "fuse/sandbox.h"

/* Taken from the command at a time: as much as the reader last asked for, for
 * it may be long before he asks again. */
#define HOLD_MIN  (16 * 1024)
#define HOLD_MAX  (256 * 1024)
#define NOTE_SIZE 80 /* room for the sentence about lost bytes */

/* Waits for the kernel; outlives the stream if need be. */
struct settle {
	struct sfs_stream *st; /* NULL: it is gone */
};

struct sfs_stream {
	struct sfs_sandbox *sb; /* counted */
	struct sbx_job *job;	/* counted */
	unsigned int which;
	struct sbx_job_reader *reader; /* NULL: it was at its end */
	struct sbx_job_watch watch;
	void (*on_ready)(void *arg);
	void *arg;

	uint64_t next;	/* offset of what is given next, for the reader */
	uint64_t place; /* in what the command printed, behind the hold */
	uint64_t skip;	/* that has not come yet; 0: it has */
	size_t wanted;	/* HOLD_MIN to HOLD_MAX */
	char *hold;	/* NULL: nothing is held */
	size_t cap, len, off;
	bool ended; /* behind what is held comes the end ... */
	int err;    /* ... and it is this error; 0: none */
	struct settle *settle;
	bool quiet; /* somebody is looking: no on_ready */
	bool is_screen;
};

static void stream_news(struct sfs_stream *st)
{
	if (!st->quiet)
		st->on_ready(st->arg);
}

static void on_settled(void *arg)
{
	struct settle *s = arg;
	struct sfs_stream *st = s->st;

	free(s);
	if (!st)
		return;
	st->settle = NULL;
	stream_news(st);
}

static void stream_fail(struct sfs_stream *st, int err)
{
	st->err = err;
	st->ended = true;
	st->len = st->off = 0;
}

static void stream_settle(struct sfs_stream *st)
{
	struct settle *s;

	if (!st->sb->files)
		return; /* the sandbox is gone: nothing is cached */
	s = malloc(sizeof(*s));
	if (!s) {
		stream_fail(st, -ENOMEM);
		return;
	}
	s->st = st;
	st->settle = s;
	sfs_sandbox_settle(st->sb, on_settled, s);
}

/* The rest of a line, or of a sequence of control characters, would be
 * shown as garbage. */
static void stream_skip_line(struct sfs_stream *st)
{
	const char *nl = memchr(st->hold + st->off, '\n', st->len - st->off);

	if (nl)
		st->off = (size_t)(nl + 1 - st->hold);
}

/* ---- taking from the command ---- */

/* Streams that were read to their end hold nothing back. */
static bool stream_attach(struct sfs_stream *st)
{
	if (st->reader)
		return true;
	st->reader = sbx_job_reader_new(st->job, st->which);
	if (!st->reader) {
		stream_fail(st, -ENOMEM);
		return false;
	}
	if (st->place && sbx_job_reader_seek(st->reader, st->place) > st->place)
		stream_fail(st, -ENODATA);
	return !st->err;
}

static void stream_seek(struct sfs_stream *st, uint64_t off)
{
	uint64_t at;

	if (off == SFS_STREAM_NEXT || off == st->next)
		return;
	st->len = st->off = 0;
	st->ended = false;
	st->err = 0;
	st->skip = st->place = 0;
	st->next = off;
	if (!stream_attach(st))
		return;
	at = sbx_job_reader_seek(st->reader, off);
	if (!off)
		return;
	st->place = at;
	if (at > off)
		stream_fail(st, -ENODATA);
	else if (at < off)
		st->skip = off;
}

/* Its place is further on than the command has come. */
static bool stream_skip(struct sfs_stream *st)
{
	uint64_t at = sbx_job_reader_seek(st->reader, st->skip);

	if (at > st->skip)
		stream_fail(st, -ENODATA);
	else if (at < st->skip && sbx_job_is_over(st->job, st->which))
		st->ended = true;
	else if (at < st->skip)
		return false;
	st->place = at;
	st->skip = 0;
	return true;
}

static void stream_put_note(struct sfs_stream *st, uint64_t lost)
{
	int n = snprintf(st->hold, NOTE_SIZE,
			 "[sbxfs: the first %llu bytes were not kept]\n",
			 (unsigned long long)lost);

	st->off -= (size_t)n;
	memmove(st->hold + st->off, st->hold, (size_t)n);
}

/* Takes what there is from the command; false: nothing yet. */
static bool stream_take(struct sfs_stream *st)
{
	uint64_t lost;
	long n;

	if (!stream_attach(st))
		return true;
	if (st->skip && !stream_skip(st))
		return false;
	if (st->ended)
		return true;
	if (!st->hold) {
		st->cap = st->wanted;
		st->hold = malloc(NOTE_SIZE + st->cap);
	}
	if (!st->hold) {
		stream_fail(st, -ENOMEM);
		return true;
	}
	n = sbx_job_read(st->reader, st->hold + NOTE_SIZE, st->cap, &lost);
	if (n == -EAGAIN)
		return false;
	st->off = NOTE_SIZE;
	st->len = NOTE_SIZE + (n > 0 ? (size_t)n : 0);
	st->ended = n <= 0;
	st->err = n >= 0 ? 0 : st->sb->gone ? -ESTALE : (int)n;
	st->place += lost + (st->len - NOTE_SIZE);
	if (lost && st->is_screen)
		stream_skip_line(st);
	else if (lost)
		stream_put_note(st, lost);
	return true;
}

/* ---- giving ---- */

bool sfs_stream_is_ready(struct sfs_stream *st, uint64_t off)
{
	bool quiet = st->quiet;

	st->quiet = true;
	stream_seek(st, off);
	if (!st->settle && st->off == st->len && !st->ended && stream_take(st))
		stream_settle(st);
	st->quiet = quiet;
	return !st->settle && (st->off < st->len || st->ended);
}

int sfs_stream_error(const struct sfs_stream *st)
{
	return st->off == st->len ? st->err : 0;
}

bool sfs_stream_reply(struct sfs_stream *st, fuse_req_t req, size_t size)
{
	size_t n = st->len - st->off;
	bool over = !n;

	st->wanted = size < HOLD_MIN   ? HOLD_MIN
		     : size > HOLD_MAX ? HOLD_MAX
				       : size;
	if (n > size)
		n = size;
	if (n) {
		fuse_reply_buf(req, st->hold + st->off, n);
		st->off += n;
		st->next += n;
	} else if (st->err) {
		fuse_reply_err(req, -st->err);
	} else {
		fuse_reply_buf(req, NULL, 0);
	}
	if (st->off == st->len) { /* idle streams cost no memory */
		free(st->hold);
		st->hold = NULL;
		st->off = st->len = 0;
	}
	if (over) {
		st->ended = false; /* it is looked at anew */
		st->err = 0;
		st->reader = sbx_job_reader_free(st->reader);
	}
	return over;
}

static void on_news(void *arg)
{
	stream_news(arg);
}

struct sfs_stream *sfs_stream_new(struct sfs_sandbox *sb, struct sfs_job *job,
				  unsigned int which, void (*on_ready)(void *),
				  void *arg, int *ret_err)
{
	struct sfs_stream *st;

	*ret_err = -ENODATA;
	if (!job->job)
		return NULL;
	*ret_err = -ENOMEM;
	st = calloc(1, sizeof(*st));
	if (!st)
		return NULL;
	st->reader = sbx_job_reader_new(job->job, which);
	if (!st->reader) {
		free(st);
		return NULL;
	}
	st->sb = sfs_sandbox_ref(sb);
	st->job = sbx_job_ref(job->job);
	st->which = which;
	st->wanted = HOLD_MIN;
	st->on_ready = on_ready;
	st->arg = arg;
	st->watch = (struct sbx_job_watch){.on_news = on_news, .arg = st};
	sbx_job_watch_add(st->job, &st->watch);
	return st;
}

void sfs_stream_set_screen(struct sfs_stream *st)
{
	st->is_screen = true;
}

struct sfs_stream *sfs_stream_free(struct sfs_stream *st)
{
	if (!st)
		return NULL;
	if (st->settle)
		st->settle->st = NULL;
	sbx_job_watch_del(st->job, &st->watch);
	sbx_job_reader_free(st->reader);
	sbx_job_unref(st->job);
	sfs_sandbox_unref(st->sb);
	free(st->hold);
	free(st);
	return NULL;
}
