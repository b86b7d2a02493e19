/*
 * A node is what an inode number means to us: a file of a sandbox (file
 * nodes, inode.h) or a control file that we invent (control.h).  Both sit
 * behind one table, so that the request handlers in fs.c know neither.
 *
 * The kernel's inode number is the node's address (the root: FUSE_ROOT_ID);
 * st_ino is another matter.  A node lives while the kernel holds lookups on
 * it; forget is the last call it gets when its owner has let go, too.
 *
 * Every operation answers its request exactly once, at once or later.  What
 * it is not told to keep dies when it returns (names, fi, data).  Absent
 * operations are answered as below.  Loop thread only.
 */
#ifndef SFS_NODE_H
#define SFS_NODE_H

#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>
#include <stdbool.h>
#include <stdint.h>

struct sfs;
struct sfs_node;

/* Parameters named as in fuse_lowlevel_ops; "n" is the node of "ino". */
struct sfs_node_ops {
	/* an errno for all that are absent, but for those that then succeed;
	 * 0: as noted */
	int absent;
	/* the kernel let go of its inode and of all pages; n->nlookup says
	 * whether it has looked it up again meanwhile */
	void (*forget)(struct sfs_node *n);
	/* absent: ENOTDIR */
	void (*lookup)(fuse_req_t req, struct sfs_node *n, const char *name);
	void (*getattr)(fuse_req_t req, struct sfs_node *n,
			struct fuse_file_info *fi); /* required */
	void (*setattr)(fuse_req_t req, struct sfs_node *n, struct stat *attr,
			int to_set, struct fuse_file_info *fi);
	/* absent from here on: EPERM for names, EOPNOTSUPP for the rest */
	void (*readlink)(fuse_req_t req, struct sfs_node *n);
	void (*mknod)(fuse_req_t req, struct sfs_node *n, const char *name,
		      mode_t mode, dev_t rdev);
	void (*mkdir)(fuse_req_t req, struct sfs_node *n, const char *name,
		      mode_t mode);
	void (*unlink)(fuse_req_t req, struct sfs_node *n, const char *name);
	void (*rmdir)(fuse_req_t req, struct sfs_node *n, const char *name);
	void (*symlink)(fuse_req_t req, const char *link, struct sfs_node *n,
			const char *name);
	/* both nodes have the same ops table (else EXDEV, by fs.c) */
	void (*rename)(fuse_req_t req, struct sfs_node *n, const char *name,
		       struct sfs_node *newparent, const char *newname,
		       unsigned int flags);
	void (*link)(fuse_req_t req, struct sfs_node *n,
		     struct sfs_node *newparent, const char *newname);
	void (*open)(fuse_req_t req, struct sfs_node *n,
		     struct fuse_file_info *fi);
	void (*create)(fuse_req_t req, struct sfs_node *n, const char *name,
		       mode_t mode, struct fuse_file_info *fi);
	void (*read)(fuse_req_t req, struct sfs_node *n, size_t size, off_t off,
		     struct fuse_file_info *fi);
	void (*write)(fuse_req_t req, struct sfs_node *n, const char *buf,
		      size_t size, off_t off, struct fuse_file_info *fi);
	void (*flush)(fuse_req_t req, struct sfs_node *n,
		      struct fuse_file_info *fi); /* absent: success */
	void (*release)(fuse_req_t req, struct sfs_node *n,
			struct fuse_file_info *fi);
	void (*fsync)(fuse_req_t req, struct sfs_node *n, int datasync,
		      struct fuse_file_info *fi);
	void (*opendir)(fuse_req_t req, struct sfs_node *n,
			struct fuse_file_info *fi);
	void (*readdir)(fuse_req_t req, struct sfs_node *n, size_t size,
			off_t off, struct fuse_file_info *fi, bool plus);
	void (*releasedir)(fuse_req_t req, struct sfs_node *n,
			   struct fuse_file_info *fi);
	void (*fsyncdir)(fuse_req_t req, struct sfs_node *n, int datasync,
			 struct fuse_file_info *fi);
	void (*statfs)(fuse_req_t req, struct sfs_node *n);
	void (*setxattr)(fuse_req_t req, struct sfs_node *n, const char *name,
			 const char *value, size_t size, int flags);
	void (*getxattr)(fuse_req_t req, struct sfs_node *n, const char *name,
			 size_t size);
	void (*listxattr)(fuse_req_t req, struct sfs_node *n, size_t size);
	void (*removexattr)(fuse_req_t req, struct sfs_node *n,
			    const char *name);
	/* absent: not supported */
	void (*getlk)(fuse_req_t req, struct sfs_node *n,
		      struct fuse_file_info *fi, struct flock *lock);
	void (*setlk)(fuse_req_t req, struct sfs_node *n,
		      struct fuse_file_info *fi, struct flock *lock, int sleep);
	void (*flock)(fuse_req_t req, struct sfs_node *n,
		      struct fuse_file_info *fi, int op);
	void (*fallocate)(fuse_req_t req, struct sfs_node *n, int mode,
			  off_t offset, off_t length,
			  struct fuse_file_info *fi);
	void (*lseek)(fuse_req_t req, struct sfs_node *n, off_t off, int whence,
		      struct fuse_file_info *fi);
	void (*copy_file_range)(fuse_req_t req, struct sfs_node *in,
				off_t off_in, struct fuse_file_info *fi_in,
				struct sfs_node *out, off_t off_out,
				struct fuse_file_info *fi_out, size_t len,
				int flags);
	/* takes ownership of ph (may be NULL); absent: always ready */
	void (*poll)(fuse_req_t req, struct sfs_node *n,
		     struct fuse_file_info *fi, struct fuse_pollhandle *ph);
};

struct sfs_node {
	const struct sfs_node_ops *ops;
	uint64_t nlookup; /* the kernel's references */
};

/* The node of a kernel inode number, and back. */
struct sfs_node *sfs_node(struct sfs *fs, fuse_ino_t ino);
fuse_ino_t sfs_node_ino(struct sfs *fs, const struct sfs_node *n);

#endif
