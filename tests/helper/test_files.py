"""File content, locks, sums."""

import errno
import fcntl
import os
import struct
import unittest

from helperlib import *

GET, SET, LOCK_WAIT, FLOCK, FLOCK_WAIT, CANCEL = 1, 2, 3, 4, 8, 16


class Files(HelperTest):
    def test_read_in_parts(self):
        data = os.urandom(300000)
        self.make("f", data)
        self.h.open(5, WORKSPACE, "f", 0)
        self.assertEqual(self.h.read(5, 0, 1 << 20), (data, True))
        self.assertEqual(self.h.read(5, 0, 300000), (data, False))
        self.assertEqual(self.h.read(5, 100, 64000),
                         (data[100:64100], False))
        self.assertEqual(self.h.read(5, 299990, 100), (data[-10:], True))
        self.assertEqual(self.h.read(5, 1 << 40, 100), (b"", True))
        self.assertEqual(self.h.read(5, 0, 65536 * 2),
                         (data[:65536 * 2], False))
        self.fails(errno.EINVAL, self.h.read, 5, 0, (1 << 20) + 1)

    def replace(self, data):
        self.make("new", data)
        os.rename(self.path("new"), self.path("v"))

    def test_what_was_looked_up_can_be_opened(self):
        """though another file has its name by now, once one came too late"""
        self.replace(b"one")
        ino = Attr(self.h.call(LOOKUP, WORKSPACE, "v", 0)[0]).ino
        keep = os.open(self.path("v"), os.O_RDONLY)  # the number is not free
        self.addCleanup(os.close, keep)
        self.replace(b"other")
        self.fails(errno.ESTALE, self.h.open, 5, WORKSPACE, "v", ino)
        ino = Attr(self.h.call(LOOKUP, WORKSPACE, "v", 0)[0]).ino
        self.replace(b"three")
        self.assertEqual(self.h.open(5, WORKSPACE, "v", ino).size, 5)
        self.assertEqual(self.h.read(5, 0, 10)[0], b"other")
        # a link, or nothing, in its place
        os.symlink("nowhere", self.path("link"))
        os.rename(self.path("link"), self.path("v"))
        self.h.open(7, WORKSPACE, "v", ino)
        self.assertEqual(self.h.read(7, 0, 10)[0], b"other")
        os.unlink(self.path("v"))
        self.fails(errno.ENOENT, self.h.open, 8, WORKSPACE, "v", ino)
        self.replace(b"four")
        # a number alone is nothing
        self.make("w")
        self.fails(errno.ESTALE, self.h.open, 8, WORKSPACE, "w", ino)
        self.fails(errno.ESTALE, self.h.open, 8, WORKSPACE, "v", ino + 12345)

    def test_what_was_told_can_be_opened(self):
        """as what was looked up, and no other file that has the number"""
        self.h.dir(WORKSPACE, WORKSPACE, "", 0)
        self.replace(b"none")
        self.fails(errno.ESTALE, self.h.open, 5, WORKSPACE, "v", 12345)
        self.h.changes()
        self.replace(b"one")
        ino = self.h.changes()[WORKSPACE, b"v"][1].ino
        self.replace(b"two")
        for i in range(20):
            self.make("f%d" % i, b"none of these has that number")
        self.h.open(5, WORKSPACE, "v", ino)
        self.assertEqual(self.h.read(5, 0, 100)[0], b"one")

    def test_what_was_gone_for_a_moment_can_be_opened(self):
        self.make("v", b"one")
        ino = Attr(self.h.call(LOOKUP, WORKSPACE, "v", 0)[0]).ino
        os.unlink(self.path("v"))
        self.fails(errno.ENOENT, self.h.open, 5, WORKSPACE, "v", ino)
        self.replace(b"two")
        ino = Attr(self.h.call(LOOKUP, WORKSPACE, "v", 0)[0]).ino
        self.replace(b"three")
        self.h.open(5, WORKSPACE, "v", ino)
        self.assertEqual(self.h.read(5, 0, 10)[0], b"two")

    def told(self, name, data=b"x"):
        """The number of a file that is another's name as soon as told."""
        self.make(name, data)
        ino = Attr(self.h.call(LOOKUP, WORKSPACE, name, 0)[0]).ino
        self.make("new")
        os.rename(self.path("new"), self.path(name))
        return ino

    def held(self):
        return len(os.listdir("/proc/%d/fd" % self.h.hello["pid"]))

    def too_late(self, name):
        self.make(name)
        self.fails(errno.ESTALE, self.h.open, 5, WORKSPACE, name, 12345)

    def test_what_was_listed_can_be_opened(self):
        for i, ask in enumerate((
                (LIST, WORKSPACE, 0),
                (TREE, WORKSPACE, 1000, 10, 10, 1000, 0, False))):
            self.too_late("v")
            self.replace(b"one")
            ino = os.stat(self.path("v")).st_ino
            self.h.call_parts(*ask)
            self.replace(b"two")
            self.h.open(20 + i, WORKSPACE, "v", ino)
            self.assertEqual(self.h.read(20 + i, 0, 100)[0], b"one")

    def test_others_do_not_crowd_out_what_was_asked_for(self):
        """what is held is what has the name that an OPEN was too late for"""
        self.too_late("v")
        ino = self.told("v", b"one")
        held = self.held()
        for i in range(100):
            self.told("f%d" % i)
        self.assertLess(self.held(), held + 10)  # names of the same hash
        self.h.open(5, WORKSPACE, "v", ino)
        self.assertEqual(self.h.read(5, 0, 100)[0], b"one")

    def test_not_too_many_are_held(self):
        none = self.held()
        self.too_late("v")
        self.make("v")
        keep = os.open(self.path("v"), os.O_RDONLY)  # the number is not free
        self.addCleanup(os.close, keep)
        inos = [self.told("v") for _ in range(600)]
        self.assertEqual(inos[0], os.fstat(keep).st_ino)
        self.assertGreater(self.held(), none + 100)
        self.assertLess(self.held(), none + 550)
        self.fails(errno.ESTALE, self.h.open, 5, WORKSPACE, "v", inos[0])
        for ino in inos[-20:]:
            self.h.open(5, WORKSPACE, "v", ino)
            self.h.call(CLOSE, 5)
        wait_for(lambda: self.held() == none, "them to be closed")

    def test_not_too_much_space_is_held(self):
        """but for the newest whatever its size"""
        self.too_late("v")
        inos = []
        for size in (40, 40, 40, 40, 140):
            with open(self.path("v"), "wb") as f:
                os.posix_fallocate(f.fileno(), 0, size << 20)
            inos.append(Attr(self.h.call(LOOKUP, WORKSPACE, "v", 0)[0]).ino)
            os.rename(self.path("v"), self.path("was%d" % len(inos)))
        self.make("v")
        for ino in inos[:-1]:
            self.fails(errno.ESTALE, self.h.open, 5, WORKSPACE, "v", ino)
        self.h.open(5, WORKSPACE, "v", inos[-1])

    def test_parts_are_small(self):
        self.make("f", b"x" * 300000)
        self.h.open(5, WORKSPACE, "f", 0)
        parts, (data, eof, *_) = self.h.call_parts(READ, 5, 0, 1 << 20)
        self.assertTrue(all(0 < len(p[0]) <= 65536 for p in parts))
        self.assertLessEqual(len(data), 65536)

    def test_many_large_reads_at_once(self):
        data = os.urandom(1 << 20)
        self.make("f", data)
        self.h.open(5, WORKSPACE, "f", 0)
        ids = self.h.post(*[(READ, 5, 0, 1 << 20)] * 40)
        ids += self.h.post((LOOKUP, WORKSPACE, "f", 0))
        for i in ids[:-1]:
            tail, eof, *_ = self.h.result(i)
            parts = self.h.parts.pop(i)
            self.assertEqual(b"".join(p[0] for p in parts) + tail, data)
        # small ones are not stuck behind large ones
        order = [m[1] for m in self.h.journal if m[0] == REPLY]
        self.assertLess(order.index(ids[-1]), 20)

    def test_write(self):
        self.h.create(5, WORKSPACE, "f")
        self.assertEqual(self.h.write(5, 3, b"abc").size, 6)
        self.assertEqual(self.h.write(5, 1 << 34, b"z").size, (1 << 34) + 1)
        self.assertEqual(self.h.read(5, 0, 8)[0], b"\0\0\0abc\0\0")
        self.h.open(6, WORKSPACE, "f", 0, flags=os.O_RDONLY)
        self.fails(errno.EBADF, self.h.write, 6, 0, b"x")

    def test_append_ignores_the_offset(self):
        self.make("f", b"abc")
        self.h.open(5, WORKSPACE, "f", 0, flags=os.O_WRONLY | os.O_APPEND)
        self.assertEqual(self.h.write(5, 0, b"def").size, 6)
        with open(self.path("f"), "rb") as f:
            self.assertEqual(f.read(), b"abcdef")

    def test_fsync(self):
        self.h.create(5, WORKSPACE, "f")
        self.h.write(5, 0, b"x")
        for data in (False, True):
            self.assertEqual(Attr(self.h.call(FSYNC, 5, data)[0]).size, 1)
        a = Attr(self.h.call(FSYNC, 0, False, WORKSPACE)[0])
        self.assertEqual(a.ino, os.stat(self.work).st_ino)
        self.fails(errno.ESTALE, self.h.call, FSYNC, 99, False)

    def test_close_waits_for_what_is_under_way(self):
        self.make("f", b"y" * (1 << 20))
        self.h.open(5, WORKSPACE, "f", 0)
        read, sync, close, again = self.h.post(
            (READ, 5, 0, 1 << 20), (FSYNC, 5, False), (CLOSE, 5),
            (READ, 5, 0, 10))
        self.assertEqual(len(b"".join(
            [p[0] for p in (self.h.wait(lambda: read in self.h.replies) and
                            self.h.parts[read])]))
            + len(self.h.result(read)[0]), 1 << 20)
        self.h.result(sync)
        self.h.result(close)
        self.fails(errno.ESTALE, self.h.result, again)
        order = [m[1] for m in self.h.journal if m[0] == REPLY]
        self.assertGreater(order.index(close), order.index(sync))

    def test_fallocate_and_seek(self):
        self.h.create(5, WORKSPACE, "f")
        a = Attr(self.h.call(FALLOCATE, 5, 0, 0, 1 << 20)[0])
        self.assertEqual(a.size, 1 << 20)
        self.h.write(5, 1 << 19, b"x")
        self.h.call(FALLOCATE, 5, 3, 0, 1 << 19)  # punch a hole
        self.assertEqual(self.h.call(SEEK, 5, 0, os.SEEK_DATA), [1 << 19])
        self.assertEqual(self.h.call(SEEK, 5, 0, os.SEEK_HOLE), [0])
        self.fails(errno.ENXIO, self.h.call, SEEK, 5, 1 << 21, os.SEEK_DATA)

    def test_copy(self):
        data = os.urandom(200000)
        self.make("a", data)
        self.h.open(5, WORKSPACE, "a", 0)
        self.h.create(6, WORKSPACE, "b")
        n, a = self.h.call(COPY, 5, 1000, 6, 10, 1 << 30, 0)
        self.assertEqual((n, Attr(a).size), (199000, 199010))
        with open(self.path("b"), "rb") as f:
            self.assertEqual(f.read(), b"\0" * 10 + data[1000:])

    def test_hash(self):
        def fnv(data):
            h = 0xcbf29ce484222325
            data += b"\0" * (-len(data) % 8)
            for (w,) in struct.iter_unpack("<Q", data):
                h = (h ^ w) * 0x100000001b3 & (2**64 - 1)
            return h
        data = os.urandom(300003)
        self.make("f", data)
        self.assertEqual(self.h.call(HASH, WORKSPACE, "f", 0, 0, 0),
                         [fnv(data), len(data)])
        self.assertEqual(self.h.call(HASH, WORKSPACE, "f", 0, 5, 1001),
                         [fnv(data[5:1006]), 1001])
        self.fails(errno.EISDIR, self.h.call, HASH, WORKSPACE, b"", 0, 0, 0)

    def test_fifo_and_device_do_not_hang(self):
        os.mkfifo(self.path("p"))
        self.fails(errno.ENXIO, self.h.open, 5, WORKSPACE, "p", 0,
                   flags=os.O_WRONLY)
        self.h.open(5, WORKSPACE, "p", 0)
        self.h.read(5, 0, 10)
        self.h.dir(20, ROOT, "dev", 0)
        self.h.open(6, 20, "null", 0, flags=os.O_RDWR)
        self.assertEqual(self.h.read(6, 0, 10), (b"", True))
        self.h.settle()

    def test_batch(self):
        replies = self.h.call(BATCH, False, [
            [MKDIR, 0, WORKSPACE, "d", 0o755],
            [MKDIR, 0, WORKSPACE, "d", 0o755],
            [DIR, 0, 20, WORKSPACE, "d", 0, True],
            [CREATE, 0, 20, "f", 5, os.O_RDWR, 0o644],
            [WRITE, 0, 5, 0, b"hello"],
            [READ, 0, 5, 0, 100],
            [LIST, 0, 20, 0],
            [CLOSE, 0, 5]])[0]
        self.assertEqual([r[0] for r in replies],
                         [0, errno.EEXIST, 0, 0, 0, 0, errno.EOPNOTSUPP, 0])
        self.assertEqual(replies[5][1:3], [b"hello", True])
        replies = self.h.call(BATCH, True, [
            [UNLINK, 0, 20, "f", 0], [UNLINK, 0, 20, "f", 0],
            [RMDIR, 0, WORKSPACE, "d", 0]])[0]
        self.assertEqual([r[0] for r in replies], [0, errno.ENOENT])
        self.assertTrue(os.path.isdir(self.path("d")))

    def test_batch_reply_is_bounded(self):
        self.make("f", b"x" * 60000)
        self.h.open(5, WORKSPACE, "f", 0)
        replies = self.h.call(BATCH, False, [[READ, 0, 5, 0, 60000]] * 100)[0]
        self.assertEqual(len(replies), 100)
        self.assertEqual(replies[0][0], 0)
        self.assertEqual(replies[99], [errno.ENOBUFS])


