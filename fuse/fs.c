/*
 * The handler table that libfuse calls.  Turns inode numbers into nodes,
 * counts lookups, answers for operations that a node does not have, and
 * reads the requests.  Loop thread.
 */
#include "fuse/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <stdlib.h>

#include "client/log.h"
#include "fuse/limits.h"
#include "fuse/shown.h"

struct sfs_node *sfs_node(struct sfs *fs, fuse_ino_t ino)
{
	if (ino == FUSE_ROOT_ID)
		return fs->root;
	return (struct sfs_node *)(uintptr_t)ino;
}

fuse_ino_t sfs_node_ino(struct sfs *fs, const struct sfs_node *n)
{
	if (n == fs->root)
		return FUSE_ROOT_ID;
	return (fuse_ino_t)(uintptr_t)n;
}

static struct sfs_node *node_of(fuse_req_t req, fuse_ino_t ino)
{
	return sfs_node(fuse_req_userdata(req), ino);
}

void sfs_node_forget(struct sfs *fs, fuse_ino_t ino, uint64_t n)
{
	struct sfs_node *node = sfs_node(fs, ino);

	if (node == fs->root)
		return;
	node->nlookup = n < node->nlookup ? node->nlookup - n : 0;
	if (node->ops->forget)
		node->ops->forget(node);
}

void sfs_reply_entry(fuse_req_t req, struct sfs_node *n,
		     struct fuse_entry_param *e)
{
	struct sfs *fs = fuse_req_userdata(req);

	e->ino = sfs_node_ino(fs, n);
	n->nlookup++;
	if (fuse_reply_entry(req, e) < 0)
		sfs_node_forget(fs, e->ino, 1);
}

int sfs_reply_create(fuse_req_t req, struct sfs_node *n,
		     struct fuse_entry_param *e,
		     const struct fuse_file_info *fi)
{
	struct sfs *fs = fuse_req_userdata(req);
	int err;

	e->ino = sfs_node_ino(fs, n);
	n->nlookup++;
	err = fuse_reply_create(req, e, fi);
	if (err < 0)
		sfs_node_forget(fs, e->ino, 1);
	return err;
}

static void count(fuse_req_t req, enum sfs_counted op)
{
	struct sfs *fs = fuse_req_userdata(req);

	fs->count.requests[op]++;
}

/* What is said of an operation that the node does not have; err 0: it need not
 * have it. */
static int absent_error(const struct sfs_node *n, int err)
{
	return err && n->ops->absent ? n->ops->absent : err;
}

static void refuse(fuse_req_t req, enum sfs_counted op, int err)
{
	count(req, op);
	fuse_reply_err(req, err);
}

/*
 * Passes on to the node's own operation, or answers with an error if it has
 * none.
 */
#define PASS(req, ino, op, absent, ...)                                        \
	do {                                                                   \
		struct sfs_node *n_ = node_of(req, ino);                       \
                                                                               \
		count(req, SFS_COUNT_##op);                                    \
		if (n_->ops->op)                                               \
			n_->ops->op(req, n_, ##__VA_ARGS__);                   \
		else                                                           \
			fuse_reply_err(req, absent_error(n_, absent));         \
	} while (0)

static void fs_init(void *userdata, struct fuse_conn_info *conn)
{
	const struct sfs *fs = userdata;
	unsigned int wanted = FUSE_CAP_ASYNC_READ | FUSE_CAP_PARALLEL_DIROPS |
			      FUSE_CAP_READDIRPLUS | FUSE_CAP_ATOMIC_O_TRUNC |
			      FUSE_CAP_CACHE_SYMLINKS | FUSE_CAP_ASYNC_DIO |
			      FUSE_CAP_EXPLICIT_INVAL_DATA | FUSE_CAP_DONT_MASK;

	/*
	 * Not wanted: the write-back cache breaks O_APPEND and shared files;
	 * HANDLE_KILLPRIV would leave set-id bits to the sandbox, which
	 * keeps them if its user is root; splicing costs more than the one
	 * copy that it saves, since everything is framed anew;
	 * READDIRPLUS_AUTO guesses wrong for whoever lists first and looks
	 * then, and attributes cost nothing here once a folder is listed.
	 */
	if (!fs->local_locks)
		wanted |= FUSE_CAP_POSIX_LOCKS | FUSE_CAP_FLOCK_LOCKS;
	conn->want = conn->capable & wanted;
	conn->max_write = 1 << 20;
	conn->max_background = 128;
	conn->congestion_threshold = 96;
	conn->time_gran = 1;
}

static void fs_destroy(void *userdata)
{
	struct sfs *fs = userdata;

	__atomic_store_n(&fs->ended, true, __ATOMIC_RELAXED);
}

static void fs_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	PASS(req, parent, lookup, ENOTDIR, name);
}

static void fs_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup)
{
	count(req, SFS_COUNT_forget);
	sfs_node_forget(fuse_req_userdata(req), ino, nlookup);
	fuse_reply_none(req);
}

