/* fuse/files: what is asked of the sandbox, what is told to the kernel, and
 * what is remembered, with the sandbox played by the test */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fuse/cache.h"
#include "fuse/list.h"
#include "tests/lib/fake_remote.h"
#include "tests/lib/unit.h"

static struct fake *f;
static fuse_req_t reqs[256];
static size_t nr_reqs;

static fuse_req_t req(void)
{
	assert_true(nr_reqs < 256);
	return reqs[nr_reqs++] = fake_req(f);
}

static struct sfs_node *node_of(fuse_req_t r)
{
	assert_int_equal(r->replies, 1);
	assert_int_equal(r->err, 0);
	return sfs_node(&f->fs, r->entry.ino);
}

/* The workspace, looked up, watched. */
static struct sfs_node *root(void)
{
	struct sbx_attr a = fake_attr(S_IFDIR | 0755, 1);
	fuse_req_t r = req();

	sfs_files_lookup_root(r, f->files, SBX_DIR_WORKSPACE);
	fake_answer_flag(f, SBX_OP_DIR, &a, true);
	assert_true(fake_is_idle(f));
	return node_of(r);
}

static int setup(void **state)
{
	f = fake_new();
	return 0;
}

static int teardown(void **state)
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

static fuse_req_t lookup(struct sfs_node *dir, const char *name)
{
	fuse_req_t r = req();

	dir->ops->lookup(r, dir, name);
	return r;
}

/* Looks it up at the sandbox, which has it. */
static struct sfs_node *found(struct sfs_node *dir, const char *name,
			      mode_t mode, uint64_t ino)
{
	struct sbx_attr a = fake_attr(mode, ino);
	fuse_req_t r = lookup(dir, name);

	fake_answer(f, SBX_OP_LOOKUP, 0, &a);
	return node_of(r);
}

static void list(struct sfs_node *dir, fuse_req_t r)
{
	struct fuse_file_info fi = {0};

	dir->ops->readdir(r, dir, 65536, 0, &fi, true);
}

static void told_is(const char *what)
{
	assert_string_equal(f->told, what);
	f->told[0] = '\0';
	f->told_len = 0;
}

static void test_lookup_asks_once(void **state)
{
	struct sfs_node *top = root(), *n;
	fuse_req_t r;

	n = found(top, "a", S_IFREG | 0644, 10);
	r = lookup(top, "a");
	assert_ptr_equal(node_of(r), n);
	assert_true(r->entry.entry_timeout > 1e6);
	assert_true(r->entry.attr_timeout > 1e6);
	assert_int_equal(f->sent[SBX_OP_LOOKUP], 1);
}

static void test_negative_is_for_ever_under_a_watch(void **state)
{
	struct sbx_attr a = fake_attr(S_IFREG | 0644, 11);
	struct sfs_node *top = root();
	fuse_req_t r = lookup(top, "b");

	fake_answer(f, SBX_OP_LOOKUP, -ENOENT, NULL);
	assert_int_equal(r->entry.ino, 0);
	assert_true(r->entry.entry_timeout > 1e6);
	told_is("");
	fake_change(f, SBX_DIR_WORKSPACE, "b", SBX_CHANGE_CREATED, &a);
	/* the negative entry, and the folder's listing and times */
	told_is("entry b;inode  data;");
}

static void test_listed_names_are_no_news_under_a_watch(void **state)
{
	static const char *const names[] = {"a", "b"};
	struct sfs_node *top = root();
	fuse_req_t r = lookup(top, "none");

	fake_answer(f, SBX_OP_LOOKUP, -ENOENT, NULL);
	r = req();
	list(top, r);
	fake_answer_list(f, names, 2, 30);
	assert_int_equal(r->err, 0);
	/* what was made since the kernel was told would have been an event */
	told_is("");
}

static void test_listing_is_two_requests_and_then_none(void **state)
{
	static const char *const names[] = {"a", "b", "c"};
	struct sfs_node *top = root(), *dir;
	struct sbx_attr a = fake_attr(S_IFDIR | 0755, 20);
	fuse_req_t r;

	dir = found(top, "d", S_IFDIR | 0755, 20);
	r = req();
	list(dir, r);
	assert_int_equal(f->sent[SBX_OP_DIR], 2);
	assert_int_equal(f->sent[SBX_OP_LIST], 1);
	fake_answer_flag(f, SBX_OP_DIR, &a, true);
	fake_answer_list(f, names, 3, 30);
	assert_true(r->len > 0);
	list(dir, req());
	node_of(lookup(dir, "b"));
	r = lookup(dir, "nothing");
	assert_int_equal(r->entry.ino, 0);
	assert_true(fake_is_idle(f));
}

