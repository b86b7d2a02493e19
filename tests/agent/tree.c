/* See tree.h. */
#include "tests/agent/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLDER_FLAGS (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

int agent_tree_make(int dir_fd, const char *name, mode_t mode, uid_t uid,
		    gid_t gid)
{
	bool made = mkdirat(dir_fd, name, 0700) == 0;
	int fd;

	if (!made && errno != EEXIST)
		return -errno;
	fd = openat(dir_fd, name, FOLDER_FLAGS);
	if (fd < 0)
		return -errno;
	if (made && (fchown(fd, uid, gid) < 0 || fchmod(fd, mode) < 0)) {
		int err = errno;

		close(fd);
		return -err;
	}
	return fd;
}

/*
 * The walk holds one descriptor per level; a folder deeper than this is moved
 * up to the root of the walk, and done in another pass.
 */
#define DEPTH_MAX 64

struct level {
	DIR *dir;
	char name[256];
};

struct walk {
	struct level levels[DEPTH_MAX];
	int depth;
	int err;     /* the first thing that could not be removed */
	bool lifted; /* another pass is needed */
};

/* Opens a folder even if its owner has taken all rights from himself. */
static DIR *folder_open(int at, const char *name)
{
	int fd = openat(at, name, FOLDER_FLAGS);
	DIR *dir;

	if (fd < 0 && errno == EACCES &&
	    fchmodat(at, name, 0700, AT_SYMLINK_NOFOLLOW) == 0)
		fd = openat(at, name, FOLDER_FLAGS);
	if (fd < 0)
		return NULL;
	fchmod(fd, 0700);
	dir = fdopendir(fd);
	if (!dir)
		close(fd);
	return dir;
}

static void walk_fail(struct walk *w, int err)
{
	if (!w->err && err != ENOENT)
		w->err = err;
}

/* Too deep: it continues as a folder of the uppermost one. */
static void walk_lift(struct walk *w, const char *name)
{
	static atomic_uint nr;
	char to[64];

	snprintf(to, sizeof(to), ".sbxfs-lifted-%d-%u", (int)getpid(),
		 atomic_fetch_add(&nr, 1));
	if (renameat(dirfd(w->levels[w->depth].dir), name,
		     dirfd(w->levels[0].dir), to) < 0)
		walk_fail(w, errno);
	else
		w->lifted = true;
}

static void walk_enter(struct walk *w, int at, const char *name)
{
	struct level *level = &w->levels[w->depth + 1];

	if (w->depth + 1 == DEPTH_MAX) {
		walk_lift(w, name);
		return;
	}
	level->dir = folder_open(at, name);
	if (!level->dir) {
		walk_fail(w, errno);
		return;
	}
	snprintf(level->name, sizeof(level->name), "%s", name);
	w->depth++;
}

/* The innermost folder has no entries left to try. */
static void walk_leave(struct walk *w)
{
	struct level *level = &w->levels[w->depth];

	closedir(level->dir);
	if (w->depth &&
	    unlinkat(dirfd(level[-1].dir), level->name, AT_REMOVEDIR) < 0 &&
	    !w->lifted)
		walk_fail(w, errno);
	w->depth--;
}

static void walk_step(struct walk *w)
{
	DIR *dir = w->levels[w->depth].dir;
	struct dirent *d = readdir(dir);

	if (!d)
		walk_leave(w);
	else if (!strcmp(d->d_name, ".") || !strcmp(d->d_name, "..") ||
		 unlinkat(dirfd(dir), d->d_name, 0) == 0)
		return;
	else if (errno == EISDIR)
		walk_enter(w, dirfd(dir), d->d_name);
	else
		walk_fail(w, errno);
}

int agent_tree_remove(int dir_fd, const char *name)
{
	struct walk w;

	do {
		w.depth = 0;
		w.err = 0;
		w.lifted = false;
		w.levels[0].dir = folder_open(dir_fd, name);
		if (!w.levels[0].dir)
			return errno == ENOENT ? 0 : -errno;
		while (w.depth >= 0)
			walk_step(&w);
	} while (w.lifted && !w.err);
	if (unlinkat(dir_fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		walk_fail(&w, errno);
	return -w.err;
}

int agent_tree_write(int dir_fd, const char *name, const char *text)
{
	char tmp[64];
	size_t len = strlen(text);
	int fd, r = 0;

	snprintf(tmp, sizeof(tmp), "%s.new", name);
	unlinkat(dir_fd, tmp, 0);
	fd = openat(dir_fd, tmp,
		    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	if (write(fd, text, len) != (ssize_t)len || fsync(fd) < 0)
		r = errno ? -errno : -EIO;
	close(fd);
	if (!r && renameat(dir_fd, tmp, dir_fd, name) < 0)
		r = -errno;
	if (r < 0)
		unlinkat(dir_fd, tmp, 0);
	return r;
}
