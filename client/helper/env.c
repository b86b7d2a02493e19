/* Variables: see env.h.  Called by session.c. */
#include "client/helper/env.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* As much as the kernel gives a process for arguments and variables. */
#define ENV_MAX ((size_t)2 << 20)
#define STEP	16384

/* What environ is, once it was another's: each ends with a zero byte. */
static struct {
	char *text, **list;
	size_t len;
} now;

static int open_of(int sock)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);
	char path[40];

	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return -1;
	snprintf(path, sizeof(path), "/proc/%d/environ", (int)cred.pid);
	return open(path, O_RDONLY | O_CLOEXEC);
}

/* All of it, malloced; NULL: not to be had, or too much. */
static char *read_all(int fd, size_t *ret_len)
{
	char *text = NULL, *more;
	size_t len = 0;
	ssize_t n;

	for (;;) {
		more = len < ENV_MAX ? realloc(text, len + STEP) : NULL;
		if (!more)
			break;
		text = more;
		n = read(fd, text + len, STEP);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			break;
		len += (size_t)n;
		*ret_len = len;
		if (!n)
			return text;
	}
	free(text);
	return NULL;
}

static bool is_as_now(const char *text, size_t len)
{
	return now.list && len == now.len && !memcmp(text, now.text, len);
}

/* The strings in it; NULL: there are none, or no memory. */
static char **split(char *text, size_t len)
{
	size_t n = 0, at;
	char **list;

	if (!len || text[len - 1])
		return NULL;
	for (at = 0; at < len; at++)
		n += !text[at];
	list = malloc((n + 1) * sizeof(*list));
	if (!list)
		return NULL;
	n = 0;
	for (at = 0; at < len; at += strlen(text + at) + 1)
		if (strchr(text + at, '='))
			list[n++] = text + at;
	list[n] = NULL;
	return list;
}

void env_follow(int sock)
{
	int fd = open_of(sock);
	char *text, **list;
	size_t len = 0;

	if (fd < 0)
		return;
	text = read_all(fd, &len);
	close(fd);
	list = text && !is_as_now(text, len) ? split(text, len) : NULL;
	if (!list) {
		free(text);
		return;
	}
	environ = list;
	free(now.text);
	free(now.list);
	now.text = text;
	now.list = list;
	now.len = len;
}
