/*
 * sbxfs-agent: start and end.  See agent.h for the parts.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/agent/agent.h"
#include "tests/agent/conn.h"
#include "tests/agent/meta.h"
#include "tests/agent/options.h"
#include "tests/agent/pod.h"
#include "tests/agent/rootfs.h"
#include "tests/agent/runtime.h"
#include "tests/agent/sandbox.h"
#include "tests/agent/tree.h"

/* One that serves is about to end, at best; one that ends may have much to
 * remove. */
#define SERVING_TRIES 30
#define ENDING_TRIES  150
#define LOCK_PAUSE_US 100000

/* What belongs to the loop for as long as the agent runs. */
struct handles {
	uv_check_t check;
	uv_signal_t term, intr, child;
	uv_poll_t exit_poll;
	bool has_exit_poll;
};

int64_t agent_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
}

/* xorshift: disorder and names, nothing that must not be guessed. */
uint32_t agent_random(uint32_t n)
{
	static uint64_t state;

	if (!state && (getrandom(&state, sizeof(state), 0) < 0 || !state))
		state = uv_hrtime() | 1;
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)((state >> 32) * n >> 32);
}

/* The key must not be in anybody's environment any longer than needed. */
static int take_key(struct agent *agent)
{
	char *key = getenv("SBXFS_AGENT_KEY");

	if (!key || !*key) {
		AGENT_LOG("set SBXFS_AGENT_KEY to the API key that clients "
			  "must show");
		return -ENOKEY;
	}
	agent->key = strdup(key);
	explicit_bzero(key, strlen(key));
	unsetenv("SBXFS_AGENT_KEY");
#ifndef __SANITIZE_ADDRESS__
	prctl(PR_SET_DUMPABLE, 0);
#endif
	if (getrandom(agent->secret, sizeof(agent->secret), 0) !=
	    sizeof(agent->secret))
		return -EIO;
	return agent->key ? 0 : -ENOMEM;
}