static void test_concurrent_listings_share_one_request(void **state)
{
	static const char *const names[] = {"a"};
	struct sfs_node *top = root();

	list(top, req());
	list(top, req());
	list(top, req());
	assert_int_equal(f->sent[SBX_OP_LIST], 1);
	fake_answer_list(f, names, 1, 30);
	assert_true(fake_is_idle(f));
}

static void test_only_differences_are_told(void **state)
{
	struct sfs_node *top = root();
	struct sbx_attr a = fake_attr(S_IFREG | 0644, 10);

	found(top, "a", S_IFREG | 0644, 10);
	fake_change(f, SBX_DIR_WORKSPACE, "a", SBX_CHANGE_ATTR, &a);
	told_is("");
	a.mode = S_IFREG | 0600;
	fake_change(f, SBX_DIR_WORKSPACE, "a", SBX_CHANGE_ATTR, &a);
	told_is("child a;");
	a.mtime_ns++;
	fake_change(f, SBX_DIR_WORKSPACE, "a", SBX_CHANGE_ATTR, &a);
	told_is("child a data;");
	/* written without a trace in the times */
	fake_change(f, SBX_DIR_WORKSPACE, "a", SBX_CHANGE_DATA, &a);
	told_is("child a data;");
}

static void test_replaced_file_is_another_node(void **state)
{
	static const char *const names[] = {"a"};
	struct sfs_node *top = root(), *n, *n2;
	struct sbx_attr a = fake_attr(S_IFREG | 0644, 10);

	list(top, req());
	fake_answer_list(f, names, 1, 10);
	n = node_of(lookup(top, "a"));
	/* deleted and made again: the number may well be the same */
	fake_change(f, SBX_DIR_WORKSPACE, "a",
		    SBX_CHANGE_DELETED | SBX_CHANGE_CREATED, &a);
	n2 = node_of(lookup(top, "a"));
	assert_ptr_not_equal(n, n2);
}

static void test_moved_directory_is_the_same_node(void **state)
{
	static const char *const names[] = {"x"};
	struct sbx_attr a = fake_attr(S_IFDIR | 0755, 5000);
	struct sfs_node *top = root(), *n;

	list(top, req());
	fake_answer_list(f, names, 1, 0);
	n = node_of(lookup(top, "x"));
	fake_change(f, SBX_DIR_WORKSPACE, "x", SBX_CHANGE_MOVED_FROM, NULL);
	fake_change(f, SBX_DIR_WORKSPACE, "y", SBX_CHANGE_MOVED_TO, &a);
	assert_ptr_equal(node_of(lookup(top, "y")), n);
	lookup(top, "x");
	assert_true(fake_is_idle(f));
}

static void asked_for(struct sfs_node *n, uint32_t nlink)
{
	struct sbx_attr a = fake_attr(S_IFREG | 0644, 30);
	fuse_req_t r = req();

	a.nlink = nlink;
	n->ops->getattr(r, n, NULL);
	fake_answer(f, SBX_OP_GETATTR, 0, &a);
	assert_int_equal(r->attr.st_nlink, nlink);
}

/* What is done to one name is not told of the others. */
static void test_names_of_one_file(void **state)
{
	struct sbx_attr a = fake_attr(S_IFREG | 0644, 30);
	struct sfs_node *top = root(), *n;
	fuse_req_t r = req();

	n = found(top, "a", S_IFREG | 0644, 30);
	/* one that is not remembered: the folder was never listed */
	a.nlink = 2;
	fake_change(f, SBX_DIR_WORKSPACE, "b", SBX_CHANGE_CREATED, &a);
	told_is("child a;inode  data;");
	n->ops->getattr(r, n, NULL);
	assert_int_equal(r->attr.st_nlink, 2);
	assert_true(r->timeout <= 0); /* who knows where "b" is by now */
	r = lookup(top, "b");
	fake_answer(f, SBX_OP_LOOKUP, 0, &a);
	assert_ptr_equal(node_of(r), n);
	assert_true(r->entry.attr_timeout > 1e6); /* both are known */
	told_is("");
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
	struct sfs_node *top = root();
	struct sbx_attr a = fake_attr(S_IFDIR | 0755, 1);
	fuse_req_t r;

	list(top, req());
	fake_answer_list(f, before, 2, 30);
	told_is("");
	r = req();
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
	node_of(lookup(top, "c"));
	lookup(top, "b");
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
	struct sfs_node *top = root();
	struct sbx_attr a = fake_attr(S_IFDIR | 0755, 40);
	fuse_req_t r = lookup(top, "d");

	fake_answer(f, SBX_OP_LOOKUP, -ENOENT, NULL);
	r = req();
	r->ctx.pid = process_dying();
	top->ops->mkdir(r, top, "d", 0755);
	r->interrupt(r, r->data);
	assert_int_equal(r->replies, 0); /* it may soon be known */
	while (!r->replies)
		uv_run(&f->loop, UV_RUN_ONCE);
	process_end(r->ctx.pid);
	assert_int_equal(r->err, EINTR);
	told_is("");
	fake_answer(f, SBX_OP_MKDIR, 0, &a);
	assert_non_null(strstr(f->told, "entry d;"));
}

