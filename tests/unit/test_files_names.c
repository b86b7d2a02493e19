/* fuse/files: names and listings: what is asked of the sandbox, what is told to
 * the kernel, and what is remembered */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/files_rig.h"

static void test_lookup_asks_once(void **state)
{
	struct sfs_node *top = rig_root(), *n;
	fuse_req_t r;

	n = rig_found(top, "a", S_IFREG | 0644, 10);
	r = rig_lookup(top, "a");
	assert_ptr_equal(rig_node_of(r), n);
	assert_true(r->entry.entry_timeout > 1e6);
	assert_true(r->entry.attr_timeout > 1e6);
	assert_int_equal(f->sent[SBX_OP_LOOKUP], 1);
}

static void test_negative_is_for_ever_under_a_watch(void **state)
{
	struct sbx_attr a = fake_attr(S_IFREG | 0644, 11);
	struct sfs_node *top = rig_root();
	fuse_req_t r = rig_lookup(top, "b");

	fake_answer(f, SBX_OP_LOOKUP, -ENOENT, NULL);
	assert_int_equal(r->entry.ino, 0);
	assert_true(r->entry.entry_timeout > 1e6);
	rig_told_is("");
	fake_change(f, SBX_DIR_WORKSPACE, "b", SBX_CHANGE_CREATED, &a);
	/* the negative entry, and the folder's listing and times */
	rig_told_is("entry b;inode  data;");
}

static void test_listed_names_are_no_news_under_a_watch(void **state)
{
	static const char *const names[] = {"a", "b"};
	struct sfs_node *top = rig_root();
	fuse_req_t r = rig_lookup(top, "none");

	fake_answer(f, SBX_OP_LOOKUP, -ENOENT, NULL);
	r = rig_req();
	rig_list(top, r);
	fake_answer_list(f, names, 2, 30);
	assert_int_equal(r->err, 0);
	/* what was made since the kernel was told would have been an event */
	rig_told_is("");
}

static void test_listing_is_two_requests_and_then_none(void **state)
{
	static const char *const names[] = {"a", "b", "c"};
	struct sfs_node *top = rig_root(), *dir;
	struct sbx_attr a = fake_attr(S_IFDIR | 0755, 20);
	fuse_req_t r;

	dir = rig_found(top, "d", S_IFDIR | 0755, 20);
	r = rig_req();
	rig_list(dir, r);
	assert_int_equal(f->sent[SBX_OP_DIR], 2);
	assert_int_equal(f->sent[SBX_OP_LIST], 1);
	fake_answer_flag(f, SBX_OP_DIR, &a, true);
	fake_answer_list(f, names, 3, 30);
	assert_true(r->len > 0);
	rig_list(dir, rig_req());
	rig_node_of(rig_lookup(dir, "b"));
	r = rig_lookup(dir, "nothing");
	assert_int_equal(r->entry.ino, 0);
	assert_true(fake_is_idle(f));
}

static void test_concurrent_listings_share_one_request(void **state)
{
	static const char *const names[] = {"a"};
	struct sfs_node *top = rig_root();

	rig_list(top, rig_req());
	rig_list(top, rig_req());
	rig_list(top, rig_req());
	assert_int_equal(f->sent[SBX_OP_LIST], 1);
	fake_answer_list(f, names, 1, 30);
	assert_true(fake_is_idle(f));
}

static void test_only_differences_are_told(void **state)
{
	struct sfs_node *top = rig_root();
	struct sbx_attr a = fake_attr(S_IFREG | 0644, 10);

	rig_found(top, "a", S_IFREG | 0644, 10);
	fake_change(f, SBX_DIR_WORKSPACE, "a", SBX_CHANGE_ATTR, &a);
	rig_told_is("");
	a.mode = S_IFREG | 0600;
	fake_change(f, SBX_DIR_WORKSPACE, "a", SBX_CHANGE_ATTR, &a);
	rig_told_is("child a;");
	a.mtime_ns++;
	fake_change(f, SBX_DIR_WORKSPACE, "a", SBX_CHANGE_ATTR, &a);
	rig_told_is("child a data;");
	/* written without a trace in the times */
	fake_change(f, SBX_DIR_WORKSPACE, "a", SBX_CHANGE_DATA, &a);
	rig_told_is("child a data;");
}

