/* fuse/inode: the table, identity, attributes */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "client/wire/proto.h"
#include "fuse/inode.h"
#include "tests/lib/unit.h"

static struct sbx_attr file(uint64_t ino, uint64_t dev)
{
	struct sbx_attr a = {.mode = S_IFREG | 0644,
			     .nlink = 1,
			     .uid = 1000,
			     .gid = 1000,
			     .ino = ino,
			     .dev = dev,
			     .size = 10,
			     .mtime_s = 100,
			     .mtime_ns = 5,
			     .ctime_s = 100};
	return a;
}

static void test_found_by_tree_device_and_number(void **state)
{
	struct sfs_inode *i[3000];
	struct sfs_inodes t;
	struct sbx_attr a;
	unsigned n;

	assert_int_equal(sfs_inodes_init(&t), 0);
	for (n = 0; n < 3000; n++) {
		a = file(n / 6, makedev(8, n % 3));
		i[n] = sfs_inodes_add(&t, n % 6 / 3, &a);
		assert_non_null(i[n]);
	}
	for (n = 0; n < 3000; n++) {
		a = file(n / 6, makedev(8, n % 3));
		assert_ptr_equal(sfs_inodes_find(&t, n % 6 / 3, &a), i[n]);
	}
	a = file(1, makedev(9, 0));
	assert_null(sfs_inodes_find(&t, 0, &a));
	for (n = 0; n < 3000; n++)
		sfs_inodes_free(&t, i[n]);
	assert_int_equal(t.nr, 0);
	sfs_inodes_release(&t);
}

static void test_a_number_used_again_is_another_file(void **state)
{
	struct sfs_inode *old, *new;
	struct sbx_attr a = file(5, 1), dir = file(5, 1);
	struct sfs_inodes t;

	assert_int_equal(sfs_inodes_init(&t), 0);
	old = sfs_inodes_add(&t, 0, &a);
	old->flags |= SFS_INODE_GONE;
	assert_null(sfs_inodes_find(&t, 0, &a));
	new = sfs_inodes_add(&t, 0, &a);
	assert_ptr_equal(sfs_inodes_find(&t, 0, &a), new);
	/* another type is another file, too */
	dir.mode = S_IFDIR | 0755;
	assert_null(sfs_inodes_find(&t, 0, &dir));
	sfs_inodes_free(&t, old);
	assert_ptr_equal(sfs_inodes_find(&t, 0, &a), new);
	sfs_inodes_free(&t, new);
	sfs_inodes_release(&t);
}

static void test_set_tells_what_differs(void **state)
{
	struct sbx_attr a = file(5, 1);
	struct sfs_inodes t;
	struct sfs_inode *i;

	assert_int_equal(sfs_inodes_init(&t), 0);
	i = sfs_inodes_add(&t, 0, &a);
	assert_int_equal(sfs_inode_set(i, &a), 0);
	a.atime_s = 7; /* no news */
	assert_int_equal(sfs_inode_set(i, &a), 0);
	a.mode = S_IFREG | 0600;
	assert_int_equal(sfs_inode_set(i, &a), SFS_DIFF_ATTR);
	a.ctime_ns = 1;
	assert_int_equal(sfs_inode_set(i, &a), SFS_DIFF_ATTR);
	a.mtime_ns = 6;
	assert_int_equal(sfs_inode_set(i, &a), SFS_DIFF_ATTR | SFS_DIFF_DATA);
	a.size = 11;
	assert_int_equal(sfs_inode_set(i, &a), SFS_DIFF_ATTR | SFS_DIFF_DATA);
	a.flags = SBX_ATTR_XATTR;
	assert_int_equal(sfs_inode_set(i, &a), SFS_DIFF_ATTR);
	assert_true(i->flags & SFS_INODE_XATTR);
	sfs_inodes_free(&t, i);
	sfs_inodes_release(&t);
}

static void test_owners_are_mapped(void **state)
{
	struct sfs_owners o = {.there_uid = 1000,
			       .there_gid = 100,
			       .here_uid = 501,
			       .here_gid = 502,
			       .umask = (mode_t)-1,
			       .dev = 1};
	struct sbx_attr a = file(5, makedev(0, 1));
	struct sfs_inodes t;
	struct sfs_inode *i;
	struct stat st;

	assert_int_equal(sfs_inodes_init(&t), 0);
	i = sfs_inodes_add(&t, 0, &a);
	sfs_inode_stat(i, &o, &st);
	assert_int_equal(st.st_uid, 501);
	assert_int_equal(st.st_gid, 1000);
	assert_int_equal(st.st_ino, 5);
	assert_int_equal(st.st_mode, S_IFREG | 0644);
	o.umask = 077;
	o.dev = 2;
	sfs_inode_stat(i, &o, &st);
	assert_int_equal(st.st_mode, S_IFREG | 0600);
	/* on another file system: another number, always the same */
	assert_int_not_equal(st.st_ino, 5);
	sfs_inodes_free(&t, i);
	sfs_inodes_release(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_found_by_tree_device_and_number),
		cmocka_unit_test(test_a_number_used_again_is_another_file),
		cmocka_unit_test(test_set_tells_what_differs),
		cmocka_unit_test(test_owners_are_mapped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
