/*
 * What was just written: see written.h.
 */
#include "fuse/written.h"

#include <fcntl.h>
#include <stdlib.h>

#include "fuse/ahead.h"
#include "fuse/cache.h"

#define ROOM_MIN 4096

struct sfs_written {
	size_t len, room; /* room: counted in fs.readahead */
	uint32_t gen;	  /* sfs_file.gen after the last write */
	uint32_t doubt;	  /* sfs_files.gen at the first */
	uint8_t *data;
};

void sfs_written_drop(struct sfs_file *file, struct sfs *fs)
{
	struct sfs_written *w = file->written;

	if (!w)
		return;
	fs->readahead -= w->room;
	file->written = NULL;
	free(w->data);
	free(w);
}

static bool is_next(const struct sfs_written *w, const struct sfs_file *file,
		    size_t size, uint64_t offset)
{
	return offset == w->len && w->gen + 1 == file->gen &&
	       size <= SFS_AHEAD_FILE - w->len;
}

/* (If more was in the file than is written its size will tell.) */
static bool is_first(const struct sfs_file *file, size_t size, uint64_t offset)
{
	return !offset && file->nr_pieces == file->nr_opening &&
	       size <= SFS_AHEAD_FILE;
}

static bool written_grow(struct sfs_written *w, struct sfs_files *f,
			 size_t size)
{
	size_t room = w->room ? w->room : ROOM_MIN;
	uint8_t *data;

	while (room < w->len + size)
		room *= 2;
	if (room == w->room)
		return true;
	if (!sfs_ahead_has_room(f, room - w->room))
		return false;
	data = realloc(w->data, room);
	if (!data)
		return false;
	f->fs->readahead += room - w->room;
	w->room = room;
	w->data = data;
	return true;
}

void sfs_written_add(const struct sfs_handle *h, const char *data, size_t size,
		     uint64_t offset)
{
	struct sfs_inode *i = h->inode;
	struct sfs_file *file = i->file;
	struct sfs_written *w = file->written;
	bool fits =
		!(h->flags & O_APPEND) && (w ? is_next(w, file, size, offset)
					     : is_first(file, size, offset));

	if (fits && !w) {
		w = file->written = calloc(1, sizeof(*w));
		if (w)
			w->doubt = i->files->gen;
	}
	if (!fits || !w || !written_grow(w, i->files, size)) {
		sfs_written_drop(file, i->files->fs);
		return;
	}
	memcpy(w->data + w->len, data, size);
	w->len += size;
	w->gen = file->gen;
}

void sfs_written_end(struct sfs_inode *i)
{
	struct sfs_file *file = i->file;
	struct sfs_written *w = file->written;
	uint8_t *data;
	size_t len;

	if (!w)
		return;
	data = w->data;
	len = w->len;
	if (!file->nr_pieces && !file->nr_errors && w->gen == file->gen &&
	    w->doubt == i->files->gen && len == i->size)
		w->data = NULL;
	else
		data = NULL;
	sfs_written_drop(file, i->files->fs);
	if (data)
		sfs_ahead_keep(i, data, len);
}