static void test_interrupted_lookup_is_given_up(void **state)
{
	struct sfs_node *top = root();
	fuse_req_t r = lookup(top, "d");

	r->ctx.pid = process_dying();
	r->interrupt(r, r->data);
	process_end(r->ctx.pid);
	assert_int_equal(r->err, EINTR);
	assert_true(fake_is_idle(f));
}

static void test_interrupted_by_who_is_not_seen(void **state)
{
	struct sbx_attr d = fake_attr(S_IFDIR | 0755, 20);
	fuse_req_t r = lookup(root(), "d");

	r->ctx.pid = 0; /* of a pid namespace that is not ours */
	r->interrupt(r, r->data);
	assert_int_equal(r->replies, 0);
	fake_answer(f, SBX_OP_LOOKUP, 0, &d);
	node_of(r);
}

static void test_unwatched_is_trusted_briefly(void **state)
{
	struct sbx_attr d = fake_attr(S_IFDIR | 0755, 20);
	struct sbx_attr a = fake_attr(S_IFREG | 0644, 21);
	struct sfs_node *top = root(), *dir;
	fuse_req_t r;

	dir = found(top, "d", S_IFDIR | 0755, 20);
	r = lookup(dir, "a");
	fake_answer_flag(f, SBX_OP_DIR, &d, false);
	fake_answer(f, SBX_OP_LOOKUP, 0, &a);
	node_of(r);
	assert_true(r->entry.entry_timeout <= 1);
	assert_true(r->entry.attr_timeout <= 1);
	lookup(dir, "a");
	fake_answer(f, SBX_OP_LOOKUP, -ENOENT, NULL);
	assert_true(fake_is_idle(f));
}

static void test_known_is_shown_for_a_second_where_nothing_is_pushed(void **s)
{
	struct sfs_node *top = root(), *n;
	fuse_req_t r, r2;

	n = found(top, "a", S_IFREG | 0644, 10);
	f->silent = true;
	f->heard_ms = uv_now(&f->loop);
	r = lookup(top, "a");
	assert_ptr_equal(node_of(r), n);
	assert_true(r->entry.entry_timeout > 0 && r->entry.entry_timeout <= 1);
	assert_true(r->entry.attr_timeout > 0 && r->entry.attr_timeout <= 1);
	/* then one request is for all, and what it tells is seen */
	f->heard_ms -= 1000;
	r = lookup(top, "a");
	r2 = lookup(top, "a");
	assert_int_equal(r->replies + r2->replies, 0);
	fake_change(f, SBX_DIR_WORKSPACE, "a", SBX_CHANGE_DELETED, NULL);
	fake_answer(f, SBX_OP_BARRIER, 0, NULL);
	assert_int_equal(f->sent[SBX_OP_BARRIER], 1);
	fake_answer(f, SBX_OP_LOOKUP, -ENOENT, NULL);
	fake_answer(f, SBX_OP_LOOKUP, -ENOENT, NULL);
	assert_int_equal(r->entry.ino + r2->entry.ino, 0);
	assert_int_equal(f->sent[SBX_OP_BARRIER], 1);
}

static void test_who_waits_for_news_hears_of_failure(void **s)
{
	struct sfs_node *top = root();
	fuse_req_t r;

	found(top, "a", S_IFREG | 0644, 10);
	f->silent = true;
	f->heard_ms = uv_now(&f->loop) - 1000;
	r = lookup(top, "a");
	fake_answer(f, SBX_OP_BARRIER, -ETIMEDOUT, NULL);
	assert_int_equal(r->err, ETIMEDOUT);
}

static void test_deleted_parent_is_found_out(void **state)
{
	struct sfs_node *top = root(), *dir;
	fuse_req_t r;

	dir = found(top, "d", S_IFDIR | 0755, 20);
	r = lookup(dir, "a");
	fake_answer(f, SBX_OP_DIR, -ENOENT, NULL);
	fake_answer(f, SBX_OP_LOOKUP, -ENOENT, NULL);
	assert_non_null(strstr(f->told, "entry d;"));
	assert_true(r->err == ENOENT || r->entry.ino == 0);
}

