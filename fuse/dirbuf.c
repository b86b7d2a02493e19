/*
 * A listing on its way to the kernel.  Called by whoever answers readdir, on
 * the loop thread.
 */
#include <errno.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>

#include "fuse/fs.h"

int sfs_dirbuf_init(struct sfs_dirbuf *d, fuse_req_t req, size_t size,
		    bool plus)
{
	d->req = req;
	d->len = 0;
	d->plus = plus;
	d->size = size;
	d->data = malloc(size ? size : 1);
	return d->data ? 0 : -ENOMEM;
}

bool sfs_dirbuf_add(struct sfs_dirbuf *d, struct sfs *fs, const char *name,
		    struct sfs_node *n, struct fuse_entry_param *e, off_t next)
{
	char *at = d->data + d->len;
	size_t room = d->size - d->len, need;

	if (d->plus) {
		e->ino = n ? sfs_node_ino(fs, n) : 0;
		need = fuse_add_direntry_plus(d->req, at, room, name, e, next);
	} else {
		need = fuse_add_direntry(d->req, at, room, name, &e->attr,
					 next);
	}
	if (need > room)
		return false;
	d->len += need;
	if (d->plus && n)
		n->nlookup++;
	return true;
}

/* The kernel did not take the answer: give back what it would hold. */
static void dirbuf_undo(struct sfs_dirbuf *d, struct sfs *fs)
{
	size_t pos = 0;

	while (d->plus && pos + FUSE_NAME_OFFSET_DIRENTPLUS <= d->len) {
		struct fuse_direntplus p;

		memcpy(&p, d->data + pos, FUSE_NAME_OFFSET_DIRENTPLUS);
		pos += FUSE_DIRENTPLUS_SIZE(&p);
		if (p.entry_out.nodeid)
			sfs_node_forget(fs, p.entry_out.nodeid, 1);
	}
}

void sfs_dirbuf_reply(struct sfs_dirbuf *d)
{
	struct sfs *fs = fuse_req_userdata(d->req);

	if (fuse_reply_buf(d->req, d->data, d->len) < 0)
		dirbuf_undo(d, fs);
	free(d->data);
	d->data = NULL;
}
