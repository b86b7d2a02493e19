#!/usr/bin/python3
"""Where no command can be run, files are read by the service's own calls, as
the second table of plain mode in the man page says, and nothing is changed."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import errno, fcntl, re, shutil, stat, subprocess, tempfile, unittest
from plaintable import Rows, check_rows, exit_of, table
from sbxmount import SERVICE, Mount, wait_for

Row = Rows()


@unittest.skipIf(SERVICE != "xgen", "the agent alone makes such sandboxes")
class Bare(unittest.TestCase):
    """No command: the sandbox's main process is gone."""
    CONTENT = bytes(range(256)) * 127 + bytes(247)

    def make(self, options=("helper=off",), more=()):
        self.m = Mount(options=options, agent_args=[
            "--trait", "runtime-restart=off", *more])
        self.addCleanup(self.m.close)
        self.box = self.m.create("t")
        self.dir = os.path.join(self.box, "workspace")
        self.fill(self.m.sandbox_dir("t"))

    def fill(self, d):
        """behind its back"""
        with open(d + "/just", "wb") as f:
            f.write(self.CONTENT)
        with open(d + "/more", "wb") as f:
            f.write(self.CONTENT + b"x")
        os.makedirs(d + "/d/e")
        with open(os.fsencode(d) + b"/d/\xff\n", "w") as f:
            f.write("odd")
        os.mkfifo(d + "/pipe")
        os.symlink("d/e", d + "/link to a folder")
        os.symlink("just", d + "/link")
        for name in ("many", "too many"):
            os.mkdir(d + "/" + name)
        for i in range(800):
            open(d + "/too many/some longer name %d" % i, "w").close()
        for i in range(400):
            open(d + "/many/%d" % i, "w").close()

    def break_it(self):
        ident = self.m.sandbox_dir("t").split("/")[-2]
        self.assertEqual(self.m.control("fault kill-runtime " + ident), "ok\n")

    def path(self, name):
        return os.path.join(self.dir, name)

    def helper(self):
        with open(os.path.join(self.box, "status")) as f:
            return [l for l in f if l.startswith("helper:")][0].strip()

    def test_every_row(self):
        self.make()
        self.break_it()
        self.m.control("journal")
        check_rows(self, table(1), Row.tests)
        self.assertIn("files can only be read", self.helper())
        # nothing but starting commands, which failed, lists and reads
        journal = self.m.control("journal")
        self.assertLessEqual(set(re.findall(r"^type (\S+)", journal, re.M)),
                             {"0x20", "0x30", "0x32"})

    def test_a_helper_goes_with_it(self):
        """what was open and known is not what it was"""
        self.make(options=())
        with open(self.path("just"), "rb") as f:
            self.assertEqual(f.read(), self.CONTENT)
            self.break_it()

            def over():
                try:
                    os.listdir(self.dir)
                except OSError:
                    pass
                return "files can only be read" in self.helper()
            wait_for(over)
        with open(self.path("just"), "rb") as f:
            self.assertEqual(f.read(), self.CONTENT)
        with self.assertRaises(OSError) as e:
            open(self.path("new"), "w")
        self.assertEqual(e.exception.errno, errno.EROFS)

    def test_no_shell_at_all(self):
        with tempfile.TemporaryDirectory() as tools:
            os.chmod(tools, 0o755)
            self.make(options=(), more=["--tools", tools])
            with open(self.path("just"), "rb") as f:
                self.assertEqual(f.read(), self.CONTENT)
            self.assertIn("usable shell", self.helper())

    def test_busybox(self):
        """is enough for a helper, and not for doing without"""
        busybox = shutil.which("busybox")
        if not busybox:
            self.skipTest("needs busybox")
        with tempfile.TemporaryDirectory() as tools:
            os.chmod(tools, 0o755)
            shutil.copy(busybox, tools + "/busybox")
            for name in subprocess.check_output(
                    [busybox, "--list"]).decode().split():
                if name != "busybox":
                    os.symlink("busybox", os.path.join(tools, name))
            self.make(options=(), more=["--tools", tools])
            with open(self.path("new"), "w") as f:
                f.write("by a helper")
            self.assertEqual(self.m.run("t", "cat new"), b"by a helper")
            self.assertNotIn("none", self.helper())
            self.m.unmount()
            self.m.start(["helper=off"])
            with open(self.path("new")) as f:
                self.assertEqual(f.read(), "by a helper")
            self.assertIn("GNU coreutils", self.helper())
            with self.assertRaises(OSError) as e:
                open(self.path("new"), "w")
            self.assertEqual(e.exception.errno, errno.EROFS)

    def test_connections_that_are_lost(self):
        self.make()
        self.break_it()
        self.assertIn("just", os.listdir(self.dir))
        for _ in range(5):
            self.m.control("fault cut")
            with open(self.path("just"), "rb") as f:
                self.assertEqual(f.read(), self.CONTENT)
        self.m.kill_agent()
        self.m.start_agent()
        self.break_it()
        self.assertEqual(len(os.listdir(self.path("many"))), 400)