class Content(HelperTest):
    """what files hold, before anybody asks"""

    def content(self, names, limit=1 << 20):
        wanted = [[n, os.lstat(self.path(n)).st_ino if os.path.lexists(
            self.path(n)) else 1] for n in names]
        parts, (count,) = self.h.call_parts(CONTENT, WORKSPACE, limit, wanted)
        found = [e for p in parts for e in p[0]]
        self.assertEqual(len(found), count)
        return found

    def test_in_their_order(self):
        files = {"f%d" % i: os.urandom(i * 400) for i in range(150)}
        for name, data in files.items():
            self.make(name, data)
        names = sorted(files, reverse=True)
        self.assertEqual(self.content(names), [files[n] for n in names])
        self.assertEqual(self.content(names, 4000),
                         [files[n] if len(files[n]) <= 4000 else None
                          for n in names])

    def test_of_small_files_only(self):
        self.make("small", b"s" * 65536)
        self.make("large", b"s" * 65537)
        self.make("empty")
        os.mkdir(self.path("dir"))
        os.mkfifo(self.path("pipe"))
        os.symlink("small", self.path("link"))
        self.assertEqual(
            self.content(["large", "dir", "pipe", "link", "none", "empty",
                          "small"]),
            [None, None, None, None, None, b"", b"s" * 65536])

    def test_of_that_very_file(self):
        self.make("f", b"data")
        ino = os.stat(self.path("f")).st_ino
        parts, _ = self.h.call_parts(CONTENT, WORKSPACE, 100,
                                     [["f", ino + 1], ["f", ino]])
        self.assertEqual(parts[0][0], [None, b"data"])

    def test_does_not_count_as_read(self):
        self.make("f", b"data")
        os.utime(self.path("f"), (1, 2))
        self.assertEqual(self.content(["f"]), [b"data"])
        self.assertEqual(self.h.call(LOOKUP, WORKSPACE, "f", 0, 100)[1],
                         b"data")
        self.assertEqual(os.stat(self.path("f")).st_atime, 1)

    def test_with_a_lookup(self):
        self.make("f", b"data")
        os.mkfifo(self.path("pipe"))
        attr, data = self.h.call(LOOKUP, WORKSPACE, "f", 0, 4)
        self.assertEqual((Attr(attr).size, data), (4, b"data"))
        self.assertIsNone(self.h.call(LOOKUP, WORKSPACE, "f", 0, 3)[1])
        self.assertIsNone(self.h.call(LOOKUP, WORKSPACE, "f", 0)[1])
        self.assertIsNone(self.h.call(LOOKUP, WORKSPACE, "pipe", 0, 9)[1])

    def test_wrong_requests(self):
        self.fails(errno.EINVAL, self.h.call, CONTENT, WORKSPACE, 9,
                   [["f", 1]] * 257)
        self.fails(errno.EINVAL, self.h.call, CONTENT, WORKSPACE, 9,
                   [["", 1]])
        self.fails(errno.EINVAL, self.h.call, CONTENT, WORKSPACE, 9,
                   [["f/g", 1]])
        self.fails(errno.ESTALE, self.h.call, CONTENT, 99, 9, [["f", 1]])
        self.assertEqual(self.h.call(CONTENT, WORKSPACE, 9, []), [0])


