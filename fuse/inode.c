/*
 * The table of inodes and their attributes.
 */
#include "fuse/inode.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/sysmacros.h>

#include "client/wire/proto.h"

#define SLOTS_MIN 64

/* 32 bits hold every device number that Linux has (12 and 20 bits). */
static uint32_t dev_pack(uint64_t dev)
{
	return (uint32_t)major(dev) << 20 | (minor(dev) & 0xfffff);
}

static dev_t dev_unpack(uint32_t dev)
{
	return makedev(dev >> 20, dev & 0xfffff);
}

uint64_t sfs_inode_dev(const struct sfs_inode *i)
{
	return dev_unpack(i->dev);
}

static uint64_t mix(uint64_t v)
{
	v ^= v >> 32;
	v *= 0xd6e8feb86659fd93u;
	v ^= v >> 32;
	v *= 0xd6e8feb86659fd93u;
	return v ^ v >> 32;
}

static size_t slot_of(const struct sfs_inodes *t, uint8_t tree, uint32_t dev,
		      uint64_t ino)
{
	uint64_t h = mix(ino ^ t->seed);

	h = mix(h + ((uint64_t)dev << 8 | tree));
	return h & (t->nr_slots - 1);
}

int sfs_inodes_init(struct sfs_inodes *t)
{
	t->nr = 0;
	t->nr_slots = SLOTS_MIN;
	if (getrandom(&t->seed, sizeof(t->seed), GRND_NONBLOCK) < 0)
		t->seed = (uintptr_t)t;
	t->slots = calloc(t->nr_slots, sizeof(*t->slots));
	return t->slots ? 0 : -ENOMEM;
}

void sfs_inodes_release(struct sfs_inodes *t)
{
	free(t->slots);
	t->slots = NULL;
}

static void inodes_put(struct sfs_inodes *t, struct sfs_inode *i)
{
	size_t slot = slot_of(t, i->tree, i->dev, i->ino);

	i->hash_next = t->slots[slot];
	t->slots[slot] = i;
}

/* Without memory the chains just get longer. */
static void inodes_grow(struct sfs_inodes *t)
{
	struct sfs_inode **old = t->slots, *i, *next;
	size_t n, nr_old = t->nr_slots;
	struct sfs_inode **slots = calloc(nr_old * 2, sizeof(*slots));

	if (!slots)
		return;
	t->slots = slots;
	t->nr_slots = nr_old * 2;
	for (n = 0; n < nr_old; n++) {
		for (i = old[n]; i; i = next) {
			next = i->hash_next;
			inodes_put(t, i);
		}
	}
	free(old);
}

bool sfs_inode_is(const struct sfs_inode *i, const struct sbx_attr *attr)
{
	if ((i->mode & S_IFMT) != (attr->mode & S_IFMT))
		return false;
	if (i->flags & SFS_INODE_ROOT)
		return true;
	return !(i->flags & SFS_INODE_GONE) && i->ino == attr->ino &&
	       i->dev == dev_pack(attr->dev);
}

struct sfs_inode *sfs_inodes_find(const struct sfs_inodes *t, uint8_t tree,
				  const struct sbx_attr *attr)
{
	static const uint8_t hidden = SFS_INODE_ROOT | SFS_INODE_ALIAS;
	size_t slot = slot_of(t, tree, dev_pack(attr->dev), attr->ino);
	struct sfs_inode *i;

	for (i = t->slots[slot]; i; i = i->hash_next)
		if (i->tree == tree && !(i->flags & hidden) &&
		    sfs_inode_is(i, attr))
			return i;
	return NULL;
}

struct sfs_inode *sfs_inodes_add(struct sfs_inodes *t, uint8_t tree,
				 const struct sbx_attr *attr)
{
	struct sfs_inode *i = calloc(1, sizeof(*i));

	if (!i)
		return NULL;
	if (t->nr >= t->nr_slots)
		inodes_grow(t);
	i->tree = tree;
	i->ino = attr->ino;
	i->dev = dev_pack(attr->dev);
	sfs_inode_set(i, attr);
	inodes_put(t, i);
	t->nr++;
	return i;
}

static void inodes_take(struct sfs_inodes *t, struct sfs_inode *i)
{
	struct sfs_inode **at = &t->slots[slot_of(t, i->tree, i->dev, i->ino)];

	while (*at && *at != i)
		at = &(*at)->hash_next;
	if (*at)
		*at = i->hash_next;
}

void sfs_inodes_settle(struct sfs_inodes *t, struct sfs_inode *i,
		       const struct sbx_attr *attr)
{
	inodes_take(t, i);
	i->ino = attr->ino;
	i->dev = dev_pack(attr->dev);
	i->flags &= (uint8_t)~SFS_INODE_GONE;
	inodes_put(t, i);
}

