#!/usr/bin/python3
"""Write here, exec there, read here, and the other way round, under load:
not one stale read, and never a mix of old and new.

TRIALS in the environment sets how many of each kind (default 30)."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import mmap, random, subprocess, threading, time, unittest
from sbxmount import Mount, wait_for

TRIALS = int(os.environ.get("TRIALS", "30"))
PUSHED_S = 20


def group_of(pgid):
    """Its processes; one that was killed is there until its call ends."""
    found = []
    for name in os.listdir("/proc"):
        try:
            with open("/proc/%d/stat" % int(name)) as f:
                state, _, group = f.read().rpartition(")")[2].split()[:3]
        except (OSError, ValueError):
            continue
        if int(group) == pgid and state not in "ZX":
            found.append(int(name))
    return found


class Trials(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.m = Mount()
        cls.addClassCleanup(cls.m.close)
        cls.m.create("t")
        cls.top = cls.m.path("t", "workspace")
        # the load: here, there, and over the same connection
        cls.load = [subprocess.Popen(
            ["sh", "-c", script], cwd=cls.top, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True)
            for script in (
                "mkdir l1; cd l1; while :; do for i in 1 2 3 4 5 6 7 8 9; do "
                "seq $i 3000 > f$i; done; cat f*; rm f*; done",
                "while :; do find . -type f | xargs cat; sleep 0.02; done",
                "mkdir l3; cd l3; while :; do dd if=/dev/zero of=big bs=1M "
                "count=8; cat big; done")]
        cls.addClassCleanup(cls.stop_load)
        cls.run_("mkdir l2; (cd l2; while :; do for i in 1 2 3 4 5; do "
                 "seq $i 2000 > g$i; done; rm g*; sleep 0.01; done) "
                 ">/dev/null 2>&1 &")

    @classmethod
    def stop_load(cls):
        for p in cls.load:
            try:
                os.killpg(p.pid, 9)
            except ProcessLookupError:
                pass
            p.wait()

            def all_ended():
                return not group_of(p.pid)
            wait_for(all_ended)
        cls.run_("pkill -f 'seq $i 2000'; true")

    @classmethod
    def run_(cls, command):
        return cls.m.run("t", command)

    def path(self, name):
        return os.path.join(self.top, name)

    def put(self, name, data, flags=0):
        fd = os.open(self.path(name),
                     os.O_WRONLY | os.O_CREAT | os.O_TRUNC | flags, 0o644)
        os.write(fd, data)
        os.close(fd)

    def get(self, name):
        with open(self.path(name), "rb") as f:
            return f.read()

    def mapped(self, name):
        with open(self.path(name), "rb") as f:
            n = os.fstat(f.fileno()).st_size
            with mmap.mmap(f.fileno(), n, prot=mmap.PROT_READ) as m:
                return m[:]

    def test_written_here_run_there_read_here(self):
        r = random.Random(1)
        for i in range(TRIALS):
            name = "w%d" % (i % 7)
            data = b"%d " % i * r.choice([1, 10, 700, 20000])
            self.put(name, data)
            out = self.run_("wc -c < %s; head -c 20 %s; tail -c 30 %s > out; "
                            "echo %d >> %s" % (name, name, name, i, name))
            self.assertEqual(out, b"%d\n" % len(data) + data[:20], i)
            self.assertEqual(self.get("out"), data[-30:], i)
            self.assertEqual(self.get(name), data + b"%d\n" % i, i)

    def test_written_there_read_here(self):
        """by stat, read, a mapping and descriptors that are kept open"""
        self.put("k", b"x" * 100)
        kept = os.open(self.path("k"), os.O_RDONLY)
        view = mmap.mmap(kept, 100, prot=mmap.PROT_READ)
        try:
            for i in range(TRIALS):
                n = 100 + i * 37 % 9000
                self.run_("head -c %d /dev/zero | tr '\\0' %s > k" %
                          (n, "abcdefg"[i % 7]))
                want = b"abcdefg"[i % 7:i % 7 + 1] * n
                self.assertEqual(os.stat(self.path("k")).st_size, n, i)
                self.assertEqual(os.fstat(kept).st_size, n, i)
                self.assertEqual(view[:], want[:100], i)
                self.assertEqual(os.pread(kept, 10000, 0), want, i)
                self.assertEqual(self.get("k"), want, i)
                self.assertEqual(self.mapped("k"), want, i)
        finally:
            view.close()
            os.close(kept)

    def test_renamed_there_opened_here(self):
        for i in range(TRIALS):
            self.put("v", b"old %d" % i)
            self.assertEqual(self.get("v"), b"old %d" % i)
            self.run_("echo -n new %d > v.new; mv v.new v; mkdir -p q%d; "
                      "mv q%d q%d" % (i, i, i, i + 100000))
            self.assertEqual(self.get("v"), b"new %d" % i)
            self.assertFalse(os.path.exists(self.path("v.new")))
            self.assertFalse(os.path.exists(self.path("q%d" % i)))
            os.rmdir(self.path("q%d" % (i + 100000)))

    def poll(self, look):
        """A local program looks all the time; what it saw wrong."""
        bad, stop = [], threading.Event()

        def run():
            while not stop.is_set() and not bad:
                try:
                    look(bad)
                except Exception as e:
                    bad.append(repr(e))
        t = threading.Thread(target=run)
        t.start()

        def end():
            stop.set()
            t.join()
            self.assertEqual(bad, [])
        return end

    def test_versions_made_by_rename_are_never_mixed(self):
        """and never go backwards"""
        size = 300000
        self.run_("seq -f %09.0f 1 0; yes 000000000 | head -c 300000 > ver")
        last = [0]

        def look(bad):
            with open(self.path("ver"), "rb") as f:
                n = os.fstat(f.fileno()).st_size
                data = f.read()
            lines = set(data.split(b"\n")) - {b""}
            if n != size or len(data) != size or len(lines) != 1:
                bad.append((n, len(data), sorted(lines)[:3]))
                return
            version = int(lines.pop())
            if version < last[0]:
                bad.append((version, "after", last[0]))
            last[0] = version
        end = self.poll(look)
        try:
            for i in range(0, TRIALS, 10):
                self.run_("for i in $(seq %d %d); do yes $(printf %%09d $i) | "
                          "head -c %d > ver.new; mv ver.new ver; done" %
                          (i + 1, i + 10, size))
                self.assertEqual(self.get("ver")[:10], b"%09d\n" % (i + 10))
        finally:
            end()

    def test_content_is_there_before_the_size(self):
        """whoever sees the new size never reads zeros or old bytes there"""
        self.put("log", b"")
        kept = os.open(self.path("log"), os.O_RDONLY)
        self.addCleanup(os.close, kept)
        line = b"0123456789abcde\n"

        def look(bad):
            for fd in (kept, None):
                n = os.stat(self.path("log")).st_size if fd is None else \
                    os.fstat(fd).st_size
                if fd is None:
                    with open(self.path("log"), "rb") as f:
                        data = f.read()
                else:
                    data = b""
                    while len(data) < n:
                        piece = os.pread(fd, n - len(data), len(data))
                        if not piece:
                            break
                        data += piece
                want = line * (len(data) // len(line) + 1)
                if len(data) < n or data != want[:len(data)]:
                    at = next((i for i in range(len(data))
                               if data[i] != want[i]), -1)
                    bad.append((fd, n, len(data), at, data[at:at + 40]))
        end = self.poll(look)
        try:
            for i in range(0, TRIALS, 10):
                self.run_("for i in 1 2 3 4 5 6 7 8 9 10; do "
                          "echo 0123456789abcde >> log; "
                          "yes 0123456789abcde | head -n %d >> log; done" %
                          (1 + i % 300))
        finally:
            end()
        n = len(self.get("log"))
        self.assertEqual(self.run_("wc -c < log"), b"%d\n" % n)

    def test_pushed_without_a_command(self):
        """each of many changes shows by itself, in order"""
        self.put("tick", b"0")
        self.run_("(for i in $(seq %d); do echo $i > t.new; mv t.new tick; "
                  "sleep 0.01; done) >/dev/null 2>&1 &" % TRIALS)
        last, end = 0, time.monotonic() + PUSHED_S + TRIALS
        while last < TRIALS:
            now = int(self.get("tick"))
            self.assertGreaterEqual(now, last)
            last = now
            self.assertLess(time.monotonic(), end)


if __name__ == "__main__":
    unittest.main()
