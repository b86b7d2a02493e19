#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/chunk.h"
#include "client/job_int.h"

/*
 * What is kept of the output is one list of chunks in order of arrival.
 * Positions count bytes of both streams from the start of the command.
 *
 *	head ......... retired ......... end
 *	     kept for        not read by the
 *	     late readers    slowest reader
 *
 * The helper may send "window" bytes of each stream beyond "retired"; what is
 * retired is credited anew.  With nobody attached everything is retired as it
 * comes, and dropped from the head as long as KEEP bytes are left.  A lossy
 * job (keep in struct sbx_job_conf) is always as if nobody were attached, and
 * its readers lose what is dropped.
 *
 * So the windows are what may have to be held for readers who have stalled:
 * all jobs of a pool take them from there.
 */
#define KEEP	    (1024 * 1024)
#define CREDIT_STEP (SBX_JOB_CREDIT / 4) /* or a quarter of the window */
/* What is kept takes so much memory at most; with chunks this is enough for
 * keep bytes, whatever they are. */
#define MEMORY(keep) (3 * (keep) + 64 * 1024)

struct sbx_job_reader {
	struct sbx_job_reader *next;
	struct sbx_job *job;
	unsigned int which;
	uint64_t pos;
	uint64_t lost;	      /* dropped before it came; 0: told */
	struct sbx_chunk *at; /* holds pos, or NULL: at the end */
};

