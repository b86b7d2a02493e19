/*
 * Places in the tree of a service's own files (client/own.h) that the kernel
 * holds: of one sandbox, or of a place of the mount.  Loop thread.
 */
#ifndef SFS_OWN_H
#define SFS_OWN_H

#include <stdint.h>

#include "client/client.h"
#include "client/own.h"

struct ctl_node;
struct sfs_place;
struct sfs_sandbox;

struct sfs_own {
	unsigned int refs;
	struct sfs_own *next, **link; /* those of the same owner */
	struct ctl_node *nodes;
	struct sbx_own_at at;
	struct sbx_file *files; /* of a folder: what was listed last */
	size_t nr_files;
	uint64_t listed_ms;   /* 0: files is not to be believed */
	unsigned int changes; /* since it is here, of all of the owner's */
	char path[];	      /* below the owner's folder */
};

/* Whose folder it is: all that is shown there belongs to one of these. */
struct sfs_owner {
	struct sfs_place *place;
	struct sfs_sandbox *sb; /* NULL: the place's own folder */
};

struct sfs_own *sfs_own_ref(struct sfs_own *o);
void sfs_own_unref(struct sfs_own *o); /* NULL is fine */

/* dir: NULL for the owner's folder itself, as in all of these. */
struct sbx_own_at sfs_own_at(const struct sfs_own *dir);
/* The one of that name, made if need be, with a reference of the caller's.
 * -ENAMETOOLONG, -ENOMEM */
int sfs_own_get(struct sfs_owner owner, struct sfs_own *dir, const char *name,
		const struct sbx_own_at *at, struct sfs_own **ret);
/* What dir holds under that name, but for names that are the service's: */
bool sfs_own_enter(struct sfs_owner owner, const struct sfs_own *dir,
		   const char *name, struct sbx_own_at *ret);
/* Whether the service has it, as far as is known. */
bool sfs_own_has(struct sfs_owner owner, const struct sbx_own_at *at);
/* The same of a file that need not be listed. */
bool sfs_own_has_any(struct sfs_owner owner, const struct sfs_own *dir,
		     const char *name, const struct sbx_own_at *at);
bool sfs_own_next(struct sfs_owner owner, const struct sfs_own *dir,
		  size_t *pos, char name[256], struct sbx_own_at *ret);
/* The path of a name in it; false: it is too long. */
bool sfs_own_path(char path[SBX_OWN_MAX_PATH], const struct sfs_own *dir,
		  const char *name);
/* Makes the names in it that are the service's up to date, then calls fn; box
 * is not given. */
void sfs_own_refresh(struct sfs_owner owner, struct sfs_own *dir,
		     sbx_box_fn *fn, void *arg);
bool sfs_own_is_listed(const struct sfs_own *dir, const char *name);
/* Something was changed: what was listed may not be true any more. */
void sfs_own_stale(struct sfs_owner owner);

#endif
