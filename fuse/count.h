/*
 * What a mount counts for .sbxfs/stats.  Loop thread.
 */
#ifndef SFS_COUNT_H
#define SFS_COUNT_H

#include <stdint.h>

/* requests of the kernel, by the names of their handlers (node.h) */
/* clang-format off */
#define SFS_COUNTED(X)                                                         \
	X(lookup) X(forget) X(getattr) X(setattr) X(readlink) X(mknod)         \
	X(mkdir) X(unlink) X(rmdir) X(symlink) X(rename) X(link) X(open)       \
	X(create) X(read) X(write) X(flush) X(release) X(fsync) X(opendir)     \
	X(readdir) X(releasedir) X(fsyncdir) X(statfs) X(setxattr)             \
	X(getxattr) X(listxattr) X(removexattr) X(getlk) X(setlk) X(flock)     \
	X(fallocate) X(lseek) X(copy_file_range) X(poll)
/* clang-format on */
#define SFS_COUNTED_NAME(op) SFS_COUNT_##op,
enum sfs_counted { SFS_COUNTED(SFS_COUNTED_NAME) SFS_NR_COUNTED };

/* What may be known here when the kernel asks for it. */
enum sfs_cached {
	SFS_CACHED_NOT, /* no such question */
	SFS_CACHED_ENTRIES,
	SFS_CACHED_ATTRIBUTES,
	SFS_CACHED_LISTINGS,
	SFS_CACHED_CONTENT,
	SFS_NR_CACHED
};

struct sfs_count {
	uint64_t requests[SFS_NR_COUNTED];
	/* answered at once, or after the sandbox was asked */
	uint64_t hits[SFS_NR_CACHED], misses[SFS_NR_CACHED];
};

#endif
