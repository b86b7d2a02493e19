/*
 * Open files that are not open in the sandbox: see lazy.h.
 */
#include "fuse/lazy.h"

void sfs_lazy_add(struct sfs_handle *h)
{
	struct sfs_files *f = h->inode->files;

	h->lazy_ms = files_now(f);
	h->lazy_at = f->lazy_end;
	*h->lazy_at = h;
	f->lazy_end = &h->lazy_next;
	sfs_call_tick(f);
}

void sfs_lazy_del(struct sfs_handle *h)
{
	if (!h->lazy_at)
		return;
	*h->lazy_at = h->lazy_next;
	if (h->lazy_next)
		h->lazy_next->lazy_at = h->lazy_at;
	else
		h->inode->files->lazy_end = h->lazy_at;
	h->lazy_next = NULL;
	h->lazy_at = NULL;
}

/* If it fails, what the kernel has can still be read. */
static void lazy_open(struct sfs_handle *h)
{
	sfs_lazy_del(h);
	sfs_handle_tell(h);
}

bool sfs_lazy_tick(struct sfs_files *f)
{
	uint64_t now = files_now(f);

	while (f->lazy && now - f->lazy->lazy_ms >= SFS_LAZY_MS)
		lazy_open(f->lazy);
	return f->lazy;
}

void sfs_files_secure(struct sfs_files *f)
{
	while (f->lazy)
		lazy_open(f->lazy);
}
