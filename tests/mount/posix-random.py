#!/usr/bin/python3
"""System calls in random order, by random callers, on few names, so that they
meet: each of them does what it does on a local disk.

    SECONDS=600 SEED=7 tests/mount/posix-random.py

makes it longer, and repeats one.
"""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import random, stat, time
from posixdiff import A, A_IN_B, AT_SYMLINK_NOFOLLOW, B, UTIME_NOW, UTIME_OMIT
from posixdiff import User, main

WHO = [None, None, A, A, A_IN_B, B, User(65534, 65533), User(65533, 0, (0,)),
       User(0, 65534)]
IDS = [0, 65534, 65533, 65532, -1, -1]
STAMPS = [(0, UTIME_NOW), (0, UTIME_OMIT), (1000000000, 123456789), (0, 0),
          (-1, 999999999), (2**31, 5), (2**33, 7)]
KINDS = ["file", "file", "file", "dir", "dir", "fifo", "socket", "link"]
MODES = [0o644, 0o755, 0o777, 0o666, 0o600, 0o700, 0o1777, 0o2775, 0o6755,
         0o4777, 0o2767, 0o444, 0o222, 0o711, 0o730, 0o007, 0]
FLAGS = [os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_APPEND,
         os.O_RDWR | os.O_APPEND, os.O_WRONLY | os.O_TRUNC,
         os.O_RDWR | os.O_CREAT, os.O_WRONLY | os.O_CREAT | os.O_EXCL,
         os.O_WRONLY | os.O_CREAT | os.O_TRUNC, os.O_RDONLY | os.O_CREAT,
         os.O_RDONLY | os.O_TRUNC, os.O_DIRECTORY, os.O_RDWR | os.O_NOFOLLOW,
         os.O_RDWR | os.O_SYNC, os.O_PATH]
SLOTS, NONE = 4, 9999
held = {}  # (folder, slot): descriptor, since each side has its own


def fd_of(slot):
    return held.get((os.getcwdb(), slot), NONE)


def hold(slot, path, flags, mode):
    drop(slot)
    held[os.getcwdb(), slot] = os.open(path, flags | os.O_NONBLOCK, mode)


def drop(slot):
    fd = held.pop((os.getcwdb(), slot), None)
    if fd is not None:
        os.close(fd)


def drop_all():
    for fd in held.values():
        os.close(fd)
    held.clear()


def facts(slot):
    st = os.fstat(fd_of(slot))
    return (oct(st.st_mode), st.st_nlink,
            0 if stat.S_ISDIR(st.st_mode) else st.st_size)


def content(slot):
    return os.pread(fd_of(slot), 9000, 0)


def by_fd(fn, slot, *args):
    fd = fd_of(slot)
    st = os.fstat(fd)
    if not stat.S_ISREG(st.st_mode) and not st.st_nlink:
        return "gone"  # the sandbox does not have it open
    return fn(fd, *args)


def listing(slot):
    return sorted(os.listdir(fd_of(slot)))


def in_dir(slot, name, mode):
    os.mkdir(name, mode, dir_fd=fd_of(slot))


def link_fd(slot, path):
    os.link("/proc/self/fd/%d" % fd_of(slot), path, follow_symlinks=True)


def copied(a, b, n):
    return os.copy_file_range(fd_of(a), fd_of(b), n, 0, 3)


def write(path, data, flags):
    if stat.S_ISFIFO(os.stat(path).st_mode):
        return "a pipe"  # its times are changed here, and there not
    fd = os.open(path, flags | os.O_NONBLOCK)
    try:
        return os.write(fd, data)
    finally:
        os.close(fd)