/* Write: answered at once, the error comes with flush, and only once. */
static void test_error_of_a_write_waits_for_flush(void **state)
{
	struct sbx_attr a = fake_attr(S_IFREG | 0644, 50);
	struct sfs_node *top = root(), *n;
	struct fuse_file_info fi = {.flags = 1};
	fuse_req_t r = req(), w, fl;

	top->ops->create(r, top, "w", 0644, &fi);
	fake_answer_flag(f, SBX_OP_CREATE, &a, true);
	fake_answer(f, SBX_OP_GETATTR, 0, NULL); /* the folder's: no matter */
	n = node_of(r);
	fi = r->fi;
	w = req();
	n->ops->write(w, n, "hello", 5, 0, &fi);
	assert_int_equal(w->replies, 1);
	fl = req();
	n->ops->flush(fl, n, &fi);
	assert_int_equal(fl->replies, 0);
	fake_answer(f, SBX_OP_WRITE, -ENOSPC, NULL);
	assert_int_equal(fl->err, ENOSPC);
	fl = req();
	n->ops->flush(fl, n, &fi);
	assert_int_equal(fl->replies, 1);
	assert_int_equal(fl->err, 0);
	r = req();
	n->ops->release(r, n, &fi);
	assert_int_equal(f->sent[SBX_OP_CLOSE], 1);
}

