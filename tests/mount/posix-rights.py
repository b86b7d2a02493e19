#!/usr/bin/python3
"""Who may do what is as on a local disk: chmod, chown, set-id bits, opening,
access, truncating and setting times, over every type of file, for every
caller.  With ALL=1, more modes and types."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import errno, signal, struct, threading
from posixdiff import A, A_IN_B, B, ROOT, UTIME_NOW, UTIME_OMIT, User, main

ALL = bool(os.environ.get("ALL"))
KINDS = ["file", "dir", "fifo", "socket", "link", "char", "block"]
FEW = KINDS if ALL else ["file", "dir", "link"]
NOW, OMIT, THEN = (0, UTIME_NOW), (0, UTIME_OMIT), (1000000000, 123456789)
C = User(1, 1)
MODES = [0, 0o111, 0o444, 0o600, 0o1777, 0o2775, 0o4755, 0o6777, 0o7777,
         0o2755, 0o2711, 0o4711]


def own(d, root, path, user, mode):
    if root:
        d.do("lchown", path, user.uid, user.gid)
    d.do("chmod", path, mode)


def chmods(d, root):
    for kind in KINDS if root else KINDS[:4]:
        with d.group("chmod"):
            d.do("make", "x", kind)
            for mode in MODES:
                d.do("chmod", "x", mode, times=True)
            d.do("lchmod", "x", 0o644)
            if not root:
                continue
            for owner in (ROOT, A, User(65534, 65533)):
                d.do("chown", "x", owner.uid, owner.gid)
                for mode in (0o2755, 0o6777, 0o1777, 0o640):
                    for who in (None, A, A_IN_B, B):
                        d.do("chmod", "x", mode, user=who, times=ALL)
    with d.group("chmod"):
        d.do("symlink", "to", "l")
        d.do("chmod", "l", 0o600)
        d.do("put", "to")
        d.do("chmod", "l", 0o604, times=True)
        d.do("lchmod", "l", 0o600)
        d.do("chmod", "to/x", 0o600)
        d.do("chmod", "l/x", 0o600)


def chowns(d, root):
    """every owner by every caller to every other, with and without bits"""
    ids = [(-1, -1), (65534, -1), (-1, 65534), (65533, 65533), (-1, 65533),
           (-1, 65532), (65534, 65534), (65534, 65532), (0, 0), (-1, 0)]
    for kind in FEW if root else KINDS[:5]:
        with d.group("chown"):
            d.do("make", "x", kind)
            for mode in (0o6755, 0o2745, 0o644):
                if kind != "link":
                    d.do("chmod", "x", mode)
                if not root:
                    # numbers that are not shown as others
                    for uid, gid in ((-1, -1), (65534, -1), (-1, 65534)):
                        d.do("lchown", "x", uid, gid, times=True)
                    continue
                for who in (None, A, A_IN_B, B):
                    for uid, gid in ids:
                        d.do("lchown", "x", 65534, 65533)
                        if kind != "link":
                            d.do("chmod", "x", mode)
                        d.do("lchown", "x", uid, gid, user=who,
                             times=ALL or kind == "file")
    if root:
        with d.group("chown"):
            d.do("put", "to")
            d.do("symlink", "to", "l")
            d.do("chown", "l", 65534, 65534, times=True)
            d.do("lchown", "l", 65533, 65533, times=True)
            d.do("chown", "l", -1, -1, times=True)
            d.do("unlink", "to")
            d.do("chown", "l", 1, 1)


def set_ids(d, root):
    """writing and truncating by others takes them away"""
    big = b"x" * 5000
    acts = [("write", "x", b"y"), ("write", "x", b""), ("write", "x", big),
            ("write", "x", b"", os.O_WRONLY | os.O_TRUNC),
            ("write", "x", b"y", os.O_WRONLY | os.O_APPEND),
            ("write", "x", b"y", os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
            ("truncate", "x", 0), ("truncate", "x", 3),
            ("truncate", "x", 9000),
            ("open", "x", os.O_WRONLY, 0, os.ftruncate, 2),
            ("open", "x", os.O_WRONLY, 0, os.posix_fallocate, 0, 100),
            ("open", "x", os.O_RDONLY)]
    with d.group("set-id bits"):
        for mode in (0o6777, 0o2767, 0o2777, 0o4777, 0o1777):
            for act in acts:
                for who in (None, A, A_IN_B, B, C) if root else (None,):
                    d.folder()
                    d.do("put", "x", b"123")
                    own(d, root, "x", User(65534, 65533), mode)
                    d.do(*act, user=who, times=True)
    if not root:
        return

    def handed(path, flags, opener, fn, *args):
        """what who opened it gave away is changed by the caller"""
        fd = os.open(path, flags)
        try:
            opener.become()
            return fn(fd, *args)
        finally:
            opener.leave()
            os.close(fd)

    def taken(path, flags, opener, fn, *args):
        """or the other way round"""
        opener.become()
        try:
            fd = os.open(path, flags)
        finally:
            opener.leave()
        try:
            return fn(fd, *args)
        finally:
            os.close(fd)
    with d.group("set-id bits, handed on"):
        for mode in (0o6777, 0o2767, 0o4777):
            for flags in (os.O_RDWR, os.O_WRONLY | os.O_APPEND,
                          os.O_RDWR | os.O_APPEND, os.O_RDWR | os.O_SYNC):
                for act in ((os.write, b"y"), (os.write, big),
                            (os.ftruncate, 1), (os.posix_fallocate, 0, 100)):
                    for who in (A, A_IN_B, B, C):
                        for how in (handed, taken):
                            d.folder()
                            d.do("put", "x", b"123")
                            own(d, root, "x", User(65534, 65533), mode)
                            d.do(how, "x", flags, who, *act, times=True)


def sticky(d):
    with d.group("sticky folders"):
        for owner in (ROOT, A, B):
            for kind in FEW:
                d.folder()
                d.do("mkdir", "s", 0o777)
                d.do("mkdir", "open", 0o777)
                own(d, True, "s", owner, 0o1777)
                for mine in (ROOT, A, B):
                    for who in (ROOT, A, B):
                        d.do("make", "s/x", kind)
                        d.do("lchown", "s/x", mine.uid, mine.gid)
                        d.do("rename", "s/x", "open/x", user=who)
                        d.do("make", "open/y",
                             "dir" if kind == "dir" else "file")
                        d.do("lchown", "open/y", who.uid, who.gid)
                        d.do("rename", "open/y", "s/x", user=who)
                        d.do("rmdir" if kind == "dir" else "unlink", "s/x",
                             user=who)
                        # what is left of it, out of the way
                        for p in ("s/x", "open/x", "open/y"):
                            d.do("rmdir" if kind == "dir" else "unlink", p)


def inheritance(d, root):
    """whose new ones are in a set-group-id folder, and their bits"""
    with d.group("set-group-id folders"):
        for who in (None, A, A_IN_B, B) if root else (None,):
            d.folder()
            d.do("mkdir", "g", 0o777)
            own(d, root, "g", User(0, 65533), 0o2777)
            for umask in (0, 0o22):
                d.do("mkdir", "g/d%o" % umask, 0o755, user=who, umask=umask)
                d.do("mkfifo", "g/p%o" % umask, 0o666, user=who, umask=umask)
                d.do("put", "g/x%o" % umask, b"", 0o2777, user=who,
                     umask=umask)
                d.do("put", "g/y%o" % umask, b"", 0o2767, user=who,
                     umask=umask)
                d.do("symlink", "x", "g/l%o" % umask, user=who)
                d.do("mkdir", "g/d%o/e" % umask, 0o755, user=who)


def default_acl(d, root):
    acl = struct.pack("<I", 2) + b"".join(
        struct.pack("<HHI", tag, perm, 0xffffffff)
        for tag, perm in ((1, 7), (4, 7), (0x10, 6), (0x20, 5)))

    def set_acl(path):
        os.setxattr(path, "system.posix_acl_default", acl)
    with d.group("default ACL"):
        d.do("mkdir", "d", 0o777)
        if d.do(set_acl, "d") == "EOPNOTSUPP":
            return
        for who in (None, A, A_IN_B) if root else (None,):
            for umask in (0, 0o22, 0o77):
                n = "d/%s-%o-" % (who and len(who.groups), umask)
                d.do("mkdir", n + "d", 0o777, umask=umask, user=who)
                d.do("mkdir", n + "d/d", 0o777, umask=umask, user=who)
                d.do("mkfifo", n + "p", 0o666, umask=umask, user=who)
                d.do("put", n + "f", b"", 0o666, umask=umask, user=who)


def opening(d, root):
    """each flag, each type, each mode, each caller"""
    flags = [0, 1, 2, os.O_WRONLY | os.O_TRUNC, os.O_RDONLY | os.O_TRUNC,
             os.O_WRONLY | os.O_APPEND, os.O_RDONLY | os.O_CREAT,
             os.O_RDWR | os.O_CREAT | os.O_EXCL, os.O_PATH, os.O_NOFOLLOW,
             os.O_DIRECTORY, os.O_RDONLY | os.O_NOATIME,
             os.O_WRONLY | os.O_CREAT | os.O_TRUNC, os.O_RDWR | os.O_SYNC,
             os.O_RDWR | os.O_DSYNC, os.O_CREAT | os.O_DIRECTORY,
             os.O_PATH | os.O_NOFOLLOW, os.O_RDONLY | os.O_NONBLOCK]
    with d.group("open"):
        for kind in KINDS[:5]:
            d.folder()
            d.do("make", "x", kind, 0o666)
            for f in flags:
                d.do("open", "x", f | os.O_NONBLOCK, times=True)
                d.do("open", "new", f | os.O_NONBLOCK)
                d.do("open", "x/y", f | os.O_NONBLOCK)
        d.do("open", "x", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        d.do("open", "target", os.O_WRONLY | os.O_CREAT, 0o640)
    modes = [0, 0o400, 0o200, 0o040, 0o020, 0o004, 0o002, 0o666, 0o606]
    if ALL:
        modes += [0o100 * a + 0o10 * b + c for a in range(8)
                  for b in range(8) for c in range(8)]
    for mode in modes:
        with d.group("rights to open"):
            d.do("put", "x", b"123")
            d.do("mkdir", "d", 0o755)
            d.do("put", "d/y", b"123")
            own(d, root, "x", A_IN_B, mode)
            own(d, root, "d", A_IN_B, mode << 1 & 0o666 | mode)
            for who in (None, A, B, User(1, 65534), User(1, 1, (65534,)),
                        User(1, 1)) if root else (None,):
                for f in (0, 1, 2, os.O_WRONLY | os.O_TRUNC,
                          os.O_RDONLY | os.O_TRUNC, os.O_RDONLY | os.O_CREAT):
                    d.do("open", "x", f, user=who)
                # (root here is let in where the sandbox's user is not)
                if root or os.getuid():
                    d.do("open", "d", os.O_RDONLY, user=who)
                    d.do("open", "d/y", os.O_RDONLY, user=who)
                    d.do("open", "d/z", os.O_WRONLY | os.O_CREAT, user=who)
                    d.do("chdir", "d", user=who)
                d.do("read", "x", user=who)
                if root or os.getuid():
                    for how in range(8):
                        d.do("access", "x", how, user=who)
                        d.do("access", "d", how, user=who)
                d.do("truncate", "x", 2, user=who)
                for ts in ((NOW, NOW), (NOW, OMIT), (OMIT, OMIT),
                           (THEN, THEN), (NOW, THEN), (THEN, OMIT)):
                    d.do("utimensat", "x", *ts, user=who)


def kept_open(d, root):
    """the right to what is open stays, whatever becomes of the name"""
    def later(path, flags, change):
        fd = os.open(path, flags)
        try:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            change(path)
            if flags == os.O_RDONLY:
                return os.read(fd, 100)
            return os.write(fd, b"abc"), os.fstat(fd).st_size
        finally:
            os.close(fd)

    def synced(path, mode):
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.chmod(path, mode)
            return os.fsync(fd)
        finally:
            os.close(fd)
            os.chmod(path, 0o755)
    with d.group("kept open"):
        for mode in (0o700, 0o500, 0o400, 0o300, 0o100, 0):
            d.folder()
            d.do("mkdir", "d", 0o755)
            d.do("mkdir", "d/e", 0o755)
            for path in "d", "d/e":
                d.do(synced, path, mode)
    with d.group("kept open"):
        for flags in (os.O_RDONLY, os.O_WRONLY):
            for change in (lambda p: os.chmod(p, 0),
                           lambda p: os.chmod("d", 0), os.unlink,
                           lambda p: os.rename(p, "y")):
                for who in (None, A, A_IN_B) if root else (None,):
                    d.folder(0o777)
                    d.do("mkdir", "d", 0o777, user=who)
                    d.do("put", "d/x", b"12345", user=who)
                    d.do(later, "d/x", flags, change, user=who)
                    d.do("chmod", "d", 0o777)


def shut_out(d):
    """what is open stays in reach when its folder does not, or when it was
    moved into one that is closed; and what may be read may be listed"""
    def later(path, flags, change, fn, *args):
        fd = os.open(path, flags)
        try:
            change(path)
            return fn(fd, *args)
        finally:
            os.close(fd)
            os.chmod("d", 0o755)
            os.chmod("e", 0o755)

    def again(fd, flags):
        os.close(os.open("/proc/self/fd/%d" % fd, flags))
    acts = [(os.fchmod, 0o640), (os.utime, (1, 2)), (os.fchown, -1, -1),
            (os.fsync,), (os.setxattr, "user.a", b"1"),
            (os.getxattr, "user.a"), (os.listxattr,), (again, os.O_RDWR),
            (again, os.O_WRONLY | os.O_TRUNC), (os.ftruncate, 2),
            (lambda f: os.link("/proc/self/fd/%d" % f, "new"),),
            (lambda f: oct(os.fstat(f).st_mode),), (os.pread, 10, 0)]
    with d.group("shut out"):
        for flags in (os.O_RDONLY, os.O_RDWR):
            for change in (lambda p: os.chmod("d", 0),
                           lambda p: (os.chmod("e", 0o300), os.rename(p, "e/x"),
                                      os.chmod("e", 0))):
                for act in acts:
                    d.folder()
                    d.do("mkdir", "d", 0o755)
                    d.do("mkdir", "e", 0o755)
                    d.do("put", "d/x", b"12345")
                    d.do(later, "d/x", flags, change, *act)
    if not os.getuid():
        return  # root here is let in where the sandbox's user is not
    for kind in ("file", "fifo"):
        with d.group("shut out"):
            d.do("mkdir", "d", 0o755)
            d.do("make", "d/x", kind)
            d.do("link", "d/x", "y")
            d.do("link", "d/x", "z")
            d.do("chmod", "d", 0)
            for p in ("y", "z"):
                d.do("chmod", p, 0o640, times=True)
                d.do("utimensat", p, THEN, THEN)
                d.do(os.listxattr, p)
                d.do("link", p, "new-" + p)
                d.do("open", p, os.O_RDWR | os.O_NONBLOCK)
            d.do("chmod", "d", 0o755)
    modes = (0o400, 0o444, 0o600, 0o300, 0o100, 0)
    with d.group("names without rights"):
        for mode in modes:
            d.do("mkdir", "d%o" % mode, 0o755)
            d.do("put", "d%o/x" % mode)
            d.do("mkdir", "d%o/y" % mode, 0o755)
            d.do("chmod", "d%o" % mode, mode)
        # nothing of it is known any more
        d.m.unmount()
        d.m.start(d.options)
        for mode in modes:
            for op in ("listdir", "listdir", "sync_dir", "chdir", "stat"):
                d.do(op, "d%o" % mode)
            d.do("stat", "d%o/x" % mode)
            d.do("chmod", "d%o" % mode, 0o755)
            d.do("listdir", "d%o" % mode)
            d.do("stat", "d%o/x" % mode)


def another_helper(d):
    """whom it acts as is told to every new one"""
    def kill():
        d.m.signal_all(d.m.helpers(), signal.SIGKILL)

    with d.group("another helper"):
        d.do("mkdir", "d", 0o777)
        for n, who in enumerate((A, A, A_IN_B, B, None, None, A)):
            d.do("mkdir", "d/d%d" % n, 0o755, user=who)
            kill()
            d.do("put", "d/f%d" % n, b"x", 0o644, user=who)
            kill()
            d.do("symlink", "x", "d/l%d" % n, user=who)


def several_at_once(d):
    """what each of them makes is their own"""
    with d.group("several at once"):
        top = os.path.join(os.fsdecode(d.sides[1].dir), "d")
        os.mkdir(top)
        os.chmod(top, 0o777)
        failed = []

        def work(n, who):
            who.become()
            try:
                for k in range(40):
                    p = "%s/%d-%d" % (top, n, k)
                    os.mkdir(p + "d", 0o700)
                    with open(p + "d/f", "wb") as f:
                        f.write(b"x" * 100000)
                    os.symlink("x", p + "l")
                    os.rename(p + "d/f", p + "f")
            except OSError as e:
                failed.append(e)
            finally:
                who.leave()
        users = [ROOT, A, B, User(1, 2, (3,))]
        ts = [threading.Thread(target=work, args=a) for a in enumerate(users)]
        [t.start() for t in ts]
        [t.join() for t in ts]
        d.check("no errors: %s" % failed, not failed)
        names = os.listdir(top)
        d.check("all are there", len(names) == 40 * 3 * len(users))
        for n in names:
            st = os.lstat(os.path.join(top, n))
            who = users[int(n.split("-")[0])]
            d.check("%s is %r's" % (n, who),
                    (st.st_uid, st.st_gid) == (who.uid, who.gid))
        inside = d.m.run("t", "cd %d/d && stat -c '%%u %%g %%s' *f" % d.nr)
        d.check("also in the sandbox", sorted(inside.split(b"\n")[:-1]) ==
                sorted(b"%d %d 100000" % (u.uid, u.gid)
                       for u in users for _ in range(40)))


def somebody_else(d):
    """on an ordinary sandbox everybody acts as its user"""
    with d.group("somebody else"):
        d.m.unmount()
        d.m.start(("allow_other",) + d.options)
        top = os.fsdecode(d.sides[1].dir)
        os.mkdir(top + "/open")
        os.chmod(top + "/open", 0o777)
        os.mkdir(top + "/closed")

        def attempt(fn):
            A.become()
            try:
                fn()
                return 0
            except OSError as e:
                return e.errno
            finally:
                A.leave()
        d.check("makes", not attempt(lambda: os.mkdir(top + "/open/d")))
        d.check("as the sandbox's user",
                os.stat(top + "/open/d").st_uid == os.getuid())
        d.check("and not where modes forbid it",
                attempt(lambda: os.mkdir(top + "/closed/d")) == errno.EACCES)
        d.check("nor changes what is not theirs",
                attempt(lambda: os.chmod(top + "/open", 0)) == errno.EPERM)


def run(d, root):
    chmods(d, root)
    chowns(d, root)
    set_ids(d, root)
    inheritance(d, root)
    default_acl(d, root)
    opening(d, root)
    kept_open(d, root)
    if not root:
        shut_out(d)
    if root:
        sticky(d)
        another_helper(d)
        several_at_once(d)
    elif os.getuid() == 0:
        somebody_else(d)


if __name__ == "__main__":
    main(run)