static void test_replaced_file_is_another_node(void **state)
{
	static const char *const names[] = {"a"};
	struct sfs_node *top = rig_root(), *n, *n2;
	struct sbx_attr a = fake_attr(S_IFREG | 0644, 10);

	rig_list(top, rig_req());
	fake_answer_list(f, names, 1, 10);
	n = rig_node_of(rig_lookup(top, "a"));
	/* deleted and made again: the number may well be the same */
	fake_change(f, SBX_DIR_WORKSPACE, "a",
		    SBX_CHANGE_DELETED | SBX_CHANGE_CREATED, &a);
	n2 = rig_node_of(rig_lookup(top, "a"));
	assert_ptr_not_equal(n, n2);
}

static void test_moved_directory_is_the_same_node(void **state)
{
	static const char *const names[] = {"x"};
	struct sbx_attr a = fake_attr(S_IFDIR | 0755, 5000);
	struct sfs_node *top = rig_root(), *n;

	rig_list(top, rig_req());
	fake_answer_list(f, names, 1, 0);
	n = rig_node_of(rig_lookup(top, "x"));
	fake_change(f, SBX_DIR_WORKSPACE, "x", SBX_CHANGE_MOVED_FROM, NULL);
	fake_change(f, SBX_DIR_WORKSPACE, "y", SBX_CHANGE_MOVED_TO, &a);
	assert_ptr_equal(rig_node_of(rig_lookup(top, "y")), n);
	rig_lookup(top, "x");
	assert_true(fake_is_idle(f));
}

static void asked_for(struct sfs_node *n, uint32_t nlink)
{
	struct sbx_attr a = fake_attr(S_IFREG | 0644, 30);
	fuse_req_t r = rig_req();

	a.nlink = nlink;
	n->ops->getattr(r, n, NULL);
	fake_answer(f, SBX_OP_GETATTR, 0, &a);
	assert_int_equal(r->attr.st_nlink, nlink);
}

/* What is done to one name is not told of the others. */
static void test_names_of_one_file(void **state)
{
	struct sbx_attr a = fake_attr(S_IFREG | 0644, 30);
	struct sfs_node *top = rig_root(), *n;
	fuse_req_t r = rig_req();

	n = rig_found(top, "a", S_IFREG | 0644, 30);
	/* one that is not remembered: the folder was never listed */
	a.nlink = 2;
	fake_change(f, SBX_DIR_WORKSPACE, "b", SBX_CHANGE_CREATED, &a);
	rig_told_is("child a;inode  data;");
	n->ops->getattr(r, n, NULL);
	assert_int_equal(r->attr.st_nlink, 2);
	assert_true(r->timeout <= 0); /* who knows where "b" is by now */
	r = rig_lookup(top, "b");
	fake_answer(f, SBX_OP_LOOKUP, 0, &a);
	assert_ptr_equal(rig_node_of(r), n);
	assert_true(r->entry.attr_timeout > 1e6); /* both are known */
	rig_told_is("");
	/* to where nobody watches, and may change it */
	fake_change(f, SBX_DIR_WORKSPACE, "b", SBX_CHANGE_MOVED_FROM, NULL);
	assert_non_null(strstr(f->told, "child a;"));
	asked_for(n, 2);
	assert_true(fake_is_idle(f));
}