class Locks(HelperTest):
    def setUp(self):
        super().setUp()
        self.make("f", b"0123456789")
        self.h.open(5, WORKSPACE, "f", 0, flags=os.O_RDWR)
        self.h.open(6, WORKSPACE, "f", 0, flags=os.O_RDWR)

    def lock(self, handle, kind, kind2, start=0, length=0, owner=1):
        return self.h.call(LOCK, handle, kind, kind2, start, length, owner)

    def test_owners_of_one_handle_conflict(self):
        self.lock(5, SET, fcntl.F_WRLCK, 0, 5, owner=1)
        self.lock(5, SET, fcntl.F_WRLCK, 5, 5, owner=2)
        self.fails(errno.EAGAIN, self.lock, 5, SET, fcntl.F_RDLCK, 0, 1,
                   owner=2)
        got = self.lock(5, GET, fcntl.F_WRLCK, 0, 10, owner=3)
        self.assertEqual(got[:3], [fcntl.F_WRLCK, 0, 5])
        self.lock(5, SET, fcntl.F_UNLCK, 0, 0, owner=1)
        self.lock(5, SET, fcntl.F_RDLCK, 0, 1, owner=2)
        self.assertEqual(self.lock(5, GET, fcntl.F_RDLCK, 0, 1, owner=2)[0],
                         fcntl.F_UNLCK)

    def test_local_processes_see_them(self):
        self.lock(5, SET, fcntl.F_WRLCK, 0, 5)
        with open(self.path("f"), "r+b") as f:
            with self.assertRaises(OSError):
                fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 0)
            self.h.call(CLOSE, 5)
            fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 0)

    def test_waiting_holds_nothing_up(self):
        self.lock(5, SET, fcntl.F_WRLCK, owner=1)
        waiting = self.h.post((LOCK, 6, LOCK_WAIT, fcntl.F_WRLCK, 0, 0, 2))[0]
        self.h.attr(WORKSPACE, "f", 0)
        self.assertNotIn(waiting, self.h.replies)
        self.lock(5, SET, fcntl.F_UNLCK, owner=1)
        self.h.result(waiting)
        self.fails(errno.EAGAIN, self.lock, 5, SET, fcntl.F_RDLCK, owner=1)

    def test_unlocking_and_closing_give_up_waiting(self):
        self.lock(5, SET, fcntl.F_WRLCK, owner=1)
        a, b = self.h.post((LOCK, 6, LOCK_WAIT, fcntl.F_WRLCK, 0, 0, 2),
                           (LOCK, 6, LOCK_WAIT, fcntl.F_WRLCK, 0, 0, 3))
        self.lock(6, SET, fcntl.F_UNLCK, owner=2)
        self.fails(errno.EINTR, self.h.result, a)
        self.assertNotIn(b, self.h.replies)
        self.h.call(CLOSE, 6)
        self.fails(errno.EINTR, self.h.result, b)
        self.lock(5, SET, fcntl.F_UNLCK, owner=1)

    def test_giving_up_unlocks_nothing(self):
        self.lock(5, SET, fcntl.F_WRLCK, owner=1)
        self.lock(6, SET, fcntl.F_UNLCK, owner=2)
        waiting = self.h.post((LOCK, 5, LOCK_WAIT, fcntl.F_WRLCK, 0, 0, 0))[0]
        self.lock(5, CANCEL | LOCK_WAIT, fcntl.F_UNLCK, owner=1)
        self.assertNotIn(waiting, self.h.replies)
        self.lock(5, CANCEL | LOCK_WAIT, fcntl.F_UNLCK, owner=0)
        self.fails(errno.EINTR, self.h.result, waiting)
        self.fails(errno.EAGAIN, self.lock, 6, SET, fcntl.F_RDLCK, owner=2)

    def test_flock(self):
        self.lock(5, FLOCK, fcntl.F_WRLCK, owner=1)
        self.fails(errno.EAGAIN, self.lock, 5, FLOCK, fcntl.F_RDLCK, owner=2)
        self.lock(6, SET, fcntl.F_WRLCK, owner=2)  # another kind
        waiting = self.h.post((LOCK, 6, FLOCK_WAIT, fcntl.F_RDLCK, 0, 0,
                               2))[0]
        self.h.settle()
        self.assertNotIn(waiting, self.h.replies)
        self.lock(5, FLOCK, fcntl.F_UNLCK, owner=1)
        self.h.result(waiting)


if __name__ == "__main__":
    unittest.main()
