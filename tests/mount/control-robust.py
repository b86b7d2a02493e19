#!/usr/bin/python3
"""Every control file, whatever is read from and written to it: no hang, no
crash, the right error, and the mount goes on."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import ctypes, errno, fcntl, signal, stat, struct, subprocess, unittest
from sbxmount import RUNS, SERVICE, Mount, wait_for

# what cannot hurt whatever it is, file by file, with the errors allowed
NONSENSE = (b"\n", b" ", b"\0", b"\xff\xfe\xfd", b"a b c", b"{", b'{"a":', b"[",
            b"-1", b"0", b"99999999999999999999", b"0x10", b"1e9", b"destroy!",
            b"paus", b"\x1b[2J", b"a\nb\nc", b"%s%n%d", b"../..",
            b'{"command": 7}', b"x" * (1 << 20), b"\0" * (1 << 20),
            os.urandom(4096))
ACCEPT = {  # what is no nonsense for them
    "keepalive": (b"\n", b" ", b"0"),
    "data": NONSENSE,
    "stdin": NONSENSE,
    "magiclink": (b"\n", b" "),
    "configure": (b"\n", b" "),
    "sbxfs-create": (b"\n", b" ", b"0", b"99999999999999999999", b"0x10",
                     b"1e9", b"paus"),  # any label
}
# of one service alone: what takes any text as code, a name or a path
ANY = {"t/metadata/name", "t/snapshot", "t/term/new", "t/watch/new"} | {
    "t/code/" + n for n in ("auto", "bash", "node", "python", "ruby", "sh")}
ERRORS = {errno.EINVAL, errno.E2BIG, errno.ESRCH, errno.EPIPE,
          errno.EOPNOTSUPP, errno.ENOENT, errno.EDQUOT, errno.EAGAIN}

libc = ctypes.CDLL(None, use_errno=True)


def getdents(fd):
    """The names that one getdents64(2) gives."""
    buf = ctypes.create_string_buffer(1 << 16)
    n = libc.getdents64(fd, buf, ctypes.c_size_t(len(buf)))
    if n < 0:
        raise OSError(ctypes.get_errno(), "getdents64")
    data, names = buf.raw[:n], []
    while data:
        size = int.from_bytes(data[16:18], "little")
        names.append(data[19:size].split(b"\0")[0])
        data = data[size:]
    return names


class Robust(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.m = Mount()
        cls.m.create("t")
        cls.m.run("t", "mkdir d; echo x >d/f; exit 3")
        if not RUNS:  # where there are none
            os.mkdir(cls.m.path("t", "terminals", "x"))

    @classmethod
    def tearDownClass(cls):
        cls.m.close()

    def path(self, name):
        return self.m.path(name)

    def control_files(self):
        """All of them, of one ended command and one terminal"""
        found = []
        for top, dirs, files in os.walk(self.m.mnt):
            if os.path.dirname(top) == self.m.mnt:
                dirs[:] = [d for d in dirs if d not in ("workspace", "root")]
            found += [os.path.relpath(os.path.join(top, f), self.m.mnt)
                      for f in files]
        return sorted(found)

    def terminals(self):
        return [] if RUNS else os.listdir(self.path("t/terminals"))

    def is_well(self):
        self.assertEqual(self.m.run("t", "echo well"), b"well\n")

    def test_modes_are_what_can_be_done(self):
        """by root as by others"""
        for name in self.control_files():
            mode = stat.S_IMODE(os.stat(self.path(name)).st_mode)
            self.assertIn(mode, (0o600, 0o400), name)
            for flags, use in ((os.O_RDONLY, lambda fd: os.write(fd, b"x")),
                               (os.O_WRONLY, lambda fd: os.read(fd, 1))):
                if flags == os.O_WRONLY and mode == 0o400:
                    for flags in (os.O_WRONLY, os.O_RDWR):
                        with self.assertRaises(PermissionError, msg=name) as e:
                            os.open(self.path(name), flags)
                        self.assertEqual(e.exception.errno, errno.EACCES)
                    continue
                try:
                    fd = os.open(self.path(name), flags | os.O_NONBLOCK)
                except OSError as e:
                    self.assertEqual(e.errno, errno.ENODATA, name)
                    continue
                try:
                    with self.assertRaises(OSError) as e:
                        use(fd)
                    self.assertEqual(e.exception.errno, errno.EBADF)
                finally:
                    try:
                        os.close(fd)
                    except OSError:
                        pass

    def test_nonsense_is_refused_and_told(self):
        skip = ANY | {"new", "t/exec", "t/terminals/new", "t/jobs/new"}
        for name in self.control_files():
            if name in skip or not os.stat(self.path(name)).st_mode & 0o200:
                continue
            for text in NONSENSE:
                if text in ACCEPT.get(os.path.basename(name), ()):
                    continue
                fd = os.open(self.path(name), os.O_WRONLY | os.O_NONBLOCK)
                try:
                    n = os.write(fd, text)
                    self.fail("%s took %d bytes of %r"
                              % (name, n, text[:20]))
                except OSError as e:
                    self.assertIn(e.errno, ERRORS, (name, text[:20]))
                finally:
                    os.close(fd)
        with open(self.path("t/status"), "rb") as f:
            status = f.read()
        for line in status.splitlines():
            self.assertRegex(line, rb"\A[A-Za-z_.]+:( |\Z)[^\x00-\x1f]*\Z")
        with open(self.path(".sbxfs/errors"), "rb") as f:
            for line in f.read().splitlines():
                self.assertRegex(line, rb"\A\d{4}-[^\x00-\x1f]*\Z")
        self.is_well()

    def test_names_that_are_too_long(self):
        name = "n" * 256
        for where in ("", "t", "t/jobs", ".sbxfs", "t/terminals")[:4 if RUNS
                                                                   else 5]:
            for call in os.stat, os.mkdir, os.rmdir:
                with self.assertRaises(OSError) as e:
                    call(self.path(os.path.join(where, name)))
                self.assertEqual(e.exception.errno, errno.ENAMETOOLONG)
        self.assertEqual(self.terminals().count("x"), not RUNS)

    def test_folders_read_on_from_anywhere(self):
        """lseek(2) takes offsets that getdents(2) never gave."""
        for name in ("", "t", "t/jobs", ".sbxfs"):
            fd = os.open(self.path(name), os.O_RDONLY | os.O_DIRECTORY)
            names = getdents(fd)
            self.assertEqual(names[:2], [b".", b".."])
            for off in [*range(1, 300), 1 << 20, (1 << 63) - 1]:
                os.lseek(fd, off, os.SEEK_SET)
                got = getdents(fd)
                self.assertEqual(got, names[len(names) - len(got):],
                                 (name, off))
            os.close(fd)
        self.is_well()

    def test_commands_and_options_of_nonsense(self):
        for name in ("t/exec", "new", "t/terminals/new")[:2 if RUNS else 3]:
            for text in NONSENSE:
                if name == "new" and text in (b"\n", b" "):
                    continue  # default options
                if name == "new" and SERVICE == "computesdk" and \
                        text == b'{"command": 7}':
                    continue  # what is for the provider, whatever that is
                fd = os.open(self.path(name), os.O_RDWR)
                try:
                    while text:
                        text = text[os.write(fd, text):]
                    if name == "t/exec":
                        while os.read(fd, 65536):
                            pass
                    elif name == "new":
                        os.read(fd, 100)
                except OSError as e:
                    self.assertIn(e.errno, ERRORS, (name, text[:20]))
                try:
                    os.close(fd)
                except OSError:
                    pass
        self.assertEqual(sorted(set(os.listdir(self.m.mnt)) - {"snapshots"}),
                         [".sbxfs", "new", "t"])
        for one in self.terminals():
            if one not in ("new", "x"):
                os.rmdir(self.path("t/terminals/" + one))
        self.is_well()

    def test_every_way_of_reading(self):
        self.is_well()  # the newest command, which exec gives, is one that ran
        for name in self.control_files():
            fd = os.open(self.path(name), os.O_RDONLY | os.O_NONBLOCK)
            try:
                whole = b""
                while True:
                    piece = os.read(fd, 1 << 20)
                    if not piece:
                        break
                    whole += piece
                bytewise = b""
                if name.split("/")[-1] not in ("data", "events"):
                    os.lseek(fd, 0, os.SEEK_SET)
                    while len(bytewise) < min(len(whole), 200):
                        bytewise += os.read(fd, 1)
                    self.assertEqual(bytewise, whole[:200])
                    self.assertEqual(os.pread(fd, 10, 1 << 40), b"")
            except OSError as e:
                self.assertIn(e.errno, (errno.EAGAIN, errno.ESPIPE,
                                        errno.EBADF), name)
            finally:
                os.close(fd)

    @unittest.skipIf(RUNS, "there are no terminals, whose size this is about")
    def test_two_writers_on_one_open_file(self):
        fd = os.open(self.path("t/terminals/x/size"), os.O_RDWR)
        pids = []
        for i in range(4):
            pid = os.fork()
            if pid == 0:
                try:
                    for n in range(50):
                        os.write(fd, b"%d %d\n" % (80 + i, 20 + i))
                        os.pread(fd, 100, 0)
                    os._exit(0)
                except OSError:
                    os._exit(1)
            pids.append(pid)
        for pid in pids:
            self.assertEqual(os.waitpid(pid, 0)[1], 0)
        os.close(fd)
        with open(self.path("t/terminals/x/size")) as f:
            cols, rows = map(int, f.read().split())
        self.assertEqual(cols - 80, rows - 20)

    def test_a_signal_ends_each_of_several_writers(self):
        """also those who write to the same file as somebody who waits"""
        self.m.control("fault blackhole off")  # there is such a fault
        write = "import os, sys; os.write(os.open(sys.argv[1], 1), %s)"
        with open(self.path("t/jobs/new"), "r+b", buffering=0) as f:
            f.write(b'{"command": "exec sleep 1000", "stdin": true}')
            job = "t/jobs/" + f.read().decode().strip()
        # where input is gathered before a command begins, no writer waits
        for name, what in ((job + "/stdin", "bytes(8 << 20)"),
                           ("t/status", "b'refresh'"))[1 if RUNS else 0:]:
            self.m.control("fault blackhole on")
            writers = [subprocess.Popen(
                [sys.executable, "-c", write % what, self.path(name)],
                stderr=subprocess.DEVNULL) for _ in range(3)]
            try:
                for w in reversed(writers):
                    with self.assertRaises(subprocess.TimeoutExpired, msg=name):
                        w.wait(0.5)
                    w.send_signal(signal.SIGINT)
                    w.wait(10)
            finally:
                self.m.control("fault blackhole off")
                for w in writers:
                    w.kill()
                    w.wait()
        os.rmdir(self.path(job))

    def test_the_sandbox_goes_between_open_and_use(self):
        self.m.create("g")
        self.m.run("g", "exit 1")
        names = [n for n in self.control_files()
                 if n.startswith("g/") and "/terminals/" not in n]
        fds = {}
        for name in names:
            for flags in (os.O_RDONLY, os.O_WRONLY):
                try:
                    fds[name, flags] = os.open(self.path(name), flags)
                except OSError as e:
                    self.assertIn(e.errno, (errno.EACCES, errno.ENODATA))
        os.rmdir(self.path("g"))
        for (name, flags), fd in fds.items():
            try:
                if flags == os.O_RDONLY:
                    while os.read(fd, 65536):
                        self.assertEqual(name, "g/events")
                    self.assertEqual(name, "g/events")
                else:
                    os.write(fd, b"1")
                    self.fail(name + " could be written")
            except OSError as e:
                self.assertIn(e.errno, (errno.ESTALE, errno.EBADF), name)
            try:
                os.close(fd)
            except OSError as e:
                self.assertEqual(e.errno, errno.ESTALE)
        self.is_well()

    def is_stale(self, fn, *args, **kw):
        with self.assertRaises(OSError, msg=fn.__name__) as e:
            fn(*args, **kw)
        self.assertEqual(errno.errorcode[e.exception.errno], "ESTALE",
                         fn.__name__)

    def stats(self):
        with open(self.path(".sbxfs/stats")) as f:
            return f.read()

    def held_is_stale(self, held, a, b):
        lock = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        for op, *args in (
                (os.fstat, a), (os.fchmod, a, 0o600),
                (os.pread, a, 1, 0), (os.pwrite, a, b"x", 0),
                (os.fsync, a), (os.ftruncate, a, 0),
                (os.posix_fallocate, a, 0, 100),
                (os.lseek, a, 0, os.SEEK_DATA),
                (os.copy_file_range, a, b, 1),
                (os.getxattr, a, "user.x"), (os.listxattr, a),
                (os.setxattr, a, "user.x", b"y"),
                (os.removexattr, a, "user.x"),
                (fcntl.fcntl, a, fcntl.F_OFD_GETLK, lock),
                (os.statvfs, held), (os.listdir, held), (os.fsync, held)):
            self.is_stale(op, *args)
        for op, *args in ((os.mkdir, "d"), (os.mkfifo, "p"),
                          (os.unlink, "a"), (os.rmdir, "a")):
            self.is_stale(op, *args, dir_fd=held)
        self.is_stale(os.symlink, "x", "l", dir_fd=held)
        for op in (os.rename, os.link):
            self.is_stale(op, "a", "c", src_dir_fd=held, dst_dir_fd=held)

    def test_files_held_of_one_that_is_destroyed_are_stale(self):
        self.m.create("g")
        top = self.path("g/workspace")
        for name in ("a", "b"):
            with open(os.path.join(top, name), "w") as f:
                f.write(name)
        held = os.open(top, os.O_RDONLY)
        fds = [os.open(os.path.join(top, name), os.O_RDWR)
               for name in ("a", "b")]
        for fd in fds + [held]:
            self.addCleanup(os.close, fd)
        os.rmdir(self.path("g"))
        self.held_is_stale(held, *fds)
        # ... and when the connection has been closed, too
        wait_for(lambda: 'sandbox="g"' not in self.stats())
        self.held_is_stale(held, *fds)
        self.is_well()

    def test_careless_programs_end(self):
        out = self.m.dir + "/copy"
        # the end of a terminal is waited for, as that of a command
        if not RUNS:
            os.rmdir(self.path("t/terminals/x"))
        try:
            for command in (
                    "find t -path t/root -prune -o -type f -print | wc -l",
                    "grep -r --exclude=events --exclude-dir=root well t | "
                    "wc -l",
                    "tar -cf /dev/zero --exclude=t/root --exclude=t/events t "
                    "|| [ $? = 1 ]",
                    # of another's signals and metrics, what is a stream
                    "rm -rf {0}; mkdir {0}; for f in t/*; do case $f in "
                    "*/root|*/events|*/signals) ;; "
                    "*/metrics) cp $f/now.json {0} || exit;; "
                    "*) cp -r $f {0} || exit;; esac; "
                    "done",
                    "rm -rf {0}; rsync -a --exclude=/t/root "
                    "--exclude=/t/events t {0}"):
                done = subprocess.run(["sh", "-c", command.format(out)],
                                      cwd=self.m.mnt, timeout=100,
                                      stdout=subprocess.PIPE,
                                      stderr=subprocess.STDOUT)
                self.assertEqual(done.returncode, 0,
                                 (command, done.stdout.decode()))
        finally:
            if not RUNS:
                os.mkdir(self.path("t/terminals/x"))
        self.assertEqual(sorted(self.terminals()),
                         [] if RUNS else ["new", "x"])


if __name__ == "__main__":
    unittest.main()
