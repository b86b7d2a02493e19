/*
 * The main process of a sandbox, pid 1 of its pid namespace: starts commands
 * on request of the agent, reaps every process, reports exits.  It runs as
 * the sandbox's user and ends with the agent's end of the socket; the kernel
 * then ends everything below it.  One thread, poll.
 */
#include "tests/agent/runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct child {
	pid_t pid;
	uint32_t id;
};

struct runtime {
	int sock;
	int signals;
	struct child children[RT_RUNS_MAX];
	int nr_children;
	char packet[RT_PACKET_MAX];
};

static void runtime_tell(struct runtime *rt, enum rt_type type, uint32_t id,
			 int32_t a)
{
	struct rt_head head = {.type = type, .id = id, .a = a};

	/* blocks if the agent does not read; it has no other work then */
	if (send(rt->sock, &head, sizeof(head), MSG_NOSIGNAL) < 0 &&
	    errno != EINTR)
		_exit(0);
}

/* Cuts n NUL-ended strings off the payload; false if it is too short. */
static bool strings_take(char **p, char *end, char **strings, int n)
{
	for (int i = 0; i < n; i++) {
		char *nul = memchr(*p, 0, (size_t)(end - *p));

		if (!nul)
			return false;
		strings[i] = *p;
		*p = nul + 1;
	}
	strings[n] = NULL;
	return true;
}

/* In the child: its own process group, its streams, then the command. */
static _Noreturn void child_run(const struct rt_head *head, char *payload,
				char *end, const int *fds)
{
	char **argv = calloc((size_t)head->a + 1, sizeof(*argv));
	char **envp = calloc((size_t)head->b + 1, sizeof(*envp));
	char *cwd[2];
	sigset_t none;

	setpgid(0, 0);
	for (int i = 0; i < 3; i++)
		dup2(fds[i], i);
	close_range(3, ~0U, 0);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (!argv || !envp || !strings_take(&payload, end, cwd, 1) ||
	    !strings_take(&payload, end, argv, head->a) ||
	    !strings_take(&payload, end, envp, head->b))
		_exit(125);
	agent_launch(cwd[0], argv, envp);
}

static void runtime_exec(struct runtime *rt, const struct rt_head *head,
			 char *payload, char *end, const int *fds)
{
	pid_t pid;

	if (rt->nr_children == RT_RUNS_MAX || head->a < 1 || head->b < 0 ||
	    head->a > RT_PACKET_MAX || head->b > RT_PACKET_MAX) {
		runtime_tell(rt, RT_FAILED, head->id, EAGAIN);
		return;
	}
	pid = fork();
	if (pid < 0) {
		runtime_tell(rt, RT_FAILED, head->id, errno);
		return;
	}
	if (!pid)
		child_run(head, payload, end, fds);
	setpgid(pid, pid);
	rt->children[rt->nr_children++] = (struct child){pid, head->id};
	runtime_tell(rt, RT_STARTED, head->id, pid);
}

static void runtime_kill(struct runtime *rt, uint32_t id, int sig)
{
	for (int i = 0; i < rt->nr_children; i++) {
		if (rt->children[i].id == id)
			kill(-rt->children[i].pid, sig);
	}
}

static void runtime_ports(struct runtime *rt, uint32_t id)
{
	struct {
		struct rt_head head;
		uint16_t ports[RT_PORTS_MAX];
	} answer;
	int n = agent_listening(answer.ports, RT_PORTS_MAX);

	answer.head = (struct rt_head){.type = RT_LISTENING, .id = id, .a = n};
	if (send(rt->sock, &answer, sizeof(answer.head) + (size_t)n * 2,
		 MSG_NOSIGNAL) < 0 &&
	    errno != EINTR)
		_exit(0);
}

