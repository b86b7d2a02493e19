"""Every system call twice: in a folder of the local disk and in one of a
mount's workspace.  Results, errors and all that lstat(2) shows afterwards
must be equal.

    d = Diff.as_root()              a sandbox whose user is root
    d = Diff.as_user()              an ordinary one
    with d.group("mkdir"):
        d.folder()                  a new empty folder on both sides
        d.do("mkdir", "a", 0o755, user=A)
    sys.exit(d.end())

Each step counts as one check; what differs is told, and the test goes on.
"""
import contextlib
import ctypes
import errno
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from sbxmount import SERVICE, Mount

SCRIPT = os.path.abspath(sys.argv[0])  # the test changes folders
libc = ctypes.CDLL(None, use_errno=True)
SYS_setgroups, SYS_setresuid, SYS_setresgid = 116, 117, 119
AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW = 0x100
UTIME_NOW, UTIME_OMIT = (1 << 30) - 1, (1 << 30) - 2


class User:
    """of this thread only: that is what the bare system calls are for"""

    def __init__(self, uid, gid, groups=()):
        self.uid, self.gid, self.groups = uid, gid, tuple(groups)

    def __repr__(self):
        return "%d:%d%s" % (self.uid, self.gid,
                            "".join(",%d" % g for g in self.groups))

    def become(self):
        n = len(self.groups)
        call(libc.syscall, SYS_setgroups, n,
             (ctypes.c_uint32 * n)(*self.groups))
        call(libc.syscall, SYS_setresgid, -1, self.gid, -1)
        call(libc.syscall, SYS_setresuid, -1, self.uid, 0)

    def leave(self):
        call(libc.syscall, SYS_setresuid, 0, 0, 0)
        call(libc.syscall, SYS_setresgid, 0, 0, 0)
        call(libc.syscall, SYS_setgroups, 0, None)


ROOT = User(0, 0)
A = User(65534, 65534)              # as in other suites
B = User(65533, 65533)
A_IN_B = User(65534, 65534, (65533, 65532))
OWN = User(1000, 1000)              # who an ordinary sandbox's user is


def call(fn, *args):
    r = fn(*args)
    if r < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return r


def patiently(fn, args):
    """Linux counts links on when it begins a walk anew, since something was
    renamed meanwhile, on any file system: too many are so every time."""
    for _ in range(20):
        try:
            return fn(*args)
        except OSError as e:
            if e.errno != errno.ELOOP:
                raise
    return fn(*args)


# ---- what can be done ----

class Timespec(ctypes.Structure):
    _fields_ = [("sec", ctypes.c_long), ("nsec", ctypes.c_long)]


def utimensat(path, atime, mtime, flags=0):
    ts = (Timespec * 2)(Timespec(*atime), Timespec(*mtime))
    call(libc.utimensat, AT_FDCWD, os.fsencode(path), ts, flags)


def renameat2(a, b, flags):
    call(libc.renameat2, AT_FDCWD, os.fsencode(a), AT_FDCWD, os.fsencode(b),
         flags)


def bad_address(name, *args):
    call(getattr(libc, name), *args)


def open_and(path, flags, mode=0o644, then=None, *args):
    fd = os.open(path, flags, mode)
    try:
        return then(fd, *args) if then else None
    finally:
        os.close(fd)


def write(path, data, flags=os.O_WRONLY):
    return open_and(path, flags, 0, os.write, data)


def read(path, n=100):
    return open_and(path, os.O_RDONLY, 0, os.read, n)


def put(path, data=b"", mode=0o644):
    open_and(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode, os.write, data)


def make(path, kind, mode=0o644):
    """one of any type, as the caller"""
    if kind == "file":
        put(path, b"", mode)
    elif kind == "dir":
        os.mkdir(path, mode | (mode & 0o444) >> 2)
    elif kind == "link":
        os.symlink("target", path)
    else:
        os.mknod(path, mode | {"fifo": stat.S_IFIFO, "socket": stat.S_IFSOCK,
                               "char": stat.S_IFCHR,
                               "block": stat.S_IFBLK}[kind],
                 os.makedev(1, 2) if kind in ("char", "block") else 0)


def access(path, mode, effective=True):
    return os.access(path, mode, effective_ids=effective)


