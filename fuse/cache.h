/*
 * What is known of one sandbox's tree, kept true: takes over what replies
 * and events say, finds out what the kernel believes otherwise, and tells
 * it.  Makes no requests but FORGET.  Loop thread only.
 *
 * Replies and events come in one order, the one in which things happened, so
 * whatever comes last is right; nothing needs to be compared with when it was
 * asked for.  Two things are watched over all the same: files->gen grows when
 * events may have been missed, and then nothing is trusted that was not
 * confirmed since; and while a change of our own is under way to an inode
 * (inode->refresh, unacknowledged writes) its attributes are not handed to
 * the kernel for keeping, since they would outlive the change there.
 */
#ifndef SFS_CACHE_H
#define SFS_CACHE_H

#include "fuse/files_int.h"

/* ---- references ---- */

struct sfs_inode *sfs_inode_ref(struct sfs_inode *i);
void sfs_inode_unref(struct sfs_inode *i);
/* Before the kernel learns of it: counts its reference. */
void sfs_inode_hold(struct sfs_inode *i);
/* The kernel let go (node operation). */
void sfs_inode_forget(struct sfs_node *n);
static inline bool sfs_inode_is_held(const struct sfs_inode *i)
{
	return i->flags & SFS_INODE_HELD;
}

/* ---- what may be trusted ---- */

bool sfs_dir_is_told(const struct sfs_dir *d);
/* Every change of its entries is told, and they are true. */
bool sfs_dir_is_true(const struct sfs_dir *d);
/* ... and all of them are known */
bool sfs_dir_is_complete(const struct sfs_dir *d);
/* Every change of its attributes (and content) would be told. */
bool sfs_inode_is_covered(const struct sfs_inode *i);
/* Its attributes are those that it will have, but for times. */
bool sfs_dir_is_foreseen(const struct sfs_inode *i);
/* Its attributes are true now. */
bool sfs_inode_is_known(const struct sfs_inode *i);
/*
 * Of proc, sysfs and the like nothing is kept, since nobody tells of changes.
 * But where nobody tells of any, and each answer costs much, what was just told
 * of them is trusted as briefly as everything is: names, attributes and link
 * targets, never content.
 */
bool sfs_inode_is_fleeting(const struct sfs_inode *i);
/* ... or are not older than what is trusted without a watch */
bool sfs_inode_is_recent(const struct sfs_inode *i);
/* The sandbox's user may certainly read it, so it need not be asked. */
bool sfs_inode_is_readable(const struct sfs_inode *i);
bool sfs_inode_is_writable(const struct sfs_inode *i); /* the same */
bool sfs_inode_is_searchable(const struct sfs_inode *i);
bool sfs_list_is_recent(const struct sfs_dir *d);
/* What is not in its list is not there, as far as is trusted. */
bool sfs_list_is_trusted(const struct sfs_dir *d);

/* From now on nothing is taken from memory, here or by the kernel, that may
 * have changed without our being told. */
void sfs_cache_barrier(struct sfs_files *f);
/* We changed something in proc or the like: nobody knows what else. */
void sfs_cache_stirred(const struct sfs_inode *i);

/* For the kernel. */
double sfs_inode_timeout(const struct sfs_inode *i);
double sfs_dir_timeout(const struct sfs_dir *d);
/* Whose files are shown as whose in its tree. */
const struct sfs_owners *sfs_owners_of(const struct sfs_inode *i);
void sfs_inode_attr(const struct sfs_inode *i, struct stat *ret);
void sfs_inode_entry(struct sfs_inode *i, const struct sfs_dir *in,
		     struct fuse_entry_param *ret);

/* ---- changing it ---- */

enum sfs_put {
	SFS_PUT_OWN = 1,      /* by a request of ours: the kernel knows */
	SFS_PUT_ASKED = 2,    /* the kernel is asking for this very entry */
	SFS_PUT_NEW = 4,      /* a new file, even if it has an old number */
	SFS_PUT_DATA = 8,     /* the content may differ */
	SFS_PUT_MOVED = 16,   /* (removal) it will be found elsewhere */
	SFS_PUT_LISTED = 32,  /* found in a listing */
	SFS_PUT_ARRIVED = 64, /* it was renamed to here: it is not elsewhere */
};

