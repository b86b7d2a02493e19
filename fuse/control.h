/*
 * The tree that we invent: the top directory, .sbxfs/, the places, the
 * sandboxes' folders and the control files in them, as a table of types.  Each
 * control file has a file ctl_<name>.c that exports one struct ctl_type, which
 * stands among the children of its directory's type.  One that only some
 * services can serve says so by present().  Loop thread.
 *
 * A node is made when the kernel first looks it up and lives while the
 * kernel or an open file holds it.  It keeps what it belongs to alive.
 */
#ifndef SFS_CONTROL_H
#define SFS_CONTROL_H

#include "client/wire/buf.h"
#include "fuse/mount.h"
#include "fuse/place.h"
#include "fuse/wait.h"

struct ctl_file;
struct ctl_list;
struct ctl_op;
struct sfs_job;
struct sfs_own;
struct sfs_owner;
struct sfs_snapshot;

/* What a control file does.  f is the open file; see struct ctl_file. */
struct ctl_file_type {
	size_t size; /* of the struct that begins with struct ctl_file */
	/* 0 or -errno; flags of open(2); may be absent */
	int (*open)(struct ctl_file *f, int flags);
	/* may be absent; opening waits for ctl_file_opened, once */
	void (*settle)(struct ctl_file *f, struct ctl_op *op);
	/*
	 * Files that hold a value: puts the text into f->text, now or later,
	 * and then calls ctl_file_loaded.  Absent: there is nothing to read.
	 */
	void (*load)(struct ctl_file *f);
	/* Streams have these instead.  read answers; poll gives POLL* bits */
	void (*read)(fuse_req_t req, struct ctl_file *f, size_t size,
		     bool nonblock);
	unsigned int (*poll)(struct ctl_file *f);
	/* answers, with sfs_wait or at once; absent: EACCES on opening */
	void (*write)(fuse_req_t req, struct ctl_file *f, const char *data,
		      size_t size);
	void (*flush)(fuse_req_t req, struct ctl_file *f); /* may be absent */
	/* the last close: gives back what the file holds; others may still
	 * have references to it */
	void (*close)(struct ctl_file *f);
	bool outlives; /* can be read to its end when the sandbox is gone */
};

struct ctl_type {
	const char *name;
	mode_t mode; /* type and permissions */
	const struct sfs_node_ops *ops;
	const struct ctl_file_type *file; /* of a regular file */
	/* in that directory; absent: always */
	bool (*present)(const struct ctl_node *dir);
	bool of_mount; /* whatever shows it: there is one in all */
	/* setting times, to those of now or to others */
	void (*touch)(fuse_req_t req, struct ctl_node *n, bool now);
	uint64_t (*length)(const struct ctl_node *n); /* absent: shown as 0 */

	/* directories */
	const struct ctl_type *const *children; /* NULL-ended, or NULL */
	/* what is no child; absent: ENOENT */
	void (*lookup)(fuse_req_t req, struct ctl_node *n, const char *name);
	/* more entries than the children, from what is known */
	void (*list)(struct ctl_node *n, struct ctl_list *list);
	/* makes that up to date first; calls fn once */
	void (*refresh)(struct ctl_node *n, sbx_box_fn *fn, void *arg);
};

struct ctl_node {
	struct sfs_node n; /* first */
	const struct ctl_type *type;
	struct sfs_mount *m;
	struct sfs_place *place;       /* NULL: of the whole mount */
	struct sfs_sandbox *sb;	       /* counted; NULL: of the whole place */
	struct sfs_job *job;	       /* counted, or NULL */
	struct sfs_snapshot *snapshot; /* counted, or NULL */
	struct sfs_own *own;	       /* counted, or NULL: ctl_own.h */
	unsigned int refs;
	bool known; /* the kernel holds it: that is one reference */
	bool paged; /* the kernel may hold pages of it since it was last shown
		     */
	unsigned int opens; /* open files of it */
	bool idle;	    /* it had some, and was not looked up since */
	struct ctl_node **list, *next;	     /* those of the same owner */
	struct ctl_node *all_next, **all_at; /* those of the mount */
};

/*
 * The node of that type of that owner, made if need be (of a file that can be
 * written, if others may use it); one reference is the caller's.  NULL: no
 * memory.
 */
struct ctl_node *ctl_node_of_mount(struct sfs_mount *m,
				   const struct ctl_type *type);
struct ctl_node *ctl_node_of_place(struct sfs_place *p,
				   const struct ctl_type *type);
