"""What others change is told, in time and in order; what requests do is not."""

import errno
import os
import time
import unittest

from helperlib import *


class Watch(HelperTest):
    def setUp(self):
        super().setUp()
        self.h.dir(WORKSPACE, WORKSPACE, b"", 0)
        self.h.journal = []

    def what(self, name, directory=WORKSPACE):
        return self.h.changes().get((directory, name), [0])[0]

    def test_changes_by_others_are_told(self):
        self.make("f", b"abc")
        found = self.h.changes()
        what, attr = found[WORKSPACE, b"f"]
        self.assertEqual(what & (CREATED | DATA), CREATED | DATA)
        self.assertEqual(attr.size, 3)
        # its times changed, too
        self.assertEqual(found[WORKSPACE, b""][0], ATTR)
        os.chmod(self.path("f"), 0o600)
        self.assertEqual(self.what(b"f"), ATTR)
        with open(self.path("f"), "ab") as f:
            f.write(b"d")
            f.flush()
            self.assertEqual(self.what(b"f"), DATA)
        self.h.changes()
        os.unlink(self.path("f"))
        found = self.h.changes()
        self.assertEqual(found[WORKSPACE, b"f"], [DELETED, None])
        os.chmod(self.work, 0o700)
        self.assertEqual(self.what(b""), ATTR)
        os.mkdir(self.path("d"))
        self.assertEqual(self.what(b"d"), CREATED)

    def test_they_come_by_themselves_and_soon(self):
        def took(name):
            start = time.monotonic()
            self.make(name)
            self.h.wait(lambda: any(m[0] == CHANGE and m[2] == name.encode()
                                    for m in self.h.journal))
            return time.monotonic() - start
        # of many, for a busy machine may be late
        self.assertTrue(any(took("f%d" % i) < 0.5 for i in range(20)))

    def test_rename_is_joined_by_its_cookie(self):
        self.make("a")
        os.mkdir(self.path("d"))
        self.h.dir(20, WORKSPACE, "d", 0)
        self.h.changes()
        os.rename(self.path("a"), self.path("d/b"))
        self.h.settle()
        moved = [m for m in self.h.journal
                 if m[0] == CHANGE and m[3] & (MOVED_FROM | MOVED_TO)]
        self.assertEqual([(m[1], m[2], m[3]) for m in moved],
                         [(WORKSPACE, b"a", MOVED_FROM), (20, b"b", MOVED_TO)])
        self.assertEqual(moved[0][5], moved[1][5])
        self.assertTrue(moved[0][5])
        self.assertIsNone(moved[0][4])
        self.assertIsNotNone(moved[1][4])

    def test_many_changes_of_one_file_are_folded(self):
        with open(self.path("f"), "wb") as f:
            for i in range(2000):
                os.pwrite(f.fileno(), b"x" * (i % 7 + 1), i)
        self.h.settle()
        told = [m for m in self.h.journal if m[0] == CHANGE and m[2] == b"f"]
        self.assertLess(len(told), 200)
        self.assertEqual(Attr(told[-1][4]).size,
                         os.stat(self.path("f")).st_size)

    def test_own_changes_are_not_told(self):
        h = self.h
        h.create(5, WORKSPACE, "f")
        h.write(5, 0, b"abc")
        h.call(SETATTR, WORKSPACE, "f", 0, 1, 0o600)
        h.call(SETATTR, WORKSPACE, "f", 0, 8, 0, 0, 0, 1)
        h.call(FALLOCATE, 5, 0, 0, 100)
        h.call(LINK, WORKSPACE, "f", 0, WORKSPACE, "g")
        h.call(CLOSE, 5)
        h.open(6, WORKSPACE, "f", 0, flags=os.O_WRONLY | os.O_TRUNC)
        h.call(CLOSE, 6)
        h.call(MKDIR, WORKSPACE, "d", 0o755)
        h.dir(20, WORKSPACE, "d", 0)
        h.call(RENAME, WORKSPACE, "g", 20, "g2", 0)
        h.call(RENAME, WORKSPACE, "d", WORKSPACE, "e", 0)
        h.call(UNLINK, 20, "g2", 0)
        h.call(SETATTR, WORKSPACE, b"", 0, 1, 0o755)
        h.call(SYMLINK, WORKSPACE, "l", "x")
        h.call(RENAME, WORKSPACE, "l", WORKSPACE, "f", 2)
        h.call(RMDIR, WORKSPACE, "e", 0)
        self.assertEqual(h.changes(), {})

    def test_own_writes_are_told_where_others_write(self):
        """what others do meanwhile may be among them; closing tells it"""
        self.make("f", b"abc")
        self.h.open(30, WORKSPACE, "f", 0, flags=os.O_RDWR)
        self.h.changes()
        self.h.write(30, 0, b"x")
        self.assertEqual(self.what(b"f"), 0)
        with open(self.path("f"), "ab") as f:
            f.write(b"d")
            f.flush()
            self.assertEqual(self.what(b"f"), DATA)
            for _ in range(3):
                self.h.write(30, 0, b"y")
                self.assertEqual(self.what(b"f"), DATA)
        self.assertEqual(self.what(b"f"), DATA)
        self.h.write(30, 0, b"z")
        self.assertEqual(self.what(b"f"), 0)
        self.h.call(CLOSE, 30)
        self.assertEqual(self.what(b"f"), 0)

    def test_own_writes_after_a_rename_are_not_told(self):
        self.h.create(5, WORKSPACE, ".tmp")
        self.h.call(RENAME, WORKSPACE, ".tmp", WORKSPACE, "final", 0)
        self.h.write(5, 0, b"x")
        self.h.call(CLOSE, 5)
        self.assertEqual(self.h.changes(), {})

    def test_own_changes_are_told_under_another_number(self):
        self.h.dir(20, WORKSPACE, b"", 0)
        self.h.journal = []
        self.h.create(5, WORKSPACE, "f")
        self.assertEqual(self.what(b"f", 20), CREATED)
        self.h.write(5, 0, b"x")
        self.assertEqual(self.what(b"f", 20), DATA)

    def test_a_change_comes_before_the_reply_that_implies_it(self):
        for i in range(300):
            name = "f%d" % i
            self.make(name)
            rid = self.h.post((LOOKUP, WORKSPACE, name, 0))[0]
            self.h.result(rid)
            kinds = [(m[0], m[2] if m[0] == CHANGE else m[1])
                     for m in self.h.journal]
            self.assertLess(kinds.index((CHANGE, name.encode())),
                            kinds.index((REPLY, rid)))
            self.h.journal = []

    def test_a_removed_directory_is_unwatched(self):
        os.mkdir(self.path("d"))
        self.h.dir(20, WORKSPACE, "d", 0)
        os.rmdir(self.path("d"))
        self.h.wait(lambda: [UNWATCHED, 20, errno.ENOENT] in self.h.journal)
        self.fails(errno.ESTALE, self.h.call, LOOKUP, 20, "x", 0)

    def test_without_watch_nothing_is_told(self):
        os.mkdir(self.path("d"))
        self.h.dir(20, WORKSPACE, "d", 0, watch=True)
        _, watched = self.h.dir(20, WORKSPACE, "d", 0, watch=False)
        self.assertFalse(watched)
        self.h.changes()
        self.make("d/f")
        self.assertNotIn((20, b"f"), self.h.changes())

    def test_overflow_puts_everything_in_doubt(self):
        with open("/proc/sys/fs/inotify/max_queued_events") as f:
            limit = int(f.read())
        if limit > 100000:
            self.skipTest("the queue is too long to fill")
        os.kill(self.h.hello["pid"], 19)  # SIGSTOP: nobody reads
        try:
            for i in range(limit // 2 + 1):  # two events each
                name = self.path("f%d" % (i % 50))
                with open(name, "wb"):
                    pass
                os.unlink(name)
        finally:
            os.kill(self.h.hello["pid"], 18)
        self.h.wait(lambda: [OVERFLOW] in self.h.journal)

    def test_changes_while_away_are_told_on_return(self):
        self.h.detach()
        self.make("f")
        self.h.attach()
        self.h.wait(lambda: any(m[0] == CHANGE and m[2] == b"f"
                                for m in self.h.journal))

    def test_too_many_changes_while_away_are_an_overflow(self):
        # told for each number: far more than is kept, however few of them
        # the helper sees apart
        for number in range(100, 120):
            self.h.dir(number, WORKSPACE, b"", 0)
        self.h.detach()
        for i in range(2000):
            os.mkdir(self.path("%d-%s" % (i, "x" * 240)))
        for i in range(2000):
            os.rmdir(self.path("%d-%s" % (i, "x" * 240)))
        self.h.attach()
        self.h.wait(lambda: [OVERFLOW] in self.h.journal)
        self.h.settle()
        with open("/proc/%d/status" % self.h.hello["pid"]) as f:
            rss = [int(l.split()[1]) for l in f if l.startswith("VmRSS")][0]
        self.assertLess(rss, 64 * 1024)


class Born(HelperTest):
    def test_directory_is_watched_when_it_is_made(self):
        attr, watched, empty = self.h.call(MKDIR, WORKSPACE, "d", 0o755, 0, 30)
        self.assertEqual(Attr(attr).ino, os.stat(self.path("d")).st_ino)
        self.assertEqual((watched, empty), (True, True))
        self.make("d/f", b"x")
        self.assertIn((30, b"f"), self.h.changes())
        self.assertEqual(set(self.h.list(30)), {b"f"})
        # what we make in it is no news
        self.h.changes()
        attr, *born = self.h.call(MKDIR, 30, "e", 0o755, 0, 31)
        self.assertEqual(born, [True, True])
        self.assertEqual(self.h.changes(), {})

    def test_without_a_number(self):
        self.assertEqual(self.h.call(MKDIR, WORKSPACE, "d", 0o755)[1:],
                         [False, False])
        self.assertEqual(
            self.h.call(MKDIR, WORKSPACE, "e", 0o755, 0, 2)[1:],
            [False, False])


class Tree(HelperTest):
    def grow(self):
        os.makedirs(self.path("a/b/c"))
        os.makedirs(self.path("z"))
        self.make("f", b"content")
        self.make("big", b"x" * 5000)
        self.make("empty")
        self.make("a/b/g", b"deep")
        os.symlink("f", self.path("l"))

    def tree(self, dirs=100, depth=100, entries=1000, content=100,
             watch=True):
        parts, (ndirs, nentries) = self.h.call_parts(
            TREE, WORKSPACE, 1000, dirs, depth, entries, content, watch)
        found, complete, order = {}, set(), []
        for number, whole, listed in parts:
            self.assertNotIn(number, complete)
            if number not in found:
                order.append(number)
            found.setdefault(number, {}).update(
                {e[0]: (e[1] and Attr(e[1]), e[2], e[3]) for e in listed})
            if whole:
                complete.add(number)
        self.assertEqual(sum(len(v) for v in found.values()), nentries)
        return found, complete, order, ndirs

    def test_whole(self):
        self.grow()
        found, complete, order, ndirs = self.tree()
        self.assertEqual(ndirs, 4)
        self.assertEqual(order, [1, 1000, 1001, 1002, 1003])
        self.assertEqual(complete, set(order))
        top = found[1]
        self.assertEqual(set(top), {b"a", b"z", b"f", b"big", b"empty", b"l"})
        self.assertEqual(top[b"f"][1:], (0, b"content"))
        self.assertEqual(top[b"big"][2], None)
        self.assertEqual(top[b"empty"][2], b"")
        self.assertEqual(top[b"l"][2], b"f")
        a = found[top[b"a"][1]]
        b = found[a[b"b"][1]]
        self.assertEqual(b[b"g"][2], b"deep")
        # they are watched, and can be used
        number = a[b"b"][1]
        self.make("a/b/new")
        self.assertIn((number, b"new"), self.h.changes())

    def test_content_of_large_files_is_bounded(self):
        for i in range(20):
            self.make("large%d" % i, b"x" * 10000)
            self.make("small%d" % i, b"x" * 1024)
        top = self.tree(content=16384)[0][1]
        self.assertEqual(
            sum(len(e[2]) for n, e in top.items() if e[2] and n[:1] == b"l"),
            130000)
        for i in range(20):
            self.assertEqual(len(top[b"small%d" % i][2]), 1024)

    def test_limits(self):
        self.grow()
        found, complete, order, ndirs = self.tree(depth=1)
        self.assertEqual(ndirs, 2)
        self.assertEqual(len(order), 3)
        found, complete, order, ndirs = self.tree(dirs=1)
        self.assertEqual(ndirs, 1)
        found, complete, order, ndirs = self.tree(entries=3)
        self.assertEqual(complete, set())
        self.fails(errno.EINVAL, self.h.call, TREE, WORKSPACE, 1, 10, 10, 10,
                   0, True)
        self.fails(errno.ESTALE, self.h.call, TREE, 99, 1000, 10, 10, 10, 0)

    def test_large_tree_lets_others_through(self):
        for d in range(200):
            os.mkdir(self.path("d%d" % d))
            for i in range(100):
                self.make("d%d/f%d" % (d, i))
            self.h.ping()  # it ends when nothing is heard for 40 s
        rid, other = self.h.post(
            (TREE, WORKSPACE, 1000, 1000, 10, 10**6, 0, True),
            (LOOKUP, WORKSPACE, "d1", 0))
        self.h.result(other)
        self.assertNotIn(rid, self.h.replies)
        self.assertEqual(self.h.result(rid), [200, 20200])


if __name__ == "__main__":
    unittest.main()
