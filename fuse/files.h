/*
 * The files of one sandbox as a tree of nodes, cached and kept true.  Used
 * by the control tree, which hangs workspace/ and root/ below <id>/.
 */
#ifndef SFS_FILES_H
#define SFS_FILES_H

#include "client/remote.h"
#include "fuse/fs.h"
#include "fuse/notify.h"

struct sfs_files;

/* Becomes the remote's sbx_remote_handler.  Everything is borrowed. */
struct sfs_files *sfs_files_new(struct sfs *fs, struct sbx_remote *remote,
				struct sfs_notify *notify);
/* The remote must be closed before.  Nodes that the kernel still holds stay
 * and answer ESTALE. */
struct sfs_files *sfs_files_free(struct sfs_files *files);

/*
 * Answers a lookup of workspace/ (SBX_DIR_WORKSPACE) or root/ (SBX_DIR_ROOT):
 * asks the sandbox for its attributes if need be.
 */
void sfs_files_lookup_root(fuse_req_t req, struct sfs_files *files,
			   uint64_t dir);
/*
 * A command's output, or end, is about to be seen: calls fn once all that it
 * has changed until now can be seen, too; at once, before returning, if
 * nothing is in doubt.
 */
void sfs_files_settle(struct sfs_files *files, void (*fn)(void *arg),
		      void *arg);
/* A command is about to start: it may change an open file and remove its name,
 * and what is then in it can still be read here. */
void sfs_files_secure(struct sfs_files *files);
/* Files now open or directories now listed through the mount: for keepalive */
bool sfs_files_in_use(const struct sfs_files *files);
/*
 * The sandbox path of a node of this tree, absolute, for commands that start
 * there; -ENOENT if it has none now.
 */
int sfs_files_path(const struct sfs_files *files, const struct sfs_node *n,
		   char *dst, size_t size);
/* Calls fn once every change made so far has been acknowledged, or could not
 * be (its errors stay with its file): for unmounting. */
void sfs_files_flush(struct sfs_files *files, void (*fn)(void *arg), void *arg);

#endif
