/*
 * Writes.  Sent at once, in pieces that fit one request, and answered before
 * the sandbox has acknowledged them while not too much is under way; an
 * error then stays with the file for flush and fsync.
 *
 * The data of a piece is kept until it is acknowledged: if the helper is lost
 * for good the pieces are sent to the next one, in their order, which for
 * writes at an offset gives the same file.  Opening a file to write to it may
 * be one of them (sfs_write_open).  Loop thread only.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "fuse/cache.h"
#include "fuse/caller.h"
#include "fuse/fresh.h"
#include "fuse/making.h"
#include "fuse/shown.h"
#include "fuse/tell.h"
#include "fuse/written.h"

struct sfs_piece {
	struct sfs_piece *next;
	struct sfs_handle *h;  /* referenced */
	struct sfs_call *call; /* waits for it, or NULL */
	struct sfs_caller *by; /* owned; who writes if not who opened it */
	uint64_t offset;
	uint32_t len;
	uint8_t tries;
	bool done, lost;
	bool other; /* by says who writes */
	bool opens; /* not a write: OPEN with these flags, or CREATE */
	int flags;
	struct sfs_making *making; /* owned; CREATE */
	uint64_t number;	   /* the handle's, then */
	char data[];
};

static int piece_send(struct sfs_piece *p);

static void piece_free(struct sfs_piece *p)
{
	sfs_making_free(p->making);
	free(p->by);
	free(p);
}

static void throttled_wake(struct sfs_files *f)
{
	struct sfs_call *c;

	while ((c = f->throttled.first) && f->unacked < SFS_MAX_UNACKED) {
		f->throttled.first = c->next;
		if (!c->next)
			f->throttled.end = &f->throttled.first;
		c->resume(c, 0);
	}
}

void sfs_writes_wake(struct sfs_files *f)
{
	sfs_calls_resume(&f->throttled, 0);
}

/* One piece of a write that is waited for. */
static void call_piece(struct sfs_call *c, int err)
{
	if (err && !c->err)
		c->err = err;
	if (--c->left)
		return;
	if (c->err) {
		sfs_call_err(c, c->err);
		return;
	}
	if (c->req)
		fuse_reply_write(c->req, c->size);
	sfs_call_free(c);
}

/* Pieces leave in order, so that those that were lost stay in order. */
static void pieces_reap(struct sfs_file *file)
{
	struct sfs_piece *p;

	while ((p = file->pieces) && p->done) {
		file->pieces = p->next;
		if (!p->next)
			file->pieces_end = &file->pieces;
		sfs_handle_unref(p->h);
		piece_free(p);
	}
}

/* What it has become; rd is NULL if that is an error. */
static int piece_answer(struct sfs_piece *p, int err, struct sbx_rd *rd,
			struct sbx_attr *ret_attr)
{
	if (p->making)
		err = sfs_making_done(p->making, err, rd, ret_attr);
	else if (!err && !sbx_get_attr(rd, ret_attr))
		err = -EPROTO;
	if (err && p->opens && p->h->number == p->number) {
		p->h->open_err = err;
		p->h->told = false;
		p->h->inode->attr_gen = 0; /* it was not cut */
	}
	return err;
}

static void file_resend(struct sfs_inode *i);

static void piece_end(struct sfs_piece *p, int err)
{
	struct sfs_handle *h = sfs_handle_ref(p->h);
	struct sfs_inode *i = h->inode;
	struct sfs_files *f = i->files;
	struct sfs_file *file = i->file;
	struct sfs_call *c = p->call;

	err = sfs_handle_error(h, err);
	p->done = true;
	f->unacked -= p->len + SFS_PIECE_COST;
	f->changes--;
	file->nr_pieces--;
	file->nr_opening -= p->opens;
	if (p->making)
		file->making = NULL;
	if (err && !c) {
		file->error = err;
		file->nr_errors++;
	}
	sfs_cache_stirred(i);
	if (err) /* what the kernel holds was not written */
		sfs_cache_changed(i, SFS_DIFF_ATTR | SFS_DIFF_DATA);
	if (c)
		call_piece(c, err);
	pieces_reap(file);
	if (!file->nr_pieces)
		sfs_calls_resume(&file->drain, 0);
	else if (file->nr_lost == file->nr_pieces)
		file_resend(i);
	sfs_handle_unref(h);
	throttled_wake(f);
}

/*
 * The helper was lost and every piece under way with it.  Their failures
 * come in any order; once the last of them is here all are sent again.
 */
