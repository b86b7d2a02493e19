/*
 * Inodes: what is known of the files of one sandbox.  A plain data
 * structure: no requests are made here.  Loop thread only.
 *
 * An inode is found by tree, device and number.  It lives while the kernel
 * holds it (one reference however many lookups), while an entry of a
 * directory leads to it, or while a request uses it.  One that was deleted
 * in the sandbox is not found any more (SFS_INODE_GONE), for its number may
 * be given to another file.
 *
 * 100,000 files must fit in some 25 MiB, so there is no struct stat here, and
 * what only some inodes have hangs below.
 */
#ifndef SFS_INODE_H
#define SFS_INODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "client/wire/msg.h"
#include "fuse/node.h"

struct sfs_dir;
struct sfs_entry;
struct sfs_file;
struct sfs_files;
struct sfs_refresh;

enum sfs_inode_flag {
	SFS_INODE_XATTR = 1,	/* has, or may have, extended attributes */
	SFS_INODE_VOLATILE = 2, /* sfs_inode_is_fleeting, or nearly so */
	SFS_INODE_GONE = 4,	/* its number may be another file's by now */
	SFS_INODE_HELD = 8,	/* the kernel's reference is counted in refs */
	SFS_INODE_ROOT = 16,	/* of a tree; its number is whatever it is */
	/* a directory that is mounted at a second place in the sandbox: here
	 * it needs a node of its own, and the first one is found */
	SFS_INODE_ALIAS = 32,
	SFS_INODE_WHOLE = 64,  /* the kernel was given all of its content */
	SFS_INODE_ASKED = 128, /* the kernel was asked to let go of it */
};

struct sfs_inode {
	struct sfs_node node;
	struct sfs_files *files;
	struct sfs_inode *hash_next;
	struct sfs_entry *names; /* entries that lead here */
	union {
		struct sfs_dir *dir;   /* directories: cache.h */
		struct sfs_file *file; /* regular files now open: handle.h */
		char *target;	       /* symbolic links; or NULL */
	};
	struct sfs_refresh *refresh; /* attributes on their way: attr.h */
	uint64_t ino, size, blocks;
	int64_t atime_s, mtime_s, ctime_s;
	uint32_t atime_ns, mtime_ns, ctime_ns;
	uint32_t dev, rdev; /* as dev_pack() */
	uint32_t uid, gid, nlink;
	uint32_t refs;
	uint32_t attr_gen; /* sfs_files.gen if the attributes are true */
	uint32_t attr_ms;  /* when they came, for what is trusted briefly */
	uint16_t mode;
	uint8_t tree; /* 0: workspace, 1: root */
	uint8_t flags;
};

static inline bool sfs_inode_is_dir(const struct sfs_inode *i)
{
	return S_ISDIR(i->mode);
}
static inline bool sfs_inode_is_file(const struct sfs_inode *i)
{
	return S_ISREG(i->mode);
}
/* Removed, and perhaps still open or somebody's current directory. */
static inline bool sfs_inode_is_gone_dir(const struct sfs_inode *i)
{
	return sfs_inode_is_dir(i) && i->flags & SFS_INODE_GONE && !i->names;
}
static inline struct sfs_inode *sfs_inode_of(struct sfs_node *n)
{
	return (struct sfs_inode *)n;
}

/* All inodes of one sandbox. */
struct sfs_inodes {
	struct sfs_inode **slots;
	size_t nr_slots, nr;
	uint64_t seed; /* a sandbox must not choose who collides */
};

int sfs_inodes_init(struct sfs_inodes *t);
/* The inodes themselves must be gone. */
void sfs_inodes_release(struct sfs_inodes *t);

/* NULL, or the inode that this is; no reference is taken. */
struct sfs_inode *sfs_inodes_find(const struct sfs_inodes *t, uint8_t tree,
				  const struct sbx_attr *attr);
/* A new one with these attributes and no reference; NULL without memory. */
struct sfs_inode *sfs_inodes_add(struct sfs_inodes *t, uint8_t tree,
				 const struct sbx_attr *attr);
/* This one, of which nothing was known there (SFS_INODE_GONE), has the number
 * of these attributes, which is no other's, and is found by it. */
void sfs_inodes_settle(struct sfs_inodes *t, struct sfs_inode *i,
		       const struct sbx_attr *attr);
/* Takes it out and frees it. */
void sfs_inodes_free(struct sfs_inodes *t, struct sfs_inode *i);

/* Whether attr can be of this very inode. */
bool sfs_inode_is(const struct sfs_inode *i, const struct sbx_attr *attr);

enum sfs_diff {
	SFS_DIFF_ATTR = 1, /* something that stat(2) shows */
	SFS_DIFF_DATA = 2, /* mtime or size: the content may differ */
};
/* Whether the content may be another with these (SFS_DIFF_DATA). */
bool sfs_inode_differs(const struct sfs_inode *i, const struct sbx_attr *attr);
/* Takes the attributes over; says what was different (enum sfs_diff). */
unsigned int sfs_inode_set(struct sfs_inode *i, const struct sbx_attr *attr);

/* Whose files are shown as whose: the sandbox's user is the mounting one. */
struct sfs_owners {
	uint32_t there_uid, there_gid;
	uint32_t here_uid, here_gid;
	mode_t umask; /* bits not shown; (mode_t)-1: all are */
	/* of the workspace: its numbers are shown as they are, in both trees,
	 * for cp and mv find out by the number that two names are one file */
	uint32_t dev;
};
/* A file is about to be cut to nothing: as it will look, but for its times, of
 * which only that they grow is known. */
void sfs_inode_cut(struct sfs_inode *i);
/* Something is about to change it: its times as far as they are known. */
void sfs_inode_grow(struct sfs_inode *i);
/* Somebody read it; out of range: as it was. */
void sfs_inode_set_atime(struct sfs_inode *i, int64_t s, uint32_t ns);
/* As the sandbox names it. */
uint64_t sfs_inode_dev(const struct sfs_inode *i);
void sfs_inode_stat(const struct sfs_inode *i, const struct sfs_owners *o,
		    struct stat *ret);

#endif
