/*
 * What kind of file system a device number is: whether its files change
 * without anybody writing them, and whether inotify tells of all changes.
 */
#ifndef HELPER_FSTYPE_H
#define HELPER_FSTYPE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define FSTYPE_CACHE 32

enum fstype {
	FSTYPE_PLAIN,
	FSTYPE_VOLATILE, /* proc, sysfs and such */
	FSTYPE_SHARED,	 /* other machines write it, too: no full watch */
};

struct fstypes {
	struct {
		dev_t dev;
		enum fstype type;
		int64_t until_ms;
	} cache[FSTYPE_CACHE];
	unsigned int next;
};

/* name in the current directory is on dev */
enum fstype fstype_of(struct fstypes *f, dev_t dev, const char *name);
/* the same for an open descriptor, O_PATH or not */
enum fstype fstype_of_fd(struct fstypes *f, dev_t dev, int fd);

#endif