class Steps:
    def __init__(self, d, rnd, root):
        self.d, self.r, self.root = d, rnd, root
        # owners of ordinary sandboxes are shown as others
        self.who = WHO if root else [None]
        self.kinds = KINDS + ["char", "block"] if root else KINDS
        self.ops = [self.make] * 5 + [
            self.mkdir, self.unlink, self.rmdir, self.rename, self.rename,
            self.rename, self.rename2, self.link, self.link, self.symlink,
            self.chmod, self.chmod, self.chmod, self.write, self.truncate,
            self.utimens, self.utimens, self.access, self.stat, self.readlink,
            self.listdir, self.open, self.open, self.open, self.drop,
            self.fd_write, self.fd_write, self.fd_truncate, self.fd_fallocate,
            self.fd_chmod, self.fd_times, self.fd_facts, self.fd_content,
            self.fd_list, self.fd_mkdir, self.fd_link, self.fd_copy,
            self.xattr, self.fd_sync]
        if root:
            self.ops += [self.chown] * 4 + [self.fd_chown]

    def path(self):
        r = self.r
        p = r.choice(("", "", "a/", "a/", "b/", "a/c/"))
        p += r.choice("abcxyz")
        return p + ("/" if r.randrange(25) == 0 else "")

    def do(self, op, *args, times=True):
        self.d.do(op, *args, user=self.r.choice(self.who), times=times,
                  umask=self.r.choice((0o22, 0o22, 0, 0o77)))

    def mode(self):
        return self.r.choice(MODES)

    def slot(self):
        return self.r.randrange(SLOTS)

    def data(self):
        return self.r.randbytes(self.r.choice((0, 1, 7, 5000)))

    # by name

    def make(self):
        self.do("make", self.path(), self.r.choice(self.kinds), self.mode())

    def mkdir(self):
        self.do("mkdir", self.path(), self.mode())

    def unlink(self):
        self.do("unlink", self.path())

    def rmdir(self):
        self.do("rmdir", self.path())

    def rename(self):
        self.do("rename", self.path(), self.path())

    def rename2(self):
        self.do("rename2", self.path(), self.path(), self.r.choice((1, 2)))

    def link(self):
        self.do("link", self.path(), self.path())

    def symlink(self):
        self.do("symlink", self.path(), self.path())

    def chmod(self):
        self.do("chmod", self.path(), self.mode())

    def chown(self):
        # (to nobody: what the kernel sends before it writes looks like it)
        uid = self.r.choice(IDS)
        self.do(self.r.choice(("chown", "lchown")), self.path(), uid,
                self.r.choice(IDS[:4] if uid < 0 else IDS))

    def write(self):
        self.do(write, self.path(), self.data(),
                self.r.choice((os.O_WRONLY, os.O_WRONLY | os.O_TRUNC,
                               os.O_WRONLY | os.O_APPEND)))

    def truncate(self):
        self.do("truncate", self.path(), self.r.choice((0, 3, 4096, 9000)))

    def utimens(self):
        self.do("utimensat", self.path(), self.r.choice(STAMPS),
                self.r.choice(STAMPS),
                self.r.choice((0, AT_SYMLINK_NOFOLLOW)))

    def access(self):
        self.do("access", self.path(), self.r.randrange(8))

    def stat(self):
        self.do(self.r.choice(("stat", "lstat")), self.path())

    def readlink(self):
        self.do("readlink", self.path())

    def listdir(self):
        self.do("listdir", self.path())

    def xattr(self):
        if self.r.randrange(2):
            self.do(os.setxattr, self.path(), "user.a", self.data()[:100])
        else:
            self.do(os.removexattr, self.path(), "user.a")

    # by descriptor

    def open(self):
        self.do(hold, self.slot(), self.path(), self.r.choice(FLAGS),
                self.mode())

    def drop(self):
        self.do(drop, self.slot())

    def fd_write(self):
        self.do(by_fd, os.pwrite, self.slot(), self.data(),
                self.r.choice((0, 2, 5000)))

    def fd_truncate(self):
        self.do(by_fd, os.ftruncate, self.slot(), self.r.choice((0, 3, 7000)))

    def fd_fallocate(self):
        self.do(by_fd, os.posix_fallocate, self.slot(), 0,
                self.r.choice((5, 10000)))

    def fd_chmod(self):
        self.do(by_fd, os.fchmod, self.slot(), self.mode())

    def fd_chown(self):
        self.do(by_fd, os.fchown, self.slot(), self.r.choice(IDS[:4]),
                self.r.choice(IDS))

    def fd_times(self):
        self.do(by_fd, os.utime, self.slot(), (1, self.r.randrange(2**31)))

    def fd_facts(self):
        self.do(facts, self.slot())

    def fd_content(self):
        self.do(content, self.slot())

    def fd_list(self):
        self.do(listing, self.slot())

    def fd_mkdir(self):
        self.do(in_dir, self.slot(), self.r.choice("abc"), self.mode())

    def fd_link(self):
        self.do(link_fd, self.slot(), self.path())

    def fd_copy(self):
        self.do(copied, self.slot(), self.slot(), self.r.choice((3, 6000)))

    def fd_sync(self):
        self.do(by_fd, os.fsync, self.slot())


def run(d, root):
    if os.getuid() == 0 and not root:
        return  # root here is let in where the sandbox's user is not
    for s in d.sides:
        s.times = ["mtime", "ctime"]  # what is opened may count as read
    seconds = float(os.environ.get("SECONDS", "4"))
    seed = int(os.environ.get("SEED", "1"))
    end = time.monotonic() + seconds
    while time.monotonic() < end and not d.failures:
        rnd = random.Random(seed)
        with d.group("random"):
            if root:
                d.folder(rnd.choice((0o755, 0o777, 0o1777)))
            steps = Steps(d, rnd, root)
            for _ in range(400):
                rnd.choice(steps.ops)()
                if d.failures or time.monotonic() > end:
                    break
            drop_all()
        if d.failures:
            print("SEED=%d" % seed)
        seed += 1


if __name__ == "__main__":
    main(run)
