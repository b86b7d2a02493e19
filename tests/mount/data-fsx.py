#!/usr/bin/python3
"""One file, everything that can be done to its content in random order, and a
model of it in memory: they must agree after each step.

    SECONDS=600 SEED=7 CUT=3 DELAY=20 tests/mount/data-fsx.py [Fsx.test_...]

makes it longer, repeats one, cuts the connection every 3 seconds, and has the
answers come 20 ms late.
"""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import collections, ctypes, errno, fcntl, mmap, random, struct, threading, time
import unittest
from sbxactors import actor_in
from sbxmount import Mount, RUNS

PAGE = mmap.PAGESIZE
KEEP, PUNCH, COLLAPSE, ZERO, INSERT = 1, 2, 8, 16, 32
FICLONE, FICLONERANGE, FIDEDUPERANGE = 0x40049409, 0x4020940d, 0xc0189436
MS_INVALIDATE, MS_SYNC = 2, 4
libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_long,
                           ctypes.c_long)


def fallocate(fd, mode, offset, length):
    if libc.fallocate(fd, mode, offset, length):
        raise OSError(ctypes.get_errno(), "fallocate")


class Wrong(Exception):
    pass


class File:
    """The file under test and its model"""

    def __init__(self, path, rnd, maps, inside=None, limit=None):
        self.path, self.r, self.inside = path, rnd, inside
        self.model = bytearray()
        self.log = collections.deque(maxlen=60)
        self.limit = limit or PAGE * rnd.choice((3, 40, 200, 200, 1500))
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        self.second = self.append = self.direct = None
        self.map = None  # one that stays, of all pages there are
        self.missing = set()
        self.ops = [self.read] * 6 + [self.write] * 10 + [
            self.truncate, self.truncate, self.allocate, self.punch,
            self.zero, self.copy, self.copy, self.sync, self.reopen,
            self.append_write, self.append_write, self.holes, self.check,
            self.open_truncate, self.collapse, self.insert, self.size,
            self.many, self.vectors, self.vectors, self.append_once,
            self.through_pipe, self.forget, self.clone, self.direct_write,
            self.direct_write, self.direct_read, self.written_through]
        if maps:
            self.ops += [self.map_read] * 4 + [self.map_write] * 6 + [
                self.map_keep, self.map_keep_write, self.map_keep_write,
                self.map_private, self.map_invalidate]
        if inside:
            self.ops += [self.other] * 6

    def close(self):
        for fd in (self.fd, self.second, self.append, self.direct):
            if fd is not None:
                os.close(fd)
        self.fd = self.second = self.append = self.direct = None
        if self.map:
            self.map.close()
            self.map = None

    # where

    def offset(self, top):
        r = self.r
        x = r.randrange(top + 1)
        how = r.randrange(4)
        if how == 0:
            x -= x % PAGE
        elif how == 1:
            x = min(top, max(0, len(self.model) + r.randrange(-9, 10)))
        return x

    def span(self, top):
        """a range that is not empty"""
        off = self.offset(top - 1)
        most = top - off
        n = self.r.choice((1, 7, 100, PAGE, 3 * PAGE, 20 * PAGE, 40 * PAGE,
                           self.limit // 3))
        return off, self.r.randrange(1, min(most, n) + 1)

    def some(self, n):
        return self.r.randbytes(n)

    def any_fd(self):
        return self.r.choice([f for f in (self.fd, self.fd, self.second)
                              if f is not None])

    def note(self, *what):
        self.log.append(what)

    def put(self, off, data):
        m = self.model
        if off > len(m):
            m.extend(bytes(off - len(m)))
        m[off:off + len(data)] = data

    def cut(self, n):
        m = self.model
        if n < len(m):
            del m[n:]
        else:
            m.extend(bytes(n - len(m)))

    def same(self, got, off, n, how):
        want = bytes(self.model[off:off + n])
        if got == want:
            return
        k = next((k for k in range(min(len(got), len(want)))
                  if got[k] != want[k]), min(len(got), len(want)))
        raise Wrong("%s at %d+%d: %d bytes for %d, different from %d on: "
                    "%r for %r" % (how, off, n, len(got), len(want), off + k,
                                   got[k:k + 16], want[k:k + 16]))

    # operations

    def read(self):
        off, n = self.span(self.limit + PAGE)
        self.note("read", off, n)
        self.same(os.pread(self.any_fd(), n, off), off, n, "read")

    def write(self):
        off, n = self.span(self.limit)
        data = self.some(n)
        self.note("write", off, n)
        if os.pwrite(self.any_fd(), data, off) != n:
            raise Wrong("short write")
        self.put(off, data)

    def many(self):
        """small ones, one after the other, and the file cut meanwhile"""
        off = self.offset(self.limit)
        fd = self.any_fd()
        self.note("many", off)
        for k in range(self.r.randrange(2, 30)):
            n = self.r.randrange(1, 300)
            if off + n > self.limit:
                break
            data = self.some(n)
            os.pwrite(fd, data, off)
            self.put(off, data)
            off += n
        if self.r.randrange(2):
            self.truncate()

    def append_write(self):
        n = min(self.r.randrange(1, 3 * PAGE), self.limit - len(self.model))
        if n <= 0:
            return
        if self.append is None:
            self.append = os.open(self.path, os.O_RDWR | os.O_APPEND)
        data = self.some(n)
        self.note("append", len(self.model), n)
        os.write(self.append, data)
        self.model += data
        at = os.lseek(self.append, 0, os.SEEK_CUR)
        if at != len(self.model):
            raise Wrong("position %d after an append to %d"
                        % (at, len(self.model)))

    def vectors(self):
        """several buffers at once, read or written"""
        off, n = self.span(self.limit)
        cuts = sorted(self.r.randrange(n + 1) for _ in range(4))
        sizes = [b - a for a, b in zip([0] + cuts, cuts + [n])]
        self.note("vectors", off, sizes)
        if self.r.randrange(2):
            bufs = [bytearray(k) for k in sizes]
            k = os.preadv(self.any_fd(), bufs, off)
            self.same(b"".join(bufs)[:k], off, n, "preadv")
            return
        bufs = [self.some(k) for k in sizes]
        flags = self.r.choice((0, 0, os.RWF_DSYNC, os.RWF_SYNC))
        if os.pwritev(self.any_fd(), bufs, off, flags) != n:
            raise Wrong("short pwritev")
        self.put(off, b"".join(bufs))

    def append_once(self):
        """by a descriptor that does not append otherwise"""
        n = min(self.r.randrange(1, 2 * PAGE), self.limit - len(self.model))
        if n <= 0:
            return
        data = self.some(n)
        self.note("RWF_APPEND", len(self.model), n)
        os.pwritev(self.any_fd(), [data], 0, os.RWF_APPEND)
        self.model += data

    def through_pipe(self):
        """pages that change hands: splice and sendfile"""
        off, n = self.span(self.limit)
        n = min(n, 8 * PAGE)
        how = self.r.choice(("splice from", "splice to", "sendfile"))
        self.note(how, off, n)
        r, w = os.pipe()
        try:
            if how == "splice to":
                data, k = self.some(n), 0
                os.write(w, data)
                while k < n:
                    k += os.splice(r, self.any_fd(), n - k,
                                   offset_dst=off + k)
                self.put(off, data)
                return
            if how == "sendfile":
                k = os.sendfile(w, self.any_fd(), off, n)
            else:
                k = os.splice(self.any_fd(), w, n, offset_src=off)
            if off < len(self.model) and not k:
                raise Wrong("nothing spliced")
            if k:
                self.same(os.read(r, k), off, k, how)
        finally:
            os.close(r)
            os.close(w)

    def forget(self):
        """the kernel need not keep its pages"""
        self.note("fadvise")
        os.posix_fadvise(self.any_fd(), 0, 0, self.r.choice(
            (os.POSIX_FADV_DONTNEED, os.POSIX_FADV_WILLNEED,
             os.POSIX_FADV_RANDOM, os.POSIX_FADV_NORMAL)))

    def clone(self):
        """shares nothing here: refused, and nothing is changed by it"""
        self.note("clone")
        n = len(self.model)
        tries = ((FICLONE, self.fd),
                 (FICLONERANGE, struct.pack("qQQQ", self.fd, 0, 0, 0)),
                 (FIDEDUPERANGE, struct.pack("QQHHIqQQiI", 0, n, 1, 0, 0,
                                             self.fd, n, 0, 0, 0)))
        for request, arg in tries:
            try:
                fcntl.ioctl(self.any_fd(), request, arg)
            except OSError as e:
                if e.errno not in (errno.EOPNOTSUPP, errno.EINVAL,
                                   errno.ENOTTY):
                    raise

    def direct_fd(self):
        if self.direct is None:
            self.direct = os.open(self.path, os.O_RDWR | os.O_DIRECT)
        return self.direct

    def direct_write(self):
        pages = self.r.randrange(1, min(40, self.limit // PAGE) + 1)
        off = self.r.randrange(self.limit // PAGE - pages + 1) * PAGE
        data = self.some(pages * PAGE)
        self.note("O_DIRECT write", off, len(data))
        with mmap.mmap(-1, len(data)) as buf:
            buf[:] = data
            if os.pwrite(self.direct_fd(), buf, off) != len(data):
                raise Wrong("short write")
        self.put(off, data)

    def direct_read(self):
        off = self.r.randrange(self.limit // PAGE) * PAGE
        n = self.r.randrange(1, 40) * PAGE
        self.note("O_DIRECT read", off, n)
        with mmap.mmap(-1, n) as buf:
            k = os.preadv(self.direct_fd(), [buf], off)
            self.same(buf[:k], off, n, "O_DIRECT read")

    def written_through(self):
        off, n = self.span(self.limit)
        data = self.some(n)
        self.note("O_SYNC write", off, n)
        fd = os.open(self.path, os.O_WRONLY |
                     self.r.choice((os.O_SYNC, os.O_DSYNC)))
        try:
            os.pwrite(fd, data, off)
        finally:
            os.close(fd)
        self.put(off, data)

    def truncate(self):
        n = self.offset(self.limit)
        self.note("truncate", len(self.model), n)
        if self.r.randrange(4):
            os.ftruncate(self.any_fd(), n)
        else:
            os.truncate(self.path, n)
        self.cut(n)

    def open_truncate(self):
        self.note("O_TRUNC")
        os.close(os.open(self.path, os.O_WRONLY | os.O_TRUNC))
        self.cut(0)

    def change(self, mode, off, n):
        """false: there is no such thing on this file system"""
        if mode in self.missing:
            return False
        try:
            fallocate(self.any_fd(), mode, off, n)
        except OSError as e:
            if e.errno != errno.EOPNOTSUPP:
                raise
            self.missing.add(mode)
            return False
        return True

    def allocate(self):
        off, n = self.span(self.limit)
        mode = self.r.choice((0, KEEP))
        self.note("fallocate", mode, off, n)
        if self.change(mode, off, n) and not mode:
            self.cut(max(len(self.model), off + n))

    def punch(self):
        off, n = self.span(self.limit)
        self.note("punch", off, n)
        if self.change(PUNCH | KEEP, off, n):
            end = min(off + n, len(self.model))
            if end > off:
                self.model[off:end] = bytes(end - off)

    def zero(self):
        off, n = self.span(self.limit)
        mode = ZERO | self.r.choice((0, KEEP))
        self.note("zero", mode, off, n)
        if self.change(mode, off, n):
            if not mode & KEEP:
                self.cut(max(len(self.model), off + n))
            end = min(off + n, len(self.model))
            if end > off:
                self.model[off:end] = bytes(end - off)

    def collapse(self):
        pages = len(self.model) // PAGE
        if pages < 3:
            return
        off = self.r.randrange(pages - 2) * PAGE
        n = PAGE * self.r.randrange(1, pages - off // PAGE)
        if off + n >= len(self.model):
            return
        self.note("collapse", off, n)
        if self.change(COLLAPSE, off, n):
            del self.model[off:off + n]

    def insert(self):
        pages = len(self.model) // PAGE
        if not pages or len(self.model) + 2 * PAGE > self.limit:
            return
        off = self.r.randrange(pages) * PAGE
        if off >= len(self.model):
            return
        self.note("insert", off, PAGE)
        if self.change(INSERT, off, PAGE):
            self.model[off:off] = bytes(PAGE)

    def copy(self):
        if not self.model:
            return
        off, n = self.span(len(self.model))
        to = self.offset(self.limit - n)
        if off < to + n and to < off + n:
            return
        self.note("copy", off, to, n)
        done = 0
        while done < n:
            k = os.copy_file_range(self.fd, self.any_fd(), n - done,
                                   off + done, to + done)
            if not k:
                raise Wrong("copied %d of %d" % (done, n))
            done += k
        self.put(to, bytes(self.model[off:off + n]))

    def sync(self):
        self.note("fsync")
        self.r.choice((os.fsync, os.fdatasync))(self.any_fd())

    def reopen(self):
        self.note("reopen")
        os.close(self.fd)
        self.fd = os.open(self.path, os.O_RDWR)
        if self.second is not None:
            os.close(self.second)
            self.second = None
        if self.r.randrange(2):
            self.second = os.open(self.path, os.O_RDWR)
        for name in ("append", "direct"):
            if getattr(self, name) is not None:
                os.close(getattr(self, name))
                setattr(self, name, None)

    def size(self):
        self.note("stat")
        n = self.r.choice((os.fstat(self.fd), os.stat(self.path))).st_size
        if n != len(self.model):
            raise Wrong("size %d for %d" % (n, len(self.model)))

    def check(self):
        self.note("check")
        self.size()
        self.same(os.pread(self.any_fd(), self.limit + PAGE, 0), 0,
                  self.limit + PAGE, "check")

    def holes(self):
        """whatever is said to be a hole is zeros"""
        self.note("holes")
        if self.map:
            self.map.flush()
        at = 0
        while at < len(self.model):
            try:
                data = os.lseek(self.fd, at, os.SEEK_DATA)
            except OSError as e:
                if e.errno != errno.ENXIO:
                    raise
                data = len(self.model)
            if any(self.model[at:data]):
                raise Wrong("a hole from %d to %d that is none" % (at, data))
            if data >= len(self.model):
                break
            at = os.lseek(self.fd, data, os.SEEK_HOLE)
            if at <= data or at > len(self.model):
                raise Wrong("data from %d to %d" % (data, at))

    def map_read(self):
        if not self.model:
            return
        off, n = self.span(len(self.model))
        self.note("mapread", off, n)
        base = off - off % PAGE
        with mmap.mmap(self.fd, off + n - base, mmap.MAP_SHARED,
                       mmap.PROT_READ, offset=base) as m:
            self.same(m[off - base:], off, n, "mapread")

    def map_write(self):
        off, n = self.span(self.limit)
        data = self.some(n)
        self.note("mapwrite", off, n)
        if off + n > len(self.model):
            os.ftruncate(self.fd, off + n)
            self.cut(off + n)
        base = off - off % PAGE
        with mmap.mmap(self.fd, off + n - base, offset=base) as m:
            m[off - base:] = data
            if self.r.randrange(2):
                m.flush()
        self.put(off, data)

    def map_private(self):
        if not self.model:
            return
        off, n = self.span(len(self.model))
        self.note("mapprivate", off, n)
        base = off - off % PAGE
        with mmap.mmap(self.fd, off + n - base, mmap.MAP_PRIVATE,
                       offset=base) as m:
            self.same(m[off - base:], off, n, "private")
            m[off - base:] = bytes(n)

    def map_invalidate(self):
        """what others wrote must be seen in a mapping, too"""
        if not self.model:
            return
        off, n = self.span(len(self.model))
        self.note("mapinvalidate", off, n)
        base = off - off % PAGE
        with mmap.mmap(self.fd, off + n - base, offset=base) as m:
            view = (ctypes.c_char * len(m)).from_buffer(m)
            at = ctypes.c_void_p(ctypes.addressof(view))
            length = ctypes.c_size_t(len(m))
            del view
            if libc.msync(at, length, MS_SYNC | MS_INVALIDATE):
                raise OSError(ctypes.get_errno(), "msync")
            self.same(m[off - base:], off, n, "invalidated")

    def map_keep(self):
        self.note("mapkeep")
        if self.map:
            self.map.close()
            self.map = None
        elif self.model:
            self.map = mmap.mmap(self.fd, len(self.model))

    def map_keep_write(self):
        top = min(len(self.map), len(self.model)) if self.map else 0
        if not top:
            return
        off, n = self.span(top)
        data = self.some(n)
        self.note("kept write", off, n)
        self.same(self.map[off:off + n], off, n, "kept")
        self.map[off:off + n] = data
        self.put(off, data)
        if self.r.randrange(3) == 0:
            self.map.flush()

    def other(self):
        """the sandbox does something, once it has what was mapped"""
        if self.map:
            self.map.flush()
        os.fsync(self.fd)
        off, n = self.span(self.limit)
        seed = self.r.randrange(1 << 30)
        how = self.r.randrange(5)
        self.note("other", how, off, n, seed)
        fd = "os.open('f', os.O_RDWR)"
        data = "__import__('random').Random(%d).randbytes(%d)" % (seed, n)
        bytes_ = random.Random(seed).randbytes(n)
        if how == 0:
            self.inside("[op(1, 'f'), os.pwrite(fds[1], %s, %d), cl(1)] and 0"
                        % (data, off))
            self.put(off, bytes_)
        elif how == 1:
            self.inside("[op(1, 'f', os.O_WRONLY | os.O_APPEND), "
                        "os.write(fds[1], %s), cl(1)] and 0" % data)
            if len(self.model) + n > self.limit:
                self.inside("os.truncate('f', %d)" % self.limit)
            self.model += bytes_
            del self.model[self.limit:]
        elif how == 2:
            self.inside("os.truncate('f', %d)" % off)
            self.cut(off)
        elif how == 3:
            self.inside("os.truncate('f', 0)")
            self.inside("os.truncate('f', %d)" % off)
            self.cut(0)
            self.cut(off)
        else:
            self.whole_inside()
        # the kernel does not ask for the size by itself: see sbxfs(1)
        os.fstat(self.fd)

    def whole_inside(self):
        import hashlib
        got = self.inside("__import__('hashlib').sha256(open('f', 'rb')"
                          ".read()).hexdigest()")
        if got != hashlib.sha256(self.model).hexdigest():
            raise Wrong("the sandbox has another content")

    def step(self):
        self.r.choice(self.ops)()


class Fsx(unittest.TestCase):
    def setUp(self):
        self.m = Mount()
        self.addCleanup(self.m.close)
        self.box = self.m.create("t")
        self.top = os.path.join(self.box, "workspace")
        self.stop = threading.Event()
        if "DELAY" in os.environ:
            self.m.control("fault delay " + os.environ["DELAY"])
        if "CUT" in os.environ:
            t = threading.Thread(target=self.cutter,
                                 args=(float(os.environ["CUT"]),))
            t.start()
            self.addCleanup(t.join)
            self.addCleanup(self.stop.set)

    def cutter(self, seconds):
        while not self.stop.wait(seconds):
            self.m.control("fault cut")

    def run_file(self, maps, other=False):
        seconds = float(os.environ.get("SECONDS", "3"))
        end = time.monotonic() + seconds
        seed = int(os.environ.get("SEED", "1"))
        total = 0
        if other and RUNS:
            self.skipTest("what is done there is seen up to a second later")
        inside = actor_in(self.m, self.box)
        self.addCleanup(inside.close)
        while time.monotonic() < end:
            f = File(os.path.join(self.top, "f"), random.Random(seed), maps,
                     inside if other else None)
            k = 0
            try:
                for k in range(1500):
                    f.step()
                    if k % 16 == 0:
                        f.check()
                    if time.monotonic() > end:
                        break
                if f.map:
                    f.map.flush()
                os.fsync(f.fd)
                f.inside = inside
                f.whole_inside()
            except (Wrong, OSError) as e:
                raise AssertionError("SEED=%d, step %d, limit %d: %s\n%s" % (
                    seed, k, f.limit, e, "\n".join(map(str, f.log)))) from e
            finally:
                f.close()
            total += k
            seed += 1
        if "SECONDS" in os.environ:
            print("%s: %d steps, not possible: %s"
                  % (self.id(), total, f.missing))

    def test_with_mmap(self):
        self.run_file(True)

    def test_without_mmap(self):
        self.run_file(False)

    def test_while_the_sandbox_changes_it(self):
        self.run_file(False, True)

    def test_while_the_sandbox_changes_what_is_mapped(self):
        self.run_file(True, True)


if __name__ == "__main__":
    unittest.main()
