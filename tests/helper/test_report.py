"""REPORT: what happens in the workspace, while others move it about."""

import ctypes
import errno
import os
import re
import signal
import unittest

from helperlib import *

REPORT = 104
REPORT_MSG = 9


class Report(HelperTest):
    def setUp(self):
        super().setUp()
        self.outside = os.path.join(self.top, "outside")
        os.mkdir(self.outside)

    def watch(self, *dirs):
        for d in dirs:
            os.makedirs(self.path(d))
        self.assertEqual(self.h.call(REPORT, True), [len(dirs) + 1, 0])

    def at_once(self, fn):
        """All of it has happened when the helper looks."""
        pid = self.h.hello["pid"]
        os.kill(pid, signal.SIGSTOP)
        try:
            fn()
        finally:
            os.kill(pid, signal.SIGCONT)

    def told(self, name):
        """What was told since the last time, up to the making of a file of
        that name: [(what, path, new path)]."""
        path = name.encode()
        os.close(os.open(self.path(name), os.O_CREAT | os.O_WRONLY))
        found = self.h.wait(
            lambda: [i for i, m in enumerate(self.h.journal)
                     if m[0] == REPORT_MSG and m[1] == CREATED and
                     m[3] == path], "a report of " + name)
        told = [(m[1], m[3], m[4]) for m in self.h.journal[:found[0]]
                if m[0] == REPORT_MSG]
        self.h.journal = self.h.journal[found[0] + 1:]
        return told

    def test_a_directory_that_left_is_not_told_of(self):
        self.watch("d", "d/sub")

        def leave():
            os.rename(self.path("d"), os.path.join(self.outside, "d"))
            os.mkdir(os.path.join(self.outside, "d", "new"))
            os.mkdir(os.path.join(self.outside, "d", "sub", "new"))
        self.at_once(leave)
        self.assertEqual(self.told("end"), [(DELETED, b"d", None)])

    def exchange(self, a, b):
        """RENAME_EXCHANGE"""
        libc = ctypes.CDLL(None, use_errno=True)
        names = [os.fsencode(self.path(n)) for n in (a, b)]
        if libc.renameat2(-100, names[0], -100, names[1], 2) < 0:
            raise OSError(ctypes.get_errno(), "renameat2")

    def test_two_directories_change_places(self):
        self.watch("a", "a/n", "b")
        self.exchange("a", "b")
        self.assertEqual(self.told("end"), [(MOVED_TO, b"a", b"b"),
                                            (MOVED_TO, b"b", b"a")])
        self.assertEqual(self.told("a/f"), [])
        self.assertEqual(self.told("b/n/f"), [])
        # over what is there, up from what took its place before
        os.unlink(self.path("a", "f"))
        os.rename(self.path("b", "n"), self.path("a"))
        self.told("over")
        self.assertEqual(self.told("a/g"), [])
        self.assertEqual(self.told("b/g"), [])

    def lose(self, fn):
        """fn happens when nothing more fits into the queue."""
        with open("/proc/sys/fs/inotify/max_queued_events") as f:
            many = int(f.read())
        if many > 100000:
            self.skipTest("the queue of inotify is too long")

        def flood():
            for i in range(many // 2 + 1):
                self.make("flood")
                os.unlink(self.path("flood"))
            fn()
        self.at_once(flood)
        self.h.wait(lambda: [m for m in self.h.journal if m[0] == REPORT_MSG
                             and not m[1] and not m[3]], "what was lost")
        self.h.journal = []

    def test_after_events_were_lost_all_is_watched_again(self):
        self.watch("b", "b/s")

        def move():
            os.mkdir(self.path("new"))
            os.rename(self.path("b", "s"), self.path("s"))
        self.lose(move)
        self.told("one")
        self.told("new/f")
        self.told("s/f")
        self.at_once(lambda: os.rename(self.path("b"), self.path("s", "b")))
        self.assertEqual(self.told("two"), [(MOVED_TO, b"b", b"s/b")])
        self.told("s/b/f")

    def is_sanitized(self):
        with open("/proc/%d/maps" % self.h.hello["pid"]) as f:
            return "asan" in f.read()

    def peak_kib(self):
        with open("/proc/%d/status" % self.h.hello["pid"]) as f:
            return int(re.search(r"VmHWM:\s+(\d+)", f.read())[1])

    def test_more_names_than_fit_in_memory_wait_in_their_directory(self):
        self.watch()
        full = os.path.join(self.outside, "full")
        os.mkdir(full)
        names = {b"full/%05d" % n + b"x" * 200 for n in range(20000)}
        for name in names:
            os.mkfifo(os.path.join(self.outside.encode(), name))
        before = self.peak_kib()
        os.rename(full, self.path("full"))
        # they make 5 MB
        told = self.told("end")
        self.assertEqual(told[0], (CREATED, b"full", None))
        self.assertEqual({path for what, path, _ in told[1:]}, names)
        self.assertEqual(len(told), len(names) + 1)
        if not self.is_sanitized():  # which keeps what is freed
            self.assertLess(self.peak_kib() - before, 2048)


if __name__ == "__main__":
    unittest.main()
