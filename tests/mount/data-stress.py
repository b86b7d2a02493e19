#!/usr/bin/python3
"""Many processes do everything at once in one tree; then the mount, the mount
made anew and the sandbox itself must tell the same of it.

    SECONDS=600 SEED=7 CUT=3 DELAY=20 PROCS=8 INSIDE=2 tests/mount/data-stress.py

Each process works on few names, so they meet; errors of such meetings are
expected, others are not.
"""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import itertools, json, random, subprocess, threading, time, unittest
from sbxmount import Mount

WORK = r'''
import ctypes, errno, fcntl, mmap, os, random, sys, time
top, seed, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
links = sys.argv[4:] == ["links"]
r = random.Random(seed)
os.chdir(top)
libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = (ctypes.c_int,) * 2 + (ctypes.c_long,) * 2
libc.renameat2.argtypes = (ctypes.c_int, ctypes.c_char_p) * 2 + (ctypes.c_uint,)
dirs = [".", "a", "b", "a/c", "a/c/d"]
fds = []
expected = {getattr(errno, e) for e in
    "ENOENT EEXIST ENOTDIR EISDIR ENOTEMPTY ELOOP EINVAL ENODATA EXDEV "
    "EPERM EACCES EAGAIN ESTALE ENXIO EBUSY EOPNOTSUPP ETXTBSY ERANGE "
    "EMLINK ESPIPE EBADF ENOTTY".split()}
def name():
    return r.choice(dirs) + "/" + r.choice("fghijk") + str(r.randrange(3))
def any_dir():
    return r.choice(dirs)
def opened(flags=os.O_RDWR):
    if fds and r.randrange(2):
        return r.choice(fds), False
    return os.open(name(), flags | os.O_NONBLOCK), True
def with_file(fn, flags=os.O_RDWR):
    fd, mine = opened(flags)
    try:
        fn(fd)
    finally:
        if mine:
            os.close(fd)
def creat():
    os.close(os.open(name(), os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK |
        r.choice((0, 0, os.O_EXCL, os.O_TRUNC)), r.choice((0o644, 0o600, 0o755))))
def keep():
    if len(fds) > 5:
        os.close(fds.pop(r.randrange(len(fds))))
    fds.append(os.open(name(), os.O_RDWR | os.O_CREAT | os.O_NONBLOCK |
        r.choice((0, os.O_APPEND)), 0o644))
def write():
    with_file(lambda fd: os.pwrite(fd, r.randbytes(r.randrange(1, 20000)),
                                   r.randrange(60000)))
def append():
    with_file(lambda fd: os.write(fd, r.randbytes(r.randrange(1, 3000))),
              os.O_WRONLY | os.O_APPEND)
def read():
    with_file(lambda fd: os.pread(fd, r.randrange(1, 70000), r.randrange(60000)))
def truncate():
    if r.randrange(2):
        os.truncate(name(), r.randrange(60000))
    else:
        with_file(lambda fd: os.ftruncate(fd, r.randrange(60000)))
def falloc():
    def fn(fd):
        libc.fallocate(fd, r.choice((0, 1, 3, 16, 17)), r.randrange(60000),
                       r.randrange(1, 20000))
    with_file(fn)
def mapped():
    def fn(fd):
        size = os.fstat(fd).st_size
        if not size:
            return
        # (nobody shortens a file that this process alone has)
        with mmap.mmap(fd, size) as m:
            at = r.randrange(size)
            n = min(r.randrange(1, 9000), size - at)
            m[at:at + n] = r.randbytes(n)
            m.flush()
    p = any_dir() + "/m%d" % seed
    fd = os.open(p, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        os.pwrite(fd, b"x", r.randrange(40000))
        fn(fd)
    finally:
        os.close(fd)
def link():
    os.link(name(), name(), follow_symlinks=False)
def rename():
    os.rename(name(), name())
def rename2():
    if libc.renameat2(-100, name().encode(), -100, name().encode(),
                      r.choice((1, 2))):
        raise OSError(ctypes.get_errno(), "renameat2")
def rename_dir():
    a, b = any_dir() + "/e%d" % r.randrange(3), any_dir() + "/e%d" % r.randrange(3)
    os.rename(a, b)
def unlink():
    os.unlink(name())
def symlink():
    os.symlink(r.choice(("f0", "../g1", "no/where", "i1", "h2")), name())
def readlink():
    os.readlink(name())
def mkdir():
    os.mkdir(any_dir() + "/e%d" % r.randrange(3))
def rmdir():
    os.rmdir(any_dir() + "/e%d" % r.randrange(3))
def mknod():
    os.mkfifo(name())
def chmod():
    os.chmod(name(), r.choice((0o644, 0o600, 0o755, 0o640)))
def utime():
    os.utime(name(), ns=(r.randrange(10 ** 18), r.randrange(10 ** 18)))
def setx():
    os.setxattr(name(), "user." + r.choice("ab"), r.randbytes(r.randrange(40)))
def getx():
    os.getxattr(name(), "user." + r.choice("ab"))
def remx():
    os.removexattr(name(), "user." + r.choice("ab"))
def stat():
    os.lstat(name())
def readdir():
    for e in os.scandir(any_dir()):
        e.stat(follow_symlinks=False)
def fsync():
    with_file(os.fsync)
def syncdir():
    fd = os.open(any_dir(), os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
def copy():
    a = os.open(name(), os.O_RDONLY | os.O_NONBLOCK)
    try:
        with_file(lambda fd: os.copy_file_range(a, fd, r.randrange(1, 50000),
            r.randrange(30000), r.randrange(30000)))
    finally:
        os.close(a)
def lock():
    with_file(lambda fd: fcntl.lockf(fd, r.choice((fcntl.LOCK_SH,
        fcntl.LOCK_EX)) | fcntl.LOCK_NB, r.randrange(100), r.randrange(100)))
def seek():
    with_file(lambda fd: os.lseek(fd, r.randrange(60000),
              r.choice((os.SEEK_DATA, os.SEEK_HOLE, os.SEEK_END))))
def statfs():
    os.statvfs(any_dir())
def vectors():
    at = r.randrange(60000)
    if r.randrange(2):
        with_file(lambda fd: os.preadv(fd, [bytearray(r.randrange(1, 9000))
                                            for _ in range(3)], at))
    else:
        with_file(lambda fd: os.pwritev(fd, [r.randbytes(r.randrange(1, 9000))
            for _ in range(3)], at, r.choice((0, os.RWF_DSYNC, os.RWF_APPEND))))
def splice():
    a, b = os.pipe()
    try:
        os.write(b, r.randbytes(r.randrange(1, 9000)))
        with_file(lambda fd: os.splice(a, fd, 5000,
                                       offset_dst=r.randrange(60000)))
        with_file(lambda fd: os.splice(fd, b, 5000,
                                       offset_src=r.randrange(60000)))
    finally:
        os.close(a)
        os.close(b)
def fdatasync():
    with_file(os.fdatasync)
def chown():
    os.lchown(name(), r.choice((-1, os.getuid())), -1)
def map_read():
    p = any_dir() + "/m%d" % seed
    fd = os.open(p, os.O_RDONLY)
    try:
        size = os.fstat(fd).st_size
        if size:
            with mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ) as m:
                m[r.randrange(size):]
    finally:
        os.close(fd)
def direct():
    with mmap.mmap(-1, 8192) as buf:
        buf[:] = r.randbytes(8192)
        fd = os.open(name(), os.O_RDWR | os.O_DIRECT | os.O_NONBLOCK)
        try:
            os.pwrite(fd, buf, 4096 * r.randrange(10))
            os.preadv(fd, [buf], 4096 * r.randrange(10))
        finally:
            os.close(fd)
def impossible():
    # FIEMAP, FS_IOC_GETFLAGS, FICLONE
    request = r.choice((0xc020660b, 0x80086601, 0x40049409))
    arg = 0 if request == 0x40049409 else bytes(64)
    with_file(lambda fd: fcntl.ioctl(fd, request, arg))
ops = [creat, creat, keep, write, write, write, append, read, read, truncate,
       falloc, mapped, link, rename, rename, rename2, rename_dir, unlink,
       unlink, symlink, readlink, mkdir, rmdir, mknod, chmod, utime, setx,
       getx, remx, stat, stat, readdir, readdir, fsync, syncdir, copy, lock,
       seek, statfs, vectors, vectors, splice, fdatasync, chown, map_read,
       direct, impossible]
if not links:
    ops.remove(link)
for d in dirs[1:]:
    try:
        os.mkdir(d)
    except FileExistsError:
        pass
end = time.monotonic() + seconds
n = done = 0
while time.monotonic() < end:
    op = r.choice(ops)
    n += 1
    try:
        op()
        done += 1
    except OSError as e:
        if e.errno not in expected:
            print("%s: %s" % (op.__name__, e))
            sys.exit(1)
for fd in fds:
    os.close(fd)
print("%d of %d" % (done, n))
'''

