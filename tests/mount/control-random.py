#!/usr/bin/python3
"""Several programs at once do whatever comes to mind to control files, while
sandboxes come and go and connections are cut: every wait can be interrupted,
nothing crashes, and the mount goes on.  SECONDS= makes it longer, SEED= repeats
one."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import random, select, signal, time, traceback, unittest
from sbxmount import CUT_EVERY, Mount

SECONDS = float(os.environ.get("SECONDS", "6"))
SEED = int(os.environ.get("SEED", time.time_ns() % 100000))
PROGRAMS = 6
BOXES = 3
FOLDERS = ("", "", "/jobs", "/jobs/last", "/jobs/last", "/terminals",
           "/terminals/t0", "/terminals/t1", "/../.sbxfs")
WORDS = (b"echo hi", b"sleep 0.1; echo x >&2", b"seq 100000", b"yes", b"exit\n",
         b'{"command": "cat", "stdin": true}', b'{"argv": ["/none"]}',
         b'{"command": "sh", "tty": true}', b'{"command": "x", "user": "0"}',
         b"{", b"}", b"\n", b"\0", b"INT", b"9", b"refresh", b"destroy", b"600",
         b"80 24", b"close", b"22", b"name=b0\n", b"x" * 300000)


class Alarm(BaseException):
    """No error of any call: it must not be taken for one."""


def on_alarm(*args):
    raise Alarm


class Program:
    def __init__(self, mnt, seed):
        self.mnt, self.random = mnt, random.Random(seed)
        self.any = self.random.choice
        self.null = os.open("/dev/null", os.O_WRONLY)
        signal.signal(signal.SIGALRM, on_alarm)

    def run(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:  # the alarm may come late
                self.some(end)
            except Alarm:
                pass

    def some(self, end):
        while time.monotonic() < end:
            signal.setitimer(signal.ITIMER_REAL, self.any((.03, .2, 1)))
            try:
                self.once("%s/b%d" % (self.mnt, self.random.randrange(BOXES)))
            except OSError:
                pass
            signal.setitimer(signal.ITIMER_REAL, 0)

    def once(self, box):
        what = self.random.randrange(100)
        if what < 3:
            os.mkdir(box)
        elif what < 4:
            os.rmdir(box)
        elif what < 7:
            os.mkdir(box + "/terminals/t%d" % self.random.randrange(3))
        elif what < 9:
            os.rmdir(box + "/terminals/t%d" % self.random.randrange(3))
        elif what < 12:
            os.rmdir(box + "/jobs/" + self.any(os.listdir(box + "/jobs")))
        else:
            folder = box + self.any(FOLDERS)
            names = set(os.listdir(folder)) - {"workspace", "root"}
            self.file(folder + "/" + self.any(sorted(names) or ["none"]))

    def file(self, path):
        fd = os.open(path, self.any((os.O_RDONLY, os.O_WRONLY, os.O_RDWR)) |
                     self.any((0, 0, os.O_NONBLOCK, os.O_TRUNC, os.O_APPEND)))
        try:
            for _ in range(self.random.randrange(6)):
                try:
                    self.use(fd)
                except OSError:
                    pass
        finally:
            os.close(fd)

    def use(self, fd):
        what = self.random.randrange(10)
        if what < 3:
            os.read(fd, self.any((1, 10, 4096, 65536, 1 << 20)))
        elif what < 6:
            os.write(fd, self.any(WORDS))
        elif what == 6:
            os.lseek(fd, self.any((0, 5, 1 << 40)), os.SEEK_SET)
        elif what == 7:
            p = select.poll()
            p.register(fd)
            p.poll(20)
        elif what == 8:
            os.close(os.dup(fd))
        else:
            os.sendfile(self.null, fd, 0, 1000)


class Anything(unittest.TestCase):
    def setUp(self):
        self.m = Mount(["timeout=5"], ["--trait", "rate-limit=0"])
        self.addCleanup(self.m.close)

    def start(self, seed):
        pid = os.fork()
        if pid:
            return pid
        try:
            Program(self.m.mnt, seed).run(SECONDS)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        os._exit(1)

    def status_of(self, pid):
        """Of its end, which comes soon; a wait that goes on is ended"""
        end = time.monotonic() + SECONDS + 60
        while time.monotonic() < end:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                return status
            time.sleep(0.05)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return "it hangs"

    def test_nothing_hangs_or_crashes(self):
        print("SEED=%d" % SEED, flush=True)
        pids = [self.start(SEED + i) for i in range(PROGRAMS)]
        if not CUT_EVERY:
            self.m.cut_every(1)
        self.assertEqual([self.status_of(pid) for pid in pids],
                         [0] * PROGRAMS, "SEED=%d" % SEED)
        self.assertIsNone(self.m.daemon.poll())
        self.m.create("well")
        self.assertEqual(self.m.run("well", "echo well"), b"well\n")


if __name__ == "__main__":
    unittest.main()
