/*
 * The pod, the agent's side: starts bubblewrap, passes requests to the
 * runtime in it and hands on what it reports.  The runtime is as untrusted
 * as the sandbox it runs in.  Loop thread only.
 */
#include "tests/agent/pod.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/agent/args.h"
#include "tests/agent/ports.h"
#include "tests/agent/rootfs.h"
#include "tests/agent/run.h"
#include "tests/agent/runtime.h"

/* As much as may wait for a runtime that does not read. */
#define POD_QUEUE_MAX (4 * 1024 * 1024)

struct pod_packet {
	STAILQ_ENTRY(pod_packet) link;
	int fds[3];
	int nr_fds;
	size_t len;
	uint8_t data[];
};

struct agent_pod {
	LIST_ENTRY(agent_pod) link;    /* pods */
	struct agent_sandbox *sandbox; /* NULL: stopped */
	struct agent_sandbox *held;    /* its folder is in use until the end */
	pid_t pid;		       /* bubblewrap; 0: has ended */
	int sock;		       /* -1: closed */
	uv_poll_t poll;
	bool polled;
	STAILQ_HEAD(, pod_packet) queue;
	size_t queued;
};

static LIST_HEAD(, agent_pod) pods = LIST_HEAD_INITIALIZER(pods);
static unsigned int nr_pods;

/* What root keeps in a sandbox with --root: its own tree, nothing else. */
static const char *const root_capabilities[] = {
	"CAP_CHOWN",   "CAP_DAC_OVERRIDE", "CAP_FOWNER",	   "CAP_FSETID",
	"CAP_MKNOD",   "CAP_KILL",	   "CAP_SETUID",	   "CAP_SETGID",
	"CAP_SETFCAP", "CAP_SETPCAP",	   "CAP_NET_BIND_SERVICE",
};

uid_t agent_uid(const struct agent *agent)
{
	if (getuid() != 0)
		return getuid();
	return agent->root ? 0 : 1000;
}

static void args_add_identity(struct agent_args *a, const struct agent *agent)
{
	const char *id = agent->root ? "0" : "1000";

	if (getuid() != 0) {
		agent_args_add_all(a, "--unshare-user", "--uid", id, "--gid",
				   id, NULL);
		return;
	}
	agent_args_add_all(a, "--cap-drop", "ALL", NULL);
	if (!agent->root) {
		/* the runtime becomes the user by itself */
		agent_args_add_all(a, "--cap-add", "CAP_SETUID", "--cap-add",
				   "CAP_SETGID", NULL);
		return;
	}
	for (size_t i = 0;
	     i < sizeof(root_capabilities) / sizeof(*root_capabilities); i++)
		agent_args_add_all(a, "--cap-add", root_capabilities[i], NULL);
}

/* What uid 0 could write or read on the host without any capability. */
static void args_add_root_covers(struct agent_args *a)
{
	static const char *const files[] = {"/proc/sysrq-trigger",
					    "/etc/shadow", "/etc/gshadow"};

	agent_args_add_all(a, "--ro-bind", "/proc/sys", "/proc/sys", NULL);
	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
		if (access(files[i], F_OK) == 0)
			agent_args_add_all(a, "--ro-bind", "/dev/null",
					   files[i], NULL);
	}
}

static int pod_args(struct agent_args *a, const struct agent *agent,
		    const char *id, const char *folder)
{
	const char *user = agent->root ? "0" : "1000";
	int r;

	agent_args_add_all(a, "bwrap", "--unshare-pid", "--unshare-ipc",
			   "--unshare-uts", "--die-with-parent",
			   "--new-session", "--as-pid-1", "--hostname", id,
			   NULL);
	args_add_identity(a, agent);
	r = agent_rootfs_add(a, agent->dir);
	if (r < 0)
		return r;
	if (agent->tools)
		agent_rootfs_add_tools(a, agent->tools);
	agent_args_add(a, "--bind");
	agent_args_addf(a, "%s/%s/home", agent->dir, folder);
	agent_args_add_all(a, "/home/sandbox", "--bind", NULL);
	agent_args_addf(a, "%s/%s/workspace", agent->dir, folder);
	agent_args_add_all(a, "/home/sandbox/workspace", "--ro-bind", NULL);
	agent_args_addf(a, "%s/.agent/passwd", agent->dir);
	agent_args_add_all(a, "/etc/passwd", "--ro-bind", NULL);
	agent_args_addf(a, "%s/.agent/group", agent->dir);
	agent_args_add_all(a, "/etc/group", NULL);
	if (agent->root)
		args_add_root_covers(a);
	agent_args_add_all(a, "--remount-ro", "/", "--chdir", "/", "--",
			   "/proc/self/fd/4", "--runtime", "3", user, user,
			   NULL);
	return a->failed ? -ENOMEM : 0;
}