OPS = {
    "make": make, "put": put, "write": write, "read": read, "open": open_and,
    "mkdir": os.mkdir, "rmdir": os.rmdir, "unlink": os.unlink,
    "mknod": os.mknod, "mkfifo": os.mkfifo, "symlink": os.symlink,
    "link": lambda a, b: os.link(a, b, follow_symlinks=False),
    "link_follow": lambda a, b: call(
        libc.linkat, AT_FDCWD, os.fsencode(a), AT_FDCWD, os.fsencode(b),
        0x400),
    "rename": os.rename, "rename2": renameat2, "readlink": os.readlink,
    "chmod": os.chmod, "chown": os.chown, "lchown": os.lchown,
    "lchmod": lambda p, m: call(libc.fchmodat, AT_FDCWD, os.fsencode(p), m,
                                AT_SYMLINK_NOFOLLOW),
    "truncate": os.truncate, "utimensat": utimensat, "access": access,
    "bad_address": bad_address, "stat": lambda p: mode_of(os.stat(p)),
    "lstat": lambda p: mode_of(os.lstat(p)),
    "chdir": os.chdir, "listdir": lambda p: sorted(os.listdir(p)),
    "statvfs": lambda p: os.statvfs(p)[6:8],
    "sync_dir": lambda p: open_and(p, os.O_RDONLY, 0, os.fsync),
}


def mode_of(st):
    return oct(st.st_mode)


# ---- what is seen ----

def shot(base=b""):
    """{path: lstat} of the current folder and everything below it"""
    out = {base or b".": os.lstat(base or b".")}
    try:
        names = sorted(os.listdir(base or b"."))
    except PermissionError:
        return out
    for n in names:
        path = os.path.join(base, n)
        try:
            out[path] = st = os.lstat(path)
        except PermissionError:
            out[path] = st = None   # it may be listed, not looked into
        if st and stat.S_ISDIR(st.st_mode):
            out.update(shot(path))
    return out


class Side:
    def __init__(self, name, top, user, owners):
        self.name, self.top = name, os.fsencode(top)
        self.user = user            # instead of the caller, if any
        self.owners = owners        # {uid or gid: as which it is shown}
        self.dir, self.before = None, {}
        self.times = ["atime", "mtime", "ctime"]

    def folder(self, name, mode):
        self.dir = os.path.join(self.top, name)
        os.mkdir(self.dir)
        if self.user:
            os.chown(self.dir, self.user.uid, self.user.gid)
        os.chmod(self.dir, mode)
        self.look(False)

    def run(self, fn, args, user, umask):
        user = user or self.user
        os.chdir(self.dir)
        old = os.umask(umask)
        try:
            if user:
                user.become()
            try:
                return patiently(fn, args)
            except OSError as e:
                return errno.errorcode[e.errno]
            finally:
                if user:
                    user.leave()
        finally:
            os.umask(old)
            os.chdir("/")

    def look(self, times):
        """the state, told in words that both sides must share"""
        os.chdir(self.dir)
        now, numbers, out = shot(), {}, {}
        os.chdir("/")
        for path, st in now.items():
            if not st:
                out[path] = "closed"
                continue
            one = numbers.setdefault(st.st_ino, len(numbers))
            what = ["%06o" % st.st_mode, "links %d" % st.st_nlink,
                    "uid %d" % self.owners.get(st.st_uid, st.st_uid),
                    "gid %d" % self.owners.get(st.st_gid, st.st_gid),
                    "inode %d" % one]
            if stat.S_ISDIR(st.st_mode):
                pass
            elif st.st_rdev:
                what.append("device %x" % st.st_rdev)
            else:
                what.append("size %d" % st.st_size)
            old = self.before.get(path)
            if old and old.st_ino == st.st_ino:
                what += self.changed(old, st, times)
            out[path] = " ".join(what)
        self.before = now
        return out

    def changed(self, old, st, times):
        # reading folders and links is not told to anybody
        which = self.times
        if stat.S_ISDIR(st.st_mode) or stat.S_ISLNK(st.st_mode):
            which = self.times[-2:]
        return [w for w in which if times and getattr(old, "st_%s_ns" % w) !=
                getattr(st, "st_%s_ns" % w)]


