/*
 * One sandbox of the mount: see sandbox.h.
 */
#include "fuse/sandbox.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/log.h"
#include "fuse/control.h"
#include "fuse/ctl_own.h"
#include "fuse/ctl_ports.h"
#include "fuse/feed.h"
#include "fuse/limits.h"

struct sfs_sandbox *sfs_sandbox_ref(struct sfs_sandbox *sb)
{
	sb->refs++;
	return sb;
}

void sfs_sandbox_unref(struct sfs_sandbox *sb)
{
	if (!sb || --sb->refs > 0)
		return;
	sbx_box_unref(sb->box);
	free(sb);
}

struct sfs_sandbox *sfs_sandbox_get(struct sfs_place *p, struct sbx_box *box)
{
	struct sfs_sandbox *sb = box->user;
	struct sfs_mount *m = p->m;

	if (sb)
		return sb;
	sb = calloc(1, sizeof(*sb));
	if (!sb)
		return NULL;
	sb->m = m;
	sb->place = p;
	sb->box = sbx_box_ref(box);
	sb->refs = 1;
	sb->next = m->sandboxes;
	sb->at = &m->sandboxes;
	if (sb->next)
		sb->next->at = &sb->next;
	m->sandboxes = sb;
	box->user = sb;
	return sb;
}

/* ---- coming up ---- */

static void on_state(void *arg, enum sbx_link_state state)
{
	struct sfs_sandbox *sb = arg;

	if (state == SBX_LINK_DEAD)
		sbx_client_gone(sb->place->client, sb->box);
	else if (state == SBX_LINK_UP)
		sfs_ports_on_up(sb);
	sfs_feed_link(sb, state);
}

static void on_port(void *arg, uint16_t port, bool open)
{
	sfs_ports_on_port(arg, port, open);
	sfs_feed_port(arg, port, open);
}

static void on_stuck(void *arg, const struct sbx_error *why)
{
	struct sfs_sandbox *sb = arg;
	char label[SFS_LABEL_SIZE];

	sb->last_error = *why;
	sfs_errlog_note(&sb->m->errors, "files",
			sfs_place_label(sb->place, sb->box, label), why);
}

static void on_report(void *arg, unsigned int what, bool is_dir,
		      const char *path, size_t len, const char *to,
		      size_t to_len)
{
	sfs_feed_report(arg, what, is_dir, path, len, to, to_len);
}

static const struct sbx_remote_listener listener = {
	.on_state = on_state,
	.on_port = on_port,
	.on_stuck = on_stuck,
	.on_report = on_report,
};

int sfs_sandbox_use(struct sfs_sandbox *sb)
{
	struct sfs_mount *m = sb->m;
	const struct sfs_place *p = sb->place;

	if (sb->gone || sb->closing)
		return -ESTALE;
	if (sb->files)
		return 0;
	if (!sb->remote)
		sb->remote = sbx_remote_new(m->fs.loop,
					    sbx_client_service(p->client),
					    sb->box->sb.id, p->conf.timeout_ms);
	if (!sb->remote)
		return -ENOMEM;
	if (!p->conf.helper)
		sbx_remote_set_plain(sb->remote, "helper=off was asked for");
	sbx_remote_set_listener(sb->remote, &listener, sb);
	sbx_remote_set_latencies(sb->remote, &sb->place->latencies);
	if (!sb->notify)
		sb->notify = sfs_notify_new(&m->fs);
	if (sb->notify)
		sb->files = sfs_files_new(&m->fs, sb->remote, sb->notify);
	return sb->files ? 0 : -ENOMEM;
}

void sfs_sandbox_settle(struct sfs_sandbox *sb, void (*fn)(void *arg),
			void *arg)
{
	if (sb->files)
		sfs_files_settle(sb->files, fn, arg);
	else
		fn(arg);
}

/* ---- others change it ---- */

struct telling {
	struct sfs_sandbox *sb; /* counted */
	struct sbx_error error;
	sfs_sandbox_fn *fn;
	void *arg;
	bool renews;
	unsigned int tries; /* helpers that were lost */
};

static void on_barrier(void *arg, int err, struct sbx_rd *rd);

static void ask(struct telling *t)
{
	sbx_remote_begin(t->sb->remote, SBX_OP_BARRIER, 0);
	sbx_remote_submit(t->sb->remote, on_barrier, NULL, t);
}

static void on_settled(void *arg)
{
	struct telling *t = arg;

	t->fn(t->arg, &t->error);
	sfs_sandbox_unref(t->sb);
	free(t);
}