static void fs_forget_multi(fuse_req_t req, size_t nr,
			    struct fuse_forget_data *forgets)
{
	struct sfs *fs = fuse_req_userdata(req);
	size_t i;

	fs->count.requests[SFS_COUNT_forget]++;
	for (i = 0; i < nr; i++)
		sfs_node_forget(fs, forgets[i].ino, forgets[i].nlookup);
	fuse_reply_none(req);
}

static void fs_getattr(fuse_req_t req, fuse_ino_t ino,
		       struct fuse_file_info *fi)
{
	PASS(req, ino, getattr, EIO, fi);
}

static void fs_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr,
		       int to_set, struct fuse_file_info *fi)
{
	PASS(req, ino, setattr, EPERM, attr, to_set, fi);
}

static void fs_readlink(fuse_req_t req, fuse_ino_t ino)
{
	PASS(req, ino, readlink, EINVAL);
}

static void fs_mknod(fuse_req_t req, fuse_ino_t parent, const char *name,
		     mode_t mode, dev_t rdev)
{
	PASS(req, parent, mknod, EPERM, name, mode, rdev);
}

static void fs_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name,
		     mode_t mode)
{
	PASS(req, parent, mkdir, EPERM, name, mode);
}

static void fs_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	PASS(req, parent, unlink, EPERM, name);
}

static void fs_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	PASS(req, parent, rmdir, EPERM, name);
}

static void fs_symlink(fuse_req_t req, const char *link, fuse_ino_t parent,
		       const char *name)
{
	struct sfs_node *n = node_of(req, parent);

	count(req, SFS_COUNT_symlink);
	if (n->ops->symlink)
		n->ops->symlink(req, link, n, name);
	else
		fuse_reply_err(req, absent_error(n, EPERM));
}

/* Of two nodes that are of different kinds. */
static int apart_error(const struct sfs_node *a, const struct sfs_node *b)
{
	return absent_error(a, absent_error(b, EXDEV));
}

static void fs_rename(fuse_req_t req, fuse_ino_t parent, const char *name,
		      fuse_ino_t newparent, const char *newname,
		      unsigned int flags)
{
	struct sfs_node *from = node_of(req, parent);
	struct sfs_node *to = node_of(req, newparent);

	if (from->ops != to->ops)
		refuse(req, SFS_COUNT_rename, apart_error(from, to));
	else
		PASS(req, parent, rename, EPERM, name, to, newname, flags);
}

static void fs_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t newparent,
		    const char *newname)
{
	struct sfs_node *n = node_of(req, ino);
	struct sfs_node *to = node_of(req, newparent);

	if (n->ops != to->ops)
		refuse(req, SFS_COUNT_link, apart_error(n, to));
	else
		PASS(req, ino, link, EPERM, to, newname);
}

static void fs_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	PASS(req, ino, open, EOPNOTSUPP, fi);
}

static void fs_create(fuse_req_t req, fuse_ino_t parent, const char *name,
		      mode_t mode, struct fuse_file_info *fi)
{
	PASS(req, parent, create, EPERM, name, mode, fi);
}

static void fs_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	PASS(req, ino, read, EOPNOTSUPP, size, off, fi);
}

static void fs_write(fuse_req_t req, fuse_ino_t ino, const char *buf,
		     size_t size, off_t off, struct fuse_file_info *fi)
{
	PASS(req, ino, write, EOPNOTSUPP, buf, size, off, fi);
}

