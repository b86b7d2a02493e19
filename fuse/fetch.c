/*
 * What is fetched of a file's content: see fetch.h.  Several requests at once,
 * of which parts are used as they come.
 */
#include "fuse/fetch.h"

#include <errno.h>
#include <stdlib.h>

#include "fuse/ahead.h"
#include "fuse/cache.h"
#include "fuse/fresh.h"

static int fetch_send(struct sfs_fetch *f);

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

bool sfs_fetch_is_new(const struct sfs_fetch *f, const struct sfs_call *c)
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

struct sfs_fetch *sfs_fetch_find(const struct sfs_handle *h,
				 const struct sfs_call *c, uint64_t pos)
{
	struct sfs_fetch *f;

	for (f = h->fetches; f; f = f->next)
		if (sfs_fetch_is_new(f, c) && fetch_covers(f, pos))
			return f;
	return NULL;
}

/* ---- requests ---- */

void sfs_fetches_tidy(struct sfs_handle *h)
{
	struct sfs_fetch *f, *next;

	for (f = h->fetches; f; f = next) {
		next = f->next;
		if (f->done && !f->last &&
		    (f->unwanted || f->err ||
		     (f->served >= f->got && !f->end_ms) || fetch_is_stale(f)))
			fetch_free(f);
	}
}

/*
 * Whoever reads a file to its end asks for what is behind it: where each answer
 * costs much that is one for nothing.  But it is told once, and briefly.
 */
static void fetch_end_heard(struct sfs_fetch *f)
{
	const struct sfs_inode *i = f->h->inode;

	if (i->flags & SFS_INODE_VOLATILE && !sfs_inode_is_fleeting(i) &&
	    f->eof && f->got)
		f->end_ms = files_now(i->files);
}

void sfs_fetches_expect(struct sfs_handle *h, uint64_t pos)
{
	uint64_t now = files_now(h->inode->files);
	struct sfs_fetch *f;
	bool any = false;

	for (f = h->fetches; f; f = f->next) {
		if (!f->end_ms || (pos == f->offset + f->got &&
				   now - f->end_ms < SFS_BRIEF_MS))
			continue;
		f->end_ms = 0;
		f->unwanted = any = true;
	}
	if (any)
		sfs_fetches_tidy(h);
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
	sfs_reads_serve(f->h);
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
		fetch_end_heard(f);
	} else if (!f->err) {
		f->err = err == -ERESTART ? -EIO : sfs_handle_error(h, err);
	}
	f->done = true;
	sfs_reads_serve(h);
	sfs_fetches_tidy(h);
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

int sfs_fetch_new(struct sfs_handle *h, uint64_t offset, size_t len, bool ahead)
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

/* ---- that it was read ---- */

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

void sfs_fetch_count(struct sfs_fetch *f)
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

/* ---- beginning and end ---- */

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
	sfs_fetches_tidy(h);
}

void sfs_fetch_drop(struct sfs_handle *h)
{
	struct sfs_fetch *f;

	h->ahead = h->expect;
	for (f = h->fetches; f; f = f->next)
		f->unwanted = true;
	sfs_fetches_tidy(h);
}

static struct sfs_fetch *fetch_under_way(struct sfs_handle *h)
{
	struct sfs_fetch *f;

	for (f = h->fetches; f; f = f->next)
		if (!f->done && f->number)
			return f;
	return NULL;
}

/* All of the file, and nobody has read any of it. */
static bool fetch_is_unread(const struct sfs_fetch *f)
{
	const struct sfs_inode *i = f->h->inode;

	return f->done && f->eof && !f->err && !f->offset && !f->served &&
	       f->got && f->got == i->size && f->got <= SFS_AHEAD_FILE &&
	       !fetch_is_stale(f);
}

void sfs_fetch_leave(struct sfs_handle *h)
{
	struct sfs_fetch *f = h->fetches;
	uint8_t *data;

	while (f && !fetch_is_unread(f))
		f = f->next;
	if (!f || h->inode->files->closed)
		return;
	data = f->data;
	f->data = NULL;
	f->unwanted = true;
	sfs_ahead_keep(h->inode, data, f->got);
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
