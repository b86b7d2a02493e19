/* fuse/files: what is remembered is bounded */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/lib/files_rig.h"

#define PER_FILE (SFS_COST_INODE + SFS_COST_ENTRY(1))

static void test_numbers_that_failed_are_forgotten(void **state)
{
	struct sfs_node *top = rig_root(), *dir;
	unsigned int before;

	rig_list(top, rig_req());
	fake_answer_list(f, (const char *const[]){"d"}, 1, 0);
	dir = rig_node_of(rig_lookup(top, "d"));
	rig_list(dir, rig_req());
	fake_answer(f, SBX_OP_DIR, -ENOENT, NULL);
	fake_answer(f, SBX_OP_LIST, -ENOENT, NULL);
	before = f->sent[SBX_OP_FORGET];
	sfs_node_forget(&f->fs, (uintptr_t)dir, 1000);
	assert_int_equal(f->sent[SBX_OP_FORGET], before + 1);
}

static void test_cache_is_bounded(void **state)
{
	static const char *const names[] = {"0", "1", "2", "3", "4",
					    "5", "6", "7", "8", "9"};
	struct sfs_node *top = rig_root(), *dir;
	struct sbx_attr a;
	fuse_req_t r;
	int k;

	rig_list(top, rig_req());
	fake_answer_list(f, names, 10, 0);
	for (k = 0; k < 10; k++) {
		r = rig_lookup(top, names[k]);
		dir = rig_node_of(r);
		rig_list(dir, rig_req());
		a = fake_attr(S_IFDIR | 0755, 5000 + (uint64_t)k);
		fake_answer_flag(f, SBX_OP_DIR, &a, true);
		fake_answer_list(f, names, 10, 100 + 10 * (uint64_t)k);
		/* the kernel lets go of it and of what it listed */
		struct sfs_inode *i = sfs_inode_of(dir);
		struct sfs_entry *e;
		uint64_t at = 0;

		while ((e = sfs_entries_after(&i->dir->entries, at))) {
			at = e->cookie;
			sfs_node_forget(&f->fs, (uintptr_t)e->inode, 1000);
		}
		sfs_node_forget(&f->fs, (uintptr_t)dir, 1000);
	}
	f->fs.cache_max = 60 * PER_FILE;
	for (k = 0; k < 10; k++) {
		f->fs.trim_at = 0;
		sfs_cache_trim(f->files);
	}
	assert_true(f->fs.cache_bytes <= 60 * PER_FILE);
	assert_true(f->files->inodes.nr <= 61);
	assert_true(f->sent[SBX_OP_FORGET] > 0);
	/* what was dropped is asked for again */
	f->sent[SBX_OP_LIST] = 0;
	r = rig_lookup(top, "0");
	a = fake_attr(S_IFDIR | 0755, 5000);
	if (!r->replies)
		fake_answer(f, SBX_OP_LOOKUP, 0, &a);
	dir = rig_node_of(r);
	r = rig_req();
	rig_list(dir, r);
	assert_true(f->sent[SBX_OP_LIST] > 0);
}

static size_t times_told(const char *what)
{
	size_t n = 0;

	for (const char *at = f->told; (at = strstr(at, what)); at++)
		n++;
	return n;
}

/* Invalidations were dropped: all that the kernel holds is told once more. */
static void test_what_was_lost_is_told_once(void **state)
{
	struct sfs_node *top = rig_root(), *dir;
	struct sbx_attr a;
	int steps;

	rig_list(top, rig_req());
	fake_answer_list(f, (const char *const[]){"d"}, 1, 0);
	dir = rig_node_of(rig_lookup(top, "d"));
	rig_list(dir, rig_req());
	a = fake_attr(S_IFDIR | 0755, 5000);
	fake_answer_flag(f, SBX_OP_DIR, &a, true);
	fake_answer_list(f, (const char *const[]){"a", "b"}, 2, 10);
	rig_lookup(dir, "a");
	for (int round = 1; round <= 2; round++) {
		f->told_len = 0;
		for (steps = 1; f->on_lost(f->lost_arg, steps == 1); steps++)
			assert_true(steps < 10);
		assert_int_equal(times_told("entry a;"), 1);
		assert_int_equal(times_told("expire d;"), 1);
	}
}

/* Who is reading a folder finds each name once, whatever the kernel lets go
 * of meanwhile. */
