/* fuse/files: writes that are held back, and content that comes with a look-up
 */
#include <errno.h>

#include "tests/lib/files_rig.h"

/* Write: answered at once, the error comes with flush, and only once. */
static void test_error_of_a_write_waits_for_flush(void **state)
{
	struct sbx_attr a = fake_attr(S_IFREG | 0644, 50);
	struct sfs_node *top = rig_root(), *n;
	struct fuse_file_info fi = {.flags = 1};
	fuse_req_t r = rig_req(), w, fl;

	top->ops->create(r, top, "w", 0644, &fi);
	fake_answer_flag(f, SBX_OP_CREATE, &a, true);
	fake_answer(f, SBX_OP_GETATTR, 0, NULL); /* the folder's: no matter */
	n = rig_node_of(r);
	fi = r->fi;
	w = rig_req();
	n->ops->write(w, n, "hello", 5, 0, &fi);
	assert_int_equal(w->replies, 1);
	fl = rig_req();
	n->ops->flush(fl, n, &fi);
	assert_int_equal(fl->replies, 0);
	fake_answer(f, SBX_OP_WRITE, -ENOSPC, NULL);
	assert_int_equal(fl->err, ENOSPC);
	fl = rig_req();
	n->ops->flush(fl, n, &fi);
	assert_int_equal(fl->replies, 1);
	assert_int_equal(fl->err, 0);
	r = rig_req();
	n->ops->release(r, n, &fi);
	assert_int_equal(f->sent[SBX_OP_CLOSE], 1);
}

/* What is under way is bounded: the next write waits. */
static void test_writes_are_held_back(void **state)
{
	static char data[1 << 20];
	struct sbx_attr a = fake_attr(S_IFREG | 0644, 50);
	struct sfs_node *top = rig_root(), *n;
	struct fuse_file_info fi = {.flags = 1};
	fuse_req_t r = rig_req(), w[6];
	int k;

	top->ops->create(r, top, "w", 0644, &fi);
	fake_answer_flag(f, SBX_OP_CREATE, &a, true);
	fake_answer(f, SBX_OP_GETATTR, 0, NULL);
	n = rig_node_of(r);
	fi = r->fi;
	for (k = 0; k < 6; k++) {
		w[k] = rig_req();
		n->ops->write(w[k], n, data, sizeof(data),
			      (off_t)(k * sizeof(data)), &fi);
	}
	assert_int_equal(w[2]->replies, 1);
	assert_int_equal(w[5]->replies, 0);
	while (!w[5]->replies)
		fake_answer(f, SBX_OP_WRITE, 0, &a);
	assert_false(fake_is_idle(f));
	while (!fake_is_idle(f))
		fake_answer(f, SBX_OP_WRITE, 0, &a);
	n->ops->release(rig_req(), n, &fi);
}

/* Lost writes are sent again, in their order. */
static void test_restart_keeps_the_order_of_writes(void **state)
{
	struct sbx_attr a = fake_attr(S_IFREG | 0644, 50);
	struct sbx_attr d = fake_attr(S_IFDIR | 0755, 1);
	struct sfs_node *top = rig_root(), *n;
	struct fuse_file_info fi = {.flags = 1};
	const struct fake_request *q;
	fuse_req_t r = rig_req();
	uint64_t next = 0;
	int k;

	top->ops->create(r, top, "w", 0644, &fi);
	fake_answer_flag(f, SBX_OP_CREATE, &a, true);
	fake_answer(f, SBX_OP_GETATTR, 0, &d);
	n = rig_node_of(r);
	fi = r->fi;
	for (k = 0; k < 10; k++)
		n->ops->write(rig_req(), n, "x", 1, k, &fi);
	f->sent[SBX_OP_WRITE] = f->sent[SBX_OP_OPEN] = 0;
	fake_restart(f);
	assert_int_equal(f->sent[SBX_OP_WRITE], 10);
	assert_int_equal(f->sent[SBX_OP_OPEN], 1);
	for (q = f->first; q; q = q->next)
		if (q->op == SBX_OP_WRITE)
			assert_int_equal(q->arg[1], next++);
	assert_int_equal(next, 10);
	n->ops->release(rig_req(), n, &fi);
}

/* A file whose content came with the look-up. */
static struct sfs_node *found_with_content(struct sfs_node *top)
{
	struct sbx_attr a = fake_attr(S_IFREG | 0644, 10);
	fuse_req_t r = rig_lookup(top, "f");

