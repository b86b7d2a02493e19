/*
 * Open files and their counterparts in the sandbox: see handle.h.
 */
#include "fuse/handle.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "fuse/ahead.h"
#include "fuse/cache.h"
#include "fuse/caller.h"
#include "fuse/lazy.h"
#include "fuse/locks.h"
#include "fuse/making.h"
#include "fuse/tell.h"
#include "fuse/written.h"

/* What an open file is there: not what has done its work when it was first
 * opened (O_TRUNC), nor the kernel's own (running a program adds one). */
#define LASTING (O_ACCMODE | O_APPEND | O_SYNC | O_NOATIME)

struct sfs_file *sfs_file_of(struct sfs_inode *i)
{
	struct sfs_file *f = i->file;

	if (f)
		return f;
	f = calloc(1, sizeof(*f));
	if (!f)
		return NULL;
	f->pieces_end = &f->pieces;
	sfs_calls_init(&f->drain);
	i->file = f;
	return f;
}

void sfs_file_put(struct sfs_inode *i)
{
	struct sfs_file *f = i->file;

	if (!f || f->handles || f->pieces || f->shown || f->ahead)
		return;
	sfs_written_drop(f, i->files->fs);
	sfs_claim_told(i);
	i->file = NULL;
	free(f);
}

bool sfs_file_is_dirty(const struct sfs_inode *i)
{
	return sfs_file_is_open(i) && i->file->nr_pieces;
}

bool sfs_file_is_opening(const struct sfs_inode *i)
{
	return sfs_file_is_dirty(i) &&
	       i->file->nr_opening == i->file->nr_pieces;
}

void sfs_file_waited(struct sfs_inode *i)
{
	if (sfs_file_is_open(i) && !i->files->closed)
		sbx_remote_waited(i->files->remote, i->file->answered);
}

void sfs_file_stale(struct sfs_inode *i)
{
	struct sfs_handle *h;

	i->flags &= (uint8_t)~SFS_INODE_WHOLE;
	sfs_ahead_drop(i);
	if (!sfs_file_is_open(i))
		return;
	i->file->gen++;
	for (h = i->file->handles; h; h = h->next)
		sfs_fetch_drop(h);
}

struct sfs_handle *sfs_handle_new(struct sfs_inode *i, int flags)
{
	struct sfs_file *f = sfs_file_of(i);
	struct sfs_handle *h = f ? calloc(1, sizeof(*h)) : NULL;

	if (!h) {
		if (f)
			sfs_file_put(i);
		return NULL;
	}
	h->inode = sfs_inode_ref(i);
	h->refs = 1;
	h->flags = flags;
	h->flock = F_UNLCK;
	h->errors_seen = f->nr_errors;
	sfs_calls_init(&h->reads);
	h->next = f->handles;
	h->at = &f->handles;
	if (h->next)
		h->next->at = &h->next;
	f->handles = h;
	i->files->nr_handles++;
	return h;
}

static void handle_close(struct sfs_handle *h)
{
	struct sfs_files *f = h->inode->files;

	if (!sfs_handle_is_told(h) || f->closed)
		return;
	sbx_put_u64(sbx_remote_begin(f->remote, SBX_OP_CLOSE, 1), h->number);
	sbx_remote_submit_quiet(f->remote);
}

struct sfs_handle *sfs_handle_ref(struct sfs_handle *h)
{
	h->refs++;
	return h;
}

void sfs_handle_unref(struct sfs_handle *h)
{
	struct sfs_inode *i = h->inode;
	struct sfs_files *f = i->files;

	if (--h->refs)
		return;
	*h->at = h->next;
	if (h->next)
		h->next->at = h->at;
	handle_close(h);
	f->nr_handles--;
	free(h->caller);
	free(h);
	sfs_file_put(i);
	sfs_inode_unref(i);
}

void sfs_handle_release(struct sfs_handle *h)
{
	struct sfs_handle *plain = h->plain;

	h->released = true;
	if (!h->inode->files->closed) {
		sbx_remote_relax(h->inode->files->remote, h->opening);
		sbx_remote_relax(h->inode->files->remote, h->counting);
	}
	sfs_lazy_del(h);
	sfs_locks_release(h);
	h->plain = NULL;
	sfs_fetch_leave(h);
	sfs_fetch_end(h);
	if (plain)
		sfs_handle_release(plain);
	sfs_handle_unref(h);
}