static void fs_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	PASS(req, ino, flush, 0, fi);
}

static void fs_release(fuse_req_t req, fuse_ino_t ino,
		       struct fuse_file_info *fi)
{
	PASS(req, ino, release, 0, fi);
}

static void fs_fsync(fuse_req_t req, fuse_ino_t ino, int datasync,
		     struct fuse_file_info *fi)
{
	PASS(req, ino, fsync, EOPNOTSUPP, datasync, fi);
}

static void fs_opendir(fuse_req_t req, fuse_ino_t ino,
		       struct fuse_file_info *fi)
{
	PASS(req, ino, opendir, ENOTDIR, fi);
}

static void fs_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		       struct fuse_file_info *fi)
{
	PASS(req, ino, readdir, ENOTDIR, size, off, fi, false);
}

static void fs_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size,
			   off_t off, struct fuse_file_info *fi)
{
	PASS(req, ino, readdir, ENOTDIR, size, off, fi, true);
}

static void fs_releasedir(fuse_req_t req, fuse_ino_t ino,
			  struct fuse_file_info *fi)
{
	PASS(req, ino, releasedir, 0, fi);
}

static void fs_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync,
			struct fuse_file_info *fi)
{
	PASS(req, ino, fsyncdir, EOPNOTSUPP, datasync, fi);
}

static void fs_statfs(fuse_req_t req, fuse_ino_t ino)
{
	static const struct statvfs none = {.f_bsize = 4096, .f_namemax = 255};
	struct sfs_node *n = node_of(req, ino);

	count(req, SFS_COUNT_statfs);
	if (n->ops->statfs)
		n->ops->statfs(req, n);
	else if (n->ops->absent)
		fuse_reply_err(req, n->ops->absent);
	else
		fuse_reply_statfs(req, &none);
}

static void fs_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name,
			const char *value, size_t size, int flags)
{
	PASS(req, ino, setxattr, EOPNOTSUPP, name, value, size, flags);
}

static void fs_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name,
			size_t size)
{
	PASS(req, ino, getxattr, EOPNOTSUPP, name, size);
}

static void fs_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	PASS(req, ino, listxattr, EOPNOTSUPP, size);
}

static void fs_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	PASS(req, ino, removexattr, EOPNOTSUPP, name);
}

static void fs_getlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi,
		     struct flock *lock)
{
	PASS(req, ino, getlk, EOPNOTSUPP, fi, lock);
}

static void fs_setlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi,
		     struct flock *lock, int sleep)
{
	PASS(req, ino, setlk, EOPNOTSUPP, fi, lock, sleep);
}

static void fs_flock(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi,
		     int op)
{
	PASS(req, ino, flock, EOPNOTSUPP, fi, op);
}

static void fs_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset,
			 off_t length, struct fuse_file_info *fi)
{
	PASS(req, ino, fallocate, EOPNOTSUPP, mode, offset, length, fi);
}

static void fs_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
		     struct fuse_file_info *fi)
{
	PASS(req, ino, lseek, EINVAL, off, whence, fi);
}

static void fs_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in,
			       struct fuse_file_info *fi_in, fuse_ino_t ino_out,
			       off_t off_out, struct fuse_file_info *fi_out,
			       size_t len, int flags)
{
	struct sfs_node *in = node_of(req, ino_in);
	struct sfs_node *out = node_of(req, ino_out);

	if (in->ops != out->ops)
		refuse(req, SFS_COUNT_copy_file_range, apart_error(in, out));
	else
		PASS(req, ino_in, copy_file_range, EOPNOTSUPP, off_in, fi_in,
		     out, off_out, fi_out, len, flags);
}

static void fs_poll(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi,
		    struct fuse_pollhandle *ph)
{
	struct sfs_node *n = node_of(req, ino);

	count(req, SFS_COUNT_poll);
	if (n->ops->poll) {
		n->ops->poll(req, n, fi, ph);
		return;
	}
	if (ph)
		fuse_pollhandle_destroy(ph);
	fuse_reply_poll(req, fi->poll_events & (POLLIN | POLLOUT | POLLRDNORM |
						POLLWRNORM));
}