	a.size = 4;
	fake_answer_content(f, &a, "data");
	return rig_node_of(r);
}

/* Nobody waits for its opening and reading, but both are made known. */
static void test_content_comes_with_a_lookup(void **state)
{
	struct sbx_attr a = fake_attr(S_IFREG | 0644, 10);
	struct sfs_node *n = found_with_content(rig_root());
	fuse_req_t r = rig_req(), rd = rig_req(), end = rig_req();
	struct fuse_file_info fi = {0};

	n->ops->open(r, n, &fi);
	assert_int_equal(r->replies, 1);
	assert_int_equal(f->sent[SBX_OP_OPEN], 1);
	assert_int_equal(f->sent[SBX_OP_READ], 0);
	n->ops->read(rd, n, 4096, 0, &r->fi);
	assert_int_equal(rd->replies, 1);
	assert_int_equal(rd->len, 4);
	assert_memory_equal(rd->bytes, "data", 4);
	assert_int_equal(f->sent[SBX_OP_READ], 1);
	a.size = 4;
	fake_answer(f, SBX_OP_OPEN, 0, &a);
	fake_answer(f, SBX_OP_READ, -EIO, NULL);
	n->ops->release(end, n, &r->fi);
	assert_int_equal(f->sent[SBX_OP_CLOSE], 1);
	assert_int_equal(f->fs.readahead, 0);
}

static void test_changed_content_is_not_used(void **state)
{
	struct sbx_attr a = fake_attr(S_IFREG | 0644, 10);
	struct sfs_node *n = found_with_content(rig_root());
	fuse_req_t r = rig_req(), end = rig_req();
	struct fuse_file_info fi = {0};

	a.size = 4;
	assert_int_equal(f->fs.readahead, 4);
	fake_change(f, SBX_DIR_WORKSPACE, "f", SBX_CHANGE_DATA, &a);
	assert_int_equal(f->fs.readahead, 0);
	n->ops->open(r, n, &fi);
	assert_int_equal(r->replies, 0);
	fake_answer(f, SBX_OP_OPEN, 0, &a);
	assert_int_equal(r->replies, 1);
	n->ops->release(end, n, &r->fi);
}

/* Another file has the name before it could be opened there: opening it went
 * well, so what came with the look-up is what is read. */
static void test_content_of_a_file_that_was_replaced(void **state)
{
	struct sbx_attr b = fake_attr(S_IFREG | 0644, 11);
	struct sfs_node *n = found_with_content(rig_root());
	fuse_req_t r = rig_req(), rd = rig_req(), again = rig_req();
	struct fuse_file_info fi = {0};

	n->ops->open(r, n, &fi);
	assert_int_equal(r->replies, 1);
	fake_change(f, SBX_DIR_WORKSPACE, "f", SBX_CHANGE_MOVED_TO, &b);
	n->ops->read(rd, n, 4096, 0, &r->fi);
	fake_answer(f, SBX_OP_OPEN, -ESTALE, NULL);
	while (!fake_is_idle(f))
		fake_answer(f, SBX_OP_READ, -ESTALE, NULL);
	assert_int_equal(rd->replies, 1);
	assert_int_equal(rd->err, 0);
	assert_int_equal(rd->len, 4);
	n->ops->read(again, n, 4096, 0, &r->fi);
	assert_int_equal(again->len, 4);
	n->ops->release(rig_req(), n, &r->fi);
	assert_int_equal(f->fs.readahead, 0);
}

/* A number is given again at once: what is made is another file. */
static void test_a_file_that_is_made_is_another(void **state)
{
	struct sbx_attr a = fake_attr(S_IFREG | 0644, 10);
	struct sfs_node *top = rig_root(), *n;
	fuse_req_t r = rig_lookup(top, "f"), made;

	fake_answer(f, SBX_OP_LOOKUP, 0, &a);
	n = rig_node_of(r);
	a.size = 0;
	a.mtime_s++;
	made = rig_lookup(top, "new");
	fake_change(f, SBX_DIR_WORKSPACE, "new",
		    SBX_CHANGE_CREATED | SBX_CHANGE_MOVED_FROM, &a);
	fake_answer(f, SBX_OP_LOOKUP, 0, &a);
	assert_ptr_not_equal(rig_node_of(made), n);
}

