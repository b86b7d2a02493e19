"""Commands: streams, input, signals, terminals, ends; and ports."""

import errno
import os
import signal
import socket
import unittest

from helperlib import *


class Jobs(HelperTest):
    def test_streams_and_exit_status(self):
        self.assertEqual(self.h.sh(1, "echo out; echo err >&2; exit 7"),
                         (7, 0))
        self.assertEqual(self.h.output(1, 1), b"out\n")
        self.assertEqual(self.h.output(1, 2), b"err\n")
        self.assertTrue(self.h.ended(1, 1) and self.h.ended(1, 2))
        # the end comes after both streams' ends
        self.assertEqual(self.h.journal[-1][0], EXIT)

    def test_signal_reaches_the_group(self):
        pid = self.h.run(1, [b"sh", b"-c", b"sleep 100 & sleep 100; echo no"])
        self.assertEqual(os.getpgid(pid), pid)
        self.h.call(SIGNAL, 1, signal.SIGTERM)
        self.assertEqual(self.h.exit_of(1), (128 + 15, 15))
        wait_for(lambda: not group_alive(pid), "the end of the group")
        self.fails(errno.ESRCH, self.h.call, SIGNAL, 1, 15)
        self.fails(errno.EINVAL, self.h.call, SIGNAL, 1, 1000)

    def test_closed_output(self):
        self.h.run(1, [b"yes"], credit=10**6)
        self.h.call(CLOSE_OUTPUT, 1, 1)
        self.assertEqual(self.h.exit_of(1), (128 + 13, 13))
        # the other stream goes on
        self.assertIsNotNone(self.h.run(2, [
            b"sh", b"-c", b"read x; echo no || echo yes >&2"], flags=2))
        self.h.call(CLOSE_OUTPUT, 2, 1)
        self.h.call(CLOSE_OUTPUT, 2, 1)
        self.h.call(STDIN, 2, b"\n")
        self.h.exit_of(2)
        self.assertTrue(self.h.ended(2, 1))
        self.fails(errno.EINVAL, self.h.call, CLOSE_OUTPUT, 2, 3)
        self.fails(errno.ESRCH, self.h.call, CLOSE_OUTPUT, 2, 1)

    def test_failed_starts(self):
        self.make("plain")
        for argv, cwd, err in (
                ([b"/missing/x"], b"", errno.ENOENT),
                ([b"missing-command"], b"", errno.ENOENT),
                ([b"./plain"], b"", errno.EACCES),
                ([b"true"], b"nowhere", errno.ENOENT),
                ([b"true"], b"plain", errno.ENOTDIR),
                ([], b"", errno.EINVAL),
                ([b"a\0b"], b"", errno.EINVAL)):
            self.fails(err, self.h.run, 1, argv, cwd)
        self.fails(errno.EINVAL, self.h.run, 0, [b"true"])
        self.h.run(1, [b"sleep", b"100"])
        self.fails(errno.EEXIST, self.h.run, 1, [b"true"])
        self.h.call(SIGNAL, 1, 9)
        self.h.exit_of(1)

    def test_place_environment_and_limits(self):
        os.mkdir(self.path("d"))
        self.h.sh(1, "pwd; echo $A; echo $HOME; umask; ulimit -Sn; "
                  "ls /proc/$$/fd | wc -l; cat",
                  cwd=b"d", env={"A": "b c", b"HOME": b"/x"})
        lines = self.h.output(1).split(b"\n")
        self.assertEqual(lines[:3], [self.path("d").encode(), b"b c", b"/x"])
        import resource
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self.assertEqual(int(lines[3], 8), os.umask(os.umask(0)) or 0o22)
        self.assertEqual(int(lines[4]), soft)
        self.assertLessEqual(int(lines[5]), 4)
        self.h.sh(2, "pwd")
        self.assertEqual(self.h.output(2), self.work.encode() + b"\n")

    def test_what_is_a_command_s_own_is_not_the_helper_s(self):
        """also where it could not be started: it began in our memory"""
        os.mkdir(self.path("bin"))
        os.symlink("/bin/echo", self.path("bin", "only-here"))
        self.h.sh(1, "env; umask; ulimit -Sn")
        env = {b"PATH": self.path("bin").encode(), b"A": b"b"}
        self.h.run(2, [b"only-here", b"it is"], env=env)
        self.h.exit_of(2)
        self.assertEqual(self.h.output(2), b"it is\n")
        self.fails(errno.ENOENT, self.h.run, 3, [b"missing"], b"bin", env)
        self.fails(errno.ENOENT, self.h.run, 3, [b"only-here"])
        self.h.sh(4, "env; umask; ulimit -Sn")
        self.assertEqual(self.h.output(4), self.h.output(1))

    def test_stdin_and_its_end(self):
        self.h.run(1, [b"cat"], flags=KEEP_STDIN)
        data = os.urandom(100000)
        self.h.call(STDIN, 1, data[:50000])
        self.h.call(STDIN, 1, data[50000:])
        self.h.call(STDIN, 1, b"")
        self.assertEqual(self.h.exit_of(1), (0, 0))
        self.assertEqual(self.h.output(1), data)
        self.fails(errno.ESRCH, self.h.call, STDIN, 1, b"x")

    def test_stdin_that_nobody_reads(self):
        self.h.run(1, [b"sh", b"-c", b"exec <&-; sleep 100"],
                   flags=KEEP_STDIN)
        wait_for(lambda: self.broken(1), "a broken pipe")
        self.h.call(SIGNAL, 1, 9)
        self.h.exit_of(1)
        self.h.run(2, [b"sleep", b"100"])
        self.fails(errno.EPIPE, self.h.call, STDIN, 2, b"x")
        self.h.call(SIGNAL, 2, 9)
        self.h.exit_of(2)

    def broken(self, job):
        try:
            self.h.call(STDIN, job, b"x")
        except OSError as e:
            self.assertEqual(e.errno, errno.EPIPE)
            return True
        return False

    def test_stdin_is_answered_when_it_is_in_the_pipe(self):
        self.h.run(1, [b"sleep", b"100"], flags=KEEP_STDIN)
        ids = self.h.post(*[(STDIN, 1, b"x" * 30000)] * 100)
        self.h.settle()
        done = [i for i in ids if i in self.h.replies]
        refused = [i for i in done if self.h.replies[i][0] == errno.EAGAIN]
        self.assertTrue(refused)
        self.assertTrue(set(ids) - set(done))
        self.h.call(SIGNAL, 1, 9)
        self.h.exit_of(1)
        for i in set(ids) - set(done):
            self.fails(errno.EPIPE, self.h.result, i)

    def test_merged_output_keeps_its_order(self):
        self.h.sh(1, "for i in 1 2 3 4; do echo o$i; echo e$i >&2; done",
                  flags=MERGE)
        self.assertEqual(self.h.output(1), b"o1\ne1\no2\ne2\no3\ne3\no4\ne4\n")
        self.assertTrue(self.h.ended(1, 2))

    def test_credit_holds_output_back(self):
        self.h.run(1, [b"head", b"-c", b"1000000", b"/dev/zero"], credit=1000)
        self.h.wait(lambda: len(self.h.output(1)) >= 1000)
        for _ in range(5):
            self.h.settle()
        self.assertEqual(len(self.h.output(1)), 1000)
        self.h.call(CREDIT_ONE, 1, 2, 10**6)
        self.h.settle()
        self.assertEqual(len(self.h.output(1)), 1000)
        self.h.call(CREDIT_ONE, 1, 1, 500)
        self.h.wait(lambda: len(self.h.output(1)) == 1500)
        self.h.call(CREDIT, 1, 10**6)
        self.assertEqual(self.h.exit_of(1), (0, 0))
        self.assertEqual(len(self.h.output(1)), 10**6)

    def test_output_comes_before_complaints(self):
        """where both wait"""
        self.h.sh(1, "echo e1 >&2; echo o1; echo e2 >&2; echo o2", credit=0)
        self.h.call(CREDIT, 1, 100)
        self.h.wait(lambda: self.h.ended(1, 1) and self.h.ended(1, 2))
        self.assertEqual([m[3] for m in self.h.journal
                          if m[0] == OUTPUT and m[3]],
                         [b"o1\no2\n", b"e1\ne2\n"])

    def test_exit_is_told_without_credit(self):
        self.h.run(1, [b"echo", b"hello"], credit=0)
        self.assertEqual(self.h.exit_of(1), (0, 0))
        self.assertEqual(self.h.output(1), b"")
        self.h.call(CREDIT, 1, 6)
        self.h.wait(lambda: self.h.ended(1, 1))
        self.assertEqual(self.h.output(1), b"hello\n")

    def test_end_of_output_needs_no_credit(self):
        self.h.run(1, [b"printf", b"12345"], credit=5)
        self.assertEqual(self.h.exit_of(1), (0, 0))
        self.assertTrue(self.h.ended(1, 1))
        self.assertEqual(self.h.journal[-1][0], EXIT)

    def test_streams_held_by_others_do_not_delay_the_exit(self):
        self.h.run(1, [b"sh", b"-c", b"(until [ -e go ]; do sleep 0.05; done; "
                                     b"echo late) & echo soon"])
        self.assertEqual(self.h.exit_of(1), (0, 0))
        self.make("go")
        self.assertFalse(self.h.ended(1, 1))
        self.h.wait(lambda: self.h.ended(1, 1))
        self.assertEqual(self.h.output(1), b"soon\nlate\n")

    def test_large_output_arrives_whole_before_the_exit(self):
        self.h.run(1, [b"sh", b"-c", b"seq 1 500000"], credit=1 << 30)
        self.assertEqual(self.h.exit_of(1), (0, 0))
        self.assertEqual(self.h.output(1),
                         b"".join(b"%d\n" % i for i in range(1, 500001)))

    def test_terminal(self):
        self.h.run(1, [b"sh", b"-c",
                       b"test -t 0 && test -t 1 && test -t 2 && stty size; "
                       b"read x; echo got $x; cat; echo end"],
                   flags=TTY)
        self.h.wait(lambda: b"24 80" in self.h.output(1))
        self.h.call(RESIZE, 1, 100, 30)
        self.h.call(STDIN, 1, b"word\n")
        self.h.wait(lambda: b"got word" in self.h.output(1))
        self.h.call(STDIN, 1, b"")
        self.assertEqual(self.h.exit_of(1), (0, 0))
        self.assertIn(b"end", self.h.output(1))
        self.assertTrue(self.h.ended(1, 1) and self.h.ended(1, 2))

    def test_the_end_of_input_finds_room_behind_a_full_terminal(self):
        self.h.run(1, [b"sh", b"-c", b"trap : USR1; stty raw -echo; "
                       b"echo ready; sleep 100; cat >/dev/null"], flags=TTY)
        self.h.wait(lambda: b"ready" in self.h.output(1))
        taken = []
        for size in (30000, 1000, 30, 1):
            full = False
            while not full:
                ids = self.h.post(*[(STDIN, 1, b"x" * size)] * 10)
                self.h.settle()
                full = any(self.h.replies.get(i, (0,))[0] == errno.EAGAIN
                           for i in ids)
                taken += [i for i in ids if i not in self.h.replies]
        ends = self.h.post((STDIN, 1, b""))
        self.h.settle()
        self.assertNotIn(ends[0], self.h.replies)
        self.h.call(SIGNAL, 1, signal.SIGUSR1)
        for i in taken + ends:
            self.h.result(i)
        self.h.call(STDIN, 1, b"x")
        self.h.call(SIGNAL, 1, signal.SIGKILL)

    def test_terminal_resize_and_interrupt(self):
        self.h.run(1, [b"sh", b"-c",
                       b"trap 'stty size' WINCH; echo ready; "
                       b"while :; do sleep 0.05; done"], flags=TTY)
        self.h.wait(lambda: b"ready" in self.h.output(1))
        self.h.call(RESIZE, 1, 132, 50)
        self.h.wait(lambda: b"50 132" in self.h.output(1))
        self.h.call(STDIN, 1, b"\x03")
        self.assertEqual(self.h.exit_of(1)[1], signal.SIGINT)

    def test_changes_of_a_job_are_told_before_its_end(self):
        self.h.dir(WORKSPACE, WORKSPACE, b"", 0)
        for job in range(1, 40):
            self.h.journal = []
            self.h.sh(job, "echo x > f%d; mkdir d%d; echo done" % (job, job))
            told = [m[2] for m in self.h.journal if m[0] == CHANGE]
            self.assertIn(b"f%d" % job, told)
            self.assertIn(b"d%d" % job, told)
            kinds = [m[0] for m in self.h.journal]
            self.assertLess(kinds.index(CHANGE), kinds.index(OUTPUT))

    def test_changes_of_the_client_are_there_for_the_command(self):
        self.h.create(5, WORKSPACE, "f")
        ids = self.h.post((WRITE, 5, 0, b"hello"),
                          (RENAME, WORKSPACE, "f", WORKSPACE, "g", 0),
                          (EXEC, 1, [b"cat", b"g"], b"", {}, 0, 0, 0, 1000))
        for i in ids:
            self.h.result(i)
        self.h.exit_of(1)
        self.assertEqual(self.h.output(1), b"hello")

    def test_many_at_once(self):
        ids = self.h.post(*[(EXEC, i, [b"sh", b"-c", b"echo %d" % i], b"", {},
                             0, 0, 0, 1000) for i in range(1, 101)])
        for i in ids:
            self.h.result(i)
        for i in range(1, 101):
            self.assertEqual(self.h.exit_of(i), (0, 0))
            self.assertEqual(self.h.output(i), b"%d\n" % i)

    def test_quit_kills_them(self):
        pid = self.h.run(1, [b"sh", b"-c", b"sleep 100 & sleep 100"])
        self.h.quit()
        wait_for(lambda: not group_alive(pid), "the end of the job")


def group_alive(pgid):
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open("/proc/%s/stat" % name) as f:
                fields = f.read().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[2]) == pgid and fields[0] != "Z":
            return True
    return False


class Ports(HelperTest):
    def test_listed_and_watched(self):
        self.h.call(PORT_WATCH, True)
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            s.listen()
            port = s.getsockname()[1]
            self.h.wait(lambda: [PORT, port, True] in self.h.journal)
            found = [p for p in self.h.call(PORTS)[0] if p[0] == port]
            self.assertEqual(found, [[port, b"127.0.0.1", os.getpid()]])
        self.h.wait(lambda: [PORT, port, False] in self.h.journal)
        with socket.socket(socket.AF_INET6) as s:
            s.bind(("::1", 0))
            s.listen()
            port = s.getsockname()[1]
            found = [p for p in self.h.call(PORTS)[0] if p[0] == port]
            self.assertEqual(found[0][1], b"::1")
        self.h.call(PORT_WATCH, False)


if __name__ == "__main__":
    unittest.main()