static void file_resend(struct sfs_inode *i)
{
	struct sfs_file *file = i->file;
	struct sfs_piece *p, *failed = NULL;
	struct sbx_attr none;
	int err = 0;

	file->epoch = sbx_remote_epoch(i->files->remote);
	for (p = file->pieces; p; p = p->next) {
		if (p->done || !p->lost)
			continue;
		p->lost = false;
		file->nr_lost--;
		err = -EIO; /* what was appended may be there already */
		if ((p->opens || !(p->h->flags & O_APPEND)) &&
		    p->tries++ < SFS_MAX_RESTARTS)
			err = piece_send(p);
		if (err < 0) {
			p->lost = true;
			file->nr_lost++;
			failed = p;
			break;
		}
	}
	/* ends it, which sends those behind it */
	if (failed) {
		failed->lost = false;
		file->nr_lost--;
		piece_end(failed, piece_answer(failed, err, NULL, &none));
	}
}

static void piece_lost(struct sfs_piece *p)
{
	struct sfs_inode *i = p->h->inode;

	p->lost = true;
	if (++i->file->nr_lost == i->file->nr_pieces)
		file_resend(i);
}

/* Somebody else appended, too: our bytes are not where the kernel put them. */
static bool append_missed(const struct sfs_piece *p,
			  const struct sbx_attr *attr)
{
	return !p->opens && p->h->flags & O_APPEND &&
	       attr->size != p->offset + p->len;
}

/* Before Linux 6.6 the kernel keeps the last page of a file as it was when
 * it is written to past the pages (see sfs_open_flags). */
static void pages_behind(const struct sfs_piece *p)
{
	struct sfs_inode *i = p->h->inode;

	if (sfs_inode_is_held(i))
		sfs_notify_pages(i->files->notify,
				 sfs_node_ino(i->files->fs, &i->node),
				 p->offset);
}

static void on_written(void *arg, int err, struct sbx_rd *rd)
{
	struct sfs_piece *p = arg;
	struct sbx_attr attr;

	if (err == -ERESTART && !p->h->inode->files->closed) {
		piece_lost(p);
		return;
	}
	p->h->inode->file->answered =
		sbx_remote_answered(p->h->inode->files->remote);
	err = piece_answer(p, err, rd, &attr);
	if (!err) {
		sfs_cache_attr(p->h->inode, &attr, SFS_PUT_OWN);
		if (append_missed(p, &attr)) {
			sfs_shown_keep(p->h->inode);
			sfs_cache_changed(p->h->inode,
					  SFS_DIFF_ATTR | SFS_DIFF_DATA);
		} else if (!p->opens && p->h->flags & O_APPEND) {
			pages_behind(p);
		}
	}
	piece_end(p, err);
}

/* Anew for the next helper, though something else may have told it there. */
static int piece_send_open(struct sfs_piece *p)
{
	struct sfs_handle *h = p->h;
	struct sfs_at at;
	int err = sfs_open_at(h->inode, &at);

	if (!err)
		err = sfs_act_as(h->inode->files, h->caller);
	if (err < 0)
		return err;
	sfs_handle_open(h, &at, p->flags, on_written, p);
	p->number = h->number;
	return 0;
}

static int piece_send_making(struct sfs_piece *p)
{
	int err = sfs_making_send(p->making, on_written, p);

	p->number = p->h->number;
	return err;
}

static int piece_send_write(struct sfs_piece *p)
{
	struct sfs_files *f = p->h->inode->files;
	struct sbx_buf *b;
	uint32_t number;
	int err = sfs_handle_tell(p->h);

	if (!err)
		err = sfs_act_as(f, p->other ? p->by : p->h->caller);
	if (err < 0)
		return err;
	b = sbx_remote_begin(f->remote, SBX_OP_WRITE, 3);
	sbx_put_u64(b, p->h->number);
	sbx_put_u64(b, p->offset);
	sbx_put_bin(b, p->data, p->len);
	number = sbx_remote_submit(f->remote, on_written, NULL, p);
	if (!p->call)
		sbx_remote_ahead(f->remote, number);
	return 0;
}

static int piece_send(struct sfs_piece *p)
{
	struct sfs_files *f = p->h->inode->files;
	int err;

	sfs_files_defer(f, p->call ? 0 : SFS_HOLD_MS);
	if (p->making)
		err = piece_send_making(p);
	else if (p->opens)
		err = piece_send_open(p);
	else
		err = piece_send_write(p);
	sfs_files_defer(f, 0);
	return err;
}

