/*
 * Computes the binds of a sandbox's root.  A folder without anything to hide
 * below it is bound whole; another is built from its entries, one by one.
 * Called by the pod on the loop thread; reads /proc/self/mountinfo.
 */
#include "tests/agent/rootfs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HIDDEN_MAX  256
#define ENTRIES_MAX 1024

struct hidden {
	char *paths[HIDDEN_MAX];
	size_t nr;
};

static const char *const private_folders[] = {
	"/proc", "/dev", "/tmp",   "/run",  "/home",
	"/root", "/mnt", "/media", "/boot", "/lost+found",
};

static int hidden_add(struct hidden *h, const char *path)
{
	/* beyond the bound it is safer to have no sandbox than a leaky one */
	if (h->nr == HIDDEN_MAX)
		return -E2BIG;
	h->paths[h->nr] = strdup(path);
	return h->paths[h->nr++] ? 0 : -ENOMEM;
}

static void hidden_release(struct hidden *h)
{
	for (size_t i = 0; i < h->nr; i++)
		free(h->paths[i]);
}

static bool is_below(const char *path, const char *folder)
{
	size_t n = strlen(folder);

	return !strncmp(path, folder, n) && (path[n] == '/' || !path[n]);
}

static bool is_private(const char *path)
{
	for (size_t i = 0;
	     i < sizeof(private_folders) / sizeof(*private_folders); i++) {
		if (is_below(path, private_folders[i]))
			return true;
	}
	return false;
}

/* mountinfo writes blanks and backslashes as three octal digits. */
static void unescape(char *text)
{
	char *to = text;

	for (const char *p = text; *p; to++) {
		unsigned int c;

		if (*p == '\\' && sscanf(p, "\\%3o", &c) == 1) {
			*to = (char)c;
			p += 4;
		} else {
			*to = *p++;
		}
	}
	*to = 0;
}

static int hidden_read_mounts(struct hidden *h)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char *line = NULL;
	size_t room = 0;
	int r = 0;

	if (!f)
		return -errno;
	while (!r && getline(&line, &room, f) > 0) {
		char point[PATH_MAX], *type = strstr(line, " - ");

		if (!type || sscanf(line, "%*s %*s %*s %*s %4095s", point) != 1)
			continue;
		if (strncmp(type + 3, "fuse", 4) &&
		    strncmp(type + 3, "autofs", 6))
			continue;
		unescape(point);
		if (strcmp(point, "/") && !is_private(point))
			r = hidden_add(h, point);
	}
	free(line);
	fclose(f);
	return r;
}

static int rootfs_add_folder(struct agent_args *a, const struct hidden *h,
			     const char *path);

static int rootfs_add_entry(struct agent_args *a, const struct hidden *h,
			    const char *path)
{
	char target[PATH_MAX];
	struct stat st;
	ssize_t n;

	if (is_private(path) || lstat(path, &st) < 0)
		return 0;
	if (S_ISLNK(st.st_mode)) {
		n = readlink(path, target, sizeof(target) - 1);
		if (n < 0)
			return 0;
		target[n] = 0;
		agent_args_add_all(a, "--symlink", target, path, NULL);
		return 0;
	}
	for (size_t i = 0; i < h->nr; i++) {
		if (!strcmp(h->paths[i], path))
			return 0;
		if (S_ISDIR(st.st_mode) && is_below(h->paths[i], path))
			return rootfs_add_folder(a, h, path);
	}
	/* files in the top folder (swap files and such) are no system */
	if (S_ISDIR(st.st_mode) || strrchr(path, '/') != path)
		agent_args_add_all(a, "--ro-bind-try", path, path, NULL);
	return 0;
}

