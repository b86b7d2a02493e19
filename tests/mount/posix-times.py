#!/usr/bin/python3
"""Times are those of a local disk: set to the nanosecond, left alone, changed
by what changes them, and by reading as relatime has it.  Inode numbers stay,
over renames and over a remount."""
import os, stat, sys, tempfile, time
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from posixdiff import AT_SYMLINK_NOFOLLOW, A, B, ROOT, UTIME_NOW, UTIME_OMIT
from posixdiff import main
from sbxmount import wait_for

NOW, OMIT = (0, UTIME_NOW), (0, UTIME_OMIT)
OLD, LATER = (1000000000, 0), (1000000001, 999999999)
KINDS = ["file", "dir", "fifo", "socket", "link", "char", "block"]
FAR = [(0, 0), (-1, 0), (-1, 999999999), (-2**31, 1), (2**31 - 1, 2),
       (2**31, 3), (2**32, 4), (2**33 + 5, 5), (2**34, 6), (2**40, 7),
       (-2**40, 8), (15032385535, 9), (15032385536, 10)]
WRONG = [(0, -1), (0, 10**9), (0, UTIME_NOW + 1)]


def times(path):
    """those that are not of just now; listing a folder changes its atime"""
    st = os.lstat(path)
    both = [st.st_mtime_ns]
    if not stat.S_ISDIR(st.st_mode):
        both.append(st.st_atime_ns)
    return [t for t in both if abs(t / 1e9 - time.time()) > 3600]


def setting(d, root):
    for kind in KINDS if root else KINDS[:5]:
        with d.group("utimensat"):
            d.do("make", "x", kind)
            for a in (OLD, LATER, NOW, OMIT):
                for m in (OLD, LATER, NOW, OMIT):
                    d.do("utimensat", "x", a, m, AT_SYMLINK_NOFOLLOW,
                         times=True)
                    d.do(times, "x")
    with d.group("utimensat"):
        d.do("put", "x")
        for t in FAR:
            d.do("utimensat", "x", t, OLD)
            d.do(times, "x")
            d.do("utimensat", "x", OLD, t)
            d.do(times, "x")
        for t in WRONG:
            d.do("utimensat", "x", t, OLD)
            d.do("utimensat", "x", OLD, t)
        d.do("symlink", "x", "l")
        d.do("utimensat", "l", LATER, LATER, times=True)
        d.do("utimensat", "l", OLD, OLD, AT_SYMLINK_NOFOLLOW, times=True)
        d.do("utimensat", "l", OLD, OLD, 0x4000)
        d.do("unlink", "x")
        d.do("utimensat", "l", OLD, OLD)
        if not root:
            return
    with d.group("utimensat by others"):
        for mode in (0o644, 0o666, 0o600):
            d.folder()
            d.do("put", "x", b"", mode)
            d.do("chown", "x", A.uid, A.gid)
            for who in (ROOT, A, B):
                for a in (OLD, NOW, OMIT):
                    for m in (LATER, NOW, OMIT):
                        d.do("utimensat", "x", a, m, user=who, times=True)


def touching(d, root):
    """which times each call changes"""
    with d.group("times of a file"):
        d.do("put", "x", b"0123456789")
        d.do("open", "x", os.O_RDWR, times=True)
        d.do("write", "x", b"", times=True)
        d.do("write", "x", b"a", times=True)
        d.do("write", "x", b"a", os.O_WRONLY | os.O_APPEND, times=True)
        d.do("write", "x", b"", os.O_WRONLY | os.O_TRUNC, times=True)
        d.do("write", "x", b"", os.O_WRONLY | os.O_TRUNC, times=True)
        d.do("truncate", "x", 0, times=True)
        d.do("truncate", "x", 5, times=True)
        d.do("truncate", "x", 5, times=True)
        d.do("truncate", "x", 2, times=True)
        d.do("truncate", "x", -1, times=True)
        d.do("open", "x", os.O_RDWR, 0, os.ftruncate, 2, times=True)
        d.do("open", "x", os.O_RDWR, 0, os.ftruncate, 9, times=True)
        d.do("open", "x", os.O_RDWR, 0, os.posix_fallocate, 0, 4, times=True)
        d.do("open", "x", os.O_RDWR, 0, os.posix_fallocate, 0, 99, times=True)
        d.do("open", "x", os.O_RDWR, 0, os.fchmod, 0o600, times=True)
        d.do("open", "x", os.O_RDWR, 0, os.fchown, -1, -1, times=True)
        d.do("open", "x", os.O_RDWR, 0, os.fsync, times=True)
        d.do("open", "x", os.O_RDWR, 0, os.pwrite, b"xy", 4096, times=True)
        d.do("link", "x", "y", times=True)
        d.do("rename", "y", "z", times=True)
        d.do("unlink", "z", times=True)
        d.do("access", "x", 4, times=True)
        d.do("stat", "x", times=True)
        if d.do(os.setxattr, "x", "user.a", b"1", times=True) is None:
            d.do(os.getxattr, "x", "user.a", times=True)
            d.do(os.setxattr, "x", "user.a", b"1", times=True)
            d.do(os.removexattr, "x", "user.a", times=True)
    with d.group("times of folders"):
        d.do("mkdir", "a", 0o755)
        d.do("mkdir", "b", 0o755)
        for kind in KINDS if root else KINDS[:5]:
            d.do("make", "a/x", kind, times=True)
            if kind != "dir":
                d.do("link", "a/x", "b/l", times=True)
                d.do("unlink", "b/l", times=True)
            d.do("rename", "a/x", "a/y", times=True)
            d.do("rename", "a/y", "b/y", times=True)
            d.do("rename2", "b/y", "a", 2, times=True)
            d.do("rename2", "b/y", "a", 2, times=True)
            d.do("rmdir" if kind == "dir" else "unlink", "b/y", times=True)
        d.do("open", "a/t", os.O_CREAT | os.O_WRONLY, times=True)
        d.do("open", "a/t", os.O_CREAT | os.O_WRONLY, times=True)
        d.do("open", "a/t", os.O_CREAT | os.O_EXCL, times=True)
        d.do("mkdir", "a/t", 0o755, times=True)
        d.do("rmdir", "a/t", times=True)
        d.do("rmdir", "a", times=True)
        d.do("unlink", "a/none", times=True)