static void test_restart_repeats_and_compares(void **state)
{
	static const char *const before[] = {"a", "b"};
	static const char *const after[] = {"a", "c"};
	struct sfs_node *top = rig_root();
	struct sbx_attr a = fake_attr(S_IFDIR | 0755, 1);
	fuse_req_t r;

	rig_list(top, rig_req());
	fake_answer_list(f, before, 2, 30);
	rig_told_is("");
	r = rig_req();
	top->ops->statfs(r, top);
	fake_restart(f);
	/* the folder that the kernel holds is looked at again at once */
	fake_answer_flag(f, SBX_OP_DIR, &a, true);
	fake_answer_list(f, after, 2, 30);
	/* "b" was number 31 and is "c" now */
	assert_non_null(strstr(f->told, "entry b;"));
	assert_null(strstr(f->told, "entry a;"));
	assert_null(strstr(f->told, "child a"));
	assert_int_equal(r->replies, 0);
	fake_answer(f, SBX_OP_STATFS, 0, NULL);
	assert_true(fake_is_idle(f));
	rig_node_of(rig_lookup(top, "c"));
	rig_lookup(top, "b");
	assert_true(fake_is_idle(f));
}

static void test_another_user_owns_other_files(void **state)
{
	struct sfs_node *top = rig_root(), *n;
	struct sbx_attr dir = fake_attr(S_IFDIR | 0755, 1);
	struct sbx_attr a = fake_attr(S_IFREG | 0644, 30);
	fuse_req_t r = rig_lookup(top, "a");

	a.uid = 7;
	fake_answer(f, SBX_OP_LOOKUP, 0, &a);
	n = rig_node_of(r);
	assert_int_equal(r->entry.attr.st_uid, 7);
	rig_told_is("");
	f->info.uid = 7;
	fake_restart(f);
	/* the folder itself, and the file */
	assert_non_null(strstr(strstr(f->told, "inode ") + 1, "inode "));
	r = rig_req();
	n->ops->getattr(r, n, NULL);
	fake_answer_flag(f, SBX_OP_DIR, &dir, true);
	fake_answer(f, SBX_OP_GETATTR, 0, &a);
	assert_int_equal(r->attr.st_uid, 0); /* the mounting user's */
	assert_true(fake_is_idle(f));
}

/* A process that a signal is about to end; process_end ends it at last. */
static pid_t process_dying(void)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid)
		for (;;)
			pause();
	kill(pid, SIGSTOP);
	assert_int_equal(waitpid(pid, NULL, WUNTRACED), pid);
	kill(pid, SIGTERM); /* waits while it is stopped */
	return pid;
}

