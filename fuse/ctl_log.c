/*
 * .sbxfs/log: see ctl_log.h.  Lines come from any thread into a ring of
 * bytes; readers see it as a file that grows, and wait at its end.
 */
#include "fuse/ctl_log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/log.h"
#include "fuse/ctl_file.h"
#include "fuse/text.h"

#define KEEP (256 * 1024)

struct sfs_log {
	struct sfs_mount *m;
	uv_async_t wake;
	pthread_mutex_t lock; /* protects: end, ring */
	uint64_t end;	      /* bytes ever written */
	char ring[KEEP];
};

struct log_file {
	struct ctl_file f;
	uint64_t skipped; /* what was not kept when it was to be read */
	uint64_t pos;	  /* behind the last byte that was read */
};

/* ---- writing: any thread ---- */

static void log_add(struct sfs_log *log, const char *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		log->ring[log->end++ % KEEP] = data[i];
}

static void on_line(void *arg, const char *level, const char *text)
{
	struct sfs_log *log = arg;
	char line[SFS_TIME_SIZE + 1200], when[SFS_TIME_SIZE];
	int n = snprintf(line, sizeof(line), "%s %s: %s\n",
			 sfs_text_time(sfs_now_ms(), when), level, text);

	if (n < 0 || (size_t)n >= sizeof(line))
		return;
	pthread_mutex_lock(&log->lock);
	log_add(log, line, (size_t)n);
	pthread_mutex_unlock(&log->lock);
	uv_async_send(&log->wake);
}

/* ---- reading ---- */

static uint64_t log_end(struct sfs_log *log)
{
	uint64_t end;

	pthread_mutex_lock(&log->lock);
	end = log->end;
	pthread_mutex_unlock(&log->lock);
	return end;
}

/* The first whole line at or behind pos that is kept. */
static uint64_t log_kept(const struct sfs_log *log, uint64_t pos)
{
	if (log->end <= KEEP || pos >= log->end - KEEP)
		return pos;
	pos = log->end - KEEP;
	while (pos < log->end && log->ring[pos++ % KEEP] != '\n')
		;
	return pos;
}

static size_t log_copy(struct sfs_log *log, struct log_file *lf, uint64_t pos,
		       char *dst, size_t size)
{
	uint64_t from;
	size_t n = 0;

	pthread_mutex_lock(&log->lock);
	from = log_kept(log, pos);
	lf->skipped += from - pos;
	while (n < size && from + n < log->end) {
		dst[n] = log->ring[(from + n) % KEEP];
		n++;
	}
	lf->pos = from + n;
	pthread_mutex_unlock(&log->lock);
	return n;
}

static struct log_file *log_of(struct ctl_file *f)
{
	return (struct log_file *)f;
}

static void log_reply(struct ctl_file *f, fuse_req_t req, size_t size,
		      uint64_t off)
{
	static char piece[64 * 1024];
	struct log_file *lf = log_of(f);
	size_t n = log_copy(f->node->m->log, lf, off + lf->skipped, piece,
			    size < sizeof(piece) ? size : sizeof(piece));

	fuse_reply_buf(req, piece, n);
}

static bool log_has(struct ctl_file *f, uint64_t off)
{
	return off + log_of(f)->skipped < log_end(f->node->m->log);
}

static void log_pump(struct ctl_file *f)
{
	struct sfs_readq rest = {0};
	fuse_req_t req;
	size_t size;
	off_t off;

	while ((req = sfs_readq_take(&f->readers, &size, &off))) {
		if (log_has(f, (uint64_t)off))
			log_reply(f, req, size, (uint64_t)off);
		else
			sfs_readq_add(&rest, req, size, off);
	}
	f->readers = rest;
	ctl_file_wake(f);
}

static void log_read(fuse_req_t req, struct ctl_file *f, size_t size,
		     bool nonblock)
{
	if (log_has(f, (uint64_t)f->off))
		log_reply(f, req, size, (uint64_t)f->off);
	else if (nonblock)
		ctl_file_has_nothing(req, f);
	else
		sfs_readq_add(&f->readers, req, size, f->off);
}

static unsigned int log_poll(struct ctl_file *f)
{
	return log_of(f)->pos < log_end(f->node->m->log) ? POLLIN | POLLRDNORM
							 : 0;
}

static int log_open(struct ctl_file *f, int flags)
{
	f->seekable = true;
	return 0;
}

static const struct ctl_file_type log_file = {
	.size = sizeof(struct log_file),
	.open = log_open,
	.read = log_read,
	.poll = log_poll,
};

static bool log_present(const struct ctl_node *dir)
{
	return dir->m->log;
}

static uint64_t log_length(const struct ctl_node *n)
{
	return log_end(n->m->log);
}

const struct ctl_type ctl_log = {
	.name = "log",
	.mode = S_IFREG | 0400,
	.ops = &ctl_file_ops,
	.file = &log_file,
	.present = log_present,
	.length = log_length,
};

/* ---- life ---- */

static void on_wake(uv_async_t *a)
{
	struct sfs_log *log = a->data;
	struct ctl_file *f, *next;

	for (f = log->m->files; f; f = next) {
		next = f->next;
		if (f->type == &log_file)
			log_pump(f);
	}
}

struct sfs_log *sfs_log_open(struct sfs_mount *m)
{
	struct sfs_log *log = calloc(1, sizeof(*log));

	if (!log)
		return NULL;
	log->m = m;
	pthread_mutex_init(&log->lock, NULL);
	if (uv_async_init(m->fs.loop, &log->wake, on_wake) < 0) {
		free(log);
		return NULL;
	}
	log->wake.data = log;
	sbx_log_set_sink(on_line, log);
	return log;
}

static void on_closed(uv_handle_t *h)
{
	struct sfs_log *log = h->data;

	pthread_mutex_destroy(&log->lock);
	free(log);
}

void sfs_log_close(struct sfs_log *log)
{
	if (!log)
		return;
	sbx_log_set_sink(NULL, NULL); /* nobody is in on_line after this */
	uv_close((uv_handle_t *)&log->wake, on_closed);
}