/* ---- the sandbox's side ---- */

bool sfs_handle_is_told(const struct sfs_handle *h)
{
	return h->told && !h->inode->files->closed &&
	       h->epoch == sbx_remote_epoch(h->inode->files->remote);
}

struct sfs_handle *sfs_handle_any(const struct sfs_inode *i)
{
	struct sfs_handle *h;

	for (h = i->file->handles; h; h = h->next)
		if (sfs_handle_is_told(h))
			return h;
	return NULL;
}

/* One OPEN under way; the handle may have been told anew meanwhile. */
struct opening {
	struct sfs_handle *h; /* referenced */
	uint64_t number;
};

static void on_opened(void *arg, int err, struct sbx_rd *rd)
{
	struct opening *o = arg;
	struct sfs_handle *h = o->h;
	struct sfs_call *c = h->opener;
	struct sbx_attr attr;

	if (h->number == o->number) {
		h->opening = 0;
		h->open_err = err;
		h->told = !err;
		h->epoch = sbx_remote_epoch(h->inode->files->remote);
	}
	if (!err && sbx_get_attr(rd, &attr))
		sfs_cache_attr(h->inode, &attr, 0);
	if (!err)
		sfs_fetch_opened(h);
	if (c && h->number == o->number) {
		h->opener = NULL;
		sbx_remote_waited(h->inode->files->remote,
				  sbx_remote_answered(h->inode->files->remote));
		c->resume(c, err);
	}
	sfs_handle_unref(h);
	free(o);
}

struct sbx_buf *sfs_handle_begin(struct sfs_handle *h, enum sbx_wire_op op,
				 unsigned int nr_args)
{
	struct sfs_files *f = h->inode->files;

	handle_close(h);
	sfs_lazy_del(h);
	h->number = sbx_remote_number(f->remote);
	h->epoch = sbx_remote_epoch(f->remote);
	h->told = true;
	h->open_err = 0;
	return sbx_remote_begin(f->remote, op, nr_args);
}

uint32_t sfs_handle_open(struct sfs_handle *h, const struct sfs_at *at,
			 int flags, sbx_reply_fn *done, void *arg)
{
	struct sfs_files *f = h->inode->files;
	struct sbx_buf *b;
	uint32_t number;

	b = sfs_handle_begin(h, SBX_OP_OPEN, 5);
	sbx_put_u64(b, h->number);
	sfs_put_at(b, at);
	sbx_put_u64(b, (uint32_t)flags);
	/* whatever is sent next needs it, and waits for it or not */
	number = sbx_remote_submit(f->remote, done, NULL, arg);
	sbx_remote_ahead(f->remote, number);
	return number;
}

static int handle_open(struct sfs_handle *h, const struct sfs_at *at)
{
	struct opening *o = malloc(sizeof(*o));

	if (!o)
		return -ENOMEM;
	o->h = sfs_handle_ref(h);
	h->opening = sfs_handle_open(h, at, h->flags & LASTING, on_opened, o);
	o->number = h->number;
	return 0;
}

int sfs_handle_tell(struct sfs_handle *h)
{
	const struct sfs_files *f = h->inode->files;
	struct sfs_at at;
	int err;

	/* (what is written then would seem to be done) */
	if (f->closed || sbx_remote_state(f->remote) == SBX_LINK_DEAD)
		return -ESTALE;
	if (sfs_handle_is_told(h))
		return 0;
	err = sfs_open_at(h->inode, &at);
	/* whoever opened it may have lost the right meanwhile */
	if (!err)
		err = sfs_act_as(h->inode->files, NULL);
	return err < 0 ? err : handle_open(h, &at);
}

int sfs_handle_error(const struct sfs_handle *h, int err)
{
	return err == -ESTALE && h->open_err && h->open_err != -ERESTART
		       ? h->open_err
		       : err;
}

void sfs_handles_secure(struct sfs_inode *i)
{
	struct sfs_handle *h;

	if (!sfs_file_is_open(i))
		return;
	for (h = i->file->handles; h; h = h->next)
		if (!h->released && !sfs_handle_is_told(h))
			sfs_handle_tell(h);
}

int sfs_handle_take_error(struct sfs_handle *h)
{
	const struct sfs_file *f = h->inode->file;

	if (h->errors_seen == f->nr_errors)
		return 0;
	h->errors_seen = f->nr_errors;
	sfs_claim_told(h->inode);
	return f->error;
}
