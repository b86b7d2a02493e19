/*
 * Mounting and unmounting: see session.h.
 */
#include "fuse/session.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/cleanup.h"
#include "client/log.h"

static int add(struct fuse_args *args, char **opts, const char *name,
	       const char *value)
{
	SBX_FREE char *text = NULL;

	if (asprintf(&text, "%s%s", name, value) < 0) {
		text = NULL;
		return -1;
	}
	return fuse_opt_add_opt_escaped(opts, text);
}

/* "sbxfs -o fsname=...,subtype=...,..." for libfuse */
static int session_args(struct fuse_args *args, const struct sfs_opts *opts)
{
	bool root = geteuid() == 0;
	char *list = NULL;
	int r = 0;

	r |= add(args, &list,
		 "fsname=", opts->fsname ? opts->fsname : opts->source);
	r |= add(args, &list,
		 "subtype=", opts->subtype ? opts->subtype : "sbxfs");
	r |= add(args, &list, "default_permissions", "");
	r |= add(args, &list, root && opts->suid ? "suid" : "nosuid", "");
	r |= add(args, &list, root && opts->dev ? "dev" : "nodev", "");
	if (opts->kernel)
		r |= fuse_opt_add_opt(&list, opts->kernel);
	r |= fuse_opt_add_arg(args, "sbxfs");
	r |= fuse_opt_add_arg(args, "-o");
	r |= fuse_opt_add_arg(args, list ? list : "");
	free(list);
	return r ? -ENOMEM : 0;
}

static struct fuse_session *session_new(struct sfs *fs,
					const struct sfs_opts *opts)
{
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	struct fuse_session *se = NULL;

	if (session_args(&args, opts) == 0)
		se = fuse_session_new(&args, &sfs_handlers,
				      sizeof(sfs_handlers), fs);
	fuse_opt_free_args(&args);
	return se;
}

int sfs_session_mount(struct sfs *fs, const struct sfs_opts *opts,
		      const char *path, struct sbx_error *reterr)
{
	fs->se = session_new(fs, opts);
	if (!fs->se)
		return sbx_error_set(reterr, -EINVAL,
				     "the mount options were not accepted");
	if (fuse_session_mount(fs->se, path) == 0)
		return 0;
	fuse_session_destroy(fs->se);
	fs->se = NULL;
	return sbx_error_set(
		reterr, -EPERM, "mounting on %s failed: %s", path,
		geteuid() == 0 ? "see the message above"
			       : "see the message above (is the package fuse3 "
				 "installed?)");
}

/* ---- unmounting ---- */

struct detach {
	uv_process_t process;
	char *path;
};

static void on_detach_closed(uv_handle_t *h)
{
	struct detach *d = h->data;

	free(d->path);
	free(d);
}

static void on_detach_exit(uv_process_t *p, int64_t status, int signo)
{
	struct detach *d = p->data;

	if (status || signo)
		sbx_log(SBX_LOG_WARNING, "mount",
			"unmounting %s failed; it may be gone already",
			d->path);
	uv_close((uv_handle_t *)p, on_detach_closed);
}

static int detach_spawn(struct sfs *fs, struct detach *d)
{
	/* root's own way does not depend on the fuse3 package */
	static char umount[] = "umount", fusermount[] = "fusermount3";
	static char i[] = "-i", l[] = "-l", u[] = "-u", z[] = "-z",
		    end[] = "--";
	char *as_root[] = {umount, i, l, end, d->path, NULL};
	char *as_user[] = {fusermount, u, z, end, d->path, NULL};
	uv_stdio_container_t stdio[3] = {
		{.flags = UV_IGNORE},
		{.flags = UV_IGNORE},
		{.flags = UV_IGNORE},
	};
	uv_process_options_t o = {
		.exit_cb = on_detach_exit,
		.args = geteuid() == 0 ? as_root : as_user,
		.stdio = stdio,
		.stdio_count = 3,
	};

	o.file = o.args[0];
	d->process.data = d;
	return uv_spawn(fs->loop, &d->process, &o);
}

void sfs_session_detach(struct sfs *fs, const char *path)
{
	struct detach *d = calloc(1, sizeof(*d));
	int r;

	if (d)
		d->path = strdup(path);
	if (!d || !d->path) {
		free(d);
		sbx_log(SBX_LOG_ERROR, "mount",
			"out of memory: unmount %s by hand", path);
		return;
	}
	r = detach_spawn(fs, d);
	if (r == 0)
		return;
	sbx_log(SBX_LOG_ERROR, "mount", "cannot unmount %s: %s", path,
		uv_strerror(r));
	uv_close((uv_handle_t *)&d->process, on_detach_closed);
}

/*
 * Puts a pipe without reader where the FUSE device was.  So the device is
 * closed, which ends the connection, while the number stays taken: the
 * notify threads may still write to it.  And libfuse, which polls it before
 * unmounting, sees the error that means "is unmounted already" and lets
 * whatever else may be mounted at that path by now alone.
 */
void sfs_session_abort(struct sfs *fs)
{
	int fds[2];

	__atomic_store_n(&fs->ended, true, __ATOMIC_RELAXED);
	fuse_session_exit(fs->se);
	if (pipe2(fds, O_CLOEXEC) < 0)
		return;
	close(fds[0]);
	dup3(fds[1], fuse_session_fd(fs->se), O_CLOEXEC);
	close(fds[1]);
}

void sfs_session_free(struct sfs *fs)
{
	if (!fs->se)
		return;
	fuse_session_unmount(fs->se);
	fuse_session_destroy(fs->se);
	fs->se = NULL;
}
