/*
 * Checks of the mountpoint: see mountpoint.h.
 */
#include "fuse/mountpoint.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* the topmost mount on exactly this path, if it is one of ours */
static bool is_sbxfs(const char *path)
{
	FILE *f = setmntent("/proc/self/mounts", "re");
	bool ours = false;
	char line[8192];
	struct mntent m;

	while (f && getmntent_r(f, &m, line, sizeof(line)))
		if (!strcmp(m.mnt_dir, path))
			ours = !strcmp(m.mnt_type, "fuse.sbxfs");
	if (f)
		endmntent(f);
	return ours;
}

static bool is_empty(DIR *dir)
{
	struct dirent *e;

	while ((e = readdir(dir)))
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
			return false;
	return true;
}

static int check_empty(const char *path, struct sbx_error *reterr)
{
	DIR *dir = opendir(path);
	bool empty;

	/* what cannot be looked into cannot be missed either */
	if (!dir)
		return 0;
	empty = is_empty(dir);
	closedir(dir);
	if (empty)
		return 0;
	return sbx_error_set(reterr, -ENOTEMPTY,
			     "%s is not empty: choose an empty folder, or add "
			     "-o nonempty to cover what is in it",
			     path);
}

static int check_errno(const char *path, int err, struct sbx_error *reterr)
{
	switch (err) {
	case ENOENT:
		return sbx_error_set(reterr, -err,
				     "the mountpoint %s does not exist: make "
				     "it with mkdir -p",
				     path);
	case ENOTDIR:
		return sbx_error_set(reterr, -err,
				     "the mountpoint %s is not a directory",
				     path);
	case ENOTCONN:
		return sbx_error_set(reterr, -err,
				     "%s holds a mount whose program has died: "
				     "remove it with fusermount3 -u %s",
				     path, path);
	case EACCES:
	case EPERM:
		return sbx_error_set(reterr, -err,
				     "no permission for the mountpoint %s: "
				     "choose a folder of your own",
				     path);
	default:
		return sbx_error_set(reterr, -err,
				     "the mountpoint %s cannot be used: %s",
				     path, strerror(err));
	}
}

static int check_path(const char *path, bool nonempty, struct sbx_error *reterr)
{
	struct stat st;

	if (is_sbxfs(path))
		return sbx_error_set(reterr, -EBUSY,
				     "%s is an sbxfs mount already: unmount it "
				     "first with fusermount3 -u %s",
				     path, path);
	if (stat(path, &st) < 0)
		return check_errno(path, errno, reterr);
	if (!S_ISDIR(st.st_mode))
		return check_errno(path, ENOTDIR, reterr);
	/* what fusermount3 asks of a user's mountpoint */
	if (geteuid() != 0 && access(path, W_OK) < 0)
		return check_errno(path, EACCES, reterr);
	return nonempty ? 0 : check_empty(path, reterr);
}

int sfs_mountpoint_check(const char *path, bool nonempty, char **ret_path,
			 struct sbx_error *reterr)
{
	char *real = realpath(path, NULL);
	int r;

	if (!real)
		return check_errno(path, errno, reterr);
	r = check_path(real, nonempty, reterr);
	if (r < 0)
		free(real);
	else
		*ret_path = real;
	return r;
}

int sfs_mountpoint_check_fuse(struct sbx_error *reterr)
{
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	if (fd >= 0) {
		close(fd);
		return 0;
	}
	if (errno == EACCES || errno == EPERM)
		return sbx_error_set(reterr, -errno,
				     "no permission for /dev/fuse: ask for "
				     "read and write permission (in a "
				     "container: --device /dev/fuse)");
	return sbx_error_set(reterr, -errno,
			     "/dev/fuse cannot be opened (%s): load the fuse "
			     "module with modprobe fuse (in a container: "
			     "--device /dev/fuse)",
			     strerror(errno));
}