def next_tick(was):
    """a file system's clock goes on by milliseconds at a time"""
    with tempfile.NamedTemporaryFile() as f:
        wait_for(lambda: os.utime(f.name) or
                 os.stat(f.name).st_mtime_ns > was)


def reading(d):
    def inside(name):
        return int(d.m.run("t", "stat -c %%.9X %d/%s" % (d.nr, name))
                   .replace(b".", b""))

    def here(name):
        path = os.path.join(os.fsdecode(d.sides[1].dir), name)
        return os.stat(path).st_atime_ns

    def compare(what, name):
        d.check("%s: the sandbox sees the same" % what,
                here(name) == inside(name))

    def read_twice(what):
        d.do("read", "x", times=True)
        compare(what, "x")
        d.do("read", "x", times=True)
        compare(what + ", again", "x")

    # (pages that were written here are read without anybody being told)
    with d.group("atime of what is read"):
        ref = os.fsdecode(d.sides[0].dir)
        with open(os.path.join(ref, "x"), "wb") as f:
            f.write(b"0123456789")
        if d.sides[0].user:
            os.chown(ref + "/x", d.sides[0].user.uid, d.sides[0].user.gid)
        d.m.run("t", "printf 0123456789 > %d/x" % d.nr)
        d.settle()
        read_twice("new")
        next_tick(os.stat(ref + "/x").st_atime_ns)
        with open(os.path.join(ref, "x"), "ab") as f:
            f.write(b"more")
        d.m.run("t", "printf more >> %d/x" % d.nr)
        d.settle()
        read_twice("changed")
        d.do("utimensat", "x", (-5, 0), OLD)
        d.do("open", "x", os.O_RDONLY, times=True)
        compare("opened", "x")
    with d.group("atime costs no messages"):
        d.m.run("t", "echo 1 > %d/x" % d.nr)
        path = os.path.join(d.sides[1].dir, b"x")
        for _ in range(3):
            with open(path, "rb") as f:
                f.read()
            os.stat(path)
        d.m.messages()
        for _ in range(50):
            with open(path, "rb") as f:
                f.read()
            os.stat(path)
        n = d.m.messages()
        d.check("%d messages for 50 times reading and stat" % n, n <= 5)


def numbers(d):
    """what a remount must not change"""
    with d.group("inode numbers"):
        d.do("mkdir", "d", 0o755)
        for kind in KINDS[:5]:
            d.do("make", "d/" + kind, kind)
        d.do("link", "d/file", "hard")
        top = d.sides[1].dir

        def all_of():
            out = {}
            for base, dirs, files in os.walk(top):
                for n in dirs + files:
                    p = os.path.join(base, n)
                    st = os.lstat(p)
                    out[os.path.relpath(p, top)] = (
                        st.st_ino, st.st_nlink, st.st_mode, st.st_mtime_ns,
                        st.st_ctime_ns, st.st_size)
            return out
        before = all_of()
        d.check("hard links", before[b"hard"][0] == before[b"d/file"][0])
        ino = before[b"hard"][0]
        os.rename(os.path.join(top, b"hard"), os.path.join(top, b"d/moved"))
        d.check("kept by a rename",
                os.stat(os.path.join(top, b"d/moved")).st_ino == ino)
        os.rename(os.path.join(top, b"d/moved"), os.path.join(top, b"hard"))
        before = all_of()
        d.m.unmount()
        d.m.start(d.options)
        d.check("kept by a remount", all_of() == before)


def run(d, root):
    setting(d, root)
    touching(d, root)
    reading(d)
    numbers(d)


if __name__ == "__main__":
    main(run)
