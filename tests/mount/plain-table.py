#!/usr/bin/python3
"""Plain mode does what its table in the man page says: each row is carried
out, and its second column held to be true."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import errno, fcntl, json, mmap, shutil, socket, stat, tempfile, threading
import unittest
from plaintable import Rows, check_rows, exit_of, table
from sbxmount import SERVICE, FolderTest, Mount

Row = Rows()


class Table(FolderTest):
    maxDiff = None
    options = ["helper=off"]

    def setUp(self):
        pass  # each row has its folder

    def test_every_row(self):
        def begin(n):
            self.dir = os.path.join(self.top, "row%d" % n)
            os.mkdir(self.dir)
        check_rows(self, table(0), Row.tests, begin)

    def test_status_says_so(self):
        os.listdir(self.top)
        with open(os.path.join(self.box, "status")) as f:
            self.assertIn("helper: none: ", f.read())


class OtherShells(Table):
    """The same with bash for sh, and with as few tools as it needs, so that
    names are moved by mv."""
    TOOLS = """cat chmod chown cp dd env fallocate find grep head id kill ln
        ls md5sum mkdir mkfifo mknod mktemp mv printf readlink rm rmdir
        seq setsid sleep sort stat sync touch tr true uname unlink wc xargs
        """.split()

    @classmethod
    def setUpClass(cls):
        tools = tempfile.TemporaryDirectory()
        cls.addClassCleanup(tools.cleanup)
        os.chmod(tools.name, 0o755)
        for name in cls.TOOLS:
            shutil.copy("/usr/bin/" + name, tools.name)
        shutil.copy("/usr/bin/bash", tools.name + "/sh")
        # by a name that the script does not know
        shutil.copy("/usr/bin/python3", tools.name + "/py")
        cls.agent_args = ["--tools", tools.name]
        super().setUpClass()


BINARY = bytes(range(256)) * 300  # more than the service's 32 KiB


@Row.of("read, text and binary")
def row(t):
    t.inside(r"printf '\000\377\n\n' > a; : > empty; "
             "head -c 100000 /dev/urandom > b; md5sum < b > sum; sync")
    t.assertEqual(t.get("a"), b"\0\xff\n\n")
    t.assertEqual(t.get("empty"), b"")
    import hashlib
    t.assertEqual(hashlib.md5(t.get("b")).hexdigest().encode(),
                  t.get("sum").split()[0])


@Row.of("write, append, truncate")
def row(t):
    p = t.put("a", BINARY)
    with open(p, "ab") as f:
        f.write(b"end")
    t.assertEqual(t.get("a"), BINARY + b"end")
    t.assertEqual(t.inside("wc -c < a").strip(), b"%d" % (len(BINARY) + 3))
    for size in (70000, 511, 4, 0):
        os.truncate(p, size)
        t.assertEqual(t.inside("cat a"), BINARY[:size])
    os.truncate(p, 5)
    t.assertEqual(t.inside("cat a"), bytes(5))


@Row.of("mmap, shared and writable")
def row(t):
    p = t.put("a", bytes(10000))
    with open(p, "r+b") as f, mmap.mmap(f.fileno(), 0) as mem:
        mem[5000:5003] = b"abc"
        mem.flush()
    t.assertEqual(t.inside("dd if=a bs=1 skip=5000 count=3 2>/dev/null"),
                  b"abc")


@Row.of("create, exclusive too")
def row(t):
    os.umask(0o027)
    fd = os.open(t.path("a"), os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o754)
    os.umask(0o022)
    os.write(fd, b"x")
    os.close(fd)
    t.assertEqual(t.inside("stat -c %a a"), b"750\n")
    with t.assertRaises(FileExistsError):
        os.open(t.path("a"), os.O_CREAT | os.O_EXCL | os.O_RDWR)
    # what is written may not be readable to others for one moment only
    fd = os.open(t.path("b"), os.O_CREAT | os.O_WRONLY, 0o444)
    os.write(fd, b"read-only")
    os.close(fd)
    t.assertEqual(t.inside("stat -c %a b; cat b"), b"444\nread-only")


@Row.of("mkdir, rmdir, unlink")
def row(t):
    os.mkdir(t.path("d"), 0o1770)
    t.put("d/f")
    t.assertEqual(t.inside("stat -c %a d"), b"1750\n")
    with t.assertRaises(OSError) as e:
        os.rmdir(t.path("d"))
    t.assertEqual(e.exception.errno, errno.ENOTEMPTY)
    with t.assertRaises(IsADirectoryError):
        os.unlink(t.path("d"))
    os.unlink(t.path("d/f"))
    os.rmdir(t.path("d"))
    t.assertEqual(t.inside("ls -A"), b"")


@Row.of("symlink, readlink, hard link")
def row(t):
    target = "any 'thing'\n$(x)"
    os.symlink(target, t.path("l"))
    t.assertEqual(os.readlink(t.path("l")), target)
    t.put("a", b"1")
    os.link(t.path("a"), t.path("b"))
    t.assertEqual(os.stat(t.path("a")).st_ino, os.stat(t.path("b")).st_ino)
    t.assertEqual(t.inside("stat -c %h a b"), b"2\n2\n")
    os.unlink(t.path("a"))
    t.assertEqual(t.get("b"), b"1")


@Row.of("rename")
def row(t):
    t.put("a", b"a")
    t.put("b", b"b")
    os.rename(t.path("a"), t.path("b"))
    t.assertEqual(t.inside("ls; cat b"), b"b\na")
    os.makedirs(t.path("d/sub"))
    t.put("d/sub/f", b"f")
    os.mkdir(t.path("empty"))
    os.rename(t.path("d"), t.path("empty"))
    t.assertEqual(t.get("empty/sub/f"), b"f")
    for fm, to, err in (("b", "empty", errno.EISDIR),
                        ("empty", "b", errno.ENOTDIR),
                        ("empty/sub", "empty", errno.ENOTEMPTY),
                        ("none", "x", errno.ENOENT)):
        with t.assertRaises(OSError) as e:
            os.rename(t.path(fm), t.path(to))
        t.assertEqual(errno.errorcode[e.exception.errno],
                      errno.errorcode[err])
    with open(t.path("b"), "r+b") as f:  # it moves with its file
        os.rename(t.path("b"), t.path("c"))
        f.write(b"C")
    t.assertEqual(t.inside("cat c"), b"C")


@Row.of("rename with flags")
def row(t):
    import ctypes
    t.put("a")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(-100, t.path("a").encode(), -100,
                      t.path("b").encode(), 1) < 0:
        raise OSError(ctypes.get_errno(), "renameat2")


@Row.of("stat, statfs, list")
def row(t):
    os.mkdir(t.path("many"))
    t.inside("cd many && seq -f 'file %.0f' 1 3000 | xargs -d '\\n' touch")
    t.assertEqual(len(os.listdir(t.path("many"))), 3000)
    t.put("a", b"12345")
    st = os.stat(t.path("a"))
    mtime = b"%d.%09d" % divmod(st.st_mtime_ns, 10 ** 9)
    t.assertEqual(b"%d %d %d %s\n" % (
        st.st_size, st.st_nlink, st.st_ino, mtime), t.inside("stat -c '%s %h %i %.9Y' a"))
    v = os.statvfs(t.dir)
    t.assertEqual(b"%d %d\n" % (v.f_blocks, v.f_namemax),
                  t.inside("stat -f -c '%b %l' ."))


def not_of_root(t):
    if t.inside("id -u") == b"0\n":
        t.skipTest("the sandbox's user is root, who may")


@Row.of("list without right to search")
def row(t):
    not_of_root(t)
    t.inside("mkdir d; touch d/f; chmod 444 d")
    os.listdir(t.path("d"))


@Row.of("chmod, chown, times")
def row(t):
    p = t.put("a")
    os.chmod(p, 0o6741)
    os.mkdir(t.path("d"))
    os.chmod(t.path("d"), 0o2700)
    os.chmod(t.path("d"), 0o755)
    t.assertEqual(t.inside("stat -c %a a d"), b"6741\n755\n")
    os.chown(p, os.getuid(), os.getgid())
    for ns in (1, 1234567890123456789, -1, -1500000000):
        os.utime(p, ns=(ns, ns + 1))
        st = os.stat(p)
        t.assertEqual((st.st_atime_ns, st.st_mtime_ns), (ns, ns + 1))
    os.symlink("a", t.path("l"))
    os.utime(t.path("l"), ns=(5, 5), follow_symlinks=False)
    t.assertEqual(os.lstat(t.path("l")).st_mtime_ns, 5)
    t.assertEqual(os.stat(p).st_mtime_ns, -1499999999)


@Row.of("names of any bytes")
def row(t):
    names = [b"-rf", b"--", b" ", b"\n", b"a\nb\n", b"'", b'"$(touch x)`',
             b"\\0101", b"%s", b"*", b"\xff\x81\x88", b"x" * 255,
             bytes(c for c in range(1, 256) if c != 47)[:200], b"=", b"~"]
    top = t.dir.encode()
    for i, name in enumerate(names):
        with open(os.path.join(top, name), "wb") as f:
            f.write(b"%d" % i)
    t.assertEqual(sorted(os.listdir(top)), sorted(names))
    t.assertEqual(t.inside("find . -mindepth 1 -printf x | wc -c"),
                  b"%d\n" % len(names))
    for i, name in enumerate(names):
        p = os.path.join(top, name)
        with open(p, "rb") as f:
            t.assertEqual(f.read(), b"%d" % i)
        os.rename(p, p[:-1] + b"z2"[:1 if len(name) == 255 else 2])
    for name in os.listdir(top):
        os.unlink(os.path.join(top, name))
    t.assertEqual(t.inside("ls -A"), b"")


@Row.of("paths above 4095 bytes")
def row(t):
    here = os.getcwd()
    try:
        os.chdir(t.dir)
        for _ in range(20):
            os.mkdir("x" * 250)
            os.chdir("x" * 250)
    finally:
        os.chdir(here)


@Row.of("fsync")
def row(t):
    with open(t.put("a"), "r+b") as f:
        f.write(b"y")
        f.flush()
        os.fsync(f.fileno())
        os.fdatasync(f.fileno())
    fd = os.open(t.dir, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


@Row.of("named pipe")
def row(t):
    os.mkfifo(t.path("p"), 0o620)
    t.assertTrue(stat.S_ISFIFO(os.lstat(t.path("p")).st_mode))
    t.assertEqual(t.inside("stat -c '%F %a' p"), b"fifo 600\n")


@Row.of("socket")
def row(t):
    with socket.socket(socket.AF_UNIX) as s:
        here = os.getcwd()
        os.chdir(t.dir)
        try:
            s.bind("s")
        finally:
            os.chdir(here)


@Row.of("use of a removed open file")
def row(t):
    with open(t.put("a", b"old"), "rb") as f:
        os.unlink(t.path("a"))
        os.pread(f.fileno(), 10, 0)


@Row.of("use of a replaced open file")
def row(t):
    with open(t.put("a", b"old"), "rb") as f:
        t.put("b", b"new")
        t.inside("mv b a")  # whoever moves it
        os.pread(f.fileno(), 10, 0)


@Row.of("fallocate")
def row(t):
    with open(t.put("a", b"x" * 20000), "r+b") as f:
        os.posix_fallocate(f.fileno(), 0, 50000)
        t.assertEqual(os.fstat(f.fileno()).st_size, 50000)


@Row.of("copy_file_range")
def row(t):
    t.put("a", BINARY)
    with open(t.path("a"), "rb") as a, open(t.put("b", b""), "r+b") as b:
        n = os.copy_file_range(a.fileno(), b.fileno(), 50000, 10, 3)
        t.assertEqual(n, 50000)
    t.assertEqual(t.get("b"), bytes(3) + BINARY[10:50010])


@Row.of("SEEK_DATA, SEEK_HOLE")
def row(t):
    with open(t.put("a", b"x" * 100), "rb") as f:
        t.assertEqual(os.lseek(f.fileno(), 7, os.SEEK_DATA), 7)
        t.assertEqual(os.lseek(f.fileno(), 7, os.SEEK_HOLE), 100)
        with t.assertRaises(OSError) as e:
            os.lseek(f.fileno(), 100, os.SEEK_DATA)
        t.assertEqual(e.exception.errno, errno.ENXIO)


@Row.of("extended attributes, ACLs")
def row(t):
    os.setxattr(t.put("a"), "user.x", b"1")


@Row.of("lock")
def row(t):
    with open(t.put("a"), "r+b") as f:
        fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)


@Row.of("lock with locks=local")
def row(t):
    m = Mount(options=["helper=off", "locks=local"])
    try:
        p = os.path.join(m.create("t"), "workspace", "a")
        with open(p, "w") as f, open(p) as g:
            fcntl.flock(f, fcntl.LOCK_EX)
            with t.assertRaises(BlockingIOError):
                fcntl.flock(g, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        m.close()


@Row.of("read of a mode without it")
def row(t):
    not_of_root(t)
    fd = os.open(t.put("a", b"1"), os.O_RDWR)
    try:
        t.inside("chmod 200 a")
        os.read(fd, 10)
    finally:
        os.close(fd)


@Row.of("write to a mode without it")
def row(t):
    with open(t.put("a", b"1"), "r+b") as f:
        t.inside("chmod 400 a")
        f.write(b"2")
        f.flush()
        os.fsync(f.fileno())
        os.ftruncate(f.fileno(), 3)
    t.assertEqual(t.inside("stat -c %a a; cat a"), b"400\n2\0\0")


def spec(**kw):
    return json.dumps(kw)


@Row.of("exec, streams and exit code")
def row(t):
    t.m.run("t", r"printf 'out\000\n'; echo err >&2; exit 7")
    last = os.path.join(t.box, "jobs", "last")

    def of(name):
        with open(os.path.join(last, name), "rb") as f:
            return f.read()
    t.assertEqual((of("stdout"), of("stderr"), of("exit_code")),
                  (b"out\0\n", b"err\n", b"7\n"))
    data = t.m.run("t", "head -c 3000000 /dev/zero | tr '\\0' x")
    t.assertEqual(len(data), 3000000)
    t.assertEqual(t.m.run("t", spec(argv=["printf", "%s-", "a b", "$c"],
                                    env={"E": "1"}, cwd="/")), b"a b-$c-")


@Row.of("exec, input and signals")
def row(t):
    t.assertEqual(t.m.run("t", spec(command="cat; echo end",
                                    stdin="y" * 100000)),
                  b"y" * 100000 + b"end\n")
    fd = os.open(os.path.join(t.box, "exec"), os.O_WRONLY)
    os.write(fd, b"trap 'echo got; exit 3' USR1; echo ready; "
             b"while :; do sleep 0.05; done")
    os.close(fd)
    last = os.path.join(t.box, "jobs", "last")
    with open(os.path.join(last, "stdout"), "rb", 0) as f:
        t.assertEqual(f.read(6), b"ready\n")
        with open(os.path.join(last, "signal"), "w") as s:
            s.write("USR1")
        t.assertEqual(f.read(4), b"got\n")
    with open(os.path.join(last, "exit_code")) as f:
        t.assertEqual(f.read(), "3\n")


@Row.of("exec, more than 32 KiB")
def row(t):
    if SERVICE == "computesdk":
        t.assertEqual(t.m.run("t", "echo all; : " + "x" * 900000), b"all\n")
        t.skipTest("it takes what exec takes")
    exit_of(t, ": " + "x" * (40000 if SERVICE == "xgen" else 100000))


@Row.of("exec, terminal")
def row(t):
    exit_of(t, spec(command="tty", tty=True))


@Row.of("terminals")
def row(t):
    os.mkdir(os.path.join(t.box, "terminals", "x"))


@Row.of("events")
def row(t):
    with open(os.path.join(t.box, "events"), "rb", 0) as f:
        t.assertEqual(json.loads(f.readline())["type"], "unwatched")


@Row.of("ports")
def row(t):
    fd = os.open(os.path.join(t.box, "exec"), os.O_WRONLY)
    os.write(fd, b"exec $(command -v /usr/bin/python3 || echo py) -c 'import socket, time\n"
             b"s = socket.create_server((\"127.0.0.1\", 0))\n"
             b"print(s.getsockname()[1], flush=True)\ntime.sleep(600)'")
    os.close(fd)
    last = os.readlink(os.path.join(t.box, "jobs", "last"))
    with open(os.path.join(t.box, "jobs", last, "stdout"), "rb", 0) as f:
        port = f.readline().strip()
    with open(os.path.join(t.box, "ports"), "rb") as f:
        t.assertIn(port, [line.split()[0] for line in f])
    os.rmdir(os.path.join(t.box, "jobs", last))


@Row.of("change, connection lost")
def row(t):
    p = t.put("a")
    os.stat(p)  # so that it is not looked up again

    def cut():
        t.m.control("fault cut")
        t.m.control("fault blackhole off")
    t.m.control("fault blackhole on")
    threading.Timer(0.3, cut).start()
    os.unlink(p)


if __name__ == "__main__":
    unittest.main()
