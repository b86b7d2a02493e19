#!/usr/bin/python3
"""-o cache= bounds the memory of the daemon: a tree many times larger is
walked, and everything is right, cached again, and kept true."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import re, unittest
from sbxmount import Mount, wait_for

CACHE = 1 << 20
# some 5 MB, since names and targets are long
DIRS, FILES, NAME, TARGET = 60, 25, 190, 2500
# what is freed is not given back to the system at once
SLACK = 2 << 20


class Memory(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.m = Mount(options=["cache=1M"])
        cls.addClassCleanup(cls.m.close)
        cls.m.create("t")
        cls.top = cls.m.path("t", "workspace")
        cls.m.run("t", "pad=$(printf %%0%dd 0); to=$(printf %%0%dd 0); "
                  "for d in $(seq 0 %d); do mkdir d$d; cd d$d; "
                  "for i in $(seq %d); do printf %%s $i > f$i$pad; "
                  "ln -s $to$i l$i; done; cd ..; done"
                  % (NAME, TARGET, DIRS - 1, FILES))

    def dir(self, d):
        return os.path.join(self.top, "d%d" % d)

    def rss(self):
        with open("/proc/%d/status" % self.m.daemon.pid) as f:
            return int(re.search(r"VmRSS:\s+(\d+) kB", f.read())[1]) << 10

    def sanitized(self):
        with open("/proc/%d/maps" % self.m.daemon.pid) as f:
            return "asan" in f.read()

    def cached(self):
        with open(self.m.path(".sbxfs", "stats")) as f:
            return int(re.search(r"^sbxfs_cached_bytes (\d+)$", f.read(),
                                 re.M)[1])

    def check(self, d):
        """every name, size and target of one folder"""
        names = set()
        with os.scandir(self.dir(d)) as entries:
            for e in entries:
                names.add(e.name.replace("0" * NAME, ""))
                if e.is_symlink():
                    self.assertEqual(os.readlink(e.path),
                                     "0" * TARGET + e.name[1:])
                else:
                    self.assertEqual(e.stat().st_size,
                                     len(e.name) - NAME - 1)
        self.assertEqual(names, {c + str(i + 1) for c in "fl"
                                 for i in range(FILES)})

    def walk(self, limit):
        def is_small():
            return self.cached() <= CACHE and self.rss() <= limit
        for d in range(DIRS):
            self.check(d)
            if d % 10 == 9:
                wait_for(is_small)

    def test_bound_is_reached_and_kept(self):
        os.listdir(self.top)
        self.check(0)
        base = self.rss()
        limit = 1 << 40 if self.sanitized() else base + CACHE + SLACK
        self.walk(limit)
        self.assertGreater(self.cached(), CACHE // 2)
        self.walk(limit)

        def is_cached_when_used():
            """a second later it may be asked whether it is still true"""
            self.check(7)
            self.m.messages()
            self.check(7)
            return self.m.messages() == 0
        wait_for(is_cached_when_used)

    def test_what_was_dropped_is_still_kept_true(self):
        self.walk(1 << 40)
        for d in range(0, DIRS, 5):
            self.m.run("t", "cd d%d; echo long > f1%s; rm f2%s; mv l3 l0; "
                       "echo > new" % (d, "0" * NAME, "0" * NAME))
            names = set(os.listdir(self.dir(d)))
            self.assertEqual(len(names), 2 * FILES)
            self.assertTrue({"l0", "new"} <= names)
            self.assertFalse(names & {"l3", "f2" + "0" * NAME})
            f1 = os.path.join(self.dir(d), "f1" + "0" * NAME)
            self.assertEqual(os.stat(f1).st_size, 5)
            self.assertFalse(os.path.lexists(self.dir(d) + "/l3"))
            self.m.run("t", "cd d%d; mv l0 l3; rm new; printf 2 > f2%s; "
                       "for i in $(seq %d); do printf %%s $i > f${i}%s; done"
                       % (d, "0" * NAME, FILES, "0" * NAME))
            self.check(d)


if __name__ == "__main__":
    unittest.main()
