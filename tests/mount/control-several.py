#!/usr/bin/python3
"""Several services in one mount, by a profile with the word "sources": each in
a folder of its own, and none bothered by another that is away."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import errno, signal, socket, subprocess, threading, time, unittest
from sbxmount import BUILD, SERVICE, Mount, wait_for


class Several(unittest.TestCase):
    def setUp(self):
        self.a = Mount(mount=False)
        self.addCleanup(self.a.close)
        self.b = Mount(mount=False)
        self.addCleanup(self.b.close)
        self.home = os.path.join(self.a.dir, "home")
        os.makedirs(self.home + "/.config/sbxfs")

    def mount(self, all_="sources = a, b", b="", options=(), source="all",
              status=0, told=""):
        """Mounts in the background; what it said"""
        with open(os.open(self.home + "/.config/sbxfs/config",
                          os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
                  "w") as f:
            f.write("[all]\n%s\n" % all_)
            f.write("[a]\nsource = %s\nkey = test-key\n"
                    % self.a.source())
            f.write("[b]\n" + (b or "source = %s\nkey = test-key\n"
                               % self.b.source()))
        env = {k: v for k, v in os.environ.items()
               if not k.startswith(("XGEN_", "SBXFS_API", "XDG_"))}
        done = subprocess.run(
            [BUILD + "/sbxfs", source, self.a.mnt, "-o",
             ",".join(("timeout=20",) + options)],
            env=dict(env, HOME=self.home), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=100)
        self.assertEqual(done.returncode, status, done.stdout)
        self.assertNotIn("test-key", done.stdout)
        if not status:
            self.assertTrue(self.a.is_mounted())
            self.addCleanup(self.unmount)
        return done.stdout

    def unmount(self):
        if self.a.is_mounted():
            subprocess.run(["fusermount3", "-u", self.a.mnt], check=True)
        self.assertFalse(self.a.is_mounted())

    def path(self, *parts):
        return os.path.join(self.a.mnt, *parts)

    def names(self, service):
        """What is there, but for what some services alone have."""
        return sorted(set(os.listdir(self.path(service))) - {"snapshots"})

    def read(self, *parts):
        with open(self.path(*parts)) as f:
            return f.read()

    def fails(self, code, fn, *args):
        with self.assertRaises(OSError) as e:
            fn(*args)
        self.assertEqual(errno.errorcode[e.exception.errno],
                         errno.errorcode[code])

    def test_each_has_a_folder_of_its_own(self):
        self.assertEqual(self.mount(), "")
        self.assertEqual(sorted(os.listdir(self.path())),
                         [".sbxfs", "a", "b"])
        self.assertEqual(self.names("a"), ["new"])
        self.fails(errno.ENOENT, os.stat, self.path("c"))
        self.fails(errno.ENOENT, os.stat, self.path("new"))
        self.fails(errno.ENOENT, os.stat, self.path("a", ".sbxfs"))
        self.fails(errno.EPERM, os.mkdir, self.path("c"))
        self.fails(errno.EPERM, os.rmdir, self.path("a"))
        # one name in both; new and mkdir make it where they are
        os.mkdir(self.path("a", "demo"))
        fd = os.open(self.path("b", "new"), os.O_RDWR)
        os.write(fd, b'{"name": "demo"}')
        self.assertEqual(os.read(fd, 100), b"demo\n")
        os.close(fd)
        os.mkdir(self.path("b", "more"))
        self.assertEqual(self.names("a"), ["demo", "new"])
        self.assertEqual(self.names("b"), ["demo", "more", "new"])
        numbers = set()
        for s in "a", "b":
            with open(self.path(s, "demo", "workspace", "f"), "w") as f:
                f.write(s)
            self.assertEqual(self.a.run(s + "/demo", "cat f"), s.encode())
            self.assertIn("service: %s\n" % SERVICE, self.read(s, "demo", "status"))
            for p in (s, s + "/new", s + "/demo", s + "/demo/exec"):
                numbers.add(os.stat(self.path(p)).st_ino)
        self.assertEqual(len(numbers), 8)
        # where the listing and the attributes speak of one thing
        for d in self.path(), self.path("a"), self.path("a", "demo"):
            for e in os.scandir(d):
                if e.name not in ("workspace", "root"):
                    self.assertEqual(e.inode(), e.stat().st_ino, e.path)
        os.rmdir(self.path("a", "demo"))
        self.assertEqual(self.names("a"), ["new"])
        self.assertEqual(self.read("b", "demo", "workspace", "f"), "b")

    def test_an_agent_has_no_connection_to_another_service(self):
        more = self.a.dir + "/more"
        self.mount(b="source = local:%s\nagent = %s/sbxfs-agent\n"
                   % (more, BUILD))

        def agents():
            """Those of this mount, and their sbxfs"""
            found = []
            for pid in filter(str.isdigit, os.listdir("/proc")):
                try:
                    with open("/proc/%s/cmdline" % pid) as f:
                        words = f.read().split("\0")
                    with open("/proc/%s/stat" % pid) as f:
                        parent = f.read().rsplit(")", 1)[1].split()[1]
                except OSError:
                    continue
                if words[1:3] == ["--dir", more]:
                    found.append((int(pid), int(parent)))
            return found

        def sockets(pid):
            links = "/proc/%d/fd" % pid
            return {os.readlink(os.path.join(links, fd))
                    for fd in os.listdir(links)}
        (first, sbxfs), = agents()
        os.mkdir(self.path("a", "demo"))
        self.assertEqual(self.a.run("a/demo", "echo hi"), b"hi\n")
        os.kill(first, signal.SIGKILL)
        os.mkdir(self.path("b", "demo"))  # waits for the next one
        (second, _), = agents()
        self.assertNotEqual(second, first)
        ours = {s for s in sockets(sbxfs) if s.startswith("socket:")}
        self.assertTrue(ours)
        self.assertFalse(ours & sockets(second))

    def test_what_the_mount_says_of_itself_names_the_service(self):
        self.mount(b="source = local:%s/more\nagent = %s/sbxfs-agent\n"
                   "timeout = 7\n" % (self.a.dir, BUILD),
                   options=("protect",))
        config = self.read(".sbxfs", "config")
        head, a, b = config.replace("[b]", "[a]").split("[a]\n")
        self.assertIn("\nprotect: yes\n", head)
        self.assertIn("service: %s\n" % SERVICE, a)
        self.assertIn("credentials: key\n", a)
        self.assertIn("service: local\n", b)
        os.mkdir(self.path("a", "demo"))
        os.mkdir(self.path("b", "demo"))
        self.fails(errno.EPERM, os.rmdir, self.path("b", "demo"))
        for s in "a", "b":
            self.assertEqual(os.listdir(self.path(s, "demo", "workspace")), [])
            with self.assertRaises(OSError):
                with open(self.path(s, "demo", "status"), "w") as f:
                    f.write("nonsense")
        errors = self.read(".sbxfs", "errors")
        self.assertIn(" status a/demo: ", errors)
        self.assertIn(" status b/demo: ", errors)
        self.assertIn(" / b: ", errors)
        stats = self.read(".sbxfs", "stats")
        for s in "a", "b":
            self.assertIn('sbxfs_unsent_bytes{sandbox="%s/demo"} 0' % s, stats)

    def sbxrun(self, cwd, *args):
        done = subprocess.run((BUILD + "/sbxrun",) + args, cwd=cwd,
                              stdin=subprocess.DEVNULL, timeout=100,
                              stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
        return done.returncode, done.stdout

    def test_sbxrun_finds_the_sandbox(self):
        self.mount()
        for s in "a", "b":
            for name in "one", s + "two":
                os.mkdir(self.path(s, name))
                with open(self.path(s, name, "workspace", "f"), "w") as f:
                    f.write(s + name)
        one = self.path("b", "one", "workspace")
        os.makedirs(one + "/jobs/new")  # what looks like a sandbox in one
        self.assertEqual(self.sbxrun(one, "cat", "f"), (0, "bone"))
        self.assertEqual(self.sbxrun(one, "-d", "btwo", "cat", "f"),
                         (0, "bbtwo"))
        self.assertEqual(self.sbxrun(one, "-d", "a/one", "cat", "f"),
                         (0, "aone"))
        self.assertEqual(self.sbxrun(self.path("b"), "-d", "b/one", "cat",
                                     "f"), (0, "bone"))
        self.assertEqual(self.sbxrun(self.path(), "true")[0], 125)
        self.assertEqual(self.sbxrun(self.path("a"), "true")[0], 125)
        self.assertEqual(self.sbxrun(one, "-d", "atwo", "true")[0], 125)
        self.assertEqual(self.sbxrun(one, "-d", "a/btwo", "true")[0], 125)

    def test_sbxrun_where_one_sandbox_is_the_mountpoint(self):
        self.mount()
        os.mkdir(self.path("a", "one"))
        os.makedirs(self.path("a", "one", "workspace", "jobs", "new"))
        self.unmount()
        self.mount(source="a/one")
        self.assertEqual(self.sbxrun(self.path("workspace"), "echo", "hi"),
                         (0, "hi\n"))
        self.assertEqual(self.sbxrun(self.path(), "echo", "hi"), (0, "hi\n"))

    def test_one_that_is_down_is_told_and_comes_back(self):
        self.b.kill_agent()
        said = self.mount()
        self.assertEqual(said.count("\n"), 1, said)
        self.assertTrue(said.startswith("sbxfs: b: "), said)
        self.assertIn(" mount b: ", self.read(".sbxfs", "errors"))
        self.assertEqual(self.names("a"), ["new"])
        self.assertEqual(sorted(os.listdir(self.path())),
                         [".sbxfs", "a", "b"])
        self.fails(errno.ETIMEDOUT, os.listdir, self.path("b"))
        self.fails(errno.ETIMEDOUT, os.mkdir, self.path("b", "demo"))
        os.mkdir(self.path("a", "demo"))
        self.b.start_agent()
        os.mkdir(self.path("b", "demo"))
        self.assertEqual(self.a.run("b/demo", "echo hi"), b"hi\n")
        self.b.kill_agent()
        self.assertEqual(self.a.run("a/demo", "echo hi"), b"hi\n")
        self.b.start_agent()

    def test_one_that_refuses_the_key(self):
        said = self.mount(b="source = %s\nkey = wrong-one\n"
                          % self.b.source())
        self.assertEqual(said.count("\n"), 1, said)
        self.assertTrue(said.startswith("sbxfs: b: "), said)
        self.assertNotIn("wrong-one", said)
        self.fails(errno.EACCES, os.listdir, self.path("b"))
        self.assertEqual(self.names("a"), ["new"])

    def test_one_that_is_silent_slows_nobody(self):
        with socket.socket() as deaf:
            deaf.bind(("127.0.0.1", 0))
            deaf.listen(16)
            began = time.monotonic()
            said = self.mount(b="source = %s+http://127.0.0.1:%d\n"
                              "key = test-key\n"
                              % (SERVICE, deaf.getsockname()[1]))
            # not the whole timeout, which is 20 s
            self.assertLess(time.monotonic() - began, 15)
            self.assertEqual(said, "sbxfs: b: no answer so far\n")
            results = []
            t = threading.Thread(target=lambda: results.append(
                subprocess.run(["ls", self.path("b")],
                               stderr=subprocess.PIPE, text=True)))
            t.start()
            os.mkdir(self.path("a", "demo"))
            for i in range(20):
                with open(self.path("a", "demo", "workspace", "f"), "w") as f:
                    f.write("x")
            self.assertEqual(self.a.run("a/demo", "cat f"), b"x")
            self.assertEqual(results, [])  # it waited all the time
            t.join(60)
            self.assertIn("timed out", results[0].stderr)

    def test_none_that_answers_is_no_mount(self):
        self.a.kill_agent()
        self.b.kill_agent()
        said = self.mount(status=1).splitlines()
        self.assertEqual([l.split(": ")[1] for l in said[:2]], ["a", "b"])
        self.assertEqual(said[2:], ["sbxfs: none of the services of all "
                                    "answers"])

    def test_mistakes_are_said_in_one_sentence(self):
        for text, more in (
                ("keyfile= is for one service",
                 {"options": ("keyfile=/dev/null",)}),
                ("stands for several services", {"source": "all/a"}),
                ("names itself", {"all_": "sources = a, all"}),
                ("no profile in", {"all_": "sources = a, nobody"}),
                ("stands for several services",
                 {"b": "sources = a\n"}),
                ("mount that sandbox by itself",
                 {"b": "source = local/one\n"})):
            said = self.mount(status=1, **more)
            self.assertIn(text, said)
            self.assertEqual(said.count("\n"), 1, said)
            self.assertFalse(self.a.is_mounted())


if __name__ == "__main__":
    unittest.main()
