/*
 * Reads.  The kernel asks for 128 KiB at a time, so a handle that is read in
 * sequence fetches ahead, in several requests at once, and answers from what
 * has arrived; parts are used as they come.
 *
 * A read may be answered from a fetch that was sent when the read was already
 * there, or that is still true: neither our own writes nor events have
 * changed the file since (sfs_file.gen).  Loop thread only.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/uio.h>

#include "fuse/ahead.h"
#include "fuse/cache.h"
#include "fuse/fresh.h"
#include "fuse/handle.h"
#include "fuse/tell.h"

#define MAX_IOV 32

struct sfs_fetch {
	struct sfs_handle *h; /* referenced while it is under way */
	struct sfs_fetch *next;
	uint64_t offset;
	size_t len, got;
	size_t served;	/* bytes the kernel took: it will not ask again */
	uint32_t gen;	/* sfs_file.gen */
	uint32_t doubt; /* sfs_files.gen */
	uint32_t number;
	uint64_t answered; /* the newest part: sbx_remote_waited */
	uint8_t tries;
	bool ahead; /* counted in sfs.readahead */
	bool unwanted;
	bool quiet; /* the sandbox does not count it as read */
	bool last;  /* adopted: there may be no other if OPEN fails */
	bool done, eof;
	int err;
	uint8_t *data;
};

static int fetch_send(struct sfs_fetch *f);
static void reads_serve(struct sfs_handle *h);

static void fetch_free(struct sfs_fetch *f)
{
	struct sfs_handle *h = f->h;
	struct sfs_fetch **at;

	for (at = &h->fetches; *at != f;)
		at = &(*at)->next;
	*at = f->next;
	h->nr_fetches--;
	if (f->ahead)
		h->inode->files->fs->readahead -= f->len;
	free(f->data);
	free(f);
}

static bool fetch_is_stale(const struct sfs_fetch *f)
{
	return f->gen != f->h->inode->file->gen ||
	       f->doubt != f->h->inode->files->gen;
}

/* Whether it was sent after everything that the read must see, or the file was
 * out of reach before it could be opened there.  (It may have come into reach
 * again, by another of its names.) */
static bool fetch_is_new(const struct sfs_fetch *f, const struct sfs_call *c)
{
	return (f->gen >= c->gen && f->doubt >= c->doubt) ||
	       (f->last && f->h->open_err && f->h->open_err != -ERESTART &&
		!(f->h->inode->names && fetch_is_stale(f)));
}

/* Whether it can say what is at pos, now or later. */
static bool fetch_covers(const struct sfs_fetch *f, uint64_t pos)
{
	if (pos < f->offset || pos >= f->offset + f->len)
		return false;
	return !f->done || pos < f->offset + f->got || f->eof || f->err;
}

static struct sfs_fetch *fetch_find(const struct sfs_handle *h,
				    const struct sfs_call *c, uint64_t pos)
{
	struct sfs_fetch *f;

	for (f = h->fetches; f; f = f->next)
		if (fetch_is_new(f, c) && fetch_covers(f, pos))
			return f;
	return NULL;
}

/* ---- requests ---- */

/* What is complete and of no more use.  A read that still wanted it asks
 * again. */
static void fetches_tidy(struct sfs_handle *h)
{
	struct sfs_fetch *f, *next;

	for (f = h->fetches; f; f = next) {
		next = f->next;
		if (f->done && !f->last &&
		    (f->unwanted || f->err || f->served >= f->got ||
		     fetch_is_stale(f)))
			fetch_free(f);
	}
}

static void fetch_data(struct sfs_fetch *f, struct sbx_rd *rd)
{
	size_t len;
	const uint8_t *data = sbx_get_bin(rd, &len);

	if (rd->err || len > f->len - f->got) {
		f->err = -EPROTO;
		return;
	}
	f->answered = sbx_remote_answered(f->h->inode->files->remote);
	if (len)
		memcpy(f->data + f->got, data, len);
	f->got += len;
}

static void atime_get(struct sfs_inode *i, struct sbx_rd *rd)
{
	int64_t s;
	uint32_t ns;

	if (rd->err || rd->left < 2)
		return;
	s = sbx_get_i64(rd);
	ns = sbx_get_u32(rd);
	if (!rd->err)
		sfs_inode_set_atime(i, s, ns);
}

static void on_part(void *arg, struct sbx_rd *rd)
{
	struct sfs_fetch *f = arg;

	if (f->err)
		return;
	fetch_data(f, rd);
	reads_serve(f->h);
}

