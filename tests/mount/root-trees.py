#!/usr/bin/python3
"""root/ with its special trees: proc and sys are as they are at this moment
and whole, walks through them end, what can wait makes nobody else wait, and a
file that is seen in workspace/ and in root/ is one file to cp and mv."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import errno, signal, stat, subprocess, unittest
from sbxmount import SERVICE, Mount, wait_for


# for thousands of requests, on a loaded machine, where each starts a process
LONG = 400


class Trees:
    args = ()

    @classmethod
    def setUpClass(cls):
        cls.m = Mount(agent_args=cls.args)
        cls.addClassCleanup(cls.m.close)
        cls.m.create("t")
        cls.cwd = cls.m.run("t", "pwd").decode().strip()

    def path(self, path):
        return self.m.path("t", "root") + path

    def both(self, name):
        return (self.m.path("t", "workspace", name),
                self.path(os.path.join(self.cwd, name)))

    def read(self, path):
        with open(self.path(path), "rb") as f:
            return f.read()

    def sh(self, script):
        """In the sandbox's folder here; what goes on for ever fails."""
        p = subprocess.Popen(["sh", "-c", script], cwd=self.m.path("t"),
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             start_new_session=True)
        try:
            out = p.communicate(timeout=LONG)[0]
        except subprocess.TimeoutExpired:
            os.killpg(p.pid, signal.SIGKILL)
            p.communicate()
            raise
        return p.returncode, out

    def sleeper(self):
        """The number of a process in the sandbox, and its end."""
        pid = int(self.m.run("t", "sleep 1000 >/dev/null 2>&1 & echo $!"))
        self.addCleanup(self.m.run, "t", "kill %d" % pid)
        return pid

    # special trees

    def test_proc_is_as_of_now(self):
        self.assertTrue(self.read("/proc/self/status").startswith(b"Name:"))
        first = self.read("/proc/uptime")

        def later():
            return self.read("/proc/uptime") != first
        wait_for(later)
        adj = "/proc/%d/oom_score_adj" % self.sleeper()
        for n in (500, 600, 700):
            self.m.run("t", "echo %d > %s" % (n, adj))
            self.assertEqual(self.read(adj), b"%d\n" % n)
        with open(self.path(adj), "w") as f:
            f.write("800\n")
        self.assertEqual(self.m.run("t", "cat " + adj), b"800\n")

    def test_processes_come_and_go(self):
        proc = self.path("/proc/")
        pid = self.sleeper()
        self.assertTrue(os.path.isdir(proc + str(pid)))
        self.assertIn(str(pid), os.listdir(proc))
        self.assertEqual(self.read("/proc/%d/cmdline" % pid),
                         b"sleep\x001000\x00")
        # (whoever waits for it may take its time)
        self.m.run("t", "kill -9 %d" % pid)

        def gone():
            try:
                return str(pid) not in os.listdir(proc) or \
                    self.read("/proc/%d/cmdline" % pid) == b""
            except FileNotFoundError:
                return True
        wait_for(gone)

    def test_files_without_size_are_read_whole(self):
        for path in ("/proc/filesystems", "/proc/devices", "/proc/version",
                     "/sys/kernel/mm/transparent_hugepage/enabled",
                     "/sys/block", "/proc/sys/kernel/ostype"):
            there = self.m.run("t", "test -f %s && cat %s" % (path, path))
            if there:
                self.assertEqual(self.read(path), there, path)
        self.assertEqual(os.stat(self.path("/proc/filesystems")).st_size, 0)
        size = int(self.m.run("t", "wc -c < /proc/kallsyms") or 0)
        if size > 1 << 17:
            self.assertGreater(len(self.read("/proc/kallsyms")), 1 << 17)

    def test_walks_end(self):
        self.sh("ls -lR root/proc/1 root/proc/self/fd")
        self.assertEqual(self.sh("grep -rs no.such.text root/etc")[1], b"")
        # (some of them end meanwhile)
        r, out = self.sh("find root/proc -maxdepth 2 -name status "
                         "2>/dev/null | wc -l")
        self.assertGreater(int(out), 2)
        if self.m.run("t", "ls -d /sys 2>/dev/null"):
            self.assertEqual(self.sh("find root/sys -maxdepth 3 >/dev/null")[0],
                             0)
        out = self.sh("for f in root/proc/*/task/*/mem; do head -c 10 $f; "
                      "done; du -s root/dev root/proc/1; "
                      "tar cf - root/dev root/proc/1/task 2>/dev/null | wc -c")[1]
        self.assertIn(b"root/dev\n", out)
        self.assertGreater(int(out.split()[-1]), 0)

    # what may wait

    def test_what_waits_makes_nobody_wait(self):
        fifo = self.both("fifo")[1]
        self.m.run("t", "mkfifo fifo")
        waiting = [["cat", fifo], ["sh", "-c", "echo > " + fifo + ".none; "
                                   "exec cat " + fifo],
                   # larger than anybody can read
                   ["grep", "-qs", "no.such.text",
                    self.path("/proc/%d/pagemap" % self.sleeper())]]
        waiting = [subprocess.Popen(w) for w in waiting]
        try:
            for path in ("/proc/kmsg", "/sys/kernel/tracing/trace_pipe",
                         "/dev/kmsg", "/dev/random", "/dev/tty", "/dev/ptmx",
                         "/dev/null"):
                self.sh("timeout 3 head -c 10 root" + path)
            for n in range(20):
                d = self.m.path("t", "workspace", "d%d" % n)
                os.mkdir(d)
                self.assertIn("d%d" % n, os.listdir(os.path.dirname(d)))
                os.rmdir(d)
            self.assertIsNone(waiting[0].poll())
            self.assertIsNone(waiting[1].poll())
        finally:
            for w in waiting:
                w.kill()
                w.wait()

    def test_lease_makes_nobody_wait(self):
        """Opening would wait up to 45 s for whoever has the lease."""
        pid = int(self.m.run("t", """echo leased > leased
            /usr/bin/python3 -c '
import fcntl, os, signal, time
signal.signal(signal.SIGIO, signal.SIG_IGN)
fd = os.open("leased", os.O_RDWR)
fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
open("lease-taken", "w").close()
time.sleep(1000)' > /dev/null 2>&1 & echo $!"""))
        self.addCleanup(self.m.run, "t", "kill %d" % pid)
        top = self.m.path("t", "workspace", "")

        def taken():
            return os.path.exists(top + "lease-taken")
        wait_for(taken)
        for fn in (lambda: open(top + "leased"),
                   lambda: os.truncate(top + "leased", 0)):
            with self.assertRaises(BlockingIOError):
                fn()
        self.assertEqual(os.stat(top + "leased").st_size, 7)

    def test_devices_are_not_opened(self):
        for name in ("null", "zero", "random", "tty"):
            path = self.path("/dev/" + name)
            self.assertTrue(stat.S_ISCHR(os.stat(path).st_mode))
            with self.assertRaises(PermissionError):
                open(path, "rb")

    # both trees

    def test_one_file_seen_twice_is_one_file(self):
        a, b = self.both("twice")
        for command in ("cp %s %s", "mv %s %s", "install %s %s",
                        "cat %s >> %s"):
            for names in ((a, b), (b, a)):
                with open(a, "w") as f:
                    f.write("precious")
                self.assertTrue(os.path.samefile(a, b))
                self.assertNotEqual(self.sh(command % names)[0], 0, command)
                self.assertEqual(self.m.run("t", "cat twice"), b"precious")
        self.assertEqual(os.stat(a).st_ino,
                         int(self.m.run("t", "stat -c %i twice")))

    def test_renaming_it_to_itself_loses_nothing(self):
        a, b = self.both("self")
        da, db = self.both("selfdir")
        os.mkdir(da)
        with open(a, "w") as f:
            f.write("precious")
        for x, y in ((a, b), (b, a), (da, db), (db, da)):
            with self.assertRaises(OSError) as e:
                os.rename(x, y)
            self.assertEqual(e.exception.errno, errno.EXDEV)
        for top in (os.path.dirname(a), os.path.dirname(b)):
            self.assertLessEqual({"self", "selfdir"}, set(os.listdir(top)))
        with open(b) as f:
            self.assertEqual(f.read(), "precious")
        # another name is another matter
        os.rename(a, b + "2")
        self.assertEqual(self.m.run("t", "cat self2"), b"precious")


