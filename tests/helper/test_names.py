"""Names and directories: made, removed, moved; numbers that follow."""

import errno
import os
import stat
import unittest

from helperlib import *


class Names(HelperTest):
    def test_create(self):
        a, created = self.h.create(5, WORKSPACE, "f", mode=0o666)
        self.assertTrue(created)
        self.assertEqual(stat.S_IMODE(a.mode), 0o666)  # no umask there
        self.h.write(5, 0, b"data")
        a, created = self.h.create(6, WORKSPACE, "f")
        self.assertFalse(created)
        self.assertEqual(a.size, 4)
        a, created = self.h.create(7, WORKSPACE, "f",
                                   flags=os.O_RDWR | os.O_TRUNC)
        self.assertEqual((created, a.size), (False, 0))
        self.fails(errno.EEXIST, self.h.create, 8, WORKSPACE, "f",
                   flags=os.O_RDWR | os.O_EXCL)
        self.fails(errno.EBUSY, self.h.create, 7, WORKSPACE, "g")
        os.mkdir(self.path("d"))
        os.symlink("f", self.path("l"))
        self.fails(errno.EISDIR, self.h.create, 8, WORKSPACE, "d",
                   flags=os.O_RDONLY)
        self.fails(errno.ELOOP, self.h.create, 8, WORKSPACE, "l")

    def test_tmpfile_gets_a_name_by_link(self):
        try:
            a, _ = self.h.create(5, WORKSPACE, b"",
                                 flags=os.O_RDWR | os.O_TMPFILE, mode=0o600)
        except OSError as e:
            self.skipTest(str(e))
        self.assertEqual(a.nlink, 0)
        self.h.write(5, 0, b"there")
        a = Attr(self.h.call(LINK, 0, b"", 5, WORKSPACE, "named")[0])
        self.assertEqual(a.nlink, 1)
        with open(self.path("named"), "rb") as f:
            self.assertEqual(f.read(), b"there")

    def test_mkdir_mknod_symlink_link(self):
        a = Attr(self.h.call(MKDIR, WORKSPACE, "d", 0o1770)[0])
        self.assertEqual(a.mode, stat.S_IFDIR | 0o1770)
        self.fails(errno.EEXIST, self.h.call, MKDIR, WORKSPACE, "d", 0o755)
        self.fails(errno.EEXIST, self.h.call, MKDIR, WORKSPACE, "d", 0o755, 0,
                   30)
        self.fails(errno.ESTALE, self.h.list, 30)
        a = Attr(self.h.call(MKNOD, WORKSPACE, "p", stat.S_IFIFO | 0o622,
                             0)[0])
        self.assertEqual(a.mode, stat.S_IFIFO | 0o622)
        a = Attr(self.h.call(SYMLINK, WORKSPACE, "l", b"to\xff")[0])
        self.assertEqual(os.readlink(self.path("l").encode()), b"to\xff")
        self.make("f")
        ino = os.stat(self.path("f")).st_ino
        a = Attr(self.h.call(LINK, WORKSPACE, "f", ino, WORKSPACE, "g")[0])
        self.assertEqual((a.ino, a.nlink), (ino, 2))
        a = Attr(self.h.call(LINK, WORKSPACE, "l", 0, WORKSPACE, "l2")[0])
        self.assertTrue(stat.S_ISLNK(a.mode))
        self.fails(errno.EINVAL, self.h.call, SYMLINK, WORKSPACE, "x", b"a\0")

    def test_unlink_rmdir(self):
        os.makedirs(self.path("d/e"))
        self.make("f")
        self.fails(errno.EISDIR, self.h.call, UNLINK, WORKSPACE, "d", 0)
        self.fails(errno.ENOTDIR, self.h.call, RMDIR, WORKSPACE, "f", 0)
        self.fails(errno.ENOTEMPTY, self.h.call, RMDIR, WORKSPACE, "d", 0)
        self.h.call(UNLINK, WORKSPACE, "f", 0)
        self.h.dir(20, WORKSPACE, "d", 0)
        self.h.call(RMDIR, 20, "e", 0)
        self.h.call(RMDIR, WORKSPACE, "d", 0)
        self.assertEqual(os.listdir(self.work), [])
        self.fails(errno.ESTALE, self.h.call, LOOKUP, 20, "x", 0)

    def test_rename(self):
        self.make("a", b"A")
        self.make("b", b"B")
        ino = os.stat(self.path("a")).st_ino
        self.fails(errno.EEXIST, self.h.call, RENAME, WORKSPACE, "a",
                   WORKSPACE, "b", 1)
        self.assertEqual(self.h.call(RENAME, WORKSPACE, "a", WORKSPACE, "b",
                                     2), [ino])
        with open(self.path("b")) as f:
            self.assertEqual(f.read(), "A")
        self.h.call(RENAME, WORKSPACE, "b", WORKSPACE, "c", 0)
        self.assertEqual(sorted(os.listdir(self.work)), ["a", "c"])
        self.fails(errno.EINVAL, self.h.call, RENAME, WORKSPACE, "a",
                   WORKSPACE, "c", 64)
        os.link(self.path("a"), self.path("a2"))
        self.h.call(RENAME, WORKSPACE, "a", WORKSPACE, "a2", 0)
        self.assertEqual(sorted(os.listdir(self.work)), ["a", "a2", "c"])

    def test_list(self):
        for i in range(3500):
            self.make("file-%d" % i)
        os.mkdir(self.path("d"))
        entries = self.h.list(WORKSPACE)
        self.assertEqual(len(entries), 3501)
        self.assertTrue(stat.S_ISDIR(entries[b"d"].mode))
        self.assertEqual(entries[b"file-7"].ino,
                         os.stat(self.path("file-7")).st_ino)
        self.fails(errno.ESTALE, self.h.list, 99)