static void on_read(void *arg, int err, struct sbx_rd *rd)
{
	struct sfs_fetch *f = arg;
	struct sfs_handle *h = f->h;

	f->number = 0;
	if (err == -ERESTART && f->tries++ < SFS_MAX_RESTARTS && !h->released) {
		f->got = 0;
		f->served = 0;
		err = fetch_send(f);
		if (!err)
			return;
	}
	if (!err && !f->err) {
		fetch_data(f, rd);
		f->eof = sbx_get_bool(rd);
		atime_get(h->inode, rd);
		if (rd->err || (!f->eof && f->got < f->len))
			f->err = -EPROTO;
	} else if (!f->err) {
		f->err = err == -ERESTART ? -EIO : sfs_handle_error(h, err);
	}
	f->done = true;
	reads_serve(h);
	fetches_tidy(h);
	sfs_handle_unref(h);
}

static int fetch_send(struct sfs_fetch *f)
{
	struct sfs_handle *h = f->h;
	struct sfs_files *files = h->inode->files;
	int err = sfs_handle_tell(h);
	struct sbx_buf *b;

	if (err < 0)
		return err;
	f->gen = h->inode->file->gen;
	f->doubt = files->gen;
	b = sbx_remote_begin(files->remote, SBX_OP_READ, 3);
	sbx_put_u64(b, h->number);
	sbx_put_u64(b, f->offset);
	sbx_put_u64(b, f->len);
	f->number = sbx_remote_submit(files->remote, on_read, on_part, f);
	if (f->ahead)
		sbx_remote_ahead(files->remote, f->number);
	return 0;
}

static int fetch_new(struct sfs_handle *h, uint64_t offset, size_t len,
		     bool ahead)
{
	struct sfs_fetch *f = calloc(1, sizeof(*f));
	struct sfs_fetch **at = &h->fetches;
	int err;

	if (!f)
		return -ENOMEM;
	f->h = h;
	f->offset = offset;
	f->len = len;
	f->ahead = ahead;
	f->data = malloc(len);
	err = f->data ? fetch_send(f) : -ENOMEM;
	if (err < 0) {
		free(f->data);
		free(f);
		return err;
	}
	sfs_handle_ref(h);
	while (*at)
		at = &(*at)->next;
	*at = f;
	h->nr_fetches++;
	if (ahead)
		h->inode->files->fs->readahead += len;
	return 0;
}

/* ---- answering ---- */

/*
 * Gathers the read's bytes.  Returns how many, -EAGAIN if some are still to
 * come, -ENODATA if some have not been asked for, -ENOBUFS if they are in too
 * many pieces, or an error; a shorter count means the end of the file.
 */
static ssize_t read_gather(struct sfs_call *c, struct iovec *iov, int *ret_nr)
{
	uint64_t pos = c->offset, end = c->offset + c->size;
	struct sfs_fetch *f;
	size_t n, skip;

	*ret_nr = 0;
	while (pos < end) {
		f = fetch_find(c->handle, c, pos);
		if (!f)
			return -ENODATA;
		skip = (size_t)(pos - f->offset);
		if (f->got <= skip) {
			if (!f->done)
				return -EAGAIN;
			if (f->err)
				return f->err;
			break; /* end of file */
		}
		n = f->got - skip;
		if (n > end - pos)
			n = (size_t)(end - pos);
		else if (!f->done && f->got < f->len && n < end - pos)
			return -EAGAIN;
		if (*ret_nr == MAX_IOV)
			return -ENOBUFS;
		iov[*ret_nr].iov_base = f->data + skip;
		iov[(*ret_nr)++].iov_len = n;
		pos += n;
	}
	return (ssize_t)(pos - c->offset);
}

/* Whether the kernel has been given the whole file by now. */
static void mark_whole(const struct sfs_call *c, uint64_t end)
{
	struct sfs_inode *i = c->inode;
	struct sfs_file *file = i->file;

	if (c->gen != file->gen || !sfs_inode_is_known(i))
		return;
	if (file->whole_gen != file->gen) {
		file->whole_gen = file->gen;
		file->whole = 0;
	}
	if (c->offset <= file->whole && end > file->whole)
		file->whole = end;
	if (file->whole >= i->size)
		i->flags |= SFS_INODE_WHOLE;
}

static void on_counted(void *arg, int err, struct sbx_rd *rd)
{
	struct sfs_inode *i = arg;
	struct sfs_files *f = i->files;
	uint32_t ns = i->atime_ns;
	int64_t s = i->atime_s;

	if (!err) {
		sbx_get_skip(rd);
		sbx_get_skip(rd);
		atime_get(i, rd);
	}
	if ((s != i->atime_s || ns != i->atime_ns) && sfs_inode_is_held(i))
		sfs_notify_inode(f->notify, sfs_node_ino(f->fs, &i->node),
				 false);
	sfs_inode_unref(i);
}

