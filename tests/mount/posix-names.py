#!/usr/bin/python3
"""Names come, go and move as on a local disk: mkdir, mknod, mkfifo, symlink,
link, unlink, rmdir and rename, over every type of file, for every caller.
With ALL=1, more modes and owners of folders."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import stat
from posixdiff import A, A_IN_B, B, ROOT, main

KINDS = ["file", "dir", "fifo", "socket", "link", "char", "block"]
MAKERS = {
    "mkdir": lambda d, p, **kw: d.do("mkdir", p, 0o755, **kw),
    "mkfifo": lambda d, p, **kw: d.do("mkfifo", p, 0o644, **kw),
    "mknod": lambda d, p, **kw: d.do("mknod", p, stat.S_IFSOCK | 0o644, 0,
                                     **kw),
    "symlink": lambda d, p, **kw: d.do("symlink", "t", p, **kw),
    "link": lambda d, p, **kw: d.do("link", "from", p, **kw),
    "create": lambda d, p, **kw: d.do("put", p, b"", 0o644, **kw),
    "rename": lambda d, p, **kw: d.do("rename", "from", p, **kw),
}
REMOVERS = {
    "unlink": lambda d, p, **kw: d.do("unlink", p, **kw),
    "rmdir": lambda d, p, **kw: d.do("rmdir", p, **kw),
    "rename-away": lambda d, p, **kw: d.do("rename", p, "away", **kw),
}
WHO = [None, A, A_IN_B, B]


def kinds(root):
    return KINDS if root else KINDS[:5]


def places(d):
    """where a name may not be made, or not found"""
    d.do("put", "file")
    d.do("mkdir", "dir", 0o755)
    d.do("symlink", "file", "tofile")
    d.do("symlink", "dir", "todir")
    d.do("symlink", "nowhere", "dangling")
    d.do("symlink", "loop2", "loop1")
    d.do("symlink", "loop1", "loop2")
    return ["nowhere/x", "file/x", "tofile/x", "todir/x", "dangling/x",
            "loop1/x", "loop1", "dangling", "todir", "tofile", "file", "dir",
            "x/", "file/", "dir/", "tofile/", "todir/", "dangling/", "", ".",
            "..", "dir/.", "dir/..", "n" * 255, "n" * 256,
            "dir/" + "n" * 256, "./" * 2000 + "y", "./" * 2047 + "y",
            "./" * 2047 + "yy", "./" * 2048 + "y", "a" * 5000]


def making(d, root):
    for name, fn in MAKERS.items():
        with d.group(name):
            d.do("put", "from")
            for p in places(d):
                fn(d, p)
                if name == "rename":
                    d.do("make", "from", "file")
            # new ones: modes, umask, times of the folder
            d.folder()
            d.do("put", "from")
            fn(d, "new", times=True)
            d.do("make", "from", "file")
            for umask in (0o22, 0o77, 0o277, 0o7):
                fn(d, "u%o" % umask, umask=umask)
                d.do("make", "from", "file")
    with d.group("modes of new names"):
        for mode in (0, 0o111, 0o777, 0o1777, 0o4755, 0o2755, 0o7777, 0o2000):
            d.do("mkdir", "d%o" % mode, mode, umask=0o22)
            d.do("mkfifo", "p%o" % mode, mode, umask=0o22)
            d.do("put", "f%o" % mode, b"", mode, umask=0o22)


def removing(d, root):
    for name, fn in REMOVERS.items():
        with d.group(name):
            for p in places(d):
                fn(d, p)
            for kind in kinds(root):
                d.folder()
                d.do("make", "x", kind)
                if kind != "dir":
                    d.do("link", "x", "y")
                fn(d, "x", times=True)
                fn(d, "x", times=True)
                fn(d, "y", times=True)
            d.folder()
            d.do("mkdir", "full", 0o755)
            d.do("mkdir", "full/sub", 0o755)
            d.do("put", "full/file")
            fn(d, "full", times=True)
            fn(d, "full/sub", times=True)
            fn(d, "full/file", times=True)
            fn(d, "full", times=True)


def linking(d, root):
    with d.group("link types"):
        for kind in kinds(root):
            d.folder()
            d.do("make", "x", kind)
            d.do("make", "other", kind)
            d.do("link", "x", "y", times=True)
            d.do("link", "y", "z", times=True)
            d.do("link", "x", "other", times=True)
            d.do("chmod", "y", 0o600, times=True)
            d.do("unlink", "x", times=True)
            d.do("unlink", "y", times=True)
            d.do("link", "z", "x", times=True)
            d.do("link", "nowhere", "w", times=True)
            d.do("link_follow", "z", "v", times=True)


def moving(d, root):
    with d.group("rename types"):
        for a in kinds(root):
            for b in kinds(root) + ["full"]:
                for flags in (0, 1, 2):
                    d.folder()
                    d.do("mkdir", "to", 0o755)
                    d.do("make", "x", a)
                    d.do("make", "to/y", "dir" if b == "full" else b)
                    if b == "full":
                        d.do("put", "to/y/f")
                    d.do("rename2", "x", "to/y", flags, times=True)
    with d.group("rename"):
        d.do("put", "a")
        d.do("link", "a", "b")
        d.do("rename", "a", "b", times=True)
        d.do("rename", "a", "a", times=True)
        d.do("rename2", "a", "b", 2, times=True)
        d.do("rename2", "a", "new", 2)
        d.do("rename2", "a", "new", 1, times=True)
        d.do("rename2", "a", "new", 3)
        d.do("rename2", "a", "new", 8)
        d.do("mkdir", "d", 0o755)
        d.do("mkdir", "d/e", 0o755)
        d.do("mkdir", "d/e/f", 0o755)
        for to in ("d", "d/x", "d/e", "d/e/x", "d/e/f", "d/e/f/x"):
            d.do("rename", "d", to)
            d.do("rename2", "d", to, 2)
        d.do("rename", "d/e/f", "d")
        d.do("rename", "d/e/f", "d/e")
        d.do("rename2", "d/e/f", "d", 2)
        d.do("mkdir", "t", 0o755)
        d.do("rename", "d/e", "t/e", times=True)
        d.do("rename", "t/e", "t/moved", times=True)
        d.do("rename", "t/moved/f", "d", times=True)
        d.do("rename", "d/.", "x")
        d.do("rename", "d/..", "x")
        d.do("rename", ".", "x")
        d.do("rename", "d", ".")
        d.do("rename", "d/", "slash", times=True)
        d.do("rename", "b/", "slash2")
        d.do("rename", "b", "slash2/")


def callers(d):
    """rights in the folder, for makers and removers"""
    modes = [0o755, 0o711, 0o1777, 0o2775]
    owners = [ROOT, A]
    if os.environ.get("ALL"):
        modes += [0o775, 0o777, 0o757, 0o700, 0o733, 0o766, 0o1775, 0o3777,
                  0o2770, 0]
        owners.append(B)
    for mode in modes:
        for owner in owners:
            with d.group("callers of %o" % mode):
                d.do("mkdir", "d", 0o755)
                d.do("chown", "d", owner.uid, owner.gid)
                d.do("chmod", "d", mode)
                for i, who in enumerate(WHO):
                    for op in ("mkdir", "mkfifo", "symlink", "create"):
                        MAKERS[op](d, "d/%s%d" % (op, i), user=who)
                    d.do("make", "f%d" % i, "file", 0o666)
                    d.do("chown", "f%d" % i, A.uid, A.gid)
                    d.do("link", "f%d" % i, "d/l%d" % i, user=who)
                    d.do("rename", "f%d" % i, "d/r%d" % i, user=who)
                for i, who in enumerate(WHO):
                    d.do("make", "d/mine", "file")
                    d.do("chown", "d/mine", (who or ROOT).uid, -1)
                    d.do("make", "d/dir", "dir")
                    d.do("make", "d/sub", "dir")
                    d.do("chown", "d/sub", A.uid, A.gid)
                    for other in (A, B, None):
                        d.do("unlink", "d/mine", user=other)
                        d.do("rename", "d/mkfifo%d" % i, "d/x", user=other)
                        d.do("rename", "d/sub", "d/y", user=other)
                        d.do("rename", "d/create%d" % i, "d/dir",
                             user=other)
                        d.do("rmdir", "d/dir", user=other)
                        d.do("stat", "d/symlink%d" % i, user=other)
                        d.do("listdir", "d", user=other)
                        d.do("rmdir", "d/y", user=other)


def bytes_of_names(d):
    with d.group("names of any bytes"):
        names = [bytes([i]) for i in range(1, 256) if i != 0x2f and i != 0x2e]
        for n in names + [b"...", b" x ", b"\xff" * 255, b"a\nb", b"-rf"]:
            d.do("put", n)
        d.do("listdir", b".")
        for n in names:
            d.do("unlink", n)
        for target in (b"\xff", b"a" * 4095, b"a" * 4096, b"", b"/", b"a//b/",
                       b"/proc/self", b"x" * 1023):
            d.do("symlink", target, b"l")
            d.do("readlink", b"l")
            d.do("unlink", b"l")


def run(d, root):
    making(d, root)
    removing(d, root)
    linking(d, root)
    moving(d, root)
    if root:
        callers(d)
    bytes_of_names(d)


if __name__ == "__main__":
    main(run)