class Directories(HelperTest):
    """A directory's number stays its own wherever it goes."""

    def deep(self):
        os.makedirs(self.path("a/b/c"))
        self.make("a/b/c/f", b"x")
        self.h.dir(20, WORKSPACE, "a", 0)
        self.h.dir(21, 20, "b", 0)
        self.h.dir(22, 21, "c", 0)

    def ino(self):
        return self.h.attr(22, "f", 0).ino

    def test_dir_with_no_reply_gives_its_error_to_users(self):
        self.h.quiet(DIR, 20, WORKSPACE, "missing", 0, True)
        self.fails(errno.ENOENT, self.h.call, LOOKUP, 20, "f", 0)
        self.make("file")
        self.h.quiet(DIR, 20, WORKSPACE, "file", 0, True)
        self.fails(errno.ENOTDIR, self.h.call, LIST, 20, 0)
        os.mkdir(self.path("d"))
        os.symlink("d", self.path("l"))
        self.h.quiet(DIR, 20, WORKSPACE, "l", 0, True)
        self.fails(errno.ENOTDIR, self.h.call, LIST, 20, 0)
        self.h.quiet(DIR, 20, WORKSPACE, "d", 0, True)
        self.assertEqual(self.h.list(20), {})

    def test_forgotten_parents_still_carry_children(self):
        self.deep()
        self.h.call(FORGET, 20, 21)
        self.fails(errno.ESTALE, self.h.call, LOOKUP, 20, "b", 0)
        self.assertTrue(self.ino())
        self.h.call(FORGET, 22)
        self.fails(errno.ESTALE, self.ino)

    def test_workspace_and_root_cannot_be_given_away(self):
        self.fails(errno.EINVAL, self.h.call, DIR, 1, ROOT, "tmp", 0, True)
        self.h.call(FORGET, 1, 2)
        self.assertEqual(self.h.attr(1, b"", 0).ino, os.stat(self.work).st_ino)

    def test_same_directory_under_two_numbers(self):
        self.deep()
        self.h.dir(30, 21, "c", 0)
        self.h.dir(31, ROOT, b"", 0)
        self.assertEqual(self.h.attr(30, "f", 0).ino, self.ino())
        self.h.call(FORGET, 22)
        self.h.journal = []
        self.make("a/b/c/new")
        self.assertIn((30, b"new"), self.h.changes())

    def test_a_directory_cannot_become_its_own_parent(self):
        self.deep()
        self.h.dir(20, 22, b"", 0)
        self.h.dir(21, 21, b"", 0)
        self.h.attr(21, b"", 0)


class FewDescriptors(Directories):
    """The same when hardly any directory stays open."""

    def new_helper(self, **kw):
        return super().new_helper(limit=64, **kw)

    def evict(self):
        """Uses so many directories that the others are closed."""
        os.mkdir(self.path("many"))
        for i in range(200):
            os.mkdir(self.path("many", str(i)))
        self.h.dir(1000, WORKSPACE, "many", 0, watch=False)
        for i in self.h.post(*[(DIR, 1001 + i, 1000, str(i), 0, False)
                               for i in range(200)]):
            self.h.result(i)
        fds = os.listdir("/proc/%d/fd" % self.h.hello["pid"])
        self.assertLess(len(fds), 50)

    def test_closed_directories_are_found_again(self):
        self.deep()
        before = self.ino()
        self.evict()
        self.assertEqual(self.ino(), before)

    def test_moved_by_request_while_closed(self):
        self.deep()
        before = self.ino()
        os.mkdir(self.path("z"))
        self.h.dir(23, WORKSPACE, "z", 0)
        self.h.call(RENAME, 20, "b", 23, "bb", 0)
        self.evict()
        self.assertEqual(self.ino(), before)
        self.assertTrue(os.path.exists(self.path("z/bb/c/f")))

    def test_moved_by_others_while_closed(self):
        self.deep()
        before = self.ino()
        os.mkdir(self.path("z"))
        self.h.dir(23, WORKSPACE, "z", 0)
        os.rename(self.path("a/b"), self.path("z/bb"))
        self.h.settle()
        self.evict()
        self.assertEqual(self.ino(), before)

    def test_exchanged_by_request_while_closed(self):
        self.deep()
        before = self.ino()
        os.makedirs(self.path("other/deep"))
        self.h.dir(23, WORKSPACE, "other", 0)
        self.h.call(RENAME, WORKSPACE, "a", WORKSPACE, "other", 2)
        self.evict()
        self.assertEqual(self.ino(), before)
        self.h.attr(23, "deep", 0)

    def test_exchanged_by_others_while_closed(self):
        self.deep()
        before = self.ino()
        os.makedirs(self.path("other/deep"))
        self.h.dir(23, WORKSPACE, "other", 0)
        self.h.dir(WORKSPACE, WORKSPACE, b"", 0)
        import ctypes
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.renameat2(-100, self.path("a").encode(), -100,
                          self.path("other").encode(), 2):
            self.skipTest("no exchange here")
        self.h.settle()
        self.evict()
        self.assertEqual(self.ino(), before)
        self.h.attr(23, "deep", 0)

    def test_replaced_while_closed_is_stale(self):
        self.deep()
        self.h.call(DIR, 22, 21, "c", 0, False)
        self.h.call(DIR, 21, 20, "b", 0, False)
        self.evict()
        os.rename(self.path("a/b/c"), self.path("old"))
        os.mkdir(self.path("a/b/c"))
        self.make("a/b/c/f", b"another")
        self.fails(errno.ESTALE, self.ino)


if __name__ == "__main__":
    unittest.main()