/* bubblewrap gets nothing of our environment: the API key was in it. */
static int pod_spawn(struct agent *agent, const struct agent_args *a, int sock,
		     int err_fd, pid_t *ret)
{
	char path[] = "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin";
	char *envp[] = {path, NULL};
	posix_spawn_file_actions_t acts;
	posix_spawnattr_t attr;
	sigset_t set;
	int r;

	posix_spawn_file_actions_init(&acts);
	posix_spawnattr_init(&attr);
	/* out of the way of the numbers that are given out below */
	sock = fcntl(sock, F_DUPFD_CLOEXEC, 10);
	posix_spawn_file_actions_addopen(&acts, 0, "/dev/null", O_RDWR, 0);
	posix_spawn_file_actions_adddup2(&acts, err_fd, 2);
	posix_spawn_file_actions_adddup2(&acts, 2, 1);
	posix_spawn_file_actions_adddup2(&acts, sock, 3);
	posix_spawn_file_actions_adddup2(&acts, agent->exe_fd, 4);
	posix_spawn_file_actions_addclosefrom_np(&acts, 5);
	sigemptyset(&set);
	posix_spawnattr_setsigmask(&attr, &set);
	sigfillset(&set);
	posix_spawnattr_setsigdefault(&attr, &set);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK |
						POSIX_SPAWN_SETSIGDEF);
	r = sock < 0 ? EMFILE
		     : posix_spawnp(ret, "bwrap", &acts, &attr, a->v, envp);
	if (sock >= 0)
		close(sock);
	posix_spawn_file_actions_destroy(&acts);
	posix_spawnattr_destroy(&attr);
	return -r;
}