class Diff:
    def __init__(self, options, agent_args, user, owners):
        self.options = options
        self.m = mount = Mount(options, agent_args)
        self.box = mount.create("t")
        ref = os.path.join(mount.dir, "ref")
        os.mkdir(ref)
        os.chmod(mount.dir, 0o755)
        if user:
            os.chown(ref, user.uid, user.gid)
        work = os.path.join(self.box, "workspace")
        if os.geteuid() == 0:
            os.chmod(work, 0o755)
        self.sides = [Side("local", ref, user, owners),
                      Side("mount", work, None, owners)]
        self.groups, self.failures, self.nr = {}, 0, 0
        self.name = "?"
        self.trail = []

    @classmethod
    def as_root(cls, options=()):
        return cls(("allow_other", "allow_suid", "allow_dev")
                   + tuple(options), ("--root",), None, {})

    @classmethod
    def as_user(cls, options=()):
        if os.geteuid() == 0:
            return cls(options, (), OWN, {0: 1000})
        return cls(options, (), None, {})

    @contextlib.contextmanager
    def group(self, name):
        self.name = name
        self.groups.setdefault(name, 0)
        self.folder()
        yield
        self.name = "?"

    def folder(self, mode=0o755):
        self.nr += 1
        self.trail = []
        for s in self.sides:
            s.folder(b"%d" % self.nr, mode)

    def tick(self):
        """until a change now cannot have the time of one before"""
        clock = 5                   # CLOCK_REALTIME_COARSE
        start = time.clock_gettime_ns(clock)
        while time.clock_gettime_ns(clock) == start:
            time.sleep(0.0005)

    def do(self, op, *args, user=None, umask=0, times=False):
        """One step; returns what came of it locally."""
        fn = OPS[op] if isinstance(op, str) else op
        name = op if isinstance(op, str) else fn.__name__
        if times:
            self.tick()
        results = [s.run(fn, args, user, umask) for s in self.sides]
        looks = [s.look(times) for s in self.sides]
        step = "%s(%s)%s -> %s" % (
            name, ", ".join(short(a) for a in args),
            " as %r" % user if user else "", short(results[0]))
        self.trail.append(step)
        self.groups[self.name] += 1
        self.compare(results, looks)
        return results[0]

    def settle(self):
        """what is there now is where the next step starts from"""
        for s in self.sides:
            s.look(False)

    def compare(self, results, looks):
        bad = []
        if results[0] != results[1]:
            bad.append("result: local %s, mount %s" % tuple(
                short(r) for r in results))
        for path in sorted(set(looks[0]) | set(looks[1])):
            a, b = (l.get(path, "nothing") for l in looks)
            if a != b:
                bad.append("%s:\n      local %s\n      mount %s" % (
                    os.fsdecode(path), a, b))
        if bad:
            self.failures += 1
            print("FAILED %s:" % self.name)
            for step in self.trail[-6:]:
                print("    " + step)
            for b in bad:
                print("  " + b)

    def same(self, what, fn):
        """fn(side) gives the same on both"""
        results = [fn(s) for s in self.sides]
        self.trail.append(what)
        self.groups[self.name] += 1
        self.compare(results, [{}, {}])
        return results[0]

    def check(self, what, ok):
        """of the mount alone"""
        self.groups[self.name] += 1
        if not ok:
            self.failures += 1
            print("FAILED %s: %s" % (self.name, what))

    def end(self):
        for name, n in self.groups.items():
            print("%-24s %5d checks" % (name, n))
        print("%d checks, %d failed" % (sum(self.groups.values()),
                                        self.failures))
        self.m.close()
        return 1 if self.failures else 0


def short(v):
    text = oct(v) if isinstance(v, int) and v > 255 else repr(v)
    return text if len(text) < 60 else text[:40] + "..."


# For root, a namespace with a device that others may open, too.  Without what
# other tests have mounted, which could not end before this does.
ORDINARY = """
awk '$3 == "fuse.sbxfs" { print $2 }' /proc/self/mounts | xargs -r umount -l
mkdir "$0/dev" && mount -t tmpfs -o mode=755 none "$0/dev" &&
mknod -m 666 "$0/dev/fuse" c 10 229 &&
mount --bind "$0/dev/fuse" /dev/fuse || exit 77
umask 22
exec setpriv --reuid 1000 --regid 1000 --clear-groups --pdeathsig TERM \\
    env TMPDIR="$0" HOME="$0" sh -c \\
    '[ -x "$SBXFS_BUILD/sbxfs" ] && cd "$TMPDIR" && [ -r "$1" ] || exit 77
    exec "$0" "$1"' "$@"
"""


def as_ordinary():
    """all of this program once more, by a user who is nobody special"""
    print("---- by an ordinary user")
    sys.stdout.flush()
    tmp = tempfile.mkdtemp(prefix="sbxfs-test.")
    try:
        os.chown(tmp, OWN.uid, OWN.gid)
        r = subprocess.run(["unshare", "-m", "--propagation", "private", "sh",
                            "-c", ORDINARY, tmp, sys.executable,
                            SCRIPT]).returncode
    finally:
        shutil.rmtree(tmp)
    if r == 77:
        print("skipped: no way to become one here")
    return r not in (0, 77)


def main(run):
    """run(d, root) for each kind of sandbox and of user that can be had"""
    status = 0
    makers = [Diff.as_user]
    if os.geteuid() == 0:
        # of root's sandboxes only the agent's can have an ordinary user
        makers = [Diff.as_root] + makers * (SERVICE == "xgen")
    for maker in makers:
        print("---- %s" % maker.__name__)
        d = maker()
        try:
            run(d, maker == Diff.as_root)
        except BaseException:
            d.m.close()
            raise
        status |= d.end()
    if os.geteuid() == 0:
        status |= as_ordinary()
    sys.exit(status)
