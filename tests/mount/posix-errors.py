#!/usr/bin/python3
"""What cannot be done fails as on a local disk: paths that lead nowhere, are
too long or go in circles, for every call; programs that run, pipes and
sockets without a peer, bad addresses and numbers, removed folders, files
without a name, and a read-only mount."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import ctypes, errno, fcntl, mmap, shutil, socket, stat, struct, subprocess
import threading
from posixdiff import A, UTIME_NOW, Diff, libc, main

NOW = (0, UTIME_NOW)
CALLS = {
    "open": lambda d, p: d.do("open", p, os.O_RDONLY | os.O_NONBLOCK),
    "open for writing": lambda d, p: d.do("open", p,
                                          os.O_WRONLY | os.O_NONBLOCK),
    "open O_CREAT": lambda d, p: d.do(
        "open", p, os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK, 0o644),
    "open O_DIRECTORY": lambda d, p: d.do("open", p, os.O_DIRECTORY),
    "open O_NOFOLLOW": lambda d, p: d.do("open", p,
                                         os.O_NOFOLLOW | os.O_NONBLOCK),
    "open O_PATH": lambda d, p: d.do("open", p, os.O_PATH),
    "stat": lambda d, p: d.do("stat", p),
    "lstat": lambda d, p: d.do("lstat", p),
    "chmod": lambda d, p: d.do("chmod", p, 0o755),
    "chown": lambda d, p: d.do("chown", p, -1, -1),
    "lchown": lambda d, p: d.do("lchown", p, -1, -1),
    "truncate": lambda d, p: d.do("truncate", p, 7),
    "utimensat": lambda d, p: d.do("utimensat", p, NOW, NOW),
    "readlink": lambda d, p: d.do("readlink", p),
    "access": lambda d, p: d.do("access", p, os.F_OK),
    "chdir": lambda d, p: d.do("chdir", p),
    "listdir": lambda d, p: d.do("listdir", p),
    "statfs": lambda d, p: d.do(statfs_type, p),
    "link": lambda d, p: d.do("link", p, "new"),
    "rename": lambda d, p: d.do("rename", p, "new"),
    "getxattr": lambda d, p: d.do(os.getxattr, p, "user.none"),
    "setxattr": lambda d, p: d.do(os.setxattr, p, "user.a", b"1"),
}


def statfs_type(path):
    st = os.statvfs(path)
    return st.f_namemax, st.f_blocks > 0


def paths(d):
    d.do("put", "file", b"x")
    d.do("mkdir", "dir", 0o755)
    d.do("mkfifo", "fifo", 0o644)
    d.do("symlink", "file", "tofile")
    d.do("symlink", "dir", "todir")
    d.do("symlink", "nowhere", "dangling")
    d.do("symlink", "loop2", "loop1")
    d.do("symlink", "loop1", "loop2")
    d.do("symlink", "l41", "l40")
    for n in range(40):
        d.do("symlink", "l%d" % (n + 1), "l%d" % n)
    d.do("put", "l41")
    return ["file", "dir", "fifo", "tofile", "todir", "none", "none/x",
            "file/x", "fifo/x", "tofile/x", "todir/x", "dangling",
            "dangling/x", "loop1", "loop1/x", "l0", "l1", "l2", "l3",
            "file/", "dir/", "fifo/", "tofile/", "todir/", "none/",
            "dangling/", "loop1/", "", ".", "..", "dir/.", "dir/..",
            "file/.", "n" * 255, "n" * 256, "dir/" + "n" * 256,
            "n" * 256 + "/x", "./" * 2046 + "dir", "./" * 2047 + "x",
            "./" * 2048, "a/" * 2047 + "x"]


def each_path(d):
    for name, fn in CALLS.items():
        with d.group(name):
            for p in paths(d):
                fn(d, p)
                if name in ("link", "rename"):
                    d.do("unlink", "new")


def long_paths(d):
    """folders of long names, down to the longest path there can be"""
    with d.group("long paths"):
        path, deep = "", 0
        while len(path) + 256 < 4095:
            path += "n" * 255
            d.do("mkdir", path, 0o755)
            path += "/"
            deep += 1
        for name in ("x" * (4095 - len(path)), "x" * (4096 - len(path))):
            at = path + name
            d.do("mkdir", at, 0o755)
            d.do("rmdir", at)
            d.do("put", at, b"1")
            d.do("stat", at)
            d.do("chmod", at, 0o600)
            d.do("link", at, path + "l")
            d.do("rename", path + "l", at)
            d.do("unlink", at)
            d.do("unlink", path + "l")
            d.do("symlink", at, path + "l")
            d.do("stat", path + "l")
            d.do("readlink", path + "l")
            d.do("unlink", path + "l")
            d.do("truncate", at, 0)
            d.do("mkfifo", at, 0o644)
            d.do("unlink", at)
        for n in range(deep):
            d.do("rmdir", ("n" * 255 + "/") * (deep - n))


def removed(d):
    """in a folder that is gone, and on files that are"""
    def inside(name, op):
        os.mkdir(name)
        fd = os.open(name, os.O_RDONLY)
        try:
            os.rmdir(name)
            return op(fd)
        finally:
            os.close(fd)

    def nameless(op):
        fd = os.open("x", os.O_CREAT | os.O_RDWR, 0o644)
        try:
            os.write(fd, b"12345")
            os.unlink("x")
            op(fd)
            st = os.fstat(fd)
            return (oct(st.st_mode), st.st_nlink, st.st_size,
                    os.pread(fd, 100, 0))
        finally:
            os.close(fd)
    def held(kind, flags):
        """what is held without ever having been open in the sandbox"""
        if kind == "file":
            os.close(os.open("h", os.O_CREAT | os.O_WRONLY, 0o640))
        else:
            os.mkfifo("h", 0o640)
        fd = os.open("h", flags)
        try:
            os.unlink("h")
            st = os.fstat(fd)
            return oct(st.st_mode), st.st_nlink, st.st_size
        finally:
            os.close(fd)
    with d.group("removed"):
        d.do(held, "file", os.O_PATH)
        d.do(held, "fifo", os.O_PATH)
        d.do(held, "fifo", os.O_RDWR)
        for op in (lambda f: os.mkdir("a", dir_fd=f),
                   lambda f: os.open("a", os.O_CREAT, dir_fd=f),
                   lambda f: os.symlink("a", "b", dir_fd=f),
                   lambda f: os.mkfifo("a", dir_fd=f),
                   lambda f: os.stat("a", dir_fd=f).st_size,
                   lambda f: os.stat(".", dir_fd=f).st_nlink,
                   lambda f: os.rmdir("a", dir_fd=f),
                   lambda f: os.listdir(f),
                   lambda f: os.fstat(f).st_nlink, os.fsync,
                   lambda f: os.fchdir(f)):
            d.do(inside, "gone", op)
        for op in (lambda f: os.fchmod(f, 0o600), os.fsync,
                   lambda f: os.ftruncate(f, 2),
                   lambda f: os.ftruncate(f, 20),
                   lambda f: os.pwrite(f, b"ab", 7),
                   lambda f: os.utime(f, (1, 2)),
                   lambda f: os.fchown(f, -1, -1),
                   lambda f: os.posix_fallocate(f, 0, 30),
                   lambda f: os.link("/proc/self/fd/%d" % f, "y"),
                   lambda f: os.close(os.open("/proc/self/fd/%d" % f,
                                              os.O_WRONLY | os.O_TRUNC))):
            d.do(nameless, op)


def while_open(d):
    """open files and folders that move, are replaced and removed"""
    def held(path, op):
        fd = os.open(path, os.O_RDWR)
        try:
            op()
            os.pwrite(fd, b"new", 0)
            st = os.fstat(fd)
            return st.st_nlink, st.st_size, os.pread(fd, 10, 0)
        finally:
            os.close(fd)
    with d.group("while open"):
        for op in (lambda: os.rename("d/x", "y"),
                   lambda: os.rename("d", "e"),
                   lambda: os.rename("z", "d/x"),
                   lambda: os.unlink("d/x"),
                   lambda: os.link("d/x", "y"),
                   lambda: os.chmod("d/x", 0),
                   lambda: (os.rename("d", "e"), os.unlink("e/x")),
                   lambda: (os.unlink("d/x"), os.rmdir("d"))):
            d.folder()
            d.do("mkdir", "d", 0o755)
            d.do("put", "d/x", b"12345")
            d.do("put", "z", b"z")
            d.do(held, "d/x", op)


def bad_numbers(d, root):
    with d.group("bad addresses and numbers"):
        d.do("put", "x")
        for name, args in (
                ("open", (None, 0)), ("stat", (None, None)),
                ("mkdir", (None, 0o755)), ("rmdir", (None,)),
                ("unlink", (None,)), ("chmod", (None, 0)),
                ("chown", (None, 0, 0)), ("rename", (None, b"y")),
                ("rename", (b"x", None)), ("link", (None, b"y")),
                ("link", (b"x", None)), ("symlink", (None, b"y")),
                ("symlink", (b"x", None)), ("truncate", (None, 0)),
                ("mkfifo", (None, 0)), ("readlink", (None, None, 10))):
            d.do("bad_address", name, *args)
            bad = [ctypes.c_void_p(1) if a is None else a for a in args]
            d.do(bad_pointer, name, *bad)
        d.do("truncate", "x", -1)
        d.do("truncate", "x", 1 << 62)
        d.do("truncate", "x", 1 << 45)
        for flags in (os.O_RDONLY, os.O_WRONLY):
            for size in (-1, 0, 5):
                d.do("open", "x", flags, 0, os.ftruncate, size)
            for off, size in ((0, 0), (-1, 5), (0, -1), (5, 1), (1 << 62, 1)):
                d.do("open", "x", flags, 0, os.posix_fallocate, off, size)
        d.do("open", "x", os.O_WRONLY | os.O_RDWR)
        for mode in (0o644, stat.S_IFDIR | 0o644, stat.S_IFLNK | 0o644,
                     stat.S_IFREG | 0o644, 0o170000 | 0o644):
            d.do("mknod", "m%o" % mode, mode, 0)
        if root:
            for dev in (0, os.makedev(1, 3), os.makedev(511, 1 << 19),
                        os.makedev(4095, (1 << 20) - 1)):
                d.do("mknod", "c%x" % dev, stat.S_IFCHR | 0o600, dev)
                d.do("mknod", "b%x" % dev, stat.S_IFBLK | 0o600, dev)
                d.do("mknod", "no%x" % dev, stat.S_IFCHR | 0o600, dev, user=A)
        else:
            d.do("mknod", "c", stat.S_IFCHR | 0o600, 259)


def bad_pointer(name, *args):
    if getattr(libc, name)(*args) < 0:
        raise OSError(ctypes.get_errno(), "")


def flags_of_open(d):
    def direct(path):
        fd = os.open(path, os.O_RDWR | os.O_DIRECT)
        buf = mmap.mmap(-1, 4096)
        try:
            buf[:5] = b"hello"
            return os.pwrite(fd, buf, 0), os.preadv(fd, [buf], 4096)
        finally:
            os.close(fd)

    def tmpfile(path):
        try:
            os.close(os.open(path, os.O_TMPFILE | os.O_RDWR, 0o644))
        except OSError as e:
            # a mount may say so
            if e.errno not in (errno.EOPNOTSUPP, errno.EISDIR):
                raise

    def noatime(path):
        return os.close(os.open(path, os.O_RDONLY | os.O_NOATIME))

    def both(path, flags, then):
        fd = os.open(path, flags)
        try:
            return then(fd)
        finally:
            os.close(fd)
    with d.group("flags of open"):
        d.do("put", "x", b"123")
        d.do("mkdir", "d", 0o755)
        d.do("symlink", "x", "l")
        d.do(direct, "x")
        d.do(tmpfile, ".")
        d.do(noatime, "x")
        for flags in (os.O_SYNC, os.O_DSYNC, os.O_APPEND, 0):
            d.do("write", "x", b"45", os.O_WRONLY | flags)
        d.do(both, "x", os.O_WRONLY, lambda f: os.read(f, 1))
        d.do(both, "x", os.O_RDONLY, lambda f: os.write(f, b"1"))
        d.do(both, "x", os.O_PATH, lambda f: os.read(f, 1))
        d.do(both, "x", os.O_PATH, lambda f: os.fchmod(f, 0o600))
        d.do(both, "x", os.O_PATH, lambda f: os.fstat(f).st_size)
        d.do(both, "l", os.O_PATH | os.O_NOFOLLOW,
             lambda f: oct(os.fstat(f).st_mode))
        d.do(both, "l", os.O_PATH | os.O_NOFOLLOW,
             lambda f: os.readlink("", dir_fd=f))
        d.do(both, "d", os.O_RDONLY, lambda f: os.read(f, 1))
        d.do(both, "d", os.O_RDONLY, lambda f: os.ftruncate(f, 0))
        d.do(both, "d", os.O_RDONLY, os.fsync)
        d.do(both, "x", os.O_RDONLY, os.fsync)
        d.do(both, "x", os.O_RDONLY, os.fdatasync)
        d.do(both, "x", os.O_RDWR | os.O_APPEND,
             lambda f: fcntl.fcntl(f, fcntl.F_GETFL) & os.O_APPEND)
        d.do(both, "x", os.O_RDWR, lambda f: (
            fcntl.fcntl(f, fcntl.F_SETFL, os.O_APPEND),
            os.lseek(f, 0, 0), os.write(f, b"end"), os.fstat(f).st_size))


def programs(d):
    """a file that is written is not run, one that runs is not written"""
    true = shutil.which("true")
    with open(true, "rb") as f:
        code = f.read()

    def run_while_writing(path):
        fd = os.open(path, os.O_WRONLY)
        try:
            return subprocess.run(["./" + path]).returncode
        finally:
            os.close(fd)

    def while_running(path, op):
        p = subprocess.Popen(["./" + path, "60"])
        try:
            return op(path)
        finally:
            p.kill()
            p.wait()
    with open(shutil.which("sleep"), "rb") as f:
        sleep = f.read()
    with d.group("programs"):
        d.do("put", "true", code, 0o755)
        d.do("put", "sleep", sleep, 0o755)
        d.do(lambda: subprocess.run(["./true"]).returncode)
        d.do(run_while_writing, "true")
        for op in (lambda p: os.close(os.open(p, os.O_WRONLY)),
                   lambda p: os.close(os.open(p, os.O_RDWR | os.O_TRUNC)),
                   lambda p: os.truncate(p, 0),
                   lambda p: os.close(os.open(p, os.O_RDONLY)),
                   lambda p: os.chmod(p, 0o700),
                   lambda p: os.rename(p, "other"),
                   lambda p: os.unlink("other")):
            if not os.path.exists(os.path.join(d.sides[0].dir, b"sleep")):
                d.do("put", "sleep", sleep, 0o755)
            d.do(while_running, "sleep", op)
        d.do("chmod", "true", 0o644)
        d.do(lambda: subprocess.run(["./true"]).returncode)
        d.do("put", "script", b"#!/bin/sh\nexit 3\n", 0o755)
        d.do(lambda: subprocess.run(["./script"]).returncode)
        d.do("put", "bad", b"#!/nowhere\n", 0o755)
        d.do(lambda: subprocess.run(["./bad"]).returncode)


def pipes(d):
    def through(path):
        got = []
        t = threading.Thread(target=lambda: got.append(
            open(os.path.abspath(path), "rb").read()))
        t.start()
        with open(path, "wb") as f:
            f.write(b"through")
        t.join()
        return got[0]

    def talk(path):
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(path)
            s.listen()
            with socket.socket(socket.AF_UNIX) as c:
                c.connect(path)
                o, _ = s.accept()
                with o:
                    c.sendall(b"hello")
                    return o.recv(10)

    def connect(path, kind=socket.SOCK_STREAM):
        with socket.socket(socket.AF_UNIX, kind) as c:
            c.connect(path)

    def bind(path):
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(path)
    with d.group("pipes and sockets"):
        d.do("mkfifo", "p", 0o666)
        d.do("open", "p", os.O_WRONLY | os.O_NONBLOCK)
        d.do("open", "p", os.O_RDONLY | os.O_NONBLOCK)
        d.do("open", "p", os.O_RDWR | os.O_NONBLOCK)
        d.do("open", "p", os.O_RDWR, 0, os.ftruncate, 1)
        d.do("truncate", "p", 1)
        d.do(through, "p")
        d.do("put", "f")
        d.do(talk, "s")
        d.do(connect, "s")
        d.do(connect, "f")
        d.do(connect, "none")
        d.do(bind, "s")
        d.do(bind, "f")
        d.do(bind, "s2", umask=0o22)
        d.do("chmod", "s2", 0)
        d.do("open", "s", os.O_RDWR)
        d.do("unlink", "s")
        d.do(talk, "s")


def one_mount(d):
    """what has no counterpart on a disk"""
    top = os.fsdecode(d.sides[1].dir)
    with d.group("beyond the sandbox"):
        for fn in (lambda: os.rename(top + "/x", d.m.path("x")),
                   lambda: os.link(top + "/x", d.m.path("t", "x"))):
            try:
                fn()
                err = 0
            except OSError as e:
                err = e.errno
            d.check("EXDEV or ENOENT: %d" % err,
                    err in (errno.EXDEV, errno.ENOENT, errno.EPERM))
        st = os.statvfs(top)
        ref = os.statvfs(d.sides[0].dir)
        d.check("real numbers of statfs",
                (st.f_blocks * st.f_frsize, st.f_files, st.f_namemax) ==
                (ref.f_blocks * ref.f_frsize, ref.f_files, ref.f_namemax))


def impossible(d):
    """what no FUSE file system can do is refused, and changes nothing"""
    libc.fallocate.argtypes = (ctypes.c_int,) * 2 + (ctypes.c_long,) * 2

    def fallocate(fd, mode):
        if libc.fallocate(fd, mode, 0, 4096):
            raise OSError(ctypes.get_errno(), "fallocate")

    def whiteout(fd):
        if libc.renameat2(-100, b"x", -100, b"y", 5):
            raise OSError(ctypes.get_errno(), "renameat2")
    with d.group("impossible"):
        d.do("put", "x", b"x" * 9000)
        d.do("put", "y", b"y" * 9000)
        os.chdir(os.fsdecode(d.sides[1].dir))
        fd = os.open("x", os.O_RDWR)
        other = os.open("y", os.O_RDWR)
        fiemap = struct.pack("QQIIII", 0, 1 << 60, 0, 0, 0, 0)
        for name, fn in (
                ("EOPNOTSUPP", lambda: os.open(".", os.O_TMPFILE | os.O_RDWR)),
                ("EOPNOTSUPP", lambda: fcntl.ioctl(fd, 0x40049409, other)),
                ("EOPNOTSUPP", lambda: fcntl.ioctl(fd, 0xc020660b, fiemap)),
                ("ENOTTY", lambda: fcntl.ioctl(fd, 0x80086601, bytes(8))),
                ("ENOTTY", lambda: fcntl.ioctl(fd, 0x40086602, bytes(8))),
                ("ENOTTY", lambda: fcntl.ioctl(fd, 0x801c581f, bytes(28))),
                ("ENOTTY", lambda: fcntl.ioctl(fd, 0x8008abcd, bytes(8))),
                ("EOPNOTSUPP", lambda: fallocate(fd, 8)),
                ("EOPNOTSUPP", lambda: fallocate(fd, 32)),
                ("EEXIST", lambda: whiteout(fd))):
            try:
                fn()
                err = 0
            except OSError as e:
                err = e.errno
            d.check("%s: %s" % (name, errno.errorcode.get(err, err)),
                    err == getattr(errno, name))
        os.close(fd)
        os.close(other)
        for n in "xy":
            with open(n, "rb") as f:
                d.check("unchanged", f.read() == n.encode() * 9000)
        os.chdir("/")


def read_only(root):
    """everything that changes says EROFS"""
    d = Diff.as_root() if root else Diff.as_user()
    with d.group("read-only"):
        top = os.fsdecode(d.sides[1].dir)
        d.do("put", "x", b"123", 0o666)
        d.do("mkdir", "d", 0o777)
        d.do("symlink", "x", "l")
        d.do("mkfifo", "p", 0o666)
        d.m.unmount()
        d.m.start(("ro",) + d.options)
        os.chdir(top)
        for fn in (lambda: os.mkdir("new"), lambda: os.rmdir("d"),
                   lambda: os.unlink("x"), lambda: os.rename("x", "y"),
                   lambda: os.rename("x", "d"), lambda: os.link("x", "y"),
                   lambda: os.symlink("x", "y"), lambda: os.mkfifo("y"),
                   lambda: os.chmod("x", 0o600), lambda: os.chmod("p", 0o600),
                   lambda: os.chown("x", -1, -1), lambda: os.utime("x"),
                   lambda: os.truncate("x", 0),
                   lambda: os.open("x", os.O_WRONLY),
                   lambda: os.open("x", os.O_RDONLY | os.O_TRUNC),
                   lambda: os.open("y", os.O_CREAT | os.O_WRONLY, 0o600),
                   lambda: os.setxattr("x", "user.a", b""),
                   lambda: os.mknod("y", stat.S_IFSOCK | 0o600)):
            try:
                fn()
                err = 0
            except OSError as e:
                err = e.errno
            d.check("EROFS: %s" % errno.errorcode.get(err, err),
                    err == errno.EROFS)
        d.check("access", not os.access("x", os.W_OK) and
                os.access("x", os.R_OK))
        # pipes carry nothing to the disk
        os.close(os.open("p", os.O_RDWR | os.O_NONBLOCK))
        os.close(os.open("x", os.O_CREAT | os.O_RDONLY))
        with open("x", "rb") as f:
            d.check("reading", f.read() == b"123")
        for n, fn in (("EEXIST", lambda: os.mkdir("d")),
                      ("EEXIST", lambda: os.symlink("a", "x"))):
            try:
                fn()
                n = "nothing"
            except OSError as e:
                d.check(n, errno.errorcode[e.errno] == n)
        os.chdir("/")
    return d.end()


def run(d, root):
    each_path(d)
    long_paths(d)
    removed(d)
    while_open(d)
    bad_numbers(d, root)
    flags_of_open(d)
    programs(d)
    pipes(d)
    one_mount(d)
    impossible(d)
    d.failures += read_only(root)


if __name__ == "__main__":
    main(run)
