#!/usr/bin/python3
"""Commands in large numbers, with much output, without readers or with slow
ones: what is kept is bounded, what is refused says so, and who only waits
costs nothing.  MB= makes the floods larger."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import errno, re, select, time, unittest
from sbxmount import RUNS, SandboxTest, wait_for

MB = int(os.environ.get("MB", "4" if RUNS else "16")) << 20
SHARE = 64 << 20  # what running commands may keep together
MOST = 1024  # commands at once in one sandbox
# for so much output, on a loaded machine, by a service that carries it as text
LONG = 240
# a zero is six bytes where output is text
FILL = "head -c %d /dev/zero" + (" | tr '\\0' 0" if RUNS else "")
BYTE = b"0" if RUNS else b"\0"
streams = unittest.skipIf(RUNS, "prints before its end")


class Bounds(SandboxTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.m.run("t", "true")

    def start(self, command):
        with open(self.path("jobs", "new"), "r+b", buffering=0) as f:
            f.write(command.encode())
            return f.read(100).decode().strip()

    def ends(self, n, seconds=LONG):
        """its exit status, or the errno instead"""
        fd = os.open(self.path("jobs", n, "exit_code"),
                     os.O_RDONLY | os.O_NONBLOCK)
        try:
            p = select.poll()
            p.register(fd, select.POLLIN)
            self.assertTrue(p.poll(seconds * 1000), "it does not end")
            return int(os.read(fd, 10))
        except OSError as e:
            return -e.errno
        finally:
            os.close(fd)

    def memory(self, pid, what="VmHWM"):
        with open("/proc/%d/status" % pid) as f:
            return int(re.search(what + r":\s+(\d+) kB", f.read())[1]) << 10

    def clear_marks(self):
        """of the most memory used so far"""
        for pid in [self.m.daemon.pid] + self.m.helpers():
            with open("/proc/%d/clear_refs" % pid, "w") as f:
                f.write("5")

    def grown(self, before):
        if self.is_sanitized():
            return 0
        # the carriers of connections that were cut are gone
        return max(self.memory(p) - m for p, m in before.items()
                   if os.path.exists("/proc/%d" % p))

    def is_sanitized(self):
        with open("/proc/%d/maps" % self.m.daemon.pid) as f:
            return "asan" in f.read()

    def open_in_helpers(self):
        """The most descriptors that one of them has."""
        return max(len(os.listdir("/proc/%d/fd" % h))
                   for h in self.m.helpers())

    def resident(self):
        self.clear_marks()
        return {p: self.memory(p, "VmRSS")
                for p in [self.m.daemon.pid] + self.m.helpers()}

    def test_floods_are_not_kept(self):
        flood = "%s & %s >&2; wait" % (FILL % MB, FILL % MB)
        before = self.resident()
        # an answer comes whole, and is held in four forms at once
        answer = 4 * 2 * MB if RUNS else 0
        self.assertEqual(self.ends(self.start(flood)), 0)
        self.assertLess(self.grown(before), answer + (12 << 20))
        # nor for a reader who is slow, who holds it back
        n = self.start(flood)
        with open(self.path("jobs", n, "stdout"), "rb", buffering=0) as out:
            with open(self.path("jobs", n, "stderr"), "rb",
                      buffering=0) as err:
                # as much of both: one that is behind holds the command
                # back, and with it the other, for which this would wait
                for i in range(50):
                    self.assertTrue(out.read(1000) and err.read(1000))
                self.assertIn("ended" if RUNS else "running",
                              self.text("jobs", n, "status"))
            self.assertLess(self.grown(before), answer + (16 << 20))
        self.assertEqual(self.ends(n), 0)
        self.assertEqual(os.stat(self.path("jobs", n, "output")).st_size,
                         2 * MB)

    def test_all_slow_readers_together_are_bounded(self):
        """who hold back what they read, in all and not each"""
        before = self.resident()
        size, fds = 4 << 20, []
        half = FILL % (size // 2)
        flood = ("until [ -e go%d ]; do sleep 0.02; done; "
                 + "%s & %s >&2; wait" % (half, half))
        for i in range(200):
            n = self.start(flood % i)
            fds.append(os.open(self.path("jobs", n, "output"), os.O_RDONLY))
            self.m.release("t", "go%d" % i)  # the reader is there
            if RUNS and self.ends(n) == -errno.EBUSY:
                os.close(fds.pop())
                break
            self.addCleanup(os.close, fds[-1])
            self.assertEqual(os.read(fds[-1], 1), BYTE)
        if RUNS:  # none can be held back: what waits is kept
            self.assertIn(len(fds), range(16, 30))
        printed, was = 0, -1
        while printed != was:
            was = printed
            time.sleep(0.2)
            printed = sum(os.fstat(fd).st_size for fd in fds)
        self.assertLess(self.grown(before), (64 + 8 + 32) << 20)
        # and lose nothing
        for fd in fds[0], fds[-1]:
            got = 1
            while piece := os.read(fd, 1 << 20):
                got += len(piece)
            self.assertEqual(got, size)
        for n in self.running():
            os.rmdir(self.path("jobs", n))
        if RUNS:  # there is room again
            self.assertEqual(self.ends(self.start("true")), 0)

    def running(self):
        return [n for n in os.listdir(self.path("jobs")) if n.isdigit()
                and "running" in self.text("jobs", n, "status")]

    @streams
    def test_many_that_run_share_what_is_kept(self):
        before = self.resident()
        each = 1500000
        ns = [self.start("head -c %d /dev/zero; exec sleep 1000" % each)
              for i in range(150)]

        def have_printed():
            return all(os.stat(self.path("jobs", n, "stdout")).st_size == each
                       for n in ns)
        wait_for(have_printed, 240)
        self.assertLess(self.grown(before), SHARE + (32 << 20))
        with open(self.path("jobs", ns[0], "stdout"), "rb",
                  buffering=0) as f:
            self.assertRegex(f.read(1000), rb"\A\[sbxfs: the first \d+ bytes "
                                           rb"were not kept\]\n\0+\Z")
        for n in ns:
            os.rmdir(self.path("jobs", n))

    def test_records_of_long_commands_are_fewer(self):
        size = 90000 if RUNS else 1000000
        kept_at_most = (16 << 20) // size
        text = "exit 5 #" + "x" * size
        before = self.resident()
        first = self.start(text)
        self.assertEqual(self.ends(first), 5)
        held = os.open(self.path("jobs", first), os.O_RDONLY)
        self.addCleanup(os.close, held)
        for i in range(kept_at_most + 44):
            n = self.start(text)
            self.assertEqual(self.ends(n), 5)
        self.assertEqual(self.text("jobs", n, "command"), text + "\n")
        kept = [d for d in os.listdir(self.path("jobs")) if d.isdigit()]
        self.assertIn(len(kept), range(kept_at_most * 3 // 4,
                                       kept_at_most + 1))
        self.assertEqual(min(map(int, kept)), int(n) - len(kept) + 1)
        self.assertLess(self.grown(before), 40 << 20)

        def read(name):
            with open(name, opener=lambda p, flags: os.open(
                    p, flags, dir_fd=held)) as f:
                return f.read()
        self.assertEqual(read("exit_code"), "5\n")
        for name, error in (("command", errno.ESTALE),
                            ("stdout", errno.ENODATA)):
            with self.assertRaises(OSError) as e:
                read(name)
            self.assertEqual(e.exception.errno, error)

    def test_forgotten_ones_take_no_memory(self):
        """though somebody is still in their folders"""
        before, held = self.resident(), []
        for i in range(60):
            n = self.start(FILL % 1000000)
            self.assertEqual(self.ends(n), 0)
            held.append(os.open(self.path("jobs", n), os.O_RDONLY))
            self.addCleanup(os.close, held[-1])
            os.rmdir(self.path("jobs", n))
        self.assertLess(self.grown(before), 30 << 20)

    def test_too_many_at_once(self):
        if RUNS:  # one at a time: the others wait
            first = self.start("until [ -e go-first ]; do sleep 0.02; done")
            held = [self.start("true") for i in range(MOST - 1)]
        else:
            held = [self.start("exec sleep 1000") for i in range(MOST)]
            wait_for(lambda: all("running" in self.text("jobs", n, "status")
                                 for n in held), LONG)
            helper = self.open_in_helpers()
        n = self.start("echo one too many")
        self.assertEqual(self.ends(n), -errno.EBUSY)
        self.assertIn("too many run there", self.text("status"))
        self.assertIn("state: failed", self.text("jobs", n, "status"))
        for name in "jobs/%s/stdout" % n, "exec":  # and nobody waits for it
            with self.assertRaises(OSError) as e:
                self.text(name)
            self.assertEqual(e.exception.errno, errno.EBUSY)
        fd = os.open(self.path("exec"), os.O_RDWR)
        os.write(fd, b"echo the same")
        with self.assertRaises(OSError) as e:
            os.read(fd, 100)
        self.assertEqual(e.exception.errno, errno.EBUSY)
        os.close(fd)
        for n in held:
            os.rmdir(self.path("jobs", n))
        if RUNS:
            self.m.release("t", "go-first")
            self.assertEqual(self.ends(first), 0)

        def is_well():
            try:
                return self.m.run("t", "echo well") == b"well\n"
            except OSError as e:
                self.assertEqual(e.errno, errno.EBUSY)
        wait_for(is_well)
        if RUNS:  # the helper has no part in them
            return

        def nothing_is_left():
            return self.open_in_helpers() < helper - MOST
        wait_for(nothing_is_left)

    def test_a_thousand_one_after_the_other(self):
        for i in range(20):  # what is used for the first time
            self.ends(self.start("echo out; echo err >&2"))
        early = self.start('{"command": "echo early; read x; exit 0", '
                           '"stdin": true}')
        before = self.resident()
        for i in range(0, 1050, 50):
            ns = [self.start("echo %d; echo err >&2; exit %d" % (i, i % 50))
                  for i in range(i, i + 50)]
            for k, n in enumerate(ns):
                self.assertEqual(self.ends(n), k)
            self.assertEqual(self.text("jobs", ns[-1], "stdout"),
                             "%d\n" % (i + 49))
        self.assertLess(self.grown(before), 8 << 20)
        names = set(os.listdir(self.path("jobs"))) - {"new", "last"}
        self.assertEqual(len(names), 1000 + 1)
        # what ended first is forgotten, not what was started first
        with open(self.path("jobs", early, "stdin"), "w"):
            pass
        self.assertEqual(self.ends(early), 0)
        self.assertEqual(self.text("jobs", early, "stdout"), "early\n")
        self.assertIn(early, os.listdir(self.path("jobs")))

    def test_a_slow_reader_takes_nothing_from_another(self):
        """what was printed before the end comes, though after it"""
        # more than is sent for a reader that does not read, and less than
        # with what a pipe holds
        size = 700000
        n = self.start("until [ -e go ]; do sleep 0.05; done; "
                       + FILL % size + "; exit 4")
        slow = os.open(self.path("jobs", n, "output"), os.O_RDONLY)
        fast = os.open(self.path("jobs", n, "stdout"), os.O_RDONLY)
        self.m.release("t", "go")
        self.assertEqual(self.ends(n), 4)
        got = os.read(fast, 1)
        while len(got) < 512 * 1024:
            got += os.read(fast, 512 * 1024 - len(got))
        os.close(slow)
        while piece := os.read(fast, 1 << 20):
            got += piece
        os.close(fast)
        self.assertEqual(len(got), size)

    @unittest.skipIf(RUNS, "a command ends there when its output does")
    def test_others_that_go_on_printing_hold_no_end_up(self):
        n = self.start("for i in 1 2 3 4 5 6 7 8; do yes & done; exit 3")
        fd = os.open(self.path("jobs", n, "exit_code"), os.O_RDONLY)
        p = select.poll()
        p.register(fd, select.POLLIN)
        printed = os.stat(self.path("jobs", n, "stdout")).st_size
        while not p.poll(0):
            now = os.stat(self.path("jobs", n, "stdout")).st_size
            self.assertLess(now - printed, 1 << 30, "it does not end")
            p.poll(100)
        self.assertEqual(os.read(fd, 10), b"3\n")
        os.close(fd)
        self.m.run("t", "pkill yes")

    def test_who_only_waits_costs_nothing(self):
        # one that waits for its input has not begun there
        n = self.start('{"command": "cat", "stdin": true}' if RUNS else
                       "exec sleep 1000")
        names = ["events", "jobs/%s/stdout" % n, "jobs/%s/exit_code" % n,
                 "exec"]
        fds = [os.open(self.path(name), os.O_RDONLY | os.O_NONBLOCK)
               for name in names for i in range(50)]
        for fd in fds:
            self.addCleanup(os.close, fd)
        p = select.poll()
        for fd in fds:
            p.register(fd, select.POLLIN)

        def switches():
            total = 0
            for pid in [self.m.daemon.pid] + self.m.helpers():
                for t in os.listdir("/proc/%d/task" % pid):
                    with open("/proc/%d/task/%s/status" % (pid, t)) as f:
                        total += int(re.search(
                            r"\nvoluntary_ctxt_switches:\s+(\d+)",
                            f.read())[1])
            return total

        def requests():
            """to the sandbox, of any kind"""
            with open(self.m.path(".sbxfs", "stats")) as f:
                return [line for line in f
                        if line.startswith("sbxfs_requests_total{")]

        def are_quiet():
            """in 2 s no more than the keepalives of the connection and a
            look at the ports take, however many they are"""
            for fd in fds[:50]:  # the command's own start, and the like
                try:
                    os.read(fd, 65536)
                except BlockingIOError:
                    pass
            if p.poll(0):  # asks for each of them
                return False
            asked, before = requests(), switches()
            time.sleep(2)  # nothing is waited for: it is measured
            cost = switches() - before
            return cost <= 2 * 3 and requests() == asked
        wait_for(are_quiet)
        os.rmdir(self.path("jobs", n))


if __name__ == "__main__":
    unittest.main()
