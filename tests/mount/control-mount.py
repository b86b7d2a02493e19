#!/usr/bin/python3
""".sbxfs/: the mount's own files, its log as a stream, also where only one
sandbox is mounted; the verbs of status; what keepalive may do."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import errno, re, select, subprocess, tempfile, threading, time, unittest
from sbxmount import BUILD, SERVICE, Mount, SandboxTest, wait_for

# verbs of status that a service carries out
VERBS = {"opensandbox": ("pause", "resume"),
         "timetravel": ("wipe",), "vtrix": ("stop", "start", "restart")}


NAME = "n" * 3000


class MountItself(SandboxTest):
    options = ["fsname=" + NAME]

    def path(self, *parts):
        return self.m.path(*parts)

    def write(self, text, *parts):
        fd = os.open(self.path(*parts), os.O_WRONLY)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)

    def complain(self, word):
        """Something that is logged and names the word"""
        self.fails(errno.EINVAL, self.write, word, "t", "status")

    def test_its_name_in_the_mount_table_is_whole(self):
        with open("/proc/mounts") as f:
            names = [line.split()[0] for line in f
                     if line.split()[1] == self.m.mnt]
        self.assertEqual(names, [NAME])

    def test_log_is_kept_and_followed(self):
        self.complain("first-word")
        size = os.stat(self.path(".sbxfs", "log")).st_size
        self.assertGreater(size, 50)
        fd = os.open(self.path(".sbxfs", "log"), os.O_RDONLY)
        data = b""
        while len(data) < size:
            data += os.read(fd, 20)
        self.assertRegex(data.decode(), r"(?m)^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
                         r" warning: control: .*first-word")
        os.set_blocking(fd, False)
        try:
            while os.read(fd, 4096):
                pass
        except BlockingIOError:
            pass
        p = select.poll()
        p.register(fd, select.POLLIN)
        self.assertEqual(p.poll(50), [])
        self.complain("second-word")
        self.assertEqual(p.poll(60000), [(fd, select.POLLIN)])
        self.assertIn(b"second-word", os.read(fd, 4096))
        os.close(fd)

    def test_tail_follows_the_log(self):
        self.complain("old-word")
        out = subprocess.run(["tail", "-n", "1", self.path(".sbxfs", "log")],
                             stdout=subprocess.PIPE, timeout=60).stdout
        self.assertEqual(out.count(b"\n"), 1)
        with subprocess.Popen(["tail", "-n", "1", "-f",
                               self.path(".sbxfs", "log")],
                              stdout=subprocess.PIPE) as tail:
            tail.stdout.readline()
            self.complain("new-word")
            self.assertIn(b"new-word", tail.stdout.readline())
            tail.terminate()

    def test_one_of_many_makers_of_a_name_has_it(self):
        results = []
        together = threading.Barrier(8)
        before = set(os.listdir(self.m.mnt))

        def make():
            together.wait()
            try:
                self.write('{"name": "wanted"}', "new")
                results.append(0)
            except OSError as e:
                results.append(e.errno)
        makers = [threading.Thread(target=make) for _ in range(8)]
        for maker in makers:
            maker.start()
        for maker in makers:
            maker.join()
        made = set(os.listdir(self.m.mnt)) - before
        os.rmdir(self.path("wanted"))
        self.assertEqual(sorted(results), [0] + [errno.EEXIST] * 7)
        self.assertEqual(made, {"wanted"})

    def test_no_secret_is_shown(self):
        for name in ("config", "errors", "stats", "version"):
            self.assertNotIn("test-key", self.text(".sbxfs", name))
        self.assertNotIn("test-key", self.m.log_text())

    def test_each_verb_is_done_or_refused_with_a_sentence(self):
        for verb in ("pause", "resume", "stop", "start", "restart", "wipe"):
            if verb in VERBS.get(SERVICE, ()):
                continue
            self.fails(errno.EOPNOTSUPP, self.write, verb, "t", "status")
            self.assertIn("\nlast_error: status: %s cannot %s a sandbox\n"
                          % (SERVICE, verb), self.text("t", "status"))
        self.write("refresh", "t", "status")
        self.fails(errno.EINVAL, self.write, "fly", "t", "status")
        self.assertIn('there is no verb "fly"', self.text("t", "status"))
        self.m.create("short")
        fd = os.open(self.path("short", "status"), os.O_WRONLY)
        os.write(fd, b" destroy \n")
        self.fails(errno.ESTALE, os.write, fd, b"refresh")
        os.close(fd)
        self.assertNotIn("short", os.listdir(self.m.mnt))

    def test_status_has_every_key(self):
        keys = [l.split(":")[0] for l in self.text("t", "status").splitlines()]
        self.assertEqual(keys[:12], [
            "id", "name", "service", "state", "created", "expires",
            "template", "url", "helper", "connection", "unsent",
            "last_error"])

    def test_one_sandbox_as_the_mountpoint(self):
        with tempfile.TemporaryDirectory(prefix="sbxfs-test.") as mnt:
            one = subprocess.Popen(
                [os.path.join(BUILD, "sbxfs"), "-f",
                 self.m.source() + "/t", mnt],
                env=dict(os.environ, **self.m.key()),
                stdin=subprocess.DEVNULL, stdout=self.m.log,
                stderr=self.m.log)
            try:
                wait_for(lambda: os.path.ismount(mnt), 60)
                names = os.listdir(mnt)
                self.assertIn(".sbxfs", names)
                self.assertIn("workspace", names)
                with open(mnt + "/.sbxfs/config") as f:
                    self.assertIn("\nonly: t\n", f.read())
                self.assertNotIn(".sbxfs", os.listdir(self.path("t")))
                self.fails(errno.ENOENT, os.stat, self.path("t", ".sbxfs"))
            finally:
                subprocess.run(["fusermount3", "-u", mnt])
                self.assertEqual(one.wait(60), 0)


@unittest.skipIf(SERVICE != "xgen", "no stand-in's sandbox ends so soon")
class Keepalive(unittest.TestCase):
    def remaining(self, m, name):
        with open(m.path(name, "keepalive")) as f:
            return int(re.search(r"remaining_s: (\d+)", f.read())[1])

    def test_extending_never_shortens(self):
        m = Mount(agent_args=["--trait", "life-s=3600"])
        self.addCleanup(m.close)
        for name, life in (("long", 7200), ("short", 900)):
            with open(m.path("new"), "r+") as f:
                f.write('{"name": "%s", "timeout_ms": %d}'
                        % (name, life * 1000))
        os.utime(m.path("long", "keepalive"))
        self.assertGreater(self.remaining(m, "long"), 7000)
        os.utime(m.path("short", "keepalive"))
        self.assertGreater(self.remaining(m, "short"), 3500)
        with open(m.path("long", "keepalive"), "w") as f:
            f.write("\n")
        self.assertGreater(self.remaining(m, "long"), 7000)

    def test_what_is_in_use_is_kept_alive(self):
        m = Mount(["keepalive"], agent_args=[
            "--trait", "life-s=10", "--trait", "expiry-check-ms=200"])
        self.addCleanup(m.close)
        for name in ("file", "job", "cwd", "term", "idle"):
            m.create(name)
            m.run(name, "true")
        fd = os.open(m.path("file", "workspace", "f"),
                     os.O_RDWR | os.O_CREAT)
        with open(m.path("job", "exec"), "w") as f:
            f.write("sleep 1000")
        os.mkdir(m.path("term", "terminals", "x"))
        here = os.getcwd()
        os.chdir(m.path("cwd", "workspace"))
        try:
            end = time.monotonic() + 60

            def idle_is_gone():
                return "idle" not in os.listdir(m.mnt)
            wait_for(idle_is_gone, 60)
            for name in ("file", "job", "cwd", "term"):
                self.assertEqual(m.run(name, "echo here"), b"here\n")
            self.assertLess(time.monotonic(), end)
        finally:
            os.chdir(here)
            os.close(fd)


if __name__ == "__main__":
    unittest.main()
