/* Symbolic links that stay inside: see follow.h. */
#include "fuse/follow.h"

#include <errno.h>
#include <string.h>

#include "fuse/cache.h"

struct way {
	char *dst;
	size_t len, size;
};

static void way_add(struct way *w, const char *name, size_t len)
{
	if (w->len + len + 1 <= w->size) {
		memcpy(w->dst + w->len, name, len);
		w->dst[w->len + len] = '/';
	}
	w->len += len + 1;
}

/* As many steps up as there are directories between the link and <id>/root. */
static int way_up(struct way *w, const struct sfs_inode *link)
{
	const struct sfs_inode *i;

	if (!link->names)
		return -ENOENT;
	for (i = link->names->dir->inode; !(i->flags & SFS_INODE_ROOT);
	     i = i->names->dir->inode) {
		if (!i->names)
			return -ENOENT;
		way_add(w, "..", 2);
	}
	if (!link->tree) {
		way_add(w, "..", 2);
		way_add(w, "root", 4);
	}
	return 0;
}

/* Above the top there is nothing: ".." leads to the top itself there. */
static void way_down(struct way *w, const char *target)
{
	unsigned int depth = 0;
	size_t len;

	for (target += strspn(target, "/"); *target;
	     target += len, target += strspn(target, "/")) {
		len = strcspn(target, "/");
		if (len == 2 && !memcmp(target, "..", 2)) {
			if (!depth)
				continue;
			depth--;
		} else if (len != 1 || *target != '.') {
			depth++;
		}
		way_add(w, target, len);
	}
}

int sfs_follow_inside(const struct sfs_inode *link, const char *target,
		      char *dst, size_t size)
{
	struct way w = {.dst = dst, .size = size};
	int err = way_up(&w, link);

	if (err < 0)
		return err;
	way_down(&w, target);
	if (!w.len)
		way_add(&w, ".", 1);
	if (w.len > size)
		return -ENAMETOOLONG;
	dst[w.len - 1] = '\0';
	return 0;
}
