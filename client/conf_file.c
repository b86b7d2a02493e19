/*
 * Files that a configuration is read from, and whether they can be trusted
 * with it.  A symbolic link counts as what it leads to.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/cleanup.h"
#include "client/conf_parts.h"
#include "client/limits.h"

/* All of it and one byte more, which shows that it is too long. */
static int file_take(struct sbx_conf_file *f, int fd)
{
	ssize_t n;

	f->text = malloc(SBX_MAX_CONFIG + 1);
	if (!f->text)
		return -ENOMEM;
	while (f->len <= SBX_MAX_CONFIG) {
		n = read(fd, f->text + f->len, SBX_MAX_CONFIG + 1 - f->len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		f->len += (size_t)n;
	}
	if (f->len > SBX_MAX_CONFIG)
		return -EFBIG;
	f->text[f->len] = '\0';
	return 0;
}

static int file_open(struct sbx_conf_file *f)
{
	SBX_CLOSE int fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	f->is_foreign = st.st_uid != geteuid() && st.st_uid != 0;
	f->others_read = st.st_mode & (S_IRGRP | S_IROTH);
	f->others_change = st.st_mode & S_IWOTH;
	return file_take(f, fd);
}

int sbx_conf_file_read(struct sbx_conf_file *f, const char *path,
		       const char *what, struct sbx_error *reterr)
{
	int r;

	*f = (struct sbx_conf_file){.path = path};
	r = file_open(f);
	if (r == -EISDIR)
		return sbx_error_set(reterr, r,
				     "%s %s is a folder; name the file in it",
				     what, path);
	if (r == -EINVAL)
		return sbx_error_set(reterr, r,
				     "%s %s is no regular file; copy what is "
				     "in it into one",
				     what, path);
	if (r < 0)
		return sbx_error_set(reterr, r, "cannot read %s %s: %s", what,
				     path, strerror(-r));
	return 0;
}

int sbx_conf_file_check(const struct sbx_conf_file *f, const char *what,
			bool is_secret, struct sbx_error *reterr)
{
	if (f->is_foreign)
		return sbx_error_set(reterr, -EACCES,
				     "%s %s belongs to another user, who can "
				     "change it; use a copy of your own",
				     what, f->path);
	if (is_secret && f->others_read)
		return sbx_error_set(reterr, -EACCES,
				     "%s %s holds a key and can be read by "
				     "others; make it private: chmod 600 %s",
				     what, f->path, f->path);
	if (f->others_change)
		return sbx_error_set(reterr, -EACCES,
				     "%s %s can be changed by everybody; make "
				     "it private: chmod 600 %s",
				     what, f->path, f->path);
	return 0;
}

void sbx_conf_file_release(struct sbx_conf_file *f)
{
	if (f->text)
		explicit_bzero(f->text, f->len);
	free(f->text);
	*f = (struct sbx_conf_file){0};
}