/* Somebody reads what was fetched quietly: the sandbox shall know. */
static void fetch_count(struct sfs_fetch *f)
{
	struct sbx_remote *remote = f->h->inode->files->remote;
	struct sbx_buf *b;

	f->quiet = false;
	if (!sfs_handle_is_told(f->h))
		return;
	sfs_files_defer(f->h->inode->files, SFS_HOLD_MS);
	b = sbx_remote_begin(remote, SBX_OP_READ, 3);
	sbx_put_u64(b, f->h->number);
	sbx_put_u64(b, 0);
	sbx_put_u64(b, 1);
	f->h->counting = sbx_remote_submit(remote, on_counted, NULL,
					   sfs_inode_ref(f->h->inode));
	sbx_remote_ahead(remote, f->h->counting);
	sfs_files_defer(f->h->inode->files, 0);
}

/* The kernel keeps these bytes: no need to have them here, too. */
static void mark_served(struct sfs_call *c, size_t count)
{
	uint64_t end = c->offset + count, from, to;
	struct sfs_fetch *f;

	mark_whole(c, end);

	for (f = c->handle->fetches; f; f = f->next) {
		from = f->offset > c->offset ? f->offset : c->offset;
		to = f->offset + f->got < end ? f->offset + f->got : end;
		if (from >= to)
			continue;
		f->served += (size_t)(to - from);
		if (f->quiet)
			fetch_count(f);
		sbx_remote_waited(c->files->remote, f->answered);
	}
}

/* Fetches what no fetch covers of [offset, offset + size). */
static int fetch_gaps(struct sfs_call *c)
{
	uint64_t pos = c->offset, end = c->offset + c->size, stop;
	struct sfs_handle *h = c->handle;
	struct sfs_fetch *f;
	size_t len;
	int err;

	while (pos < end) {
		f = fetch_find(h, c, pos);
		if (f) {
			if (f->done && (f->eof || f->err))
				return 0;
			pos = f->offset + (f->done ? f->got : f->len);
			continue;
		}
		stop = end;
		for (f = h->fetches; f; f = f->next)
			if (f->offset > pos && f->offset < stop &&
			    fetch_is_new(f, c))
				stop = f->offset;
		len = (size_t)(stop - pos);
		if (len > SBX_READ_MAX)
			len = SBX_READ_MAX;
		err = fetch_new(h, pos, len, false);
		if (err < 0)
			return err;
		pos += len;
	}
	return 0;
}

/* True if the read was answered (and is freed). */
static bool read_answer(struct sfs_call *c)
{
	struct iovec iov[MAX_IOV];
	ssize_t n;
	int nr;

	n = c->req ? read_gather(c, iov, &nr) : -EINTR;
	if (n == -ENOBUFS) { /* what nobody else waits for is fetched as one */
		sfs_fetch_drop(c->handle);
		n = -ENODATA;
	}
	if (n == -ENODATA) { /* a fetch was dropped, or ended early */
		n = fetch_gaps(c);
		n = n < 0 ? n : -EAGAIN;
	}
	if (n == -EAGAIN)
		return false;
	if (n < 0) {
		sfs_call_err(c, (int)n);
		return true;
	}
	mark_served(c, (size_t)n);
	c->inode->file->read_ms = files_now(c->files);
	if (n)
		fuse_reply_iov(c->req, iov, nr);
	else
		fuse_reply_buf(c->req, NULL, 0);
	sfs_call_free(c);
	return true;
}

static void reads_serve(struct sfs_handle *h)
{
	struct sfs_call **at = &h->reads.first, *c, *next;

	sfs_handle_ref(h);
	while ((c = *at)) {
		next = c->next;
		if (!read_answer(c)) {
			at = &c->next;
			continue;
		}
		*at = next;
	}
	h->reads.end = at;
	sfs_handle_unref(h);
}

/* ---- ahead ---- */

static bool reads_in_sequence(const struct sfs_handle *h,
			      const struct sfs_call *c)
{
	/* the kernel sends neighbouring reads in any order */
	return h->expect && c->offset + SFS_READAHEAD_MIN >= h->expect &&
	       c->offset <= h->expect + SFS_READAHEAD_MIN;
}

