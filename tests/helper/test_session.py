"""The session: reconnecting, shuffled and hostile input, its end."""

import errno
import os
import random
import select
import shutil
import subprocess
import time
import unittest

import msgpack

from helperlib import *


def sleeps(pid):
    """how often it has waited for something"""
    with open("/proc/%d/status" % pid) as f:
        return int(f.read().split("\nvoluntary_ctxt_switches:")[1].split()[0])


def is_connected(pid):
    """and waits for what comes of that"""
    with open("/proc/%d/stat" % pid) as f:
        state = f.read().rsplit(")", 1)[1].split()[0]
    fds = "/proc/%d/fd/" % pid
    return state == "S" and any(os.readlink(fds + fd).startswith("socket:")
                                for fd in os.listdir(fds))


class Session(HelperTest):
    def test_hello(self):
        hello = self.h.hello
        self.assertEqual(hello["cwd"], os.path.realpath(self.work).encode())
        self.assertEqual((hello["uid"], hello["gid"]),
                         (os.getuid(), os.getgid()))
        self.assertEqual(hello["machine"], os.uname().machine.encode())
        self.assertTrue(hello["features"] & 1)
        self.assertTrue(alive(hello["pid"]))

    @unittest.skipIf(os.getuid(), "only root may choose its groups")
    def test_that_there_are_more_groups_is_told(self):
        for n in (64, 65, 300):
            groups = list(range(5000, 5000 + n))
            h = self.new_helper(groups=groups).attach()
            self.assertEqual(h.hello["groups"], groups[:65])
            h.quit()

    def test_nobody_is_let_in_without_descriptors(self):
        h = self.new_helper(limit=64).attach()
        opened = []
        try:
            while True:
                h.open(100 + len(opened), WORKSPACE, b"", 0)
                opened.append(100 + len(opened))
        except OSError as e:
            self.assertEqual(e.errno, errno.EMFILE)
        other = subprocess.Popen(
            [HELPER, h.session], cwd=self.work, env=h.env,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        pid = h.hello["pid"]
        try:
            # nobody goes round in circles meanwhile
            wait_for(lambda: is_connected(other.pid), "the other process")
            before = sleeps(pid)
            wait_for(lambda: sleeps(pid) > before + 2, "a pause")
            h.post(*[(CLOSE, handle) for handle in opened])
            # until then, and not longer
            self.assertTrue(select.select([other.stdout], [], [], WAIT)[0])
            self.assertTrue(other.stdout.read(1))
        finally:
            other.kill()
            other.wait()
            other.stdin.close()
            other.stdout.close()
            h.detach()

    def test_reconnecting_loses_and_doubles_nothing(self):
        self.h.dir(WORKSPACE, WORKSPACE, b"", 0)
        self.h.run(1, [b"sh", b"-c",
                       b"for i in $(seq 1 300); do echo $i; sleep 0.002; "
                       b"done"], credit=1 << 20)
        self.h.create(5, WORKSPACE, "log",
                      flags=os.O_WRONLY | os.O_APPEND)
        ids = []
        for turn in range(20):
            ids += self.h.post(*[(WRITE, 5, 0, b"%d\n" % (turn * 10 + i))
                                 for i in range(10)])
            if turn % 3 == 0:
                self.h.pump(0.01)
            self.h.detach()
            ids += self.h.post((WRITE, 5, 0, b"away\n"))
            self.h.attach()
        for i in ids:
            self.h.result(i)
        want = b""
        for turn in range(20):
            want += b"".join(b"%d\n" % (turn * 10 + i) for i in range(10))
            want += b"away\n"
        with open(self.path("log"), "rb") as f:
            self.assertEqual(f.read(), want)
        self.assertEqual(self.h.exit_of(1), (0, 0))
        self.assertEqual(self.h.output(1),
                         b"".join(b"%d\n" % i for i in range(1, 301)))

    def test_the_process_ends_when_its_streams_do(self):
        old = self.h.proc
        self.h.proc = None
        self.h.attach()
        self.assertEqual(old.wait(WAIT), 0)
        old.stdin.close()
        old.stdout.close()
        self.h.settle()
        proc = self.h.proc
        proc.stdin.close()
        self.assertEqual(proc.wait(WAIT), 0)
        proc.stdout.close()
        self.h.proc = None
        self.assertTrue(alive(self.h.hello["pid"]))

    def test_jobs_live_on_while_away(self):
        self.h.run(1, [b"sh", b"-c", b"sleep 0.3; echo done"])
        self.h.detach()
        self.h.attach()
        self.assertEqual(self.h.exit_of(1), (0, 0))
        self.assertEqual(self.h.output(1), b"done\n")

    def test_ping_is_answered(self):
        # it has just said hello: only after a second of silence
        def answered():
            self.h.ping()
            self.h.pump(0.2)
            return ("empty",) in self.h.journal
        wait_for(answered, "an empty frame")

    def test_other_sessions_are_refused(self):
        proc = subprocess.Popen([HELPER, self.h.session], cwd=self.work,
                                env=self.h.env, stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE)
        hello = {"v": 1, "session": "0" * 32, "instance": 0, "received": 0}
        proc.stdin.write(frame(msgpack.packb(hello), 0))
        proc.stdin.flush()
        self.assertEqual(proc.wait(WAIT), 0)
        proc.communicate()
        self.h.proc.kill()
        self.h.detach()
        self.h.attach()
        self.h.settle()

    def test_bad_arguments(self):
        for args in ([], ["x"], ["0" * 31], ["0" * 32, "--what"],
                     ["../" * 10 + "00"]):
            p = subprocess.run([HELPER] + args, stdin=subprocess.DEVNULL,
                               capture_output=True)
            self.assertEqual(p.returncode, 2)
        p = subprocess.run([HELPER, "--version"], capture_output=True)
        self.assertEqual(p.returncode, 0)
        self.assertIn(b"sbxfs-helper", p.stdout)

    def test_socket_is_private_and_removed(self):
        folder = os.path.join(self.run_dir, "sbxfs-%d" % os.getuid())
        self.assertEqual(os.stat(folder).st_mode & 0o777, 0o700)
        self.assertEqual(os.listdir(folder), [self.h.session])
        self.h.quit()
        self.assertFalse(os.path.exists(folder))

    def test_without_a_socket_it_serves_directly(self):
        h = Direct(self.work, self.run_dir)
        self.addCleanup(h.detach)
        h.attach()
        h.call(MKDIR, WORKSPACE, "d", 0o755)
        self.assertEqual(h.hello["pid"], h.proc.pid)
        h.proc.stdin.close()
        h.proc.wait(WAIT)

    def test_a_symlink_as_socket_folder_is_not_used(self):
        runtime = os.path.join(self.top, "evil")
        target = os.path.join(self.top, "target")
        os.mkdir(runtime)
        os.mkdir(target, 0o700)
        os.symlink(target, os.path.join(runtime, "sbxfs-%d" % os.getuid()))
        h = self.new_helper(env={"TMPDIR": self.run_dir})
        h.env["XDG_RUNTIME_DIR"] = runtime
        h.attach()
        h.settle()
        self.assertEqual(os.listdir(target), [])

    def test_asked_to_end_it_leaves_nothing(self):
        folder = os.path.join(self.run_dir, "sbxfs-%d" % os.getuid())
        pid = self.h.run(1, [b"sleep", b"1000"])
        os.kill(self.h.hello["pid"], 15)
        wait_for(lambda: not alive(self.h.hello["pid"]), "its end")
        wait_for(lambda: not alive(pid), "the job's end")
        self.assertFalse(os.path.exists(folder))
        self.h.detach()

    @unittest.skipIf(os.getuid(), "needs root")
    def test_ended_as_another_user_it_leaves_nothing(self):
        folder = os.path.join(self.run_dir, "sbxfs-0")
        self.h.call(CREDS, 1234, 1234, [])
        self.fails(errno.EACCES, self.h.call, MKDIR, WORKSPACE, "d", 0o755)
        os.kill(self.h.hello["pid"], 15)
        wait_for(lambda: not alive(self.h.hello["pid"]), "its end")
        self.assertFalse(os.path.exists(folder))
        self.h.detach()

    def test_remove_self(self):
        mine = os.path.join(self.top, "helper")
        shutil.copy(HELPER, mine)
        import helperlib
        old, helperlib.HELPER = helperlib.HELPER, mine
        try:
            h = self.new_helper().attach()
        finally:
            helperlib.HELPER = old
        h.quit(remove=True)
        self.assertFalse(os.path.exists(mine))

    def test_ends_by_itself(self):
        """Takes as long as the silence that ends it: 40 s."""
        h = self.new_helper().attach()
        away = self.new_helper().attach()
        pid = away.run(1, [b"sleep", b"1000"])
        away.detach()
        end = time.monotonic() + 40 + WAIT
        while alive(h.hello["pid"]) or alive(away.hello["pid"]):
            self.assertLess(time.monotonic(), end)
            self.h.ping()
            time.sleep(0.5)
        self.assertFalse(alive(pid))
        self.h.settle()  # this one was heard
        h.proc.wait(WAIT)
        h.detach()


class Direct(Helper):
    """One that can make no socket: no runtime folder, /tmp read-only."""

    def attach(self):
        if os.getuid() or not shutil.which("unshare"):
            raise unittest.SkipTest("needs root for a namespace")
        self.env["XDG_RUNTIME_DIR"] = "relative"
        self.env["TMPDIR"] = "/" + "x" * 90
        cwd = os.open(self.cwd, os.O_PATH)
        exe = os.open(HELPER, os.O_RDONLY)
        script = ("mount -t tmpfs -o ro none /tmp && cd /proc/self/fd/%d && "
                  "exec /proc/self/fd/%d %s" % (cwd, exe, self.session))
        try:
            self.proc = subprocess.Popen(
                ["unshare", "-m", "sh", "-c", script], env=self.env,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
                pass_fds=(cwd, exe))
        finally:
            os.close(cwd)
            os.close(exe)
        self.inbuf = self.partial = b""
        hello = {"v": 1, "session": self.session, "instance": 0,
                 "received": 0}
        self.put(frame(msgpack.packb(hello), 0))
        self.wait(lambda: self.hello)
        return self


class Shuffled(HelperTest):
    """Requests that arrive in any order are carried out in theirs."""

    shuffle = True

    def test_order(self):
        self.h.create(5, WORKSPACE, "f", flags=os.O_WRONLY | os.O_APPEND)
        requests = [(WRITE, 5, 0, b"%d\n" % i) for i in range(1000)]
        for i in self.h.post(*requests):
            self.h.result(i)
        with open(self.path("f"), "rb") as f:
            self.assertEqual(f.read(),
                             b"".join(b"%d\n" % i for i in range(1000)))

    def test_long_messages(self):
        self.h.create(5, WORKSPACE, "f")
        data = os.urandom(400000)
        self.h.write(5, 0, data)
        with open(self.path("f"), "rb") as f:
            self.assertEqual(f.read(), data)

    def test_everything_else_works_too(self):
        self.h.run(1, [b"cat"], flags=KEEP_STDIN)
        data = os.urandom(200000)
        ids = self.h.post(*[(STDIN, 1, data[i:i + 10000])
                            for i in range(0, 200000, 10000)])
        ids += self.h.post((STDIN, 1, b""))
        for i in ids:
            self.h.result(i)
        self.h.exit_of(1)
        self.assertEqual(self.h.output(1), data)


class Garbage(HelperTest):
    """Whatever comes, the helper is there for the next who asks properly."""

    def offer(self, data):
        h = self.new_helper(session=self.h.session)
        proc = subprocess.Popen([HELPER, h.session], cwd=self.work,
                                env=h.env, stdin=subprocess.PIPE,
                                stdout=subprocess.DEVNULL)
        try:
            proc.communicate(data, WAIT)
        except OSError:
            pass
        h.hello = None

    def test_noise(self):
        rnd = random.Random(3)
        self.h.detach()
        for data in (b"", b"\0" * 100, b"HTTP/1.1 400 Bad Request\r\n\r\n",
                     b"\xff" * 10000, rnd.randbytes(100000),
                     frame(b"", 1), frame(b"\x90", 0), frame(b"\x90", 5, 77),
                     frame(b"\x81\xa4quit\xc2", 0),
                     frame(b"x" * 40000, 1)):
            self.offer(data)
        instance = self.h.instance
        self.h.attach()
        self.h.settle()
        self.assertEqual(self.h.instance, instance)

    def test_strange_requests(self):
        """Every operation with arguments of every wrong kind."""
        rnd = random.Random(5)
        values = [0, 1, 2, 16, 2**64 - 1, -1, -2**63, "", "..", b"", b"f",
                  b"a/b", b"x" * 300, b"\0", None, True, False, 1.5, [], {},
                  [[]], [1, [2, [3]]], {"a": 1}, 2**31, 2**63, "name"]
        ops = [op for op in range(0, 100) if op not in (EXEC, CREDS)]
        # root must not be taken apart by accident
        values.remove(2)
        values.remove(True)
        ids = []
        for _ in range(6000):
            op = rnd.choice(ops)
            args = [rnd.choice(values) for _ in range(rnd.randrange(0, 9))]
            ids += self.h.post((op,) + tuple(args))
            if len(ids) == 200:
                for i in ids:
                    try:
                        self.h.result(i)
                    except OSError:
                        pass
                ids = []
        self.assertEqual(self.h.attr(WORKSPACE, b"", 0).ino,
                         os.stat(self.work).st_ino)

    def test_strange_commands(self):
        rnd = random.Random(6)
        values = [0, 1, 2**64 - 1, -1, "", b"", b"true", [b"true"], [],
                  {b"A": b"b"}, {1: 2}, {b"": b""}, {b"=": b"x"}, None, 3.5,
                  [b"true", 1], [b"a\0b"]]
        for _ in range(500):
            rid = self.h.post((EXEC,) + tuple(
                rnd.choice(values) for _ in range(rnd.randrange(0, 9))))[0]
            try:
                self.h.result(rid)
            except OSError:
                pass
        self.h.settle()

    def test_messages_that_are_none_end_the_session(self):
        """What was counted as received cannot be asked for again."""
        for payload in (b"\x01", b"\x80", b"\x92\xa1x\x01", b"\x92\x03",
                        b"\xdd\xff\xff\xff\xff", b"\x91" * 20 + b"\x01"):
            h = self.new_helper().attach()
            pid = h.hello["pid"]
            h.put(frame(payload, 1))
            wait_for(lambda: not alive(pid), "the helper's end")
            h.detach()
            h.hello = None


if __name__ == "__main__":
    unittest.main()
