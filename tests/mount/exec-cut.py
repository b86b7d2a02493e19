#!/usr/bin/python3
"""The connection is cut again and again while commands run: they go on, and
nothing of their streams is doubled or missing.  MB= and EVERY= (seconds
between two cuts) make it longer.  Where all that a command says is one answer,
that is lost with the connection, and no command is run twice for it."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import hashlib, subprocess, threading, unittest
from sbxmount import BUILD, RUNS, Mount, wait_for

MB = int(os.environ.get("MB", "24"))
EVERY = float(os.environ.get("EVERY", "0.3"))
SBXRUN = os.path.join(BUILD, "sbxrun")
goes_on = unittest.skipIf(RUNS, "its answer is lost with the connection")


class Cut(unittest.TestCase):
    def setUp(self):
        self.m = Mount()
        self.addCleanup(self.m.close)
        self.m.create("t")
        self.stop = threading.Event()
        self.cuts = 0
        self.m.run("t", "true")
        t = threading.Thread(target=self.cutter)
        t.start()
        self.addCleanup(t.join)
        self.addCleanup(self.stop.set)

    def cutter(self):
        while not self.stop.wait(EVERY):
            self.m.control("fault cut")
            self.cuts += 1

    def run_(self, *args, **more):
        return subprocess.run([SBXRUN] + list(args), timeout=250,
                              cwd=self.m.path("t", "workspace"),
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              **more)

    @goes_on
    def test_both_ways_at_once(self):
        data = os.urandom(1 << 20) * MB
        r = self.run_("tee", "/dev/stderr", input=data)
        self.assertEqual(r.returncode, 0)
        want = hashlib.sha256(data).hexdigest()
        self.assertEqual(hashlib.sha256(r.stdout).hexdigest(), want)
        self.assertEqual(hashlib.sha256(r.stderr).hexdigest(), want)

    @goes_on
    def test_slow_lines(self):
        script = "for i in $(seq 200); do echo $i; sleep 0.01; done; exit 6"
        r = self.run_("sh", "-c", script, stdin=subprocess.DEVNULL)
        self.assertEqual(r.stdout.split(), [b"%d" % i for i in range(1, 201)])
        self.assertEqual(r.returncode, 6)
        self.assertGreater(self.cuts, 0)

    def test_many_short_commands(self):
        got = {}

        def some(i):
            for k in range(i, 60, 6):
                r = self.run_("sh", "-c", "echo x >>f%d; cat; exit %d"
                              % (k, k), input=b"%d" % k)
                got[k] = (r.returncode, r.stdout)
        ts = [threading.Thread(target=some, args=(i,)) for i in range(6)]
        [t.start() for t in ts]
        [t.join(250) for t in ts]
        lost = [k for k in range(60) if RUNS and got[k][0] == 125]
        self.assertLess(len(lost), 30)
        for k in range(60):
            if k not in lost:
                self.assertEqual(got[k], (k, b"%d" % k))
            elif not os.path.exists(self.m.path("t", "workspace", "f%d" % k)):
                continue
            with open(self.m.path("t", "workspace", "f%d" % k)) as f:
                self.assertEqual(f.read(), "x\n")  # once, not twice

    @goes_on
    def test_a_command_without_anybody(self):
        # ended while nothing is connected, complete for who comes later
        with open(self.m.path("t", "exec"), "w") as f:
            f.write("seq 100000; touch done; sleep 0.5; echo end")
        done = self.m.path("t", "workspace", "done")
        wait_for(lambda: os.path.exists(done), 60)
        with open(self.m.path("t", "jobs", "last", "stdout"), "rb") as f:
            got = f.read().split()
        self.assertEqual(got, [b"%d" % i for i in range(1, 100001)] + [b"end"])


if __name__ == "__main__":
    unittest.main()