# What there is, as it looks from here or from there
TREE = r'''
import hashlib, json, os, stat, sys
out = {}
inos = {}
for top, dirs, files in os.walk(sys.argv[1]):
    for n in sorted(dirs + files):
        p = os.path.join(top, n)
        s = os.lstat(p)
        e = [oct(s.st_mode), s.st_nlink, s.st_mtime_ns, s.st_ino]
        if stat.S_ISREG(s.st_mode):
            with open(p, "rb") as f:
                data = f.read()
            e += [s.st_size, len(data), hashlib.sha256(data).hexdigest()]
        if stat.S_ISLNK(s.st_mode):
            e += [os.readlink(p)]
        else:
            e += [[(x, os.getxattr(p, x).hex()) for x in
                   sorted(os.listxattr(p)) if x.startswith("user.")]]
        out[os.path.relpath(p, sys.argv[1])] = e
print(json.dumps(out))
'''


class Stress(unittest.TestCase):
    def tree_here(self):
        return json.loads(subprocess.run(
            ["/usr/bin/python3", "-c", TREE, self.top], check=True,
            stdout=subprocess.PIPE).stdout)

    def tree_inside(self):
        text = self.inside("python3 /tmp/tree.py "
                           + os.path.basename(self.top))
        self.assertTrue(text.startswith(b"{"),
                        "%r, SEED=%d" % (text, self.seed))
        return json.loads(text)

    def inside(self, command):
        return self.m.run("t", command)

    def same(self, a, b, what):
        wrong = [(k, a.get(k), b.get(k)) for k in sorted(set(a) | set(b))
                 if a.get(k) != b.get(k)]
        self.assertEqual(wrong, [], what + ", SEED=%d" % self.seed)

    def work_inside(self, seed, seconds, results):
        try:
            results.append(self.inside(
                "python3 -u /tmp/work.py %s %d %g 2>&1"
                % (os.path.basename(self.top), seed, seconds)).decode())
        except OSError as e:
            results.append(str(e))

    def round(self, seconds, procs, inside):
        """hard links only where nobody inside works: what is written there
        through a name that is gone by then is not announced"""
        self.top = os.path.join(self.box, "workspace", "tree%d" % self.seed)
        os.mkdir(self.top)
        workers = [subprocess.Popen(
            ["/usr/bin/python3", "-c", WORK, self.top, str(self.seed + k),
             str(seconds), "" if inside else "links"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            for k in range(procs)]
        results = []
        threads = [threading.Thread(target=self.work_inside,
                                    args=(self.seed + 100 + k, seconds,
                                          results))
                   for k in range(inside)]
        for t in threads:
            t.start()
        for w in workers:
            out, _ = w.communicate(timeout=seconds + 200)
            results.append(out.decode())
        for t in threads:
            t.join()
        for text in results:
            self.assertRegex(text, r"^\d+ of \d+\n$",
                             "SEED=%d" % self.seed)
        if "SECONDS" in os.environ:
            print(self.seed, [t.strip() for t in results], flush=True)
        there = self.tree_inside()
        self.same(self.tree_here(), there, "the mount and the sandbox")
        return there

    def test_all_at_once(self):
        env = os.environ
        seconds = float(env.get("SECONDS", "5"))
        self.seed = int(env.get("SEED", "1"))
        self.m = m = Mount()
        self.addCleanup(m.close)
        self.box = box = m.create("t")
        for name, text in (("work", WORK), ("tree", TREE)):
            with open(os.path.join(box, "root", "tmp", name + ".py"), "w") as f:
                f.write(text)
        stop = threading.Event()

        def cutter():
            while not stop.wait(float(env["CUT"])):
                m.control("fault cut")
        if "DELAY" in env:
            m.control("fault delay " + env["DELAY"])
        if "CUT" in env:
            t = threading.Thread(target=cutter)
            t.start()
            self.addCleanup(t.join)
            self.addCleanup(stop.set)
        end = time.monotonic() + seconds
        inside = int(env.get("INSIDE", "1"))
        for k in itertools.count():
            there = self.round(min(10, seconds / 2),
                               int(env.get("PROCS", "4")),
                               0 if k % 2 else inside)
            if time.monotonic() > end:
                break
            self.seed += 1000
        m.unmount()
        m.start()
        self.same(self.tree_here(), there, "the mount made anew")


if __name__ == "__main__":
    unittest.main()