/* To the next byte that it reads. */
static void reader_skip(struct sbx_job_reader *rd)
{
	const struct sbx_chunk *c;

	for (; (c = rd->at); rd->at = c->next) {
		uint32_t off =
			rd->pos > c->start ? (uint32_t)(rd->pos - c->start) : 0;
		uint32_t next = sbx_chunk_find(c, off, rd->which);

		if (next > off)
			rd->pos = c->start + next;
		if (next < c->len)
			return;
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

static uint32_t smaller(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static uint32_t pool_share(const struct sbx_job *j)
{
	uint64_t taken = j->pool ? j->pool->taken : 0;

	if (taken >= SBX_JOB_POOL)
		return 0;
	return (uint32_t)(SBX_JOB_POOL - taken) / SBX_JOB_POOL_SHARE;
}

void sbx_job_account(struct sbx_job *j)
{
	uint64_t now = j->end - j->retired;

	for (int i = 0; i < 2; i++)
		if (j->registered && !j->eof[i])
			now += j->credit[i] + j->grant[i];
	if (j->pool)
		j->pool->taken += now - j->taken;
	j->taken = now;
}

/* By how much. */
static uint32_t window_widen(struct sbx_job *j, unsigned int stream)
{
	uint32_t was = j->window[stream - 1];
	uint32_t by = smaller(was, SBX_JOB_CREDIT_MAX - was);

	by = smaller(by, pool_share(j));
	j->window[stream - 1] += by;
	return by;
}

static void job_credit(struct sbx_job *j, unsigned int stream)
{
	uint32_t grant = j->grant[stream - 1];

	if (!j->r || j->eof[stream - 1] ||
	    grant < smaller(CREDIT_STEP, j->window[stream - 1] / 4))
		return;
	if (j->retired == j->end)
		grant += window_widen(j, stream);
	sbx_job_order(j, SBX_OP_CREDIT_ONE, 2, (uint64_t[]){stream, grant});
	j->credit[stream - 1] += grant;
	j->grant[stream - 1] = 0;
}

/* Readers that are still there go on behind it, and learn what they lost. */
static void job_leave_chunk(struct sbx_job *j, const struct sbx_chunk *c)
{
	struct sbx_job_reader *rd;

	for (rd = j->readers; rd; rd = rd->next)
		if (rd->at == c)
			rd->at = c->next;
}

static void job_drop_head(struct sbx_job *j)
{
	uint64_t slowest = job_slowest(j);
	struct sbx_chunk *c;

	while ((c = j->head) && c != j->retired_at &&
	       c->start + c->len <= slowest &&
	       (j->end - (c->start + c->len) >= j->keep ||
		j->memory > MEMORY(j->keep))) {
		if (j->lossy)
			job_leave_chunk(j, c);
		j->head = c->next;
		if (!j->head)
			j->tail = NULL;
		j->memory -= sbx_chunk_size(c);
		free(c);
	}
}

/* Moves "retired" up to the slowest reader and lets go what may go. */
static void job_retire(struct sbx_job *j)
{
	uint64_t to = job_slowest(j);
	struct sbx_chunk *c;

	while ((c = j->retired_at) && j->retired < to) {
		uint32_t off = (uint32_t)(j->retired - c->start);
		int stream;
		uint64_t stop = c->start + sbx_chunk_run(c, off, &stream);
		uint64_t step = stop < to ? stop : to;

		j->grant[stream - 1] += (uint32_t)(step - j->retired);
		j->retired = step;
		if (step == c->start + c->len)
			j->retired_at = c->next;
	}
	job_credit(j, 1);
	job_credit(j, 2);
	sbx_job_account(j);
	job_drop_head(j);
}

/* The tail if there is room in it, or a new one; NULL without memory. */
static struct sbx_chunk *chunk_for(struct sbx_job *j, int stream, size_t len)
{
	struct sbx_chunk *c = j->tail;

	if (c && sbx_chunk_has_room(c, stream, len))
		return c;
	c = sbx_chunk_new(c, len);
	if (!c)
		return NULL;
	c->start = j->end;
	c->at[0] = j->length[0];
	c->at[1] = j->length[1];
	if (j->tail)
		j->tail->next = c;
	else
		j->head = c;
	j->tail = c;
	j->memory += sbx_chunk_size(c);
	return c;
}

static void job_append(struct sbx_job *j, int stream, const uint8_t *data,
		       size_t len)
{
	struct sbx_chunk *c = chunk_for(j, stream, len);
	struct sbx_job_reader *rd;

	if (!c) {
		j->error = -ENOMEM;
		return;
	}
	sbx_chunk_add(c, stream, data, len);
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

int sbx_job_output(struct sbx_job *j, int stream, const void *data, size_t len)
{
	if (len > j->credit[stream - 1])
		return -EPROTO;
	if (!len)
		return 0;
	j->credit[stream - 1] -= len;
	job_append(j, stream, data, len);
	return 0;
}

void sbx_job_output_end(struct sbx_job *j, int stream)
{
	j->eof[stream - 1] = true;
	j->credit[stream - 1] = 0;
	sbx_job_account(j);
}

void sbx_job_output_drain(struct sbx_job *j)
{
	for (unsigned int i = 0; i < 2; i++) {
		uint64_t room = SBX_JOB_CREDIT;

		if (j->printed[i] > j->length[i] + room)
			room = j->printed[i] - j->length[i];
		if (j->r && !j->eof[i] && j->credit[i] < room)
			sbx_job_order(j, SBX_OP_CREDIT_ONE, 2,
				      (uint64_t[]){i + 1, room - j->credit[i]});
	}
}

void sbx_job_output_init(struct sbx_job *j, size_t keep,
			 struct sbx_job_pool *pool)
{
	uint32_t window;

	j->pool = pool;
	window = smaller(SBX_JOB_CREDIT, pool_share(j));
	if (window < SBX_JOB_CREDIT_MIN)
		window = SBX_JOB_CREDIT_MIN;
	j->credit[0] = j->credit[1] = window;
	j->window[0] = j->window[1] = window;
	j->lossy = keep != 0;
	j->keep = keep ? keep : KEEP;
}

void sbx_job_output_free(struct sbx_job *j)
{
	struct sbx_chunk *c;

	while ((c = j->head)) {
		j->head = c->next;
		free(c);
	}
	if (j->pool)
		j->pool->taken -= j->taken;
}

/* ---- reading ---- */

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

static uint64_t job_arrived(const struct sbx_job *j, unsigned which)
{
	return (which & 1 ? j->length[0] : 0) + (which & 2 ? j->length[1] : 0);
}

/* So much of what the reader sees came before a chunk; NULL: in all. */
static uint64_t reader_count(const struct sbx_job_reader *rd,
			     const struct sbx_chunk *c)
{
	if (!c)
		return job_arrived(rd->job, rd->which);
	return rd->which == 3 ? c->start : c->at[rd->which - 1];
}

uint64_t sbx_job_reader_seek(struct sbx_job_reader *rd, uint64_t to)
{
	struct sbx_job *j = rd->job;
	struct sbx_chunk *c = j->head;
	uint64_t now = reader_count(rd, c), end;

	while (c && ((end = reader_count(rd, c->next)) <= to || end == now)) {
		c = c->next;
		now = end;
	}
	rd->at = c;
	rd->pos = j->end;
	if (c) {
		uint64_t nth = to > now ? to - now : 0;

		rd->pos = c->start + sbx_chunk_nth(c, rd->which, nth);
		now += nth;
	}
	rd->lost = to ? 0 : now;
	job_retire(j);
	return now;
}

/* Something that it printed before its end is still to come, or was lost. */
static bool is_short(const struct sbx_job *j, unsigned int stream)
{
	return j->state == SBX_JOB_ENDED && !j->eof[stream - 1] &&
	       j->length[stream - 1] < j->printed[stream - 1];
}

/* One stream ends when it is closed; both together with the command. */
bool sbx_job_is_over(const struct sbx_job *j, unsigned which)
{
	unsigned int stream;

	if (j->state != SBX_JOB_ENDED)
		return which != 3 && j->eof[which - 1];
	for (stream = 1; stream <= 2 && j->registered; stream++)
		if (which & stream && is_short(j, stream))
			return false;
	return true;
}

static long reader_at_end(const struct sbx_job_reader *rd)
{
	const struct sbx_job *j = rd->job;

	unsigned int stream;

	if (j->state == SBX_JOB_ENDED && j->error && j->exit_code < 0)
		return j->error;
	if (!sbx_job_is_over(j, rd->which))
		return -EAGAIN;
	for (stream = 1; stream <= 2; stream++)
		if (rd->which & stream && is_short(j, stream))
			return -EIO;
	return 0;
}

long sbx_job_read(struct sbx_job_reader *rd, void *dst, size_t size,
		  uint64_t *ret_lost)
{
	size_t done = 0;

	if (ret_lost)
		*ret_lost = 0;
	if (rd->at && rd->pos < rd->at->start) { /* of a lossy job */
		rd->lost += rd->at->start - rd->pos;
		rd->pos = rd->at->start;
		reader_skip(rd);
	}
	if (!rd->at) {
		long r = reader_at_end(rd);

		if (r != 0)
			return r;
	}
	if (ret_lost)
		*ret_lost = rd->lost;
	rd->lost = 0;
	while (rd->at && done < size) {
		uint32_t off = (uint32_t)(rd->pos - rd->at->start);
		int stream;
		size_t n = rd->which == 3
				   ? rd->at->len - off
				   : sbx_chunk_run(rd->at, off, &stream) - off;

		if (n > size - done)
			n = size - done;
		memcpy((uint8_t *)dst + done, rd->at->data + off, n);
		done += n;
		rd->pos += n;
		reader_skip(rd);
	}
	job_retire(rd->job);
	return (long)done;
}

size_t sbx_job_kept(const struct sbx_job *j)
{
	return j->memory;
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
	uint64_t n = 0;

	for (unsigned int i = 0; i < 2; i++)
		if (which & 1u << i)
			n += j->printed[i] > j->length[i] ? j->printed[i]
							  : j->length[i];
	return n;
}