@Row.of("list, stat")
def row(t):
    t.assertEqual(sorted(os.listdir(t.dir)), sorted(os.listdir(
        t.m.sandbox_dir("t"))))
    t.assertEqual(len(os.listdir(t.path("many"))), 400)
    st, there = os.stat(t.path("just")), os.stat(
        t.m.sandbox_dir("t") + "/just")
    t.assertEqual((st.st_mode, st.st_size, st.st_mtime),
                  (stat.S_IFREG | 0o444, 32759, int(there.st_mtime)))
    t.assertEqual(os.stat(t.path("d/e")).st_mode, stat.S_IFDIR | 0o555)
    with t.assertRaises(FileNotFoundError):
        os.stat(t.path("d/none"))
    # from the sandbox it shows up in a second
    os.rename(t.m.sandbox_dir("t") + "/d/e", t.m.sandbox_dir("t") + "/d/f")

    def moved():
        return os.listdir(t.path("d")).count("f") == 1 and \
            not os.path.exists(t.path("d/e"))
    wait_for(moved)


@Row.of("read of up to 32,759 bytes")
def row(t):
    with open(t.path("just"), "rb") as f:
        t.assertEqual(f.read(), t.CONTENT)
        t.assertEqual(os.pread(f.fileno(), 10, 250), t.CONTENT[250:260])
    with open(os.fsencode(t.dir) + b"/d/\xff\n") as f:
        t.assertEqual(f.read(), "odd")


@Row.of("read of more")
def row(t):
    open(t.path("more"))


@Row.of("list of more than fits into 32 KiB")
def row(t):
    os.listdir(t.path("too many"))


@Row.of("read of a named pipe")
def row(t):
    with open(t.path("pipe")) as f:
        t.assertEqual(f.read(), "")


@Row.of("read by a symbolic link")
def row(t):
    with open(t.path("link")) as f:
        f.read()


@Row.of("any change")
def row(t):
    for change in (lambda: os.mkdir(t.path("x")),
                   lambda: os.unlink(t.path("just")),
                   lambda: os.rmdir(t.path("many")),
                   lambda: os.rename(t.path("just"), t.path("x")),
                   lambda: os.chmod(t.path("just"), 0o600),
                   lambda: os.truncate(t.path("just"), 0),
                   lambda: os.symlink("a", t.path("x")),
                   lambda: os.mkfifo(t.path("x")),
                   lambda: open(t.path("just"), "r+b")):
        with t.assertRaises(OSError) as e:
            change()
        t.assertEqual(e.exception.errno, errno.EROFS)
    open(t.path("x"), "w")


@Row.of("lock")
def row(t):
    with open(t.path("just")) as f:
        fcntl.flock(f, fcntl.LOCK_SH | fcntl.LOCK_NB)


@Row.of("root/")
def row(t):
    os.listdir(os.path.join(t.box, "root"))


@Row.of("exec, terminals, ports")
def row(t):
    with t.assertRaises(OSError) as e:
        os.mkdir(os.path.join(t.box, "terminals", "x"))
    t.assertEqual(e.exception.errno, errno.EOPNOTSUPP)
    with t.assertRaises(OSError) as e:
        with open(os.path.join(t.box, "ports")) as f:
            f.read()
    t.assertEqual(e.exception.errno, errno.EOPNOTSUPP)
    exit_of(t, "true")


if __name__ == "__main__":
    unittest.main()