static void test_open_folder_is_not_trimmed(void **state)
{
	static const char *const names[] = {"a", "b", "c"};
	struct sfs_node *top = rig_root();
	struct fuse_file_info fi = {0};
	struct sfs_entries *all = &sfs_inode_of(top)->dir->entries;
	struct sfs_entry *e;
	uint64_t at = 0;

	rig_list(top, rig_req());
	fake_answer_list(f, names, 3, 30);
	f->fs.cache_max = 1;
	f->fs.trim_at = 0;
	sfs_cache_trim(f->files);
	assert_non_null(strstr(f->told, "entry a;entry b;entry c;"));
	top->ops->opendir(rig_req(), top, &fi);
	while ((e = sfs_entries_after(all, at))) {
		at = e->cookie;
		sfs_node_forget(&f->fs, (uintptr_t)e->inode, 1000);
	}
	assert_int_equal(all->nr, 3);
	rig_list(top, rig_req());
	assert_int_equal(f->sent[SBX_OP_LIST], 1);
	top->ops->releasedir(rig_req(), top, &fi);
	f->fs.trim_at = 0;
	for (at = 0; (e = sfs_entries_after(all, at)); at = e->cookie)
		sfs_node_forget(&f->fs, (uintptr_t)e->inode, 1000);
	sfs_cache_trim(f->files);
	assert_int_equal(all->nr, 0);
}

static void trim_once(void)
{
	f->fs.trim_at = 0;
	sfs_cache_trim(f->files);
}

/* Links, of which the targets take most; the kernel holds all of them. */
static struct sfs_entries *list_links(size_t target_len)
{
	static char text[100][8], target[1000];
	const char *names[100];
	struct sfs_node *top = rig_root();
	struct sfs_entries *all = &sfs_inode_of(top)->dir->entries;
	struct sfs_entry *e;
	uint64_t at = 0;
	size_t k;

	for (k = 0; k < 100; k++) {
		snprintf(text[k], sizeof(text[k]), "%zu", 100 + k);
		names[k] = text[k];
	}
	rig_list(top, rig_req());
	fake_answer_list(f, names, 100, 1000);
	memset(target, 'x', target_len);
	for (; (e = sfs_entries_after(all, at)); at = e->cookie) {
		e->inode->mode = S_IFLNK | 0777;
		sfs_cache_target(e->inode, (const uint8_t *)target, target_len);
	}
	f->told_len = 0;
	return all;
}

/* The kernel lets go of the first ones. */
static void let_go(struct sfs_entries *all, size_t n)
{
	struct sfs_entry *e;
	uint64_t at = 0;

	while (n-- && (e = sfs_entries_after(all, at))) {
		at = e->cookie;
		sfs_node_forget(&f->fs, (uintptr_t)e->inode, 1000);
	}
}

/* The kernel takes its time: what it was asked for is not asked for again, nor
 * anything in its place. */
static void test_no_more_goes_than_must(void **state)
{
	struct sfs_entries *all = list_links(900);

	f->fs.cache_max = f->fs.cache_bytes / 2;
	trim_once();
	/* an eighth more than must */
	assert_in_range(times_told("entry 1"), 50, 60);
	trim_once();
	assert_in_range(times_told("entry 1"), 50, 60);
	let_go(all, 20);
	trim_once();
	assert_in_range(times_told("entry 1"), 50, 60);
	let_go(all, 40);
	trim_once();
	assert_in_range(times_told("entry 1"), 50, 60);
	assert_in_range(f->fs.cache_bytes, f->fs.cache_max / 4 * 3,
			f->fs.cache_max);
	assert_int_equal(f->files->leaving, 0);
}

static void test_what_the_kernel_keeps_is_made_up_for(void **state)
{
	struct sfs_entries *all = list_links(900);
	int k;

	f->fs.cache_max = f->fs.cache_bytes / 2;
	for (k = 0; k < 20; k++) {
		trim_once();
		f->files->leaving_ms -= 60000;
	}
	assert_int_equal(times_told("entry 1"), 100);
	let_go(all, 100);
	trim_once();
	assert_true(f->fs.cache_bytes <= f->fs.cache_max);
	assert_int_equal(f->files->leaving, 0);
}

static void test_hostile_listing_is_refused(void **state)
{
	static char text[300][8];
	const char *names[300];
	struct sfs_node *top = rig_root();
	fuse_req_t r = rig_req();
	int k;

	f->fs.cache_full = 200 * PER_FILE;
	for (k = 0; k < 300; k++) {
		snprintf(text[k], sizeof(text[k]), "%d", k);
		names[k] = text[k];
	}
	rig_list(top, r);
	fake_answer_list(f, names, 300, 1000);
	assert_int_equal(r->err, ENOMEM);
	assert_true(f->files->inodes.nr <= 200);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)
	const struct CMUnitTest tests[] = {
		T(test_cache_is_bounded),
		T(test_what_was_lost_is_told_once),
		T(test_open_folder_is_not_trimmed),
		T(test_no_more_goes_than_must),
		T(test_what_the_kernel_keeps_is_made_up_for),
		T(test_numbers_that_failed_are_forgotten),
		T(test_hostile_listing_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
