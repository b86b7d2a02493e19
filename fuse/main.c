/*
 * sbxfs: options, background, service, mount, loop, end.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "client/log.h"
#include "fuse/control.h"
#include "fuse/daemon.h"
#include "fuse/keeper.h"
#include "fuse/mountpoint.h"
#include "fuse/place.h"
#include "fuse/session.h"
#include "fuse/start.h"
#include "fuse/stop.h"
#include "fuse/text.h"

static int complain(const struct sbx_error *e)
{
	fprintf(stderr, "sbxfs: %s\n", e->text);
	return EXIT_FAILURE;
}

/* Everything up to a mount that serves. */
static int start(struct sfs_mount *m, struct sfs_stop *stop,
		 struct sbx_error *reterr)
{
	int r = sfs_start_conf(m, reterr);

	if (r == 0)
		r = sfs_start_places(m, stop, reterr);
	if (r == 0)
		r = sfs_start_root(m, reterr);
	if (r == 0)
		r = sfs_session_mount(&m->fs, m->opts, m->path, reterr);
	if (r < 0)
		return r;
	stop->mounted = true;
	sfs_keeper_start(m);
	r = sfs_start(&m->fs, sfs_stop_begin, stop);
	if (r < 0)
		return sbx_error_set(reterr, r, "the mount cannot be served");
	return 0;
}

/* Runs the loop until everything has ended. */
static int run(struct sfs_mount *m, struct sfs_daemon *daemon)
{
	enum sbx_log_level level = m->opts->log_level;
	struct sfs_stop stop;
	struct sbx_error e = {0};
	int r = sfs_stop_init(&stop, m);

	if (r < 0)
		sbx_error_set(&e, r, "cannot take signals: %s", uv_strerror(r));
	else
		r = start(m, &stop, &e);
	if (r < 0) {
		complain(&e);
		if (stop.mounted)
			sfs_session_detach(&m->fs, m->path);
		sfs_stop_begin(&stop);
	} else if (daemon) {
		sbx_log_open("sbxfs", level, true);
		sfs_daemon_ready(daemon);
	}
	uv_run(m->fs.loop, UV_RUN_DEFAULT);
	return r < 0 || stop.lost ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int mount_and_serve(const struct sfs_opts *opts, char *path,
			   struct sfs_daemon *daemon)
{
	struct sfs_mount m = {
		.opts = opts,
		.path = path,
		.made_ms = sfs_now_ms(),
	};
	uv_loop_t loop;
	int status;

	/* no core file, and no tracing by others, since there are secrets */
	prctl(PR_SET_DUMPABLE, 0);
	signal(SIGPIPE, SIG_IGN);
	/* in the background, the sentence about a failed start is enough */
	sbx_log_open("sbxfs", daemon ? SBX_LOG_ERROR : opts->log_level, false);
	status = uv_loop_init(&loop);
	if (status < 0) {
		fprintf(stderr, "sbxfs: %s\n", uv_strerror(status));
		return EXIT_FAILURE;
	}
	m.fs.loop = &loop;
	status = run(&m, daemon);
	if (uv_loop_close(&loop) < 0)
		sbx_log(SBX_LOG_ERROR, "mount", "something is still open");
	sfs_session_free(&m.fs);
	sfs_places_free(&m);
	return status;
}

int main(int argc, char *argv[])
{
	struct sfs_daemon daemon;
	struct sfs_opts opts;
	struct sbx_error e = {0};
	char *path = NULL;
	int r, status = EXIT_FAILURE;

	r = sfs_opts_parse(&opts, argc, argv, &e);
	if (r == 0 && opts.help) {
		sfs_opts_help(stdout);
		status = EXIT_SUCCESS;
		goto out;
	}
	if (r == 0 && opts.version) {
		printf("sbxfs %s\n", SBX_VERSION);
		status = EXIT_SUCCESS;
		goto out;
	}
	if (r == 0)
		r = sfs_mountpoint_check(opts.mountpoint, opts.nonempty, &path,
					 &e);
	if (r == 0)
		r = sfs_mountpoint_check_fuse(&e);
	if (r == 0 && !opts.foreground) {
		r = sfs_daemon_fork(&daemon);
		if (r < 0)
			sbx_error_set(&e, r, "cannot fork: %s", strerror(-r));
	}
	if (r < 0)
		complain(&e);
	else
		status = mount_and_serve(&opts, path,
					 opts.foreground ? NULL : &daemon);
out:
	free(path);
	sfs_opts_release(&opts);
	return status;
}
