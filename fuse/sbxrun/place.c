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

#include "fuse/sbxrun/sbxrun.h"

static bool path_has(const char *path, const char *name)
{
	char *full = NULL;
	bool has = asprintf(&full, "%s/%s", path, name) > 0 &&
		   access(full, F_OK) == 0;

	free(full);
	return has;
}

/* By a file that the kernel knows without asking once it has seen it; that it
 * is one tells it from a sandbox of that name. */
static bool path_is_box(const char *path)
{
	char *full = NULL;
	struct stat st;
	bool is_box = asprintf(&full, "%s/info.json", path) > 0 &&
		      stat(full, &st) == 0 && S_ISREG(st.st_mode);

	free(full);
	return is_box;
}

bool place_has_terminals(const char *box)
{
	return path_has(box, "terminals");
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

/* The end of the next name in path. */
static size_t next_name(const char *path, size_t n)
{
	return path[n] ? n + 1 + strcspn(path + n + 1, "/") : n;
}

/* How long the name of the mount's top is in path, which is on that device. */
static size_t top_length(const char *path, dev_t dev)
{
	size_t n = 0;

	for (;; n = next_name(path, n)) {
		char *prefix = path_prefix(path, n);
		bool is_top = prefix && path_is_on(prefix, dev);

		free(prefix);
		if (is_top || !path[n])
			return n;
	}
}

/* The first n bytes of path if they lead to a sandbox, else NULL. */
static char *box_at(const char *path, size_t n)
{
	char *box = path_prefix(path, n);

	if (box && path_is_box(box))
		return box;
	free(box);
	return NULL;
}

/* Whether that is below the files of a sandbox, if it is in one. */
static bool leads_to_files(const char *rest)
{
	static const char *const tops[] = {"/workspace", "/root"};

	for (size_t i = 0; i < sizeof(tops) / sizeof(tops[0]); i++) {
		size_t n = strlen(tops[i]);

		if (!strncmp(rest, tops[i], n) && (!rest[n] || rest[n] == '/'))
			return true;
	}
	return false;
}

/*
 * Whether the top of a mount holds sandboxes, or folders of them in a mount of
 * several services.  Asking for "new" goes to the mount each time, and for a
 * name that is not there to the service.
 */
static bool top_holds_boxes(const char *path)
{
	return path_has(path, "new") || !path_is_box(path);
}

/* In a mount of one sandbox, what is in it may look like one, its files like
 * anything. */
static char *box_below(const char *top, const char *path)
{
	size_t n = strcmp(top, "/") ? strlen(top) : 0;
	size_t next = next_name(path, n);
	char *box = path[n] ? box_at(path, next) : NULL;

	if (box && !leads_to_files(path + n))
		return box;
	if (!top_holds_boxes(top)) {
		free(box);
		return box_at(path, n);
	}
	if (!box && path[next])
		box = box_at(path, next_name(path, next));
	return box;
}

/* The sandbox's folder that path leads through, or NULL. */
static char *box_of(const char *path, dev_t dev)
{
	size_t n = top_length(path, dev);
	char *top = path_prefix(path, n), *box = NULL;

	if (top)
		box = path_has(top, ".sbxfs") ? box_below(top, path)
					      : box_at(path, n);
	free(top);
	return box;
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

static char *box_named(const char *folder, size_t n, const char *name)
{
	char *path = NULL;

	if (asprintf(&path, "%.*s/%s", (int)n, folder, name) < 0)
		return NULL;
	if (path_is_box(path))
		return path;
	free(path);
	return NULL;
}

/* A sandbox by its name, from a directory in the same mount: of the same
 * service, or SERVICE/NAME, if there are several. */
static char *sibling(const char *name)
{
	const char *slash = strchr(name, '/');
	char here[PATH_MAX], *path, *box;
	struct stat st;
	size_t n;

	if ((slash && (strchr(slash + 1, '/') || !slash[1])) ||
	    name[0] == '/' || !getcwd(here, sizeof(here)) ||
	    stat(here, &st) < 0)
		return NULL;
	n = top_length(here, st.st_dev);
	path = slash ? NULL : box_named(here, n, name);
	if (path || !here[n])
		return path;
	box = box_at(here, slash ? n : next_name(here, n));
	if (!box) /* what is in a sandbox is no place to look for others */
		path = box_named(here, slash ? n : next_name(here, n), name);
	free(box);
	return path;
}

void place_find(const char *dir, char **ret_box, char **ret_cwd)
{
	char *path = realpath(dir ? dir : ".", NULL);
	struct stat st;

	if (!path && dir && errno == ENOENT)
		path = sibling(dir);
	if (!path || stat(path, &st) < 0)
		run_fail("%s: %s", dir ? dir : "the current directory",
			 strerror(errno));
	*ret_box = box_of(path, st.st_dev);
	if (!*ret_box)
		run_fail("%s is not in a sandbox: go into a folder of an "
			 "sbxfs mount, or name one with -d",
			 path);
	*ret_cwd = cwd_of(path + strlen(*ret_box));
	free(path);
	if (!*ret_cwd)
		run_fail("out of memory");
}