static int pod_start(struct agent *agent, const char *id, const char *folder,
		     int err_fd, int *ret_sock, pid_t *ret_pid)
{
	struct agent_args a = {0};
	int socks[2], size = 1 << 20, r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks) < 0)
		return -errno;
	setsockopt(socks[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	fcntl(socks[0], F_SETFL, O_NONBLOCK);
	r = pod_args(&a, agent, id, folder);
	if (!r)
		r = pod_spawn(agent, &a, socks[1], err_fd, ret_pid);
	agent_args_release(&a);
	close(socks[1]);
	if (r < 0)
		close(socks[0]);
	else
		*ret_sock = socks[0];
	return r;
}

static void packet_free(struct pod_packet *p)
{
	for (int i = 0; i < p->nr_fds; i++)
		close(p->fds[i]);
	free(p);
}

static void pod_free(struct agent_pod *pod)
{
	LIST_REMOVE(pod, link);
	nr_pods--;
	agent_sandbox_unref(pod->held);
	free(pod);
}

static void on_pod_closed(uv_handle_t *h)
{
	struct agent_pod *pod = h->data;

	close(pod->sock);
	pod->sock = -1;
	pod->polled = false;
	if (!pod->pid)
		pod_free(pod);
}

/* The runtime ends with our end of its socket, and all below with it. */
static void pod_close(struct agent_pod *pod)
{
	while (!STAILQ_EMPTY(&pod->queue)) {
		struct pod_packet *p = STAILQ_FIRST(&pod->queue);

		STAILQ_REMOVE_HEAD(&pod->queue, link);
		packet_free(p);
	}
	pod->queued = 0;
	if (pod->polled && !uv_is_closing((uv_handle_t *)&pod->poll))
		uv_close((uv_handle_t *)&pod->poll, on_pod_closed);
}

static void pod_lost(struct agent_pod *pod)
{
	struct agent_sandbox *s = pod->sandbox;

	pod->sandbox = NULL;
	pod_close(pod);
	if (!s)
		return;
	s->pod = NULL;
	s->pod_lost = !s->agent->traits.runtime_restart;
	agent_runs_on_pod_end(s);
}

static void pod_handle(struct agent_pod *pod, const struct rt_head *head,
		       const uint8_t *payload, size_t len)
{
	struct agent_sandbox *s = pod->sandbox;

	switch (head->type) {
	case RT_STARTED:
		agent_run_on_started(s, head->id, 0);
		break;
	case RT_FAILED:
		agent_run_on_started(s, head->id, head->a ? head->a : EIO);
		break;
	case RT_EXITED:
		agent_run_on_exited(s, head->id, head->a);
		break;
	case RT_LISTENING:
		agent_ports_found(s, (const uint16_t *)(const void *)payload,
				  len / sizeof(uint16_t));
		break;
	default:
		break;
	}
}

static int packet_send(struct agent_pod *pod, struct pod_packet *p)
{
	union {
		char bytes[CMSG_SPACE(3 * sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct iovec iov = {p->data, p->len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (p->nr_fds) {
		struct cmsghdr *c = &control.align;

		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(sizeof(p->fds));
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(p->fds));
		memcpy(CMSG_DATA(c), p->fds, sizeof(p->fds));
	}
	return sendmsg(pod->sock, &msg, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static void on_pod_event(uv_poll_t *poll, int status, int events);

/* Sends what the socket takes; the rest when it can take more. */
static void pod_flush(struct agent_pod *pod)
{
	int events = UV_READABLE;

	while (!STAILQ_EMPTY(&pod->queue)) {
		struct pod_packet *p = STAILQ_FIRST(&pod->queue);
		int r = packet_send(pod, p);

		if (r == -EAGAIN || r == -EINTR || r == -ETOOMANYREFS) {
			events |= UV_WRITABLE;
			break;
		}
		STAILQ_REMOVE_HEAD(&pod->queue, link);
		pod->queued -= p->len;
		packet_free(p);
	}
	uv_poll_start(&pod->poll, events, on_pod_event);
}

static void on_pod_event(uv_poll_t *poll, int status, int events)
{
	struct agent_pod *pod = poll->data;
	union {
		struct rt_head head;
		uint8_t bytes[sizeof(struct rt_head) + 2 * RT_PORTS_MAX];
	} packet;

	if (events & UV_WRITABLE)
		pod_flush(pod);
	/* some at a time, so that others get their turn */
	for (int i = 0; i < 64 && pod->sandbox; i++) {
		ssize_t n = recv(pod->sock, &packet, sizeof(packet), 0);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			pod_lost(pod);
			return;
		}
		if ((size_t)n >= sizeof(packet.head))
			pod_handle(pod, &packet.head,
				   packet.bytes + sizeof(packet.head),
				   (size_t)n - sizeof(packet.head));
	}
	if (status < 0 && pod->sandbox)
		pod_lost(pod);
}

static struct agent_pod *pod_new(struct agent_sandbox *s)
{
	struct agent_pod *pod = calloc(1, sizeof(*pod));
	int r;

	if (!pod)
		return NULL;
	STAILQ_INIT(&pod->queue);
	r = pod_start(s->agent, s->id, s->id, 2, &pod->sock, &pod->pid);
	if (r < 0) {
		AGENT_LOG("bwrap could not be started: %s", strerror(-r));
		free(pod);
		return NULL;
	}
	LIST_INSERT_HEAD(&pods, pod, link);
	nr_pods++;
	pod->held = agent_sandbox_ref(s);
	pod->poll.data = pod;
	if (uv_poll_init(&s->agent->loop, &pod->poll, pod->sock) < 0) {
		close(pod->sock); /* reaped as a stopped one */
		pod->sock = -1;
		return NULL;
	}
	pod->polled = true;
	pod->sandbox = s;
	uv_poll_start(&pod->poll, UV_READABLE, on_pod_event);
	return pod;
}

struct agent_pod *agent_pod_get(struct agent_sandbox *s)
{
	if (!s->pod && !s->pod_lost && !s->dead && !s->agent->stopping)
		s->pod = pod_new(s);
	return s->pod;
}

void agent_pod_stop(struct agent_pod *pod)
{
	if (pod)
		pod_lost(pod);
}

void agent_pod_kill(struct agent_pod *pod)
{
	if (pod->pid)
		kill(pod->pid, SIGKILL);
}

int agent_pod_pid(const struct agent_pod *pod)
{
	return pod->pid;
}

unsigned int agent_pods_alive(void)
{
	return nr_pods;
}

void agent_pods_reap(struct agent *agent)
{
	struct agent_pod *pod = LIST_FIRST(&pods);

	while (pod) {
		struct agent_pod *next = LIST_NEXT(pod, link);

		if (pod->pid && waitpid(pod->pid, NULL, WNOHANG) == pod->pid) {
			pod->pid = 0;
			if (pod->polled)
				pod_lost(pod); /* freed when closed */
			else
				pod_free(pod);
		}
		pod = next;
	}
}

static int pod_send(struct agent_pod *pod, const struct rt_head *head,
		    const void *payload, size_t len, const int *fds)
{
	struct pod_packet *p = NULL;

	if (pod->queued + len < POD_QUEUE_MAX)
		p = malloc(sizeof(*p) + sizeof(*head) + len);
	if (!p)
		return -EAGAIN;
	p->nr_fds = fds ? 3 : 0;
	if (fds)
		memcpy(p->fds, fds, sizeof(p->fds));
	p->len = sizeof(*head) + len;
	memcpy(p->data, head, sizeof(*head));
	if (len)
		memcpy(p->data + sizeof(*head), payload, len);
	STAILQ_INSERT_TAIL(&pod->queue, p, link);
	pod->queued += p->len;
	pod_flush(pod);
	return 0;
}

static char *string_put(char *to, const char *text)
{
	size_t n = strlen(text) + 1;

	memcpy(to, text, n);
	return to + n;
}

int agent_pod_exec(struct agent_pod *pod, uint32_t id, const char *cwd,
		   char *const *argv, char *const *envp, const int fds[3])
{
	struct rt_head head = {.type = RT_EXEC, .id = id};
	size_t len = strlen(cwd) + 1;
	char *payload = NULL, *to;
	int r = -E2BIG;

	for (head.a = 0; argv[head.a]; head.a++)
		len += strlen(argv[head.a]) + 1;
	for (head.b = 0; envp[head.b]; head.b++)
		len += strlen(envp[head.b]) + 1;
	if (len + sizeof(head) <= RT_PACKET_MAX) {
		payload = malloc(len);
		r = -ENOMEM;
	}
	if (payload) {
		to = string_put(payload, cwd);
		for (int i = 0; i < head.a; i++)
			to = string_put(to, argv[i]);
		for (int i = 0; i < head.b; i++)
			to = string_put(to, envp[i]);
		r = pod_send(pod, &head, payload, len, fds);
		free(payload);
	}
	if (r < 0) {
		for (int i = 0; i < 3; i++)
			close(fds[i]);
	}
	return r;
}

void agent_pod_signal(struct agent_pod *pod, uint32_t id, int sig)
{
	struct rt_head head = {.type = RT_KILL, .id = id, .a = sig};

	pod_send(pod, &head, NULL, 0, NULL);
}

void agent_pod_ask_ports(struct agent_pod *pod)
{
	struct rt_head head = {.type = RT_PORTS};

	pod_send(pod, &head, NULL, 0, NULL);
}

/* What bubblewrap complained of, on one line. */
static void probe_reason(int err_fd, char *reason, size_t size)
{
	ssize_t n = read(err_fd, reason, size - 1);

	reason[n > 0 ? n : 0] = 0;
	reason[strcspn(reason, "\n")] = 0;
}

int agent_pod_probe(struct agent *agent, char *reason, size_t size)
{
	int sock = -1, err[2], r;
	struct pollfd pfd;
	struct rt_head head;
	pid_t pid = 0;

	if (pipe2(err, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	*reason = 0;
	r = pod_start(agent, "probe", ".agent", err[1], &sock, &pid);
	close(err[1]);
	if (r < 0) {
		snprintf(reason, size, "%s", strerror(-r));
		close(err[0]);
		return r;
	}
	pfd = (struct pollfd){.fd = sock, .events = POLLIN};
	if (poll(&pfd, 1, 10000) < 1 ||
	    recv(sock, &head, sizeof(head), 0) != sizeof(head) ||
	    head.type != RT_READY) {
		r = -EIO;
		kill(pid, SIGKILL);
	}
	close(sock);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	if (r < 0)
		probe_reason(err[0], reason, size);
	close(err[0]);
	return r;
}
