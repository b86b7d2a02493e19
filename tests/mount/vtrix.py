#!/usr/bin/python3
"""A mount of Vtrix: what its gateway and executor do to files and commands."""
import os, sys
os.environ["SBXFS_SERVICE"] = "vtrix"
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import errno, json, subprocess, time, unittest
from sbxmount import Mount, wait_for

SOON = 20  # a call that waits for a lost connection waits for 30 s


class Vtrix(unittest.TestCase):
    def setUp(self):
        self.m = Mount()
        self.addCleanup(self.m.close)

    def traits(self, *traits):
        """From now on, and on a connection that was made after it."""
        self.m.standin("_test/traits", json.dumps(traits).encode())
        self.m.control("fault cut")

    def path(self, *parts):
        return self.m.path("t", *parts)

    def file(self, *parts):
        return self.path("workspace", *parts)

    def read(self, path):
        with open(path, "rb") as f:
            return f.read()

    def write(self, path, data):
        with open(path, "wb") as f:
            f.write(data)

    def tell(self, name, text):
        with open(self.path(name), "w") as f:
            f.write(text)

    def status(self, key):
        for line in self.read(self.path("status")).decode().splitlines():
            if line.startswith(key + ": "):
                return line.partition(": ")[2]
        return None

    def sh(self, command):
        done = subprocess.run(command, shell=True, cwd=self.file(),
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=120)
        self.assertEqual(done.returncode, 0, done.stdout)
        return done.stdout

    def test_a_day(self):
        self.m.create("t")
        self.write(self.file("a"), b"one\n")
        self.sh("echo two >> a; mkdir -p d/e; mv a d/e/b; ln -s e d/l")
        self.assertEqual(self.m.run("t", "cat d/l/b; ls d"),
                         b"one\ntwo\ne\nl\n")
        self.assertEqual(self.m.run("t", "echo out > f; exit 3"), b"")
        self.assertEqual(self.read(self.path("jobs/last/exit_code")), b"3\n")
        self.assertEqual(self.read(self.file("f")), b"out\n")
        self.sh("printf 'ihello\\033:wq\\r' | vim -u NONE -s /dev/stdin f "
                ">/dev/null 2>&1 </dev/null || vim -u NONE -es "
                "-c 'normal ihello' -c wq f")
        self.assertIn(b"hello", self.m.run("t", "cat f"))
        self.sh("git init -q . && git add -A && git -c user.name=a "
                "-c user.email=b commit -qm m && git status --short")
        # what happens there is seen here, without asking
        self.tell("exec", "until [ -e go ]; do sleep .01; done; echo x > came")
        self.assertFalse(os.path.exists(self.file("came")))
        self.write(self.file("go"), b"")

        def came():
            return os.path.exists(self.file("came"))
        wait_for(came)
        os.rmdir(self.m.path("t"))
        self.assertNotIn("t", os.listdir(self.m.mnt))

    def test_output_of_each_kind(self):
        self.m.create("t")
        whole = os.urandom(1 << 20)
        for i, trait in enumerate(("lines", "bare-lines", "raw", "newlines",
                                   "lossy", "cap-events=70000",
                                   "cap-events=300000")):
            # each seven characters are a message: a loaded stand-in cannot
            # make as many in the time that a call waits
            data = whole[:1 << 17] if trait == "raw" else whole
            self.traits(trait, "cap=4096")
            name = "f%d" % i
            self.write(self.file(name), data)
            os.posix_fadvise(fd := os.open(self.file(name), os.O_RDONLY), 0, 0,
                             os.POSIX_FADV_DONTNEED)
            os.close(fd)
            self.m.run("t", "cp %s %s.copy" % (name, name))
            self.assertEqual(self.read(self.file(name + ".copy")), data, trait)

    def test_another_pod(self):
        self.m.create("t")
        self.write(self.file("kept"), b"kept\n")
        self.tell("status", "restart\n")
        self.assertEqual(self.status("state"), "running")
        self.assertEqual(self.m.run("t", "cat kept"), b"kept\n")
        self.tell("status", "stop\n")
        self.assertEqual(self.status("state"), "stopped")
        self.tell("status", "start\n")
        self.assertEqual(self.m.run("t", "cat kept"), b"kept\n")
        # by somebody else, and at first it is not found
        self.traits("stale-start")
        ident = self.status("id")
        self.m.standin("_test/recreate", json.dumps({"id": ident}).encode())
        self.assertEqual(self.read(self.file("kept")), b"kept\n")
        self.write(self.file("new"), b"new\n")
        self.assertEqual(self.m.run("t", "cat kept new"), b"kept\nnew\n")

    def test_what_is_stopped_is_told_at_once(self):
        self.m.create("t")
        self.write(self.file("kept"), b"kept\n")
        self.tell("status", "stop\n")
        for what in (lambda: self.write(self.file("new"), b""),
                     lambda: os.listdir(self.path("root", "usr")),
                     lambda: self.tell("exec", "true")):
            start = time.monotonic()
            with self.assertRaises(OSError) as e:
                what()
            self.assertEqual(e.exception.errno, errno.EAGAIN)
            self.assertLess(time.monotonic() - start, SOON)
        self.assertIn("stopped", self.status("last_error"))
        with self.assertRaises(OSError) as e:
            self.tell("update", '{"cpu":"2"}')
        self.assertEqual(e.exception.errno, errno.EAGAIN)
        self.assertIn("stopped", self.status("last_error"))
        self.tell("status", "start\n")
        self.assertEqual(self.m.run("t", "cat kept"), b"kept\n")

    def test_without_a_helper_there_are_no_files(self):
        self.m.unmount()
        self.m.start(("helper=off",))
        self.m.create("t")
        for what in (lambda: os.listdir(self.file()),
                     lambda: self.write(self.file("x"), b""),
                     lambda: os.listdir(self.path("root")),
                     lambda: self.m.run("t", "true"),
                     lambda: self.read(self.path("ports"))):
            with self.assertRaises(OSError) as e:
                what()
            self.assertEqual(e.exception.errno, errno.EOPNOTSUPP)
        self.assertIn("needs the helper", self.status("helper"))
        # what the gateway does by itself it does
        self.tell("keepalive", "80000\n")
        self.tell("update", '{"cpu":"2"}')
        self.assertEqual(json.loads(self.read(self.path("update"))),
                         {"cpu": "2"})
        self.tell("configure", '{"env":{"A":"b"}}')
        self.tell("status", "restart\n")
        self.tell("status", "stop\n")
        self.assertEqual(self.status("state"), "stopped")

    def test_cut_again_and_again(self):
        self.m.create("t")
        self.m.cut_every(0.3)
        for i in range(40):
            self.write(self.file("f"), b"%d\n" % i)
            self.assertEqual(self.m.run("t", "cat f; echo %d >> log" % i),
                             b"%d\n" % i)
        self.assertEqual(self.read(self.file("log")),
                         b"".join(b"%d\n" % i for i in range(40)))
        self.assertGreater(self.m.cuts, 1)

    def test_life_and_ports(self):
        self.traits("preview", "g1b")
        self.m.create("t")
        self.assertIn("https://8000-sb.preview.example", self.m.run(
            "t", "python3 -m http.server 8000 >/dev/null 2>&1 & "
            "until grep -q :1F40 /proc/net/tcp; do sleep .02; done").decode()
            + self.ports("8000"))
        left = self.left()
        self.tell("keepalive", "80000\n")
        self.assertGreater(self.left(), left + 3600)
        with self.assertRaises(OSError) as e:
            self.tell("status", "pause\n")
        self.assertIn(e.exception.errno, (errno.EOPNOTSUPP, errno.EINVAL))

    def test_update_and_configure(self):
        self.m.create("t")
        self.write(self.file("kept"), b"kept\n")
        fd = os.open(self.path("update"), os.O_RDWR)
        os.write(fd, b'{"memory":"2Gi","cpu":2}')
        self.assertEqual(json.loads(os.read(fd, 4096)),
                         {"memory": "2Gi", "cpu": "2"})
        os.close(fd)
        self.assertEqual(self.status("state"), "running")
        self.assertEqual(self.read(self.file("kept")), b"kept\n")
        self.assertEqual(json.loads(self.read(self.path("update"))),
                         {"memory": "2Gi", "cpu": "2"})
        self.assertEqual(self.read(self.path("configure")), b"")
        for name, text in (("update", "{}"), ("update", '{"x":1}'),
                           ("update", "\n"), ("configure", '{"payloads":1}'),
                           ("update", '{"memory":"3Gi"}\0'),
                           ("configure", "\0")):
            with self.assertRaises(OSError) as e:
                self.tell(name, text)
            self.assertEqual(e.exception.errno, errno.EINVAL, (name, text))
        # just after a new pod it fails for a while
        self.traits("stale-start")
        self.tell("status", "restart\n")
        self.tell("configure", '{"env":{"A":"b"}}')
        said = [j for j in json.loads(self.m.standin("_test/journal"))
                if j.get("request", "").endswith("/configure")]
        self.assertEqual(json.loads(said[-1]["body"]), {"payloads": [
            {"api": "/api/v1/env", "body": {"A": "b"}}]})
        self.assertEqual(self.m.run("t", "cat kept"), b"kept\n")

    def test_variables(self):
        """those of a new sandbox, and what its pod is told later"""
        fd = os.open(self.m.path("new"), os.O_RDWR)
        os.write(fd, b'{"name":"t","env":{"A":"first","B":"b"}}')
        self.assertEqual(os.read(fd, 100), b"t\n")
        os.close(fd)
        show = "echo $A $B $C"
        self.assertEqual(self.m.run("t", show), b"first b\n")
        self.tell("exec", "exec sleep 1000")
        n = os.readlink(self.path("jobs", "last"))
        self.tell("configure", '{"env":{"A":"second","C":"c c"}}')
        self.assertEqual(self.m.run("t", show), b"second b c c\n")
        self.assertEqual(self.m.run("t", '{"command":"%s","env":{"A":"own"}}'
                                    % show), b"own b c c\n")
        # for this it needs no new pod, but for these
        self.assertIn("running", self.read(self.path(
            "jobs", n, "status")).decode())
        self.tell("update", '{"env":{"A":"third"}}')
        self.assertEqual(self.m.run("t", show), b"third b\n")
        self.assertNotIn("running", self.read(self.path(
            "jobs", n, "status")).decode())

    def test_the_second_dialect_takes_no_payloads_later(self):
        self.m.agent.terminate()
        self.m.agent.wait()
        os.environ["STANDIN_TRAITS"] = "g1b"
        self.addCleanup(os.environ.pop, "STANDIN_TRAITS")
        self.m.unmount()
        self.m.start_agent()
        self.m.start()
        self.m.create("t")
        for text in ('{"env":{"A":"b"}}', '{"cpu":"2","payloads":[]}'):
            with self.assertRaises(OSError) as e:
                self.tell("update", text)
            self.assertEqual(e.exception.errno, errno.EINVAL)
            self.assertRegex(self.status("last_error"),
                             "(env|payloads): not an option here")

    def left(self):
        text = self.read(self.path("keepalive")).decode()
        return int(text.split("remaining_s: ")[1].split()[0])

    def ports(self, port):
        fd = os.open(self.path("ports"), os.O_RDWR)
        try:
            os.write(fd, port.encode())
            return os.read(fd, 4096).decode()
        finally:
            os.close(fd)


if __name__ == "__main__":
    unittest.main()
