/*
 * For unit tests of fuse/files: one fake sandbox and kernel for each test, and
 * the requests of the kernel, each of which must be answered exactly once.
 */
#ifndef TEST_FILES_RIG_H
#define TEST_FILES_RIG_H

#include "fuse/cache.h"
#include "tests/lib/fake_remote.h"
#include "tests/lib/unit.h"

extern struct fake *f;
int rig_setup(void **state);
int rig_teardown(void **state);

fuse_req_t rig_req(void);
/* The node that it was answered with. */
struct sfs_node *rig_node_of(fuse_req_t r);
/* The workspace, looked up, watched. */
struct sfs_node *rig_root(void);
fuse_req_t rig_lookup(struct sfs_node *dir, const char *name);
/* Looks it up at the sandbox, which has it. */
struct sfs_node *rig_found(struct sfs_node *dir, const char *name, mode_t mode,
			   uint64_t ino);
void rig_list(struct sfs_node *dir, fuse_req_t r);
/* What the kernel was told since the last time. */
void rig_told_is(const char *what);

#endif