struct ctl_node *ctl_node_of_sandbox(struct sfs_sandbox *sb,
				     const struct ctl_type *type);
struct ctl_node *ctl_node_of_job(struct sfs_sandbox *sb, struct sfs_job *job,
				 const struct ctl_type *type);
struct ctl_node *ctl_node_of_snapshot(struct sfs_sandbox *sb,
				      struct sfs_snapshot *s,
				      const struct ctl_type *type);
struct ctl_node *ctl_node_of_own(struct sfs_owner owner, struct sfs_own *own,
				 const struct ctl_type *type);
void ctl_node_unref(struct ctl_node *n);
/* The kernel is gone: it holds nothing any more, open files included. */
void ctl_forget_all(struct sfs_mount *m);
/* 0, or -ESTALE: its sandbox is gone */
int ctl_node_check(const struct ctl_node *n);
void ctl_node_attr(const struct ctl_node *n, struct stat *st);
/* Answers a lookup with the node, and drops the caller's reference. */
void ctl_reply_node(fuse_req_t req, struct ctl_node *n, double timeout);
/* For who answers otherwise: what to answer with, and drops the reference. */
void ctl_node_entry(struct ctl_node *n, double timeout,
		    struct fuse_entry_param *ret);
/* The same for a type that is a fixed child of dir. */
void ctl_reply_child(fuse_req_t req, struct ctl_node *dir,
		     const struct ctl_type *type);
/* Inode number of an entry: stable over remounts.  p: NULL for one of the
 * whole mount; sandbox: its id, "" for none. */
uint64_t ctl_ino(const struct sfs_place *p, const char *sandbox,
		 const char *what, unsigned int number);
/* The same of a service's own file of that name in a folder. */
uint64_t ctl_own_ino(const struct ctl_node *dir, const char *name);

/*
 * A request in flight on behalf of a node: see struct sfs_wait.  NULL: it is
 * answered already.  file may be NULL; both are kept alive.
 */
struct ctl_op {
	struct sfs_wait wait;
	struct ctl_node *node;
	struct ctl_file *file;
	size_t size; /* of a write */
};
struct ctl_op *ctl_op_new(fuse_req_t req, struct ctl_node *n,
			  struct ctl_file *f, size_t size);
/* Frees it; the request to answer, or NULL if nobody waits any more. */
fuse_req_t ctl_op_end(struct ctl_op *op);
/* The usual end: records an error and answers, for a write with its size. */
void ctl_op_finish(struct ctl_op *op, const struct sbx_error *error);

/* Notes a failure in .sbxfs/errors and in the sandbox's last_error. */
void ctl_note(struct ctl_node *n, const struct sbx_error *error);
/* The same, and answers with it. */
void ctl_fail(fuse_req_t req, struct ctl_node *n, int err, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
extern const struct sfs_node_ops ctl_dir_ops, ctl_file_ops;
/* parts of them, for tables of types that do more */
void ctl_forget(struct sfs_node *n);
void ctl_getattr(fuse_req_t req, struct sfs_node *n, struct fuse_file_info *fi);
void ctl_setattr(fuse_req_t req, struct sfs_node *n, struct stat *attr,
		 int to_set, struct fuse_file_info *fi);
#define CTL_DIR_OPS                                                            \
	.forget = ctl_forget, .getattr = ctl_getattr, .setattr = ctl_setattr,  \
	.lookup = ctl_lookup, .opendir = ctl_opendir, .readdir = ctl_readdir,  \
	.releasedir = ctl_release
void ctl_lookup(fuse_req_t req, struct sfs_node *n, const char *name);
void ctl_opendir(fuse_req_t req, struct sfs_node *n, struct fuse_file_info *fi);
void ctl_readdir(fuse_req_t req, struct sfs_node *n, size_t size, off_t off,
		 struct fuse_file_info *fi, bool plus);
void ctl_release(fuse_req_t req, struct sfs_node *n, struct fuse_file_info *fi);
/* One more entry of a directory being listed. */
void ctl_list_add(struct ctl_list *list, const char *name, mode_t mode,
		  uint64_t ino);

extern const struct ctl_type ctl_top, ctl_place, ctl_sandbox;
extern const struct ctl_type ctl_new, ctl_mount;
extern const struct ctl_type ctl_exec, ctl_status, ctl_info, ctl_ports;
extern const struct ctl_type ctl_keepalive, ctl_jobs, ctl_terminals;
extern const struct ctl_type ctl_events, ctl_snapshots;

#endif