/* A copy of this program that nothing in a sandbox could change. */
static int open_self(struct agent *agent)
{
	int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), to, r = 0;
	struct stat st;

	to = memfd_create("sbxfs-runtime", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (from < 0 || to < 0 || fstat(from, &st) < 0)
		r = -errno;
	for (off_t left = r ? 0 : st.st_size; left > 0 && !r;) {
		ssize_t n = sendfile(to, from, NULL, (size_t)left);

		if (n <= 0)
			r = n ? -errno : -EIO;
		left -= n;
	}
	if (!r &&
	    fcntl(to, F_ADD_SEALS,
		  F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
		r = -errno;
	if (!r) {
		/* out of the way of descriptors that are set for a child */
		agent->exe_fd = fcntl(to, F_DUPFD_CLOEXEC, 10);
		r = agent->exe_fd < 0 ? -errno : 0;
	}
	if (from >= 0)
		close(from);
	if (to >= 0)
		close(to);
	return r;
}

static int make_folder(struct agent *agent, const char *dir)
{
	char *path = realpath(dir, NULL);

	if (!path && errno == ENOENT && mkdir(dir, 0700) == 0)
		path = realpath(dir, NULL);
	agent->dir_fd =
		path ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (agent->dir_fd < 0) {
		AGENT_LOG("cannot use the folder %s: %s", dir, strerror(errno));
		free(path);
		return -EIO;
	}
	agent->dir = path;
	return 0;
}

/* What another agent may have locked, or we. */
static int open_serving(const struct agent *agent)
{
	return openat(agent->own_fd, "serving",
		      O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
}

static bool another_serves(const struct agent *agent)
{
	int fd = open_serving(agent);
	bool serves = fd < 0 || flock(fd, LOCK_SH | LOCK_NB) < 0;

	if (fd >= 0)
		close(fd);
	return serves;
}

/* One that is just ending, after an unmount, is waited for. */
static bool lock_folder(struct agent *agent)
{
	for (int i = 0; i < ENDING_TRIES; i++) {
		if (i)
			usleep(LOCK_PAUSE_US);
		if (flock(agent->own_fd, LOCK_EX | LOCK_NB) == 0) {
			agent->serving_fd = open_serving(agent);
			return agent->serving_fd >= 0 &&
			       flock(agent->serving_fd, LOCK_EX) == 0;
		}
		if (i >= SERVING_TRIES && another_serves(agent))
			break;
	}
	return false;
}

/* DIR and DIR/.agent: ours alone. */
static int open_folder(struct agent *agent, const char *dir)
{
	uid_t uid = agent_uid(agent);
	int r = make_folder(agent, dir), fd;

	if (r < 0)
		return r;
	agent->own_fd = agent_tree_make(agent->dir_fd, ".agent", 0700,
					(uid_t)-1, (gid_t)-1);
	if (agent->own_fd < 0) {
		AGENT_LOG("cannot use the folder %s: %s", agent->dir,
			  strerror(-agent->own_fd));
		return -EIO;
	}
	if (!lock_folder(agent)) {
		AGENT_LOG("%s is mounted already, or in use by another "
			  "sbxfs-agent",
			  agent->dir);
		return -EBUSY;
	}
	for (int i = 0; i < 2; i++) {
		fd = agent_tree_make(agent->own_fd, i ? "home" : "workspace",
				     0700, uid, (gid_t)-1);
		if (fd < 0)
			return fd;
		if (i)
			mkdirat(fd, "workspace", 0755);
		close(fd);
	}
	return agent_rootfs_write_users(agent->own_fd);
}

static int check_bubblewrap(struct agent *agent)
{
	char reason[512];

	if (agent_pod_probe(agent, reason, sizeof(reason)) == 0)
		return 0;
	if (!strcmp(reason, strerror(ENOENT)))
		AGENT_LOG("bubblewrap is missing: install it (apt-get install "
			  "bubblewrap)");
	else
		AGENT_LOG("bubblewrap cannot make a sandbox here (%s): run as "
			  "root, or allow user namespaces",
			  *reason ? reason : "no answer");
	return -ENOSYS;
}

static int open_library(struct agent *agent)
{
	struct lws_context_creation_info info = {0};
	void *loops[] = {&agent->loop};

	lws_set_log_level(LLL_ERR, NULL);
	info.port = CONTEXT_PORT_NO_LISTEN_SERVER;
	info.protocols = agent_protocols;
	info.options =
		LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_EXPLICIT_VHOSTS;
	info.foreign_loops = loops;
	info.pt_serv_buf_size = 128 * 1024;
	info.max_http_header_data2 = 32768;
	info.max_http_header_pool2 = 64;
	info.keepalive_timeout = 120;
	info.timeout_secs = 20;
	agent->lws = lws_create_context(&info);
	if (!agent->lws)
		return -EIO;
	agent->vhost = lws_create_vhost(agent->lws, &info);
	return agent->vhost ? 0 : -EIO;
}

static void agent_stop(struct agent *agent)
{
	if (agent->stopping)
		return;
	agent->stopping = true;
	uv_stop(&agent->loop);
}

static void on_end_signal(uv_signal_t *h, int sig)
{
	agent_stop(h->data);
}

static void on_child_signal(uv_signal_t *h, int sig)
{
	agent_pods_reap(h->data);
}

static void on_exit_fd(uv_poll_t *poll, int status, int events)
{
	struct agent *agent = poll->data;
	char dump[64];
	int fd;

	if (uv_fileno((uv_handle_t *)poll, &fd) < 0 ||
	    read(fd, dump, sizeof(dump)) <= 0)
		agent_stop(agent);
}

static void on_check(uv_check_t *check)
{
	agent_sockets_handle(check->data);
}

static void on_expiry(uv_timer_t *timer)
{
	struct agent *agent = timer->data;
	struct agent_sandbox *s;
	int64_t now = agent_now_ms();

	LIST_FOREACH(s, &agent->sandboxes, link)
	{
		if (s->listed && s->expires_ms <= now)
			agent_sandbox_expire(s);
	}
}

static void start_handles(struct agent *agent, struct handles *h,
			  const struct agent_options *o)
{
	uint64_t check_ms = (uint64_t)agent->traits.expiry_check_ms;

	h->check.data = h->term.data = h->intr.data = h->child.data = agent;
	uv_check_init(&agent->loop, &h->check);
	uv_check_start(&h->check, on_check);
	uv_signal_init(&agent->loop, &h->term);
	uv_signal_start(&h->term, on_end_signal, SIGTERM);
	uv_signal_init(&agent->loop, &h->intr);
	uv_signal_start(&h->intr, on_end_signal, SIGINT);
	uv_signal_init(&agent->loop, &h->child);
	uv_signal_start(&h->child, on_child_signal, SIGCHLD);
	uv_timer_init(&agent->loop, &agent->expiry_timer);
	agent->expiry_timer.data = agent;
	uv_timer_start(&agent->expiry_timer, on_expiry, check_ms, check_ms);
	if (o->exit_fd >= 0 &&
	    uv_poll_init(&agent->loop, &h->exit_poll, o->exit_fd) == 0) {
		h->has_exit_poll = true;
		h->exit_poll.data = agent;
		uv_poll_start(&h->exit_poll, UV_READABLE, on_exit_fd);
	}
}

static void stop_handles(struct agent *agent, struct handles *h)
{
	uv_close((uv_handle_t *)&h->check, NULL);
	uv_close((uv_handle_t *)&h->term, NULL);
	uv_close((uv_handle_t *)&h->intr, NULL);
	uv_close((uv_handle_t *)&h->child, NULL);
	uv_close((uv_handle_t *)&agent->expiry_timer, NULL);
	if (h->has_exit_poll)
		uv_close((uv_handle_t *)&h->exit_poll, NULL);
}

static int tell_ready(const struct agent *agent, int fd)
{
	char line[32];
	int n = snprintf(line, sizeof(line), "ready %d\n", agent->port);

	return fd < 0 || write(fd, line, (size_t)n) == n ? 0 : -EIO;
}

static int agent_open(struct agent *agent, const struct agent_options *o)
{
	int r = take_key(agent);

	if (!r)
		r = open_folder(agent, o->dir);
	if (!r)
		r = open_self(agent);
	if (!r)
		r = check_bubblewrap(agent);
	if (r < 0)
		return r;
	uv_loop_init(&agent->loop);
	r = open_library(agent);
	if (!r)
		r = agent_sandboxes_load(agent);
	if (r < 0)
		return r;
	agent->port = agent_listen(agent, o->listen);
	if (agent->port < 0) {
		AGENT_LOG("cannot listen on %s: %s", o->listen,
			  strerror(-agent->port));
		return agent->port;
	}
	r = o->control ? agent_control_open(agent, o->control) : 0;
	if (r < 0)
		AGENT_LOG("cannot make the control socket %s: %s", o->control,
			  strerror(-r));
	return r;
}

/* One order: no new work, sandboxes, connections, then what is left. */
static void agent_close(struct agent *agent, struct handles *h)
{
	close(agent->serving_fd);
	agent_listen_close(agent);
	agent_control_close(agent);
	agent_sandboxes_stop(agent);
	while (agent_pods_alive())
		uv_run(&agent->loop, UV_RUN_ONCE);
	stop_handles(agent, h);
	lws_context_destroy(agent->lws);
	uv_run(&agent->loop, UV_RUN_DEFAULT);
	agent_journal_clear(&agent->journal);
	explicit_bzero(agent->key, strlen(agent->key));
	free(agent->key);
	free(agent->dir);
}

int main(int argc, char **argv)
{
	static struct agent agent;
	static struct handles handles;
	struct agent_options o = {
		.listen = "127.0.0.1:0", .ready_fd = -1, .exit_fd = -1};

	if (argc > 1 && !strcmp(argv[1], "--runtime"))
		return agent_runtime_main(argc, argv);
	signal(SIGPIPE, SIG_IGN);
	umask(022);
	agent.listen_fd = -1;
	agent_traits_init(&agent.traits);
	if (agent_options_read(&agent, &o, argc, argv) < 0 ||
	    agent_open(&agent, &o) < 0)
		return 1;
	start_handles(&agent, &handles, &o);
	agent_meta_empty_trash(&agent);
	if (tell_ready(&agent, o.ready_fd) == 0)
		uv_run(&agent.loop, UV_RUN_DEFAULT);
	agent_close(&agent, &handles);
	return 0;
}