static void process_end(pid_t pid)
{
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void test_interrupted_mkdir_is_told_afterwards(void **state)
{
	struct sfs_node *top = rig_root();
	struct sbx_attr a = fake_attr(S_IFDIR | 0755, 40);
	fuse_req_t r = rig_lookup(top, "d");

	fake_answer(f, SBX_OP_LOOKUP, -ENOENT, NULL);
	r = rig_req();
	r->ctx.pid = process_dying();
	top->ops->mkdir(r, top, "d", 0755);
	r->interrupt(r, r->data);
	assert_int_equal(r->replies, 0); /* it may soon be known */
	while (!r->replies)
		uv_run(&f->loop, UV_RUN_ONCE);
	process_end(r->ctx.pid);
	assert_int_equal(r->err, EINTR);
	rig_told_is("");
	fake_answer(f, SBX_OP_MKDIR, 0, &a);
	assert_non_null(strstr(f->told, "entry d;"));
}

static void test_interrupted_lookup_is_given_up(void **state)
{
	struct sfs_node *top = rig_root();
	fuse_req_t r = rig_lookup(top, "d");

	r->ctx.pid = process_dying();
	r->interrupt(r, r->data);
	process_end(r->ctx.pid);
	assert_int_equal(r->err, EINTR);
	assert_true(fake_is_idle(f));
}

static void test_interrupted_by_who_is_not_seen(void **state)
{
	struct sbx_attr d = fake_attr(S_IFDIR | 0755, 20);
	fuse_req_t r = rig_lookup(rig_root(), "d");

	r->ctx.pid = 0; /* of a pid namespace that is not ours */
	r->interrupt(r, r->data);
	assert_int_equal(r->replies, 0);
	fake_answer(f, SBX_OP_LOOKUP, 0, &d);
	rig_node_of(r);
}

static void test_unwatched_is_trusted_briefly(void **state)
{
	struct sbx_attr d = fake_attr(S_IFDIR | 0755, 20);
	struct sbx_attr a = fake_attr(S_IFREG | 0644, 21);
	struct sfs_node *top = rig_root(), *dir;
	fuse_req_t r;

	dir = rig_found(top, "d", S_IFDIR | 0755, 20);
	r = rig_lookup(dir, "a");
	fake_answer_flag(f, SBX_OP_DIR, &d, false);
	fake_answer(f, SBX_OP_LOOKUP, 0, &a);
	rig_node_of(r);
	assert_true(r->entry.entry_timeout <= 1);
	assert_true(r->entry.attr_timeout <= 1);
	rig_lookup(dir, "a");
	fake_answer(f, SBX_OP_LOOKUP, -ENOENT, NULL);
	assert_true(fake_is_idle(f));
}

static void test_known_is_shown_for_a_second_where_nothing_is_pushed(void **s)
{
	struct sfs_node *top = rig_root(), *n;
	fuse_req_t r, r2;

	n = rig_found(top, "a", S_IFREG | 0644, 10);
	f->silent = true;
	f->heard_ms = uv_now(&f->loop);
	r = rig_lookup(top, "a");
	assert_ptr_equal(rig_node_of(r), n);
	assert_true(r->entry.entry_timeout > 0 && r->entry.entry_timeout <= 1);
	assert_true(r->entry.attr_timeout > 0 && r->entry.attr_timeout <= 1);
	/* then one request is for all, and what it tells is seen */
	f->heard_ms -= 1000;
	r = rig_lookup(top, "a");
	r2 = rig_lookup(top, "a");
	assert_int_equal(r->replies + r2->replies, 0);
	fake_change(f, SBX_DIR_WORKSPACE, "a", SBX_CHANGE_DELETED, NULL);
	fake_answer(f, SBX_OP_BARRIER, 0, NULL);
	assert_int_equal(f->sent[SBX_OP_BARRIER], 1);
	fake_answer(f, SBX_OP_LOOKUP, -ENOENT, NULL);
	fake_answer(f, SBX_OP_LOOKUP, -ENOENT, NULL);
	assert_int_equal(r->entry.ino + r2->entry.ino, 0);
	assert_int_equal(f->sent[SBX_OP_BARRIER], 1);
}

/* A folder where all names are known, and nothing is pushed. */
static struct sfs_node *known_folder(const char *name)
{
	const char *const names[] = {name};
	struct sfs_node *top = rig_root();

	rig_list(top, rig_req());
	fake_answer_list(f, names, 1, 10);
	f->silent = f->info.silent = true;
	f->heard_ms = uv_now(&f->loop);
	return top;
}

static fuse_req_t create_alone(struct sfs_node *top, const char *name)
{
	struct fuse_file_info fi = {.flags = O_CREAT | O_EXCL | O_WRONLY};
	fuse_req_t r = rig_req();

	top->ops->create(r, top, name, 0644, &fi);
	return r;
}

/* Git's lock cannot be made, whatever helper is asked: whoever waits for that
 * goes on. */
static void test_who_waits_for_a_claim_hears_of_failure(void **s)
{
	struct sfs_node *top = known_folder("HEAD");
	fuse_req_t r;
	int k;

	rig_node_of(create_alone(top, "index.lock"));
	r = rig_req();
	top->ops->mkdir(r, top, "d", 0755);
	for (k = 0; k <= SFS_MAX_RESTARTS; k++) {
		assert_int_equal(r->replies, 0);
		fake_restart(f);
	}
	assert_int_equal(r->replies, 1);
	assert_int_equal(r->err, EIO);
}

/* Nothing that is known says that nobody else makes it now. */
static void test_exclusive_creation_is_asked_for(void **s)
{
	struct sfs_node *top = known_folder("a");
	fuse_req_t r = create_alone(top, "index.lock");

	assert_int_equal(r->replies, 0);
	fake_answer(f, SBX_OP_CREATE, -EEXIST, NULL);
	assert_int_equal(r->err, EEXIST);
}

static void test_who_waits_for_news_hears_of_failure(void **s)
{
	struct sfs_node *top = rig_root();
	fuse_req_t r;

	rig_found(top, "a", S_IFREG | 0644, 10);
	f->silent = true;
	f->heard_ms = uv_now(&f->loop) - 1000;
	r = rig_lookup(top, "a");
	fake_answer(f, SBX_OP_BARRIER, -ETIMEDOUT, NULL);
	assert_int_equal(r->err, ETIMEDOUT);
}

static void test_deleted_parent_is_found_out(void **state)
{
	struct sfs_node *top = rig_root(), *dir;
	fuse_req_t r;

	dir = rig_found(top, "d", S_IFDIR | 0755, 20);
	r = rig_lookup(dir, "a");
	fake_answer(f, SBX_OP_DIR, -ENOENT, NULL);
	fake_answer(f, SBX_OP_LOOKUP, -ENOENT, NULL);
	assert_non_null(strstr(f->told, "entry d;"));
	assert_true(r->err == ENOENT || r->entry.ino == 0);
}

static void test_second_folder_brings_those_beside_it(void **state)
{
	static const char *const names[] = {"0", "1", "2", "3", "4"};
	struct sfs_node *top = rig_root();
	fuse_req_t r;
	struct sbx_attr a;
	int k;

	rig_list(top, rig_req());
	fake_answer_list(f, names, 5, 0);
	for (k = 0; k < 2; k++) {
		assert_int_equal(f->sent[SBX_OP_LIST], 1 + k);
		r = rig_req();
		rig_list(rig_node_of(rig_lookup(top, names[k])), r);
		a = fake_attr(S_IFDIR | 0755, 5000 + (uint64_t)k);
		fake_answer_flag(f, SBX_OP_DIR, &a, true);
		fake_answer_list(f, NULL, 0, 1);
		assert_int_equal(r->replies, 1);
	}
	assert_int_equal(f->sent[SBX_OP_LIST], 6);
	for (; k < 5; k++) {
		a = fake_attr(S_IFDIR | 0755, 5000 + (uint64_t)k);
		fake_answer_flag(f, SBX_OP_DIR, &a, true);
		fake_answer_list(f, NULL, 0, 1);
		r = rig_req();
		rig_list(rig_node_of(rig_lookup(top, names[k])), r);
		assert_int_equal(r->replies, 1);
	}
	assert_int_equal(f->sent[SBX_OP_LIST], 6);
}

/* What is told while our own rename is on its way leads nowhere, but must
 * not take the new name with it. */
static void test_renamed_while_it_is_told(void **state)
{
	struct sbx_attr a = fake_attr(S_IFREG | 0644, 30);
	struct sfs_node *top = rig_root(), *d;
	fuse_req_t moved = rig_req(), inside;

	d = rig_found(top, "old", S_IFDIR | 0755, 20);
	top->ops->rename(moved, top, "old", top, "new", 0);
	inside = rig_lookup(d, "x"); /* DIR of "old" is sent before it */
	fake_answer(f, SBX_OP_RENAME, 0, NULL);
	a = fake_attr(S_IFDIR | 0755, 1);
	fake_answer(f, SBX_OP_GETATTR, 0, &a);
	a = fake_attr(S_IFDIR | 0755, 20);
	fake_answer(f, SBX_OP_GETATTR, 0, &a);
	fake_answer(f, SBX_OP_DIR, -ENOENT, NULL);
	fake_answer(f, SBX_OP_LOOKUP, -ENOENT, NULL);
	/* once more, by the name it has */
	fake_answer_flag(f, SBX_OP_DIR, &a, true);
	a = fake_attr(S_IFREG | 0644, 30);
	fake_answer(f, SBX_OP_LOOKUP, 0, &a);
	assert_int_equal(rig_node_of(inside)->nlookup, 1);
	assert_ptr_equal(rig_node_of(rig_lookup(top, "new")), d);
	assert_true(fake_is_idle(f));
}

/* What was exchanged in the sandbox stays what it is. */
static void exchanged(mode_t mode, mode_t mode2)
{
	static const unsigned int both =
		SBX_CHANGE_MOVED_FROM | SBX_CHANGE_MOVED_TO;
	struct sbx_attr a = fake_attr(mode, 20), a2 = fake_attr(mode2, 21);
	struct sfs_node *top = rig_root(), *n, *n2;
	fuse_req_t r;

	n = rig_found(top, "a", mode, 20);
	n2 = rig_found(top, "b", mode2, 21);
	fake_change(f, SBX_DIR_WORKSPACE, "a", both, &a2);
	fake_change(f, SBX_DIR_WORKSPACE, "b", both, &a);
	assert_ptr_equal(rig_node_of(rig_lookup(top, "a")), n2);
	r = rig_lookup(top, "b");
	if (!fake_is_idle(f)) /* it need not be remembered */
		fake_answer(f, SBX_OP_LOOKUP, 0, &a);
	assert_ptr_equal(rig_node_of(r), n);
	assert_int_equal(((struct sfs_inode *)n)->nlink, a.nlink);
	assert_int_equal(((struct sfs_inode *)n2)->nlink, a2.nlink);
}

static void test_exchanged_are_the_same_nodes(void **state)
{
	exchanged(S_IFDIR | 0755, S_IFREG | 0644);
}

static void test_exchanged_directories_are_the_same(void **state)
{
	exchanged(S_IFDIR | 0755, S_IFDIR | 0755);
}

/* Recursion would need more stack than there is. */
static void test_deep_tree_ends_as_a_whole(void **state)
{
	struct sbx_attr a;
	struct sfs_node *n = rig_root(), *up;
	struct fuse_req *r;
	unsigned int k;

	for (k = 0; k < 50000; k++) {
		up = n;
		a = fake_attr(S_IFDIR | 0755, 100 + k);
		r = fake_req(f);
		up->ops->lookup(r, up, "d");
		if (k)
			fake_answer_flag(f, SBX_OP_DIR, &a, true);
		fake_answer(f, SBX_OP_LOOKUP, 0, &a);
		n = rig_node_of(r);
		free(r);
		if (k) /* only its child and its name hold it now */
			sfs_node_forget(&f->fs, sfs_node_ino(&f->fs, up), 1);
	}
	assert_true(f->files->nr_dirs >= 49999);
	sfs_node_forget(&f->fs, sfs_node_ino(&f->fs, n), 1);
	fake_change(f, SBX_DIR_WORKSPACE, "d", SBX_CHANGE_DELETED, NULL);
	assert_int_equal(f->files->nr_dirs, 1);
	assert_int_equal(f->files->inodes.nr, 1);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)
	const struct CMUnitTest tests[] = {
		T(test_lookup_asks_once),
		T(test_negative_is_for_ever_under_a_watch),
		T(test_listed_names_are_no_news_under_a_watch),
		T(test_listing_is_two_requests_and_then_none),
		T(test_concurrent_listings_share_one_request),
		T(test_only_differences_are_told),
		T(test_replaced_file_is_another_node),
		T(test_moved_directory_is_the_same_node),
		T(test_names_of_one_file),
		T(test_restart_repeats_and_compares),
		T(test_another_user_owns_other_files),
		T(test_interrupted_mkdir_is_told_afterwards),
		T(test_interrupted_lookup_is_given_up),
		T(test_interrupted_by_who_is_not_seen),
		T(test_unwatched_is_trusted_briefly),
		T(test_known_is_shown_for_a_second_where_nothing_is_pushed),
		T(test_who_waits_for_a_claim_hears_of_failure),
		T(test_exclusive_creation_is_asked_for),
		T(test_who_waits_for_news_hears_of_failure),
		T(test_deleted_parent_is_found_out),
		T(test_second_folder_brings_those_beside_it),
		T(test_renamed_while_it_is_told),
		T(test_exchanged_are_the_same_nodes),
		T(test_exchanged_directories_are_the_same),
		T(test_deep_tree_ends_as_a_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
