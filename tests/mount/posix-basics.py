#!/usr/bin/python3
"""File operations through the mount give what a local folder gives."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import errno, fcntl, mmap, stat, threading, unittest
from sbxmount import FolderTest


class Basics(FolderTest):
    def test_rename_over_open_file(self):
        self.put("a", b"new")
        b = self.put("b", b"old")
        with open(b, "rb") as f:
            os.rename(self.path("a"), b)
            self.assertEqual(f.read(), b"old")
            self.assertEqual(os.fstat(f.fileno()).st_nlink, 0)
        self.assertEqual(self.get("b"), b"new")
        self.assertEqual(os.listdir(self.dir), ["b"])

    def test_unlink_while_open(self):
        p = self.put("a", b"kept")
        with open(p, "r+b") as f:
            os.unlink(p)
            self.assertEqual(f.read(), b"kept")
            f.write(b" and more")
            f.flush()
            self.assertEqual(os.fstat(f.fileno()).st_size, 13)
            f.seek(0)
            self.assertEqual(f.read(), b"kept and more")
            os.ftruncate(f.fileno(), 4)
            os.fchmod(f.fileno(), 0o600)
            self.assertEqual(os.fstat(f.fileno()).st_size, 4)
        self.fails(errno.ENOENT, os.stat, p)

    def test_hard_links_share_everything(self):
        p = self.put("a", b"1")
        os.link(p, self.path("b"))
        a, b = os.stat(p), os.stat(self.path("b"))
        self.assertEqual((a.st_ino, a.st_nlink), (b.st_ino, 2))
        with open(self.path("b"), "ab") as f:
            f.write(b"2")
        self.assertEqual(self.get("a"), b"12")
        os.chmod(p, 0o640)
        self.assertEqual(stat.S_IMODE(os.stat(self.path("b")).st_mode), 0o640)
        os.unlink(p)
        self.assertEqual(os.stat(self.path("b")).st_nlink, 1)

    def test_symlinks(self):
        os.symlink("target/not/there", self.path("l"))
        self.assertEqual(os.readlink(self.path("l")), "target/not/there")
        self.fails(errno.ENOENT, os.stat, self.path("l"))
        os.symlink("loop", self.path("loop"))
        self.fails(errno.ELOOP, os.stat, self.path("loop"))
        long = "x" * 4000
        os.symlink(long, self.path("long"))
        self.assertEqual(os.readlink(self.path("long")), long)

    def test_exclusive_create(self):
        self.put("a")
        self.fails(errno.EEXIST, os.open, self.path("a"),
                   os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        self.fails(errno.EEXIST, os.mkdir, self.path("a"))
        self.fails(errno.EEXIST, os.symlink, "x", self.path("a"))

    def test_exclusive_race_has_one_winner(self):
        wins = []

        def racer():
            try:
                os.close(os.open(self.path("r"),
                                 os.O_CREAT | os.O_EXCL | os.O_WRONLY))
                wins.append(1)
            except FileExistsError:
                pass
        ts = [threading.Thread(target=racer) for _ in range(16)]
        [t.start() for t in ts]
        [t.join() for t in ts]
        self.assertEqual(len(wins), 1)

    def test_append_from_two_at_once(self):
        p = self.put("log", b"")

        def writer(c):
            fd = os.open(p, os.O_WRONLY | os.O_APPEND)
            for _ in range(200):
                os.write(fd, c * 50 + b"\n")
            os.close(fd)
        ts = [threading.Thread(target=writer, args=(c,)) for c in (b"a", b"b")]
        [t.start() for t in ts]
        [t.join() for t in ts]
        lines = self.get("log").split(b"\n")
        self.assertEqual(len(lines), 401)
        self.assertEqual({x for x in lines if x}, {b"a" * 50, b"b" * 50})

    def test_truncate_and_holes(self):
        p = self.put("f", b"0123456789")
        os.truncate(p, 4)
        self.assertEqual(self.get("f"), b"0123")
        os.truncate(p, 100000)
        self.assertEqual(self.get("f"), b"0123" + bytes(99996))
        with open(p, "r+b") as f:
            f.seek(5_000_000_000)
            f.write(b"end")
        self.assertEqual(os.stat(p).st_size, 5_000_000_003)
        self.assertLess(os.stat(p).st_blocks, 1000)
        fd = os.open(p, os.O_RDONLY)
        self.assertEqual(os.pread(fd, 10, 5_000_000_000), b"end")
        self.assertEqual(os.pread(fd, 10, 6_000_000_000), b"")
        self.assertLessEqual(os.lseek(fd, 4_999_000_000, os.SEEK_DATA),
                             5_000_000_000)
        os.close(fd)

    def test_mmap_shared(self):
        p = self.put("m", bytes(20000))
        with open(p, "r+b") as f, mmap.mmap(f.fileno(), 0) as m:
            m[5:10] = b"hello"
            m[19999:20000] = b"!"
            m.flush()
            self.assertEqual(os.pread(f.fileno(), 5, 5), b"hello")
        data = self.get("m")
        self.assertEqual(data[5:10] + data[-1:], b"hello!")
        self.assertEqual(self.inside("head -c 10 m | tail -c 5"), b"hello")

    def test_modes_and_times(self):
        p = self.put("f")
        os.chmod(p, 0o4751)
        self.assertEqual(stat.S_IMODE(os.stat(p).st_mode), 0o4751)
        os.utime(p, ns=(1_000_000_001, 2_000_000_000_123_456_789))
        st = os.stat(p)
        self.assertEqual((st.st_atime_ns, st.st_mtime_ns),
                         (1_000_000_001, 2_000_000_000_123_456_789))
        old = os.umask(0o027)
        try:
            os.mkdir(self.path("d"), 0o777)
            os.close(os.open(self.path("g"), os.O_CREAT | os.O_WRONLY, 0o666))
        finally:
            os.umask(old)
        self.assertEqual(stat.S_IMODE(os.stat(self.path("d")).st_mode), 0o750)
        self.assertEqual(stat.S_IMODE(os.stat(self.path("g")).st_mode), 0o640)

    def test_directories(self):
        os.makedirs(self.path("a/b/c"))
        self.put("a/b/c/f")
        self.fails(errno.ENOTEMPTY, os.rmdir, self.path("a"))
        self.fails(errno.ENOTDIR, os.rmdir, self.path("a/b/c/f"))
        self.fails(errno.ENOTDIR, os.stat, self.path("a/b/c/f/x"))
        os.rename(self.path("a/b"), self.path("z"))
        self.assertEqual(self.get("z/c/f"), b"x")
        self.fails(errno.EINVAL, os.rename, self.path("z"), self.path("z/c/y"))
        self.assertEqual(os.stat(self.path("a")).st_nlink, 2)
        self.fails(errno.ENAMETOOLONG, os.mkdir, self.path("n" * 256))
        os.mkdir(self.path("n" * 255))

    def test_rename_flags(self):
        import ctypes
        libc = ctypes.CDLL(None, use_errno=True)

        def rename2(a, b, flags):
            r = libc.renameat2(-100, self.path(a).encode(), -100,
                               self.path(b).encode(), flags)
            return ctypes.get_errno() if r else 0
        self.put("a", b"a")
        self.put("b", b"b")
        self.assertEqual(rename2("a", "b", 1), errno.EEXIST)
        self.assertEqual(rename2("a", "b", 2), 0)
        self.assertEqual((self.get("a"), self.get("b")), (b"b", b"a"))
        self.assertEqual(rename2("a", "c", 1), 0)
        self.assertEqual(sorted(os.listdir(self.dir)), ["b", "c"])

    def test_names_of_any_bytes(self):
        raw = os.fsencode(self.dir)
        names = [b"\xff\xfe", b"new\nline", b"-rf", b" ", b"\x01", b"*", b"a\\b"]
        for n in names:
            with open(os.path.join(raw, n), "wb") as f:
                f.write(n)
        self.assertEqual(sorted(os.listdir(raw)), sorted(names))
        for n in names:
            with open(os.path.join(raw, n), "rb") as f:
                self.assertEqual(f.read(), n)

    def test_listing_while_changing(self):
        for i in range(500):
            self.put("f%d" % i, b"")
        with os.scandir(self.dir) as it:
            seen = [next(it).name for _ in range(10)]
            for i in range(0, 500, 2):
                os.unlink(self.path("f%d" % i))
            for i in range(100):
                self.put("g%d" % i, b"")
            seen += [e.name for e in it]
        self.assertEqual(len(seen), len(set(seen)))
        for i in range(1, 500, 2):
            self.assertIn("f%d" % i, seen)

    def test_xattrs(self):
        p = self.put("f")
        self.assertEqual(os.listxattr(p), [])
        self.fails(errno.ENODATA, os.getxattr, p, "user.a")
        try:
            os.setxattr(p, "user.a", b"\0value")
        except OSError as e:
            self.assertEqual(e.errno, errno.EOPNOTSUPP)
            return
        self.assertEqual(os.getxattr(p, "user.a"), b"\0value")
        self.assertEqual(os.listxattr(p), ["user.a"])
        self.fails(errno.EEXIST, os.setxattr, p, "user.a", b"", os.XATTR_CREATE)
        os.removexattr(p, "user.a")
        self.assertEqual(os.listxattr(p), [])

    def test_locks_between_programs(self):
        p = self.put("f")
        a = open(p, "r+b")
        b = open(p, "r+b")
        fcntl.flock(a, fcntl.LOCK_EX)
        self.fails(errno.EAGAIN, fcntl.flock, b, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(a, fcntl.LOCK_UN)
        fcntl.flock(b, fcntl.LOCK_EX | fcntl.LOCK_NB)
        a.close()
        b.close()

    def test_copy_range_and_fallocate(self):
        src = self.put("src", os.urandom(300000))
        a = os.open(src, os.O_RDONLY)
        b = os.open(self.path("dst"), os.O_CREAT | os.O_RDWR, 0o644)
        n = 0
        while n < 300000:
            n += os.copy_file_range(a, b, 300000 - n, n, n)
        os.close(a)
        self.assertEqual(self.get("dst"), self.get("src"))
        os.posix_fallocate(b, 300000, 100000)
        self.assertEqual(os.fstat(b).st_size, 400000)
        os.close(b)

    def test_fifo_and_socket(self):
        os.mkfifo(self.path("p"))
        self.assertTrue(stat.S_ISFIFO(os.stat(self.path("p")).st_mode))

        def writer():
            with open(self.path("p"), "wb") as f:
                f.write(b"through")
        t = threading.Thread(target=writer)
        t.start()
        self.assertEqual(self.get("p"), b"through")
        t.join()

    def test_big_file_round_trip(self):
        data = os.urandom(1 << 20) * 24
        p = self.put("big", data)
        self.assertEqual(os.stat(p).st_size, len(data))
        self.assertEqual(self.get("big"), data)
        import hashlib
        self.assertEqual(self.inside("sha256sum big").split()[0].decode(),
                         hashlib.sha256(data).hexdigest())

    def test_write_is_seen_by_other_handles(self):
        p = self.put("f", b"aaaa")
        with open(p, "rb", buffering=0) as r, open(p, "r+b", buffering=0) as w:
            self.assertEqual(r.read(), b"aaaa")
            for i in range(50):
                w.seek(0)
                w.write(b"%04d" % i)
                r.seek(0)
                self.assertEqual(r.read(), b"%04d" % i)

    def test_statfs(self):
        st = os.statvfs(self.dir)
        self.assertGreater(st.f_blocks, 0)
        self.assertEqual(st.f_namemax, 255)

    def test_what_the_user_may_not_do(self):
        root = os.path.join(self.box, "root")
        self.assertTrue(os.path.exists(os.path.join(root, "etc/passwd")))
        with self.assertRaises(OSError) as e:
            open(os.path.join(root, "etc/sbxfs-test"), "w")
        self.assertIn(e.exception.errno,
                      (errno.EACCES, errno.EPERM, errno.EROFS))


if __name__ == "__main__":
    unittest.main()