static void window_set(struct sfs_handle *h, const struct sfs_call *c)
{
	uint64_t end = c->offset + c->size;
	bool keep;

	if (!reads_in_sequence(h, c)) {
		h->window = 0;
		/* the first one finds what was fetched on opening, or
		 * handed over: the kernel may have the beginning */
		keep = !h->expect &&
		       (!c->offset || (h->fetches && h->fetches->quiet));
		h->expect = end;
		if (!keep)
			sfs_fetch_drop(h);
		else if (h->ahead < end)
			h->ahead = end;
		return;
	}
	if (end <= h->expect)
		return;
	h->window = h->window ? h->window * 2 : SFS_READAHEAD_MIN;
	if (h->window > SFS_READAHEAD_MAX)
		h->window = SFS_READAHEAD_MAX;
	h->expect = end;
	if (h->ahead < end)
		h->ahead = end;
}

static bool has_room(struct sfs_files *f, size_t len)
{
	size_t max = sfs_ahead_max(f->fs);

	if (f->fs->readahead + len > max)
		sfs_ahead_yield(f, len);
	return f->fs->readahead + len <= max;
}

/* Only where changes are told, and below the file's known end. */
static void fetch_ahead(struct sfs_handle *h)
{
	struct sfs_files *files = h->inode->files;
	uint64_t limit = h->expect + h->window;
	size_t len;

	if (!h->window || !sfs_inode_is_known(h->inode))
		return;
	if (limit > h->inode->size)
		limit = h->inode->size;
	while (h->ahead < limit && h->nr_fetches < SFS_MAX_FETCHES) {
		len = SBX_READ_MAX;
		if (len > h->window)
			len = h->window;
		if (len > limit - h->ahead)
			len = (size_t)(limit - h->ahead);
		/* not in crumbs: wait until there is room for a good part */
		if (len < h->window / 4 && limit < h->inode->size)
			return;
		if (!has_room(files, len) ||
		    fetch_new(h, h->ahead, len, true) < 0)
			return;
		h->ahead += len;
	}
}

void sfs_fetch_first(struct sfs_handle *h)
{
	const struct sfs_inode *i = h->inode;
	size_t len = SFS_READ_FIRST;

	if (!i->size || !sfs_inode_is_known(i))
		return;
	/* one byte more, to learn that it ends there */
	if (i->size < len)
		len = (size_t)i->size + 1;
	if (has_room(i->files, len) && fetch_new(h, 0, len, true) == 0)
		h->ahead = len;
}

bool sfs_fetch_adopt(struct sfs_handle *h, uint8_t *data, size_t len,
		     uint64_t answered)
{
	struct sfs_fetch *f = calloc(1, sizeof(*f));

	if (!f)
		return false;
	f->h = h;
	f->got = len;
	/* one byte more: it is known to end there */
	f->len = len + 1;
	f->gen = h->inode->file->gen;
	f->doubt = h->inode->files->gen;
	f->answered = answered;
	f->ahead = f->quiet = f->last = f->done = f->eof = true;
	f->data = data;
	f->next = h->fetches;
	h->fetches = f;
	h->nr_fetches++;
	h->ahead = f->len;
	h->inode->files->fs->readahead += f->len;
	return true;
}

void sfs_fetch_opened(struct sfs_handle *h)
{
	struct sfs_fetch *f;

	for (f = h->fetches; f; f = f->next)
		f->last = false;
	fetches_tidy(h);
}

void sfs_fetch_read(struct sfs_call *c)
{
	struct sfs_handle *h = c->handle;
	int err;

	c->gen = h->inode->file->gen;
	c->doubt = c->files->gen;
	window_set(h, c);
	err = fetch_gaps(c);
	if (err < 0) {
		sfs_call_err(c, err);
		return;
	}
	sfs_handle_ref(h);
	fetch_ahead(h);
	if (!read_answer(c)) {
		sfs_calls_add(&h->reads, c);
		sfs_call_waits(c);
	} else {
		fetches_tidy(h);
	}
	sfs_handle_unref(h);
}

void sfs_fetch_drop(struct sfs_handle *h)
{
	struct sfs_fetch *f;

	h->ahead = h->expect;
	for (f = h->fetches; f; f = f->next)
		f->unwanted = true;
	fetches_tidy(h);
}

static struct sfs_fetch *fetch_under_way(struct sfs_handle *h)
{
	struct sfs_fetch *f;

	for (f = h->fetches; f; f = f->next)
		if (!f->done && f->number)
			return f;
	return NULL;
}

void sfs_fetch_end(struct sfs_handle *h)
{
	struct sbx_remote *remote = h->inode->files->remote;
	struct sfs_fetch *f;
	uint32_t number;

	sfs_handle_ref(h);
	sfs_fetch_opened(h);
	sfs_fetch_drop(h);
	while ((f = fetch_under_way(h))) {
		number = f->number;
		f->number = 0;
		sbx_remote_cancel(remote, number);
	}
	sfs_handle_unref(h);
}