/* The directory part of an inode, made if need be; NULL: no memory. */
struct sfs_dir *sfs_dir_of(struct sfs_inode *i);
void sfs_dir_used(struct sfs_dir *d);
struct sfs_dir *sfs_dir_by_number(const struct sfs_files *f, uint64_t number);
int sfs_dir_give_number(struct sfs_dir *d);
/* The number it has there already; it must have none. */
int sfs_dir_set_number(struct sfs_dir *d, uint64_t number);
/* The other side need not remember it. */
void sfs_number_forget(struct sfs_files *f, uint64_t number);

/* workspace/ and root/ show one file as two: the one that the other shows, if
 * it is known there; or NULL. */
struct sfs_inode *sfs_cache_other_view(const struct sfs_inode *i);
/* What has these attributes is new: what is known by its number is gone. */
void sfs_cache_retire(struct sfs_files *f, uint8_t tree,
		      const struct sbx_attr *attr);
/* New attributes of an inode (how: enum sfs_put). */
void sfs_cache_attr(struct sfs_inode *i, const struct sbx_attr *attr,
		    unsigned int how);
/* Its content, or attributes (enum sfs_diff), changed otherwise. */
void sfs_cache_changed(struct sfs_inode *i, unsigned int diff);
/* A symbolic link leads to that: what it was listed, or looked up, with
 * (proto.h, LOOKUP). */
void sfs_cache_target(struct sfs_inode *i, const uint8_t *target, size_t len);
/* What is known to be true of that now, or NULL; "": it may not be read. */
const char *sfs_inode_target(const struct sfs_inode *i);
/* (shown.c) Tells the kernel to drop a file's pages. */
void sfs_cache_drop_pages(struct sfs_inode *i);
/*
 * The name leads to what attr describes (NULL: something unknown).  Returns
 * the entry, NULL without memory.
 */
struct sfs_entry *sfs_cache_put(struct sfs_dir *d, const char *name, size_t len,
				const struct sbx_attr *attr, unsigned int how);
/* The name leads to this inode (rename). */
struct sfs_entry *sfs_cache_put_inode(struct sfs_dir *d, const char *name,
				      size_t len, struct sfs_inode *i);
/* The name leads to a new file with these attributes, which is nobody's there
 * yet (making.h).  NULL: no memory. */
struct sfs_inode *sfs_cache_make(struct sfs_dir *d, const char *name,
				 size_t len, const struct sbx_attr *attr);
/* There is no such name. */
void sfs_cache_remove(struct sfs_dir *d, const char *name, size_t len,
		      unsigned int how);
void sfs_cache_remove_entry(struct sfs_dir *d, struct sfs_entry *e,
			    unsigned int how);
/* The root of a tree, which is no directory's entry. */
struct sfs_inode *sfs_cache_root(struct sfs_files *f, uint8_t tree,
				 const struct sbx_attr *attr);

/* What the kernel holds under this name is not true any more. */
void sfs_dir_tell_entry(struct sfs_dir *d, const char *name, size_t len);
/* The kernel's listing of a directory is not true any more. */
void sfs_dir_changed(struct sfs_dir *d);
/* Nothing the kernel holds of it can be kept true any more. */
void sfs_dir_distrust(struct sfs_dir *d);

/* Frees it, without a word to the kernel, which knows none of its entries. */
void sfs_dir_free(struct sfs_dir *d);
/*
 * Drops what was used longest ago, and asks the kernel to let go of it, if
 * the limits are exceeded, which is what it returns.  Directories may be gone
 * afterwards.
 */
bool sfs_cache_trim(struct sfs_files *f);
/* The kernel is letting go of this inode as it was asked to. */
void sfs_cache_forgotten(struct sfs_inode *i);
/* Drops everything; what the kernel holds stays as a shell. */
void sfs_cache_clear(struct sfs_files *f);

#endif
