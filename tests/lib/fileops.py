"""Carries out operations on files below the current directory.

Reads one JSON list of operations per line and answers each line with one of
their results.  It needs nothing but Python, so that the same text runs on a
mount, beside it, and (python3 -c) inside a sandbox; model.py compares what
the three say.
"""
import ctypes
import errno
import hashlib
import json
import mmap
import os
import stat
import sys

libc = ctypes.CDLL(None, use_errno=True)
EXCHANGE, NOREPLACE, PUNCH = 2, 1, 3
AT_FDCWD = -100
slots = {}  # number: [descriptor, mapping or None]


def data(seed, n):
    unit = b"%06d|" % (seed % 1000000)
    return (unit * (n // len(unit) + 1))[:n]


def digest(b):
    return "%d:%s" % (len(b), hashlib.sha1(b).hexdigest()[:12])


def call(f, *args):
    if f(*args) < 0:
        e = ctypes.get_errno()
        raise OSError(e, os.strerror(e))


def pread_all(fd):
    out = b""
    while True:
        piece = os.pread(fd, 1 << 17, len(out))
        if not piece:
            return out
        out += piece


def mapped(fd):
    """The content as a mapping shows it."""
    n = os.fstat(fd).st_size
    if not n:
        return b""
    m = mmap.mmap(fd, n, mmap.MAP_SHARED, mmap.PROT_READ)
    try:
        return m[:]
    finally:
        m.close()


class Opened:
    def __init__(self, path, flags=os.O_RDWR, mode=0o644):
        self.fd = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, mode)

    def __enter__(self):
        return self.fd

    def __exit__(self, *args):
        os.close(self.fd)


# ---- by name ----

def create(path, mode, flags):
    with Opened(path, os.O_RDWR | os.O_CREAT | flags, mode):
        pass


def write(path, off, n, seed):
    with Opened(path) as fd:
        os.pwrite(fd, data(seed, n), off)


def append(path, n, seed):
    with Opened(path, os.O_WRONLY | os.O_APPEND) as fd:
        os.write(fd, data(seed, n))
        os.write(fd, b"!")


def save(path, n, seed):
    """As editors and git do."""
    with Opened(path + ".tmp", os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as fd:
        os.write(fd, data(seed, n))
        os.fsync(fd)
    os.rename(path + ".tmp", path)


def put(path, n, seed):
    with Opened(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as fd:
        os.write(fd, data(seed, n))


def truncate(path, n):
    os.truncate(path, n)


def rename2(a, b, flags):
    call(libc.renameat2, AT_FDCWD, os.fsencode(a), AT_FDCWD, os.fsencode(b),
         flags)


def mapwrite(path, off, n, seed):
    with Opened(path) as fd:
        map_put(fd, None, off, n, seed)


def map_put(fd, m, off, n, seed):
    size = os.fstat(fd).st_size
    if m:
        size = min(size, len(m))
    off = min(off, size)
    n = min(n, size - off)
    if n:
        mine = m or mmap.mmap(fd, size)
        mine[off:off + n] = data(seed, n)
        mine.flush()
        if not m:
            mine.close()


def copy(a, b, n):
    with Opened(a, os.O_RDONLY) as i, Opened(b) as o:
        os.copy_file_range(i, o, n, 0, 0)


def punch(path, off, n):
    with Opened(path) as fd:
        call(libc.fallocate, fd, PUNCH, ctypes.c_long(off),
             ctypes.c_long(max(n, 1)))


def setxattr(path, name, n, seed):
    os.setxattr(path, "user." + name, data(seed, n))


def removexattr(path, name):
    os.removexattr(path, "user." + name)


def utimens(path, s):
    os.utime(path, ns=(s * 10**9 + 5, s * 10**9 + 123456789),
             follow_symlinks=False)


def read(path):
    with Opened(path, os.O_RDONLY) as fd:
        return digest(pread_all(fd))


def entries(path):
    return sorted(os.listdir(path))


# ---- by descriptor ----

def opened(slot, path, flags):
    if slot in slots:
        closed(slot)
    slots[slot] = [os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644),
                   None]


def closed(slot):
    fd, m = slots.pop(slot)
    if m:
        m.close()
    os.close(fd)


def fpread(slot, off, n):
    return digest(os.pread(slots[slot][0], n, off))


def fpwrite(slot, off, n, seed):
    os.pwrite(slots[slot][0], data(seed, n), off)


def fwrite(slot, n, seed):
    os.lseek(slots[slot][0], 0, os.SEEK_END)
    os.write(slots[slot][0], data(seed, n))
    return os.lseek(slots[slot][0], 0, os.SEEK_CUR)


def ftruncate(slot, n):
    os.ftruncate(slots[slot][0], n)


def fsync(slot):
    os.fsync(slots[slot][0])


def fseek(slot, off, whence):
    if stat.S_ISDIR(os.fstat(slots[slot][0]).st_mode):
        return None  # each file system has its own idea
    return os.lseek(slots[slot][0], off, whence)


def fmap(slot):
    s = slots[slot]
    n = os.fstat(s[0]).st_size
    if n and not s[1]:
        s[1] = mmap.mmap(s[0], n)


def fmapwrite(slot, off, n, seed):
    fd, m = slots[slot]
    if m:
        map_put(fd, m, off, n, seed)


def flist(slot):
    return sorted(os.listdir(slots[slot][0]))


def held():
    """All that is open: size, links, content, also as kept mappings show it"""
    out = {}
    for slot, (fd, m) in sorted(slots.items()):
        try:
            st = os.fstat(fd)
            if stat.S_ISDIR(st.st_mode):
                # what a folder's "end" is differs from one disk to the next
                os.lseek(fd, 0, os.SEEK_SET)
                out[slot] = ["dir", sorted(os.listdir(fd)) if st.st_nlink
                             else []]
                continue
            one = [st.st_size, st.st_nlink, stat.S_IMODE(st.st_mode)]
            # one opened for writing only tells its size
            if fcntl_flags(fd) & os.O_ACCMODE != os.O_WRONLY:
                one.append(digest(pread_all(fd)))
            if m:
                one.append(digest(m[:min(len(m), st.st_size)]))
            out[slot] = one
        except OSError as e:
            out[slot] = [errno.errorcode[e.errno]]
    return out


def fcntl_flags(fd):
    import fcntl
    return fcntl.fcntl(fd, fcntl.F_GETFL)


def tree(order=0):
    """Everything below, by every call that can tell it.  order None: but no
    content, as sizes that are not yet true would end a mapping's reader."""
    out = {}

    def look(path):
        st = os.lstat(path)
        one = {"mode": st.st_mode, "nlink": st.st_nlink, "size": st.st_size,
               "ino": st.st_ino, "mtime": st.st_mtime_ns,
               "ctime": st.st_ctime_ns}
        out[path] = one
        if stat.S_ISLNK(st.st_mode):
            one["target"] = os.readlink(path)
            return
        one["xattr"] = {n: digest(os.getxattr(path, n))
                        for n in sorted(os.listxattr(path))
                        if n.startswith("user.")}
        if stat.S_ISREG(st.st_mode) and order is not None:
            with Opened(path, os.O_RDONLY) as fd:
                if order:  # the other way round fills caches otherwise
                    one["map"] = digest(mapped(fd))
                one["read"] = digest(pread_all(fd))
                one["map"] = digest(mapped(fd))
                one["fsize"] = os.fstat(fd).st_size
        elif stat.S_ISDIR(st.st_mode):
            names = sorted(os.listdir(path))
            one["names"] = names
            one["types"] = sorted((e.name, e.is_dir(follow_symlinks=False),
                                   e.is_symlink()) for e in os.scandir(path))
            for n in names:
                look(path + "/" + n)
    look(".")
    return out


NAMES = {f.__name__: f for f in (
    create, write, append, save, put, truncate, rename2, mapwrite, copy, punch,
    setxattr, removexattr, utimens, read, entries, opened, closed, fpread,
    fpwrite, fwrite, ftruncate, fsync, fseek, fmap, fmapwrite, flist, held,
    tree, os.rename, os.unlink, os.rmdir, os.mkdir, os.makedirs, os.symlink,
    os.link, os.chmod, os.chdir)}


def do(op):
    try:
        return ["ok", NAMES[op[0]](*op[1:])]
    except OSError as e:
        return ["error", errno.errorcode.get(e.errno, e.errno)]
    except KeyError as e:
        return ["nothing", str(e)]  # no such slot
    except ValueError as e:
        return ["error", str(e)]


def main():
    os.umask(0o022)
    for line in sys.stdin:
        out = [do(op) for op in json.loads(line)]
        sys.stdout.write(json.dumps(out) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