/* What a change of ours that is under way will make of it is not known. */
static void test_content_is_not_older_than_a_change(void **state)
{
	struct sbx_attr a = fake_attr(S_IFREG | 0644, 10);
	struct sfs_node *top = rig_root();
	fuse_req_t r = rig_lookup(top, "f"), m = rig_req();

	top->ops->mkdir(m, top, "d", 0755);
	a.size = 4;
	fake_answer_content(f, &a, "data");
	rig_node_of(r);
	assert_int_equal(f->fs.readahead, 0);
	fake_answer(f, SBX_OP_MKDIR, -EEXIST, NULL);
}

#define NR_PIECES 40

/* More small reads are under way than one answer has pieces, and a large one
 * is for all of what they ask. */
static void test_read_in_many_pieces(void **state)
{
	struct sbx_attr a = fake_attr(S_IFREG | 0644, 50);
	struct sfs_node *top = rig_root(), *n;
	struct fuse_file_info fi = {.flags = 2};
	fuse_req_t r = rig_req(), all = rig_req();
	int k;

	a.size = NR_PIECES;
	top->ops->create(r, top, "f", 0644, &fi);
	fake_answer_flag(f, SBX_OP_CREATE, &a, true);
	fake_answer(f, SBX_OP_GETATTR, 0, NULL);
	n = rig_node_of(r);
	fi = r->fi;
	/* (backwards: nothing is read ahead) */
	for (k = NR_PIECES; k-- > 0;)
		n->ops->read(rig_req(), n, 1, k, &fi);
	n->ops->read(all, n, NR_PIECES, 0, &fi);
	fake_give_reads(f);
	while (!fake_is_idle(f))
		fake_answer_read(f);
	assert_int_equal(all->replies, 1);
	assert_int_equal(all->len, NR_PIECES);
	for (k = 0; k < NR_PIECES; k++)
		assert_int_equal(all->bytes[k], k);
	n->ops->release(rig_req(), n, &fi);
}

/* With the helper locks are lost, and what has no name any more. */
static void test_what_would_be_lost_with_the_helper(void **state)
{
	struct sfs_node *top = rig_root(), *n;
	struct fuse_file_info fi = {.flags = O_RDWR};
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	struct sbx_attr a = fake_attr(S_IFREG | 0644, 300);
	fuse_req_t r = rig_req();

	top->ops->create(r, top, "f", 0644, &fi);
	fake_answer_flag(f, SBX_OP_CREATE, &a, true);
	fake_answer(f, SBX_OP_GETATTR, 0, NULL);
	n = rig_node_of(r);
	fi = r->fi;
	assert_false(fake_holds(f));
	fi.lock_owner = 7;
	n->ops->setlk(rig_req(), n, &fi, &lock, 0);
	assert_false(fake_holds(f));
	fake_answer(f, SBX_OP_LOCK, 0, NULL);
	assert_true(fake_holds(f));
	lock.l_type = F_UNLCK;
	n->ops->setlk(rig_req(), n, &fi, &lock, 0);
	assert_false(fake_holds(f));
	fake_change(f, SBX_DIR_WORKSPACE, "f", SBX_CHANGE_DELETED, NULL);
	assert_true(fake_holds(f));
	n->ops->release(rig_req(), n, &fi);
	assert_false(fake_holds(f));
}

/* One of those that are not known may be the file's, which may not read it. */
static void test_rights_where_not_all_groups_are_known(void **state)
{
	struct sfs_node *n = rig_found(rig_root(), "f", S_IFREG | 0604, 50);

	f->info.uid = f->info.gid = 77;
	assert_true(sfs_inode_is_readable(sfs_inode_of(n)));
	f->info.more_groups = true;
	assert_false(sfs_inode_is_readable(sfs_inode_of(n)));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)
	const struct CMUnitTest tests[] = {
		T(test_error_of_a_write_waits_for_flush),
		T(test_writes_are_held_back),
		T(test_restart_keeps_the_order_of_writes),
		T(test_content_comes_with_a_lookup),
		T(test_changed_content_is_not_used),
		T(test_content_of_a_file_that_was_replaced),
		T(test_a_file_that_is_made_is_another),
		T(test_content_is_not_older_than_a_change),
		T(test_read_in_many_pieces),
		T(test_what_would_be_lost_with_the_helper),
		T(test_rights_where_not_all_groups_are_known),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
