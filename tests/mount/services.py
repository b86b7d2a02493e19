#!/usr/bin/python3
"""All services in one mount, with work going on in each at once; and one that
goes takes nothing with it."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import concurrent.futures, subprocess, unittest
from sbxmount import BUILD, Mount
from timetravelmount import KEY, TimetravelMount

WORK = """set -e
mkdir src && cd src
for i in 1 2 3 4 5; do echo "int f$i(void) { return $i; }" > f$i.c; done
tar cf ../src.tar . && mkdir ../copy && tar xf ../src.tar -C ../copy
diff -r . ../copy && mv f5.c g.c && rm -r ../copy && ln -s g.c l
"""


def standin(name):
    return type(name, (Mount,), {"service": name})(mount=False)


class Services(unittest.TestCase):
    def setUp(self):
        self.of = {}
        for name in "xgen", "opensandbox", "vtrix", "computesdk":
            self.of[name] = standin(name)
            self.addCleanup(self.of[name].close)
        self.of["timetravel"] = TimetravelMount(mount=False)
        self.addCleanup(self.of["timetravel"].close)
        self.m = self.of["xgen"]  # whose mount point holds all of them
        self.mount()

    def mount(self):
        config = os.path.join(self.m.dir, "sbxfs/config")
        os.mkdir(os.path.dirname(config))
        with open(os.open(config, os.O_WRONLY | os.O_CREAT, 0o600), "w") as f:
            f.write("[all]\nsources = %s\n" % ", ".join(self.of))
            for name, m in self.of.items():
                f.write("[%s]\nsource = %s\nkey = %s\n" % (
                    name, m.source(),
                    KEY if name == "timetravel" else "test-key"))
        self.m.source = lambda: "all"
        self.m.key = lambda: {"XDG_CONFIG_HOME": self.m.dir}
        self.m.start(("timeout=60",))

    def each(self, fn, names=None):
        """fn for each service, all at once"""
        names = names or list(self.of)
        with concurrent.futures.ThreadPoolExecutor(len(names)) as pool:
            return dict(zip(names, pool.map(fn, names)))

    def sh(self, name, script):
        return subprocess.run(
            ["sh", "-c", script], cwd=self.m.path(name, "demo", "workspace"),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=200).stdout

    def test_work_in_each_at_once(self):
        self.assertEqual(sorted(os.listdir(self.m.mnt)),
                         sorted([".sbxfs", *self.of]))
        self.each(lambda s: os.mkdir(self.m.path(s, "demo")))
        self.assertEqual(self.each(lambda s: self.sh(s, WORK)),
                         dict.fromkeys(self.of, ""))
        # the sandbox has what was written, and here is what it did
        out = self.each(lambda s: self.m.run(
            s + "/demo", "cd src; cat l; ls; echo %s > made" % s))
        want = b"int f5(void) { return 5; }\nf1.c\nf2.c\nf3.c\nf4.c\ng.c\nl\n"
        self.assertEqual(out, dict.fromkeys(self.of, want))
        self.assertEqual(self.each(lambda s: self.sh(s, "cat src/made")),
                         {s: s + "\n" for s in self.of})
        self.assertEqual(self.each(lambda s: self.sh(
            s, BUILD + "/sbxrun sh -c 'wc -l < src.tar | wc -l; exit 3'; "
            "echo $?")), dict.fromkeys(self.of, "1\n3\n"))
        for s in self.of:
            with open(self.m.path(s, "demo", "status")) as f:
                self.assertIn("service: %s\n" % s, f.read())
        self.gone()
        self.masked()

    def gone(self):
        """One is not there any more: the others do not notice."""
        m = self.of["opensandbox"]
        m.kill_agent()
        rest = [s for s in self.of if s != "opensandbox"]
        self.assertEqual(self.each(lambda s: self.sh(
            s, "echo more > more; cat more src/made"), rest),
            {s: "more\n%s\n" % s for s in rest})
        self.each(lambda s: os.rmdir(self.m.path(s, "demo")), rest)
        for s in rest:
            self.assertNotIn("demo", os.listdir(self.m.path(s)))

    def masked(self):
        for name in "config", "errors", "stats":
            with open(self.m.path(".sbxfs", name)) as f:
                text = f.read()
            self.assertNotIn("test-key", text)
            self.assertNotIn(KEY, text)
        self.assertNotIn("test-key", self.m.log_text())
        self.assertNotIn(KEY, self.m.log_text())


if __name__ == "__main__":
    unittest.main()
