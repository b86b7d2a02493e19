/*
 * Which TCP ports the processes of this pid namespace listen on.  The network
 * is shared with the host, so the kernel's table has the host's sockets too;
 * those held by nobody in here are left out.  Called in the runtime.
 */
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/agent/runtime.h"

#define SOCKETS_MAX 4096

struct socket_table {
	struct {
		uint64_t inode;
		uint16_t port;
	} entries[SOCKETS_MAX];
	int nr;
};

static void table_read(struct socket_table *t, const char *path)
{
	FILE *f = fopen(path, "re");
	char line[512];

	if (!f)
		return;
	while (t->nr < SOCKETS_MAX && fgets(line, sizeof(line), f)) {
		unsigned int port, state;
		uint64_t inode;

		/* sl local remote st queues timer retrnsmt uid timeout inode */
		if (sscanf(line,
			   "%*s %*[0-9A-F]:%x %*s %x %*s %*s %*s %*s %*s "
			   "%" SCNu64,
			   &port, &state, &inode) != 3 ||
		    state != 0x0a || !inode)
			continue;
		t->entries[t->nr].inode = inode;
		t->entries[t->nr++].port = (uint16_t)port;
	}
	fclose(f);
}

static int port_add(uint16_t *ports, int n, int max, uint16_t port)
{
	for (int i = 0; i < n; i++) {
		if (ports[i] == port)
			return n;
	}
	if (n < max)
		ports[n++] = port;
	return n;
}

static int process_ports(const struct socket_table *t, const char *pid,
			 uint16_t *ports, int n, int max)
{
	char path[300], target[64];
	struct dirent *d;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%s/fd", pid);
	dir = opendir(path);
	if (!dir)
		return n; /* it ended, or is not ours to see */
	while ((d = readdir(dir))) {
		uint64_t inode;
		ssize_t len = readlinkat(dirfd(dir), d->d_name, target,
					 sizeof(target) - 1);

		if (len < 0)
			continue;
		target[len] = 0;
		if (sscanf(target, "socket:[%" SCNu64, &inode) != 1)
			continue;
		for (int i = 0; i < t->nr; i++) {
			if (t->entries[i].inode == inode)
				n = port_add(ports, n, max, t->entries[i].port);
		}
	}
	closedir(dir);
	return n;
}

int agent_listening(uint16_t *ports, int max)
{
	static struct socket_table t;
	struct dirent *d;
	DIR *proc;
	int n = 0;

	t.nr = 0;
	table_read(&t, "/proc/net/tcp");
	table_read(&t, "/proc/net/tcp6");
	proc = t.nr ? opendir("/proc") : NULL;
	if (!proc)
		return 0;
	while ((d = readdir(proc))) {
		if (isdigit((unsigned char)d->d_name[0]))
			n = process_ports(&t, d->d_name, ports, n, max);
	}
	closedir(proc);
	return n;
}
