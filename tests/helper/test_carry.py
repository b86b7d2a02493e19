#!/usr/bin/python3
"""The helper as a carrier of one command on a terminal (wire/lines.h), by a
codec of its own."""
import base64
import os
import pty
import re
import select
import signal
import subprocess
import time
import unittest

from helperlib import HELPER, WAIT

WINDOW = 65536


class Carry:
    def __init__(self, command, quiet=False, preexec=None, more=()):
        self.master, slave = pty.openpty()
        self.proc = subprocess.Popen([HELPER, "--carry", *more], stdin=slave,
                                     stdout=slave, stderr=slave,
                                     start_new_session=True,
                                     preexec_fn=preexec)
        os.close(slave)
        self.data, self.sent, self.ack = b"", 0, True
        self.out = {b"o": b"", b"e": b""}
        self.taken, self.exit, self.ends, self.lost = 0, None, {}, False
        self.empty = self.hellos = 0
        self.until(lambda: self.hellos >= 1 + len(more))
        self.say("r", 0, command.encode())
        self.say("g", int(quiet))

    def say(self, kind, number, data=b""):
        line = b"<%s%d:%s\n" % (kind.encode(), number, base64.b64encode(data))
        while line:
            line = line[os.write(self.master, line):]

    def put(self, data):
        self.say("i", self.sent, data)
        self.sent += len(data)

    def take(self, kind, number, data):
        if kind == b"h":
            self.hellos += number == 1
        elif kind in b"oe":
            assert number == len(self.out[kind]), "a hole in the output"
            self.out[kind] += data
            if self.ack:
                self.say("k", sum(map(len, self.out.values())))
        elif kind in b"OE":
            self.ends[kind] = number
        elif kind == b"k":
            self.taken = number
        elif kind == b"x":
            self.exit = number
        elif kind == b"!":
            self.lost = True

    def step(self, seconds):
        """False: nothing came, or it has ended."""
        if not select.select([self.master], [], [], seconds)[0]:
            return False
        try:
            self.data += os.read(self.master, 65536)
        except OSError:
            return False
        *lines, self.data = self.data.split(b"\n")
        for line in lines:
            m = re.fullmatch(rb"~(.)(\d+):([A-Za-z0-9+/=]*)\r?", line)
            self.empty += line.strip() == b""
            if m:
                self.take(m[1], int(m[2]), base64.b64decode(m[3]))
        return True

    def until(self, what):
        end = time.monotonic() + WAIT
        while not what():
            self.step(1)
            assert time.monotonic() < end, "waited in vain"

    def ended(self):
        self.until(lambda: self.exit is not None and b"O" in self.ends)
        return self.exit

    def leaves(self):
        """Once its end was heard, and not before"""
        assert self.proc.poll() is None
        self.say("b", 0)
        return self.proc.wait(WAIT)

    def close(self):
        os.close(self.master)
        self.proc.wait(WAIT)


def is_alive(pid):
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().split()[2] != "Z"
    except OSError:
        return False


class CarryTest(unittest.TestCase):
    def carry(self, *args, **more):
        c = Carry(*args, **more)
        self.addCleanup(c.close)
        return c

    def test_streams_and_status(self):
        c = self.carry("echo out; echo err >&2; exit 7")
        c.until(lambda: len(c.ends) == 2)
        self.assertEqual(c.ended(), 7)
        self.assertEqual(c.out, {b"o": b"out\n", b"e": b"err\n"})
        self.assertEqual(c.ends, {b"O": 4, b"E": 4})
        self.assertEqual(c.leaves(), 0)

    def test_stderr_that_is_not_wanted(self):
        c = self.carry("echo out; echo err >&2", quiet=True)
        c.ended()
        self.assertEqual(c.out, {b"o": b"out\n", b"e": b""})

    def test_ticks(self):
        """Said again until it is heard; then empty lines, also while the
        command is silent, and its output is as ever"""
        c = self.carry("cat", more=["--tick"])
        c.until(lambda: c.empty >= 50)
        c.put(b"in")
        c.until(lambda: c.out[b"o"] == b"in")
        now = c.empty
        c.until(lambda: c.empty >= now + 100)
        self.assertFalse(c.lost)
        c.put(b"more")
        c.until(lambda: c.out[b"o"] == b"inmore")

    def test_a_signal(self):
        self.assertEqual(self.carry("kill -9 $$").ended(), 137)

    def test_every_byte_both_ways(self):
        data = bytes(range(256)) * 500
        c = self.carry("head -c %d" % len(data))
        for at in range(0, len(data), 3000):
            c.put(data[at:at + 3000])
            c.until(lambda: c.sent - c.taken < WINDOW)
        self.assertEqual(c.ended(), 0)
        self.assertEqual(c.out[b"o"], data)

    def test_no_more_than_the_window_comes_unasked(self):
        c = self.carry("head -c 1000000 /dev/zero")
        c.ack = False
        c.until(lambda: len(c.out[b"o"]) >= WINDOW)
        while c.step(0.3):
            pass
        self.assertLess(len(c.out[b"o"]), WINDOW + 16384 + 1)
        self.assertIsNone(c.exit)
        c.ack = True
        c.say("k", len(c.out[b"o"]))
        self.assertEqual(c.ended(), 0)
        self.assertEqual(len(c.out[b"o"]), 1000000)

    def test_the_rest_of_the_output_is_not_lost(self):
        c = self.carry("head -c 300000 /dev/zero; exec 1>&-; exit 3")
        self.assertEqual(c.ended(), 3)
        self.assertEqual(len(c.out[b"o"]), 300000)

    def test_who_holds_the_pipe_does_not_keep_it(self):
        c = self.carry("sleep 1000 & echo $!")
        self.assertEqual(c.ended(), 0)
        os.kill(int(c.out[b"o"]), signal.SIGKILL)

    def test_a_lost_line_is_noticed(self):
        c = self.carry("cat")
        c.put(b"one")
        c.sent += 1
        c.put(b"two")
        c.until(lambda: c.lost)
        self.assertEqual(c.leaves(), 0)

    def test_a_lost_last_line_is_noticed(self):
        c = self.carry("cat")
        c.put(b"one")
        c.say(".", 3)
        c.until(lambda: c.out[b"o"] == b"one")
        c.say(".", 6)
        c.until(lambda: c.lost)

    def test_noise_and_echoes_do_no_harm(self):
        c = self.carry("head -c 3")
        os.write(c.master, b"\n~x0:\nhello\n<\n<i:\n<i0\n")
        c.put(b"abc")
        self.assertEqual(c.ended(), 0)
        self.assertEqual(c.out[b"o"], b"abc")

    def test_input_that_nobody_reads_is_taken(self):
        c = self.carry("exec <&-; echo gone; exec 1>&-; sleep 0.3")
        c.until(lambda: c.out[b"o"] == b"gone\n")
        for n in range(1, 4):
            c.put(b"x" * 3000)
            c.until(lambda: c.taken == n * 3000)
        self.assertEqual(c.ended(), 0)

    def test_it_ends_with_its_terminal(self):
        # as a daemon under nohup(1) would start it
        c = self.carry("echo $$; exec sleep 1000", preexec=lambda:
                       signal.signal(signal.SIGHUP, signal.SIG_IGN))
        c.until(lambda: c.out[b"o"].endswith(b"\n"))
        pid = int(c.out[b"o"])
        c.close()
        self._cleanups.clear()
        end = time.monotonic() + WAIT
        while is_alive(pid):
            self.assertLess(time.monotonic(), end)
            time.sleep(0.02)


if __name__ == "__main__":
    unittest.main()
