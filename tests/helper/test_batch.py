"""Batches: each exchange a process of its own, its answer perhaps lost."""

import base64
import os
import struct
import subprocess
import time
import unittest

import msgpack

from helperlib import *

MARK = "mark0123456789"


def handed_over(pid):
    """Whether the daemon was given the streams of this batch, so that later
    ones are behind it: the pair's other end is no longer here."""
    fds = "/proc/%d/fd/" % pid
    sockets = 0
    for fd in os.listdir(fds):
        try:
            sockets += os.readlink(fds + fd).startswith("socket:")
        except FileNotFoundError:  # closed meanwhile
            return False
    return sockets == 2


class BatchHelper(Helper):
    """The same session over commands that are run to their end."""
    wait_ms, park_ms, max_bytes = 20000, 0, 1 << 21
    partial, told = b"", None  # of the last batch: {more, owed}

    def attach(self):
        return self

    def detach(self):
        pass

    def text(self):
        hello = {"v": 1, "session": self.session, "instance": self.instance,
                 "received": self.received}
        data = frame(msgpack.packb(hello), 0, self.received)
        data += b"".join(d for _, d in self.unacked)
        return base64.b64encode(data)

    def start(self):
        return subprocess.Popen(
            [HELPER, self.session, "--batch", str(self.wait_ms),
             str(self.park_ms), str(self.max_bytes), MARK], cwd=self.cwd,
            env=self.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def exchange(self, lose=False, text=None):
        proc = self.start()
        out = proc.communicate(text or self.text(), WAIT)[0].decode()
        assert proc.returncode == 0, proc.returncode
        lines = out.split("\n")
        begin = lines.index(MARK)
        end = [i for i, l in enumerate(lines) if l.startswith(MARK + " ")][0]
        assert max(map(len, lines)) < 8192
        raw = b"".join(base64.b64decode(l) for l in lines[begin + 1:end])
        assert len(raw) == int(lines[end].split()[1])
        if not lose:
            self.accept(raw)
        return raw

    def accept(self, raw):
        while raw:
            length, magic, seq, ack = struct.unpack_from(">IIII", raw)
            assert magic == length ^ MAGIC
            size = 16 + (length & ~MORE)
            self.take(seq, ack, raw[16:size])
            raw = raw[size:]

    def on_hello(self, control):
        if "v" not in control:
            self.told = control
            return
        assert control["session"] == self.session
        self.hello = control
        if self.instance and control["instance"] != self.instance:
            self.received = self.seq = 0
            self.unacked = []
        self.instance = control["instance"]
        self.ack(control["received"])

    def pump(self, timeout):
        self.exchange()
        return True

    def quit(self, remove=False):
        hello = {"v": 1, "session": self.session, "instance": self.instance,
                 "received": self.received}
        data = frame(msgpack.packb(hello), 0, self.received)
        data += frame(msgpack.packb({"quit": True}), 0, self.received)
        if self.hello and alive(self.hello["pid"]):
            self.start().communicate(base64.b64encode(data), WAIT)


class Batches(HelperTest):
    def new_helper(self, **kw):
        h = BatchHelper(self.work, self.run_dir, **kw)
        self.addCleanup(h.quit)
        return h

    def test_hello_and_first_requests_in_one(self):
        ids = self.h.post((MKDIR, WORKSPACE, b"d", 0o755, 0),
                          (GETATTR, WORKSPACE, b"d", 0))
        self.h.exchange()
        self.assertEqual(sorted(self.h.replies), ids)
        self.assertEqual(self.h.unacked, [])
        self.assertEqual(self.h.told, {"more": False, "owed": 0})
        pid = self.h.hello["pid"]
        self.h.exchange()
        self.assertEqual(self.h.hello["pid"], pid)

    def test_a_lost_answer_is_given_again_and_nothing_done_twice(self):
        self.h.create(5, WORKSPACE, "log", flags=os.O_WRONLY | os.O_APPEND)
        ids = self.h.post(*[(WRITE, 5, 0, b"%d\n" % i) for i in range(9)])
        self.h.exchange(lose=True)
        self.h.exchange(lose=True)
        ids += self.h.post((WRITE, 5, 0, b"9\n"))
        self.h.exchange()
        for i in ids:
            self.assertEqual(self.h.replies.pop(i)[0], 0)
        with open(self.path("log")) as f:
            self.assertEqual(f.read(), "".join("%d\n" % i for i in range(10)))

    def test_one_that_comes_too_late_does_no_harm(self):
        self.h.create(5, WORKSPACE, "log", flags=os.O_WRONLY | os.O_APPEND)
        self.h.post((WRITE, 5, 0, b"a"))
        late = self.h.text()
        self.h.exchange()
        self.h.post((WRITE, 5, 0, b"b"))
        self.h.exchange()
        self.h.start().communicate(late, WAIT)
        self.h.call(WRITE, 5, 0, b"c")
        with open(self.path("log")) as f:
            self.assertEqual(f.read(), "abc")

    def test_changes_ride_along(self):
        self.h.dir(WORKSPACE, WORKSPACE, b"", 0)
        with open(self.path("new"), "w"):
            pass
        found = self.h.changes()
        self.assertTrue(found[(WORKSPACE, b"new")][0] & CREATED)

    def test_another_instance_carries_nothing_out(self):
        self.h.exchange()
        pid = self.h.hello["pid"]
        self.h.post((MKDIR, WORKSPACE, b"d", 0o755, 0))
        os.kill(pid, 9)
        while alive(pid):
            time.sleep(0.01)
        self.h.exchange()
        self.assertNotEqual(self.h.hello["pid"], pid)
        self.assertFalse(os.path.exists(self.path("d")))
        self.assertEqual((self.h.seq, self.h.unacked), (0, []))
        self.h.call(MKDIR, WORKSPACE, b"d", 0o755, 0)
        self.assertTrue(os.path.isdir(self.path("d")))

    def test_long_answers_come_in_several(self):
        data = os.urandom(1 << 20)
        with open(self.path("big"), "wb") as f:
            f.write(data)
        self.h.max_bytes = 65536
        self.h.open(7, WORKSPACE, b"big", 0)
        rid, = self.h.post((READ, 7, 0, 1 << 20))
        turns = 0
        while rid not in self.h.replies:
            raw = self.h.exchange()
            self.assertLessEqual(len(raw), 65536)
            turns += 1
        self.assertGreater(turns, 16)
        self.assertLess(turns, 40)
        got = b"".join(p[0] for p in self.h.parts[rid])
        self.assertEqual(got + self.h.replies[rid][1], data)

    def test_who_waits_for_a_lock_is_not_waited_for(self):
        self.h.create(5, WORKSPACE, "f")
        self.h.call(LOCK, 5, 2, 1, 0, 0, 1)
        begin = time.monotonic()
        rid, = self.h.post((LOCK, 5, 3, 1, 0, 0, 2))
        self.h.exchange()
        self.assertLess(time.monotonic() - begin, 10)
        self.assertNotIn(rid, self.h.replies)
        self.assertEqual(self.h.told, {"more": False, "owed": 0})
        self.h.call(LOCK, 5, 2, 2, 0, 0, 1)
        self.assertEqual(self.h.result(rid)[0], 0)
        # nor is it when it has been answered
        self.assertEqual(self.h.told, {"more": False, "owed": 0})

    def test_parked_until_there_is_something_to_say(self):
        self.h.dir(WORKSPACE, WORKSPACE, b"", 0)
        self.h.exchange()
        self.h.park_ms = 50000
        proc = self.h.start()
        proc.stdin.write(self.h.text())
        proc.stdin.close()
        time.sleep(0.1)
        self.assertIsNone(proc.poll())
        with open(self.path("new"), "w"):
            pass
        out = proc.stdout.read().decode()
        self.assertEqual(proc.wait(), 0)
        proc.stdout.close()
        self.assertIn(MARK, out)

    def park(self):
        self.h.exchange()
        self.h.park_ms = 600000
        proc = self.h.start()
        proc.stdin.write(self.h.text())
        proc.stdin.close()
        wait_for(lambda: handed_over(proc.pid), "the parked one")
        return proc

    def test_a_new_one_takes_the_place_of_a_parked_one(self):
        proc = self.park()
        self.h.park_ms = 0
        self.h.settle()
        proc.wait(WAIT)
        proc.stdout.close()

    def test_commands_have_the_variables_of_new_processes(self):
        """what the sandbox was told while the helper runs"""
        show = "echo $WORD $MORE"
        self.assertEqual(self.h.sh(1, show, env={"MORE": "m"}), (0, 0))
        self.h.env.update(WORD="told later")
        self.assertEqual(self.h.sh(2, show, env={"MORE": "m"}), (0, 0))
        self.assertEqual(self.h.sh(3, show, env={"WORD": "w"}), (0, 0))
        del self.h.env["WORD"]
        self.assertEqual(self.h.sh(4, show), (0, 0))
        self.assertEqual([self.h.output(n) for n in range(1, 5)],
                         [b"m\n", b"told later m\n", b"w\n", b"\n"])

    def test_ends_with_its_socket(self):
        self.h.exchange()
        pid = self.h.hello["pid"]
        for top, _, names in os.walk(self.top):
            for name in names:
                if name == self.h.session:
                    os.unlink(os.path.join(top, name))
        wait_for(lambda: not alive(pid), "its end")

    def test_one_whose_answer_nobody_reads_ends(self):
        proc = self.park()
        self.assertIsNone(proc.poll())
        proc.stdout.close()
        proc.wait(WAIT)

    def test_nonsense_ends(self):
        self.h.wait_ms = 200
        for text in (b"", b"!!!", base64.b64encode(os.urandom(5000))):
            proc = self.h.start()
            proc.communicate(text, WAIT)
        self.h.wait_ms = 20000
        self.h.settle()


if __name__ == "__main__":
    unittest.main()
