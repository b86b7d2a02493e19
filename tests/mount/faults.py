#!/usr/bin/python3
"""The connection is cut, the agent dies, the network goes silent: calls wait
and go on, or fail in time; nothing hangs and nothing is lost."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import errno, hashlib, signal, subprocess, threading, time, unittest
from sbxmount import RUNS, SERVICE, Mount, wait_for


class Faults(unittest.TestCase):
    def setUp(self):
        self.m = Mount(options=self.options())
        self.addCleanup(self.m.close)
        self.m.create("t")
        self.top = self.m.path("t", "workspace")

    def options(self):
        return ["timeout=3"] if "times_out" in self.id() else []

    def path(self, name):
        return os.path.join(self.top, name)

    @unittest.skipIf(SERVICE != "xgen", "a stand-in forgets its sandboxes")
    def test_agent_killed_while_cat_waits(self):
        self.m.run("t", "head -c 3000000 /dev/zero | tr '\\0' x > big")
        self.m.kill_agent()
        cat = subprocess.Popen(["sha256sum", self.path("big")],
                               stdout=subprocess.PIPE)
        time.sleep(0.5)  # it shall be waiting when the agent comes back
        self.assertIsNone(cat.poll())
        self.m.start_agent()
        out, _ = cat.communicate(timeout=60)
        self.assertEqual(cat.returncode, 0)
        self.assertEqual(out.split()[0].decode(),
                         hashlib.sha256(b"x" * 3000000).hexdigest())
        # open for writing, changed while it was away, and read again
        with open(self.path("after"), "w") as f:
            f.write("works")
        self.assertEqual(self.m.run("t", "cat after"), b"works")

    def test_ports_asked_of_a_helper_that_is_lost(self):
        os.listdir(self.top)
        stopped, got = self.m.helpers(), []
        self.m.signal_all(stopped, signal.SIGSTOP)

        def ask():
            with open(self.m.path("t", "ports")) as f:
                got.append(f.read())

        def asked():
            with open(self.m.path(".sbxfs", "stats")) as f:
                return 'op="ports"' in f.read()
        t = threading.Thread(target=ask)
        t.start()
        wait_for(asked)
        self.m.signal_all(stopped, signal.SIGKILL)
        t.join(60)
        self.assertEqual(len(got), 1)

    def test_connection_cut_loses_no_write(self):
        stop = threading.Event()

        def cutter():
            pause = 0.3
            while not stop.wait(pause):
                self.m.control("fault cut")
                pause *= 1.1  # a slow machine must get on between two
        t = threading.Thread(target=cutter)
        t.start()
        try:
            data = os.urandom(1 << 20) * 12
            with open(self.path("f"), "wb") as f:
                for i in range(0, len(data), 1 << 16):
                    f.write(data[i:i + (1 << 16)])
                f.flush()
                os.fsync(f.fileno())
            for i in range(100):
                with open(self.path("n%d" % i), "w") as f:
                    f.write(str(i))
                if i % 2:
                    os.rename(self.path("n%d" % i), self.path("r%d" % i))
        finally:
            stop.set()
            t.join()
        out = self.m.run("t", "sha256sum f; ls | grep -c '^n'; "
                         "ls | grep -c '^r'; cat r* n* | wc -c").split()
        self.assertEqual(out[0].decode(), hashlib.sha256(data).hexdigest())
        self.assertEqual(out[2:], [b"50", b"50", b"190"])

    def test_who_was_killed_leaves_nothing_that_comes_later(self):
        """As on a disk: when a killed program has gone, so have its calls."""
        self.m.control("fault delay 20")
        os.mkdir(self.path("d"))
        for i in range(12):
            child = subprocess.Popen(
                [sys.executable, "-c", "import os, sys\n"
                 "print(flush=True)\n"
                 "for i in range(10000):\n"
                 "    os.close(os.open('%d' % i, os.O_CREAT | os.O_WRONLY))\n"],
                cwd=self.path("d"), stdout=subprocess.PIPE)
            child.stdout.readline()
            time.sleep(0.1 + 0.007 * i)  # somewhere in a call
            child.kill()
            child.wait()
            child.stdout.close()
            for name in os.listdir(self.path("d")):
                os.unlink(self.path("d/" + name))
            os.rmdir(self.path("d"))
            os.mkdir(self.path("d"))

    def test_command_survives_a_cut(self):
        fd = os.open(self.m.path("t", "exec"), os.O_RDWR)
        os.write(fd, b"for i in $(seq 100); do echo $i; sleep 0.02; done\n")
        for _ in range(3):
            time.sleep(0.4)
            self.m.control("fault cut")
        out = b""
        while True:
            piece = os.read(fd, 65536)
            if not piece:
                break
            out += piece
        os.close(fd)
        self.assertEqual(out, b"".join(b"%d\n" % i for i in range(1, 101)))

    def test_silence_times_out_and_recovers(self):
        with open(self.path("f"), "w") as f:
            f.write("x")
        self.m.control("fault blackhole on")
        begin = time.monotonic()
        with self.assertRaises(OSError) as e:
            fd = os.open(self.path("f"), os.O_WRONLY)
            try:  # there it is opened together with its first write
                os.write(fd, b"y")
                os.fsync(fd)
            finally:
                os.close(fd)
        self.assertEqual(e.exception.errno, errno.ETIMEDOUT)
        # what is cached can still be read, and the control files, too
        if not RUNS:  # which trusts it for a second
            self.assertEqual(os.stat(self.path("f")).st_size, 1)
        with open(self.m.path("t", "status")) as f:
            self.assertIn("\nstate: ", f.read())
        # after a change nobody knows what there is
        with self.assertRaises(OSError) as e:
            os.mkdir(self.path("d"))
        self.assertEqual(e.exception.errno, errno.ETIMEDOUT)
        self.assertLess(time.monotonic() - begin, 40)
        self.m.control("fault blackhole off")

        def back():
            try:
                os.mkdir(self.path("e"))
                return True
            except OSError:
                return os.path.isdir(self.path("e"))
        wait_for(back)

    def test_signal_ends_a_waiting_call(self):
        self.m.control("fault blackhole on")
        p = subprocess.Popen(["mkdir", self.path("never")],
                             stderr=subprocess.DEVNULL)
        time.sleep(0.3)
        p.send_signal(signal.SIGINT)
        p.wait(60)
        p = subprocess.Popen(["cat", self.m.path("t", "exec")],
                             stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
        time.sleep(0.3)
        p.send_signal(signal.SIGTERM)
        p.wait(60)
        self.m.control("fault blackhole off")

    @unittest.skipIf(os.getuid(), "only root can make a pid namespace")
    def test_a_handled_signal_of_who_cannot_be_seen(self):
        """ends nothing at once, as in a /proc that hides others"""
        self.m.create("hidden")
        self.m.run("hidden", "mkdir d; touch d/a")
        self.m.unmount()
        self.m.start(wrapper=["unshare", "--pid", "--fork", "--kill-child"])
        top = self.m.path("hidden", "workspace", "d")
        os.listdir(os.path.dirname(top))
        if RUNS:
            time.sleep(1.1)  # until then it is known
        hits = []
        old = signal.signal(signal.SIGALRM, lambda *a: hits.append(1))
        self.m.control("fault delay 200")
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            os.stat(top + "/a")
        finally:
            self.m.control("fault delay 0")
            signal.signal(signal.SIGALRM, old)
        self.assertEqual(hits, [1])

    def test_unmount_works_while_dead(self):
        self.m.control("fault blackhole on")
        begin = time.monotonic()
        self.m.unmount()
        self.assertLess(time.monotonic() - begin, 35)
        self.m.control("fault blackhole off")

    @unittest.skipIf(SERVICE != "xgen", "the stand-in has no such fault")
    def test_expired_sandbox_vanishes(self):
        with open(self.m.path("t", "status")) as f:
            ident = [l.split()[1] for l in f if l.startswith("id:")][0]
        held = os.open(self.path("."), os.O_RDONLY | os.O_DIRECTORY)
        self.m.control("fault expire " + ident)
        wait_for(lambda: "t" not in os.listdir(self.m.mnt))

        def stale():
            try:
                os.stat("somefile", dir_fd=held)
            except OSError as e:
                return e.errno == errno.ESTALE
            return False
        wait_for(stale)
        os.close(held)


if __name__ == "__main__":
    unittest.main()