static void runtime_handle(struct runtime *rt, size_t len, const int *fds,
			   int nr_fds)
{
	struct rt_head head;
	char *payload = rt->packet + sizeof(head);

	if (len < sizeof(head))
		return;
	memcpy(&head, rt->packet, sizeof(head));
	switch (head.type) {
	case RT_EXEC:
		if (nr_fds == 3)
			runtime_exec(rt, &head, payload, rt->packet + len, fds);
		else
			runtime_tell(rt, RT_FAILED, head.id, EMFILE);
		break;
	case RT_KILL:
		runtime_kill(rt, head.id, head.a);
		break;
	case RT_PORTS:
		runtime_ports(rt, head.id);
		break;
	default:
		break;
	}
}

static int packet_fds(struct msghdr *msg, int *fds)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(msg);
	int n = 0;

	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
		n = (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(fds, CMSG_DATA(c), (size_t)n * sizeof(int));
	}
	return n;
}

static void runtime_read(struct runtime *rt)
{
	union {
		char bytes[CMSG_SPACE(3 * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = {rt->packet, sizeof(rt->packet)};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(rt->sock, &msg, MSG_CMSG_CLOEXEC);
	int fds[3];
	int nr_fds;

	if (n < 0 && errno == EINTR)
		return;
	if (n <= 0)
		_exit(0); /* the agent is gone, so are we */
	nr_fds = packet_fds(&msg, fds);
	runtime_handle(rt, (size_t)n, fds, nr_fds);
	for (int i = 0; i < nr_fds; i++)
		close(fds[i]);
}

static void runtime_reap(struct runtime *rt)
{
	struct signalfd_siginfo info;
	pid_t pid;
	int status;

	while (read(rt->signals, &info, sizeof(info)) > 0)
		;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		for (int i = 0; i < rt->nr_children; i++) {
			if (rt->children[i].pid != pid)
				continue;
			runtime_tell(rt, RT_EXITED, rt->children[i].id, status);
			rt->children[i] = rt->children[--rt->nr_children];
			break;
		}
	}
}

/* The agent, if root, leaves it to us to become the sandbox's user. */
static int runtime_become(uid_t uid, gid_t gid)
{
	struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct none[2] = {0};

	if (getuid() == 0 && uid != 0 &&
	    (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 ||
	     setresuid(uid, uid, uid) < 0))
		return -errno;
	/* what is left after that are inheritable ones */
	if (uid != 0)
		syscall(SYS_capset, &head, none);
	/* a change of uid has cleared it */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
#ifndef __SANITIZE_ADDRESS__
	/* commands have our uid: they shall not reach into our memory */
	prctl(PR_SET_DUMPABLE, 0);
#endif
	prctl(PR_SET_NAME, "sbxfs-runtime");
	return 0;
}

static int runtime_init(struct runtime *rt, char **argv)
{
	sigset_t chld;
	int null;

	rt->sock = dup3(atoi(argv[2]), 3, O_CLOEXEC);
	if (rt->sock < 0 && errno == EINVAL)
		rt->sock = 3;
	fcntl(rt->sock, F_SETFD, FD_CLOEXEC);
	close_range(4, ~0U, 0);
	null = open("/dev/null", O_RDWR);
	if (null < 0)
		return -errno;
	dup2(null, 0);
	dup2(null, 1);
	dup2(null, 2);
	close(null);
	umask(022);
	if (chdir("/") < 0)
		return -errno;
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigprocmask(SIG_BLOCK, &chld, NULL);
	rt->signals = signalfd(-1, &chld, SFD_CLOEXEC | SFD_NONBLOCK);
	if (rt->signals < 0)
		return -errno;
	return runtime_become((uid_t)atoi(argv[3]), (gid_t)atoi(argv[4]));
}

int agent_runtime_main(int argc, char **argv)
{
	static struct runtime rt;

	if (argc != 5 || runtime_init(&rt, argv) < 0)
		_exit(1);
	runtime_tell(&rt, RT_READY, 0, 0);
	for (;;) {
		struct pollfd fds[2] = {{.fd = rt.sock, .events = POLLIN},
					{.fd = rt.signals, .events = POLLIN}};

		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			_exit(1);
		/* exits first: room for the next request */
		if (fds[1].revents)
			runtime_reap(&rt);
		if (fds[0].revents)
			runtime_read(&rt);
	}
}
