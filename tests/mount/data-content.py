#!/usr/bin/python3
"""Reading, writing, cutting, mapping and copying, and the flags of open(2):
what a program sees is what it would see on a local disk."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import ctypes, errno, fcntl, mmap, resource, signal, subprocess, tempfile
import threading, time, unittest
from sbxactors import Here, actor_in
from sbxmount import RUNS, SERVICE, FolderTest

KEEP, PUNCH, COLLAPSE, ZERO, INSERT = 1, 2, 8, 16, 32
libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = (ctypes.c_int,) * 2 + (ctypes.c_long,) * 2


def fallocate(fd, mode, offset, length):
    if libc.fallocate(fd, mode, offset, length):
        raise OSError(ctypes.get_errno(), "fallocate")


class ContentTest(FolderTest):
    def setUp(self):
        super().setUp()
        self.name = os.path.basename(self.dir)

    def fd(self, name, flags=os.O_RDWR | os.O_CREAT, mode=0o644):
        fd = os.open(self.path(name), flags, mode)
        self.addCleanup(os.close, fd)
        return fd

    def delay(self, ms):
        self.m.control("fault delay %d" % ms)
        self.addCleanup(self.m.control, "fault delay 0")

    def bytes_sent(self):
        """to the sandbox since the last call"""
        words = [l.split() for l in self.m.control("journal").splitlines()]
        return sum(int(w[3]) for w in words if w and w[0] == "type")


class Flags(ContentTest):
    def test_appending_loses_nothing(self):
        self.put("f", b"")
        n = 150
        write = ("exec('''\nop(1, \"f\", os.O_WRONLY | os.O_APPEND)\n"
                 "for i in range(%d):\n"
                 "  os.write(fds[1], b\"%%c%%04d%%s\\\\n\" %% (%d, i, b\"x\" * "
                 "(i * 7 %% 500)))\n''')")
        actors = [Here(self.dir), Here(self.dir)]
        actors += [actor_in(self.m, self.box, self.name) for _ in range(2)]
        for k, a in enumerate(actors):
            self.addCleanup(a.close)
            a.start("exec(%r)" % (write % (n, ord("a") + k)))
        for a in actors:
            self.assertIsNone(a.result())
        lines = self.get("f").splitlines()
        self.assertEqual(sorted(lines), sorted(
            b"%c%04d%s" % (c, i, b"x" * (i * 7 % 500))
            for c in b"abcd" for i in range(n)))
        # each in its own order
        for c in b"abcd":
            mine = [l for l in lines if l[0] == c]
            self.assertEqual(mine, sorted(mine))

    def test_a_record_across_pages_is_appended_as_one(self):
        def writes():
            with open(self.m.path(".sbxfs", "stats")) as f:
                return sum(int(l.split()[-1]) for l in f
                           if l.startswith("sbxfs_requests_total") and
                           'op="write"' in l.lower())
        name = self.put("f", b"x" * 4000)
        self.inside("stat f")
        fd = self.fd("f", os.O_WRONLY | os.O_APPEND)
        for i in range(5):
            before = writes()
            os.write(fd, b"y" * 3000)
            self.assertEqual(writes() - before, 1)
            self.assertEqual(self.get("f"), b"x" * 4000 + b"y" * 3000 * (i + 1))
        self.assertEqual(self.inside("cat f"), self.get("f"))
        self.assertEqual(os.stat(name).st_size, 19000)

    def test_two_descriptors_append(self):
        a = self.fd("f", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        b = self.fd("f", os.O_RDWR | os.O_APPEND)
        for i in range(50):
            os.write(a, b"a%d\n" % i)
            self.assertEqual(os.lseek(a, 0, os.SEEK_CUR),
                             os.fstat(a).st_size)
            os.write(b, b"b%d\n" % i)
        # an offset means nothing to it
        os.pwrite(a, b"end\n", 0)
        self.assertEqual(self.get("f"), b"".join(
            b"a%d\nb%d\n" % (i, i) for i in range(50)) + b"end\n")

    def test_one_of_many_creates_it(self):
        take = ("won = []\nfor i in range(30):\n  try:\n"
                "    os.close(os.open('x%d' % i, os.O_WRONLY | os.O_CREAT | "
                "os.O_EXCL))\n    won.append(i)\n"
                "  except FileExistsError: pass\n")
        actors = [Here(self.dir) for _ in range(12)]
        actors += [actor_in(self.m, self.box, self.name) for _ in range(4)]
        for a in actors:
            self.addCleanup(a.close)
        for a in actors:
            a.start("exec(%r, globals())" % take)
        for a in actors:
            a.result()
        won = sum((a("won") for a in actors), [])
        self.assertEqual(sorted(won), list(range(30)))

    def test_truncated_while_open(self):
        fd = self.fd("f")
        os.write(fd, b"0123456789")
        m = mmap.mmap(fd, 10)
        self.put("f", b"ab")
        self.assertEqual(os.fstat(fd).st_size, 2)
        self.assertEqual(os.pread(fd, 100, 0), b"ab")
        self.assertEqual(m[:10], b"ab" + bytes(8))
        os.write(fd, b"x")
        self.assertEqual(self.get("f"), b"ab" + bytes(8) + b"x")
        self.assertEqual(self.inside("wc -c < f"), b"11\n")
        self.inside(": > f")
        self.assertEqual(os.fstat(fd).st_size, 0)
        self.assertEqual(os.pread(fd, 100, 0), b"")
        m.close()

    def test_direct(self):
        fd = self.fd("f", os.O_RDWR | os.O_CREAT | os.O_DIRECT)
        page = mmap.mmap(-1, 8192)
        page[:] = bytes(range(256)) * 32
        self.assertEqual(os.pwrite(fd, page, 0), 8192)
        self.assertEqual(self.inside("wc -c < f"), b"8192\n")
        back = mmap.mmap(-1, 8192)
        self.assertEqual(os.preadv(fd, [back], 0), 8192)
        self.assertEqual(back[:], page[:])
        # unaligned ones work, too
        self.assertEqual(os.pwrite(fd, b"odd", 4095), 3)
        self.assertEqual(os.pread(fd, 5, 4094), b"\xfeodd\x02")
        # what others have cached is true
        with open(self.path("f"), "r+b", buffering=0) as f:
            f.read(10)
            os.pwrite(fd, b"direct", 0)
            self.assertEqual(os.pread(f.fileno(), 6, 0), b"direct")
            os.pwrite(f.fileno(), b"cached", 0)
            self.assertEqual(os.pread(fd, 6, 0), b"cached")
        with mmap.mmap(fd, 4096) as m:
            self.assertEqual(m[:6], b"cached")
            m[:6] = b"mapped"
            m.flush()
            self.assertEqual(os.pread(fd, 6, 0), b"mapped")

    def test_sync_writes_are_there(self):
        self.put("f", b"")
        self.delay(300)
        for flags, there in ((0, False), (os.O_SYNC, True),
                             (os.O_DSYNC, True)):
            fd = self.fd("f", os.O_WRONLY | flags)
            begin = time.monotonic()
            os.pwrite(fd, b"x", 0)
            took = time.monotonic() - begin
            if there:
                self.assertGreater(took, 0.25)
            os.fsync(fd)
        fd = self.fd("f")
        begin = time.monotonic()
        os.pwritev(fd, [b"y"], 0, os.RWF_DSYNC)
        self.assertGreater(time.monotonic() - begin, 0.25)

    def test_unnamed_files(self):
        self.fails(errno.EOPNOTSUPP, os.open, self.dir,
                   os.O_TMPFILE | os.O_RDWR, 0o600)
        with tempfile.TemporaryFile(dir=self.dir) as f:
            f.write(b"x")
            f.seek(0)
            self.assertEqual(f.read(), b"x")
        self.assertEqual(os.listdir(self.dir), [])

    def test_path_only(self):
        self.put("f", b"abc")
        fd = self.fd("f", os.O_PATH)
        self.assertEqual(os.fstat(fd).st_size, 3)
        self.fails(errno.EBADF, os.read, fd, 1)
        with open("/proc/self/fd/%d" % fd, "rb") as f:
            self.assertEqual(f.read(), b"abc")
        self.inside("printf defg > f")
        self.assertEqual(os.fstat(fd).st_size, 4)
        d = self.fd(".", os.O_PATH | os.O_DIRECTORY)
        self.assertEqual(os.stat("f", dir_fd=d).st_size, 4)


class Content(ContentTest):
    def test_at_and_beyond_the_end(self):
        fd = self.fd("f")
        self.assertEqual(os.pread(fd, 10, 0), b"")
        self.assertEqual(os.pread(fd, 10, 1 << 40), b"")
        os.pwrite(fd, b"end", 10000)
        self.assertEqual(os.pread(fd, 10, 9998), b"\0\0end")
        self.assertEqual(os.pread(fd, 4, 10003), b"")
        self.assertEqual(os.pwrite(fd, b"", 20000), 0)
        self.assertEqual(os.fstat(fd).st_size, 10003)
        self.fails(errno.EINVAL, os.pread, fd, 1, -1)
        self.fails(errno.EINVAL, os.pwrite, fd, b"x", -1)
        self.fails(errno.EINVAL, os.ftruncate, fd, -1)
        self.fails(errno.EFBIG, os.ftruncate, fd, (1 << 63) - 1)
        self.fails(errno.EINVAL, os.lseek, fd, -1, os.SEEK_SET)
        self.assertEqual(os.lseek(fd, -3, os.SEEK_END), 10000)
        self.assertEqual(os.read(fd, 100), b"end")
        d = os.open(self.dir, os.O_RDONLY)
        self.fails(errno.EISDIR, os.read, d, 1)
        os.close(d)
        self.fails(errno.EISDIR, os.open, self.dir, os.O_WRONLY)
        r = self.fd("f", os.O_RDONLY)
        self.fails(errno.EBADF, os.write, r, b"x")
        self.fails(errno.EINVAL, os.ftruncate, r, 1)
        w = self.fd("f", os.O_WRONLY)
        self.fails(errno.EBADF, os.read, w, 1)

    def test_large_and_sparse(self):
        fd = self.fd("f")
        far = 5 << 30
        os.pwrite(fd, b"far", far)
        os.pwrite(fd, b"4g", (4 << 30) - 1)
        st = os.fstat(fd)
        self.assertEqual(st.st_size, far + 3)
        os.fsync(fd)
        self.assertLess(os.fstat(fd).st_blocks, 2000)
        self.assertEqual(os.pread(fd, 4, (4 << 30) - 2), b"\x004g\0")
        self.assertEqual(os.pread(fd, 100, far), b"far")
        self.assertEqual(self.inside("tail -c 3 f; stat -c %s f"),
                         b"far%d\n" % (far + 3))
        with mmap.mmap(fd, 3, offset=far) as m:
            m[:3] = b"FAR"
        self.assertEqual(os.pread(fd, 100, far), b"FAR")
        os.ftruncate(fd, (6 << 30) + 1)
        self.assertEqual(os.pread(fd, 5, 6 << 30), b"\0")
        os.ftruncate(fd, 4 << 30)
        self.assertEqual(self.inside("stat -c %s f"), b"%d\n" % (4 << 30))

    def test_holes_and_what_is_not_sent_yet(self):
        fd = self.fd("f")
        os.ftruncate(fd, 1 << 20)
        self.delay(50)
        os.pwrite(fd, b"x" * 4096, 65536)
        self.assertEqual(os.lseek(fd, 0, os.SEEK_DATA), 65536)
        self.assertEqual(os.lseek(fd, 65536, os.SEEK_HOLE), 65536 + 4096)
        self.fails(errno.ENXIO, os.lseek, fd, 65536 + 4096, os.SEEK_DATA)
        self.fails(errno.ENXIO, os.lseek, fd, 1 << 20, os.SEEK_DATA)
        os.pwrite(fd, b"y", 1 << 20)
        self.assertEqual(os.lseek(fd, 1 << 20, os.SEEK_DATA), 1 << 20)
        self.assertEqual(os.lseek(fd, 0, os.SEEK_END), (1 << 20) + 1)

    def test_cut_while_writes_are_under_way(self):
        fd = self.fd("f")
        self.delay(50)
        for size in (1 << 20, 5000, 0, 1):
            os.pwrite(fd, b"x" * (1 << 19), 0)
            os.pwrite(fd, b"y" * (1 << 19), 1 << 19)
            os.ftruncate(fd, size)
            self.assertEqual(os.fstat(fd).st_size, size)
            os.pwrite(fd, b"z", (1 << 20) + 100)
            self.assertEqual(os.pread(fd, 20, size), bytes(20))
            self.assertEqual(os.fstat(fd).st_size, (1 << 20) + 101)
        self.assertEqual(self.inside("head -c 2 f | od -An -tx1"),
                         b" 78 00\n")

    def test_cut_while_mapped(self):
        fd = self.fd("f")
        os.pwrite(fd, b"x" * 20000, 0)
        with mmap.mmap(fd, 20000) as m:
            m[4090:4110] = b"m" * 20
            os.ftruncate(fd, 4100)
            self.assertEqual(m[4096:4106], b"m" * 4 + bytes(6))
            os.ftruncate(fd, 20000)
            self.assertEqual(m[4090:4110], b"m" * 10 + bytes(10))
            self.assertEqual(m[8192:20000], bytes(20000 - 8192))
            m[19999] = 1
            m.flush()
        self.assertEqual(self.inside("tail -c 1 f | od -An -tu1"), b"   1\n")
        self.assertEqual(os.pread(fd, 20, 4090), b"m" * 10 + bytes(10))

    def test_fallocate(self):
        fd = self.fd("f")
        os.pwrite(fd, b"x" * 10000, 0)
        fallocate(fd, 0, 0, 20000)
        self.assertEqual(os.fstat(fd).st_size, 20000)
        fallocate(fd, KEEP, 0, 1 << 20)
        st = os.fstat(fd)
        self.assertEqual(st.st_size, 20000)
        self.assertGreaterEqual(st.st_blocks * 512, 1 << 20)
        fallocate(fd, PUNCH | KEEP, 10, 100)
        self.assertEqual(os.pread(fd, 120, 0),
                         b"x" * 10 + bytes(100) + b"x" * 10)
        fallocate(fd, ZERO, 19000, 2000)
        self.assertEqual(os.fstat(fd).st_size, 21000)
        self.fails(errno.EINVAL, fallocate, fd, 0, 0, 0)
        self.fails(errno.EINVAL, fallocate, fd, 0, -1, 1)
        self.fails(errno.EOPNOTSUPP, fallocate, fd, PUNCH, 0, 1)
        # not through this kernel
        self.fails(errno.EOPNOTSUPP, fallocate, fd, COLLAPSE, 0, 4096)
        self.fails(errno.EOPNOTSUPP, fallocate, fd, INSERT, 0, 4096)
        r = self.fd("f", os.O_RDONLY)
        self.fails(errno.EBADF, fallocate, r, 0, 0, 1)
        os.posix_fallocate(fd, 0, 30000)
        self.assertEqual(os.fstat(fd).st_size, 30000)

    def test_sync_of_folders(self):
        for sync in (os.fsync, os.fdatasync):
            fd = os.open(self.dir, os.O_RDONLY)
            self.put("f", b"x")
            sync(fd)
            os.close(fd)

    def test_maps_are_one(self):
        fd = self.fd("f")
        os.ftruncate(fd, 10000)
        a = Here(self.dir)
        self.addCleanup(a.close)
        a("op(1, 'f')")
        a("exec('m = mmap.mmap(fds[1], 10000)', globals())")
        with mmap.mmap(fd, 10000) as m:
            m[:5] = b"hello"
            self.assertEqual(a("m[:5]"), b"hello")
            self.assertEqual(a("os.pread(fds[1], 5, 0)"), b"hello")
            os.pwrite(fd, b"J", 0)
            self.assertEqual(a("m[:5]"), b"Jello")
            a("exec('m[9999] = 7')")
            self.assertEqual(m[9999], 7)
            m.flush()
            self.assertEqual(self.inside("head -c 5 f"), b"Jello")
            # and what the sandbox writes is in it
            self.inside("printf HELLO | dd of=f conv=notrunc 2>/dev/null")
            self.assertEqual(m[:5], b"HELLO")
            self.assertEqual(a("m[:5]"), b"HELLO")
            p = mmap.mmap(fd, 10000, mmap.MAP_PRIVATE)
            p[:5] = b"mine!"
            self.assertEqual(m[:5], b"HELLO")
            p.close()
        a("m.close()")
        self.assertEqual(self.inside("tail -c 1 f | od -An -tu1"), b"   7\n")

    def test_copies_are_made_there(self):
        n = 3 << 20
        self.inside("head -c %d /dev/urandom > f" % n)
        os.mkdir(self.path("d"))
        a, b = self.fd("f"), self.fd("d/g")
        os.fstat(a)
        if SERVICE == "xgen":  # a stand-in counts no bytes
            self.bytes_sent()
        done = 0
        while done < n:
            k = os.copy_file_range(a, b, n - done, done, done)
            self.assertGreater(k, 0)
            done += k
        if SERVICE == "xgen":
            self.assertLess(self.bytes_sent(), 2000)
        self.assertEqual(os.fstat(b).st_size, n)
        self.assertEqual(self.inside("cmp f d/g && echo same"), b"same\n")
        self.assertEqual(os.pread(b, 1000, n - 1000),
                         os.pread(a, 1000, n - 1000))
        # past the end, over itself, and nothing
        self.assertEqual(os.copy_file_range(a, b, 100, n, 0), 0)
        self.assertEqual(os.copy_file_range(a, b, 100, n - 10, n + 5), 10)
        self.assertEqual(os.fstat(b).st_size, n + 15)
        self.fails(errno.EINVAL, os.copy_file_range, a, a, 100, 0, 50)
        self.assertEqual(os.copy_file_range(a, a, 100, 0, 200), 100)
        self.assertEqual(os.copy_file_range(a, b, 0, 0, 0), 0)
        # what was written just before is copied
        os.pwrite(a, b"just now", 0)
        os.copy_file_range(a, b, 8, 0, 0)
        self.assertEqual(os.pread(b, 8, 0), b"just now")
        with mmap.mmap(a, 4096) as m:
            m[:6] = b"mapped"
            os.copy_file_range(a, b, 8, 0, 0)
        self.assertEqual(os.pread(b, 8, 0), b"mappedow")

    def test_sendfile_and_splice(self):
        data = os.urandom(300000)
        a = os.open(self.put("f", data), os.O_RDONLY)
        self.addCleanup(os.close, a)
        b = self.fd("g")
        done = 0
        while done < len(data):
            done += os.sendfile(b, a, done, len(data) - done)
        self.assertEqual(self.get("g"), data)
        r, w = os.pipe()
        c = self.fd("h")
        done = 0
        while done < len(data):
            k = os.splice(a, w, 65536, offset_src=done)
            while k:
                j = os.splice(r, c, k)
                k -= j
                done += j
        os.close(r)
        os.close(w)
        self.assertEqual(self.inside("cmp f h && echo same"), b"same\n")

    def test_flags_of_one_call(self):
        fd = self.fd("f")
        self.assertEqual(os.pwritev(fd, [b"abc", b"def"], 0, os.RWF_SYNC), 6)
        self.assertEqual(os.pwritev(fd, [b"ghi"], 0, os.RWF_APPEND), 3)
        self.assertEqual(self.get("f"), b"abcdefghi")
        got = bytearray(9)
        self.assertEqual(os.preadv(fd, [got], 0, os.RWF_HIPRI), 9)
        self.assertEqual(got, b"abcdefghi")


class Errors(ContentTest):
    """what the sandbox cannot write is told once, to whom it concerns"""

    def setUp(self):
        super().setUp()
        # of the helper, which writes for us
        self.limit("100000")
        self.addCleanup(self.limit, "unlimited")

    def limit(self, size):
        if not RUNS:
            self.m.run("t", "prlimit --pid $PPID --fsize=%s:" % size)
            return
        for pid in self.m.helpers():  # whose child no command is there
            subprocess.run(["prlimit", "--pid", str(pid),
                            "--fsize=%s:" % size], check=True)

    def test_at_fsync(self):
        a, b = self.fd("a"), self.fd("b")
        os.write(a, b"x" * 200000)
        os.write(b, b"x" * 1000)
        os.fsync(b)
        self.fails(errno.EFBIG, os.fsync, a)
        os.fsync(a)
        self.assertEqual(os.fstat(a).st_size % 1000, 0)

    def test_at_close(self):
        fd = os.open(self.path("f"), os.O_RDWR | os.O_CREAT)
        other = self.fd("f")
        os.pwrite(fd, b"x", 200000)
        self.fails(errno.EFBIG, os.close, fd)
        # each open file hears of it once
        self.fails(errno.EFBIG, os.fsync, other)
        os.fsync(other)
        self.assertEqual(os.fstat(other).st_size, 0)
        self.assertEqual(os.pread(other, 10, 0), b"")

    def test_at_the_write(self):
        for flags in (os.O_SYNC, os.O_APPEND, os.O_DIRECT):
            fd = self.fd("f", os.O_RDWR | os.O_CREAT | flags)
            os.ftruncate(fd, 100000)
            self.fails(errno.EFBIG, os.pwrite, fd, b"x" * 10, 100000)
            os.fsync(fd)
            self.assertEqual(os.fstat(fd).st_size, 100000)

    def test_of_other_calls(self):
        fd = self.fd("f")
        self.fails(errno.EFBIG, os.ftruncate, fd, 200000)
        self.fails(errno.EFBIG, fallocate, fd, 0, 0, 200000)
        self.assertEqual(os.fstat(fd).st_size, 0)


if __name__ == "__main__":
    unittest.main()
