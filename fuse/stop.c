/*
 * The end of a mount: see stop.h.
 */
#include "fuse/stop.h"

#include <signal.h>

#include "client/log.h"
#include "fuse/control.h"
#include "fuse/ctl_log.h"
#include "fuse/sandbox.h"
#include "fuse/session.h"

/* How long a detached mount may go on for those who still use it. */
#define DETACHED_MS 5000

bool sfs_stop_is_asked(const struct sfs_stop *s)
{
	return s->asked;
}

/* ---- closing ---- */

static void on_client_closed(void *arg)
{
	struct sfs_stop *s = arg;

	if (--s->pending > 0)
		return;
	uv_close((uv_handle_t *)&s->timer, NULL);
	uv_close((uv_handle_t *)&s->m->reaper, NULL);
	uv_close((uv_handle_t *)&s->m->keeper, NULL);
	sfs_log_close(s->m->log);
	s->m->log = NULL;
	for (size_t i = 0; i < 3; i++)
		uv_close((uv_handle_t *)&s->signals[i], NULL);
}

static void stop_close_sandboxes(struct sfs_stop *s);

static void stop_close_clients(struct sfs_stop *s)
{
	struct sfs_place *p;

	if (s->m->sandboxes) { /* one more was made meanwhile */
		stop_close_sandboxes(s);
		return;
	}
	s->pending = 1;
	for (p = s->m->places; p; p = p->next) {
		struct sbx_client *c = p->client;

		p->client = NULL;
		if (!c)
			continue;
		s->pending++;
		sbx_client_close(c, on_client_closed, s);
	}
	on_client_closed(s);
}

static void on_sandbox_closed(void *arg)
{
	struct sfs_stop *s = arg;

	if (--s->pending == 0)
		stop_close_clients(s);
}

static void stop_close_sandboxes(struct sfs_stop *s)
{
	struct sfs_sandbox *sb, *next;

	s->pending = 1; /* ours: none may be the last before all have begun */
	for (sb = s->m->sandboxes; sb; sb = next) {
		next = sb->next;
		s->pending++;
		sfs_sandbox_close(sb, on_sandbox_closed, s);
	}
	on_sandbox_closed(s);
}

static void stop_close(struct sfs_stop *s)
{
	uv_timer_stop(&s->timer);
	s->stage = SFS_STOP_CLOSING;
	stop_close_sandboxes(s);
}

/* ---- flushing ---- */

static size_t stop_unsent(struct sfs_stop *s)
{
	const struct sfs_sandbox *sb;
	size_t n = 0;

	for (sb = s->m->sandboxes; sb; sb = sb->next)
		if (sb->remote && !sb->gone)
			n += sbx_remote_unsent(sb->remote);
	return n;
}

static void stop_give_up(struct sfs_stop *s, const char *why)
{
	size_t unsent = stop_unsent(s);

	if (unsent) {
		s->lost = true;
		sbx_log(SBX_LOG_ERROR, "mount",
			"%s: %zu bytes were not sent to the sandboxes and "
			"are lost",
			why, unsent);
	}
	stop_close(s);
}

static void on_flush_timeout(uv_timer_t *t)
{
	stop_give_up(t->data, "no answer in time");
}

static void on_flushed(void *arg)
{
	struct sfs_stop *s = arg;

	/* given up on, or others are still at it */
	if (s->stage == SFS_STOP_FLUSHING && --s->pending == 0)
		stop_close(s);
}

static void stop_flush(struct sfs_stop *s)
{
	struct sfs_sandbox *sb;
	size_t unsent = stop_unsent(s);

	if (unsent)
		sbx_log(SBX_LOG_WARNING, "mount",
			"unmounted; waiting for %zu bytes to reach the "
			"sandboxes",
			unsent);
	s->stage = SFS_STOP_FLUSHING;
	s->pending = 1;
	uv_timer_start(&s->timer, on_flush_timeout, s->m->fs.timeout_ms, 0);
	for (sb = s->m->sandboxes; sb; sb = sb->next) {
		if (!sb->files || sb->gone)
			continue;
		s->pending++;
		sfs_files_flush(sb->files, on_flushed, s);
	}
	on_flushed(s);
}

/* ---- beginning ---- */

void sfs_stop_begin(void *arg)
{
	struct sfs_stop *s = arg;

	if (s->stage >= SFS_STOP_FLUSHING)
		return;
	uv_timer_stop(&s->timer);
	uv_timer_stop(&s->m->keeper);
	if (s->mounted) {
		sfs_stop(&s->m->fs);
		sfs_session_abort(&s->m->fs);
	}
	ctl_forget_all(s->m);
	stop_flush(s);
}

static void on_detach_timeout(uv_timer_t *t)
{
	sbx_log(SBX_LOG_WARNING, "mount",
		"the mount is still in use: ending all the same");
	sfs_stop_begin(t->data);
}

static void on_signal(uv_signal_t *h, int signo)
{
	struct sfs_stop *s = h->data;

	s->asked = true;
	switch (s->stage) {
	case SFS_STOP_NOT:
		if (!s->mounted)
			return; /* whoever starts up looks at asked */
		sbx_log(SBX_LOG_INFO, "mount", "signal %d: unmounting", signo);
		s->stage = SFS_STOP_DETACHING;
		sfs_session_detach(&s->m->fs, s->m->path);
		uv_timer_start(&s->timer, on_detach_timeout, DETACHED_MS, 0);
		break;
	case SFS_STOP_DETACHING:
		sfs_stop_begin(s);
		break;
	case SFS_STOP_FLUSHING:
		stop_give_up(s, "interrupted");
		break;
	case SFS_STOP_CLOSING:
		break; /* bounded by itself */
	}
}

int sfs_stop_init(struct sfs_stop *s, struct sfs_mount *m)
{
	static const int numbers[3] = {SIGTERM, SIGINT, SIGHUP};
	uv_loop_t *loop = m->fs.loop;
	int r = 0;

	*s = (struct sfs_stop){.m = m};
	m->log = sfs_log_open(m);
	uv_timer_init(loop, &s->timer);
	s->timer.data = s;
	uv_timer_init(loop, &m->reaper);
	m->reaper.data = m;
	uv_timer_init(loop, &m->keeper);
	m->keeper.data = m;
	for (size_t i = 0; i < 3; i++) {
		uv_signal_init(loop, &s->signals[i]);
		s->signals[i].data = s;
		if (r == 0)
			r = uv_signal_start(&s->signals[i], on_signal,
					    numbers[i]);
	}
	return r;
}
