/* One helper, put together: see helper.h.  Called by session.c. */
#include "client/helper/helper.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/helper/children.h"
#include "client/helper/handles.h"
#include "client/helper/ports.h"
#include "client/helper/run.h"
#include "client/helper/tasks.h"
#include "client/wire/proto.h"

/* As many descriptors as we may have; jobs get what we were given. */
static void raise_limit(struct helper *h)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &h->nofile) < 0)
		return;
	lim = h->nofile;
	lim.rlim_cur = lim.rlim_max;
	setrlimit(RLIMIT_NOFILE, &lim);
}

static void find_self(struct helper *h)
{
	struct stat st;
	ssize_t n = readlink("/proc/self/exe", h->self, sizeof(h->self) - 1);

	h->self[n > 0 ? n : 0] = '\0';
	if (n > 0 && stat("/proc/self/exe", &st) == 0) {
		h->self_dev = st.st_dev;
		h->self_ino = st.st_ino;
	}
}

int helper_init(struct helper *h, const char *session,
		const struct handover *how)
{
	int r;

	h->watch.fd = -1;
	snprintf(h->session, sizeof(h->session), "%s", session);
	if (!getcwd(h->cwd, sizeof(h->cwd)))
		return -errno;
	find_self(h);
	h->umask = umask(0);
	raise_limit(h);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* the write says EFBIG */
	sbx_buf_init(&h->reply, SBX_MESSAGE_MAX);
	sbx_buf_init(&h->later, SBX_MESSAGE_MAX);
	sbx_buf_init(&h->event, SBX_MESSAGE_MAX);
	h->tasks_end = &h->tasks;
	changes_init(&h->changes);
	ports_init(h);
	report_init(h);
	r = peer_init(h, how);
	if (r < 0)
		return r;
	watch_init(h);
	recent_init(h);
	r = children_init(h);
	if (r < 0)
		return r;
	return dirs_init(h, ".");
}

/* Only the very file that runs. */
static void remove_self(const struct helper *h)
{
	struct stat st;

	if (h->self[0] && lstat(h->self, &st) == 0 &&
	    st.st_dev == h->self_dev && st.st_ino == h->self_ino)
		unlink(h->self);
}

void helper_release(struct helper *h)
{
	/* who is left alone hears of it, as at a terminal */
	run_release(h, h->quit ? SIGKILL : SIGHUP);
	tasks_release(h);
	children_release(h);
	handles_release(h);
	ports_release(h);
	report_release(h);
	dirs_release(h);
	watch_release(h);
	recent_release(h);
	changes_clear(&h->changes);
	peer_release(h);
	loop_release(&h->loop);
	free(h->creds);
	sbx_buf_release(&h->reply);
	sbx_buf_release(&h->later);
	sbx_buf_release(&h->event);
	if (h->remove_self)
		remove_self(h);
}

void helper_out_of_memory(struct helper *h)
{
	h->lost_account = true;
	h->ended = true;
}

void helper_run(struct helper *h)
{
	bool more = false;

	while (!h->ended) {
		if (!more)
			dirs_leave(h);
		loop_turn(&h->loop, more);
		more = tasks_run(h);
		if (h->changes.overflow && !peer_is_full(h))
			changes_flush(h);
		peer_pump(h);
		batch_check(h);
		run_resume(h);
		more |= h->tasks && !peer_is_busy(h);
	}
	peer_pump(h);
}