void sfs_inodes_free(struct sfs_inodes *t, struct sfs_inode *i)
{
	inodes_take(t, i);
	t->nr--;
	if (S_ISLNK(i->mode))
		free(i->target);
	free(i);
}

static bool time_set(int64_t *s, uint32_t *ns, int64_t new_s, uint32_t new_ns)
{
	bool differs = *s != new_s || *ns != new_ns;

	*s = new_s;
	*ns = new_ns;
	return differs;
}

static bool u32_set(uint32_t *v, uint32_t n)
{
	bool differs = *v != n;

	*v = n;
	return differs;
}

bool sfs_inode_differs(const struct sfs_inode *i, const struct sbx_attr *a)
{
	return i->size != a->size || i->mtime_s != a->mtime_s ||
	       i->mtime_ns != a->mtime_ns;
}

unsigned int sfs_inode_set(struct sfs_inode *i, const struct sbx_attr *a)
{
	static const uint8_t from_wire = SFS_INODE_XATTR | SFS_INODE_VOLATILE;
	unsigned int diff = 0;
	uint8_t flags = i->flags & (uint8_t)~from_wire;

	if (a->flags & SBX_ATTR_XATTR)
		flags |= SFS_INODE_XATTR;
	if (a->flags & SBX_ATTR_VOLATILE)
		flags |= SFS_INODE_VOLATILE;
	if (i->size != a->size)
		diff |= SFS_DIFF_ATTR | SFS_DIFF_DATA;
	if (time_set(&i->mtime_s, &i->mtime_ns, a->mtime_s, a->mtime_ns))
		diff |= SFS_DIFF_ATTR | SFS_DIFF_DATA;
	if (time_set(&i->ctime_s, &i->ctime_ns, a->ctime_s, a->ctime_ns))
		diff |= SFS_DIFF_ATTR;
	if (i->mode != (uint16_t)a->mode || i->flags != flags)
		diff |= SFS_DIFF_ATTR;
	if (u32_set(&i->nlink, a->nlink) | u32_set(&i->uid, a->uid) |
	    u32_set(&i->gid, a->gid))
		diff |= SFS_DIFF_ATTR;
	i->size = a->size;
	i->blocks = a->blocks;
	i->mode = (uint16_t)a->mode;
	i->flags = flags;
	i->rdev = dev_pack(a->rdev);
	/* reading a file changes it, which is no news to anybody */
	time_set(&i->atime_s, &i->atime_ns, a->atime_s, a->atime_ns);
	return diff;
}

void sfs_inode_grow(struct sfs_inode *i)
{
	i->mtime_ns += i->mtime_ns < 999999999;
	i->ctime_ns += i->ctime_ns < 999999999;
}

void sfs_inode_cut(struct sfs_inode *i)
{
	i->size = 0;
	i->blocks = 0;
	sfs_inode_grow(i);
}

void sfs_inode_set_atime(struct sfs_inode *i, int64_t s, uint32_t ns)
{
	if (ns < 1000000000)
		time_set(&i->atime_s, &i->atime_ns, s, ns);
}

/* Numbers of other file systems must not meet those of the workspace's. */
static uint64_t ino_shown(const struct sfs_inode *i, const struct sfs_owners *o)
{
	if (i->dev == o->dev)
		return i->ino;
	return i->ino ^ (mix(i->dev ^ 0x5bf03635u) | 1) << 40;
}

void sfs_inode_stat(const struct sfs_inode *i, const struct sfs_owners *o,
		    struct stat *st)
{
	memset(st, 0, sizeof(*st));
	st->st_ino = ino_shown(i, o);
	st->st_mode = i->mode;
	if (o->umask != (mode_t)-1)
		st->st_mode &= ~(o->umask & 0777);
	st->st_nlink = i->nlink;
	st->st_uid = i->uid == o->there_uid ? o->here_uid : i->uid;
	st->st_gid = i->gid == o->there_gid ? o->here_gid : i->gid;
	st->st_rdev = dev_unpack(i->rdev);
	st->st_size = (off_t)i->size;
	st->st_blocks = (blkcnt_t)i->blocks;
	st->st_blksize = 4096;
	st->st_atim.tv_sec = i->atime_s;
	st->st_atim.tv_nsec = i->atime_ns;
	st->st_mtim.tv_sec = i->mtime_s;
	st->st_mtim.tv_nsec = i->mtime_ns;
	st->st_ctim.tv_sec = i->ctime_s;
	st->st_ctim.tv_nsec = i->ctime_ns;
}
