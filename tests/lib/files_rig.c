#include "tests/lib/files_rig.h"

#include <stdlib.h>

struct fake *f;
static fuse_req_t reqs[256];
static size_t nr_reqs;

fuse_req_t rig_req(void)
{
	assert_true(nr_reqs < 256);
	return reqs[nr_reqs++] = fake_req(f);
}

struct sfs_node *rig_node_of(fuse_req_t r)
{
	assert_int_equal(r->replies, 1);
	assert_int_equal(r->err, 0);
	return sfs_node(&f->fs, r->entry.ino);
}

/* The workspace, looked up, watched. */
struct sfs_node *rig_root(void)
{
	struct sbx_attr a = fake_attr(S_IFDIR | 0755, 1);
	fuse_req_t r = rig_req();

	sfs_files_lookup_root(r, f->files, SBX_DIR_WORKSPACE);
	fake_answer_flag(f, SBX_OP_DIR, &a, true);
	assert_true(fake_is_idle(f));
	return rig_node_of(r);
}

int rig_setup(void **state)
{
	f = fake_new();
	return 0;
}

int rig_teardown(void **state)
{
	size_t k;

	fake_free(f);
	for (k = 0; k < nr_reqs; k++) {
		assert_int_equal(reqs[k]->replies, 1); /* exactly once */
		free(reqs[k]);
	}
	nr_reqs = 0;
	return 0;
}

fuse_req_t rig_lookup(struct sfs_node *dir, const char *name)
{
	fuse_req_t r = rig_req();

	dir->ops->lookup(r, dir, name);
	return r;
}

/* Looks it up at the sandbox, which has it. */
struct sfs_node *rig_found(struct sfs_node *dir, const char *name, mode_t mode,
			   uint64_t ino)
{
	struct sbx_attr a = fake_attr(mode, ino);
	fuse_req_t r = rig_lookup(dir, name);

	fake_answer(f, SBX_OP_LOOKUP, 0, &a);
	return rig_node_of(r);
}

void rig_list(struct sfs_node *dir, fuse_req_t r)
{
	struct fuse_file_info fi = {0};

	dir->ops->readdir(r, dir, 65536, 0, &fi, true);
}

void rig_told_is(const char *what)
{
	assert_string_equal(f->told, what);
	f->told[0] = '\0';
	f->told_len = 0;
}
