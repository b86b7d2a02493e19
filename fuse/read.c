/*
 * Reads.  The kernel asks for 128 KiB at a time, so a handle that is read in
 * sequence fetches ahead, and answers from what has arrived.  Loop thread only.
 */
#include <errno.h>
#include <sys/uio.h>

#include "fuse/ahead.h"
#include "fuse/cache.h"
#include "fuse/fetch.h"

#define MAX_IOV 32

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
		f = sfs_fetch_find(c->handle, c, pos);
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
	if (file->whole < i->size)
		return;
	i->flags |= SFS_INODE_WHOLE;
	sfs_ahead_drop(i);
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
			sfs_fetch_count(f);
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
		f = sfs_fetch_find(h, c, pos);
		if (f) {
			if (f->done && (f->eof || f->err))
				return 0;
			pos = f->offset + (f->done ? f->got : f->len);
			continue;
		}
		stop = end;
		for (f = h->fetches; f; f = f->next)
			if (f->offset > pos && f->offset < stop &&
			    sfs_fetch_is_new(f, c))
				stop = f->offset;
		len = (size_t)(stop - pos);
		if (len > SBX_READ_MAX)
			len = SBX_READ_MAX;
		err = sfs_fetch_new(h, pos, len, false);
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
	if (!n) /* that was told */
		sfs_fetches_expect(c->handle, UINT64_MAX);
	sfs_call_free(c);
	return true;
}

void sfs_reads_serve(struct sfs_handle *h)
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
		    sfs_fetch_new(h, h->ahead, len, true) < 0)
			return;
		h->ahead += len;
	}
}

void sfs_read_first(struct sfs_handle *h)
{
	const struct sfs_inode *i = h->inode;
	size_t len = SFS_READ_FIRST;

	if (!i->size || !sfs_inode_is_known(i))
		return;
	/* one byte more, to learn that it ends there */
	if (i->size < len)
		len = (size_t)i->size + 1;
	if (has_room(i->files, len) && sfs_fetch_new(h, 0, len, true) == 0)
		h->ahead = len;
}

void sfs_read(struct sfs_call *c)
{
	struct sfs_handle *h = c->handle;
	int err;

	c->gen = h->inode->file->gen;
	c->doubt = c->files->gen;
	sfs_fetches_expect(h, c->offset);
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
		sfs_fetches_tidy(h);
	}
	sfs_handle_unref(h);
}