/* What is under way is bounded: the next write waits. */
static void test_writes_are_held_back(void **state)
{
	static char data[1 << 20];
	struct sbx_attr a = fake_attr(S_IFREG | 0644, 50);
	struct sfs_node *top = root(), *n;
	struct fuse_file_info fi = {.flags = 1};
	fuse_req_t r = req(), w[6];
	int k;

	top->ops->create(r, top, "w", 0644, &fi);
	fake_answer_flag(f, SBX_OP_CREATE, &a, true);
	fake_answer(f, SBX_OP_GETATTR, 0, NULL);
	n = node_of(r);
	fi = r->fi;
	for (k = 0; k < 6; k++) {
		w[k] = req();
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
	n->ops->release(req(), n, &fi);
}

/* Lost writes are sent again, in their order. */
static void test_restart_keeps_the_order_of_writes(void **state)
{
	struct sbx_attr a = fake_attr(S_IFREG | 0644, 50);
	struct sbx_attr d = fake_attr(S_IFDIR | 0755, 1);
	struct sfs_node *top = root(), *n;
	struct fuse_file_info fi = {.flags = 1};
	const struct fake_request *q;
	fuse_req_t r = req();
	uint64_t next = 0;
	int k;

	top->ops->create(r, top, "w", 0644, &fi);
	fake_answer_flag(f, SBX_OP_CREATE, &a, true);
	fake_answer(f, SBX_OP_GETATTR, 0, &d);
	n = node_of(r);
	fi = r->fi;
	for (k = 0; k < 10; k++)
		n->ops->write(req(), n, "x", 1, k, &fi);
	f->sent[SBX_OP_WRITE] = f->sent[SBX_OP_OPEN] = 0;
	fake_restart(f);
	assert_int_equal(f->sent[SBX_OP_WRITE], 10);
	assert_int_equal(f->sent[SBX_OP_OPEN], 1);
	for (q = f->first; q; q = q->next)
		if (q->op == SBX_OP_WRITE)
			assert_int_equal(q->arg[1], next++);
	assert_int_equal(next, 10);
	n->ops->release(req(), n, &fi);
}

static void test_second_folder_brings_those_beside_it(void **state)
{
	static const char *const names[] = {"0", "1", "2", "3", "4"};
	struct sfs_node *top = root();
	fuse_req_t r;
	struct sbx_attr a;
	int k;

	list(top, req());
	fake_answer_list(f, names, 5, 0);
	for (k = 0; k < 2; k++) {
		assert_int_equal(f->sent[SBX_OP_LIST], 1 + k);
		r = req();
		list(node_of(lookup(top, names[k])), r);
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
		r = req();
		list(node_of(lookup(top, names[k])), r);
		assert_int_equal(r->replies, 1);
	}
	assert_int_equal(f->sent[SBX_OP_LIST], 6);
}

#define PER_FILE (SFS_COST_INODE + SFS_COST_ENTRY(1))

static void test_numbers_that_failed_are_forgotten(void **state)
{
	struct sfs_node *top = root(), *dir;
	unsigned int before;

	list(top, req());
	fake_answer_list(f, (const char *const[]){"d"}, 1, 0);
	dir = node_of(lookup(top, "d"));
	list(dir, req());
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
	struct sfs_node *top = root(), *dir;
	struct sbx_attr a;
	fuse_req_t r;
	int k;

	list(top, req());
	fake_answer_list(f, names, 10, 0);
	for (k = 0; k < 10; k++) {
		r = lookup(top, names[k]);
		dir = node_of(r);
		list(dir, req());
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
	r = lookup(top, "0");
	a = fake_attr(S_IFDIR | 0755, 5000);
	if (!r->replies)
		fake_answer(f, SBX_OP_LOOKUP, 0, &a);
	dir = node_of(r);
	r = req();
	list(dir, r);
	assert_true(f->sent[SBX_OP_LIST] > 0);
}

/* Who is reading a folder finds each name once, whatever the kernel lets go
 * of meanwhile. */
static void test_open_folder_is_not_trimmed(void **state)
{
	static const char *const names[] = {"a", "b", "c"};
	struct sfs_node *top = root();
	struct fuse_file_info fi = {0};
	struct sfs_entries *all = &sfs_inode_of(top)->dir->entries;
	struct sfs_entry *e;
	uint64_t at = 0;

	list(top, req());
	fake_answer_list(f, names, 3, 30);
	f->fs.cache_max = 1;
	f->fs.trim_at = 0;
	sfs_cache_trim(f->files);
	assert_non_null(strstr(f->told, "entry a;entry b;entry c;"));
	top->ops->opendir(req(), top, &fi);
	while ((e = sfs_entries_after(all, at))) {
		at = e->cookie;
		sfs_node_forget(&f->fs, (uintptr_t)e->inode, 1000);
	}
	assert_int_equal(all->nr, 3);
	list(top, req());
	assert_int_equal(f->sent[SBX_OP_LIST], 1);
	top->ops->releasedir(req(), top, &fi);
	f->fs.trim_at = 0;
	for (at = 0; (e = sfs_entries_after(all, at)); at = e->cookie)
		sfs_node_forget(&f->fs, (uintptr_t)e->inode, 1000);
	sfs_cache_trim(f->files);
	assert_int_equal(all->nr, 0);
}

static void test_hostile_listing_is_refused(void **state)
{
	static char text[300][8];
	const char *names[300];
	struct sfs_node *top = root();
	fuse_req_t r = req();
	int k;

	f->fs.cache_full = 200 * PER_FILE;
	for (k = 0; k < 300; k++) {
		snprintf(text[k], sizeof(text[k]), "%d", k);
		names[k] = text[k];
	}
	list(top, r);
	fake_answer_list(f, names, 300, 1000);
	assert_int_equal(r->err, ENOMEM);
	assert_true(f->files->inodes.nr <= 200);
}

/* What is told while our own rename is on its way leads nowhere, but must
 * not take the new name with it. */
static void test_renamed_while_it_is_told(void **state)
{
	struct sbx_attr a = fake_attr(S_IFREG | 0644, 30);
	struct sfs_node *top = root(), *d;
	fuse_req_t moved = req(), inside;

	d = found(top, "old", S_IFDIR | 0755, 20);
	top->ops->rename(moved, top, "old", top, "new", 0);
	inside = lookup(d, "x"); /* DIR of "old" is sent before it */
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
	assert_int_equal(node_of(inside)->nlookup, 1);
	assert_ptr_equal(node_of(lookup(top, "new")), d);
	assert_true(fake_is_idle(f));
}

/* by a thread of this number; 0: of no certain one */
static fuse_req_t stat_by(struct sfs_node *n, pid_t pid)
{
	struct fuse_file_info fi = {0};
	fuse_req_t r = req();

	r->ctx.pid = pid;
	n->ops->getattr(r, n, &fi);
	return r;
}

static fuse_req_t stat_of(struct sfs_node *n)
{
	return stat_by(n, 0);
}

/* The sandbox writes to "log", and the kernel has not dropped its pages. */
static void log_grows(uint64_t size)
{
	struct sbx_attr a = fake_attr(S_IFREG | 0644, 10);

	a.size = size;
	f->kernel_is_slow = true;
	fake_change(f, SBX_DIR_WORKSPACE, "log", SBX_CHANGE_DATA, &a);
}

static void shows(fuse_req_t r, off_t size, bool lasting)
{
	assert_int_equal(r->replies, 1);
	assert_int_equal(r->attr.st_size, size);
	if (lasting)
		assert_true(r->timeout > 1e6);
	else
		assert_true(r->timeout <= 0);
}

static void on_called(void *arg)
{
	++*(int *)arg;
}

static void on_tick(uv_timer_t *t)
{
	unsigned int *ticks = t->data;

	if (!--*ticks)
		fail_msg("the kernel was told nothing");
}

/* Runs the loop until the kernel is told something. */
static void told_later(const char *what)
{
	unsigned int ticks = 10000;
	uv_timer_t t;

	uv_timer_init(&f->loop, &t);
	t.data = &ticks;
	uv_timer_start(&t, on_tick, 1, 1);
	while (!f->told_len)
		uv_run(&f->loop, UV_RUN_ONCE);
	uv_close((uv_handle_t *)&t, NULL);
	uv_run(&f->loop, UV_RUN_NOWAIT);
	told_is(what);
}

/* The new size is not seen while the kernel has the old pages. */
static void test_content_before_size(void **state)
{
	struct sfs_node *n = found(root(), "log", S_IFREG | 0644, 10);

	log_grows(1000);
	told_is("child log data;");
	fake_kernel_done(f);
	shows(stat_of(n), 1000, true);
	told_is("");
}

/* The kernel cuts off its pages at an older size that it is given: what it
 * read since they were dropped would end in zeros. */
static void test_pages_go_once_more_behind_an_older_size(void **state)
{
	struct sfs_node *n = found(root(), "log", S_IFREG | 0644, 10);

	log_grows(1000);
	told_is("child log data;");
	shows(stat_of(n), 10, false);
	fake_kernel_step(f);
	shows(stat_of(n), 10, false);
	told_later("child log data;");
	fake_kernel_step(f);
	shows(stat_of(n), 1000, true);
	told_is("");
}

/* ... until it is certain that the kernel has had it before. */
static void test_pages_go_again_until_all_is_certain(void **state)
{
	struct sfs_node *n = found(root(), "log", S_IFREG | 0644, 10);

	log_grows(1000);
	told_is("child log data;");
	shows(stat_of(n), 10, false);
	fake_kernel_step(f);
	told_later("child log data;");
	shows(stat_of(n), 10, false);
	fake_kernel_step(f);
	shows(stat_of(n), 10, false); /* it has it now */
	shows(stat_of(n), 10, false);
	told_later("child log data;");
	shows(stat_of(n), 10, false);
	fake_kernel_step(f);
	shows(stat_of(n), 1000, true);
}

/* The sandbox's answer to a first read of "log", which is open. */
static void log_is_read(struct sfs_node *n, struct fuse_file_info *fi)
{
	struct sbx_attr a = fake_attr(S_IFREG | 0644, 10);
	fuse_req_t r = req();

	n->ops->open(r, n, fi);
	fake_answer(f, SBX_OP_OPEN, 0, &a);
	*fi = r->fi;
	n->ops->read(req(), n, 4096, 0, fi);
	f->told_len = 0;
}

/* The kernel's thread is applying what it was given, but is held up. */
static void test_pages_go_once_more_behind_a_late_one(void **state)
{
	struct sfs_node *n = found(root(), "log", S_IFREG | 0644, 10);
	struct fuse_file_info fi = {0};
	pid_t here = getpid(), gone = fork();

	if (!gone)
		_exit(0);
	waitpid(gone, NULL, 0);
	log_is_read(n, &fi);
	shows(stat_by(n, gone), 10, true);
	log_grows(1000);
	told_is("child log data;");
	fake_kernel_done(f);
	shows(stat_by(n, here), 1000, true);
	sfs_answers_asks(&f->fs.answers, here);
	log_grows(2000);
	told_is("child log data;");
	fake_kernel_done(f);
	shows(stat_by(n, here), 2000, true);
	log_grows(3000);
	told_is("child log data;");
	fake_kernel_step(f);
	shows(stat_by(n, gone), 2000, false);
	sfs_answers_asks(&f->fs.answers, here);
	told_later("child log data;");
	fake_kernel_done(f);
	shows(stat_by(n, gone), 3000, true);
	n->ops->release(req(), n, &fi);
}

/* Nobody waits without end for somebody else to be done with asking. */
static void test_pages_do_not_go_for_ever(void **state)
{
	struct sfs_node *n = found(root(), "log", S_IFREG | 0644, 10);
	fuse_req_t r;
	int k = 0;

	log_grows(1000);
	do {
		assert_true(k++ < 10);
		told_later("child log data;");
		shows(stat_of(n), 10, false);
		fake_kernel_step(f);
		r = stat_of(n);
	} while (r->attr.st_size == 10);
	shows(r, 1000, true);
}

/* A look-up is told the same, and counts. */
static void test_pages_go_once_more_behind_a_lookup(void **state)
{
	struct sfs_node *top = root();
	fuse_req_t r;

	found(top, "log", S_IFREG | 0644, 10);
	log_grows(1000);
	told_is("child log data;");
	r = lookup(top, "log");
	assert_int_equal(r->entry.attr.st_size, 10);
	assert_true(r->entry.attr_timeout <= 0);
	fake_kernel_step(f);
	told_later("child log data;");
	fake_kernel_step(f);
	assert_int_equal(lookup(top, "log")->entry.attr.st_size, 1000);
}

/* It changes faster than pages are dropped: what was true is shown. */
static void test_size_of_what_never_stops_growing(void **state)
{
	struct sfs_node *n = found(root(), "log", S_IFREG | 0644, 10);

	log_grows(1000);
	told_is("child log data;");
	log_grows(2000);
	log_grows(3000);
	told_is(""); /* in its turn */
	fake_kernel_step(f);
	told_is("child log data;");
	shows(stat_of(n), 1000, false);
	log_grows(4000);
	fake_kernel_step(f);
	told_later("child log data;");
	fake_kernel_step(f);
	shows(stat_of(n), 4000, true);
}

/* A command's end is not seen before what it did; what happens after it does
 * not hold it up. */
static void test_settled_when_it_is_shown(void **state)
{
	struct sfs_node *n = found(root(), "log", S_IFREG | 0644, 10);
	int first = 0, second = 0;

	log_grows(1000);
	shows(stat_of(n), 10, false);
	sfs_files_settle(f->files, on_called, &first);
	log_grows(2000);
	sfs_files_settle(f->files, on_called, &second);
	told_is("child log data;");
	fake_kernel_step(f);
	assert_int_equal(f->nr_after, 0);
	told_later("child log data;");
	fake_kernel_done(f);
	assert_int_equal(first, 1);
	assert_int_equal(second, 1);
	shows(stat_of(n), 2000, true);

	log_grows(3000);
	sfs_files_settle(f->files, on_called, &first);
	log_grows(4000);
	sfs_files_settle(f->files, on_called, &second);
	fake_kernel_step(f);
	shows(stat_of(n), 3000, false);
	while (first == 1 && f->nr_after)
		fake_kernel_step(f);
	assert_int_equal(first, 2);
	assert_int_equal(second, 1);
	f->told_len = 0;
	told_later("child log data;");
	fake_kernel_done(f);
	assert_int_equal(second, 2);
	shows(stat_of(n), 4000, true);
}

/* What our own change brought is not taken back. */
static void test_own_size_is_not_followed_by_older_ones(void **state)
{
	struct sbx_attr a = fake_attr(S_IFREG | 0644, 10);
	struct sfs_node *top = root();
	struct sfs_node *n = found(top, "log", S_IFREG | 0644, 10);
	struct stat st = {.st_size = 5};
	fuse_req_t r = req();

	log_grows(1000);
	log_grows(2000);
	n->ops->setattr(r, n, &st, FUSE_SET_ATTR_SIZE, NULL);
	a.size = 5;
	fake_answer(f, SBX_OP_SETATTR, 0, &a);
	assert_int_equal(r->attr.st_size, 5);
	assert_int_equal(lookup(top, "log")->entry.attr.st_size, 5);
	told_is("child log data;");
	fake_kernel_step(f);
	shows(stat_of(n), 5, false);
	told_later("child log data;");
	fake_kernel_done(f);
	shows(stat_of(n), 5, true);
}

/* What is put in place by a rename is there as it is. */
static void test_renamed_into_place_with_its_size(void **state)
{
	struct sbx_attr a = fake_attr(S_IFREG | 0644, 10);
	struct sfs_node *top = root();
	fuse_req_t r;

	found(top, "log", S_IFREG | 0644, 10);
	log_grows(0); /* its number was another file's before */
	fake_change(f, SBX_DIR_WORKSPACE, "log", SBX_CHANGE_MOVED_FROM, NULL);
	a.size = 5;
	r = lookup(top, "all");
	fake_change(f, SBX_DIR_WORKSPACE, "all", SBX_CHANGE_MOVED_TO, &a);
	fake_answer(f, SBX_OP_LOOKUP, 0, &a);
	assert_int_equal(r->entry.attr.st_size, 5);
	fake_kernel_step(f);
	assert_int_equal(lookup(top, "all")->entry.attr.st_size, 5);
	f->told_len = 0;
	while (!fake_is_idle(f))
		fake_answer(f, f->first->op, 0, &a);
}

/* The sandbox goes meanwhile. */
static void test_pages_that_are_never_dropped(void **state)
{
	struct sfs_node *n = found(root(), "log", S_IFREG | 0644, 10);
	int called = 0;

	log_grows(1000);
	shows(stat_of(n), 10, false);
	sfs_files_settle(f->files, on_called, &called);
	f->files = sfs_files_free(f->files);
	fake_kernel_done(f);
	assert_int_equal(called, 1);
}

/* ... and nothing but a timer remembers */
static void test_pages_that_are_not_dropped_again(void **state)
{
	struct sfs_node *n = found(root(), "log", S_IFREG | 0644, 10);

	log_grows(1000);
	shows(stat_of(n), 10, false);
	fake_kernel_done(f);
	f->files = sfs_files_free(f->files);
}

/* Who opens a file has it, whatever becomes of its name. */
static void test_opened_there_before_the_answer(void **state)
{
	struct sbx_attr a = fake_attr(S_IFREG | 0644, 10);
	struct sfs_node *top = root(), *n;
	fuse_req_t r = req(), again = req();
	struct fuse_file_info fi = {0};

	n = found(top, "f", S_IFREG | 0644, 10);
	a.size = 5;
	fake_change(f, SBX_DIR_WORKSPACE, "f", SBX_CHANGE_DATA, &a);
	n->ops->open(r, n, &fi);
	assert_int_equal(r->replies, 0);
	fake_answer(f, SBX_OP_OPEN, 0, &a);
	assert_int_equal(r->replies, 1);
	assert_int_equal(r->err, 0);
	/* its beginning is on its way already */
	assert_int_equal(f->sent[SBX_OP_READ], 1);
	n->ops->release(again, n, &r->fi);
}

/* A file whose content came with the look-up. */
static struct sfs_node *found_with_content(struct sfs_node *top)
{
	struct sbx_attr a = fake_attr(S_IFREG | 0644, 10);
	fuse_req_t r = lookup(top, "f");

	a.size = 4;
	fake_answer_content(f, &a, "data");
	return node_of(r);
}

/* Nobody waits for its opening and reading, but both are made known. */
static void test_content_comes_with_a_lookup(void **state)
{
	struct sbx_attr a = fake_attr(S_IFREG | 0644, 10);
	struct sfs_node *n = found_with_content(root());
	fuse_req_t r = req(), rd = req(), end = req();
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
	struct sfs_node *n = found_with_content(root());
	fuse_req_t r = req(), end = req();
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

/* What a change of ours that is under way will make of it is not known. */
static void test_content_is_not_older_than_a_change(void **state)
{
	struct sbx_attr a = fake_attr(S_IFREG | 0644, 10);
	struct sfs_node *top = root();
	fuse_req_t r = lookup(top, "f"), m = req();

	top->ops->mkdir(m, top, "d", 0755);
	a.size = 4;
	fake_answer_content(f, &a, "data");
	node_of(r);
	assert_int_equal(f->fs.readahead, 0);
	fake_answer(f, SBX_OP_MKDIR, -EEXIST, NULL);
}

/* What was exchanged in the sandbox stays what it is. */
static void exchanged(mode_t mode, mode_t mode2)
{
	static const unsigned int both =
		SBX_CHANGE_MOVED_FROM | SBX_CHANGE_MOVED_TO;
	struct sbx_attr a = fake_attr(mode, 20), a2 = fake_attr(mode2, 21);
	struct sfs_node *top = root(), *n, *n2;
	fuse_req_t r;

	n = found(top, "a", mode, 20);
	n2 = found(top, "b", mode2, 21);
	fake_change(f, SBX_DIR_WORKSPACE, "a", both, &a2);
	fake_change(f, SBX_DIR_WORKSPACE, "b", both, &a);
	assert_ptr_equal(node_of(lookup(top, "a")), n2);
	r = lookup(top, "b");
	if (!fake_is_idle(f)) /* it need not be remembered */
		fake_answer(f, SBX_OP_LOOKUP, 0, &a);
	assert_ptr_equal(node_of(r), n);
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
	struct sfs_node *n = root(), *up;
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
		n = node_of(r);
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
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
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
		T(test_interrupted_mkdir_is_told_afterwards),
		T(test_interrupted_lookup_is_given_up),
		T(test_interrupted_by_who_is_not_seen),
		T(test_unwatched_is_trusted_briefly),
		T(test_known_is_shown_for_a_second_where_nothing_is_pushed),
		T(test_who_waits_for_news_hears_of_failure),
		T(test_deleted_parent_is_found_out),
		T(test_error_of_a_write_waits_for_flush),
		T(test_writes_are_held_back),
		T(test_restart_keeps_the_order_of_writes),
		T(test_second_folder_brings_those_beside_it),
		T(test_cache_is_bounded),
		T(test_open_folder_is_not_trimmed),
		T(test_numbers_that_failed_are_forgotten),
		T(test_hostile_listing_is_refused),
		T(test_renamed_while_it_is_told),
		T(test_content_before_size),
		T(test_content_comes_with_a_lookup),
		T(test_changed_content_is_not_used),
		T(test_content_is_not_older_than_a_change),
		T(test_pages_go_once_more_behind_an_older_size),
		T(test_pages_go_again_until_all_is_certain),
		T(test_pages_go_once_more_behind_a_late_one),
		T(test_pages_do_not_go_for_ever),
		T(test_pages_go_once_more_behind_a_lookup),
		T(test_size_of_what_never_stops_growing),
		T(test_settled_when_it_is_shown),
		T(test_own_size_is_not_followed_by_older_ones),
		T(test_renamed_into_place_with_its_size),
		T(test_pages_that_are_never_dropped),
		T(test_pages_that_are_not_dropped_again),
		T(test_opened_there_before_the_answer),
		T(test_exchanged_are_the_same_nodes),
		T(test_exchanged_directories_are_the_same),
		T(test_deep_tree_ends_as_a_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