static int rootfs_add_folder(struct agent_args *a, const struct hidden *h,
			     const char *path)
{
	bool top = !strcmp(path, "/");
	DIR *dir = opendir(path);
	struct dirent *d;
	int r = 0, n = 0;

	if (!top)
		agent_args_add_all(a, "--dir", path, NULL);
	if (!dir)
		return top ? -errno : 0;
	while (!r && (d = readdir(dir)) && n++ < ENTRIES_MAX) {
		char entry[PATH_MAX];

		if (!strcmp(d->d_name, ".") || !strcmp(d->d_name, "..") ||
		    snprintf(entry, sizeof(entry), "%s/%s", top ? "" : path,
			     d->d_name) >= (int)sizeof(entry))
			continue;
		r = rootfs_add_entry(a, h, entry);
	}
	closedir(dir);
	return r;
}

int agent_rootfs_add(struct agent_args *a, const char *hidden)
{
	struct hidden h = {0};
	char resolver[PATH_MAX];
	int r = is_private(hidden) ? 0 : hidden_add(&h, hidden);

	if (!r)
		r = hidden_read_mounts(&h);
	if (!r)
		r = rootfs_add_folder(a, &h, "/");
	hidden_release(&h);
	if (r < 0)
		return r;
	agent_args_add_all(a, "--dev", "/dev", "--perms", "1777", "--tmpfs",
			   "/dev/shm", "--proc", "/proc", "--perms", "1777",
			   "--tmpfs", "/tmp", "--perms", "1777", "--tmpfs",
			   "/var/tmp", "--perms", "0755", "--tmpfs", "/run",
			   "--perms", "1777", "--dir", "/run/lock", "--perms",
			   "0700", "--dir", "/root", "--perms", "0755", "--dir",
			   "/home", "--dir", "/mnt", "--dir", "/media", NULL);
	/* often a link into /run, which is hidden: names must resolve */
	if (realpath("/etc/resolv.conf", resolver) &&
	    is_below(resolver, "/run"))
		agent_args_add_all(a, "--ro-bind-try", resolver, resolver,
				   NULL);
	return a->failed ? -ENOMEM : 0;
}

void agent_rootfs_add_tools(struct agent_args *a, const char *dir)
{
	static const char *const others[] = {"/usr/sbin", "/usr/local/bin",
					     "/usr/local/sbin", "/sbin"};
	struct stat st;

	agent_args_add_all(a, "--ro-bind", dir, "/usr/bin", NULL);
	/* often a link to that */
	if (lstat("/bin", &st) == 0 && S_ISDIR(st.st_mode))
		agent_args_add_all(a, "--ro-bind", dir, "/bin", NULL);
	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
		if (lstat(others[i], &st) == 0 && S_ISDIR(st.st_mode))
			agent_args_add_all(a, "--tmpfs", others[i], NULL);
	}
}

static int users_copy(const char *from, int dir_fd, const char *to,
		      const char *own)
{
	FILE *in = fopen(from, "re"), *out = NULL;
	int fd = openat(dir_fd, to,
			O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
			0644);
	char line[1024], name[64];
	unsigned int id;
	int r = 0;

	if (fd >= 0)
		out = fdopen(fd, "w");
	if (!out) {
		r = -errno;
		if (fd >= 0)
			close(fd);
		goto out;
	}
	/* only the system's own: people of the host are nobody's business */
	while (in && fgets(line, sizeof(line), in)) {
		if (sscanf(line, "%63[^:]:%*[^:]:%u", name, &id) == 2 &&
		    strchr(line, '\n') && (id < 1000 || id == 65534) &&
		    strcmp(name, "sandbox"))
			fputs(line, out);
	}
	fputs(own, out);
	if (fclose(out))
		r = -errno;
out:
	if (in)
		fclose(in);
	return r;
}

int agent_rootfs_write_users(int dir_fd)
{
	int r = users_copy("/etc/passwd", dir_fd, "passwd",
			   "sandbox:x:1000:1000::/home/sandbox:/bin/bash\n");

	if (r < 0)
		return r;
	return users_copy("/etc/group", dir_fd, "group", "sandbox:x:1000:\n");
}
