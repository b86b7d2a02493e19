/*
 * Which sandbox a directory belongs to.
 *
 * It is looked for from the top of the mount, not from the directory
 * upwards: the sandbox can make folders in its workspace that look like
 * ours, and names there may have to be asked for over the network.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "scripts/sbxrun/sbxrun.h"

static bool path_is_box(const char *path)
{
	char name[PATH_MAX + 16];

	if (strlen(path) >= PATH_MAX)
		return false;
	stpcpy(stpcpy(name, path), "/jobs/new");
	return access(name, R_OK | W_OK) == 0;
}

/* The first n bytes of path, at least the root. */
static char *path_prefix(const char *path, size_t n)
{
	return n ? strndup(path, n) : strdup("/");
}

static bool path_is_on(const char *path, dev_t dev)
{
	struct stat st;

	return stat(path, &st) == 0 && st.st_dev == dev;
}

/*
 * How long the name of the sandbox's folder is in path, which is on device
 * dev: it is the top of that mount or just below.  0: there is none.
 */
static size_t box_length(const char *path, dev_t dev)
{
	size_t n = 0;
	int levels = 0;

	for (;;) {
		char *prefix = path_prefix(path, n);
		bool is_on = prefix && path_is_on(prefix, dev);
		bool is_box = is_on && path_is_box(prefix);

		free(prefix);
		if (is_box)
			return n;
		if ((is_on && ++levels == 2) || !path[n])
			return 0;
		n += 1 + strcspn(path + n + 1, "/");
	}
}

/* In the folder rest of a sandbox (begins with a slash, or is empty). */
static char *cwd_of(const char *rest)
{
	if (!strncmp(rest, "/workspace/", 11))
		return strdup(rest + 11);
	if (!strncmp(rest, "/root/", 6))
		return strdup(rest + 5);
	return strdup(strcmp(rest, "/root") ? "" : "/");
}

/* A sandbox by its name, from a directory in the same mount. */
static char *sibling(const char *name)
{
	char here[PATH_MAX], *top, *path = NULL;
	struct stat st;
	size_t n = 0;

	if (strchr(name, '/') || !getcwd(here, sizeof(here)) ||
	    stat(here, &st) < 0)
		return NULL;
	for (;; n += 1 + strcspn(here + n + 1, "/")) {
		top = path_prefix(here, n);
		if (!top || path_is_on(top, st.st_dev) || !here[n])
			break;
		free(top);
	}
	if (top && asprintf(&path, "%s/%s", top, name) < 0)
		path = NULL;
	free(top);
	if (path && path_is_box(path))
		return path;
	free(path);
	return NULL;
}

void place_find(const char *dir, char **ret_box, char **ret_cwd)
{
	char *path = realpath(dir ? dir : ".", NULL);
	struct stat st;
	size_t n;

	if (!path && dir && errno == ENOENT)
		path = sibling(dir);
	if (!path || stat(path, &st) < 0)
		run_fail("%s: %s", dir ? dir : "the current directory",
			 strerror(errno));
	n = box_length(path, st.st_dev);
	if (!n)
		run_fail("%s is not in a sandbox: go into a folder of an "
			 "sbxfs mount, or name one with -d",
			 path);
	*ret_box = strndup(path, n);
	*ret_cwd = cwd_of(path + n);
	free(path);
	if (!*ret_box || !*ret_cwd)
		run_fail("out of memory");
}