class AsUser(Trees, unittest.TestCase):
    @unittest.skipIf(SERVICE != "xgen", "who runs there is root")
    def test_what_root_has_is_refused(self):
        with self.assertRaises(PermissionError):
            self.read("/proc/1/environ")


class AsRoot(Trees, unittest.TestCase):
    args = ("--root",)


class FollowInside(unittest.TestCase):
    """-o follow=inside: absolute links lead into root/."""

    def setUp(self):
        self.m = Mount(options=["follow=inside"])
        self.addCleanup(self.m.close)
        self.m.create("t")
        self.top = self.m.path("t", "workspace")
        self.cwd = self.m.run("t", "pwd").decode().strip()

    def test_links_lead_below_root(self):
        os.makedirs(self.top + "/a/b")
        for target, name, shown in (
                ("/etc/passwd", "1", "../root/etc/passwd"),
                ("/etc/passwd", "a/b/2", "../../../root/etc/passwd"),
                ("//etc/./passwd", "3", "../root/etc/./passwd"),
                ("/../../etc/x/../../..", "4", "../root/etc/x/../.."),
                ("/", "5", "../root"), ("/tmp/", "6", "../root/tmp"),
                ("../etc", "7", "../etc"), ("x/y", "8", "x/y"),
                ("/" + "x" * 4090, "9", None)):
            path = os.path.join(self.top, name)
            os.symlink(target, path)
            if shown:
                self.assertEqual(os.readlink(path), shown)
                continue
            with self.assertRaises(OSError) as e:
                os.readlink(path)
            self.assertEqual(e.exception.errno, errno.ENAMETOOLONG)
        # in the sandbox they are as they were made
        self.assertEqual(self.m.run("t", "readlink a/b/2"), b"/etc/passwd\n")
        with open(self.top + "/a/b/2", "rb") as f:
            self.assertEqual(f.read(), self.m.run("t", "cat /etc/passwd"))
        root = self.m.path("t", "root")
        self.assertTrue(os.path.samefile(self.top + "/5", root))
        # links below root/ itself
        below = root + self.cwd + "/a/b/2"
        up = "../" * (self.cwd.strip("/").count("/") + 3)
        self.assertEqual(os.readlink(below), up + "etc/passwd")
        self.assertTrue(os.path.samefile(below, self.top + "/a/b/2"))
        self.assertEqual(os.readlink(root + "/proc/self/root"), "../..")

    def test_moved_links_lead_to_the_same(self):
        os.makedirs(self.top + "/a/b")
        os.makedirs(self.top + "/c")
        self.m.run("t", "ln -s /etc/passwd a/b/link")
        there = self.m.run("t", "cat /etc/passwd")
        for old, new in (("a/b", "d"), ("d", "c/e"), ("c", "a/c")):
            for _ in range(2):
                where = self.m.run("t", "find . -name link").decode().strip()
                with open(os.path.join(self.top, where), "rb") as f:
                    self.assertEqual(f.read(), there, where)
            os.rename(os.path.join(self.top, old),
                      os.path.join(self.top, new))
        self.m.run("t", "mv a/c/e/link .")
        with open(self.top + "/link", "rb") as f:
            self.assertEqual(f.read(), there)


if __name__ == "__main__":
    unittest.main()