static struct sfs_piece *piece_new(const struct sfs_call *c,
				   struct sfs_handle *h, const char *data,
				   uint32_t len, uint64_t offset)
{
	struct sfs_piece *p = malloc(sizeof(*p) + len);

	if (!p)
		return NULL;
	memset(p, 0, sizeof(*p));
	memcpy(p->data, data, len);
	p->len = len;
	p->offset = offset;
	p->h = h;
	p->other = c->caller_known;
	p->by = sfs_caller_copy(c->caller);
	if (c->caller && !p->by) {
		free(p);
		return NULL;
	}
	return p;
}

/* Takes it, unless it fails. */
static int piece_queue(struct sfs_piece *p)
{
	struct sfs_handle *h = p->h;
	struct sfs_files *f = h->inode->files;
	struct sfs_file *file = h->inode->file;
	int err;

	if (!file->nr_pieces)
		file->epoch = sbx_remote_epoch(f->remote);
	/* not before those that were lost and will be sent again */
	p->lost = file->nr_lost || file->epoch != sbx_remote_epoch(f->remote);
	err = p->lost ? 0 : piece_send(p);
	if (err < 0)
		return err;
	file->nr_lost += p->lost;
	sfs_handle_ref(h);
	*file->pieces_end = p;
	file->pieces_end = &p->next;
	file->nr_pieces++;
	file->nr_opening += p->opens;
	f->unacked += p->len + SFS_PIECE_COST;
	f->changes++;
	return 0;
}

static int piece_add(struct sfs_call *c, struct sfs_handle *h, const char *data,
		     uint32_t len, uint64_t offset, bool wait)
{
	struct sfs_piece *p = piece_new(c, h, data, len, offset);
	int err;

	if (!p)
		return -ENOMEM;
	p->call = wait ? c : NULL;
	err = piece_queue(p);
	if (err < 0)
		piece_free(p);
	return err;
}

static int write_opening(struct sfs_handle *h, int flags, struct sfs_making *m)
{
	struct sfs_piece *p = calloc(1, sizeof(*p));
	int err;

	if (!p)
		return -ENOMEM;
	p->h = h;
	p->opens = true;
	p->flags = flags;
	p->making = m;
	err = piece_queue(p);
	if (err < 0)
		free(p);
	return err;
}

int sfs_write_open(struct sfs_handle *h, int flags)
{
	int err;

	if (flags & O_TRUNC)
		sfs_file_stale(h->inode);
	err = write_opening(h, flags, NULL);
	if (!err && flags & O_TRUNC)
		sfs_inode_cut(h->inode);
	return err;
}

int sfs_write_make(struct sfs_handle *h, struct sfs_making *m)
{
	int err;

	h->inode->file->making = m;
	err = write_opening(h, 0, m);
	if (err < 0)
		h->inode->file->making = NULL;
	return err;
}

bool sfs_writes_change(const struct sfs_inode *i)
{
	const struct sfs_piece *p =
		sfs_file_is_open(i) ? i->file->pieces : NULL;

	while (p &&
	       (p->done || (p->opens && !p->making && !(p->flags & O_TRUNC))))
		p = p->next;
	return p;
}

static void on_room(struct sfs_call *c, int err)
{
	if (c->req)
		fuse_reply_write(c->req, c->size);
	sfs_call_free(c);
}

void sfs_write(struct sfs_call *c, struct sfs_handle *h, const char *data,
	       size_t size, uint64_t offset, bool wait)
{
	struct sfs_files *f = c->files;
	size_t pos = 0, n;
	int err = 0;

	sfs_file_stale(h->inode);
	sfs_written_add(h, data, size, offset);
	c->size = size;
	c->left = 1; /* ours, so that it does not end before we do */
	while (pos < size && !err) {
		n = size - pos < SBX_WRITE_MAX ? size - pos : SBX_WRITE_MAX;
		err = piece_add(c, h, data + pos, (uint32_t)n, offset + pos,
				wait);
		if (err)
			break;
		pos += n;
		if (wait)
			c->left++;
	}
	if (wait || err) {
		if (wait)
			sfs_call_waits(c);
		call_piece(c, err);
	} else if (f->unacked < SFS_MAX_UNACKED) {
		on_room(c, 0);
	} else {
		c->resume = on_room;
		sfs_calls_add(&f->throttled, c);
		sfs_call_waits(c);
	}
}
