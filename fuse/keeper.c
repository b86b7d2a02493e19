/*
 * Keeping alive what is in use: see keeper.h.
 *
 * Services set a new end that counts from now, which may be earlier than the
 * one that was: so nothing is asked before the end is near, and then one that
 * counts from now is later.
 */
#include "fuse/keeper.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/log.h"
#include "fuse/ctl_file.h"
#include "fuse/sandbox.h"
#include "fuse/text.h"

#define LOOK_MS	  2000
#define NEAR_MS	  60000 /* what is left when it is asked for */
#define AGAIN_MS  10000 /* between two questions, unless life is shorter */
#define PROCESSES 10000 /* whose current directory is looked at */

/* ---- what is in use ---- */

static bool jobs_run(const struct sfs_job *j)
{
	for (; j; j = j->next)
		if (j->state != SBX_JOB_ENDED)
			return true;
	return false;
}

static bool has_open_file(const struct sfs_sandbox *sb)
{
	const struct ctl_file *f;

	for (f = sb->m->files; f; f = f->next)
		if (f->node->sb == sb)
			return true;
	return false;
}

/* What follows name in a path, which begins with "/" or is nothing; NULL: the
 * path is another one. */
static const char *path_after(const char *path, const char *name)
{
	size_t len = strlen(name);

	if (!path || strncmp(path, name, len))
		return NULL;
	path += len;
	return !*path || *path == '/' ? path : NULL;
}

static bool is_below(const char *path, const struct sfs_sandbox *sb)
{
	const struct sfs_place *p = sb->place;

	path = path_after(path, sb->m->path);
	if (path && p->name)
		path = path_after(path + (*path == '/'), p->name);
	if (!path || p->only)
		return path;
	path += *path == '/';
	return path_after(path, sb->box->folder) ||
	       path_after(path, sb->box->sb.id);
}

/* Somebody's current directory: as far as we may look.  The link is read, not
 * followed, so this asks the kernel only. */
static bool is_current(const struct sfs_sandbox *sb)
{
	DIR *d = opendir("/proc");
	char link[PATH_MAX + 32], path[300];
	unsigned int seen = 0;
	struct dirent *e;
	bool found = false;
	ssize_t n;

	while (d && !found && seen < PROCESSES && (e = readdir(d))) {
		if (!isdigit((unsigned char)e->d_name[0]))
			continue;
		seen++;
		snprintf(path, sizeof(path), "%s/cwd", e->d_name);
		n = readlinkat(dirfd(d), path, link, sizeof(link) - 1);
		if (n <= 0)
			continue;
		link[n] = 0;
		found = is_below(link, sb);
	}
	if (d)
		closedir(d);
	return found;
}

static bool is_in_use(const struct sfs_sandbox *sb)
{
	return (sb->files && sfs_files_in_use(sb->files)) ||
	       jobs_run(sb->jobs.newest) || jobs_run(sb->terminals.newest) ||
	       has_open_file(sb) || is_current(sb);
}

/* ---- asking ---- */

static void on_kept(void *arg, struct sbx_box *box,
		    const struct sbx_error *error)
{
	struct sfs_sandbox *sb = arg;

	char label[SFS_LABEL_SIZE];

	sb->keeping = false;
	if (error->err && error->err != -ECANCELED && error->err != -ESTALE)
		sfs_errlog_note(&sb->m->errors, "keepalive",
				sfs_place_label(sb->place, sb->box, label),
				error);
	sfs_sandbox_unref(sb);
}

static void keep(struct sfs_sandbox *sb, int64_t now)
{
	int64_t left = sb->box->sb.expires_ms - now;
	int64_t again = left > 0 && left / 2 < AGAIN_MS ? left / 2 : AGAIN_MS;

	if (!sb->box->sb.expires_ms || left > NEAR_MS || sb->gone ||
	    sb->keeping || now - sb->kept_ms < again ||
	    !sbx_client_can(sb->place->client, SBX_CALL_KEEPALIVE) ||
	    !is_in_use(sb))
		return;
	sb->keeping = true;
	sb->kept_ms = now;
	sbx_client_keepalive(sb->place->client, sb->box, 0, on_kept,
			     sfs_sandbox_ref(sb));
}

static void on_look(uv_timer_t *t)
{
	struct sfs_mount *m = t->data;
	struct sfs_sandbox *sb, *next;
	int64_t now = sfs_now_ms();

	for (sb = m->sandboxes; sb; sb = next) {
		next = sb->next;
		keep(sb, now);
	}
}

void sfs_keeper_start(struct sfs_mount *m)
{
	const struct sfs_place *p;

	if (!m->opts->keepalive)
		return;
	for (p = m->places; p; p = p->next)
		if (sbx_client_service(p->client)->type->hides_expiry)
			sbx_log(SBX_LOG_WARNING, "keepalive",
				"%s does not tell when sandboxes end, so they "
				"are not kept alive",
				sbx_client_service(p->client)->type->name);
	uv_timer_start(&m->keeper, on_look, LOOK_MS, LOOK_MS);
}
