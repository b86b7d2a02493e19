/*
 * One mount: what all parts of fuse/ share.  fs.c holds the handler table
 * that libfuse calls; it turns inode numbers into nodes, counts lookups, and
 * passes on.
 */
#ifndef SFS_FS_H
#define SFS_FS_H

#include <sys/types.h>
#include <uv.h>

#include "fuse/answers.h"
#include "fuse/count.h"
#include "fuse/node.h"

/* What must outlive its owner because the kernel still holds nodes of it.
 * Freed at the latest when no more requests are read. */
struct sfs_leftover {
	struct sfs_leftover *next, **at;
	void (*free)(struct sfs_leftover *l);
};

struct sfs_files;

struct sfs {
	uv_loop_t *loop;
	struct fuse_session *se;
	struct sfs_node *root; /* set before the session starts */
	uid_t uid;	       /* who mounts, or the option uid= */
	gid_t gid;
	mode_t umask; /* option umask=; (mode_t)-1: none */
	bool read_only;
	bool local_locks;   /* option locks=local: the kernel keeps them */
	bool follow_inside; /* option follow=inside: follow.h */
	unsigned int timeout_ms;
	/* option cache=, and what is never exceeded: sfs_cache_init */
	size_t cache_max, cache_full;
	struct sfs_count count;

	/* the rest is fs.c's and files.c's */
	uv_poll_t poll;
	struct fuse_buf buf;
	bool started;
	bool ended; /* the kernel holds nothing any more; atomic: notify.c */
	void (*on_end)(void *arg);
	void *end_arg;
	struct sfs_leftover *leftovers;
	size_t readahead; /* bytes read ahead and not asked for yet */
	struct sfs_files *files;
	size_t cache_bytes; /* of names and attributes of all of them */
	uint64_t trim_at, trim_pause;
	struct sfs_answers answers;
};

extern const struct fuse_lowlevel_ops sfs_handlers;

/*
 * Starts reading requests from the mounted session on the loop.  on_end is
 * called once when the kernel has unmounted it or reading failed.
 */
int sfs_start(struct sfs *fs, void (*on_end)(void *arg), void *arg);
/* Reads no more; the loop must run once more before fs is freed. */
void sfs_stop(struct sfs *fs);

void sfs_leftover_add(struct sfs *fs, struct sfs_leftover *l);
void sfs_leftover_del(struct sfs_leftover *l);

/* reply_entry with the node's lookup count raised (undone if the kernel did
 * not take it) */
void sfs_reply_entry(fuse_req_t req, struct sfs_node *n,
		     struct fuse_entry_param *e);
/* negative: the kernel did not take it, and there will be no release */
int sfs_reply_create(fuse_req_t req, struct sfs_node *n,
		     struct fuse_entry_param *e,
		     const struct fuse_file_info *fi);

/* Gives back n references of the kernel. */
void sfs_node_forget(struct sfs *fs, fuse_ino_t ino, uint64_t n);

/*
 * A listing being written for readdir: add in order, then reply.  With
 * plus, adding an entry with a node raises its lookup count.
 */
struct sfs_dirbuf {
	fuse_req_t req;
	char *data;
	size_t size, len;
	bool plus;
};
int sfs_dirbuf_init(struct sfs_dirbuf *d, fuse_req_t req, size_t size,
		    bool plus);
/* false: no room, stop.  n may be NULL (no attributes known); e->attr needs
 * st_ino and st_mode in any case */
bool sfs_dirbuf_add(struct sfs_dirbuf *d, struct sfs *fs, const char *name,
		    struct sfs_node *n, struct fuse_entry_param *e, off_t next);
void sfs_dirbuf_reply(struct sfs_dirbuf *d);

#endif