static void on_barrier(void *arg, int err, struct sbx_rd *rd)
{
	struct telling *t = arg;
	const struct sbx_error *why;

	/* what the old one was told is told to another, before this */
	if (err == -ERESTART && !t->renews && t->tries++ < SFS_MAX_RESTARTS) {
		ask(t);
		return;
	}
	/* of another helper it is as good */
	if (err == -ERESTART)
		err = t->renews ? 0 : -EIO;
	/* it cannot be asked for files at all: so nothing waits to be done */
	if (err == -EOPNOTSUPP)
		err = 0;
	why = sbx_remote_error(t->sb->remote);
	if (err && !t->error.err)
		sbx_error_set(&t->error, err, "the sandbox is not reached: %s",
			      why->err == err ? why->text : strerror(-err));
	if (t->renews && !t->sb->closing)
		sfs_sandbox_settle(t->sb, on_settled, t);
	else
		on_settled(t);
}

static void tell(struct sfs_sandbox *sb, const struct sbx_error *error,
		 bool renews, sfs_sandbox_fn *fn, void *arg)
{
	struct telling *t;
	struct sbx_error e = *error;

	if (!sb->remote || sb->closing ||
	    sbx_remote_state(sb->remote) == SBX_LINK_IDLE) {
		fn(arg, error);
		return;
	}
	if (renews)
		sbx_remote_renew(sb->remote);
	t = malloc(sizeof(*t));
	if (!t) {
		sbx_error_set(&e, -ENOMEM, "out of memory");
		fn(arg, &e);
		return;
	}
	*t = (struct telling){.sb = sfs_sandbox_ref(sb),
			      .error = e,
			      .fn = fn,
			      .arg = arg,
			      .renews = renews};
	ask(t);
}

void sfs_sandbox_flush(struct sfs_sandbox *sb, sfs_sandbox_fn *fn, void *arg)
{
	static const struct sbx_error none;

	tell(sb, &none, false, fn, arg);
}

void sfs_sandbox_renew(struct sfs_sandbox *sb, const struct sbx_error *error,
		       sfs_sandbox_fn *fn, void *arg)
{
	tell(sb, error, true, fn, arg);
}

/* ---- going down ---- */

static void sandbox_closed(struct sfs_sandbox *sb)
{
	void (*on_closed)(void *arg) = sb->on_closed;
	void *arg = sb->closed_arg;

	*sb->at = sb->next;
	if (sb->next)
		sb->next->at = sb->at;
	sfs_sandbox_unref(sb);
	if (on_closed)
		on_closed(arg);
}

static void on_remote_closed(void *arg)
{
	struct sfs_sandbox *sb = arg;

	sb->remote = NULL;
	sb->files = sfs_files_free(sb->files);
	sb->notify = sfs_notify_free(sb->notify);
	sandbox_closed(sb);
}

void sfs_sandbox_close(struct sfs_sandbox *sb, void (*on_closed)(void *arg),
		       void *arg)
{
	if (on_closed) {
		sb->on_closed = on_closed;
		sb->closed_arg = arg;
	}
	if (sb->closing)
		return;
	sb->closing = true;
	sb->gone = true;
	sb->box->user = NULL;
	sfs_feed_gone(sb);
	sfs_ports_fail(sb, -ESTALE);
	ctl_own_gone(sb);
	if (sb->remote)
		sbx_remote_set_listener(sb->remote, NULL, NULL);
	sfs_jobs_clear(sb);
	sfs_terminals_clear(sb);
	sfs_snapshots_clear(sb);
	if (sb->remote)
		sbx_remote_close(sb->remote, on_remote_closed, sb);
	else
		sandbox_closed(sb);
}

static void on_reap(uv_timer_t *t)
{
	struct sfs_mount *m = t->data;
	struct sfs_sandbox *sb, *next;

	for (sb = m->sandboxes; sb; sb = next) {
		next = sb->next;
		if (sb->gone)
			sfs_sandbox_close(sb, NULL, NULL);
	}
}

void sfs_sandbox_on_changed(void *arg, struct sbx_box *box)
{
	struct sfs_sandbox *sb = box->user;
	bool halted = box->sb.state == SBX_STATE_PAUSED ||
		      box->sb.state == SBX_STATE_STOPPED;

	if (!sb || sb->gone)
		return;
	sfs_feed_state(sb);
	if (sb->halted == halted)
		return;
	sb->halted = halted;
	if (sb->remote)
		sbx_remote_look_again(sb->remote);
	if (!halted)
		sfs_feed_look_again(sb);
}

/*
 * May come from within a callback of the remote, which cannot be closed from
 * there: what waits is ended at once, the rest in the loop's next turn.
 */
void sfs_sandbox_on_gone(void *arg, struct sbx_box *box)
{
	struct sfs_mount *m = arg;
	struct sfs_sandbox *sb = box->user;

	if (!sb || sb->gone)
		return;
	sb->gone = true;
	sbx_log(SBX_LOG_INFO, "control", "sandbox %s is gone", box->folder);
	sfs_feed_gone(sb);
	sfs_ports_fail(sb, -ESTALE);
	ctl_own_gone(sb);
	if (sb->remote)
		sbx_remote_die(sb->remote);
	uv_timer_start(&m->reaper, on_reap, 0, 0);
}
