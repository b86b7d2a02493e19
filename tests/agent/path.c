/* See path.h. */
#include "tests/agent/path.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/agent/exec.h"

#define LINKS_MAX 255 /* Go's EvalSymlinks */

struct resolver {
	int root_fd;
	char done[PATH_MAX]; /* resolved so far, without a slash in front */
	char todo[PATH_MAX]; /* what is left */
	int links;
};

int agent_path_open(int root_fd, const char *path, int flags, unsigned mode)
{
	struct open_how how = {
		.flags = (unsigned)flags | O_CLOEXEC,
		.mode = mode,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS |
			   RESOLVE_NO_MAGICLINKS,
	};
	long fd = syscall(SYS_openat2, root_fd, *path ? path : ".", &how,
			  sizeof(how));

	return fd < 0 ? -errno : (int)fd;
}

static int path_append(char *path, const char *name, size_t len)
{
	size_t n = strlen(path);

	if (n + len + 2 > PATH_MAX)
		return -ENAMETOOLONG;
	if (n)
		path[n++] = '/';
	memcpy(path + n, name, len);
	path[n + len] = 0;
	return 0;
}

/* false: it was at the top already. */
static bool path_up(char *path)
{
	char *slash = strrchr(path, '/');

	if (!*path)
		return false;
	*(slash ? slash : path) = 0;
	return true;
}

/* What is certain to be in the sidecar's own root file system. */
static bool exists_outside(const char *target)
{
	static const char *const folders[] = {"/etc",	      "/proc", "/sys",
					      "/dev",	      "/tmp",  "/home",
					      "/home/sandbox"};

	if (!target[strspn(target, "/")])
		return true;
	for (size_t i = 0; i < sizeof(folders) / sizeof(*folders); i++) {
		if (!strcmp(target, folders[i]))
			return true;
	}
	return !strcmp(target, "/etc/passwd") || !strcmp(target, "/etc/hosts");
}

/* Puts a link's target in front of what is left to do. */
static void resolver_follow(struct resolver *r, const char *target,
			    struct agent_path *ret)
{
	size_t n = strlen(AGENT_WORKSPACE);
	char rest[PATH_MAX];

	if (++r->links > LINKS_MAX) {
		ret->why = "EvalSymlinks: too many links";
		ret->err = ELOOP;
		return;
	}
	if (*target == '/') {
		if (strncmp(target, AGENT_WORKSPACE, n) ||
		    (target[n] && target[n] != '/')) {
			if (exists_outside(target))
				ret->why = "path escapes workspace root via "
					   "symlink";
			else
				ret->err = ENOENT;
			return;
		}
		target += n;
		r->done[0] = 0;
	}
	strcpy(rest, r->todo);
	if (snprintf(r->todo, sizeof(r->todo), "%s/%s", target, rest) >=
	    (int)sizeof(r->todo))
		ret->err = ENAMETOOLONG;
}

/* One component; it may turn out to be a link. */
static void resolver_step(struct resolver *r, const char *name, size_t len,
			  bool follow, struct agent_path *ret)
{
	char target[PATH_MAX], before[PATH_MAX];
	struct stat st;
	ssize_t n;
	int fd;

	strcpy(before, r->done);
	if (path_append(r->done, name, len) < 0) {
		ret->err = ENAMETOOLONG;
		return;
	}
	fd = agent_path_open(r->root_fd, r->done, O_PATH | O_NOFOLLOW, 0);
	if (fd < 0) {
		ret->err = -fd;
		return;
	}
	if (fstat(fd, &st) == 0 && S_ISLNK(st.st_mode) && follow) {
		n = readlinkat(fd, "", target, sizeof(target) - 1);
		target[n < 0 ? 0 : n] = 0;
		strcpy(r->done, before);
		resolver_follow(r, target, ret);
	}
	close(fd);
}

/* Go's filepath.Clean("/" + text): no "..", no empty parts. */
static int path_clean(const char *text, size_t len, char *ret)
{
	*ret = 0;
	if (len >= PATH_MAX)
		return -ENAMETOOLONG;
	if (memchr(text, 0, len))
		return -EINVAL;
	while (len) {
		const char *slash = memchr(text, '/', len);
		size_t n = slash ? (size_t)(slash - text) : len;
		int r = 0;

		if (n == 2 && !memcmp(text, "..", 2))
			path_up(ret);
		else if (n && !(n == 1 && *text == '.'))
			r = path_append(ret, text, n);
		if (r < 0)
			return r;
		n += slash != NULL;
		text += n;
		len -= n;
	}
	return 0;
}

/* The rest as it is: nothing of it exists, so nothing can be a link. */
static void resolver_take_rest(struct resolver *r, struct agent_path *ret)
{
	char rest[PATH_MAX];

	if (path_clean(r->todo, strlen(r->todo), rest) < 0 ||
	    (*rest && path_append(r->done, rest, strlen(rest)) < 0))
		ret->err = ENAMETOOLONG;
}

void agent_path_resolve(int root_fd, const char *text, size_t len, bool follow,
			struct agent_path *ret)
{
	struct resolver r = {.root_fd = root_fd};
	int err = len ? path_clean(text, len, r.todo) : 0;

	ret->err = -err;
	ret->why = NULL;
	ret->exists = false;
	while (!ret->err && !ret->why && r.todo[strspn(r.todo, "/")]) {
		char *name = r.todo + strspn(r.todo, "/");
		size_t n = strcspn(name, "/");
		char part[NAME_MAX + 2];
		bool last = !name[n + strspn(name + n, "/")];

		if (n > NAME_MAX) {
			ret->err = ENAMETOOLONG;
			break;
		}
		memcpy(part, name, n);
		part[n] = 0;
		memmove(r.todo, name + n, strlen(name + n) + 1);
		if (!strcmp(part, "..") && !path_up(r.done))
			ret->why = "path escapes workspace root via symlink";
		else if (strcmp(part, "..") && strcmp(part, "."))
			resolver_step(&r, part, n, follow || !last, ret);
	}
	ret->exists = !ret->err && !ret->why;
	if (ret->err == ENOENT)
		resolver_take_rest(&r, ret);
	snprintf(ret->text, sizeof(ret->text), "%s", *r.done ? r.done : ".");
}