const struct fuse_lowlevel_ops sfs_handlers = {
	.init = fs_init,
	.destroy = fs_destroy,
	.lookup = fs_lookup,
	.forget = fs_forget,
	.forget_multi = fs_forget_multi,
	.getattr = fs_getattr,
	.setattr = fs_setattr,
	.readlink = fs_readlink,
	.mknod = fs_mknod,
	.mkdir = fs_mkdir,
	.unlink = fs_unlink,
	.rmdir = fs_rmdir,
	.symlink = fs_symlink,
	.rename = fs_rename,
	.link = fs_link,
	.open = fs_open,
	.create = fs_create,
	.read = fs_read,
	.write = fs_write,
	.flush = fs_flush,
	.release = fs_release,
	.fsync = fs_fsync,
	.opendir = fs_opendir,
	.readdir = fs_readdir,
	.readdirplus = fs_readdirplus,
	.releasedir = fs_releasedir,
	.fsyncdir = fs_fsyncdir,
	.statfs = fs_statfs,
	.setxattr = fs_setxattr,
	.getxattr = fs_getxattr,
	.listxattr = fs_listxattr,
	.removexattr = fs_removexattr,
	.getlk = fs_getlk,
	.setlk = fs_setlk,
	.flock = fs_flock,
	.fallocate = fs_fallocate,
	.lseek = fs_lseek,
	.copy_file_range = fs_copy_file_range,
	.poll = fs_poll,
};

/* ---- leftovers ---- */

void sfs_leftover_add(struct sfs *fs, struct sfs_leftover *l)
{
	l->next = fs->leftovers;
	l->at = &fs->leftovers;
	if (l->next)
		l->next->at = &l->next;
	fs->leftovers = l;
}

void sfs_leftover_del(struct sfs_leftover *l)
{
	*l->at = l->next;
	if (l->next)
		l->next->at = l->at;
}

/* ---- reading requests ---- */

static void fs_end(struct sfs *fs)
{
	if (!fs->started)
		return;
	sfs_stop(fs);
	__atomic_store_n(&fs->ended, true, __ATOMIC_RELAXED);
	if (fs->on_end)
		fs->on_end(fs->end_arg);
}

static void request_seen(struct sfs *fs)
{
	const struct fuse_in_header *h = fs->buf.mem;

	sfs_shown_asks(fs, (pid_t)h->pid);
}

static void on_readable(uv_poll_t *p, int status, int events)
{
	struct sfs *fs = p->data;
	int i, n;

	for (i = 0; i < SFS_REQUESTS_PER_TURN && fs->started; i++) {
		n = fuse_session_receive_buf(fs->se, &fs->buf);
		if (n == -EINTR)
			continue;
		if (n == -EAGAIN && status == 0)
			return;
		if (n < 0)
			sbx_log(SBX_LOG_ERROR, "fuse",
				"cannot read requests of the kernel: error %d",
				-n);
		if (n <= 0) {
			fs_end(fs);
			return;
		}
		request_seen(fs);
		fuse_session_process_buf(fs->se, &fs->buf);
		if (fuse_session_exited(fs->se))
			fs_end(fs);
	}
}

int sfs_start(struct sfs *fs, void (*on_end)(void *arg), void *arg)
{
	int fd = fuse_session_fd(fs->se);
	int flags = fcntl(fd, F_GETFL), err;

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	err = uv_poll_init(fs->loop, &fs->poll, fd);
	if (err < 0)
		return err;
	fs->poll.data = fs;
	fs->on_end = on_end;
	fs->end_arg = arg;
	fs->started = true;
	return uv_poll_start(&fs->poll, UV_READABLE, on_readable);
}

/* Not sooner: a handler that stops the mount still reads its request. */
static void on_poll_closed(uv_handle_t *h)
{
	struct sfs *fs = h->data;
	struct sfs_leftover *l;

	free(fs->buf.mem);
	fs->buf.mem = NULL;
	while ((l = fs->leftovers)) {
		sfs_leftover_del(l);
		l->free(l);
	}
}

void sfs_stop(struct sfs *fs)
{
	if (!fs->started)
		return;
	fs->started = false;
	uv_poll_stop(&fs->poll);
	uv_close((uv_handle_t *)&fs->poll, on_poll_closed);
}
