/*
 * The handlers of file nodes, by kernel operation, as sfs_file_ops lists
 * them (files.c).  Signatures as in node.h.
 */
#ifndef SFS_ON_H
#define SFS_ON_H

#include "fuse/node.h"

/* on_names.c */
void sfs_on_lookup(fuse_req_t req, struct sfs_node *n, const char *name);
void sfs_on_mknod(fuse_req_t req, struct sfs_node *n, const char *name,
		  mode_t mode, dev_t rdev);
void sfs_on_mkdir(fuse_req_t req, struct sfs_node *n, const char *name,
		  mode_t mode);
void sfs_on_symlink(fuse_req_t req, const char *link, struct sfs_node *n,
		    const char *name);
void sfs_on_link(fuse_req_t req, struct sfs_node *n, struct sfs_node *newparent,
		 const char *newname);
void sfs_on_create(fuse_req_t req, struct sfs_node *n, const char *name,
		   mode_t mode, struct fuse_file_info *fi);

/* on_moves.c */
void sfs_on_unlink(fuse_req_t req, struct sfs_node *n, const char *name);
void sfs_on_rmdir(fuse_req_t req, struct sfs_node *n, const char *name);
void sfs_on_rename(fuse_req_t req, struct sfs_node *n, const char *name,
		   struct sfs_node *newparent, const char *newname,
		   unsigned int flags);

/* on_attrs.c */
void sfs_on_getattr(fuse_req_t req, struct sfs_node *n,
		    struct fuse_file_info *fi);
void sfs_on_setattr(fuse_req_t req, struct sfs_node *n, struct stat *attr,
		    int to_set, struct fuse_file_info *fi);
void sfs_on_readlink(fuse_req_t req, struct sfs_node *n);
void sfs_on_statfs(fuse_req_t req, struct sfs_node *n);

/* on_xattrs.c */
void sfs_on_setxattr(fuse_req_t req, struct sfs_node *n, const char *name,
		     const char *value, size_t size, int flags);
void sfs_on_getxattr(fuse_req_t req, struct sfs_node *n, const char *name,
		     size_t size);
void sfs_on_listxattr(fuse_req_t req, struct sfs_node *n, size_t size);
void sfs_on_removexattr(fuse_req_t req, struct sfs_node *n, const char *name);

/* on_open.c */
/* How the kernel treats what is opened with fi->flags. */
void sfs_open_flags(const struct sfs_inode *i, struct fuse_file_info *fi);
void sfs_on_open(fuse_req_t req, struct sfs_node *n, struct fuse_file_info *fi);

/* on_files.c */
void sfs_on_read(fuse_req_t req, struct sfs_node *n, size_t size, off_t off,
		 struct fuse_file_info *fi);
void sfs_on_write(fuse_req_t req, struct sfs_node *n, const char *buf,
		  size_t size, off_t off, struct fuse_file_info *fi);
void sfs_on_flush(fuse_req_t req, struct sfs_node *n,
		  struct fuse_file_info *fi);
void sfs_on_release(fuse_req_t req, struct sfs_node *n,
		    struct fuse_file_info *fi);
void sfs_on_fsync(fuse_req_t req, struct sfs_node *n, int datasync,
		  struct fuse_file_info *fi);
void sfs_on_fallocate(fuse_req_t req, struct sfs_node *n, int mode,
		      off_t offset, off_t length, struct fuse_file_info *fi);
void sfs_on_lseek(fuse_req_t req, struct sfs_node *n, off_t off, int whence,
		  struct fuse_file_info *fi);
void sfs_on_copy_file_range(fuse_req_t req, struct sfs_node *in, off_t off_in,
			    struct fuse_file_info *fi_in, struct sfs_node *out,
			    off_t off_out, struct fuse_file_info *fi_out,
			    size_t len, int flags);

/* on_locks.c */
void sfs_on_getlk(fuse_req_t req, struct sfs_node *n, struct fuse_file_info *fi,
		  struct flock *lock);
void sfs_on_setlk(fuse_req_t req, struct sfs_node *n, struct fuse_file_info *fi,
		  struct flock *lock, int sleep);
void sfs_on_flock(fuse_req_t req, struct sfs_node *n, struct fuse_file_info *fi,
		  int op);

/* on_dirs.c */
void sfs_on_opendir(fuse_req_t req, struct sfs_node *n,
		    struct fuse_file_info *fi);
void sfs_on_readdir(fuse_req_t req, struct sfs_node *n, size_t size, off_t off,
		    struct fuse_file_info *fi, bool plus);
void sfs_on_releasedir(fuse_req_t req, struct sfs_node *n,
		       struct fuse_file_info *fi);
void sfs_on_fsyncdir(fuse_req_t req, struct sfs_node *n, int datasync,
		     struct fuse_file_info *fi);

#endif
