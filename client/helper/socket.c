/* The private socket of a session: see socket.h.  Called by session.c. */
#include "client/helper/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define LOCK_TRIES 100
#define LOCK_MS	   50

/* ---- the folder ---- */

/* Ours, a real directory, and closed to everybody else. */
static bool folder_is_good(const char *path)
{
	struct stat st;

	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return false;
	if (lstat(path, &st) < 0 || !S_ISDIR(st.st_mode) ||
	    st.st_uid != geteuid())
		return false;
	return !(st.st_mode & 077) || chmod(path, 0700) == 0;
}

static bool folder_at(const char *base, struct sockaddr_un *un, size_t *ret_len)
{
	int n;

	if (!base || base[0] != '/')
		return false;
	n = snprintf(un->sun_path, sizeof(un->sun_path), "%s/sbxfs-%u", base,
		     (unsigned int)geteuid());
	/* the session's name and a slash follow */
	if (n < 0 || (size_t)n + 34 > sizeof(un->sun_path))
		return false;
	*ret_len = (size_t)n;
	return folder_is_good(un->sun_path);
}

static int address_of(const char *session, struct sockaddr_un *un,
		      size_t *ret_folder)
{
	memset(un, 0, sizeof(*un));
	un->sun_family = AF_UNIX;
	if (!folder_at(getenv("XDG_RUNTIME_DIR"), un, ret_folder) &&
	    !folder_at(getenv("TMPDIR"), un, ret_folder) &&
	    !folder_at("/tmp", un, ret_folder))
		return -ENOENT;
	snprintf(un->sun_path + *ret_folder, sizeof(un->sun_path) - *ret_folder,
		 "/%s", session);
	return 0;
}

/* One process at a time looks for the daemon or makes one. */
static int folder_lock(struct sockaddr_un *un, size_t len)
{
	int fd, i;

	un->sun_path[len] = '\0';
	fd = open(un->sun_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	un->sun_path[len] = '/';
	if (fd < 0)
		return -errno;
	for (i = 0; i < LOCK_TRIES; i++) {
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			return fd;
		poll(NULL, 0, LOCK_MS);
	}
	close(fd);
	return -EBUSY;
}

/* ---- joining ---- */

static int new_socket(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return fd < 0 ? -errno : fd;
}

static int connect_to(const struct sockaddr_un *un)
{
	int fd = new_socket();

	if (fd < 0)
		return fd;
	if (connect(fd, (const struct sockaddr *)un, sizeof(*un)) == 0 &&
	    socket_peer_is_us(fd))
		return fd;
	close(fd);
	return -ECONNREFUSED;
}

static int listen_on(const struct sockaddr_un *un)
{
	int fd = new_socket();
	mode_t mask;
	int r;

	if (fd < 0)
		return fd;
	unlink(un->sun_path);
	mask = umask(077);
	r = bind(fd, (const struct sockaddr *)un, sizeof(*un));
	umask(mask);
	if (r == 0 && listen(fd, 4) == 0 && fcntl(fd, F_SETFL, O_NONBLOCK) == 0)
		return fd;
	r = -errno;
	close(fd);
	return r;
}

int socket_join(const char *session, int *ret_listening)
{
	struct sockaddr_un un;
	int lock, listening = -1, sock;
	size_t len;

	if (address_of(session, &un, &len) < 0)
		return -ENOENT;
	lock = folder_lock(&un, len);
	if (lock < 0)
		return lock;
	sock = connect_to(&un);
	if (sock < 0) {
		listening = listen_on(&un);
		sock = listening < 0 ? listening : connect_to(&un);
		if (sock < 0 && listening >= 0)
			close(listening);
		else if (sock >= 0)
			*ret_listening = listening;
	}
	close(lock);
	return sock;
}

/* By its descriptor: it is where it was made. */
static bool name_of(int listening, struct sockaddr_un *un)
{
	socklen_t len = sizeof(*un);

	memset(un, 0, sizeof(*un));
	return getsockname(listening, (struct sockaddr *)un, &len) == 0 &&
	       un->sun_path[0] == '/' && len <= sizeof(*un) &&
	       memchr(un->sun_path, 0, sizeof(un->sun_path));
}

void socket_remove(int listening)
{
	struct sockaddr_un un;

	if (!name_of(listening, &un))
		return;
	unlink(un.sun_path);
	*strrchr(un.sun_path, '/') = '\0';
	rmdir(un.sun_path);
}

bool socket_is_there(int listening)
{
	struct sockaddr_un un;

	return !name_of(listening, &un) || access(un.sun_path, F_OK) == 0 ||
	       errno != ENOENT;
}

int socket_watch(int listening, int inotify)
{
	struct sockaddr_un un;

	if (!name_of(listening, &un) ||
	    inotify_add_watch(inotify, un.sun_path, IN_ATTRIB | IN_MOVE_SELF) <
		    0)
		return -ENOENT;
	return 0;
}

bool socket_peer_is_us(int sock)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	return getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 &&
	       cred.uid == geteuid();
}

/* ---- descriptors ---- */

#define STREAMS 2

union control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(STREAMS * sizeof(int))];
};

int socket_send_streams(int sock, int in, int out, const struct handover *how)
{
	int fds[STREAMS] = {in, out};
	union control control = {0};
	struct handover copy = *how;
	struct iovec iov = {&copy, sizeof(copy)};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.bytes,
			     .msg_controllen = sizeof(control.bytes)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(fds));
	memcpy(CMSG_DATA(c), fds, sizeof(fds));
	if (sendmsg(sock, &msg, MSG_NOSIGNAL) == (ssize_t)sizeof(copy))
		return 0;
	return -ECONNRESET;
}

int socket_take_streams(int sock, int *ret_in, int *ret_out,
			struct handover *ret_how)
{
	int fds[STREAMS];
	union control control = {0};
	struct iovec iov = {ret_how, sizeof(*ret_how)};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.bytes,
			     .msg_controllen = sizeof(control.bytes)};
	struct cmsghdr *c;
	ssize_t got;
	size_t n;

	got = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
	if (got <= 0)
		return -ECONNRESET;
	c = CMSG_FIRSTHDR(&msg);
	if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
		return -EPROTO;
	n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	memcpy(fds, CMSG_DATA(c), (n < STREAMS ? n : STREAMS) * sizeof(int));
	if (n == STREAMS && !(msg.msg_flags & MSG_CTRUNC) &&
	    got == (ssize_t)sizeof(*ret_how)) {
		*ret_in = fds[0];
		*ret_out = fds[1];
		return 0;
	}
	while (n && n <= STREAMS)
		close(fds[--n]);
	return -EPROTO;
}
